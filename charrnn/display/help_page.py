"""Draws a command's help page: what it does, examples, and its options in sections, wrapped at words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

_WIDEST = 100  # longer lines are hard to read
_WIDEST_NAME = 26  # a longer one stands on a line of its own
_NARROW = 60  # on a narrower terminal every name does
_GAP = 2


@dataclass(frozen=True, slots=True)
class Row:
    """An option, an argument or a command, what is said of it, and maybe a dim line below that."""

    name: str
    text: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that belong together, under a heading."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Page:
    """A help page from top to bottom."""

    usage: str
    about: str
    examples: Sequence[tuple[str, str]] = ()
    """Commands to type, each with what it does (which may be empty)."""
    sections: Sequence[Section] = field(default_factory=tuple)
    last: Sequence[str] = ()
    """Sentences at the end: where more is to be found."""


def draw(page: Page, console: Console) -> None:
    """Prints a page on the console, no line of it wider than that."""
    for line in lines(page, console.width):
        console.print(line, soft_wrap=True)


def lines(page: Page, width: int) -> Iterator[Text]:
    """Yields the lines of a page for a terminal of so many columns."""
    width = max(20, min(width, _WIDEST))
    yield from _paragraph(f"Usage: {page.usage}", width, hanging=7)
    yield Text()
    yield from _paragraph(page.about, width)
    if page.examples:
        yield Text()
        yield from _examples(page.examples, width)
    names = [len(row.name) for section in page.sections for row in section.rows if len(row.name) <= _WIDEST_NAME]
    column = 0 if width < _NARROW else 2 + max(names, default=0) + _GAP
    for section in page.sections:
        yield Text()
        yield Text(section.title, "bold")
        for row in section.rows:
            yield from _row(row, column, width)
    if page.last:
        yield Text()
    for sentence in page.last:
        yield from _paragraph(sentence, width)


def _row(row: Row, column: int, width: int) -> Iterator[Text]:
    """Yields an option beside what is said of it, or above that where the name is too long for its column."""
    indent = column or 6
    said = [Text(line) for line in _wrapped(row.text, width - indent)]
    if said and row.more and indent + said[-1].cell_len + 1 + len(row.more) <= width:
        said[-1].append(f" {row.more}", "dim")
    else:
        said += [Text(line, "dim") for line in _wrapped(row.more, width - indent)]
    if 2 + len(row.name) + _GAP <= column:
        first = said.pop(0) if said else Text()
        yield Text("  ").append(row.name, "bold cyan").append(" " * (column - 2 - len(row.name))).append_text(first)
    else:
        yield from _pieces(row.name, width)
    for line in said:
        yield Text(" " * indent).append_text(line)


def _pieces(name: str, width: int) -> Iterator[Text]:
    """Yields a name over as many lines as it needs, broken between its words."""
    for number, line in enumerate(_wrapped(name, width - 4)):
        yield Text("    " if number else "  ").append(line, "bold cyan")


def _examples(examples: Iterable[tuple[str, str]], width: int) -> Iterator[Text]:
    shown = list(examples)
    longest = max((len(typed) for typed, _ in shown), default=0)
    for typed, what in shown:
        if what and 2 + longest + 3 + len(what) <= width:
            yield Text(f"  {typed.ljust(longest)}   ").append(what, "dim")
            continue
        yield from _paragraph(typed, width, indent=2, hanging=4)
        for line in _wrapped(what, width - 6):
            yield Text(" " * 6).append(line, "dim")


def _paragraph(text: str, width: int, *, indent: int = 0, hanging: int = 0) -> Iterator[Text]:
    """Yields a paragraph, indented, with the lines after the first indented by `hanging` more."""
    for number, line in enumerate(_wrapped(text, width - indent - hanging)):
        yield Text(" " * (indent + (hanging if number else 0)) + line)


def _wrapped(text: str, width: int) -> list[str]:
    """Returns the lines of a text, broken at spaces only; a word that is wider than a line stands alone."""
    wrapped = textwrap.wrap(text, max(10, width), break_long_words=False, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]
