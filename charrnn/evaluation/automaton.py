"""The suffix automaton of some samples, through which a text is read once: how much of them stands in it.

Blumer et al. 1985 (Theoretical Computer Science 40). Each state is a set of stretches of the samples that end at the
same places there; the state knows its longest stretch, and the state of the longest end of these stretches that is in
another set. Time and memory grow with the lengths alone, whatever repeats in them. Compiled code does the same
(`native/matching.h`) several times faster.

Shape letters: N characters of the samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charrnn.native.matching import CompiledAutomaton, find_library

Codes = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int64]
NOWHERE = -1
"""A character of the samples that is in no text."""


class Automaton:
    """The automaton in plain Python: what serves where there is no compiled code."""

    def __init__(self, characters: Codes) -> None:
        self._length, self._link = [0], [-1]
        self._next: list[dict[int, int]] = [{}]
        self._ends: list[int] = []
        last = 0
        for character in characters.tolist():
            last = self._add(last, character)
            self._ends.append(last)
        self._best = [0] * len(self._length)
        self._places = [0] * len(self._length)
        self._state = self._matched = self._read = 0

    def _new(self, length: int, link: int, following: dict[int, int]) -> int:
        self._length.append(length)
        self._link.append(link)
        self._next.append(following)
        return len(self._length) - 1

    def _add(self, last: int, character: int) -> int:
        here = self._new(self._length[last] + 1, 0, {})
        p = last
        while p >= 0 and character not in self._next[p]:
            self._next[p][character] = here
            p = self._link[p]
        if p < 0:
            return here
        q = self._next[p][character]
        if self._length[q] == self._length[p] + 1:
            self._link[here] = q
            return here
        twin = self._new(self._length[p] + 1, self._link[q], dict(self._next[q]))
        while p >= 0 and self._next[p].get(character) == q:
            self._next[p][character] = twin
            p = self._link[p]
        self._link[q] = self._link[here] = twin
        return here

    def read(self, text: Codes) -> None:
        """Reads the next piece of the text."""
        state, matched, following = self._state, self._matched, self._next
        for place, character in enumerate(text.tolist(), self._read + 1):
            while state and character not in following[state]:
                state = self._link[state]
                matched = self._length[state]
            there = following[state].get(character)
            if there is not None:
                state, matched = there, matched + 1
            if matched > self._best[state]:
                self._best[state], self._places[state] = matched, place
        self._state, self._matched = state, matched
        self._read += len(text)

    def finish(self) -> tuple[Numbers, Numbers]:
        """Ends the text. Returns for each character of the samples how long the longest stretch is that ends with it
        and stands in the text (N,), and where in the text one such stretch ends (N,)."""
        order = sorted(range(1, len(self._length)), key=self._length.__getitem__)
        best, places = self._best, self._places
        for state in reversed(order):
            shorter = self._link[state]
            if best[state] and shorter > 0 and best[shorter] < self._length[shorter]:
                best[shorter], places[shorter] = self._length[shorter], places[state]
        for state in order:
            if not best[state]:
                best[state], places[state] = best[self._link[state]], places[self._link[state]]
        found = np.array([(best[state], places[state]) for state in self._ends], np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]


def make_automaton(characters: Codes) -> Automaton | CompiledAutomaton:
    """Returns the fastest automaton of the characters (N,) that there is here."""
    library = find_library()
    return Automaton(characters) if library is None else CompiledAutomaton(library, characters)
