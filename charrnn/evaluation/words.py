"""Words of a text, and the classes of its characters: what a score is broken down by."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
CLASSES = (
    "small letters", "capital letters", "letters without case", "digits", "spaces", "line ends", "punctuation",
    "symbols", "bytes above 127", "other characters",
)  # fmt: skip
"""The classes of characters, each of which is in one of them."""
QUOTES = "\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"


def spans(text: str) -> Numbers:
    """Returns the place where each word of a text begins, and the one behind its end (words, 2).

    A word is letters, digits and underscores, with apostrophes and combining accents inside.
    """
    marks = {ord(character): "_" for character in set(text) if unicodedata.category(character).startswith("M")}
    found = [match.span() for match in _WORD.finditer(text.translate(marks) if marks else text)]
    return np.array(found, np.int64).reshape(-1, 2)


def class_of(character: str, kind: str = "text") -> int:
    """Returns the place in CLASSES of a character's class; of `kind` bytes, a character stands for a byte.

    >>> [CLASSES[class_of(character)] for character in "a7."]
    ['small letters', 'digits', 'punctuation']
    """
    category = unicodedata.category(character)
    if character in "\n\r":
        name = "line ends"
    elif kind == "bytes" and ord(character) > 127:
        name = "bytes above 127"
    elif character.isspace():
        name = "spaces"
    elif category.startswith("L"):
        name = {"Ll": "small letters", "Lu": "capital letters", "Lt": "capital letters"}.get(
            category, "letters without case"
        )
    elif category.startswith("N"):
        name = "digits"
    elif category.startswith("P") or character in string.punctuation:
        name = "punctuation"
    else:
        name = "symbols" if category.startswith("S") else "other characters"
    return CLASSES.index(name)


def classes(text: str, kind: str = "text") -> npt.NDArray[np.int8]:
    """Returns the place in CLASSES of each character's class (N,)."""
    return per_character(text, lambda character: class_of(character, kind))


def per_character(text: str, answer: Callable[[str], int]) -> npt.NDArray[np.int8]:
    """Returns what `answer` gives for each character of a text (N,); it is asked once for each different one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    different, places = np.unique(codes, return_inverse=True)
    table = np.array([answer(chr(code)) for code in different.tolist()], np.int8)
    return table[places.reshape(-1)]
