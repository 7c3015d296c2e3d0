"""Prose, and the layout of a report on a terminal, a page or in a notebook, one section below the other.

A section can be drawn by rich and can be turned into HTML, so that all of them say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from charrnn.display.safe import visible
from charrnn.display.webpage import escape, frame


class Section(Protocol):
    """A part of a report."""

    @property
    def style(self) -> str:
        """The CSS rules that the section needs besides those of every page."""

    def html(self) -> str:
        """Returns the section as HTML."""


@dataclass(frozen=True, slots=True)
class Prose:
    """A heading, or paragraphs, of which each is one line of the text; a terminal wraps them between words."""

    text: str
    is_heading: bool = False
    style = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(visible(self.text), "bold" if self.is_heading else "")

    def html(self) -> str:
        """Returns an HTML element for each line."""
        tag = "h2" if self.is_heading else "p"
        return "\n".join(f"<{tag}>{escape(line)}</{tag}>" for line in self.text.split("\n"))


def spaced(pieces: Iterable[object]) -> Iterator[object]:
    """Yields the pieces for rich, with an empty line between any two of them, but none below a heading."""
    is_below = True
    for piece in pieces:
        if not is_below:
            yield Text()
        yield piece
        is_below = isinstance(piece, Prose) and piece.is_heading


def page(heading: str, pieces: Iterable[Section]) -> str:
    """Returns the sections as one self-contained HTML page."""
    shown = list(pieces)
    rules = dict.fromkeys(piece.style for piece in shown if piece.style)
    return frame(heading, "\n".join(piece.html() for piece in shown), "\n".join(rules))
