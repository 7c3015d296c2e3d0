"""A GPU that is not there: the program runs over tensors that say they lie on cuda:0 and hold no numbers.

Tensors of the GPU are torch's FakeTensors: they have a shape, a type, strides and a device, and every operation on
them is checked by torch's own rules for these. Tensors of the CPU stay real. What the CPU gets from the GPU is zeros.
Where torch would ask the driver, something here answers in its place; beside each such piece stands what it is in the
place of. torch has to be a CUDA build: a CPU build has none of the GPU's dispatch, and no autocast for it.

`fake_gpu` is the one thing to enter. What it gives notes every operation that mixes devices, waits for the GPU or
copies between it and the host (`watched`), and every matrix product with the precision allowed for it (`products`).

It cannot know what depends on numbers, what a kernel of the GPU does, how long anything takes, or what several streams
do to each other.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from charrnn.cells import arrays
from tests.kit.fakeautograd import go_back, gradients_of
from tests.kit.fakedriver import Generator, driver, moved_module
from tests.kit.fakekernels import LAYERS, cudnn_rnn, cudnn_rnn_backward, fused_update, is_one_piece

_PROGRAM = str(Path(arrays.__file__).parent)

# Their result's size or value is read by the host: each synchronises the stream (aten/src/ATen/native/cuda).
_WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "bincount", "repeat_interleave",
    "_unique", "_unique2", "unique_dim", "unique_consecutive",
}  # fmt: skip
_COPIES = {"_to_copy", "copy_", "_foreach_copy_", "_copy_from"}
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "_cudnn_rnn", "_cudnn_rnn_backward"}
_TRAIN = {"_cudnn_rnn": 12, "_cudnn_rnn_backward": 16}  # the place of the argument `train`
_DRAWS = {"random_", "uniform_", "normal_", "bernoulli_"}
_SCATTERED = "RNN module weights are not part of single contiguous chunk of memory"


class Found(NamedTuple):
    """Something that the GPU's work should not contain."""

    kind: str
    """mixes, waits or copies."""
    operation: str
    place: str
    """The program's lines it came from, the innermost first."""


class Product(NamedTuple):
    """A matrix product, or a layer of cuDNN."""

    operation: str
    is_backward: bool
    is_tf32: bool
    """Whether tf32 was allowed."""
    dtype: torch.dtype
    is_training: bool | None = None
    """Of a layer, in which mode it was run."""


class FakeGPU:
    """What happened on the GPU."""

    def __init__(self) -> None:
        self.products: list[Product] = []
        """Of what was watched."""
        self.is_capturing = self.is_backward = False
        self.graphs = 0
        """How many were recorded."""
        self._watches: list[list[Found]] = []
        self.registered: list[torch.Generator] = []

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[Found]]:
        """What is found while inside."""
        self._watches.append([])
        try:
            yield self._watches[-1]
        finally:
            self._watches.pop()

    def note(self, kind: str, operation: str) -> None:
        """Adds to what is watched; while a graph is recorded it is an error, as with CUDA."""
        frame, lines = sys._getframe(1), []
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(_PROGRAM) or "/test_" in path:
                lines.append(f"{path.rpartition('/')[2]}:{frame.f_lineno}")
            frame = frame.f_back  # type: ignore[assignment]
        found = Found(kind, operation, " < ".join(lines[:3]))
        for watch in self._watches:
            if found not in watch:
                watch.append(found)
        if self.is_capturing:
            raise RuntimeError(f"operation not permitted when stream is capturing: {found}")

    def count(self, operation: str, dtype: torch.dtype, is_training: bool | None) -> None:
        """Notes a product."""
        if self._watches:
            backend = torch.backends.cudnn if operation.startswith("_cudnn") else torch.backends.cuda.matmul
            self.products.append(Product(operation, self.is_backward, backend.allow_tf32, dtype, is_training))


