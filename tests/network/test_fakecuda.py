"""The program on a GPU that is not there: no operation mixes devices, and none that is recorded waits or copies.

Every cell, optimizer, precision and option is taken through a step, forward and backward, and then the rest of the
program: saving, resuming, scoring, sampling, whole commands. `fakecuda.py` says what is emulated, and what cannot be.

This needs a CUDA build of torch, and no GPU; with a CPU build it is skipped. By hand, in an environment of its own
(with its libraries such a torch is about 5 GB):

    python3 -m venv cuda && cuda/bin/pip install -e '.[test]'
    cuda/bin/python -m pytest tests/network/test_fakecuda.py

On Linux the wheel of torch that pip takes by default is a CUDA build.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor

from charrnn.cells import orthogonal
from charrnn.cells.names import NAMES
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.errors import RecordingFailed
from charrnn.evaluation import bpc, dynamic
from charrnn.evaluation.bpc import score
from charrnn.evaluation.dynamic_rule import DEFAULTS
from charrnn.network.model import CharacterModel
from charrnn.network.stepper import TorchStepper
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.training.feed import PinnedFeed, ResidentFeed, make_feed
from charrnn.training.lanes import Ring
from charrnn.training.learner import Learner
from charrnn.training.optimizers import updater
from charrnn.training.recipe import completed_training
from charrnn.training.tally import StepSums
from tests.kit.command import overriding
from tests.kit.every_option import OPTIMIZERS, OPTIONS
from tests.kit.fakecuda import FakeGPU, Found, fake_gpu
from tests.kit.fakedriver import GPU, Generator
from tests.kit.tiny import tiny

pytestmark = [
    pytest.mark.skipif(
        torch.version.cuda is None, reason="torch is a CPU build: how to run this by hand stands at the top of the file"
    ),
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and the tests marked gpu run on it"),
    pytest.mark.skipif(
        tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11),
        reason="fake tensors of older versions of torch look for a driver; this was written with 2.11",
    ),
]

T, B, V = 2, 6, 11
CELLS = NAMES
PRECISIONS = ["fp32", "tf32", "fp16"]

PARTS = [
    {"accumulate": 2},
    {"accumulate": 2, "temporal_penalty": 1.0, "model": {"variational_dropout": 0.3, "weight_drop": 0.4}},
    {"accumulate": 2, "model": {"cell": "gru", "zoneout": 0.2}},
]
ELSEWHERE: list[dict[str, Any]] = [
    {"num_layers": 3, "dropout": 0.2},
    {"cell": "gru", "weight_drop": 0.4},
    {"cell": "urnn", "zoneout": 0.2},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "schedule-free", "weight_decay": 0.0},
]
"""Beside those of `every_option`."""


@pytest.fixture
def gpu() -> Iterator[FakeGPU]:
    """The GPU that is not there."""
    with fake_gpu() as gpu:
        yield gpu


def _configured(model: dict[str, Any] | None = None, **training: Any) -> tuple[ModelConfig, TrainingConfig]:
    asked = completed_training({"batch_size": B, "bptt": T, "seed": 2, "precision": "fp16", **training})
    small = {"num_layers": 2, "hidden_size": 10, "embedding_size": 7, **(model or {})}
    return ModelConfig(**small), TrainingConfig(**asked)


def _learner(
    model: dict[str, Any] | None = None, *, device: torch.device = GPU, way: Any = "device", accumulate: int = 1,
    **training: Any,
) -> Learner:  # fmt: skip
    return Learner(*_configured(model, **training), V, device, way=way, accumulate=accumulate)


def _ids(length: int = T, device: torch.device = GPU) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(2, length, B, dtype=torch.int64, device=device)
    return ids[0], ids[1]


def _mixed(found: list[Found]) -> list[Found]:
    return [each for each in found if each.kind == "mixes"]


def _assert_steps(gpu: FakeGPU, learner: Learner, lengths: tuple[int, ...] = (T, T)) -> None:
    """Steps do nothing that a graph cannot hold, and each parameter that learns gets a gradient where it lies."""
    if learner.model.config.cell == "urnn":
        learner.step(*_ids(), 0.01)  # its permutation is copied once; a graph is recorded after some steps too
    for length in lengths:
        inputs = _ids(length)
        with gpu.watched() as found:
            outcome = learner.step(*inputs, 0.01)
            learner.average(0.3)
        assert found == []
        assert (outcome.device, outcome.dtype) == (GPU, torch.float32)
    for name, array in learner.model.arrays().items():
        assert array.device == GPU, name
        if array.requires_grad:
            assert array.grad is not None, name
            about = array.grad.device, array.grad.dtype, array.grad.shape
            assert about == (GPU, torch.float32, array.shape), name


# A step of training


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_stays_on_the_device(gpu: FakeGPU, cell: str, optimizer: str, precision: str) -> None:
    """Every cell under every optimizer in every precision, with dropout and resets, both of muon's kinds of step."""
    learner = _learner({"cell": cell, "dropout": 0.4}, optimizer=optimizer, precision=precision, state_reset=0.2)
    assert learner.precision == precision
    _assert_steps(gpu, learner)
    layers = {product.dtype for product in gpu.products if product.operation.startswith("_cudnn")}
    expected = torch.float16 if precision == "fp16" else torch.float32
    assert layers == (set() if cell == "urnn" else {expected})


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("settings", [*OPTIONS, *ELSEWHERE], ids=str)
def test_no_option_takes_a_step_off_the_device(gpu: FakeGPU, settings: dict[str, Any], precision: str) -> None:
    """Under autocast in both of muon's kinds of step, in fp32 in the one that finds directions."""
    _assert_steps(
        gpu, _learner(**_sorted(settings), precision=precision), lengths=(T, T) if precision == "fp16" else (T,)
    )


