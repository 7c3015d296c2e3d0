"""Scatter plots in the unit square, or in the triangle under its diagonal: side by side on a terminal, and as SVG.

On a terminal a point is a braille dot, 2 x 4 of them in each character cell; points that fall on one dot are one dot.
In SVG points are half transparent, so that many in one place look denser, and each tells its name and its values under
the pointer. Both are readable without colour: the diagonal is drawn with other marks than the points are.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from charrnn.display.background import mark_style
from charrnn.display.safe import visible

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then column, of one cell
_BLANK = 0x2800
_NARROW, _WIDE, _GAP = 20, 40, 3  # the least and largest width of a plot without its axis, and the gap, in columns
_AXIS = 2
_SIDE, _MARGIN = 200, 24  # sizes in an SVG: the square, and the room for labels on its left and below


@dataclass(frozen=True, slots=True)
class Scatter:
    """One plot: points (x, y) within 0 to 1, each with a name."""

    title: str
    points: Sequence[tuple[float, float]]
    names: Sequence[str]
    x_label: str
    y_label: str

    def __post_init__(self) -> None:
        assert len(self.points) == len(self.names), "one name for each point"
        assert all(0 <= value <= 1 for point in self.points for value in point), "points lie in the unit square"


@dataclass(frozen=True, slots=True)
class Scatters:
    """Scatter plots that stand side by side as far as the width allows."""

    plots: Sequence[Scatter]
    style = """
.scatters { display: flex; flex-wrap: wrap; gap: 1rem; }
.scatters svg { width: 16rem; max-width: 100%; height: auto; }
.scatters text { font: 11px system-ui, sans-serif; fill: currentColor; }
.scatters line { stroke: currentColor; stroke-width: 1; }
.scatters .limit { stroke-dasharray: 3 4; opacity: .6; }
.scatters circle { fill: #e66101; fill-opacity: .35; stroke: #e66101; stroke-width: .8; }
""".strip()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.plots:
            return
        beside = min(len(self.plots), max(1, (options.max_width + _GAP) // (_AXIS + _NARROW + _GAP)))
        width = (options.max_width + _GAP) // beside - _GAP - _AXIS
        width = max(2, min(width, _WIDE) // 2 * 2)
        for first in range(0, len(self.plots), beside):
            if first:
                yield Text("")
            drawn = [_lines(plot, width, mark_style(console)) for plot in self.plots[first : first + beside]]
            for pieces in zip(*drawn, strict=True):
                line = Text(" " * _GAP).join(pieces)
                line.no_wrap, line.overflow = True, "crop"
                line.rstrip()
                yield line

    def html(self) -> str:
        """Returns the plots as SVG elements in a box that wraps where the page is narrow."""
        return '<div class="scatters">\n' + "\n".join(map(_svg, self.plots)) + "\n</div>"


def _lines(plot: Scatter, width: int, point: Style) -> list[Text]:
    """Returns a plot with its axes; `width` columns and half as many rows make a square on most terminals."""
    height = width // 2
    cells = [[0] * width for _ in range(height)]
    for x, y in plot.points:
        column, row = round(x * (2 * width - 1)), round((1 - y) * (4 * height - 1))
        cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    left = f"\u2191 {_shown(plot.y_label)}"
    lines = [Text(_fitted(_shown(plot.title), _AXIS + width), "bold"), Text(_fitted(left, _AXIS + width), "dim")]
    for number, row_of_cells in enumerate(cells):
        line = Text({0: "1\u2524", height - 1: "0\u2524"}.get(number, " \u2502"))
        for column, bits in enumerate(row_of_cells):
            if bits:
                line.append(chr(_BLANK + bits), point)
            else:
                is_crossed = column == 2 * number  # x + y = 1, beyond which there can be no points
                line.append("\u2572" if is_crossed else " ", "dim" if is_crossed else None)
        lines.append(line)
    lines.append(Text(" \u2514" + "\u2500" * width))
    right = f"{_shown(plot.x_label)} \u2192"
    between = width - 2 - cell_len(right)
    middle = " " * (between // 2) + right + " " * (between - between // 2) if between >= 2 else " " * (width - 2)
    lines.append(Text.assemble("  0", (middle, "dim"), "1"))
    return lines


def _shown(text: str) -> str:
    return visible(text, kept="")


def _fitted(text: str, width: int) -> str:
    return set_cell_size(text, width)


def _svg(plot: Scatter) -> str:
    left, top, right, bottom = _MARGIN, _MARGIN, _MARGIN + _SIDE, _MARGIN + _SIDE
    title, x_label, y_label = (html.escape(_shown(text)) for text in (plot.title, plot.x_label, plot.y_label))
    middle = left + _SIDE // 2
    parts = [
        f'<svg viewBox="0 0 {right + 8} {bottom + _MARGIN}" role="img" aria-label="{title}">',
        f'<text x="{middle}" y="14" text-anchor="middle">{title}</text>',
        f'<line x1="{left}" y1="{top}" x2="{left}" y2="{bottom}"/>',
        f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>',
        f'<line class="limit" x1="{left}" y1="{top}" x2="{right}" y2="{bottom}"/>',
    ]
    for across, down, anchor, text in (
        (left - 5, top + 4, "end", "1"), (left - 5, bottom + 4, "end", "0"), (left, bottom + 14, "middle", "0"),
        (right, bottom + 14, "middle", "1"), (middle, bottom + 16, "middle", x_label),
    ):  # fmt: skip
        parts.append(f'<text x="{across}" y="{down}" text-anchor="{anchor}">{text}</text>')
    parts.append(
        f'<text x="12" y="{top + _SIDE // 2}" text-anchor="middle" transform="rotate(-90 12 {top + _SIDE // 2})">'
        f"{y_label}</text>"
    )
    for (x, y), name in zip(plot.points, plot.names, strict=True):
        parts.append(
            f'<circle cx="{left + x * _SIDE:.1f}" cy="{bottom - y * _SIDE:.1f}" r="3">'
            f"<title>{html.escape(_shown(name))}: {x_label} {x:.3f}, {y_label} {y:.3f}</title></circle>"
        )
    return "\n".join([*parts, "</svg>"])
