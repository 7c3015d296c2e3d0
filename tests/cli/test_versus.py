"""`eval TEXT -c A -c B`: two models on the same characters, against each by itself and losses counted one by one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.versus import Difference
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.statistics import mean_interval
from charrnn.settings.config import DataConfig
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command
from tests.kit.tiny import CHARACTERS, tiny

TEXT = "".join(np.random.default_rng(3).choice(list(CHARACTERS), 700))
BOTH = ("-c", "checkpoints/a", "-c", "checkpoints/b")


def _save(name: str, cell: str = "lstm", **more: Any) -> checkpoints.Checkpoint:
    file = Path("checkpoints", name, "best.safetensors")
    file.parent.mkdir(parents=True)
    saved = replace(tiny(cell=cell), **more)
    checkpoints.save(file, saved)
    return saved


@pytest.fixture
def two() -> list[checkpoints.Checkpoint]:
    """Two models of other weights, and a text of characters that both know."""
    Path("text.txt").write_text(TEXT)
    return [_save("a"), _save("b", "gru")]


def _losses(checkpoint: checkpoints.Checkpoint) -> np.ndarray:
    """-ln p of every character but the first, one after the other."""
    ids = checkpoint.vocabulary.encode(TEXT, "error").tolist()
    engine = make_engine(checkpoint.model, checkpoint.parameters)
    state, losses = engine.zero_state(1), []
    for given, wanted in zip(ids, ids[1:], strict=False):
        logits, state = engine.step(np.array([given]), state)
        row = np.asarray(logits, np.float64).reshape(-1)
        losses.append(np.logaddexp.reduce(row) - row[wanted])
    return np.array(losses)


def test_the_difference_and_its_interval(command: Command, two: list[checkpoints.Checkpoint]) -> None:
    """Both figures are those of each by itself; the interval is that of the paired losses over blocks of the text."""
    told = json.loads(command("eval", "text.txt", *BOTH, "--json").out)
    alone = [json.loads(command("eval", "text.txt", *BOTH[start : start + 2], "--json").out) for start in (0, 2)]
    assert [{key: value for key, value in model.items() if key != "checkpoint"} for model in told["models"]] == alone
    assert [model["checkpoint"] for model in told["models"]] == ["checkpoints/a", "checkpoints/b"]
    (difference,) = told["differences"]
    assert (difference["checkpoint"], difference["than"]) == ("checkpoints/b", "checkpoints/a")
    first, second = map(_losses, two)
    bits = (second - first) / math.log(2)
    assert difference["bits_per_character"] == pytest.approx(bits.mean(), abs=1e-5)
    assert (difference["low"], difference["high"]) == pytest.approx(mean_interval(bits), abs=1e-5)


@pytest.mark.usefixtures("two")
def test_a_sentence_says_which_is_better(command: Command) -> None:
    """The other way round with the other word; nothing on stderr, since both are named."""
    one, other = command("eval", "text.txt", *BOTH), command("eval", "text.txt", *BOTH[2:], *BOTH[:2])
    assert (one.status, one.err) == (0, "")
    table, sentence = one.out.split("\n")[:3], one.out.split("\n")[3]
    assert table[0].split() == ["model", "bpc", "bits/byte", "perplexity"]
    assert [line.split()[0] for line in table[1:]] == ["checkpoints/a", "checkpoints/b"]
    figures = [float(line.split()[1]) for line in table[1:]]
    words = ("more", "less") if figures[1] > figures[0] else ("less", "more")
    assert sentence.startswith("checkpoints/b needs ")
    assert float(sentence.split()[2]) == pytest.approx(abs(figures[1] - figures[0]), abs=1.01e-4)
    assert f"bits per character {words[0]} than checkpoints/a (95 %: " in sentence
    assert "over 699 characters" in sentence
    assert f"bits per character {words[1]} than checkpoints/b (95 %: " in other.out


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ((-0.031, -0.041, -0.022), "0.0310 bits per character less than A (95 %: 0.0220 to 0.0410), over 9 characters"),
        ((0.031, 0.022, 0.041), "0.0310 bits per character more than A (95 %: 0.0220 to 0.0410), over 9 characters"),
        (
            (-0.001, -0.004, 0.002),
            "0.0010 bits per character less than A (95 %: 0.0040 less to 0.0020 more), over 9 characters: "
            "no clear difference",
        ),
    ],
)  # fmt: skip
def test_the_sentence_is_in_the_order_of_its_ends(difference: tuple[float, float, float], said: str) -> None:
    assert Difference(*difference).sentence("B", "A", 9) == f"B needs {said}"


@pytest.mark.usefixtures("two")
def test_three_models_are_compared_with_the_first(command: Command) -> None:
    _save("c", "rnn")
    told = json.loads(command("eval", "text.txt", *BOTH, "-c", "checkpoints/c", "--json").out)
    assert [one["than"] for one in told["differences"]] == ["checkpoints/a"] * 2
    assert [one["checkpoint"] for one in told["differences"]] == ["checkpoints/b", "checkpoints/c"]


@pytest.mark.usefixtures("two")
def test_windows_are_compared_too(command: Command) -> None:
    """Characters that are not scored count for neither."""
    told = json.loads(command("eval", "text.txt", *BOTH, "--json", "--protocol", "windowed", "--context", "50").out)
    bits = [model["bits_per_character"] for model in told["models"]]
    assert told["models"][0]["windows"] == 14
    (difference,) = told["differences"]
    assert difference["bits_per_character"] == pytest.approx(bits[1] - bits[0])
    assert difference["low"] < bits[1] - bits[0] < difference["high"]


def _larger(name: str, characters: str) -> None:
    """A run whose vocabulary has other characters."""
    vocabulary = Vocabulary.of(characters)
    random = np.random.default_rng(5)
    whole = tiny()
    arrays = {
        key: random.normal(size=(len(vocabulary), *array.shape[1:])).astype(np.float32)
        if array.shape[:1] == (len(CHARACTERS),)
        else array
        for key, array in whole.parameters.items()
    }
    _save(name, vocabulary=vocabulary, parameters=arrays)


@pytest.mark.usefixtures("two")
def test_models_of_other_vocabularies_are_compared_on_what_both_know(command: Command) -> None:
    """Else it is the same error as for one, and left out are only characters that neither knows."""
    _larger("c", CHARACTERS + "xyz")
    words = ("-c", "checkpoints/a", "-c", "checkpoints/c")
    assert command("eval", "text.txt", *words).status == 0
    Path("text.txt").write_text(TEXT + "xyz")
    result = command("eval", "text.txt", *words)
    assert (result.status, result.out) == (3, "")
    assert "'x'" in result.err
    result = command("eval", "text.txt", *words, "--unknown", "skip")
    assert result.status == 3
    assert "checkpoints/a and checkpoints/c do not score the same characters" in result.err
    result = command("eval", "text.txt", *BOTH, "--unknown", "skip")
    assert result.status == 0
    assert "3 are unknown to each model and charged 20.1 bits each" in result.out


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("-c checkpoints/a -c checkpoints/a/", 2, "-c names checkpoints/a twice"),
        ("-c checkpoints/a -c checkpoints/b --dynamic sgd", 2, "several checkpoints are compared by their static"),
        ("-c checkpoints/a -c checkpoints/b --temperature 0.9", 2, "--temperature does not go with that"),
        ("-c checkpoints/a -c checkpoints/b --split validation --ngrams 3", 2, "--ngrams does not go with that"),
        ("-c checkpoints/a -c checkpoints/bytes", 3, "a reads characters and checkpoints/bytes reads bytes"),
        ("-c checkpoints/bytes -c checkpoints/a", 3, "bytes reads bytes and checkpoints/a reads characters"),
        ("-c checkpoints/a -c checkpoints/lf", 3, "texts with --newlines keep and checkpoints/lf with --newlines lf"),
        ("-c checkpoints/a -c checkpoints/half --split validation", 3, "do not score the same characters"),
        ("-c checkpoints/a -c nowhere", 4, "there is no checkpoint nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(command: Command, words: str, status: int, said: str) -> None:
    """Each refusal says why, and nothing is printed."""
    checkpoints.save((_folder("bytes") / "best.safetensors"), tiny(as_bytes=True))
    checkpoints.save((_folder("lf") / "best.safetensors"), replace(tiny(), data=DataConfig(newlines="lf")))
    checkpoints.save((_folder("half") / "best.safetensors"), replace(tiny(), data=DataConfig(validation_fraction=0.5)))
    result = command("eval", "text.txt", *words.split())
    assert (result.status, result.out) == (status, ""), result.err
    assert said in result.err


def _folder(name: str) -> Path:
    folder = Path("checkpoints", name)
    folder.mkdir(parents=True)
    return folder


@pytest.mark.usefixtures("two")
def test_an_encoding_that_is_given_holds_for_both(command: Command) -> None:
    """Also where the runs had different ones."""
    checkpoints.save(_folder("latin") / "best.safetensors", replace(tiny(), data=DataConfig(encoding="latin-1")))
    words = ("eval", "text.txt", "-c", "checkpoints/a", "-c", "checkpoints/latin")
    assert "--encoding utf-8 and checkpoints/latin with --encoding latin-1" in command(*words).err
    assert command(*words, "--encoding", "utf-8").status == 0
