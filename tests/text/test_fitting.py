"""How a text is best read by a model, against what the model's vocabulary lacks in each way to read it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.settings.config import DataConfig
from charrnn.text.fitting import Reader, as_read
from charrnn.text.traits import LineEnds
from charrnn.text.vocabulary import Vocabulary

LF, CRLF, CR = LineEnds(lf=5), LineEnds(crlf=5), LineEnds(cr=5)


def _reader(text: str, line_ends: LineEnds = LF, **data: object) -> Reader:
    return Reader(DataConfig(**data), Vocabulary.of(text), line_ends)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "text", "read", "form"),
    [
        ("cafe\u0301", "caf\u00e9", "cafe\u0301", "NFD"),
        ("caf\u00e9", "cafe\u0301", "caf\u00e9", "NFC"),
        ("\u1100\u1161\u11a8", "\uac01", "\u1100\u1161\u11a8", "NFD"),
        ("\uac01\uac00", "\u1100\u1161\u11a8", "\uac01", "NFC"),
        ("\u00c5", "\u212b", "\u00c5", "NFC"),  # the angstrom sign
        ("e\u0323\u0301", "\u1eb9\u0301", "e\u0323\u0301", "NFD"),
    ],
)
def test_the_other_form_is_taken_where_it_helps(known: str, text: str, read: str, form: str) -> None:
    """And said, in one sentence that names it."""
    found, notes = _reader(known).text(text, "--prime")
    assert found == read
    (note,) = notes
    assert note == f"--prime is brought into the normal form {form}, in which the model knows its characters"


def test_a_form_that_helps_a_little_says_so() -> None:
    """What stays unknown is for --unknown to decide."""
    found, notes = _reader("e\u0301").text("\u00e9\u4e00", "--prime")
    assert found == "e\u0301\u4e00"
    assert notes == ["--prime is brought into the normal form NFD, in which the model knows more of its characters"]


@given(known=st.text("ae\u00e9\u0301\u0323\u1eb9\u4e00", min_size=1), text=st.text("ae\u00e9\u0301\u0323\u1eb9\u4e00"))
def test_no_form_leaves_fewer_unknown(known: str, text: str) -> None:
    """What is known as it stands stays as it stands; where it is known in another form, that is taken; and no form
    is that makes it worse."""
    reader = _reader(known)
    found, notes = reader.text(text, "it")
    ways = [text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]
    missing = [sum(one not in known for one in way) for way in ways]
    assert found in ways
    assert sum(one not in known for one in found) <= missing[0]
    assert (missing[ways.index(found)] == 0) == (min(missing) == 0)
    assert bool(notes) == (found != text)


@pytest.mark.parametrize(
    ("own", "known", "text", "read"),
    [
        (LF, "ab\n", "a\r\nb\rb\n", "a\nb\nb\n"),
        (CRLF, "ab\r\n", "\n\n", "\r\n\r\n"),
        (CRLF, "ab\r\n", "a\r\nb", "a\r\nb"),
        (CR, "ab\r", "a\nb\r\n", "a\rb\r"),
        (LineEnds(lf=1, crlf=1), "ab\r\n", "a\nb\r\nc\r", "a\nb\r\nc\r"),  # the model has met both
        (LineEnds(), "abc", "a\r\n", "a\r\n"),  # nothing is known
    ],
)
def test_line_ends_become_those_of_the_models_text(own: LineEnds, known: str, text: str, read: str) -> None:
    """And that is said."""
    found, notes = _reader(known, own).text(text, "--stop")
    assert found == read
    assert bool(notes) == (found != text)
    assert all(note.startswith("--stop has line ends") for note in notes)


def test_the_runs_own_rules_come_first() -> None:
    """A text of a run with a rule is read by it; a rule on line ends needs no words, since it is in the run."""
    reader = _reader("abc\u00e9\n", newlines="lf", normalize="nfc", lowercase=True)
    found, notes = reader.text("ABC\r\nE\u0301", "--prime")
    assert (found, notes) == ("abc\n\u00e9", ["--prime is read in lower case, as the model's text was"])
    assert reader.text("abc\n", "--prime") == ("abc\n", [])
    assert as_read("ABC\r\nE\u0301", reader.data) == "abc\n\u00e9"


def test_the_unknown_symbol_takes_what_is_left() -> None:
    """Only what no form makes known, and it is counted."""
    vocabulary = Vocabulary(map(ord, "ae\u0301\ufffd"), has_unknown_symbol=True)
    reader = Reader(DataConfig(min_count=3), vocabulary, LF)
    found, notes = reader.text("a\u00e9\u4e00\u4e00", "--prime")
    assert found == "ae\u0301\u4e00\u4e00"
    assert vocabulary.decode(vocabulary.encode(found)) == "ae\u0301\ufffd\ufffd"
    assert notes[1:] == ["the unknown symbol, U+FFFD, is read in the place of 2 characters of --prime"]


def test_a_model_of_bytes_takes_everything_as_it_is() -> None:
    """But for the line ends that its run had made one kind."""
    bytes_ = Vocabulary.of_bytes()
    assert Reader(DataConfig(as_bytes=True), bytes_, LF).text("e\u0301\r\n", "--prime") == ("e\u0301\r\n", [])
    assert Reader(DataConfig(as_bytes=True, newlines="lf"), bytes_, LF).text("\r\n", "--prime") == ("\n", [])
