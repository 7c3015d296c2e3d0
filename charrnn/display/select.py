"""Shows the units that fit selected spans of a text as a table, and the other places that they fit, with context."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from charrnn.display.background import has_colour, style_on
from charrnn.display.css import css
from charrnn.display.palette import SAFE, diverging, is_dark
from charrnn.display.report import Prose, Section
from charrnn.display.safe import symbol, visible
from charrnn.display.table import Columns, Row
from charrnn.neurons.select import Match, Selection, UnitChoice
from charrnn.wording import count

_COLUMNS = ("unit", "on in", "fits", "elsewhere", "lift", "runs that fit")
_SURROUNDINGS = 40
_LONGEST = 200
"""The largest number of characters of a run that a page shows."""
_GAP = "\u2026"
_COLOUR = diverging(1.0)
_INK = "#fff" if is_dark(_COLOUR) else "#000"


def pieces(found: Selection, text: str, pattern: str, start: int) -> Iterator[Section]:
    """Yields the table of units, the meaning of its columns, and the matches; `found` is the selection that `pattern`
    made in `text` from `start` on."""
    yield Prose(
        f"{visible(pattern, kept='')} selects {count(found.spans, 'span')} in "
        f"{count(len(text) - start, 'character')}. Units were chosen from {found.units:,} on the first half of the "
        f"spans (threshold {found.threshold:g}); this is what they do in the second half:"
    )
    if found.choices:
        rows = [Row(_row(choice), "" if choice in found.together else "dim") for choice in found.choices]
        yield Columns(_COLUMNS, rows, words=())
    yield Prose(_words(found))
    if found.matches is not None:
        yield Prose(_matched(found))
        for match in found.matches:
            yield Marked(_heading(match, found), *parts_of(text, match))


@dataclass(frozen=True, slots=True)
class Marked:
    """A heading, and below it one line of text in which a run is marked by colour or by a line of carets below it."""

    heading: str
    before: str
    run: str
    after: str
    style = f"mark {{ background: {css(_COLOUR)}; color: {_INK}; }}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        before, run, after = (list(map(symbol, part)) for part in (self.before, self.run, self.after))
        width = options.max_width
        middle = _shortened(run, max(width // 2, 3))
        left = max(0, width - cell_len(middle)) // 2
        opening = "".join(reversed(_fitting(before[::-1], left)))
        closing = "".join(_fitting(after, width - cell_len(opening + middle)))
        yield Text(self.heading)
        if has_colour(console):
            marked = middle, style_on(console, SAFE.text, 1.0)
            yield Text.assemble(opening, marked, closing, no_wrap=True, overflow="ignore")
        else:
            yield Text(opening + middle + closing, no_wrap=True, overflow="ignore")
            yield Text(" " * cell_len(opening) + "^" * cell_len(middle), no_wrap=True, overflow="ignore")

    def html(self) -> str:
        """Returns the heading and the text as HTML, with the run marked."""
        parts = (html.escape("".join(map(symbol, part))) for part in (self.before, self.run, self.after))
        return "<h2>{}</h2>\n<pre>{}<mark>{}</mark>{}</pre>".format(html.escape(self.heading), *parts)


def parts_of(text: str, match: Match) -> tuple[str, str, str]:
    """Returns the text before a run, the run, and the text behind it, at the largest length that is ever shown."""
    run = text[match.start : match.end]
    if len(run) > _LONGEST:
        run = run[: _LONGEST // 2] + _GAP + run[-_LONGEST // 2 :]
    return text[max(0, match.start - _SURROUNDINGS) : match.start], run, text[match.end : match.end + _SURROUNDINGS]


def _fitting(symbols: Sequence[str], width: int) -> list[str]:
    """Returns as many of the first symbols as fit into `width`, whether or not the terminal joins symbols."""
    taken: list[str] = []
    used = 0
    for one in symbols:
        used += cell_len(one)
        if max(used, cell_len("".join([*taken, one]))) > width:
            break
        taken.append(one)
    return taken


def _shortened(symbols: Sequence[str], width: int) -> str:
    """Returns all symbols joined or, where they do not fit into `width`, only their beginning and end."""
    if max(sum(map(cell_len, symbols)), cell_len("".join(symbols))) <= width:
        return "".join(symbols)
    half = (width - 1) // 2
    return "".join([*_fitting(symbols, half), _GAP, *reversed(_fitting(symbols[::-1], half))])


def _row(choice: UnitChoice) -> tuple[str, ...]:
    """Returns the table cells that say what a unit does in the second half of the spans."""
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


def _words(found: Selection) -> str:
    if not found.choices:
        return (
            "No unit is on throughout a span of the first half and off just before and just after it; a lower "
            "--threshold, or a pattern whose spans begin or end elsewhere, may find some."
        )
    return (
        "The column on in has the spans in which the unit is on throughout, and fits those where it is also off just "
        "before and just after, within a character. Elsewhere is the part it fits of spans as long that are placed at "
        "random, and lift how many times as often it fits those selected. Runs that fit are those of the times it is "
        "on. A minus before a unit means that it is on where it is low."
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
    others = "no other fits" if not match.others else count(match.others, "other")
    return (
        f"{match.start:,}: {count(match.end - match.start, 'character')}, {match.shared} of "
        f"{count(len(found.together), 'unit')}, "
        f"{others}, overlap {match.overlap:.2f}"
    )
