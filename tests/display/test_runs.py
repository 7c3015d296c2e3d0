"""The table of runs at any width, and curves of several runs that can be told apart."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from charrnn.checkpoints.curves import Curves, Point
from charrnn.checkpoints.runs import Standing
from charrnn.display.chart_svg import as_svg
from charrnn.display.curve import Chart, Line
from charrnn.display.overlay import Followed, Overlay, names_of
from charrnn.display.report import page, spaced
from charrnn.display.runs import age_of, shortened, size_of, table_of
from tests.kit.nasty import ESC, NASTY

RUN = Standing(
    folder=Path("checkpoints/shakespeare"), state="finished", is_aside=False, bytes=4_951_381, changed=1000.0,
    corpus="tinyshakespeare", model={"cell": "lstm", "num_layers": 2, "hidden_size": 128}, step=6805,
    characters=6_968_320, seconds=59.9, best_nats=1.5397331, best_step=6805,
    curves=Curves((), (Point(10, 1e6, 2.0), Point(20, 2e6, 1.5397331))),
)  # fmt: skip
OTHER = replace(
    RUN, folder=Path("checkpoints/b"), state="stopped", curves=Curves((Point(9, 5e5, 1.9), Point(18, 1e6, 1.8)), ())
)
OLD = replace(RUN, folder=Path("checkpoints/shakespeare.2026-11-28T114500"), is_aside=True, bytes=12_000)
BROKEN = Standing(
    folder=Path("checkpoints/odd"), state="damaged", is_aside=False, bytes=7, changed=0.0, problem="odd is damaged"
)


def _shown(*pieces: object, width: int = 80) -> list[str]:
    stream = StringIO()
    console = Console(file=stream, width=width, highlight=False)
    for piece in spaced(pieces):
        console.print(piece, crop=False)
    return [line.rstrip() for line in stream.getvalue().split("\n")]


def test_the_table_tells_of_each_run() -> None:
    """A line for each, then what is set aside and how large, then what is damaged."""
    lines = _shown(*table_of([RUN, BROKEN, OLD], 1240.0), width=100)
    assert lines == [
        "name         corpus           model       characters  minutes  best bpc     age  state        size",
        "shakespeare  tinyshakespeare  lstm 2x128       6.97M      1.0    2.2214   4 min  finished  4.95 MB",
        "odd          -                -                    -        -         -  20 min  damaged       7 B",
        "",
        "Set aside by --fresh, 12.0 kB in all; charrnn deletes none of it, rm -r does:",
        "name                           best bpc    age     size",
        "shakespeare.2026-11-28T114500    2.2214  4 min  12.0 kB",
        "",
        "odd is damaged",
        "",
    ]


@pytest.mark.parametrize(
    ("width", "heading"),
    [
        (98, "name corpus model characters minutes best bpc age state size"),
        (90, "name corpus model chars min bpc age state size"),
        (80, "name corpus model chars min bpc age state size"),
        (70, "name model chars min bpc age state size"),
        (42, "name bpc age state size"),
        (35, "name bpc age state"),
        (30, "name bpc state"),
        (24, "name state"),
    ],
)
def test_a_narrow_table_has_fewer_columns_and_whole_numbers(width: int, heading: str) -> None:
    """First the corpus is shortened, then columns are left out; names and numbers stay."""
    head, first, *_ = _shown(*table_of([RUN], 1240.0), width=width)
    assert " ".join(head.split()) == heading
    assert first.startswith("shakespeare ")
    whole = {"tinyshakespeare", "lstm", "2x128", "6.97M", "1.0", "2.2214", "4", "min", "finished", "4.95", "MB"}
    for word in first.split()[1:]:
        assert word in whole or (word[-1] == "\u2026" and "tinyshakespeare".startswith(word[:-1]))
    assert all(cell_len(line) <= width for line in (head, first))


def test_what_is_set_aside_keeps_its_size_where_it_is_narrow() -> None:
    """At 40 columns."""
    lines = _shown(*table_of([OLD], 1240.0), width=40)
    assert "shakespeare.2026-11-28T114500 12.0 kB" in lines


def test_nothing_is_left_out_in_a_pipe() -> None:
    """However long the lines get."""
    assert "tinyshakespeare  lstm 2x128" in _shown(*table_of([RUN], 1240.0, is_whole=True), width=20)[1]


def test_a_name_never_drives_the_terminal() -> None:
    """Of a folder, of a corpus, in what is damaged, beside a curve and on a page."""
    odd = replace(RUN, folder=Path("x/" + NASTY.replace("/", "")), corpus=NASTY, problem=NASTY)
    for pieces in ([*table_of([odd, replace(odd, is_aside=True)], 0.0)], [Overlay([odd, RUN])], [Followed([odd], 20)]):
        shown = "\n".join(_shown(*pieces, width=120))
        assert ESC not in shown
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert ESC not in page("runs", [Overlay([odd, RUN])])


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"), (999, "999"), (1000, "1.00k"), (12_345, "12.3k"), (999_499, "999k"), (999_500, "1.00M"),
        (6_968_320, "6.97M"), (20_298_752, "20.3M"), (2.5e9, "2.50G"), (9_996_000, "10.0M"),
    ],
)  # fmt: skip
def test_a_large_number_is_shortened_to_three_digits(number: float, said: str) -> None:
    assert shortened(number) == said


@given(st.floats(1, 9e11))
def test_a_shortened_number_is_near(number: float) -> None:
    """To half a unit of its last digit."""
    said = shortened(number)
    scale = {"k": 1e3, "M": 1e6, "G": 1e9}.get(said[-1], 1.0)
    value = float(said.rstrip("kMG")) * scale
    assert value == pytest.approx(number, rel=0.0051, abs=0.51)
    assert len(said) <= 5


def test_sizes_and_ages_have_their_units() -> None:
    assert (size_of(7), size_of(12_000), size_of(4_951_381)) == ("7 B", "12.0 kB", "4.95 MB")
    assert [age_of(each) for each in (-1, 59.9, 60, 7300, 3e6)] == ["0 s", "59 s", "1 min", "2 h", "34 d"]


def test_dashes_tell_curves_apart_without_colour() -> None:
    """5 dots drawn and 3 left out, all along; a sample in the legend shows the same."""
    line = Line("a", "red", [(0, 1.0), (100, 1.0)], (5, 3))
    assert [line.draws(place) for place in range(9)] == [True] * 5 + [False] * 3 + [True]
    stream = StringIO()
    Console(file=stream, width=40).print(Chart([line], x_label="x", y_label="y", height=1))
    drawn = [ord(character) - 0x2800 for character in stream.getvalue().split("\n")[1][9:]]
    dots = [bool(bits & mask) for bits in drawn for mask in (0x04, 0x20)]
    assert dots == [line.draws(place) for place in range(62)]
    assert line.sample.plain == "\u2824\u2824\u2804\u2800"
    assert Line("b", "red", []).sample.plain == "\u2824" * 4


def test_several_runs_share_a_chart() -> None:
    """Validation over characters; a run that validates nothing shows its training; a row says what is whose."""
    lines = _shown(Overlay([RUN, OTHER]))
    assert lines[0] == "     bpc"
    assert lines[-6].split() == ["500,000", "2,000,000", "characters"]
    assert lines[-4:-1] == [
        "      run           best bpc  after chars     state",
        "\u2824\u2824\u2824\u2824  shakespeare     2.2214        2.00M  finished",
        "\u2824\u2824\u2804\u2800  b (training)         -            -   stopped",
    ]


@pytest.mark.parametrize("width", [80, 51, 41, 30, 24])
def test_the_rows_below_a_chart_fit(width: int) -> None:
    """The state goes first, then the characters, and a name is shortened: never a number."""
    lines = _shown(Overlay([RUN, OTHER]), width=width)[-4:-1]
    assert all(cell_len(line) <= width for line in lines)
    assert " 2.2214" in lines[1]
    assert ("state" in lines[0], "after chars" in lines[0]) == (width >= 51, width >= 41)


def test_the_page_has_the_chart_and_the_rows() -> None:
    """A line for each run, with dashes and a colour of its own."""
    overlay = Overlay([RUN, OTHER])
    html = page("Runs", [overlay])
    assert html.count("<polyline") == 2
    root = ElementTree.fromstring(as_svg(Chart(overlay.lines, x_label="characters", y_label="bpc")))
    looks = [(line.get("stroke"), line.get("stroke-dasharray")) for line in root.findall("{*}polyline")]
    assert looks[0][0] != looks[1][0]
    assert looks[0][1] != looks[1][1]
    assert ">2.2214</td>" in html
    assert page("Runs", [overlay]) == html


def test_runs_of_one_name_are_named_by_their_paths() -> None:
    runs = [RUN, replace(RUN, folder=Path("other/shakespeare")), OTHER]
    assert names_of(runs) == ["checkpoints/shakespeare", "other/shakespeare", "b"]


@pytest.mark.parametrize("runs", [[RUN], [replace(OTHER, state="running")], [BROKEN], [RUN, OTHER, BROKEN]])
@pytest.mark.parametrize("height", [12, 24, 50])
def test_what_is_followed_fits_the_screen(runs: list[Standing], height: int) -> None:
    """At 40 columns too."""
    for width in (40, 80):
        lines = _shown(Followed(runs, height), width=width)[:-1]
        assert len(lines) <= height
        assert all(cell_len(line) <= width for line in lines)


def test_a_run_of_one_validation_is_seen_on_a_page() -> None:
    """As a dot, since a line of one point has no length."""
    alone = Line("one", "blue", [(5.0, 2.0)])
    picture = as_svg(Chart([alone], x_label="characters", y_label="bpc"))
    (dot,) = ElementTree.fromstring(picture).findall("{*}circle")
    assert dot.findtext("{*}title") == "one"
    assert "<polyline" not in picture
