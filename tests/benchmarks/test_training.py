"""What the benchmarks of training count and compare with, where a mistake would flatter: against hand-worked figures
and torch's own module. That for a GPU is rehearsed whole."""

from __future__ import annotations

import gc
import json
import math
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType

from charrnn.checkpoints import checkpoint as checkpoints
from tests.benchmarks import command
from tests.benchmarks.command import Command
from tests.benchmarks.gpu import __main__ as gpu
from tests.benchmarks.gpu import ceilings, kernels, speed
from tests.benchmarks.gpu.figures import LEFT_OUT, Skipped
from tests.benchmarks.gpu.scale import REHEARSAL, WARM_UPS
from tests.benchmarks.gpu.time_to_loss import moments
from tests.benchmarks.steps import CPU, Kind, Shape, alternate, plain_step
from tests.benchmarks.transformer import Recipe, Transformer, score, train
from tests.kit.fakegraphs import FakeGraphs, fake_graphs

__all__ = ["fake_graphs"]

TINY = Recipe(
    num_layers=2, num_heads=3, width=12, context=7, batch_size=5, iterations=9, warmup=2, validation_batches=4
)
V = 11
SHAPE = Shape("lstm", layers=2, hidden=3, embedding=5, lanes=2, window=7, vocabulary=11)


def test_operations_of_a_step_by_hand() -> None:
    """Products a character: 5 x 12 and 3 x 12 in the first layer, twice 3 x 12 in the second, 3 x 11 in the decoder."""
    assert SHAPE.operations(with_first=True) == (60 + 36 + 36 + 36 + 33) * 2 * 3 * 14
    assert SHAPE.operations(with_first=False) == (36 + 36 + 36 + 33) * 2 * 3 * 14
    assert SHAPE._replace(cell="gru").operations(with_first=True) == (45 + 27 + 27 + 27 + 33) * 2 * 3 * 14


