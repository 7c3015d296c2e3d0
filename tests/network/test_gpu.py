"""On an NVIDIA GPU: the same numbers as on a CPU, exact resume with dropout, no waiting. Skipped without one.

Shapes are what the fast kernels ask for where that matters, and odd where it does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.registry import make_cell
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.errors import ResourceError
from charrnn.evaluation.bpc import score
from charrnn.events import Finished, Notice, Validated
from charrnn.inference.reference import Network
from charrnn.network import device as devices
from charrnn.network.cudnn import expected
from charrnn.network.device import describe_gpu, describe_machine
from charrnn.network.layers import KernelLayer
from charrnn.network.model import CharacterModel
from charrnn.network.open_engine import open_engine
from charrnn.network.precision import LossScale, choose_precision
from charrnn.network.stepper import TorchStepper
from charrnn.sampling.sampler import SampleRequest, sample, write
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text import corpus as corpora
from charrnn.text.corpus import Corpus
from charrnn.text.sources import Source
from charrnn.training.feed import Feed, HostFeed, PinnedFeed, ResidentFeed
from charrnn.training.lanes import Ring
from charrnn.training.learner import Learner
from charrnn.training.plan import TrainRequest, plan_resume, plan_start
from charrnn.training.recipe import completed_training
from charrnn.training.step_mode import Way
from charrnn.training.tally import StepSums
from charrnn.training.trainer import Trainer
from tests.kit.every_option import OPTIONS, configured
from tests.kit.runs_compared import assert_same_run
from tests.kit.ten_steps import CELLS, OPTIMIZERS, assert_ten_steps_agree, make_learner
from tests.kit.tiny import tiny
from tests.kit.waits import nothing_waits

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]

T, B, V = 12, 8, 11
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _prepared() -> None:
    devices.prepare(CUDA, None)


def _learner(
    cell: str = "lstm",
    device: torch.device = CUDA,
    *,
    way: Way | None = None,
    accumulate: int = 1,
    hidden: int = 20,
    embedding: int = 7,
    dropout: float = 0.0,
    **settings: Any,
) -> Learner:
    model = ModelConfig(
        cell=cell, num_layers=2, hidden_size=hidden, embedding_size=embedding, dropout=dropout  # type: ignore[arg-type]
    )  # fmt: skip
    asked = completed_training({"batch_size": B, "bptt": T, "seed": 2, "precision": "fp32", **settings})
    training = TrainingConfig(**asked)
    return Learner(model, training, V, device, way=way, accumulate=accumulate)


def _windows(count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (count, T + 1, B)))
    return ((window[:-1], window[1:]) for window in ids)


def _assert_equal(one: Learner, other: Learner) -> None:
    """Every array of both, bit for bit."""
    ours, theirs = ({**each.model.numpy_arrays(), **each.state()} for each in (one, other))
    assert list(ours) == list(theirs)
    different = [name for name, array in ours.items() if array.tobytes() != theirs[name].tobytes()]
    assert not different


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cell", CELLS)
def test_ten_steps_on_the_gpu_are_ten_steps_on_the_cpu(cell: str, optimizer: str) -> None:
    """Losses agree to 1e-4 and weights to 1e-3 after ten updates from the same seed, in fp32 without resets."""
    assert_ten_steps_agree([make_learner(cell, optimizer, device) for device in (torch.device("cpu"), CUDA)], optimizer)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw", "schedule-free"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_graph_is_its_eager_twin(cell: str, optimizer: str, precision: str) -> None:
    """Bit for bit after nine steps, with dropout, resets and averages: weights, moments, carry, scale, generator."""
    settings: dict[str, Any] = {"optimizer": optimizer, "precision": precision, "dropout": 0.4, "state_reset": 0.2}
    if precision == "fp16":
        settings |= {"hidden": 256, "embedding": 128}
    graph, twin = _learner(cell, **settings), _learner(cell, way="device", **settings)
    assert graph.way == "graph"
    for n, window in enumerate(_windows(9)):
        reports = [learner.step(*window, 0.01 / (n + 1)) for learner in (graph, twin)]
        for learner in (graph, twin):
            learner.average(0.3)
        assert torch.equal(*reports)
    _assert_equal(graph, twin)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("wiring", [{"skip": "dense"}, {"skip": "sum", "tie": True, "embedding_size": 20}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_dropped_and_penalised_is_recorded_too(cell: str, wiring: dict[str, Any], precision: str) -> None:
    """Variational, weight and embedding dropout, skips, ties and penalties: graph and eager twin, bit for bit."""
    dropped = {"variational_dropout": 0.3, "weight_drop": 0.4, "embedding_dropout": 0.2}
    model = ModelConfig(
        **{"cell": cell, "num_layers": 2, "hidden_size": 20, "embedding_size": 7, **dropped, **wiring}  # type: ignore[arg-type]
    )
    penalties = {"activation_penalty": 2.0, "temporal_penalty": 1.0, "orthogonal_penalty": 0.01, "l2": 0.01}
    penalties |= {"jacobian_penalty": 0.5} if cell == "rnn" else {}
    training = TrainingConfig(batch_size=B, bptt=T, seed=2, precision=precision, **penalties)  # type: ignore[arg-type]
    graph, twin = (Learner(model, training, V, CUDA, way=way) for way in (None, "device"))  # type: ignore[arg-type]
    assert graph.way == "graph"
    for window in _windows(9):
        outcomes = [learner.step(*window, 0.01) for learner in (graph, twin)]
        assert torch.equal(outcomes[0], outcomes[1])
    _assert_equal(graph, twin)


@pytest.mark.parametrize("freeze", ["none", "recurrent", "echo"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_what_does_not_learn_is_recorded_too(cell: str, batch_norm: bool, freeze: str) -> None:
    """Frozen weights, and running statistics that a step measures: graph and eager twin, bit for bit."""
    model = ModelConfig(cell=cell, num_layers=2, hidden_size=20, embedding_size=7, batch_norm=batch_norm)  # type: ignore[arg-type]
    training = TrainingConfig(batch_size=B, bptt=T, seed=2, precision="fp16", freeze=freeze)  # type: ignore[arg-type]
    graph, twin = (Learner(model, training, V, CUDA, way=way) for way in (None, "device"))  # type: ignore[arg-type]
    for window in _windows(9):
        outcomes = [learner.step(*window, 0.01) for learner in (graph, twin)]
        assert torch.equal(outcomes[0], outcomes[1])
    _assert_equal(graph, twin)


@pytest.mark.parametrize("cell", CELLS)
def test_dropped_weights_are_the_cpus(cell: str) -> None:
    """A layer under factors of its recurrent matrix: outputs and gradients of the kernel and of the plain loop."""
    torch.manual_seed(0)
    layer = KernelLayer(make_cell(ModelConfig(cell=cell)), 5, 8).to(CUDA)  # type: ignore[arg-type]
    x, factors = (
        torch.randn(T, B, 5, device=CUDA),
        torch.randint(2, layer.arrays()["weight_hh"].shape, device=CUDA) * 2.0,
    )
    state = layer.cell.zero_state(layer.arrays(), B)
    output, _ = layer(x, state, factors=factors)
    p = {**layer.arrays(), "weight_hh": layer.arrays()["weight_hh"] * factors}
    outputs = []
    for x_t in x:
        state = layer.cell.step(p, x_t, state)
        outputs.append(state[0])
    expected = torch.stack(outputs)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    parameters = list(layer.arrays().values())
    found, wanted = (torch.autograd.grad(y.square().sum(), parameters) for y in (output, expected))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_in_parts_is_the_step_in_one_piece(cell: str) -> None:
    """With dropout and resets, to 1e-4 after eight steps."""
    learners = [_learner(cell, accumulate=parts, dropout=0.4, state_reset=0.2) for parts in (1, 3)]
    for window in _windows(8):
        reports = [learner.step(*window, 0.01) for learner in learners]
        torch.testing.assert_close(*reports, rtol=1e-4, atol=1e-4)


def test_fp16_learns_as_fp32_does(text_file: Callable[..., Path]) -> None:
    """Over 200 steps on a text the two loss curves stay within 0.05 nats of each other, and both fall by a third."""
    corpus = corpora.load([Source(text_file(20_000), "text.txt")], DataConfig(), name="text")
    ring = Ring(corpus.ids, 16, 32)
    curves = []
    precisions: tuple[Any, ...] = ("fp32", "fp16")
    for precision in precisions:
        model = ModelConfig(num_layers=2, hidden_size=256, embedding_size=128)
        training = TrainingConfig(batch_size=16, bptt=32, precision=precision)
        learner = Learner(model, training, len(corpus.vocabulary), CUDA)
        outcomes = [learner.step(*ring.at(step * ring.window)[:2], 3e-3) for step in range(200)]
        assert sum(outcome[3].item() for outcome in outcomes) < 10
        curves.append(np.array([outcome[0].item() for outcome in outcomes]).reshape(20, 10).mean(1))
    assert np.abs(curves[0] - curves[1]).max() < 0.05
    assert all(curve[-1] < 2 / 3 * curve[0] for curve in curves)


def test_overflow_is_skipped_on_the_device_and_counted() -> None:
    """In a recorded step, from a scale that is too large: nothing changes until it fits; then training goes on."""
    learner = _learner(precision="fp16", hidden=256, embedding=128)
    assert learner._scale is not None
    learner._scale.load(np.array([2.0**40, 0]))
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    (window,) = _windows(1)
    skipped = 0
    for _ in range(60):
        outcome = learner.step(*window, 0.01)
        if not outcome[3]:
            break
        skipped += 1
        for name, array in learner.model.numpy_arrays().items():
            np.testing.assert_array_equal(array, before[name])
    assert 0 < skipped < 60
    assert float(learner._scale.scale) == 2.0 ** (40 - skipped)
    assert torch.isfinite(outcome).all()
    assert any((array != before[name]).any() for name, array in learner.model.numpy_arrays().items())


def test_a_bad_update_is_skipped_on_the_device() -> None:
    """Weights and moments stay when the loss is not finite, and the report says so."""
    learner = _learner()
    first, second = _windows(2)
    learner.step(*first, 0.01)
    with torch.no_grad():
        learner.model.arrays()["decoder.bias"][0] = float("nan")
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items() if name != "decoder.bias"}
    assert torch.isnan(learner.step(*second, 0.01)[0])
    after = learner.model.numpy_arrays()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


@pytest.mark.parametrize("feed", [ResidentFeed, PinnedFeed])
@pytest.mark.parametrize("way", ["graph", "device"])
def test_nothing_waits_inside_a_step(way: Way, feed: type[ResidentFeed | PinnedFeed]) -> None:
    """Window, step, sums and averages without a synchronisation: torch would raise at one."""
    learner = _learner(precision="fp16", hidden=256, embedding=128, dropout=0.3, way=way)
    tally = _connect(learner, feed)

    def steps(count: int) -> None:
        for step in range(count):
            length = T if way == "graph" else T + step % 3  # a graph has one shape
            learner.step_at(step * T, 0.01, length)
            learner.average(0.1)

    steps(4)  # records
    torch.cuda.synchronize()
    with nothing_waits():
        steps(6)
    assert np.isfinite(tally.means()["nats"])


def _connect(learner: Learner, feed: type[ResidentFeed | PinnedFeed] = ResidentFeed) -> StepSums:
    ring = Ring(np.random.default_rng(0).integers(0, V, 5000).astype(np.uint8), B, T, spare=2)
    tally = StepSums(CUDA)
    learner.connect(feed(ring, slice(0, B), CUDA), [tally])
    return tally


@pytest.mark.parametrize("feed", [ResidentFeed, PinnedFeed])
@pytest.mark.parametrize(
    "settings", [*({"optimizer": one} for one in ("muon", "adamw", "schedule-free")), *OPTIONS], ids=str
)
def test_every_option_is_recorded(settings: dict[str, Any], feed: type[ResidentFeed | PinnedFeed]) -> None:
    """Graph and eager twin over six steps of a text, sums included, bit for bit, in fp16."""
    if feed is PinnedFeed and settings not in ({"optimizer": "muon"}, {"dropout": 0.3}):
        pytest.skip("where windows come from does not depend on the setting")
    model, training = configured({**settings, "precision": "fp16", "batch_size": B, "bptt": T})
    twins = [Learner(model, training, V, CUDA, way=way) for way in (None, "device")]  # type: ignore[arg-type]
    assert twins[0].way == "graph"
    tallies = [_connect(learner, feed) for learner in twins]
    for step in range(6):
        for learner in twins:
            learner.step_at(step * T, 0.01 / (step + 1))
            learner.average(0.3)
    _assert_equal(*twins)
    assert tallies[0].to_numpy().tobytes() == tallies[1].to_numpy().tobytes()


def test_recording_takes_hardly_more_memory_than_the_steps() -> None:
    """All kinds of steps warm up before the first is recorded, and what they change is kept elsewhere meanwhile."""
    peaks = []
    for way in ("device", "graph"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        learner = _learner(hidden=1024, embedding=512, precision="fp16", way=way)  # type: ignore[arg-type]
        for window in _windows(3):
            learner.step(*window, 0.01)
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        del learner
    assert peaks[1] < 1.25 * peaks[0]


_ASKS = """
import sys
from charrnn.training.optimizers import updater
from charrnn.cli.app import main

