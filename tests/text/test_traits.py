"""What is said of a text beside its characters, against counts on the whole text."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.settings.config import DataConfig
from charrnn.text import decoding
from charrnn.text.corpus import Corpus, load
from charrnn.text.sources import Source
from charrnn.text.traits import CountedLineEnds, LineEnds, Traits, TwoSpellings
from charrnn.text.vocabulary import Vocabulary


@given(pieces=st.lists(st.text("a\r\n", max_size=6), max_size=6))
def test_line_ends_are_counted_across_pieces(pieces: list[str]) -> None:
    """As a regular expression counts them in the whole."""
    counted = CountedLineEnds()
    for piece in pieces:
        counted.see(piece.encode())
    found = re.findall("\r\n|\r|\n", "".join(pieces))
    assert counted.found() == LineEnds(found.count("\n"), found.count("\r\n"), found.count("\r"))


def _load(folder: Path, *texts: str, **settings: object) -> Corpus:
    sources = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.txt"
        path.write_bytes(text.encode())
        sources.append(Source(path, path.name))
    return load(sources, DataConfig(**settings), name="text")  # type: ignore[arg-type]


def test_a_line_end_does_not_span_two_files(tmp_path: Path) -> None:
    """The last CR of one and the first LF of the next are two."""
    assert _load(tmp_path, "a\r", "\nb\r\n").traits.line_ends == LineEnds(lf=1, crlf=1, cr=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\n", []),
        ("a\r\nb\r\n", []),
        ("a\rb\r", ["end in CR alone"]),
        ("a\r\nb\nc\n", ["mixes line ends, 2 of LF and 1 of CR LF: --newlines lf"]),
        (
            "\u00e9 e\u0301",
            ["two ways, such as .* U\\+00E9 .*, which is also written U\\+0065 U\\+0301: --normalize nfc"],
        ),
        ("e\u0301", []),
        ("\u00e9", []),
        ("\u00e9 e x\u0301", []),  # which have the marks, and no letter in two ways
    ],
)
def test_what_a_user_should_know(tmp_path: Path, text: str, said: list[str]) -> None:
    """It is said each time, from the cache too."""
    for _ in range(2):
        notices = list(_load(tmp_path, text).traits.notices(1))
        assert len(notices) == len(said)
        assert all(re.search(pattern, notice) for pattern, notice in zip(said, notices, strict=True))


def test_a_line_rule_leaves_nothing_to_say(tmp_path: Path) -> None:
    """What the rule makes of the text is what counts."""
    assert list(_load(tmp_path, "a\r\nb\nc\r", newlines="lf").traits.notices(1)) == []
    assert list(_load(tmp_path, "\u00e9 e\u0301", normalize="nfd").traits.notices(1)) == []


@given(text=st.text("ab\u00e9e\u0301\u0323\u1eb9 ", max_size=30))
def test_two_spellings_by_definition(text: str) -> None:
    """A character is found where it stands in the text beside its parts."""
    spellings = TwoSpellings(Vocabulary.of(text))
    spellings.see(text)
    both = {one for one in text if len(apart := unicodedata.normalize("NFD", one)) > 1 and apart in text}
    assert (spellings.found in both) if both else (spellings.found == "")


@pytest.mark.parametrize("piece", [1, 5, 1 << 16])
@pytest.mark.parametrize("least", [1, 2, 3, 9])
def test_rare_characters_are_one_symbol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int, piece: int
) -> None:
    """Against counting in the whole text, ASCII and other, over several files."""
    monkeypatch.setattr(decoding, "_PIECE", piece)
    texts = "abcabcabc xyz \u00e9\u00e9\u00e9 \u4e00", "aaaa \U0001f600\U0001f600 z"
    whole = "\n".join(texts)
    corpus = _load(tmp_path, *texts, min_count=least)
    rare = {one for one in whole if whole.count(one) < least}
    expected = "".join("\ufffd" if one in rare else one for one in whole)
    assert corpus.vocabulary.decode(np.asarray(corpus.ids)) == expected
    assert corpus.vocabulary.characters == "".join(sorted(set(expected)))
    assert (corpus.traits.rare, corpus.traits.unknown) == (len(rare), sum(one in rare for one in whole))
    assert (corpus.vocabulary.unknown_symbol is not None) == bool(rare)
    assert corpus.num_bytes == len(whole.encode())
    assert (list(corpus.traits.notices(least)) != []) == bool(rare)


def test_a_replacement_character_of_the_text_itself(tmp_path: Path) -> None:
    """U+FFFD in the text is the same symbol, however rare, and no character less is known for it."""
    corpus = _load(tmp_path, "aaaa\ufffdaz", min_count=2)
    assert corpus.vocabulary.characters == "a\ufffd"
    assert (corpus.traits.rare, corpus.traits.unknown) == (1, 1)


def test_a_text_of_rare_characters_alone_says_what_made_it_so(tmp_path: Path) -> None:
    """The text is varied, and it is the setting that leaves one symbol of it."""
    corpus = _load(tmp_path, "abcdefgh" * 50, min_count=100)
    with pytest.raises(TextError, match="rarer than --min-count asks for") as refused:
        corpus.split(DataConfig(min_count=100))
    assert "give a smaller --min-count" in refused.value.hints
    with pytest.raises(TextError, match="repeats a single character"):
        _load(tmp_path, "a" * 400, min_count=100).split(DataConfig(min_count=100))


def test_many_unknown_characters_need_wide_ids(tmp_path: Path) -> None:
    """The unknown symbol's id need not fit into a byte."""
    common = "".join(map(chr, range(0x4E00, 0x4E00 + 400))) * 2
    corpus = _load(tmp_path, common + "rare", min_count=2)
    assert corpus.vocabulary.unknown_symbol == 401  # after r and the 400
    assert corpus.vocabulary.decode(np.asarray(corpus.ids)) == common + "r\ufffdr\ufffd"


@given(
    traits=st.builds(
        Traits,
        line_ends=st.builds(LineEnds, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
        two_spellings=st.sampled_from(["", "\u00e9"]),
        rare=st.integers(0, 5),
        unknown=st.integers(0, 50),
    )
)
def test_round_trip(traits: Traits) -> None:
    """As JSON-ready values and back."""
    assert Traits.of_dict(traits.to_dict()) == traits


@pytest.mark.parametrize(
    "change",
    [
        {"rare": -1}, {"rare": True}, {"unknown": 1.0}, {"two_spellings": "ab"}, {"two_spellings": None}, {"more": 1},
        {"line_ends": {}}, {"line_ends": {"lf": 1, "crlf": 1, "cr": 1, "nel": 1}}, {"line_ends": 5},
    ],
)  # fmt: skip
def test_senseless_traits_are_refused(change: dict[str, object]) -> None:
    """They come from files that may hold anything."""
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        Traits.of_dict({**Traits().to_dict(), **change})
