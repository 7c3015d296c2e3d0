"""What a device offers: precisions, scaled losses beside torch's GradScaler, memory, and what exactness depends on."""

from __future__ import annotations

import itertools
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.errors import ResourceError, UsageError
from charrnn.network import device as devices
from charrnn.network import precision as precisions
from charrnn.network.precision import LossScale, Precision, choose_precision, narrow_iteration, products
from charrnn.settings.choices import PrecisionName
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training import learner as learners
from charrnn.training.estimates import training_memory
from charrnn.training.learner import Learner

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")


# Which precision.


@pytest.mark.parametrize(
    ("library", "auto"),
    [
        (None, "fp32"),
        (SimpleNamespace(has_narrow=False), "fp32"),
        (SimpleNamespace(has_narrow=True, is_narrow_faster=False), "fp32"),
        (SimpleNamespace(has_narrow=True, is_narrow_faster=True), "bf16"),
    ],
)
def test_a_cpu_has_bf16_where_its_library_has(library: Any, auto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is compiled code for a processor that knows it, and chosen where it gains; fp32 there is always."""
    monkeypatch.setattr(precisions, "find_library", lambda: library)
    assert choose_precision("auto", CPU) == auto
    assert choose_precision("fp32", CPU) == "fp32"
    if library is not None and library.has_narrow:
        assert choose_precision("bf16", CPU) == "bf16"
    else:
        with pytest.raises(UsageError) as caught:
            choose_precision("bf16", CPU)
        assert (
            caught.value.message
            == "--precision is bf16, but this cpu cannot compute in it (it needs a CPU with AVX512-BF16)"
        )
        assert caught.value.hint == "use --precision fp32, or leave it out"


@without_gpu
@pytest.mark.parametrize(("name", "chosen"), [("auto", "fp16"), ("fp16", "fp16"), ("tf32", "tf32"), ("fp32", "fp32")])
def test_a_plan_for_a_gpu_that_is_not_here(name: PrecisionName, chosen: str) -> None:
    """It is made for one that has everything."""
    assert choose_precision(name, CUDA) == chosen


@pytest.mark.parametrize(
    ("capability", "offered"),
    [((9, 0), ["fp32", "tf32", "fp16"]), ((7, 0), ["fp32", "fp16"]), ((7, 5), ["fp32", "fp16"]), ((6, 1), ["fp32"])],
)
def test_a_gpu_has_what_its_generation_has(
    capability: tuple[int, int], offered: list[PrecisionName], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32 came after fp16, and there are GPUs with neither."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert choose_precision("auto", CUDA) == offered[-1]
    names: tuple[PrecisionName, ...] = ("fp32", "tf32", "fp16", "bf16")
    for name in names:
        if name in offered:
            assert choose_precision(name, CUDA) == name
        else:
            with pytest.raises(UsageError, match=f"--precision is {name}, but this cuda cannot compute in it"):
                choose_precision(name, CUDA)


@pytest.mark.parametrize(
    ("name", "device", "needs"),
    [
        ("fp16", CPU, "an NVIDIA GPU of compute capability 7.0 or more"),
        ("tf32", CPU, "an NVIDIA GPU of compute capability 8.0 or more"),
        pytest.param("bf16", CUDA, "a CPU with AVX512-BF16", marks=without_gpu),
        ("tf32", MPS, "an NVIDIA GPU of compute capability 8.0 or more"),
        ("fp16", MPS, "an NVIDIA GPU of compute capability 7.0 or more"),
        ("bf16", MPS, "a CPU with AVX512-BF16"),
    ],
)
def test_what_a_device_lacks_is_refused(name: PrecisionName, device: torch.device, needs: str) -> None:
    """With what it needs, and what there is instead."""
    with pytest.raises(UsageError) as caught:
        choose_precision(name, device)
    assert (
        caught.value.message == f"--precision is {name}, but this {device.type} cannot compute in it (it needs {needs})"
    )
    assert caught.value.hint == f"use --precision {choose_precision('auto', device)}, or leave it out"


# Products.


def _tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def _tf32_as_before() -> Any:
    before = _tf32()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("_tf32_as_before")
def test_tf32_is_on_inside_and_off_outside() -> None:
    """For torch's products and cuDNN's layers, though an error ends it."""
    precisions.allow_tf32(False)
    assert _tf32() == (False, False)
    with products("tf32", CUDA):
        assert _tf32() == (True, True)
    assert _tf32() == (False, False)
    with pytest.raises(ValueError, match="inside"), products("tf32", CUDA):
        raise ValueError("inside")
    assert _tf32() == (False, False)


@pytest.mark.usefixtures("_tf32_as_before")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_precisions_leave_torchs_products_alone(precision: Precision) -> None:
    """bf16 is the compiled library's business."""
    precisions.allow_tf32(False)
    with products(precision, CPU):
        assert _tf32() == (False, False)
        assert (torch.ones(2, 3) @ torch.ones(3, 5)).dtype == torch.float32


def test_fp16_products_are_torchs_autocast() -> None:
    """On, of that type, and without a cache of casts that a graph would keep; what an error ends, is off again."""
    with products("fp16", CPU):
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()
        assert (torch.ones(2, 3) @ torch.ones(3, 5)).dtype == torch.float16
    with pytest.raises(ValueError, match="inside"), products("fp16", CPU):
        raise ValueError("inside")
    assert not torch.is_autocast_enabled("cpu")
    assert torch.is_autocast_cache_enabled()


# The scale of the loss.


def _bad_steps(steps: int) -> list[bool]:
    """Good steps in rows of up to 2,600, with one to three bad ones in between."""
    random = np.random.default_rng(0)
    found: list[bool] = []
    while len(found) < steps:
        found += [False] * int(random.choice([1, 30, 1999, 2000, 2600])) + [True] * int(random.integers(1, 4))
    return found[:steps]


def _float(is_bad: bool) -> torch.Tensor:
    return torch.tensor(float(is_bad))


def test_the_scale_is_that_of_torchs_grad_scaler() -> None:
    """Step by step, through its own interface: an optimizer whose gradient is not finite on bad steps."""
    weight = torch.zeros(3).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.0)
    theirs, ours = torch.amp.GradScaler("cpu"), LossScale(CPU)
    steps = _bad_steps(10_000)
    scales = []
    for is_bad in steps:
        theirs.scale(torch.ones(()))
        weight.grad = torch.full((3,), torch.inf if is_bad else 1.0)
        theirs.step(optimizer)
        theirs.update()
        ours.update(_float(is_bad))
        scales.append(float(ours.scale))
        assert scales[-1] == theirs.get_scale()
        assert ours.to_numpy().tolist() == [theirs.get_scale(), theirs.state_dict()["_growth_tracker"]]
    changes = [after / before for before, after in itertools.pairwise(scales) if after != before]
    assert changes.count(2.0) >= 2
    assert changes.count(0.5) > 8


