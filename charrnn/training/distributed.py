"""The processes that train one model together: their ranks, their number, and the messages that they exchange.

Started by torchrun, each process trains some of the lanes and all of them hold the same weights. Decisions that all
must take alike (by the clock, a signal, whether a loss is finite) are agreed on here; in a single process these
functions do nothing. Gradients are summed by torch's DistributedDataParallel (`backward.py`).

Terms are torch's: rank, world size, local rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from charrnn.errors import PeerError, UsageError
from charrnn.network import torchrun


@dataclass(frozen=True, slots=True)
class World:
    """One of the `size` processes that train a model together."""

    rank: int = 0
    size: int = 1

    @property
    def is_alone(self) -> bool:
        """Whether this is the only process."""
        return self.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def lanes(self, total: int, rank: int | None = None) -> slice:
        """Returns the lanes of a rank (by default this one) among `total`: contiguous shares, as equal as possible.

        >>> [World(rank, 3).lanes(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        rank = self.rank if rank is None else rank
        return slice(total * rank // self.size, total * (rank + 1) // self.size)

    def agree(self, *numbers: float) -> tuple[float, ...]:
        """Returns, for each of the numbers, the largest that any rank gave; every rank has to call this."""
        if self.is_alone:
            return numbers
        largest = torch.tensor(numbers, dtype=torch.float64)
        with _peers_explained():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return tuple(largest.tolist())

    def wait(self) -> None:
        """Returns when every rank has called it."""
        self.agree(0.0)

    def is_same(self, number: float) -> bool:
        """Whether all ranks gave the same number; every rank has to call this."""
        largest, negated = self.agree(number, -number)
        return largest == -negated

    def first_says(self, number: float) -> float:
        """Returns the number that the first rank gave; every rank has to call this."""
        return self.agree(number if self.is_first else -math.inf)[0]

    def total(self, array: Tensor) -> Tensor:
        """Returns the sum of all ranks' arrays, on the CPU where there is more than one rank."""
        if self.is_alone:
            return array
        summed = array.detach().cpu().clone()
        with _peers_explained():
            dist.all_reduce(summed)
        return summed

    def gather_lanes(self, array: Tensor, total: int) -> Tensor:
        """Joins the rows (lanes, H), float32, of all ranks to (total, H), on the CPU where there are several ranks."""
        if self.is_alone:
            return array
        whole = torch.zeros(total, *array.shape[1:])
        whole[self.lanes(total)] = array.detach().cpu()
        # All but one rank add zero to a row; the bits are added as whole numbers, so that none of them changes.
        with _peers_explained():
            dist.all_reduce(whole.view(torch.int32))
        return whole


@contextmanager
def _peers_explained() -> Iterator[None]:
    """Turns torch's error about a process that has ended into a PeerError; the failed process has printed why."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError("another process of this run has stopped", "see what that one said") from error


ALONE = World()


def world_from_environment() -> World:
    """Returns the world that torchrun describes in the environment, or that of a single process without torchrun."""
    world = World(torchrun.rank(), torchrun.world_size())
    if world.rank >= world.size:
        raise UsageError(f"RANK is {world.rank}, and WORLD_SIZE {world.size}", "start with torchrun, or unset both")
    return world


def local_device(device: torch.device, world: World) -> torch.device:
    """Returns this process's device: each has a GPU of its own. Raises UsageError where there are too few GPUs."""
    if device.type != "cuda" or world.is_alone:
        return device
    if not torch.cuda.is_available():  # only planned for
        return device
    local, count = torchrun.local_rank(), torch.cuda.device_count()
    if local >= count:
        raise UsageError(
            f"process {local + 1} of this machine has no GPU of its own: there are {count}",
            f"start with --nproc-per-node {count}, or use --device cpu",
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


_joined: list[str] = []


def has_joined() -> bool:
    """Whether this process has ever been one of several: threads of that time may still run."""
    return bool(_joined)


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """Lets the processes communicate inside: numbers on the CPU through gloo, gradients on GPUs through NCCL.

    Where torch was built without NCCL, as on Windows, gradients on GPUs go through gloo too.
    """
    if world.is_alone:
        yield
        return
    has_gpu = device.type == "cuda" and torch.cuda.is_available()
    try:
        between_gpus = "nccl" if dist.is_nccl_available() else "gloo"
        dist.init_process_group(f"cpu:gloo,cuda:{between_gpus}" if has_gpu else "gloo")
    except ValueError as error:  # it names the variable of the environment that is missing
        raise UsageError(f"the processes do not find each other: {error}", "start with torchrun") from error
    _joined.append(device.type)
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_parts(lanes: int, processes: int, parts: int) -> None:
    """Raises UsageError where a step has fewer lanes than pieces."""
    if lanes < processes * parts:
        raise UsageError(
            f"--batch is {lanes}, too few lanes for {processes * parts} pieces of a step",
            f"use --batch {processes * parts} or more" + (", or a smaller --accumulate" if parts > 1 else ""),
        )
