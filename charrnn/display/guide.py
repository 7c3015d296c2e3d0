"""Draws a page of the manual for a terminal: Markdown, with code and tables that fit narrow windows too.

Pages are written for two readers: as they stand, in a repository, and drawn here. Links from page to page become the
command that shows the page; a command that is too long for the window continues on the next line with a backslash, so
that it can still be copied; a table that does not fit becomes a list of its rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownContext, MarkdownElement, TableElement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text, TextType
from rich.theme import Theme

from charrnn.display.safe import visible

_ADDRESS = re.compile(r"<(https?://[^>\s]+)>")
_LINK = re.compile(r"\[([^]]+)\]\(([\w-]+)\.md(?:#[\w-]*)?\)")
_WORD = r"""(?:"[^"]*"|'[^']*'|\S)+"""
_WORDS = re.compile(rf"-[\w-]+ (?!-){_WORD}|{_WORD}")
"""A word of a command, or an option with the value that may follow it."""
_PADDING = re.compile(r"(?: |\x1b\[[\d;]*m)+$")
_INDENT = "  "
_GAP = 2
_SOFT = 28
"""A column is never drawn narrower than this for want of room, unless all that it holds is."""
_WIDEST = 120

STYLES = Theme(
    {
        "markdown.h1": "bold",
        "markdown.h2": "bold",
        "markdown.h3": "bold italic",
        "markdown.code": "cyan",
        "markdown.item.bullet": "dim",
        "guide.command": "bold cyan",
    }
)
"""The styles of a page, which the console that draws one must have."""


def linked(page: str) -> str:
    """Returns the Markdown with each link to another page replaced by the command that shows that page."""

    def command(match: re.Match[str]) -> str:
        shown = f"`charrnn help {match[2]}`"
        return shown if match[1] == match[2] else f"{match[1]} ({shown})"

    return _ADDRESS.sub(r"\1", _LINK.sub(command, page))


def drawn(page: str, console: Console) -> str:
    """Returns the page, given as Markdown, as text for a terminal like that of the console, colours included."""
    with console.capture() as captured:
        console.print(_Page(visible(linked(page)), hyperlinks=False), width=min(console.width, _WIDEST))
    # rich fills lines with spaces, which would wrap where the window is made narrower.
    lines = (_PADDING.sub(_reset, line) for line in captured.get().strip("\n").split("\n"))
    return "\n".join(lines) + "\n"


def drawn_index(topics: Mapping[str, str], console: Console) -> str:
    """Returns the list of topics, each with its line, as text for a terminal like that of the console.

    A page that belongs to another one, as results-cells does to results, is named in the line of that.
    """
    table = Table.grid(padding=(0, _GAP, 0, 0))
    for topic, line in topics.items():
        if any(topic.startswith(f"{other}-") for other in topics):
            continue
        table.add_row(Text(topic, "guide.command"), Text(line.replace("`", "")))
    with console.capture() as captured:
        console.print(Text.assemble(("charrnn help TOPIC", "guide.command"), " shows a page of the manual:"))
        console.print(table)
    return captured.get()


def _reset(match: re.Match[str]) -> str:
    return "\x1b[0m" if "\x1b" in match[0] else ""


def wrapped_command(line: str, width: int) -> list[str]:
    """Returns a shell command as lines of at most `width` columns, all but the last of which end in a backslash.

    Lines break between words, never inside quotes nor between an option and its value, as long as these fit.
    """
    lines: list[str] = []
    words = [line[match.start() : match.end()] for match in _WORDS.finditer(line)]
    for word in words:
        # Two columns are kept for the backslash that may follow.
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width - 2:
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}" if lines else word)
    return [f"{each} \\" for each in lines[:-1]] + lines[-1:]


class _Code(CodeBlock):
    """A block of code: commands stand out, and lines that are too long are broken."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = str(self.text).rstrip("\n").split("\n")
        # What a terminal of this width had printed keeps its form without the indent.
        indent = _INDENT if max(map(cell_len, lines)) + len(_INDENT) <= options.max_width else ""
        for line in lines:
            is_command = self.lexer_name == "console" and line.startswith("$ ")
            for piece in _broken(line, options.max_width - len(indent), is_command):
                style = "guide.command" if is_command else ""
                yield Text(indent + piece, style=style, no_wrap=True, overflow="ignore")


def _broken(line: str, width: int, is_command: bool) -> list[str]:
    """Returns a line of code as lines of at most `width` columns, broken between words unless it is a table's."""
    if cell_len(line) <= width:
        return [line]
    if is_command:
        return wrapped_command(line, width)
    if "  " in line.strip():
        return chop_cells(line, width)
    return [each.plain.rstrip() for each in Text(line).wrap(Console(width=width), width, overflow="fold")]


class _Table(TableElement):
    """A table where it fits; otherwise each row as a short list, with the names of the columns before the cells."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        assert self.header is not None
        assert self.header.row is not None
        assert self.body is not None
        names = [cell.content for cell in self.header.row.cells]
        rows = [[cell.content for cell in row.cells] for row in self.body.rows]
        if _fits([names, *rows], options.max_width):
            yield self._table(names, rows)
        else:
            yield from self._list(names, rows)

    def _table(self, names: Sequence[Text], rows: Sequence[Sequence[Text]]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for name, *cells in zip(names, *rows, strict=True):
            is_narrow = all(cell.cell_len <= _SOFT for cell in (name, *cells))
            table.add_column(name, justify=name.justify, no_wrap=is_narrow, overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table

    def _list(self, names: Sequence[Text], rows: Sequence[Sequence[Text]]) -> Iterator[Text | Padding]:
        for place, (first, *cells) in enumerate(rows):
            if place:
                yield Text()
            yield Text.assemble(first, style="bold", overflow="fold")
            for name, cell in zip(names[1:], cells, strict=True):
                if cell.plain:
                    label = f"{name.plain}: " if name.plain else ""
                    line = Text.assemble((label, "bold"), cell, overflow="fold")
                    yield Padding(line, (0, 0, 0, len(_INDENT)))


def _fits(rows: Sequence[Sequence[Text]], width: int) -> bool:
    """Returns whether a table has room when its wide columns are wrapped, but to no less than is easily read."""
    widest: list[int] = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    return sum(min(one, _SOFT) for one in widest) + _GAP * (len(widest) - 1) <= width


class _Heading(Heading):
    """A heading at the left; that of the page has a line below it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text
        if self.tag == "h1":
            yield Text("─" * min(self.text.cell_len, options.max_width), style="dim")


class _Comment(MarkdownElement):
    """A comment of the page's source, which is not shown."""

    new_line = False

    def on_text(self, context: MarkdownContext, text: TextType) -> None:
        pass


class _Page(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Table,
        "html_block": _Comment,
    }
