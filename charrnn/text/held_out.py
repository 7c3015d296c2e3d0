"""Which places of a text are held out, as half-open ranges, and what is left of it to train on.

The ranges are chosen once, when a run begins, and kept in its checkpoints, so that they stay where they are when a text
grows, and whatever files it is given as later. Documents are held out otherwise (`documents.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np

from charrnn.errors import TextError
from charrnn.settings.choices import HeldOutName
from charrnn.settings.config import DataConfig
from charrnn.text import spreading
from charrnn.text.joined import joined
from charrnn.text.stored import TextIds, part_of
from charrnn.text.vocabulary import Vocabulary

Range = tuple[int, int]
Ranges = tuple[Range, ...]
_FEWEST_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is held out of a text, without a separate text to validate on: ranges that are ascending, each of one file
    or of a block of one. Those of both parts have no place in common, and none is empty."""

    validation: Ranges = ()
    test: Ranges = ()

    def part(self, name: Literal["validation", "test"], ids: TextIds) -> TextIds:
        """Returns the ids of a part of a text, one range after the other."""
        ranges: Ranges = getattr(self, name)
        return joined([part_of(ids, start, stop) for start, stop in ranges] or [part_of(ids, 0, 0)])

    def training(self, ids: TextIds) -> TextIds:
        """Returns the ids of a text that are not held out, in their order."""
        return joined([part_of(ids, start, stop) for start, stop in self.left(len(ids))] or [part_of(ids, 0, 0)])

    def left(self, length: int) -> Iterator[Range]:
        """Yields the ranges of a text of this length that are not held out."""
        place = 0
        for start, stop in (*sorted((*self.validation, *self.test)), (length, length)):
            if place < start:
                yield place, start
            place = stop

    def is_end(self, length: int) -> bool:
        """Returns whether it is the end of a text of this length, in one stretch."""
        return len([*self.left(length)]) <= 1 and not any(start == 0 for start, _ in (*self.validation, *self.test))

    def outside(self, other: HeldOut, length: int) -> int:
        """Returns how many characters of what is held out here `other` leaves in a text of this length."""
        left = np.array([*other.left(length)]).reshape(-1, 2)
        held = (*self.validation, *self.test)
        return sum(
            int((np.minimum(left[:, 1], stop) - np.maximum(left[:, 0], start)).clip(0).sum()) for start, stop in held
        )

    def places(self, places: Sequence[int], length: int) -> list[int]:
        """Returns where in a text of this length the characters stand that have these places in its training part."""
        left = np.array([*self.left(length)]).reshape(-1, 2)
        ends = np.cumsum(left[:, 1] - left[:, 0])
        which = np.minimum(np.searchsorted(ends, places, side="right"), len(left) - 1)
        return [int(left[one, 1] - ends[one] + place) for one, place in zip(which.tolist(), places, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Returns the ranges ready for JSON."""
        return {"validation": [*map(list, self.validation)], "test": [*map(list, self.test)]}

    @classmethod
    def of_dict(cls, content: Any, length: int) -> Self:
        """Returns the inverse, of a text of so many characters. Raises ValueError, TypeError or KeyError for anything
        else."""
        validation, test = (tuple(_range(each) for each in content[name]) for name in ("validation", "test"))
        every = sorted((*validation, *test))
        borders = [0, *(place for each in every for place in each), length]
        if any(one > two for one, two in pairwise(borders)) or any(start == stop for start, stop in every):
            raise ValueError("ranges that are empty, have a place in common or are beyond the text")
        if len(content) != 2 or [*validation] != sorted(validation) or [*test] != sorted(test):
            raise ValueError("no ranges in order")
        return cls(validation, test)


def _range(content: Any) -> Range:
    start, stop = content
    if type(start) is not int or type(stop) is not int:
        raise TypeError("no whole numbers")
    return start, stop


def usual(characters: int, share: float, files: int) -> HeldOutName:
    """Returns what is held out of a text without a customary split, where nobody says it.

    That is whole files of several. Of one it is blocks, but its end where there would be too few of them.
    """
    if files > 1:
        return "files"
    return "blocks" if share * characters >= _FEWEST_BLOCKS * spreading.FEWEST else "end"


def choose(ids: TextIds, files: Sequence[int], vocabulary: Vocabulary, config: DataConfig) -> HeldOut:
    """Returns what of a text is held out, as `config` says; `files` are the lengths of its files, one after the other.

    Raises TextError where it has too few characters to hold any out.
    """
    length = len(ids)
    if config.held_out in (None, "end"):
        # nanoGPT's customary cut of tiny Shakespeare, int(n * 0.9), is this one with the shares (0.1, 0).
        first = int(length * (1.0 - (config.validation_fraction + config.test_fraction)))
        second = int(length * (1.0 - config.test_fraction))
        return HeldOut(*((found,) if found[0] < found[1] else () for found in ((first, second), (second, length))))
    wanted = {"test": round(config.test_fraction * length), "validation": round(config.validation_fraction * length)}
    parts = {name: number for name, number in wanted.items() if number}
    if not parts:
        return HeldOut()
    files = files if config.held_out == "files" else [length]
    smallest = max(1, min(*parts.values(), length - sum(parts.values())))
    units, ranges = spreading.cut(files, smallest), dict[str, Ranges]()
    if len(units) <= len(parts):
        raise TextError(
            f"--held-out {config.held_out} has only {len(units)} parts of the text to choose from",
            "hold out less, or --held-out end",
        )
    for stream, (name, number) in enumerate(parts.items()):
        numbers = spreading.chosen(ids, units, number, config.split_seed, stream, keep=len(parts) - stream)
        found = spreading.at_line_ends(ids, units.some(numbers), files, spreading.block_size(smallest), vocabulary)
        ranges[name] = tuple(zip(found.begins.tolist(), found.ends.tolist(), strict=True))
        is_left = np.ones(len(units), bool)
        is_left[numbers] = False
        units = units.some(is_left)
    return HeldOut(ranges.get("validation", ()), ranges.get("test", ()))


def described(ranges: Ranges, files: Sequence[int]) -> str:
    """Returns which files and blocks ranges are, such as "12 of 214 files and 3 blocks of longer ones"."""
    ends = np.cumsum(files)
    whole = {(end - size, end) for end, size in zip(ends.tolist(), files, strict=True) if size}
    number = sum(each in whole for each in ranges)
    blocks = len(ranges) - number
    said = f"{number:,} of {len(whole):,} files" if number else ""
    if blocks:
        said += (" and " if said else "") + f"{blocks:,} block{'s' if blocks > 1 else ''}"
        said += (" of longer ones" if blocks > 1 else " of a longer one") if number else ""
    return said
