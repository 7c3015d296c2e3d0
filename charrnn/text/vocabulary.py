"""The table between characters and ids.

The table is immutable and in code point order. Nothing is dropped or mapped silently: an unknown character is an error
unless a policy is named.

A *text* vocabulary holds the characters of its corpus. A *bytes* vocabulary holds all 256 byte values (as the code
points 0 to 255), so that no text has unknown characters; text is encoded to and decoded from UTF-8.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from charrnn.errors import TextError
from charrnn.settings.checks import one_of
from charrnn.settings.choices import UnknownPolicy
from charrnn.wording import NOT_UTF_8, not_utf_8

if TYPE_CHECKING:
    from typing import Self

Ids = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Kind = Literal["text", "bytes"]

NUM_CODE_POINTS = 0x110000
UNKNOWN_SYMBOL = 0xFFFD
"""The code point of the symbol that stands for all characters that are too rare to be learnt (--min-count)."""
_UNKNOWN = np.uint32(0xFFFFFFFF)
_PIECE = 1 << 16
END_NAME = "<end>"
"""What the end of a document is called where characters are listed."""


class Decoder(Protocol):
    """Turns ids into text one at a time."""

    def __call__(self, id_: int) -> str:
        """Returns the text that this id completes; it is empty while a character of several bytes is incomplete."""

    def finish(self) -> str:
        """Returns the text left at the end: U+FFFD for an incomplete character, else nothing."""


class Vocabulary:
    """Characters in code point order; a character's place is its id.

    >>> vocabulary = Vocabulary.of("hello")
    >>> vocabulary.characters
    'ehlo'
    >>> vocabulary.encode("hole").tolist()
    [1, 3, 2, 0]
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    """

    __slots__ = ("_table", "code_points", "has_end", "kind", "unknown_symbol")

    def __init__(
        self,
        code_points: Iterable[int],
        kind: Kind = "text",
        *,
        has_end: bool = False,
        has_unknown_symbol: bool = False,
    ) -> None:
        """With `has_unknown_symbol`, which U+FFFD among the characters is, all others are read as that symbol."""
        points = np.array(sorted(set(code_points)), dtype=np.uint32)
        if len(points) and points[-1] >= NUM_CODE_POINTS:
            raise ValueError(f"{points[-1]:#x} is not a code point")
        self.code_points = points
        self.kind: Kind = kind
        self.has_end = has_end
        """Whether there is one more id than characters, the end of a document, which is no character of any text."""
        self._table = np.full(int(points[-1]) + 2 if len(points) else 1, _UNKNOWN)
        self._table[points] = np.arange(len(points), dtype=np.uint32)
        points.flags.writeable = self._table.flags.writeable = False
        self.unknown_symbol = int(self._table[UNKNOWN_SYMBOL]) if has_unknown_symbol else None
        """The id of the unknown symbol, where there is one."""

    @classmethod
    def of(cls, text: str, *, has_end: bool = False) -> Self:
        """Returns the vocabulary of the characters in `text`."""
        return cls((ord(character) for character in set(text)), has_end=has_end)

    @classmethod
    def of_bytes(cls, *, has_end: bool = False) -> Self:
        """Returns the vocabulary of all byte values."""
        return cls(range(256), kind="bytes", has_end=has_end)

    def __len__(self) -> int:
        return len(self.code_points) + self.has_end

    @property
    def end(self) -> int | None:
        """The id of the end of a document, the last one; None where there is none."""
        return len(self.code_points) if self.has_end else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        alike = (self.kind, self.has_end, self.unknown_symbol) == (other.kind, other.has_end, other.unknown_symbol)
        return alike and np.array_equal(self.code_points, other.code_points)

    def __hash__(self) -> int:
        return hash((self.kind, self.has_end, self.unknown_symbol, self.code_points.tobytes()))

    def __contains__(self, character: str) -> bool:
        return len(character) == 1 and (self.kind == "bytes" or bool(self.lookup(character)[0] != _UNKNOWN))

    @property
    def characters(self) -> str:
        """The characters in the order of their ids, without the end of a document, which is none."""
        return "".join(map(chr, self.code_points.tolist()))

    @property
    def names(self) -> list[str]:
        """What each id is called where ids are listed: its character, or `<end>`."""
        return [*self.characters, *([END_NAME] if self.has_end else [])]

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16] | np.dtype[np.uint32]:
        """The narrowest unsigned integer that holds every id."""
        if len(self) <= 1 << 8:
            return np.dtype(np.uint8)
        return np.dtype(np.uint16) if len(self) <= 1 << 16 else np.dtype(np.uint32)

    def lookup(self, text: str) -> npt.NDArray[np.uint32]:
        """Returns the ids of the characters of `text` (N,), with 0xFFFFFFFF for each that is unknown."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        return self._table.take(codes, mode="clip")  # the table ends with an unknown: that is all beyond it

    def encode(self, text: str, unknown: UnknownPolicy = "error") -> Ids:
        """Returns the ids of `text` (N,), as an array of `dtype`.

        Where there is an unknown symbol, it takes the place of characters that are not in the table. Else `unknown`
        says what becomes of them: `error` raises TextError, which lists them; `skip` leaves them out; `replace` puts
        the nearest known character in their place (see `nearest`), and raises TextError for those that have none.
        """
        if self.kind == "bytes":
            return cast("Ids", np.frombuffer(_utf8(text), dtype=np.uint8).astype(self.dtype, copy=False))
        ids = self.lookup(text)
        if self.unknown_symbol is not None:
            ids[ids == _UNKNOWN] = self.unknown_symbol
        if (ids == _UNKNOWN).any():
            self.check_unknown(self.unknown(text), unknown)
            if unknown == "replace":
                near = {ord(character): self.nearest(character) or "" for character in self.unknown(text)}
                ids = self.lookup(text.translate(near))
            ids = ids[ids != _UNKNOWN]
        return cast("Ids", ids.astype(self.dtype))

    def unknown(self, text: str) -> dict[str, int]:
        """Returns the characters of `text` that cannot be read, with the number of times each occurs, in order of
        appearance; none where there is an unknown symbol for them."""
        return {} if self.unknown_symbol is not None else self.missing(text)

    def missing(self, text: str) -> dict[str, int]:
        """Returns the characters of `text` that are not in the table, with the number of times each occurs, in order of
        appearance."""
        if self.kind == "bytes":
            return {}
        missing = np.flatnonzero(self.lookup(text) == _UNKNOWN)
        return dict(Counter(text[place] for place in missing.tolist()))

    def check_unknown(self, counts: Mapping[str, int], policy: UnknownPolicy) -> None:
        """Raises TextError that lists the unknown characters that `policy` leaves unresolved, if any (see `encode`)."""
        one_of(UnknownPolicy).require("--unknown", policy)
        if policy == "skip":
            return
        left = {one: count for one, count in counts.items() if policy == "error" or self.nearest(one) is None}
        if left:
            raise unknown_characters_error(left, self)

    def nearest(self, character: str) -> str | None:
        """Returns a known character close to `character`: itself, its other case, its base letter, a look-alike; else
        None."""
        decomposed = unicodedata.normalize("NFKD", character)[:1]
        alike = _LOOK_ALIKE.get(character, "")
        for candidate in (character, character.swapcase(), decomposed, decomposed.swapcase(), alike):
            if len(candidate) == 1 and candidate in self:
                return candidate
        return None

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; byte sequences that are not UTF-8 become U+FFFD, and `end` nothing."""
        if isinstance(ids, np.ndarray):
            return "".join(self.decode_pieces(ids))
        decode = self.decoder()
        return "".join(map(decode, ids)) + decode.finish()

    def decode_documents(self, ids: npt.NDArray[Any]) -> str:
        """Returns the text of ids (N,), with a line end where a document ends."""
        if self.end is None:
            return self.decode(ids)
        return "\n".join(self.decode(part) for part in np.split(ids, np.flatnonzero(ids == self.end)))

    def decode_pieces(self, ids: npt.NDArray[Any]) -> Iterator[str]:
        """Yields the text of an array of ids (N,) in pieces, so that memory need not hold the whole of it."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for start in range(0, len(ids), _PIECE):
            some = ids[start : start + _PIECE]
            some = some[some != self.end] if self.has_end else some
            if self.kind == "bytes":
                yield decoder.decode(some.astype(np.uint8).tobytes(), final=start + _PIECE >= len(ids))
            else:
                yield self.code_points[some].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")

    def decoder(self) -> Decoder:
        """Returns a function that decodes one id after the other, for streaming."""
        decoder: Decoder = _Utf8Decoder() if self.kind == "bytes" else _TableDecoder(self.characters)
        return decoder if self.end is None else _EndingDecoder(decoder, self.end)


