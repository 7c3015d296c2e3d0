"""What is drawn: nothing that could drive a terminal, nothing wider than it, and the same picture each time."""

from __future__ import annotations

import doctest
import html
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console

from charrnn.display import palette, safe, status
from charrnn.display.background import style_on
from charrnn.display.chart_svg import as_svg
from charrnn.display.curve import Chart, Line
from charrnn.display.heat import Picture
from charrnn.display.notice import say
from charrnn.display.palette import (
    KARPATHY,
    PALETTES,
    SAFE,
    Palette,
    Ramp,
    diverging,
    glyph,
    is_dark,
    mixed,
    of_cube,
    step,
)  # fmt: skip
from charrnn.display.progress import TrainingDisplay, WorkDisplay
from charrnn.display.report import page as page_of
from charrnn.display.safe import visible, visible_character, write
from charrnn.display.status import duration
from charrnn.display.summary import parameters_by_part, summary
from charrnn.events import Event, Finished, Notice, Progress, RolledBack, Sampled, Saved, Validated
from tests.kit.nasty import ANY_TEXT, ESC, NASTY, is_dangerous
from tests.kit.tiny import tiny


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(StringIO):
    """A stream whose other end is gone: every use of it fails."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


# Text that may be shown.


@given(ANY_TEXT)
def test_nothing_visible_drives_a_terminal(text: str) -> None:
    """No control but newline and tab, no turn of the reading direction, no lone surrogate; safe text is left alone."""
    shown = visible(text)
    assert not any(is_dangerous(character) for character in shown if character not in "\n\t")
    assert not any(is_dangerous(character) for character in visible(text, kept=""))
    if not any(is_dangerous(character) or unicodedata.category(character) == "Cf" for character in text):
        assert shown == text
    assert visible(shown) == shown


def test_every_character_of_unicode_is_safe_to_show() -> None:
    """All 1,114,112 of them, one by one."""
    shown = "".join(visible_character(chr(code)) for code in range(0x110000))
    assert not any(is_dangerous(character) for character in set(shown))


@given(st.lists(ANY_TEXT))
def test_a_stream_shown_piece_by_piece_is_the_text_shown_whole(pieces: list[str]) -> None:
    """However a model's text is cut into pieces."""
    assert "".join(map(visible, pieces)) == visible("".join(pieces))


@given(st.lists(ANY_TEXT, max_size=4))
def test_a_terminal_gets_visible_text_and_a_file_the_exact_text(pieces: list[str]) -> None:
    """`write` looks at where the text goes."""
    terminal, file = Terminal(), StringIO()
    for piece in pieces:
        write(piece, terminal)
        write(piece, file)
    assert terminal.getvalue() == visible("".join(pieces))
    assert file.getvalue() == "".join(pieces)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "a\\xe9\\u65e5\\ud800"), ("latin-1", "aé\\u65e5\\ud800"), ("utf-8", "aé日\\ud800")],
)
def test_what_an_encoding_lacks_is_spelled_out(tmp_path: Path, encoding: str, expected: str) -> None:
    """A terminal that is not UTF-8 is no reason to stop."""
    with open(tmp_path / "out", "w", encoding=encoding) as stream:
        write("aé日\ud800", stream)
    assert (tmp_path / "out").read_text(encoding) == expected


