"""`charrnn inspect TEXT --find --browse`: shows the atlas on the whole terminal; arrow keys go to labels and units."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charrnn.cli.ablate import ABLATE
from charrnn.cli.options import refuse_beside
from charrnn.cli.output import FORMATS
from charrnn.cli.view import Given, Option
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from charrnn.cli.reading import Subject
    from charrnn.display.browse import Scene
    from charrnn.display.palette import Palette
    from charrnn.neurons.find import Atlas
    from charrnn.neurons.labels import Label
    from charrnn.neurons.record import Unit

BROWSE = Option(
    "--browse",
    bool,
    "With --find: look through what was found on the whole terminal: arrows go from label to label and from unit to "
    "unit, the text below is coloured.",
    alone="{flag} looks through what {views} finds",
)
_UNITS = 12
"""The number of units offered for a label: those that tell it best on the first half."""
_KEYS = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"k": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"j": "down",
    b"\x1b[D": "left", b"\x1bOD": "left", b"h": "left", b"\x1b[C": "right", b"\x1bOC": "right", b"l": "right",
    b" ": "forward", b"\x1b[6~": "forward", b"b": "back", b"\x1b[5~": "back", b"n": "next",
    b"?": "keys",
    b"q": "end", b"\x1b": "end", b"\x04": "end",
}  # fmt: skip


def check(asked: Given) -> None:
    """Raises UsageError where other output goes to the terminal too, or where there is no terminal."""
    if not asked.browse:
        return
    others = (ABLATE, *(one.option for one in FORMATS))
    refuse_beside("--browse fills the terminal", {option.flag: asked.gives(option) for option in others})
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("--browse needs a terminal", "without one, --html keeps a page and --json the numbers")
    try:
        import termios  # noqa: F401
    except ImportError:
        raise UsageError("--browse cannot read single keys on this system", "--html keeps a page") from None


class Tour:
    """The user's place in the atlas: a label, one of its units, and a passage of the half that chose neither."""

    def __init__(self, subject: Subject, atlas: Atlas, labels: Sequence[Label], second: int, palette: Palette) -> None:
        self._subject, self._atlas, self._text = subject, atlas, subject.text
        self._labels = {label.name: label for label in labels}
        self._second, self._palette = second, palette
        self._label = self._unit = 0
        self._shows_keys = False
        self._begin, self._shown = second, 1
        self._kept: dict[tuple[Any, int, int], Any] = {}
        self._go_to_change(second)

    def press(self, key: str) -> bool:
        """Carries out the command of a key, and returns whether to go on. Each leaves the page of keys."""
        if self._shows_keys or key == "keys":
            self._shows_keys = not self._shows_keys
            return True
        if key in ("up", "down"):
            step = 1 if key == "down" else -1
            self._label = min(max(0, self._label + step), len(self._atlas.findings) - 1)
            self._unit = 0
            self._go_to_change(self._second)
        elif key in ("left", "right"):
            step = 1 if key == "right" else -1
            self._unit = min(max(0, self._unit + step), len(self._units()) - 1)
        elif key == "forward" and self._begin + self._shown < len(self._text):
            self._begin += self._shown
        elif key == "back":
            self._begin = max(self._second, self._begin - self._shown)
        elif key == "next":
            self._go_to_change(self._begin + self._shown)
        return key != "end"

    def _go_to_change(self, start: int) -> None:
        """Goes to the first place from `start` on where the label changes, with a little of the text before it."""
        import numpy as np

        values = self._labels[self._atlas.findings[self._label].label].values
        changes = np.flatnonzero(np.diff(values[start:]) != 0)
        if len(changes):
            line = self._text.rfind("\n", self._second, start + int(changes[0]) + 1) + 1
            self._begin = line if start - 1 < line else max(start, start + int(changes[0]) - 60)

    def _units(self) -> list[tuple[Unit, float]]:
        """Returns the units that tell the label best on the first half, with their effects on the second."""
        import numpy as np

        scores = self._atlas.scores
        column = scores.labels.index(self._atlas.findings[self._label].label)
        order = np.argsort(-np.abs(np.nan_to_num(scores.first[:, column])), kind="stable")[:_UNITS]
        return [(scores.units[number], float(scores.second[number, column])) for number in order]

    def _values(self, unit: Unit, begin: int, end: int) -> Any:
        from charrnn.neurons.record import record_passage

        if (unit.part, begin, end) not in self._kept:
            read = record_passage(self._subject.engine, self._subject.ids, unit.part, begin, end)
            self._kept = {(unit.part, begin, end): read}
        return self._kept[unit.part, begin, end][:, unit.index]

    def scene(self, width: int, height: int, *, has_colour: bool = True) -> Scene:
        """Returns what a screen of `width` columns and `height` rows shows."""
        from charrnn.display.browse import Scene, room_for_passage
        from charrnn.display.find import NAMES, cells_of, told
        from charrnn.display.heat import Picture
        from charrnn.neurons.record import limits, title

        findings = self._atlas.findings
        finding = findings[self._label]
        units = self._units()
        unit, effect = units[self._unit]
        room = room_for_passage(width, height, len(findings), has_colour=has_colour)
        end = min(self._begin + width * room, len(self._text))
        values = self._values(unit, self._begin, end).tolist()
        label = self._labels[finding.label]
        marked = [] if label.is_graded else (label.values[self._begin : end] > 0).tolist()
        name = title(unit, self._subject.loaded.of_units)
        text = self._text[self._begin : end]
        whole = Picture(name, text, values, *limits(unit.kind, self._subject.loaded.of_units), marked, self._palette)
        fitting = whole.fitting(width, room)
        self._shown = max(1, fitting)
        about = f"unit {self._unit + 1} of the {len(units)} best: {told(effect, finding)}" + (
            "" if label.is_graded else "; underlined where it holds"
        )
        return Scene(
            heading=f"label {self._label + 1} of {len(findings)}, from character {self._begin:,}",
            names=NAMES,
            rows=[cells_of(each) for each in findings],
            found=[each.is_found for each in findings],
            chosen=self._label,
            about=about,
            passage=whole.beginning(fitting),
            shows_keys=self._shows_keys,
        )


