"""Texts of documents: encoded and taken apart again, held out by content, kept in the cache; against plain Python."""

from __future__ import annotations

import hashlib
import random
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.text import corpus as module
from charrnn.text import decoding, documents
from charrnn.text.corpus import Corpus, load
from charrnn.text.encoding import decode_cut, encode_cut
from charrnn.text.sources import Source
from charrnn.text.vocabulary import Vocabulary
from tests.kit.stored_ids import stored_ids
from tests.kit.text import with_line_ends

WORD = st.text("abcé€😀 ", min_size=1, max_size=9)


def source(folder: Path, text: str | bytes, name: str = "list.txt") -> Source:
    """Writes a file."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Source(path, name)


def texts_of(corpus: Corpus, ids: object) -> list[str]:
    """The documents of a flat array of ids, which begins with an end and ends with one."""
    end, flat = corpus.vocabulary.end, np.asarray(ids)
    if not len(flat):
        return []
    assert flat[0] == flat[-1] == end
    found, under_way = [], []
    for id_ in flat[1:].tolist():
        if id_ == end:
            found.append(corpus.vocabulary.decode(under_way))
            under_way = []
        else:
            under_way.append(id_)
    return found


def names(count: int, seed: int = 0) -> list[str]:
    """Made-up names, all different."""
    pick = random.Random(seed)
    made = dict.fromkeys("".join(pick.choices("abcdefghijklmno", k=pick.randint(3, 9))) for _ in range(2 * count))
    return list(made)[:count]


@pytest.mark.parametrize("as_bytes", [False, True])
@given(lines=st.lists(WORD, max_size=8), held=st.lists(WORD, min_size=1, max_size=4), piece=st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_documents_come_back_from_their_ids(lines: list[str], held: list[str], piece: int, as_bytes: bool) -> None:
    """Those of a separate validation text stand behind, with an end of their own before them."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(decoding, "_PIECE", piece):
        text, other = "".join(line + "\n" for line in lines), "\n\n".join(held)
        config = DataConfig(documents="lines", as_bytes=as_bytes)
        sources = [source(Path(folder), text)], [source(Path(folder), other, "held.txt")]
        corpus = load(sources[0], config, name="names", validation_sources=sources[1])
        own = len(corpus) - corpus.separate_validation
        assert texts_of(corpus, corpus.ids[:own]) == lines
        assert texts_of(corpus, corpus.ids[own:]) == held
        assert corpus.documents == len(lines)
        assert corpus.num_bytes == len((text + other).encode())
        assert corpus.sha256 == hashlib.sha256((text + other).encode()).hexdigest()
        known = "".join(map(chr, range(256))) if as_bytes else "".join(sorted(set("".join(lines + held))))
        assert corpus.vocabulary.characters == known
        assert corpus.vocabulary.end == len(known) == len(corpus.vocabulary) - 1


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    """However it is cut, and also where it is transcoded."""
    text = "Anna\nBéla\n\nCarl"
    file = source(tmp_path, text)
    for config in (
        DataConfig(documents="lines"),
        DataConfig(documents="files"),
        DataConfig(documents="split:\n"),
        DataConfig(documents="lines", encoding="utf-16"),
    ):
        raw = source(tmp_path, text.encode("utf-16"), "16.txt") if config.encoding == "utf-16" else file
        corpus = load([raw], config, name="names")
        assert corpus.sha256 == hashlib.sha256(text.encode()).hexdigest()
        assert corpus.num_bytes == len(text.encode())


@pytest.mark.parametrize("size", [254, 255, 256, 257])
def test_the_end_is_the_last_id_at_every_width(tmp_path: Path, size: int) -> None:
    """With 255 characters the ids take one byte, with 256 and the end two; ASCII and other lines are alike."""
    known = [chr(0x21 + n) for n in range(90)] + [chr(0x400 + n) for n in range(size - 90)]
    lines = ["".join(known[:90]), "".join(known[90:]), "plain"]
    corpus = load([source(tmp_path, "\n".join(lines))], DataConfig(documents="lines"), name="wide")
    assert corpus.vocabulary.end == size
    assert corpus.ids.dtype == (np.uint8 if size < 256 else np.uint16)
    assert texts_of(corpus, corpus.ids) == lines


