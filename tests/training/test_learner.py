"""A step of training made in several ways: whole or in parts, asking the host or not, within a range and beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.network.precision import LossScale
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.distributed import World
from charrnn.training.learner import Learner, NotFinite
from charrnn.training.recipe import completed_training
from charrnn.training.schedule import averaging_share
from charrnn.training.step_mode import Way, choose_way
from tests.kit.ten_steps import CELLS, OPTIMIZERS, assert_ten_steps_agree, make_learner

T, B, V = 6, 7, 9
CPU = torch.device("cpu")
STEPS = 8


def _model(cell: str = "lstm", dropout: float = 0.4) -> ModelConfig:
    return ModelConfig(cell=cell, num_layers=2, hidden_size=8, embedding_size=5, dropout=dropout)  # type: ignore[arg-type]


def _learner(cell: str = "lstm", *, way: Way | None = None, accumulate: int = 1, **settings: Any) -> Learner:
    asked = completed_training({"precision": "fp32", **settings})
    training = TrainingConfig(batch_size=B, bptt=T, state_reset=0.3, **asked)
    return Learner(_model(cell), training, V, CPU, accumulate=accumulate, way=way)


def _windows() -> list[tuple[torch.Tensor, torch.Tensor]]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (STEPS, T + 1, B)))
    return [(window[:-1], window[1:]) for window in ids]


def _train(learner: Learner) -> list[torch.Tensor]:
    return [learner.step(*window, 0.02 / (n + 1)) for n, window in enumerate(_windows())]


def _assert_close(one: Learner, other: Learner, tolerance: float) -> None:
    for name, array in one.model.numpy_arrays().items():
        np.testing.assert_allclose(array, other.model.numpy_arrays()[name], atol=tolerance, err_msg=name)
    ours, theirs = one.state(), other.state()
    assert set(ours) == set(theirs)
    for name, state in ours.items():
        if not name.startswith("optimizer.direction"):  # an iteration that makes small differences larger
            np.testing.assert_allclose(state, theirs[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize("accumulate", [2, 3, B])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_step_in_parts_is_the_step_in_one_piece(cell: str, accumulate: int) -> None:
    """Loss, norm, weights, moments, state and generator, with dropout and resets; the 7 lanes in unequal parts."""
    whole, parts = _learner(cell), _learner(cell, accumulate=accumulate)
    for one, other in zip(_train(whole), _train(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    _assert_close(whole, parts, 1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_a_step_that_asks_the_host_nothing_is_the_step_that_does(optimizer: str, clip: float) -> None:
    """The program that a GPU replays, run on a CPU: the graph's eager twin."""
    learners = [_learner(way=way, optimizer=optimizer, clip_norm=clip) for way in ("host", "device")]  # type: ignore[arg-type]
    for one, other in zip(*(_train(learner) for learner in learners), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert one[2].item() == float(clip > 0)
    # Of rmsprop the momentum is numbers of ten and more; and the host sums the norm in more digits.
    _assert_close(*learners, 2e-4 if optimizer == "rmsprop" else 1e-5)


@pytest.mark.parametrize("way", ["host", "device"])
def test_a_clip_on_the_summed_loss_is_one_on_the_mean_a_windows_length_smaller(way: Way) -> None:
    """The norm reported stays that of the mean; of a threshold between the two norms only the sum's is above."""
    learners = [_learner(way=way, clip_norm=0.3, clip_loss="sum"), _learner(way=way, clip_norm=0.3 / T)]
    for one, other in zip(*(_train(learner) for learner in learners), strict=True):
        assert torch.equal(one, other)
        assert 0.3 / T < one[1] < 0.3
        assert one[2]
    _assert_close(*learners, 0.0)


@pytest.mark.parametrize("way", ["host", "device"])
def test_a_scaled_loss_gives_the_same_step(way: Way) -> None:
    """Scaled up before the backward pass and down after it, also where the scale grows: nothing is left of it."""
    plain, scaled = _learner(way=way, clip_norm=0.05), _learner(way=way, clip_norm=0.05)
    scaled._scale = LossScale(CPU)
    scaled._scale.load(np.array([2.0**20, 1996]))
    for one, other in zip(_train(plain), _train(scaled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert not other[3]
    assert float(scaled._scale.scale) == 2.0**21
    for name, array in plain.model.numpy_arrays().items():
        np.testing.assert_allclose(array, scaled.model.numpy_arrays()[name], atol=1e-6)


@pytest.mark.parametrize("way", ["host", "device"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_that_overflow_are_skipped_and_counted_until_the_scale_fits(way: Way, optimizer: str) -> None:
    """Weights and moments as they were, the norm not counted, the scale halved each time; then training goes on."""
    learner = _learner(way=way, optimizer=optimizer)
    learner._scale = LossScale(CPU, 2.0**127)
    inputs, targets = _windows()[0]
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    scales = []
    for _ in range(90):
        scales.append(float(learner._scale.scale))
        outcome = learner.step(inputs, targets, 0.02)
        assert torch.isfinite(outcome).all()
        if not outcome[3]:
            break
        assert outcome[1] == 0
        for name, array in learner.model.numpy_arrays().items():
            np.testing.assert_array_equal(array, before[name])
    assert 1 < len(scales) < 90
    assert scales == [2.0 ** (127 - n) for n in range(len(scales))]
    assert any((array != before[name]).any() for name, array in learner.model.numpy_arrays().items())
    assert all(np.isfinite(array).all() for array in learner.state().values())


@pytest.mark.parametrize("way", ["host", "device"])
def test_what_no_scale_can_mend_is_a_divergence(way: Way) -> None:
    """A loss that is not finite, and a gradient that overflows without any scale, are not skipped in silence."""
    learner = _learner(way=way)
    learner._scale = LossScale(CPU, 1.0)
    with torch.no_grad():
        learner.model.arrays()["embedding"][:] = torch.nan
    inputs, targets = _windows()[0]
    if way == "host":
        with pytest.raises(NotFinite):
            learner.step(inputs, targets, 0.02)
    else:
        outcome = learner.step(inputs, targets, 0.02)
        assert not torch.isfinite(outcome[0] + outcome[1])
        assert not outcome[3]


@pytest.mark.parametrize("way", ["host", "device"])
def test_state_goes_out_and_in_in_the_middle(way: Way) -> None:
    """A second learner goes on bit for bit, the scale of the loss and Muon's turn included."""
    learners = []
    for is_interrupted in (False, True):
        learner = _learner(way=way)
        learner._scale = LossScale(CPU, 2.0**10)
        for n, window in enumerate(_windows()):
            if is_interrupted and n == 3:
                arrays, state = learner.model.numpy_arrays(), learner.state()
                learner = _learner(way=way)
                learner._scale = LossScale(CPU)
                learner.load(arrays, state)
            learner.step(*window, 0.02)
        learners.append(learner)
    _assert_close(*learners, 0.0)


def test_after_a_trigger_the_mean_of_the_weights_is_what_is_kept() -> None:
    """With weights as they are before it; and training goes on from the weights, not from their mean."""
    learner, plain = _learner(average=0.0, average_after=1), _learner(average=0.0)
    seen: list[dict[str, Any]] = []
    for n, window in enumerate(_windows(), start=1):
        for each in (learner, plain):
            each.step(*window, 0.02)
        learner.average(averaging_share(TrainingConfig(average=0.0, average_after=1), n, 0.1 * n, 3 if n > 3 else None))
        weights = {name: array.copy() for name, array in plain.model.numpy_arrays().items()}
        seen.append(weights)
        with learner.averaged():
            kept = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
        for name, array in kept.items():
            wanted = np.mean([one[name] for one in seen[3:]], axis=0) if n > 3 else weights[name]
            np.testing.assert_allclose(array, wanted, atol=1e-6)
            np.testing.assert_array_equal(learner.model.numpy_arrays()[name], weights[name])


def test_schedule_free_keeps_its_average_and_trains_on() -> None:
    """What is validated is x; afterwards the weights are y again, and looking has changed nothing."""
    learner, twin = (_learner(optimizer="schedule-free", warmup=0) for _ in range(2))
    for n, window in enumerate(_windows()):
        assert torch.equal(*(each.step(*window, 0.02) for each in (learner, twin)))
        learner.average(1.0 / (n + 1))  # there is nothing here to be moved
        state = {name: array.copy() for name, array in learner.state().items()}
        with learner.averaged():
            for name, array in learner.model.numpy_arrays().items():
                np.testing.assert_array_equal(array, state[f"optimizer.x.{name}"])
                if n:
                    assert (array != twin.model.numpy_arrays()[name]).any()
    assert not [name for name in state if name.startswith("average.")]
    _assert_close(learner, twin, 0.0)


def test_the_lanes_of_ranks_are_all_lanes_once() -> None:
    """For every number of ranks: side by side, none left out, none twice, as equal as can be."""
    for size in range(1, B + 1):
        shares = [World(rank, size).lanes(B) for rank in range(size)]
        assert [lane for share in shares for lane in range(B)[share]] == list(range(B))
        sizes = {share.stop - share.start for share in shares}
        assert max(sizes) - min(sizes) <= 1


def test_what_a_graph_cannot_do_is_not_recorded() -> None:
    """Windows of many lengths, and a word with other processes."""
    cuda = torch.device("cuda")
    assert choose_way(ModelConfig(), TrainingConfig(), cuda, World(0, 1)) == "graph"
    assert choose_way(ModelConfig(), TrainingConfig(random_bptt=True), cuda, World(0, 1)) == "device"
    assert choose_way(ModelConfig(), TrainingConfig(), cuda, World(0, 2)) == "device"
    assert choose_way(ModelConfig(), TrainingConfig(random_bptt=True), CPU, World(0, 1)) == "host"


def test_documents_that_end_in_a_window_are_recorded_where_a_loop_reads_them() -> None:
    """A kernel gets them in pieces, as many as there happen to be."""
    cuda = torch.device("cuda")
    looped = {"cell": "urnn"}, {"cell": "lstm", "layer_norm": True}, {"cell": "gru", "zoneout": 0.1}
    for cell in ("lstm", "gru", "rnn"):
        assert choose_way(ModelConfig(cell=cell), TrainingConfig(), cuda, World(0, 1), has_end=True) == "device"
    for model in looped:
        assert choose_way(ModelConfig(**model), TrainingConfig(), cuda, World(0, 1), has_end=True) == "graph"
    assert choose_way(ModelConfig(), TrainingConfig(), CPU, World(0, 1), has_end=True) == "host"


def _of_another_device(state: dict[str, Any], *, has_scale: bool) -> dict[str, Any]:
    """As a GPU would have saved it (16 bytes of a generator, a scale), or a CPU where a GPU is to go on."""
    scale = {"loss_scale": np.array([2.0**12, 7.0])} if has_scale else {}
    rest = {name: array for name, array in state.items() if name != "loss_scale"}
    return {**rest, **scale, "random.training": np.arange(16, dtype=np.uint8)}


@pytest.mark.parametrize("has_scale", [True, False])
@pytest.mark.parametrize("wants_scale", [True, False])
def test_a_run_goes_to_another_kind_of_device(has_scale: bool, wants_scale: bool) -> None:
    """Weights, moments and carried state are taken over; random numbers begin anew, and so does a scale that was not
    there: from the seed and the step, so that going over twice gives the same, and going over later something else."""
    source = _learner()
    made = []
    for n, window in enumerate(_windows()):
        source.step(*window, 0.02)
        if n in (3, 3 + STEPS // 2):
            made.append((source.model.numpy_arrays(), source.state()))
    drawn = []
    for arrays, state in [made[0], made[0], made[1]]:
        target = _learner()
        target._scale = LossScale(CPU, 2.0**9) if wants_scale else None
        told = target.load(arrays, _of_another_device(state, has_scale=has_scale))
        taken = target.state()
        for name, array in state.items():
            if name not in ("random.training", "loss_scale"):
                np.testing.assert_array_equal(taken[name], array, err_msg=name)
        if wants_scale:
            assert taken["loss_scale"].tolist() == ([2.0**12, 7.0] if has_scale else [2.0**9, 0.0])
        assert any("random numbers" in sentence for sentence in told)
        assert any("scale" in sentence for sentence in told) == (wants_scale and not has_scale)
        target.step(*_windows()[0], 0.02)
        drawn.append(taken["random.training"].tobytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_on_the_same_kind_of_device_nothing_begins_anew() -> None:
    """There is nothing to tell."""
    learner = _learner()
    learner._scale = LossScale(CPU)
    assert learner.load(learner.model.numpy_arrays(), learner.state()) == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cell", CELLS)
def test_two_kernels_agree_as_a_gpu_is_asked_to(cell: str, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled recurrence and torch's: bounds that these two did not keep would say nothing of a GPU."""
    learners = [make_learner(cell, optimizer, CPU) for _ in range(2)]
    step = learners[1].step

    def with_torchs(*given: Any) -> torch.Tensor:
        with monkeypatch.context() as patch:
            for place in ("charrnn.native.window", "charrnn.network.compiled_layer"):
                patch.setattr(f"{place}.find_library", lambda: None)
            return step(*given)

    monkeypatch.setattr(learners[1], "step", with_torchs)
    assert_ten_steps_agree(learners, optimizer)
