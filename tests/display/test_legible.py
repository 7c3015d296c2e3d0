"""Every report of `inspect` and of `sample --compare` at several widths: nothing is too wide, and no word is broken."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.checkpoints.checkpoint import save
from charrnn.cli import inspect, output
from charrnn.display.report import Prose, page, spaced
from charrnn.display.table import Columns, Row
from tests.kit.command import Command
from tests.kit.tiny import tiny

VIEWS = {
    "text": "inspect text.txt",
    "predictions": "inspect text.txt --predictions --unit L2.c1 -n 60",
    "gates": "inspect text.txt --gates",
    "horizon": "inspect text.txt --horizon --distance 60 --lanes 5",
    "find": "inspect text.txt --find --ablate",
    "recurrence": "inspect text.txt --recurrence -c checkpoints/tiny -c checkpoints/gru",
    "ablate": "inspect text.txt --ablate --unit L1.c2 --unit L2.o1",
    "patch": "inspect text.txt --patch (b)ea=c --unit L1.c2 --unit L2.h1",
    "card": "inspect text.txt --card --unit L2.c1",
    "select": "inspect text.txt --select a(b)c --match --threshold 0.1",
    "probe": "inspect text.txt --probe vowel",
    "circuit": "inspect text.txt --circuit vowel --within 0.001",
    "compare": "sample --clamp L1.c1=1 --compare -n 60 --count 6",
}
WIDTHS = (40, 80, 120)


@pytest.fixture
def sections(command: Command, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns the sections that a command line would show on the terminal, and those of its page."""
    for name, cell in (("gru", "gru"), ("tiny", "lstm")):
        run = Path(f"checkpoints/{name}/best.safetensors")
        run.parent.mkdir(parents=True)
        save(run, tiny(cell=cell))
    random = np.random.default_rng(2)
    words = ["abc", "bead", "fade", "cabbage", "deaf", "a", "gab", "\n", "\n\n"]
    Path("text.txt").write_text(" ".join(random.choice(words, 400)), "utf-8")

    def made(line: str, *, on_page: bool = False) -> list[Any]:
        kept: list[Any] = []
        monkeypatch.setattr(inspect, "give_out", lambda result, _asked: kept.extend(result.sections(on_page)))
        monkeypatch.setattr(output, "print_pieces", kept.extend)
        status, _, err = command(*line.split())
        assert status == 0, err
        return kept

    return made


def _lines(pieces: Iterable[Any], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None, highlight=False, markup=False, emoji=False)
    for piece in spaced(pieces):
        console.print(piece, crop=False)
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def _words(lines: Sequence[str]) -> set[str]:
    return {word for line in lines for word in line.split()}


@pytest.mark.parametrize("view", VIEWS)
def test_a_report_fits_any_terminal_and_breaks_no_word(sections: Any, view: str) -> None:
    """No line is wider than the terminal; each word and number of prose and tables is one that a wide terminal shows.

    Passages of the text itself are broken where the line ends.
    """
    pieces = [piece for piece in sections(VIEWS[view]) if str(piece)]
    assert pieces
    in_words = [piece for piece in pieces if isinstance(piece, Prose | Columns)]
    assert in_words or view == "text"
    whole = _words(_lines(in_words, 1000))
    for width in WIDTHS:
        assert max(map(cell_len, _lines(pieces, width))) <= width
        lines = _lines(in_words, width)
        if width == 40:
            note = "A wider terminal also shows 95 %, F1, k, last 3 and new net."
            whole |= set(note.split())
        assert _words(lines) <= whole, sorted(_words(lines) - whole)


@pytest.mark.parametrize("view", VIEWS)
def test_reports_are_whole_sentences(sections: Any, view: str) -> None:
    """Each paragraph begins with a capital letter, a number or a name, and ends with a stop; no noun of one is many."""
    for piece in sections(VIEWS[view]):
        if not isinstance(piece, Prose) or piece.is_heading:
            continue
        for line in piece.text.split("\n"):
            assert re.search(r"[.:]$", line) or "|" in line, line
            assert not re.search(r"(?<![\d,.])1 (characters|units|labels|places|pairs|texts|spans|lanes)\b", line), line


def test_find_at_40_columns_is_a_table_of_what_matters(sections: Any) -> None:
    """The label, the unit, what it tells and the verdict, in columns; a note names what is left out."""
    table, *_ = sections(VIEWS["find"])
    lines = _lines([table], 40)
    assert lines[0].split() == ["label", "unit", "tells", "verdict"]
    assert " ".join(" ".join(lines).split()).endswith("A wider terminal also shows 95 %, F1, k, last 3 and new net.")
    verdicts = lines[0].index("verdict")
    assert {line[verdicts - 1] for line in lines[1:-3]} == {" "}
    numbers = [line for line in lines[1:-3] if re.search(r"L\d\.", line)]
    assert len(numbers) == len(table.rows)
    assert {re.search(r"L\d\.\w+ +(?:ρ-?)?[.\d]+", line).end() for line in numbers} == {verdicts - 1}  # type: ignore[union-attr]


def test_a_table_without_room_becomes_paragraphs() -> None:
    """Each row's first cell, and below it the others after their columns' names, as many as fit on a line."""
    rows = [Row(("a long label", "12,345", "", "used")), Row(("b", "1", ".5 .6", "too few"), "bold")]
    table = Columns(("label", "count", "95 %", "verdict"), rows)
    assert _lines([table], 60)[0] == "label          count   95 %  verdict"
    assert [line.rstrip() for line in _lines([table], 29)] == [
        "label     count  95 % verdict", "a long   12,345       used", "label", "b             1 .5 .6 too few",
    ]  # fmt: skip
    assert [line.rstrip() for line in _lines([table], 22)] == [
        "a long label", "  count 12,345", "  verdict used", "b", "  count 1   95 % .5 .6", "  verdict too few",
    ]  # fmt: skip


def test_all_tables_of_a_page_are_alike_and_fit_a_narrow_window(sections: Any) -> None:
    """One style sheet, no borders, numbers to the right; a narrow window gets paragraphs with the columns' names."""
    styles = set()
    for view in ("gates", "horizon", "find", "ablate", "card", "probe", "select", "circuit"):
        whole = page("a run", sections(VIEWS[view], on_page=True))
        assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in whole
        styles.add("\n".join(re.findall(r"^(?:\.table|table|t[hdr]|@media|  t)[^\n]*", whole, re.MULTILINE)))
        assert not re.search(r"(?<!max-|min-)\bwidth: ?\d+(px|rem|em)", re.sub(r"width: (16|100)(rem|%)", "", whole))
        for row in re.findall(r"<tr(?: class=\w+)?>(.*?)</tr>", whole):
            names = re.findall(r'<td(?: class="w")? data-name="([^"]*)">', row)
            assert len(names) == row.count("<td")
    (style,) = styles
    assert "border" not in style.replace("border-collapse", "")
    assert "text-align: right" in style
    assert "@media (max-width: 36rem) {" in style
    assert "td + td::before { content: attr(data-name)" in style
    assert "overflow-x: auto" in style
