"""The cells in other ways: written out by hand, against finite differences, as the cell they are made of, and trained.

Every dimension is a different small number, so that no transposition can pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from charrnn.cells.cell import Cell, Gates
from charrnn.cells.parameters import is_statistic, is_trained, layer_parameters, parameter_shapes
from charrnn.cells.registry import (
    check,
    describe,
    has_kernel,
    is_plain,
    is_plain_in_training,
    make_cell,
)
from charrnn.errors import UsageError
from charrnn.inference.compiled import CompiledNetwork
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.make_engine import has_compiled_step, make_engine
from charrnn.inference.reference import Network, NetworkState
from charrnn.network.batch_statistics import Measured
from charrnn.network.deferred_gradient import Factor
from charrnn.network.layers import KernelLayer, Layer
from charrnn.network.layers import Stack as RecurrentStack
from charrnn.network.model import CharacterModel
from charrnn.network.noise import draw_noise
from charrnn.neurons.clamping import clamp, parse_clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.record import Unit, record, title
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner
from charrnn.wording import an
from tests.benchmarks.cells import FAMILY, measure
from tests.kit.command import Command

B, I, H, T, V, L = 3, 5, 4, 6, 7, 2  # noqa: E741 - the letter the equations use
VARIANTS: list[dict[str, Any]] = [
    {"cell": "urnn"},
    {"cell": "urnn", "zoneout": 0.3},
    {"cell": "rnn", "activation": "relu"},
    {"cell": "rnn", "activation": "modrelu"},
    {"cell": "rnn", "activation": "modrelu", "layer_norm": True, "multiplicative": True, "zoneout": 0.2},
    {"forget_gate": False},
    {"forget_gate": False, "peephole": True, "layer_norm": True, "multiplicative": True, "mogrifier": 1},
    {"forget_gate": False, "zoneout": 0.2, "recurrent_dropout": 0.3},
    {"peephole": True},
    {"coupled": "tied"},
    {"coupled": "min"},
    {"coupled": "tied", "peephole": True},
    {"coupled": "min", "peephole": True},
    {"cell": "gru", "reset_gate": "before"},
    {"cell": "gru", "reset_gate": "before", "orthogonal": True, "zoneout": 0.2},
    {"cell": "gru", "reset_gate": "before", "multiplicative": True, "recurrent_dropout": 0.3},
    {"cell": "gru", "reset_gate": "before", "mogrifier": 2},
    {"orthogonal": True},
    {"cell": "gru", "orthogonal": True},
    {"cell": "rnn", "orthogonal": True, "activation": "modrelu"},
    {"orthogonal": True, "forget_gate": False, "layer_norm": True, "mogrifier": 2, "zoneout": 0.2},
    {"layer_norm": True},
    {"layer_norm": True, "coupled": "tied", "peephole": True},
    {"cell": "gru", "layer_norm": True},
    {"cell": "rnn", "layer_norm": True},
    {"batch_norm": True},
    {"batch_norm": True, "coupled": "min", "peephole": True, "recurrent_dropout": 0.2, "zoneout": 0.1},
    {"cell": "gru", "batch_norm": True, "multiplicative": True},
    {"cell": "rnn", "batch_norm": True},
    {"batch_norm": True, "mogrifier": 2},
    {"zoneout": 0.2, "zoneout_cell": 0.5},
    {"zoneout_cell": 0.5},
    {"cell": "gru", "zoneout": 0.3},
    {"cell": "rnn", "zoneout": 0.3, "activation": "relu"},
    {"recurrent_dropout": 0.4},
    {"cell": "gru", "recurrent_dropout": 0.4},
    {"recurrent_dropout": 0.4, "zoneout": 0.1, "zoneout_cell": 0.3, "layer_norm": True},
    {"multiplicative": True},
    {"cell": "gru", "multiplicative": True},
    {"cell": "rnn", "multiplicative": True},
    {"multiplicative": True, "layer_norm": True, "zoneout": 0.1},
    {"mogrifier": 5},
    {"mogrifier": 4, "mogrifier_rank": 2},
    {"cell": "gru", "mogrifier": 3},
    {"mogrifier": 2, "multiplicative": True, "layer_norm": True, "recurrent_dropout": 0.2, "coupled": "min"},
    {"cell": "gru", "mogrifier": 2, "multiplicative": True, "layer_norm": True, "recurrent_dropout": 0.2},
]
by_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: describe(ModelConfig(**each)))


def _config(variant: dict[str, Any], layers: int = L) -> ModelConfig:
    return ModelConfig(num_layers=layers, hidden_size=H, embedding_size=I, **variant)


def _tensors(cell: Cell, seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor, tuple[torch.Tensor, ...]]:
    """Parameters, an input and a state."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    p = {name: drawn(*shape) for name, shape in cell.shapes(I, H).items()}
    for name in filter(is_statistic, p):
        p[name][1] = p[name][1].exp()  # a variance
    return p, drawn(B, I), tuple(drawn(B, H) for _ in cell.state_names)


def _noise(cell: Cell, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple((torch.rand(B, H, generator=generator, dtype=torch.float64) > 0.5).double() for _ in cell.noise_rates)


@by_variant
@pytest.mark.parametrize("is_training", [False, True])
def test_numpy_and_torch_run_the_same_step(variant: dict[str, Any], is_training: bool) -> None:
    """State and gates, with noise and without."""
    cell = make_cell(_config(variant))
    p, x, state = _tensors(cell)
    noise = _noise(cell) if is_training else ()
    truth = cell.observe(p, x, state, noise)
    ours = cell.observe(
        {name: tensor.numpy() for name, tensor in p.items()},
        x.numpy(),
        tuple(each.numpy() for each in state),
        tuple(each.numpy() for each in noise),
    )
    for mine, theirs in zip((*ours[0], *ours[1]), (*truth[0], *truth[1]), strict=True):
        assert isinstance(mine, np.ndarray)
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-12)
    assert len(truth[1]) == len(cell.gate_names)


