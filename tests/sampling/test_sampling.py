"""Drawing characters: closed forms, a model with uniform logits, and numpy against torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.inference.distribution import draw, generator, log_probabilities, probabilities
from charrnn.inference.engine import Engine
from charrnn.inference.reference import Network
from charrnn.network.model import CharacterModel
from charrnn.network.stepper import TorchStepper
from charrnn.sampling.sampler import SampleRequest, prime_ids, sample, write
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary

LOGITS = np.log([0.5, 0.1, 0.3, 0.1])


def _config(**values: Any) -> SamplingConfig:
    return SamplingConfig(**{"temperature": 1.0, **values})


def test_probabilities_are_the_softmax() -> None:
    """At temperature 1 the model's own distribution; the temperature divides the logits."""
    np.testing.assert_allclose(probabilities(LOGITS, _config()), [0.5, 0.1, 0.3, 0.1])
    squared = np.array([0.25, 0.01, 0.09, 0.01])
    np.testing.assert_allclose(probabilities(LOGITS, _config(temperature=0.5)), squared / squared.sum())


def test_temperature_zero_and_top_1_take_the_likeliest() -> None:
    """Both are greedy; among equals the lower id wins."""
    for config in (_config(temperature=0.0), _config(top_k=1)):
        assert probabilities(LOGITS, config).tolist() == [1.0, 0.0, 0.0, 0.0]
        assert probabilities(np.zeros(3), config).tolist() == [1.0, 0.0, 0.0]


def test_top_k_and_top_p_keep_the_head_of_the_distribution() -> None:
    """Worked by hand: what is kept is scaled to 1."""
    np.testing.assert_allclose(probabilities(LOGITS, _config(top_k=2)), [0.625, 0, 0.375, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(top_k=3)), [5 / 9, 1 / 9, 3 / 9, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(top_p=0.4)), [1, 0, 0, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(top_p=0.79)), [0.625, 0, 0.375, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(top_p=0.85)), [5 / 9, 1 / 9, 3 / 9, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(top_p=1.0)), [0.5, 0.1, 0.3, 0.1])
    np.testing.assert_allclose(probabilities(LOGITS, _config(top_k=2, top_p=0.6)), [1, 0, 0, 0])


def test_min_p_keeps_what_is_likely_beside_the_likeliest() -> None:
    """Worked by hand: a share of the largest probability, after the temperature and together with the others."""
    np.testing.assert_allclose(probabilities(LOGITS, _config(min_p=0.5)), [0.625, 0, 0.375, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(min_p=0.19)), [0.5, 0.1, 0.3, 0.1])
    np.testing.assert_allclose(probabilities(LOGITS, _config(min_p=1.0)), [1, 0, 0, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(min_p=0.0)), [0.5, 0.1, 0.3, 0.1])
    # At temperature 0.5 the second weighs 0.36 of the first; top-p then cuts what min-p has left.
    np.testing.assert_allclose(probabilities(LOGITS, _config(temperature=0.5, min_p=0.37)), [1, 0, 0, 0])
    np.testing.assert_allclose(probabilities(LOGITS, _config(min_p=0.5, top_p=0.6)), [1, 0, 0, 0])


def test_log_probabilities_are_the_models_own() -> None:
    """Logits up to a constant, without overflow."""
    np.testing.assert_allclose(log_probabilities(LOGITS + 700), LOGITS, atol=1e-12)


def test_extreme_logits_do_not_overflow() -> None:
    """A gap of thousands, or a hair's breadth of temperature, is a certain choice without a warning."""
    assert probabilities(np.array([-1e4, 3e4, 0.0]), _config()).tolist() == [0.0, 1.0, 0.0]
    assert probabilities(LOGITS, _config(temperature=1e-6)).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_drawing_inverts_the_cumulative_distribution() -> None:
    """The uniform number falls into the character's own share; a share of nothing is never drawn."""
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert [draw(p, u) for u in (0.0, 0.2499, 0.25, 0.999999999999)] == [1, 1, 3, 3]
    assert draw(p * 0.3, np.nextafter(1.0, 0.0)) == 3


class _Uniform(Engine):
    """A model to which every character is as likely; it writes down what it is fed in lane 0."""

    def __init__(self, size: int) -> None:
        self.size = self.vocabulary_size = size
        self.fed: list[int] = []

    def zero_state(self, lanes: int = 1) -> int:
        return lanes

    def take(self, state: int, lanes: Sequence[int]) -> int:
        assert all(lane < state for lane in lanes)
        return len(lanes)

    def join(self, states: Sequence[int]) -> int:
        return sum(states)

    def step(self, ids: Any, state: int) -> tuple[np.ndarray, int]:
        assert len(ids) == state
        self.fed.append(int(ids[0]))
        return np.zeros((state, self.size), np.float32), state


def test_draws_follow_the_distribution() -> None:
    """20,000 characters of a uniform model over 7: each within five standard errors of a seventh."""
    vocabulary = Vocabulary.of("abcdefg")
    text = "".join(sample(_Uniform(7), vocabulary, [3], _config(length=20_000)))
    shares = [text.count(character) / 20_000 for character in "abcdefg"]
    assert max(abs(share - 1 / 7) for share in shares) < 5 * (1 / 7 * 6 / 7 / 20_000) ** 0.5