def test_a_said_line_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it quotes, also where stderr is no terminal; and a broken stderr does not matter."""
    say("cannot read " + NASTY + "\nerror: forged")
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert captured.endswith("\n")
    assert not any(is_dangerous(character) for character in captured[:-1])
    monkeypatch.setattr("sys.stderr", Broken())
    say("into nothing")


@pytest.mark.parametrize("module", [safe, status])
def test_examples_in_the_documentation_are_true(module: Any) -> None:
    """The doctests of the rooms tested here."""
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


# Colours.


def test_the_ramp_of_colours_has_its_anchors_and_no_jumps() -> None:
    """Blue, white, orange; and between neighbours in 256 steps no channel moves by more than four."""
    assert [diverging(share) for share in (-1, 0, 0.5, 1, 2)] == [
        palette._BLUE, palette._BLUE, palette._WHITE, palette._ORANGE, palette._ORANGE,
    ]  # fmt: skip
    colours = [diverging(step / 255) for step in range(256)]
    assert max(abs(a - b) for one, next_ in pairwise(colours) for a, b in zip(one, next_, strict=True)) <= 4


_RAMPS = [
    pytest.param(getattr(palette, part), id=f"{name} {part}")
    for name, palette in PALETTES.items()
    for part in ("text", "above", "guesses")
]


@pytest.mark.parametrize("ramp", _RAMPS)
def test_every_ramp_runs_evenly_through_its_anchors(ramp: Ramp) -> None:
    """Each anchor in its place, between them what numpy interpolates, and the ends beyond the ends."""
    anchors = ramp.anchors
    places = np.linspace(0, 1, len(anchors))
    assert [mixed(ramp, place) for place in (-1, *places, 2)] == [anchors[0], *anchors, anchors[-1]]
    for share in np.linspace(0, 1, 101).tolist():
        expected = [np.interp(share, places, channel) for channel in zip(*anchors, strict=True)]
        np.testing.assert_allclose(mixed(ramp, share), expected, atol=0.5 + 1e-9)


def test_values_meet_guesses_in_the_middle() -> None:
    """Of every palette the middle of a unit's values and an improbable guess are the same white."""
    for each in PALETTES.values():
        middle = each.text.anchors[1]
        assert middle == each.above.anchors[1] == each.guesses.anchors[0] == mixed(each.text, 0.5)
        assert min(middle) >= 247
        for values, steps in ((each.text, each.guesses), (each.above, each.guesses)):
            assert step(values.of_256, 0.5) == step(steps.of_256, 0) == 231
            assert step(values.of_16, 0.5) == step(steps.of_16, 0) == 15


