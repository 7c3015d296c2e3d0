"""The device that training runs on, what it can do, and what a bit-exact resume depends on."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from charrnn.errors import ResourceError, UsageError
from charrnn.native.crew import most_threads
from charrnn.native.product import WAYS
from charrnn.native.window import find_library
from charrnn.network import torchrun
from charrnn.network.architectures import has_kernels
from charrnn.network.cudnn import GPU, IMAGINED
from charrnn.network.precision import allow_tf32
from charrnn.network.products import multiply
from charrnn.network.speed import Machine
from charrnn.network.threads import count_threads, set_threads
from charrnn.settings.choices import DeviceName

# cuBLAS needs a fixed workspace to be deterministic, and reads this when the first context is made.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# What the makers' data sheets say, by compute capability: operations a second of one multiprocessor, in fp16 with sums
# in fp32 (dense, on matrix units where there are any) and in fp32, of that card of a generation which has the least.
_DATA_SHEETS = {
    (0, 0): (0.18e12, 0.18e12),  # P100 and older; matrix units came with 7.0, and fp16 is not offered before
    (6, 1): (0.38e12, 0.38e12),  # GTX 1080 Ti: 11.3 in all, on 28
    (7, 0): (1.4e12, 0.17e12),  # V100 PCIe: 112 and 14, on 80
    (7, 5): (0.79e12, 0.2e12),  # RTX 2080 Ti: 53.8 and 13.4, on 68
    (8, 0): (2.8e12, 0.18e12),  # A100: 312 and 19.5, on 108
    (8, 6): (0.86e12, 0.43e12),  # RTX 3090: 71 and 35.6, on 82; RTX 3060: 25.5 and 12.7, on 28
    (8, 9): (1.25e12, 0.63e12),  # RTX 4060: 30.2 and 15.1, on 24; RTX 4090: 165 and 82.6, on 128
    (9, 0): (6.0e12, 0.45e12),  # H100 NVL: 835 and 60, on 132; a little less, for room
    (10, 0): (15.0e12, 0.5e12),  # B200: 2,250 and 75, on 148
    (12, 0): (1.2e12, 0.6e12),  # RTX 5090: 209.5 and 104.8, on 170
}
_OLDEST = min(_DATA_SHEETS)
_KEPT = 0.5


def choose_device(name: DeviceName, *, is_needed: bool = True) -> torch.device:
    """Returns the device that `--device` means. `auto` takes CUDA where torch can compute on a GPU, else the CPU.

    Raises UsageError. Where the device is not needed, but only planned for, it may be missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() and _lacking() is None else "cpu")
    lacking, hint = None, "use --device cpu"
    if name == "cuda" and is_needed:
        is_seen = torch.cuda.is_available()
        lacking = _lacking() if is_seen else "torch sees no NVIDIA GPU"
        hint += f", or {_OTHER_BUILD if is_seen else 'install torch with CUDA'}"
    elif name == "mps" and is_needed and not torch.backends.mps.is_available():
        lacking = "torch sees no Apple GPU"
    if lacking is not None:
        raise UsageError(f"--device is {name}, but {lacking}", hint)
    return torch.device(name)


def passed_over(name: DeviceName) -> str | None:
    """Says that `--device auto` does not take a GPU that is there, and why; None where it does, or there is none."""
    lacking = _lacking() if name == "auto" and torch.cuda.is_available() else None
    return None if lacking is None else f"the GPU is not used, since {lacking}; {_OTHER_BUILD}"


_OTHER_BUILD = (
    "install a build of torch that supports this GPU "
    "(for a new one a newer torch, for an old one a build for an older CUDA)"
)


