"""What the benchmark of quality records, where a mistake would flatter: hand-worked figures, and the commands' own."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.text.vocabulary import Vocabulary
from tests.benchmarks import quality
from tests.kit.text import make_text

Command = Callable[..., tuple[int, str, str]]
SIZES = "--layers 1 --hidden 6 --embedding 5 --batch 3 --bptt 11".split()


def _rehearsed(command: Command, words: list[str]) -> tuple[dict[str, Any], list[list[str]]]:
    """The benchmark with commands run in this process: its line, and their words."""
    ran: list[list[str]] = []

    def run(*words: str) -> str:
        ran.append(list(words))
        status, out, error = command(*words)
        assert status == 0, error
        return out

    quality.main([*words, "--threads", "1", "--record", "record", "--device", "cpu", "--", *SIZES], run)
    return json.loads(Path("record").read_text("utf-8").splitlines()[-1]), ran


def _bits(command: Command, *words: str) -> float:
    status, out, error = command("eval", *words, "--threads", "1", "--json")
    assert status == 0, error
    return float(json.loads(out.splitlines()[-1])["bits_per_character"])


def test_symbols_that_stand_apart_are_joined() -> None:
    """A line end is a symbol of its own, of an empty line too; words are refused."""
    assert quality.joined(" a b _ < u >\n\n c \n") == "ab_<u>\n\nc\n"
    with pytest.raises(SystemExit, match="'unk'"):
        quality.joined("a unk b")


def test_a_text_with_returns_by_hand() -> None:
    """Three nats over `a LF b LF c`, the first `a` not scored: four characters, six with CR LF."""
    assert 6 * quality.with_returns(0.75, 4, 2) == pytest.approx(3.0)
    assert quality.with_returns(0.75, 4, 0) == 0.75


@pytest.mark.parametrize("text", ["\nab\nc\n", "né\n😀\n"])
def test_a_part_is_described_as_its_file_would_be(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces; the line feed that comes first is not scored and does not count."""
    monkeypatch.setattr(quality, "PIECE", 2)
    vocabulary = Vocabulary.of(text)
    assert quality.described(vocabulary.encode(text), vocabulary) == {
        "characters": len(text), "line_feeds": 2, "sha256": hashlib.sha256(text.encode()).hexdigest()
    }  # fmt: skip
    raw = np.frombuffer(text.encode(), np.uint8)
    found = quality.described(raw, Vocabulary.of_bytes())
    assert (found["characters"], found["sha256"]) == (len(raw), hashlib.sha256(text.encode()).hexdigest())


def test_a_corpus_in_one_piece(text_file: Callable[..., Path], command: Command) -> None:
    """Cut, trained, scored both ways and dynamically; the same line again finds the run finished; then the table."""
    path = text_file(3000)
    words = ["--corpus", str(path), "--validation-fraction", "0.2", "--test-fraction", "0.1", "--steps", "4"]
    row, ran = _rehearsed(command, [*words, "--dynamic", "--tune-length", "40", "--lineends", "--name", "small"])
    assert [words[0] for words in ran] == ["train", "eval", "eval", "eval", "eval", "eval"]
    parts, text = row["parts"], path.read_text("utf-8")
    assert {name: part["characters"] for name, part in parts.items()} == {"train": 2100, "validation": 600, "test": 300}
    assert parts["test"]["sha256"] == hashlib.sha256(text[2700:].encode()).hexdigest()
    assert (row["split"], row["steps"], row["characters"], row["budget"]) == ("70 / 20 / 10", 4, 132, {"steps": 4})
    assert row["parameters"] == sum((len(set(text)) * (5 + 6 + 1), 4 * 6 * (5 + 6 + 1)))
    run = ["-c", "checkpoints/small-quality"]
    for part in ("validation", "test"):
        assert row[part]["streamed"]["bits"] == _bits(command, str(path), "--split", part, *run)
        windowed = _bits(command, str(path), "--split", part, "--protocol", "windowed", *run)
        assert row[part]["windowed"]["bits"] == windowed
    test = row["test"]
    feeds = text[2701:].count("\n")
    assert test["with CR LF"]["nats"] == pytest.approx(test["streamed"]["nats"] * 299 / (299 + feeds))
    assert test["dynamic"]["bits"] == test["dynamic"]["nats"] / math.log(2)
    given = {"learning_rate": "--lr", "prior": "--prior", "epsilon": "--epsilon", "temperature": "--temperature"}
    settings = [word for name, flag in given.items() for word in (flag, str(test["dynamic"]["settings"][name]))]
    status, out, _ = command("eval", str(path), "--split", "test", "--dynamic", "rms", *settings, *run, "--json")
    assert (status, json.loads(out)["dynamic"]["nats_per_character"]) == (0, pytest.approx(test["dynamic"]["nats"]))
    again, _ = _rehearsed(command, [*words, "--name", "small"])
    assert (again["steps"], again["test"]["streamed"]) == (4, test["streamed"])
    assert "dynamic" not in again["test"]
    quality.main(["--markdown", "record"])  # what is recorded is enough for the table


