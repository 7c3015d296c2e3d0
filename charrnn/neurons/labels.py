"""The built-in labels of a text: properties of each character, computed from the text alone, that units may encode.

A label is a number for every character: 0 or 1 (does it hold after this character was read?) or a degree (how deep, how
far). "Inside" begins with the character that opens and ends before the one that closes, so that a network that has just
read the opening quote is inside; where several open or close, it begins with the first of them and ends before the
last. A line ends with a line feed, perhaps after a carriage return, and a paragraph with an empty line. One unclosed
quote or bracket does not spoil the rest: it is ignored, and what follows is not turned inside out.

Every label takes time in proportion to the length of the text.

The cells for quotes, line position, brackets, comments, if-conditions, depth and URLs are those of Karpathy, Johnson &
Fei-Fei 2015 (arXiv 1506.02078) and of the article before it.
"""

from __future__ import annotations

import itertools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.errors import UsageError
from charrnn.neurons.patterns import compiled as compiled_pattern
from charrnn.neurons.source_code import (
    ELIDED,
    LONGEST,
    LONGEST_BLOCK,
    Values,
    inside_condition,
    inside_tokens,
    pairs,
)


@dataclass(frozen=True, eq=False)
class Label:
    """A property of the text, and its value for every character."""

    name: str
    values: Values
    is_graded: bool = False
    """Whether the values are degrees, instead of 0 or 1."""
    ends: npt.NDArray[np.bool_] | None = None
    """Which characters end the label; None where they are simply those at which its value falls. (A line feed, say,
    belongs to the line that it ends.)"""


def labels_of(text: str, own: Mapping[str, re.Pattern[str]] | None = None) -> list[Label]:
    """Returns every built-in label for `text`, then the user's own, which hold inside the matches of their patterns.

    Raises UsageError where one of the user's labels has the name of a built-in one.
    """
    for name in own or {}:
        if name in _YES_NO or name in _GRADED:
            raise UsageError(f"there is a label called {name!r} already", "give yours another name")
    yes_no = {name: answer(text) for name, answer in _YES_NO.items()}
    graded = {name: answer(text) for name, answer in _GRADED.items()}
    for name, pattern in (own or {}).items():
        yes_no[name] = _inside_matches(text, pattern, keeps_end=True)
    return [
        *(Label(name, values) for name, values in yes_no.items()),
        *(Label(name, values, is_graded=True, ends=_ends(name, text)) for name, values in graded.items()),
    ]


def _ends(name: str, text: str) -> npt.NDArray[np.bool_] | None:
    if name not in _ENDS:
        return None
    ends = np.zeros(len(text), bool)
    ends[[match.start() for match in re.finditer(_ENDS[name], text)]] = True
    return ends


def parse_label(said: str, *, are_bytes: bool = False) -> tuple[str, re.Pattern[str]]:
    """Returns the name and the pattern of a label written as `NAME=REGEX`. Raises UsageError where it is malformed.

    If `are_bytes`, the pattern is for a text with one character for each byte of UTF-8.
    """
    name, equals, pattern = said.partition("=")
    if not equals or not name.strip() or not pattern:
        raise UsageError(f"a label is {said!r}", "write NAME=REGEX, such as --label 'year=[0-9]{4}'")
    if are_bytes:
        pattern = pattern.encode("utf-8", "surrogateescape").decode("latin-1")
    return name.strip(), compiled_pattern(pattern, f"the label {name.strip()!r} has no valid pattern")


def _zeros(text: str) -> Values:
    return np.zeros(len(text), np.float32)


def _inside_matches(text: str, pattern: re.Pattern[str], *, keeps_end: bool = False) -> Values:
    """Returns 1 from the first character of each match to the one before its last (or the last), 0 elsewhere."""
    values = _zeros(text)
    for match in pattern.finditer(text):
        values[match.start() : max(match.end() - (not keeps_end), match.start())] = 1.0
    return values


def _matches(pattern: str, *, keeps_end: bool = False) -> Callable[[str], Values]:
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda text: _inside_matches(text, compiled, keeps_end=keeps_end)


def _characters(is_one: Callable[[str], bool]) -> Callable[[str], Values]:
    def answer(text: str) -> Values:
        known = {character: is_one(character) for character in set(text)}
        return np.fromiter((known[character] for character in text), np.float32, len(text))

    return answer


