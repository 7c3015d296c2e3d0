"""Documents cut from a stream, against Python's own cutting of the whole text, with the pieces cut anywhere."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import TextError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import cutting
from charrnn.text.cutting import Cutting, cut_text, mark_of
from charrnn.text.decoding import TextPiece
from charrnn.text.sources import Source

LINES = st.text("ab\r\n\u2028é", max_size=40)
SPLITS = st.text("ab-\n", max_size=60)


def pieces_of(texts: list[str], cuts: list[int], *, as_bytes: bool = False) -> Iterator[TextPiece]:
    """Yields texts, one for each source, in pieces whose lengths go round in `cuts`."""
    turn = 0
    for place, text in enumerate(texts):
        shown = text.encode().decode("latin-1") if as_bytes else text
        start = 0
        while start < len(shown) or start == 0:
            size = cuts[turn % len(cuts)]
            piece = shown[start : start + size]
            yield TextPiece(place, piece.encode("latin-1" if as_bytes else "utf-8"), piece)
            start, turn = start + size, turn + 1


def cut(config: DataConfig, texts: list[str], cuts: list[int]) -> tuple[list[str], Cutting]:
    """Returns the documents of some files, and what cut them."""
    sources = [Source(Path(f"{number}.txt"), f"{number}.txt") for number in range(len(texts))]
    cutter = Cutting(config, sources)
    marked = list(cutter(pieces_of(texts, cuts, as_bytes=config.as_bytes)))
    mark = mark_of(as_bytes=config.as_bytes)
    for piece in marked:
        assert piece.raw.decode("utf-16-le" if config.as_bytes else "utf-8") == piece.text
    whole = "".join(piece.text for piece in marked)
    assert whole.startswith(mark)
    assert whole.endswith(mark)
    found = whole[1:].split(mark)[:-1]
    assert cutter.documents == len(found)
    return [one.encode("latin-1").decode() if config.as_bytes else one for one in found], cutter


def lines_of(text: str) -> list[str]:
    """Python's own lines, of bytes: it ends them at a line feed, a carriage return or both, and nowhere else."""
    return [line.decode() for line in text.encode().splitlines()]


@pytest.mark.parametrize("as_bytes", [False, True])
@given(texts=st.lists(LINES, min_size=1, max_size=3), cuts=st.lists(st.integers(1, 7), min_size=1, max_size=4))
@settings(deadline=None, max_examples=150)
def test_lines_are_pythons(texts: list[str], cuts: list[int], as_bytes: bool) -> None:
    """Each line that is not empty is a document, and the end of a file ends a line."""
    lines = [line for text in texts for line in lines_of(text)]
    found, cutter = cut(DataConfig(documents="lines", as_bytes=as_bytes), texts, cuts)
    assert found == [line for line in lines if line]
    assert cutter.empty == lines.count("")


