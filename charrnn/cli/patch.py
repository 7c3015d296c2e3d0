"""`charrnn inspect --patch`: how much of what the model concludes from a character is carried by a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import UNITS
from charrnn.cli.output import rounded
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import TextError, UsageError
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.find import Finding
    from charrnn.neurons.pairs import Pair, PairMaker
    from charrnn.neurons.patch import Carried, Exchange, Mean, Patching, Place

PATCH = Option(
    "--patch",
    str,
    "How much of what the model concludes from a character is carried by units: those of --unit, or those whose states "
    "tell a label best. WHAT is a label (a character is changed so that it flips), or OLD=NEW, where NEW is put "
    "in place of the group of the regular expression OLD, and its last character is asked for.",
    more={"metavar": "WHAT"},
)
PAIRS = Option(
    "--pairs",
    int,
    "With --patch: at how many places to make the change. More make the intervals narrower.",
    default=200,
    alone="{flag} says how to measure {views}",
    more={"min": 20, "max": 100_000},
)
LENGTH = 200_000
_BEST = (1, 4, 16)
"""How many of the units that tell a label best are exchanged together, where none are named."""


def _measure(subject: Subject, asked: Given) -> Result:
    """Exchanges the states of units between two readings of the same passages."""
    from charrnn.display.patch import pieces
    from charrnn.neurons.pairs import MAKERS, find_maker
    from charrnn.neurons.patch import patch, places_of_units

    loaded = subject.loaded
    is_bytes = loaded.vocabulary.kind == "bytes"
    said = asked.patch
    if is_bytes and said not in MAKERS:  # a change of one's own is one of bytes
        said = said.encode("utf-8", "surrogateescape").decode("latin-1")
    maker, units = find_maker(said), subject.units(asked.unit)
    if not units and not maker.is_label:
        raise UsageError("--patch with a change of your own needs to know which units to exchange", "add --unit UNIT")
    asked_places = places_of_units(units, loaded.of_units)
    # The first half is the one on which units are chosen, here or by --find before.
    first = subject.start + subject.characters // 2 if maker.is_label else subject.start
    pairs, exchanges, made = _pairs(subject, maker, first, asked.pairs)
    finding = None
    if not units:
        ranked, finding = _search(subject, maker.name)
        sets = [tuple(ranked[:size]) for size in _BEST if size == 1 or 2 * size <= len(ranked)]
    else:
        sets = [(place,) for place in asked_places] + [tuple(asked_places)] * (len(asked_places) > 1)
    found = patch(
        loaded.model, loaded.parameters, subject.ids, exchanges, sets, end=loaded.vocabulary.end, report=subject.report
    )
    names = _names(subject)
    return Result(
        subject,
        f"what carries {maker.name}",
        lambda _on_page: pieces(found, maker, pairs, made, subject.text, names, finding),
        lambda: rounded({"characters": subject.characters, "patch": _numbers(found, maker, made, names)}),
        lambda: {"characters": subject.characters, **_arrays(found, pairs, names)},
    )


def _pairs(subject: Subject, maker: PairMaker, first: int, most: int) -> tuple[list[Pair], list[Exchange], int]:
    """Returns pairs from the place `first` on, at most `most` of them at random places, as pairs of the text and of its
    ids, and the number of all. Raises TextError where there are too few."""
    import numpy as np

    from charrnn.cli.reading import ids_of
    from charrnn.neurons.pairs import LONGEST
    from charrnn.neurons.patch import CONTEXT, FEWEST, Exchange

    ids, end = subject.ids, subject.loaded.vocabulary.end
    made = [pair for pair in maker.pairs(subject.text) if pair.place >= max(first, CONTEXT)]
    if end is not None:  # a model reads what follows the end of a document as if there had been nothing
        made = [pair for pair in made if not (ids[pair.place : pair.asked] == end).any()]
    if len(made) < FEWEST:
        own = [f"a match must go on after its group, for {LONGEST:,} characters at most, and the group must change"]
        raise TextError(
            f"{count(len(made), 'pair')} for {maker.name} can be made in the {len(ids) - first:,} characters from "
            f"{first:,} on, too few to measure a share",
            f"give a text with {FEWEST} or more, or read more of it with --length",
            *own * (not maker.is_label),
        )
    random = np.random.Generator(np.random.Philox(0))
    pairs = [made[place] for place in sorted(random.permutation(len(made))[:most].tolist())]
    changed = {new: ids_of(new, subject.loaded.vocabulary) for new in {pair.new for pair in pairs}}
    return pairs, [Exchange(pair.place, changed[pair.new], pair.asked) for pair in pairs], len(made)


def _search(subject: Subject, name: str) -> tuple[list[Place], Finding]:
    """Returns the places of states, those that tell a label best first, and what `--find` says of the label."""
    from charrnn.neurons.find import make_atlas
    from charrnn.neurons.labels import labels_of
    from charrnn.neurons.patch import ranked_states

    label = next(label for label in labels_of(subject.text) if label.name == name)
    atlas = make_atlas(subject.engine, subject.novice, subject.ids, [label], start=subject.start, report=subject.report)
    ranked = ranked_states(atlas, subject.loaded.of_units)
    if not ranked:
        raise TextError(
            f"the label {name} holds too rarely in this text to find a unit that tells it",
            "name a unit with --unit, or read more of the text with --length",
        )
    return ranked, atlas.findings[0]


def _names(subject: Subject) -> dict[Place, str]:
    """Returns the name of each place: of all its states."""
    from charrnn.cells.registry import make_cell

    config = subject.loaded.of_units
    kinds = make_cell(config).state_names
    return {
        (layer, index): " ".join(f"L{layer}.{kind}{index}" for kind in kinds)
        for layer in range(1, config.num_layers + 1)
        for index in range(config.hidden_size)
    }


def _numbers(found: Patching, maker: PairMaker, made: int, names: dict[Place, str]) -> dict[str, Any]:
    def mean(one: Mean) -> dict[str, float | None]:
        values = {"value": one.value, "low": one.low, "high": one.high}
        return {name: value if value == value else None for name, value in values.items()}

    def carried(one: Carried) -> dict[str, Any]:
        return {"states": _states(one, names), "taken_out": mean(one.taken_out), "put_in": mean(one.put_in)}

    return {
        "what": maker.name,
        "pairs": found.answers.shape[1],
        "made": made,
        "answers": dict(zip(("original", "changed"), found.answers.mean(1).tolist(), strict=True)),
        "change": mean(found.change),
        "carried": [
            {**carried(one), "random": [carried(other) for other in several]}
            for one, several in zip(found.carried, found.random, strict=True)
        ],
    }


def _states(one: Carried, names: dict[Place, str]) -> list[str]:
    return [name for place in one.places for name in names[place].split()]


def _arrays(found: Patching, pairs: Sequence[Pair], names: dict[Place, str]) -> dict[str, Any]:
    """Returns the answers over pairs: of the readings as they are, and with each set of units exchanged."""
    import numpy as np

    sets = [*found.carried, *(one for several in found.random for one in several)]
    shares = [[[each.value, each.low, each.high] for each in (one.taken_out, one.put_in)] for one in sets]
    return {
        "pairs.place": np.array([pair.place for pair in pairs]),
        "pairs.asked": np.array([pair.asked for pair in pairs]),
        "answers": found.answers,
        "sets.states": np.array([" ".join(_states(one, names)) for one in sets], np.str_),
        "sets.is_random": np.arange(len(sets)) >= len(found.carried),
        "sets.answers": np.stack([one.answers for one in sets]),
        "sets.shares": np.array(shares),
    }


VIEW = View(
    "Patch",
    PATCH,
    _measure,
    options=(PAIRS,),
    length=LENGTH,
    alone=("--patch takes units by name, or finds one", (UNITS,)),
)