def test_the_prime_is_read_once_and_then_what_is_written() -> None:
    """The model is fed a line end, the prime and its own characters, each once, however many samples there are."""
    vocabulary = Vocabulary.of("\nabc")
    for count in (1, 3):
        model = _Uniform(4)
        pieces = write(
            model, vocabulary, vocabulary.encode("abc"), [SampleRequest(_config(length=5), n) for n in range(count)]
        )
        text = "".join(piece.text for piece in pieces if piece.sample == 0)
        assert model.fed == vocabulary.encode("\nabc" + text).tolist()
    model = _Uniform(4)
    next(sample(model, vocabulary, [], _config()))
    assert model.fed[0] == vocabulary.encode("\n")[0]
    assert len(model.fed) == 2  # and the first character that it wrote


def test_a_vocabulary_without_line_ends_begins_with_the_prime() -> None:
    """And with the first character of all where there is no prime; in byte mode the line end is a byte."""
    assert prime_ids(Vocabulary.of("abc"), [2, 1]).tolist() == [2, 1]
    assert prime_ids(Vocabulary.of("abc"), []).tolist() == [0]
    assert prime_ids(Vocabulary.of_bytes(), [200]).tolist() == [10, 200]


def test_the_same_seed_and_number_give_the_same_text() -> None:
    """And another seed, or another number, gives another."""
    vocabulary = Vocabulary.of("abcdefg")

    def write(seed: int, number: int) -> str:
        return "".join(sample(_Uniform(7), vocabulary, [0], _config(length=30, seed=seed), number))

    assert write(5, 0) == write(5, 0)
    assert len({write(seed, number) for seed in (5, 6) for number in (0, 1, 2)}) == 6
    assert generator(5, 1).random() != generator(1, 5).random()


def test_it_stops_with_the_stop_text() -> None:
    """The stop text is the last that is written, found across pieces."""
    vocabulary = Vocabulary.of("ab")
    text = "".join(sample(_Uniform(2), vocabulary, [0], _config(length=10_000, stop="abba")))
    assert text.endswith("abba")
    assert text.index("abba") == len(text) - 4


def test_it_goes_on_past_the_length_until_the_stop_text() -> None:
    """With `repeat_until_stop` the length is no end; the text is the one that a large enough length gives."""
    vocabulary = Vocabulary.of("ab")
    stop = "abbaabba"
    long = "".join(sample(_Uniform(2), vocabulary, [0], _config(length=100_000, stop=stop)))
    text = "".join(sample(_Uniform(2), vocabulary, [0], _config(length=1, stop=stop, repeat_until_stop=True)))
    assert text == long
    assert len(text) > len(stop)


def test_samples_side_by_side_are_the_samples_alone() -> None:
    """Each with its own settings, length and end; more than one engine's fill of them."""
    vocabulary = Vocabulary.of("abcdefg")
    settings = [{"temperature": 0.5}, {"length": 3}, {"stop": "a"}, {"length": 700}, {"top_k": 2}, {"seed": 9}]
    requests = [
        SampleRequest(_config(**{"length": 40, **settings[place % len(settings)]}), place // len(settings))
        for place in range(67)
    ]
    texts, ended = [""] * len(requests), [0] * len(requests)
    for piece in write(_Uniform(7), vocabulary, [3], requests):
        assert not ended[piece.sample], "a sample went on after its end"
        texts[piece.sample] += piece.text
        ended[piece.sample] += piece.is_last
        assert len(piece.ids) == len(piece.log_probabilities) == len(piece.text)
        np.testing.assert_allclose(piece.log_probabilities, -np.log(7))
    assert ended == [1] * len(requests)
    alone = ["".join(sample(_Uniform(7), vocabulary, [3], r.config, r.number)) for r in requests]
    assert texts == alone
    assert len({len(text) for text in texts}) > 3


def test_bytes_are_written_as_whole_characters() -> None:
    """In byte mode a piece is empty until its character is complete; what is not UTF-8 becomes U+FFFD."""

    script = [*"é€x".encode(), 0xFF, 0xC3]  # the last one begins a character that never ends

    class Scripted(_Uniform):
        def step(self, ids: Any, state: int) -> tuple[np.ndarray, int]:
            logits = np.full((1, 256), -1e9, np.float32)
            logits[0, script.pop(0) if script else 0] = 0.0
            return logits, state

    pieces = list(write(Scripted(256), Vocabulary.of_bytes(), [], [SampleRequest(_config(length=8))]))
    assert "".join(piece.text for piece in pieces) == "é€x\ufffd\ufffd"
    assert pieces[0].text == ""
    assert not any("\ufffd" in piece.text for piece in pieces[:2])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_numpy_and_torch_write_the_same(cell: str) -> None:
    """Over 200 steps the logits agree to 1e-5, and the greedy texts are identical."""
    V, E, H, L = 11, 6, 9, 3
    config = ModelConfig(cell=cell, num_layers=L, hidden_size=H, embedding_size=E)  # type: ignore[arg-type]
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(2))
    with torch.no_grad():
        for array in model.arrays().values():
            array.mul_(2.0)
    vocabulary = Vocabulary.of("abcdefghijk")
    arrays = model.numpy_arrays()
    network = Network(config, arrays)
    checkpoint = Checkpoint(
        kind="best", model=config, vocabulary=vocabulary, data=DataConfig(), corpus={}, progress={}, parameters=arrays
    )
    stepper = TorchStepper(checkpoint, torch.device("cpu"))
    ids = np.random.default_rng(3).integers(0, V, 200)
    ours, theirs = network.zero_state(), stepper.zero_state()
    for id_ in ids.tolist():
        logits, ours = network.step([id_], ours)
        expected, theirs = stepper.step([id_], theirs)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    greedy = _config(temperature=0.0, length=200)
    assert "".join(sample(network, vocabulary, [1], greedy)) == "".join(sample(stepper, vocabulary, [1], greedy))