def _luminance(colour: Sequence[int]) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [c / 255 for c in colour]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: Sequence[int], other: Sequence[int]) -> float:
    lighter, darker = sorted(map(_luminance, (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


_XTERM = [
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255),
    (255, 255, 255),
]  # fmt: skip
"""The 16 colours as xterm has them, and as the text mode of a PC, with Windows and the Linux console, has them."""
_PC = [
    (0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170),
    (85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255), (255, 85, 255), (85, 255, 255),
    (255, 255, 255),
]  # fmt: skip


def _cube(number: int) -> tuple[int, int, int]:
    """A colour of xterm's 256, as its source computes it."""
    digits = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
    red, green, blue = (digit and 55 + 40 * digit for digit in digits)
    return red, green, blue


def _shown_colours(color_system: Any, ramp: Ramp, share: float) -> tuple[Any, Any]:
    console = Console(file=StringIO(), force_terminal=True, color_system=color_system, legacy_windows=False)
    style = style_on(console, ramp, share)
    assert style.color is not None
    assert style.bgcolor is not None
    if color_system != "truecolor":  # what rich sends is what was chosen
        for colour in (style.color, style.bgcolor):
            assert colour.downgrade(ColorSystem[{"256": "EIGHT_BIT"}.get(color_system, "STANDARD")]) == colour
    return style.color, style.bgcolor


@pytest.mark.parametrize("ramp", _RAMPS)
@pytest.mark.parametrize("color_system", ["truecolor", "256", "standard"])
def test_ink_stands_out_from_every_background(color_system: str, ramp: Ramp) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3) everywhere on the ramp, as that document defines it."""
    for place in range(256):
        ink, background = _shown_colours(color_system, ramp, place / 255)
        if color_system == "truecolor":
            assert _contrast(ink.triplet, background.triplet) >= 4.5
            assert is_dark(tuple(background.triplet)) == (ink.triplet == (255, 255, 255))
        elif color_system == "256":
            assert _contrast(_cube(ink.number), _cube(background.number)) >= 4.5
        else:
            assert all(_contrast(table[ink.number], table[background.number]) >= 4.5 for table in (_XTERM, _PC))


@pytest.mark.parametrize("ramp", _RAMPS)
def test_steps_of_few_colours_fall_in_lightness_from_the_middle(ramp: Ramp) -> None:
    """Each step is a colour of its own, clearly darker than the one nearer to white, on terminals of either kind."""
    assert [of_cube(number) for number in ramp.of_256] == [_cube(number) for number in ramp.of_256]
    for steps, tables in ((ramp.of_256, [{n: _cube(n) for n in ramp.of_256}]), (ramp.of_16, [_XTERM, _PC])):
        white = steps.index(231 if steps is ramp.of_256 else 15)
        assert white in (0, len(steps) // 2)
        assert len(set(steps)) == len(steps)
        assert all(white == 0 or len(steps) == 2 * white + 1 for _ in steps)
        for table in tables:
            for side in (steps[white:], steps[white::-1]):
                light = [_luminance(table[number]) ** (1 / 3) for number in side]
                assert all(brighter - darker > 0.005 for brighter, darker in pairwise(light)), (side, light)


def _as_seen(colour: Sequence[int], kind: str) -> Any:
    """A colour as a person without red or green cones sees it, in linear RGB (Viénot, Brettel & Mollon 1999)."""
    shares = np.array(colour) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    red_green = {"protan": (0.11238, 0.88762, 0.004), "deutan": (0.29275, 0.70725, -0.02234)}[kind]
    mixed_, blue = red_green[0] * linear[0] + red_green[1] * linear[1], red_green[2] * (linear[0] - linear[1])
    return np.array([mixed_, mixed_, blue + linear[2]])


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_low_and_high_differ_for_every_kind_of_colour_vision(kind: str) -> None:
    """In the default palette, steps equally far from the middle differ by much in blue against yellow."""
    ramp = SAFE.text
    smooth = [[mixed(ramp, place / 8) for place in range(9)]]
    for steps in (
        *smooth,
        [_cube(n) for n in ramp.of_256],
        [_XTERM[n] for n in ramp.of_16],
        [_PC[n] for n in ramp.of_16],
    ):
        seen = [_as_seen(colour, kind) for colour in steps]
        for low, high in zip(seen[: len(seen) // 2], seen[: len(seen) // 2 : -1], strict=True):
            assert (low[2] - low[0]) - (high[2] - high[0]) > 0.12


def test_glyphs_rise_with_the_value() -> None:
    """From nothing to a full block, within bounds for values beyond them."""
    shown = [glyph(step / 100) for step in range(-10, 111)]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (" ", "\u2588")
    assert len(set(shown)) == 9


# Heat maps.


def _drawn(text: str, values: Sequence[float] | None = None, *, colour: bool, width: int = 40) -> list[str]:
    """The lines of a heat map on a terminal of this width, legend first, escape sequences of colours taken out."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in _raw(text, values, colour=colour, width=width)]


def _raw(
    text: str,
    values: Sequence[float] | None = None,
    *,
    colour: bool,
    width: int = 40,
    palette: Palette = SAFE,
) -> list[str]:
    stream = StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="truecolor" if colour else None, highlight=False,
        no_color=not colour, legacy_windows=False,
    )  # fmt: skip
    if values is None:
        values = [math.sin(place) for place in range(len(text))]
    console.print(Picture("L1.h0", text, values, -1.0, 1.0, palette=palette))
    return stream.getvalue().split("\n")[:-1]


@pytest.mark.parametrize("colour", [True, False])
def test_a_heat_map_begins_with_a_legend(colour: bool) -> None:
    """The unit's name and the range, with the ramp between its ends."""
    legend, *_ = _drawn("abc", colour=colour)
    assert legend.startswith("L1.h0   -1 ")
    assert legend.endswith(" +1")
    assert len(legend) == len("L1.h0   -1  +1") + 17
    if not colour:
        assert "\u2581\u2581\u2582" in legend


def test_a_legend_too_wide_for_the_line_has_two() -> None:
    """The ramp is never broken, nor its colours lost at a line's end."""
    title, ramp, _ = _drawn("abc", colour=True, width=24)
    assert (title, ramp) == ("L1.h0", "-1 " + " " * 17 + " +1")


def test_each_character_has_the_colour_of_its_value() -> None:
    """Background by the value, ink by the background, newline as a symbol."""
    _, first, second = _raw("ab\nc", [-1.0, 0.0, 1.0, 1.0], colour=True)
    assert first == (
        f"{ESC}[38;2;255;255;255;48;2;33;102;172ma{ESC}[0m"
        f"{ESC}[38;2;0;0;0;48;2;247;247;247mb{ESC}[0m"
        f"{ESC}[38;2;0;0;0;48;2;230;97;1m\u21b5{ESC}[0m"
    )
    assert second == f"{ESC}[38;2;0;0;0;48;2;230;97;1mc{ESC}[0m"


