"""Writing with units held: the same text as the held network writes, and what changed, against counts by hand."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.display.steering import pieces
from charrnn.neurons.clamping import clamp
from charrnn.neurons.record import Unit
from charrnn.neurons.steering import compare
from tests.kit.quotes import CLOSING, CONFIG, PLANTED, VOCABULARY, planted_arrays
from tests.kit.tiny import tiny

UNIT = f"L1.h{PLANTED}"


def test_changes_are_means_of_differences_of_pairs() -> None:
    """Shares and means by hand; a pair with an empty text is left out."""
    rng = np.random.default_rng(2)
    free = ["".join(rng.choice(list("ab \n"), 50)) for _ in range(14)]
    held = ["".join(rng.choice(list("ab1 \n"), 40)) for _ in range(14)]
    found = compare([*free, "abc"], [*held, ""])
    assert found.pairs == 14
    changes = {change.label: change for change in found.changes}
    digits = [text.count("1") / 40 for text in held]
    assert changes["digit"].free == 0
    assert changes["digit"].held == pytest.approx(np.mean(digits), abs=1e-6)
    assert changes["digit"].is_change
    assert min(digits) < changes["digit"].low < changes["digit"].held < changes["digit"].high < max(digits)
    position = [
        np.mean([len(line) - 1 - place for line in _lines(text) for place in range(len(line))]) for text in free
    ]
    assert changes["position in the line"].free == pytest.approx(np.mean(position), rel=1e-5)
    assert changes["vowel"].free == pytest.approx(np.mean([text.count("a") / 50 for text in free]), abs=1e-6)
    assert "inside a URL" not in changes  # it holds nowhere
    sure = [change.is_change for change in found.changes]
    assert sure == sorted(sure, reverse=True)  # the surest first
    assert not all(sure)
    shares = {character: (before, after) for character, before, after in found.characters}
    assert shares["1"] == (0, pytest.approx(sum(text.count("1") for text in held) / 560))
    with pytest.raises(ValueError, match="3 pairs"):
        compare(free[:3], held[:3])


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)


def test_the_same_texts_have_not_changed() -> None:
    """Nor have texts drawn from one source, pair by pair, but for chance."""
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("abc d.\n"), 200)) for _ in range(80)]
    assert not any(change.is_change or change.difference for change in compare(texts[:40], texts[:40]).changes)
    assert not any(change.is_change for change in compare(texts[:40], texts[40:]).changes)


def test_few_pairs_cannot_show_a_change() -> None:
    """Of five pairs all may differ the same way by chance, one time in sixteen: nothing is named, and that is said."""
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list("abc d.\n"), 60)) for _ in range(28)]
    found = compare(texts[:5], [text + "1234" for text in texts[:5]])
    assert not any(change.is_change for change in found.changes)
    assert not found.can_tell
    assert "So few pairs cannot show that" in list(pieces(found, "L1.h0=1", 60, (1.0, 1.0)))[-1].text  # type: ignore[union-attr]
    found = compare(texts[:14], [text + "1234" for text in texts[:14]])
    assert found.can_tell
    assert {"digit"} <= {change.label for change in found.changes if change.is_change}


def test_chance_is_seldom_called_a_change() -> None:
    """However few the pairs: over two hundred comparisons of texts from one source, one in twenty names anything."""
    rng, named = np.random.default_rng(8), 0
    for number in range(200):
        texts = ["".join(rng.choice(list("ab.\n"), 12)) for _ in range(12 + 2 * (number % 7))]
        named += any(change.is_change for change in compare(texts[::2], texts[1::2]).changes)
    assert named <= 16


@pytest.fixture
def sample(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `charrnn sample` with the hand-built network whose unit 17 is the quote cell."""
    run = Path("checkpoints/quotes/best.safetensors")
    run.parent.mkdir(parents=True)
    checkpoints.save(run, replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=planted_arrays()))
    return functools.partial(command, "sample")


def test_a_clamped_sample_is_what_the_held_network_writes(sample: Callable[..., tuple[int, str, str]]) -> None:
    """As if the held network had been the checkpoint; several units at once; from Python the same."""
    asked = ("-n", "300", "-p", "ab", "--seed", "5")
    status, out, _ = sample("--clamp", f"{UNIT}=+0.76", "--clamp", "L1.c3=-1", *asked)
    assert status == 0
    held = {Unit(1, "h", PLANTED): 0.76, Unit(1, "c", 3): -1.0}
    run = replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=clamp(CONFIG, planted_arrays(), held))
    Path("checkpoints/held").mkdir()
    checkpoints.save(Path("checkpoints/held/best.safetensors"), run)
    assert sample(*asked, "-c", "checkpoints/held")[1] == out
    assert sample(*asked, "-c", "checkpoints/quotes")[1] != out
    model = charrnn.load("checkpoints/quotes", clamp={UNIT: 0.76, "L1.c3": -1})
    assert "ab" + model.sample("ab", seed=5, length=300) + "\n" == out