def _is_vowel(character: str) -> bool:
    """Returns whether the letter without its accents is a vowel, except й and ў, which are no и and у."""
    lower = character.lower()
    return lower not in "йў" and unicodedata.normalize("NFD", lower)[0] in "aeiouæœøаеиоуыэюяєіαεηιουω"


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _depth(*brackets: tuple[str, str]) -> Callable[[str], Values]:
    def answer(text: str) -> Values:
        change = np.zeros(len(text) + 1, np.int64)
        for opening, closing in brackets:
            for begin, end in pairs(text, opening, closing):
                change[begin] += 1
                change[end] -= 1
        return np.cumsum(change[:-1]).astype(np.float32)

    return answer


def _inside(opening: str, closing: str) -> Callable[[str], Values]:
    depth = _depth((opening, closing))
    return lambda text: (depth(text) > 0).astype(np.float32)


def _inside_first(opening: str, closing: str) -> Callable[[str], Values]:
    """Returns a label that holds from an opening to the first closing after it; there is no nesting."""

    def answer(text: str) -> Values:
        values = _zeros(text)
        begin: int | None = None
        for match in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", text):
            if match[0] == opening:
                if begin is None or match.start() - begin > LONGEST_BLOCK:
                    begin = match.start()
            elif begin is not None:
                if match.end() - begin <= LONGEST_BLOCK:
                    values[begin : match.end() - 1] = 1.0
                begin = None
        return values

    return answer


def _since(pattern: str) -> Callable[[str], Values]:
    """Returns a label that counts the characters since the last match of `pattern`, which belongs to what it ends."""
    compiled = re.compile(pattern)

    def answer(text: str) -> Values:
        ends = [0, *(match.end() for match in compiled.finditer(text))]
        values = np.arange(len(text))
        for begin, end in itertools.pairwise([*ends, len(text)]):
            values[begin:end] -= begin
        return values.astype(np.float32)

    return answer


def _starts(pattern: str) -> Callable[[str], Values]:
    since = _since(pattern)
    return lambda text: (since(text) == 0).astype(np.float32)


def _capitals_in_a_row(text: str) -> Values:
    is_upper = np.pad(_characters(str.isupper)(text), 1)
    return is_upper[1:-1] * np.maximum(is_upper[:-2], is_upper[2:])


def _position_in_word(text: str) -> Values:
    """Returns 1 for the first letter of a word, 2 for the second, ...; 0 outside words. Combining accents count too."""
    values = _zeros(text)
    marks = {ord(character): "_" for character in set(text) if unicodedata.category(character).startswith("M")}
    for match in re.finditer(r"\w+(?:['’]\w+)*", text.translate(marks)):
        values[match.start() : match.end()] = np.arange(1, match.end() - match.start() + 1)
    return values


def _commonest(kind: Callable[[str], bool], back: int) -> Callable[[str], Values]:
    """Returns a label that holds where the character `back` before the last one is the text's commonest of its kind."""

    def answer(text: str) -> Values:
        values, counts = _zeros(text), Counter(character for character in text if kind(character))
        if counts:
            commonest = min(counts, key=lambda character: (-counts[character], character))
            values[back:] = _characters(commonest.__eq__)(text)[: max(0, len(text) - back)]
        return values

    return answer


