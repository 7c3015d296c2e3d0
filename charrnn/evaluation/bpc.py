"""Scoring text: the nats a model needs for it, each character but the first scored exactly once.

Training validates with the same function, so the loss has one definition everywhere: the sum of -ln p over all
scored characters, in nats, divided once by their count; bits per character = nats / (N ln 2).

*Streamed*, the state is carried through the whole text, which is how recurrent models are compared. The text is cut
into B lanes that are scored side by side. Lane 0 starts from the zero state, as a single stream does. Every other lane
first reads, without scoring, the `WARM_UP` characters before its own start. When all are done, the state each lane
started from is compared with the state in which the lane before it ended, at the same character; a lane that started
from another state (some models never converge from a zero state) is scored again from the right one. So the score is
the single stream's, whatever the number of lanes; windows only split the work.

Where documents end inside the text, lanes begin where a document does, and nothing has to be warmed up: what a
document costs is the same to the last bit, whatever stands before it. Only where documents are so long that a lane
would have more than twice its share are lanes cut anywhere.

*Windowed*, the text is cut into contexts of a fixed length, each read from the zero state, and every character after
the first of its context is scored: this is how transformers are measured, which see no further back.

Shape letters: T window, B lanes, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy

from charrnn.evaluation.score import TextScore
from charrnn.network.layers import StackState, lanes_of
from charrnn.network.threads import torch_beside
from charrnn.text.stored import TextIds

if TYPE_CHECKING:
    from charrnn.network.ensemble import Ensemble
    from charrnn.network.model import CharacterModel

WARM_UP = 1024
DEFAULT_WINDOW = 128
_MOST_LANES = 64
_MOST_LOGITS = 1 << 26
"""Logits that are computed at a time; they take 20 bytes each. Only thousands of different characters reach it."""
# The largest difference of outputs h that a warmed-up lane may have from the stream. Models that forget their initial
# state differ by 1e-6, others by 1.
_SAME_STATE = 1e-4
_LONGEST = 2
"""How much longer than all lanes' mean the longest may be, of those that begin with a document."""

Places = npt.NDArray[np.int64]
Model: TypeAlias = "CharacterModel | Ensemble"
Proceed = Callable[[int], object]
"""A function that is told the number of characters done, now and then; an exception from it ends the work."""


class Stopped(Exception):
    """The exception by which a `Proceed` ends the work, when the score is not needed any more."""


