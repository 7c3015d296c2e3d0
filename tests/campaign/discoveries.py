"""What `inspect --find` says of recordings in which nothing is related to anything, and how often its intervals hold.

One trial of `discoveries-MEMORY` is one atlas: all labels and units of an artificial recording as long as the text that
`--find` reads by default, from recording on by its own code. It fails where anything is a discovery, which may happen
in one atlas of twenty. One trial of `intervals-MEMORY` is one unit and one label, on the half that is reported; half
of them are related, and the relation is known. It fails where the interval does not hold the truth. Memories are the
characters after which an autocorrelation has fallen to 1/e; the text has 200,000.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from charrnn.neurons.find import SAMPLES, make_atlas
from charrnn.neurons.statistics import effects, interval
from tests.campaign._unrelated import (
    ALPHABET,
    KINDS,
    Random,
    Recording,
    label_of,
    labels_without_relation,
    rare,
    switch,
    wander,
)
from tests.campaign.campaign import Campaign, CannotSay

CHARACTERS = 200_000
MEMORIES = (10, 100, 1000, 10_000)
_NOISE = 0.8
_BEGINNING = 25_000  # of the untrained model's recording: no more is read


def _atlas(memory: int, _prepared: object, seed: int, _folder: Path) -> str | None:
    random = np.random.default_rng([memory, seed])
    ids = random.integers(0, ALPHABET, CHARACTERS)
    labels = labels_without_relation(random, memory, CHARACTERS)
    engine, other = (Recording(random, memory, length) for length in (CHARACTERS, _BEGINNING))
    found = make_atlas(engine, other, ids, labels, seed=seed).findings
    false = [f"{each.label} ({each.unit}, p {each.p_value:.4f})" for each in found if each.is_discovery]
    return f"discoveries: {', '.join(false)}" if false else None


@functools.cache
def _truth(seed: int = 0, many: int = 2_000_000) -> dict[str, float]:
    """The effects of the related pairs, from independent places."""
    random = np.random.default_rng(seed)
    hidden, noise = random.standard_normal((2, many))
    cases = {"wander": (hidden + _NOISE * noise, hidden, True), "rare": (hidden + _NOISE * noise, hidden > 1.3, False)}
    cases["switch"] = (np.sign(hidden) + _NOISE * noise, hidden > 0, False)
    return {
        name: float(effects(values[None], label[None].astype(np.float64), np.array([is_graded]))[0, 0])
        for name, (values, label, is_graded) in cases.items()
    }


def _pair(random: Random, memory: int, length: int, is_related: bool) -> tuple[np.ndarray, np.ndarray, bool, float]:
    """A unit, a label, whether the label is a degree, and the true effect."""
    if not is_related:
        unit = KINDS[random.integers(len(KINDS))](random, memory, length)
        label = label_of(KINDS[random.integers(len(KINDS))], int(random.integers(2)), random, memory, length)
        return unit, label.values, label.is_graded, 0.0
    kind = (wander, switch, rare)[random.integers(3)]
    hidden = (switch if kind is switch else wander)(random, memory, length)
    # What blurs the unit is fast in half of them, and as slow as the label in the others.
    noise = random.standard_normal(length) if random.random() < 0.5 else wander(random, memory, length)
    label = np.rint(1000 + 200 * hidden) if kind is wander else hidden > (1.3 if kind is rare else 0)
    return hidden + _NOISE * noise, label.astype(np.float32), kind is wander, _truth()[kind.__name__]


def _interval(memory: int, _prepared: object, seed: int, _folder: Path) -> str | None:
    random = np.random.default_rng([memory, seed, 1])
    half = CHARACTERS // 2
    unit, label, is_graded, truth = _pair(random, memory, half, is_related=bool(seed % 2))
    places = np.sort(random.choice(half, SAMPLES, replace=False))
    if not SAMPLES // 100 < (label[places] > np.median(label[places]) if is_graded else label[places]).sum() < SAMPLES:
        raise CannotSay  # the label is always the same
    # As whole numbers, as `make_atlas` keeps them.
    keys = np.round(4000 * (1 + np.tanh(unit[places]))).astype(np.uint16)
    answers = label[places].astype(np.uint16)
    told = interval(keys, answers, is_graded=is_graded)
    if told is None:
        raise CannotSay
    low, high = told
    return None if low <= truth <= high else f"the interval is {low:.3f} to {high:.3f}, and the effect {truth:.3f}"


CAMPAIGNS = {
    **{
        f"discoveries-{memory}": Campaign(
            summary=f"An atlas of labels and units with a memory of {memory:,} characters and no relation: nothing may "
            "be a discovery, except in one of twenty.",
            trial=functools.partial(_atlas, memory),
            tolerated=(0.0, 0.05),
            in_suite=1,
        )
        for memory in MEMORIES
    },
    **{
        f"intervals-{memory}": Campaign(
            summary=f"The 95 % interval of a unit and a label with a memory of {memory:,} characters: 93 to 97 % hold "
            "the truth, or it is said that the text is too short to tell.",
            trial=functools.partial(_interval, memory),
            tolerated=(0.03, 0.07),
            in_suite=5,
        )
        for memory in MEMORIES
    },
}
