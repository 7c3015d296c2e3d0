"""Which device is taken and what is known of it, and memory that ran out; GPUs are imagined here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from charrnn.errors import ResourceError, UsageError
from charrnn.network import device as devices
from charrnn.network.architectures import has_kernels

CUDA = torch.device("cuda")


# Running out of memory.


def _from(error: BaseException, cause: BaseException | None) -> BaseException:
    """What `raise error from cause` would make of it."""
    error.__cause__ = cause
    return error


def _while_handling(error: BaseException, context: BaseException) -> BaseException:
    """What `raise error` would make of it, in a block that handles `context`, or on the way out with it."""
    error.__context__ = context
    return error


def _cycle() -> BaseException:
    one, other = RuntimeError("CUDA error: one"), RuntimeError("CUDA error: other")
    one.__context__, other.__context__ = other, one
    return one


FULL = RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
BROKEN = "CUDA error: operation failed due to a previous error during capture"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("there is no more"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        _while_handling(RuntimeError(BROKEN), FULL),
        _while_handling(RuntimeError("Capture must end on the same stream it began on."), FULL),
        _while_handling(RuntimeError(BROKEN), _while_handling(RuntimeError("CUDA error: unknown error"), FULL)),
        _from(RuntimeError("the step failed"), FULL),
        _from(RuntimeError("the step failed"), MemoryError()),
        _from(RuntimeError("the step failed"), _while_handling(RuntimeError(BROKEN), FULL)),
    ],
    ids=str,
)
def test_memory_that_ran_out_by_whatever_name(error: Exception) -> None:
    """In words, by the status of NVIDIA's libraries, or behind the error that ends a recording."""
    with pytest.raises(ResourceError) as caught, devices.out_of_memory_explained("use less"):
        raise error
    assert caught.value.exit_status == 6
    assert caught.value.__cause__ is error


def _without_context(error: BaseException) -> BaseException:
    error.__suppress_context__ = True
    return error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(BROKEN),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        _while_handling(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), MemoryError()),
        _while_handling(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), FULL),
        _while_handling(RuntimeError(BROKEN), _while_handling(ValueError("no"), MemoryError())),
        _while_handling(_from(RuntimeError(BROKEN), ValueError("no")), FULL),
        _while_handling(RuntimeError(BROKEN), ValueError("ALLOC_FAILED is no name of a corpus")),
        _without_context(_while_handling(RuntimeError(BROKEN), FULL)),
        _cycle(),
    ],
    ids=str,
)
def test_other_errors_pass_also_after_memory_ran_out(error: Exception) -> None:
    """What went wrong while a full memory was dealt with is a mistake of its own, and is raised as it is."""
    with pytest.raises(type(error)) as caught, devices.out_of_memory_explained("use less"):
        raise error
    assert caught.value is error


def test_the_end_of_a_recording_does_not_hide_a_full_memory() -> None:
    """As torch.cuda.graph does it: leaving the block raises while the first error is on its way out."""

    class Recording:
        def __enter__(self) -> None: ...

        def __exit__(self, *reason: object) -> None:
            raise RuntimeError(BROKEN)

    with pytest.raises(ResourceError), devices.out_of_memory_explained("use less"), Recording():
        raise torch.OutOfMemoryError("there is no more")


# GPUs that a build of torch has no kernels for.

CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CU130 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("architectures", "capability", "expected"),
    [
        (CU130, (6, 1), False),  # GTX 1080
        (CU130, (7, 0), False),  # V100
        (CU130, (7, 5), True),
        (CU130, (8, 6), True),
        (CU130, (8, 9), True),  # RTX 4090
        (CU130, (9, 0), True),
        (CU130, (10, 3), True),
        (CU130, (11, 0), False),
        (CU130, (12, 0), True),
        (CU130, (12, 1), True),
        (CU126, (6, 1), True),
        (CU126, (12, 0), False),  # RTX 5090
        (["sm_86"], (8, 0), False),
        (["sm_86"], (8, 9), True),
        ([*CU126, "compute_90"], (12, 0), True),
        (["compute_90"], (8, 6), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),
        (["compute_90a"], (10, 0), False),
        (["sm_100f"], (10, 3), True),
        (["compute_100f"], (10, 3), True),
        (["compute_100f"], (12, 0), False),
        (["sm_80", "sm_86"], (8, 7), False),  # an embedded GPU
        (["sm_87"], (8, 7), True),
        (["sm_87"], (8, 9), False),
        (["compute_80"], (8, 7), True),
        (["sm_101"], (11, 0), True),  # by its number in CUDA 12
        (["gfx90a", "gfx1100"], (9, 0), True),
        (["gfx1100"], (11, 0), True),
        ([], (3, 5), True),
    ],
    ids=str,
)
def test_which_gpus_a_build_has_kernels_for(
    architectures: list[str], capability: tuple[int, int], expected: bool
) -> None:
    """By NVIDIA's rules; without a rule there is nothing to say."""
    assert has_kernels(architectures, capability) is expected


