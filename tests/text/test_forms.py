"""Normal forms and lower case in pieces against `unicodedata.normalize` and `str.lower` on the whole text."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import TextError, UsageError
from charrnn.settings.choices import NormalForm
from charrnn.settings.config import DataConfig
from charrnn.text import decoding
from charrnn.text.decoding import pieces_of
from charrnn.text.forms import MOST_HELD, changed
from charrnn.text.sources import Source

FORMS: list[NormalForm] = [form for form in get_args(NormalForm) if form != "none"]
# Letters with marks of several classes, marks that reorder, Korean in parts and whole, Indic vowels in two parts, signs
# that become others, a sigma among what it looks past, and letters whose case has another length.
TRICKY = (
    "eE\u00e9\u0301\u0323\u0308\u0345\u0344\u1ebf\u1e69 \u1100\u1161\u11a8\uac00\uac01\u314f\u3131\u0915\u093c\u0958"
    "\u09c7\u09be\u09cb\u212b\ufb01\u00bd\uff76\uff9e\u03a3\u03a3'\u2019.\u02b0aA\u0130\u00df\u1e9eJ\u030c\u2122"
    "\U00011131\U00011127\U0001d15e\u0f73\u0f71"
)
texts = st.one_of(st.text(TRICKY, max_size=24), st.text(st.characters(codec="utf-8"), max_size=24))


def whole(text: str, form: NormalForm, *, lowercase: bool) -> str:
    """The reference: the same done to the whole text."""
    text = text if form == "none" else unicodedata.normalize(form.upper(), text)
    if not lowercase:
        return text
    return text.lower() if form == "none" else unicodedata.normalize(form.upper(), text.lower())


def _cut(text: str, places: list[int]) -> list[str]:
    return [text[start:end] for start, end in itertools.pairwise([0, *places, len(text)])]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("form", get_args(NormalForm))
@given(text=texts, draw=st.data())
def test_any_cut_gives_the_whole(form: NormalForm, lowercase: bool, text: str, draw: st.DataObject) -> None:
    """Wherever a text is cut, the pieces together are what the whole gives."""
    places = sorted(draw.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    found = "".join(changed(_cut(text, places), form, lowercase=lowercase))
    assert found == whole(text, form, lowercase=lowercase)


def _every_cut(text: str) -> Iterator[list[str]]:
    for number in range(len(text)):
        for places in itertools.combinations(range(1, len(text)), number):
            yield _cut(text, list(places))


@pytest.mark.parametrize("form", get_args(NormalForm))
@pytest.mark.parametrize(
    "text",
    [
        "xe\u0323\u0301\u0308y", "\u1100\u1161\u11a8\u1161a", "\uac00\u11a8\u1100\u314f", "\u09c7\u09be\u09c7x",
        "A\u03a3.\u0301\u03a3'B", "\u03a3\u03a3 a\u03a3", "a\u03a3\u2019\u2019 \u03a3", "J\u030c\u0323J",
        "a\u0f73\u0f71",
    ],
)  # fmt: skip
def test_every_cut_of_short_texts(form: NormalForm, text: str) -> None:
    """All of them, one by one."""
    for lowercase in (False, True):
        expected = whole(text, form, lowercase=lowercase)
        for pieces in _every_cut(text):
            assert "".join(changed(pieces, form, lowercase=lowercase)) == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", ["e", "\u1100", "\uac00", "\u09c7", "e\u0323", "\u3131", "\u0f71"])
def test_every_character_that_may_combine(form: NormalForm, before: str) -> None:
    """All that have a combining class or are made of others, behind letters that they may combine with."""
    for point in range(0x110000):
        character = chr(point)
        if not unicodedata.combining(character) and not unicodedata.decomposition(character):
            continue
        found = "".join(changed([before, character, "x"], form, lowercase=False))
        assert found == unicodedata.normalize(form.upper(), before + character + "x"), hex(point)


def test_what_a_sigma_looks_past() -> None:
    """Each character of the first two planes, between a sigma and what comes before or after it."""
    for point in itertools.chain(range(0xD800), range(0xE000, 0x20000)):
        for text in (f"a\u03a3{chr(point)}", f"a{chr(point)}\u03a3", f"a\u03a3{chr(point)}b"):
            assert "".join(changed(text, "none", lowercase=True)) == text.lower(), hex(point)


@pytest.mark.parametrize("form", FORMS)
def test_marks_without_end_are_refused(form: NormalForm) -> None:
    """What can never be given out would be held for ever; a few thousand marks are no such thing."""
    few = "e" + "\u0301\u0323" * (MOST_HELD // 4)
    assert "".join(changed(list(few), form, lowercase=False)) == unicodedata.normalize(form.upper(), few)
    with pytest.raises(TextError, match="in a row that combine"):
        list(changed(itertools.repeat("\u0301", MOST_HELD + 2), form, lowercase=False))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("newlines", ["keep", "lf", "crlf", "cr"])
def test_files_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, newlines: str) -> None:
    """Two files, read some bytes at a time: each is changed by itself, and nothing combines across their border."""
    monkeypatch.setattr(decoding, "_PIECE", size)
    contents = ["\ufeff" + TRICKY + "\r\n\re\n", "\u0301" + TRICKY[::-1] + "\r"]
    sources = []
    for number, content in enumerate(contents):
        path = tmp_path / str(number)
        path.write_bytes(content.encode())
        sources.append(Source(path, path.name))
    config = DataConfig(normalize="nfc", lowercase=True, newlines=newlines)  # type: ignore[arg-type]
    read = ["", ""]
    for piece in pieces_of(sources, config, lambda _place, _done: None):
        assert piece.raw == piece.text.encode()
        read[piece.place] += piece.text
    end = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}.get(newlines)
    for content, found in zip(contents, read, strict=True):
        lines = content.removeprefix("\ufeff")
        if end is not None:
            lines = end.join(lines.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
        assert found == whole(lines, "nfc", lowercase=True)


@pytest.mark.parametrize("given_", [{"normalize": "nfc"}, {"lowercase": True}, {"min_count": 2}])
def test_bytes_are_no_characters(given_: dict[str, object]) -> None:
    """A model of bytes has nothing that could be normalised, lowered or rare."""
    with pytest.raises(UsageError, match="is about characters, and with --bytes the model reads bytes"):
        DataConfig(as_bytes=True, **given_)  # type: ignore[arg-type]


def test_invalid_bytes_are_told_at_their_place(tmp_path: Path) -> None:
    """As without a normal form."""
    path = tmp_path / "text"
    path.write_bytes(b"ab\ncd\xff")
    with pytest.raises(TextError, match="byte 0xff at offset 5, line 2"):
        list(pieces_of([Source(path, "text")], DataConfig(normalize="nfd"), lambda _place, _done: None))
