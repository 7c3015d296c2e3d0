"""n-gram baselines: against dictionaries and loops, and the identities that every distribution obeys."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.evaluation.ngram import MOST_TRAINING, ngram_nats
from tests.kit.command import Command
from tests.kit.tiny import tiny

V = 5


class _Slow:
    """The same model from dictionaries, a character at a time, by the equations as they stand."""

    def __init__(self, training: str, longest: int) -> None:
        self.counts: list[Counter[str]] = []
        self.lefts: list[Counter[str]] = []
        for length in range(longest + 1):
            grams = [_gram(training, end, length + 1) for end in range(len(training))]
            self.counts.append(Counter(grams))
            longer = {_gram(training, end, length + 2) for end in range(len(training))}
            self.lefts.append(Counter(gram[1:] for gram in longer))

    def probability(self, before: str, x: str, length: int, *, is_highest: bool = True) -> float:
        if length < 0:
            return 1 / V
        context = _gram(before, len(before) - 1, length)
        table = (self.counts if is_highest else self.lefts)[length]
        followers = {gram[-1]: count for gram, count in table.items() if gram[:-1] == context}
        below = self.probability(before, x, length - 1, is_highest=False)
        total = sum(followers.values())
        if not total:
            return below
        discounts = _discounts(table)
        freed = sum(discounts[min(count, 3)] for count in followers.values())
        count = followers.get(x, 0)
        return max(count - discounts[min(count, 3)], 0) / total + freed / total * below


def _gram(text: str, end: int, length: int) -> str:
    """The last `length` characters up to `end`, with ^ for what stands before the text."""
    if not length:
        return ""
    padded = "^" * length + text[: end + 1]
    return padded[-length:]


def _discounts(table: Counter[str]) -> dict[int, float]:
    n = defaultdict(int, Counter(table.values()))
    if not (n[1] and n[2] and n[3]):
        return {0: 0.0, 1: 0.5, 2: 0.5, 3: 0.5}
    y = n[1] / (n[1] + 2 * n[2])
    found = {j: j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)}
    return {0: 0.0, **{j: min(max(value, 0), j) for j, value in found.items()}}


def _ids(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.array(["abcde".index(character) for character in text], np.uint8)


def _text(size: int, seed: int) -> str:
    """A chain in which what comes depends on the two before, mostly."""
    rng, text = np.random.default_rng(seed), "ab"
    while len(text) < size:
        liked = "abcde"[(3 * "abcde".index(text[-1]) + "abcde".index(text[-2])) % 5]
        text += liked if rng.random() < 0.6 else str(rng.choice(list("abcde")))
    return text


def test_numbers_are_those_of_the_equations() -> None:
    """For each length, on text that has been counted, on other text, and with contexts that were never seen."""
    training, longest = _text(400, 1), 6
    slow = _Slow(training, longest)
    for text in (_text(60, 2), training[:50], "eeeeeeeedddddddd"):
        found = ngram_nats(_ids(training), _ids(text), V, longest)
        assert len(found) == longest + 1
        for length, nats in enumerate(found):
            wanted = [-math.log(slow.probability(text[:i], text[i], length)) for i in range(1, len(text))]
            assert nats == pytest.approx(np.mean(wanted), abs=1e-9), length


def test_the_reference_is_a_distribution() -> None:
    """Over the characters its probabilities add up to 1, after contexts that were seen and others."""
    slow = _Slow(_text(300, 3), 4)
    for before in ("a", "abca", "eeeee", ""):
        for length in range(5):
            assert sum(slow.probability(before, x, length) for x in "abcde") == pytest.approx(1)


def test_what_the_text_depends_on_is_enough_context() -> None:
    """Two characters: fewer lose much, more lose little; a text of independent characters has its entropy at best."""
    training, text = _text(30_000, 4), _text(20_000, 5)
    found = ngram_nats(_ids(training), _ids(text), V, 6)
    truth = -(0.68 * math.log(0.68) + 4 * 0.08 * math.log(0.08))
    assert found[1] > found[2] + 0.2
    assert found[2] == pytest.approx(truth, abs=0.03)
    assert found[2] <= min(found) + 0.01
    rng = np.random.default_rng(6)
    noise = rng.integers(0, V, 9000)
    assert ngram_nats(noise[:6000], noise[6000:], V, 2)[0] == pytest.approx(math.log(V), abs=0.01)


def test_contexts_longer_than_numbers_can_hold_are_fine() -> None:
    """Thirty characters of a repeating text: nearly nothing is left to learn."""
    ids = np.tile(np.arange(200), 40)
    assert ngram_nats(ids[:6000], ids[6000:], 200, 30)[30] < 0.03


def test_what_cannot_be_counted_is_refused() -> None:
    """And of a very long text the end counts."""
    for training, text in ((0, 5), (5, 1)):
        with pytest.raises(ValueError, match="nothing"):
            ngram_nats(np.zeros(training, int), np.zeros(text, int), 3, 2)
    seen: list[tuple[int, int]] = []
    ngram_nats(_ids("abab"), _ids("ab"), V, 1, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert MOST_TRAINING >= 10_000_000


def test_eval_shows_what_counting_achieves(command: Command) -> None:
    """On the part that is scored, counted on the training part; without such a part it is refused."""
    Path("checkpoints/tiny").mkdir(parents=True)
    checkpoint = tiny()
    checkpoints.save(Path("checkpoints/tiny/best.safetensors"), checkpoint)
    Path("text.txt").write_text(_text(3000, 7), "utf-8")

    evaluate = functools.partial(command, "eval", "text.txt")
    status, out, _ = evaluate("--split", "validation", "--ngrams", "4", "--json")
    assert status == 0
    ids = checkpoint.vocabulary.encode(_text(3000, 7))
    wanted = ngram_nats(ids[:2700], ids[2700:], len(checkpoint.vocabulary), 4)
    found = json.loads(out)["ngrams"]
    assert [one["context"] for one in found] == [0, 1, 2, 3, 4]
    assert [one["nats_per_character"] for one in found] == pytest.approx(wanted)
    assert found[2]["bits_per_character"] == pytest.approx(wanted[2] / math.log(2))
    status, out, _ = evaluate("--split", "validation", "--ngrams", "4")
    assert f"n-grams: {min(wanted) / math.log(2):.4f} bits per character" in out
    for arguments, said in (
        (["--ngrams", "4"], "add --split validation or test"),
        (["--split", "validation", "--ngrams", "4", "--protocol", "windowed"], "scored in one stream"),
    ):
        status, out, err = evaluate(*arguments)
        assert (status, out) == (2, "")
        assert said in err
