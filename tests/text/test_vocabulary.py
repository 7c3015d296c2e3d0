"""The table between characters and ids, against `sorted(set(text))` and Python's own UTF-8."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import vocabulary as module
from charrnn.text.vocabulary import Vocabulary, describe_character, unknown_characters_error

# Every code point, lone surrogates too: a text kind of vocabulary knows nothing of encodings.
any_text = st.text(st.characters())


def test_examples_in_docstrings() -> None:
    """What the docstrings show is what happens."""
    result = doctest.testmod(module)
    assert result.attempted >= 5
    assert result.failed == 0


@given(any_text)
@settings(deadline=None)
def test_characters_stand_in_code_point_order(text: str) -> None:
    """A character's id is its place among the sorted characters of the text."""
    characters = sorted(set(text))
    vocabulary = Vocabulary.of(text)
    assert vocabulary.characters == "".join(characters)
    assert len(vocabulary) == len(characters)
    assert vocabulary.encode(text).tolist() == [characters.index(character) for character in text]


@given(any_text, any_text)
@settings(deadline=None)
def test_lookup_is_that_in_a_dictionary(text: str, known: str) -> None:
    """Characters before, between and behind those in the table are unknown; so is every one to an empty table."""
    ids = {character: id_ for id_, character in enumerate(sorted(set(known)))}
    expected = [ids.get(character, 0xFFFFFFFF) for character in text]
    found = Vocabulary.of(known).lookup(text)
    assert found.dtype == np.uint32
    assert found.tolist() == expected


@given(any_text, any_text)
@settings(deadline=None)
def test_decode_undoes_encode(text: str, more: str) -> None:
    """Any text comes back from its ids, in a vocabulary that knows more than this text."""
    vocabulary = Vocabulary.of(text + more)
    ids = vocabulary.encode(text)
    assert ids.dtype == vocabulary.dtype
    assert vocabulary.decode(ids.tolist()) == text


@given(st.text())
@settings(deadline=None)
def test_bytes_are_utf8(text: str) -> None:
    """A bytes vocabulary's ids are the UTF-8 bytes, and any text comes back from them."""
    vocabulary = Vocabulary.of_bytes()
    ids = vocabulary.encode(text)
    assert bytes(ids.tolist()) == text.encode("utf-8")
    assert vocabulary.decode(ids.tolist()) == text
    assert vocabulary.unknown(text) == {}


@given(st.binary())
@settings(deadline=None)
def test_bytes_that_are_not_utf8_decode_as_python_does(raw: bytes) -> None:
    """Streaming one byte at a time gives what decoding all at once with U+FFFD gives; so does `decode`."""
    vocabulary = Vocabulary.of_bytes()
    assert vocabulary.decode(raw) == raw.decode("utf-8", "replace")
    complete = raw + b"."  # ends any character that was begun
    decode = vocabulary.decoder()
    assert "".join(map(decode, complete)) == complete.decode("utf-8", "replace")


def test_streamed_bytes_appear_when_a_character_is_complete() -> None:
    """No piece of a character is ever shown."""
    decode = Vocabulary.of_bytes().decoder()
    assert [decode(byte) for byte in "e€".encode()] == ["e", "", "", "€"]


def test_bytes_of_the_command_line_stay_themselves() -> None:
    """An argument that is not UTF-8 reaches the model as the bytes that were typed."""
    typed = b"caf\xe9 \xff"
    argument = typed.decode("utf-8", "surrogateescape")  # as Python hands it over
    assert bytes(Vocabulary.of_bytes().encode(argument).tolist()) == typed


def test_half_a_pair_has_no_bytes() -> None:
    """A lone surrogate that stands for no byte is an error that names it."""
    with pytest.raises(TextError, match=r"U\+D83D"):
        Vocabulary.of_bytes().encode("a\ud83d")


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "u1"), (256, "u1"), (257, "<u2"), (65_536, "<u2"), (65_537, "<u4"), (70_003, "<u4")]
)
def test_ids_take_the_narrowest_type(size: int, dtype: str) -> None:
    """uint8, uint16 or uint32 by the number of characters, and the last id fits."""
    vocabulary = Vocabulary(range(0x20000, 0x20000 + size))
    assert vocabulary.dtype == np.dtype(dtype)
    last = chr(0x20000 + size - 1)
    assert vocabulary.encode(last).tolist() == [size - 1]


def test_ids_of_a_bytes_vocabulary_are_bytes() -> None:
    """All 256 values are there, in one byte each."""
    vocabulary = Vocabulary.of_bytes()
    assert len(vocabulary) == 256
    assert vocabulary.dtype == np.uint8
    assert "€" in vocabulary


