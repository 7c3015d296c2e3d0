"""`charrnn inspect TEXT --circuit LABEL`: the smallest set of units that keeps the loss where a label ends."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import LABEL, LABEL_FILE, UNIT, UNITS
from charrnn.cli.output import rounded
from charrnn.cli.probe import choose
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.circuit import Circuit, Losses

_LENGTH = 200_000
_WITHIN = 0.1


def _check(asked: Given) -> None:
    if asked.within is not None and not math.isfinite(asked.within):
        raise UsageError(f"--within is {asked.within}", "give a number from 0.001 to 0.9")


def _measure(subject: Subject, asked: Given) -> Result:
    """Finds the circuit of a label; the gradient is torch's, which is imported for it."""
    from charrnn.display.circuit import pieces
    from charrnn.network.open_engine import check_single
    from charrnn.neurons.circuit import find_circuit
    from charrnn.neurons.clamping import check_can_hold
    from charrnn.neurons.labels import labels_of

    loaded, own = subject.loaded, subject.own_labels(asked)
    check_single(loaded, "--circuit")
    check_can_hold(loaded.model, "h")
    choose(asked.circuit, labels_of("", own), "--circuit", takes_degrees=True)  # refused before the text is read
    subject.check_length("to find a circuit in one half and to test it in the other", _LENGTH)
    label = choose(asked.circuit, labels_of(subject.text, own), "--circuit", takes_degrees=True)
    from charrnn.network.loss_gradient import loss_gradient

    found = find_circuit(
        loaded.model, loaded.parameters, subject.ids, label, loss_gradient,
        within=asked.within or _WITHIN, start=subject.start, end=loaded.vocabulary.end, report=subject.report,
    )  # fmt: skip
    about = {"label": label.name, "characters": subject.characters, "units": found.units}
    return Result(
        subject,
        f"the circuit of {label.name}",
        lambda _: pieces(found, asked.within or _WITHIN),
        lambda: rounded({**about, **_numbers(found)}),
        lambda: {**about, **_arrays(found)},
    )


def _numbers(found: Circuit) -> dict[str, Any]:
    return {
        "circuit": [{**asdict(member), "unit": str(member.unit)} for member in found.members],
        "first": _losses(found.first),
        "second": _losses(found.second),
        "random": found.random,
    }


def _losses(losses: Losses) -> dict[str, Any]:
    share = losses.faithfulness(losses.circuit)
    return {**asdict(losses), "is_kept": losses.is_kept, "faithfulness": share}


def _arrays(found: Circuit) -> dict[str, Any]:
    """Returns the units, the losses of both halves and those of the random sets; NaN where there is no such number."""
    import numpy as np

    halves = {"first": _losses(found.first), "second": _losses(found.second)}
    return {
        "circuit.unit": np.array([str(member.unit) for member in found.members], np.str_),
        "circuit.mean": np.array([member.mean for member in found.members]),
        "circuit.cost": np.array([member.cost for member in found.members]),
        "random": np.array(found.random),
        **{
            f"{half}.{name}": np.nan if value is None else value
            for half, losses in halves.items()
            for name, value in losses.items()
        },
    }


VIEW = View(
    "Circuit",
    Option(
        "--circuit",
        str,
        "The smallest set of units that keeps the loss where a label ends, with all others held at their means: a "
        "label of --find or one of your own (--label). Found in the first half of the text, tested in the second.",
        more={"metavar": "LABEL"},
    ),
    _measure,
    options=(
        LABEL,
        LABEL_FILE,
        Option(
            "--within",
            float,
            "With --circuit: the share of the loss, or of what the units are worth where that is more, by which the "
            "circuit's loss may be higher.",
            alone="{flag} says how to measure {views}",
            more={"min": 0.001, "max": 0.9, "show_default": str(_WITHIN), "metavar": "SHARE"},
        ),
    ),
    length=_LENGTH,
    alone=("--circuit chooses the units", (UNIT, UNITS)),
    check=_check,
)
