"""The benchmark of sampling: what runs on a GPU is rehearsed on a CPU, and its ratios are counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charrnn.native.step import find_library
from charrnn.network.stepper import TorchStepper
from tests.benchmarks import sampling
from tests.benchmarks.sampling import ON_CPU, ON_GPU, REHEARSAL, bars, measure
from tests.benchmarks.sampling_loops import our_loop


@pytest.mark.parametrize("count", ON_GPU.counts)
def test_what_runs_on_a_gpu_runs_for_each_number_of_samples(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is the step for a GPU and nothing of the CPU's is measured beside it, for 1, 16 and 256 samples."""
    engines = []
    monkeypatch.setattr(sampling, "our_loop", lambda engine, n: engines.append(engine) or our_loop(engine, n))
    row = measure(1, 6, count, 1, REHEARSAL)
    assert [type(engine) for engine in engines] == [TorchStepper]
    assert row.keys() == {"size", "count", "threads", "device", "characters_per_second"}
    assert row["characters_per_second"].keys() == {"nn.LSTM", "nn.LSTMCell", "ours"}
    assert all(rate > 0 for rate in row["characters_per_second"].values())


@pytest.mark.skipif(find_library() is None, reason="the package was installed without the compiled step")
@pytest.mark.parametrize("count", ON_CPU.counts)
def test_on_a_cpu_ours_stands_beside_its_ceilings(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of the weights always, and the matrix product where there are several samples; neither is a loop."""
    monkeypatch.setattr(sampling.time, "sleep", lambda _: None)
    row = measure(1, 6, count, 1, replace(ON_CPU, rounds=1, moment=0.01))
    assert row["characters_per_second"].keys() == {"nn.LSTM", "nn.LSTMCell", "numpy", "ours", "float16", "int8"}
    assert row["ours/read"] > 0
    assert ("our_gflops" in row) == ("torch.mm gflops" in row) == (count > 1)


def test_the_rehearsal_is_the_gpus_run_with_other_sizes() -> None:
    """Counts, threads and the engine are the same; the device is not."""
    assert ON_GPU.device == torch.device("cuda")
    assert (REHEARSAL.counts, REHEARSAL.threads, REHEARSAL.is_graph) == (ON_GPU.counts, ON_GPU.threads, True)


def test_the_command_is_rehearsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each row is kept as it comes, and there is a ratio for each size and number of samples."""
    before = torch.get_num_threads()
    try:
        sampling.main(["--rehearse", "--device", "cuda", "--quick", "--json", "--out", f"{tmp_path}/rows"])
    finally:
        torch.set_num_threads(before)
    found = json.loads(capsys.readouterr().out)
    kept = [json.loads(line) for line in (tmp_path / "rows").read_text("utf-8").splitlines()]
    assert [{"part": "rows", **row} for row in found["rows"]] == kept
    assert len(kept) == len(REHEARSAL.sizes) * 3
    assert [entry["size"] for entry in found["ratios"]] == ["1x8", "2x12"]
    for entry in found["ratios"]:
        assert {f"ours/nn.LSTM, {count}" for count in (1, 16, 256)} < entry.keys()


def test_ratios_by_hand() -> None:
    """Each side at its better number of threads: 30 over 8, 160 over 20, and 160 over 30."""
    speeds = {(1, 1): (8.0, 20.0), (1, 2): (6.0, 30.0), (16, 1): (20.0, 160.0)}
    rows = [
        {"size": "1x8", "count": count, "characters_per_second": {"nn.LSTM": plain, "ours": ours}}
        for (count, _threads), (plain, ours) in speeds.items()
    ]
    assert bars(rows) == [
        {"size": "1x8", "ours/nn.LSTM, 1": 3.75, "ours/nn.LSTM, 16": 8.0, "ours, 16 over 1": 160 / 30}
    ]


def test_the_table_of_ratios_is_turned() -> None:
    """A row for each ratio; a size that lacks one has no figure there."""
    rows = [{"size": "1x8", "a": 1.0}, {"size": "2x8", "a": 2.0, "b": 3.0}]
    assert sampling._turned(rows) == [{"ratio": "a", "1x8": 1.0, "2x8": 2.0}, {"ratio": "b", "2x8": 3.0}]