@pytest.mark.parametrize("as_bytes", [False, True])
@given(texts=st.lists(LINES, min_size=1, max_size=4), cuts=st.lists(st.integers(1, 7), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_files_stay_as_they_are(texts: list[str], cuts: list[int], as_bytes: bool) -> None:
    """A file is a document with its line ends, the last one too."""
    found, cutter = cut(DataConfig(documents="files", as_bytes=as_bytes), texts, cuts)
    assert found == [text for text in texts if text]
    assert cutter.empty == texts.count("")


@pytest.mark.parametrize(
    "pattern",
    ["--+", "\n\n+", "^-$", "a(?=b)", "(?<=b)-", "(?=^a)", "-|b$", r"\bab", "a-?b|b{2}"],
)
@given(texts=st.lists(SPLITS, min_size=1, max_size=2), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(deadline=None, max_examples=80)
def test_what_stands_between_matches_is_what_python_splits(pattern: str, texts: list[str], cuts: list[int]) -> None:
    """Matches across pieces too; `^` and `$` match at line ends. Documents are kept, what matches is dropped."""
    with mock.patch.object(cutting, "_LONGEST_MATCH", 64):  # longer than the texts: nothing here is longer
        found, _ = cut(DataConfig(documents=f"split:{pattern}"), texts, cuts)
    compiled = re.compile(pattern, re.MULTILINE)
    assert found == [part for text in texts for part in compiled.split(text) if part]


@given(text=st.text("ab-", max_size=300), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=4))
@settings(deadline=None, max_examples=150)
def test_what_a_match_sees_is_there(text: str, cuts: list[int]) -> None:
    """A text that is much longer than what a match may see is cut as if it were all there."""
    with mock.patch.object(cutting, "_LONGEST_MATCH", 4):
        found, _ = cut(DataConfig(documents="split:-a?(?=b)|aa"), [text], cuts)
    assert found == [part for part in re.split("-a?(?=b)|aa", text) if part]


def test_a_match_that_goes_on_for_ever_is_refused() -> None:
    """It could only be found with the whole text in memory."""
    with pytest.raises(TextError, match=r"split:x\+y\? matches 6\d,\d\d\d characters or more"):
        cut(DataConfig(documents="split:x+y?"), ["a" + "x" * 100_000 + "b"], [1000])


def test_consecutive_matches_leave_empty_documents_out_and_count_them() -> None:
    """A match at the beginning or at the end of a file parts nothing."""
    found, cutter = cut(DataConfig(documents="split:-"), ["-a--b---", "c"], [3])
    assert found == ["a", "b", "c"]
    assert cutter.empty == 3


def test_bytes_are_parted_by_the_bytes_of_the_pattern() -> None:
    """A letter of two bytes in the pattern is two bytes of the text."""
    assert cut(DataConfig(documents="split:é", as_bytes=True), ["aébéé"], [1])[0] == ["a", "b"]


def test_a_large_file_is_cut_in_bounded_memory() -> None:
    """A document of 64 MB, and a text of as many in documents of 64 bytes, take the memory of a few pieces."""

    def text(end: str) -> Iterator[TextPiece]:
        piece = ("a" * 63 + end) * 1024
        for _ in range(1000):
            yield TextPiece(0, piece.encode(), piece)

    for documents, end in (("lines", "\n"), ("lines", "a"), ("files", "\n"), ("split:b", "b"), ("split:b", "a")):
        cutter = Cutting(DataConfig(documents=documents), [])
        tracemalloc.start()
        for _ in cutter(text(end)):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert cutter.documents == (1 if end == "a" or documents == "files" else 1_024_000)
        assert peak < 4_000_000, (documents, end)


def test_a_text_by_itself_is_one_file_and_one_cell() -> None:
    """What `charrnn.load(...).score` cuts."""
    assert cut_text("a\nb\n", DataConfig(documents="lines")) == "\0a\0b\0"
    assert cut_text("a\nb\n", DataConfig(documents="files")) == "\0a\nb\n\0"
    assert cut_text("a,b", DataConfig(column="text")) == "\0a,b\0"
    assert cut_text("é\n", DataConfig(documents="lines", as_bytes=True)) == "\u0100Ã©\u0100"


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"documents": "line"}, "--documents is 'line'"),
        ({"documents": "split:"}, "--documents is 'split:'"),
        ({"documents": 3}, "--documents is 3"),
        ({"documents": "split:("}, r"--documents split:\( is no regular expression: .*unterminated"),
        ({"documents": "split:(?aL)x"}, "is no regular expression"),
        ({"documents": "split:x*"}, "matches the empty text"),
        ({"documents": "split:^"}, "matches the empty text"),
        ({"documents": "lines", "column": "text"}, "--column text makes a document of each row"),
        ({"column": ""}, "--column is ''"),
        ({"split_seed": -1}, "--split-seed is -1"),
    ],
)
def test_settings_that_cannot_cut_are_refused(settings_: dict[str, object], said: str) -> None:
    """With the option's name and its value."""
    with pytest.raises(UsageError, match=said):
        DataConfig(**settings_)  # type: ignore[arg-type]


@pytest.mark.parametrize("documents", ["none", "lines", "files", "split:\n\n", "split:(?=^BEGIN)", r"split:\s*END\s*"])
def test_settings_that_can_cut_are_taken(documents: str) -> None:
    """Also a pattern that matches where something stands, without taking anything away."""
    assert DataConfig(documents=documents).has_documents is (documents != "none")
