"""Draws values as small pieces of HTML for a notebook.

A piece is at most 600 pixels wide, brings its own styles, takes the notebook's colour of text, and loads nothing. All
text is escaped, and characters that could disturb the page are shown as symbols.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from charrnn.display.css import css, css_on
from charrnn.display.palette import SAFE, Palette, mixed
from charrnn.display.safe import symbol
from charrnn.display.webpage import escape

_WIDTH = 600
_BOX = f'<div style="max-width:{_WIDTH}px;overflow-wrap:anywhere">'
_PRE = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.5;margin:.3em 0"
_RAMP = "display:inline-block;height:.8em;width:12em;margin:0 .5em;outline:1px solid #8888"
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 10, 590, 150
_COLOURS = {"train": "#2166ac", "validation": "#e66101"}


def table(rows: Mapping[str, str]) -> str:
    """Returns names and values as a table of two columns."""
    cells = "".join(
        f'<tr><th style="text-align:left;vertical-align:top;white-space:nowrap">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f'{_BOX}<table style="max-width:100%">{cells}</table></div>'


def coloured(title: str, text: str, values: Sequence[float], low: float, high: float, palette: Palette = SAFE) -> str:
    """Returns a text with a value at each character, from `low` to `high`, as the colour of its background.

    The value itself stands in the character's `title` attribute.
    """
    assert len(text) == len(values), "one value for each character"
    spans = []
    for character, value in zip(text, values, strict=True):
        shown = symbol(character) + (character if character in "\n\t" else "")
        style = css_on(mixed(palette.text, (value - low) / (high - low)))
        spans.append(f'<span style="{style}" title="{value:+.3f}">{html.escape(shown)}</span>')
    stops = ", ".join(css(mixed(palette.text, place / 8)) for place in range(9))
    ramp = f'{low:+g}<span style="{_RAMP};background:linear-gradient(90deg, {stops})"></span>{high:+g}'
    return f'{_BOX}<div><b>{escape(title)}</b> {ramp}</div><pre style="{_PRE}">{"".join(spans)}</pre></div>'


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: its name, "train" or "validation", and its points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(lines: Sequence[Line], *, x_label: str, y_label: str) -> str:
    """Returns curves that share a pair of axes as an SVG element, and nothing where there is no point."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)

    def place(x: float, y: float) -> str:
        across = (x - left) / (right - left) if right > left else 0.5
        down = (high - y) / (high - low) if high > low else 0.5
        return f"{_LEFT + across * (_RIGHT - _LEFT):.1f},{_TOP + down * (_BOTTOM - _TOP):.1f}"

    def label(x: float, y: float, anchor: str, text: str, colour: str = "currentColor") -> str:
        return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_BOTTOM + 36}" style="max-width:{_WIDTH}px;width:100%;'
        f'font:12px sans-serif" role="img" aria-label="{escape(y_label)} over {escape(x_label)}">',
        f'<path d="M{_LEFT},{_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="currentColor" stroke-opacity=".5"/>',
        label(_LEFT - 6, _TOP + 8, "end", f"{high:.3g}"),
        label(_LEFT - 6, _BOTTOM, "end", f"{low:.3g}"),
        label(_LEFT - 6, (_TOP + _BOTTOM) / 2, "end", y_label),
        label(_LEFT, _BOTTOM + 16, "start", f"{left:,.0f}"),
        label(_RIGHT, _BOTTOM + 16, "end", f"{right:,.0f} {x_label}"),
    ]
    for number, line in enumerate(lines):
        colour = _COLOURS.get(line.name, "currentColor")
        points = " ".join(place(x, y) for x, y in line.points)
        if len(line.points) == 1:
            x, _, y = points.partition(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        else:
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(label(_LEFT + 90 * number, _BOTTOM + 32, "start", f"\u2014 {line.name}", colour))
    return "".join([*parts, "</svg>"])
