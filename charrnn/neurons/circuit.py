"""Finds a circuit: the smallest set of units that keeps the loss where a label ends, with all others held still.

A unit is a place in a layer with all that it holds, and held still means that what others read of it is its mean over
the first half of the text (`subnetwork.py`). The loss L(S) of a set S of units is the mean over the characters that end
the label (`places_of` in `ablate.py`), where the network of the units of S alone reads the text: from the zero state,
400 characters before the first one that counts. With L0 the loss of the whole model and L1 that of none of its units, S
keeps the loss where

    L(S) <= L0 + max(L0, L1 - L0) / 10      (or another share than a tenth, `within`)

Gao et al. 2025 (arXiv 2511.13653) define a circuit like this: the smallest set of nodes that reaches a target loss with
all others ablated to their means. A tenth of L0 alone would be no target where the model is nearly sure (L0 near 0):
hence the tenth of what the units are worth, L1 - L0, where that is more. The share of it that S keeps is its
faithfulness (Mueller et al. 2025, MIB, arXiv 2504.13151, of the mean ablated kind):

    (L1 - L(S)) / (L1 - L0)

To find the smallest set would need every set. This search finds one from which no single unit can be left out:

    1. Units are ranked by integrated gradients of the loss with regard to their masks, along the straight path from all
       held to the set (Sundararajan, Taly & Yan 2017, arXiv 1703.01365; for circuits Hanna, Pezzelle & Belinkov 2024,
       arXiv 2403.17806): the mean of -dL/da at a few points of the path. Of the ranking as much is cut off the end as
       the target allows, half of it at most, and the rest is ranked anew, until nothing more can be cut.
    2. Units are left out one by one, the least first, until each of those that are left breaks the target.
    3. Those of the others that would lower the loss most, by the gradient there, are added, and 1. and 2. follow. What
       comes out is kept where it is smaller.

The search uses about 256 ends of the first half of the text, in stretches spread over it (`ends.py`). On the second
half the circuit (with the means of the first half) is compared with sets of as many units, drawn at random.

Shape letters: T time, B lanes, L layers, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from charrnn.inference.make_engine import make_engine
from charrnn.neurons.ablate import places_of
from charrnn.neurons.ends import Reading, read_ends
from charrnn.neurons.labels import Label
from charrnn.neurons.record import Report, Unit, check_finite, losses_of, silent
from charrnn.neurons.statistics import Doubles
from charrnn.neurons.subnetwork import Arrays, Mask, Maskable, mean_outputs
from charrnn.settings.config import ModelConfig

SEARCHED, TRANSFERRED = 256, 1024
"""About how many ends are read in the first and in the second half of the text, at most."""
RANDOM_SETS = 20
_POINTS = (1 / 6, 1 / 2, 5 / 6)
_ROUNDS = 3
_ADDED = 0.25


class Gradient(Protocol):
    """Computes the gradient of the loss at chosen characters: `network.loss_gradient.loss_gradient`."""

    def __call__(
        self, config: ModelConfig, arrays: Arrays, ids: npt.NDArray[Any], scored: Mask, *, end: int | None
    ) -> tuple[float, Arrays]:
        """Returns the mean loss of those of `ids` (T, B) that are `scored`, and its gradient for every array."""


@dataclass(frozen=True, slots=True)
class Member:
    """A unit of a circuit; `unit` is its h."""

    unit: Unit
    mean: float
    """The mean of its h over the first half of the text."""
    cost: float
    """By how many bits the loss at the ends rises when it, too, is held at its mean."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses at the ends of a label, in bits, on one half of the text."""

    whole: float
    """The loss L0 of the whole model."""
    held: float
    """The loss L1 with all units held at their means."""
    circuit: float
    target: float
    """The highest loss of a set that keeps the loss."""
    ends: int
    """The number of ends that were read."""

    @property
    def is_kept(self) -> bool:
        """Whether the circuit keeps the loss."""
        return self.circuit <= self.target

    def faithfulness(self, loss: float) -> float | None:
        """Returns the share of what the units are worth that a set with this loss keeps; None where they are worth
        nothing."""
        return (self.held - loss) / (self.held - self.whole) if self.held > self.whole else None


@dataclass(frozen=True, slots=True)
class Circuit:
    """The units that keep the loss at a label's ends."""

    label: str
    members: list[Member]
    """The units, the dearest first; none where the loss is kept with all units held."""
    units: int
    """The number of units of the model."""
    first: Losses
    """The losses on the first half of the text, in which the circuit was found."""
    second: Losses
    """The losses on the second half, which did not choose it."""
    random: list[float]
    """The losses of random sets of as many units on the second half, in ascending order; none for an empty circuit."""