def _lacking() -> str | None:
    """Says which GPU of this machine's processes this build of torch has no kernels for; None where it has them.

    All of them look at the GPUs of all, so that all decide the same.
    """
    # The first look at a GPU makes torch warn of the same thing in many lines.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s).*(compute capability|CUDA capability)")
        architectures = torch.cuda.get_arch_list()
        is_alone = torchrun.world_size() == 1
        count = 1 if is_alone else min(torch.cuda.device_count(), torchrun.local_world_size())
        for index in [torch.cuda.current_device()] if is_alone else range(count):
            found = torch.cuda.get_device_properties(index)
            if not has_kernels(architectures, (found.major, found.minor)):
                return (
                    f"torch {torch.__version__} has no kernels for {found.name}, of compute capability "
                    f"{found.major}.{found.minor}: it was built for {', '.join(architectures)}"
                )
    return None


def describe_gpu(device: torch.device) -> GPU:
    """Returns what the rules of `cudnn.py` ask about a GPU; an imagined one where torch sees none."""
    if not torch.cuda.is_available():
        return IMAGINED
    found = torch.cuda.get_device_properties(device)
    # Not every version of torch tells these, and not every driver: of the memory, kHz and bits; two bits a cycle.
    clock, width = getattr(found, "memory_clock_rate", 0), getattr(found, "memory_bus_width", 0)
    return GPU(
        found.name,
        (found.major, found.minor),
        found.multi_processor_count,
        found.total_memory,
        l2=getattr(found, "L2_cache_size", 0) or None,
        bandwidth=2 * clock * 1e3 * width / 8 or None,
    )


def nominal_speed(device: torch.device, precision: str) -> float:
    """Returns the operations a second that a whole run on `device` keeps, updates, validations and samples included.

    By its kind alone, so that it is always the same. On a CPU a core of a few GHz is taken for granted; on a GPU it is
    half of what data sheets say of its generation, an estimate that nothing here has measured.
    """
    if device.type == "cuda":
        gpu = describe_gpu(device)
        fp16, fp32 = _DATA_SHEETS[max(known for known in _DATA_SHEETS if known <= max(gpu.capability, _OLDEST))]
        # tf32 is offered where matrix units do half as many of its products as of fp16's.
        return gpu.multiprocessors * _KEPT * {"fp16": fp16, "tf32": fp16 / 2}.get(precision, fp32)
    library = find_library()
    if library is None:
        return torch.get_num_threads() * 17e9
    if precision == "bf16" and library.is_narrow_faster:
        return most_threads() * 95e9
    return most_threads() * (8e9, 25e9, 50e9)[library.best_set]


def describe_machine(device: torch.device, precision: str, *, processes: int = 1) -> Machine:
    """Returns what the choice of settings asks about `processes` processes that each have a device like this."""
    return Machine(
        nominal_speed(device, precision) * processes,
        describe_gpu(device) if device.type == "cuda" else None,
        precision,
        processes,
        device.type == "cpu" and find_library() is not None,
    )