def test_a_column_is_read_and_cached_by_its_name(tmp_path: Path) -> None:
    """Another column of the same file is another text."""
    file = source(tmp_path, 'name,word\nAnna,"a\nb"\nBob,"c,d"\n', "t.csv")
    by = {name: load([file], DataConfig(column=name), name="t") for name in ("name", "word")}
    assert texts_of(by["name"], by["name"].ids) == ["Anna", "Bob"]
    assert texts_of(by["word"], by["word"].ids) == ["a\nb", "c,d"]
    assert by["name"].sha256 == by["word"].sha256


def test_empty_documents_are_left_out_with_a_notice(tmp_path: Path) -> None:
    """Each time, also where the text is in the cache already."""
    file = source(tmp_path, "Anna\n\n\nBob\n")
    for _ in range(2):
        said: list[str] = []
        corpus = load([file], DataConfig(documents="lines"), name="names", note=said.append)
        assert texts_of(corpus, corpus.ids) == ["Anna", "Bob"]
        assert said == ["2 empty documents are left out of names"]


def test_files_that_are_one_text_do_not_run_together(tmp_path: Path) -> None:
    """A file that does not end in a line end is followed by one, of its own kind; bytes stay as they are."""
    files = [source(tmp_path, text, f"{n}.txt") for n, text in enumerate(["aaa bbb", "", "ccc\r\nddd", "eee\n", "fff"])]
    corpus = load(files, DataConfig(), name="folder")
    text = "aaa bbb\nccc\r\nddd\r\neee\nfff"
    assert corpus.vocabulary.decode(np.asarray(corpus.ids)) == text
    assert corpus.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert corpus.num_bytes == len(text)
    raw = load(files, DataConfig(as_bytes=True), name="folder")
    assert bytes(np.asarray(raw.ids)) == b"aaa bbbccc\r\ndddeee\nfff"
    apart = load(files[:1], DataConfig(), name="folder", validation_sources=files[2:3])
    assert apart.vocabulary.decode(np.asarray(apart.ids)) == "aaa bbbccc\r\nddd"  # two texts, which nothing joins
    assert apart.separate_validation == len("ccc\r\nddd")


@given(
    texts=st.lists(st.text("ab\r\n", max_size=12), min_size=1, max_size=4),
    piece=st.integers(1, 5),
    newlines=st.sampled_from(["keep", "lf"]),
)
@settings(deadline=None, max_examples=60)
def test_line_ends_between_files_do_not_depend_on_pieces(texts: list[str], piece: int, newlines: str) -> None:
    """Against the whole texts: the first line end of the file, or a line feed."""
    if newlines == "lf":
        plain = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
    else:
        plain = texts
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(decoding, "_PIECE", piece):
        files = [source(Path(folder), text, f"{n}.txt") for n, text in enumerate(texts)]
        corpus = load(files, DataConfig(newlines=newlines), name="files")  # type: ignore[arg-type]
        assert corpus.vocabulary.decode(np.asarray(corpus.ids)) == with_line_ends(plain)


# Held out.


def corpus_of(tmp_path: Path, lines: list[str], **more: object) -> tuple[Corpus, DataConfig]:
    """A corpus of lines, and its settings."""
    config = DataConfig(documents="lines", **more)  # type: ignore[arg-type]
    return load([source(tmp_path, "\n".join(lines))], config, name="names"), config


