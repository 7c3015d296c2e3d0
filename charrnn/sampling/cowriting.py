"""A text that a person and a model write together: the model proposes, the person picks, types, draws, takes back.

After each change the session has the likeliest next characters and words, with the model's own probabilities
(temperature 1, nothing cut); draws follow the settings. Each draw has a random stream of its own, made from the seed
and the draw's number in the session; a draw that was taken back keeps its number. So the same actions give the same
text, and drawing again after taking back gives something new. Taking back restores the exact earlier state and logits,
and redoing the exact later ones; a new change of the text ends what can be redone.

Shape letters: B lanes (here one), V vocabulary.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from charrnn.errors import UsageError
from charrnn.inference.distribution import generator, log_probabilities
from charrnn.inference.engine import Engine, Floats
from charrnn.sampling.next_words import Place, WordCharacters, likeliest_words
from charrnn.sampling.sampler import read_blocks, read_prime, require_finite
from charrnn.settings.choices import UnknownPolicy
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import END_NAME, Decoder, Vocabulary

CHOICES = 10
_END_OF_BYTES = 256
LONGEST_LINE = 1000
"""The largest number of characters of a word or line that the model does not end."""
_CHUNK = 32  # characters drawn at once; the number is fixed, so that a text does not depend on the machine's speed


@dataclass(frozen=True, slots=True)
class Proposal:
    """A possible continuation of the text, and its probability."""

    ids: tuple[int, ...]
    text: str
    """The text that would be added. In byte mode: the characters that are completed, or the byte's value as `<E2>`."""
    probability: float