def _command(*nats: float, start: float | None = 1.25) -> Command:
    """0.1 seconds a step, a validation after every tenth, which takes 5 seconds; 40 characters a step."""
    lines: list[dict[str, Any]] = [
        {"step": step, "seconds": 0.1 * step + 5.0 * ((step - 1) // 10), "learning_rate": 1.0}
        for step in range(2, 10 * len(nats) + 1, 2)
    ]
    lines += [
        {"step": 10 * count, "seconds": 1.0 * count + 5.0 * (count - 1), "validation_nats": one}
        for count, one in enumerate(nats, start=1)
    ]
    return Command([{**line, "characters": 40 * line["step"]} for line in lines], seconds=60.0, start=start)


def test_the_moment_of_a_loss_by_hand() -> None:
    """A validation's time is left out by the pace, and not by the run's clock."""
    found = _command(2.0, 1.8, 1.5).first_below(1.886)
    assert found is not None
    assert (found["nats"], found["step"]) == (1.8, 20)
    assert [found[clock] for clock in ("seconds", "command", "steps alone")] == pytest.approx([7.0, 8.25, 2.0])
    assert _command(2.0, 1.8, 1.5, start=None).first_below(1.5) is None


def test_the_transformer_is_torchs_own() -> None:
    """The same weights in nn.TransformerEncoderLayer give the same logits."""
    model = Transformer(TINY, V)
    names = {
        "self_attn.in_proj_weight": "attention_in.weight",
        "self_attn.out_proj.weight": "attention_out.weight",
        "norm1.weight": "attention_norm.weight",
        "norm2.weight": "mlp_norm.weight",
        "linear1.weight": "mlp_in.weight",
        "linear2.weight": "mlp_out.weight",
    }
    ids = torch.randint(V, (3, 6), generator=torch.Generator().manual_seed(0))
    x = model.embedding(ids) + model.positions.weight[:6]
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(12, 3, 48, 0.0, "gelu", batch_first=True, norm_first=True, bias=False)
        weights = block.state_dict()
        layer.load_state_dict({theirs: weights[ours] for theirs, ours in names.items()})
        x = layer(x, mask)
    torch.testing.assert_close(model(ids), model.norm(x) @ model.embedding.weight.T)


def test_the_transformer_has_the_recipes_size_and_rates() -> None:
    """0.80 million weights; the rate peaks after the climb and ends at a tenth of its peak."""
    recipe = Recipe()
    assert sum(parameter.numel() for parameter in Transformer(recipe, 65).parameters()) == 804_096
    assert recipe.rate(0) < recipe.rate(99) < recipe.rate(100) == 1e-3
    assert recipe.rate(1050) == pytest.approx((1e-3 + 1e-4) / 2)
    assert recipe.rate(2000) == pytest.approx(1e-4)


def test_the_transformer_scores_each_id_once() -> None:
    """Windows of 7 and a rest of 4: the mean of every id's own nats."""
    model = Transformer(TINY, V)
    ids = torch.randint(V, (26,), generator=torch.Generator().manual_seed(1))
    nats = 0.0
    with torch.no_grad():
        for place in range(25):
            read = ids[place // 7 * 7 : place + 1]
            nats -= float(model(read[None])[0, -1].log_softmax(0)[ids[place + 1]])
    assert score(model, ids, 7) == pytest.approx(nats / 25, rel=1e-5)


def test_the_transformer_learns_and_its_validations_change_nothing() -> None:
    """A cycle is learned; more validations leave the weights as they are."""
    ids = torch.arange(200) % 5
    weights = []
    for every in (3, 100):
        recipe = Recipe(num_layers=1, num_heads=2, width=8, context=6, iterations=40, warmup=1, validate_every=every,
                        learning_rate=0.05, validation_batches=2)  # fmt: skip
        model = Transformer(recipe, V)
        moments = list(train(model, recipe, ids, ids))
        assert [moment.iteration for moment in moments] == sorted({*range(0, 40, every), 40})
        assert abs(moments[0].nats - math.log(V)) < 0.1
        assert moments[-1].nats < 0.5
        weights.append(model.state_dict())
    for one, other in zip(weights[0].values(), weights[1].values(), strict=True):
        assert torch.equal(one, other)


def test_a_round_has_an_even_number_of_each_step() -> None:
    """Two to warm up, two to tell how many, and then as many in each round; the order is turned round."""
    calls: list[str] = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    taken = alternate(steps, rounds=2, moment=0.0)
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 2, "b": 2}
    assert "".join(calls) == "aabb" + "aabb" + "aabb" + "bbaa"


@pytest.fixture
def _flags() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("_flags")
def test_the_kinds_of_the_plain_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32 is allowed until the gradients are there and forbidden after; bf16 gives another loss, but not much."""
    seen: list[tuple[bool, bool]] = []
    clip = nn.utils.clip_grad_norm_

    def looking(*arguments: Any) -> torch.Tensor:
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return clip(*arguments)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", looking)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    losses: dict[str, list[float]] = {}
    kinds: tuple[Kind, ...] = ("fp32", "tf32", "bf16")
    for kind in kinds:
        torch.manual_seed(0)
        step = plain_step(SHAPE._replace(cell="gru"), CPU, kind)
        losses[kind] = [float(step()) for _ in range(3)]  # type: ignore[arg-type]
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert seen == [(False, False)] * 3 + [(True, True)] * 3 + [(False, False)] * 3
    assert losses["tf32"] == losses["fp32"] != losses["bf16"] == pytest.approx(losses["fp32"], abs=0.02)


def test_rates_by_hand() -> None:
    """The median of the rounds' ratios is not the ratio of the medians: 4/1, 9/3 and 1/2."""
    found = speed.rates({"ours": [1.0, 3.0, 2.0], "plain tf32": [4.0, 9.0, 1.0], "plain bf16": [2.0, 2.0, 2.0]}, 12)
    assert found["ours"] == {"ms": 2000.0, "c/s": 6, "spread": 1.0, "x plain tf32": 3.0, "x plain bf16": 1.0}
    assert found["plain tf32"] == {"ms": 4000.0, "c/s": 3, "spread": 2.0}


def test_floors_by_hand() -> None:
    """201 x 84 operations at 84 a second; 7 characters and 2 layers, there and back, at half a second each."""
    row = ceilings.shares(SHAPE, seconds=402.0, rate=84.0, link=0.5)
    floors = {"all": 201.0, "needed": 141.0, "serial": 14.0, "wavefront": 8.0}
    for name, floor in floors.items():
        assert row[f"{name} ms"] == 1e3 * floor
        assert row[f"{name}/step"] == floor / 402.0


def test_a_chain_is_made_of_products_that_need_each_other() -> None:
    """Weights solved for from the first product explain the second, and keep the length of what they turn."""
    H = 3
    work, (there, back) = ceilings.chain(SHAPE._replace(lanes=5), 2, torch.float32, CPU)
    before = there.clone()
    work()
    weights = torch.linalg.lstsq(before[:, :H], back).solution
    assert weights.shape == (H, 4 * H)
    torch.testing.assert_close(back[:, :H] @ weights, there, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there[:, :H].norm(dim=1), before[:, :H].norm(dim=1))


def test_a_graph_keeps_what_it_was_made_of(fake_graphs: FakeGraphs) -> None:
    """A graph knows tensors by their address alone: one let go of would be overwritten by the next replay."""
    seen = torch.zeros(3)
    tensor = torch.zeros(3)
    alive = weakref.ref(tensor)

    def work(tensor: torch.Tensor = tensor) -> None:
        seen.add_(tensor.add_(1.0))

    step: Any = ceilings._Recorded(work, [tensor, seen])
    del work, tensor
    gc.collect()
    assert seen.tolist() == [0.0] * 3
    step()
    step()
    assert seen.tolist() == [3.0] * 3
    step._graph = None  # the tape that stands in for it does hold its tensors
    gc.collect()
    assert alive() is not None
    del step
    gc.collect()
    assert alive() is None


def test_memory_is_counted_from_before_a_step_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 GiB were in use, and 3 taken from the driver."""
    calls: list[str] = []
    figures = {"memory_allocated": 2, "memory_reserved": 3, "max_memory_allocated": 7, "max_memory_reserved": 11}
    for name, gibibytes in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda figure=gibibytes: figure * 2**30)
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: calls.append(name))

    def make() -> Callable[[], None]:
        calls.append("made")
        return lambda: calls.append("run")

    _, memory = speed.with_memory(make, torch.device("cuda"))
    assert memory == {"GiB": 5.0, "reserved": 8.0}
    assert calls == ["reset_peak_memory_stats", "made", *["run"] * WARM_UPS, "synchronize"]


def _average(key: str, us: float, count: int, where: DeviceType, *, is_user_annotation: bool = False) -> Any:
    return SimpleNamespace(
        key=key, count=count, device_type=where, is_user_annotation=is_user_annotation,
        self_device_time_total=us, self_cpu_time_total=0.0,
    )  # fmt: skip


def test_kernels_are_ranked_by_time() -> None:
    """Of two steps; what the host did, the marks it set and waiting do not count."""
    rows = kernels.ranked(
        [
            _average("gemm", 100.0, 4, DeviceType.CUDA),
            _average("aten::mm", 100.0, 4, DeviceType.CPU),
            _average("Optimizer.step", 400.0, 2, DeviceType.CUDA, is_user_annotation=True),
            _average("Context Sync", 900.0, 2, DeviceType.CUDA),
            _average("LSTM_elementWise_PERSIST_fp", 300.0, 2, DeviceType.CUDA),
        ],
        DeviceType.CUDA,
    )
    assert rows == [
        {"share": 1.0, "us": 200.0, "calls": 3.0, "kernel": "all of 2 kinds", "persist": True},
        {"share": 0.75, "us": 150.0, "calls": 1.0, "kernel": "LSTM_elementWise_PERSIST_fp", "persist": True},
        {"share": 0.25, "us": 50.0, "calls": 2.0, "kernel": "gemm", "persist": False},
    ]
    with pytest.raises(RuntimeError, match="saw nothing"):
        kernels.ranked([_average("aten::mm", 100.0, 4, DeviceType.CPU)], DeviceType.CUDA)


def test_the_moments_of_the_mark() -> None:
    """Streamed, and in windows later: their scores are asked for from the first that is below it streamed on."""
    asked: list[int] = []

    def score(path: Path) -> float:
        asked.append(int(path.name))
        return {20: 1.48, 30: 1.44}[asked[-1]]

    kept = {step: Path(str(step)) for step in (10, 20, 30)}
    streamed, windowed, best = moments(_command(1.9, 1.4, 1.3, 1.45), kept, 1.4697, score)
    assert (streamed["below"], streamed["nats"], streamed["step"]) == (True, 1.4, 20)
    assert streamed["command"] == pytest.approx(8.25)
    assert (windowed["below"], windowed["nats"], windowed["step"]) == (True, 1.44, 30)
    assert windowed["command"] == pytest.approx(14.25)
    assert (best["nats"], best["step"], best["nats windowed"]) == (1.3, 30, 1.44)
    assert asked == [20, 30]


def test_a_mark_that_is_never_passed() -> None:
    """There is no moment, and the best is scored in windows all the same; before a validation there is nothing."""
    streamed, windowed, best = moments(_command(1.9, 1.8), {10: Path("a"), 20: Path("b")}, 1.4697, lambda _: 1.9)
    assert not streamed["below"] | windowed["below"]
    assert "seconds" not in streamed | windowed
    assert (best["nats"], best["nats windowed"]) == (1.8, 1.9)
    with pytest.raises(Skipped, match="before its first validation"):
        list(moments(_command(), {}, 1.4697, lambda _: 1.9))


def test_every_best_is_kept_and_a_run_is_stopped_in_time(text_file: Callable[..., Path], tmp_path: Path) -> None:
    """What is kept are the best validations' weights, one file a step; a run without an end ends when it must."""
    words = [
        "--device",
        "cpu",
        "--threads",
        "1",
        "--hidden",
        "8",
        "--batch",
        "2",
        "--bptt",
        "9",
        "--validate-every",
        "8",
    ]
    (tmp_path / "kept").mkdir()
    run = command.train(text_file(3000), *words, "--steps", "900000", seconds=6.0, keep=tmp_path / "kept")
    assert run.was_stopped
    assert run.seconds < 60
    steps = [checkpoints.load(path).progress["step"] for path in sorted((tmp_path / "kept").iterdir())]
    assert steps == sorted(set(steps))
    assert set(steps) <= {line["step"] for line in run.validations}
    best = tmp_path / "best"
    (tmp_path / "again").mkdir()
    for content in ("a", "a", "b"):
        if not best.exists() or best.read_text("utf-8") != content:
            (tmp_path / "new").write_text(content, "utf-8")
            (tmp_path / "new").replace(best)
        command.keep_best(best, tmp_path / "again")
    assert [path.read_text("utf-8") for path in sorted((tmp_path / "again").iterdir())] == ["a", "b"]
    command.keep_best(tmp_path / "none", tmp_path / "again")


def test_every_part_for_a_gpu_is_rehearsed(
    text_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part finds something, nothing is left out, and what is kept as it comes is what is printed at the end."""
    gpu.main(["--rehearse", "--rounds", "1", "--json", "--out", f"{tmp_path}/out", "--corpus", str(text_file(3000))])
    found = json.loads(capsys.readouterr().out)
    assert found["rehearsal"] is True
    assert LEFT_OUT not in found
    kept: dict[str, list[Any]] = {}
    for line in (tmp_path / "out").read_text("utf-8").splitlines()[1:]:
        row = json.loads(line)
        kept.setdefault(row.pop("part"), []).append(row)
    assert kept == {part: found[part] for part in gpu.PARTS}
    for row in found["speed"]:
        assert 0 < row["loss"] < 2 * math.log(96)


def test_what_does_not_fit_the_budget_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """And said so, for each piece; that is no failure."""
    gpu.main(["--rehearse", "--budget", "0", "speed", "sizes"])
    assert capsys.readouterr().out.count("it may take") == len(REHEARSAL.shapes) + len(REHEARSAL.widths)


def test_what_fails_leaves_the_rest(
    text_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that cannot be made is told; the others are measured, and so is the next part."""

    def broken(error: BaseException, *_: object, **__: object) -> None:
        raise error

    for module in (speed, ceilings):
        monkeypatch.setattr(module, "OurStep", partial(broken, ValueError("no such\nkernel")))
    monkeypatch.setattr(command, "train", partial(broken, SystemExit("exit status 6")))
    words = ["--rehearse", "--rounds", "1", "--json", "--corpus", str(text_file())]
    with pytest.raises(SystemExit) as caught:
        gpu.main([*words, "speed", "floors", "time", "sizes"])
    assert caught.value.code == 1
    found = json.loads(capsys.readouterr().out)
    told = "ValueError: no such kernel"
    assert [row.get("failed") for row in found["speed"][:4]] == [told, told, told, None]
    assert found["speed"][3]["c/s"] > 0
    assert [row["failed"] for row in found[LEFT_OUT]] == [told, told, "SystemExit: exit status 6"]
    assert found["sizes"]


def test_without_a_text_there_is_no_time_to_a_loss(capsys: pytest.CaptureFixture[str]) -> None:
    """It is left out with a note."""
    gpu.main(["--rehearse", "--json", "--corpus", "nowhere.txt", "time"])
    (row,) = json.loads(capsys.readouterr().out)[LEFT_OUT]
    assert "nowhere.txt is no text" in row["skipped"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")
def test_without_a_gpu_there_is_only_a_rehearsal() -> None:
    """Figures from a CPU must not pass for a GPU's."""
    with pytest.raises(SystemExit, match="--rehearse"):
        gpu.main([])
