"""Computes the numbers that `eval` prints, from a text and a checkpoint.

The text may have characters that the model does not know, which therefore have no probability. They are refused, or
charged at the cost of choosing one of Unicode's 1,114,112 code points, so that leaving them out never makes a model
look better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.lineage import parts_as
from charrnn.errors import TextError
from charrnn.evaluation.bpc import DEFAULT_WINDOW, Model, Proceed, score
from charrnn.evaluation.score import TextScore
from charrnn.network.ensemble import make_model
from charrnn.settings.choices import UnknownPolicy
from charrnn.text.corpus import Corpus
from charrnn.text.stored import TextIds, pieces
from charrnn.text.vocabulary import NUM_CODE_POINTS, Ids
from charrnn.wording import count

Split = Literal["all", "train", "validation", "test"]
Progress = Callable[[str, int, int], object]
"""A function that is told what is being done, the number of characters done and their number in all."""

_PIECE = 1 << 20
_LARGEST_EXPONENT = 709.0  # exp of more is beyond a float

NATS_PER_UNKNOWN = math.log(NUM_CODE_POINTS)
"""The cost of an unknown character: that of a uniform choice among all code points, 20.09 bits."""


@dataclass(frozen=True, slots=True)
class ForeignText:
    """A text in the model's ids, and what is known of its characters in the text's own vocabulary."""

    ids: TextIds
    bytes: int
    """The number of UTF-8 bytes of the scored characters: all but the first, unknown ones included."""
    unknown: int
    """The number of unknown characters after the first character."""
    originals: TextIds
    """The ids of the same characters in the text's own vocabulary."""
    lengths: npt.NDArray[np.int64]
    """The number of UTF-8 bytes of each character of the text's own vocabulary."""
    is_charged: npt.NDArray[np.bool_]
    """Which characters of the text's own vocabulary are unknown to the model."""
    whole: TextIds
    """The ids of all characters in the text's own vocabulary, with those that are not fed to the model."""
    is_skipped: npt.NDArray[np.bool_]
    """Which characters of the text's own vocabulary are not fed to the model."""
    documents: int | None = None
    """How many documents the text has, the end of each of which is scored as a character; None where it has none."""

    @property
    def num_skipped(self) -> int:
        """The number of unknown characters after the first character that are charged without being fed."""
        skipped = len(self.whole) - len(self.ids)
        return skipped - int(bool(skipped) and bool(self.is_skipped[self.whole[0]]))

    @classmethod
    def of(cls, corpus: Corpus, checkpoint: Checkpoint, split: Split, policy: UnknownPolicy) -> Self:
        """Returns the part `split` of `corpus`. Raises TextError where characters are unknown or nothing is left to
        score."""
        ids = corpus.ids if split == "all" else parts_as(checkpoint, corpus).part(split)
        ours, theirs = corpus.vocabulary, checkpoint.vocabulary
        lengths = _utf8_lengths(ours.code_points) if ours.kind == "text" else np.ones(256, np.int64)
        if ours.has_end:  # which costs a byte, as a line end does
            lengths = np.append(lengths, 1)
        counts = _counts(ids, len(ours))
        documents = None if ours.end is None else max(0, int(counts[ours.end]) - 1)
        num_bytes = int(counts @ lengths) - (int(lengths[ids[0]]) if len(ids) else 0)
        table = theirs.lookup(ours.characters) if ours.kind == "text" else np.arange(256, dtype=np.uint32)
        if ours.end is not None:
            assert theirs.end is not None, "the text was cut as the model's own"
            table = np.append(table, np.uint32(theirs.end))
        is_unknown = table >= len(theirs)
        is_charged = is_unknown.copy()
        missing = np.flatnonzero(is_unknown & (counts > 0))
        unknown, left_out = int(counts[missing].sum()), 0
        whole, symbol = ids, theirs.unknown_symbol
        if unknown and symbol is None and policy == "error":
            characters = ours.characters
            theirs.check_unknown({characters[i]: int(counts[i]) for i in missing.tolist()}, policy)
        if unknown:
            unknown -= int(is_unknown[ids[0]])  # the first character is context, whatever it is
            if symbol is not None:  # which is fed, and scored as that
                table[is_unknown], is_unknown[:] = symbol, False
            elif policy == "replace":
                for i in missing.tolist():
                    nearest = theirs.nearest(ours.characters[i])
                    if nearest is not None:
                        table[i], is_unknown[i] = theirs.lookup(nearest)[0], False
            left_out = int(counts[is_unknown].sum()) - int(is_unknown[ids[0]])
            ids = np.concatenate([piece[~is_unknown[piece]] for piece in pieces(ids, _PIECE)])
        if len(ids) + left_out < 2:
            if documents is not None:
                raise TextError("there is nothing to score: the text has no document that is not empty")
            there = count(len(ids) + left_out, "character")
            raise TextError(f"there is nothing to score: the text has {there}", "it needs two")
        originals = ids
        if not np.array_equal(table, np.arange(len(table))):
            ids = _translated(ids, table.astype(theirs.dtype))
        return cls(ids, num_bytes, unknown, originals, lengths, is_charged, whole, is_unknown, documents)

    def without_firsts(self, context: int) -> tuple[int, int]:
        """Returns `bytes` and `unknown` where the first of each `context` characters fed to the model is not scored."""
        firsts = self.originals[context::context]  # the very first character is excluded already
        return self.bytes - int(self.lengths[firsts].sum()), self.unknown - int(self.is_charged[firsts].sum())


