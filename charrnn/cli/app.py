"""The command line: commands, and what becomes of errors.

Nothing here imports torch, nor anything that does: each command's body imports what it needs, so that `--help` and
a mistyped option answer at once.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from charrnn.errors import CharrnnError, ResourceError
from charrnn.version import __version__

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Group(TyperGroup):
    """Turns foreseeable errors into a message, a hint and an exit status, for every command in one place."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _explained():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _explained():
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk or a closed pipe shows here, not in the interpreter's farewell
            return result


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CharrnnError as error:
        if os.environ.get("CHARRNN_TRACEBACK"):
            raise
        _report(error)
        raise typer.Exit(error.exit_status) from None
    except BrokenPipeError:
        raise typer.Exit(0) from None  # the reader has what it wanted (`| head`)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # that is what rich makes of it
            raise typer.Exit(0) from None
        raise
    except MemoryError:
        exhausted = ResourceError("out of memory", "give the machine less to do: a smaller model, text or --batch")
        _report(exhausted)
        raise typer.Exit(exhausted.exit_status) from None
    except OSError as system_error:
        if system_error.errno not in _NO_ROOM:
            raise
        full = ResourceError("no room left on the device that output goes to", "free some space")
        _report(full)
        raise typer.Exit(full.exit_status) from None
    except Exception as error:
        # Typer's own usage errors quote what was typed, and a shell's `*` types whatever files are called.
        quoted = vars(error).get("message")
        if hasattr(error, "format_message") and isinstance(quoted, str):
            from charrnn.display.safe import visible

            vars(error)["message"] = visible(quoted)
        raise
    finally:
        _settle(sys.stdout)
        _settle(sys.stderr)


def _report(error: CharrnnError) -> None:
    from charrnn.display.safe import say

    # A message may quote a file name or a character of the text: it never drives the terminal.
    # Of several processes that fail alike, the first need not say which it is.
    number = os.environ.get("RANK", "0")
    who = "" if number == "0" else f"process {number}: "
    say(f"{who}error: {error.message}")
    if error.hint:
        say(f"{who} hint: {error.hint}")


def _settle(stream: IO[str]) -> None:
    """What cannot be written now (a closed pipe, a full disk) must not raise again in the interpreter's farewell."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


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
    # A stream that was closed (`2>&-`) is None, and print would send to stdout what is meant for stderr.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - open as long as the program
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal's encoding lacks is spelled out
    try:
        make_app(sys.argv[1:])()
    except SystemExit as leaving:
        distributed = sys.modules.get("charrnn.training.distributed")  # it would load torch
        if distributed is not None and distributed.has_joined() and isinstance(leaving.code, int):
            _leave_at_once(leaving.code)
        raise


def _leave_at_once(status: int) -> NoReturn:
    """Ends one of several processes without the interpreter's farewell.

    gloo's threads may still be letting go of the last messages, and of Python objects with them; one that wants the
    interpreter's lock while that is shut down for good aborts the process.
    """
    _settle(sys.stdout)
    _settle(sys.stderr)
    os._exit(status)


_COMMANDS = {"train": "train", "sample": "sample", "eval": "evaluate", "inspect": "inspect"}


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """The command line. Where `words` begin with a command, with that one alone: the others need not be read then."""
    app = typer.Typer(
        cls=_Group,
        name="charrnn",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
    )
    app.callback()(charrnn)
    for name in [word for word in words[:1] if word in _COMMANDS] or _COMMANDS:
        module = importlib.import_module(f"charrnn.cli.{name}")
        app.command(name)(getattr(module, _COMMANDS[name]))
    return app
