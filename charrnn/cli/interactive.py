"""`charrnn sample --interactive`: a person and a model write a text together.

Menus, prompts and notices go to stderr; the text goes to stdout when the session ends, however it ends. Commands are
plain lines, so a script can be piped in. What is pasted with line ends in it is text, exactly as it stands.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from charrnn.cli.prompt import Prompt
from charrnn.cli.signals import StopOnSignal, catching_ctrl_c, leaving_on_signals
from charrnn.cli.typed import Typed, is_near_command, joint, understood, unescaped
from charrnn.display.menu import Menu
from charrnn.display.safe import write, write_bytes
from charrnn.errors import CharrnnError, CheckpointError, TextError, UsageError
from charrnn.files import explained, replace_durably, write_content
from charrnn.inference.engine import Engine
from charrnn.sampling.cowriting import Session
from charrnn.settings.choices import UnknownPolicy
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.fitting import Reader
from charrnn.text.vocabulary import Vocabulary
from charrnn.wording import count

_TAIL = 2000  # characters at the end of the text that a menu may show
_WELCOME = [
    "Type a line and press Enter to add it to the text.",
    "Enter alone lets the model write a word. A number takes that word of the menu, c1 takes the first character.",
    "u undoes, r redoes, q ends, ? shows all commands.",
]
_KEYS = [
    ("TEXT", "add your own text, joined by a space where two words would run together"),
    ("+TEXT", r"add it exactly as it stands (+q adds q); \n is a line end, \t a tab, \\ a backslash"),
    ("a paste", "a text of several lines is added as it stands, with its line ends"),
    ("1, 2, ...", "take that word of the menu"),
    ("c1, c2, ...", "take that character of the menu"),
    ("Enter", "let the model write a word"),
    ("l", "let the model write to the end of the line"),
    ("g 200", "let the model write 200 characters (Ctrl-C stops it)"),
    ("u, u 3", "undo the last change, the last three"),
    ("r, r 3", "redo what was undone"),
    ("t 0.5", "set the temperature of what the model writes (the menu is always at 1)"),
    ("p 0.9", "set top-p of what the model writes (p 1 turns it off)"),
    ("s FILE", "save the text; s! FILE replaces a file"),
    ("m", "show the menu again"),
    ("q", "end and print the text; so do Ctrl-D and Ctrl-C on an empty line"),
]
_NEAR = "added as text; u takes it back, q quits"
_SETTINGS = {"t": ("temperature", "t 0.5"), "p": ("top-p", "p 0.9")}


def run(
    engine: Engine,
    vocabulary: Vocabulary,
    prime_ids: Sequence[int] | npt.NDArray[Any],
    config: SamplingConfig,
    *,
    unknown: UnknownPolicy = "error",
    reader: Reader | None = None,
) -> None:
    """Holds a session on stdin, stderr and stdout, beginning with `prime_ids` (maybe none).

    Of `config`, temperature, top_k, top_p, min_p and seed count. `unknown` says what becomes of typed characters that
    the model does not know; the `reader` brings what is typed into the form that it knows. Returns on `q` and at the
    end of input; raises KeyboardInterrupt on Ctrl-C at the prompt,
    SystemExit with the signal's status on SIGTERM and SIGHUP, CheckpointError where the model's output is not finite.
    Once the session has begun, its text is written to stdout in every case.
    """
    session = Session(engine, vocabulary, prime_ids, config, unknown=unknown)
    try:
        with leaving_on_signals(), catching_ctrl_c():
            _Conversation(session, Menu(sys.stderr), reader).hold()
    except BaseException:
        with contextlib.suppress(OSError):  # the terminal may be what is gone
            _give(session)
        raise
    _give(session)


def _give(session: Session) -> None:
    """Writes the text to stdout: exactly as it is, but on a terminal with a line end, for the shell's prompt."""
    if sys.stdout.isatty():
        text = session.text
        write(text if text.endswith("\n") else text + "\n", sys.stdout)
    elif session.vocabulary.kind == "bytes":
        write_bytes(session.encoded(), sys.stdout)
    else:
        write(session.text, sys.stdout)
    sys.stdout.flush()


