"""On an NVIDIA GPU: the same numbers as on a CPU, and exact resume with dropout. Skipped without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from charrnn import checkpoint as checkpoints
from charrnn import corpus as corpora
from charrnn import device as devices
from charrnn.config import Budget, DataConfig, ModelConfig, SamplingConfig, TrainingConfig
from charrnn.corpus import Corpus
from charrnn.evaluate.bpc import score
from charrnn.events import Finished
from charrnn.inference.network import Network
from charrnn.learner import Learner
from charrnn.model import CharacterModel
from charrnn.plan import Request, plan_resume, plan_start
from charrnn.runs import Run
from charrnn.sampling import SampleRequest, sample, write
from charrnn.sources import Source
from charrnn.stepper import TorchStepper
from charrnn.train import Trainer
from tests.runs_compared import assert_same_run
from tests.tiny import tiny

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]

T, B, V = 12, 3, 11
CELLS = ["lstm", "gru", "rnn"]


@pytest.fixture(autouse=True)
def _full_precision() -> None:
    """Parity is asked of float32 proper; TF32 rounds products to ten bits."""
    devices.prepare(torch.device("cuda"), None)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _model(cell: str) -> ModelConfig:
    return ModelConfig(cell=cell, num_layers=2, hidden_size=20, embedding_size=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", CELLS)
def test_ten_steps_on_the_gpu_are_ten_steps_on_the_cpu(cell: str) -> None:
    """Losses agree to 1e-4 and weights to 1e-3 after ten updates from the same seed."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, V, (10, T + 1, B)))
    learners = [
        Learner(_model(cell), TrainingConfig(batch_size=B, bptt=T, seed=2), V, torch.device(name))
        for name in ("cpu", "cuda")
    ]
    for window in ids:
        losses = [learner.step(window[:-1], window[1:], 0.01).loss.item() for learner in learners]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    on_cpu, on_gpu = (learner.model.numpy_arrays() for learner in learners)
    for name, array in on_cpu.items():
        np.testing.assert_allclose(array, on_gpu[name], atol=1e-3)


@pytest.fixture
def corpus(text_file: Callable[..., Path]) -> Corpus:
    return corpora.load([Source(text_file(6000), "text.txt")], DataConfig(), name="text")


def _train(folder: Path, corpus: Corpus, cell: str, stop_after: int | None = None) -> Finished:
    request = Request(
        model={"cell": cell, "num_layers": 2, "hidden_size": 128, "embedding_size": 16, "dropout": 0.4},
        training={"batch_size": 8, "bptt": 40, "seed": 3},
        run={"log_every": 4, "validate_every": 7, "sample_every": 5, "sample_length": 11},
        budget=Budget(steps=24),
    )
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    resume = checkpoints.load(run.last, with_state=True) if run.last.exists() else None
    plan = plan_resume(request, resume, corpus.sha256) if resume else plan_start(request, len(corpus), "cuda")

    def stop() -> int | None:
        return 15 if stop_after is not None and trainer._counters.step >= stop_after else None

    trainer = Trainer(run, corpus, plan, device=torch.device("cuda"), resume=resume, stop=stop)
    *_, last = trainer.run()
    assert isinstance(last, Finished)
    return last


@pytest.mark.parametrize("cell", CELLS)
def test_exact_resume_with_dropout(corpus: Corpus, tmp_path: Path, cell: str) -> None:
    """Stopped and resumed on the same GPU: the same bytes in every tensor."""
    _train(tmp_path / "whole", corpus, cell)
    for k in (1, 6, 13, 20):
        _train(tmp_path / f"cut{k}", corpus, cell, stop_after=k)
        _train(tmp_path / f"cut{k}", corpus, cell)
        assert_same_run(tmp_path / f"cut{k}", tmp_path / "whole")


@pytest.mark.parametrize("cell", CELLS)
def test_eval_and_sampling_agree_with_the_cpu(corpus: Corpus, tmp_path: Path, cell: str) -> None:
    """A run trained on the GPU scores the same on both, and greedy text is the same."""
    _train(tmp_path / "run", corpus, cell)
    loaded = checkpoints.load(tmp_path / "run" / "best.safetensors")
    validation = corpus.split(DataConfig()).validation
    results = []
    for name in ("cpu", "cuda"):
        model = CharacterModel(loaded.model, len(loaded.vocabulary))
        model.load_arrays(loaded.parameters)
        device = torch.device(name)
        result = score(model.to(device), validation, device=device)
        assert result is not None
        results.append(result.nats_per_character)
    assert results[0] == pytest.approx(results[1], abs=1e-5)
    greedy = SamplingConfig(temperature=0.0, length=60)
    network = Network(loaded.model, loaded.parameters)
    stepper = TorchStepper(loaded, torch.device("cuda"))
    texts = ["".join(sample(model, loaded.vocabulary, [1], greedy)) for model in (network, stepper)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("cell", CELLS)
def test_the_captured_step_writes_what_numpy_writes(cell: str) -> None:
    """The graph against the reference: the same ids from the same random numbers, alone and side by side."""
    loaded = tiny(cell=cell)
    reference, stepper = Network(loaded.model, loaded.parameters), TorchStepper(loaded, torch.device("cuda"))
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
    stepper = TorchStepper(loaded, torch.device("cuda"))
    logits, state = stepper.read([1, 2], stepper.zero_state(1))
    config = [SamplingConfig(top_p=0.9)]
    stepper.write(logits, state, config, np.full((3, 1), 0.5))  # captures
    loop = stepper._loops[1, True]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loop.replay(200)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_bad_update_is_skipped_on_the_device() -> None:
    """The fused optimizer leaves weights and moments alone when the gradient is not finite."""
    learner = Learner(_model("lstm"), TrainingConfig(batch_size=B, bptt=T), V, torch.device("cuda"))
    window = torch.from_numpy(np.random.default_rng(0).integers(0, V, (T + 1, B)))
    learner.step(window[:-1], window[1:], 0.01)
    with torch.no_grad():
        learner.model.arrays()["decoder.bias"][0] = float("nan")
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items() if name != "decoder.bias"}
    assert torch.isnan(learner.step(window[:-1], window[1:], 0.01).loss)
    after = learner.model.numpy_arrays()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