def test_beyond_unicode_is_refused() -> None:
    """0x10FFFF is the last code point."""
    assert Vocabulary([0x10FFFF]).characters == "\U0010ffff"
    with pytest.raises(ValueError, match="0x110000"):
        Vocabulary([0x110000])


def test_equality_is_of_kind_and_characters() -> None:
    """The order and number of mentions do not matter; the kind does."""
    assert Vocabulary.of("abba") == Vocabulary.of("ba")
    assert hash(Vocabulary.of("abba")) == hash(Vocabulary.of("ba"))
    assert Vocabulary.of("ab") != Vocabulary.of("abc")
    assert Vocabulary(range(256)) != Vocabulary.of_bytes()
    assert Vocabulary.of("ab") != "ab"


def test_table_cannot_be_written_to() -> None:
    """A vocabulary is a value."""
    vocabulary = Vocabulary.of("xyz")
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.code_points[0] = 7
    assert vocabulary.encode("zx").tolist() == [2, 0]


def test_contains_asks_for_one_character() -> None:
    """Neither nothing nor a longer text is a character."""
    vocabulary = Vocabulary.of("ab")
    assert "a" in vocabulary
    assert "c" not in vocabulary
    assert "" not in vocabulary
    assert "ab" not in vocabulary
    assert "ab" not in Vocabulary.of_bytes()


@given(any_text, st.text("abcde"))
@settings(deadline=None)
def test_unknown_characters_are_counted_or_refused_and_skipped_on_demand(text: str, known: str) -> None:
    """The naive count, in order of appearance; `error` raises whenever there is one; `skip` leaves exactly them out."""
    vocabulary = Vocabulary.of(known)
    missing = [character for character in text if character not in known]
    counts = {character: missing.count(character) for character in missing}
    assert list(vocabulary.unknown(text).items()) == list(counts.items())
    left = "".join(character for character in text if character in known)
    assert vocabulary.decode(vocabulary.encode(text, "skip").tolist()) == left
    if missing:
        with pytest.raises(TextError):
            vocabulary.encode(text)
    else:
        assert vocabulary.decode(vocabulary.encode(text).tolist()) == text


def test_error_lists_every_unknown_character() -> None:
    """With code point, name and number; what cannot be printed is escaped; the hint shows what would be taken."""
    with pytest.raises(TextError) as raised:
        Vocabulary.of("ea -'").encode("é\x1b’é\u202eé")
    assert raised.value.exit_status == 3
    assert raised.value.message == (
        "the model's vocabulary lacks 'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE (3 times), '\\x1b' U+001B, "
        "'’' U+2019 RIGHT SINGLE QUOTATION MARK, '\\u202e' U+202E RIGHT-TO-LEFT OVERRIDE"
    )
    assert raised.value.hints == (
        "--unknown skip leaves them out",
        "--unknown replace takes a near character ('é' -> 'e', '’' -> \"'\")",
        "or write the text without them",
    )


def test_error_names_ten_and_counts_the_rest() -> None:
    """A text in another script does not fill the screen."""
    error = unknown_characters_error(dict.fromkeys("αβγδεζηθικλμν", 1), Vocabulary.of("abc"))
    assert error.message.count("U+03") == 10
    assert error.message.endswith("U+03BA GREEK SMALL LETTER KAPPA, and 3 more")
    assert error.hints[:2] == ("--unknown skip leaves them out", "no known character is near")


@pytest.mark.parametrize(
    ("known", "text", "replaced"),
    [
        ("aé", "aé", "aé"),  # itself first
        ("abc", "CAB", "cab"),  # its other case
        ("ABC", "cab", "CAB"),
        ("ean ", "né à", "ne a"),  # its base letter
        ("E", "é", "E"),  # the base letter's other case
        ("fi", "ﬁ", "f"),  # the first letter of a ligature
        ("'\"-", "‘“—", "'\"-"),  # look-alikes
        ("’", "'", "’"),
        ("\n ", "\r\u00a0", "\n "),
        ("s", "ß", "s"),  # whose other case is two letters
    ],
)
def test_replace_takes_the_nearest(known: str, text: str, replaced: str) -> None:
    """Other case, base letter or look-alike, in this order."""
    vocabulary = Vocabulary.of(known)
    assert vocabulary.decode(vocabulary.encode(text, "replace").tolist()) == replaced


def test_hint_shows_three_replacements() -> None:
    """Those without a near character are passed over."""
    error = unknown_characters_error(dict.fromkeys("李ÀÉ王ÎÕÜ", 1), Vocabulary.of("aeiou"))
    assert error.hints[1].endswith("('À' -> 'a', 'É' -> 'e', 'Î' -> 'i')")


