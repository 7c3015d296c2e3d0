"""Shows how often gates are saturated: plots, a table and a sentence for each layer."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.display.report import Prose
from charrnn.display.scatter import Scatter, Scatters
from charrnn.display.table import Columns, Row
from charrnn.neurons.gates import LEFT, MOSTLY, RIGHT, GateSaturation, Saturation
from charrnn.wording import count

_COLUMNS = ("gate", "units", "mean right", "mean left", f"right > {MOSTLY:.0%}", f"left > {MOSTLY:.0%}")


def pieces(found: Saturation, *, on_page: bool) -> Iterator[Scatters | Columns | Prose]:
    """Yields plots, a table and sentences; on a page each layer's sentence stands above its plots."""
    table = Columns(_COLUMNS, [Row(_row(gate)) for gate in found.gates], words=(0,))
    layers = _layers(found)
    yield Prose(_caption(found))
    for layer in layers:
        if on_page:
            yield Prose(f"Layer {layer[0].layer}", is_heading=True)
            yield Prose(_sentence(layer))
        yield Scatters([_plot(gate) for gate in layer])
    yield table
    if not on_page:
        yield Prose("\n".join(map(_sentence, layers)))


def _layers(found: Saturation) -> list[list[GateSaturation]]:
    numbers = sorted({gate.layer for gate in found.gates})
    return [[gate for gate in found.gates if gate.layer == number] for number in numbers]


def _caption(found: Saturation) -> str:
    return (
        f"The plots show, over {count(found.characters, 'character')}, what fraction of the time each gate is "
        f"right-saturated (above {RIGHT:g}, across) and left-saturated (below {LEFT:g}, up). A dot is one unit or "
        "several."
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
    """Returns a sentence on how long a layer's units keep their content, where one of the gates decides that."""
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
