"""Changes logits by what the text holds: a penalty on repetitions, and a bias towards or against texts.

The penalty is that of Keskar et al. 2019 (CTRL, arXiv 1909.05858, section 4.1): the logit of what would be a repetition
is divided by a number above 1. What a repetition is, and what a logit is measured from, has to be said for characters.
Every letter comes back soon; so a character counts as a repetition only where the last `stretch` characters, followed
by it, stand in the last `window` characters already (with a stretch of 0, as in the paper, every character that stands
there). And a softmax is the same for logits that are all raised; so a logit is measured from the mean of all, and one
that is below the mean is multiplied by the number, which makes it less likely too.

The bias of a single character is added to its logit. The bias of a longer text is added to the logit of each character
that goes on with it where the text so far ends with its beginning (of at least one character, and at the start of a
word if it begins as a word does). A negative bias counts for its last character only, so that other words with the same
beginning stay as likely.

In byte mode all this is about bytes.

Shape letters: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.errors import UsageError
from charrnn.inference.engine import Doubles, Floats
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary, describe_character


class Adjustment:
    """What is changed, by the settings of a sample and the model's vocabulary.

    Raises UsageError for a text with a bias that the model can never write.
    """

    def __init__(self, config: SamplingConfig, vocabulary: Vocabulary) -> None:
        self._penalty = config.repetition_penalty
        self._window, self._stretch = config.repetition_window, config.repetition_stretch
        words = list(map(_is_word, vocabulary.characters))
        self._is_word = np.array(words + [False] * (len(vocabulary) - len(words)), bool)
        if vocabulary.kind == "bytes":
            self._is_word[0x80:] = True
        self._biases: list[tuple[str, float]] = []
        for text, bias in config.biases.items():
            if missing := vocabulary.missing(text):
                raise UsageError(
                    f"--logit-bias {text}={bias:g} is about a text that the model cannot write: its vocabulary lacks "
                    + ", ".join(map(describe_character, missing)),
                    "leave it out",
                )
            self._biases.append((coded(vocabulary.encode(text).tolist()), bias))
        window = self._window if self._penalty != 1 else 0
        self.reach = max([1, window, *(len(text) for text, _ in self._biases)])
        """How many of the last characters of a text matter."""

    def __call__(self, logits: Floats | Doubles, before: str) -> Doubles:
        """Returns the changed logits (V,) of the next character, after a text that is `coded`."""
        changed: Doubles = np.array(logits, np.float64)
        if self._penalty != 1:
            repeated = self._repeated(before)
            if repeated:
                changed -= changed.mean()
                those = changed[repeated]
                changed[repeated] = np.where(those > 0, those / self._penalty, those * self._penalty)
        for text, bias in self._biases:
            for id_ in self._continued(text, before, is_last=bias < 0):
                changed[id_] += bias
        return changed

    def _repeated(self, before: str) -> list[int]:
        """Returns the ids that would repeat what the last characters, and one more, are in the window already."""
        recent = before[-self._window :]
        if not self._stretch:
            return sorted(set(map(ord, recent)))
        sought, found = recent[-self._stretch :], set[str]()
        if len(sought) < self._stretch:
            return []
        place = recent.find(sought)
        while 0 <= place < len(recent) - self._stretch:
            found.add(recent[place + self._stretch])
            place = recent.find(sought, place + 1)
        return sorted(map(ord, found))

    def _continued(self, text: str, before: str, *, is_last: bool) -> set[int]:
        """Returns the ids that go on with a text whose beginning stands at the end of what is written."""
        if len(text) == 1:
            return {ord(text)}
        begun = range(len(text) - 1 if is_last else 1, len(text))
        return {ord(text[size]) for size in begun if before.endswith(text[:size]) and self._begins(text, before, size)}

    def _begins(self, text: str, before: str, size: int) -> bool:
        """Returns whether the beginning of `text`, the last `size` characters, stands where such a text may begin."""
        place = len(before) - size - 1
        return place < 0 or not (self._is_word[ord(text[0])] and self._is_word[ord(before[place])])


def coded(ids: Sequence[int]) -> str:
    """Returns ids as a text with a character for each, in which they are found fast."""
    return "".join(map(chr, ids))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
