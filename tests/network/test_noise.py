"""What is dropped, beside plain dropout: by definition, in parts, in the mean, and not at all at rate 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.cells.registry import make_cell
from charrnn.errors import UsageError
from charrnn.evaluation.bpc import score
from charrnn.network import layers as recurrent
from charrnn.network.cudnn import IMAGINED
from charrnn.network.model import CharacterModel
from charrnn.network.noise import QUIET, Noise, draw_factors, draw_noise, variational_rates
from charrnn.network.speed import REFERENCE
from charrnn.settings.config import Budget, ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from charrnn.training.recipe import choose

T, B, V, E, H, L = 7, 5, 11, 4, 6, 2
RATES: dict[str, Any] = {"variational_dropout": 0.4, "input_dropout": 0.2, "weight_drop": 0.5, "embedding_dropout": 0.3}
cells = pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
CPU = torch.device("cpu")


def _config(cell: str = "lstm", **settings: Any) -> ModelConfig:
    sizes = {"cell": cell, "num_layers": L, "hidden_size": H, "embedding_size": E}
    return ModelConfig(**{**sizes, **settings})  # type: ignore[arg-type]


def _model(config: ModelConfig) -> CharacterModel:
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(4))
    return model


def _noise(config: ModelConfig, seed: int = 1, lanes: int = B) -> Noise:
    return draw_noise(torch.Generator().manual_seed(seed), config, T, lanes, 0.0, V)


def _ids() -> Tensor:
    return torch.randint(V, (T, B), generator=torch.Generator().manual_seed(2))


def test_at_rate_zero_nothing_is_drawn() -> None:
    """No factors, and the generator stays where it is."""
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    off = dict.fromkeys([*RATES, "output_dropout"], 0.0)
    assert draw_noise(generator, _config(**off), T, B, 0.0, V) == QUIET
    assert torch.equal(generator.get_state(), before)
    drawn = [
        draw_noise(torch.Generator().manual_seed(1), _config(dropout=0.3, **more), T, B, 0.2, V) for more in ({}, RATES)
    ]
    for name in ("masks", "kept"):  # what there was before is drawn first
        ours, theirs = (torch.stack(list(getattr(noise, name))) for noise in drawn)
        assert torch.equal(ours, theirs)


def test_shapes_and_rates_are_those_of_what_is_dropped() -> None:
    """One mask for all steps, one a lane for what is read, one for all lanes for weights and characters."""
    noise = _noise(_config(**RATES, skip="dense", output_dropout=0.0))
    assert variational_rates(_config(**RATES, output_dropout=0.0)) == [0.2, 0.4, 0.0]
    assert [None if factors is None else tuple(factors.shape) for factors in noise.inputs] == [
        (1, B, E), (1, B, E + H), None,
    ]  # fmt: skip
    assert [tuple(factors.shape) for factors in noise.recurrent] == [(4 * H, H)] * L
    assert noise.characters is not None
    assert tuple(noise.characters.shape) == (V, 1)
    assert not torch.equal(*noise.recurrent)


def test_a_rate_next_to_one_keeps_a_little() -> None:
    """Every rate below 1 is one that can be computed with, and the factor of what is kept is finite."""
    for rate in (1 - 1e-12, 1 - 2**-17, 1 - 2**-16):
        drawn = draw_factors(torch.Generator().manual_seed(1), rate, (1000, 1000))
        assert set(drawn.unique().tolist()) == {0.0, 65536.0}
        assert drawn.mean().item() == pytest.approx(1.0, abs=0.8)


def test_the_mean_stays() -> None:
    """Factors are 0 or 1 / (1 - rate), the first in a share of the rate; their mean is 1."""
    for rate in (0.1, 0.5, 0.75):
        factors = draw_factors(torch.Generator().manual_seed(3), rate, (300, 401))
        assert factors.unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-4)
        assert (factors == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
        assert factors.mean().item() == pytest.approx(1, abs=0.02)
    model = _model(_config(weight_drop=0.5))
    weight = model.arrays()["layers.1.weight_hh"].detach()
    mean = torch.stack([weight * _noise(model.config, seed).recurrent[0] for seed in range(2000)]).mean(0)
    torch.testing.assert_close(mean, weight, rtol=0, atol=0.05)


def test_parts_of_the_lanes_are_the_whole() -> None:
    """What belongs to lanes is taken apart; weights and characters are dropped for all of them alike."""
    noise = _noise(_config(**RATES), lanes=6)
    parts = [noise.of_lanes(slice(start, start + 2)) for start in (0, 2, 4)]
    for place, factors in enumerate(noise.inputs):
        assert factors is not None
        assert torch.equal(torch.cat([part.inputs[place] for part in parts], 1), factors)  # type: ignore[misc]
    for part in parts:
        assert part.recurrent is noise.recurrent
        assert part.characters is noise.characters


def _by_hand(config: ModelConfig, p: dict[str, Any], ids: Tensor, noise: Noise) -> Tensor:
    """Logits: every step written out, with the factors where their equations have them."""
    cell = make_cell(config)
    states = [tuple(torch.zeros(B, H) for _ in cell.state_names) for _ in range(L)]
    assert noise.characters is not None
    logits = []
    for row in ids:
        x = p["embedding"][row] * noise.characters[row]
        for layer in range(L):
            own = {name.split(".")[2]: a for name, a in p.items() if name.startswith(f"layers.{layer + 1}.")}
            own["weight_hh"] = own["weight_hh"] * noise.recurrent[layer]
            states[layer] = cell.step(own, x * noise.inputs[layer][0], states[layer])
            x = states[layer][0]
        logits.append((x * noise.inputs[L][0]) @ p["decoder.weight"].T + p["decoder.bias"])
    return torch.stack(logits)


@cells
@pytest.mark.parametrize("is_fused", [True, False], ids=["fused", "torch"])
def test_a_window_is_the_one_written_out(cell: str, is_fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and every gradient, of the compiled recurrence and of torch's kernels."""
    if not is_fused:
        monkeypatch.setattr(recurrent, "is_available", lambda *_: False)
    config = _config(cell, **RATES)
    model, ids, noise = _model(config), _ids(), _noise(config)
    names, parameters = zip(*model.arrays().items(), strict=True)
    expected = _by_hand(config, model.arrays(), ids, noise)
    logits, _ = model(ids, model.zero_state(B), noise)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(T, B, V, generator=torch.Generator().manual_seed(8))
    found, wanted = (torch.autograd.grad((y * weights).sum(), parameters) for y in (logits, expected))
    for name, ours, theirs in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=name)
    dropped = noise.recurrent[0] == 0
    assert not found[names.index("layers.1.weight_hh")][dropped].any(), "a dropped weight has no gradient"


