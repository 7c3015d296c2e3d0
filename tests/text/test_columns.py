"""One column of a table, against the csv and json modules on the whole file, with the pieces cut anywhere."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.text import columns
from charrnn.text.corpus import load
from charrnn.text.encoding import decode_cut
from charrnn.text.sources import Source

CELLS = st.text(st.one_of(st.sampled_from('a,;\t"\r\n é'), st.characters(codec="utf-8", exclude_characters="\0")))
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def read(text: str, cuts: list[int] | None = None, column: str = "text", **more: object) -> list[str]:
    """Returns the cells of a file called `list.csv`, which comes in pieces whose lengths go round in `cuts`."""
    config = DataConfig(column=column, **more)  # type: ignore[arg-type]
    shown = text.encode().decode("latin-1") if config.as_bytes else text

    def pieces() -> Iterator[str]:
        start, turn = 0, 0
        while start < len(shown):
            size = (cuts or [1 << 16])[turn % len(cuts or [1])]
            yield shown[start : start + size]
            start, turn = start + size, turn + 1

    found = columns.cells(pieces(), config, "list.csv")
    return [cell.encode("latin-1").decode() if config.as_bytes else cell for cell in found]


def written(rows: list[list[str]], **how: object) -> str:
    """Returns rows as the csv module writes them, below a header."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, **how)  # type: ignore[arg-type]
    writer.writerows([["id", "text", "more"], *rows])
    return stream.getvalue()


@pytest.mark.parametrize("as_bytes", [False, True])
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    cuts=CUTS,
)
@settings(deadline=None, max_examples=150)
def test_a_table_is_what_the_csv_module_wrote(
    rows: list[list[str]], delimiter: str, end: str, cuts: list[int], as_bytes: bool
) -> None:
    """Cells with delimiters, quotation marks and line ends of every kind come back as they were."""
    # Older versions of the module do not quote a carriage return by themselves.
    quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
    text = written(rows, delimiter=delimiter, lineterminator=end, quoting=quoting)
    assert read(text, cuts, as_bytes=as_bytes) == [row[1] for row in rows]


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("is_ascii", [False, True])
@given(texts=st.lists(CELLS, max_size=5), cuts=CUTS)
@settings(deadline=None, max_examples=80)
def test_json_lines_are_what_the_json_module_wrote(
    texts: list[str], cuts: list[int], as_bytes: bool, is_ascii: bool
) -> None:
    """With escapes or without, and with blank lines between them."""
    lines = [json.dumps({"id": 1, "text": text}, ensure_ascii=is_ascii) for text in texts]
    assert read("\n\n".join(lines), cuts, as_bytes=as_bytes) == texts


def test_line_ends_in_cells_obey_the_setting() -> None:
    """Those that a JSON text spells with escapes, too."""
    assert read('{"text": "a\\r\\nb\\rc"}\n', newlines="lf") == ["a\nb\nc"]
    assert read('text\n"a\r\nb"\n', newlines="lf") == ["a\nb"]


def test_an_empty_file_has_no_cells() -> None:
    """Nor has one with a header alone, or with blank lines."""
    assert read("") == read("\n \n") == read("id,text\n") == read("id,text") == []


def test_a_row_may_end_early_behind_the_column() -> None:
    """Some programs leave empty cells at the end out; blank lines are no rows."""
    assert read("id,text,more\n1,a\n\n2,b,c\n") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name\n1,a\n", "list.csv has no column called 'text'"),
        ("text,text\na,b\n", "list.csv has several columns called 'text'"),
        ("id,text\n1,a\n2\n3,c\n", "list.csv, line 3: the row has 1 cells, and the header 2"),
        ("id,text\n1,a\n\n2,b,c\n", "list.csv, line 4: the row has 3 cells, and the header 2"),
        ('id,text\n1,"a\nb"\n2,c,d\n', "list.csv, line 4: the row has 3 cells"),
        ('id,text\n1,a\n2,"b\n', "list.csv, line 3: the row is not well-formed: unexpected end of data"),
        ('id,text\n1,"a"b\n', "list.csv, line 2: the row is not well-formed"),
        ('{"text": "a"}\n{"text": 1}\n', "list.csv, line 2: 'text' is a number, not a text"),
        ('{"text": "a"}\n\n{"text": null}\n', "list.csv, line 3: 'text' is null, not a text"),
        ('{"text": ["a"]}\n', "list.csv, line 1: 'text' is a list, not a text"),
        ('{"text": true}\n', "list.csv, line 1: 'text' is true or false, not a text"),
        ('{"text": {}}\n', "list.csv, line 1: 'text' is an object, not a text"),
        ('{"text": "a"}\n{"name": "b"}\n', "list.csv, line 2: there is no 'text'"),
        ('{"text": "a"}\n{"text": \n', "list.csv, line 2: it is not JSON"),
        ('{"text": "a"}\n"b"\n', "list.csv, line 2: it is not an object but a text"),
        ('[{"text": "a"}]\n', "list.csv, line 1: it is not an object but a list"),
        ("{" * 100_000, "list.csv, line 1: it is not JSON"),
        ('{"text": "\\ud800"}\n', r"list.csv, line 1: the text holds '\\ud800' U\+D800, half of a UTF-16 pair"),
        ('{"text": "\\u0000"}\n', "list.csv, line 1: the text holds NUL characters"),
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_is_wrong_is_said_with_its_line(text: str, said: str, as_bytes: bool) -> None:
    """And no text is made of it."""
    with pytest.raises(TextError, match=said):
        read(text, as_bytes=as_bytes)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """A table of bytes is read as UTF-8."""
    with pytest.raises(TextError, match=r"list.csv is not UTF-8"):
        list(columns.cells(iter(["text\n\xff\n"]), DataConfig(column="text", as_bytes=True), "list.csv"))


def test_a_quotation_mark_that_nothing_closes_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line, and a cell of many lines, have a largest size."""
    before = csv.field_size_limit(1000)
    try:
        monkeypatch.setattr(columns, "_LONGEST", 1000)
        with pytest.raises(TextError, match=r"line 2: the row is not well-formed: field larger than field limit"):
            read('text\n"' + "word\n" * 1000, [100])
        with pytest.raises(TextError, match=r"a line of more than 1,000 characters"):
            read("text\n" + "word " * 1000, [100])
    finally:
        csv.field_size_limit(before)


@given(cells=st.lists(st.text("aE\u00c9\u0301\u03a3\r\n ", max_size=7), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_the_texts_of_a_column_are_brought_into_a_form(
    cells: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each by itself, once the escapes of JSON are read; the name of the column stays as it is."""
    path = tmp_path_factory.mktemp("list") / "list.jsonl"
    path.write_text("".join(json.dumps({"Te\u0301xt": cell}) + "\n" for cell in cells), "utf-8")
    config = DataConfig(column="Te\u0301xt", normalize="nfc", lowercase=True, newlines="lf")
    corpus = load([Source(path, path.name)], config, name="list", in_passing=True)
    lined = (cell.replace("\r\n", "\n").replace("\r", "\n") for cell in cells)
    meant = [unicodedata.normalize("NFC", unicodedata.normalize("NFC", cell).lower()) for cell in lined]
    assert decode_cut(np.asarray(corpus.ids), corpus.vocabulary).split("\0")[1:-1] == [each for each in meant if each]