def test_texts_that_may_end_by_themselves_are_not_said_to_be_as_long(
    sample: Callable[..., tuple[int, str, str]],
) -> None:
    """Those of a model of documents."""
    Path("checkpoints/names").mkdir()
    checkpoints.save(Path("checkpoints/names/best.safetensors"), tiny(documents="lines"))
    asked = ("-c", "checkpoints/names", "--clamp", "L1.c1=1", "--compare", "-n", "30", "--count", "14")
    status, out, _ = sample(*asked)
    assert status == 0
    assert "pairs of texts of at most 30 characters" in out


def test_compare_tells_what_holding_the_quote_cell_does(sample: Callable[..., tuple[int, str, str]]) -> None:
    """Held as if inside, closing quotes come everywhere; in words and in numbers, the same each time."""
    asked = ("--clamp", f"{UNIT}=0.76", "--compare", "-n", "200", "--count", "14")
    status, out, _ = sample(*asked)
    assert status == 0
    assert f"{UNIT}=0.76 against the free model, 14 pairs of texts of 200 characters" in out
    status, out, _ = sample(*asked, "--json")
    found = json.loads(out)
    assert found == json.loads(sample(*asked, "--json")[1])
    closing = {one["character"]: one for one in found["characters"]}[VOCABULARY.decode([CLOSING])]
    free = json.loads(sample("--json", "-n", "200", "--seed", "1")[1])["text"]
    assert closing["held"] == pytest.approx(0.13, abs=0.04)  # 0.15 / (1 + 0.15)
    assert closing["free"] < 0.1
    assert len(free) == 200
    assert found["bits_held"] > found["bits_free"] > 0
    changes = {change["label"]: change for change in found["changes"]}
    assert changes["punctuation"]["is_change"]
    assert changes["punctuation"]["held"] > changes["punctuation"]["free"]


def test_free_texts_are_those_that_sample_writes(sample: Callable[..., tuple[int, str, str]]) -> None:
    """The same seed and numbers; so the table is about texts that anyone can look at."""
    found = json.loads(sample("--clamp", f"{UNIT}=0", "--compare", "-n", "50", "--count", "5", "--json")[1])
    texts = [json.loads(line)["text"] for line in sample("--json", "-n", "50", "--count", "5")[1].splitlines()]
    shares = {one["character"]: one["free"] for one in found["characters"]}
    for character, share in shares.items():
        assert share == pytest.approx("".join(texts).count(character) / 250)


def test_bits_are_those_of_the_free_model_after_the_prime(sample: Callable[..., tuple[int, str, str]]) -> None:
    """The log-probabilities that sample --json gives for the same texts."""
    asked = ("-n", "40", "--count", "5", "-p", "“ab", "--json")
    found = json.loads(sample("--clamp", f"{UNIT}=0", "--compare", *asked)[1])
    written = [json.loads(line)["log_probabilities"] for line in sample(*asked)[1].splitlines()]
    assert found["bits_free"] == pytest.approx(-np.mean(written) / np.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--clamp", "L1.h17"], 2, "write UNIT=VALUE"),
        (["--clamp", "L1.h99=1"], 2, "there is no unit 99"),
        (["--clamp", "L1.h1=2"], 2, "it can take on -1 to 1"),
        (["--clamp", "L1.h1=1", "--clamp", "L1.h1=0"], 2, "--clamp holds one unit at two values"),
        (["--compare"], 2, "--compare needs to know what to hold"),
        (["--compare", "--clamp", "L1.h1=1", "--color"], 2, "--color does not go with it"),
        (["--compare", "--clamp", "L1.h1=1", "-t", "1,2"], 2, "a second temperature does not go with it"),
        (["--compare", "--clamp", "L1.h1=1", "-t", "0"], 2, "all texts are one"),
        (["--compare", "--clamp", "L1.h1=1", "--top-k", "1"], 2, "all texts are one"),
        (["--compare", "--clamp", "L1.h1=1", "--repeat-until-stop"], 2, "without --stop does not go with it"),
        (["--compare", "--clamp", "L1.h1=1", "--count", "3", "-n", "20"], 3, "too few texts to compare: 3 pairs"),
    ],
)
def test_what_steering_cannot_do_is_said(
    sample: Callable[..., tuple[int, str, str]], arguments: list[str], status: int, said: str
) -> None:
    """In one sentence with the right status, and nothing on stdout."""
    found, out, err = sample(*arguments)
    assert (found, out) == (status, "")
    assert said in err
