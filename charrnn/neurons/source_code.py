"""A scanner for strings, comments, conditions and pairs of brackets in source code.

It has rough rules for many languages at once, not the grammar of one. What is opened and never closed is left out, so
that one mistake does not turn inside out what follows. The scan takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]

LONGEST = 2000
"""The number of characters after which an open quote or bracket counts as a mistake, not as still open."""
LONGEST_BLOCK = 10_000
"""The number of characters after which an open comment or string of many lines counts as a mistake."""


def pairs(text: str, opening: str, closing: str) -> Iterator[tuple[int, int]]:
    """Yields where each bracket opens and where its partner closes; brackets without a partner are left out."""
    stack: list[int] = []
    for match in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", text):
        if match[0] == opening:
            stack.append(match.start())
        elif stack:
            begin, end = stack.pop(), match.end() - 1
            if opening == "{" or end - begin <= LONGEST:  # the body of a function may be long
                yield begin, end


# A word that begins with an apostrophe opens no quotation: 'tis, 'em, the '90s; but 'em' is quoted.
ELIDED = r"(?!(?i:tis|twas|twere|twill|twould|twixt|tween|em|til|cause|bout|gainst|neath|\d0s)\b(?!'))"
_STRING_OPENS = r"(?:(?<![\w\\.?!])|(?<=\b[bfruBFRUL])|(?<=\b[bfrBFR]{2}))"
_STRING = "|".join([
    _STRING_OPENS + r"\"\"\"(?:[^\"\\]|\\.|\"(?!\"\")){0,10000}\"\"\"(?!\w)",
    _STRING_OPENS + r"'''(?:[^'\\]|\\.|'(?!'')){0,10000}'''(?!\w)",
    _STRING_OPENS + r"\"(?:[^\"\\\n]|\\(?:\r\n|.))*\"",
    _STRING_OPENS + rf"'{ELIDED}(?:[^'\\\n]|\\(?:\r\n|.))*'(?!\w)",
])  # fmt: skip
# After what may be a number, a // with one word behind it is Python's division; # before a letter a colour or #include.
_SLASHES = r"(?<![:/])(?:(?<![\w)\]])(?<![\w)\]] )|(?=// ?\w+ \w))//[^\r\n]*"
_HASH = r"(?<!\S)#(?![\w\[({])[^\r\n]*"
_TOKENS = re.compile(rf"(?P<string>{_STRING})|(?P<block>/\*)|(?P<slashes>{_SLASHES})|(?P<hash>{_HASH})", re.DOTALL)


def tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Yields the strings and comments of code that begin outside all others: the kind, and where the inside lies."""
    place = 0
    while match := _TOKENS.search(text, place):
        kind, begin, place = str(match.lastgroup), match.start(), match.end()
        if kind == "string":
            yield kind, begin, place - 1
        elif kind != "block":
            yield kind, begin, place
        elif (star := text.find("*/", place, place + LONGEST_BLOCK)) >= 0:
            place = star + 2
            yield kind, begin, star + 1


def inside_tokens(*kinds: str) -> Callable[[str], Values]:
    """Returns a label that holds inside tokens of `kinds`, which are among string, block, slashes and hash."""

    def answer(text: str) -> Values:
        values = np.zeros(len(text), np.float32)
        for kind, begin, end in tokens(text):
            if kind in kinds:
                values[begin:end] = 1.0
        return values

    return answer


_CONDITION = re.compile(r"(?:^|[{}();:]|\belse\b)[ \t]*(?:if|while)\b[ \t]*(?=\()", re.MULTILINE)
_PYTHON_CONDITION = re.compile(
    r"^[ \t]*(?:if|elif|while)\b[ \t]*([^\n]*?):(?=[ \t]*(?:#|\r?$|(?:return|break|continue|pass|raise)\b))",
    re.MULTILINE,
)


def inside_condition(text: str) -> Values:
    """Returns 1 between the parentheses of `if (...)`, or after Python's `if` up to its colon; 0 elsewhere."""
    values = np.zeros(len(text), np.float32)
    code = list(text)
    for _, begin, end in tokens(text):
        code[begin:end] = " " * (end - begin)  # brackets and colons in strings do not count
    blank = "".join(code)
    closing = dict(pairs(blank, "(", ")"))
    for match in _CONDITION.finditer(blank):
        values[match.end() : closing.get(match.end(), match.end())] = 1.0
    for match in _PYTHON_CONDITION.finditer(blank):
        values[match.start(1) : match.end(1)] = 1.0
    return values
