"""Brings a text into a normal form of Unicode, or to lower case, piece by piece: the pieces together are what the whole
text gives, wherever it was cut.

A letter with an accent can be written as one code point or as two (Unicode Standard Annex 15). What comes at the end of
a piece may combine with the beginning of the next one, so that the end is held back: for a normal form from the last
character on that begins anew whatever stands before it; for lower case from a capital sigma on, which is written
otherwise at the end of a word, until it is known whether that word goes on.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from charrnn.errors import TextError
from charrnn.settings.choices import NormalForm

_Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
CODES: dict[NormalForm, _Form] = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD"}
"""The normal forms as `unicodedata` names them."""
MOST_HELD = 1 << 12
"""Characters in a row that may all combine; no writing has more than a few."""
_SIGMA = "\u03a3"
_JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))
"""Vowels and final consonants of Korean, which combine with what stands before them by a rule instead of a table."""
_LAST_COMPOSED = 0x20000
"""No character beyond it is made of two."""


class _Stage(Protocol):
    def feed(self, text: str) -> str:
        """Returns what is known of the result once `text` has come, and was not returned before."""

    def finish(self) -> str:
        """Returns the rest."""


class Normaliser:
    """Brings a text into a normal form."""

    def __init__(self, form: NormalForm) -> None:
        self._form, self._held = CODES[form], ""

    def feed(self, text: str) -> str:
        """Returns what is known of the result once `text` has come, and was not returned before.

        Raises TextError where more characters than any writing has are to be combined.
        """
        new, text = len(self._held), self._held + text
        for place in range(len(text) - 1, max(new, 1) - 1, -1):
            if _begins_anew(self._form, text[place]):
                self._held = text[place:]
                return unicodedata.normalize(self._form, text[:place])
        self._held = text
        if len(text) > MOST_HELD:
            raise TextError(
                f"the text has more than {MOST_HELD:,} characters in a row that combine with each other, such as "
                f"U+{ord(text[-1]):04X}",
                "--normalize none takes them as they are",
                "or leave them out",
            )
        return ""

    def finish(self) -> str:
        """Returns the rest."""
        held, self._held = self._held, ""
        return unicodedata.normalize(self._form, held)


@functools.lru_cache(maxsize=1 << 12)
def _begins_anew(form: _Form, character: str) -> bool:
    """Returns whether nothing before a character can combine with it, nor move past it."""
    first = unicodedata.normalize("NFKD" if "K" in form else "NFD", character)[0]
    return not unicodedata.combining(first) and ord(first) not in combining_characters()


@functools.cache
def combining_characters() -> frozenset[int]:
    """Returns the code points that combine with one before them to a single character."""
    pairs = (unicodedata.decomposition(chr(point)).split() for point in range(_LAST_COMPOSED))
    return frozenset((*_JAMO, *(int(pair[1], 16) for pair in pairs if len(pair) == 2 and pair[0][0] != "<")))


class Lowercaser:
    """Brings a text to lower case, as `str.lower` does the whole of it."""

    def __init__(self) -> None:
        self._held, self._before = "", " "

    def feed(self, text: str) -> str:
        """Returns what is known of the result once `text` has come, and was not returned before."""
        text = self._held + text
        end = len(text)
        while end and _is_passed_over(text[end - 1]):
            end -= 1
        # What a sigma at the end of a word is depends on what comes after it.
        is_open = end > 0 and text[end - 1] == _SIGMA
        cut = end - 1 if is_open else len(text)
        self._held = text[cut:]
        return self._lowered(text[:cut], "a" if is_open else "")

    def finish(self) -> str:
        """Returns the rest."""
        held, self._held = self._held, ""
        return self._lowered(held)

    def _lowered(self, text: str, after: str = "") -> str:
        # The character before stands for all that was returned: a letter or none. So does the one after it.
        result = f"{self._before}{text}{after}".lower()
        result = result[1 : len(result) - len(after)]
        for character in reversed(text):
            if not _is_passed_over(character):
                self._before = "a" if _is_letter(character) else " "
                break
        return result


@functools.lru_cache(maxsize=1 << 12)
def _is_letter(character: str) -> bool:
    """Returns whether a sigma before a character does not end its word, by asking `str.lower` itself."""
    return f"a{_SIGMA}{character}".lower()[1] == _SIGMA.lower()


@functools.lru_cache(maxsize=1 << 12)
def _is_passed_over(character: str) -> bool:
    """Returns whether `str.lower` looks past a character, such as an apostrophe, for the next letter of a word."""
    followed = f"a{_SIGMA}{character}a".lower()[1] == _SIGMA.lower()
    return followed and not _is_letter(character)


def _stages(form: NormalForm, *, lowercase: bool) -> list[_Stage]:
    stages: list[_Stage] = [] if form == "none" else [Normaliser(form)]
    if lowercase:
        # A small letter may combine with an accent where the capital one does not.
        stages += [Lowercaser(), *([] if form == "none" else [Normaliser(form)])]
    return stages


def changed(pieces: Iterable[str], form: NormalForm, *, lowercase: bool) -> Iterator[str]:
    """Yields a text in a normal form and, where that is asked for, in lower case."""
    for stage in _stages(form, lowercase=lowercase):
        pieces = _through(pieces, stage)
    return iter(pieces)


def _through(pieces: Iterable[str], stage: _Stage) -> Iterator[str]:
    for piece in pieces:
        yield stage.feed(piece)
    yield stage.finish()