def show(tour: Tour) -> None:
    """Shows the tour until its end. The terminal is restored afterwards, whatever happens."""
    import termios
    import tty

    from rich.console import Console

    from charrnn.cli.signals import leaving_on_signals

    console, stdin = Console(highlight=False), sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    try:
        with leaving_on_signals(), console.screen():
            tty.setcbreak(stdin, termios.TCSADRAIN)  # keys that were typed before are kept
            _follow(tour, console, stdin)
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _follow(tour: Tour, console: Console, stdin: int) -> None:
    from rich.control import Control

    from charrnn.cli.signals import calling_on_resize
    from charrnn.display.background import has_colour

    waking, wake = os.pipe()
    os.set_blocking(wake, False)

    def resized() -> None:
        with contextlib.suppress(BlockingIOError):  # full of earlier news
            os.write(wake, b"r")

    try:
        with calling_on_resize(resized):
            goes_on = True
            while goes_on:
                size = console.size
                scene = tour.scene(size.width, size.height, has_colour=has_colour(console))
                console.control(Control.home())
                console.print(scene, end="", height=size.height, soft_wrap=False)
                goes_on = all(tour.press(key) for key in _next_keys(stdin, waking))
    finally:
        os.close(waking)
        os.close(wake)


def _next_keys(stdin: int, waking: int) -> list[str]:
    """Waits for keys, which it returns, or until the window's size has changed, when it returns none."""
    import select

    ready, _, _ = select.select([stdin, waking], [], [])
    if waking in ready:
        os.read(waking, 4096)
    return keys_of(os.read(stdin, 64)) if stdin in ready else []


def keys_of(read: bytes) -> list[str]:
    """Returns the names of the keys pressed, without unknown ones. A terminal that is gone counts as the end key."""
    if not read:
        return ["end"]
    names: list[str] = []
    rest = read
    while rest:
        known = max((key for key in _KEYS if rest.startswith(key)), key=len, default=None)
        if known == b"\x1b" and len(rest) > 1:  # some other key's sequence
            return names
        if known is not None:
            names.append(_KEYS[known])
        rest = rest[len(known) if known else 1 :]
    return names