def asking(step, share):
    step += float(share)

updater._count = asking
main()
"""


@pytest.mark.parametrize("switch", [None, "0"])
def test_a_run_whose_step_cannot_be_recorded_goes_on(
    text_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str | None
) -> None:
    """A real recording that fails: another process does without, and ends where a run without graphs ends."""
    words = [
        "train",
        str(text_file(6000)),
        "--hidden",
        "40",
        "--steps",
        "6",
        "--precision",
        "fp32",
        "--sample-every",
        "0",
    ]
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("CHARRNN_GRAPHS", raising=False)
    if switch is not None:
        monkeypatch.setenv("CHARRNN_GRAPHS", switch)
    program = tmp_path / "asks.py"
    program.write_text(_ASKS)
    ended = subprocess.run(
        [sys.executable, str(program), *words, "--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("cannot be recorded as a CUDA graph") == (switch is None)
    assert checkpoints.load(tmp_path / "run" / "last.safetensors").progress["step"] == 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_windows_are_the_same_wherever_the_text_lies(dtype: Any) -> None:
    """Resident, pinned and cut on the host, over the seam and past it, for a part of the lanes."""
    ids = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, 500, dtype=np.int64).astype(dtype)
    if dtype == np.uint32:
        ids >>= 1
    ring = Ring(ids, 7, 9, spare=4)
    feeds: list[Feed] = [ResidentFeed(ring, slice(2, 6), CUDA), PinnedFeed(ring, slice(2, 6), CUDA)]
    host = HostFeed(ring, slice(2, 6))
    for position in range(0, 600, 9):
        for feed in feeds:
            for length in (None, 1 + position % 13):
                for ours, theirs in zip(feed.at(position, length)[:2], host.at(position, length)[:2], strict=True):
                    assert torch.equal(ours.cpu(), theirs)


def test_the_scale_of_the_loss_follows_torchs_gradscaler() -> None:
    """Over a random sequence of good and bad steps, long enough to grow."""
    ours, theirs = LossScale(CUDA), torch.amp.GradScaler("cuda")
    weight = torch.zeros(1, device=CUDA, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    bad_ones = np.random.default_rng(1).random(4500) < 0.0005
    for is_bad in bad_ones.tolist():
        theirs.scale(torch.ones((), device=CUDA))  # it begins lazily
        weight.grad = torch.full_like(weight, torch.inf if is_bad else 1.0)
        theirs.step(optimizer)
        theirs.update()
        ours.update(torch.tensor(float(is_bad), device=CUDA))
    assert float(ours.scale) == theirs.get_scale()
    assert 0 < bad_ones.sum() < 10


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    return corpora.load([Source(text_file(6000), "text.txt")], DataConfig(), name="text")


def _train(folder: Path, corpus: Corpus, cell: str, stop_after: int | None = None, precision: str = "fp16") -> Finished:
    request = TrainRequest(
        model={"cell": cell, "num_layers": 2, "hidden_size": 256, "embedding_size": 128, "dropout": 0.4},
        training={"batch_size": 8, "bptt": 40, "seed": 3, "precision": precision},
        run={"log_every": 4, "validate_every": 7, "sample_every": 5, "sample_length": 11},
        budget=Budget(steps=24),
    )
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    resume = checkpoints.load(run.last, with_state=True) if run.last.exists() else None
    plan = (
        plan_resume(request, resume, corpus.sha256)
        if resume
        else plan_start(request, len(corpus), describe_machine(CUDA, "fp16"))
    )

    def stop() -> int | None:
        return 15 if stop_after is not None and trainer._counters.step >= stop_after else None

    trainer = Trainer(run, corpus, plan, device=CUDA, resume=resume, stop=stop)
    *_, last = trainer.run()
    assert isinstance(last, Finished)
    return last


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("cell", CELLS)
def test_exact_resume_with_dropout(corpus: Corpus, tmp_path: Path, cell: str, precision: str) -> None:
    """Stopped and resumed on the same GPU: the same bytes in every tensor."""
    _train(tmp_path / "whole", corpus, cell, precision=precision)
    for k in (1, 6, 13, 20):
        _train(tmp_path / f"cut{k}", corpus, cell, stop_after=k, precision=precision)
        _train(tmp_path / f"cut{k}", corpus, cell, precision=precision)
        assert_same_run(tmp_path / f"cut{k}", tmp_path / "whole")


@pytest.mark.parametrize("cell", CELLS)
def test_eval_and_sampling_agree_with_the_cpu(corpus: Corpus, tmp_path: Path, cell: str) -> None:
    """A run trained on the GPU scores the same on both, and greedy text is the same."""
    _train(tmp_path / "run", corpus, cell)
    loaded = checkpoints.load(tmp_path / "run" / "best.safetensors")
    validation = corpus.split(DataConfig()).validation
    results = []
    for device in (torch.device("cpu"), CUDA):
        model = CharacterModel(loaded.model, len(loaded.vocabulary))
        model.load_arrays(loaded.parameters)
        result = score(model.to(device), validation)
        results.append(result.nats_per_character)
    assert results[0] == pytest.approx(results[1], abs=1e-5)
    greedy = SamplingConfig(temperature=0.0, length=60)
    network = Network(loaded.model, loaded.parameters)
    stepper = TorchStepper(loaded, CUDA)
    texts = ["".join(sample(model, loaded.vocabulary, [1], greedy)) for model in (network, stepper)]
    assert texts[0] == texts[1]


def test_a_run_goes_from_a_cpu_to_the_gpu_and_back(corpus: Corpus, tmp_path: Path) -> None:
    """Each time with a sentence about what begins anew; the loss goes on falling."""
    folder, events = tmp_path / "run", []
    folder.mkdir()
    request = TrainRequest(
        model={"num_layers": 2, "hidden_size": 40, "dropout": 0.2}, training={"batch_size": 8, "bptt": 40},
        run={"sample_every": 0, "validate_every": 10},
    )  # fmt: skip
    for steps, device in ((20, torch.device("cpu")), (40, CUDA), (60, torch.device("cpu"))):
        run, asked = Run(folder), replace(request, budget=Budget(steps=steps))
        resume = checkpoints.load(run.last, with_state=True) if run.last.exists() else None
        plan = plan_resume(asked, resume, corpus.sha256) if resume else plan_start(asked, len(corpus))
        events += list(Trainer(run, corpus, plan, device=device, resume=resume).run())
    told = [event.text for event in events if isinstance(event, Notice) and "resume" in event.text]
    assert [text.partition(",")[0] for text in told] == [
        "approximate resume: device cpu -> cuda", "approximate resume: device cuda -> cpu"
    ]  # fmt: skip
    assert all("random numbers begin anew" in text for text in told)
    nats = [event.validation_nats for event in events if isinstance(event, Validated)]
    assert nats[-1] < nats[0] - 0.3


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_is_scored_as_the_reference_scores_it(cell: str) -> None:
    """In windows, in lanes, from a state and logits on; and sampling's products are fp32's."""
    loaded = tiny(cell=cell)
    ids = np.random.default_rng(0).integers(0, len(loaded.vocabulary), (50, 3))
    found = []
    for engine in (Network(loaded.model, loaded.parameters), open_engine(loaded, device="cuda")):
        first = engine.score(ids[:20], engine.zero_state(3))
        found.append(engine.score(ids[20:], first.state, first.logits))
    np.testing.assert_allclose(found[0].log_probabilities, found[1].log_probabilities, atol=1e-5)
    np.testing.assert_allclose(found[0].logits, found[1].logits, atol=1e-5)


def test_samples_that_end_one_by_one_do_not_fill_the_memory() -> None:
    """Two hundred of them: the memory that is reserved grows by less than 300 MiB."""
    loaded = tiny()
    stepper = TorchStepper(loaded, CUDA)
    requests = [SampleRequest(SamplingConfig(length=1 + 2 * n), n) for n in range(200)]
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    assert sum(len(piece.ids) for piece in write(stepper, loaded.vocabulary, [1], requests)) == 200 * 200
    assert torch.cuda.memory_reserved() - before < 300 << 20
    assert len(stepper._loops) <= 2


def test_out_of_memory_says_what_was_in_use_and_what_helps(corpus: Corpus, tmp_path: Path) -> None:
    """A model for which the process is not given the room: exit status 6, the measured peak, and --accumulate."""
    request = TrainRequest(
        model={"num_layers": 4, "hidden_size": 1024, "embedding_size": 1024},
        training={"batch_size": 64, "bptt": 60},
        budget=Budget(steps=2),
    )
    run = Run(tmp_path / "large")
    run.folder.mkdir()
    plan = plan_start(request, len(corpus), describe_machine(CUDA, "fp16"))
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((300 << 20) / total)
    try:
        with pytest.raises(ResourceError, match=r"out of memory on .*: \d\.\d GiB were in use at most") as caught:
            list(Trainer(run, corpus, plan, device=CUDA).run())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.exit_status == 6
    assert caught.value.hint is not None
    assert "--accumulate" in caught.value.hint


def test_the_dry_run_names_this_gpu_and_its_kernels(text_file: Callable[..., Path]) -> None:
    """What the rules expect of the GPU that is here, in words."""
    words = [sys.executable, "-m", "charrnn", "train", str(text_file(6000)), "--hidden", "512", "--steps", "1"]
    result = subprocess.run([*words, "--batch", "16", "--dry-run"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "no NVIDIA GPU here" not in result.stderr
    kernel = expected("lstm", 512, 512, 16, choose_precision("auto", CUDA), describe_gpu(CUDA)).forward
    assert f"cuDNN's {kernel} kernel expected" in result.stderr


@pytest.mark.parametrize("cell", CELLS)
def test_the_captured_step_writes_what_numpy_writes(cell: str) -> None:
    """The graph against the reference: the same ids from the same random numbers, alone and side by side."""
    loaded = tiny(cell=cell)
    reference, stepper = Network(loaded.model, loaded.parameters), TorchStepper(loaded, CUDA)
    settings = [{"temperature": 0.0}, {"temperature": 1.3, "top_k": 5, "top_p": 0.9}, {"min_p": 0.1}, {}]
    requests = [SampleRequest(SamplingConfig(length=150, **one), n) for n, one in enumerate(settings)]  # type: ignore[arg-type]
    texts = {}
    for name, engine in (("numpy", reference), ("cuda", stepper)):
        texts[name] = [""] * len(requests)
        for piece in write(engine, loaded.vocabulary, [1], requests):
            texts[name][piece.sample] += piece.text
            assert np.isfinite(piece.log_probabilities).all()
    assert texts["cuda"] == texts["numpy"]
    alone = ["".join(sample(stepper, loaded.vocabulary, [1], r.config, r.number)) for r in requests]
    assert alone == texts["cuda"]


def test_nothing_waits_inside_the_loop_of_a_sample() -> None:
    """A piece of 200 characters is written without a synchronisation: torch would raise at one."""
    loaded = tiny()
    stepper = TorchStepper(loaded, CUDA)
    logits, state = stepper.read([1, 2], stepper.zero_state(1))
    config = [SamplingConfig(top_p=0.9)]
    stepper.write(logits, state, config, np.full((3, 1), 0.5))  # captures
    loop = stepper._loops[1, True]
    torch.cuda.synchronize()
    with nothing_waits(), torch.inference_mode():  # as its buffers were made
        loop.replay(200)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU at most")
def test_two_gpus_are_one(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """Half of the lanes each, through NCCL: the model that one GPU trains, to 1e-4."""
    from tests.kit.ranks import run_ranks

    words = ["train", str(text_file(6000)), "--hidden", "40", "--layers", "2", "--dropout", "0.3", "--batch", "8",
             "--bptt", "30", "--steps", "20", "--precision", "fp32", "--sample-every", "0"]  # fmt: skip
    for size in (1, 2):
        ends = run_ranks([*words, "--out", f"by{size}"], size, tmp_path)
        assert [ended.status for ended in ends] == [0] * size, ends
    one, two = (checkpoints.load(tmp_path / f"by{size}" / "last.safetensors") for size in (1, 2))
    for name, array in one.parameters.items():
        np.testing.assert_allclose(array, two.parameters[name], atol=1e-4)
    lines = [json.loads(line) for line in (tmp_path / "by2" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert lines[-1]["step"] == 20
