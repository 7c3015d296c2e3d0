"""What of some samples is new, and what stands in a text already, such as the one that the model was trained on.

Nothing is estimated. The text is read once, in pieces, and needs no index. Its beginning and its end count as line
ends, as do those of each sample, so that a whole line is a stretch between two line ends. In a text of documents the
symbol between two of them is taken for a line end, too.

Shape letters: N characters of all samples, M of one, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from charrnn.evaluation.automaton import NOWHERE, Codes, Numbers, make_automaton
from charrnn.text.stored import TextIds, pieces
from charrnn.text.vocabulary import Vocabulary

NGRAMS = (8, 16, 32)
"""Of how many characters the n-grams are that are looked for in the text."""
MOST_CHARACTERS = 4_000_000
"""Characters of samples that are compared at a time; they take about 600 MB."""
_PIECE = 1 << 20
_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Stretch:
    """Characters of a sample that stand in the text one after the other."""

    text: str
    start: int
    """The place in the text at which they begin, once among perhaps several."""

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True, slots=True)
class Novelty:
    """How much of one sample stands in the text."""

    name: str
    characters: int
    longest: Stretch
    """The longest stretch that stands in the text; of several the first of the sample."""
    found: dict[int, int]
    """n -> how many of the sample's n-grams stand in the text."""
    ngrams: dict[int, int]
    """n -> how many n-grams the sample has."""
    is_copy: bool
    """Whether the whole sample stands in the text."""


@dataclass(frozen=True, slots=True)
class LineTally:
    """How many lines the samples have that are not empty, how many of them are different, and how many of the different
    ones stand in the text as whole lines."""

    lines: int
    different: int
    copied: int

    @property
    def new(self) -> int:
        """The number of different lines that do not stand in the text as whole lines."""
        return self.different - self.copied


@dataclass(slots=True)
class _Coding:
    """The numbers of characters, the same for the text and for the samples."""

    vocabulary: Vocabulary
    line_end: int = field(init=False)
    _table: Codes = field(init=False)
    """The number of each id (V,)."""

    def __post_init__(self) -> None:
        known = int(self.vocabulary.lookup("\n")[0])
        self.line_end = len(self.vocabulary) if known == _UNKNOWN else known
        self._table = np.arange(len(self.vocabulary), dtype=np.int32)
        if (end := getattr(self.vocabulary, "end", None)) is not None:
            self._table[end] = self.line_end

    def of_text(self, ids: TextIds) -> Codes:
        return self._table[ids]

    def of_sample(self, text: str) -> Codes:
        found = self.vocabulary.lookup(text).astype(np.int32)  # what is unknown becomes NOWHERE
        found[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4") == ord("\n")] = self.line_end
        return found


def novelty(
    samples: Sequence[tuple[str, str]],
    training: TextIds,
    vocabulary: Vocabulary,
    progress: Callable[[int, int], object] = lambda _done, _all: None,
) -> tuple[list[Novelty], LineTally]:
    """Compares samples, given by name and text, with a text of ids in `vocabulary`; in byte mode a sample has one
    character for each byte.

    `progress` is called with the number of characters of the text that were read, and of all. Raises ValueError for
    more than MOST_CHARACTERS.
    """
    if sum(len(text) for _, text in samples) > MOST_CHARACTERS:
        raise ValueError(f"there are more than {MOST_CHARACTERS:,} characters of samples")
    coding = _Coding(vocabulary)
    bound, nothing = np.array([coding.line_end], np.int32), np.array([NOWHERE], np.int32)
    parts = [part for _, text in samples for part in (bound, coding.of_sample(text), bound, nothing)]
    automaton = make_automaton(np.concatenate(parts) if parts else nothing)
    automaton.read(bound)
    last, done = NOWHERE, 0
    for piece in pieces(training, _PIECE):
        codes = coding.of_text(piece)
        automaton.read(codes)
        last, done = int(codes[-1]), done + len(piece)
        progress(done, len(training))
    if last != coding.line_end:
        automaton.read(bound)
    lengths, ends = automaton.finish()
    found, copies, start = list[Novelty](), dict[str, bool](), 0
    lines = 0
    for name, text in samples:
        here = slice(start, start + len(text) + 2)
        found.append(_of_sample(name, text, lengths[here], ends[here]))
        for line, is_copy in _lines(text, lengths[here]):
            lines += 1
            copies[line] = is_copy
        start = here.stop + 1
    return found, LineTally(lines, len(copies), sum(copies.values()))


def _of_sample(name: str, text: str, lengths: Numbers, ends: Numbers) -> Novelty:
    """Returns what is known of a sample from its lengths (M + 2,), with those of the line ends around it."""
    M = len(text)
    inside = np.minimum(lengths[1:-1], np.arange(1, M + 1))
    longest = Stretch("", 0)
    if M and inside.max():
        place = int(inside.argmax())
        length = int(inside[place])
        # Of the text a line end has been read before its first character.
        start = max(0, int(ends[place + 1]) - 1 - length)
        longest = Stretch(text[place + 1 - length : place + 1], start)
    counts = {n: max(0, M - n + 1) for n in NGRAMS}
    found = {n: int((inside[n - 1 :] >= n).sum()) for n in NGRAMS}
    return Novelty(name, M, longest, found, counts, bool(M) and int(inside[-1]) == M)


def _lines(text: str, lengths: Numbers) -> list[tuple[str, bool]]:
    """Returns each line of a sample that is not empty, and whether it stands in the text as a whole line."""
    found, start = [], 0
    for line in text.split("\n"):
        if line:
            # The line end before it, the line, and the line end after it.
            found.append((line, int(lengths[start + len(line) + 1]) >= len(line) + 2))
        start += len(line) + 1
    return found


def line_numbers(ids: TextIds, places: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """Returns the number, from 1, of the line, or of the document, in which each place of a text lies."""
    coding, numbers = _Coding(vocabulary), dict[int, int]()
    wanted, start = sorted(set(places)), 0
    before = int(getattr(vocabulary, "end", None) is None)  # else the end of none stands before the first document
    for piece in pieces(ids, _PIECE):
        is_end = coding.of_text(piece) == coding.line_end
        while wanted and wanted[0] < start + len(piece):
            numbers[wanted[0]] = before + int(is_end[: wanted[0] - start].sum())
            wanted.pop(0)
        before += int(is_end.sum())
        start += len(piece)
        if not wanted:
            break
    return [numbers.get(place, before) for place in places]
