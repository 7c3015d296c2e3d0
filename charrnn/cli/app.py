"""The command line: commands, and what becomes of errors.

Nothing here imports torch, nor anything that does: each command's body imports what it needs, so that `--help` and
a mistyped option answer at once.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from charrnn.errors import CharrnnError, ResourceError
from charrnn.version import __version__


class _Group(TyperGroup):
    """Turns foreseeable errors into a message, a hint and an exit status, for every command in one place."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk or a closed pipe shows here, not in the interpreter's farewell
            return result
        except CharrnnError as error:
            if os.environ.get("CHARRNN_TRACEBACK"):
                raise
            _report(error)
            raise typer.Exit(error.exit_status) from None
        except BrokenPipeError:
            # The reader has what it wanted (`| head`). What is still buffered must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(0) from None
        except MemoryError:
            exhausted = ResourceError("out of memory", "give the machine less to do: a smaller model, text or --batch")
            _report(exhausted)
            raise typer.Exit(exhausted.exit_status) from None
        except OSError as system_error:
            if system_error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            full = ResourceError("no room left on the device that output goes to", "free some space")
            _report(full)
            raise typer.Exit(full.exit_status) from None


def _report(error: CharrnnError) -> None:
    from charrnn.display.safe import visible

    # A message may quote a file name or a character of the text: it never drives the terminal.
    text = f"error: {error.message}\n" + (f" hint: {error.hint}\n" if error.hint else "")
    try:
        sys.stderr.write(visible(text))
        sys.stderr.flush()
    except (OSError, UnicodeEncodeError):
        sys.stderr.write(ascii(text) + "\n")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Group,
    name="charrnn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


@app.callback()
def charrnn(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Character-level language modelling with recurrent networks: train on any text, sample, evaluate, inspect.

    \b
    charrnn train corpus.txt            learn from a text, with samples as it learns
    charrnn sample --prime "KING"       write text with the newest run
    charrnn eval held_out.txt           bits per character
    charrnn inspect held_out.txt        what the units respond to
    """


def main() -> None:
    """The installed command."""
    app()


def _register() -> None:
    from charrnn.cli import eval as eval_command
    from charrnn.cli import inspect as inspect_command
    from charrnn.cli import sample as sample_command
    from charrnn.cli import train as train_command

    app.command("train")(train_command.train)
    app.command("sample")(sample_command.sample)
    app.command("eval")(eval_command.evaluate)
    app.command("inspect")(inspect_command.inspect)


_register()
