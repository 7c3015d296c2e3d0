"""Where a sample ends, and why: at a stop text, with a sentence, line or paragraph, with its document, at its length.

What may end a sample is looked for among its ids, so that a stop text is found wherever its bytes or characters lie in
the pieces that a model writes. The text ends with the first thing that ends it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from charrnn.errors import UsageError
from charrnn.sampling.adjusting import coded
from charrnn.sampling.units import REACH, open_end, unit_end
from charrnn.settings.sampling import SamplingConfig, UnitName
from charrnn.text.vocabulary import Vocabulary, describe_character

Reason = Literal["length", "stop", "sentence", "line", "paragraph", "end"]
"""Why a sample ended; `end` is the model's own end of a document."""

_NEEDED: dict[UnitName, str] = {
    "sentence": ".!?\u2026\u3002\uff01\uff1f\n",
    "line": "\n",
    "paragraph": "\n",
}
"""Characters of which the model must know one, or nothing it writes can end a unit."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a sample ended."""

    reason: Reason
    stop: str | None = None
    """The stop text that came, where one did."""

    @property
    def is_line(self) -> bool:
        """Whether the sample's last line is whole."""
        return self.reason in ("line", "end") or (self.stop is not None and self.stop.endswith("\n"))


class Look(NamedTuple):
    """What is known of a sample's end after some of its ids."""

    certain: int
    """How many of the ids belong to the sample, whatever follows."""
    ended: Ended | None
    """Why it ended with these, or None where it goes on."""
    counted: int = 0
    """How many ids had to be drawn to know that it ended: those that belong to it, and an end of document."""


class Stopping:
    """What ends a sample before its length, by its settings and the model's vocabulary.

    Raises UsageError for a stop that can never come, since the model lacks a character of it.
    """

    def __init__(self, config: SamplingConfig, vocabulary: Vocabulary) -> None:
        for stop in config.stops:
            if missing := vocabulary.missing(stop):
                raise UsageError(
                    f"--stop {stop!r} can never come: the model's vocabulary lacks "
                    + ", ".join(map(describe_character, missing)),
                    r"a line end is typed as \n or as $'\n'" if "\\" in missing else "stop at what the model can write",
                )
        self._unit = config.stop_at
        if self._unit is not None and not any(character in vocabulary for character in _NEEDED[self._unit]):
            raise UsageError(
                f"--stop-at {self._unit} can never come: the model writes nothing that ends one",
                "use --stop or --length",
            )
        self._vocabulary = vocabulary
        self._stops = [(stop, coded(vocabulary.encode(stop).tolist())) for stop in config.stops]
        self._end = vocabulary.end
        self.reach = max([4 * REACH if self._unit else 1, *(len(sought) for _, sought in self._stops)])
        """How many ids before new ones must be known to find an end among the new ones."""

    def look(self, ids: Sequence[int], known: int, *, is_cut: bool = False) -> Look:
        """Returns what is known after `ids` of one sample, which had not ended with the first `known` of them.

        With `is_cut` the sample has more ids before these.
        """
        found: list[tuple[int, Look]] = []  # how many ids it takes to know of an end, and what is known
        if self._end is not None and self._end in ids[known:]:
            place = list(ids).index(self._end, known)
            found.append((place + 1, Look(place, Ended("end"), place + 1)))
            ids = ids[:place]
        as_text = coded(ids) if self._stops else ""
        for stop, sought in self._stops:
            place = as_text.find(sought, max(0, known - len(sought) + 1))
            if place >= 0:
                end = place + len(sought)
                found.append((end, Look(end, Ended("stop", stop), end)))
        certain = len(ids)
        if self._unit is not None:
            text, ends = self._decoded(ids)
            unit = unit_end(text, self._unit, ends[known - 1] if known else 0, is_cut=is_cut)
            if unit is not None:
                kept = _ids_of(ends, unit.end)
                found.append((bisect_left(ends, unit.seen) + 1, Look(kept, Ended(self._unit), kept)))
            certain = _ids_of(ends, len(text) - open_end(text, self._unit))
        if found:
            return min(found, key=lambda each: (each[0], each[1].ended != Ended("end"), -each[1].certain))[1]
        return Look(certain, None)

    def _decoded(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """Returns the text of whole characters, and how many of them are complete after each id."""
        decode = self._vocabulary.decoder()
        texts = [decode(id_) for id_ in ids]
        return "".join(texts), list(accumulate(map(len, texts)))


def _ids_of(ends: Sequence[int], characters: int) -> int:
    """Returns how many ids make up the first characters of a text."""
    if not characters:
        return 0
    place = bisect_left(ends, characters)
    return place + (place < len(ends) and ends[place] == characters)