def test_another_palette_has_other_colours_and_the_same_bars() -> None:
    """Blue and red as in Karpathy's panes, the legend too; without colour nothing changes."""
    values = [-1.0, 0.0, 1.0]
    legend, line = _raw("abc", values, colour=True, palette=KARPATHY)
    assert line == (
        f"{ESC}[38;2;0;0;0;48;2;91;173;214ma{ESC}[0m"
        f"{ESC}[38;2;0;0;0;48;2;255;255;255mb{ESC}[0m"
        f"{ESC}[38;2;0;0;0;48;2;215;92;92mc{ESC}[0m"
    )
    assert "48;2;91;173;214m" in legend
    assert "48;2;215;92;92m" in legend
    assert _raw("abc", values, colour=False, palette=KARPATHY) == _raw("abc", values, colour=False)


def test_without_colour_a_bar_stands_below_each_character() -> None:
    """Height by the value; a tab and a newline are symbols of one place, and so carry theirs."""
    assert _drawn("a\tb\ncd", [-1, 0, 1, 1, 0, -1], colour=False)[1:] == [
        "a\u2192b\u21b5", " \u2584\u2588\u2588", "cd", "\u2584 ",
    ]  # fmt: skip


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "a" * 205,
        "日本語の文章" * 33,
        "x" + "日" * 50,
        "😀🎉" * 41,
        "❤\ufe0f" * 90,
        "👨\u200d👩\u200d👧 " * 30,
        "e\u0301" * 90,
        "\u202e" * 21,
        NASTY * 3,
        "a\tb\n" * 9,
        "   " * 40,
    ],
)
def test_no_line_is_wider_than_the_terminal(text: str, colour: bool) -> None:
    """Narrow, wide, joined and combining characters, and symbols of several places; and no character is lost."""
    _, *lines = _drawn(text, colour=colour)
    assert max(map(cell_len, lines)) <= 40
    assert max(sum(map(cell_len, line)) for line in lines) <= 40
    shown = "".join(lines if colour else lines[::2])
    expected = "".join(
        {"\n": "\u21b5", "\t": "\u2192"}.get(character) or visible_character(character) for character in text
    )
    assert shown == expected


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(), max_size=120), colour=st.booleans())
def test_any_text_is_drawn_safely_and_within_the_width(text: str, colour: bool) -> None:
    """Neither markup nor escape sequences of the text have any effect."""
    lines = _drawn(text, colour=colour)
    assert not any(is_dangerous(character) for line in lines for character in line)
    assert all(cell_len(line) <= 40 for line in lines)


def test_markup_in_a_text_is_text() -> None:
    """ "[/i]" would be an error in rich's markup, and ESC a command."""
    _, line = _drawn("a[/i]<script>" + ESC, colour=True)
    assert line == "a[/i]<script>\u241b"


def test_a_value_for_each_character_is_asked_for() -> None:
    """A shifted picture would be worse than none."""
    with pytest.raises(AssertionError, match="one value"):
        Picture("L1.h0", "abc", [0.0, 0.0], -1.0, 1.0)


# Curves.


def _chart(*lines: Line, width: int = 40, height: int = 4) -> list[str]:
    stream = StringIO()
    Console(file=stream, width=width).print(Chart(lines, x_label="steps", y_label="bpc", height=height))
    return stream.getvalue().split("\n")[:-1]


def _dots(lines: list[str]) -> list[tuple[int, int]]:
    """(column, row) of every dot of a drawn chart, from its upper left corner, by Unicode's numbering of braille."""
    places = {0x01: (0, 0), 0x02: (0, 1), 0x04: (0, 2), 0x40: (0, 3)}
    places |= {bit << 3 if bit < 0x40 else 0x80: (1, row) for bit, (_, row) in list(places.items())}
    return sorted(
        (2 * column + x, 4 * row + y)
        for row, line in enumerate(lines[1:-2])
        for column, character in enumerate(line[9:])
        for bit, (x, y) in places.items()
        if ord(character) - 0x2800 & bit
    )