def measured_speed(precision: str) -> float:
    """Measures, in a few hundredths of a second, the operations a second of matrix products on this CPU now.

    They are those that training makes: compiled code's where there is any, else torch's.
    """
    size = 512
    factor = torch.ones(size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    result = torch.empty(size, size)
    taken = []
    for _ in range(12):
        began = time.perf_counter()
        multiply(factor, factor, out=result)
        taken.append(time.perf_counter() - began)
    return 2.0 * size**3 / sorted(taken)[len(taken) // 2]


def prepare(device: torch.device, threads: int | None) -> None:
    """Makes settings for the whole process: flushed denormals, number of threads, deterministic kernels.

    Denormal numbers appear in closed gates and slow a CPU step by up to 20 times (oneDNN issue 561). The flag is
    inherited by threads, so it is set before the first parallel work.
    """
    torch.set_flush_denormal(True)
    if threads is not None:
        _require_threads(threads)
        set_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        allow_tf32(False)  # cuDNN's layers take it unless told not to


def _require_threads(wanted: int) -> None:
    """Raises UsageError where the system does not let this process have so many threads: where OpenMP cannot make one
    that it was told to, it ends the process."""
    release, made = threading.Event(), list[threading.Thread]()
    try:
        for _ in range(wanted - 1):
            thread = threading.Thread(target=release.wait)
            thread.start()
            made.append(thread)
    except (RuntimeError, MemoryError) as error:
        raise UsageError(
            f"--threads is {wanted}, and the system lets this process have {len(made) + 1}",
            "give a smaller number; more threads than cores make nothing faster",
        ) from error
    finally:
        release.set()
        for thread in made:
            thread.join()


def total_memory(device: torch.device) -> int | None:
    """Returns the bytes of memory that a device has in all; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def require_memory(needed: int, device: torch.device, what: str) -> None:
    """Raises ResourceError where `what` needs more bytes than the device has in all: sooner than when it is full."""
    total = total_memory(device)
    if total is not None and needed > total:
        raise ResourceError(
            f"{what} needs at least {needed / 2**30:,.1f} GiB, and {device.type} has {total / 2**30:,.1f} GiB in all",
            "--accumulate splits a step; else choose a smaller --hidden, --layers, --batch or --bptt",
        )


@contextlib.contextmanager
def out_of_memory_explained(hint: str, device: torch.device | None = None) -> Iterator[None]:
    """Turns running out of memory inside, on any device, into a ResourceError with `hint` and what a GPU had in use."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not any(_says_out_of_memory(reason) for reason in _reasons(error)):
            raise
        raise ResourceError(f"out of memory{_peak(device)}", hint) from error


# torch says it in words: "CUDA out of memory", "DefaultCPUAllocator: can't allocate memory"; NVIDIA's libraries by the
# name of their status: CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED.
_OUT_OF_MEMORY = ("out of memory", "allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
# What a GPU, or the recording of a CUDA graph on it, says once something else has gone wrong.
_AFTERWARDS = ("cuda error", "capture")


def _says_out_of_memory(error: BaseException) -> bool:
    # The allocator of torch has a class for it, whatever it says.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """Yields the error, and one after the other what it came from.

    That is what an error names as its cause. An error that only was raised while another one was handled has a reason
    of its own, and the other one may long have been mended, unless it is what is left of a GPU after a failure: the end
    of a recording hides the error that broke it off.
    """
    seen: set[int] = set()
    reason: BaseException | None = error
    while reason is not None and id(reason) not in seen:
        seen.add(id(reason))
        yield reason
        hides = not reason.__suppress_context__ and any(words in str(reason).lower() for words in _AFTERWARDS)
        reason = reason.__cause__ or (reason.__context__ if hides else None)


def _peak(device: torch.device | None) -> str:
    if device is None or device.type != "cuda":
        return ""
    peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    return (
        f" on {torch.cuda.get_device_name(device)}: {peak / 2**30:,.1f} GiB were in use at most, "
        f"of {total / 2**30:,.1f} GiB in all"
    )


MOST_THREADS = "most_threads"
"""In an environment: how many threads there were at most, where no number depends on it."""


def environment(
    device: torch.device, precision: str, *, is_compiled: bool = False, world_size: int = 1, accumulate: int = 1
) -> dict[str, Any]:
    """Returns by name what a bit-exact resume depends on: equal values promise it.

    Where the model's products are those of compiled code (`is_compiled`), it does not depend on the number of threads.
    """
    library = find_library() if is_compiled else None
    described: dict[str, Any] = {
        "torch": torch.__version__,
        "device": device.type,
        MOST_THREADS if is_compiled else "threads": count_threads(is_compiled=is_compiled),
        **({"bfloat16": WAYS[library.best_way]} if library is not None and precision == "bf16" else {}),
        "precision": precision,
        "compiled": find_library() is not None,
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "world_size": world_size,
        "accumulate": accumulate,
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
        described["cuda"] = torch.version.cuda
        described["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return described


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns what changed between two environments, as `torch 2.12 -> 2.13`."""
    names = dict.fromkeys(name for name in [*then, *now] if name != MOST_THREADS)
    return [f"{name} {then.get(name)} -> {now.get(name)}" for name in names if then.get(name) != now.get(name)]