class _Operations(TorchDispatchMode):
    """Every operation below autograd and autocast: those of the CPU are made, those of the GPU looked at."""

    def __init__(self, gpu: FakeGPU) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args)
        leaves = tree_leaves((args, kwargs))
        name = func._schema.name.partition("::")[2]
        is_ours = any(isinstance(leaf, FakeTensor) for leaf in leaves)
        if not is_ours and not any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in leaves):
            kwargs.pop("pin_memory", None)  # which asks the driver, and changes no number
            with no_dispatch():
                return func(*args, **kwargs)
        if _is_of_parts(func):  # without autograd torch leaves it to the mode to take an operation apart
            with self:
                return func.decompose(*args, **kwargs)
        self._look(func, name, leaves, args, kwargs)
        if name.startswith("_fused_"):
            return fused_update(leaves)
        if name in ("_cudnn_rnn", "_cudnn_rnn_backward"):
            return cudnn_rnn(*args) if name == "_cudnn_rnn" else cudnn_rnn_backward(*args)
        if name == "_local_scalar_dense":
            with no_dispatch():
                return torch.zeros((), dtype=args[0].dtype).item()
        if name == "copy_" and not isinstance(args[0], FakeTensor):
            with no_dispatch():
                return args[0].zero_()
        out = func(*args, **kwargs)
        return tree_map(_real_if_on_the_cpu, out)

    def _look(self, func: Any, name: str, leaves: list[Any], args: Any, kwargs: Any) -> None:
        gpu, tensors = self._gpu, [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        of_cpu = [tensor for tensor in tensors if not isinstance(tensor, FakeTensor)]
        if name in _PRODUCTS:
            gpu.count(name, tensors[0].dtype, args[_TRAIN[name]] if name in _TRAIN else None)
        if name in _COPIES:
            to = kwargs.get("device") or (args[0].device if name == "copy_" else None)
            if of_cpu or (to is not None and to.type == "cpu"):
                gpu.note("copies", name)
                # `non_blocking` is copy_'s third argument, and a keyword elsewhere (native/cuda/Copy.cu).
                if not kwargs.get("non_blocking", args[2] if name == "copy_" and len(args) > 2 else False):
                    gpu.note("waits", name)
            return
        # TensorIterator takes a number that lies on the host as an argument of the kernel; nothing else does.
        is_pointwise = torch.Tag.pointwise in func.tags
        if any(tensor.dim() or not is_pointwise for tensor in of_cpu):
            gpu.note("mixes", name)
        if name in _WAITS and not (name == "repeat_interleave" and kwargs.get("output_size") is not None):
            gpu.note("waits", name)
        if name in ("index", "index_put", "index_put_"):
            is_mask = any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])
            # One value at all places of a mask is masked_fill, which needs no count of them.
            if is_mask and (name == "index" or args[2].numel() != 1):
                gpu.note("waits", f"{name} by a mask")