def test_the_table_has_a_line_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    """Bits and nats; what was not measured is left empty."""
    both = {"bits": 1.5, "nats": 1.0397}
    row = {
        "name": "ptb", "split": "files", "preset": "awd", "parameters": 13_788_000, "epochs": 41.26, "seconds": 600.0,
        "device": "a GPU", "date": "2026-11-27", "parts": {"train": {"characters": 5059000, "sha256": "ab" * 32}},
        "validation": {"streamed": both}, "test": {"streamed": both, "with CR LF": {"bits": 1.25, "nats": 0.8664}},
    }  # fmt: skip
    Path("record").write_text(f"{json.dumps(row)}\n" * 2, "utf-8")
    quality.main(["--markdown", "record"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == lines[3]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "ptb (files; train 5,059,000, sha256 abababababab)", "`--preset awd`, 13.8 million parameters",
        "41.3 epochs in 10 min on a GPU", "1.5000 (1.0397)", "1.5000 (1.0397); with CR LF 1.2500 (0.8664)", "", "",
        "2026-11-27",
    ]  # fmt: skip


def test_a_corpus_in_three_files(tmp_path: Path, command: Command) -> None:
    """As the Penn Treebank comes: symbols apart, and each line's end is one more."""
    texts = {}
    for seed, (name, size) in enumerate({"train": 900, "validation": 300, "test": 250}.items()):
        lines = [line.replace(" ", "_") for line in make_text(size, seed=7).replace('"', "").splitlines()[seed:]]
        texts[name] = "".join(line + "\n" for line in lines)
        (tmp_path / name).write_text("".join(f" {' '.join(line)} \n" for line in lines), "utf-8")
    words = [word for name in texts for word in (f"--{name}", str(tmp_path / name))]
    row, ran = _rehearsed(command, [*words, "--spaced", "--steps", "2", "--dynamic", "--tune-length", "30"])
    assert row["split"] == "files"
    for name, text in texts.items():
        assert row["parts"][name]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert row["test"]["streamed"]["characters"] == len(texts["test"]) - 1
    assert "--statistics" in ran[-1]
    assert row["test"]["dynamic"]["tuned on"] == 30


@pytest.mark.parametrize(
    "words",
    ["--corpus a --train b", "--train a --validation b", "", "--corpus a --spaced", "--corpus a --steps 3 --minutes 1"],
)
def test_what_does_not_go_together_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is trained."""
    with pytest.raises(SystemExit) as ended:
        quality.parsed(words.split())
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_the_command_is_found_from_anywhere_and_its_failure_is_told() -> None:
    """In a process of its own, which need not start in the checkout."""
    here = f"import sys; sys.path.insert(0, {str(quality.ROOT)!r}); from tests.benchmarks.quality import charrnn; "
    done = subprocess.run([sys.executable, "-c", f"{here}print(charrnn('--version'))"], capture_output=True, text=True)
    assert done.stdout.startswith("charrnn")
    with pytest.raises(SystemExit, match="exit status 2"):
        quality.charrnn("train", "--steps")