def test_a_falling_line_is_drawn_from_corner_to_corner() -> None:
    """Axes carry the ends of both ranges; the dots are those of the straight line."""
    lines = _chart(Line("train", "blue", [(0, 4.0), (100, 1.0)]))
    assert lines[0].startswith("     bpc \u2500 train")
    assert lines[1].startswith("   4.000\u2502")
    assert lines[4].startswith("   1.000\u2502")
    assert lines[-2] == " " * 8 + "\u2514" + "\u2500" * 31
    assert lines[-1].split() == ["0", "100", "steps"]
    dots = _dots(lines)
    assert dots[0] == (0, 0)
    assert dots[-1] == (61, 15)
    assert {column for column, _ in dots} == set(range(62))
    assert all(abs(row - column * 15 / 61) <= 1 for column, row in dots)


def test_a_single_point_and_a_constant_are_drawn_in_the_middle() -> None:
    """A range of nothing divides nothing."""
    assert _dots(_chart(Line("train", "blue", [(7, 2.5)]))) == [(30, 8)]
    dots = _dots(_chart(Line("train", "blue", [(0, 2.5), (9, 2.5)])))
    assert dots == [(column, 8) for column in range(62)]


def test_two_curves_share_the_axes() -> None:
    """The ranges are those of all points, and an empty curve is not named."""
    lines = _chart(Line("train", "blue", [(0, 3.0), (1, 2.0)]), Line("validation", "yellow", [(2, 5.0)]),
                   Line("test", "red", []))  # fmt: skip
    assert "\u2500 train  \u2500 validation" in lines[0]
    assert "test" not in lines[0]
    assert lines[1].startswith("   5.000")
    assert lines[4].startswith("   2.000")


def test_a_logarithmic_axis_has_equal_room_for_every_power_of_ten() -> None:
    """What falls by the same for each power of ten is the straight line that it is not on a plain axis."""
    stream = StringIO()
    line = Line("excess", "blue", [(1, 3.0), (10, 2.0), (100, 1.0), (1000, 0.0)])
    Console(file=stream, width=40).print(Chart([line], x_label="d", y_label="bits", height=4, log_x=True))
    lines = stream.getvalue().split("\n")[:-1]
    dots = _dots(lines)
    assert {column for column, _ in dots} == set(range(62))
    assert all(abs(row - column * 15 / 61) <= 1 for column, row in dots)
    assert lines[-1] == " " * 9 + "1         10        100 1,000 d"


def test_a_curve_by_its_logarithm_falls_in_a_straight_line() -> None:
    """Of a power of ten each: what one explosion would press to the floor is seen."""
    points = [(float(place), 10.0 ** (3 - place)) for place in range(4)]
    by_logarithm = Chart([Line("norm", "red", points)], x_label="steps", y_label="norm", height=6, log_y=True)
    straight = Chart([Line("norm", "red", [(x, 3 - x) for x, _ in points])], x_label="steps", y_label="norm", height=6)
    drawn = []
    for chart in (by_logarithm, straight):
        console = Console(width=40, file=StringIO(), color_system=None)
        console.print(chart)
        drawn.append([line[9:] for line in console.file.getvalue().splitlines()[1:7]])  # type: ignore[attr-defined]
    assert drawn[0] == drawn[1]


def test_a_falling_line_is_drawn_from_corner_to_corner_of_an_svg_too() -> None:
    """Higher stands further up; the text of a name is text."""
    lines = [Line("<b>", "#010203", [(0, 4.0), (100, 1.0)]), Line("flat", "blue", [(50, 2.5)])]
    root = ElementTree.fromstring(as_svg(Chart(lines, x_label="steps", y_label="bpc")))
    (falling,), (flat,) = root.findall("{*}polyline"), root.findall("{*}circle")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in str(falling.get("points")).split())
    assert x0 < x1
    assert y0 < y1
    assert (flat.get("cx"), flat.get("cy")) == (f"{(x0 + x1) / 2:.1f}", f"{(y0 + y1) / 2:.1f}")
    assert falling.get("stroke") == "#010203"
    assert falling.findtext("{*}title") == "<b>"
    assert {"0", "100", "4.000", "1.000", "steps", "bpc", "<b>"} <= {text.text for text in root.findall("{*}text")}


