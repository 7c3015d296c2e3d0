"""Batch normalisation: training by hand, running averages in closed form, and nobody else who moves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.func import functional_call

from charrnn.cells.parameters import is_statistic, layer_parameters
from charrnn.cells.registry import make_cell
from charrnn.errors import UsageError
from charrnn.evaluation.bpc import score
from charrnn.inference.make_engine import make_engine
from charrnn.network.batch_statistics import Measured, Running
from charrnn.network.layers import Layer
from charrnn.network.noise import QUIET, draw_noise
from charrnn.network.precision import LossScale
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.distributed import World
from charrnn.training.learner import Learner, NotFinite
from charrnn.training.step_mode import Way

Array = npt.NDArray[Any]
T, B, I, H, V = 6, 5, 3, 4, 7  # noqa: E741 - the letter the equations use
CPU = torch.device("cpu")
CELLS = ["lstm", "gru", "rnn"]
by_cell = pytest.mark.parametrize("name", CELLS)


def _bn(z: Array) -> Array:
    """Over the lanes, with the variance of what is there."""
    normal: Array = (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)
    return normal


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _by_hand(name: str, p: Mapping[str, Array], x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """A step of training as the paper has it, from products to state, one product at a time."""
    h = state[0]
    ih, hh = x @ p["weight_ih"].T, h @ p["weight_hh"].T
    if name == "rnn":
        return (np.tanh(p["gain"] * _bn(hh + ih) + p["bias"]),)
    ih, hh = p["gain_ih"] * _bn(ih), p["gain_hh"] * _bn(hh)
    if name == "gru":
        x_r, x_z, x_n = np.split(ih + p["bias_ih"], 3, 1)
        h_r, h_z, h_n = np.split(hh + p["bias_hh"], 3, 1)
        z = _sigmoid(x_z + h_z)
        return ((1 - z) * np.tanh(x_n + _sigmoid(x_r + h_r) * h_n) + z * h,)
    i, f, g, o = np.split(hh + ih + p["bias"], 4, 1)
    c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(p["gain_c"] * _bn(c) + p["bias_c"]), c


def _layer(name: Any) -> tuple[Layer, dict[str, Array], torch.Tensor, tuple[torch.Tensor, ...]]:
    """With arrays of chance, a window of inputs and a state."""
    torch.manual_seed(3)
    cell = make_cell(ModelConfig(cell=name, batch_norm=True))
    layer = Layer(cell, I, H).double()
    with torch.no_grad():
        for own, array in layer.arrays().items():
            array.uniform_(0.5, 2.0) if is_statistic(own) else array.normal_()
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in cell.state_names)
    arrays = {own: array.detach().numpy() for own, array in layer.arrays().items()}
    return layer, arrays, torch.randn(T, B, I, dtype=torch.float64), state


def _measured(layer: Layer) -> dict[str, Measured]:
    return {name: Measured() for name in layer.arrays() if is_statistic(name)}


@by_cell
def test_training_by_hand(name: str) -> None:
    """Each step of a window by its own lanes; what was measured are means over steps, the variance unbiased."""
    layer, p, x, state = _layer(name)
    measured = _measured(layer)
    outputs, after = layer(x, state, measured=measured)
    truth, products = tuple(each.numpy() for each in state), []
    for t in range(T):
        products.append((x[t].numpy() @ p["weight_ih"].T, truth[0] @ p["weight_hh"].T))
        truth = _by_hand(name, p, x[t].numpy(), truth)
        np.testing.assert_allclose(outputs[t].detach(), truth[0], atol=1e-12)
    for mine, theirs in zip(after, truth, strict=True):
        np.testing.assert_allclose(mine.detach(), theirs, atol=1e-12)
    if name == "rnn":
        wanted = {"statistics": [ih + hh for ih, hh in products]}
    else:
        wanted = {"statistics_ih": [ih for ih, _ in products], "statistics_hh": [hh for _, hh in products]}
    for own, values in wanted.items():
        found = measured[own].statistics().numpy()
        np.testing.assert_allclose(found[0], np.mean([z.mean(0) for z in values], 0), atol=1e-12)
        np.testing.assert_allclose(found[1], np.mean([z.var(0, ddof=1) for z in values], 0), atol=1e-9)
    assert set(measured) == {*wanted, *(["statistics_c"] if name == "lstm" else [])}


@by_cell
def test_where_the_running_statistics_are_the_batchs_training_is_nothing_else(name: str) -> None:
    """One step of the same lanes: identical; and of other lanes, which only training sees, not."""
    layer, _, x, state = _layer(name)
    measured = _measured(layer)
    training, _ = layer(x[:1], state, measured=measured)
    with torch.no_grad():
        for own, each in measured.items():
            array = layer.arrays()[own]
            array.copy_(each.statistics())
            array[1] *= (B - 1) / B  # as what is normalised has it
    resting, _ = layer(x[:1], state)
    torch.testing.assert_close(training, resting, rtol=0, atol=1e-12)
    few = tuple(each[:2] for each in state)
    torch.testing.assert_close(layer(x[:1, :2], few)[0], resting[:, :2], rtol=0, atol=1e-12)
    assert not torch.allclose(layer(x[:1, :2], few, measured=_measured(layer))[0], resting[:, :2], atol=1e-3)


@by_cell
@pytest.mark.parametrize("are_ids", [False, True])
def test_gradients_of_a_window_flow_through_the_statistics(name: str, are_ids: bool) -> None:
    """Against finite differences, from ids and from vectors, of all that learns."""
    layer, _, x, state = _layer(name)
    names = [own for own in layer.arrays() if not is_statistic(own)]
    ids = torch.randint(V, (2, B), generator=torch.Generator().manual_seed(2)) if are_ids else None

    def run(inputs: torch.Tensor, *arrays: torch.Tensor) -> torch.Tensor:
        given = {f"_own.{own}": array for own, array in zip(names, arrays, strict=True)}
        output: torch.Tensor = functional_call(layer, given, (inputs, state, ids), {"measured": _measured(layer)})[0]
        return output

    inputs = x.flatten(0, 1)[:V].clone() if are_ids else x[:2].clone()
    arrays = [layer.arrays()[own].detach().clone().requires_grad_() for own in names]
    assert torch.autograd.gradcheck(run, [inputs.requires_grad_(), *arrays])


def test_a_batch_is_normalised_in_the_type_of_its_gain() -> None:
    """Narrow products are widened first: their own statistics would be rounded."""
    x = 100 + torch.randn(B, H, generator=torch.Generator().manual_seed(2)).bfloat16()
    gain = torch.rand(H, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        narrow, wide = (Measured() for _ in range(2))
        ours, theirs = narrow.normalise(x, gain), wide.normalise(x.float(), gain)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)
    assert torch.equal(narrow.statistics(), wide.statistics())
    np.testing.assert_allclose(ours.mean(-2), 0, atol=1e-5)


def test_running_statistics_in_closed_form() -> None:
    """A plain mean of the first hundred updates, then a hundredth a step; a bad one is as if it had not been."""
    random = np.random.default_rng(4)
    array = torch.full((2, H), 9.0)
    running = Running({"embedding": torch.zeros(1), "layers.1.statistics_hh": array}, CPU)
    wanted, taken = np.zeros((2, H)), 0
    for n in range(130):
        each, is_bad = Measured(), n % 7 == 3
        x = torch.from_numpy(random.normal(2, 3, (B, H)).astype(np.float32))
        if is_bad:
            x[0] = torch.nan
        each.normalise(x, torch.ones(H))
        running.update([{"statistics_hh": each}], torch.tensor(is_bad))
        if not is_bad:
            taken += 1
            batch = np.stack((x.numpy().mean(0), x.numpy().var(0, ddof=1)))
            wanted += max(0.01, 1 / taken) * (batch - wanted)
        np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-4)
    assert taken > 100
    assert running.state()["measured"] == [taken]
    assert not Running({"embedding": torch.zeros(1)}, CPU).state(), "there is nothing to keep where there is none"


def _learner(
    model: dict[str, Any] | None = None, *, way: Way | None = None, lanes: int = B, **settings: Any
) -> Learner:
    config = ModelConfig(num_layers=2, hidden_size=8, embedding_size=I, batch_norm=True, **(model or {}))
    training = TrainingConfig(batch_size=lanes, bptt=T, **{"precision": "fp32", "state_reset": 0.0, **settings})
    return Learner(config, training, V, CPU, way=way)


def _windows(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (count, T + 1, B)))
    return [(window[:-1], window[1:]) for window in ids]


def _statistics(learner: Learner) -> dict[str, Array]:
    return {name: array.copy() for name, array in learner.model.numpy_arrays().items() if is_statistic(name)}


@pytest.mark.parametrize("way", ["host", "device"])
def test_the_first_step_leaves_what_it_measured(way: Way) -> None:
    """Of the weights before its update: those of the first layer's input, from the characters themselves."""
    learner = _learner(way=way)
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    inputs, targets = _windows(1)[0]
    learner.step(inputs, targets, 0.02)
    products = before["embedding"][inputs.numpy()] @ layer_parameters(before, 1)["weight_ih"].T
    found = _statistics(learner)
    np.testing.assert_allclose(found["layers.1.statistics_ih"][0], products.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(found["layers.1.statistics_ih"][1], products.var(1, ddof=1).mean(0), atol=1e-6)
    assert len(found) == 6


def test_asking_the_host_nothing_changes_nothing() -> None:
    """The program that a GPU replays has the same statistics."""
    learners = [_learner(way=way) for way in ("host", "device")]  # type: ignore[arg-type]
    for learner in learners:
        for window in _windows(5):
            learner.step(*window, 0.01)
    for one, other in zip(*(_statistics(learner).values() for learner in learners), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("way", ["host", "device"])
def test_a_step_that_is_skipped_or_diverges_leaves_them(way: Way) -> None:
    """Overflow under a scaled loss; and weights that are no numbers."""
    learner = _learner(way=way)
    window, *_ = _windows(1)
    learner.step(*window, 0.02)
    before, count = _statistics(learner), learner.state()["measured"].copy()
    learner._scale = LossScale(CPU, 2.0**127)
    assert learner.step(*window, 0.02)[3]
    learner._scale = None
    with torch.no_grad():
        learner.model.arrays()["embedding"][:] = torch.nan
    if way == "host":
        with pytest.raises(NotFinite):
            learner.step(*window, 0.02)
    else:
        learner.step(*window, 0.02)
    for name, array in _statistics(learner).items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(learner.state()["measured"], count)


def test_nothing_but_a_step_of_training_moves_them() -> None:
    """Scoring reads them; the averaged weights have averages of them, and give the others back."""
    learner = _learner(average=0.5)
    traces = []
    for window in _windows(4):
        learner.step(*window, 0.05)
        learner.average(0.25)
        traces.append(_statistics(learner))
    start = {name: np.stack((0 * array[0], 0 * array[1] + 1)) for name, array in traces[0].items()}
    score(learner.model, np.arange(40, dtype=np.int32) % V)
    with learner.averaged():
        inside = _statistics(learner)
    for name, array in _statistics(learner).items():
        np.testing.assert_array_equal(array, traces[-1][name])
        wanted = start[name]
        for trace in traces:
            wanted = wanted + 0.25 * (trace[name] - wanted)
        np.testing.assert_allclose(inside[name], wanted, rtol=1e-5, atol=1e-6)


@by_cell
def test_what_was_learned_over_lanes_is_known_outside_training(name: Any) -> None:
    """A text that repeats, read by numpy in one lane with running statistics: as good as in training."""
    config = ModelConfig(cell=name, hidden_size=16, embedding_size=I, batch_norm=True)
    learner = Learner(config, TrainingConfig(batch_size=4, bptt=10, learning_rate=0.02), V, CPU)
    ids = (torch.arange(11)[:, None] + torch.arange(4)) % V
    for n in range(150):
        last = learner.step((ids[:-1] + 3 * n) % V, (ids[1:] + 3 * n) % V, 0.02)
    engine = make_engine(config, learner.model.numpy_arrays())
    text = np.arange(60) % V
    found = engine.score(text, engine.zero_state()).log_probabilities[20:]
    assert float(last[0]) < 0.5
    assert -found.mean() < float(last[0]) + 0.2


def test_what_echoes_is_measured_though_nothing_in_it_learns() -> None:
    """Gains and matrices stay; statistics are no weights."""
    learner = _learner(freeze="echo")
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    learner.step(*_windows(1)[0], 0.02)
    for name, array in learner.model.numpy_arrays().items():
        assert (array != before[name]).any() == (is_statistic(name) or name.startswith("decoder.")), name


def test_noise_names_what_is_measured_in_training_alone() -> None:
    """A fresh measure for each array; none without batch normalisation."""
    generator = torch.Generator().manual_seed(1)
    config = ModelConfig(num_layers=2, hidden_size=H, batch_norm=True)
    noise = draw_noise(generator, config, T, B, 0.0, V)
    assert [list(layer) for layer in noise.measured] == [["statistics_ih", "statistics_hh", "statistics_c"]] * 2
    assert len({id(each) for layer in noise.measured for each in layer.values()}) == 6
    assert QUIET.measured == ()
    assert draw_noise(generator, ModelConfig(hidden_size=H), T, B, 0.0, V).measured == ()


def test_lanes_that_are_too_few_or_apart_are_refused() -> None:
    """One lane is its own mean; a part of the lanes would know its own."""
    with pytest.raises(UsageError, match="there is one lane"):
        _learner(lanes=1)
    for pieces in ({"accumulate": 2}, {"world": World(0, 2)}):
        with pytest.raises(UsageError, match="in 2 pieces would know only each piece's own"):
            Learner(ModelConfig(hidden_size=8, batch_norm=True), TrainingConfig(), V, CPU, **pieces)  # type: ignore[arg-type]
