"""What a text is like beside its characters: how its lines end, what is spelled in two ways, what is rare."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from charrnn.text.forms import combining_characters
from charrnn.text.vocabulary import Vocabulary, describe_character
from charrnn.wording import count

_NAMES = {"lf": "LF", "crlf": "CR LF", "cr": "CR"}
_LARGEST = 1 << 48


@dataclass(frozen=True, slots=True)
class LineEnds:
    """How many lines of a text end in a line feed, in a carriage return and a line feed, or in the former alone."""

    lf: int = 0
    crlf: int = 0
    cr: int = 0

    def kinds(self) -> list[str]:
        """Returns which of the three there are, as --newlines names them, the commonest first."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        return sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])

    def __str__(self) -> str:
        return " and ".join(f"{getattr(self, kind):,} of {_NAMES[kind]}" for kind in self.kinds())


def name_of(kind: str) -> str:
    """Returns the name of a kind of line end in a sentence, such as CR LF."""
    return _NAMES[kind]


class CountedLineEnds:
    """Counts line ends in a text that comes in pieces, which may cut one in two."""

    def __init__(self) -> None:
        self._line_feeds = self._returns = self._pairs = 0
        self._is_open = False

    def see(self, raw: bytes) -> None:
        """Counts in the next bytes of UTF-8."""
        self._line_feeds += raw.count(b"\n")
        if b"\r" in raw:
            self._returns += raw.count(b"\r")
            self._pairs += raw.count(b"\r\n")
        if raw:
            self._pairs += self._is_open and raw.startswith(b"\n")
            self._is_open = raw.endswith(b"\r")

    def end(self) -> None:
        """Ends a source: a line end does not go on in the next one."""
        self._is_open = False

    def found(self) -> LineEnds:
        """Returns the numbers so far."""
        return LineEnds(self._line_feeds - self._pairs, self._pairs, self._returns - self._pairs)


class TwoSpellings:
    """Looks for a character that a text holds both as one code point and as several that combine."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """The characters of the text are those of `vocabulary`, of which most tell that there can be none."""
        self.found = ""
        """A character that was met in both spellings, else nothing."""
        self._candidates: dict[str, str] = {}
        if vocabulary.kind == "bytes" or not combining_characters().intersection(vocabulary.code_points.tolist()):
            return
        for character in vocabulary.characters:
            apart = unicodedata.normalize("NFD", character)
            if len(apart) > 1 and unicodedata.normalize("NFC", apart) == character:
                self._candidates |= {character: apart} if all(each in vocabulary for each in apart) else {}

    def see(self, text: str) -> None:
        """Looks at the next piece of the text."""
        if not self._candidates or self.found or unicodedata.is_normalized("NFC", text):
            return
        self.found = next((one for one, apart in self._candidates.items() if apart in text), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """All of it."""

    line_ends: LineEnds = field(default_factory=LineEnds)
    two_spellings: str = ""
    """A character that the text holds both as one code point and as several, else nothing."""
    rare: int = 0
    """How many different characters are rarer than --min-count."""
    unknown: int = 0
    """How many characters of the text these are in all."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the traits ready for JSON."""
        return asdict(self)

    @classmethod
    def of_dict(cls, content: Any) -> Self:
        """Returns the inverse. Raises ValueError, TypeError or KeyError for anything else."""
        ends, spelling = content["line_ends"], content["two_spellings"]
        numbers = [*ends.values(), content["rare"], content["unknown"]]
        if (
            len(content) != len(fields(cls))
            or len(ends) != len(fields(LineEnds))
            or type(spelling) is not str
            or len(spelling) > 1
        ):
            raise ValueError("no traits")
        if not all(type(number) is int and 0 <= number <= _LARGEST for number in numbers):
            raise ValueError("no numbers of characters")
        return cls(line_ends=LineEnds(**ends), two_spellings=spelling, rare=numbers[-2], unknown=numbers[-1])

    def notices(self, min_count: int) -> Iterator[str]:
        """Yields what a user should know who trains on the text."""
        kinds = self.line_ends.kinds()
        if len(kinds) > 1:
            yield f"the text mixes line ends, {self.line_ends}: --newlines lf makes one kind of them"
        elif kinds == ["cr"]:
            yield "the lines of the text end in CR alone, as on very old Macs: --newlines lf makes each a line feed"
        if one := self.two_spellings:
            parts = " ".join(f"U+{ord(each):04X}" for each in unicodedata.normalize("NFD", one))
            yield (
                f"the text spells letters in two ways, such as {describe_character(one)}, which is also written "
                f"{parts}: --normalize nfc makes one of both"
            )
        if self.rare:
            yield (
                f"{count(self.rare, 'character')} that the text has fewer than {min_count:,} times "
                f"({self.unknown:,} in all) {'is' if self.rare == 1 else 'are'} one unknown symbol, U+FFFD"
            )