def split_of(tmp_path: Path, lines: list[str], **more: object) -> dict[str, list[str]]:
    """The documents of each part."""
    corpus, config = corpus_of(tmp_path, lines, **more)
    parts = corpus.split(config)
    found = {name: texts_of(corpus, parts.part(name)) for name in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert parts.documents is not None
    begins, ends = parts.documents.begins.tolist(), parts.documents.ends.tolist()
    ids = np.asarray(parts.train)
    assert [corpus.vocabulary.decode(ids[b:e]) for b, e in zip(begins, ends, strict=True)] == found["train"]
    assert all(ids[b - 1] == ids[e] == corpus.vocabulary.end for b, e in zip(begins, ends, strict=True))
    assert parts.documents.pairs == parts.size == sum(map(len, found["train"])) + len(found["train"])
    return found


@pytest.mark.parametrize("shares", [(0.1, 0.0), (0.1, 0.2), (0.0, 0.0), (0.0, 0.1)])
def test_whole_documents_are_held_out_about_as_many_as_asked(tmp_path: Path, shares: tuple[float, float]) -> None:
    """Each document is in one part, and the parts have about their shares of the characters."""
    lines = names(1000)
    found = split_of(tmp_path, lines, validation_fraction=shares[0], test_fraction=shares[1])
    assert sorted(found["train"] + found["validation"] + found["test"]) == sorted(lines)
    total = sum(map(len, lines))
    for name, share in zip(("validation", "test"), shares, strict=True):
        held = sum(map(len, found[name])) / total
        assert abs(held - share) < 0.03, (name, held)
        assert (held == 0) == (share == 0)


def test_the_order_of_a_list_is_of_no_account(tmp_path: Path) -> None:
    """Sorted or shuffled, the same lines are held out; by another seed others."""
    lines = names(500)
    sets = []
    for order in (lines, sorted(lines), sorted(lines, reverse=True)):
        found = split_of(tmp_path, order, test_fraction=0.1)
        assert [line for line in order if line in set(found["validation"])] == found["validation"]
        sets.append({name: set(some) for name, some in found.items()})
    assert sets[0] == sets[1] == sets[2]
    other = split_of(tmp_path, lines, test_fraction=0.1, split_seed=2)
    assert set(other["validation"]) != sets[0]["validation"]


def test_what_is_held_out_stays_so_when_lines_are_added(tmp_path: Path) -> None:
    """And when these have characters that were not known, which changes the ids of others."""
    lines = names(600)
    before = split_of(tmp_path, lines[:400])
    after = split_of(tmp_path, ["ÄÖÜ !", *lines])
    held = set(after["validation"])
    assert set(before["validation"]) == {line for line in lines[:400] if line in held}


def test_equal_documents_fall_on_the_same_side(tmp_path: Path) -> None:
    """A line that stands in the training part is never validated on."""
    lines = names(100) * 5
    random.Random(3).shuffle(lines)
    found = split_of(tmp_path, lines, test_fraction=0.2)
    assert not set(found["train"]) & set(found["validation"] + found["test"])
    assert not set(found["validation"]) & set(found["test"])


@pytest.mark.parametrize("count", [3, 4, 10, 25])
@pytest.mark.parametrize("seed", range(4))
def test_of_few_uneven_documents_some_are_held_out(tmp_path: Path, count: int, seed: int) -> None:
    """At least one, and never most of the text, where there is a choice."""
    pick = random.Random(seed)
    lines = ["".join(pick.choices("abcdef", k=pick.choice([150, 200, 300, 900]))) for _ in range(count)]
    found = split_of(tmp_path, lines)
    held = sum(map(len, found["validation"])) / sum(map(len, lines))
    assert found["validation"]
    assert held <= max(0.2, min(map(len, lines)) / sum(map(len, lines)))
    shuffled = list(lines)
    pick.shuffle(shuffled)
    assert set(split_of(tmp_path, shuffled)["validation"]) == set(found["validation"])


def test_a_separate_validation_text_is_validated_on_whole(tmp_path: Path) -> None:
    """And nothing of the other text is held out, unless for the test part."""
    lines, held = names(200), names(20, seed=9)
    config = DataConfig(documents="lines", test_fraction=0.1)
    sources = [source(tmp_path, "\n".join(lines))], [source(tmp_path, "\n".join(held), "held.txt")]
    corpus = load(sources[0], config, name="names", validation_sources=sources[1])
    parts = corpus.split(config)
    assert texts_of(corpus, parts.validation) == held
    assert sorted(texts_of(corpus, parts.part("train")) + texts_of(corpus, parts.test)) == sorted(lines)
    assert parts.documents is not None
    assert int(parts.documents.ends[-1]) < len(parts.train) == len(corpus) - corpus.separate_validation


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a" * 500], "the corpus has 1 document; training needs at least 3"),
        (["abc", "def", "ghi"], "the corpus has 9 characters; training needs at least 200"),
        (["a" * 100, "a" * 120, "a" * 130], "repeats a single character"),
        (["ab" * 60, "ab" * 60, "ab" * 60], "of 3 documents nothing is left to train on"),
    ],
)
def test_what_is_too_small_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    """In words that say what there is."""
    corpus, config = corpus_of(tmp_path, lines)
    with pytest.raises(TextError, match=said):
        corpus.split(config)


