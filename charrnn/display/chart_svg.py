"""A line chart as SVG, for pages."""

from __future__ import annotations

from rich.color import Color

from charrnn.display.curve import Chart, axis_label
from charrnn.display.webpage import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 360, 64, 168, 20, 36  # of an SVG and the margins in it
_ROW = 18  # of its names
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


def as_svg(chart: Chart) -> str:
    """Returns a chart as an SVG element, which needs no style sheet; x is not by its logarithm.

    Curves differ by dashes as well as by colour, and tell their names under the pointer too.
    """
    xs = [x for line in chart.lines for x, _ in line.points]
    ys = [y for line in chart.lines for _, y in line.points]
    if not xs:
        return ""
    # The longest name has room: a letter of this size is about seven wide.
    margin = max(_RIGHT, 54 + 7 * max(len(line.name) for line in chart.lines))
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - margin

    def across(x: float) -> str:
        return f"{_LEFT + (right - _LEFT) * (x - min(xs)) / ((max(xs) - min(xs)) or 1.0):.1f}"

    def down(y: float) -> str:
        return f"{floor - (floor - _TOP) * (y - min(ys)) / ((max(ys) - min(ys)) or 1.0):.1f}"

    small = 'font-size="12" fill="currentColor"'
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
        f'role="img" aria-label="{escape(chart.y_label)} over {escape(chart.x_label)}">',
        f'<path d="M{_LEFT} {_TOP}V{floor}H{right}" fill="none" stroke="currentColor"/>',
        f'<text x="{_LEFT}" y="12" {small}>{escape(chart.y_label)}</text>',
        f'<text x="{right}" y="{_HEIGHT - 4}" text-anchor="end" {small}>{escape(chart.x_label)}</text>',
    ]
    for y in dict.fromkeys((min(ys), max(ys))):
        parts.append(f'<text x="{_LEFT - 4}" y="{down(y)}" text-anchor="end" {small}>{axis_label(y).strip()}</text>')
    for x in dict.fromkeys((min(xs), max(xs))):
        parts.append(f'<text x="{across(x)}" y="{floor + 16}" text-anchor="middle" {small}>{x:,.0f}</text>')
    for number, line in enumerate(chart.lines):
        colour = Color.parse(line.colour).get_truecolor().hex
        dashes = _DASHES[number % len(_DASHES)]
        stroke = f'fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dashes or "none"}"'
        points = " ".join(f"{across(x)},{down(y)}" for x, y in line.points)
        curve = f'<polyline points="{points}" {stroke}><title>{escape(line.name)}</title></polyline>'
        if len(line.points) == 1:  # a line of one point would not be seen
            (x, y), *_ = line.points
            dot = f'cx="{across(x)}" cy="{down(y)}" r="3" fill="{colour}"'
            curve = f"<circle {dot}><title>{escape(line.name)}</title></circle>"
        row = _TOP + _ROW * number
        parts += [
            curve,
            f'<path d="M{right + 12} {row}h28" {stroke}/>',
            f'<text x="{right + 46}" y="{row + 4}" {small}>{escape(line.name)}</text>',
        ]
    return "\n".join([*parts, "</svg>"])