@pytest.mark.parametrize("name", ["rnn", "rnn --orthogonal, modrelu", "a name of forty letters, with much to tell"])
def test_names_fit_beside_an_svg(name: str) -> None:
    """At about seven of its units a letter, whatever the curves leave."""
    root = ElementTree.fromstring(as_svg(Chart([Line(name, "blue", [(0, 4.0), (9, 1.0)])], x_label="x", y_label="y")))
    (text,) = (each for each in root.findall("{*}text") if each.text == name)
    assert float(str(text.get("x"))) + 7 * len(name) <= float(str(root.get("viewBox")).split()[2])


def test_a_chart_of_nothing_is_nothing() -> None:
    """No axes without a point."""
    assert _chart() == []
    assert as_svg(Chart([], x_label="x", y_label="y")) == ""
    assert _chart(Line("train", "blue", [])) == []


@settings(max_examples=100, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(0, 2**62), st.floats(-1e12, 1e12)), min_size=1, max_size=9),
    width=st.integers(20, 130),
)
def test_any_chart_fits_the_width(points: list[tuple[int, float]], width: int) -> None:
    """Also with numbers too long for the axis, and on an axis of logarithms."""
    lines = _chart(Line("train", "blue", sorted(points)), width=width)
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) == 1 + 4 + 2
    stream = StringIO()
    positive = Line("train", "blue", sorted((x + 1, y) for x, y in points))
    Console(file=stream, width=width).print(Chart([positive], x_label="x", y_label="y", height=4, log_x=True))
    assert all(cell_len(line) <= width for line in stream.getvalue().split("\n"))
    assert stream.getvalue().count("\n") == 1 + 4 + 2


# The page.

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def _page(text: str = NASTY, title: str = "L1.c0 (tanh c)") -> str:
    values = [math.sin(place) for place in range(len(text))]
    return page_of("run: " + NASTY, [Picture(title, text, values, -1.0, 1.0), Picture("L1.i2", text, values, 0.0, 1.0)])


def test_a_page_holds_text_and_nothing_that_acts() -> None:
    """No script, no link, no control character; a policy forbids what is not there."""
    page = _page()
    assert f'http-equiv="Content-Security-Policy" content="{_POLICY}"' in page
    assert set(re.findall(r"<([a-z0-9]+)", page)) == {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "span", "pre",
    }  # fmt: skip
    assert not re.search(r"\b(src|href|on[a-z]+)=|url\(|@import", page)
    assert not any(is_dangerous(character) for character in page if character not in "\n\t")
    page.encode("utf-8")


def test_a_page_shows_the_text_exactly() -> None:
    """What stands in the coloured spans is the text, as it is made visible everywhere."""
    (shown, again) = re.findall(r"<pre>(.*?)</pre>", _page("a <b>\n&\tc" + ESC), re.DOTALL)
    expected = "a <b>\u21b5\n&\u2192\tc\u241b"
    assert html.unescape(re.sub(r"<[^>]*>", "", shown)) == expected
    assert html.unescape(re.sub(r"<[^>]*>", "", again)) == expected


def test_a_page_names_unit_range_and_values() -> None:
    """A legend over each picture, and each character's value under the pointer."""
    page = page_of("x", [Picture("L1.c0", "ab", [-1.0, 0.25], -1.0, 1.0)])
    assert "<h2>L1.c0</h2>\n<div>-1<span" in page
    assert "</span>+1</div>" in page
    assert re.findall(r'<span style="background:(#[0-9a-f]{6});color:(#[0-9a-f]{3})" title="([^"]*)">', page) == [
        ("#2166ac", "#fff", "-1.000"),
        ("#f3d2ba", "#000", "+0.250"),
    ]


def test_a_page_has_the_colours_of_its_palette() -> None:
    """Of the text and of the legend; the default is the one without red and green."""
    pictures = [Picture("L1.c0", "abc", [-1.0, 0.0, 1.0], -1.0, 1.0)]
    page = page_of("x", [replace(picture, palette=KARPATHY) for picture in pictures])
    assert re.findall(r'<span style="background:(#[0-9a-f]{6})', page) == ["#5badd6", "#ffffff", "#d75c5c"]
    assert re.search(r"linear-gradient\(90deg, #5badd6, .*, #ffffff, .*, #d75c5c\)", page)
    assert page_of("x", pictures) == page_of("x", [replace(picture, palette=SAFE) for picture in pictures]) != page


