"""Matched pairs of passages: two readings that differ in a character or two, after which a label flips.

A pair is a place of the text, what stands there, what is put in its place (of the same length, so that all else stays
where it is: symmetric replacement, Zhang & Nanda 2023, arXiv 2309.16042), and a later place, whose character only a
reader that still knows the change can foresee: the quote that closes what has been opened, the end of a line. There is
a maker of pairs for each built-in label that such a change flips, and a user's own by a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from charrnn.errors import UsageError
from charrnn.neurons.patterns import compiled
from charrnn.neurons.source_code import ELIDED

LONGEST = 1000
"""The number of characters from the change to the question after which a pair is left out."""


class Pair(NamedTuple):
    """Places in a text: what stands from `place` on is replaced by `new`, and the character at `asked` is asked for."""

    place: int
    new: str
    asked: int


@dataclass(frozen=True)
class PairMaker:
    """A pattern whose matches make pairs: its group `old`, or its only one, is replaced, its last character asked."""

    name: str
    pattern: re.Pattern[str]
    new: str | Callable[[str], str]
    """What is put in place of the group, or a function that makes it from what stood there."""
    says: str = ""
    """A sentence that says what is changed, and what is asked for."""

    @property
    def is_label(self) -> bool:
        """Whether the change flips a built-in label."""
        return self.name in MAKERS

    def pairs(self, text: str) -> list[Pair]:
        """Returns the pairs of a text, in its order. Raises UsageError where the new characters are not as many as
        those that they replace."""
        found = []
        for match in self.pattern.finditer(text):
            group = "old" if "old" in self.pattern.groupindex else 1
            old, (begin, end), asked = match[group], match.span(group), match.end() - 1
            if not old or asked < end or asked - begin > LONGEST:
                continue
            new = self.new if isinstance(self.new, str) else self.new(old)
            if len(new) != len(old):
                raise UsageError(
                    f"--patch {self.name} puts {new!r} in place of {old!r}, and they are not of one length",
                    "all characters after the change must stay where they are; choose as many new ones",
                )
            if new != old:
                found.append(Pair(begin, new, asked))
        return found


def find_maker(said: str) -> PairMaker:
    """Returns the maker of pairs called `said`, or the user's own, written `OLD=NEW`. Raises UsageError otherwise."""
    if said in MAKERS:
        return MAKERS[said]
    pattern, equals, new = said[:-1].rpartition("=")
    new += said[-1:]
    if not equals or not pattern:
        raise UsageError(
            f"--patch is {said!r}, which names no label whose pairs are built in",
            f"these are: {', '.join(MAKERS)}",
            "or write OLD=NEW: a regular expression whose only group is replaced by NEW, and whose last character is "
            "asked for",
        )
    own = compiled(pattern, f"the pattern {pattern!r} of --patch is not valid")
    if own.groups != 1:
        raise UsageError(
            f"the pattern {pattern!r} of --patch has {own.groups} groups",
            "put what is replaced in a group, and make others (?:...)",
        )
    says = f"What the group of {pattern} matches becomes {new!r}; the last character of the match is asked for."
    return PairMaker(said, own, new, says)


_IN_PARAGRAPH = r"\n(?![ \t\r]*\n)"
_CAPITAL = "A-ZÀ-ÖØ-ÞА-ЯЁ"


def _within(opening: str, closing: str, least: int = 3, most: int = 600) -> str:
    """Returns a pattern from an opening, the group, to the first closing in the paragraph; there is no nesting."""
    not_those = "".join(map(re.escape, dict.fromkeys(opening + closing)))
    inside = rf"(?:[^{not_those}\n]|{_IN_PARAGRAPH}){{{least},{most}}}"
    return f"({re.escape(opening)}){inside}{re.escape(closing)}"


def _nested(opening: str, closing: str, most: int) -> str:
    """Returns a pattern of two brackets within each other, of which the outer opening is the group."""
    one, other = re.escape(opening), re.escape(closing)
    rest = f"[^{one}{other}]{{0,{most}}}"
    return f"({one}){rest}{one}{rest}{other}{rest}{other}"


