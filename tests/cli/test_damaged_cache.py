"""What the commands do where the cache of encoded texts is damaged: before they begin, and under them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import charrnn
from charrnn.cli import afterwards
from charrnn.events import Notice
from charrnn.text import stored
from charrnn.text.cache import cache_folder
from charrnn.text.corpus import Corpus
from charrnn.training.learner import Learner
from tests.kit.command import Command
from tests.kit.runs_compared import assert_same_run

SMALL = (
    "--hidden 4 --embedding 3 --batch 4 --bptt 11 --threads 1 --steps 12 --validate-every 5 --sample-every 5 "
    "--sample-length 9 --device cpu"
).split()
DAMAGE = {
    "flipped": lambda raw: raw[:300] + bytes([byte ^ 1 for byte in raw[300:]]),
    "ones": lambda raw: b"\xff" * len(raw),
    "truncated": lambda raw: raw[:300],
}


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is too large for memory."""
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    monkeypatch.setattr(stored, "BLOCK", 64)
    monkeypatch.setattr(stored, "CAPACITY", 20 * 64)


def _ids() -> Path:
    (entry,) = (cache_folder() / "corpora").iterdir()
    return entry / "ids.bin"


def _damage(kind: str) -> None:
    """In place, as a disk does it."""
    raw = DAMAGE[kind](_ids().read_bytes())
    with open(_ids(), "rb+") as file:
        file.write(raw)
        file.truncate(len(raw))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_text_is_encoded_anew(damage: str, command: Command, text_file: Callable[..., Path]) -> None:
    """One sentence says so, and then all is as it would have been."""
    text = str(text_file())
    assert command("train", text, *SMALL, "--out", "whole").status == 0
    scored = command("eval", text, "-c", "whole", "--json", "--split", "validation").out
    read = command("inspect", text, "-c", "whole", "--json", "--split", "validation").out
    said = f"the encoded text in {_ids().parent} "
    for words in (
        ["train", text, *SMALL, "--out", "other"],
        ["eval", text, "-c", "whole", "--json", "--split", "validation"],
        ["inspect", text, "-c", "whole", "--json", "--split", "validation"],
    ):
        _damage(damage)
        done = command(*words)
        assert done.status == 0
        flat = " ".join(done.err.split())
        assert flat.count(said) == 1
        assert flat.count("it is encoded anew") == 1
        assert words[0] == "train" or done.out == {"eval": scored, "inspect": read}[words[0]]
    assert_same_run(Path("whole"), Path("other"))


def test_python_is_told_as_well(text_file: Callable[..., Path]) -> None:
    """As a notice among the run's events."""
    text = text_file()
    settings = {
        "hidden_size": 4,
        "embedding_size": 3,
        "batch_size": 4,
        "bptt": 11,
        "threads": 1,
        "steps": 2,
        "sample_every": 0,
    }
    assert list(charrnn.train(str(text), out="whole", device="cpu", **settings))
    _damage("flipped")
    events = list(charrnn.train(str(text), out="other", device="cpu", **settings))
    said = [event.text for event in events if isinstance(event, Notice) and "encoded anew" in event.text]
    assert len(said) == 1


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("step", [0, 1, 6, 11])
@pytest.mark.usefixtures("_large")
def test_a_large_text_that_is_damaged_under_a_run(
    damage: str, step: int, command: Command, text_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saves and ends with status 6; the same command goes on, and the run is the uninterrupted one, bit for bit."""
    text = str(text_file())
    assert command("train", text, *SMALL, "--out", "whole").status == 0
    real, calls = Learner.step_at, []

    def step_at(learner: Learner, *arguments: object) -> None:
        if len(calls) == step:
            _damage(damage)
        calls.append(arguments)
        real(learner, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step_at", step_at)
        done = command("train", text, *SMALL, "--out", "run")
    assert done.status == 6, done.err
    assert "the encoded text in" in done.err
    assert "give the same command again, and the text is encoded anew" in " ".join(done.err.split())
    assert not list((cache_folder() / "corpora").iterdir())
    again = command("train", text, *SMALL, "--out", "run")
    assert again.status == 0, again.err
    assert "exact resume at step" in again.err
    assert_same_run(Path("run"), Path("whole"))


@pytest.mark.usefixtures("_large")
def test_a_finished_run_has_lost_nothing(
    command: Command, text_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is damaged after it is only looked at for a word that a sample might begin with."""
    real = afterwards._common_word

    def damaged(corpus: Corpus) -> str:
        _damage("flipped")
        return real(corpus)

    monkeypatch.setattr(afterwards, "_common_word", damaged)
    done = command("train", str(text_file()), *SMALL, "--out", "run")
    assert done.status == 0
    assert "charrnn sample -c run" in done.err


@pytest.mark.usefixtures("_large")
def test_a_large_text_that_is_damaged_under_eval(command: Command, text_file: Callable[..., Path]) -> None:
    """Status 6 without a figure, and the same command gives the right one."""
    text = str(text_file())
    assert command("train", text, *SMALL, "--out", "whole").status == 0
    scored = json.loads(command("eval", text, "-c", "whole", "--json").out)
    _damage("flipped")
    done = command("eval", text, "-c", "whole", "--json")
    assert (done.status, done.out) == (6, "")
    assert json.loads(command("eval", text, "-c", "whole", "--json").out) == scored


VIEWS = ["", "--protocol windowed --context 50", "--dynamic sgd", "--split test --dynamic rms --tune --tune-length 300",
         "--ngrams 3 --split validation", "--split train"]  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_a_large_text_is_scored_as_a_small_one(
    view: str, command: Command, text_file: Callable[..., Path], request: pytest.FixtureRequest
) -> None:
    """Every way of scoring, on texts in memory and on texts that are not; with characters that the model lacks, too."""
    text, other = text_file(), text_file(3000, "other.txt", seed=1)
    other.write_text(other.read_text("utf-8") + "\u00e9\u4e00" * 9, "utf-8")
    assert command("train", str(text), *SMALL, "--test-fraction", "0.3", "--out", "whole").status == 0
    commands = [["eval", str(text), "-c", "whole", "--json", *view.split()]]
    if "split" not in view:
        commands += [
            ["eval", str(other), "-c", "whole", "--json", "--unknown", how, *view.split()]
            for how in ("skip", "replace")
        ]
    small = [command(*words).out for words in commands]
    for entry in (cache_folder() / "corpora").iterdir():
        os.rename(entry, f"{entry.name}-away")
    request.getfixturevalue("_large")
    assert [command(*words).out for words in commands] == small
    assert all(json.loads(out) for out in small)