def test_the_same_input_gives_the_same_page() -> None:
    """No date, no random name: two pages can be compared."""
    assert _page() == _page()


# A run on the terminal.


def _progress(step: int = 50, **changed: Any) -> Progress:
    values: dict[str, Any] = {
        "step": step, "epoch": 0.5, "characters": 100, "fraction": 0.25, "seconds": 10.0, "seconds_left": 30.0,
        "train_nats": math.log(2) * 3, "learning_rate": 0.004, "gradient_norm": 0.5, "characters_per_second": 12345.6,
    }  # fmt: skip
    return Progress(**{**values, **changed})


_FINISHED = Finished("budget", 1000, 50_000, 65.0, 1.5, math.log(2) * 2, 900)
_EVENTS: list[Event] = [
    Notice("exact resume"),
    _progress(),
    _progress(51, seconds_left=math.inf, train_nats=math.nan),
    Validated(60, 0.5, 100, 11.0, math.log(2) * 2.5, math.log(2) * 2.25, True),
    Validated(70, 0.6, 110, 12.0, None, math.log(2) * 2.25, False),
    Sampled(70, "once upon " + NASTY, 110),
    Saved(Path("last.safetensors"), 70),
    RolledBack(80, 70, 0.5),
    _FINISHED,
]


def _shown(events: list[Event], out: IO[str], err: IO[str], *, quiet: bool = False) -> None:
    with TrainingDisplay(out, err, quiet=quiet) as display:
        for event in events:
            display.show(event)


def test_without_a_terminal_there_are_plain_lines() -> None:
    """Product on stdout, the rest on stderr; samples exactly as they were written; progress once in a while."""
    out, err = StringIO(), StringIO()
    _shown(_EVENTS, out, err)
    heading, first, second, *sample = out.getvalue().split("\n")
    assert heading == "     step     characters  train bpc  validation bpc"
    assert first == "       60            100      2.500           2.250  best"
    assert second == "       70            110          -           2.250"
    assert "\n".join(sample) == "  | once upon " + NASTY.replace("\n", "\n  | ") + "\n\n"
    assert err.getvalue().split("\n") == [
        "note: exact resume",
        " 25% \u00b7 step 50 \u00b7 12,346 characters/s \u00b7 train 3.000 bpc \u00b7 learning rate 0.004 \u00b7 "
        "gradient 0.50 \u00b7 30 s left",
        "note: training diverged at step 80; it goes on from step 70 with 0.5 times the learning rate",
        "finished after 1,000 steps, 50,000 characters and 1 min 05 s; best validation 2.0000 bpc (1.3863 nats) "
        "at step 900",
        "",
    ]


def test_on_a_terminal_a_sample_is_made_visible_and_the_bar_goes() -> None:
    """The bar stands on stderr, is redrawn around other lines, and is wiped at the end."""
    out, err = Terminal(), Terminal()
    _shown(_EVENTS, out, err)
    shown = visible("once upon " + NASTY).expandtabs(4).split()
    assert out.getvalue().replace("\n  |", "").split()[-len(shown) :] == shown
    assert not any(is_dangerous(character) for character in out.getvalue() if character not in "\n\t")
    assert " 25%|" in err.getvalue()
    assert "12,346 characters/s" in err.getvalue()
    assert ESC not in err.getvalue().replace(f"{ESC}[A", "")
    after = err.getvalue().rsplit("characters/s", 1)[1]
    assert "finished after 1,000 steps" in after
    assert re.search(r"\r *\r", after)


@pytest.mark.parametrize("reason", ["budget", "patience", "signal"])
def test_the_end_says_why(reason: Any) -> None:
    """Budget, patience, signal; without a validation there is no best to name."""
    err = StringIO()
    _shown([Finished(reason, 3, 9, 1.0, None, None, 0)], StringIO(), err)
    words = {"budget": "finished", "patience": "no longer improved", "signal": "by a signal and saved"}
    assert words[reason] in err.getvalue()
    assert "best" not in err.getvalue()