@dataclass(frozen=True, slots=True)
class Proposals:
    """The likeliest continuations, best first."""

    characters: tuple[Proposal, ...]
    words: tuple[Proposal, ...]
    words_are_exact: bool
    """Whether the search for words was complete; if it was cut short, likelier ones may be missing."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """A point in the text: after its first `length` ids, with the logits (1, V) of the next id and the state there."""

    length: int
    logits: Floats
    state: Any


class Session:
    """A co-writing session: the text so far, and all operations on it.

    The text begins with `prime_ids`. The model reads a line end before them (of a model of documents the end of one),
    which is not a part of the text. Where a document ends, the text has a line end, and what follows is another one.
    Raises CheckpointError, here and wherever the model reads or writes, where its output is not finite; the text stays
    as it was before that.
    """

    def __init__(
        self,
        engine: Engine,
        vocabulary: Vocabulary,
        prime_ids: Sequence[int] | npt.NDArray[Any],
        config: SamplingConfig,
        *,
        unknown: UnknownPolicy = "error",
    ) -> None:
        self.vocabulary = vocabulary
        self.config = config
        """The sampling settings; their length and stop text are ignored here."""
        self._engine, self._unknown = engine, unknown
        self._word_characters = WordCharacters(vocabulary)
        # Four bytes an id, where a list takes eight and more: a prime may be long.
        self._ids = array("i", np.asarray(prime_ids, np.int32).tobytes())
        logits, state = read_prime(engine, vocabulary, prime_ids)
        require_finite(bool(np.isfinite(logits).all()))
        self.now = _Moment(len(self._ids), logits, state)
        """The end of the text, with the model's logits and state there."""
        self._before: list[_Moment] = []
        self._after: list[_Moment] = []
        """The moments that were taken back, the next to redo last; their ids still stand in `_ids` after the text's."""
        self._drawings = 0
        self._choices: tuple[_Moment, Proposals] | None = None

    def __len__(self) -> int:
        """Returns the number of ids of the text."""
        return self.now.length

    @property
    def ids(self) -> list[int]:
        """The ids of the text."""
        return self._ids[: self.now.length].tolist()

    @property
    def text(self) -> str:
        """The text as characters; bytes that are not UTF-8 become U+FFFD."""
        return self.text_between(0, self.now.length)

    def encoded(self) -> bytes:
        """Returns the text as a file holds it: UTF-8, or in byte mode the bytes themselves."""
        if self.vocabulary.kind == "bytes":
            ids = np.asarray(self._ids[: self.now.length])
            return np.where(ids == _END_OF_BYTES, ord("\n"), ids).astype(np.uint8).tobytes()
        return self.text.encode("utf-8", "surrogatepass")

    def text_between(self, start: int, end: int) -> str:
        """Returns the text of the ids from `start` to before `end`, both within the text."""
        return self.vocabulary.decode_documents(np.asarray(self._ids[start:end]))

    # What may come next.

    def choices(self) -> Proposals:
        """Returns the ten likeliest next characters and words."""
        now = self.now
        if self._choices is None or self._choices[0] is not now:
            likely = np.exp(log_probabilities(now.logits[0]))
            order = np.argsort(-likely, kind="stable")[:CHOICES].tolist()
            characters = tuple(self._choice((id_,), float(likely[id_])) for id_ in order)
            found = likeliest_words(
                self._engine, self._word_characters, now.logits, now.state, self._place(), count=CHOICES
            )
            words = tuple(self._choice(*word) for word in found.ranking)
            self._choices = now, Proposals(characters, words, found.is_exact)
        return self._choices[1]

    def _place(self) -> Place:
        return self._word_characters.end(self._ids[max(0, self.now.length - 2) : self.now.length])

    def _choice(self, ids: tuple[int, ...], probability: float) -> Proposal:
        if ids == (self.vocabulary.end,):
            return Proposal(ids, END_NAME, probability)
        decode = self._decoder()
        text = "".join(map(decode, ids))
        text = f"<{ids[0]:02X}>" if not text and len(ids) == 1 else text + decode.finish()
        return Proposal(ids, text, probability)

    def _decoder(self) -> Decoder:
        """Returns a decoder for the next ids, which already holds the bytes of a character that the text has begun."""
        decode = self.vocabulary.decoder()
        for id_ in self._ids[max(0, self.now.length - 3) : self.now.length]:
            decode(id_)
        return decode

    # What the person does.

    def take(self, kind: Literal["word", "character"], number: int) -> None:
        """Appends a word or character of `choices`, counted from 1. Raises UsageError for any other number."""
        choices = self.choices().words if kind == "word" else self.choices().characters
        if not 1 <= number <= len(choices):
            there_are = f"there are 1 to {len(choices)}" if choices else f"there is no {kind} to pick here"
            raise UsageError(f"there is no {kind} number {number}", there_are)
        self._read(choices[number - 1].ids)

    def add(self, text: str) -> int:
        """Appends text that the person typed; returns the number of ids that were added.

        Unknown characters are treated by the session's policy; raises TextError that names those it leaves unresolved.
        """
        ids = self.vocabulary.encode(text, self._unknown).tolist()
        if ids:
            self._read(ids)
        return len(ids)

    def undo(self, times: int = 1) -> int:
        """Undoes the last changes of the text exactly; returns how many, which may be fewer than `times`.

        Settings are kept. Raises UsageError where there is nothing to undo.
        """
        if not self._before:
            raise UsageError("there is nothing to undo", "this is the text that the session began with")
        return self._go(self._before, self._after, times)

    def redo(self, times: int = 1) -> int:
        """Restores exactly what the last undos took back; returns how many changes, which may be fewer than `times`.

        Raises UsageError where nothing was taken back since the text last changed.
        """
        if not self._after:
            raise UsageError("there is nothing to redo", "only what was undone since the last change can come back")
        return self._go(self._after, self._before, times)

    def _go(self, there: list[_Moment], back: list[_Moment], times: int) -> int:
        """Moves up to `times` moments along the text's history, and returns how many."""
        times = min(times, len(there))
        for _ in range(times):
            back.append(self.now)
            self.now = there.pop()
        return times

    def set_temperature(self, temperature: float) -> None:
        """Sets the temperature of all later draws. Raises UsageError where it is not a valid temperature."""
        self.config = replace(self.config, temperature=temperature)

    def set_top_p(self, top_p: float) -> None:
        """Sets top-p for all later draws; 1 turns it off. Raises UsageError where it is not above 0 and at most 1."""
        checked = replace(self.config, top_p=top_p)
        self.config = checked if top_p < 1 else replace(self.config, top_p=None)

    # What the model does. Each of these iterators makes one change of the text. A caller that stops iterating, or
    # changes the text otherwise in between, keeps what was written so far.

    def write(self, count: int) -> Iterator[str]:
        """Draws `count` characters (bytes, in byte mode) and yields their text, piece by piece.

        Raises UsageError where the number is not at least 1.
        """
        if count < 1:
            raise UsageError(f"cannot write {count} characters", "give a whole number of at least 1")
        return self._draw(count, lambda _ids: None)

    def write_line(self) -> Iterator[str]:
        """Draws until a line end has been written, or 1,000 characters; yields the text, piece by piece.

        Raises UsageError where the model knows no line end, nor that of a document.
        """
        if "\n" not in self.vocabulary:
            if self.vocabulary.has_end:
                return self.write(LONGEST_LINE)
            raise UsageError("the model knows no line end", "say how many characters it should write")
        line_end = int(self.vocabulary.encode("\n")[0])
        return self._draw(LONGEST_LINE, lambda ids: ids.index(line_end) + 1 if line_end in ids else None)

    def write_word(self) -> Iterator[str]:
        """Draws the rest of the text's last word, or the next word with the separators before it; yields their text.

        The character that ends the word is drawn too, but not kept: the person may want another one.
        """
        place, has_begun = int(self._place()), False

        def end_in(ids: list[int]) -> int | None:
            nonlocal place, has_begun
            for position, id_ in enumerate(ids):
                place = self._word_characters.after[place, id_]
                if has_begun and place == Place.OUTSIDE:
                    return position
                has_begun = has_begun or place != Place.OUTSIDE
            return None

        return self._draw(LONGEST_LINE, end_in)

    def _draw(self, most: int, end_in: Callable[[list[int]], int | None]) -> Iterator[str]:
        """Draws up to `most` ids, or to the end of the document, and yields their text. `end_in` returns how many ids
        of a chunk still belong to it, or None where the text goes on after the chunk."""
        random = generator(self.config.seed_number, self._drawings)
        self._drawings += 1
        decode, before, is_last = self._decoder(), self.now, False
        document_end = self.vocabulary.end
        while most and not is_last:
            size, now = min(_CHUNK, most), self.now
            written = self._engine.write(now.logits, now.state, [self.config], random.random((size, 1)))
            require_finite(written.is_finite)
            ids = written.ids[:, 0].tolist()
            end = end_in(ids)
            if document_end in ids and (end is None or ids.index(document_end) < end):
                end = ids.index(document_end) + 1
            count, is_last = (len(ids), False) if end is None else (end, True)
            most -= count
            if count == len(ids):
                self._become(before, ids, written.logits, written.state)
            elif count:
                self._become(before, ids[:count], *self._engine.read(ids[:count], now.state))
            text = "".join(map(decode, ids[:count])) + "\n" * (document_end in ids[:count])
            if is_last or not most:
                text += decode.finish()
            now = self.now
            yield text
            if self.now is not now:
                return

    def _read(self, ids: Sequence[int]) -> None:
        self._become(self.now, ids, *read_blocks(self._engine, ids, self.now.state))

    def _become(self, before: _Moment, ids: Sequence[int], logits: Floats, state: Any) -> None:
        """Appends `ids` to the text. Everything written since `before` counts as one change."""
        require_finite(bool(np.isfinite(logits).all()))
        del self._ids[self.now.length :]
        self._after.clear()
        self._ids.extend(ids)
        if not self._before or self._before[-1] is not before:
            self._before.append(before)
        self.now = _Moment(self.now.length + len(ids), logits, state)
