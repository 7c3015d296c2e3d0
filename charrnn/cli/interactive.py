"""`charrnn sample --interactive`: a person and a model write a text together.

Menus, prompts and notices go to stderr; the text goes to stdout when the session ends, however it ends. Commands are
plain lines, so the terminal stays in its usual mode, and a script can be piped in.
"""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import typer

from charrnn.cli.signals import StopOnSignal, leaving_on_signals
from charrnn.display.menu import Menu
from charrnn.display.safe import write
from charrnn.errors import CharrnnError, CheckpointError, UsageError
from charrnn.files import explained, replace_durably
from charrnn.inference.engine import Engine
from charrnn.sampling.cowriting import Session
from charrnn.settings.choices import UnknownPolicy
from charrnn.settings.config import SamplingConfig
from charrnn.text.vocabulary import Vocabulary

_TAIL = 2000  # characters at the end of the text that a menu may show
_WELCOME = [
    "1 takes the first word, c1 the first character, +TEXT is your own,",
    "Enter lets the model write a word, u undoes, ? shows the rest.",
]
_KEYS = [
    ("1, 2, ...", "take that word"),
    ("c1, c2, ...", "take that character"),
    ("+TEXT", r"write TEXT, exactly as it stands; \n is a line end, \t a tab, \\ a backslash"),
    ("Enter", "the model writes a word"),
    ("l", "the model writes to the end of the line"),
    ("g 200", "the model writes 200 characters (Ctrl-C stops it)"),
    ("u, u 3", "take back the last change, the last three"),
    ("t 0.5", "temperature of what the model writes (the menu is always at 1)"),
    ("s FILE", "save the text; s! FILE writes over a file"),
    ("m", "show the menu again"),
    ("q", "end, and print the text; so do Ctrl-D and Ctrl-C"),
]


def run(
    engine: Engine,
    vocabulary: Vocabulary,
    prime_ids: Sequence[int] | npt.NDArray[Any],
    config: SamplingConfig,
    *,
    unknown: UnknownPolicy = "error",
) -> None:
    """Holds a session on stdin, stderr and stdout, beginning with `prime_ids` (maybe none).

    Of `config`, temperature, top_k, top_p, min_p and seed count. `unknown` says what becomes of typed characters that
    the model does not know. Returns on `q` and at the end of input; raises KeyboardInterrupt on Ctrl-C at the prompt,
    typer.Exit with the signal's status on SIGTERM and SIGHUP, CheckpointError where the model's output is not finite.
    Once the session has begun, its text is written to stdout in every case.
    """
    session = Session(engine, vocabulary, prime_ids, config, unknown=unknown)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # what is no UTF-8 gets a message, not a traceback
    try:
        with leaving_on_signals():
            _Conversation(session, Menu(sys.stderr)).hold()
    except BaseException:
        with contextlib.suppress(OSError):  # the terminal may be what is gone
            _give(session.text)
        raise
    _give(session.text)


def _give(text: str) -> None:
    write(text if text.endswith("\n") else text + "\n", sys.stdout)
    sys.stdout.flush()


