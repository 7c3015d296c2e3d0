"""What a GPU would record as graphs, recorded and replayed on a CPU (`fakegraphs.py`): steps and the sampling loop."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.parameters import parameter_shapes
from charrnn.errors import RecordingFailed
from charrnn.network import stepper
from charrnn.network.graphs import GraphRecorder, records_on
from charrnn.network.model import CharacterModel
from charrnn.network.precision import LossScale
from charrnn.network.stepper import TorchStepper
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.training.feed import ResidentFeed
from charrnn.training.lanes import Ring
from charrnn.training.learner import Learner
from charrnn.training.optimizers import updater
from charrnn.training.step_mode import Way
from charrnn.training.tally import StepSums
from charrnn.training.teacher import Teacher
from tests.kit.every_option import CELLS, ELSEWHERE, OPTIMIZERS, OPTIONS, B, T, V, configured
from tests.kit.fakegraphs import FakeGraphs, Watch, fake_graphs
from tests.kit.tiny import tiny
from tests.kit.waits import nothing_waits

__all__ = ["fake_graphs"]

CPU = torch.device("cpu")
STEPS = 4
EVERYTHING = [*({"cell": cell, "optimizer": one} for cell in CELLS for one in OPTIMIZERS), *OPTIONS]


def test_no_setting_is_forgotten() -> None:
    """Each is tested below, or is said why not; and not both."""
    tested = {name for settings in OPTIONS for name in settings} - {"cell", "optimizer", "embedding_size"}
    known = {field.name for config in (ModelConfig, TrainingConfig) for field in fields(config)} - {"embedding_size"}
    assert tested | set(ELSEWHERE) == known
    assert not tested & set(ELSEWHERE)


class _Training:
    """A learner that takes windows of a text, as in a run."""

    def __init__(
        self,
        settings: dict[str, Any],
        way: Way,
        *,
        accumulate: int = 1,
        scale: float | None = None,
        taught: int | None = None,
    ) -> None:
        """`taught` is the seed of a model that is the teacher."""
        model, training = configured(settings)
        ids = np.random.default_rng(0).integers(0, V, 97).astype(np.uint8)
        teacher = None
        if taught is not None:
            source = CharacterModel(model, V)
            source.initialise(torch.Generator().manual_seed(taught))
            teacher = Teacher(model, [source.numpy_arrays()], V, CPU, lanes=B, text=ids)
            teacher.prepare()
        self.learner = Learner(model, training, V, CPU, way=way, accumulate=accumulate, teacher=teacher)
        if scale is not None:
            self.learner._scale = LossScale(CPU, scale)
        self.ring = Ring(ids, B, T)
        self.feed, self.tallies = ResidentFeed(self.ring, slice(0, B), CPU), (StepSums(CPU), StepSums(CPU))
        self.learner.connect(self.feed, self.tallies)
        self.made = 0

    def step(self, *, is_fed: bool = True) -> None:
        """The next one, at a rate that falls; every second time the averages move."""
        position, rate = self.made * T, 0.02 / (self.made + 1)
        if is_fed:
            self.learner.step_at(position, rate, T)
        else:
            inputs, targets, _ = self.ring.at(position)
            places = torch.from_numpy(self.ring.places_at(position))
            self.learner.step(inputs, targets, rate, places=places)
        if self.made % 2:
            self.learner.average(0.3)
        self.made += 1

    def arrays(self) -> dict[str, bytes]:
        """All that a checkpoint would hold, bit for bit."""
        sums = {f"tally {n}": tally.to_numpy() for n, tally in enumerate(self.tallies)}
        report = {"report": self.learner.report.numpy()}
        every = {**self.learner.model.numpy_arrays(), **self.learner.state(), **sums, **report}
        return {name: array.tobytes() for name, array in every.items()}


def _assert_same(one: _Training, other: _Training) -> None:
    ours, theirs = one.arrays(), other.arrays()
    assert list(ours) == list(theirs)
    assert [name for name, array in ours.items() if array != theirs[name]] == []


@pytest.mark.parametrize("settings", EVERYTHING, ids=str)
def test_a_recorded_step_is_the_step(settings: dict[str, Any], fake_graphs: FakeGraphs) -> None:
    """Bit for bit over several steps; it asks the device for nothing, and changes just what it says."""
    recorded, eager = (_Training(settings, way) for way in ("graph", "device"))  # type: ignore[arg-type]
    for _ in range(STEPS):
        recorded.step()
        eager.step()
        assert torch.equal(recorded.learner.report, eager.learner.report)
    _assert_same(recorded, eager)
    _assert_changes_what_it_says(recorded.learner, fake_graphs, is_fed=True)
    assert len(fake_graphs.graphs) == recorded.learner._updater.period


@pytest.mark.parametrize("is_fed", [True, False])
def test_a_step_with_a_teacher_is_recorded(is_fed: bool, fake_graphs: FakeGraphs) -> None:
    """Its rows are looked up where the window of each replay stands."""
    recorded, eager = (_Training({"distill_weight": 0.8}, way, taught=3) for way in ("graph", "device"))  # type: ignore[arg-type]
    other = _Training({"distill_weight": 0.8}, "device", taught=4)
    for _ in range(2 * STEPS):
        for each in (recorded, eager, other):
            each.step(is_fed=is_fed)
        assert torch.equal(recorded.learner.report, eager.learner.report)
    _assert_same(recorded, eager)
    assert recorded.arrays() != other.arrays()
    _assert_changes_what_it_says(recorded.learner, fake_graphs, is_fed=is_fed)


def _assert_changes_what_it_says(learner: Learner, fakes: FakeGraphs, *, is_fed: bool) -> None:
    written = {storage for graph in fakes.graphs for storage in graph.written}
    scratch = {_storage(learner._gradient.vector)}
    said = {_storage(array) for array in learner._changed(is_fed=is_fed)}
    assert written - scratch == said


def _storage(array: torch.Tensor) -> int:
    return array.untyped_storage()._cdata


@pytest.mark.parametrize("settings", [{"cell": cell, "dropout": 0.3, "state_reset": 0.3} for cell in CELLS], ids=str)
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("is_fed", [True, False])
def test_a_step_in_parts_with_a_scaled_loss_is_recorded_too(
    settings: dict[str, Any], accumulate: int, is_fed: bool, fake_graphs: FakeGraphs
) -> None:
    """With a scale that overflows at first, from windows of the text and from windows that are handed in."""
    recorded, eager = (
        _Training(settings, way, accumulate=accumulate, scale=2.0**70)  # type: ignore[arg-type]
        for way in ("graph", "device")
    )
    skipped = 0
    for _ in range(3 * STEPS):
        recorded.step(is_fed=is_fed)
        eager.step(is_fed=is_fed)
        _assert_same(recorded, eager)
        skipped += int(recorded.learner.report[3])
    assert 0 < skipped < 3 * STEPS
    _assert_changes_what_it_says(recorded.learner, fake_graphs, is_fed=is_fed)


def test_a_run_may_go_over_to_windows_that_are_handed_in(fake_graphs: FakeGraphs) -> None:
    """Each kind of step has graphs of its own, and the steps are the same."""
    recorded, eager = (_Training({"dropout": 0.3}, way) for way in ("graph", "device"))  # type: ignore[arg-type]
    for number in range(6):
        for each in (recorded, eager):
            each.step(is_fed=number % 3 == 0)
        ours, theirs = ({k: v for k, v in each.arrays().items() if "tally" not in k} for each in (recorded, eager))
        assert ours == theirs
    assert len(fake_graphs.graphs) == 4


@pytest.mark.parametrize("settings", [{"layer_norm": True}, {"cell": "gru", "zoneout": 0.2}], ids=str)
def test_windows_of_documents_are_recorded_with_where_lanes_begin(
    settings: dict[str, Any], fake_graphs: FakeGraphs
) -> None:
    """Each window has places of its own, which the one graph reads: the steps are those that are not recorded."""
    model, training = configured(settings)
    recorded, eager = (Learner(model, training, V, CPU, way=way, end=V - 1) for way in ("graph", "device"))  # type: ignore[arg-type]
    plain = Learner(model, training, V, CPU, way="device", end=V - 1)
    random = torch.Generator().manual_seed(4)
    for _ in range(STEPS):
        ids = torch.randint(0, V, (T + 1, B), generator=random)
        starts = (torch.rand(T, B, generator=random) < 0.2) | (ids[:-1] == V - 1)
        ours, theirs = (each.step(ids[:-1], ids[1:], 0.02, starts) for each in (recorded, eager))
        assert torch.equal(ours, theirs)
        without = plain.step(ids[:-1], ids[1:], 0.02)
    assert not torch.equal(ours, without)
    for name, array in recorded.model.numpy_arrays().items():
        assert (array == eager.model.numpy_arrays()[name]).all(), name
    assert len(fake_graphs.graphs) == recorded._updater.period


def test_all_kinds_of_steps_are_recorded_at_the_first(fake_graphs: FakeGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    """All have run before the first is recorded, on one stream that stays, into one pool: so memory is never held by
    one graph while another one is made ready."""
    original = Learner._work

    def logged(self: Learner, turn: int, is_fed: bool) -> None:
        fake_graphs.log.append(f"kind {turn}")
        original(self, turn, is_fed)

    monkeypatch.setattr(Learner, "_work", logged)
    recorded = _Training({}, "graph")
    recorded.step()
    runs = ["kind 0"] * 3 + ["kind 1"] * 3
    assert fake_graphs.log == [*runs, "capture", "kind 0", "capture", "kind 1"]
    recorded.step()
    assert len(fake_graphs.log) == 10
    assert len(set(map(id, fake_graphs.streams))) == len(set(map(id, fake_graphs.pools))) == 1
    assert fake_graphs.streams[0] is not None
    assert fake_graphs.pools[0] is not None
    assert fake_graphs.current == "the default stream"
    assert all(graph.generators == [recorded.learner._random] for graph in fake_graphs.graphs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_beside_a_graph_hardly_anything_is_launched(optimizer: str, fake_graphs: FakeGraphs) -> None:
    """The place of the window and the learning rate, and nothing that waits."""
    training = _Training({"optimizer": optimizer, "dropout": 0.3}, "graph")
    training.step()
    replays = []
    for graph in fake_graphs.graphs:
        graph.replay = lambda: replays.append(1)  # type: ignore[method-assign]
    with Watch() as watch:
        for number in range(4):
            training.learner.step_at(number * T, 0.01)
    assert len(replays) == 4
    assert watch.names == ["aten.fill_.Scalar", "aten.fill_.Scalar"] * 4


@pytest.mark.parametrize("settings", [*EVERYTHING[:: len(OPTIMIZERS)][: len(CELLS)], {"batch_norm": True}], ids=str)
def test_nothing_asks_in_a_step_that_is_not_recorded(settings: dict[str, Any], fake_graphs: FakeGraphs) -> None:
    """Windows, step, sums and averages, kernel by kernel, as several GPUs or --random-bptt need them."""
    training = _Training(settings, "device")
    with Watch():
        for length in (T, T - 2, T):
            training.learner.step_at(0, 0.01, length)
            training.learner.average(0.3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_windows_and_sums_ask_for_nothing(dtype: Any) -> None:
    """Of each size of ids, with a window of its own length too."""
    ids = np.random.default_rng(0).integers(0, V, 50).astype(dtype)
    with Watch():
        feed, tally = ResidentFeed(Ring(ids, B, T, spare=2), slice(1, 3), CPU), StepSums(CPU)
        for position, length in ((0, None), (45, T + 2), (7, 1)):
            feed.at(position, length)
            tally.add(torch.ones(4), 1.0 if length is None else length / T)


class _Broken:
    """A count whose addition asks for the number: the fault that once kept every default run from a GPU."""

    @staticmethod
    def add(step: torch.Tensor, share: torch.Tensor) -> None:
        step += float(share)


def test_a_step_that_asks_is_not_recorded(fake_graphs: FakeGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was wrong is told in a line, the current stream is what it was, and nothing of the state has changed."""
    training = _Training({}, "graph")
    before = training.arrays()
    monkeypatch.setattr(updater, "_count", _Broken.add)
    with pytest.raises(RecordingFailed, match="_local_scalar_dense") as caught:
        training.step()
    assert "previous error" not in caught.value.message
    assert caught.value.hint is not None
    assert "CHARRNN_GRAPHS=0" in caught.value.hint
    assert fake_graphs.current == "the default stream"
    assert training.arrays() == before


