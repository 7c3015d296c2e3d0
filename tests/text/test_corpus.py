"""Encoded texts against `sorted(set(text))` and Python's own decoding, in pieces small enough to split characters."""

from __future__ import annotations

import doctest
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import ResourceError, TextError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import corpus as module
from charrnn.text import decoding, stored
from charrnn.text.cache import cache_folder
from charrnn.text.corpus import Corpus, load
from charrnn.text.decoding import read_beginning
from charrnn.text.sources import Source
from charrnn.text.stored import StoredIds
from charrnn.text.vocabulary import Vocabulary
from charrnn.wording import count
from tests.kit.full_disk import no_file_above
from tests.kit.packing import PACK
from tests.kit.text import make_text, with_line_ends

PIECE = 1 << 16  # what is read at a time, if nothing is said
# In every text but those of its own test: U+0000 is refused.
characters = st.characters(codec="utf-8", exclude_characters="\0")
# A short alphabet makes borders, line ends, marks and repetitions likely.
tricky = st.one_of(st.text("a\r\né€😀\ufeff", max_size=40), st.text(characters, max_size=40))


@pytest.fixture(autouse=True)
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of files (-1: a folder) synced to disk. It is not done: for hundreds of tiny texts it takes very long."""
    sizes: list[int] = []

    def note(descriptor: int) -> None:
        status = os.fstat(descriptor)
        sizes.append(-1 if stat.S_ISDIR(status.st_mode) else status.st_size)

    monkeypatch.setattr(os, "fsync", note)
    return sizes


def _source(folder: Path, content: bytes, name: str = "text.txt") -> Source:
    path = folder / name
    path.write_bytes(content)
    return Source(path, name)


def _text(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids.tolist())


def _check(corpus: Corpus, text: str) -> None:
    """The naive reference: the sorted set of characters, and each character's place in it."""
    known = sorted(set(text))
    assert corpus.vocabulary.characters == "".join(known)
    assert corpus.ids.tolist() == [known.index(character) for character in text]
    assert len(corpus) == len(text)
    assert corpus.num_bytes == len(text.encode())
    assert corpus.sha256 == hashlib.sha256(text.encode()).hexdigest()


def _entries() -> list[Path]:
    """What lies in the cache, temporary folders included."""
    folder = cache_folder() / "corpora"
    return sorted(folder.iterdir()) if folder.exists() else []


def _pieces_of(size: int) -> mock._patch[int]:
    return mock.patch.object(decoding, "_PIECE", size)


def test_examples_in_docstrings() -> None:
    """What the docstrings show is what happens."""
    assert doctest.testmod(module).failed == 0


@given(
    texts=st.lists(tricky, min_size=1, max_size=3),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "gb18030"]),
    suffix=st.sampled_from(list(PACK)),
    piece=st.integers(1, 7),
)
@settings(deadline=None, max_examples=70)
def test_ids_are_places_in_the_sorted_characters(texts: list[str], encoding: str, suffix: str, piece: int) -> None:
    """Several files in any encoding and packing, one after the other, each without its byte order mark."""
    with tempfile.TemporaryDirectory() as folder, _pieces_of(piece):
        sources = [
            _source(Path(folder), PACK[suffix](text.encode(encoding)), f"{number}.txt{suffix}")
            for number, text in enumerate(texts)
        ]
        # Codecs that write a mark take it off themselves, and a second one behind it is text.
        decoded = [text.encode(encoding).decode(encoding) for text in texts]
        if encoding not in ("utf-8-sig", "utf-16", "utf-32"):
            decoded = [text.removeprefix("\ufeff") for text in decoded]
        _check(load(sources, DataConfig(encoding=encoding), name="texts"), with_line_ends(decoded))


