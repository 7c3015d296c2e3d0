"""The command line: commands, and what becomes of errors.

Nothing here imports torch, nor anything that does: each command's body imports what it needs, so that `--help` and
a mistyped option answer at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Set
from typing import IO, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from charrnn.cli.command import Command
from charrnn.errors import CharrnnError, ResourceError, UsageError, in_one_line
from charrnn.system_errors import FULL, Outcome, lacking, outcome_of, told
from charrnn.version import __version__
from charrnn.wording import NOT_UTF_8, shortened

_SETTINGS = {"help_option_names": ["-h", "--help"]}
_LONGEST = 1200
"""Characters of an error's message; a whole command that a hint tells may have more."""
_NOT_UTF_8 = re.compile(r"[\udc80-\udcff]|\\udc[89a-f][0-9a-f]")
"""What Python makes of bytes of the command line that are not UTF-8, as it stands or spelled out."""


_COMMANDS = {
    "train": ("train", "Train a model on a text, or go on with a run."),
    "sample": ("sample", "Write text with a trained model."),
    "eval": ("evaluate", "Tell how many bits a character of a text costs a model."),
    "inspect": ("inspect", "See what a model is and what its units respond to."),
    "help": ("guide", "Read the manual, page by page."),
}
"""Name, which is also the module's -> the function there, and a line of help."""


class _Group(TyperGroup):
    """Reads the one command that was asked for, and turns foreseeable errors into a message, a hint and a status."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # A name that is none may be one mistyped: then all are there, to suggest one of them.
        for name in [cmd_name] if cmd_name in _COMMANDS else _COMMANDS:
            if name not in self.commands:
                function = getattr(importlib.import_module(f"charrnn.cli.{name}"), _COMMANDS[name][0])
                app = typer.Typer(add_completion=False, context_settings=_SETTINGS)
                app.command(name, cls=Command)(function)
                command: Any = typer.main.get_command(app)
                command.levels = getattr(function, "levels", {})
                command.arrange = getattr(function, "arrange", None)
                self.commands[name] = command
        return self.commands.get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Draws the page without reading the commands."""
        from rich.console import Console

        from charrnn.cli.help_page import example
        from charrnn.display.help_page import Page, Row, Section, draw

        about, _, examples = (self.help or "").partition("\b\n")
        parameters: list[Any] = [each for each in self.get_params(ctx) if each.name != "show_completion"]
        options = [Row(", ".join(sorted(each.opts, key=len)), each.help) for each in parameters]
        page = Page(
            usage=f"{ctx.command_path} [OPTIONS] COMMAND ...",
            about=about.strip(),
            examples=[example(line) for line in examples.splitlines() if line.strip()],
            sections=[
                Section("Commands", [Row(name, line) for name, (_, line) in _COMMANDS.items()]),
                Section("Options", options),
            ],
            last=["charrnn COMMAND --help shows a command's options, and charrnn help the manual."],
        )
        draw(page, Console(highlight=False, markup=False))

    def _flags(self, ctx: Any) -> set[str]:
        """Returns the names of the options that the command in question has; all where that is not known."""
        command: Any = self.commands.get(ctx.invoked_subcommand)
        parameters = [] if command is None else command.params
        return {flag for each in parameters for flag in (*each.opts, *each.secondary_opts)}

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _explained():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _explained(lambda: self._flags(ctx)):
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk or a closed pipe shows here, not in the interpreter's farewell
            return result


@contextlib.contextmanager
def _explained(flags: Callable[[], Set[str]] = frozenset) -> Iterator[None]:
    """Turns errors within into a message and an exit status; hints name only options of `flags`, if there are any."""
    try:
        yield
    except CharrnnError as error:
        if os.environ.get("CHARRNN_TRACEBACK"):
            raise
        _fail(error, flags())
    except BrokenPipeError:
        raise typer.Exit(0) from None  # the reader has what it wanted (`| head`)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # that is what rich makes of it
            raise typer.Exit(0) from None
        raise
    except MemoryError:
        _fail(
            ResourceError("out of memory", "give the machine less to do: a smaller model, a shorter text, fewer lanes")
        )
    except OSError as system_error:
        if system_error.errno is None or os.environ.get("CHARRNN_TRACEBACK"):
            raise
        _fail(_as_error(system_error))
    except ImportError as import_error:
        if (lack := lacking(_cause(import_error))) is None:
            raise
        _fail(
            ResourceError(f"the program cannot be loaded: {lack}", "let it have more memory and files: ulimit -v, -n")
        )
    except Exception as error:
        # Without a word on the command line Typer fails with the help page as its message, which has been printed.
        if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
            raise
        from charrnn.cli.usage import retold

        _fail(retold(error))
    finally:
        _settle(sys.stdout)
        _settle(sys.stderr)


def _cause(error: BaseException) -> BaseException:
    """Returns what an error came from in the end: numpy explains at length why it might not have been loaded."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _as_error(error: OSError) -> CharrnnError:
    """Returns the error for a failed call of the system of which nothing else has said what it was made for."""
    if error.errno in FULL and error.filename is None:
        return ResourceError(f"no room left on the device that output goes to: {error.strerror}", "free some space")
    named = "the output" if error.filename is None else os.fsdecode(error.filename)
    if outcome_of(error) is Outcome.RESOURCES:
        return ResourceError(*told(error, f"with {named}"))
    return UsageError(f"cannot go on with {named}: {error.strerror}", "check its name and its permissions")


def _fail(error: CharrnnError, flags: Set[str] = frozenset()) -> NoReturn:
    """Says what is wrong and what to do about it, and ends the command with the error's status."""
    from charrnn.display.notice import say

    # A message may quote a file name or a character of the text: it never drives the terminal.
    # Of several processes that fail alike, the first need not say which it is.
    number = os.environ.get("RANK", "0")
    who = "" if number == "0" else f"process {number}: "
    say(f"{who}error: {shortened(error.message, _LONGEST)}")
    hints = [hint for hint in error.hints if not flags or _is_possible(hint, flags)]
    if _NOT_UTF_8.search(error.message):
        hints.append(NOT_UTF_8)
    if hints:
        say(f"{who} hint: {in_one_line(shortened(hint, 2 * _LONGEST) for hint in hints)}")
    raise typer.Exit(error.exit_status) from None


def _is_possible(hint: str, flags: Set[str]) -> bool:
    """Returns whether a command with these options has all that a hint names, bar those of commands it names too."""
    own = re.sub(r"charrnn [a-z]+\b.*", "", hint)
    return set(re.findall(r"(?<![\w-])(?:--[a-z][a-z0-9-]*|-[a-z]\b(?!-))", own)) <= flags


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
    """Character-level language modelling with recurrent networks.

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
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal's encoding lacks is spelled out
        else:  # a pipe or a file gets the text itself, whatever the terminal can show
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        make_app()()
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


def make_app() -> typer.Typer:
    """The command line."""
    app = typer.Typer(
        cls=_Group,
        name="charrnn",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings=_SETTINGS,
    )
    app.callback()(charrnn)
    return app
