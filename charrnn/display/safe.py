"""Makes text safe to show on a terminal.

Corpus text, model text, file names and error messages can hold control characters, escape sequences and marks that
turn the reading direction. On a terminal each such character is shown as a visible symbol and never sent; a pipe or a
file gets the exact text. This does not parse escape sequences (filters that do leak): without the ESC character
itself, what follows is harmless text.
"""

from __future__ import annotations

import unicodedata
from typing import IO

LINE_END, TAB, SPACE = "\u21b5", "\u2192", "\u2423"
_KEPT = "\n\t"
# Format characters that join or shape letters in scripts and emoji; they move nothing.
_HARMLESS_FORMAT = "\u200b\u200c\u200d\u2060\u00ad"


def visible_character(character: str) -> str:
    """Returns a character itself, or the symbol shown in its place where the character could drive a terminal.

    >>> visible_character(chr(27)), visible_character("\\u202e"), visible_character("é")
    ('␛', '‹U+202E›', 'é')
    """
    if character.isprintable() or character in _HARMLESS_FORMAT:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    category = unicodedata.category(character)
    if category in ("Zs", "Co", "Cn"):
        return character
    return f"\u2039U+{code:04X}\u203a"


def symbol(character: str) -> str:
    """Returns what is shown for a character where line ends and tabs must not take effect.

    >>> symbol("a"), symbol(chr(10)), symbol(chr(9)), symbol(chr(27))
    ('a', '↵', '→', '␛')
    """
    return {"\n": LINE_END, "\t": TAB}.get(character) or visible_character(character)


def visible(text: str, *, kept: str = _KEPT) -> str:
    """Returns `text` with all that could drive a terminal made visible; `kept` (newline and tab) stay as they are."""
    if text.isprintable():
        return text
    return "".join(character if character in kept else visible_character(character) for character in text)


def write(text: str, stream: IO[str]) -> None:
    """Writes `text` to `stream`: made visible on a terminal, exactly as it is elsewhere."""
    if stream.isatty():
        text = visible(text)
    try:
        stream.write(text)
    except UnicodeEncodeError:  # the terminal is not UTF-8, or the text has a lone surrogate
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def write_bytes(raw: bytes, stream: IO[str]) -> None:
    """Writes bytes to a stream that is no terminal, exactly as they are, behind the text that was written before."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:  # a stream of text alone, such as io.StringIO
        stream.write(raw.decode("utf-8", "replace"))
        return
    stream.flush()
    buffer.write(raw)