def test_an_empty_validation_text_is_refused(tmp_path: Path) -> None:
    """It has the end before its documents, and none."""
    files = source(tmp_path, "a\nb\n"), source(tmp_path, "\n\n", "held.txt")
    with pytest.raises(TextError, match="the validation text is empty"):
        load([files[0]], DataConfig(documents="lines"), name="names", validation_sources=[files[1]])


@given(
    lines=st.lists(st.text("abé", max_size=6), min_size=1, max_size=9), piece=st.integers(1, 8), seed=st.integers(0, 9)
)
@settings(deadline=None, max_examples=80)
def test_numbers_are_those_of_a_plain_loop(lines: list[str], piece: int, seed: int) -> None:
    """Horner's rule over each document's own characters, whatever the pieces and the vocabulary."""
    mask = (1 << 64) - 1

    def scrambled(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    expected = []
    for line in lines:
        value = 0
        for character in line:
            value = (value * 0x9E3779B97F4A7C15 + scrambled(ord(character))) & mask
        expected.append((scrambled(value ^ scrambled(seed)) >> 11) / 2**53)
    for vocabulary in (Vocabulary.of("abé", has_end=True), Vocabulary.of("Xabcé€", has_end=True)):
        ids = encode_cut("\0" + "".join(line + "\0" for line in lines), vocabulary)
        with mock.patch.object(documents, "_PIECE", piece):
            assert documents.numbers_of(ids, vocabulary, seed).tolist() == expected
            found = documents.find(ids, len(vocabulary) - 1)
        assert [vocabulary.decode(ids[b:e]) for b, e in zip(found.begins, found.ends, strict=True)] == lines


def test_a_large_text_on_the_disk_is_split_alike(tmp_path: Path) -> None:
    """Read block by block; what is gathered is in memory."""
    vocabulary = Vocabulary.of("abcdefghijklmno", has_end=True)
    ids = encode_cut("\0" + "".join(name + "\0" for name in names(300)), vocabulary)
    there = stored_ids(tmp_path, ids, len(vocabulary), block=64)
    config = DataConfig(documents="lines", test_fraction=0.1)
    here, other = (Corpus("n", vocabulary, each, 0, "0", 0, 300).split(config) for each in (ids, there))
    for name in ("train", "validation", "test"):
        assert np.array_equal(here.part(name), np.asarray(other.part(name)))  # type: ignore[arg-type]


def test_a_split_is_made_once(tmp_path: Path) -> None:
    """Training, its forecast and its description ask for the same one."""
    corpus, config = corpus_of(tmp_path, names(100))
    with mock.patch.object(module.documents, "numbers_of", wraps=documents.numbers_of) as made:
        assert corpus.split(config) is corpus.split(DataConfig(documents="lines"))
    assert made.call_count == 1


def test_ids_and_marked_texts_are_the_same() -> None:
    """In characters and in bytes; unknown characters are told all at once."""
    for vocabulary, text in (
        (Vocabulary.of("abé", has_end=True), "\0ab\0é\0"),
        (Vocabulary.of_bytes(has_end=True), "\u0100ab\u0100Ã©\u0100"),
    ):
        assert decode_cut(encode_cut(text, vocabulary), vocabulary) == text
    with pytest.raises(TextError, match=r"lacks 'x' .* \(2 times\), 'y' "):
        encode_cut("\0x\0xy\0", Vocabulary.of("ab", has_end=True))
    known = Vocabulary.of("ab", has_end=True)
    assert decode_cut(encode_cut("\0axb\0x\0", known, "skip"), known) == "\0ab\0\0"
