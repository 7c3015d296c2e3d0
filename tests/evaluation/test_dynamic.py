"""Dynamic evaluation against its equations by hand, identities of its rates, and the command line around it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.errors import UsageError
from charrnn.evaluation.bpc import score
from charrnn.evaluation.dynamic import (
    gradient_statistics,
    rates_and_pulls,
    score_dynamic,
    segment_losses,
    update,
    weights_of,
)
from charrnn.evaluation.dynamic_rule import DEFAULTS, DynamicRule
from charrnn.evaluation.tuning import TEMPERATURES, Trial, ladders_of, search
from charrnn.native.window import find_library
from charrnn.network.model import CharacterModel
from charrnn.settings.config import DataConfig, ModelConfig
from tests.kit.command import Command
from tests.kit.loops import loop
from tests.kit.text import make_text
from tests.kit.tiny import tiny

V, E, H, L = 11, 5, 6, 2
RMS = DynamicRule(segment=7, learning_rate=1e-3, prior=0.01, epsilon=1e-4)
SGD = DynamicRule(name="sgd", segment=7, learning_rate=0.1, prior=0.03)


def _model(cell: str = "lstm") -> CharacterModel:
    config = ModelConfig(cell=cell, num_layers=L, hidden_size=H, embedding_size=E)  # type: ignore[arg-type]
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(4))
    return model


def _ids(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, count).astype(np.uint8)


def _statistics(model: CharacterModel, segment: int = 7) -> list[torch.Tensor]:
    return gradient_statistics(model, _ids(500, seed=3), segment=segment)


def _values(model: CharacterModel) -> list[np.ndarray]:
    return [array.detach().numpy().copy() for array in weights_of(model)]


def _is_same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _plain_gradients(model: CharacterModel, ids: np.ndarray, state: Any) -> tuple[list[np.ndarray], Any]:
    """Gradients of the mean loss of `ids[1:]` (T, B) by the plain loop over the cell's step, and the state after."""
    taken = torch.from_numpy(ids.astype(np.int64))
    x, after = model.embedding[taken[:-1]], []
    for layer, layer_state in zip(model.stack.layers, state, strict=True):
        x, layer_after = loop(layer, x, layer_state)  # type: ignore[operator]
        after.append(tuple(array.detach() for array in layer_after))
    logits = linear(x, model.decoder.weight, model.decoder.bias)
    loss = cross_entropy(logits.flatten(0, 1), taken[1:].flatten())
    return [g.numpy() for g in torch.autograd.grad(loss, weights_of(model))], tuple(after)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("rule", [RMS, SGD], ids=lambda rule: rule.name)