def _utf8(text: str) -> bytes:
    # Python hands over bytes of the command line that are not UTF-8 as surrogates; here they are those bytes again.
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise TextError(
            f"the text holds {describe_character(text[error.start])}, half of a UTF-16 pair", "leave it out"
        ) from error


class _TableDecoder:
    """Decodes each id to its character."""

    def __init__(self, characters: str) -> None:
        self._characters = characters

    def __call__(self, id_: int) -> str:
        return self._characters[id_]

    def finish(self) -> str:
        return ""


class _EndingDecoder:
    """Decodes as another does, and the end of a document to what that has left."""

    def __init__(self, decoder: Decoder, end: int) -> None:
        self._decoder, self._end = decoder, end

    def __call__(self, id_: int) -> str:
        return self._decoder.finish() if id_ == self._end else self._decoder(id_)

    def finish(self) -> str:
        return self._decoder.finish()


class _Utf8Decoder:
    """Decodes bytes to characters, each as soon as it is complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def __call__(self, id_: int) -> str:
        return self._decoder.decode(bytes((id_,)))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


_LOOK_ALIKE = {
    "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "`": "'", "\u2032": "'", "'": "\u2019",
    "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u00ab": '"', "\u00bb": '"', '"': "\u201c",
    "\u2013": "-", "\u2014": "-", "\u2010": "-", "\u2011": "-", "\u2212": "-", "-": "\u2013",
    "\u00a0": " ", "\t": " ", "\u2009": " ", "\r": "\n", "\u2028": "\n", "\u00df": "s", "\u00e6": "a",
}  # fmt: skip


def describe_character(character: str) -> str:
    """Returns the description of a character for messages: made visible, with its code point and name.

    >>> describe_character("é")
    "'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE"
    """
    return f"{_shown(character)} U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def _shown(character: str) -> str:
    return repr(character) if character.isprintable() else ascii(character)


def unknown_characters_error(counts: dict[str, int], vocabulary: Vocabulary) -> TextError:
    """Returns the error that names every unknown character (the first ten in full) and advises what to do."""
    if (broken := not_utf_8("".join(counts))) is not None:
        return TextError(f"the text {broken}", NOT_UTF_8, "or put the text into a file")
    named = [
        describe_character(character) + (f" ({count} times)" if count > 1 else "")
        for character, count in list(counts.items())[:10]
    ]
    more = f", and {len(counts) - 10} more" if len(counts) > 10 else ""
    pairs = [(character, vocabulary.nearest(character)) for character in list(counts)[:10]]
    near = [f"{_shown(character)} -> {_shown(nearest)}" for character, nearest in pairs if nearest][:3]
    replace = f"--unknown replace takes a near character ({', '.join(near)})" if near else "no known character is near"
    return TextError(
        "the model's vocabulary lacks " + ", ".join(named) + more,
        "--unknown skip leaves them out",
        replace,
        "or write the text without them",
    )
