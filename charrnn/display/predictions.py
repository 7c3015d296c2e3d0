"""Shows a text in columns, one for each character, with the guesses for the next character below it.

The best guess stands on top. Each guess has a background from white (improbable) to the palette's colour for certainty,
orange by default; the guess that came true, which is the character of the next column, is bold and underlined. Without
colour (`NO_COLOR`, a pipe) it has a star before it, and every guess has a bar behind it. A unit's value colours the
text itself, as in `heat`. Columns are as wide as their content and wrap in bands. On a page each column is an element
that cannot disturb its neighbours; values and probabilities stand in `title` attributes.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from charrnn.display import safe
from charrnn.display.background import has_colour, style_on
from charrnn.display.css import css_on
from charrnn.display.palette import SAFE, Palette, Ramp, glyph, mixed
from charrnn.display.webpage import legend

_MARK = "*"
_STEPS = 17  # steps of a legend's ramp


@dataclass(frozen=True, slots=True)
class Column:
    """A character, and the guesses for the character after it."""

    character: str
    guesses: Sequence[tuple[str, float]]
    """The guessed characters with their probabilities, the likeliest first."""
    hit: int | None
    """The place of the guess that came true; None where none did."""
    next_probability: float | None
    """The probability of the character that came next, guessed or not; None at the text's end."""
    value: float | None = None
    """A unit's value after this character."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The unit that colours the text, and the range of its values."""

    title: str
    low: float
    high: float

    def share(self, value: float) -> float:
        """Returns where a value lies in the range: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def symbol(character: str, *, is_byte: bool = False) -> str:
    """Returns what is shown for a character in a cell of its own, where it can neither move nor join its neighbours.

    Line ends and tabs are symbols; a mark stands on a dotted circle; a character without width, or one that joins with
    the one before it, is named by its code point. A byte beyond ASCII, a part of a character, is shown in hexadecimal.
    The name `<end>` of a document's end stands as it is.

    >>> symbol(chr(10)), symbol(chr(0x301)), symbol(chr(0x200D)), symbol(chr(0xE9), is_byte=True)
    ('↵', '◌́', '‹U+200D›', '‹E9›')
    """
    if len(character) > 1:
        return character
    code = ord(character)
    if is_byte and code >= 0x80:
        return f"\u2039{code:02X}\u203a"
    shown = safe.symbol(character)
    if unicodedata.category(character).startswith("M") and not _is_joining(code):
        shown = "\u25cc" + character
    if cell_len(shown) == 0 or unicodedata.category(character) == "Cf" or _is_joining(code):
        shown = f"\u2039U+{code:04X}\u203a"
    return shown


def guess_symbol(character: str, *, is_byte: bool = False) -> str:
    """Returns the symbol of a guess; a space gets a symbol too, since it would be invisible among guesses."""
    return safe.SPACE if character == " " else symbol(character, is_byte=is_byte)


def _is_joining(code: int) -> bool:
    """Returns whether a code point is a variation selector, a part of a flag emoji or an emoji's skin colour."""
    return (
        0xFE00 <= code <= 0xFE0F
        or 0xE0100 <= code <= 0xE01EF
        or 0x1F1E6 <= code <= 0x1F1FF
        or 0x1F3FB <= code <= 0x1F3FF
    )


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns of guesses under a legend."""

    columns: Sequence[Column]
    scale: Scale | None = None
    is_bytes: bool = False
    palette: Palette = SAFE
    style = """