def test_rates_of_zero_are_the_static_score(cell: str, rule: DynamicRule) -> None:
    """Bit for bit, on a text that does not end with a whole segment; with a prior too, for there is nowhere to go.

    Where the recurrence is not compiled, torch's own lstm computes a little otherwise when a gradient is to come.
    """
    model, ids = _model(cell), _ids(96)
    static = score(model, ids, window=rule.segment, lanes=1)
    for prior in (0.0, 0.5, 1.0):
        still = score_dynamic(model, ids, replace(rule, learning_rate=0.0, prior=prior), _statistics(model))
        assert still == static or find_library() is None
        assert still.nats == pytest.approx(static.nats, abs=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("rule", [RMS, SGD], ids=lambda rule: rule.name)
def test_updates_by_hand(cell: str, rule: DynamicRule) -> None:
    """Losses of three segments, with gradients by the plain loop and the paper's equations in float64 of numpy."""
    model, ids = _model(cell), _ids(3 * 7 + 1)
    squares = [array.double().numpy() for array in _statistics(model)]
    roots = [np.sqrt(array) for array in squares]
    mean = sum(root.sum() for root in roots) / sum(root.size for root in roots)
    losses = np.concatenate(list(segment_losses(model, ids, rule, _statistics(model))))[:, 0]

    twin = _model(cell)
    trained = _values(twin)
    state = twin.zero_state(1)
    for start in (0, 7, 14):
        part = ids[start : start + 8, None]
        expected = score(twin, ids[: start + 8], window=7, lanes=1)  # only good for the first segment
        if start == 0:
            assert losses[:7].sum() == pytest.approx(expected.nats, abs=1e-6)
        with torch.no_grad():
            logits, _ = twin(torch.from_numpy(part[:-1].astype(np.int64)), state)
            by_hand = cross_entropy(logits[:, 0], torch.from_numpy(part[1:, 0].astype(np.int64)), reduction="none")
        np.testing.assert_allclose(losses[start : start + 7], by_hand.numpy(), atol=2e-6)
        gradients, state = _plain_gradients(twin, part, state)
        with torch.no_grad():
            for array, first, gradient, root in zip(weights_of(twin), trained, gradients, roots, strict=True):
                now = array.double().numpy()
                if rule.name == "sgd":
                    moved = now - rule.learning_rate * gradient + rule.prior * (first - now)
                else:
                    step = rule.learning_rate * gradient / (root + rule.epsilon)
                    moved = now - step + np.minimum(rule.prior * root / mean, 1) * (first - now)
                array.copy_(torch.from_numpy(moved))


def test_statistics_are_the_mean_of_squared_gradients() -> None:
    """By a loop over segments of three lanes with carried state; lanes begin evenly over the text."""
    model, ids = _model(), _ids(3 * 30 + 1)
    found = gradient_statistics(model, ids, segment=7, lanes=3, segments=4)
    sums, state = [np.zeros(tuple(array.shape)) for array in weights_of(model)], model.zero_state(3)
    for k in range(4):
        part = np.stack([ids[lane * 30 + 7 * k : lane * 30 + 7 * k + 8] for lane in range(3)], axis=1)
        gradients, state = _plain_gradients(model, part, state)
        sums = [total + gradient.astype(np.float64) ** 2 for total, gradient in zip(sums, gradients, strict=True)]
    for array, total in zip(found, sums, strict=True):
        np.testing.assert_allclose(array.numpy(), total / 4, rtol=1e-3, atol=1e-10)


def test_without_gradients_the_weights_go_back() -> None:
    """θ_n - θ_0 = (1 - pull)^n (θ - θ_0) element by element, and at a pull of 1 θ_0 itself, never beyond."""
    trained, weights = [torch.randn(3, 4), torch.randn(5)], [torch.randn(3, 4), torch.randn(5)]
    squares = [torch.rand(3, 4), torch.rand(5)]
    before = [array.clone() for array in weights]
    for prior in (0.3, 1.0):
        rates, pulls = rates_and_pulls(replace(RMS, prior=prior), squares)
        roots = [array.double().sqrt() for array in squares]
        mean = torch.cat([root.flatten() for root in roots]).mean()
        gradients = [torch.zeros_like(array) for array in weights]
        for _ in range(6):
            update(weights, trained, gradients, rates, pulls)
        for array, first, goal, root in zip(weights, before, trained, roots, strict=True):
            left = (1 - (prior * root / mean).clamp(max=1)) ** 6
            np.testing.assert_allclose(array, goal + left * (first - goal), rtol=1e-5, atol=1e-6)
        weights = [array.clone() for array in before]


def test_a_character_is_scored_before_it_is_learned_from() -> None:
    """Another character at one place changes no loss before it, and within its segment only what it is fed to; the
    weights have moved in between."""
    model, ids = _model(), _ids(60)
    other = ids.copy()
    other[38] = (other[38] + 1) % V
    rule = replace(SGD, learning_rate=1.0)
    one, two = (np.concatenate(list(segment_losses(model, text, rule)))[:, 0] for text in (ids, other))
    assert np.array_equal(one[:37], two[:37])
    assert one[37] != two[37]
    static = np.concatenate(list(segment_losses(model, ids, replace(rule, learning_rate=0.0))))[:, 0]
    assert np.array_equal(one[:7], static[:7])
    assert np.abs(one[7:37] - static[7:37]).max() > 1e-3


def _chain(shift: int, count: int, seed: int) -> np.ndarray:
    """Each character is the one before plus `shift`, but for one in eight, which is any."""
    pick = np.random.default_rng(seed)
    ids, noise = np.zeros(count, np.uint8), pick.integers(0, V, count)
    is_any = pick.random(count) < 1 / 8
    for place in range(1, count):
        ids[place] = noise[place] if is_any[place] else (ids[place - 1] + shift) % V
    return ids


@pytest.fixture(scope="module")
def learned() -> CharacterModel:
    """A model of the chain with shift 1."""
    model = _model()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    taken = torch.from_numpy(_chain(1, 8 * 101, 1).reshape(8, 101).T.astype(np.int64))
    for _ in range(120):
        logits, _ = model(taken[:-1], model.zero_state(8))
        loss = cross_entropy(logits.flatten(0, 1), taken[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.0
    return model


@pytest.mark.parametrize(
    "rule",
    [replace(RMS, learning_rate=3e-3, prior=1e-3), replace(SGD, learning_rate=0.5, prior=0.0)],
    ids=lambda rule: rule.name,
)
def test_a_text_that_changes_half_way_is_learned(learned: CharacterModel, rule: DynamicRule) -> None:
    """The chain of shift 1, which the model knows, goes over into one of shift 3."""
    text = np.concatenate([_chain(1, 1500, 2), _chain(3, 1500, 3)])
    squares = gradient_statistics(learned, _chain(1, 2000, 4), segment=7)
    losses = np.concatenate(list(segment_losses(learned, text, rule, squares)))[:, 0]
    static = np.concatenate(list(segment_losses(learned, text, replace(rule, learning_rate=0.0), squares)))[:, 0]
    assert losses[:1499].mean() < static[:1499].mean() + 0.05
    assert losses[1500:].mean() < static[1500:].mean() - 1.0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_weights_are_restored_whatever_happens(error: type[BaseException]) -> None:
    """At the end, when it is given up, when something inside raises, and when the reader of losses does."""
    model, ids = _model(), _ids(100)
    before = _values(model)

    def fail(done: int) -> None:
        if done > 50:
            assert not _is_same(_values(model), before), "nothing has moved"
            raise error

    with pytest.raises(error):
        score_dynamic(model, ids, SGD, proceed=fail)
    assert _is_same(_values(model), before)
    with contextlib.closing(segment_losses(model, ids, SGD)) as losses:
        next(losses)
        next(losses)
        assert not _is_same(_values(model), before)
    assert _is_same(_values(model), before)


def test_weights_that_run_away_give_no_number_and_come_back() -> None:
    """A rate beyond all measure."""
    model = _model()
    before = _values(model)
    result = score_dynamic(model, _ids(100), replace(SGD, learning_rate=1e38, prior=0.0))
    assert not math.isfinite(result.nats)
    assert _is_same(_values(model), before)


def test_the_temperature_is_for_scoring_alone() -> None:
    """At a very high one every character costs ln V, and what is learned stays the same."""
    model, ids = _model(), _ids(60)
    hot = score_dynamic(model, ids, SGD, temperature=1e9)
    assert hot.nats_per_character == pytest.approx(math.log(V))
    static = score(model, ids, temperature=1e9)
    assert static.nats_per_character == pytest.approx(math.log(V))


def test_a_frozen_array_stays() -> None:
    """What was not trained does not adapt."""
    model = _model()
    model.embedding.requires_grad_(False)
    before, seen = model.embedding.clone(), _values(model)
    with contextlib.closing(segment_losses(model, _ids(40), SGD)) as losses:
        next(losses)
        next(losses)
        assert torch.equal(model.embedding, before)
        assert not _is_same(_values(model), seen)


# The search.


def test_the_search_finds_the_bottom_of_a_bowl() -> None:
    """Of a loss with a single valley the lowest rungs, each point computed once, a fixed setting left alone."""
    calls: list[Mapping[str, float]] = []

    def loss(settings: Mapping[str, float]) -> float:
        calls.append(dict(settings))
        return (settings["a"] - 5) ** 2 + (settings["b"] + 2) ** 2 + 0.4 * settings["a"] * settings["b"]

    ladders = {"a": list(range(-9, 10)), "b": list(range(-9, 10))}
    best, trials = search(loss, ladders, {"a": 0, "b": 0, "c": 4})
    lowest = min((loss({"a": a, "b": b}), a, b) for a in ladders["a"] for b in ladders["b"])
    assert (best.nats_per_character, best.settings["a"], best.settings["b"]) == lowest
    assert best.settings["c"] == 4
    assert len({(trial.settings["a"], trial.settings["b"]) for trial in trials}) == len(trials)


def test_the_search_stays_on_its_ladder_and_passes_by_what_is_no_number() -> None:
    """The end of a ladder is an end; a loss that is not finite is worse than any other."""
    best, trials = search(lambda s: -s["a"] if s["a"] < 4 else math.nan, {"a": [1.0, 2, 3, 4, 5]}, {"a": 2})
    assert best == Trial({"a": 3}, -3)
    assert [trial.settings["a"] for trial in trials] == [2, 3, 4]
    best, _ = search(lambda s: -s["a"], {"a": [1.0, 2, 3]}, {"a": 1})
    assert best.settings == {"a": 3}


def test_the_defaults_stand_on_their_ladders() -> None:
    """So the search can start from them."""
    for name, rule in DEFAULTS.items():
        for field, ladder in ladders_of(rule.name).items():
            assert getattr(rule, field) in ladder, (name, field)
    assert 1.0 in TEMPERATURES


# The command line.

_RUN = Path("checkpoints/tiny/best.safetensors")


@pytest.fixture
def charrnn(command: Command) -> Command:
    """Runs `charrnn eval` in a folder with a tiny run and the text it was trained on, cut 70/10/20."""
    text = "".join(character if character in "\n abcdefgh" else " " for character in make_text(3000).lower())
    Path("text.txt").write_text(text)
    Path("other.txt").write_text(text[:700][::-1])
    saved = replace(tiny(), data=DataConfig(test_fraction=0.2))
    own: dict[str, Any] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "characters": 3000}
    own["held_out"] = {"validation": [[2100, 2400]], "test": [[2400, 3000]]}
    saved = replace(saved, corpus={**saved.corpus, **own})
    _RUN.parent.mkdir(parents=True)
    checkpoints.save(_RUN, saved)

    return functools.partial(command, "eval")


def _json(result: tuple[int, str, str]) -> dict[str, Any]:
    assert result[0] == 0, result[2]
    found: dict[str, Any] = json.loads(result[1])
    return found


@pytest.mark.parametrize("rule", ["rms", "sgd"])
def test_static_and_dynamic_side_by_side(charrnn: Command, rule: str) -> None:
    """The first figures are those without --dynamic; tuned settings, given again, give the same; the file is left."""
    before = _RUN.read_bytes()
    plain = _json(charrnn("text.txt", "--split", "test", "--json"))
    asked = ("text.txt", "--split", "test", "--json", "--dynamic", rule, "--segment", "7")
    found = _json(charrnn(*asked))
    assert {name: found[name] for name in plain} == plain
    assert found["static"]["bits_per_character"] == plain["bits_per_character"]
    assert found["dynamic"]["bits_per_character"] < plain["bits_per_character"]
    assert found["dynamic"]["rule"] == rule
    assert ("epsilon" in found["dynamic"]) == (rule == "rms") == ("statistics_characters" in found["dynamic"])
    tuned = _json(charrnn(*asked, "--tune", "--tune-length", "200"))
    assert tuned["tuning"]["characters"] == 200
    assert tuned["dynamic"]["bits_per_character"] < found["dynamic"]["bits_per_character"]
    losses = [trial["nats_per_character"] for trial in tuned["tuning"]["dynamic"]]
    assert min(losses) < losses[0]
    best = tuned["dynamic"]
    flags = [f"--lr={best['learning_rate']:g}", f"--prior={best['prior']:g}", f"--temperature={best['temperature']:g}"]
    flags += [f"--epsilon={best['epsilon']:g}"] if rule == "rms" else []
    again = _json(charrnn(*asked, *flags))["dynamic"]
    assert again["bits_per_character"] == best["bits_per_character"]
    assert _RUN.read_bytes() == before


def test_what_is_given_is_not_tuned(charrnn: Command) -> None:
    """Only the prior and the temperature are left to choose here."""
    asked = (
        "text.txt",
        "--split",
        "test",
        "--json",
        "--dynamic",
        "sgd",
        "--lr",
        "0.3",
        "--tune",
        "--tune-length",
        "90",
    )
    trials = _json(charrnn(*asked))["tuning"]["dynamic"]
    assert {trial["learning_rate"] for trial in trials} == {0.3}
    assert len({trial["prior"] for trial in trials}) > 1
    trials = _json(charrnn(*asked, "--temperature", "1.1"))["tuning"]["dynamic"]
    assert {trial["temperature"] for trial in trials} == {1.1}


@pytest.mark.parametrize("protocol", ["streamed", "windowed"])
def test_the_temperature_alone_is_tuned(charrnn: Command, protocol: str) -> None:
    """Without --dynamic, for either protocol; the score at the one found is what --temperature gives."""
    asked = ("text.txt", "--split", "test", "--json", "--protocol", protocol)
    tuned = _json(charrnn(*asked, "--tune"))
    assert "dynamic" not in tuned
    assert tuned["static"]["temperature"] > 1, "random weights are too sure of themselves"
    assert tuned["static"]["bits_per_character"] < tuned["bits_per_character"]
    given = _json(charrnn(*asked, "--temperature", f"{tuned['static']['temperature']:g}"))
    assert given["static"] == tuned["static"]


def test_what_a_person_reads(charrnn: Command) -> None:
    """Static, tempered and dynamic below each other, the settings to give again; each trial on stderr."""
    status, out, err = charrnn("text.txt", "--split=test", "--dynamic=sgd", "--tune", "--tune-length=99")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].endswith("nats)")
    assert lines[3].startswith("static, temperature 1.")
    assert lines[4].startswith("dynamic (sgd): ")
    assert lines[4].endswith("bits less")
    assert lines[5].startswith("with --lr ")
    assert lines[5].endswith(", tuned on 99 characters")
    assert "tuning static: --temperature 1: " in err
    assert "tuning dynamic: --lr 0.025 --prior 0.001 --temperature 1: " in err


def test_statistics_of_the_run_s_own_corpus(charrnn: Command) -> None:
    """Its training part alone, and its validation part to tune on: as with --split of the same text."""
    Path("test.txt").write_text(Path("text.txt").read_text()[2400:])
    common = ("--json", "--dynamic", "rms", "--tune", "--tune-length", "60")
    named = _json(charrnn("test.txt", "--statistics", "text.txt", *common))
    split = _json(charrnn("text.txt", "--split", "test", *common))
    assert named["dynamic"] == split["dynamic"]
    assert named["tuning"] == split["tuning"]
    whole = _json(charrnn("test.txt", "--statistics", "other.txt", "--json", "--dynamic", "rms"))
    assert whole["dynamic"]["statistics_characters"] == 680


_SPLIT = "text.txt --split test"
_REFUSED = {
    "no training text": (2, "text.txt --dynamic rms", "name that text with --statistics"),
    "no validation text": (2, "text.txt --dynamic sgd --tune", "name it with --tune-on"),
    "tuned on what is scored": (3, "text.txt --split validation --dynamic sgd --tune", "text that is scored"),
    "tuned on the text itself": (3, "other.txt --tune --tune-on other.txt", "text that is scored"),
    "tuned on a part of it": (3, "text.txt --tune --dynamic rms --statistics text.txt", "text that is scored"),
    "a rate without a rule": (2, f"{_SPLIT} --lr 0.1", "--lr is for --dynamic"),
    "a segment without a rule": (2, f"{_SPLIT} --segment 5", "--segment is for --dynamic"),
    "epsilon under sgd": (2, f"{_SPLIT} --dynamic sgd --epsilon 0.1", "--epsilon is for --dynamic rms"),
    "statistics under sgd": (2, f"{_SPLIT} --dynamic sgd --statistics text.txt", "--statistics are for --dynamic rms"),
    "windows": (2, f"{_SPLIT} --dynamic sgd --protocol windowed", "one stream"),
    "a context of a stream": (2, "text.txt --context 5", "--context is for --protocol windowed"),
    "a text to tune on for nothing": (2, "text.txt --tune-on other.txt", "--tune-on is for --tune"),
    "a length to tune on for nothing": (2, "text.txt --tune-length 9", "--tune-length is for --tune"),
    "nothing to tune": (2, f"{_SPLIT} --tune --temperature 1.2", "nothing to choose"),
    "a rate that runs away": (5, f"{_SPLIT} --dynamic sgd --lr 1e38", "ran away in dynamic evaluation at --lr 1e+38"),
    "too little to take statistics of": (3, f"{_SPLIT} --dynamic rms --segment 5000", "--segment is 5000"),
    "a temperature of nothing": (2, "text.txt --temperature 0", "--temperature is 0"),
    "a prior beyond the whole way": (2, f"{_SPLIT} --dynamic sgd --prior 1.5", "--prior is 1.5"),
}


@pytest.mark.parametrize("kind", _REFUSED)
def test_what_cannot_be_is_refused(charrnn: Command, kind: str) -> None:
    """With the reason and a way out, on one line each."""
    status, command, said = _REFUSED[kind]
    found, out, err = charrnn(*command.split())
    assert (found, out) == (status, "")
    assert said in err, err
    assert " hint: " in err


def test_rules_that_cannot_be() -> None:
    """The same bounds from Python."""
    for wrong in ({"epsilon": 0.0}, {"learning_rate": -1.0}, {"segment": 0}, {"name": "adam"}, {"prior": math.nan}):
        with pytest.raises(UsageError):
            DynamicRule(**wrong)  # type: ignore[arg-type]


def test_what_adapts_is_in_training_mode(learned: CharacterModel) -> None:
    """cuDNN goes back through a layer in training mode only; a score before it leaves the model in the mode it was."""
    ids, seen = _chain(1, 300, 5), set()
    hook = learned.register_forward_hook(
        lambda model, *_: seen.add((model.training, torch.is_inference_mode_enabled()))
    )
    score(learned, ids)
    assert seen == {(False, True)}
    seen.clear()
    score_dynamic(learned, ids, replace(DEFAULTS["sgd"], segment=5))
    hook.remove()
    assert seen == {(True, False)}
