"""The atlas on the whole terminal: where keys lead, what a screen of any size shows, and a real terminal."""

from __future__ import annotations

import fcntl
import io
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rich.console import Console

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.browse import Tour, keys_of
from charrnn.cli.reading import Subject
from charrnn.display.browse import KEYS, keys_for
from charrnn.display.palette import SAFE, mixed
from charrnn.inference.reference import Network
from charrnn.neurons.find import Atlas, make_atlas
from charrnn.neurons.labels import Label, labels_of
from charrnn.neurons.record import limits, record
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command
from tests.kit.quotes import letters_and_quotes
from tests.kit.tiny import tiny

TEXT = "\n".join(letters_and_quotes(1500, seed)[: 40 + 7 * seed] for seed in range(40))
VOCABULARY = Vocabulary.of(TEXT)
CONFIG = ModelConfig(cell="lstm", num_layers=2, hidden_size=9, embedding_size=5)
SECOND = len(TEXT) // 2


class Made(NamedTuple):
    """An atlas and what it is of."""

    subject: Subject
    atlas: Atlas
    labels: list[Label]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The atlas of a network with weights of chance."""
    arrays = untrained_arrays(CONFIG, len(VOCABULARY), seed=3)
    ids, labels, engine = VOCABULARY.encode(TEXT), labels_of(TEXT), Network(CONFIG, arrays)
    atlas = make_atlas(engine, Network(CONFIG, untrained_arrays(CONFIG, len(VOCABULARY), seed=8)), ids, labels)
    run = replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=arrays)
    file = tmp_path_factory.mktemp("browse") / "text.txt"
    file.write_text(TEXT, "utf-8")
    return Made(Subject(run, Path("best.safetensors"), str(file), length=len(TEXT)), atlas, labels)


@pytest.fixture
def tour(made: Made) -> Tour:
    """A tour of it, at its beginning."""
    return Tour(made.subject, made.atlas, made.labels, SECOND, SAFE)


class Screen:
    """What a terminal shows of a tour, in colour."""

    def __init__(self, tour: Tour, width: int, height: int) -> None:
        console = Console(
            width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor",
            legacy_windows=False, _environ={},
        )  # fmt: skip
        lines = console.render_lines(tour.scene(width, height), console.options.update(height=height))
        self.lines = ["".join(segment.text for segment in line) for line in lines]
        heading = re.match(r"label (\d+) of (\d+), from character ([\d,]+)", self.lines[0])
        assert heading, self.lines[0]
        self.label, self.labels, self.begin = (int(number.replace(",", "")) for number in heading.groups())
        (self.chosen,) = (
            "".join(part.text for part in line) for line in lines if line[0].style and line[0].style.reverse
        )
        about = next(place for place, line in enumerate(self.lines) if re.match(r"unit \d+ of the", line))
        self.about = self.lines[about]
        self.passage = [
            (character, segment.style)
            for line in lines[about + 2 : -1]
            for segment in line
            for character in segment.text
            if segment.style and segment.style.bgcolor
        ]
        """Coloured characters of the text with their styles; the legend stands above them."""
        self.unit = self.lines[about + 1].split()[0]

    @property
    def text(self) -> str:
        """The passage as the text has it."""
        return "".join(character for character, _ in self.passage).replace("↵", "\n")


def test_arrows_go_from_label_to_label_and_from_unit_to_unit(tour: Tour, made: Made) -> None:
    """And stay within the list; a new label begins with its best unit."""
    findings = made.atlas.findings
    assert Screen(tour, 80, 24).label == 1
    assert tour.press("up")
    assert Screen(tour, 80, 24).label == 1
    tour.press("down")
    screen = Screen(tour, 80, 24)
    assert (screen.label, screen.labels) == (2, len(findings))
    assert screen.unit == str(findings[1].unit)
    assert screen.chosen.startswith(findings[1].label)
    tour.press("right")
    assert "unit 2 of the 12 best" in Screen(tour, 80, 24).about
    tour.press("down")
    assert "unit 1 of the 12 best" in Screen(tour, 80, 24).about
    for _ in range(99):
        tour.press("down")
        tour.press("right")
    assert Screen(tour, 80, 24).label == len(findings)
    assert "unit 2 of the 12" in Screen(tour, 80, 24).about
    for _ in range(99):
        tour.press("left")
    assert "unit 1 of the 12" in Screen(tour, 80, 24).about
    assert not tour.press("end")


def test_passages_follow_each_other_without_a_gap(tour: Tour) -> None:
    """Each begins where the one before it ended, and back leads to the second half's beginning and no further."""
    screens = []
    for _ in range(4):
        screens.append(Screen(tour, 60, 20))
        tour.press("forward")
    assert TEXT[screens[0].begin :].startswith("".join(screen.text for screen in screens))
    assert screens[0].begin >= SECOND
    for _ in range(50):
        tour.press("back")
        tour.scene(60, 20)
    assert Screen(tour, 60, 20).begin == SECOND
    for _ in range(500):
        tour.press("forward")
        tour.scene(60, 20)
    assert TEXT.endswith(Screen(tour, 60, 20).text)


