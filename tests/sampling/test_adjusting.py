"""The penalty on repetitions and the bias of texts: against their definitions, written out by hand."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from charrnn.errors import UsageError
from charrnn.inference.distribution import draw, generator, log_probabilities, probabilities
from charrnn.inference.make_engine import make_engine
from charrnn.sampling.adjusting import Adjustment, coded
from charrnn.sampling.sampler import SampleRequest, read_prime, write
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary
from tests.kit.tiny import tiny

V = 6
VOCABULARY = Vocabulary.of("abcd -")


def _adjusted(logits: Any, before: str, **settings: Any) -> Any:
    adjust = Adjustment(SamplingConfig(**settings), VOCABULARY)
    return adjust(np.asarray(logits), coded(VOCABULARY.encode(before).tolist())[-adjust.reach :])


def _repeated(before: str, window: int, stretch: int) -> set[str]:
    """The characters that would repeat, place by place."""
    recent = before[-window:]
    end = recent[len(recent) - stretch :]
    if len(end) < stretch:
        return set()
    return {recent[n] for n in range(stretch, len(recent)) if recent[n - stretch : n] == end}


def test_a_repetition_is_penalised_as_defined() -> None:
    """Over random texts, windows and stretches: the same characters, each with its logit divided or multiplied."""
    drawn, seen = random.Random(1), 0
    for _ in range(300):
        before = "".join(drawn.choices("ab -", k=drawn.randint(0, 40)))
        window, stretch, penalty = drawn.randint(1, 30), drawn.randint(0, 4), drawn.choice([0.5, 1.3, 4.0])
        logits = np.array([drawn.gauss(3, 2) for _ in range(V)])
        found = _adjusted(
            logits, before, repetition_penalty=penalty, repetition_window=window, repetition_stretch=stretch
        )
        expected = logits - logits.mean()
        for character in _repeated(before, window, stretch):
            id_ = int(VOCABULARY.encode(character)[0])
            expected[id_] = expected[id_] / penalty if expected[id_] > 0 else expected[id_] * penalty
            seen += 1
        np.testing.assert_allclose(log_probabilities(found), log_probabilities(expected), atol=1e-12)
    assert seen > 100


def test_a_stretch_of_nothing_is_the_penalty_of_the_paper() -> None:
    """Every character of the window, worked by hand; what all logits are raised by does not matter."""
    for raised in (0.0, 50.0, -50.0):
        logits = np.array([2.0, 1.0, 0.0, -1.0, 0.0, -2.0]) + raised  # " ", "-", a, b, c, d; their mean is 0
        found = _adjusted(logits, " b", repetition_penalty=2.0, repetition_stretch=0)
        np.testing.assert_allclose(found - found[1] + 1, [1.0, 1.0, 0.0, -2.0, 0.0, -2.0], atol=1e-12)


@pytest.mark.parametrize(
    ("bias", "before", "raised"),
    [
        ({"c": 2.0}, "", "c"),
        ({"c": -2.0}, "ab", "c"),
        ({"abc": 2.0}, "", ""),
        ({"abc": 2.0}, "a", "b"),
        ({"abc": 2.0}, "ab", "c"),
        ({"abc": 2.0}, "d a", "b"),
        ({"abc": 2.0}, "da", ""),  # a word is not begun within another
        ({"abc": 2.0}, "abd", ""),
        ({"abc": -2.0}, "a", ""),
        ({"abc": -2.0}, "ab", "c"),
        ({"-a": 2.0}, "d-", "a"),  # what begins as no word does may stand anywhere
        ({"aab": 2.0}, "aa", "b"),
        ({"a a": 2.0}, "a a", " "),
        ({"abc": 2.0, "abd": 1.0}, "ab", "cd"),
    ],
)
def test_a_bias_is_added_to_what_goes_on_with_a_text(bias: dict[str, float], before: str, raised: str) -> None:
    """In the order of the vocabulary, by hand."""
    logits = np.linspace(-1, 1, V)
    changed = _adjusted(logits, before, logit_bias=bias) - logits
    assert "".join(VOCABULARY.characters[place] for place in np.flatnonzero(changed)) == raised
    assert set(changed[changed != 0].round(9)) <= set(bias.values())
    words = [f"{text}={number:g}" for text, number in bias.items()]
    assert (_adjusted(logits, before, logit_bias=words) - logits == changed).all()


def test_a_bias_is_read_as_it_is_written() -> None:
    """The last = parts text and number; what is no number, no text, or far too large is refused."""
    assert SamplingConfig(logit_bias=["king=+2", "==-1", "e=1e-1", "e=1"]).biases == {"king": 2.0, "=": -1.0, "e": 1.1}
    for wrong in ("king", "=2", "king=", "king=x", "e=nan", "e=1001", "e=inf", {}, {"": 1.0}, {"a": "2"}, [], 3):
        with pytest.raises(UsageError, match="--logit-bias is"):
            SamplingConfig(logit_bias=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--logit-bias xy=2 is about a text that the model cannot write"):
        Adjustment(SamplingConfig(logit_bias={"xy": 2.0}), VOCABULARY)


def test_what_is_written_follows_the_changed_distribution() -> None:
    """Character by character as a loop by hand draws it; log-probabilities are the model's own; lanes do not matter."""
    saved = tiny()
    engine = make_engine(saved.model, saved.parameters)
    configs = [
        SamplingConfig(length=60, temperature=0.7, repetition_penalty=3.0, repetition_stretch=1, logit_bias={"a": 1.5}),
        SamplingConfig(length=50, temperature=1.0),
        SamplingConfig(length=70, top_k=4, logit_bias={"abc": 4.0, "h": -3.0}),
    ]
    prime = saved.vocabulary.encode("ab ab")
    requests = [SampleRequest(config, number) for number, config in enumerate(configs)]
    texts, likely = [""] * 3, [list[float]() for _ in configs]
    for piece in write(engine, saved.vocabulary, prime, requests):
        texts[piece.sample] += piece.text
        likely[piece.sample] += piece.log_probabilities.tolist()
    for number, config in enumerate(configs):
        adjust, uniforms = Adjustment(config, saved.vocabulary), generator(config.seed_number, number)
        logits, state = read_prime(engine, saved.vocabulary, prime)
        before, own = coded(prime.tolist()), []
        for _ in range(config.length):
            changed = np.asarray(adjust(logits[0], before), np.float32)
            id_ = draw(probabilities(changed, config), float(uniforms.random()))
            own.append(float(log_probabilities(logits[0])[id_]))
            before += chr(id_)
            logits, state = engine.step([id_], state)
        assert texts[number] == saved.vocabulary.decode([ord(one) for one in before[len(prime) :]])
        np.testing.assert_allclose(likely[number], own, atol=1e-5)


def test_a_penalty_ends_a_loop() -> None:
    """A model that says one word for ever says another after a while; without the penalty it does not."""
    from tests.sampling.test_stopping import Scripted

    vocabulary = Vocabulary.of("the \n")

    class Loop(Scripted):
        def step(self, ids: Any, state: Any) -> tuple[Any, Any]:
            logits, state = super().step(ids, state)
            likeliest = logits == 0
            return (5.0 * likeliest + 3.0 * np.roll(likeliest, 1, axis=1)).astype(np.float32), state

    engine = Loop(len(vocabulary), vocabulary.encode("the ").tolist())

    def text(**settings: Any) -> str:
        config = SamplingConfig(length=200, temperature=0.0, **settings)
        return "".join(piece.text for piece in write(engine, vocabulary, [], [SampleRequest(config)]))

    assert text() == "the " * 50
    assert text(repetition_penalty=1.1) == "the " * 50
    assert "the the the the" not in text(repetition_penalty=3.0)[:40]