class _Conversation:
    """Obeys lines that are typed: changes the session and shows menus."""

    def __init__(self, session: Session, menu: Menu) -> None:
        self._session, self._menu = session, menu

    def hold(self) -> None:
        """Answers lines until `q` or the end of input."""
        for line in _WELCOME:
            self._menu.say(line)
        self._show_menu()
        watched = sys.stdin is not None and sys.stdin.isatty()
        try:
            while True:
                self._menu.ask()
                line = _read_line()
                if not watched:
                    self._menu.say(line.rstrip("\n"))
                if line.strip() == "q" or not line:
                    break
                self._answer(line.removesuffix("\n"))
                if not line.endswith("\n"):
                    break
        finally:
            if watched:
                self._menu.say("")  # after Ctrl-D or ^C, what follows begins on a line of its own

    def _answer(self, line: str) -> None:
        try:
            self._obey(line)
        except CheckpointError:
            raise
        except CharrnnError as error:
            self._menu.say(f"error: {error.message}")
            if error.hint:
                self._menu.say(f" hint: {error.hint}")

    def _obey(self, line: str) -> None:
        session = self._session
        if line.startswith("+"):
            self._add(line[1:])
            return
        name, _, argument = line.strip().partition(" ")
        argument = argument.strip()
        match name, argument:
            case "", "":
                self._draw(session.write_word(), is_long=False)
            case "l", "":
                self._draw(session.write_line())
            case "g", _:
                self._draw(session.write(_whole("g", argument)))
            case "u", _:
                self._undo(_whole("u", argument or "1"))
            case "t", _:
                self._temperature(argument)
            case "s" | "s!", _:
                self._save(argument, over=name == "s!")
            case "m", "":
                self._show_menu()
            case "?", "":
                self._menu.keys(_KEYS)
            case _:
                self._take(line.strip())

    def _take(self, key: str) -> None:
        picked = re.fullmatch(r"(c?)([0-9]{1,9})", key)
        if picked is None:
            raise UsageError(f"{_quoted(key)} is no command", "text of your own begins with +; ? shows the commands")
        before = len(self._session)
        self._session.take("character" if picked[1] else "word", int(picked[2]))
        self._show_menu(before)

    def _add(self, text: str) -> None:
        before = len(self._session)
        if not self._session.add(_unescaped(text)):
            raise UsageError("that adds nothing", "type the text right behind the +")
        self._show_menu(before)

    def _draw(self, pieces: Iterator[str], *, is_long: bool = True) -> None:
        """Lets the model write until it is done or a signal comes; a long text shows as it comes."""
        before = len(self._session)
        if is_long:
            self._menu.say("")
            self._menu.begin(self._tail())
        with StopOnSignal(quiet=True) as stopped:
            for piece in pieces:
                if is_long:
                    self._menu.go_on(piece)
                if stopped():
                    break
        if is_long:
            self._menu.end()
        number = stopped()
        if number is not None and number != signal.SIGINT:
            raise typer.Exit(128 + number)
        if number is not None:
            self._menu.say(f"stopped after {len(self._session) - before:,} {self._units}; u takes them back")
        self._show_menu(before, has_shown_text=is_long)

    def _undo(self, times: int) -> None:
        done = self._session.undo(times)
        if done < times:
            self._menu.say(f"took back {done}, and there is no more")
        self._show_menu()

    def _temperature(self, argument: str) -> None:
        if argument:
            try:
                temperature = float(argument)
            except ValueError:
                raise UsageError(f"t needs a number, not {_quoted(argument)}", "for example t 0.5") from None
            self._session.set_temperature(temperature)
        self._menu.say(f"temperature {self._session.config.temperature:g}")

    def _save(self, argument: str, *, over: bool) -> None:
        if not argument or "\0" in argument:
            raise UsageError("there is no name to save to", "for example s story.txt")
        path = Path(argument)
        with contextlib.suppress(RuntimeError):  # no such user: then it is a name that begins with ~
            path = path.expanduser()
        with explained(path):
            if path.is_dir():
                raise UsageError(f"{path} is a folder", f"for example s {path / 'story.txt'}")
            if path.exists() and not over:
                raise UsageError(f"{path} exists already", f"s! {path} writes over it")
        content = self._session.encoded()
        replace_durably(path, lambda temporary: temporary.write_bytes(content))
        self._menu.say(f"saved {len(self._session):,} {self._units} to {path}")

    @property
    def _units(self) -> str:
        return "bytes" if self._session.vocabulary.kind == "bytes" else "characters"

    def _tail(self) -> str:
        end = len(self._session)
        return self._session.text_between(max(0, end - _TAIL), end)

    def _show_menu(self, before: int | None = None, *, has_shown_text: bool = False) -> None:
        """Shows the end of the text, with what has come since `before` set off, and what may come next."""
        if not has_shown_text:
            end = len(self._session)
            new = "" if before is None else self._session.text_between(before, end)
            self._menu.say("")
            self._menu.tail(self._tail(), len(new))
        choices = self._session.choices()
        pairs = [[(one.text, one.probability) for one in kind] for kind in (choices.words, choices.characters)]
        self._menu.proposals(*pairs)
        if not choices.words_are_exact:
            self._menu.say("the search for words was cut short: likelier ones may be missing")


def _read_line() -> str:
    """Reads the next line, with its end if it has one; returns nothing at the end of input."""
    if sys.stdin is None:
        return ""
    try:
        return sys.stdin.readline()
    except OSError:  # a terminal that hung up
        return ""


def _whole(name: str, argument: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", argument):
        given = f", not {_quoted(argument)}" if argument else ""
        raise UsageError(f"{name} needs a whole number{given}", f"for example {name} 3")
    return int(argument)


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        try:
            return {"n": "\n", "t": "\t", "\\": "\\"}[match[1]]
        except KeyError:
            raise UsageError(
                f"the text holds {match[0]}", r"known are \n, \t and \\ for the backslash itself"
            ) from None

    return re.sub(r"\\(.|$)", character, text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "\u2026")