@by_variant
@pytest.mark.parametrize("is_training", [False, True])
def test_gradients_agree_with_finite_differences(variant: dict[str, Any], is_training: bool) -> None:
    """Of every parameter, the input and the state."""
    cell = make_cell(_config(variant))
    p, x, state = _tensors(cell)
    noise, names = _noise(cell) if is_training else (), list(p)

    def step(*tensors: torch.Tensor) -> Any:
        arrays: dict[str, Any] = dict(zip(names, tensors, strict=False))
        if is_training:
            arrays |= {name: Measured() for name in filter(is_statistic, names)}
        return cell.step(arrays, tensors[len(names)], tuple(tensors[len(names) + 1 :]), noise)

    assert torch.autograd.gradcheck(step, [each.requires_grad_() for each in (*p.values(), x, *state)])


@by_variant
def test_a_layer_is_its_cell_step_after_step(variant: dict[str, Any]) -> None:
    """Prepared all at once, from ids or from vectors, with gradients gathered or not: outputs, state, gradients."""
    cell = make_cell(_config(variant))
    torch.manual_seed(0)
    layer = (KernelLayer if has_kernel(_config(variant)) else Layer)(cell, I, H).double()
    with torch.no_grad():
        for name, array in layer.arrays().items():
            array.uniform_(0.5, 2.0) if is_statistic(name) else array.normal_()
    drawn = [torch.rand(T, B, H) > 0.4 for _ in cell.noise_rates]
    noise: dict[str, Any] = {"noise": drawn} if drawn else {}
    table = torch.randn(V, I, dtype=torch.float64)
    ids = torch.randint(V, (T, B))
    _, _, state = _tensors(cell)
    found = []
    for way in ("ids", "vectors", "step by step"):
        layer.zero_grad()
        embedding = table.clone().requires_grad_()
        after = tuple(each.clone() for each in state)
        if way == "step by step":
            rows = []
            for t in range(T):
                now = tuple(each[t].double() for each in drawn)
                after = cell.step(layer.arrays(), embedding[ids[t]], after, now)
                rows.append(after[0])
            output = torch.stack(rows)
        elif way == "ids":
            output, after = layer(embedding, after, ids, **noise)
        else:
            output, after = layer(embedding[ids], after, **noise)
        (output.square().sum() + sum((each.sum() for each in after), torch.zeros(()))).backward()
        gradients = [array.grad.clone() for array in layer.arrays().values() if array.grad is not None]
        assert len(gradients) == sum(is_trained(name) for name in layer.arrays())
        found.append([output, *after, embedding.grad, *gradients])
    for one in found[:-1]:
        for mine, theirs in zip(one, found[-1], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("is_narrow", [False, True])
def test_a_gathered_gradient_is_the_sum_of_the_steps(is_narrow: bool) -> None:
    """Of products with vectors and with whole windows, in fp32 and with factors rounded to bfloat16."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(H, I, generator=generator, requires_grad=True)
    xs = [torch.randn(*shape, I, generator=generator, requires_grad=True) for shape in ((B,), (T, B), (2,))]
    results = []
    for matrix in (Factor(weight, is_narrow=is_narrow), weight):
        for array in (weight, *xs):
            array.grad = None
        ys = [x @ matrix.T for x in xs]  # type: ignore[operator]
        sum((y * y).sum() for y in ys).backward()  # type: ignore[union-attr]
        results.append([*ys, weight.grad, *(x.grad for x in xs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **({"rtol": 0.05, "atol": 0.1} if is_narrow else {}))


@by_variant
def test_every_engine_gives_the_logits_of_torchs_model(variant: dict[str, Any]) -> None:
    """What samples, scores and inspects on a CPU, after every character, to 1e-5."""
    config = ModelConfig(num_layers=L, hidden_size=24, embedding_size=I, **variant)
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for name, array in model.arrays().items():
            change = 0.1 * torch.randn(array.shape, generator=torch.Generator().manual_seed(len(name)))
            array.add_(change.abs() if is_statistic(name) else change)
    ids = np.random.default_rng(6).integers(0, V, 12)
    with torch.no_grad():
        truth, _ = model(torch.from_numpy(ids[:, None]), model.zero_state(1))
    arrays = model.numpy_arrays()
    engines = [Network(config, arrays), make_engine(config, arrays)]
    assert isinstance(engines[1], (CompiledNetwork, InPlaceNetwork)) == is_plain(config)
    for engine in engines:
        state = engine.zero_state()
        for t, id_ in enumerate(ids):
            logits, state = engine.step([id_], state)
            np.testing.assert_allclose(logits[0], truth[t, 0].numpy(), atol=1e-5)
        recorded, _ = engine.record(ids, engine.zero_state())
        assert set(recorded) == {*make_cell(config).state_names, *make_cell(config).gate_names}


@by_variant
@pytest.mark.parametrize("accumulate", [3])
def test_a_step_in_parts_is_the_step_in_one_piece(variant: dict[str, Any], accumulate: int) -> None:
    """What is drawn is drawn for all lanes: 7 of them in unequal parts, dropout and resets too."""
    config = ModelConfig(num_layers=L, hidden_size=8, embedding_size=I, dropout=0.3, **variant)
    training = TrainingConfig(batch_size=7, bptt=T, state_reset=0.3, precision="fp32")
    if config.batch_norm:  # whose statistics would be those of a part
        with pytest.raises(UsageError, match="would know only each piece's own"):
            Learner(config, training, V, torch.device("cpu"), accumulate=accumulate)
        return
    learners = [Learner(config, training, V, torch.device("cpu"), accumulate=each) for each in (1, accumulate)]
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (4, T + 1, 7)))
    for window in ids:
        one, other = (learner.step(window[:-1], window[1:], 0.01) for learner in learners)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    for name, array in learners[0].model.numpy_arrays().items():
        np.testing.assert_allclose(array, learners[1].model.numpy_arrays()[name], atol=1e-4, err_msg=name)


@by_variant
def test_training_makes_it_learn(variant: dict[str, Any]) -> None:
    """A text that repeats is known after some steps, in either precision."""
    config = ModelConfig(hidden_size=12, embedding_size=I, **variant)
    # What keeps lengths and has no bounds only ever grows while it is carried on.
    state_reset = 1.0 if make_cell(config).keeps_all else 0.01
    training = TrainingConfig(batch_size=4, bptt=10, learning_rate=0.02, state_reset=state_reset)
    learner = Learner(config, training, V, torch.device("cpu"))
    ids = torch.arange(44).reshape(11, 4).cumsum(0) % V
    losses = [float(learner.step(ids[:-1], ids[1:], 0.02)[0]) for _ in range(80)]
    assert losses[-1] < 0.75 * losses[0]


@by_variant
def test_untrained_weights_are_drawn_as_training_draws_them(variant: dict[str, Any]) -> None:
    """Gains are 1, biases 0 but for the forget gate's, all else of one spread: `model.initialise` and its twin."""
    forget_bias = 1.5 if variant.get("forget_gate", True) else 1.0
    config = ModelConfig(hidden_size=64, embedding_size=48, forget_bias=forget_bias, **variant)
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    ours, theirs = untrained_arrays(config, V), model.numpy_arrays()
    assert {name: array.shape for name, array in ours.items()} == parameter_shapes(config, V)
    for name, array in theirs.items():
        if np.ptp(array) == 0 or name.endswith("layers.1.bias"):
            np.testing.assert_array_equal(ours[name], array, err_msg=name)
        else:
            by_chance = 0.1 if array.size > 64 else max(0.1, 4 * float(array.std()) * (2 / array.size) ** 0.5)
            assert abs(float(ours[name].mean() - array.mean())) < by_chance, name
            if array.size > 64:
                assert float(ours[name].std()) == pytest.approx(float(array.std()), rel=0.35), name
        if "gain" in name:
            assert (array == np.float32(0.1 if config.batch_norm else 1)).all()
    if not config.forget_gate:
        assert not theirs["layers.1.bias"].any()
    elif config.cell == "lstm":
        start = 0 if config.coupled == "tied" else 64
        bias = theirs["layers.1.bias"]
        assert (bias[start : start + 64] == 1.5).all()
        assert np.count_nonzero(bias) == 64


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of turning oneDNN off and on
@by_variant
def test_products_may_be_narrower_than_states(variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast, as on a GPU in fp16, the layers run and are close to what they are in fp32."""
    monkeypatch.setattr(
        "charrnn.network.layers.is_available", lambda *_: False
    )  # there is no compiled recurrence there
    config = ModelConfig(num_layers=L, hidden_size=24, embedding_size=I, **variant)
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    noise = draw_noise(torch.Generator().manual_seed(1), config, T, B, 0.0, 11)
    ids, found = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(5)), []
    for is_on in (False, True):
        # Without oneDNN, which has no lstm in bfloat16 on processors without AVX-512.
        with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16, enabled=is_on):  # type: ignore[no-untyped-call]
            logits, _ = model(ids, model.zero_state(B), noise)
        logits.float().sum().backward()  # type: ignore[no-untyped-call]
        found.append(logits.detach().float())
    torch.testing.assert_close(*found, rtol=0.1, atol=0.1)


class _Overwritten(Network):
    """The reference of holding h: it is written over where it arises."""

    held: Mapping[Unit, float]

    def zero_state(self, lanes: int = 1) -> NetworkState:
        return tuple(
            (self._over(layer, state[0]), *state[1:]) for layer, state in enumerate(super().zero_state(lanes), 1)
        )

    def observe(self, ids: npt.ArrayLike, state: NetworkState) -> tuple[NetworkState, tuple[Gates, ...]]:
        x, states = self.embedding[np.asarray(ids)], []
        for layer, (p, old) in enumerate(zip(self._layers, state, strict=True), 1):
            new, _ = self.cell.observe(p, x, old)
            x = self._over(layer, new[0])
            states.append((x, *new[1:]))
        return tuple(states), ()

    def _over(self, layer: int, h: npt.NDArray[Any]) -> npt.NDArray[Any]:
        h = h.copy()
        for unit, value in self.held.items():
            if unit.layer == layer:
                h[:, unit.index] = np.arctanh(value) if self.config.activation != "tanh" else value
        return h


@by_variant
def test_holding_h_is_overwriting_it_or_is_refused(variant: dict[str, Any]) -> None:
    """By other weights where there are some that do it; for a relu as tanh(h)."""
    config = _config(variant)
    random = np.random.default_rng(5)
    shapes = parameter_shapes(config, V)
    arrays = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    held = {Unit(1, "h", 2): 0.7, Unit(2, "h", 0): 0.0, Unit(2, "h", 3): 0.4}
    is_normalised = config.layer_norm or config.batch_norm
    does_not_add = config.multiplicative or config.mogrifier or config.reset_gate == "before"
    if is_normalised or does_not_add or config.cell == "urnn":
        with pytest.raises(UsageError, match="cannot be held in this model"):
            clamp(config, arrays, held)
        return
    reference, (config, arrays) = _Overwritten(config, arrays), with_own_columns(config, arrays)
    changed = make_engine(config, clamp(config, arrays, held))
    reference.held = held
    truth, state = reference.zero_state(), changed.zero_state()
    for id_ in random.integers(0, V, 20):
        wanted, truth = reference.step([id_], truth)
        got, state = changed.step([id_], state)
        np.testing.assert_allclose(got, wanted, atol=2e-5)
    if not is_plain(config) and make_cell(config).gate_names:
        with pytest.raises(UsageError, match="cannot be held") as caught:
            clamp(config, arrays, {Unit(1, make_cell(config).gate_names[0], 1): 0.5})
        assert "here h can" in str(caught.value.hint)


def test_a_relu_is_shown_and_held_as_its_tanh() -> None:
    """It has no bounds; at tanh 1 it would be infinite."""
    config = _config({"cell": "rnn", "activation": "relu"})
    assert parse_clamp("L1.h2=0.9", config) == (Unit(1, "h", 2), 0.9)
    for said in ("L1.h2=1", "L1.h2=-0.1"):
        with pytest.raises(UsageError) as caught:
            parse_clamp(said, config)
        assert "tanh(h)" in str(caught.value.hint)
    modrelu = _config({"cell": "rnn", "activation": "modrelu"})
    assert parse_clamp("L1.h2=-0.9", modrelu) == (Unit(1, "h", 2), -0.9)
    with pytest.raises(UsageError) as caught:
        parse_clamp("L1.h2=-1", modrelu)
    assert "more than -1 to less than 1" in str(caught.value.hint)
    engine = Network(config, untrained_arrays(config, V))
    (taken,) = record(engine, [1, 2, 3], [(1, "h")])
    raw, _ = engine.record([1, 2, 3], engine.zero_state())
    np.testing.assert_array_equal(taken[1, "h"], np.tanh(raw["h"][:, 0]))
    assert title(Unit(1, "h", 2), config) == "L1.h2 (tanh h)"


def test_what_is_off_makes_no_wrapper_and_draws_nothing() -> None:
    """The defaults are the plain cells themselves, on the fast paths, and take no number of the generator."""
    for cell in ("lstm", "gru", "rnn"):
        config = ModelConfig(cell=cell, hidden_size=H)  # type: ignore[arg-type]
        assert is_plain(config)
        assert is_plain_in_training(config)
        assert describe(config) == cell
        generator = torch.Generator().manual_seed(4)
        before = generator.get_state()
        assert draw_noise(generator, config, T, B, 0.0, 11).inside == ()
        assert torch.equal(before, generator.get_state())
        assert type(RecurrentStack(make_cell(config), config).layers[0]) is KernelLayer


def test_noise_of_cells_is_drawn_for_all_lanes() -> None:
    """Of each layer and rate its own, with its share of zeros; parts of the lanes are the whole."""
    config = ModelConfig(num_layers=2, hidden_size=40, zoneout=0.1, zoneout_cell=0.5, recurrent_dropout=0.3)
    noise = draw_noise(torch.Generator().manual_seed(1), config, 30, 20, 0.0, 11)
    assert make_cell(config).noise_rates == (0.1, 0.5, 0.3)
    for layer in noise.inside:
        for rate, mask in zip((0.1, 0.5, 0.3), layer, strict=True):
            assert mask.shape == (30, 20, 40)
            assert float(mask.float().mean()) == pytest.approx(1 - rate, abs=0.02)
    part = noise.of_lanes(slice(5, 9))
    assert torch.equal(part.inside[1][2], noise.inside[1][2][:, 5:9])
    assert not torch.equal(noise.inside[0][0], noise.inside[1][0])


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1 / (1 + np.exp(-x))


def _n(z: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Ba et al.: less the mean, by the deviation, over the units."""
    return np.stack([(row - np.mean(row)) / np.sqrt(np.var(row) + 1e-5) for row in z])


def _arrays(variant: dict[str, Any]) -> tuple[Cell, dict[str, Any], Any, tuple[Any, ...]]:
    cell = make_cell(_config(variant))
    p, x, state = _tensors(cell)
    return cell, {name: each.numpy() for name, each in p.items()}, x.numpy(), tuple(each.numpy() for each in state)


def test_peepholes_by_hand() -> None:
    """Input and forget gate see the old memory, the output gate the new one."""
    cell, p, x, (h, c) = _arrays({"peephole": True})
    i, f, g, o = np.split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 4, 1)
    new = _sigmoid(f + p["peephole_f"] * c) * c + _sigmoid(i + p["peephole_i"] * c) * np.tanh(g)
    got = cell.step(p, x, (h, c))
    np.testing.assert_allclose(got[1], new, atol=1e-12)
    np.testing.assert_allclose(got[0], _sigmoid(o + p["peephole_o"] * new) * np.tanh(new), atol=1e-12)


def test_coupled_and_capped_gates_by_hand() -> None:
    """i = 1 - f from three blocks; i = min(i, 1 - f) from four, and the memory never leaves -1 to 1."""
    cell, p, x, (h, c) = _arrays({"coupled": "tied"})
    f, g, o = np.split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 3, 1)
    new = _sigmoid(f) * c + (1 - _sigmoid(f)) * np.tanh(g)
    np.testing.assert_allclose(cell.step(p, x, (h, c))[1], new, atol=1e-12)
    np.testing.assert_allclose(cell.step(p, x, (h, c))[0], _sigmoid(o) * np.tanh(new), atol=1e-12)
    cell, p, x, (h, c) = _arrays({"coupled": "min"})
    i, f, g, o = np.split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 4, 1)
    write = np.minimum(_sigmoid(i), 1 - _sigmoid(f))
    (_, memory), gates = cell.observe(p, x, (h, c))
    np.testing.assert_allclose(memory, _sigmoid(f) * c + write * np.tanh(g), atol=1e-12)
    np.testing.assert_allclose(gates[0], write, atol=1e-12)
    state = (np.zeros((B, H)), np.ones((B, H)))
    for _ in range(50):
        state = cell.step(p, 9 * x, state)
        assert np.abs(state[1]).max() <= 1