def test_replace_drops_nothing() -> None:
    """A character with nothing near it is refused even then, and only it is named."""
    with pytest.raises(TextError) as raised:
        Vocabulary.of("king").encode("KING 李", "replace")
    assert "U+674E" in raised.value.message
    assert "U+0020" in raised.value.message
    assert "U+004B" not in raised.value.message


@given(st.characters(), st.text(min_size=1))
@settings(deadline=None)
def test_nearest_is_known_or_none(character: str, known: str) -> None:
    """Whatever is put in place of a character is in the vocabulary, and a known character is its own nearest."""
    vocabulary = Vocabulary.of(known)
    nearest = vocabulary.nearest(character)
    assert nearest is None or nearest in known
    assert (nearest == character) == (character in known)


def test_descriptions_of_characters() -> None:
    """One that cannot be printed is escaped; one without a name has its code point."""
    assert describe_character("\n") == "'\\n' U+000A"
    assert describe_character("\U0001f600") == "'😀' U+1F600 GRINNING FACE"
    assert describe_character("\ue000") == "'\\ue000' U+E000"


@given(ids=st.lists(st.integers(0, 255), max_size=60), piece=st.integers(1, 7))
@settings(deadline=None)
def test_arrays_decode_as_lists_do(ids: list[int], piece: int) -> None:
    """In pieces of any size, of bytes that are not UTF-8 too, and of halves of pairs that only a forged file has."""
    tables = (Vocabulary.of_bytes(), Vocabulary(range(256)), Vocabulary([*range(200), *range(0xD7F0, 0xD7F0 + 100)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE", piece)
        for vocabulary in tables:
            pieces = list(vocabulary.decode_pieces(np.array(ids, np.uint16)))
            assert "".join(pieces) == vocabulary.decode(ids) == vocabulary.decode(np.array(ids, np.uint16))


@pytest.mark.parametrize("vocabulary", [Vocabulary.of("abé", has_end=True), Vocabulary.of_bytes(has_end=True)])
def test_the_end_of_a_document_is_the_last_id_and_no_character(vocabulary: Vocabulary) -> None:
    """It counts as an id, is decoded to nothing in every way, and stands in no text."""
    plain = Vocabulary(vocabulary.code_points.tolist(), vocabulary.kind)
    assert plain.end is None
    assert vocabulary.end == len(plain) == len(vocabulary) - 1
    assert vocabulary != plain
    assert hash(vocabulary) != hash(plain)
    assert vocabulary.characters == plain.characters
    assert vocabulary.names == [*plain.names, "<end>"]
    ids = [*vocabulary.encode("é").tolist(), vocabulary.end, *vocabulary.encode("ab").tolist(), vocabulary.end]
    decode = vocabulary.decoder()
    assert "".join(map(decode, ids)) + decode.finish() == vocabulary.decode(ids) == "éab"
    assert vocabulary.decode(np.array(ids)) == "éab"
    assert vocabulary.decode_documents(np.array(ids)) == "é\nab\n"
    assert plain.decode_documents(np.array(ids[:1])) == plain.decode(ids[:1])


def test_a_byte_that_goes_on_does_not_go_on_behind_the_end() -> None:
    """What is left of a character at the end of a document is U+FFFD, and the next one begins afresh."""
    vocabulary = Vocabulary.of_bytes(has_end=True)
    decode = vocabulary.decoder()
    assert [decode(id_) for id_ in (0xC3, 256, 0xA9, 0x61)] == ["", "\ufffd", "\ufffd", "a"]


@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_the_end_of_a_document_is_one_more_id_and_no_character(kind: Any) -> None:
    """It is the last id, counts, decodes to nothing in every way of decoding, and cannot be typed; all else stays."""
    plain = Vocabulary(range(256) if kind == "bytes" else map(ord, "abé"), kind)
    ending = Vocabulary(plain.code_points.tolist(), kind, has_end=True)
    assert (plain.end, ending.end, len(ending)) == (None, len(plain), len(plain) + 1)
    assert ending.characters == plain.characters
    assert ending != plain
    assert ending == Vocabulary(plain.code_points.tolist(), kind, has_end=True)
    ids = ending.encode("abéa")
    assert ids.tolist() == plain.encode("abéa").tolist()
    assert ids.dtype == ending.dtype == (np.uint16 if kind == "bytes" else np.uint8)
    written = [ending.end, *ids.tolist(), ending.end, ending.end, int(ids[0])]
    assert ending.decode(written) == ending.decode(np.array(written)) == "abéaa"
    if kind == "text":
        assert all(character not in ending for character in ("", "<end>", "\0", chr(0x10FFFF)))
    else:
        assert ending.decode([0xC3, ending.end, ord("a")]) == "\ufffda", "a document ends in the middle of a character"
