"""What each character of a text costs a model, beside the characters themselves: what a score is broken down by.

This module imports no torch. Shape letters: N characters of the text, K of them fed to the model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from charrnn.text.stored import TextIds
from charrnn.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from charrnn.evaluation.report import ForeignText

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Reading = Literal["streamed", "windowed", "lines"]
"""Where the model's state begins at zero: at the text alone, at each window, at each line."""


@dataclass(frozen=True, slots=True, eq=False)
class Itemised:
    """A text, and what each of its characters costs."""

    text: str
    """The characters, N; in byte mode one for each byte. The end of a document is a line end."""
    nats: Floats
    """What each costs (N,); 0 where it is not scored."""
    is_scored: Mask
    """Which are scored (N,); the first of the text, or of a window, is not."""
    is_unknown: Mask
    """Which the model does not know and is charged for (N,)."""
    is_line_end: Mask
    """Which end a line (N,), or a document in a text of documents."""
    begins: Numbers
    """The places of the first characters since the model's state was zero, ascending, the first of them 0. Behind the
    end of a document is one: the end before it is read from the zero state, as the line end before a line is."""
    fed: Numbers
    """The places of the characters that are fed to the model (K,)."""
    kind: Literal["text", "bytes"] = "text"
    has_documents: bool = False
    """Whether lines are documents, before the first of which stands the end of none."""

    @property
    def total(self) -> float:
        """The nats of the whole text."""
        return float(self.nats.sum(dtype=np.float64))

    @property
    def characters(self) -> int:
        """The number of characters that are scored."""
        return int(self.is_scored.sum())

    def lines(self) -> Iterator[Line]:
        """Yields the lines, or documents, in the order of the text."""
        ends = np.flatnonzero(self.is_line_end) + 1
        if not len(ends) or ends[-1] < len(self.text):
            ends = np.append(ends, len(self.text))
        starts = np.concatenate(([0], ends[:-1]))
        nats = np.add.reduceat(self.nats, starts, dtype=np.float64).tolist()
        counts = np.add.reduceat(self.is_scored, starts, dtype=np.int64).tolist()
        number = 0
        for start, end, cost, scored in zip(starts.tolist(), ends.tolist(), nats, counts, strict=True):
            text = self.text[start : end - bool(self.is_line_end[end - 1])]
            if self.has_documents and end == 1:
                continue
            number += 1
            yield Line(number, text, scored, cost)


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or a document, and what its characters and its end cost together."""

    number: int
    """From 1."""
    text: str
    """Without its end."""
    characters: int
    """The number of characters that are scored, with the line's end."""
    nats: float

    @property
    def bits_per_character(self) -> float | None:
        """Returns the mean cost; None where nothing is scored."""
        return self.nats / (self.characters * float(np.log(2))) if self.characters else None


def itemised(
    text: ForeignText,
    losses: Floats,
    vocabulary: Vocabulary,
    *,
    unknown_nats: float,
    context: int | None = None,
    reads_lines: bool = False,
) -> Itemised:
    """Returns the characters of `text`, in whose own `vocabulary` they are, with their losses.

    `losses` are those of all ids but the first (K - 1,), from one stream or from windows of `context` characters, or
    with `reads_lines` those of all ids (K,), where each line was read by itself. An unknown character costs
    `unknown_nats` on top.
    """
    whole = np.asarray(text.whole)
    N, end = len(whole), getattr(vocabulary, "end", None)
    is_fed = ~text.is_skipped[whole]
    fed = np.flatnonzero(is_fed)
    characters = _characters(vocabulary)
    is_line_end = whole == end if end is not None else (characters == ord("\n"))[whole]
    nats, is_scored = np.zeros(N, np.float32), np.zeros(N, bool)
    if reads_lines:
        nats[fed], is_scored[fed] = losses, True
        begins = np.concatenate(([0], np.flatnonzero(is_line_end) + 1))
    else:
        is_first = np.zeros(len(fed), bool)
        is_first[:: context or max(1, len(fed))] = True
        nats[fed[1:]] = np.where(is_first[1:], 0, losses)
        is_scored[fed[~is_first]] = True
        begins = fed[is_first]
    charged = text.is_charged[whole] & (~is_fed | is_scored)
    if not reads_lines:
        charged[:1] = False  # the first character is context, whatever it is
    nats[charged] += np.float32(unknown_nats)
    is_scored |= charged
    begins = np.concatenate(([0], begins))
    if end is not None:
        begins = np.concatenate((begins, np.flatnonzero(whole == end) + 1))
    return Itemised(
        _decoded(whole, characters), nats, is_scored, charged, is_line_end,
        np.unique(begins[begins < N]), fed, vocabulary.kind, end is not None,
    )  # fmt: skip


def text_of(ids: TextIds, vocabulary: Vocabulary) -> str:
    """Returns a text that has one character for each id; in byte mode one for each byte."""
    return _decoded(np.asarray(ids), _characters(vocabulary))


def _decoded(ids: npt.NDArray[Any], characters: npt.NDArray[Any]) -> str:
    return str(characters[ids].tobytes(), "utf-32-le", "surrogatepass")


def _characters(vocabulary: Vocabulary) -> npt.NDArray[Any]:
    """Returns the code point of each id (V,), that of a line end for the end of a document."""
    points = np.full(len(vocabulary), ord("\n"), "<u4")
    known = vocabulary.code_points
    points[: len(known)] = known
    return points
