"""Memory that ran out."""

from __future__ import annotations

import pytest
import torch

from charrnn import device as devices
from charrnn.errors import ResourceError


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