def test_the_rules_are_those_by_which_torch_warns() -> None:
    """For every pair of a machine code and a GPU that torch knows; it holds an a or f for nothing."""
    known = getattr(torch.cuda, "DEVICE_REQUIREMENT", None)
    if known is None:
        pytest.skip("this torch has no such table")
    for code, accepted in known.items():
        for device in {*known, 35, 37}:
            assert has_kernels([f"sm_{code}"], divmod(device, 10)) == (device in accepted), (code, device)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes torch see GPUs of these compute capabilities, and say which architectures it was built for."""

    def imagine(architectures: list[str], *capabilities: tuple[int, int]) -> None:
        def properties(index: int | torch.device | None = None) -> SimpleNamespace:
            found = capabilities[index if isinstance(index, int) else 0]
            return SimpleNamespace(
                name=f"GPU of {found[0]}", major=found[0], minor=found[1], multi_processor_count=28,
                total_memory=12 * 2**30, L2_cache_size=3 * 2**20, memory_clock_rate=7_501_000, memory_bus_width=192,
            )  # fmt: skip

        def current() -> int:
            warnings.warn("Found GPU0 which is of compute capability (CC) 6.1.\nThe following list", stacklevel=2)
            return 0

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(torch.cuda, "current_device", current)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: architectures)
        monkeypatch.setattr(torch.cuda, "get_device_properties", properties)

    return imagine


def test_auto_takes_a_gpu_that_torch_has_kernels_for(
    gpus: Callable[..., None], recwarn: pytest.WarningsRecorder
) -> None:
    """Else it takes the CPU and says so; what torch warns of in many lines is not shown as well."""
    gpus(CU130, (8, 6))
    assert devices.choose_device("auto") == devices.choose_device("cuda") == CUDA
    assert devices.passed_over("auto") is None
    gpus([], (6, 1))
    assert devices.choose_device("auto") == CUDA
    gpus(CU130, (6, 1))
    assert devices.choose_device("auto") == devices.choose_device("auto", is_needed=False) == torch.device("cpu")
    said = devices.passed_over("auto")
    assert said is not None
    assert f"torch {torch.__version__} has no kernels for GPU of 6, of compute capability 6.1" in said
    assert "built for sm_75, sm_80, sm_86, sm_90, sm_100, sm_120" in said
    assert "\n" not in said
    assert devices.passed_over("cpu") is devices.passed_over("cuda") is None
    assert not recwarn.list


def test_a_gpu_that_was_asked_for_has_to_be_one_that_torch_has_kernels_for(gpus: Callable[..., None]) -> None:
    """The error names it, what it is, what torch was built for and what to do; a plan can be made for it."""
    gpus(CU126, (12, 0))
    with pytest.raises(
        UsageError, match=r"--device is cuda, but torch .* GPU of 12, .* 12\.0: .* sm_86, sm_90"
    ) as caught:
        devices.choose_device("cuda")
    assert (caught.value.hint or "").startswith("use --device cpu, or install a build of torch")
    assert devices.choose_device("cuda", is_needed=False) == CUDA


def test_processes_decide_by_the_gpus_of_all(gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else some would compute on GPUs and some not."""
    gpus(CU130, (8, 6), (6, 1), (3, 5))
    assert devices.choose_device("auto") == CUDA
    monkeypatch.setenv("WORLD_SIZE", "2")
    for local_world_size, expected in (("1", "cuda"), ("2", "cpu"), ("9", "cpu")):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local_world_size)
        for rank in ("0", "1"):
            monkeypatch.setenv("LOCAL_RANK", rank)
            assert devices.choose_device("auto").type == expected


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_train_and_eval_say_that_they_pass_over_a_gpu(
    more: list[str],
    gpus: Callable[..., None],
    command: Callable[..., tuple[int, str, str]],
    text_file: Callable[..., Path],
) -> None:
    """In one line each, and go on on the CPU; nothing is said where the CPU was asked for."""
    gpus(CU130, (6, 1))
    words = ["train", str(text_file(900)), "--hidden", "8", "--steps", "2", "--threads", "1", *more]
    status, _, said = command(*words)
    assert status == 0, said
    assert said.count("note: the GPU is not used, since torch") == 1
    assert " on cpu and is kept in" in said
    assert "GPU is not used" not in command(*words, "--device", "cpu", "--fresh")[2]
    if not more:
        status, _, said = command("eval", str(text_file(900)))
        assert status == 0, said
        assert said.count("note: the GPU is not used, since torch") == 1


def test_what_is_known_of_a_gpu(gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """An RTX 3060 reads 360 GB/s: twice 7.5 GHz times 192 bits. What is not told is not known."""
    gpus(CU130, (8, 6))
    found = devices.describe_gpu(CUDA)
    assert (found.name, found.capability, found.multiprocessors, found.memory) == ("GPU of 8", (8, 6), 28, 12 * 2**30)
    assert found.l2 == 3 * 2**20
    assert found.bandwidth == pytest.approx(360e9, rel=1e-3)
    least = {"name": "old", "major": 5, "minor": 2, "multi_processor_count": 24, "total_memory": 7}
    for more in ({}, {"L2_cache_size": 0, "memory_clock_rate": 0, "memory_bus_width": 384}):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, more=more: SimpleNamespace(**least, **more))
        found = devices.describe_gpu(CUDA)
        assert (found.l2, found.bandwidth) == (None, None)
