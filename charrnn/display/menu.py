"""Shows a co-writing session on a terminal: the end of the text, and below it the likeliest words and characters.

Everything is made visible, spaces and line ends too; columns keep their places whatever the width of the characters.
Colour is used only on a terminal that wants it. A stream that breaks is not written to again, and the session goes on.
"""

from __future__ import annotations

import contextlib
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, Self

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from charrnn.display.safe import LINE_END, SPACE, TAB, visible, visible_character

Proposal = tuple[str, float]
"""A text that may come next, and its probability."""

_ROWS_OF_TEXT = 4
_TAIL = 2000  # the largest number of characters that these rows can show
_WIDEST, _SHARE_WIDTH = 100, 5
_WIDEST_LABEL, _SHORTEST_LABEL = 28, 8
_LONGEST_BAR, _SHORTEST_BAR = 16, 3
_GAP = 3
_KEY, _BAR, _TITLE, _NEW = "bold cyan", "blue", "dim", "bold"


@dataclass(frozen=True, slots=True)
class _Signs:
    """The signs that stand for invisible characters, as far as the stream's encoding has them."""

    space: str = SPACE
    line_end: str = LINE_END
    tab: str = TAB
    mark: str = "\u258c"
    cut: str = "\u2026"
    circle: str = "\u25cc"
    bar: str = "\u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588"
    """The pieces of a bar, from the narrowest to the full cell."""
    encoding: str = "utf-8"

    @classmethod
    def of(cls, encoding: str) -> Self:
        signs = cls(encoding=encoding)
        try:
            "".join(getattr(signs, name) for name in cls.__slots__).encode(encoding)
        except UnicodeEncodeError:
            return cls("_", "\\n", "\\t", "|", "~", "", "#", encoding)
        return signs

    def label(self, text: str) -> str:
        """Returns `text` with every invisible character replaced by a sign."""
        known = {" ": self.space, "\n": self.line_end, "\t": self.tab}
        shown = [known.get(character) or visible_character(character) for character in text]
        for place in {0, len(text) - 1}:  # joiners and marks shape letters within a word, but are invisible at its ends
            character = text[place]
            category = unicodedata.category(character)
            if category == "Cf" or (category == "Zs" and character != " "):
                shown[place] = f"\u2039U+{ord(character):04X}\u203a"
        first = unicodedata.category(text[0])[0]
        label = (self.circle if first == "M" else "") + "".join(shown)
        return label.encode(self.encoding, "backslashreplace").decode(self.encoding)


class Menu:
    """Shows a session on `stream`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        # Rich must not write to a broken stream: it would close the standard output, to which the text goes.
        is_terminal = stream.isatty() or None
        self._console = Console(
            file=io.StringIO(), force_terminal=is_terminal, highlight=False, markup=False, emoji=False
        )
        self._signs = _Signs.of(getattr(stream, "encoding", None) or "utf-8")

    def tail(self, text: str, new: int = 0) -> None:
        """Shows the last rows of `text`, with the last `new` characters emphasised, and a mark where it goes on."""
        rows = self._rows(text, new)
        rows[-1].append(self._signs.mark, _TITLE)
        self._print(*rows)

    def begin(self, text: str) -> None:
        """Shows the last row of `text`, which `go_on` then continues."""
        self._write(self._rows(text, 0)[-1].plain)

    def go_on(self, text: str) -> None:
        """Shows more of the text, directly after what is shown already."""
        self._write(_plain(text))

    def end(self) -> None:
        """Shows a mark where the text goes on."""
        self._write(self._signs.mark + "\n")

    def proposals(self, words: Sequence[Proposal], characters: Sequence[Proposal]) -> None:
        """Shows words with the keys 1, 2, ... and characters with c1, c2, ..., side by side where there is room."""
        width = min(self._console.width, _WIDEST) - 1
        left, right = _Column("words", "", words, self._signs), _Column("characters", "c", characters, self._signs)
        room = width - left.width - right.width - _GAP
        if room < 0:
            room += left.narrow(-room)
        if room < 0:
            for column in (left, right):
                column.narrow(column.width - width)
            lines = left.rows() + right.rows()
        else:
            bar = min(room // 2 - 1, _LONGEST_BAR)
            bar = bar if bar >= _SHORTEST_BAR else 0
            count = max(len(words), len(characters))
            pairs = zip(left.rows(bar, count), right.rows(bar, count), strict=True)
            lines = [Text.assemble(one, " " * _GAP, other) for one, other in pairs]
        for line in lines:
            line.rstrip()
        self._print(*lines)

    def keys(self, rows: Sequence[tuple[str, str]]) -> None:
        """Shows a table of keys and what they do."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style=_KEY, no_wrap=True)
        table.add_column(overflow="fold")
        for key, meaning in rows:
            table.add_row(Text(key), Text(meaning))
        self._print(table, wrapped=True)

    def say(self, text: str) -> None:
        """Shows a notice, beginning on a line of its own; a terminal gets it in lines of whole words."""
        text = visible(text, kept="\t")
        if self._console.is_terminal:
            self._print(Text(text), wrapped=True)
        else:
            self._write(text + "\n")

    def clear(self) -> None:
        """Clears the screen of a terminal that can do that; what has scrolled away stays."""
        with self._console.capture() as captured:
            self._console.clear()
        self._write(captured.get())

    def _rows(self, text: str, new: int) -> list[Text]:
        """Returns the last rows of `text`, broken at the terminal's width."""
        text = text[-_TAIL:]
        old = _plain(text[: max(0, len(text) - new)])
        both = Text(old + _plain(text[len(text) - new :] if new else ""))
        both.stylize(_NEW, len(old))
        rows: list[Text] = []
        for line in both.split("\n", allow_blank=True)[-_ROWS_OF_TEXT:]:
            pieces = chop_cells(line.plain, max(self._console.width - 1, 2))
            rows += line.divide(list(accumulate(map(len, pieces)))[:-1])
        return rows[-_ROWS_OF_TEXT:]

    def _print(self, *pieces: RenderableType, wrapped: bool = False) -> None:
        with self._console.capture() as captured:
            for piece in pieces:
                self._console.print(piece, soft_wrap=not wrapped)
        self._write(captured.get())

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = getattr(self._stream, "encoding", None) or "ascii"
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()


