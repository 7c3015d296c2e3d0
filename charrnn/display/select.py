"""Units that fit selected spans of a text as a table, and the other places that they fit, each in its surroundings.

Knows choices, matches and the text. Refuses to know how they were made.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from charrnn.display.palette import diverging, is_dark
from charrnn.display.safe import visible, visible_character
from charrnn.display.webpage import css, escape, frame
from charrnn.neurons.select import Choice, Match, Selection

_COLUMNS = ("unit", "on in", "fits", "elsewhere", "lift", "runs that fit")
_SURROUNDINGS = 40
_LONGEST = 200
"""Characters of a run that a page shows."""
_GAP = "\u2026"
_COLOUR = diverging(1.0)
_INK = "#fff" if is_dark(_COLOUR) else "#000"
_STYLE = f"""
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .1rem .8rem .1rem 0; text-align: right; white-space: nowrap; }}
mark {{ background: {css(_COLOUR)}; color: {_INK}; }}
""".strip()


@dataclass(frozen=True, slots=True)
class Shown:
    """What was found in which text, by which pattern."""

    found: Selection
    text: str
    pattern: str
    start: int


def pieces(shown: Shown) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    found = shown.found
    yield Text(_caption(shown))
    if found.choices:
        yield Text()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in _COLUMNS:
            table.add_column(column, justify="right", no_wrap=True)
        for choice in found.choices:
            table.add_row(*_row(choice), style="" if choice in found.together else "dim")
        yield table
    yield Text()
    yield Text(_words(found))
    if found.matches is not None:
        yield Text()
        yield Text(_matched(found))
        for match in found.matches:
            yield Text()
            yield Text(_heading(match, found))
            yield Marked(shown.text, match)


def webpage(heading: str, shown: Shown) -> str:
    """The same as a page."""
    found = shown.found
    body = [f"<p>{escape(_caption(shown))}</p>"]
    if found.choices:
        head = "".join(f"<th>{html.escape(column)}</th>" for column in _COLUMNS)
        rows = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _row(choice)) + "</tr>"
            for choice in found.choices
        )
        body.append(f'<div class="scroll"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>')
    body.append(f"<p>{html.escape(_words(found))}</p>")
    if found.matches is not None:
        body.append(f"<p>{html.escape(_matched(found))}</p>")
        for match in found.matches:
            before, run, after = (html.escape("".join(map(symbol, part))) for part in _parts(shown.text, match))
            body.append(f"<h2>{html.escape(_heading(match, found))}</h2>\n<pre>{before}<mark>{run}</mark>{after}</pre>")
    return frame(heading, "\n".join(body), _STYLE)


class Marked:
    """A renderable: a run in one line with its surroundings, in colour or with a line of carets below it."""

    def __init__(self, text: str, match: Match) -> None:
        self.parts = _parts(text, match)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        before, run, after = ([symbol(character) for character in part] for part in self.parts)
        width = options.max_width
        middle = _shortened(run, max(width // 2, 3))
        left = max(0, width - cell_len(middle)) // 2
        opening = "".join(reversed(_fitting(before[::-1], left)))
        closing = "".join(_fitting(after, width - cell_len(opening + middle)))
        if console.color_system is not None and not console.no_color:
            ink = Color.from_rgb(255, 255, 255) if is_dark(_COLOUR) else Color.from_rgb(0, 0, 0)
            style = Style(color=ink, bgcolor=Color.from_rgb(*_COLOUR))
            yield Text.assemble(opening, (middle, style), closing, no_wrap=True, overflow="ignore")
        else:
            yield Text(opening + middle + closing, no_wrap=True, overflow="ignore")
            yield Text(" " * cell_len(opening) + "^" * cell_len(middle), no_wrap=True, overflow="ignore")


def symbol(character: str) -> str:
    """A character in a line that is not to end.

    >>> symbol("a"), symbol(chr(10)), symbol(chr(9)), symbol(chr(27))
    ('a', '↵', '→', '␛')
    """
    return {"\n": "\u21b5", "\t": "\u2192"}.get(character) or visible_character(character)


def _parts(text: str, match: Match) -> tuple[str, str, str]:
    """What lies before the run, the run, and what lies behind it, as far as any picture shows them."""
    run = text[match.start : match.end]
    if len(run) > _LONGEST:
        run = run[: _LONGEST // 2] + _GAP + run[-_LONGEST // 2 :]
    return text[max(0, match.start - _SURROUNDINGS) : match.start], run, text[match.end : match.end + _SURROUNDINGS]


def _fitting(symbols: Sequence[str], width: int) -> list[str]:
    """The first of them, as many as fit; whether they join or not is the terminal's choice."""
    taken: list[str] = []
    used = 0
    for one in symbols:
        used += cell_len(one)
        if max(used, cell_len("".join([*taken, one]))) > width:
            break
        taken.append(one)
    return taken


def _shortened(symbols: Sequence[str], width: int) -> str:
    """All of them, or their beginning and their end."""
    if max(sum(map(cell_len, symbols)), cell_len("".join(symbols))) <= width:
        return "".join(symbols)
    half = (width - 1) // 2
    return "".join([*_fitting(symbols, half), _GAP, *reversed(_fitting(symbols[::-1], half))])


def _row(choice: Choice) -> tuple[str, ...]:
    """What the second half says."""
    tally = choice.reported
    if tally.lift is not None:
        lift = f"{tally.lift:,.1f}"
    else:
        lift = f"> {tally.share * tally.controls:,.0f}" if tally.fits and tally.controls else "-"
    return (
        str(choice),
        f"{tally.throughout:,} of {tally.spans:,}",
        f"{tally.fits:,} ({tally.share:.0%})",
        f"{tally.base:.1%}" if tally.controls else "-",
        lift,
        f"{tally.runs_fit:,} of {tally.runs:,} ({tally.precision:.0%})",
    )


def _caption(shown: Shown) -> str:
    found = shown.found
    return (
        f"{visible(shown.pattern, kept='')} selects {found.spans:,} spans in {len(shown.text) - shown.start:,} "
        f"characters. On the first half of them units were chosen from {found.units:,} (threshold "
        f"{found.threshold:g}); this is what they do in the second half:"
    )


def _words(found: Selection) -> str:
    if not found.choices:
        return (
            "No unit is on throughout a span of the first half and off just before and just after it; a lower "
            "--threshold, or a pattern whose spans begin or end elsewhere, may find some."
        )
    return (
        "on in: spans in which the unit is on throughout; fits: where it is also off just before and just after, "
        "within a character. elsewhere: of spans as long, placed at random elsewhere, the part it fits; lift: how many "
        "times as often it fits those selected. runs that fit: of the times it is on. - before a unit: low."
    )


def _matched(found: Selection) -> str:
    assert found.matches is not None
    if not found.together:
        return "There is no unit to look for elsewhere."
    names = ", ".join(map(str, found.together))
    many = len(found.matches)
    what = {0: "No other place fits", 1: "The one other place that fits"}.get(many, f"The {many} best other places for")
    return f"{what} {names} (or most of them, with few other units that fit):"


def _heading(match: Match, found: Selection) -> str:
    others = "no other fits" if not match.others else f"{match.others:,} other{'s' * (match.others > 1)}"
    length = match.end - match.start
    return (
        f"{match.start:,}: {length:,} character{'s' * (length > 1)}, {match.shared} of {len(found.together)} units, "
        f"{others}, overlap {match.overlap:.2f}"
    )
