"""The table of units of several seeds: made of the commands' own answers, and of each of them once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.neurons.untrained import untrained_arrays
from tests.benchmarks import units
from tests.kit.command import Command
from tests.kit.quotes import CONFIG, INSIDE, PLANTED, TEXT, VOCABULARY, V, planted_arrays
from tests.kit.tiny import tiny


def _saved(name: str, parameters: Any) -> str:
    run = Path("checkpoints", name)
    run.mkdir(parents=True)
    model = replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=parameters)
    checkpoints.save(run / "best.safetensors", model)
    return str(run)


def test_a_row_is_what_the_commands_say(command: Command) -> None:
    """Of a hand-built network whose only unit for quotes closes them: each cell, beside the commands' own JSON."""
    runs = [_saved("one", planted_arrays()), _saved("new", untrained_arrays(CONFIG, V, seed=1))]
    Path("text.txt").write_text(TEXT, "utf-8")
    said: dict[str, Any] = {}

    def ask(*words: str) -> Any:
        status, out, err = command("inspect", "text.txt", *words, "--json")
        assert status == 0, err
        said[next(word for word in words if word.startswith("--"))] = json.loads(out)
        return json.loads(out)

    ((label, unit, tells, f1, k, taken_out, put_in, random, circuit, keeps, back, known),) = units.rows(
        ask, runs, [INSIDE]
    )
    assert [*said] == ["--find", "--recurrence", "--patch", "--circuit"]
    finding = next(one for one in said["--find"]["findings"] if one["label"] == INSIDE)
    assert (label, unit) == (INSIDE, finding["unit"])
    assert unit[1:] in (f"1.c{PLANTED}", f"1.h{PLANTED}")
    assert float(tells) == pytest.approx((1 + finding["effect"]) / 2, abs=0.001)
    assert float(f1) == pytest.approx(finding["f1"], abs=0.001)
    assert k == str(finding["k"])
    carried, *_ = said["--patch"]["patch"]["carried"]
    assert taken_out.split()[0] == f"{carried['taken_out']['value']:.0%}"
    assert put_in.split()[0] == f"{carried['put_in']['value']:.0%}"
    assert int(random.rstrip("%")) < int(taken_out.split()[0].rstrip("%"))
    assert circuit == f"{len(said['--circuit']['circuit'])} of {said['--circuit']['units']}"
    assert keeps == f"{said['--circuit']['second']['faithfulness']:.0%}"
    one = next(each for each in said["--recurrence"]["findings"] if each["label"] == INSIDE)
    assert back.split()[:3] == [str(one["back"]), "of", "1"]
    assert known == f"{one['known']} of 1"


def test_a_command_is_answered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """What has been said is read from the folder; what was refused is said, and asked again."""
    ran: list[Sequence[str]] = []

    class Made:
        stdout, stderr = '{"a": 1}', "error: no"

        def __init__(self, line: Sequence[str], **_options: Any) -> None:
            ran.append(line)
            self.returncode = 2 if "refused" in line else 0

    monkeypatch.setattr(units.subprocess, "run", Made)
    ask = units.asking("t.txt", ["--split", "validation"], tmp_path / "answers")
    assert [ask("--find"), ask("--find"), ask("refused"), ask("refused")] == [{"a": 1}, {"a": 1}, None, None]
    assert [line[3:] for line in ran[:1]] == [["inspect", "t.txt", "--split", "validation", "--find", "--json"]]
    assert len(ran) == 3
    out = capsys.readouterr().out
    assert out.count("$ charrnn inspect t.txt --split validation --find --json") == 2
    assert out.count("error: no") == 2


def test_the_table_is_markdown() -> None:
    """Of as many columns in every line; a bar in a label is no column's end."""
    made = units.table([["a|b", *["1"] * (len(units.NAMES) - 1)]])
    lines = made.splitlines()
    assert lines[2].startswith("| a\\|b | 1 |")
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(units.NAMES) + 1}
