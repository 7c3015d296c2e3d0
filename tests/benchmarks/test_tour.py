"""The tour's lines are found and run in order; the tour itself takes minutes and is walked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.tour import README, lines_of_tour, walk


def test_the_lines_of_the_tour_are_those_of_the_readme() -> None:
    """Every line is one command of charrnn that needs no file and no unit of somebody's network."""
    lines = lines_of_tour(README.read_text("utf-8"))
    assert len(lines) >= 8
    assert lines[0] == "charrnn train stdlib --minutes 2"
    for line in lines:
        assert line.startswith("charrnn ")
        assert "UNIT" not in line
        assert ".c" not in line
        assert line.split()[1] in ("train", "sample", "eval", "inspect")


def test_lines_are_walked_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one folder, and each with its own exit status."""
    walked = walk(["echo first > a", "cat a", "exit 3"], tmp_path)
    assert [(status, text) for _, status, _, text in walked] == [(0, ""), (0, "first\n"), (3, "")]
    assert "[exit status 3, " in capsys.readouterr().out
