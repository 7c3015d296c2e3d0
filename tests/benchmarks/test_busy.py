"""Speed beside busy programs and beside peers, rehearsed tiny; what is made of the rounds, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charrnn.native.step import find_library
from tests.benchmarks import busy, peers, training_speed
from tests.benchmarks.busy import ratios
from tests.benchmarks.steps import Shape

SHAPE = Shape("lstm", layers=1, hidden=4, embedding=3, lanes=2, window=5, vocabulary=11)


def test_ratios_by_hand() -> None:
    """Two threads are better by the median, and the median of 4/2, 6/4 and 9/3 is not the ratio of the medians."""
    rates = {"one": [1.0, 1.0, 9.0], "two": [2.0, 4.0, 3.0], "default": [4.0, 6.0, 9.0], "before": [8.0, 3.0, 3.0]}
    assert ratios(rates, ["one", "two"]) == {"better": "two", "default/better": 2.0, "default/before": 2.0}


@pytest.mark.skipif(find_library() is None, reason="the package was installed without the compiled step")
def test_busy_is_rehearsed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of each kind beside none and one busy process, and beside the same checkout as the one before."""
    few = lambda maker, *kept: lambda *given: [part for part in maker(*given) if any(k in part.name for k in kept)]  # noqa: E731
    for name, kept in (("training", ("muon",)), ("sampling", ("int8, 16",)), ("scoring", ("scoring", "validation"))):
        maker = getattr(busy, f"{name}_parts")
        monkeypatch.setattr(busy, f"{name}_parts", few(maker, *kept))
    words = "--json --load 0,1 --cells gru --sizes 1x6 --size 1x6 --rounds 1 --moment 0.01 --threads 2 --precision fp32"
    busy.main([*words.split(), "--before", str(Path(busy.__file__).parents[2])])
    found = json.loads(capsys.readouterr().out)["rows"]
    names = ["gru 1x6 muon", "sampling 1x6 int8, 16", "scoring 1x6, 1", "scoring 1x6, 16", "validation 1x6, 16"]
    assert [(row["part"], row["busy"]) for row in found] == [(name, load) for name in names for load in (0, 1)]
    for row in found:
        assert all(row[f"{who} c/s"] > 0 for who in ("one", "two", "default", "before"))
        assert row["default/better"] > 0
        assert row["default/before"] > 0


def test_what_is_no_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """And so is a checkout that is none."""
    for words, told in ((["--parts", "training,sleeping"], "sleeping"), (["--before", "/nowhere"], "/nowhere")):
        with pytest.raises(SystemExit):
            busy.main(words)
        assert told in capsys.readouterr().err


def test_speed_is_rehearsed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each takes its better number of threads, ours is compared with each of the others, and JAX's way is named where
    it is installed."""
    (row,) = training_speed.speed([SHAPE], ["fp32"], 1, [1, 2], load=1, moment=0.01)
    others = ["plain", *peers.installed([peers.JAX])]
    assert len(others) == 2 or "JAX is left out" in capsys.readouterr().err
    for who in ["ours fp32", *others]:
        assert row[f"{who} c/s"] > 0
        assert row[f"{who} threads"] in (1, 2)
    assert all(row[f"ours fp32/{other}"] > 0 for other in others)
    assert ("JAX way" in row) == (len(others) == 2)
    assert row["busy"] == 1


def test_a_row_of_speed_by_hand() -> None:
    """The median of 4/2, 6/4 and 9/3 is not the ratio of the medians."""
    row = training_speed._speed_row(SHAPE, {"ours fp32": [4.0, 6.0, 9.0], "plain": [2.0, 4.0, 3.0]}, 1)
    assert row == {
        "shape": str(SHAPE), "ours fp32 c/s": 6, "plain c/s": 3,
        "ours fp32/plain": 2.0, "ours fp32 lowest": 1.5, "ours fp32 highest": 3.0,
    }  # fmt: skip


def test_a_row_of_the_peak_by_hand() -> None:
    """Half of the best product's rate is three quarters of the median one's."""
    size = 2e-9 * training_speed.PRODUCT**3
    needed, everything = (SHAPE.operations(with_first=first) / 1e9 for first in (False, True))
    medians = {"product fp32": 2.0 / size, "ours fp32": 1.5 / everything}
    row = training_speed._peak_row(SHAPE, 2, medians, {"fp32": 3.0})
    expected: dict[str, Any] = {
        "threads": 2, "fp32 gflops": 3.0, "fp32 median gflops": 2.0, "all gflop": everything, "needed gflop": needed,
        "ours fp32 all": 0.5, "ours fp32 all of median": 0.75,
        "ours fp32 needed": 0.5 * needed / everything, "ours fp32 needed of median": 0.75 * needed / everything,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row.keys() == {"shape", *expected}


def test_the_peak_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each shape and number of threads, each share above nothing."""
    monkeypatch.setattr(training_speed, "PRODUCT", 16)
    rows = list(training_speed.peak([SHAPE, SHAPE._replace(cell="gru")], ["fp32"], 1, [1, 2], moment=0.01))
    assert [(row["shape"].split()[0], row["threads"]) for row in rows] == [
        ("lstm", 1), ("gru", 1), ("lstm", 2), ("gru", 2),
    ]  # fmt: skip
    assert all(row[f"{who} all of median"] > 0 for row in rows for who in ("ours fp32", "plain"))