@pytest.mark.parametrize("kind", [StringIO, Terminal])
def test_quiet_prints_nothing(kind: type[StringIO]) -> None:
    """On a terminal or off it."""
    out, err = kind(), kind()
    _shown(_EVENTS, out, err, quiet=True)
    assert out.getvalue() + err.getvalue() == ""


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_stream_that_breaks_does_not_break_the_run(is_terminal: bool) -> None:
    """A closed pipe, a terminal that hung up: `show` goes on, and the other stream goes on being served."""
    _shown(_EVENTS, Broken(is_terminal=is_terminal), Broken(is_terminal=is_terminal))
    out, err = StringIO(), StringIO()
    _shown(_EVENTS, Broken(is_terminal=is_terminal), err)
    assert "finished after" in err.getvalue()
    _shown(_EVENTS, out, Broken(is_terminal=is_terminal))
    assert "once upon" in out.getvalue()
    closed = StringIO()
    closed.close()
    _shown(_EVENTS, closed, closed)


def test_a_notice_is_one_line() -> None:
    """A file's name in it may hold anything."""
    err = StringIO()
    _shown([Notice("left out " + NASTY + "\nerror: forged")], StringIO(), err)
    assert err.getvalue().count("\n") == 1
    assert ESC not in err.getvalue()


def test_work_shows_a_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes it away again; quietly nothing; on a broken terminal nothing, without harm."""
    for stream, quiet in ((Terminal(), False), (Terminal(), True), (StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        work = WorkDisplay(quiet=quiet, delay=0.0)
        for done in (10, 20, 30):
            work("reading", done, 30)
        work("encoding", 5, 30)
        work.close()
        work.close()
        is_shown = stream.isatty() and not quiet
        assert ("reading" in stream.getvalue()) == is_shown
        assert ("encoding" in stream.getvalue()) == is_shown
        assert stream.getvalue() == "" or re.search(r"\r *\r$", stream.getvalue())
    monkeypatch.setattr("sys.stderr", Broken(is_terminal=True))
    work = WorkDisplay(delay=0.0)
    work("reading", 10, 30)
    work.close()


@given(st.floats())
def test_any_duration_can_be_said(seconds: float) -> None:
    """Also an endless one, and one that is no number."""
    assert duration(seconds)


# The summary of a checkpoint.


def test_a_summary_names_what_is_there() -> None:
    """Parameters counted by hand: V=10, E=3, H=4, lstm 4H(I+H+1)."""
    checkpoint = tiny()
    shapes = {name: array.shape for name, array in checkpoint.parameters.items()}
    counts = {"embedding": 30, "layer 1": 16 * (3 + 4 + 1), "layer 2": 16 * (4 + 4 + 1), "decoder": 10 * 4 + 10}
    assert parameters_by_part(shapes) == counts
    stream = StringIO()
    console = Console(file=stream, width=100)
    for piece in summary("checkpoints/" + NASTY, checkpoint):
        console.print(piece)
    shown = stream.getvalue()
    assert f"{sum(counts.values()):,} (embedding 30, layer 1 128, layer 2 144, decoder 50)" in shown
    assert "10 characters: \u240a abcdefgh" in shown
    assert "2.5247 bpc (1.7500 nats) at step 20" in shown
    assert "\u2500 train  \u2500 validation" in shown
    assert ESC not in shown


def test_a_summary_shows_how_large_gradients_were() -> None:
    """The norm's curve between its ends, and the share that was clipped: 30 lines, of the last three a half."""
    lines = [{"step": 50 * n, "gradient_norm": 0.25 + n, "clip_rate": 0.5 if n > 27 else 0.1} for n in range(1, 31)]
    stream = StringIO()
    console = Console(file=stream, width=100)
    for piece in summary(
        "run", tiny(), [{"step": 1, "validation_nats": 2.0}, *lines, {"step": 1, "gradient_norm": "x"}]
    ):
        console.print(piece)
    shown = stream.getvalue()
    assert "\u2500 gradient norm" in shown
    assert "  30.250\u2502" in shown
    assert "   1.250\u2502" in shown
    assert "clipped: 14.0% of the steps, 50.0% of the last tenth" in shown
    for too_little in ([], lines[:1]):
        assert not any("norm" in str(piece) for piece in summary("run", tiny(), too_little))
