r"""What a line means that a person types while writing with a model: one of the session's commands, or text.

A line is a command only where it can hardly be anything else: a command's letter alone, or followed by what that
command takes. Every other line is text. A line that begins with + is always text, exactly as it stands; so is one that
was pasted with line ends in it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from charrnn.errors import UsageError

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_COMMANDS = {
    "l": "", "m": "", "q": "", "?": "",
    "u": "[0-9]{1,12}", "r": "[0-9]{1,12}", "g": "[0-9]{1,12}",
    "t": _NUMBER, "p": _NUMBER,
    "s": ".+", "s!": ".+",
}  # fmt: skip
"""The pattern of what may follow each command; a command may always stand alone."""
_PICK = re.compile("c?[0-9]{1,9}")
_NEAR_WORDS = {"quit", "exit", "undo", "redo", "help", "save"}
_NEAR_GLUED = re.compile("[gurtp][-+]?[0-9.,]+", re.IGNORECASE)
_MOST_WORDS = 3
"""The largest number of words of a line that begins with a word such as save and may be meant as a command."""
_QUOTES = '"\u201c\u201d\u201e\u201f\u00ab\u00bb'
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Typed:
    """A command with its argument, a pick, or text."""

    name: str
    """The command; "" for an empty line, "pick" for a key of the menu, "text", "exact" or "paste" for text."""
    argument: str = ""


def understood(line: str) -> Typed:
    """Returns what a line means; `line` has no line end of its own, but a pasted one may hold several lines.

    >>> understood("u 3"), understood("u and me"), understood("c2")
    (Typed(name='u', argument='3'), Typed(name='text', argument='u and me'), Typed(name='pick', argument='c2'))
    """
    if "\n" in line:
        return Typed("paste", line)
    if line.startswith("+"):
        return Typed("exact", line[1:])
    bare = line.strip()
    name, _, argument = bare.partition(" ")
    argument = argument.strip()
    if not bare:
        return Typed("")
    if name in _COMMANDS and (not argument or re.fullmatch(_COMMANDS[name], argument)):
        return Typed(name, argument)
    if _PICK.fullmatch(bare):
        return Typed("pick", bare)
    return Typed("text", line)


def is_near_command(line: str) -> bool:
    """Returns whether a line that is text looks as if a command had been meant.

    >>> [is_near_command(line) for line in ("save my.txt", "t 0,5", "G 20", "u and me", "help came from the sea")]
    [True, True, True, False, False]
    """
    words = line.split()
    if understood(line).name != "text" or not words:
        return False
    first = words[0].lower()
    if first in _NEAR_WORDS:
        return len(words) <= _MOST_WORDS
    return (first in _COMMANDS and len(words) <= 2) or (len(words) == 1 and bool(_NEAR_GLUED.fullmatch(first)))


def unescaped(text: str) -> str:
    r"""Returns text with \n, \t and \\ as what they stand for. Raises UsageError for any other backslash."""

    def character(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            raise UsageError(
                f"the text holds {match[0]}", r"known are \n for a line end, \t for a tab and \\ for the backslash"
            )
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.|$)", character, text)


def joint(before: str, text: str) -> str:
    """Returns what joins typed text to the text before it: a space where two words would run together, else nothing.

    There is no space before punctuation, after white space, after an opening bracket or quotation mark, after a hyphen
    within a word, nor beside characters of scripts that are written without spaces. A double quotation mark with a
    letter or digit behind it opens a word.

    >>> joint("the king", "said"), joint("the king", ", he"), joint('he said: "', "No"), joint("well-", "known")
    (' ', '', '', '')
    """
    if not before or not text:
        return ""
    last, first = before[-1], text[0]
    opens_word = first in _QUOTES and unicodedata.category(text[1:2] or " ")[0] in "LN"
    is_word = opens_word or unicodedata.category(first)[0] in "LN" or unicodedata.category(first) in ("Ps", "Pi")
    if not is_word or last.isspace() or _opens(before) or _is_unspaced(last) or _is_unspaced(first):
        return ""
    return " "


def _opens(before: str) -> bool:
    """Returns whether a text ends with an opening bracket or quotation mark, or with a hyphen within a word."""
    last, one_before = before[-1], before[-2:-1] or " "
    if last in "\"'":
        return not one_before.isalnum() and unicodedata.category(one_before)[0] != "P"
    if unicodedata.category(last) == "Pd":
        return not one_before.isspace()
    return unicodedata.category(last) in ("Ps", "Pi")


def _is_unspaced(character: str) -> bool:
    is_wide = unicodedata.east_asian_width(character) in "WF"
    return is_wide and not unicodedata.name(character, "").startswith("HANGUL")