def test_next_leads_to_where_the_label_changes(tour: Tour, made: Made) -> None:
    """For every label, as long as there is such a place."""
    values = {label.name: label.values for label in made.labels}
    for number, finding in enumerate(made.atlas.findings, 1):
        screen = Screen(tour, 70, 24)
        for _ in range(3):
            shown = values[finding.label][screen.begin : screen.begin + len(screen.text)]
            assert len(set(shown.tolist())) > 1 or finding.is_graded
            tour.press("next")
            before, screen = screen.begin, Screen(tour, 70, 24)
            assert screen.begin >= before
        assert screen.label == number
        tour.press("down")


def test_colours_are_the_unit_s_values_and_marks_the_label(tour: Tour, made: Made) -> None:
    """Given all of the text before, or the last thousand characters of it."""
    number = next(place for place, finding in enumerate(made.atlas.findings) if not finding.is_graded)
    for _ in range(number):
        tour.press("down")
    unit, screen = made.atlas.findings[number].unit, Screen(tour, 80, 30)
    read = record(made.subject.engine, made.subject.ids, [unit.part])
    values = np.concatenate([taken[unit.part] for taken in read])[:, unit.index]
    places = slice(screen.begin, screen.begin + len(screen.text))
    low, high = limits(unit.kind, CONFIG)
    assert len(screen.text) > 300
    for value, (_, style) in zip(values[places].tolist(), screen.passage, strict=True):
        wanted = mixed(SAFE.text, (value - low) / (high - low))
        shown = style.bgcolor.triplet
        assert max(abs(ours - theirs) for ours, theirs in zip(wanted, shown, strict=True)) <= 1
    label = next(label for label in made.labels if label.name == made.atlas.findings[number].label)
    assert [bool(style.underline) for _, style in screen.passage] == (label.values[places] > 0).tolist()


def _printed(tour: Tour, width: int, height: int) -> Console:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    console.print(tour.scene(width, height, has_colour=False), end="", height=height)
    return console


@pytest.mark.parametrize("has_colour", [True, False])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (40, 10), (200, 60), (100, 9), (24, 8)])
def test_a_screen_is_full_and_no_more(tour: Tour, width: int, height: int, *, has_colour: bool) -> None:
    """Of any size: as many lines as it has, none wider, the keys at the foot, the chosen row among the shown ones."""
    for _ in range(9):
        tour.press("down")
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=has_colour, color_system=None)
    scene = tour.scene(width, height, has_colour=has_colour)
    console.print(scene, end="", height=height)
    lines = console.file.getvalue().split("\n")  # type: ignore[attr-defined]
    plain = [line.replace("\x1b[0m", "") for line in lines]
    assert len(lines) == height
    assert plain[-1].startswith("q end")
    if not has_colour:
        assert {len(line) for line in lines} == {width}
        assert lines[-1].rstrip() in KEYS, "whole, not cut"
        assert scene.passage.text
        assert any(line.startswith(scene.passage.text[:10].replace("\n", "↵")) for line in lines)
        assert any(scene.rows[9][0].split()[0] in line for line in lines[1:]) or width < 40


def test_a_narrow_screen_breaks_no_word_and_no_number(tour: Tour) -> None:
    """Of the list and the lines around it, where there is room for two words: an ellipsis stands after a whole word."""
    wide, narrow = (
        console.file.getvalue().split("\n")  # type: ignore[attr-defined]
        for console in (_printed(tour, 200, 60), _printed(tour, 40, 24))
    )
    known = {word for line in wide for word in line.split()} | {"…"}
    assert {word for line in narrow[:10] for word in line.split()} <= known
    assert any("…" in line for line in narrow[:10])


@pytest.mark.parametrize("width", [24, 30, 40, 50, 60, 80])
def test_labels_that_begin_alike_can_be_told_apart(tour: Tour, width: int) -> None:
    """Whole from 40 columns on, and cut within a word where there is no room for more than one."""
    names = ["inside 'quotes'", 'inside "quotes"', "inside ‘quotes’", "inside “quotes”", "inside ( )", "inside [ ]"]
    scene = tour.scene(width, 40, has_colour=False)
    rows = [(name, "-L1.i2", *row[2:-1], "characters") for name, row in zip(names, scene.rows, strict=False)]
    scene = replace(scene, rows=rows, found=[True] * len(rows), chosen=0)
    console = Console(width=width, height=40, file=io.StringIO(), color_system=None)
    console.print(scene, end="", height=40)
    lines = console.file.getvalue().split("\n")[2 : 2 + len(names)]  # type: ignore[attr-defined]
    shown = [line.partition("-L1")[0].strip() for line in lines]
    assert len(set(shown)) == len(names)
    if width >= 40:
        assert shown == names