def _translated(ids: TextIds, table: npt.NDArray[Any]) -> Ids:
    """Returns the ids that a table (V,) has in the places of `ids`, which are read a piece at a time."""
    found, start = np.empty(len(ids), table.dtype), 0
    for piece in pieces(ids, _PIECE):
        found[start : start + len(piece)] = table[piece]
        start += len(piece)
    return cast("Ids", found)


def _counts(ids: TextIds, size: int) -> npt.NDArray[np.int64]:
    """Returns how often each id occurs (V,); counts a piece at a time, since numpy makes eight bytes of each id that it
    counts."""
    counts = np.zeros(size, np.int64)
    for piece in pieces(ids, _PIECE):
        counts += np.bincount(piece, minlength=size)
    return counts


def _utf8_lengths(code_points: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return 1 + (code_points >= 0x80).astype(np.int64) + (code_points >= 0x800) + (code_points >= 0x10000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Static:
    """The settings of the static score (see `bpc.score`), and the device that computes it."""

    device: torch.device
    window: int = DEFAULT_WINDOW
    lanes: int | None = None
    context: int | None = None

    def model(self, checkpoint: Checkpoint) -> Model:
        """Returns the checkpoint's model on the device, with a copy of its weights."""
        vocabulary = checkpoint.vocabulary
        return make_model(checkpoint.model, checkpoint.parameters, len(vocabulary), vocabulary.end).to(self.device)

    def score(
        self,
        model: Model,
        ids: TextIds,
        temperature: float = 1.0,
        proceed: Proceed = lambda _done: None,
        losses: npt.NDArray[np.float32] | None = None,
    ) -> TextScore:
        """Returns the static score of `ids[1:]` at a temperature; see `bpc.score` for `losses`."""
        return score(
            model, ids, window=self.window, lanes=self.lanes, context=self.context, temperature=temperature,
            proceed=proceed, losses=losses,
        )  # fmt: skip


def static_figures(
    model: Model,
    text: ForeignText,
    how: Static,
    progress: Progress = lambda *_: None,
    temperature: float = 1.0,
    losses: npt.NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Returns the figures of `text`, scored by a model at a temperature, ready for JSON.

    `bpc.score` tells what `losses` are for.
    """
    result, total = TextScore(0.0, 0), len(text.ids) - 1
    if total > 0:
        result = how.score(model, text.ids, temperature, lambda done: progress("scoring", done, total), losses)
    return figures(result, text, how.context)


def figures(result: TextScore, text: ForeignText, context: int | None = None) -> dict[str, Any]:
    """Returns the figures of `text` from the score of its known characters; the unknown ones are charged on top."""
    num_bytes, unknown = (text.bytes, text.unknown) if context is None else text.without_firsts(context)
    nats = result.nats + unknown * NATS_PER_UNKNOWN
    characters = result.characters + text.num_skipped
    nats_per_character = nats / characters
    found = {
        "protocol": "streamed" if context is None else "windowed",
        "characters": characters,
        "bytes": num_bytes,
        "nats_per_character": nats_per_character,
        "bits_per_character": nats_per_character / math.log(2),
        "bits_per_byte": nats / (num_bytes * math.log(2)),
        "perplexity": math.exp(min(nats_per_character, _LARGEST_EXPONENT)),
        "unknown_characters": unknown,
    }
    if text.documents is not None:
        found["documents"] = text.documents
    if context is not None:
        found |= {"context": context, "windows": -(-len(text.ids) // context)}
    return found
