"""The benchmark of long memory: its tasks by hand and against what can be had without memory, its runs and pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch.nn.functional import one_hot

from tests.benchmarks import memory
from tests.benchmarks.memory_tasks import TASKS, Adding, Copy

GENERATOR = torch.Generator()


def test_what_is_copied_by_hand() -> None:
    """T = 3, four lanes: ten letters, two blanks, the marker, ten blanks; the letters again at the end."""
    x, targets = Copy().draw(3, 4, GENERATOR.manual_seed(1))
    assert x.shape == (23, 4, 10)
    assert targets.shape == (23, 4)
    assert bool((x.sum(-1) == 1).all())
    read = x.argmax(-1)
    assert read[10:].tolist() == [[8] * 4, [8] * 4, [9] * 4, *[[8] * 4] * 10]
    assert set(read[:10].flatten().tolist()) <= set(range(8))
    assert len({tuple(lane) for lane in read[:10].T.tolist()}) == 4
    assert targets[:13].tolist() == [[8] * 4] * 13
    assert torch.equal(targets[13:], read[:10])


def test_what_is_added_by_hand() -> None:
    """T = 7, five lanes: a mark in places 0 to 2 and one in 3 to 6, and the sum of the numbers beside them."""
    x, sums = Adding().draw(7, 5, GENERATOR.manual_seed(2))
    assert x.shape == (7, 5, 2)
    assert sums.shape == (5,)
    for lane in range(5):
        first, second = x[:, lane, 1].nonzero().flatten().tolist()
        assert first < 3 <= second
        assert sums[lane] == x[first, lane, 0] + x[second, lane, 0]
    assert bool(((x[..., 0] >= 0) & (x[..., 0] < 1)).all())


@pytest.mark.parametrize("task", ["copy", "adding"])
def test_every_place_may_be_drawn(task: str) -> None:
    """Of many lanes, each letter in each place, and a mark in each place, and nothing twice in a row."""
    generator = GENERATOR.manual_seed(3)
    x, _ = TASKS[task].draw(6, 600, generator)
    seen = x[:10, :, :8] if task == "copy" else x[..., 1:]
    assert bool((seen.sum(1) > 0).all())
    assert not torch.equal(x, TASKS[task].draw(6, 600, generator)[0])


def test_what_can_be_had_without_memory() -> None:
    """Answers that know the time and nothing else: the letters' share of copying is exact, adding's mean is 1/6."""
    x, targets = Copy().draw(11, 5, GENERATOR.manual_seed(4))
    answers = 50.0 * one_hot(torch.full((31, 5), 8), 9)
    answers[-10:] = torch.tensor([0.0] * 8 + [-50.0])
    assert float(Copy().loss(answers, targets)) == pytest.approx(Copy().baseline(11), rel=1e-6)
    assert Copy().baseline(11) == pytest.approx(10 * math.log(8) / 31)

    x, sums = Adding().draw(6, 40_000, GENERATOR)
    ones = torch.full((6, 40_000, 1), float("nan"))  # what is said before the end counts for nothing
    ones[-1] = 1.0
    assert float(Adding().loss(ones, sums)) == pytest.approx(Adding().baseline(6), rel=0.03)
    best = torch.zeros(6, 40_000, 1)
    best[-1, :, 0] = (x[..., 0] * x[..., 1]).sum(0)
    assert float(Adding().loss(best, sums)) == 0


@pytest.mark.parametrize("name", memory.MODELS)
def test_sizes_are_alike_and_a_step_is_made(name: str) -> None:
    """Parameters within a tenth of each other, counted without the embedding that nothing reads; a urnn has few."""
    run = memory.train(name, Copy(), 4, seed=1, steps=2)
    assert run.parameters == (5_897 if name == "urnn" else pytest.approx(19_300, rel=0.1))
    assert run.steps == 2
    assert [step for step, _ in run.points] == [1, 2]
    assert run.points[0][1] == pytest.approx(math.log(9), rel=0.3)  # nothing is known yet


def test_the_time_constants_are_as_long_as_the_task() -> None:
    arrays = memory.network(Adding(), 40, memory.MODELS["lstm, chrono"], seed=1).arrays()
    forget = arrays["layers.1.bias"][64:128].detach()
    assert math.log(20) < float(forget.max()) <= math.log(39)


def test_a_short_task_is_learnt_and_ends() -> None:
    """Steps until a loss by hand from the points, and none are made once it is learnt."""
    run = memory.train("lstm", Adding(), 2, seed=1, steps=900)
    assert run.points[-1][1] < run.baseline / 20
    assert run.steps < 900
    assert run.steps % 9 == 0
    tenth = run.steps_until(0.1)
    assert tenth is not None
    assert dict(run.points)[tenth] < run.baseline / 10
    assert all(loss >= run.baseline / 10 for step, loss in run.points if step < tenth)
    assert run.steps_until(1e-9) is None


def _run(model: str, *shares: float) -> memory.Run:
    """Losses as shares of the baseline, one after each ten steps."""
    points = [(10 * (number + 1), share / 6) for number, share in enumerate(shares)]
    return memory.Run(
        task="adding", length=30, model=model, seed=1, asked=40, parameters=123, steps=points[-1][0],
        seconds=3.0 * len(model), points=points,
    )  # fmt: skip


def test_a_table_and_a_plot_by_hand() -> None:
    runs = [_run("rnn", 1, 1.5, 1, 0.75), _run("lstm", 1, 0.4, 0.05)]
    half, whole = memory.rows(runs)
    assert half == ("rnn", "123", "40", "0.56", "0.1250", "0.750", "never", "never")
    assert whole == ("lstm", "123", "30", "1.00", "0.0083", "0.050", "20", "30")
    first, second, axis = memory.lines_of(runs).splitlines()
    glyphs = [glyph for glyph in first.split("\u2595")[1] if glyph not in " \u258f"]
    assert glyphs == ["\u2588", "\u2588", "\u2588", "\u2586"]
    assert second.startswith("lstm ")
    assert axis.endswith("40 steps")
    for line in memory.table(runs).splitlines():
        assert line.count("|") == 9


def test_pictures_are_whole_and_draw_every_run() -> None:
    groups = [[_run("rnn", 1, 9, 1), _run("lstm", 1, 0.4)]]
    root = ElementTree.fromstring(memory.picture(groups))
    curves = root.findall(".//{*}polyline")
    assert [curve.findtext("{*}title") for curve in curves] == ["rnn", "lstm"]
    assert len({curve.get("stroke-dasharray") for curve in curves}) == 2
    rows = [[float(point.split(",")[1]) for point in str(curve.get("points")).split()] for curve in curves]
    assert rows[0][1] < rows[0][0] == rows[0][2] == rows[1][0] < rows[1][1]  # higher stands further up, and 9 as 1.25
    assert "script" not in memory.page(groups)


def test_recorded_runs_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "runs.jsonl"
    wanted = f"--task adding --length 5 --models rnn;gru --steps 2 --markdown --record {record}"
    threads = torch.get_num_threads()
    try:
        memory.main(wanted.split())
        first = capsys.readouterr().out
        assert [json.loads(line)["model"] for line in record.read_text().splitlines()] == ["rnn", "gru"]
        monkeypatch.setattr(memory, "train", None)
        memory.main(wanted.split())
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
    assert capsys.readouterr().out == first
    assert "adding, T = 5" in first
