"""Settings that do nothing are told; texts with too many different characters are refused, and with many explained."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import charrnn
from charrnn.settings.config import Budget, TrainingConfig
from charrnn.text import corpus
from charrnn.training.beyond import beyond, beyond_in_words
from tests.kit.command import Command
from tests.kit.text import make_text

SMALL = ("--hidden", "8", "--embedding", "4", "--batch", "2", "--bptt", "16", "--threads", "1", "--steps", "4")


def test_nothing_to_validate_on(command: Command) -> None:
    """Patience is idle without validations, and says so; with some it does not."""
    Path("text.txt").write_text(make_text(2000), "utf-8")
    said = "nothing is held out to validate on, so --patience 3 does nothing: --validation-fraction holds a share out"
    for more, is_idle in (
        (["--validation-fraction", "0", "--fresh"], True),
        (["--validation-fraction", "0.2", "--fresh"], False),
        (["--validation", "text.txt", "--fresh"], False),
        (["--validation-fraction", "0", "--dry-run", "--name", "other"], True),
    ):
        ended = command("train", "text.txt", *SMALL, "--patience", "3", *more)
        assert ended.status == 0, ended.err
        assert (said in " ".join(ended.err.split())) is is_idle


def test_patience_that_is_given_when_a_run_goes_on(command: Command) -> None:
    """It may be new then, and is as idle."""
    Path("text.txt").write_text(make_text(2000), "utf-8")
    words = ["train", "text.txt", *SMALL, "--validation-fraction", "0"]
    assert "does nothing" not in command(*words).err
    words[words.index("4", words.index("--steps"))] = "6"
    assert "so --patience 3 does nothing" in " ".join(command(*words, "--patience", "3").err.split())


def test_more_different_characters_than_any_writing_has(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is told with the number and with what to do, before anything is learnt."""
    monkeypatch.setattr(corpus, "MOST_DIFFERENT", 301)
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    Path("text.txt").write_text(text * 2, "utf-8")
    assert command("train", "text.txt", *SMALL).status == 0
    Path("more.txt").write_text(text * 2 + "ab", "utf-8")
    ended = command("train", "more.txt", *SMALL)
    assert ended.status == 3
    assert "error: the text has 302 different characters, and a model takes at most 301" in ended.err
    assert "--bytes models bytes" in ended.err
    assert command("train", "more.txt", *SMALL, "--bytes", "--name", "bytes").status == 0
    assert command("train", "more.txt", *SMALL, "--min-count", "2", "--name", "common").status == 0
    # A text that is only scored may have as many as it likes.
    assert command("eval", "more.txt", "-c", "checkpoints/text", "--unknown", "skip").status == 0


def test_what_bytes_would_bring(command: Command) -> None:
    """With a thousand different characters most weights are there for them: by hand, 3.0 bytes for each."""
    Path("text.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 1000))) * 2, "utf-8")
    ended = command("train", "text.txt", *SMALL, "--cell", "rnn", "--layers", "1", "--dry-run")
    rows, recurrent = 1000 * 4 + 1000 * 8 + 1000, 8 * 4 + 8 * 8 + 8
    share = f"{rows / (rows + recurrent):.0%}"
    said = " ".join(ended.err.split())
    assert f"{share} of the parameters are there for its 1,000 different characters" in said
    assert "--bytes has 256 instead, and reads 3.0 bytes in the place of a character" in said
    for more in (["--bytes"], ["--min-count", "9"]):
        assert "different characters:" not in command("train", "text.txt", *SMALL, *more, "--dry-run").err


def test_a_smaller_budget_advises_one_that_goes_on(command: Command) -> None:
    """The command that is shown does go on with the run."""
    Path("text.txt").write_text(make_text(2000), "utf-8")
    assert command("train", "text.txt", *SMALL[:-1], "30").status == 0
    ended = command("train", "text.txt", *SMALL[:-1], "5")
    assert ended.status == 0
    assert "a larger budget than 30 steps goes on" in " ".join(ended.err.split())
    assert re.search("charrnn train checkpoints/text --steps 60$", ended.err, re.MULTILINE)
    advised = [int(number.replace(",", "")) for number in re.findall(r"--steps ([0-9,]+)", ended.err)]
    assert all(number > 30 for number in advised)


def test_a_finished_run_is_not_changed(command: Command) -> None:
    """What is asked for with --change, or the text has more, is taken over by a larger budget alone, which is said."""
    Path("text.txt").write_text(make_text(2000), "utf-8")
    assert command("train", "text.txt", *SMALL).status == 0
    said = "this run is finished, and nothing is changed: a larger budget than 4 steps goes on with what is to change"
    before = Path("checkpoints/text/last.safetensors").read_bytes()
    assert said not in " ".join(command("train", "checkpoints/text", "--change").err.split())
    assert said in " ".join(command("train", "checkpoints/text", "--change", "--lr", "0.001").err.split())
    with Path("text.txt").open("a", encoding="utf-8") as text:
        text.write("more of it\n")
    assert said in " ".join(command("train", "checkpoints/text", "--change").err.split())
    assert Path("checkpoints/text/last.safetensors").read_bytes() == before
    ended = command("train", "checkpoints/text", "--change", "--lr", "0.001", "--steps", "6")
    assert "from step 4 on: --lr" in " ".join(ended.err.split())
    assert "nothing is changed" not in ended.err


def test_a_run_out_of_patience_advises_more_of_it(command: Command) -> None:
    """A larger budget alone would not go on with it: what is advised does."""
    Path("text.txt").write_text(make_text(2000), "utf-8")
    words = ["train", "text.txt", *SMALL[:-1], "400", "--validate-every", "2", "--lr", "0.5"]
    ended = command(*words, "--patience", "1", "--validation-fraction", "0.2")
    assert ended.status == 0, ended.err
    step = charrnn.load("checkpoints/text/last.safetensors").checkpoint.progress["step"]
    assert step < 400
    again = command(*words, "--patience", "1", "--validation-fraction", "0.2")
    assert "this run is finished: a larger patience than 1 goes on" in " ".join(again.err.split())
    advised = re.findall("^ *charrnn (train .*)$", ended.err, re.MULTILINE)
    assert [line.split()[2:] for line in advised] in ([], [["--patience", "2"]])
    assert command("train", "checkpoints/text", "--patience", "9").status == 0
    assert charrnn.load("checkpoints/text/last.safetensors").checkpoint.progress["step"] > step


def test_a_run_out_of_both_advises_both() -> None:
    """Patience that ends with the budget."""
    plan, ended = (
        SimpleNamespace(budget=Budget(steps=10), run=SimpleNamespace(patience=3), training=TrainingConfig()),
        SimpleNamespace(reason="patience", step=10, epoch=1.0, seconds=1.0),
    )
    assert beyond(plan, ended) == {"steps": 10, "patience": 3}  # type: ignore[arg-type]
    assert beyond_in_words(plan, ended) == (  # type: ignore[arg-type]
        "a larger budget than 10 steps and a larger patience than 3 go on"
    )