.grid { display: flex; flex-wrap: wrap; row-gap: 1rem; font: 15px/1.5 ui-monospace, monospace; margin: 1rem 0; }
.grid div { display: flex; flex-direction: column; min-width: 1.35em; text-align: center; unicode-bidi: isolate; }
.grid b, .grid i { border: 1px solid #8884; margin: 0 -1px -1px 0; white-space: pre; font-style: normal; }
.grid b { border-bottom: 2px solid #888; }
.grid .hit { font-weight: bold; text-decoration: underline; outline: 2px solid #000; outline-offset: -3px; }
""".strip()

    def __post_init__(self) -> None:
        is_valued = self.scale is not None
        assert all((column.value is not None) == is_valued for column in self.columns), "a value for each, or none"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_coloured = has_colour(console)
        yield from self._legend(console)
        for band in self._bands(options.max_width, 0 if is_coloured else 2):
            yield Text("")
            for row in self._rows(band, console):
                if not is_coloured:
                    row.rstrip()
                yield row

    def _legend(self, console: Console) -> Iterator[Text]:
        if self.scale is not None:
            yield Text(self.scale.title)
            yield _ramp(self.scale.low, self.scale.high, self.palette.above, console)
        mark = "is underlined" if has_colour(console) else f"has a {_MARK} before it"
        yield Text(f"Guesses for the next character stand below each; what came {mark}.")
        yield _ramp(0, 1, self.palette.guesses, console)

    def _labels(self, column: Column) -> list[str]:
        below = [guess_symbol(character, is_byte=self.is_bytes) for character, _ in column.guesses]
        return [symbol(column.character, is_byte=self.is_bytes), *below]

    def _bands(self, width: int, extra: int) -> Iterator[list[tuple[Column, list[str], int]]]:
        """Yields bands of as many columns as fit side by side, each with its symbols and its width; `extra` is added to
        the width of each."""
        band: list[tuple[Column, list[str], int]] = []
        used = 0
        for column in self.columns:
            labels = self._labels(column)
            wide = max(map(cell_len, labels)) + extra
            if band and used + wide > width:
                yield band
                band, used = [], 0
            band.append((column, labels, wide))
            used += wide
        if band:
            yield band

    def _rows(self, band: list[tuple[Column, list[str], int]], console: Console) -> Iterator[Text]:
        is_coloured = has_colour(console)
        for row in range(max(len(labels) for _, labels, _ in band)):
            line = Text(end="\n", no_wrap=True, overflow="ignore")
            for column, labels, wide in band:
                share, is_hit = self._share(column, row), row > 0 and column.hit == row - 1
                if is_coloured:
                    line.append(_padded(labels[row], wide), self._style(console, row, share, is_hit))
                else:
                    bar = " " if share is None else glyph(share)
                    line.append(_padded((_MARK if is_hit else " ") + labels[row] + bar, wide))
            yield line

    def _share(self, column: Column, row: int) -> float | None:
        if row:
            return column.guesses[row - 1][1]
        return None if self.scale is None or column.value is None else self.scale.share(column.value)

    def _style(self, console: Console, row: int, share: float | None, is_hit: bool) -> Style:
        if share is None:
            return Style(bold=True)
        ramp = self.palette.guesses if row else self.palette.above
        return style_on(console, ramp, share, bold=is_hit or not row, underline=is_hit)

    def html(self) -> str:
        """Returns the grid below its legend; columns wrap wherever the window ends."""
        above = ""
        if self.scale is not None:
            ramp = legend(f"{self.scale.low:g}", f"{self.scale.high:g}", self.palette.above.anchors)
            above = f"<h2>{html.escape(self.scale.title)}</h2>\n{ramp}"
        return (
            f"{above}<p>Guesses for the next character stand below each, the likeliest on top; what came is framed "
            f"and underlined.</p>\n{legend('0', '1', self.palette.guesses.anchors)}"
            '<div class="grid">\n' + "\n".join(map(self._column, self.columns)) + "\n</div>"
        )

    def _column(self, column: Column) -> str:
        came = column.next_probability
        title = [] if column.value is None else [f"{column.value:+.3f}"]
        title += ["the text ends here" if came is None else f"what came next had {came:.4f}"]
        share = self._share(column, 0)
        look = "" if share is None else f' style="{css_on(mixed(self.palette.above, share))}"'
        above, *below = map(html.escape, self._labels(column))
        cells = [f'<b{look} title="{", ".join(title)}">{above}</b>']
        for place, (shown, (_, probability)) in enumerate(zip(below, column.guesses, strict=True)):
            hit = ' class="hit"' if place == column.hit else ""
            shaded = css_on(mixed(self.palette.guesses, probability))
            cells.append(f'<i{hit} style="{shaded}" title="{probability:.4f}">{shown}</i>')
        return f"<div>{''.join(cells)}</div>"


def _padded(text: str, wide: int) -> str:
    return text + " " * (wide - cell_len(text))


def _ramp(low: float, high: float, colours: Ramp, console: Console) -> Text:
    ramp = Text(f"{low:g} ", no_wrap=True, overflow="ignore")
    for share in (place / (_STEPS - 1) for place in range(_STEPS)):
        ramp.append(" " if has_colour(console) else glyph(share), style_on(console, colours, share))
    return ramp.append(f" {high:g}")
