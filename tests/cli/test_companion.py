"""`train` as a companion: what a user sees of a run, in a terminal of any width, in a pipe, and when it ends."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.afterwards import _longer, _outlook
from charrnn.display.wrap import cells
from charrnn.events import Finished, Trend
from tests.kit import pseudoterminal
from tests.kit.command import Command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

SMALL = ("--hidden", "16", "--embedding", "4", "--batch", "4", "--bptt", "16", "--device", "cpu", "--threads", "1")
ROW = re.compile(r" *[\d,]+ +([\d,]+ +)?[\d.]+ +([\d.]+|-)(  best)?")


@pytest.fixture(autouse=True)
def _text(text_file: Callable[..., Path]) -> None:
    Path("text.txt").write_bytes(text_file(6000).read_bytes())


def _seen(columns: int) -> pseudoterminal.Seen:
    """A run with much to say."""
    settings = (*SMALL, "--cell", "gru", "--dropout", "0.4", "--zoneout", "0.1", "--steps", "60", "--sample-every", "8")
    seen = pseudoterminal.run(columns, "train", "text.txt", *settings, "--out", f"r{columns}")
    assert seen.status == 0
    return seen


def _said(lines: list[str]) -> list[str]:
    """The words of notices and of the end, without what differs between runs and the ends of broken commands."""
    kept = [line for line in lines if not line.startswith(("  | ", "     step")) and not ROW.fullmatch(line)]
    return [re.sub(r"[\d.]+", "0", word) for word in " ".join(kept).split() if word != "\\"]


def test_nothing_is_wider_than_the_terminal_and_no_word_is_torn() -> None:
    """A whole run: every word that a wide terminal shows stands whole in narrower ones, in the same order."""
    wide = _seen(1000)
    assert "off the fast path" in wide.terminal
    for columns in (40, 80, 120):
        seen = _seen(columns)
        drawn = [part for line in seen.terminal.split("\r\n") for part in line.split("\r")]
        assert max(map(cells, drawn)) <= columns
        assert any("%|" in part for part in drawn)
        assert "%|" not in "".join(seen.lines)
        assert _said(seen.lines) == _said(wide.lines)


def test_a_pipe_gets_one_aligned_block_and_the_terminal_no_bar() -> None:
    """A heading, then rows whose figures end in the same columns, each with its sample below it, short at first.

    With `| tee` a pipe's lines may come out on the same terminal, so that nothing there is ever written over.
    """
    settings = (*SMALL, "--steps", "100", "--out", "r")
    seen = pseudoterminal.run(80, "train", "text.txt", *settings, is_out_piped=True)
    heading, *lines = seen.piped.split("\n")
    assert re.split(r"  +", heading.strip()) == ["step", "characters", "train bpc", "validation bpc"]
    rows = [line for line in lines if ROW.fullmatch(line)]
    assert {len(row.removesuffix("  best")) for row in rows} == {len(heading)}
    # A validation scores 600 characters, and six times as many are to be trained on before it.
    expected = ["2", "4", "8", "16", "26", "36", "46", "56", "57", "67", "77", "87", "100"]
    assert [row.split()[0] for row in rows] == expected
    assert [row.split()[0] for row in rows if row.split()[3] != "-"] == ["57", "100"]
    blocks = seen.piped.split("\n\n")
    lengths = [sum(len(line) - 4 for line in block.split("\n") if line.startswith("  | ")) for block in blocks]
    assert 60 <= lengths[0] < 100
    assert 200 < lengths[-2] <= 300
    kept = Path("r/samples.txt").read_text("utf-8")
    assert len(re.findall(r"^=== step", kept, re.MULTILINE)) == len(rows)
    assert "\r" not in seen.terminal.replace("\r\n", "\n") + seen.piped
    assert "\x1b" not in seen.terminal + seen.piped
    assert "%" in seen.terminal


def test_samples_are_as_long_as_they_were_asked_for(command: Command) -> None:
    """From the first on, where --sample-length is given; --sample-every and --validate-every are kept exactly."""
    often = ("--sample-length", "200", "--sample-every", "3", "--validate-every", "5")
    out = command("train", "text.txt", *SMALL, "--steps", "10", *often, "--out", "r").out
    rows = [line.split() for line in out.split("\n") if ROW.fullmatch(line)]
    assert [(row[0], row[3] == "-") for row in rows] == [
        ("3", True), ("5", False), ("6", True), ("9", True), ("10", False),
    ]  # fmt: skip
    first = [line[4:] for line in out.split("\n\n")[0].split("\n") if line.startswith("  | ")]
    assert len("\n".join(first)) >= 190
    assert not first[-1].endswith(" ...")


@pytest.mark.parametrize("arguments", [("--sample-every", "0"), ("--validate-every", "100", "--sample-length", "7")])
def test_what_is_shown_changes_no_number(command: Command, arguments: tuple[str, ...]) -> None:
    """Without samples, or with one validation alone, the weights are the same to the last bit."""
    one, other = Path("one"), Path("other")
    for folder, more in ((one, ()), (other, arguments)):
        assert command("train", "text.txt", *SMALL, "--steps", "20", "--out", str(folder), *more).status == 0
    first, second = (checkpoints.load(folder / "last.safetensors", with_state=True) for folder in (one, other))
    assert first.parameters.keys() == second.parameters.keys()
    assert all(np.array_equal(array, second.parameters[name]) for name, array in first.parameters.items())


def test_the_first_line_comes_before_anything_is_loaded(tmp_path: Path) -> None:
    """Before torch, and before the text is read; of many files the first ones are named; quietly there is none."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch is loaded')")
    path = os.pathsep.join([str(tmp_path), str(Path(checkpoints.__file__).parents[2])])
    for words, said in (
        (["text.txt"], ["reading text.txt ...", "torch is loaded"]),
        (["text.txt"] * 5, ["reading text.txt, text.txt, text.txt and 2 others ...", "torch is loaded"]),
        (["text.txt", "-q"], ["torch is loaded"]),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "charrnn", "train", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert ended.stderr.splitlines() == said


def test_the_commands_at_the_end_work(command: Command) -> None:
    """They are those to type in a shell, with the run's folder, whatever it is called."""
    ended = command("train", "text.txt", *SMALL, "--steps", "40", "--validate-every", "5", "--out", "my runs/it's")
    assert "the run is in my runs/it's; next:" in ended.err
    lines = ended.err.splitlines()
    following = [shlex.split(line) for line in lines[lines.index("the run is in my runs/it's; next:") + 1 :]]
    train, *others = following
    assert train == ["charrnn", "train", "my runs/it's", "--steps", "80"]
    assert [words[:4] for words in others] == [
        ["charrnn", verb, "-c", "my runs/it's"] for verb in ("sample", "inspect")
    ]
    for words in others:
        assert command(*words[1:]).status == 0
    assert re.search(r"^validation was still falling .*, so more training would help$", ended.err, re.M)
    again = command(*train[1:])
    assert "exact resume at step 40" in again.err
    assert "finished after 80 steps" in again.err
    quiet = command("train", "text.txt", *SMALL, "--steps", "5", "--out", "q", "--quiet")
    assert quiet.out + quiet.err == ""


def test_an_interruption_says_how_to_go_on(command: Command) -> None:
    """By the run's folder, also after --fresh; before a first validation there is nothing to sample from."""
    script = Path(pseudoterminal.__file__).with_name("interrupt.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoints.__file__).parents[2])}
    for more in ([], ["--fresh"]):
        words = ["train", "text.txt", *SMALL, "--steps", "50", "--validate-every", "40", "--out", "r", *more]
        ended = subprocess.run(
            [sys.executable, str(script), "SIGINT", "7", "0", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert ended.returncode == 130
        assert "stopped by Ctrl-C and saved after 7 steps" in ended.stderr
        assert ended.stderr.endswith("the run is in r; next:\n  charrnn train r\n")
    assert "exact resume at step 7" in command("train", "r").err


def test_what_came_on_standard_input_must_come_again(command: Command) -> None:
    text = Path("text.txt").read_bytes()
    ended = command("train", "-", *SMALL, "--steps", "40", "--validate-every", "5", "--out", "r", stdin=text)
    assert "the same command with --steps 80 goes on\nthe run is in r; next:\n  charrnn sample" in ended.err


@pytest.mark.parametrize(("dropout", "times"), [("0.6", 1), ("0", 0)])
def test_train_above_validation_is_explained(command: Command, dropout: str, times: int) -> None:
    """Once in a run, with dropout only, also where the run goes on."""
    arguments = ("train", "text.txt", *SMALL, "--dropout", dropout, "--validate-every", "5", "--out", "r")
    said = "".join(command(*arguments, "--steps", steps).err for steps in ("40", "60"))
    assert said.count("note: train can be above validation, since dropout") == times


@pytest.mark.parametrize(
    ("budget", "longer"),
    [
        ({"minutes": 2.0}, "--minutes 4"),
        ({"minutes": 3.46}, "--minutes 7"),
        ({"minutes": 0.4}, "--minutes 0.8"),
        ({"minutes": 1.03}, "--minutes 2.1"),
        ({"epochs": 12.51}, "--epochs 26"),
        ({"steps": 1234}, "--steps 2468"),
    ],
)
def test_a_larger_budget_is_easy_to_type(budget: dict[str, float], longer: str) -> None:
    assert _longer(*next(iter(budget.items()))) == longer


def test_where_nothing_can_follow_nothing_is_announced() -> None:
    """A run on standard input that was interrupted before its first checkpoint of weights."""
    script = Path(pseudoterminal.__file__).with_name("interrupt.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoints.__file__).parents[2])}
    words = ["train", "-", *SMALL, "--steps", "50", "--validate-every", "40", "--out", "r"]
    ended = subprocess.run(
        [sys.executable, str(script), "SIGINT", "7", "0", *words],
        input=Path("text.txt").read_bytes(), capture_output=True, check=False, env=environment,
    )  # fmt: skip
    assert ended.returncode == 130
    assert ended.stderr.decode().endswith("the same command goes on\nthe run is in r\n")


@pytest.mark.parametrize(
    ("epoch", "kind", "said"),
    [
        (0.2, "flat", "the run has not read its whole text once, so more training would help"),
        (1.5, "flat", "validation hardly fell any more"),
        (0.2, "falling", "validation was still falling"),
        (0.2, "stopped", "validation stopped improving at step 7"),
        (0.2, None, "the run has not read its whole text once"),
        (1.5, None, None),
    ],
)
def test_a_run_that_has_hardly_begun_is_not_called_done(epoch: float, kind: str | None, said: str | None) -> None:
    trend = None if kind is None else Trend(kind, 0.02, 7)  # type: ignore[arg-type]
    ended = Finished("budget", 9, 900, 1.0, 1.2, 1.2, 7, trend=trend, epoch=epoch)
    told = list(_outlook(ended))
    assert [line.startswith(said) for line in told if said] == ([True] if said else [])