def test_without_a_forget_gate_the_memory_is_a_sum() -> None:
    """From three blocks; with peepholes of i and o. It is the plain lstm whose forget gate stands open."""
    cell, p, x, (h, c) = _arrays({"forget_gate": False, "peephole": True})
    i, g, o = np.split(x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"], 3, 1)
    new = c + _sigmoid(i + p["peephole_i"] * c) * np.tanh(g)
    got = cell.step(p, x, (h, c))
    np.testing.assert_allclose(got[1], new, atol=1e-12)
    np.testing.assert_allclose(got[0], _sigmoid(o + p["peephole_o"] * new) * np.tanh(new), atol=1e-12)
    assert set(p) == {"weight_ih", "weight_hh", "bias", "peephole_i", "peephole_o"}
    cell, p, x, state = _arrays({"forget_gate": False})
    whole = {name: np.insert(array, [H] * H, 0.0, 0) for name, array in p.items()}
    whole["bias"][H : 2 * H] = 1000.0
    for mine, theirs in zip(cell.step(p, x, state), make_cell(_config({})).step(whole, x, state), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


def test_the_gru_of_the_lectures_by_hand() -> None:
    """The candidate reads r * h (Cho et al. 2014, eq. 8); all gates are given, and b_ih and b_hh only ever added."""
    cell, p, x, (h,) = _arrays({"cell": "gru", "reset_gate": "before"})
    (W_r, W_z, W_n), (U_r, U_z, U_n) = (np.split(p[name], 3) for name in ("weight_ih", "weight_hh"))
    b_r, b_z, b_n = np.split(p["bias_ih"] + p["bias_hh"], 3)
    r, z = _sigmoid(x @ W_r.T + h @ U_r.T + b_r), _sigmoid(x @ W_z.T + h @ U_z.T + b_z)
    n = np.tanh(x @ W_n.T + (r * h) @ U_n.T + b_n)
    got, gates = cell.observe(p, x, (h,))
    np.testing.assert_allclose(got[0], (1 - z) * n + z * h, atol=1e-12)
    for mine, wanted in zip(gates, (r, z, n), strict=True):
        np.testing.assert_allclose(mine, wanted, atol=1e-12)


def test_the_two_grus_are_one_where_the_reset_gate_is_open() -> None:
    """And two otherwise: with r = 1 nothing is reset, before or after."""
    found = []
    for bias in (1000.0, 0.0):
        for where in ("before", "after"):
            cell, p, x, state = _arrays({"cell": "gru", "reset_gate": where})
            p["bias_ih"][:H] = bias
            found.append(cell.step(p, x, state)[0])
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)
    assert np.abs(found[2] - found[3]).max() > 1e-3


@pytest.mark.parametrize("are_gathered", [False, True])
def test_a_window_of_the_lectures_gru_has_autograds_gradient(
    are_gathered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the paper's equations written for torch with a matrix for each gate; gradients gathered at the end or not."""
    monkeypatch.setattr("charrnn.network.layers._LARGE", 1 if are_gathered else 1 << 30)
    config = _config({"cell": "gru", "reset_gate": "before"})
    layer, generator = Layer(make_cell(config), I, H).double(), torch.Generator().manual_seed(4)
    x, begin = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((T, B, I), (B, H)))
    matrices = {}
    with torch.no_grad():
        for name, array in layer.arrays().items():
            array.normal_(generator=generator)
            matrices[name] = [part.clone().requires_grad_() for part in array.chunk(3)]
    (W_r, W_z, W_n), (U_r, U_z, U_n) = matrices["weight_ih"], matrices["weight_hh"]
    (b_r, b_z, b_n), (c_r, c_z, c_n) = matrices["bias_ih"], matrices["bias_hh"]
    h, outputs = begin, []
    for now in x:
        r = torch.sigmoid(now @ W_r.t() + h @ U_r.t() + b_r + c_r)
        z = torch.sigmoid(now @ W_z.t() + h @ U_z.t() + b_z + c_z)
        h = z * h + (1 - z) * torch.tanh(now @ W_n.t() + (r * h) @ U_n.t() + b_n + c_n)
        outputs.append(h)
    wanted = torch.stack(outputs)
    got, (after,) = layer(x, (begin,))
    for output in (wanted, got):
        output.square().sum().backward()
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(after, wanted[-1], rtol=0, atol=1e-12)
    for name, array in layer.arrays().items():
        theirs = torch.cat([part.grad for part in matrices[name] if part.grad is not None])
        torch.testing.assert_close(array.grad, theirs, rtol=1e-9, atol=1e-9)


def test_gates_of_the_lectures_gru_can_be_held_and_h_cannot() -> None:
    """Each gate at a value, as where it is written over; what r leaves of a constant h is not constant."""
    config = _config({"cell": "gru", "reset_gate": "before"}, layers=1)
    random = np.random.default_rng(5)
    shapes = parameter_shapes(config, V)
    arrays = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    held = {Unit(1, "r", 2): 0.3, Unit(1, "z", 0): 0.9, Unit(1, "n", 3): -0.4}
    engine, ids = make_engine(config, clamp(config, arrays, held)), random.integers(0, V, 9)
    taken, _ = engine.record(ids, engine.zero_state())
    p, h = layer_parameters(arrays, 1), np.zeros(H)
    (W_r, W_z, W_n), (U_r, U_z, U_n) = (np.split(p[name], 3) for name in ("weight_ih", "weight_hh"))
    b_r, b_z, b_n = np.split(p["bias_ih"] + p["bias_hh"], 3)
    for x, recorded in zip(arrays["embedding"][ids], taken["h"][:, 0], strict=True):
        r, z = _sigmoid(W_r @ x + U_r @ h + b_r), _sigmoid(W_z @ x + U_z @ h + b_z)
        r[2], z[0] = 0.3, 0.9
        n = np.tanh(W_n @ x + U_n @ (r * h) + b_n)
        n[3] = -0.4
        h = (1 - z) * n + z * h
        np.testing.assert_allclose(recorded, h, atol=1e-5)
    with pytest.raises(UsageError, match="cannot be held") as caught:
        clamp(config, arrays, {Unit(1, "h", 2): 0.7})
    assert "here r, z and n can" in str(caught.value.hint)


def test_a_relu_rnn_is_torchs_own() -> None:
    """torch.nn.RNNCell with nonlinearity relu."""
    cell = make_cell(_config({"cell": "rnn", "activation": "relu"}))
    p, x, state = _tensors(cell)
    reference = torch.nn.RNNCell(I, H, nonlinearity="relu", dtype=torch.float64)
    with torch.no_grad():
        reference.weight_ih.copy_(p["weight_ih"])
        reference.weight_hh.copy_(p["weight_hh"])
        reference.bias_ih.copy_(p["bias"])
        reference.bias_hh.zero_()
    torch.testing.assert_close(cell.step(p, x, state)[0], reference(x, state[0]), rtol=0, atol=1e-14)


def test_modrelu_by_hand() -> None:
    """Worked out unit by unit; with its bias at 0 the network is linear."""
    cell, p, x, (h,) = _arrays({"cell": "rnn", "activation": "modrelu"})
    p["modrelu_bias"] = np.array([0.0, 0.5, -0.5, -100.0])
    argument = x @ p["weight_ih"].T + h @ p["weight_hh"].T + p["bias"]
    (got,) = cell.step(p, x, (h,))
    for lane, unit in np.ndindex(B, H):
        a, b = argument[lane, unit], p["modrelu_bias"][unit]
        expected = 0.0 if abs(a) + b < 0 else a * (abs(a) + b) / abs(a)
        assert got[lane, unit] == pytest.approx(expected, abs=1e-14)
    p["modrelu_bias"][:] = 0
    np.testing.assert_allclose(cell.step(p, x, (h,))[0], argument, atol=1e-14)


def test_layer_normalisation_by_hand() -> None:
    """The paper's equations for the three cells."""
    cell, p, x, (h, c) = _arrays({"layer_norm": True})
    sums = p["gain_hh"] * _n(h @ p["weight_hh"].T) + p["gain_ih"] * _n(x @ p["weight_ih"].T) + p["bias"]
    i, f, g, o = np.split(sums, 4, 1)
    new = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    np.testing.assert_allclose(cell.step(p, x, (h, c))[1], new, atol=1e-12)
    seen = np.tanh(p["gain_c"] * _n(new) + p["bias_c"])
    np.testing.assert_allclose(cell.step(p, x, (h, c))[0], _sigmoid(o) * seen, atol=1e-12)

    cell, p, x, (h,) = _arrays({"cell": "gru", "layer_norm": True})
    ih, hh = x @ p["weight_ih"].T, h @ p["weight_hh"].T
    two = 2 * H
    gates = p["gain_hh"][:two] * _n(hh[:, :two]) + p["gain_ih"][:two] * _n(ih[:, :two])
    r, z = np.split(_sigmoid(gates + p["bias_ih"][:two] + p["bias_hh"][:two]), 2, 1)
    inner = p["gain_hh"][two:] * _n(hh[:, two:]) + p["bias_hh"][two:]
    n = np.tanh(p["gain_ih"][two:] * _n(ih[:, two:]) + p["bias_ih"][two:] + r * inner)
    np.testing.assert_allclose(cell.step(p, x, (h,))[0], (1 - z) * n + z * h, atol=1e-12)

    cell, p, x, (h,) = _arrays({"cell": "rnn", "layer_norm": True})
    new = np.tanh(p["gain"] * _n(h @ p["weight_hh"].T + x @ p["weight_ih"].T) + p["bias"])
    np.testing.assert_allclose(cell.step(p, x, (h,))[0], new, atol=1e-12)


def test_scaling_the_weights_changes_nothing_in_a_normalised_layer() -> None:
    """The invariance that the paper proves (its table 1), of both matrices."""
    for cell_name in ("lstm", "gru"):
        cell, p, x, state = _arrays({"cell": cell_name, "layer_norm": True})
        scaled = {**p, "weight_ih": 40.0 * p["weight_ih"], "weight_hh": 7.0 * p["weight_hh"]}
        for one, other in zip(cell.step(p, x, state), cell.step(scaled, x, state), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_zoneout_keeps_what_is_zoned_out_and_expects_its_mean() -> None:
    """h comes from the memory before it is zoned out; without noise the mean of both values, which is that of draws."""
    rates = {"zoneout": 0.2, "zoneout_cell": 0.5}
    plain, (cell, p, x, (h, c)) = make_cell(_config({})), _arrays(rates)
    new_h, new_c = plain.step(p, x, (h, c))
    random = np.random.default_rng(2)
    d_h, d_c = ((random.random((B, H)) > 0.5).astype(float) for _ in range(2))
    got_h, got_c = cell.step(p, x, (h, c), (d_h, d_c))
    np.testing.assert_array_equal(got_h, np.where(d_h == 1, new_h, h))
    np.testing.assert_array_equal(got_c, np.where(d_c == 1, new_c, c))
    rest_h, rest_c = cell.step(p, x, (h, c))
    np.testing.assert_allclose(rest_h, 0.8 * new_h + 0.2 * h, atol=1e-12)
    np.testing.assert_allclose(rest_c, 0.5 * new_c + 0.5 * c, atol=1e-12)
    draws = [cell.step(p, x, (h, c), tuple((random.random((B, H)) >= r).astype(float) for r in (0.2, 0.5)))
             for _ in range(4000)]  # fmt: skip
    np.testing.assert_allclose(np.mean([one[0] for one in draws], 0), rest_h, atol=0.05)
    np.testing.assert_allclose(np.mean([one[1] for one in draws], 0), rest_c, atol=0.15)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_dropout_drops_only_what_is_written(name: str) -> None:
    """With everything dropped the memory is what the gates keep of it; without noise the cell is the plain one."""
    plain, (cell, p, x, state) = make_cell(_config({"cell": name})), _arrays({"cell": name, "recurrent_dropout": 0.4})
    after, gates = plain.observe(p, x, state)
    named = dict(zip(plain.gate_names, gates, strict=True))
    keep, write, candidate = ("f", "i", "g") if name == "lstm" else ("z", "z", "n")
    written = (named[write] if name == "lstm" else 1 - named[write]) * named[candidate]
    noise = (np.random.default_rng(1).random((B, H)) > 0.4).astype(float)
    got = cell.step(p, x, state, (noise,))[-1]
    np.testing.assert_allclose(got, named[keep] * state[-1] + written * noise / 0.6, atol=1e-12)
    np.testing.assert_array_equal(cell.step(p, x, state)[-1], after[-1])
    assert type(cell.at_rest()) is type(plain)
    assert is_plain(_config({"cell": name, "recurrent_dropout": 0.4}))
    assert not is_plain_in_training(_config({"cell": name, "recurrent_dropout": 0.4}))


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_a_multiplicative_cell_is_the_cell_with_another_matrix_for_every_input(name: str) -> None:
    """W_hh diag(W_mx x) W_mh in the place of W_hh, lane by lane."""
    plain, (cell, p, x, state) = make_cell(_config({"cell": name})), _arrays({"cell": name, "multiplicative": True})
    got = cell.step(p, x, state)
    for lane in range(B):
        matrix = p["weight_hh"] @ np.diag(p["weight_mx"] @ x[lane]) @ p["weight_mh"]
        own = tuple(each[lane : lane + 1] for each in state)
        want = plain.step({**p, "weight_hh": matrix}, x[lane : lane + 1], own)
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(mine[lane], theirs[0], atol=1e-12)


def test_mogrifier_rounds_by_hand() -> None:
    """Odd rounds gate x by h, even ones h by x; with zero matrices it is the lstm; a full rank is the product."""
    cell, p, x, (h, c) = _arrays({"mogrifier": 3})
    gated_x = x * 2 * _sigmoid(h @ p["mogrifier_1"].T + p["mogrifier_1_bias"])
    gated_h = h * 2 * _sigmoid(gated_x @ p["mogrifier_2"].T + p["mogrifier_2_bias"])
    gated_x = gated_x * 2 * _sigmoid(gated_h @ p["mogrifier_3"].T + p["mogrifier_3_bias"])
    plain = make_cell(_config({}))
    for mine, theirs in zip(cell.step(p, x, (h, c)), plain.step(p, gated_x, (gated_h, c)), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    off = {name: 0 * each if name.startswith("mogrifier") else each for name, each in p.items()}
    for mine, theirs in zip(cell.step(off, x, (h, c)), plain.step(p, x, (h, c)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    low, q, x, state = _arrays({"mogrifier": 2, "mogrifier_rank": 2})
    full = {name: each for name, each in q.items() if name[-2:] not in ("_a", "_b")}
    full |= {f"mogrifier_{r}": q[f"mogrifier_{r}_a"] @ q[f"mogrifier_{r}_b"] for r in (1, 2)}
    whole = make_cell(_config({"mogrifier": 2}))
    for mine, theirs in zip(low.step(q, x, state), whole.step(full, x, state), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


def test_a_mogrified_gru_keeps_its_memory_as_it_is() -> None:
    """Where z is 1, h stays, whatever the rounds make of it."""
    cell, p, x, (h,) = _arrays({"cell": "gru", "mogrifier": 4})
    p["bias_ih"][H : 2 * H] = 1000.0
    np.testing.assert_allclose(cell.step(p, x, (h,))[0], h, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell": "gru", "peephole": True}, "--peephole does not go with --cell gru"),
        ({"cell": "rnn", "coupled": "min"}, "--coupled does not go with --cell rnn"),
        ({"activation": "relu"}, "--activation does not go with --cell lstm"),
        ({"cell": "gru", "zoneout_cell": 0.1}, "--zoneout-cell does not go with --cell gru"),
        ({"cell": "rnn", "recurrent_dropout": 0.1}, "--recurrent-dropout does not go with --cell rnn"),
        ({"cell": "rnn", "mogrifier": 2}, "--mogrifier does not go with --cell rnn"),
        ({"mogrifier_rank": 3}, "--mogrifier-rank has no mogrifier"),
        ({"cell": "gru", "forget_gate": False}, "--no-forget-gate does not go with --cell gru"),
        ({"reset_gate": "before"}, "--reset-gate does not go with --cell lstm"),
        ({"cell": "rnn", "reset_gate": "before"}, "--reset-gate does not go with --cell rnn"),
        ({"cell": "gru", "reset_gate": "before", "layer_norm": True}, "--layer-norm does not go with --reset-gate"),
        ({"cell": "gru", "reset_gate": "before", "batch_norm": True}, "--batch-norm does not go with --reset-gate"),
        ({"cell": "gru", "reset_gate": "never"}, "--reset-gate is 'never'"),
        ({"forget_gate": False, "coupled": "min"}, "--no-forget-gate does not go with --coupled min"),
        ({"forget_gate": False, "init": "chrono"}, "--init chrono sets the bias of the forget gate"),
        ({"forget_gate": False, "forget_bias": 2.0}, "--forget-bias sets the bias of the forget gate"),
        ({"forget_gate": 0}, "--forget-gate is 0"),
        ({"orthogonal": True, "init": "orthogonal"}, "--init orthogonal sets recurrent matrices"),
        ({"orthogonal": True, "weight_drop": 0.2}, "--weight-drop does not go with --orthogonal"),
        ({"orthogonal": True, "multiplicative": True}, "--multiplicative does not go with --orthogonal"),
        ({"orthogonal": "yes"}, "--orthogonal is 'yes'"),
        ({"cell": "urnn", "hidden_size": 7}, "a urnn's numbers are complex"),
        ({"cell": "urnn", "layer_norm": True}, "--layer-norm does not go with --cell urnn"),
        ({"cell": "urnn", "multiplicative": True}, "--multiplicative does not go with --cell urnn"),
        ({"cell": "urnn", "mogrifier": 2}, "--mogrifier does not go with --cell urnn"),
        ({"cell": "urnn", "recurrent_dropout": 0.1}, "--recurrent-dropout does not go with --cell urnn"),
        ({"cell": "urnn", "weight_drop": 0.1}, "--weight-drop does not go with --cell urnn"),
        ({"cell": "urnn", "activation": "relu"}, "--activation does not go with --cell urnn"),
        ({"cell": "urnn", "orthogonal": True}, "--orthogonal does not go with --cell urnn"),
        ({"cell": "urnn", "init": "orthogonal"}, "--init orthogonal does not go with --cell urnn"),
        ({"cell": "urnn", "init": "identity"}, "--init identity is for the rnn"),
        ({"cell": "urnn", "init": "chrono"}, "a urnn has none"),
        ({"cell": "urnn", "gate_bias": 1.0}, "a urnn has none"),
        ({"coupled": "yes"}, "--coupled is 'yes'"),
        ({"zoneout": 1.0}, "--zoneout is 1.0"),
        ({"mogrifier": -1}, "--mogrifier is -1"),
        ({"mogrifier": 1000}, "--mogrifier is 1000"),
        ({"layer_norm": 1}, "--layer-norm is 1"),
        ({"batch_norm": 1}, "--batch-norm is 1"),
        ({"batch_norm": True, "layer_norm": True}, "normalise the same products"),
        ({"mogrifier": True}, "--mogrifier is True"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    """With the reason and what to do."""
    with pytest.raises(UsageError) as caught:
        check(ModelConfig(**settings))
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("options", FAMILY)
def test_every_option_of_the_family_says_what_it_is(
    options: str, text_file: Callable[..., Path], command: Command
) -> None:
    """`train --dry-run` names the cell, and says plainly where it leaves the fast path."""
    words = f"train {text_file(2000)} --out new --steps 3 --hidden 8 --threads 1 --dry-run {options}"
    done = command(*words.split())
    assert done.status == 0
    shown = " ".join(done.err.split())
    config = ModelConfig(hidden_size=8, **FAMILY[options])
    assert f"the model is {an(describe(config))} of 1 layer with 8 units" in shown
    assert ("off the fast path" in shown) == (not is_plain_in_training(config))


def test_the_benchmark_measures_the_whole_family() -> None:
    """A row for each, the plain lstm first, whose own ratio is 1."""
    rows = measure(1, 8, 1, 1)
    assert [row["options"] for row in rows] == list(FAMILY)
    assert rows[0]["relative"] == 1
    assert all(row["relative"] > 0 and row["parameters"] > 0 for row in rows)


@by_variant
def test_a_configuration_is_written_and_read_again(variant: dict[str, Any]) -> None:
    """With every field, so that a default may change without changing the model."""
    config = _config(variant)
    written = config.to_dict()
    assert ModelConfig.from_dict(written) == config
    assert set(written) == set(ModelConfig.__dataclass_fields__)


def test_the_cell_in_words() -> None:
    """As the messages have it."""
    assert describe(ModelConfig(zoneout=0.05, zoneout_cell=0.5)) == "lstm with zoneout 0.05/0.5"
    many = ModelConfig(coupled="min", layer_norm=True, mogrifier=4, mogrifier_rank=24)
    assert describe(many) == "lstm with capped input gates, layer norm and 4 mogrifier rounds of rank 24"


def test_a_model_that_drops_only_in_training_is_stepped_by_compiled_code() -> None:
    """Its weights are those of a plain lstm."""
    dropping, plain = (ModelConfig(hidden_size=H, recurrent_dropout=rate) for rate in (0.3, 0.0))
    assert has_compiled_step(dropping) == has_compiled_step(plain)
    assert parameter_shapes(dropping, V) == parameter_shapes(plain, V)


def test_int8_weights_are_refused_where_there_is_no_compiled_step() -> None:
    """By the cell's name."""
    config = ModelConfig(hidden_size=H, embedding_size=I, layer_norm=True)
    with pytest.raises(UsageError, match="no compiled step for this cell, lstm with layer norm"):
        make_engine(config, untrained_arrays(config, V), weights="int8")