class _Conversation:
    """Obeys lines that are typed: changes the session and shows menus."""

    def __init__(self, session: Session, menu: Menu, reader: Reader | None = None) -> None:
        self._session, self._menu, self._reader = session, menu, reader

    def hold(self) -> None:
        """Answers lines until `q` or the end of input."""
        for line in _WELCOME:
            self._menu.say(line)
        self._show_menu()
        with Prompt(self._redraw) as prompt:
            try:
                while True:
                    line = prompt.read()
                    if not prompt.is_watched:
                        self._menu.say(line.rstrip("\n"))
                    bare = line.removesuffix("\n")
                    if not line or understood(bare) == Typed("q"):
                        break
                    self._answer(bare)
                    if not line.endswith("\n"):
                        break
            finally:
                if prompt.is_watched:
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
        session, typed = self._session, understood(line)
        match typed.name:
            case "text":
                self._add(unescaped(typed.argument), is_joined=True)
                if is_near_command(line):
                    self._menu.say(_NEAR)
            case "exact":
                self._add(unescaped(typed.argument), is_joined=False)
            case "paste":
                self._add(typed.argument, is_joined=True)
            case "pick":
                self._take(typed.argument)
            case "":
                self._draw(session.write_word(), is_long=False)
            case "l":
                self._draw(session.write_line())
            case "g":
                self._draw(session.write(_whole("g", typed.argument)))
            case "u":
                self._move(session.undo(times := _whole("u", typed.argument or "1")), times, "undone")
            case "r":
                self._move(session.redo(times := _whole("r", typed.argument or "1")), times, "redone")
            case "t" | "p":
                self._set(typed.name, typed.argument)
            case "s" | "s!":
                self._save(typed.argument, over=typed.name == "s!")
            case "m":
                self._show_menu()
            case "?":
                self._menu.keys(_KEYS)

    def _take(self, key: str) -> None:
        before, number = len(self._session), int(key.removeprefix("c"))
        try:
            self._session.take("character" if key.startswith("c") else "word", number)
        except UsageError as error:
            raise UsageError(error.message, f"{error.hint}; +{key} writes {key} itself") from error
        self._show_menu(before)

    def _add(self, text: str, *, is_joined: bool) -> None:
        before = len(self._session)
        if self._reader is not None:
            text, notes = self._reader.text(text, "what you typed")
            for note in notes:
                self._menu.say(note)
        if is_joined and " " in self._session.vocabulary:
            text = joint(self._tail(), text) + text
        try:
            added = self._session.add(text)
        except TextError as error:
            raise TextError(error.message, *self._advice(text)) from error
        if not added:
            hint = "type the text right behind the +" if not text else "the model knows none of these characters"
            raise UsageError("that adds nothing", hint)
        self._show_menu(before)

    def _advice(self, text: str) -> list[str]:
        """Returns what to do about characters of `text` that the model does not know."""
        vocabulary = self._session.vocabulary
        unknown = [character for character in dict.fromkeys(text) if character not in vocabulary]
        pairs = [(character, near) for character in unknown if (near := vocabulary.nearest(character))][:3]
        near = ", ".join(f"{_shown(near)} for {_shown(character)}" for character, near in pairs)
        return ["nothing was added", "type it without them" + (f", or with near characters ({near})" if near else "")]

    def _draw(self, pieces: Iterator[str], *, is_long: bool = True) -> None:
        """Lets the model write until it is done or a signal comes; a long text shows as it comes."""
        before = len(self._session)
        if is_long:
            self._menu.say("")
            self._menu.begin(self._tail())
        with StopOnSignal() as stopped:
            for piece in pieces:
                if is_long:
                    self._menu.go_on(piece)
                if stopped():
                    break
        if is_long:
            self._menu.end()
        number = stopped()
        if number is not None and number != signal.SIGINT:
            raise SystemExit(128 + number)
        if number is not None:
            self._menu.say(f"stopped after {self._counted(len(self._session) - before)}; u undoes them")
        self._show_menu(before, has_shown_text=is_long)

    def _move(self, done: int, asked: int, how: str) -> None:
        """Shows the text after `done` of the `asked` changes were undone or redone."""
        if done < asked:
            self._menu.say(f"{count(done, 'change')} {how}, and there are no more")
        self._show_menu()

    def _set(self, name: str, argument: str) -> None:
        """Sets the temperature or top-p if a number is given, and says which both are."""
        change = self._session.set_temperature if name == "t" else self._session.set_top_p
        setting, example = _SETTINGS[name]
        try:
            if argument:
                change(float(argument))
        except UsageError as error:
            raise UsageError(f"{setting} cannot be {argument}", f"{error.hint}, for example {example}") from error
        config = self._session.config
        self._menu.say(f"temperature {config.temperature:g}, top-p {'off' if config.top_p is None else config.top_p}")

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
        replace_durably(path, lambda temporary: write_content(temporary, content))
        self._menu.say(f"saved {self._counted(len(self._session))} to {path}")

    def _counted(self, number: int) -> str:
        return count(number, "byte" if self._session.vocabulary.kind == "bytes" else "character")

    def _tail(self) -> str:
        end = len(self._session)
        return self._session.text_between(max(0, end - _TAIL), end)

    def _redraw(self) -> None:
        """Draws the text and the menu anew, for a window of another size."""
        self._menu.clear()
        self._show_menu()

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
            self._menu.say("The search for words was cut short, so that likelier ones may be missing.")


def _whole(name: str, argument: str) -> int:
    if not argument:
        raise UsageError(f"{name} needs a whole number", f"for example {name} 3; +{name} writes {name} itself")
    return int(argument)


def _shown(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else ascii(character)
