"""How a text is best read by a model that was trained on another one: by the rules of that model's run, and where these
leave characters that the model does not know, with other line ends or in another normal form in which it knows them.

Nothing of it is silent: each change comes with a sentence that says so.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from charrnn.settings.choices import Newlines, NormalForm
from charrnn.settings.config import DataConfig
from charrnn.text.decoding import LINE_ENDS
from charrnn.text.forms import CODES, changed
from charrnn.text.traits import CountedLineEnds, LineEnds, name_of
from charrnn.text.vocabulary import Vocabulary
from charrnn.wording import count

_FORMS: tuple[NormalForm, ...] = ("nfc", "nfd")


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of a text that is read in some way."""

    missing: Mapping[str, int]
    """The characters that the model does not know, and how often each occurs."""
    line_ends: LineEnds


@dataclass(frozen=True, slots=True)
class Reader:
    """What is known of how a model's own text was read."""

    data: DataConfig
    vocabulary: Vocabulary
    line_ends: LineEnds
    """Those of the model's own text."""

    @classmethod
    def of(cls, data: DataConfig, vocabulary: Vocabulary, corpus: Mapping[str, Any]) -> Reader:
        """Returns it for what a checkpoint holds."""
        return cls(data, vocabulary, LineEnds(**corpus["traits"]["line_ends"]))

    def fitting(
        self, look: Callable[[DataConfig], Look], what: str = "the text", *, is_written: bool = False
    ) -> tuple[DataConfig, list[str]]:
        """Returns how a text is to be read, and a sentence about each change from how the model's own was.

        `look` reads the text in some way. One that `is_written` is a text that the model shall write, in which the
        unknown symbol stands for nothing.
        """
        data = replace(self.data, min_count=1)
        if self.vocabulary.kind == "bytes":
            return data, []
        found, notes = look(data), list[str]()
        end = self._line_end(found) if data.newlines == "keep" else "keep"
        if end != "keep":
            notes.append(
                f"{what} has line ends {found.line_ends}, and the model knows {name_of(end)}: each is read as that"
            )
            data = replace(data, newlines=end)
            found = look(data)
        if found.missing and data.normalize == "none":
            ways = [replace(data, normalize=form) for form in _FORMS if _may_help(form, found, self.vocabulary)]
            looks = [(way, look(way)) for way in ways]
            fewest, best = min(
                ((_number(each), way) for way, each in looks), key=lambda pair: pair[0], default=(0, data)
            )
            if fewest < _number(found) and best is not data:
                data, found = best, dict(looks)[best]
                notes.append(
                    f"{what} is brought into the normal form {data.normalize.upper()}, in which the model knows "
                    f"{'more of its' if fewest else 'its'} characters"
                )
        if found.missing and self.vocabulary.unknown_symbol is not None and not is_written:
            of = count(_number(found), "character")
            notes.append(f"the unknown symbol, U+FFFD, is read in the place of {of} of {what}")
        return data, notes

    def _line_end(self, found: Look) -> Newlines:
        """Returns what line ends must become so that the model knows them, or has met them, if anything."""
        kinds, own = found.line_ends.kinds(), self.line_ends.kinds()
        if not kinds or len(own) != 1 or kinds == own:
            return "keep"
        kind: Newlines = own[0]  # type: ignore[assignment]
        return kind

    def text(self, text: str, what: str, *, is_written: bool = False) -> tuple[str, list[str]]:
        """Returns a text as the model reads it, or writes it, and a sentence about each change but of its line ends by
        the run's own rule."""
        if self.vocabulary.kind == "bytes":
            return with_line_ends(text, self.data.newlines), []
        data, notes = self.fitting(lambda data: self._look(as_read(text, data)), what, is_written=is_written)
        read = as_read(text, data)
        if self.data.lowercase and text != text.lower():
            notes.insert(0, f"{what} is read in lower case, as the model's text was")
        return read, notes

    def _look(self, text: str) -> Look:
        ends = CountedLineEnds()
        ends.see(text.encode("utf-8", "surrogatepass"))
        return Look(self.vocabulary.missing(text), ends.found())


def _number(found: Look) -> int:
    return sum(found.missing.values())


def _may_help(form: NormalForm, found: Look, vocabulary: Vocabulary) -> bool:
    """Returns whether a normal form may turn characters that a model lacks into others, which it may know."""
    for character in found.missing:
        other = unicodedata.normalize(CODES[form], character)
        if other != character and all(each in vocabulary for each in other):
            return True
    parts = {part for each in vocabulary.characters for part in unicodedata.normalize("NFD", each) if part != each}
    return form == "nfc" and not parts.isdisjoint(found.missing)


def with_line_ends(text: str, newlines: Newlines) -> str:
    """Returns a text with its line ends as --newlines has them."""
    if newlines == "keep":
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", LINE_ENDS[newlines].decode())


def as_read(text: str, data: DataConfig) -> str:
    """Returns a text as it would be read from a file by these rules."""
    return "".join(_pieces(with_line_ends(text, data.newlines), data))


def _pieces(text: str, data: DataConfig) -> Iterator[str]:
    return changed([text], data.normalize, lowercase=data.lowercase)