@given(raw=st.lists(st.binary(max_size=30), min_size=1, max_size=3), piece=st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_bytes_are_their_own_ids(raw: list[bytes], piece: int) -> None:
    """Byte mode takes any file as it is: marks, NUL and what is not UTF-8 included."""
    with tempfile.TemporaryDirectory() as folder, _pieces_of(piece):
        sources = [_source(Path(folder), content, str(number)) for number, content in enumerate(raw)]
        corpus = load(sources, DataConfig(as_bytes=True), name="bytes")
    whole = b"".join(raw)
    assert bytes(corpus.ids) == whole
    assert corpus.vocabulary == Vocabulary.of_bytes()
    assert corpus.num_bytes == len(whole)
    assert corpus.sha256 == hashlib.sha256(whole).hexdigest()


def _first_bad_byte(raw: bytes) -> int | None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None


@given(
    raw=st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"\n")),
    prefix=st.sampled_from([b"", b"\xef\xbb\xbf", "né\n€".encode()]),
    suffix=st.sampled_from(["", ".gz"]),
    piece=st.integers(1, 7),
)
@settings(deadline=None, max_examples=70)
def test_bad_bytes_are_found_where_python_finds_them(raw: bytes, prefix: bytes, suffix: str, piece: int) -> None:
    """Strictly: the text as Python decodes it, or the offset and line of the first byte that it refuses."""
    raw = prefix + raw
    with tempfile.TemporaryDirectory() as folder, _pieces_of(piece):
        source = _source(Path(folder), PACK[suffix](raw), f"text{suffix}")
        bad = _first_bad_byte(raw)
        if bad is None:
            _check(load([source], DataConfig(), name="text"), raw.decode().removeprefix("\ufeff"))
        else:
            with pytest.raises(TextError) as raised:
                load([source], DataConfig(), name="text")
            line = raw[:bad].count(b"\n") + 1
            assert raised.value.message == (
                f"text{suffix} is not utf-8: byte 0x{raw[bad]:02x} at offset {bad}, line {line}"
            )
        replaced = raw.decode("utf-8", "replace").removeprefix("\ufeff")
        _check(load([source], DataConfig(encoding_errors="replace"), name="text"), replaced)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "shift_jis", "ascii", "utf-16"])
@pytest.mark.parametrize("piece", [3, 11, 1000])
def test_bad_bytes_in_other_encodings(tmp_path: Path, encoding: str, piece: int) -> None:
    """Whatever a codec keeps back or cuts off, the offset is that in the file."""
    good = "one\ntwo\n".encode(encoding)
    raw = good + (b"\x00\xdc" if encoding == "utf-16" else b"\xff") + "\nthree".encode(encoding)
    with pytest.raises(UnicodeDecodeError):
        raw.decode(encoding)
    source = _source(tmp_path, raw)
    with _pieces_of(piece), pytest.raises(TextError, match=f"at offset {len(good)}, line 3"):
        load([source], DataConfig(encoding=encoding), name="text")


@pytest.mark.parametrize("suffix", list(PACK))
def test_bad_byte_beyond_the_first_piece(tmp_path: Path, suffix: str) -> None:
    """Offset and line count from the start of the (unpacked) text, and the error says what to do."""
    raw = b"first\nsecond\n" + b"x" * PIECE + b"\n\xe9t\xe9"
    source = _source(tmp_path, PACK[suffix](raw), f"big.txt{suffix}")
    with pytest.raises(TextError) as raised:
        load([source], DataConfig(), name="text")
    assert raised.value.exit_status == 3
    assert raised.value.message == f"big.txt{suffix} is not utf-8: byte 0xe9 at offset {13 + PIECE + 1:,}, line 4"
    for remedy in ("--encoding ", "--encoding-errors replace", "--bytes"):
        assert remedy in str(raised.value.hint)
    assert _entries() == []


def test_remedies_for_bad_bytes_work(tmp_path: Path) -> None:
    """Another encoding, the replacement character, or bytes."""
    raw = b"caf\xe9 \xff\n"
    source = _source(tmp_path, raw)
    _check(load([source], DataConfig(encoding="latin-1"), name="text"), "caf\xe9 \xff\n")
    _check(load([source], DataConfig(encoding_errors="replace"), name="text"), "caf\ufffd \ufffd\n")
    assert bytes(load([source], DataConfig(as_bytes=True), name="text").ids) == raw