def test_the_scale_by_hand() -> None:
    """2^16; down by half with each bad step; up after 2,000 good ones in a row, and not one sooner."""
    scale = LossScale(CPU)
    assert float(scale.scale) == 65536.0
    for _ in range(3):
        scale.update(_float(True))
    assert scale.to_numpy().tolist() == [8192.0, 0.0]
    for good in (1999, 1):
        for _ in range(good):
            scale.update(_float(False))
        assert scale.to_numpy().tolist() == ([8192.0, 1999.0] if good == 1999 else [16384.0, 0.0])
    for _ in range(1999):
        scale.update(_float(False))
    scale.update(_float(True))
    assert scale.to_numpy().tolist() == [8192.0, 0.0]


def test_the_scale_goes_out_and_in() -> None:
    """Interrupted in the middle of a row of good steps, a second one goes on as the first would have."""
    whole, first, second = LossScale(CPU), LossScale(CPU), LossScale(CPU, 3.0)
    steps = _bad_steps(9000)
    cut = 7000
    for is_bad in steps[:cut]:
        whole.update(_float(is_bad))
        first.update(_float(is_bad))
    saved = first.to_numpy()
    assert saved.dtype == np.float64
    assert saved.shape == (2,)
    assert saved[1] > 0
    second.load(saved)
    for is_bad in steps[cut:]:
        whole.update(_float(is_bad))
        second.update(_float(is_bad))
        assert second.to_numpy().tolist() == whole.to_numpy().tolist()


