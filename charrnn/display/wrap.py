"""Breaks lines between words, so that neither words nor numbers nor the names of options are torn at a terminal's edge.

Widths are counted in cells: many Asian characters take two.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import IO

_USUAL = 80
_NARROWEST = 20


def columns(stream: IO[str]) -> int | None:
    """Returns the width in cells of the terminal behind `stream`; None where there is no terminal, or none any more."""
    try:
        if not stream.isatty():
            return None
    except ValueError:  # it is closed
        return None
    try:
        wide = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        wide = 0
    return max(_NARROWEST, wide or _USUAL)


def cells(text: str) -> int:
    """Returns how many cells a line of text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, width: int | None, *, hanging: str = "", is_torn: bool = False) -> list[str]:
    """Breaks one line at spaces into lines of at most `width` cells; `hanging` stands before all but the first.

    A word that is wider than a line is left whole, unless it may be torn. Without a width the line stays one.
    """
    if width is None or cells(text) <= width:
        return [text]
    lines, line = [], ""
    for word in _words(text, max(1, width - len(hanging)) if is_torn else None):
        if line and cells(line) + cells(word.rstrip()) > width:
            lines.append(line.rstrip())
            line = hanging + word.lstrip()
        else:
            line += word
    return [*lines, line.rstrip()]


def _words(text: str, widest: int | None) -> Iterator[str]:
    """Yields words, each with the spaces before it; those above `widest` cells in pieces, where that is given."""
    for spaces, word in re.findall(r"(\s*)(\S+)", text):
        if widest is None or cells(spaces + word) <= widest:
            yield spaces + word
            continue
        yield spaces
        piece = ""
        for character in word:
            if cells(piece + character) > widest:
                yield piece
                piece = ""
            piece += character
        yield piece


def shell_lines(words: Sequence[str], width: int | None, indent: str = "  ") -> list[str]:
    """Returns a command as it can be copied to a shell; where it is wider than `width`, a backslash ends each line."""
    quoted = [shlex.quote(word) for word in words]
    lines = [indent + quoted[0]]
    for word in quoted[1:]:
        if width is not None and cells(f"{lines[-1]} {word} \\") > width:
            lines[-1] += " \\"
            lines.append(f"{indent}  {word}")
        else:
            lines[-1] += f" {word}"
    return lines
