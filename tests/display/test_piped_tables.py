"""Tables that do not go to a terminal: every column in full, nothing cut, nothing padded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli.output import print_pieces
from charrnn.display.table import Columns, Pairs, Row

WORDS = st.text("ab\u4e00", min_size=1, max_size=60)


@given(rows=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4))
def test_cells_stand_in_columns(rows: list[tuple[str, str, str]]) -> None:
    """Words to the left and numbers to the right, two spaces between, with the widths of a terminal."""
    from rich.cells import cell_len

    names = ("label", "number", "words")
    lines = Columns(names, [Row(row) for row in rows], words=(0, -1)).whole().split("\n")
    assert len(lines) == len(rows) + 1
    widths = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
    for line, row in zip(lines, [names, *rows], strict=True):
        padding = [" " * (width - cell_len(cell)) for width, cell in zip(widths, row, strict=True)]
        assert line == f"{row[0]}{padding[0]}  {padding[1]}{row[1]}  {row[2]}"


@pytest.mark.parametrize("width", [20, 80, 300])
def test_what_is_piped_does_not_depend_on_a_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """However wide a terminal would be: a program reads it."""
    monkeypatch.setenv("COLUMNS", str(width))
    long = "a label of many words " * 9
    print_pieces(
        [
            Columns(("name", "bpc"), [Row((long, "1.5")), Row(("b", "22.25"))], (0,), essential=(1,)),
            Pairs({"path": "x" * 200, "vocabulary": "a\tb"}),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"name{' ' * (len(long) - 4)}    bpc",
        f"{long}    1.5",
        f"b{' ' * (len(long) - 1)}  22.25",
        f"path        {'x' * 200}",
        "vocabulary  a\u2409b",
    ]
