"""A text in columns, one a character, with the guesses for the character after it below, on a terminal.

The best guess stands on top, and each on a background from white (improbable) to the palette's colour for certainty,
orange by default; the guess that came true, which is the character of the next column, is bold and underlined. Without
colour (`NO_COLOR`, a pipe) it has a star before it, and every guess a bar behind it. A unit's value colours the text
itself, as in `heat`. Columns are as wide as what stands in them and wrap in bands. Knows characters, values and
probabilities. Refuses to know networks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from charrnn.display.palette import SAFE, Colour, Palette, Ramp, glyph, is_dark, mixed
from charrnn.display.safe import visible_character

_SYMBOLS = {"\n": "\u21b5", "\t": "\u2192"}
_SPACE = "\u2423"
_MARK = "*"
_STEPS = 17  # of a legend's ramp


@dataclass(frozen=True, slots=True)
class Column:
    """A character, and what was expected after it."""

    character: str
    guesses: Sequence[tuple[str, float]]
    """Characters with their probabilities, the likeliest first."""
    hit: int | None
    """Which of the guesses came true."""
    next_probability: float | None
    """Of the character that came, guessed or not; None at the text's end."""
    value: float | None = None
    """A unit's value after this character."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The unit that colours the text, and the range of its values."""

    title: str
    low: float
    high: float

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)


def symbol(character: str, *, is_byte: bool = False) -> str:
    """What is shown of a character in a cell of its own, where it can neither move nor join its neighbours.

    Line ends and tabs are symbols; a mark stands on a dotted circle; what has no width, or joins what is before it to
    one picture, is named by its code point. A byte beyond ASCII is half a character, and shown as its hexadecimals.

    >>> symbol(chr(10)), symbol(chr(0x301)), symbol(chr(0x200D)), symbol(chr(0xE9), is_byte=True)
    ('↵', '◌́', '‹U+200D›', '‹E9›')
    """
    code = ord(character)
    if is_byte and code >= 0x80:
        return f"\u2039{code:02X}\u203a"
    shown = _SYMBOLS.get(character) or visible_character(character)
    if unicodedata.category(character).startswith("M") and not _is_joining(code):
        shown = "\u25cc" + character
    if cell_len(shown) == 0 or unicodedata.category(character) == "Cf" or _is_joining(code):
        shown = f"\u2039U+{code:04X}\u203a"
    return shown


def guess_symbol(character: str, *, is_byte: bool = False) -> str:
    """As `symbol`; a space too, which among guesses would be nothing at all."""
    return _SPACE if character == " " else symbol(character, is_byte=is_byte)


def _is_joining(code: int) -> bool:
    """Variation selectors, and the parts of flags and the colours of skin among emoji."""
    return (
        0xFE00 <= code <= 0xFE0F
        or 0xE0100 <= code <= 0xE01EF
        or 0x1F1E6 <= code <= 0x1F1FF
        or 0x1F3FB <= code <= 0x1F3FF
    )


class Grid:
    """A renderable: columns, under a legend."""

    def __init__(
        self,
        columns: Sequence[Column],
        scale: Scale | None = None,
        *,
        is_bytes: bool = False,
        palette: Palette = SAFE,
    ) -> None:
        assert all((column.value is not None) == (scale is not None) for column in columns), "a value for each, or none"
        self.columns = columns
        self.scale = scale
        self.is_bytes = is_bytes
        self.palette = palette

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        has_colour = console.color_system is not None and not console.no_color
        yield from self._legend(has_colour)
        for band in self._bands(options.max_width, 0 if has_colour else 2):
            yield Text("")
            for row in self._rows(band, has_colour):
                if not has_colour:
                    row.rstrip()
                yield row

    def _legend(self, has_colour: bool) -> Iterator[Text]:
        if self.scale is not None:
            yield Text(self.scale.title)
            yield _ramp(self.scale.low, self.scale.high, self.palette.above, has_colour)
        mark = "underlined" if has_colour else f"after a {_MARK}"
        yield Text(f"below each character the guesses for the next; {mark}: the one that came")
        yield _ramp(0, 1, self.palette.guesses, has_colour)

    def _labels(self, column: Column) -> list[str]:
        below = [guess_symbol(character, is_byte=self.is_bytes) for character, _ in column.guesses]
        return [symbol(column.character, is_byte=self.is_bytes), *below]

    def _bands(self, width: int, extra: int) -> Iterator[list[tuple[Column, list[str], int]]]:
        """Columns with what they show and how wide that is, as many side by side as fit; `extra` places each."""
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

    def _rows(self, band: list[tuple[Column, list[str], int]], has_colour: bool) -> Iterator[Text]:
        for row in range(max(len(labels) for _, labels, _ in band)):
            line = Text(end="\n", no_wrap=True, overflow="ignore")
            for column, labels, wide in band:
                share, is_hit = self._share(column, row), row > 0 and column.hit == row - 1
                if has_colour:
                    line.append(_padded(labels[row], wide), self._style(row, share, is_hit))
                else:
                    bar = " " if share is None else glyph(share)
                    line.append(_padded((_MARK if is_hit else " ") + labels[row] + bar, wide))
            yield line

    def _share(self, column: Column, row: int) -> float | None:
        if row:
            return column.guesses[row - 1][1]
        return None if self.scale is None or column.value is None else self.scale.share(column.value)

    def _style(self, row: int, share: float | None, is_hit: bool) -> Style:
        if share is None:
            return Style(bold=True)
        ramp = self.palette.guesses if row else self.palette.above
        return _on(mixed(ramp, share), bold=is_hit or not row, underline=is_hit)


def _padded(text: str, wide: int) -> str:
    return text + " " * (wide - cell_len(text))


def _on(colour: Colour, *, bold: bool = False, underline: bool = False) -> Style:
    ink = (255, 255, 255) if is_dark(colour) else (0, 0, 0)
    return Style(color=Color.from_rgb(*ink), bgcolor=Color.from_rgb(*colour), bold=bold, underline=underline)


def _ramp(low: float, high: float, colours: Ramp, has_colour: bool) -> Text:
    ramp = Text(f"{low:g} ", no_wrap=True, overflow="ignore")
    for share in (place / (_STEPS - 1) for place in range(_STEPS)):
        ramp.append(" " if has_colour else glyph(share), _on(mixed(colours, share)) if has_colour else None)
    return ramp.append(f" {high:g}")
