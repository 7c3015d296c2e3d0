"""`charrnn inspect TEXT --horizon`: how long the model remembers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import FROM, LENGTH, SEED, UNIT, UNITS
from charrnn.cli.output import columns, rounded
from charrnn.cli.view import Given, Option, Result, View
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.horizon import Memory

_DISTANCE, _LANES, _READ, _SEED = 1000, 256, 50_000, 1
_ALONE = "{flag} says how to measure {views}"


def _measure(subject: Subject, asked: Given) -> Result:
    from charrnn.cli.reading import ids_of
    from charrnn.display.horizon import pieces
    from charrnn.display.notice import say
    from charrnn.neurons.horizon import longest_distance, measure

    ids = ids_of(subject.first(asked.read or max(_READ, 8 * (asked.distance or 0))), subject.loaded.vocabulary)
    wanted, longest = asked.distance or _DISTANCE, longest_distance(len(ids))
    if wanted > longest:
        say(f"note: contexts have at most {count(longest, 'character')}, a quarter of the {len(ids):,} that were read")
    memory = measure(
        subject.engine,
        ids,
        distance=min(wanted, longest),
        lanes=asked.lanes or _LANES,
        seed=_SEED if asked.seed is None else asked.seed,
        report=subject.report,
    )
    return Result(
        subject,
        "how long it remembers",
        lambda on_page: pieces(memory, on_page=on_page),
        lambda: rounded({**_facts(memory), "grid": list(map(asdict, memory.bins)), **_curves(memory)}),
        lambda: _arrays(memory),
    )


def _facts(memory: Memory) -> dict[str, Any]:
    return {
        **{name: getattr(memory, name) for name in ("lanes", "distance", "characters", "full_bits", "horizon")},
        "gain_90": memory.gained_at(0.9),
        "gain_99": memory.gained_at(0.99),
    }


def _curves(memory: Memory) -> dict[str, Any]:
    return {name: getattr(memory, name) for name in ("excess", "low", "high")}


def _arrays(memory: Memory) -> dict[str, Any]:
    """Returns the measurement as arrays, one for each column of the table; NaN where there is no such distance."""
    import numpy as np

    distances = ("horizon", "gain_90", "gain_99")
    return {
        name: (np.nan if value is None else float(value)) if name in distances else value
        for name, value in _facts(memory).items()
    } | {
        **columns("grid", list(map(asdict, memory.bins))),
        "distances": np.arange(1, memory.distance + 1),
        **_curves(memory),
    }


VIEW = View(
    "Horizon",
    Option(
        "--horizon",
        bool,
        "How long the model remembers: what is missing, in bits per character, when it has read only so many "
        "characters. Says something about the whole model, so it goes without --unit, --units, --from and --length.",
    ),
    _measure,
    options=(
        Option(
            "--distance",
            int,
            "With --horizon: the most characters of context to measure; a quarter of the text at most.",
            alone=_ALONE,
            more={"min": 1, "show_default": str(_DISTANCE)},
        ),
        Option(
            "--lanes",
            int,
            "With --horizon: from how many random places to start. More make the intervals narrower.",
            alone=_ALONE,
            more={"min": 2, "max": 1_000_000, "show_default": str(_LANES)},
        ),
        Option(
            "--read",
            int,
            "With --horizon: how many characters of the text the places lie in; all are read as one stream too.",
            alone=_ALONE,
            more={"min": 4, "show_default": f"{_READ:,}, or eight times --distance", "metavar": "CHARACTERS"},
        ),
        SEED,
    ),
    alone=("--horizon is about the whole model", (UNIT, UNITS, FROM, LENGTH)),
    shows="How many characters back the model remembers.",
)
