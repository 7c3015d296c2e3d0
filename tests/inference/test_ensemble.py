"""Ensembles: their probabilities are the mean of their members', whichever engine reads, and however.

Shape letters: K members, T characters, B lanes, H hidden size, V vocabulary with the end, which is the last id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.members import as_one, count_members, joined, parted
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import CheckpointError
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.ensemble import EnsembleEngine
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.native.step import find_library
from charrnn.network.ensemble import make_model
from charrnn.network.open_engine import members_of, open_engine
from charrnn.network.stepper import TorchStepper
from charrnn.sampling.sampler import SampleRequest, write
from charrnn.settings.config import ModelConfig
from charrnn.settings.sampling import SamplingConfig
from tests.kit.ensembles import random_members, tiny_ensemble

K, T, B, H, V = 3, 19, 4, 11, 13
END = V - 1


def _config(cell: str, **settings: Any) -> ModelConfig:
    return ModelConfig(**{"cell": cell, "num_layers": 2, "hidden_size": H, "embedding_size": 5, **settings})


def _ids(seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, V, (T, B))


def _expected(config: ModelConfig, members: list[Any], ids: Any, end: int | None = None) -> Any:
    """The logarithms (T, B, V) of the averaged probabilities after each id, one member after the other, in float64."""
    total: Any = 0.0
    for arrays in members:
        engine = Network(config, arrays, end=end)
        state, found = engine.zero_state(ids.shape[1]), []
        for row in ids:
            logits, state = engine.step(row, state)
            exact = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
            found.append(exact / exact.sum(1, keepdims=True))
        total = total + np.array(found)
    return np.log(total / len(members))


def _engine(kind: str, config: ModelConfig, arrays: Any, end: int | None, checkpoint: Checkpoint | None = None) -> Any:
    if kind == "numpy":
        return EnsembleEngine([Network(config, own, end=end) for own in parted(arrays, K)])
    if kind == "made":
        return make_engine(config, arrays, end=end)
    whole, _ = tiny_ensemble(K, characters="abcdefghijklm" if end is None else "abcdefghijkl", has_end=end is not None)
    return TorchStepper(replace(whole, model=config, parameters=arrays), torch.device("cpu"))


each_kind = pytest.mark.parametrize("kind", ["numpy", "made", "torch"])


@each_kind
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("end", [None, END])
def test_reading_gives_the_mean_of_the_members(kind: str, cell: str, end: int | None) -> None:
    """Steps, walks, reading and scoring, of several lanes, also where documents end, to 1e-6 of a probability."""
    config, ids = _config(cell), _ids()
    members = random_members(config, V, K)
    expected = _expected(config, members, ids, end)
    engine = _engine(kind, config, joined(members), end)
    state, walk = engine.zero_state(B), engine.walk(engine.zero_state(B))
    for row, wanted in zip(ids, expected, strict=True):
        logits, state = engine.step(row, state)
        for each in (logits, walk.step(row)):
            np.testing.assert_allclose(np.exp(each.astype(np.float64)), np.exp(wanted), atol=1e-6)
    logits, after = engine.read(ids, engine.zero_state(B))
    np.testing.assert_allclose(np.exp(logits), np.exp(expected[-1]), atol=1e-6)
    before, state = engine.read(ids[:5], engine.zero_state(B))
    scored = engine.score(ids[5:], state, before)
    likely = np.take_along_axis(expected[4:-1], ids[5:, :, None], 2)[..., 0]
    np.testing.assert_allclose(scored.log_probabilities, likely, atol=2e-5)
    assert np.isnan(engine.score(ids, engine.zero_state(B)).log_probabilities[0]).all()
    alone = engine.score(ids[5:, 0], engine.take(state, [0]), before[:1])
    np.testing.assert_allclose(alone.log_probabilities, likely[:, 0], atol=2e-5)
    for one, other in zip(_flat(walk.state()), _flat(after), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def _flat(state: Any) -> list[Any]:
    if isinstance(state, tuple):
        return [array for part in state for array in _flat(part)]
    if hasattr(state, "hidden"):
        return [state.hidden] if state.cell is None else [state.hidden, state.cell]
    return [np.asarray(state)]


@each_kind
def test_lanes_of_a_state_can_be_taken_and_joined(kind: str) -> None:
    """What is read after lanes were exchanged is what each would have read by itself."""
    config, ids = _config("lstm"), _ids()
    engine = _engine(kind, config, joined(random_members(config, V, K)), None)
    _, state = engine.read(ids, engine.zero_state(B))
    parts = [engine.take(state, [lane]) for lane in (2, 0)]
    logits, _ = engine.step(np.array([1, 2]), engine.join(parts))
    for lane, (part, id_) in enumerate(zip(parts, (1, 2), strict=True)):
        alone, _ = engine.step(np.array([id_]), part)
        np.testing.assert_allclose(logits[lane], alone[0], atol=1e-5)


@pytest.mark.skipif(find_library() is None, reason="there is no compiled step here")
@pytest.mark.parametrize("weights", ["float16", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_rounded_weights_are_those_of_each_member(weights: Any, threads: int) -> None:
    """The mean is that of the members' own rounded engines."""
    config, ids = _config("lstm", hidden_size=70), _ids()
    members = random_members(config, V, K)
    made = make_engine(config, joined(members), weights=weights, threads=threads)
    each = [make_engine(config, arrays, weights=weights) for arrays in members]
    logits = [engine.read(ids, engine.zero_state(B))[0] for engine in each]
    expected = np.mean([np.exp(log_probabilities(one)) for one in logits], 0)
    np.testing.assert_allclose(np.exp(made.read(ids, made.zero_state(B))[0]), expected, atol=1e-6)


