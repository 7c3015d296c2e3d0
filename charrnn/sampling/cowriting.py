"""A text that a person and a model write together: the model proposes, the person picks, types, draws, takes back.

After each change the session has the likeliest next characters and words, with the model's own probabilities
(temperature 1, nothing cut). What is drawn follows the settings. Each drawing has a random stream of its own, of the
seed and its number in the session; one that was taken back keeps its number. So the same deeds give the same text, and
taking back and drawing again gives something new. Taking back restores the very state and logits that were there.

Shape letters: B lanes (here one), V vocabulary.
"""

from __future__ import annotations

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
from charrnn.settings.config import SamplingConfig
from charrnn.text.vocabulary import Decoder, Vocabulary

CHOICES = 10
LONGEST_LINE = 1000
"""Characters that a word or a line may have when the model does not end it."""
_CHUNK = 32  # characters drawn in one go; always as many, so that a text does not depend on how fast the machine is


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something the text may go on with."""

    ids: tuple[int, ...]
    text: str
    """What it adds to the text. Of bytes: the characters it completes, or the byte's value as `<E2>`."""
    probability: float


@dataclass(frozen=True, slots=True)
class Proposals:
    """The likeliest, best first."""

    characters: tuple[Proposal, ...]
    words: tuple[Proposal, ...]
    words_are_exact: bool
    """False where the search for words was cut short: likelier ones may be missing."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """The text is the first `length` ids; after them, logits (1, V) of the next and the state."""

    length: int
    logits: Floats
    state: Any


class Session:
    """The text so far, and everything that can be done with it.

    `prime_ids` are what the text begins with. The model reads a line end before them, which is no part of the text.
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
        """How characters are drawn; length and stop text do not count here."""
        self._engine, self._unknown = engine, unknown
        self._word_characters = WordCharacters(vocabulary)
        self._ids: list[int] = [int(id_) for id_ in prime_ids]
        logits, state = read_prime(engine, vocabulary, prime_ids)
        require_finite(bool(np.isfinite(logits).all()))
        self.now = _Moment(len(self._ids), logits, state)
        """The end of the text: what the model knows there."""
        self._before: list[_Moment] = []
        self._drawings = 0
        self._choices: tuple[_Moment, Proposals] | None = None

    def __len__(self) -> int:
        """Number of ids of the text."""
        return self.now.length

    @property
    def ids(self) -> list[int]:
        """The text, as ids."""
        return self._ids[: self.now.length]

    @property
    def text(self) -> str:
        """The text; bytes that are not UTF-8 are U+FFFD."""
        return self.vocabulary.decode(self.ids)

    def encoded(self) -> bytes:
        """Returns the text as a file holds it: UTF-8, or in byte mode the bytes themselves."""
        return bytes(self.ids) if self.vocabulary.kind == "bytes" else self.text.encode("utf-8", "surrogatepass")

    def text_between(self, start: int, end: int) -> str:
        """Returns the text of the ids from `start` to before `end`, both within the text."""
        return self.vocabulary.decode(self._ids[start:end])

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
        decode = self._decoder()
        text = "".join(map(decode, ids))
        text = f"<{ids[0]:02X}>" if not text and len(ids) == 1 else text + decode.finish()
        return Proposal(ids, text, probability)

    def _decoder(self) -> Decoder:
        """Returns the decoder of the ids to come: the bytes of a character that the text has begun are in it."""
        decode = self.vocabulary.decoder()
        for id_ in self._ids[max(0, self.now.length - 3) : self.now.length]:
            decode(id_)
        return decode

    # What the person does.

    def take(self, kind: Literal["word", "character"], number: int) -> None:
        """Goes on with a word or character of `choices`, counted from 1. Raises UsageError for any other number."""
        choices = self.choices().words if kind == "word" else self.choices().characters
        if not 1 <= number <= len(choices):
            there_are = f"there are 1 to {len(choices)}" if choices else f"there is no {kind} to pick here"
            raise UsageError(f"there is no {kind} number {number}", there_are)
        self._read(choices[number - 1].ids)

    def add(self, text: str) -> int:
        """Goes on with the person's own text; returns the number of ids that were added.

        Characters that the model does not know are treated by the session's policy; TextError names them.
        """
        ids = self.vocabulary.encode(text, self._unknown).tolist()
        if ids:
            self._read(ids)
        return len(ids)

    def undo(self, times: int = 1) -> int:
        """Takes back the last changes of the text, exactly; returns how many, which may be fewer than `times`.

        Settings stay. Raises UsageError where there is nothing to undo.
        """
        if not self._before:
            raise UsageError("there is nothing to undo", "this is the text that the session began with")
        times = min(times, len(self._before))
        self.now = self._before[-times]
        del self._before[-times:]
        return times

    def set_temperature(self, temperature: float) -> None:
        """Draws with another temperature from now on. Raises UsageError where it is none."""
        self.config = replace(self.config, temperature=temperature)

    # What the model does. Each of these is one change of the text, under way as long as it is iterated: whoever stops
    # iterating keeps what was written so far, and so does whoever changes the text otherwise in between.

    def write(self, count: int) -> Iterator[str]:
        """Draws `count` characters (bytes, in byte mode) and yields their text, piece by piece.

        Raises UsageError where the number is not at least 1.
        """
        if count < 1:
            raise UsageError(f"cannot write {count} characters", "give a whole number of at least 1")
        return self._draw(count, lambda _ids: None)

    def write_line(self) -> Iterator[str]:
        """Draws until a line end has been written, or 1,000 characters; yields the text, piece by piece.

        Raises UsageError where the model knows no line end.
        """
        if "\n" not in self.vocabulary:
            raise UsageError("the model knows no line end", "say how many characters it should write")
        line_end = int(self.vocabulary.encode("\n")[0])
        return self._draw(LONGEST_LINE, lambda ids: ids.index(line_end) + 1 if line_end in ids else None)

    def write_word(self) -> Iterator[str]:
        """Draws what is left of the text's last word, or the next one with the separators before it.

        The character that ends the word is drawn, too, and not taken: the person may want another.
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
        """Draws up to `most` ids. Of a chunk that the text ends in, `end_in` says how many ids still belong to it."""
        random = generator(self.config.seed, self._drawings)
        self._drawings += 1
        decode, before, is_last = self._decoder(), self.now, False
        while most and not is_last:
            size, now = min(_CHUNK, most), self.now
            written = self._engine.write(now.logits, now.state, [self.config], random.random((size, 1)))
            require_finite(written.is_finite)
            ids = written.ids[:, 0].tolist()
            end = end_in(ids)
            count, is_last = (len(ids), False) if end is None else (end, True)
            most -= count
            if count == len(ids):
                self._become(before, ids, written.logits, written.state)
            elif count:
                self._become(before, ids[:count], *self._engine.read(ids[:count], now.state))
            text = "".join(map(decode, ids[:count]))
            if is_last or not most:
                text += decode.finish()
            now = self.now
            yield text
            if self.now is not now:
                return

    def _read(self, ids: Sequence[int]) -> None:
        self._become(self.now, ids, *read_blocks(self._engine, ids, self.now.state))

    def _become(self, before: _Moment, ids: Sequence[int], logits: Floats, state: Any) -> None:
        """The text goes on with `ids`. All that has been written since `before` is one change."""
        require_finite(bool(np.isfinite(logits).all()))
        del self._ids[self.now.length :]
        self._ids += ids
        if not self._before or self._before[-1] is not before:
            self._before.append(before)
        self.now = _Moment(self.now.length + len(ids), logits, state)
