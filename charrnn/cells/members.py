"""The arrays of an ensemble: K models of one configuration, whose probabilities are averaged.

The arrays of member k (from 1) have the names of `parameters.py` behind `member.<k>.`; those of a single model have
them plain:

    log p(x) = logsumexp_k log p_k(x) - log K

Where units are named, a layer of an ensemble has the units of all members, one member after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from charrnn.cells.arrays import Array, Arrays
from charrnn.cells.parameters import forget
from charrnn.settings.config import ModelConfig

T = TypeVar("T")


def joined(members: Sequence[Mapping[str, T]]) -> Mapping[str, T]:
    """Returns the arrays of members under the names of an ensemble; of a single one those that are given.

    What else belongs to an array, such as its shape, can stand in its place.
    """
    if len(members) == 1:
        return members[0]
    return {f"member.{k}.{name}": array for k, arrays in enumerate(members, 1) for name, array in arrays.items()}


def parted(arrays: Arrays, members: int) -> list[Arrays]:
    """Returns the arrays of each member under its plain names: the inverse of `joined`. No array is copied."""
    return [arrays] if members == 1 else [_Member(arrays, f"member.{k}.") for k in range(1, members + 1)]


def count_members(names: Iterable[str]) -> int:
    """Returns how many members arrays of these names are of."""
    return len({name.split(".")[1] for name in names if name.startswith("member.")}) or 1


def as_one(config: ModelConfig, members: int) -> ModelConfig:
    """Returns the configuration by which the units of an ensemble are named: each layer has those of all members."""
    if members == 1:
        return config
    # What layers and decoder read is of no account here, and would have to be as wide under some of its settings.
    return replace(config, hidden_size=members * config.hidden_size, tie=False, skip="none")


class _Member(Mapping[str, Array]):
    """The arrays of one member, in the arrays of an ensemble."""

    def __init__(self, arrays: Arrays, prefix: str) -> None:
        self._arrays, self._prefix = arrays, prefix

    def __getitem__(self, name: str) -> Array:
        return self._arrays[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._arrays if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def forget(self, name: str) -> None:
        """Frees the memory of an array that can be read again; see `parameters.forget`."""
        forget(self._arrays, self._prefix + name)