def test_the_tensors_of_a_scale_are_all_that_it_changes() -> None:
    """A graph puts them back after a rehearsal: updates are made in place, and copies restore everything."""
    scale = LossScale(CPU, 96.0)
    scale.update(_float(False))
    tensors = scale.tensors()
    kept = [tensor.clone() for tensor in tensors]
    before = scale.to_numpy().tolist()
    scale.update(_float(True))
    assert scale.to_numpy().tolist() != before
    for tensor, value in zip(tensors, kept, strict=True):
        tensor.copy_(value)
    assert scale.to_numpy().tolist() == before == [96.0, 1.0]


# Memory.

_MODEL = ModelConfig(cell="lstm", num_layers=2, hidden_size=5, embedding_size=3)
_TRAINING = TrainingConfig(batch_size=11, bptt=13, optimizer="adamw")
_V = 7
_WEIGHTS = 7 * 3 + (20 * 3 + 20 * 5 + 20) + (20 * 5 + 20 * 5 + 20) + 7 * 5 + 7


def _needed(*, kept: int = 2, **named: Any) -> int:
    return training_memory(_MODEL, _TRAINING, _V, kept=kept, **named)


def test_memory_by_hand() -> None:
    """Weights, gradient and two moments; six numbers a unit (h, c and four gates); each logit and its gradient."""
    assert _needed() == 4 * 4 * _WEIGHTS + 4 * (2 * 5 * 6 + 2 * 7) * 11 * 13
    assert _needed(kept=1) == 4 * 3 * _WEIGHTS + 4 * (2 * 5 * 6 + 2 * 7) * 11 * 13


def test_parts_share_the_memory_of_activations() -> None:
    """What one part of three needs is what its lanes need, of eleven the largest has four; weights stay whole."""
    assert _needed(parts=3) == 4 * 4 * _WEIGHTS + 4 * (2 * 5 * 6 + 2 * 7) * 4 * 13
    needed = [_needed(parts=parts) for parts in (1, 2, 3, 6, 11)]
    assert needed == sorted(set(needed), reverse=True)


def test_fp16_halves_the_memory_of_units_alone() -> None:
    """Weights, moments and logits are fp32 all the same; tf32 and bf16 are kept as fp32 is."""
    saved = _needed() - training_memory(_MODEL, _TRAINING, _V, kept=2, precision="fp16")
    assert saved == 2 * (2 * 5 * 6) * 11 * 13
    for precision in ("tf32", "bf16"):
        assert _needed(precision=precision) == training_memory(_MODEL, _TRAINING, _V, kept=2)


# Devices.


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
@pytest.mark.parametrize("device", [None, CPU])
def test_memory_that_ran_out_on_a_cpu(error: Exception, device: torch.device | None) -> None:
    """The message is short, the hint the caller's: nothing is known of how much was in use."""
    with pytest.raises(ResourceError) as caught, devices.out_of_memory_explained("use less", device):
        raise error
    assert (caught.value.message, caught.value.hint) == ("out of memory", "use less")
    assert caught.value.__cause__ is error