def _indentation(text: str) -> Values:
    """Returns the width of the white space that begins the line, as far as it has been read; tabs fill to 8 columns."""
    values = _zeros(text)
    for match in re.finditer(r"^([ \t]*).*\n?", text, re.MULTILINE):
        width = 0
        for place in range(match.start(), match.end(1)):
            width = width + 1 if text[place] == " " else (width // 8 + 1) * 8
            values[place] = width
        values[match.end(1) : match.end()] = width
    return values


# Speech that goes on in the next paragraph opens there again without having closed; it ends with the first paragraph.
_IN_PARAGRAPH = r"\n(?![ \t\r]*\n)"
_QUOTES = r"(?<!\\)(?<!\b\d)(?<!\b\d\d)(?!(?<=')\"')\"(?:[^\"\\\n]|\\(?:.|(?=\n))|" + (
    _IN_PARAGRAPH + r"(?!\s*\"\w)){0,2000}(?:\"|\n(?=\s*\"\w))"
)
_APOSTROPHES = rf"(?<![\w'\\])'{ELIDED}(?=\S)(?:[^'\\\n]|\\.|(?<=\w)'(?=\w)){{0,{LONGEST}}}'(?!\w)"
_PARAGRAPH_END = r"\n[ \t\r\n]*\n"
_FULL_STOP = r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-HJ-ZА-Ю])\."
# A lower-case letter after the full stop continues the sentence: "Stop!" he said.
_SENTENCE_END = rf"(?:{_FULL_STOP}|[!?…])[\"'”’»)\]]*\s+(?![\sa-zа-яё])|{_PARAGRAPH_END}\s*"
_URL_CHARACTER = r"[^\s<>\"'`\\|()\[\]{}“”‘’«»]"
_URL = (
    rf"\b(?i:(?:https?|ftp)://|www\.)(?:{_URL_CHARACTER}|\({_URL_CHARACTER}{{0,200}}\)){{1,{LONGEST}}}(?<![.,;:!?*…])"
)
_SPEAKER = r"^[A-ZÀ-ÖØ-ÞА-ЯЁ](?:[^\W\d_]|[ '’.-]){0,40}:(?=\r?$)"
_TAG = r"(?<!#include )</?[A-Za-z][\w-]*(?::[\w-]+)?(?=[\s/>])(?:[^<>\n]|\n(?![ \t\r]*[\n>])){0,400}>"

_BACK = (1, 3, 5)
"""How many characters before the last one the labels about earlier characters look: they test mere memory of text."""

_YES_NO: dict[str, Callable[[str], Values]] = {
    'inside "quotes"': _matches(_QUOTES),
    "inside “quotes”": _matches(rf"“(?:[^“”\n]|{_IN_PARAGRAPH}){{0,{LONGEST}}}(?:”|\n(?=\s*“))"),
    "inside 'quotes'": _matches(_APOSTROPHES),
    "inside ‘quotes’": _matches(rf"‘(?:[^‘\n]|{_IN_PARAGRAPH}){{0,{LONGEST}}}?(?:’(?!\w)|\n(?=\s*‘))"),
    "inside ( )": _inside("(", ")"),
    "inside [ ]": _inside("[", "]"),
    "inside { }": _inside("{", "}"),
    "inside [[ ]]": _inside("[[", "]]"),
    "inside a tag < >": _matches(_TAG),
    "inside a URL": _matches(_URL, keeps_end=True),
    "inside a /* comment */": inside_tokens("block", "slashes"),
    "inside a # comment": inside_tokens("hash"),
    "inside <!-- -->": _inside_first("<!--", "-->"),
    "inside a string literal": inside_tokens("string"),
    "inside an if condition": inside_condition,
    "start of a line": _starts(r"\n"),
    "start of a sentence": _starts(_SENTENCE_END),
    "start of a paragraph": _starts(_PARAGRAPH_END),
    "start of a word": lambda text: (_position_in_word(text) == 1).astype(np.float32),
    "next is a line end": _matches(r"(?s:.)(?=\r?\n)", keeps_end=True),
    "next is a space": _matches(r"(?s:.)(?= )", keeps_end=True),
    "capital letters in a row": _capitals_in_a_row,
    "speaker's name on its line": _matches(_SPEAKER, keeps_end=True),
    "digit": _characters(str.isdigit),
    "upper case": _characters(str.isupper),
    "vowel": _characters(_is_vowel),
    "letter": _characters(str.isalpha),
    "space or line end": _characters(str.isspace),
    "punctuation": _characters(_is_punctuation),
    **{f"space {back} back": _commonest(str.isspace, back) for back in _BACK},
    **{f"commonest letter {back} back": _commonest(str.isalpha, back) for back in _BACK},
}

_GRADED: dict[str, Callable[[str], Values]] = {
    "depth of brackets": _depth(("(", ")"), ("[", "]"), ("{", "}")),
    "depth of { }": _depth(("{", "}")),
    "indentation": _indentation,
    "position in the line": _since(r"\n"),
    "position in the word": _position_in_word,
    "position in the sentence": _since(_SENTENCE_END),
    "position in the paragraph": _since(_PARAGRAPH_END),
}
_ENDS = {
    "position in the line": r"\r?\n",
    "position in the sentence": _SENTENCE_END,
    "position in the paragraph": _PARAGRAPH_END,
}
"""The patterns that end each counted stretch of text; the first character of a match ends the label."""
