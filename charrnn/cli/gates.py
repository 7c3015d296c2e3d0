"""`charrnn inspect TEXT --gates`: how often each gate is saturated over a whole text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import UNIT
from charrnn.cli.output import rounded
from charrnn.cli.view import Given, Option, Result, View

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.gates import Saturation


def _measure(subject: Subject, asked: Given) -> Result:
    from charrnn.cli.whole_text import whole_text
    from charrnn.display.gates import pieces
    from charrnn.neurons.gates import gate_kinds, saturation

    gate_kinds(subject.loaded.model)  # a model without gates is refused before the text is read
    with whole_text(subject, asked.length) as text:
        found = saturation(subject.engine, text.pieces(), subject.start)
    return Result(
        subject,
        "gates",
        lambda on_page: pieces(found, on_page=on_page),
        lambda: _numbers(found),
        lambda: _arrays(found),
    )


def _facts(found: Saturation) -> dict[str, Any]:
    from charrnn.neurons.gates import LEFT, RIGHT

    return {"characters": found.characters, "left_below": LEFT, "right_above": RIGHT}


def _numbers(found: Saturation) -> dict[str, Any]:
    gates = {f"L{gate.layer}.{gate.kind}": {"right": gate.right, "left": gate.left} for gate in found.gates}
    return {**_facts(found), "gates": rounded(gates)}


def _arrays(found: Saturation) -> dict[str, Any]:
    ends = ("right", "left")
    shares = {f"L{gate.layer}.{gate.kind}.{end}": getattr(gate, end) for gate in found.gates for end in ends}
    return {**_facts(found), **shares}


VIEW = View(
    "Gates",
    Option(
        "--gates",
        bool,
        "Instead of colouring the text: how often each gate of an lstm or a gru is as good as open (above 0.9) or "
        "shut (below 0.1).",
    ),
    _measure,
    length=None,
    alone=("--gates is a picture of its own", (UNIT,)),
    shows="How often each gate of the cell is open or shut.",
)