def find_circuit(
    config: ModelConfig,
    parameters: Arrays,
    ids: npt.NDArray[Any],
    label: Label,
    gradient: Gradient,
    *,
    within: float,
    start: int = 0,
    end: int | None = None,
    seed: int = 0,
    report: Report = silent,
) -> Circuit:
    """Finds the circuit of `label`, which has a value for each of `ids`, in the first half of `ids[start:]`.

    `within` is the share of the loss, or of what the units are worth, that may be lost. `end` is the id that is read
    from the zero state; `seed` draws the random sets. Raises UsageError where units of this cell cannot be held by
    other weights, TextError where the label ends in too few places, and CheckpointError where the weights are too large
    to compute with.
    """
    ids, ends = ids[start:], np.append(False, places_of(label, 1)[1])[start:]
    half = len(ids) // 2
    first = read_ends(ids[:half], ends[:half], SEARCHED, label.name, "first")
    second = read_ends(ids[half:], ends[half:], TRANSFERRED, label.name, "second")
    report("reading the first half", 0, 1)
    means = mean_outputs(make_engine(config, parameters, end=end), ids[:half])
    search = _Search(Maskable(config, parameters, means), first, gradient, within, end, report)
    kept = search.smallest()
    loss = search.loss(kept)
    members = []
    for layer, index in np.argwhere(kept).tolist():
        cost = search.loss(_without(kept, (layer, index))) - loss
        members.append(Member(Unit(layer + 1, "h", index), float(means[layer, index]), cost))
    test = _Search(search.model, second, gradient, within, end, silent)
    drawn = list(_random_sets(kept, seed)) if members else []
    random = []
    for number, one in enumerate(drawn):
        report("reading random sets", number, len(drawn))
        random.append(test.loss(one))
    return Circuit(
        label.name,
        sorted(members, key=lambda member: -member.cost),
        kept.size,
        search.losses(kept),
        test.losses(kept),
        sorted(random),
    )


def _random_sets(kept: Mask, seed: int) -> Iterator[Mask]:
    random = np.random.Generator(np.random.Philox(seed))
    for _ in range(RANDOM_SETS):
        drawn = np.zeros(kept.size, bool)
        drawn[random.permutation(kept.size)[: kept.sum()]] = True
        yield drawn.reshape(kept.shape)


@dataclass
class _Search:
    """Looks for the smallest set of units; a set is a mask (L, H)."""

    model: Maskable
    reading: Reading
    gradient: Gradient
    within: float
    end: int | None
    report: Report
    _losses: dict[bytes, float] = field(default_factory=dict)
    _scores: dict[bytes, Doubles] = field(default_factory=dict)

    def loss(self, kept: Mask) -> float:
        """Returns the mean loss at the ends, in bits, of the network of these units."""
        key = kept.tobytes()
        if key not in self._losses:
            engine = make_engine(*self.model.network(kept), end=self.end)
            losses = losses_of(engine, self.reading.ids)[self.reading.scored]
            check_finite("a loss is", losses)
            self._losses[key] = float(losses.mean())
        return self._losses[key]

    def losses(self, kept: Mask) -> Losses:
        """Returns the losses of these units, of all and of none."""
        everything = np.ones_like(kept)
        whole, held = self.loss(everything), self.loss(~everything)
        target = whole + self.within * max(whole, held - whole)
        return Losses(whole, held, self.loss(kept), target, self.reading.ends)

    def keeps(self, kept: Mask) -> bool:
        """Whether these units keep the loss."""
        return self.losses(kept).is_kept

    def scores(self, masks: Doubles, kept: Mask) -> Doubles:
        """Returns -dL/da of the units of `kept`, (L, H), where the masks are `masks`."""
        config, arrays = self.model.network(masks, kept)
        _, gradients = self.gradient(config, arrays, self.reading.ids, self.reading.scored, end=self.end)
        found = -self.model.mask_gradient(gradients, kept)
        check_finite("a gradient is", found)
        return found

    def path_scores(self, kept: Mask) -> Doubles:
        """Returns the mean of -dL/da, (L, H), over the path from all units held to the units of `kept`."""
        key = kept.tobytes()
        if key not in self._scores:
            each = [self.scores(kept.astype(np.float64) * share, kept) for share in _POINTS]
            self._scores[key] = np.stack(each).mean(0)
        return self._scores[key]

    def smallest(self) -> Mask:
        """Returns the smallest set that was found."""
        best = np.ones(self.model.means.shape, bool)
        if self.keeps(~best):
            return ~best
        best = self._left_out(self._cut(best))
        for _ in range(_ROUNDS):
            gains = self.scores(best.astype(np.float64), np.ones_like(best))
            gains[best] = -np.inf
            added = _top(gains, max(4, int(best.sum() * _ADDED)))
            other = self._left_out(self._cut(best | added))
            if other.sum() >= best.sum():
                break
            best = other
        return best

    def _cut(self, kept: Mask) -> Mask:
        """Cuts units off the end of their ranking, and ranks the others anew, as long as the target allows."""
        while (many := int(kept.sum())) > 1:
            self._say(kept)
            scores = np.where(kept, self.path_scores(kept), -np.inf)
            low, high = many // 2, many  # the smallest number that keeps the loss is found by bisection
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if self.keeps(_top(scores, middle)) else (middle + 1, high)
            if low == many:
                break
            kept = _top(scores, low)
        return kept

    def _left_out(self, kept: Mask) -> Mask:
        """Leaves units out one by one, the least by its gradient first, until none can be left out."""
        scores = self.path_scores(kept)
        waiting = sorted(map(tuple, np.argwhere(kept).tolist()), key=lambda place: scores[place])
        needed = 0  # how many of those tried last cannot be left out
        while needed < len(waiting):
            self._say(kept)
            place = waiting.pop(0)
            if self.keeps(_without(kept, place)):
                kept, needed = _without(kept, place), 0
            else:
                waiting.append(place)
                needed += 1
        return kept

    def _say(self, kept: Mask) -> None:
        self.report("leaving units out", kept.size - int(kept.sum()), kept.size)


def _top(scores: Doubles, many: int) -> Mask:
    """Returns the set of the `many` units with the highest scores; of equals the first."""
    chosen = np.zeros(scores.size, bool)
    chosen[np.argsort(-scores, axis=None, kind="stable")[:many]] = True
    return chosen.reshape(scores.shape)


def _without(kept: Mask, place: tuple[int, ...]) -> Mask:
    left = kept.copy()
    left[place] = False
    return left
