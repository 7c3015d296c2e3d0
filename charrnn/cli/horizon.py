"""`charrnn inspect TEXT --horizon`: how long the model remembers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import FROM, LENGTH, SEED, UNIT, UNITS
from charrnn.cli.view import Asked, Option, Result, View

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.horizon import Memory

_DISTANCE, _LANES, _READ, _SEED = 1000, 256, 50_000, 1
_ALONE = "{flag} says how to measure {views}"


def _measure(subject: Subject, asked: Asked) -> Result:
    from charrnn.cli.reading import ids_of
    from charrnn.display.horizon import pieces
    from charrnn.display.safe import say
    from charrnn.neurons.horizon import longest_distance, measure

    ids = ids_of(subject.first(asked.read or max(_READ, 8 * (asked.distance or 0))), subject.loaded.vocabulary)
    wanted, longest = asked.distance or _DISTANCE, longest_distance(len(ids))
    if wanted > longest:
        say(f"note: contexts of at most {longest:,} characters, a quarter of the {len(ids):,} that were read")
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
        lambda: pieces(memory, on_page=False),
        lambda: _numbers(memory),
        lambda: pieces(memory, on_page=True),
        lambda: _arrays(memory),
    )


def _arrays(memory: Memory) -> dict[str, Any]:
    """By the names of `_numbers`, columns of the grid after a dot; not a number where there is no such distance."""
    import numpy as np

    found = {"horizon": memory.horizon, "gain_90": memory.gained_at(0.9), "gain_99": memory.gained_at(0.99)}
    rows = [asdict(row) for row in memory.bins]
    return {
        "lanes": memory.lanes,
        "distance": memory.distance,
        "characters": memory.characters,
        "full_bits": memory.full_bits,
        **{name: np.nan if value is None else float(value) for name, value in found.items()},
        **{f"grid.{name}": np.array([row[name] for row in rows]) for name in rows[0]},
        "distances": np.arange(1, memory.distance + 1),
        "excess": memory.excess,
        "low": memory.low,
        "high": memory.high,
    }


def _numbers(memory: Memory) -> dict[str, Any]:
    def rounded(values: Any) -> list[float]:
        return [round(value, 6) for value in values.tolist()]

    return {
        "lanes": memory.lanes,
        "distance": memory.distance,
        "characters": memory.characters,
        "full_bits": round(memory.full_bits, 6),
        "horizon": memory.horizon,
        "gain_90": memory.gained_at(0.9),
        "gain_99": memory.gained_at(0.99),
        "grid": [
            {name: value if isinstance(value, int) else round(value, 6) for name, value in asdict(row).items()}
            for row in memory.bins
        ],
        "excess": rounded(memory.excess),
        "low": rounded(memory.low),
        "high": rounded(memory.high),
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
    examples=(("held_out.txt --horizon", "how many characters back the model remembers"),),
)
