"""From a text and a checkpoint to the numbers that `eval` prints.

A text of its own has a vocabulary of its own. Characters the model does not know cannot have a probability; they are
refused, or charged at the price of naming any one of Unicode's 1,114,112 code points, so that leaving them out never
makes a model look better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import TextError
from charrnn.evaluation.bpc import Proceed, score, score_windowed
from charrnn.evaluation.score import Score
from charrnn.network.model import CharacterModel
from charrnn.settings.choices import UnknownPolicy
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import NUM_CODE_POINTS, Ids

Split = Literal["all", "train", "validation", "test"]

_PIECE = 1 << 20
_LARGEST_EXPONENT = 709.0  # exp of more is beyond a float

NATS_PER_UNKNOWN = math.log(NUM_CODE_POINTS)
"""A uniform choice among all code points: 20.09 bits."""


@dataclass(frozen=True, slots=True)
class ForeignText:
    """A text in the model's ids."""

    ids: Ids
    bytes: int
    """UTF-8 bytes of the scored characters: all but the first, unknown ones included."""
    unknown: int
    """Unknown characters after the first."""
    originals: Ids
    """What `ids` are in the text's own vocabulary."""
    lengths: npt.NDArray[np.int64]
    """UTF-8 bytes of each character of that vocabulary."""
    is_charged: npt.NDArray[np.bool_]
    """Which characters of that vocabulary are unknown."""

    @classmethod
    def of(cls, corpus: Corpus, checkpoint: Checkpoint, split: Split, policy: UnknownPolicy) -> Self:
        """The part `split` of `corpus`. Raises TextError where characters are unknown or nothing is left to score."""
        ids = corpus.ids if split == "all" else getattr(corpus.split(checkpoint.data), split)
        ours, theirs = corpus.vocabulary, checkpoint.vocabulary
        lengths = _utf8_lengths(ours.code_points) if ours.kind == "text" else np.ones(256, np.int64)
        counts = _counts(ids, len(ours))
        num_bytes = int(counts @ lengths) - (int(lengths[ids[0]]) if len(ids) else 0)
        table = theirs.lookup(ours.characters) if ours.kind == "text" else np.arange(256, dtype=np.uint32)
        is_unknown = table >= len(theirs)
        is_charged = is_unknown.copy()
        missing = np.flatnonzero(is_unknown & (counts > 0))
        unknown = int(counts[missing].sum())
        if unknown and policy == "error":
            characters = ours.characters
            theirs.check_unknown({characters[i]: int(counts[i]) for i in missing.tolist()}, policy)
        if unknown:
            unknown -= int(is_unknown[ids[0]])  # the first character is context, whatever it is
            if policy == "replace":
                for i in missing.tolist():
                    nearest = theirs.nearest(ours.characters[i])
                    if nearest is not None:
                        table[i], is_unknown[i] = theirs.lookup(nearest)[0], False
            ids = ids[~is_unknown[ids]]
        if len(ids) + unknown < 2:
            raise TextError(f"there is nothing to score: the text has {len(ids) + unknown} characters", "it needs two")
        originals = ids
        if not np.array_equal(table, np.arange(len(table))):
            ids = table.astype(theirs.dtype)[ids]
        return cls(ids, num_bytes, unknown, originals, lengths, is_charged)

    def without_firsts(self, context: int) -> tuple[int, int]:
        """`bytes` and `unknown` where the first of each `context` characters fed to the model is not scored."""
        firsts = self.originals[context::context]  # the first of all is not among either as it is
        return self.bytes - int(self.lengths[firsts].sum()), self.unknown - int(self.is_charged[firsts].sum())


def _counts(ids: Ids, size: int) -> npt.NDArray[np.int64]:
    """How often each id occurs; a piece at a time, since numpy makes eight bytes of each id that it counts."""
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), _PIECE):
        counts += np.bincount(ids[start : start + _PIECE], minlength=size)
    return counts


def _utf8_lengths(code_points: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return 1 + (code_points >= 0x80).astype(np.int64) + (code_points >= 0x800) + (code_points >= 0x10000)


def make_model(checkpoint: Checkpoint, device: torch.device) -> CharacterModel:
    """The checkpoint's model, with a copy of its weights."""
    model = CharacterModel(checkpoint.model, len(checkpoint.vocabulary))
    model.load_arrays(checkpoint.parameters)
    return model.to(device)


def report(
    checkpoint: Checkpoint,
    text: ForeignText,
    *,
    device: torch.device,
    window: int,
    lanes: int | None,
    context: int | None = None,
    temperature: float = 1.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """The figures of `text`, JSON-ready. Unknown characters are charged on top of what the model is fed.

    With a `context` the protocol is the windowed one, with windows of so many characters.
    """
    model = make_model(checkpoint, device)

    def proceed(done: int) -> bool:
        if progress:
            progress("scoring", done, len(text.ids) - 1)
        return True

    result = Score(0.0, 0)
    if len(text.ids) > 1:
        scored = score_by_protocol(
            model, text.ids, device, window, lanes, context, temperature=temperature, proceed=proceed
        )
        assert scored is not None
        result = scored
    return figures(result, text, context)


def score_by_protocol(
    model: CharacterModel,
    ids: Ids,
    device: torch.device,
    window: int,
    lanes: int | None,
    context: int | None,
    *,
    temperature: float,
    proceed: Proceed = lambda _done: True,
) -> Score | None:
    """`score`, or with a `context` `score_windowed`."""
    if context is None:
        return score(model, ids, window=window, lanes=lanes, device=device, temperature=temperature, proceed=proceed)
    return score_windowed(
        model, ids, context=context, window=window, lanes=lanes, device=device, temperature=temperature, proceed=proceed
    )


def figures(result: Score, text: ForeignText, context: int | None = None) -> dict[str, Any]:
    """What was found for the known characters of `text`, with the unknown ones charged on top."""
    num_bytes, unknown = (text.bytes, text.unknown) if context is None else text.without_firsts(context)
    nats = result.nats + unknown * NATS_PER_UNKNOWN
    characters = result.characters + unknown
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
    if context is not None:
        found |= {"context": context, "windows": -(-len(text.ids) // context)}
    return found
