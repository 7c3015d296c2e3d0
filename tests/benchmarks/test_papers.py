"""The figures beside the papers: settings are ones that can be had, sizes and verdicts are right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.cells.parameters import parameter_shapes
from charrnn.network.cudnn import IMAGINED, expected
from charrnn.settings.config import ModelConfig
from tests.benchmarks import papers, quality
from tests.benchmarks.papers import TARGETS, of_epochs, verdicts, words_for
from tests.benchmarks.table_2015 import (
    CELLS,
    EMBEDDING,
    NATS,
    ROWS,
    SYMBOLS,
    THOUSANDS,
    markdown,
    units_for,
    with_dropout,
)
from tests.benchmarks.target import Target

by_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@pytest.mark.parametrize("target", [*TARGETS, *ROWS], ids=lambda target: target.name)
def test_its_words_are_understood(
    target: Target, text_file: Callable[..., Path], command: Callable[..., tuple[int, str, str]]
) -> None:
    """By the benchmark, and by train itself."""
    given = quality.parsed(words_for(target, "corpora", "cpu", 10.0))
    assert given.name == target.name
    budget = [] if given.minutes is None else ["--minutes", "10"]
    preset = [] if given.preset is None else ["--preset", given.preset]
    status, _, errors = command("train", str(text_file(9000)), *preset, *given.more, *budget, "--dry-run")
    assert status == 0, errors


@by_target
def test_its_layers_are_of_the_fast_kernels_sizes(target: Target) -> None:
    """And the first is within the 14 million parameters that it is given."""
    asked = dict(zip(target.options[::2], target.options[1::2], strict=True))
    sizes = {"hidden_size": int(asked["--hidden"]), "embedding_size": int(asked["--embedding"])}
    model = ModelConfig(num_layers=int(asked["--layers"]), **sizes)
    found = expected("lstm", model.embedding_size, model.hidden_size, int(asked["--batch"]), "fp16", IMAGINED)
    assert (found.forward, found.backward) == ("persistent", "persistent")
    assert sum(math.prod(shape) for shape in parameter_shapes(model, 50).values()) <= 14e6


def test_a_mark_is_met_from_itself_down() -> None:
    """By the figure that it names; where there is none nothing is said."""
    target = TARGETS[0]
    row = {"test": {"streamed": {"bits": 1.2}, "dynamic": {"bits": 1.1751}}}
    assert verdicts(target, row) == [
        "ptb-char: 1.2000, met: 1.20 bits",
        "ptb-char: 1.1751, not met: 1.175 bits, dynamic",
    ]
    assert len(verdicts(target, {"test": {"streamed": {"bits": 1.3}}})) == 1
    assert "not met" in verdicts(target, {"test": {"streamed": {"bits": 1.3}}})[0]


def _numbers(cell: str, units: int) -> int:
    """Embedding, layer and decoder, written out: a gru has two biases."""
    blocks, biases = {"lstm": (4, 1), "gru": (3, 2), "rnn": (1, 1)}[cell]
    layer = blocks * units * (EMBEDDING + units + biases)
    return SYMBOLS * EMBEDDING + layer + SYMBOLS * (units + 1)


@pytest.mark.parametrize("cell", NATS)
@pytest.mark.parametrize("size", THOUSANDS)
def test_rows_of_a_size_have_equal_parameters(cell: str, size: int) -> None:
    """No other number of units comes nearer to the table's, and all are within one in a hundred of it."""
    wanted, units = 1000 * THOUSANDS[size], units_for(cell, size)
    nearest = min(range(1, 1200), key=lambda units: abs(_numbers(cell, units) - wanted))
    assert units == nearest
    assert abs(_numbers(cell, units) - wanted) < 0.01 * wanted


def test_the_table_has_a_row_for_each_size_and_cell() -> None:
    """With the paper's figure for both kinds of gru, and none for the largest rnn; each says its own settings."""
    assert len(ROWS) == len(CELLS) * len(THOUSANDS)
    by_name = {row.name: row for row in ROWS}
    assert list(by_name["2015-64-gru"].marks) == list(by_name["2015-64-gru-before"].marks) == ["1.398 nats"]
    assert by_name["2015-512-rnn"].marks == {}
    options = by_name["2015-64-gru-before"].options
    assert " ".join(options[:10]) == "--cell gru --reset-gate before --newlines crlf --layers 1 --hidden 76"
    assert of_epochs(by_name["2015-64-rnn"], 0.5).options[-2:] == ("--epochs", "0.5")


def test_a_row_is_trained_scored_and_set_beside_the_papers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text_file: Callable[..., Path]
) -> None:
    """The one command, rehearsed: a line of the record, a line of the table, and nothing is done twice."""
    text_file(3000).rename("warandpeace.txt")
    words = "--table-2015 --rehearse --only 2015-64-gru-before --corpora . --record record --device cpu --threads 1"
    papers.main(words.split())
    (row,) = map(json.loads, Path("record").read_text("utf-8").splitlines())
    assert (row["model"]["reset_gate"], row["training"]["optimizer"]) == ("before", "rmsprop")
    table = capsys.readouterr().out.splitlines()[-3:]
    assert re.match(r"\| 64 \| --cell gru --reset-gate before \| 8 \| [\d,]+ \| 0 \|", table[2])
    nats = row["test"]["streamed"]["nats"]
    assert table[2].endswith(f"| 1.398 | {nats:.4f} |")
    found = charrnn.load("checkpoints/rehearsal-2015-64-gru-before")
    text = Path("warandpeace.txt").read_text("utf-8").replace("\n", "\r\n")
    assert sum(part["characters"] for part in row["parts"].values()) == len(text)
    assert "\r" in found.vocabulary.characters
    monkeypatch.setattr(quality, "main", lambda *_: pytest.fail("the record has it"))
    papers.main(words.split())


def test_rows_that_the_record_lacks_are_left_out() -> None:
    """And those of other benchmarks."""
    row: dict[str, Any] = {
        "name": "2015-128-rnn",
        "model": {"hidden_size": 274, "dropout": 0.0},
        "parameters": 121_023,
        "epochs": 50.0,
    }
    row |= {"precision": "fp32", "test": {"streamed": {"nats": 1.40004}}}
    lines = markdown([{"name": "ptb-char"}, row]).splitlines()
    assert lines[2:] == ["| 128 | --cell rnn | 274 | 121,023 | 0 | 50 | fp32 | 1.417 | 1.4000 |"]


def test_a_row_with_dropout_stands_beside_the_one_without(capsys: pytest.CaptureFixture[str]) -> None:
    """Under a name of its own, after the row that the expression names, and only for that table."""
    plain = next(row for row in ROWS if row.name == "2015-64-gru")
    dropping = with_dropout(plain, 0.25)
    assert dropping.name == "2015-64-gru-dropout-0.25"
    assert dropping.options == (*plain.options, "--dropout", "0.25")
    row = {"parameters": 44_079, "epochs": 50.0, "precision": "fp32", "test": {"streamed": {"nats": 1.4}}}
    models: list[dict[str, Any]] = [{"hidden_size": 76, "dropout": share} for share in (0.0, 0.25)]
    found = [{"name": each.name, "model": own, **row} for each, own in zip((plain, dropping), models, strict=True)]
    shares = [line.split(" | ")[4] for line in markdown(found).splitlines()[2:]]
    assert shares == ["0", "0.25"]
    with pytest.raises(SystemExit):
        papers.main("--dropout 0.1 --corpora . --record record".split())
    assert "--dropout is for --table-2015" in capsys.readouterr().err
