"""How often gates are saturated: plots, a table and a sentence for each layer, on a terminal and as a page.

What the gates are called, and what their ends mean for what a unit holds, the cell says (`cells/cell.py`).
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from charrnn.display.scatter import STYLE, Scatter, Scatters, as_svg
from charrnn.display.webpage import frame
from charrnn.neurons.gates import LEFT, MOSTLY, RIGHT, GateSaturation, Saturation

_COLUMNS = ("gate", "units", "mean right", "mean left", f"right > {MOSTLY:.0%}", f"left > {MOSTLY:.0%}")
_TABLE_STYLE = """
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .1rem .8rem .1rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
""".strip()


def pieces(found: Saturation) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    yield Text(_caption(found))
    for layer in _layers(found):
        yield Text("")
        yield Scatters([_plot(gate) for gate in layer])
    yield Text("")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == _COLUMNS[0] else "right")
    for gate in found.gates:
        table.add_row(*_row(gate))
    yield table
    yield Text("")
    for layer in _layers(found):
        yield Text(_sentence(layer))


def webpage(heading: str, found: Saturation) -> str:
    """The same as a page."""
    body = [f"<p>{html.escape(_caption(found))}</p>"]
    for layer in _layers(found):
        body.append(f"<h2>Layer {layer[0].layer}</h2>")
        body.append(f"<p>{html.escape(_sentence(layer))}</p>")
        body.append(as_svg([_plot(gate) for gate in layer]))
    head = "".join(f"<th>{html.escape(column)}</th>" for column in _COLUMNS)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _row(gate)) + "</tr>" for gate in found.gates
    )
    body.append(f'<div class="scroll"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>')
    return frame(heading, "\n".join(body), f"{STYLE}\n{_TABLE_STYLE}")


def _layers(found: Saturation) -> list[list[GateSaturation]]:
    numbers = sorted({gate.layer for gate in found.gates})
    return [[gate for gate in found.gates if gate.layer == number] for number in numbers]


def _caption(found: Saturation) -> str:
    return (
        f"Over {found.characters:,} characters, the fraction of the time each gate is right-saturated "
        f"(above {RIGHT:g}; across) and left-saturated (below {LEFT:g}; up). A dot is one unit or several."
    )


def _plot(gate: GateSaturation) -> Scatter:
    return Scatter(
        f"L{gate.layer}.{gate.kind} {gate.title} gates",
        list(zip(gate.right.tolist(), gate.left.tolist(), strict=True)),
        [f"L{gate.layer}.{gate.kind}{index}" for index in range(len(gate.right))],
        "right",
        "left",
    )


def _row(gate: GateSaturation) -> list[str]:
    units = len(gate.right)
    return [
        f"L{gate.layer}.{gate.kind} {gate.title}",
        f"{units:,}",
        f"{gate.right.mean():.1%}",
        f"{gate.left.mean():.1%}",
        *(f"{count:,} ({count / units:.1%})" for count in (gate.mostly_right, gate.mostly_left)),
    ]


def _sentence(layer: list[GateSaturation]) -> str:
    """What becomes of what the units hold, where one of the gates decides that."""
    keeping = [(gate, gate.ends) for gate in layer if gate.ends is not None]
    if not keeping:
        return f"Layer {layer[0].layer}: no gate of this cell decides what is dropped of what a unit holds."
    ((gate, ((right, integrators), (left, others))),) = keeping
    units, often = len(gate.right), "more than nine tenths of the time"
    return (
        f"Layer {gate.layer}: {gate.mostly_right:,} of {units:,} {gate.title} gates "
        f"{'is' if gate.mostly_right == 1 else 'are'} {right} {often} ({integrators}); "
        f"{gate.mostly_left:,} {'is' if gate.mostly_left == 1 else 'are'} {left} {often} ({others})."
    )
