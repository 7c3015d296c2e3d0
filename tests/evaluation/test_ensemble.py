"""Ensembles where they are saved, scored, inspected and loaded, against their members one by one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.checkpoints.checkpoint import Checkpoint, load, save
from charrnn.errors import CheckpointError, UsageError
from charrnn.evaluation.dynamic import score_dynamic, segment_losses
from charrnn.evaluation.dynamic_rule import DynamicRule
from charrnn.evaluation.report import Static
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.ablate import ablate
from charrnn.neurons.clamping import clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.record import Unit
from tests.kit.command import Command
from tests.kit.ensembles import tiny_ensemble
from tests.kit.tiny import CHARACTERS, arrays_of, forge

K = 3
TEXT = "".join(np.random.default_rng(3).choice(list(CHARACTERS), 900))
FILE = Path("checkpoints/several/best.safetensors")


@pytest.fixture
def several() -> tuple[Checkpoint, list[Checkpoint]]:
    """An ensemble in its folder, its members, and a text that they know."""
    FILE.parent.mkdir(parents=True)
    Path("text.txt").write_text(TEXT)
    whole, alone = tiny_ensemble(K)
    save(FILE, whole)
    return whole, alone


def _nats(members: list[Checkpoint], ids: Any) -> Any:
    """-ln of the mean probability of each of `ids[1:]`, all read from the zero state, one step after the other."""
    total = 0.0
    for member in members:
        engine = make_engine(member.model, member.parameters, end=member.vocabulary.end)
        state, found = engine.zero_state(1), []
        for given, wanted in zip(ids[:-1], ids[1:], strict=True):
            logits, state = engine.step([given], state)
            row = logits[0].astype(np.float64)
            found.append(math.exp(row[wanted] - np.logaddexp.reduce(row)))
        total = total + np.array(found)
    return -np.log(total / len(members))


def test_an_ensemble_comes_back_from_its_file(several: tuple[Checkpoint, list[Checkpoint]]) -> None:
    """Every array of every member, under the names of the layout."""
    whole, alone = several
    loaded = load(FILE)
    assert loaded.members == K
    assert loaded.parameters.keys() == {
        f"member.{number}.{name}" for number in (1, 2, 3) for name in alone[0].parameters
    }
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about, arrays: arrays.pop("model.member.2.embedding"), "lacks member.2.embedding"),
        (lambda about, arrays: arrays.update({"model.embedding": arrays["model.member.1.embedding"]}), "unexpected"),
        (lambda about, arrays: about.update(members=2), "unexpected 'member.3.decoder.bias'"),
        (lambda about, arrays: about.update(members=4), "lacks member.4.decoder.bias"),
        (lambda about, arrays: about.update(members=1), "lacks decoder.bias"),
        (lambda about, arrays: about.update(members=0), "its number of members is 0"),
        (lambda about, arrays: about.update(members=True), "its number of members is True"),
        (lambda about, arrays: about.update(members=65), "its number of members is 65"),
        (lambda about, arrays: about.update(members="3"), "its number of members is '3'"),
        (lambda about, arrays: about.pop("members"), "damaged"),
        (
            lambda about, arrays: arrays.update({"model.member.3.decoder.bias": np.zeros(3, np.float32)}),
            "member.3.decoder.bias is F32 (3,), not F32",
        ),
    ],
)
def test_missing_and_strange_arrays_of_members_are_found(tmp_path: Path, change: Any, said: str) -> None:
    """A file that does not hold what its number of members says, though its digest is right, is damaged."""
    whole, _ = tiny_ensemble(K)
    about, arrays = whole.metadata(), arrays_of(whole)
    change(about, arrays)
    (tmp_path / "c.safetensors").write_bytes(forge(about, arrays))
    with pytest.raises(CheckpointError, match="damaged") as caught:
        load(tmp_path / "c.safetensors")
    assert said in caught.value.message


@pytest.mark.parametrize("how", [[], ["--lanes", "1"], ["--protocol", "windowed", "--context", "50"]])
def test_eval_scores_the_mean_of_the_members(
    command: Command, several: tuple[Checkpoint, list[Checkpoint]], how: list[str]
) -> None:
    """Streamed and in windows, against steps of each member."""
    whole, alone = several
    ids = whole.vocabulary.encode(TEXT)
    found = json.loads(command("eval", "text.txt", "-c", str(FILE), "--json", *how).out)
    pieces = [ids] if "--context" not in how else [ids[start : start + 50] for start in range(0, len(ids), 50)]
    nats = np.concatenate([_nats(alone, piece) for piece in pieces])
    assert found["characters"] == len(nats)
    assert found["nats_per_character"] == pytest.approx(nats.mean(), abs=1e-6)


def test_lines_and_temperature_are_of_the_mean(command: Command, several: tuple[Checkpoint, list[Checkpoint]]) -> None:
    """Each line by itself; and a temperature divides the logarithms of the averaged probabilities."""
    whole, alone = several
    ids = whole.vocabulary.encode("\n" + TEXT + "\n")
    ends = np.flatnonzero(ids == ids[0])
    nats = np.concatenate([_nats(alone, ids[a : b + 1]) for a, b in zip(ends, ends[1:], strict=False)])
    Path("lines.txt").write_text(TEXT + "\n")
    found = json.loads(command("eval", "lines.txt", "-c", str(FILE), "--json", "--protocol", "lines").out)
    assert found["nats_per_character"] == pytest.approx(nats.mean(), abs=1e-6)
    model = Static(device=torch.device("cpu")).model(whole)
    row = torch.from_numpy(ids[:40].astype(np.int64))[:, None]
    with torch.no_grad():
        logits = model(row, model.zero_state(1))[0].double()
    warm = torch.nn.functional.cross_entropy(logits[:-1, 0] / 1.5, row[1:, 0]).item()
    found_warm = Static(device=torch.device("cpu")).score(model, ids[:40], 1.5).nats_per_character
    assert found_warm == pytest.approx(warm, abs=1e-6)


def test_dynamic_evaluation_adapts_all_members_and_restores_them() -> None:
    """One step of it against autograd over the averaged loss; afterwards every weight is what it was."""
    whole, _ = tiny_ensemble(K)
    model, rule = Static(device=torch.device("cpu")).model(whole), DynamicRule(name="sgd", learning_rate=0.1, segment=5)
    ids = whole.vocabulary.encode(TEXT[:11])
    before = {name: array.detach().clone() for name, array in model.arrays().items()}
    found = np.concatenate([part[:, 0] for part in segment_losses(model, ids, rule)])
    for name, array in model.arrays().items():
        torch.testing.assert_close(array.detach(), before[name], rtol=0, atol=0)
    row = torch.from_numpy(ids.astype(np.int64))[:, None]

    def losses(begin: int, state: Any) -> Any:
        logits, after = model(row[begin : begin + 5], state)
        return torch.nn.functional.cross_entropy(logits[:, 0], row[begin + 1 : begin + 6, 0], reduction="none"), after

    first, state = losses(0, model.zero_state(1))
    first.mean().backward()
    with torch.no_grad():
        for array in model.arrays().values():
            assert array.grad is not None
            array -= rule.learning_rate * array.grad
        second, _ = losses(5, state)
    np.testing.assert_allclose(found, torch.cat([first, second]).detach().numpy(), atol=1e-5)
    assert score_dynamic(model, ids, rule).characters == 10


def test_a_unit_is_held_in_its_member() -> None:
    """Holding unit 2 of member 2, which is unit 6 of the ensemble, is holding unit 2 of that model alone."""
    whole, alone = tiny_ensemble(K)
    ids = whole.vocabulary.encode(TEXT[:60])
    config, parameters = with_own_columns(whole.model, whole.parameters)
    held = clamp(config, parameters, {Unit(2, "c", 4 + 2): 0.25})
    own = with_own_columns(alone[1].model, alone[1].parameters)
    changed = [alone[0], replace(alone[1], parameters=clamp(*own, {Unit(2, "c", 2): 0.25})), alone[2]]
    engine = make_engine(config, held)
    found = -engine.score(ids, engine.zero_state(1)).log_probabilities[1:]
    np.testing.assert_allclose(found, _nats(changed, ids), atol=1e-5)


def test_ablation_of_a_member_is_a_share_of_its_price() -> None:
    """Held at its own mean, a unit costs what the ensemble with the held member costs more."""
    whole, alone = tiny_ensemble(K)
    ids = whole.vocabulary.encode(TEXT[:300])
    (found,) = ablate(whole.model, whole.parameters, ids, {Unit(1, "h", 9): []})
    (single,) = ablate(alone[2].model, alone[2].parameters, ids, {Unit(1, "h", 1): []})
    assert found.held_at == pytest.approx(single.held_at, abs=1e-6)
    own = with_own_columns(alone[2].model, alone[2].parameters)
    changed = [*alone[:2], replace(alone[2], parameters=clamp(*own, {Unit(1, "h", 1): single.held_at}))]
    rise = (_nats(changed, ids) - _nats(alone, ids)).mean() / math.log(2)
    assert found.overall.bits == pytest.approx(rise, abs=1e-5)


@pytest.mark.parametrize(
    "asked",
    [
        ["--unit", "L2.c11"],
        ["--find"],
        ["--unit", "L1.h9", "--ablate"],
        ["--unit", "L1.h9", "--patch", "(a)..=b"],
        ["--unit", "L1.h9", "--card"],
        ["--gates"],
        ["--predictions"],
        ["--states", "L1.h", "--npz", "states.npz"],
    ],
)
def test_inspect_shows_the_units_of_all_members(
    command: Command, several: tuple[Checkpoint, list[Checkpoint]], asked: list[str]
) -> None:
    """Every view takes an ensemble as a model with more units."""
    Path("text.txt").write_text((TEXT + "\n") * 4)
    ended = command("inspect", "text.txt", "-c", str(FILE), *asked, "--json")
    assert ended.status == 0, ended.err
    if "--states" in asked:
        whole, alone = several
        ids = whole.vocabulary.encode(Path("text.txt").read_text())
        engine = make_engine(alone[2].model, alone[2].parameters)
        expected, _ = engine.record(ids, engine.zero_state(1))
        np.testing.assert_allclose(np.load("states.npz")["states"][:, 8:], expected["h"][:, 0], atol=1e-6)
    refused = command("inspect", "text.txt", "-c", str(FILE), "--unit", "L2.c12")
    assert refused.status == 2
    assert "indices are 0 to 11" in refused.err


def test_the_summary_and_the_list_of_runs_say_how_many_there_are(
    command: Command, several: tuple[Checkpoint, list[Checkpoint]]
) -> None:
    """With the parameters of all members."""
    _, alone = several
    told = command("inspect", "-c", str(FILE)).out
    size = sum(array.size for array in alone[0].parameters.values())
    assert "3 members" in told
    assert f"{K * size:,} (" in told.replace("\n", " ")
    assert json.loads(command("inspect", "checkpoints", "--json").out)["runs"][0]["members"] == K
    assert "3 x lstm 2x4" in command("inspect", "checkpoints").out


def test_python_has_the_whole_and_each_member(several: tuple[Checkpoint, list[Checkpoint]]) -> None:
    """Scores, steps, recordings and what it says of itself; to torch and ONNX goes one model."""
    whole, alone = several
    model = charrnn.load(FILE)
    ids = whole.vocabulary.encode(TEXT)
    assert model.score(TEXT).nats_per_character == pytest.approx(_nats(alone, ids).mean(), abs=1e-6)
    each = [member.score(TEXT).nats_per_character for member in model.members]
    assert each == pytest.approx([_nats([one], ids).mean() for one in alone], abs=1e-6)
    likely, _ = model.step("abc")
    apart = [np.exp(member.step("abc")[0]) for member in model.members]
    np.testing.assert_allclose(np.exp(likely), np.mean(apart, 0), atol=1e-6)
    assert np.exp(likely).sum() == pytest.approx(1, abs=1e-6)
    assert model.record("abc")["L2.c"].shape == (3, 12)
    assert "3 members of lstm 2 x 4" in repr(model)
    assert model.sample("ab", length=20, seed=3) == model.sample("ab", length=20, seed=3)
    for refused in (model.to_torch, lambda: model.to_onnx("model.onnx")):
        with pytest.raises(UsageError, match="ensemble of 3 members"):
            refused()
    assert model.members[1].to_torch() is not None


def test_nothing_begins_from_an_ensemble(command: Command, several: tuple[Checkpoint, list[Checkpoint]]) -> None:
    """It has no weights of one model; the hint names a member."""
    ended = command("train", "text.txt", "--init-from", str(FILE), "--steps", "2")
    assert ended.status == 2
    assert "ensemble of 3 members" in ended.err
    assert "member-1.safetensors" in ended.err