@pytest.mark.parametrize("before", [PIECE - 1, PIECE - 2, PIECE - 3])
def test_character_across_the_border_of_two_pieces(tmp_path: Path, before: int) -> None:
    """The real size of a piece: four bytes of one character, cut at each place."""
    source = _source(tmp_path, b"x" * before + "😀y".encode())
    corpus = load([source], DataConfig(), name="text")
    assert corpus.vocabulary.characters == "xy😀"
    assert len(corpus) == before + 2
    assert corpus.ids[before - 1 :].tolist() == [0, 2, 1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_bad_byte_stands_where_it_does_in_the_file(tmp_path: Path, encoding: str) -> None:
    """Marks taken away and line ends made one do not move it."""
    good = ("\ufeff" if encoding == "utf-8" else "") + "one\r\ntwo\r\nthree\r"
    raw = good.encode(encoding)
    bad = {"utf-8": b"\xff", "utf-16": b"\x00\xdc", "cp1252": b"\x81"}[encoding]
    source = _source(tmp_path, raw + bad + "\r\n".encode(encoding))
    with _pieces_of(4), pytest.raises(TextError, match=f"at offset {len(raw)}, line 3"):
        load([source], DataConfig(encoding=encoding, newlines="lf"), name="text")


def test_bad_byte_that_is_gone_when_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone writes to the file meanwhile: that is what the error says."""
    source = _source(tmp_path, b"caf\xff")
    real = decoding._bad_byte

    def too_late(source: Source, config: DataConfig) -> TextError:
        source.path.write_bytes(b"cafe")
        return real(source, config)

    monkeypatch.setattr(decoding, "_bad_byte", too_late)
    with pytest.raises(TextError, match=r"text\.txt changed while it was being read"):
        load([source], DataConfig(), name="text")


@pytest.mark.parametrize(
    ("raw", "encoding"), [(b"a\0b", "utf-8"), (b"a+AAA-b", "utf-7"), (b"a\\x00b", "unicode_escape")]
)
def test_nul_is_refused_however_it_is_spelled(tmp_path: Path, raw: bytes, encoding: str) -> None:
    """Some encodings write it without a byte 0."""
    with pytest.raises(TextError, match=r"text\.txt holds NUL characters"):
        load([_source(tmp_path, raw)], DataConfig(encoding=encoding), name="text")


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ("hello".encode("utf-16"), "--encoding utf-16"),
        ("hello".encode("utf-16-le"), "--encoding utf-16"),
        (b"\x7fELF\x01\0\0", "--bytes"),
    ],
)
def test_what_looks_like_utf16_or_binary(tmp_path: Path, raw: bytes, hint: str) -> None:
    """With or without a mark, the likely remedy is named."""
    with pytest.raises(TextError) as raised:
        load([_source(tmp_path, raw)], DataConfig(), name="text")
    assert hint in str(raised.value.hint)


def test_utf16_without_a_mark(tmp_path: Path) -> None:
    """The codec cannot know the order of bytes; the error passes on its reason."""
    with pytest.raises(TextError, match=r"text\.txt is not utf-16: .*BOM"):
        load([_source(tmp_path, "hello".encode("utf-16-be"))], DataConfig(encoding="utf-16"), name="text")


def test_half_a_utf16_pair(tmp_path: Path) -> None:
    """UTF-7 can spell what no text can hold."""
    with pytest.raises(TextError, match=r"text\.txt holds '\\ud800' U\+D800"):
        load([_source(tmp_path, b"a+2AA-b")], DataConfig(encoding="utf-7"), name="text")


@pytest.mark.parametrize("encoding", ["no-such", "rot13", "base64"])
def test_unknown_encoding(tmp_path: Path, encoding: str) -> None:
    """Nor is a codec that does not make text an encoding."""
    with pytest.raises(UsageError, match=f"--encoding is '{encoding}'"):
        load([_source(tmp_path, b"text")], DataConfig(encoding=encoding), name="text")


@given(text=st.text(st.sampled_from("\r\nab"), max_size=30), piece=st.integers(1, 5), as_bytes=st.booleans())
@settings(deadline=None, max_examples=70)
def test_line_ends(text: str, piece: int, as_bytes: bool) -> None:
    """Kept, or each one made a line feed, also where a border falls between its two characters."""
    with tempfile.TemporaryDirectory() as folder, _pieces_of(piece):
        source = _source(Path(folder), text.encode())
        kept = load([source], DataConfig(as_bytes=as_bytes), name="text")
        unified = load([source], DataConfig(as_bytes=as_bytes, newlines="lf"), name="text")
    assert _text(kept) == text
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert _text(unified) == expected
    assert unified.num_bytes == len(expected)


def test_line_end_across_the_border_of_two_pieces(tmp_path: Path) -> None:
    """The real size of a piece."""
    source = _source(tmp_path, b"x" * (PIECE - 1) + b"\r\ny\r")
    corpus = load([source], DataConfig(newlines="lf"), name="text")
    assert len(corpus) == PIECE + 2
    assert corpus.ids[PIECE - 2 :].tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(("size", "dtype"), [(251, "u1"), (257, "<u2"), (65_539, "<u4")])
@pytest.mark.parametrize("is_large", [False, True])
def test_ids_are_of_the_narrowest_type(
    tmp_path: Path, size: int, dtype: str, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One, two or four bytes an id by the size of the vocabulary, in the file too; not to be written to."""
    if is_large:
        monkeypatch.setattr(stored, "IN_MEMORY", 100)
    text = "".join(chr(0x20000 + number) for number in range(size)) + chr(0x20000)
    corpus = load([_source(tmp_path, text.encode())], DataConfig(), name="text")
    assert corpus.ids.dtype == np.dtype(dtype)
    if isinstance(corpus.ids, np.ndarray):
        assert not corpus.ids.flags.writeable
    assert isinstance(corpus.ids, StoredIds) == is_large
    assert corpus.ids[-2:].tolist() == [size - 1, 0]
    (entry,) = _entries()
    assert (entry / "ids.bin").stat().st_size == (size + 1) * np.dtype(dtype).itemsize


@pytest.mark.parametrize("others", ["é€", "".join(map(chr, range(0x4E00, 0x4E00 + 301)))])
def test_ascii_and_other_pieces_agree(tmp_path: Path, others: str) -> None:
    """Pieces that are plain ASCII may go a faster way, also in a vocabulary that is not, or whose ids are wider."""
    text = "".join(map(chr, range(1, 128))) * 3 + others + make_text(53)
    with _pieces_of(29):
        _check(load([_source(tmp_path, text.encode())], DataConfig(), name="text"), text)


# Every plane of Unicode has its own length in UTF-8 or in UTF-16, and the borders between lengths their neighbours.
PLANES = st.one_of(
    st.sampled_from("\x01\x7f\x80\xe9\u07ff\u0800\u2019\ud7ff\ue000\uffff\U00010000\U0010ffff"),
    st.characters(codec="utf-8", min_codepoint=0x80),
)


@given(
    ascii_parts=st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=30), max_size=12),
    others=st.lists(st.text(PLANES, min_size=1, max_size=3), min_size=12, max_size=12),
    number=st.sampled_from([0, 200, 300]),
    piece=st.integers(1, 90),
)
@settings(deadline=None, max_examples=150)
def test_pieces_of_any_mixture_agree(ascii_parts: list[str], others: list[str], number: int, piece: int) -> None:
    """ASCII with others scattered in it, little else, or both by turns, against a dictionary of characters: each piece
    goes the way that is fast for it, into ids of one byte or two."""
    text = "".join(part + other for part, other in zip(ascii_parts, others, strict=False))
    text += "".join(map(chr, range(0x4E00, 0x4E00 + number)))
    ids = {character: id_ for id_, character in enumerate(sorted(set(text)))}
    with tempfile.TemporaryDirectory() as folder, _pieces_of(piece):
        corpus = load([_source(Path(folder), text.encode())], DataConfig(), name="text")
    assert corpus.vocabulary.characters == "".join(ids)
    assert corpus.ids.tolist() == [ids[character] for character in text]