@cells
def test_factors_of_one_change_no_bit(cell: str) -> None:
    """Of the weights and the characters: the same path with and without."""
    config = _config(cell)
    model = _model(config)
    ones = Noise(
        recurrent=tuple(torch.ones_like(p) for name, p in model.arrays().items() if name.endswith("weight_hh")),
        characters=torch.ones(V, 1),
    )
    with torch.no_grad():
        plain, noisy = (model(_ids(), model.zero_state(B), noise)[0] for noise in (QUIET, ones))
    assert torch.equal(plain, noisy)


def test_a_tied_decoder_keeps_what_the_embedding_drops() -> None:
    """All characters' inputs dropped: the layers read nothing, and the decoder its whole matrix."""
    config = _config(tie=True, embedding_size=H)
    model = _model(config)
    nothing, _ = model(_ids(), model.zero_state(B), Noise(characters=torch.zeros(V, 1)))
    assert torch.equal(nothing[0, 0], nothing[0, 1]), "every lane reads zeros"
    assert nothing.std() > 0


def _learner(accumulate: int = 1, **settings: Any) -> Learner:
    training = TrainingConfig(batch_size=B, bptt=T, state_reset=0.3, precision="fp32")
    return Learner(_config(dropout=0.2, **settings), training, V, CPU, accumulate=accumulate)


def test_a_step_in_parts_is_the_step_in_one_piece() -> None:
    """With everything dropped that can be."""
    windows = torch.from_numpy(np.random.default_rng(0).integers(0, V, (5, T + 1, B)))
    whole, parts = _learner(**RATES), _learner(accumulate=2, **RATES)
    for window in windows:
        reports = [learner.step(window[:-1], window[1:], 0.02) for learner in (whole, parts)]
        torch.testing.assert_close(*reports, rtol=1e-5, atol=1e-5)
    for name, array in whole.model.numpy_arrays().items():
        np.testing.assert_allclose(array, parts.model.numpy_arrays()[name], atol=1e-5, err_msg=name)


def test_scoring_drops_nothing() -> None:
    """The same weights score the same, whatever the rates they were trained with."""
    ids = np.random.default_rng(3).integers(0, V, 60).astype(np.uint8)
    noisy, plain = _model(_config(**RATES)), _model(_config())
    plain.load_arrays(noisy.numpy_arrays())
    results = [score(model, ids) for model in (noisy, noisy, plain)]
    assert results[0] == results[1] == results[2]


def test_variational_dropout_takes_the_place_of_the_chosen_one() -> None:
    """Where --dropout is left open; given, both are on."""
    asked = {"variational_dropout": 0.3}
    budget = Budget(epochs=50)
    assert choose(10**6, budget, REFERENCE, {"weight_drop": 0.3}).model.dropout > 0.4
    for machine in (REFERENCE, replace(REFERENCE, gpu=IMAGINED)):
        assert choose(10**6, budget, machine, asked).model.dropout == 0.0
        assert choose(10**6, budget, machine, {**asked, "dropout": 0.1}).model.dropout == 0.1


@pytest.mark.parametrize("name", [*RATES, "output_dropout"])
def test_a_rate_of_one_is_refused(name: str) -> None:
    """Nothing would be left."""
    for value in (1.0, -0.1, float("nan")):
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            _config(**{name: value})
