"""Beam search: against all texts there are, and against the greedy text."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from charrnn.errors import UsageError
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.make_engine import make_engine
from charrnn.sampling.adjusting import Adjustment, coded
from charrnn.sampling.sampler import SampledPiece, SampleRequest, read_prime, write
from charrnn.settings.sampling import SamplingConfig
from tests.kit.tiny import tiny

T = 4
PRIME = "b"


def _model(seed: int = 7, characters: str = "ab\n") -> tuple[Any, Any]:
    """A model of three characters, which is sure of some things."""
    saved = tiny(characters=characters)
    random = np.random.default_rng(seed)
    parameters = {
        name: (2 * random.normal(size=array.shape)).astype(np.float32) for name, array in saved.parameters.items()
    }
    return make_engine(saved.model, parameters), saved.vocabulary


def _search(engine: Any, vocabulary: Any, count: int = 1, **settings: Any) -> list[SampledPiece]:
    config = SamplingConfig(**{"length": T, **settings})
    requests = [SampleRequest(config, number) for number in range(count)]
    return list(write(engine, vocabulary, vocabulary.encode(PRIME), requests))


def _likelihood(engine: Any, vocabulary: Any, ids: tuple[int, ...], adjust: Adjustment | None = None) -> list[float]:
    """The log-probability of each id after the prime."""
    logits, state = read_prime(engine, vocabulary, vocabulary.encode(PRIME))
    before, found = coded(vocabulary.encode(PRIME).tolist()), []
    for id_ in ids:
        row = logits[0] if adjust is None else adjust(logits[0], before)
        found.append(float(log_probabilities(row)[id_]))
        before += chr(id_)
        logits, state = engine.step([id_], state)
    return found


def _all_texts(engine: Any, vocabulary: Any, stop: str | None, power: float, adjust: Adjustment | None = None) -> Any:
    """Every text, cut behind the stop text, with its score; best first."""
    found: dict[str, float] = {}
    for ids in itertools.product(range(len(vocabulary)), repeat=T):
        text = vocabulary.decode(list(ids))
        if stop is not None and stop in text:
            text = text[: text.index(stop) + len(stop)]
        kept = ids[: len(text)]
        found[text] = sum(_likelihood(engine, vocabulary, kept, adjust)) / len(kept) ** power
    return sorted(found.items(), key=lambda each: -each[1])


@pytest.mark.parametrize("power", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("stop", [None, "\n", "ab"])
def test_with_room_for_all_it_finds_the_best_of_all_texts(stop: str | None, power: float) -> None:
    """And the second and third best; for several models."""
    for seed in (1, 2, 3):
        engine, vocabulary = _model(seed)
        expected = _all_texts(engine, vocabulary, stop, power)
        found = _search(engine, vocabulary, 3, num_beams=60, length_penalty=power, **({"stop": stop} if stop else {}))
        assert [piece.text for piece in found] == [text for text, _ in expected[:3]]
        for piece in found:
            np.testing.assert_allclose(
                piece.log_probabilities, _likelihood(engine, vocabulary, tuple(piece.ids.tolist())), atol=1e-6
            )


def test_it_searches_what_a_bias_and_a_penalty_make_of_the_model() -> None:
    """The best of all texts by the changed distribution; the log-probabilities told are the model's own."""
    settings: dict[str, Any] = {"logit_bias": {"a": 1.5, "ba": 2.0}, "repetition_penalty": 2.0, "repetition_stretch": 1}
    engine, vocabulary = _model(4)
    adjust = Adjustment(SamplingConfig(**settings), vocabulary)
    expected = _all_texts(engine, vocabulary, None, 0.0, adjust)
    (found,) = _search(engine, vocabulary, num_beams=60, **settings)
    assert found.text == expected[0][0]
    own = _likelihood(engine, vocabulary, tuple(found.ids.tolist()))
    np.testing.assert_allclose(found.log_probabilities, own, atol=1e-6)


@pytest.mark.parametrize("stop", [None, "\n"])
def test_it_finds_nothing_less_likely_than_the_greedy_text(stop: str | None) -> None:
    """With any number of beams; one beam is the greedy text."""
    stops = {} if stop is None else {"stop": stop}
    for seed in range(12):
        engine, vocabulary = _model(seed, "abcdefg\n")
        (greedy,) = _search(engine, vocabulary, length=12, temperature=0.0, num_beams=None, **stops)[-1:]
        pieces = _search(engine, vocabulary, length=12, temperature=0.0, **stops)
        text, likely = "".join(each.text for each in pieces), sum(each.log_probabilities.sum() for each in pieces)
        assert greedy.is_last
        for beams in (1, 2, 3, 8):
            (found,) = _search(engine, vocabulary, length=12, num_beams=beams, **stops)
            assert found.log_probabilities.sum() >= likely - 1e-6
            assert beams > 1 or found.text == text or found.log_probabilities.sum() > likely


def test_it_is_the_same_again_and_refuses_what_has_no_part_in_it() -> None:
    """More texts than there are, settings of drawing, a penalty without beams."""
    engine, vocabulary = _model(1)
    assert [each.text for each in _search(engine, vocabulary, 2, num_beams=5)] == [
        each.text for each in _search(engine, vocabulary, 2, num_beams=5)
    ]
    with pytest.raises(UsageError, match="found 3 texts, fewer than are asked for"):
        _search(engine, vocabulary, 5, length=1, num_beams=9)
    for settings in ({"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.1}, {"repeat_until_stop": True, "stop": "a"}):
        with pytest.raises(UsageError, match="has no part in it"):
            SamplingConfig(num_beams=3, **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--length-penalty is about"):
        SamplingConfig(length_penalty=1.0)


def test_an_end_of_document_ends_a_text_and_counts() -> None:
    """Against all texts: the log-probability of the end is part of a text's, and the end is not written."""
    from charrnn.sampling.stopping import Ended
    from tests.sampling.test_stopping import WithEnd

    for seed in (1, 2, 3):
        engine, _ = _model(seed, "\nabc")  # whose last character stands for the end
        vocabulary = WithEnd.of("\nab")
        scores: dict[str, float] = {}
        for ids in itertools.product(range(4), repeat=T):
            end = ids.index(3) if 3 in ids else T
            text = vocabulary.decode(list(ids[:end]))
            scores[text + "|" * (end < T)] = sum(_likelihood(engine, vocabulary, ids[: end + 1]))
        best = max(scores, key=lambda text: scores[text])
        (found,) = _search(engine, vocabulary, num_beams=60)
        assert found.text == best.removesuffix("|")
        assert found.ended == Ended("end" if best.endswith("|") else "length")
        assert len(found.ids) == len(found.log_probabilities) == len(found.text)


def test_a_unit_ends_a_text() -> None:
    """A line has no line end behind it, and each line is found once, though several characters might follow it."""
    engine, vocabulary = _model(5, "ab \n")
    found = _search(engine, vocabulary, 4, num_beams=40, stop_at="line")
    texts = [piece.text for piece in found]
    assert len(set(texts)) == 4
    for piece in found:
        assert piece.ended is not None
        assert "\n" not in piece.text.lstrip("\n ") or piece.ended.reason == "length"