@pytest.mark.parametrize("case", PARTS, ids=str)
def test_a_step_in_parts_stays_on_the_device(gpu: FakeGPU, case: dict[str, Any]) -> None:
    """Each part of the lanes by itself."""
    _assert_steps(gpu, _learner(**case))


def test_windows_of_any_length_stay_on_the_device(gpu: FakeGPU) -> None:
    """As --random-bptt draws them, and one of a single character."""
    _assert_steps(gpu, _learner(random_bptt=True), lengths=(T, T + 2, 1))


def _sorted(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the model under one name."""
    own = ModelConfig.__dataclass_fields__
    model = {name: value for name, value in settings.items() if name in own}
    return {"model": model, **{name: value for name, value in settings.items() if name not in own}}


@pytest.mark.parametrize("settings", [
    *({"optimizer": name} for name in OPTIMIZERS), {"optimizer": "adamw", "cautious": False, "precision": "fp32"},
    {"model": {"cell": "urnn", "dropout": 0.4}}, {"model": {"cell": "gru", "zoneout": 0.2}, "accumulate": 2},
    {"model": {"orthogonal": True, "batch_norm": True}, "average": 0.1},
], ids=str)  # fmt: skip
def test_steps_are_recorded(gpu: FakeGPU, settings: dict[str, Any]) -> None:
    """By the recorder itself, where CUDA's rules hold: waits, copies and unregistered generators are errors."""
    learner = _learner(way=None, **settings)
    assert learner.way == "graph"
    for _ in range(3):
        assert learner.step(*_ids(), 0.01).device == GPU
    assert gpu.graphs >= (2 if settings.get("optimizer", "muon") == "muon" else 1)  # muon has two kinds of step


@pytest.mark.parametrize("kind", [ResidentFeed, PinnedFeed])
@pytest.mark.parametrize("way", ["graph", "device"])
def test_steps_take_their_windows_from_the_text(gpu: FakeGPU, kind: Any, way: str) -> None:
    """Windows and sums too are recorded where the text lies on the device; nothing waits beside the graph, and only
    windows from pinned memory are copied."""
    learner, tally = _learner(way=way), StepSums(GPU)
    learner.connect(kind(Ring(np.zeros(100, np.uint8), B, T), slice(0, B), GPU), [tally])
    for _ in range(2):  # recordings keep a copy of the state on the host
        learner.step_at(0, 0.01)
    with gpu.watched() as found:
        learner.step_at(T, 0.01)
        learner.step_at(2 * T, 0.01, T)
        learner.average(0.1)
    assert {each.kind for each in found} <= ({"copies"} if kind is PinnedFeed else set())
    assert tally.steps == 4


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_tf32_is_allowed_on_the_way_back_too(gpu: FakeGPU, cell: str) -> None:
    """In every product of the model, forward and backward; not in the update of the weights, here without products."""
    learner = _learner({"cell": cell}, optimizer="adamw", precision="tf32")
    with gpu.watched():
        learner.step(*_ids(), 0.01)
    assert {product.is_backward for product in gpu.products} == {False, True}
    assert all(product.is_tf32 for product in gpu.products), gpu.products
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tf32_is_not_allowed_where_it_was_not_asked_for(gpu: FakeGPU, precision: str) -> None:
    """In no product, forward or backward."""
    learner = _learner(precision=precision)
    with gpu.watched():
        learner.step(*_ids(), 0.01)
    assert {product.is_backward for product in gpu.products} == {False, True}
    assert not any(product.is_tf32 for product in gpu.products)


# The rest of the program


VARIED: list[dict[str, Any]] = [
    {},
    {"optimizer": "schedule-free"},
    {"optimizer": "sgd", "precision": "fp32"},
    {"optimizer": "rmsprop"},
    {"model": {"cell": "gru", "orthogonal": True}, "average": 0.1},
    {"model": {"cell": "rnn", "batch_norm": True}, "freeze": "recurrent"},
    {"model": {"cell": "urnn"}, "optimizer": "adamw"},
]


@pytest.mark.parametrize("settings", VARIED, ids=str)
def test_a_learner_is_saved_and_loaded(gpu: FakeGPU, settings: dict[str, Any]) -> None:
    """Its state is the same names and shapes after it was loaded by another; averages change places on the device."""
    one, other = _learner(**settings), _learner(**settings)
    with gpu.watched() as found:
        one.step(*_ids(), 0.01)
        state = one.state()
        other.load(one.model.numpy_arrays(), state)
        with other.averaged():
            other.model.numpy_arrays()
        other.step(*_ids(), 0.01)
        again = other.state()
    assert _mixed(found) == []
    shapes = [{name: (array.shape, array.dtype) for name, array in each.items()} for each in (state, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_of_a_cpu_goes_on_on_a_gpu(gpu: FakeGPU, precision: str) -> None:
    """What a learner of the CPU saves is loaded, and the next step stays on the device."""
    before = _learner(device=torch.device("cpu"), way=None, precision="fp32")
    before.step(*_ids(device=torch.device("cpu")), 0.01)
    after = _learner(precision=precision)
    after.load(before.model.numpy_arrays(), before.state())
    _assert_steps(gpu, after)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_of_a_gpu_goes_on_on_a_cpu(gpu: FakeGPU, precision: str) -> None:
    """The other way round."""
    before = _learner(precision=precision)
    before.step(*_ids(), 0.01)
    after = _learner(device=torch.device("cpu"), way=None, precision="fp32")
    after.load(before.model.numpy_arrays(), before.state())
    after.step(*_ids(device=torch.device("cpu")), 0.01)


SCORED: list[dict[str, Any]] = [
    *({"cell": cell} for cell in CELLS),
    {"cell": "rnn", "activation": "relu"},
    {"cell": "rnn", "activation": "modrelu", "layer_norm": True},
    {"batch_norm": True},
    {"orthogonal": True},
    {"mogrifier": 2, "skip": "dense", "zoneout": 0.1},
]


@pytest.mark.parametrize("model", SCORED, ids=str)
def test_scoring_mixes_no_devices(gpu: FakeGPU, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamed in lanes with their warm-up, and windowed with a shorter last window; the count is the text's."""
    monkeypatch.setattr(bpc, "WARM_UP", 5)  # so that a short text has two lanes
    learner = _learner(model)
    ids = np.zeros(24, np.uint16)
    with gpu.watched() as found, learner.averaged():
        streamed = score(learner.model, ids, lanes=2, window=7)
        windowed = score(learner.model, ids, context=7, lanes=3, window=4)
    assert (streamed.characters, windowed.characters) == (23, 20)
    assert _mixed(found) == []
    assert not any(product.is_backward for product in gpu.products)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_scoring_runs_layers_in_evaluation_mode(gpu: FakeGPU, cell: str) -> None:
    """cuDNN keeps nothing for a way back; afterwards training goes on."""
    learner = _learner({"cell": cell})
    with gpu.watched():
        score(learner.model, np.zeros(50, np.uint8))
        score(learner.model, np.zeros(50, np.uint8), context=20)
    modes = [product.is_training for product in gpu.products if product.operation == "_cudnn_rnn"]
    assert modes
    assert not any(modes)
    learner.step(*_ids(), 0.01)


@pytest.mark.parametrize("rule", list(DEFAULTS))
@pytest.mark.parametrize("cell", CELLS)
def test_dynamic_evaluation_learns_on_the_device(gpu: FakeGPU, cell: str, rule: str) -> None:
    """Statistics, segments, updates and the weights put back, after a score, as `eval` does it."""
    model = _learner({"cell": cell}).model
    ids = np.zeros(18, np.uint8)
    with gpu.watched() as found:
        assert score(model, ids).characters == 17
        squares = dynamic.gradient_statistics(model, ids, segment=2, lanes=3, segments=2)
        found_score = dynamic.score_dynamic(model, ids, replace(DEFAULTS[rule], segment=6), squares)
    assert found_score.characters == 17
    assert {array.device for array in squares} == {GPU}
    assert _mixed(found) == []
    assert any(product.is_backward for product in gpu.products)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_windows_come_without_waiting(gpu: FakeGPU, dtype: Any) -> None:
    """From the text on the device without a copy, and from pinned memory with one; of each length, for some lanes."""
    ring = Ring(np.zeros(500, dtype), 4, 9, spare=3)
    assert isinstance(make_feed(ring, slice(0, 4), GPU), ResidentFeed)
    for kind, allowed in ((ResidentFeed, set()), (PinnedFeed, {"copies"})):
        feed = kind(ring, slice(1, 4), GPU)
        for turn, length in enumerate((None, 9, 1, 12)):
            with gpu.watched() as found:
                inputs, targets, _ = feed.at(9 * turn, length)
            assert {each.kind for each in found} <= allowed
            for ids in (inputs, targets):
                assert (ids.device, ids.dtype, ids.shape) == (GPU, torch.int64, (length or 9, 3))


def test_sums_are_made_on_the_device(gpu: FakeGPU) -> None:
    """Adding to a tally and clearing it neither waits nor copies; reading it does."""
    tally, other = StepSums(GPU), StepSums(GPU)
    with gpu.watched() as found:
        for _ in range(3):
            tally.add(torch.zeros(4, device=GPU), 0.5)
    assert found == []
    with gpu.watched() as found:
        assert tally.means()["nats"] == 0.0
        other.load(tally.to_numpy())
    assert {each.kind for each in found} == {"copies", "waits"}
    assert (other.steps, other.windows) == (3, 1.5)
    with gpu.watched() as found:
        other.clear()
    assert found == []


@pytest.mark.parametrize("on_host", [True, False], ids=["starts of the host", "starts of the device"])
@pytest.mark.parametrize("cell", CELLS)
def test_documents_that_end_in_a_window_stay_on_the_device(gpu: FakeGPU, cell: str, on_host: bool) -> None:
    """A kernel reads them in pieces, as the host says where; only where it must ask, it waits. A loop asks nothing."""
    config, _ = _configured({"cell": cell})
    model = CharacterModel(config, V, V - 1).to(GPU)
    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[1, 2] = True
    state, (ids, _) = model.zero_state(B), _ids()
    if cell == "urnn":
        model(ids, state)  # its permutation is copied once
    with gpu.watched() as found, torch.autocast("cuda", torch.float16):
        logits, after = model(ids, state, starts=starts if on_host else None)
    logits.float().sum().backward()
    assert (tuple(logits.shape), logits.device) == ((T, B, V), GPU)
    assert [tuple(array.shape) for layer in after for array in layer] == [(B, 10) for layer in state for _ in layer]
    assert all(array.grad is not None for array in model.arrays().values() if array.requires_grad)
    kinds = {each.kind for each in found}
    asks = cell != "urnn" and not on_host
    assert kinds == ({"copies"} if on_host else {"copies", "waits"} if asks else set())


@pytest.mark.parametrize(
    "model", [{"cell": "urnn"}, {"layer_norm": True}, {"cell": "gru", "zoneout": 0.1}, {"cell": "rnn"}], ids=str
)
def test_a_step_on_documents_stays_on_the_device(gpu: FakeGPU, model: dict[str, Any]) -> None:
    """A loop finds where documents end by itself and asks for nothing; a kernel waits to be told."""
    learner = Learner(*_configured(model, temporal_penalty=0.5), V, GPU, end=V - 1)
    assert learner.way == ("device" if model == {"cell": "rnn"} else "graph")
    if learner.way == "graph":
        learner = Learner(*_configured(model, temporal_penalty=0.5), V, GPU, way="device", end=V - 1)
        _assert_steps(gpu, learner)
        return
    with gpu.watched() as found:
        learner.step(*_ids(), 0.01)
    assert _mixed(found) == []
    assert all(array.grad is not None for array in learner.model.arrays().values() if array.requires_grad)


@pytest.mark.parametrize("has_end", [False, True], ids=["endless", "documents"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_of_a_sample_is_recorded(gpu: FakeGPU, cell: str, has_end: bool) -> None:
    """With and without cuts to the likeliest, alone and in lanes, where waits and copies are errors; ids come back."""
    checkpoint = tiny(cell=cell, documents="lines" if has_end else "none")
    stepper = TorchStepper(checkpoint, GPU)
    V = len(checkpoint.vocabulary)
    with gpu.watched() as found:
        logits, state = stepper.read([1, 2], stepper.zero_state(1))
        for count, settings in enumerate([{}, {"top_k": 3}, {"top_p": 0.9, "min_p": 0.1}], start=1):
            configs = [SamplingConfig(**settings)] * count
            lanes = stepper.take(state, [0] * count)
            written = stepper.write(np.repeat(logits, count, 0), lanes, configs, np.full((4, count), 0.5))
            assert written.ids.shape == (4, count)
            assert written.logits.shape == (count, V)
            assert {array.device for layer in written.state for array in layer} == {GPU}
    assert gpu.graphs >= 3
    assert _mixed(found) == []


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_is_scored_with_one_answer_that_is_waited_for(gpu: FakeGPU, cell: str) -> None:
    """In one lane and in several, from a state and logits on."""
    stepper = TorchStepper(tiny(cell=cell), GPU)
    first = stepper.score([1, 2, 3], stepper.zero_state(1))
    with gpu.watched() as found:
        second = stepper.score([4, 5, 6, 7], first.state, first.logits)
    assert _mixed(found) == []
    assert (
        len([each for each in found if each.kind == "waits"]) <= 4
    )  # ids and logits there, likelihoods and logits back
    assert second.log_probabilities.shape == (4,)
    lanes = stepper.score(np.ones((3, 2), int), stepper.zero_state(2))
    assert (lanes.log_probabilities.shape, lanes.logits.shape) == ((3, 2), first.logits.repeat(2, 0).shape)


def test_a_recording_that_waits_fails_and_says_so(gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(updater, "_count", lambda step, share: step.add_(float(share)))
    with pytest.raises(RecordingFailed, match="stream is capturing"):
        _learner(way=None).step(*_ids(), 0.01)


def test_orthogonal_matrices_are_made_in_float32(gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most GPUs take 32 to 64 times as long for float64."""
    seen, on_device = set(), orthogonal.exponential_on_device
    monkeypatch.setattr(orthogonal, "exponential_on_device", lambda x: seen.add((x.dtype, x.device)) or on_device(x))
    _learner({"orthogonal": True}).step(*_ids(), 0.01)
    assert seen == {(torch.float32, GPU)}


@pytest.mark.parametrize("words", [
    ["--cell", "lstm", "--dropout", "0.3", "--layers", "2"],
    ["--cell", "gru", "--optimizer", "sgd", "--precision", "fp32"],
    ["--cell", "rnn", "--random-bptt", "--precision", "tf32", "--accumulate", "2"],
    ["--cell", "urnn", "--optimizer", "schedule-free", "--sample-every", "0"],  # numpy minds zeros
    ["--cell", "lstm", "--orthogonal", "--batch-norm", "--optimizer", "rmsprop"],
], ids=str)  # fmt: skip
def test_a_run_is_made_resumed_scored_and_sampled_from(
    text_file: Callable[..., Path], command: Callable[..., tuple[int, str, str]], words: list[str]
) -> None:
    """By the commands, with files: validation, samples and checkpoints on the way; nothing mixes devices."""
    text, held_out = str(text_file(200)), str(text_file(12, "held_out.txt"))
    sizes = ["--hidden", "8", "--embedding", "5", "--layers", "1", "--batch", "4", "--bptt", "3"]
    pace = ["--log-every", "2", "--validate-every", "2", "--sample-every", "2", "--sample-length", "5"]
    train = overriding(["train", text, "--out", "run", "--device", "cuda", *sizes, *pace], words)
    given = ["-c", "run", "--device", "cuda"]
    commands = [
        [*train, "--steps", "2"],
        [*train, "--steps", "3"],
        ["eval", held_out, *given],
        ["sample", *given, "--length", "9", "--top-k", "3"],
    ]
    for more in commands:
        with fake_gpu() as gpu, gpu.watched() as found:
            status, out, err = command(*more)
        assert status == 0, err
        assert _mixed(found) == []
        if more == commands[1]:
            assert "exact resume at step 2" in err
    assert len(out) >= 9
    last = checkpoints.load(Path("run/last.safetensors"), with_state=True)
    assert last.progress["step"] == 3
    assert last.environment["gpu"] == "NVIDIA H100"


@pytest.mark.parametrize("rule", list(DEFAULTS))
def test_a_run_of_the_cpu_is_scored_on_the_gpu(
    text_file: Callable[..., Path], command: Callable[..., tuple[int, str, str]], rule: str
) -> None:
    """By `eval`, plain and learning from the text as it goes."""
    text, held_out = str(text_file(600)), str(text_file(60, "held_out.txt"))
    assert command("train", text, "--out", "run", "--hidden", "8", "--bptt", "5", "--steps", "3")[0] == 0
    statistics = ["--statistics", text] if rule == "rms" else []
    for how in (
        [],
        ["--protocol", "windowed", "--context", "30"],
        ["--dynamic", rule, *statistics, "--lr", "0.001", "--prior", "0.01"],
    ):
        with fake_gpu() as gpu, gpu.watched() as found:
            status, _, err = command("eval", held_out, "-c", "run", "--device", "cuda", *how)
        assert status == 0, err
        assert _mixed(found) == []


# The emulation itself: each check can fail


def test_an_operation_that_mixes_devices_is_found(gpu: FakeGPU) -> None:
    """By the watch and by torch; a number of the host beside a tensor of the GPU is none, but in a copy by index is."""
    ours, host = torch.zeros(3, device=GPU), torch.zeros(3)
    with gpu.watched() as found, pytest.raises(RuntimeError, match=r"two (different )?devices"):
        ours + host
    assert [(each.kind, each.operation) for each in found] == [("mixes", "add")]
    assert "test_fakecuda.py" in found[0].place
    with gpu.watched() as found:
        assert (ours * torch.tensor(2.0)).device == GPU
    assert found == []
    with gpu.watched() as found:
        ours[torch.tensor([0, 2])]
    assert [each.kind for each in found] == ["mixes"]
    with gpu.watched() as found, contextlib.suppress(RuntimeError):
        torch._foreach_add_([ours], [host])
    assert [each.kind for each in found] == ["mixes"]


@pytest.mark.parametrize("ask", [
    lambda x: x.sum().item(), lambda x: float(x[0]), lambda x: bool(x[0] > 0), lambda x: x.tolist(),
    lambda x: torch._foreach_add_([x], x[0]), lambda x: x.cpu(), lambda x: x.copy_(torch.zeros(3)),
    lambda x: torch.zeros(3).copy_(x), lambda x: torch.tensor([1.0], device=GPU), lambda x: torch.cuda.synchronize(),
])  # fmt: skip
def test_a_wait_for_the_device_is_found(gpu: FakeGPU, ask: Callable[[Tensor], Any]) -> None:
    """Where the host asks for a number or copies, and the answer is zero; in what is recorded it is an error."""
    x = torch.zeros(3, device=GPU)
    with gpu.watched() as found:
        answer = ask(x)
    assert "waits" in {each.kind for each in found}
    if isinstance(answer, float | bool):
        assert not answer
    with (
        pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        ask(x)


@pytest.mark.parametrize("ask", [
    lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: torch.equal(x, x), lambda x: x.unique(),
    lambda x: x.masked_select(x > 0), lambda x: x.index_put_((x > 0,), torch.ones(3, device=GPU)),
])  # fmt: skip
def test_what_depends_on_numbers_is_found(gpu: FakeGPU, ask: Callable[[Tensor], Any]) -> None:
    """Masks as indices above all; torch has no answer to most of these without numbers."""
    x = torch.zeros(3, device=GPU)
    unknown = (fake_tensor.DynamicOutputShapeException, fake_tensor.DataDependentOutputException, RuntimeError)
    with gpu.watched() as found, contextlib.suppress(*unknown):
        ask(x)
    assert "waits" in {each.kind for each in found}


def test_a_copy_that_does_not_wait_is_a_copy_all_the_same(gpu: FakeGPU) -> None:
    """It is found, but not as a wait; one value at the places of a mask is neither."""
    with gpu.watched() as found:
        torch.zeros(3).to(GPU, non_blocking=True)
        x = torch.zeros(3, device=GPU).copy_(torch.zeros(3), non_blocking=True)
    assert {each.kind for each in found} == {"copies"}
    with gpu.watched() as found:
        x[x > 0] = 1.0
        torch.where(x > 0, 0.0, x)
    assert "waits" not in {each.kind for each in found}


def _layer() -> tuple[nn.LSTM, Tensor]:
    return nn.LSTM(4, 5).to(GPU), torch.zeros(T, B, 4, device=GPU)


def test_layers_of_cudnn_are_as_particular_as_on_a_gpu(gpu: FakeGPU) -> None:
    """A state that is not contiguous, one of another type, one of the host, and scattered weights are not taken."""
    layer, x = _layer()
    good = torch.zeros(1, B, 5, device=GPU)
    layer(x, (good, good))
    for bad, message in [
        (torch.zeros(1, 5, B, device=GPU).mT, "hx is not contiguous"),
        (torch.zeros(1, B, 5, dtype=torch.float16, device=GPU), "not the same dtype"),
        (torch.zeros(1, B, 5), "not at the same device"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            layer(x, (bad, good))
    layer.weight_hh_l0 = nn.Parameter(torch.zeros(20, 5, device=GPU))
    with pytest.warns(UserWarning, match="not part of single contiguous chunk"):
        layer(x, (good, good))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_layer_of_evaluation_mode_has_no_way_back(gpu: FakeGPU, kind: Any) -> None:
    """cuDNN refuses it; in training mode every weight gets its gradient."""
    layer, x = kind(4, 5).to(GPU), torch.zeros(T, B, 4, device=GPU)
    layer.eval()
    output, _ = layer(x)
    with pytest.raises(RuntimeError, match="only be called in training mode"):
        output.sum().backward()
    layer.train()
    with torch.autocast("cuda", torch.float16):
        output, _ = layer(x)
    assert output.dtype == torch.float16
    output.float().sum().backward()
    for weight in layer.parameters():
        assert weight.grad is not None
        assert (weight.grad.device, weight.grad.dtype, weight.grad.shape) == (GPU, torch.float32, weight.shape)


def test_gradients_are_those_of_torchs_engine(gpu: FakeGPU) -> None:
    """Which leaves have one, of which shape and type: on the CPU by torch, on the GPU by what is in its place."""

    class Halves(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, factor: float, y: Tensor) -> tuple[Tensor, Tensor]:
            return x * factor, y * factor

        @staticmethod
        def backward(ctx: Any, x: Tensor, y: Tensor) -> tuple[Tensor, None, Tensor]:
            return x + y.sum(), None, y + x.sum()

    abouts = []
    for device in (torch.device("cpu"), GPU):
        leaves = [torch.zeros(shape, device=device, requires_grad=True) for shape in ((2, 3), (3,), (3, 4), (5,))]
        a, b, c, unused = leaves
        left, _ = Halves.apply(a * b, 0.5, b)  # type: ignore[no-untyped-call]
        loss = (left @ c).square().mean() + a[0].sum() + torch.cat([a, a.detach()]).sum()
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        again = torch.autograd.grad((a * 2).sum(), leaves, allow_unused=True, materialize_grads=True)
        (a.sum() + b.half().sum()).backward()
        (a * 2).sum().backward()
        every = [*gradients, *again, *(leaf.grad for leaf in leaves)]
        abouts.append([None if one is None else (one.shape, one.dtype, one.device == device) for one in every])
        with pytest.raises(RuntimeError, match="not have been used"):
            torch.autograd.grad((a * 2).sum(), [unused])
    assert abouts[0] == abouts[1]


def test_generators_are_of_a_device(gpu: FakeGPU) -> None:
    """One of the CPU does not draw on the GPU; their states differ in size; a graph has to know its own."""
    ours, theirs = torch.Generator(GPU).manual_seed(3), torch.Generator().manual_seed(3)
    assert isinstance(ours, Generator)
    assert (ours.device, theirs.device) == (GPU, torch.device("cpu"))
    x = torch.zeros(3, device=GPU)
    with pytest.raises(RuntimeError, match="device type for generator"):
        x.uniform_(0, 1, generator=theirs)
    for one, other in ((ours, theirs), (theirs, ours)):
        one.set_state(one.get_state())
        with pytest.raises((RuntimeError, TypeError)):
            one.set_state(other.get_state())
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="not in capture mode"), torch.cuda.graph(graph):
        x.uniform_(0, 1, generator=ours)
    graph.register_generator_state(ours)
    with torch.cuda.graph(graph):
        x.uniform_(0, 1, generator=ours)


def test_numbers_of_the_cpu_stay(gpu: FakeGPU) -> None:
    """Tensors of the CPU are real; a model is moved as a whole, shared weights once; no numpy without a copy."""
    assert torch.arange(4).sum().item() == 6
    assert np.asarray(torch.from_numpy(np.arange(3))).tolist() == [0, 1, 2]
    model = nn.Linear(3, 3)
    model.other = model.weight
    model.to(GPU)
    assert model.weight is model.other
    assert {array.device for array in model.parameters()} == {GPU}
    with pytest.raises(TypeError, match="can't convert"):
        model.weight.detach().numpy()
    assert not model.weight.detach().cpu().numpy().any()


def test_the_gpu_is_gone_afterwards() -> None:
    """Nothing of it is left in torch."""
    before = torch.Generator, torch.cuda.is_available, nn.Module.to, torch.cuda.graph
    with fake_gpu():
        assert torch.cuda.is_available()
    assert before == (torch.Generator, torch.cuda.is_available, nn.Module.to, torch.cuda.graph)
    assert type(torch.zeros(2)) is Tensor