@given(text=st.text(PLANES, max_size=20), others=st.binary(max_size=12), piece=st.integers(1, 9))
@settings(deadline=None, max_examples=200)
def test_pieces_are_whole_characters(text: str, others: bytes, piece: int) -> None:
    """Together they are the text, valid or not; each decodes by itself exactly where Python decodes the whole."""
    raw = text.encode() + others
    chunks = [raw[start : start + piece] for start in range(0, len(raw), piece)]
    pieces = list(decoding._cut(iter(chunks)))
    assert b"".join(pieces) == raw
    if _first_bad_byte(raw) is None:
        assert "".join(part.decode() for part in pieces) == raw.decode()
    else:
        assert any(_first_bad_byte(part) is not None for part in pieces)


@pytest.mark.parametrize(
    ("raw", "config", "text"),
    [
        (b"caf\xc3\xa9 a\rb\n", DataConfig(), "café a\rb\n"),
        (b"caf\xc3\xa9 a\rb\n", DataConfig(encoding="U8"), "café a\rb\n"),
        (b"\xef\xbb\xbfcaf\xc3\xa9", DataConfig(), "café"),
        (b"caf\xc3\xa9 a\rb\n", DataConfig(newlines="lf"), "café a\nb\n"),  # as long as the file
        (b"caf\xe1\xbc\xff", DataConfig(encoding_errors="replace"), "caf\ufffd\ufffd"),
        (b"abc\xf0\x9f\x98", DataConfig(encoding_errors="replace"), "abc\ufffd"),  # as long as the file
        (b"caf\xe9", DataConfig(encoding="latin-1"), "café"),
        (b"plain", DataConfig(encoding="latin-1"), "plain"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("copies", [1, 2])
def test_digest_is_of_the_text_whatever_the_file_holds(
    tmp_path: Path, raw: bytes, config: DataConfig, text: str, suffix: str, copies: int
) -> None:
    """Where the text is the file, its digest need not be taken twice; nowhere else is the file's digest the text's."""
    sources = [_source(tmp_path, PACK[suffix](raw), f"text{suffix}")] * copies
    _check(load(sources, config, name="text"), with_line_ends([text] * copies))


def test_file_is_hashed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the key and to see that nothing changed: what else needs its digest, has it. A second start hashes once."""
    asked = []
    real = Source.digest
    monkeypatch.setattr(Source, "digest", lambda source: asked.append(source) or real(source))
    source = _source(tmp_path, make_text(251).encode())
    load([source], DataConfig(), name="text")
    assert len(asked) == 2
    load([source], DataConfig(), name="text")
    assert len(asked) == 3


@pytest.mark.parametrize("others", ["", "é", "’—“", "ж" * 40, "王😀"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, others: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 12 MB a few are held at a time, however many characters are not ASCII."""
    monkeypatch.setattr(stored, "IN_MEMORY", 1 << 20)
    monkeypatch.setattr(stored, "CAPACITY", 1 << 20)
    line = make_text(97) + others + "\n"
    source = _source(tmp_path, line.encode() * (12_000_000 // len(line.encode())))
    tracemalloc.start()
    load([source], DataConfig(), name="text")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def _never(*_: object) -> None:
    raise AssertionError("the text was encoded although it lies in the cache")


@pytest.mark.parametrize("name", ["elsewhere.txt", "elsewhere.md", "stdin-1234.tmp"])
def test_same_content_at_another_path_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The key is what is in the files, not what they are called; the name of the corpus is the caller's."""
    content = make_text(307).encode()
    first = load([_source(tmp_path, content)], DataConfig(), name="first")
    monkeypatch.setattr(module, "_encode", _never)
    second = load([_source(tmp_path, content, name)], DataConfig(), name="second")
    assert np.array_equal(first.ids, second.ids)
    assert (first.vocabulary, first.num_bytes, first.sha256) == (second.vocabulary, second.num_bytes, second.sha256)
    assert (first.name, second.name) == ("first", "second")


def test_changed_content_is_not(tmp_path: Path) -> None:
    """Same path, same length, another text."""
    load([_source(tmp_path, b"abcd")], DataConfig(), name="text")
    _check(load([_source(tmp_path, b"abce")], DataConfig(), name="text"), "abce")
    assert len(_entries()) == 2


def test_packed_bytes_and_their_content_are_different_texts(tmp_path: Path) -> None:
    """The same bytes under a name that means unpacking are another text."""
    packed = PACK[".gz"](b"inside")
    assert len(load([_source(tmp_path, packed, "a.gz")], DataConfig(as_bytes=True), name="a")) == 6
    assert len(load([_source(tmp_path, packed, "a.bin")], DataConfig(as_bytes=True), name="a")) == len(packed)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (DataConfig(), 5),
        (DataConfig(newlines="lf"), 4),
        (DataConfig(encoding="latin-1"), 6),
        (DataConfig(as_bytes=True), 6),
    ],
)
def test_options_of_decoding_are_part_of_the_key(tmp_path: Path, config: DataConfig, length: int) -> None:
    """Each gives its own text whatever was read before; those of splitting share one."""
    source = _source(tmp_path, "é\r\nab".encode())
    for before in (DataConfig(), DataConfig(newlines="lf"), DataConfig(encoding="latin-1"), DataConfig(as_bytes=True)):
        load([source], before, name="text")
    assert len(load([source], config, name="text")) == length
    load([source], DataConfig(validation_fraction=0.3, test_fraction=0.2), name="text")
    assert len(_entries()) == 4


def _cut_ids(entry: Path) -> None:
    os.truncate(entry / "ids.bin", 101)


def _lose_ids(entry: Path) -> None:
    (entry / "ids.bin").unlink()


def _describe(text: str) -> Callable[[Path], None]:
    def damage(entry: Path) -> None:
        (entry / "described").write_text(text)

    return damage


def _become_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_bytes(b"")


def _become_empty(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.mkdir()


TEARS = [
    _cut_ids, _lose_ids, _become_a_file, _become_empty,
    _describe(""), _describe("[]"), _describe("{}"), _describe('{"code_points": [-1], "kind": "text"}'),
]  # fmt: skip


@pytest.mark.parametrize("tear", TEARS)
def test_torn_entry_is_made_again(tmp_path: Path, tear: Callable[[Path], None]) -> None:
    """Whatever a crash or a full disk left in its place."""
    text = make_text(311)
    source = _source(tmp_path, text.encode())
    load([source], DataConfig(), name="text")
    (entry,) = _entries()
    tear(entry)
    said: list[str] = []
    _check(load([source], DataConfig(), name="text", note=said.append), text)
    assert _entries() == [entry]
    assert len(said) == 1
    assert said[0].startswith(f"the encoded text in {entry} ")
    assert said[0].endswith(": it is encoded anew")


def test_entry_is_on_disk_before_it_is_in_place(tmp_path: Path, synced: list[int]) -> None:
    """A power cut must not leave an entry of the right size that holds zeros: ids, description, then the folder."""
    load([_source(tmp_path, make_text(349).encode())], DataConfig(), name="text")
    (entry,) = _entries()
    assert synced == [349, (entry / "described").stat().st_size, -1]


def test_encoder_that_comes_second_leaves_the_entry_of_the_first(tmp_path: Path) -> None:
    """Another process may be reading it: it stays the same files, and both have the text."""
    text = make_text(313)
    source = _source(tmp_path, text.encode())
    others: list[tuple[Corpus, int]] = []

    def other_process(doing: str, _done: int, _total: int) -> None:
        if doing == "encoding" and not others:
            others.append((load([source], DataConfig(), name="other"), _entries_inode()))

    def _entries_inode() -> int:
        (entry,) = [path for path in _entries() if path.name != "under-way"]
        return entry.stat().st_ino

    corpus = load([source], DataConfig(), name="mine", report=other_process)
    (other, inode), = others  # fmt: skip
    _check(corpus, text)
    _check(other, text)
    assert _entries_inode() == inode
    assert len(_entries()) == 1


def test_entry_that_another_process_takes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that found it torn a moment ago may remove the one just made; then it is made again."""
    text = make_text(317)
    source = _source(tmp_path, text.encode())
    real = module._encode
    made = []

    def encode_and_lose(key: str, *rest: object) -> None:
        real(key, *rest)  # type: ignore[arg-type]
        made.append(key)
        if len(made) == 1:
            shutil.rmtree(cache_folder() / "corpora" / key)

    monkeypatch.setattr(module, "_encode", encode_and_lose)
    _check(load([source], DataConfig(), name="text"), text)
    assert len(made) == 2


def test_processes_at_the_same_time(tmp_path: Path) -> None:
    """Three real ones, each finding the same torn entry: every one gets the whole text, and one entry stays."""
    text = make_text(200_003)
    source = _source(tmp_path, text.encode())
    load([source], DataConfig(), name="text")
    (entry,) = _entries()
    _cut_ids(entry)
    program = (
        "import hashlib, sys\n"
        "from pathlib import Path\n"
        "from charrnn.settings.config import DataConfig\n"
        "from charrnn.text.corpus import load\n"
        "from charrnn.text.sources import Source\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        f"corpus = load([Source(Path({str(source.path)!r}), 'text')], DataConfig(), name='text')\n"
        "print(hashlib.sha256(corpus.vocabulary.decode(corpus.ids.tolist()).encode()).hexdigest())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate()[0].strip() for process in processes]
    assert answers == [hashlib.sha256(text.encode()).hexdigest()] * 3
    assert _entries() == [entry]


@pytest.mark.parametrize("moment", ["reading", "encoding"])
@pytest.mark.parametrize("change", [b"abc", b"z", b""])
def test_text_that_changes_while_it_is_read(tmp_path: Path, moment: str, change: bytes) -> None:
    """A file still being written is an error; nothing false goes into the cache."""
    content = make_text(331).encode()
    source = _source(tmp_path, content)

    def write_on(doing: str, _done: int, _total: int) -> None:
        if doing == moment:
            source.path.write_bytes(content + change if change else content[:7])

    with pytest.raises(TextError, match="changed while it was being read"):
        load([source], DataConfig(), name="text", report=write_on)
    assert _entries() == []


def test_no_room_in_the_cache(tmp_path: Path) -> None:
    """Status 6, and no half-written entry."""
    source = _source(tmp_path, make_text(5011).encode())
    with no_file_above(3000), pytest.raises(ResourceError, match="encoding the corpus into") as raised:
        load([source], DataConfig(), name="text")
    assert raised.value.exit_status == 6
    assert _entries() == []


def test_missing_source(tmp_path: Path) -> None:
    """The error names it as the user did."""
    with pytest.raises(TextError, match="cannot read mine: No such file or directory"):
        load([Source(tmp_path / "gone.txt", "mine")], DataConfig(), name="text")


def test_progress_is_in_bytes_on_disk_and_never_goes_back(tmp_path: Path) -> None:
    """Both passes reach the whole; a packed file, which unpacks to more, no further than its size; a repeated file
    counts each time."""
    packed = _source(tmp_path, PACK[".gz"](b"x" * 3001), "a.txt.gz")
    plain = _source(tmp_path, make_text(1009).encode())
    total = packed.size() + 2 * plain.size()
    said: dict[str, list[int]] = {"reading": [], "encoding": []}

    def report(doing: str, done: int, in_all: int) -> None:
        assert in_all == total
        said[doing].append(done)

    with _pieces_of(97):
        load([packed, plain, plain], DataConfig(), name="text", report=report)
    for steps in said.values():
        assert steps == sorted(steps)
        assert packed.size() in steps
        assert packed.size() + plain.size() in steps
        assert steps[-1] == total


def test_work_grows_with_the_number_of_files_not_with_its_square(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of many small files is read at the speed of its bytes."""
    sources = [_source(tmp_path, bytes([65 + number]), f"{number}.txt") for number in range(37)]
    asked = []
    real = Source.size
    monkeypatch.setattr(Source, "size", lambda source: asked.append(source) or real(source))
    corpus = load(sources, DataConfig(), name="text", report=lambda _doing, _done, _total: None)
    assert len(corpus) == 37 + 36  # line ends
    assert len(asked) <= 2 * 37


def test_validation_sources_come_last(tmp_path: Path) -> None:
    """They share the vocabulary and are the validation part; the test part is cut off the rest."""
    train, held_out = make_text(409), "éabc" * 13
    corpus = load(
        [_source(tmp_path, train.encode(), "a.txt")],
        DataConfig(),
        name="text",
        validation_sources=[
            _source(tmp_path, held_out[:17].encode(), "b.txt"),
            _source(tmp_path, held_out[17:].encode(), "c.txt"),
        ],
    )
    held_out = with_line_ends([held_out[:17], held_out[17:]])
    _check(corpus, train + held_out)
    assert corpus.separate_validation == 53
    parts = corpus.split(DataConfig(validation_fraction=0.3, test_fraction=0.25))
    cut = int(409 * 0.75)
    decode = corpus.vocabulary.decode
    assert decode(parts.train.tolist()) == train[:cut]
    assert decode(parts.test.tolist()) == train[cut:]
    assert decode(parts.validation.tolist()) == held_out


def test_empty_validation_text_is_an_error(tmp_path: Path) -> None:
    """It must not mean that a part of the corpus is held out instead, or nothing."""
    with pytest.raises(TextError, match="the validation text is empty"):
        load(
            [_source(tmp_path, make_text(401).encode())],
            DataConfig(),
            name="text",
            validation_sources=[_source(tmp_path, b"", "empty.txt")],
        )


def test_corpus_and_validation_swapped_are_another_entry(tmp_path: Path) -> None:
    """The same characters, but held out elsewhere."""
    first, second = _source(tmp_path, b"a" * 211 + b"\n", "a"), _source(tmp_path, b"b" * 223, "b")
    together = load([first, second], DataConfig(), name="text")
    apart = load([first], DataConfig(), name="text", validation_sources=[second])
    assert (together.separate_validation, apart.separate_validation) == (0, 223)
    assert together.sha256 == apart.sha256


def _corpus(length: int, separate_validation: int = 0, characters: str = "ab") -> Corpus:
    return Corpus("text", Vocabulary.of(characters), np.zeros(length, np.uint8), length, "", separate_validation)


@pytest.mark.parametrize(
    ("length", "validation", "test", "lengths"),
    [
        (1_115_394, 0.1, 0.0, (1_003_854, 111_540, 0)),  # tiny Shakespeare as char-rnn and nanoGPT cut it
        (100_000_000, 0.05, 0.05, (90_000_000, 5_000_000, 5_000_000)),  # enwik8 and text8 as everyone cuts them
        (200, 0.1, 0.2, (140, 20, 40)),
        (211, 0.0, 0.0, (211, 0, 0)),
    ],
)
def test_customary_splits(length: int, validation: float, test: float, lengths: tuple[int, int, int]) -> None:
    """Comparable with the literature to the character."""
    parts = _corpus(length).split(DataConfig(validation_fraction=validation, test_fraction=test))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == lengths


@given(length=st.integers(200, 1009), validation=st.floats(0, 0.45), test=st.floats(0, 0.45))
@settings(deadline=None)
def test_parts_are_the_corpus_in_order(length: int, validation: float, test: float) -> None:
    """Put together again they are the whole, and each is as long as asked for, to the character."""
    corpus = Corpus("text", Vocabulary.of("ab"), np.arange(length, dtype=np.uint32), length, "", 0)
    try:
        parts = corpus.split(DataConfig(validation_fraction=validation, test_fraction=test))
    except TextError:  # a part of one character, which only a share of less than two can become
        assert 0 < length * validation < 2 or 0 < length * test < 2
        return
    assert np.concatenate([parts.train, parts.validation, parts.test]).tolist() == list(range(length))
    assert abs(len(parts.validation) - length * validation) <= 1
    assert abs(len(parts.test) - length * test) <= 1


@pytest.mark.parametrize("text", ["", "a", "é" * 199, "\ufeff" + "ab" * 99 + "a"])
def test_too_small_a_text_says_how_much_is_needed(tmp_path: Path, text: str) -> None:
    """Both numbers, and what would be enough; an empty file loads, since a model may be evaluated on less."""
    corpus = load([_source(tmp_path, text.encode())], DataConfig(), name="text")
    length = len(text.removeprefix("\ufeff"))
    with pytest.raises(TextError) as raised:
        corpus.split(DataConfig())
    assert raised.value.exit_status == 3
    assert raised.value.message == f"the corpus has {count(length, 'character')}; training needs at least 200"
    assert "100,000" in str(raised.value.hint)


def test_two_hundred_characters_are_enough(tmp_path: Path) -> None:
    """The smallest text that can be trained on."""
    corpus = load([_source(tmp_path, make_text(200).encode())], DataConfig(), name="text")
    assert len(corpus.split(DataConfig()).train) == 180


def test_validation_of_its_own_makes_no_small_text_large() -> None:
    """The minimum is for what is trained on."""
    with pytest.raises(TextError, match="has 150 characters; training needs at least 200"):
        _corpus(400, separate_validation=250).split(DataConfig())


@pytest.mark.parametrize(
    ("corpus", "config", "message"),
    [
        (_corpus(300, characters="a"), DataConfig(), "repeats a single character"),
        (_corpus(300), DataConfig(validation_fraction=0.0, test_fraction=0.003), "the test part has a single"),
        (_corpus(300), DataConfig(validation_fraction=0.003), "the validation part has a single"),
        (_corpus(301, separate_validation=1), DataConfig(), "the validation part has a single"),
    ],
)
def test_parts_that_cannot_be_used(corpus: Corpus, config: DataConfig, message: str) -> None:
    """Nothing to learn, or nothing to predict in the part held out."""
    with pytest.raises(TextError, match=message):
        corpus.split(config)


@given(texts=st.lists(tricky, min_size=1, max_size=3), length=st.integers(0, 50), piece=st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_reading_follows_the_same_rules(texts: Sequence[str], length: int, piece: int) -> None:
    """The whole of one text, and the beginning of several."""
    with tempfile.TemporaryDirectory() as folder, _pieces_of(piece):
        sources = [_source(Path(folder), text.encode(), str(number)) for number, text in enumerate(texts)]
        plain = [text.removeprefix("\ufeff") for text in texts]
        assert [read_beginning([source], DataConfig(), 1 << 20) for source in sources] == plain
        assert read_beginning(sources, DataConfig(), length) == with_line_ends(plain)[:length]
        raw = "".join(texts).encode().decode("latin-1")
        assert read_beginning(sources, DataConfig(as_bytes=True), length) == raw[:length]


def test_beginning_is_read_no_further(tmp_path: Path) -> None:
    """What is wrong behind it does not matter, nor does a source that is not needed."""
    source = _source(tmp_path, b"good\n" + b"\xff" * 11)
    with _pieces_of(5):
        assert read_beginning([source, Source(tmp_path / "gone", "gone")], DataConfig(), 4) == "good"
