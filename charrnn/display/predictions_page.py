"""The grid of guesses as one self-contained HTML file, in the frame of `webpage`.

Each character is a column of its own that cannot disturb its neighbours, and columns wrap wherever the window ends.
Values and probabilities stand in `title` attributes. Knows what `grid` knows.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from charrnn.display.palette import SAFE, Colour, Palette, Ramp, is_dark, mixed
from charrnn.display.predictions import Column, Scale, guess_symbol, symbol
from charrnn.display.webpage import css, frame

_STYLE = """
.grid { display: flex; flex-wrap: wrap; row-gap: 1rem; font: 15px/1.5 ui-monospace, monospace; margin: 1rem 0; }
.grid div { display: flex; flex-direction: column; min-width: 1.35em; text-align: center; unicode-bidi: isolate; }
.grid b, .grid i { border: 1px solid #8884; margin: 0 -1px -1px 0; white-space: pre; font-style: normal; }
.grid b { border-bottom: 2px solid #888; }
.grid .hit { font-weight: bold; text-decoration: underline; outline: 2px solid #000; outline-offset: -3px; }
""".strip()


def render_grid(
    heading: str,
    columns: Sequence[Column],
    summary: str,
    scale: Scale | None = None,
    *,
    is_bytes: bool = False,
    palette: Palette = SAFE,
) -> str:
    """The page as text; `summary` stands below the grid."""
    legend = ""
    if scale is not None:
        legend = f"<h2>{html.escape(scale.title)}</h2>\n{_legend(scale.low, scale.high, palette.above)}"
    cells = "\n".join(_column(column, scale, is_bytes, palette) for column in columns)
    return frame(
        heading,
        f"{legend}<p>Below each character: guesses for the next, the likeliest on top; framed and underlined: the one "
        f"that came.</p>\n{_legend(0, 1, palette.guesses)}"
        f'<div class="grid">\n{cells}\n</div>\n<p>{html.escape(summary)}</p>',
        _STYLE,
    )


def _legend(low: float, high: float, stops: Ramp) -> str:
    ramp = ", ".join(map(css, stops))
    return f'<div>{low:g}<span class="legend" style="background:linear-gradient(90deg, {ramp})"></span>{high:g}</div>\n'


def _column(column: Column, scale: Scale | None, is_bytes: bool, palette: Palette) -> str:
    came = column.next_probability
    title = [] if column.value is None else [f"{column.value:+.3f}"]
    title += ["the text ends here" if came is None else f"what came next had {came:.4f}"]
    look = ""
    if scale is not None and column.value is not None:
        look = f' style="{_look(mixed(palette.above, scale.share(column.value)))}"'
    cells = [f'<b{look} title="{", ".join(title)}">{html.escape(symbol(column.character, is_byte=is_bytes))}</b>']
    for place, (character, probability) in enumerate(column.guesses):
        hit = ' class="hit"' if place == column.hit else ""
        shown = html.escape(guess_symbol(character, is_byte=is_bytes))
        shaded = _look(mixed(palette.guesses, probability))
        cells.append(f'<i{hit} style="{shaded}" title="{probability:.4f}">{shown}</i>')
    return f"<div>{''.join(cells)}</div>"


def _look(colour: Colour) -> str:
    return f"background:{css(colour)};color:{'#fff' if is_dark(colour) else '#000'}"