def default_lanes(characters: int) -> int:
    """Returns the number of lanes for a text of this length: enough of them to be fast, each eight times as long as
    its warm-up."""
    return max(1, min(_MOST_LANES, characters // (8 * WARM_UP)))


def score(
    model: Model,
    ids: TextIds,
    *,
    window: int = DEFAULT_WINDOW,
    lanes: int | None = None,
    context: int | None = None,
    temperature: float = 1.0,
    proceed: Proceed = lambda _done: None,
    losses: npt.NDArray[np.float32] | None = None,
) -> TextScore:
    """Scores `ids[1:]`, each given all ids before it; or with `context`, in contexts of that many characters.

    `window` characters of each of `lanes` lanes are read at a time. Logits are divided by `temperature`. `proceed` is
    called after each window with the number of characters scored so far. The nats of each character of `ids[1:]` are
    written into `losses`, where that is given; those of characters that are not scored are left as they are. Raises
    ValueError where `ids` or `context` has fewer than two characters.
    """
    if len(ids) < 2 or (context is not None and context < 2):
        raise ValueError("there is nothing to score: a text or a context has fewer than two characters")
    reader = _Reader(model, ids, window, temperature, proceed, losses)
    with reading(model):
        return reader.streamed(lanes) if context is None else reader.windowed(lanes or _MOST_LANES, context)


@contextlib.contextmanager
def reading(model: Model) -> Iterator[None]:
    """Puts the model into evaluation mode without gradients while the context lasts, so that cuDNN allocates nothing
    for a backward pass (in training mode it does: the "reserve" of every window)."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch_beside(model.is_compiled):
            yield
    finally:
        model.train(was_training)


def exact_losses(logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Returns -ln p (T, B) of `targets` (T, B) under logits (T, B, V) divided by `temperature`, in float64."""
    # In float64, which Apple's GPUs lack: float32 sums over millions of characters would lose precision.
    exact = logits.flatten(0, 1).to("cpu" if logits.device.type == "mps" else logits.device).double()
    if temperature != 1.0:
        exact = exact / temperature
    losses = cross_entropy(exact, targets.flatten().to(exact.device), reduction="none")
    return losses.reshape(targets.shape).cpu().numpy()


@dataclass(slots=True)
class _Reader:
    """Runs lanes of a text through a model."""

    model: Model
    ids: TextIds
    window: int
    temperature: float
    proceed: Proceed
    losses: npt.NDArray[np.float32] | None = None
    done: int = 0

    def streamed(self, lanes: int | None) -> TextScore:
        count = len(self.ids) - 1
        # A lane shorter than its warm-up would start from a state that is not yet the single stream's.
        lanes = min(lanes or default_lanes(count), max(1, count // WARM_UP))
        length = -(-count // lanes)  # the length of a lane; the last lane may be shorter
        starts = np.arange(0, count, length)
        if self.model.end is not None:
            begins = self.begins_of_documents(starts, self.model.end)
            lengths = np.diff(begins, append=count)
            if lengths.max() <= _LONGEST * length:
                nats, _ = self.score(begins, lengths, self.model.zero_state(len(begins)))
                return TextScore(float(nats.sum()), count)
        first = self.warm_up(starts)
        nats, last = self.score(starts, length, first)
        before = lanes_of(last, slice(0, 1))
        for lane in range(1, len(starts)):
            its = slice(lane, lane + 1)
            after = lanes_of(last, its)
            if not _is_same(before, lanes_of(first, its)):
                nats[its], after = self.score(starts[its], length, before)
            before = after
        return TextScore(float(nats.sum()), count)

    def begins_of_documents(self, places: Places, end: int) -> Places:
        """Returns for each place, but for the first, the last one up to it where `end` stands; each only once."""
        found = [0]
        for place in places[1:].tolist():
            ends = np.flatnonzero(self.ids[found[-1] + 1 : place + 1] == end)
            if len(ends):
                found.append(found[-1] + 1 + int(ends[-1]))
        return np.array(found)

    def windowed(self, lanes: int, context: int) -> TextScore:
        starts = np.arange(0, len(self.ids), context)
        length = min(context, len(self.ids)) - 1  # scored characters of each context; the last may have fewer, or none
        nats = 0.0
        for first in range(0, len(starts), lanes):
            some = starts[first : first + lanes]
            nats += float(self.score(some, length, self.model.zero_state(len(some)))[0].sum())
        return TextScore(nats, len(self.ids) - len(starts))

    def warm_up(self, starts: Places) -> StackState:
        """Returns the state in which each lane starts: zero for lane 0, for the others the state after a warm-up."""
        state = self.model.zero_state(1)
        if len(starts) == 1:
            return state
        others = self.model.zero_state(len(starts) - 1)
        window = self._window(len(starts) - 1)
        for start in range(-WARM_UP, 0, window):
            offsets = np.arange(start, min(start + window, 0))
            _, others = self.model(self._take(offsets[:, None] + starts[None, 1:]), others)
        return tuple(
            tuple(torch.cat(pair) for pair in zip(zero, warm, strict=True))
            for zero, warm in zip(state, others, strict=True)
        )

    def score(
        self, starts: Places, length: int | Places, state: StackState
    ) -> tuple[npt.NDArray[np.float64], StackState]:
        """Returns the nats (B,) of each lane's `length` characters (fewer where the text ends) and the state after
        the longest."""
        nats, window = np.zeros(len(starts)), self._window(len(starts))
        longest = int(np.max(length))
        for start in range(0, longest, window):
            steps = np.arange(start, min(start + window, longest))[:, None]
            places = steps + starts[None, :]
            is_text = (places < len(self.ids) - 1) & (steps < length)
            places = np.minimum(places, len(self.ids) - 2)
            logits, state = self.model(self._take(places), state)
            exact = exact_losses(logits, self._take(places + 1), self.temperature) * is_text
            nats += exact.sum(0)
            if self.losses is not None:
                self.losses[places[is_text]] = exact[is_text]
            self.done += int(is_text.sum())
            self.proceed(min(self.done, len(self.ids) - 1))
        return nats, state

    def _window(self, lanes: int) -> int:
        return logits_window(self.model, self.window, lanes)

    def _take(self, places: npt.NDArray[np.int64]) -> torch.Tensor:
        return as_tensor(self.ids[places], self.model)


def logits_window(model: Model, window: int, lanes: int) -> int:
    """Returns how many characters of each of some lanes are read at a time: `window`, or fewer of a large
    vocabulary."""
    return max(1, min(window, _MOST_LOGITS // (lanes * model.vocabulary_size)))


def as_tensor(ids: npt.NDArray[Any], model: Model) -> torch.Tensor:
    """Returns the ids as an int64 tensor on the model's device."""
    return torch.from_numpy(ids.astype(np.int64)).to(model.embedding.device)


def _is_same(one: StackState, other: StackState) -> bool:
    """Returns whether two states have the same outputs h: an lstm's saturated cells may differ without any effect."""
    return all(float((a[0] - b[0]).abs().max()) < _SAME_STATE for a, b in zip(one, other, strict=True))