def test_a_fault_of_the_step_itself_is_no_failed_recording(
    fake_graphs: FakeGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes up before anything is recorded, when the step is run to warm up."""

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(updater, "_count", full)
    with pytest.raises(torch.OutOfMemoryError):
        _Training({}, "graph").step()
    assert not fake_graphs.count


def test_numbers_from_another_generator_are_not_recorded(fake_graphs: FakeGraphs) -> None:
    """They would be the same in every replay."""
    array = torch.zeros(3)
    with pytest.raises(RecordingFailed, match="a generator that the graph does not know"):
        GraphRecorder(CPU).record([array.uniform_], [array])


def test_a_pool_is_shared_by_those_that_live(fake_graphs: FakeGraphs) -> None:
    """And another one begun where none of them does."""
    recorder, array = GraphRecorder(CPU), torch.zeros(3)
    first = recorder.record([partial(array.add_, 1.0)], [array])
    second = recorder.record([partial(array.add_, 2.0)], [array])
    assert array.tolist() == [0.0] * 3
    for graph in (*first, *second, *first):
        graph.replay()
    assert array.tolist() == [4.0] * 3
    del first, second, graph
    third = recorder.record([partial(array.add_, 3.0)], [array])
    assert len(third) == len(fake_graphs.graphs) == 1
    assert [pool is fake_graphs.pools[0] for pool in fake_graphs.pools] == [True, True, False]


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording is for NVIDIA's GPUs, and can be turned off."""
    monkeypatch.delenv("CHARRNN_GRAPHS", raising=False)
    assert [records_on(torch.device(name)) for name in ("cuda", "cpu", "mps")] == [True, False, False]
    monkeypatch.setenv("CHARRNN_GRAPHS", "0")
    assert not records_on(torch.device("cuda"))


def test_torchs_word_about_waits_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It warns once a process that it does not find every wait; the mode is put back however the test ends."""
    modes = []

    def set_mode(mode: str) -> None:
        if not modes:
            warnings.warn("Synchronization debug mode is a prototype feature", UserWarning, stacklevel=1)
        modes.append(mode)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    with pytest.raises(ValueError, match="inside"), nothing_waits():
        raise ValueError("inside")
    assert modes == ["error", "default"]


# The sampling loop.

CUTS: list[dict[str, Any]] = [{"temperature": 0.0}, {"temperature": 1.3, "top_k": 5, "top_p": 0.9}, {"min_p": 0.1}, {}]
SAMPLED: list[dict[str, Any]] = [
    {"layer_norm": True}, {"mogrifier": 3}, {"multiplicative": True}, {"skip": "dense"}, {"orthogonal": True},
]  # fmt: skip


def _stepper(*, has_end: bool = False, **settings: Any) -> tuple[TorchStepper, Any, Any]:
    model, _ = configured(settings)
    saved = tiny(documents="lines" if has_end else "none")
    shapes, random = parameter_shapes(model, len(saved.vocabulary)), np.random.default_rng(3)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["decoder.bias"][-1] += 4 * has_end  # so that it is drawn
    made = TorchStepper(replace(saved, model=model, parameters=arrays), CPU)
    logits, state = made.read([1, 2], made.zero_state(1))
    return made, np.repeat(logits, 3, 0), made.take(state, [0, 0, 0])


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Sampling as on a GPU."""
    monkeypatch.setattr(stepper, "records_on", lambda _device: True)
    return monkeypatch


@pytest.mark.parametrize("cuts", [CUTS[:3], CUTS[2:] + CUTS[3:]], ids=["cut", "whole"])
@pytest.mark.parametrize("has_end", [False, True], ids=["endless", "documents"])
@pytest.mark.parametrize("settings", [*({"cell": cell} for cell in CELLS), *SAMPLED], ids=str)
def test_the_recorded_loop_writes_what_the_step_writes(
    settings: dict[str, Any],
    cuts: list[dict[str, Any]],
    has_end: bool,
    fake_graphs: FakeGraphs,
    recording: pytest.MonkeyPatch,
) -> None:
    """The same ids, likelihoods, logits and states, bit for bit; it changes what it says, and where it writes."""
    configs = [SamplingConfig(**one) for one in cuts]
    uniforms = np.random.default_rng(0).random((20, 3))
    ours, logits, state = _stepper(has_end=has_end, **settings)
    pieces = [ours.write(logits, state, configs, uniforms[:7])]
    pieces.append(ours.write(pieces[0].logits, pieces[0].state, configs, uniforms[7:]))
    recording.setattr(stepper, "records_on", lambda _device: False)
    eager, logits, state = _stepper(has_end=has_end, **settings)
    whole = eager.write(logits, state, configs, uniforms)
    assert not has_end or (whole.ids == eager.model.end).any(), "an end has to be among what is drawn"
    assert len(fake_graphs.graphs) == 1
    np.testing.assert_array_equal(np.concatenate([one.ids for one in pieces]), whole.ids)
    np.testing.assert_array_equal(np.concatenate([one.log_probabilities for one in pieces]), whole.log_probabilities)
    np.testing.assert_array_equal(pieces[1].logits, whole.logits)
    for one, other in zip(pieces[1].state, whole.state, strict=True):
        assert all(map(torch.equal, one, other))
    loop = next(iter(ours._loops.values()))
    said = {_storage(one) for one in (loop.logits, loop._place, *(array for layer in loop.state for array in layer))}
    (graph,) = fake_graphs.graphs
    assert set(graph.written) == said | {_storage(loop._ids), _storage(loop._likely)}


def test_few_loops_are_kept_however_many_samples_end(fake_graphs: FakeGraphs, recording: pytest.MonkeyPatch) -> None:
    """Sixty-four samples that end one by one: seven graphs in all, two at a time, in one pool; the texts are the same
    as each by itself."""
    ours, logits, state = _stepper()
    logits, state = np.repeat(logits[:1], 64, 0), ours.take(state, [0] * 64)
    uniforms = np.random.default_rng(0).random((64, 64))
    alone = partial(ours.write, logits[:1], ours.take(state, [0]), [SamplingConfig()])
    wanted = {lane: alone(uniforms[: lane + 1, lane : lane + 1]).ids[:, 0] for lane in (0, 5, 40, 63)}
    written: dict[int, list[int]] = {lane: [] for lane in range(64)}
    lanes = list(range(64))
    ours._loops.clear()
    fake_graphs.count = 0
    fake_graphs.pools.clear()
    for t in range(64):
        out = ours.write(logits, state, [SamplingConfig()] * len(lanes), uniforms[t : t + 1, lanes])
        for place, lane in enumerate(lanes):
            written[lane].append(int(out.ids[0, place]))
        assert 1 <= len(ours._loops) == len(fake_graphs.graphs) <= 2
        going = [place for place, lane in enumerate(lanes) if lane > t]
        lanes, logits, state = [lanes[place] for place in going], out.logits[going], ours.take(out.state, going)
    assert fake_graphs.count == 7
    assert len(set(map(id, fake_graphs.pools))) == 1
    for lane, ids in wanted.items():
        assert written[lane] == ids.tolist()


def test_a_loop_that_cannot_be_recorded_says_so(fake_graphs: FakeGraphs, recording: pytest.MonkeyPatch) -> None:
    """And leaves the decision to whoever asked for the text."""
    recording.setattr(stepper, "_draw", lambda weights, uniform: torch.full_like(uniform, float(uniform[0])).long())
    ours, logits, state = _stepper()
    with pytest.raises(RecordingFailed):
        ours.write(logits, state, [SamplingConfig()] * 3, np.full((2, 3), 0.5))
