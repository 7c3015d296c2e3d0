"""The whole text that `inspect` is given, as ids in pieces: for views that measure all of it in bounded memory.

The text is read twice: first to count it and to find characters that the model does not know, before anything is
computed.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.errors import TextError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.settings.config import DataConfig
    from charrnn.text.sources import Source
    from charrnn.text.vocabulary import Ids

_SLICE = 4096  # characters between two steps of the bar


@dataclass(frozen=True, slots=True)
class WholeText:
    """A text that can be read as often as is wished, while the context that made it lasts."""

    subject: Subject
    total: int
    """The characters that the model reads of it."""
    _texts: Callable[[], Iterator[str]]

    def pieces(self) -> Iterator[Ids]:
        """Yields the ids of the text in pieces, and reports how much has been read."""
        from charrnn.cli.reading import ids_of

        done = 0
        for text in self._texts():
            read = ids_of(text, self.subject.loaded.vocabulary, self.subject.unknown)
            for place in range(0, len(read), _SLICE):
                yield read[place : place + _SLICE]
                done += len(read[place : place + _SLICE])
                self.subject.report("reading", min(done, self.total), self.total)


@contextlib.contextmanager
def whole_text(subject: Subject, length: int | None) -> Iterator[WholeText]:
    """Gives the text up to `length` characters after the subject's `start`, or all of it.

    Raises TextError where there is nothing to read, and one that lists all characters that the model does not know;
    UsageError where the text ends before `start`.
    """
    from charrnn.cli import texts as text_arguments
    from charrnn.cli.reading import fitting, read_part
    from charrnn.display.notice import say
    from charrnn.text.sources import release

    loaded, most = subject.loaded, None if length is None else subject.start + length
    if subject.split != "all":
        part = read_part(subject.argument, loaded, subject.split, most)
        yield _checked(subject, lambda: iter([part]))
        return
    texts = text_arguments.find([subject.argument], glob=None, report=subject.report, config=loaded.data)
    for notice in texts.notices:
        say(f"note: {notice}")
    try:
        data = fitting(texts.sources, loaded, most)
        yield _checked(subject, lambda: _beginning(texts.sources, data, most))
    finally:
        release(texts.sources)


def _checked(subject: Subject, texts: Callable[[], Iterator[str]]) -> WholeText:
    from charrnn.text.encoding import without_marks

    vocabulary, total, missing = subject.loaded.vocabulary, 0, Counter[str]()
    for text in texts():
        total += len(text)
        missing.update(vocabulary.unknown(without_marks(text, vocabulary)))
    vocabulary.check_unknown(missing, subject.unknown)
    total -= missing.total() if subject.unknown == "skip" else 0
    if total == 0:
        raise TextError(f"there is nothing to read in {subject.argument}", "give a text of characters the model knows")
    subject.check_start(total)
    return WholeText(subject, total, texts)


def _beginning(sources: list[Source], config: DataConfig, most: int | None) -> Iterator[str]:
    """Yields the text in pieces, up to `most` characters (byte mode: one character for each byte)."""
    from charrnn.text.cutting import Cutting
    from charrnn.text.decoding import pieces_of

    for piece in Cutting(config, sources)(pieces_of(sources, config, lambda _place, _done: None)):
        text = piece.text[:most]
        yield text
        if most is not None:
            most -= len(text)
            if most <= 0:
                return
