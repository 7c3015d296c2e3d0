"""`charrnn inspect TEXT --horizon`: how long the model remembers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli.output import View, print_pieces, write_arrays, write_page
from charrnn.cli.reading import heading
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.neurons.horizon import Memory

_PANEL = "Horizon"
_DISTANCE, _LANES, _READ, _SEED = 1000, 256, 50_000, 1

HORIZON = typer.Option(
    "--horizon",
    help="How long the model remembers: what is missing, in bits per character, when it has read only so many "
    "characters. Says something about the whole model, so it goes without --unit, --units, --from and --length.",
    rich_help_panel=_PANEL,
)
DISTANCE = typer.Option(
    "--distance",
    min=1,
    help="With --horizon: the most characters of context to measure; a quarter of the text at most.",
    show_default=str(_DISTANCE),
    rich_help_panel=_PANEL,
)
LANES = typer.Option(
    "--lanes",
    min=2,
    max=1_000_000,
    help="With --horizon: from how many random places to start. More make the intervals narrower.",
    show_default=str(_LANES),
    rich_help_panel=_PANEL,
)
READ = typer.Option(
    "--read",
    min=4,
    help="With --horizon: how many characters of the text the places lie in; all are read as one stream too.",
    show_default=f"{_READ:,}, or eight times --distance",
    metavar="CHARACTERS",
    rich_help_panel=_PANEL,
)
SEED = typer.Option(
    "--seed",
    min=0,
    max=2**63 - 1,
    help="With --horizon and --probe: the same seed gives the same places, or parts of --probe-file.",
    show_default=f"{_SEED}; with --probe 0",
    rich_help_panel=_PANEL,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for; None where it was not said."""

    distance: int | None
    lanes: int | None
    read: int | None
    seed: int | None

    @property
    def characters(self) -> int:
        """How much of the text to read."""
        return self.read or max(_READ, 8 * (self.distance or 0))


def check(*, is_asked: bool, request: Request, text: str | None, others: dict[str, bool]) -> None:
    """Raises UsageError for options that do not go together; `others` says which of the rest were given."""
    if not is_asked:
        for name, value in asdict(request).items():
            if value is not None:
                also = " or --probe" if name == "seed" else ""
                raise UsageError(
                    f"--{name} says how to measure --horizon{also}", f"add --horizon{also}, or leave it out"
                )
        return
    if text is None:
        raise UsageError("--horizon needs a text to measure on", "charrnn inspect TEXT --horizon")
    for name, is_given in others.items():
        if is_given:
            raise UsageError(f"--horizon is about the whole model, {name} is not", f"leave {name} out")


def show(
    ids: Any,
    loaded: Checkpoint,
    path: Path,
    request: Request,
    view: View,
) -> None:
    """Measures, and draws, prints or writes it. `ids` are the text's beginning."""
    from contextlib import closing

    import numpy as np

    from charrnn.display.progress import WorkDisplay
    from charrnn.display.safe import say
    from charrnn.inference.make_engine import make_engine
    from charrnn.neurons.horizon import longest_distance, measure

    wanted, longest = request.distance or _DISTANCE, longest_distance(len(ids))
    if wanted > longest:
        say(f"note: contexts of at most {longest:,} characters, a quarter of the {len(ids):,} that were read")
    engine = make_engine(loaded.model, loaded.parameters)
    with closing(WorkDisplay()) as work, np.errstate(over="ignore", invalid="ignore"):  # `measure` says it in words
        memory = measure(
            engine,
            ids,
            distance=min(wanted, longest),
            lanes=request.lanes or _LANES,
            seed=_SEED if request.seed is None else request.seed,
            report=work,
        )
    if view.html is not None:
        from charrnn.display.horizon import as_page

        page = as_page(heading(path, "how long it remembers"), memory)
        write_page(view.html, page)
    if view.npz is not None:
        write_arrays(view.npz, _arrays(memory))
    if view.as_json:
        print(json.dumps({"checkpoint": str(path), **_numbers(memory)}))
    elif view.is_drawn:
        from charrnn.display.horizon import pieces

        print_pieces(pieces(memory))


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
