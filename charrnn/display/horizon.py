"""Shows how long a model remembers: a table, a curve and sentences.

The curve is the excess loss over the context, on a logarithmic axis, with its 95 % interval as a band on the page; the
terminal has the intervals in its table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.display.curve import Chart, Line
from charrnn.display.report import Prose, Section
from charrnn.display.table import Columns, Row
from charrnn.display.webpage import escape
from charrnn.wording import count

if TYPE_CHECKING:
    from charrnn.neurons.horizon import Bin, Memory

_HEADINGS = ("context", "bits", "excess", "95 % interval")
_ORANGE = "#e66101"  # its contrast is 3.5 to 1 on white, 6.0 to 1 on black
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 240, 40, 20, 20, 34


def pieces(memory: Memory, *, on_page: bool) -> list[Section]:
    """Returns the table, the curve and the sentences that sum them up; on a page in reverse order."""
    table = Columns(_HEADINGS, [Row(_cells(row)) for row in memory.bins], words=())
    shown: list[Section] = [table, Curve(memory), Prose("\n".join(_sentences(memory)))]
    return shown[::-1] if on_page else shown


def _sentences(memory: Memory) -> list[str]:
    measured = (
        f"{count(memory.lanes, 'lane')} began at random places in {count(memory.characters, 'character')}, with 1 to "
        f"{count(memory.distance, 'character')} of context; with all context a character costs "
        f"{memory.full_bits:.4f} bits."
    )
    return [measured, _horizon(memory), *_gains(memory)]


def _horizon(memory: Memory) -> str:
    found = memory.horizon
    if found is None:
        return f"The horizon is not reached within {memory.distance:,}: context further back is still worth something."
    if found == 1:
        return "The horizon is 1: all that the model uses of its context is the last character."
    return f"The horizon is {found:,}: with so many characters of context, less than 0.01 bits are missing."


def _gains(memory: Memory) -> Iterator[str]:
    if memory.horizon == 1:
        return
    if memory.bins[0].excess <= 0:
        yield "There is no gain over one character of context to divide."
        return
    where = [(percent, memory.gained_at(percent / 100)) for percent in (90, 99)]
    parts = [
        f"{percent} % is " + (f"not reached within {memory.distance:,}" if d is None else f"reached at {d:,}")
        for percent, d in where
    ]
    yield f"Of the gain over one character of context ({memory.bins[0].excess:.2f} bits), {' and '.join(parts)}."


def _cells(row: Bin) -> tuple[str, str, str, str]:
    context = f"{row.first:,}" if row.first == row.last else f"{row.first:,}-{row.last:,}"
    return context, f"{row.bits:.4f}", _signed(row.excess), f"{_signed(row.low)} to {_signed(row.high)}"


def _signed(value: float) -> str:
    return f"{round(value, 4) + 0.0:+.4f}"


def _points(memory: Memory) -> list[tuple[float, Bin]]:
    """Returns each bin with its geometric middle as x, and the last bin once more at D."""
    points = [(math.sqrt(row.first * row.last), row) for row in memory.bins]
    return points if points[-1][0] == memory.distance else [*points, (memory.distance, memory.bins[-1])]


@dataclass(frozen=True, slots=True)
class Curve:
    """A plot of the excess loss over the length of the context."""

    memory: Memory
    style = """
svg { display: block; width: 100%; max-width: 40rem; margin: 1rem 0; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
""".strip()

    def __rich__(self) -> Chart:
        points = [(at, row.excess) for at, row in _points(self.memory)]
        return Chart([Line("excess", "cyan", points)], x_label="characters", y_label="bits", height=10, log_x=True)

    def html(self) -> str:
        """Returns the curve as an SVG element."""
        low = min(0.0, *(row.low for row in self.memory.bins))
        high = max(1e-3, *(row.high for row in self.memory.bins))
        furthest = math.log10(max(self.memory.distance, 10))

        def x(characters: float) -> str:
            return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log10(characters) / furthest:.1f}"

        def y(bits: float) -> str:
            return f"{_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - bits) / (high - low):.1f}"

        middles = [(x(at), row) for at, row in _points(self.memory)]
        band = " ".join(
            [f"{at},{y(row.high)}" for at, row in middles] + [f"{at},{y(row.low)}" for at, row in reversed(middles)]
        )
        curve = " ".join(f"{at},{y(row.excess)}" for at, row in middles)
        floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        marks = [
            f'<line x1="{_LEFT}" y1="{y(0)}" x2="{right}" y2="{y(0)}" stroke="currentColor" stroke-opacity="0.4"/>',
            f'<text x="{_LEFT - 4}" y="{y(0)}" text-anchor="end" dominant-baseline="middle">0</text>',
            f'<text x="{_LEFT - 4}" y="{y(high)}" text-anchor="end" dominant-baseline="middle">{high:.3g}</text>',
            f'<text x="{_LEFT}" y="12">excess, bits per character, with its 95 % interval</text>',
            f'<text x="{right}" y="{_HEIGHT - 4}" text-anchor="end">characters of context</text>',
        ]
        for exponent in range(math.floor(furthest) + 1):
            at = x(10**exponent)
            marks.append(f'<line x1="{at}" y1="{floor}" x2="{at}" y2="{floor + 4}" stroke="currentColor"/>')
            marks.append(f'<text x="{at}" y="{floor + 16}" text-anchor="middle">{10**exponent:,}</text>')
        dots = [
            f'<circle cx="{at}" cy="{y(row.excess)}" r="2.5" fill="{_ORANGE}">'
            f"<title>{escape(': '.join(_cells(row)[::2]))}</title></circle>"
            for at, row in middles[: len(self.memory.bins)]
        ]
        return "\n".join(
            [
                f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
                'aria-label="Excess loss over characters of context">',
                f'<polygon points="{band}" fill="{_ORANGE}" fill-opacity="0.25"/>',
                f'<polyline points="{curve}" fill="none" stroke="{_ORANGE}" stroke-width="1.5"/>',
                *marks,
                *dots,
                "</svg>",
            ]
        )