class _Column:
    """Keys, labels, probabilities and bars below a title."""

    def __init__(self, title: str, prefix: str, proposals: Sequence[Proposal], signs: _Signs) -> None:
        self._title, self._signs = title, signs
        self._keys = [f"{prefix}{number}" for number in range(1, len(proposals) + 1)]
        self._labels = [signs.label(text) for text, _ in proposals]
        self._shares = [share for _, share in proposals]
        self._key_width = max(map(len, self._keys), default=0)
        widest = max(map(cell_len, self._labels), default=len("none found"))
        self._label_width = min(widest, _WIDEST_LABEL)

    @property
    def width(self) -> int:
        """The number of terminal columns that this column needs without its bars."""
        return max(self._key_width + 1 + self._label_width + 1 + _SHARE_WIDTH, len(self._title))

    def narrow(self, by: int) -> int:
        """Shortens labels where that is possible, and returns by how much the column became narrower."""
        before = self.width
        self._label_width = max(min(self._label_width, _SHORTEST_LABEL), self._label_width - max(by, 0))
        return before - self.width

    def rows(self, bar: int = 0, count: int = 1) -> list[Text]:
        """Returns a title and at least `count` rows, all of one width, with bars of at most `bar` cells."""
        width = self.width + (1 + bar if bar else 0)
        lines = [Text(self._title, _TITLE)]
        for key, label, share in zip(self._keys, self._labels, self._shares, strict=True):
            line = Text.assemble((key.rjust(self._key_width), _KEY), " ", self._fitted(label))
            line.append(f" {_percent(share):>{_SHARE_WIDTH}}")
            if bar:
                line.append(" " + self._bar(share / (max(self._shares) or 1), bar), _BAR)
            lines.append(line)
        if not self._labels:
            lines.append(Text("none found", _TITLE))
        lines += [Text("") for _ in range(count + 1 - len(lines))]
        for line in lines:
            line.append(" " * (width - line.cell_len))
        return lines

    def _fitted(self, label: str) -> str:
        if cell_len(label) > self._label_width:
            label = set_cell_size(label, self._label_width - 1) + self._signs.cut
        return set_cell_size(label, self._label_width)

    def _bar(self, share: float, length: int) -> str:
        parts = self._signs.bar
        full, rest = divmod(max(1, round(share * length * len(parts))), len(parts))
        return parts[-1] * full + (parts[rest - 1] if rest else "")


def _plain(text: str) -> str:
    """Returns `text` for rows: line ends are kept, tabs are four spaces, all else is made visible."""
    return visible(text, kept="\n\t").replace("\t", "    ")


def _percent(share: float) -> str:
    """Returns a probability in at most five characters.

    >>> _percent(0.9999), _percent(0.1234), _percent(0.0001)
    ('100%', '12.3%', '<0.1%')
    """
    if share >= 0.9995:
        return "100%"
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"