@functools.cache
def _is_of_parts(func: Any) -> bool:
    """Whether an operation is nothing but others."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _real_if_on_the_cpu(value: Any) -> Any:
    """Numbers that come to the CPU from a GPU without any are zeros."""
    if not isinstance(value, FakeTensor) or value.device.type != "cpu":
        return value
    with no_dispatch():
        return torch.zeros(tuple(value.shape), dtype=value.dtype)


class _Functions(TorchFunctionMode):
    """What is called above autograd and would ask the driver."""

    def __init__(self, gpu: FakeGPU) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        is_ours = bool(args) and isinstance(args[0], FakeTensor)
        if is_ours and name in LAYERS:
            return self._layer(name, *args, **kwargs)
        if func in (Tensor.backward, torch.autograd.grad):
            (root,) = args[0] if isinstance(args[0], tuple) else args[:1]
            if isinstance(root, FakeTensor):
                return self._go_back(root, None if func is Tensor.backward else args[1], kwargs)
        if is_ours and name == "numpy":
            raise TypeError(f"can't convert {args[0].device} device type tensor to numpy. Use Tensor.cpu() first")
        if is_ours and name == "tolist":
            return args[0].detach().cpu().tolist()
        if name in _DRAWS and args and isinstance(args[0], Tensor):
            self._check_generator(args[0], kwargs.get("generator"))
        return func(*args, **kwargs)

    def _go_back(self, root: Tensor, inputs: Sequence[Tensor] | None, asked: dict[str, Any]) -> Any:
        """Into the leaves, or the gradients of `inputs`."""
        assert root.dim() == 0, "only from a number"
        self._gpu.is_backward = True
        try:
            if inputs is None:
                return go_back(root, {})
            names = ("allow_unused", "materialize_grads")
            return gradients_of(root, inputs, **{name: bool(asked.get(name)) for name in names})
        finally:
            self._gpu.is_backward = False

    def _check_generator(self, into: Tensor, generator: torch.Generator | None) -> None:
        """ATen/core/Generator.h, check_generator; and CUDAGeneratorImpl.cpp, what a graph that is recorded asks."""
        if generator is None:
            return
        if generator.device != into.device:
            raise RuntimeError(f"Expected a '{into.device}' device type for generator but found '{generator.device}'")
        if self._gpu.is_capturing and generator not in self._gpu.registered:
            raise RuntimeError("Attempt to increase offset for a CUDA generator not in capture mode.")

    def _layer(self, kind: str, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """`_cudnn_impl` of the same RNN.cpp, and autocast_mode.cpp's cast of all that goes in to fp16."""
        sizes = arguments[0] if x.dim() == 2 else None  # of a packed sequence
        state, weights, has_biases, layers, dropout, train, *rest = arguments[0 if sizes is None else 1 :]
        given = (has_biases, layers, dropout, *rest)
        expected = (True, 1, 0.0, False, *([False] if sizes is None else []))
        assert given == expected, "a layer of a kind that the program never has"
        if sizes is not None and sizes.device.type != "cpu":
            raise RuntimeError("batch_sizes tensor should be on CPU")
        h, c = state if kind == "lstm" else (state, None)
        if torch.is_autocast_enabled("cuda"):
            x, h, weights = x.half(), h.half(), [weight.half() for weight in weights]
            c = None if c is None else c.half()
        elif not is_one_piece(weights):
            warnings.warn(_SCATTERED, stacklevel=2)
        mode, _ = LAYERS[kind]
        with torch.autocast("cuda", enabled=False):
            output, after, memory, *_ = torch._cudnn_rnn(
                x, list(weights), 4, x.new_empty(0), h, c, mode, h.shape[-1], 0, 1, False, 0.0, train, False,
                [] if sizes is None else sizes.tolist(), None,
            )  # fmt: skip
        return (output, after) if c is None else (output, after, memory)


@functools.cache
def _mode() -> FakeTensorMode:
    """The one there is: each reads the source of all that calls it when it is made, which takes a while."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextlib.contextmanager
def fake_gpu() -> Iterator[FakeGPU]:
    """Inside, this computer has a GPU. What is made on it there is of no use outside."""
    gpu, fake, to = FakeGPU(), _mode(), nn.Module.to

    def moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        device = kwargs.get("device", args[0] if args else None)
        is_there = any(isinstance(array, FakeTensor) for array in module.parameters())
        if device is None or torch.device(device).type != "cuda":
            assert not is_there, "a model that is on the GPU cannot be moved here"
            return to(module, *args, **kwargs)
        return module if is_there else moved_module(module, device)

    arrays._order_on_device.cache_clear()
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with contextlib.ExitStack() as stack:

        def replace(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        for name, value in driver(gpu).items():
            replace(torch.cuda, name, value)
        replace(torch, "Generator", Generator)
        replace(nn.Module, "to", moved)
        replace(nn.RNNBase, "flatten_parameters", lambda module: None)  # `moved_module` has done it
        # With these two torch would turn to the GPU that is_available has promised.
        replace(FakeTensorMode, "avoid_device_init", True)
        replace(fake_tensor, "init_gpu_context", lambda device: None)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        try:
            with fake, _Functions(gpu), _Operations(gpu):
                yield gpu
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed
            arrays._order_on_device.cache_clear()
