r"""Where a sentence, a line or a paragraph of a text ends.

A line ends before the line end that follows its first visible character, a paragraph before the first blank line behind
one.

A sentence has a letter or a digit. It ends behind a run of . ! ? … (or the marks of other scripts for them) and the
quotes and brackets that close behind these, where white space follows; behind 。 ！ ？ whatever follows; and where its
paragraph ends. A single dot ends none behind an initial (a capital, or single letters with dots between them, as in
U.S.) and behind a known abbreviation.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from charrnn.settings.sampling import UnitName

REACH = 200
"""Characters before the last one that matter to where a unit ends: what stands before them may be left out."""

_MARKS = ".!?\u2026\u2025\u061f\u06d4\u0964\u0965\u203c\u2047\u2048\u2049"
_WIDE_MARKS = "\u3002\uff01\uff1f\uff61"
_CLOSING = (
    "\"'\u00ab\u2039\u201d\u2019\u201c\u2018\u00bb\u203a)]}"
    "\uff02\uff07\uff09\uff3d\uff5d\u300d\u300f\u3011\u3015\u300b\u3009"
)
_RUN = re.compile(
    f"[{re.escape(_MARKS + _WIDE_MARKS)}][{re.escape(_MARKS + _WIDE_MARKS + _CLOSING)}]*+(?=(.))", re.DOTALL
)
_LINE_END = re.compile(r"\r?\n")
_BLANK_LINE = re.compile(r"[ \t]*\r?\n[ \t]*\r?\n")
_WORD = re.compile(r"[^\s(\[{\"'\u201c\u201e\u2018\u00ab\u2014]*\Z")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr rev hon gen col capt lt sgt messrs mme mlle vs cf vol fig approx hr fr nr bzw".split()
)
"""Words whose dot ends no sentence, in lower case."""


class UnitEnd(NamedTuple):
    """Where a unit ends: it has the characters before `end`, which is known once `seen` characters are there."""

    end: int
    seen: int


def unit_end(text: str, unit: UnitName, known: int = 0, *, is_cut: bool = False) -> UnitEnd | None:
    """Returns where the first unit of `text` ends, or None while that is open.

    Nothing ended within the first `known` characters. With `is_cut`, more of the unit stands before the text.
    """
    ends = [found for found in _ends(text, unit, is_cut=is_cut) if found.seen > known]
    return min(ends, key=lambda found: found.seen, default=None)


def open_end(text: str, unit: UnitName) -> int:
    """Returns how many characters at the end of a text, whose unit is open, may turn out not to belong to it."""
    return len(text) - len(text.rstrip("\r" if unit == "line" else None))


def _ends(text: str, unit: UnitName, *, is_cut: bool) -> list[UnitEnd]:
    """Returns the first end of each kind that a unit may have."""
    boundary = _LINE_END if unit == "line" else _BLANK_LINE
    found = next(
        (match for match in boundary.finditer(text) if is_cut or _has_begun(text[: match.start()], unit)), None
    )
    ends = [] if found is None else [UnitEnd(found.start(), found.end())]
    if unit == "sentence":
        runs = (match for match in _RUN.finditer(text) if _is_end(text, match, is_cut=is_cut))
        ends += [UnitEnd(match.end(), match.end() + 1) for match in runs][:1]
    return ends


def _has_begun(text: str, unit: UnitName) -> bool:
    """Returns whether a text has what a unit of it has at least."""
    return any(map(str.isalnum, text)) if unit == "sentence" else bool(text.strip())


def _is_end(text: str, run: re.Match[str], *, is_cut: bool) -> bool:
    """Returns whether a sentence ends with a run of marks and what closes behind it."""
    before = text[: run.start()]
    if not (is_cut or _has_begun(before, "sentence")):
        return False
    if any(mark in run[0] for mark in _WIDE_MARKS):
        return True
    if not run[1].isspace():
        return False
    marks = run[0].rstrip(_CLOSING)
    return marks != "." or not _is_abbreviated(before)


def _is_abbreviated(text: str) -> bool:
    """Returns whether a dot behind a text belongs to its last word."""
    found = _WORD.search(text[-REACH:])
    word = found[0] if found else ""
    if word.lower() in ABBREVIATIONS:
        return True
    return bool(_INITIALS.fullmatch(word)) and (word.isupper() or "." in word)