def test_a_question_mark_shows_the_keys(tour: Tour) -> None:
    """All of them, on a page that the next key leaves without doing anything else."""
    before = _printed(tour, 80, 24).file.getvalue()  # type: ignore[attr-defined]
    for key in ("keys", "end", "down"):
        assert tour.press("keys")
        for width, height in ((80, 24), (40, 8), (24, 8)):
            lines = _printed(tour, width, height).file.getvalue().split("\n")  # type: ignore[attr-defined]
            assert len(lines) == height
            assert {len(line) for line in lines} == {width}
            assert lines[-1].strip() == "? or q goes back"
            assert [line.split()[0].strip(",") for line in lines[1:7]] == ["↑", "←", "space", "b", "n", "q"]
            assert width < 40 or not any("…" in line for line in lines)
        assert tour.press(key)
        assert _printed(tour, 80, 24).file.getvalue() == before  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "form"), [(200, 0), (90, 0), (80, 1), (60, 1), (59, 2), (40, 2), (39, 3), (5, 3)])
def test_every_screen_says_how_to_leave(width: int, form: int) -> None:
    """With all keys from 40 columns on, in words as long as there is room for."""
    assert keys_for(width) == KEYS[form]
    assert len(KEYS[2]) <= 40
    for keys in KEYS[:3]:
        assert all(key in keys for key in ("q end", "↑↓ label", "←→ unit", "space", "b", "n"))


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (b"\x1b[A", ["up"]),
        (b"\x1bOB\x1b[C", ["down", "right"]),
        (b"jjl q", ["down", "down", "right", "forward", "end"]),
        (b"\x1b[5~b\x1b[6~n", ["back", "back", "forward", "next"]),
        (b"\x1b", ["end"]),
        (b"", ["end"]),
        (b"?", ["keys"]),
        (b"xyz\xc3\xa4", []),
        (b"\x1b[15~", []),
    ],
)
def test_keys_have_names(read: bytes, names: list[str]) -> None:
    """Arrows of both kinds of terminal, letters for those without; a terminal that is gone ends it."""
    assert keys_of(read) == names


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, list[object]]]:
    """`inspect --find --browse` on a terminal of 90 columns and 30 lines: the process, our end, theirs, its modes."""
    pty = pytest.importorskip("pty")
    run = tmp_path / "checkpoints/tiny/best.safetensors"
    run.parent.mkdir(parents=True)
    checkpoints.save(run, tiny())
    random = np.random.default_rng(2)
    (tmp_path / "text.txt").write_text("".join(random.choice(list("\n abcdefgh"), 900)), "utf-8")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    modes = termios.tcgetattr(theirs)
    code = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, '-m', 'charrnn', *sys.argv[1:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "inspect", "text.txt", "--find", "--browse"],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )  # fmt: skip
    try:
        yield process, ours, [theirs, modes]
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def _until(ours: int, wanted: str) -> str:
    """What the terminal was sent, up to `wanted`."""
    seen, end = "", time.monotonic() + 60
    while wanted not in seen:
        assert time.monotonic() < end, f"{wanted!r} never came: {seen[-500:]!r}"
        if select.select([ours], [], [], 0.2)[0]:
            seen += os.read(ours, 65536).decode("utf-8", "replace")
    return seen


def test_on_a_real_terminal(terminal: tuple[subprocess.Popen[bytes], int, list[object]]) -> None:
    """It fills another screen, follows keys and the window's size, and leaves the terminal as it was."""
    process, ours, (theirs, modes) = terminal
    seen = _until(ours, keys_for(90))
    assert "\x1b[?1049h" in seen
    assert "label 1 of " in seen
    os.write(ours, b"\x1b[B")
    _until(ours, "label 2 of ")
    os.write(ours, b"l")
    _until(ours, "unit 2 of the 12 best")
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 14, 50, 0, 0))  # type: ignore[arg-type]
    assert "label 2 of " in _until(ours, keys_for(50))
    os.write(ours, b"?")
    assert "where the label changes" in _until(ours, "? or q goes back")
    os.write(ours, b"?")
    _until(ours, keys_for(50))
    os.write(ours, b"q")
    assert "\x1b[?1049l" in _until(ours, "\x1b[?1049l")
    assert process.wait(30) == 0
    assert termios.tcgetattr(theirs) == modes  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_leave_the_terminal_as_it_was(
    terminal: tuple[subprocess.Popen[bytes], int, list[object]], number: int, status: int
) -> None:
    """The other screen is left, keys are echoed again, the status says why."""
    process, ours, (theirs, modes) = terminal
    _until(ours, "q end")
    os.kill(process.pid, number)
    _until(ours, "\x1b[?1049l")
    assert process.wait(30) == status
    assert termios.tcgetattr(theirs) == modes  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text.txt", "--browse"], "--browse looks through what --find finds"),
        (["text.txt", "--find", "--browse", "--json"], "--json does not go with it"),
        (["text.txt", "--find", "--browse", "--ablate"], "--ablate does not go with it"),
        (["text.txt", "--find", "--browse"], "--browse needs a terminal"),
    ],
)
def test_what_browse_cannot_do_is_said(arguments: list[str], said: str, command: Command) -> None:
    """In one sentence, before anything is read."""
    status, out, err = command("inspect", *arguments)
    assert (status, out) == (2, "")
    assert said in err
