"""How often gates are saturated: plots, a table and a sentence for each layer."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.display.report import Columns, Prose, Row
from charrnn.display.scatter import Scatter, Scatters
from charrnn.neurons.gates import LEFT, MOSTLY, RIGHT, GateSaturation, Saturation

_NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}
# The gate that decides what becomes of what a unit holds: its name at its right and at its left end, and what that is.
_KEEPING = {
    "f": (
        ("open", "integrators, which keep most of what they hold"),
        ("shut", "feed-forward cells, which drop most of what they hold at every character"),
    ),
    "z": (
        ("near 1", "integrators, which keep most of what they hold"),
        ("near 0", "units whose value is nearly all new at every character"),
    ),
}
_COLUMNS = ("gate", "units", "mean right", "mean left", f"right > {MOSTLY:.0%}", f"left > {MOSTLY:.0%}")


def pieces(found: Saturation, *, on_page: bool) -> Iterator[Scatters | Columns | Prose]:
    """Yields plots, a table and sentences; on a page each layer's sentence stands above its plots."""
    table = Columns(_COLUMNS, [Row(_row(gate)) for gate in found.gates], words=(0,), gap=2)
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
        f"Over {found.characters:,} characters, the fraction of the time each gate is right-saturated "
        f"(above {RIGHT:g}; across) and left-saturated (below {LEFT:g}; up). A dot is one unit or several."
    )


def _plot(gate: GateSaturation) -> Scatter:
    return Scatter(
        f"L{gate.layer}.{gate.kind} {_NAMES[gate.kind]} gates",
        list(zip(gate.right.tolist(), gate.left.tolist(), strict=True)),
        [f"L{gate.layer}.{gate.kind}{index}" for index in range(len(gate.right))],
        "right",
        "left",
    )


def _row(gate: GateSaturation) -> list[str]:
    units = len(gate.right)
    return [
        f"L{gate.layer}.{gate.kind} {_NAMES[gate.kind]}",
        f"{units:,}",
        f"{gate.right.mean():.1%}",
        f"{gate.left.mean():.1%}",
        *(f"{count:,} ({count / units:.1%})" for count in (gate.mostly_right, gate.mostly_left)),
    ]


def _sentence(layer: list[GateSaturation]) -> str:
    (gate,) = [gate for gate in layer if gate.kind in _KEEPING]
    units, often = len(gate.right), "more than nine tenths of the time"
    (right, integrators), (left, others) = _KEEPING[gate.kind]
    return (
        f"Layer {gate.layer}: {gate.mostly_right:,} of {units:,} {_NAMES[gate.kind]} gates "
        f"{'is' if gate.mostly_right == 1 else 'are'} {right} {often} ({integrators}); "
        f"{gate.mostly_left:,} {'is' if gate.mostly_left == 1 else 'are'} {left} {often} ({others})."
    )