@each_kind
def test_what_is_written_is_drawn_from_the_mean(kind: str) -> None:
    """Greedy text is the argmax of the averaged distribution at every place, and its cost that of reading it."""
    config = _config("gru")
    members = random_members(config, V, K)
    engine = _engine(kind, config, joined(members), None)
    logits, state = engine.read(_ids()[:3], engine.zero_state(B))
    settings = [SamplingConfig(temperature=0.0)] * B
    written = engine.write(logits, state, settings, np.full((T, B), 0.5))
    whole = np.concatenate([_ids()[:3], written.ids])
    expected = _expected(config, members, whole)[2:-1]
    np.testing.assert_array_equal(written.ids, expected.argmax(2))
    np.testing.assert_allclose(written.log_probabilities, expected.max(2), atol=2e-5)


def test_a_seed_gives_one_text_also_beside_others() -> None:
    """A sample depends on its seed and its number, not on how many are written."""
    whole, _ = tiny_ensemble(K)
    engine = open_engine(whole)
    config = SamplingConfig(length=30, seed=5)

    def texts(count: int) -> list[str]:
        found = [""] * count
        requests = [SampleRequest(config, number) for number in range(count)]
        for piece in write(engine, whole.vocabulary, whole.vocabulary.encode("ab"), requests):
            found[piece.sample] += piece.text
        return found

    assert texts(3) == texts(3)
    assert texts(1) == texts(3)[:1]
    assert len(set(texts(3))) == 3


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_units_are_those_of_all_members_in_turn(cell: str) -> None:
    """What is recorded of unit k H + i is what unit i of member k does, in every layer and kind."""
    whole, alone = tiny_ensemble(K, cell=cell)
    ids = np.random.default_rng(2).integers(0, len(whole.vocabulary), T)
    engine = open_engine(whole)
    assert engine.config == whole.of_units == as_one(whole.model, K)  # type: ignore[attr-defined]
    recorded, _ = engine.record(ids, engine.zero_state(1))  # type: ignore[attr-defined]
    size = whole.model.hidden_size
    for number, member in enumerate(alone):
        own = open_engine(member)
        expected, _ = own.record(ids, own.zero_state(1))  # type: ignore[attr-defined]
        assert recorded.keys() == expected.keys()
        for kind, values in expected.items():
            np.testing.assert_array_equal(recorded[kind][:, :, number * size : (number + 1) * size], values)


@each_kind
def test_weights_that_are_no_numbers_are_noticed(kind: str) -> None:
    """One broken member breaks the mean, and sampling says so."""
    whole, _ = tiny_ensemble(K, characters="abcdefghijklm")
    arrays = {name: np.array(array) for name, array in whole.parameters.items()}
    arrays["member.2.decoder.bias"][:] = np.inf  # as of a sum that is too large
    engine = _engine(kind, whole.model, arrays, None)
    with pytest.raises(CheckpointError):
        list(write(engine, whole.vocabulary, whole.vocabulary.encode("a"), [SampleRequest(SamplingConfig(), 0)]))


def test_members_part_and_join_and_read_again_what_was_forgotten() -> None:
    """Names and arrays come back; a single model's stay as they are."""
    config = _config("lstm")
    members = random_members(config, V, K)
    together = joined(members)
    assert count_members(together) == K
    for own, expected in zip(parted(together, K), members, strict=True):
        assert list(own) == list(expected)
        assert all(own[name] is expected[name] for name in expected)
        assert len(own) == len(expected)
    assert joined(members[:1]) is members[0]
    assert parted(members[0], 1) == [members[0]]
    assert count_members(members[0]) == 1


@pytest.mark.parametrize("skip", ["none", "residual", "dense", "sum"])
def test_the_torch_model_is_that_of_a_single_one_for_each_member(skip: Any) -> None:
    """Members with skip connections, a tied embedding and orthogonal matrices."""
    config = _config("gru", skip=skip, tie=skip != "dense", embedding_size=H, orthogonal=True)
    members = random_members(config, V, K)
    ids = torch.from_numpy(_ids())
    model = make_model(config, joined(members), V)
    singles = [make_model(config, arrays, V) for arrays in members]
    with torch.no_grad():
        found = model(ids, model.zero_state(B))[0]
        mean = torch.stack([one(ids, one.zero_state(B))[0].double().softmax(2) for one in singles]).mean(0)
    torch.testing.assert_close(found.double().exp(), mean, atol=1e-6, rtol=1e-5)


def test_each_member_can_be_had_by_itself() -> None:
    """With an engine of the same kind, on a CPU and in torch."""
    whole, alone = tiny_ensemble(K)
    ids = _ids()[:, 0] % len(whole.vocabulary)
    for engine in (open_engine(whole), TorchStepper(whole, torch.device("cpu"))):
        found = list(members_of(whole, engine))
        assert [type(own).__name__ for _, own in found] == [type(found[0][1]).__name__] * K
        for (loaded, own), expected in zip(found, alone, strict=True):
            assert loaded.members == 1
            other = open_engine(expected)
            np.testing.assert_allclose(
                own.read(ids, own.zero_state(1))[0], other.read(ids, other.zero_state(1))[0], atol=1e-4
            )