_CLOSING = "asked for is the {} that closes it."
_OPENING_QUOTE = "The opening quote becomes a space; " + _CLOSING.format("quote")
_OPENING_BRACKET = "The opening bracket becomes a space; " + _CLOSING.format("bracket")
_OUTER = "Of two brackets within each other the outer one becomes a space; " + _CLOSING.format("bracket")
_OPENED = "What opens it becomes spaces; asked for is the first character of what closes it."
_MAKERS: Mapping[str, tuple[str, str | Callable[[str], str], str]] = {
    'inside "quotes"': (r"(?<![^\s(\[—-])" + _within('"', '"').replace(")", r")(?=[^\s])", 1), " ", _OPENING_QUOTE),
    "inside “quotes”": (_within("“", "”"), " ", _OPENING_QUOTE),
    "inside 'quotes'": (
        rf"(?<![\w'\\])('){ELIDED}(?=\S)(?:[^'\\\n]|(?<=\w)'(?=\w)){{3,600}}'(?!\w)", " ", _OPENING_QUOTE,
    ),
    "inside ‘quotes’": (
        rf"(‘)(?:[^‘’\n]|(?<=\w)’(?=\w)|{_IN_PARAGRAPH}){{3,600}}’(?!\w)", " ", _OPENING_QUOTE,
    ),
    "inside ( )": (_within("(", ")"), " ", _OPENING_BRACKET),
    "inside [ ]": (r"(?<!\[)" + _within("[", "]"), " ", _OPENING_BRACKET),
    "inside { }": (r"(\{)[^{}]{3,600}\}", " ", _OPENING_BRACKET),
    "inside [[ ]]": (r"(\[\[)[^\[\]\n]{3,200}\](?=\])", "  ", _OPENED),
    "inside a tag < >": (r"(<)/?[A-Za-z][^<>\n]{2,200}>", " ", _OPENING_BRACKET),
    "inside a /* comment */": (r"(/\*)(?:[^*/]|\*(?!/)|(?<!\*)/(?!\*)){5,800}\*(?=/)", "  ", _OPENED),
    "inside a # comment": (
        r"(?<!\S)(#) [A-Za-z]{2,} (?=[a-z])", " ",
        "The # becomes a space; asked for is the space after the first word.",
    ),
    "inside <!-- -->": (r"(<!--)(?:[^-]|-(?!->)){5,800}-(?=->)", "    ", _OPENED),
    "inside a string literal": (
        r"(?<![\w\\\"'])([\"'])(?![\"'\s])[^\"'\\\n]{3,100}\1(?!\w)", " ", _OPENING_QUOTE,
    ),
    "inside an if condition": (
        r"^[ \t]*(if) [^:\n#\"'\[{]{4,100}:(?=[ \t]*$)", "do",
        "Python's if at the beginning of a line becomes do; asked for is the colon at the line's end.",
    ),
    "capital letters in a row": (
        rf"(?<!\w)[{_CAPITAL}]([{_CAPITAL}])[{_CAPITAL}]", str.lower,
        "The second capital letter becomes a small one; asked for is the third.",
    ),
    "speaker's name on its line": (
        rf"\n(\n)[{_CAPITAL}](?:[^\W\d_]|[ '’.-]){{1,40}}:(?=\r?$)", " ",
        "The line feed before a speaker's name becomes a space; asked for is the colon after the name.",
    ),
    "depth of brackets": (_nested("(", ")", 60), " ", _OUTER),
    "depth of { }": (_nested("{", "}", 300), " ", _OUTER),
    "indentation": (
        r"^( {3,19})(?P<old> ) {4}(?=\S)[^\n]*[^\s:,({\[\\]\n {5}(?=\1\S)", "\n",
        "A space within the indentation becomes a line feed, so that four spaces are left; asked for is the fifth "
        "space of the next line, which is indented as the first.",
    ),
    "position in the line": (
        r"^[^\r\n]{25,100}( )[^\r\n]{25,100}(?:\r(?=\n)|\n)(?!\r?\n)", "\n",
        "A space in the middle of a line becomes a line feed; asked for is the line feed at the line's end.",
    ),
}  # fmt: skip

MAKERS: Mapping[str, PairMaker] = {
    name: PairMaker(name, re.compile(pattern, re.MULTILINE), new, says)
    for name, (pattern, new, says) in _MAKERS.items()
}
"""The makers of pairs by the name of the label that they flip."""
