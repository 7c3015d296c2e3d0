"""Where a sample ends: at the first of several stop texts, with a sentence, a line, a paragraph, an end of document."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from charrnn.errors import UsageError
from charrnn.inference.engine import Engine
from charrnn.sampling.sampler import SampledPiece, SampleRequest, write
from charrnn.sampling.stopping import Ended, Stopping
from charrnn.sampling.units import unit_end
from charrnn.settings.sampling import SamplingConfig, UnitName
from charrnn.text.vocabulary import Vocabulary


class Scripted(Engine):
    """A model that writes a script, in every lane, whatever it reads."""

    def __init__(self, vocabulary_size: int, script: Sequence[int]) -> None:
        self.vocabulary_size, self._script = vocabulary_size, list(script)

    def zero_state(self, lanes: int = 1) -> Any:
        return ((np.zeros(lanes, np.int64),),)

    def step(self, ids: Any, state: Any) -> tuple[Any, Any]:
        places = state[0][0]
        logits = np.full((len(places), self.vocabulary_size), -1e9, np.float32)
        logits[np.arange(len(places)), [self._script[place % len(self._script)] for place in places]] = 0.0
        return logits, ((places + 1,),)


def written(text: str, vocabulary: Vocabulary | None = None, **settings: Any) -> tuple[str, SampledPiece]:
    """What is written of a text by these settings, and the last piece."""
    vocabulary = vocabulary or Vocabulary.of(text + "\n")
    ids = vocabulary.encode(text).tolist()
    config = SamplingConfig(**{"length": len(ids), **settings})
    pieces = list(write(Scripted(len(vocabulary), ids), vocabulary, [], [SampleRequest(config)]))
    joined = [id_ for piece in pieces for id_ in piece.ids.tolist()]
    found = "".join(piece.text for piece in pieces)
    assert vocabulary.decode(np.array(joined, np.int64)) == found
    assert sum(len(piece.log_probabilities) for piece in pieces) == len(joined)
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    return found, pieces[-1]


def _earliest(text: str, stops: Sequence[str]) -> str:
    """The text up to the first place at which one of the stop texts ends: what `--stop` means."""
    for end in range(1, len(text) + 1):
        if text[:end].endswith(tuple(stops)):
            return text[:end]
    return text


@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_the_first_of_several_stops_ends_a_sample(kind: str) -> None:
    """Against a search by hand, over random texts of characters of one to four bytes, whatever the pieces."""
    draw = random.Random(3)
    for _ in range(150):
        text = "".join(draw.choices("ab\né€😀", k=draw.randint(1, 60)))
        stops = ["".join(draw.choices("ab\né€😀", k=draw.randint(1, 3))) for _ in range(draw.randint(1, 4))]
        vocabulary = Vocabulary.of_bytes() if kind == "bytes" else Vocabulary.of("ab\né€😀")
        found, last = written(text, vocabulary, stop=stops)
        assert found == _earliest(text, stops)
        assert last.ended is not None
        if last.ended.reason == "stop":
            assert last.ended.stop in stops
            assert found.endswith(last.ended.stop or "?")
        else:
            assert (last.ended, found) == (Ended("length"), text)


def test_a_stop_may_be_a_text_or_several() -> None:
    """As one text it is that of before; an empty one, or none of several, is refused."""
    assert SamplingConfig(stop="ab").stops == ("ab",)
    assert SamplingConfig(stop=["a", "b", "a"]).stops == ("a", "b")
    assert SamplingConfig().stops == ()
    for wrong in ("", [], [""], ["a", ""], 3, {"a": 1}):
        with pytest.raises(UsageError, match="--stop is"):
            SamplingConfig(stop=wrong)  # type: ignore[arg-type]


def test_a_stop_that_cannot_come_is_refused() -> None:
    """A character that the model lacks, or a unit that it has no end of; also one of several."""
    vocabulary = Vocabulary.of("abc")
    with pytest.raises(UsageError, match="--stop 'ax' can never come: the model's vocabulary lacks 'x' U\\+0078"):
        Stopping(SamplingConfig(stop=["a", "ax"]), vocabulary)
    with pytest.raises(UsageError, match="can never come") as caught:
        Stopping(SamplingConfig(stop=r"\n"), vocabulary)
    assert caught.value.hint is not None
    assert "line end" in caught.value.hint
    for unit in ("sentence", "line", "paragraph"):
        with pytest.raises(UsageError, match=f"--stop-at {unit} can never come"):
            Stopping(SamplingConfig(stop_at=unit), vocabulary)
        Stopping(SamplingConfig(stop_at=unit), Vocabulary.of_bytes())


SENTENCES = [
    ("He came. She left.", "He came."),
    ("Did he? Yes.", "Did he?"),
    ("Stop!! Now.", "Stop!!"),
    ("Well… yes. So", "Well…"),
    ("Well... yes. So", "Well..."),
    ('He said "Stop." Then', 'He said "Stop."'),
    ("(He came.) She", "(He came.)"),
    ("»Er kam.« Sie", "»Er kam.«"),
    ("„Er kam.“ Sie", "„Er kam.“"),
    ("Mr. Smith met Dr. Jones. Then", "Mr. Smith met Dr. Jones."),
    ("J. S. Bach and C.P.E. Bach played. Then", "J. S. Bach and C.P.E. Bach played."),
    ("In the U.S. it was, e.g. here, so. Then", "In the U.S. it was, e.g. here, so."),
    ("It cost 3.50. Then", "It cost 3.50."),
    ("See www.example.org/x.html now. Then", "See www.example.org/x.html now."),
    ("彼は来た。彼女は", "彼は来た。"),
    ("「来た！」と言った。", "「来た！」"),
    ("नमस्ते। फिर", "नमस्ते।"),
    ("A title\n\nThe text. More", "A title"),
    ("line one\nline two. More", "line one\nline two."),
    ("...\n\n  He came. She", "...\n\n  He came."),
    ("No end here", "No end here"),
    ("At the end.", "At the end."),
]
LINES = [("one\ntwo", "one"), ("\n\n one\r\ntwo", "\n\n one"), ("one", "one"), ("one\r", "one\r"), ("a\rb\nc", "a\rb")]
PARAGRAPHS = [
    ("one\ntwo\n\nthree", "one\ntwo"),
    ("\n\none \n \t\nthree", "\n\none"),
    ("one\r\ntwo\r\n\r\nthree", "one\r\ntwo"),
    ("one\n", "one\n"),
]
UNITS: list[tuple[UnitName, str, str]] = [
    *(("sentence", *each) for each in SENTENCES),
    *(("line", *each) for each in LINES),
    *(("paragraph", *each) for each in PARAGRAPHS),
]


@pytest.mark.parametrize("kind", ["text", "bytes"])
@pytest.mark.parametrize(("unit", "text", "expected"), UNITS)
def test_a_unit_of_text_ends(unit: UnitName, text: str, expected: str, kind: str) -> None:
    """By hand; what is behind it is not written, in byte mode not even the first bytes of a character."""
    vocabulary = Vocabulary.of_bytes() if kind == "bytes" else Vocabulary.of(text + "\n")
    found, last = written(text, vocabulary, stop_at=unit)
    assert found == expected
    assert last.ended == Ended("length" if expected == text else unit)


def test_pieces_do_not_matter_to_where_a_unit_ends() -> None:
    """The whole text at once, or in pieces of any length: the same end, with much text before it too."""
    draw = random.Random(5)
    for _ in range(100):
        words = draw.choices(
            ["He", "came", ".", "...", " ", " ", " ", "\n", "\r\n", '"', "Mr.", "U.S.", "?", "。", "é"], k=60
        )
        text = "word " * draw.choice([0, 300]) + "".join(words)
        unit: UnitName = draw.choice(["sentence", "line", "paragraph"])  # type: ignore[arg-type]
        at_once = unit_end(text, unit)
        vocabulary = Vocabulary.of_bytes() if draw.random() < 0.5 else Vocabulary.of(text)
        if unit != "sentence" and "\n" not in vocabulary:
            continue
        found, _ = written(text, vocabulary, stop_at=unit) if "\n" in vocabulary or "." in text else (None, None)
        if found is not None:
            assert found == (text if at_once is None else text[: at_once.end])


class WithEnd(Vocabulary):
    """A vocabulary with a last id that ends a document."""

    @property
    def end(self) -> int:
        return len(self.code_points)


def test_an_end_of_document_is_one_more_reason() -> None:
    """It is not written; a stop text that comes before it wins, and one that would come behind it does not."""
    vocabulary = WithEnd.of("abc\n")
    script = [*vocabulary.encode("abc").tolist(), 4, *vocabulary.encode("ab").tolist()]
    engine = Scripted(5, script)
    for settings, text, ended in (
        ({}, "abc", Ended("end")),
        ({"stop": "b"}, "ab", Ended("stop", "b")),
        ({"stop": "ca"}, "abc", Ended("end")),
        ({"length": 2}, "ab", Ended("length")),
        ({"stop_at": "line"}, "abc", Ended("end")),
    ):
        pieces = list(write(engine, vocabulary, [], [SampleRequest(SamplingConfig(**settings))]))  # type: ignore[arg-type]
        assert "".join(piece.text for piece in pieces) == text
        assert pieces[-1].ended == ended