def test_memory_that_ran_out_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which GPU, what was in use at most and what there is."""
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: SimpleNamespace(total_memory=7 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "an imagined GPU")
    with pytest.raises(ResourceError) as caught, devices.out_of_memory_explained("use less", CUDA):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
    said = "out of memory on an imagined GPU: 1.5 GiB were in use at most, of 7.0 GiB in all"
    assert caught.value.message == said


def test_other_errors_pass() -> None:
    """A mistake of ours keeps its traceback."""
    with pytest.raises(RuntimeError, match="mat1"), devices.out_of_memory_explained("use less", CPU):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.skipif(
    "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}), reason="nothing tells how much memory there is"
)
def test_what_no_computer_holds_is_refused_at_once() -> None:
    """With a hint that begins with what changes no result."""
    devices.require_memory(2**20, CPU, "a little")
    with pytest.raises(ResourceError, match=r"too much needs at least 4,194,304.0 GiB, and cpu has ") as caught:
        devices.require_memory(2**52, CPU, "too much")
    assert (caught.value.hint or "").startswith("--accumulate")


def test_what_changed_between_environments() -> None:
    """Each by its name; what one of them lacks is None there."""
    now = devices.environment(CPU, "fp32")
    old = {name: value for name, value in now.items() if name != "accumulate"}
    assert now["accumulate"] == 1
    assert devices.differences(now, now) == []
    assert devices.differences(now, old) == ["accumulate 1 -> None"]
    assert devices.differences(now, {**now, "accumulate": 3}) == ["accumulate 1 -> 3"]
    assert devices.differences({**now, "torch": "2.0", "world_size": 2}, {**now, "gpu": "one"}) == [
        f"torch 2.0 -> {torch.__version__}",
        "world_size 2 -> 1",
        "gpu None -> one",
    ]


@without_gpu
def test_a_gpu_may_be_planned_for_without_one() -> None:
    """Where it is needed it has to be there; `auto` takes what there is."""
    assert devices.choose_device("cuda", is_needed=False) == CUDA
    assert devices.choose_device("auto", is_needed=False) == CPU
    assert devices.choose_device("auto") == CPU
    with pytest.raises(UsageError, match="torch sees no NVIDIA GPU"):
        devices.choose_device("cuda")
    assert devices.describe_gpu(CUDA).capability == (9, 0)


# Both passes of a step, and Muon's iteration.


@pytest.mark.usefixtures("_tf32_as_before")
@pytest.mark.parametrize("precision", ["tf32", "fp32"])
def test_both_passes_are_made_in_tf32(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else is: not the update, and not what comes after the step."""
    precisions.allow_tf32(False)
    monkeypatch.setattr(learners, "choose_precision", lambda _name, _device: precision)
    seen: dict[str, set[tuple[bool, bool]]] = {"forward": set(), "backward": set(), "update": set()}
    learner = Learner(ModelConfig(hidden_size=6, embedding_size=5), TrainingConfig(batch_size=3, bptt=4), 7, CPU)
    learner.model.register_forward_hook(lambda *_: seen["forward"].add(_tf32()))
    for array in learner.model.arrays().values():
        array.register_hook(lambda _gradient: seen["backward"].add(_tf32()))
    update = learner._updater.step

    def watched(*given: Any, **named: Any) -> None:
        seen["update"].add(_tf32())
        update(*given, **named)

    monkeypatch.setattr(learner._updater, "step", watched)
    ids = torch.randint(7, (5, 3), generator=torch.Generator().manual_seed(0))
    learner.step(ids[:-1], ids[1:], 0.01)
    is_tf32 = precision == "tf32"
    both = {(is_tf32, is_tf32)}
    assert seen == {"forward": both, "backward": both, "update": {(False, False)}}
    assert _tf32() == (False, False)


@pytest.mark.parametrize(
    ("precision", "capability", "is_narrow"),
    [
        ("fp16", (9, 0), True), ("fp16", (8, 0), True), ("fp16", (7, 5), False), ("fp16", (7, 0), False),
        ("tf32", (9, 0), False), ("fp32", (9, 0), False),
    ],
)  # fmt: skip
def test_muon_multiplies_bfloat16_where_a_gpu_can(
    precision: Precision, capability: tuple[int, int], is_narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUs before compute capability 8.0 have no hardware for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert narrow_iteration(precision, CUDA) == is_narrow


def test_muon_multiplies_bfloat16_where_training_does_on_a_cpu() -> None:
    """As the compiled recurrence."""
    assert narrow_iteration("bf16", CPU)
    assert not narrow_iteration("fp32", CPU)
