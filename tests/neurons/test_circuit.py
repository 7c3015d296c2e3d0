"""Circuits: masked units against a step by hand, gradients against differences, and sets against all subsets."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from charrnn.cells.parameters import layer_parameters, parameter_shapes
from charrnn.checkpoints.checkpoint import save
from charrnn.errors import TextError, UsageError
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.network.loss_gradient import loss_gradient
from charrnn.neurons.circuit import RANDOM_SETS, SEARCHED, Circuit, find_circuit
from charrnn.neurons.clamping import clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.ends import FEWEST, WARM_UP, read_ends
from charrnn.neurons.labels import Label, labels_of
from charrnn.neurons.record import Unit, losses_of
from charrnn.neurons.subnetwork import Maskable, mean_outputs
from charrnn.settings.config import ModelConfig
from tests.kit.command import Command
from tests.kit.quotes import CONFIG, IDS, INSIDE, PLANTED, TEXT, VOCABULARY, H, planted_arrays
from tests.kit.tiny import tiny

L, E, V, T, B = 2, 5, 7, 40, 3
UNITS = 6
READ = np.random.default_rng(6).integers(0, V, (T, B))
SCORED = np.random.default_rng(7).random((T, B)) < 0.3
SCORED[0] = False
VARIANTS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "activation": "relu"},
    "peepholes": {"peephole": True},
    "coupled": {"coupled": "tied"},
    "zoneout": {"zoneout": 0.2, "zoneout_cell": 0.1},
    "orthogonal": {"cell": "rnn", "orthogonal": True},
    "dense": {"skip": "dense"},
    "residual": {"skip": "residual", "embedding_size": UNITS, "tie": True, "cell": "gru"},
    "sum": {"skip": "sum", "cell": "gru"},
}


def _model(wiring: Mapping[str, Any]) -> tuple[ModelConfig, dict[str, npt.NDArray[np.float64]]]:
    shape = {"cell": "lstm", "num_layers": L, "hidden_size": UNITS, "embedding_size": E}
    config = ModelConfig(**{**shape, **wiring})  # type: ignore[arg-type]
    random = np.random.default_rng(5)
    return config, {name: random.normal(0, 0.5, of) for name, of in parameter_shapes(config, V).items()}


def _maskable(variant: str) -> Maskable:
    config, arrays = _model(VARIANTS[variant])
    return Maskable(config, arrays, np.random.default_rng(8).uniform(-0.9, 0.9, (L, UNITS)))


def _nats(engine: Any) -> float:
    """The mean loss of the characters that are scored, by any engine."""
    state, losses = engine.zero_state(B), []
    for t in range(T - 1):
        logits, state = engine.step(READ[t], state)
        exact = logits.astype(np.float64)
        each = np.log(np.exp(exact).sum(1)) - exact[np.arange(B), READ[t + 1]]
        losses += each[SCORED[t + 1]].tolist()
    return float(np.mean(losses))


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1 / (1 + np.exp(-x))


def _by_hand(cell: str, masks: npt.NDArray[Any], means: npt.NDArray[Any]) -> float:
    """The same loss from the equations, where each reader of an output h reads a h + (1 - a) m, in float64."""
    _, arrays = _model({"cell": cell})
    p = [layer_parameters(arrays, layer) for layer in range(1, L + 1)]
    h, c, losses = [np.zeros((B, UNITS)) for _ in range(L)], [np.zeros((B, UNITS)) for _ in range(L)], []
    for t in range(T - 1):
        x = arrays["embedding"][READ[t]]
        for layer in range(L):
            q, read = p[layer], masks[layer] * h[layer] + (1 - masks[layer]) * means[layer]
            a = x @ q["weight_ih"].T + q.get("bias", q.get("bias_ih", 0))
            b = read @ q["weight_hh"].T + q.get("bias_hh", 0)
            if cell == "lstm":
                i, f, g, o = np.split(a + b, 4, axis=1)
                c[layer] = _sigmoid(f) * c[layer] + _sigmoid(i) * np.tanh(g)
                h[layer] = _sigmoid(o) * np.tanh(c[layer])
            elif cell == "gru":  # the unit itself goes on from its own h
                (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
                z = _sigmoid(a_z + b_z)
                h[layer] = (1 - z) * np.tanh(a_n + _sigmoid(a_r + b_r) * b_n) + z * h[layer]
            else:
                h[layer] = np.tanh(a + b)
            x = masks[layer] * h[layer] + (1 - masks[layer]) * means[layer]
        logits = x @ arrays["decoder.weight"].T + arrays["decoder.bias"]
        each = np.log(np.exp(logits).sum(1)) - logits[np.arange(B), READ[t + 1]]
        losses += each[SCORED[t + 1]].tolist()
    return float(np.mean(losses))


def _slope(loss: Callable[[npt.NDArray[Any]], float], place: tuple[int, ...]) -> float:
    """The derivative of a loss with regard to one mask: differences of the fourth order (Fornberg 1988)."""
    step = np.zeros((L, UNITS))
    step[place] = 1e-4
    return (8 * (loss(step) - loss(-step)) - (loss(2 * step) - loss(-2 * step))) / 12e-4


def _masks(seed: int, held: tuple[int, int] = (3, 2)) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Masks of 0 to 1 for some units, 0 for the others, so many of each layer, and which are not held."""
    random = np.random.default_rng(seed)
    kept = np.ones((L, UNITS), bool)
    for layer, many in enumerate(held):
        kept[layer, random.permutation(UNITS)[:many]] = False
    return random.uniform(0.2, 1, (L, UNITS)) * kept, kept


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_masked_network_is_the_step_by_hand(cell: str) -> None:
    """To 1e-9, with masks between 0 and 1, and of the network that is cut down to the units that are kept."""
    model = _maskable(cell)
    for seed in range(3):
        masks, kept = _masks(seed)
        config, arrays = model.network(masks)
        assert config.hidden_size == kept.sum(1).max() < UNITS
        assert _nats(Network(config, arrays)) == pytest.approx(_by_hand(cell, masks, model.means), abs=1e-9)
        assert _nats(Network(*model.network(masks, np.ones_like(kept)))) == pytest.approx(
            _by_hand(cell, masks, model.means), abs=1e-9
        )


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("held", [(0, 0), (3, 2), (0, 4), (6, 1)])
def test_the_gradient_is_that_of_the_step_by_hand(cell: str, held: tuple[int, int]) -> None:
    """Against differences of the loss by hand, in float64: to 1e-9."""
    model = _maskable(cell)
    masks, kept = _masks(4, held)
    _, gradients = loss_gradient(*model.network(masks, kept), READ, SCORED, dtype=torch.float64)
    found = model.mask_gradient(gradients, kept)
    for place in map(tuple, np.argwhere(kept)):
        wanted = _slope(lambda step: _by_hand(cell, masks + step, model.means), place)
        assert found[place] == pytest.approx(wanted, rel=1e-8, abs=1e-9)
    assert not found[~kept].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_cell_that_can_be_held_has_masks(variant: str) -> None:
    """Units at 0 are those that `clamp` holds, and the gradient is that of the loss, by differences."""
    model = _maskable(variant)
    masks, kept = _masks(1)
    loss, gradients = loss_gradient(*model.network(masks, kept), READ, SCORED, dtype=torch.float64)
    assert loss == pytest.approx(_nats(Network(*model.network(masks))), abs=1e-9)
    found = model.mask_gradient(gradients, kept)
    for place in map(tuple, np.argwhere(kept)[::2]):
        wanted = _slope(lambda step: _nats(Network(*model.network(masks + step, kept))), place)
        assert found[place] == pytest.approx(wanted, rel=1e-8, abs=1e-9)
    config, arrays = with_own_columns(*_model(VARIANTS[variant]))
    # A unit without bounds is given to `clamp` by its tanh.
    values = np.tanh(model.means) if variant in ("relu",) else model.means
    low = 0.0 if variant == "relu" else -1.0
    model.means[:] = np.maximum(model.means, low)
    held = {Unit(n + 1, "h", i): float(max(values[n, i], low)) for n, i in np.argwhere(~kept).tolist()}
    clamped = make_engine(config, clamp(config, {n: a.astype(np.float32) for n, a in arrays.items()}, held))
    assert _nats(make_engine(*model.network(kept.astype(float)))) == pytest.approx(_nats(clamped), rel=1e-5)


def test_the_gradient_in_float32_is_the_same_to_its_accuracy() -> None:
    """And windows, through which it does not flow back, leave the loss as it is."""
    model = _maskable("lstm")
    network = model.network(np.ones((L, UNITS)))
    exact, gradients = loss_gradient(*network, READ, SCORED, dtype=torch.float64)
    for window in (500, 9):
        loss, rough = loss_gradient(*network, READ, SCORED, window=window)
        assert loss == pytest.approx(exact, abs=1e-6)
        if window == 500:
            for name, array in gradients.items():
                assert rough[name] == pytest.approx(array, abs=1e-6), name


def test_a_document_is_read_from_the_zero_state() -> None:
    """Its end has an id, before which every lane begins anew, in the engine and in the gradient's passes alike."""
    network = _maskable("lstm").network(np.ones((L, UNITS)))
    bits = losses_of(make_engine(*network, end=3), READ)[SCORED].mean()
    loss, _ = loss_gradient(*network, READ, SCORED, end=3)
    assert loss / np.log(2) == pytest.approx(bits, abs=1e-5)
    assert loss != pytest.approx(loss_gradient(*network, READ, SCORED)[0], abs=1e-3)


def test_means_are_those_of_h() -> None:
    """Of an h without bounds too, of which other views show the tanh."""
    config, arrays = _model(VARIANTS["relu"])
    engine = Network(config, arrays)
    state, seen = engine.zero_state(1), []
    for id_ in READ[:, 0]:
        _, state = engine.step([id_], state)
        seen.append([layer[0][0] for layer in state])
    assert mean_outputs(Network(config, arrays), READ[:, 0]) == pytest.approx(np.mean(seen, 0), rel=1e-6)
    assert np.max(seen) > 1


def test_a_cell_that_cannot_be_held_is_refused() -> None:
    """With its name, before anything is read."""
    config = ModelConfig(cell="lstm", num_layers=1, hidden_size=4, layer_norm=True)
    with pytest.raises(UsageError, match="cannot be held in this model"):
        Maskable(config, {}, np.zeros((1, 4)))


def _label(name: str = INSIDE) -> Label:
    return next(label for label in labels_of(TEXT) if label.name == name)


@functools.cache
def _planted() -> Circuit:
    return find_circuit(CONFIG, planted_arrays(), IDS, _label(), loss_gradient, within=0.1)


def test_the_planted_unit_is_the_circuit() -> None:
    """Of the net made by hand, whose closing quotes read one unit: no other unit is in it, and no random set keeps the
    loss but one that has the unit."""
    found = _planted()
    assert [member.unit for member in found.members] == [Unit(1, "h", PLANTED)]
    assert found.units == H
    for losses in (found.first, found.second):
        assert losses.is_kept
        assert losses.circuit == pytest.approx(losses.whole, abs=1e-4)
        assert losses.held - losses.whole > 1
        assert losses.target == pytest.approx(losses.whole + max(losses.whole, losses.held - losses.whole) / 10)
    assert found.members[0].cost == pytest.approx(found.first.held - found.first.circuit, abs=1e-4)
    assert len(found.random) == RANDOM_SETS
    assert found.random == sorted(found.random)
    assert found.random[-1] == pytest.approx(found.second.held, abs=1e-4)


def test_without_a_reader_no_unit_is_needed() -> None:
    """The loss is that of the whole model with all units held."""
    found = find_circuit(CONFIG, planted_arrays(is_read=False), IDS, _label(), loss_gradient, within=0.1)
    assert found.members == []
    assert found.random == []
    assert found.second.is_kept


def test_a_circuit_is_minimal_and_not_far_from_the_smallest() -> None:
    """Of random models, against all subsets there are: every single unit is needed, by `clamp` and a plain reading."""
    config = ModelConfig(cell="lstm", num_layers=1, hidden_size=UNITS, embedding_size=E)
    shapes = parameter_shapes(config, 9)
    many = 0
    for seed in range(6):
        random = np.random.default_rng(seed)
        arrays = {name: random.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}
        # A text of the model's own, so that its units are worth something.
        engine, ids = make_engine(config, arrays), [0]
        state = engine.zero_state(1)
        for _ in range(1500):
            logits, state = engine.step(ids[-1:], state)
            odds = np.exp(logits[0].astype(float) - logits.max())
            ids.append(int(random.choice(9, p=odds / odds.sum())))
        text = np.array(ids)
        label = Label("threes", np.zeros(len(text), np.float32), ends=text % 3 == 0)
        found = find_circuit(config, arrays, text, label, loss_gradient, within=0.01)
        reading = read_ends(text[:750], (text % 3 == 0)[:750] & (np.arange(750) > 0), SEARCHED, "", "first")
        means = mean_outputs(make_engine(config, arrays), text[:750])[0]

        def loss(kept: set[int]) -> float:
            held = {Unit(1, "h", each): float(means[each]) for each in range(UNITS) if each not in kept}  # noqa: B023
            read = losses_of(make_engine(config, clamp(config, arrays, held)), reading.ids)  # noqa: B023
            return float(read[reading.scored].mean())  # noqa: B023

        kept = {member.unit.index for member in found.members}
        assert loss(kept) == pytest.approx(found.first.circuit, abs=1e-5)
        assert loss(kept) <= found.first.target + 1e-5
        for member in found.members:
            without = loss(kept - {member.unit.index})
            assert without > found.first.target - 1e-5
            assert member.cost == pytest.approx(without - found.first.circuit, abs=1e-5)
        sizes = [len(few) for k in range(UNITS + 1) for few in itertools.combinations(range(UNITS), k)
                 if loss(set(few)) <= found.first.target]  # fmt: skip
        assert len(kept) <= sizes[0] + 1
        many += len(kept)
    assert many > 12


def test_ends_are_read_in_stretches_spread_over_the_half() -> None:
    """About as many as asked for, or all; each once; none in the warm-up, of which a short half has less."""
    ends = np.zeros(50_000, bool)
    ends[::20] = True
    reading = read_ends(np.arange(50_000), ends, SEARCHED, "x", "first")
    assert SEARCHED <= reading.ends <= SEARCHED + 64
    assert (np.diff(reading.ids, axis=0) == 1).all()
    assert not reading.scored[:WARM_UP].any()
    taken = reading.ids[reading.scored]
    assert ends[taken].all()
    assert len(set(taken.tolist())) == len(taken)
    assert taken.min() < 3000
    assert taken.max() > 45_000
    everything = read_ends(np.arange(50_000), ends, 9999, "x", "first")
    assert everything.ends >= ends[WARM_UP:].sum() - 2
    short = read_ends(np.arange(600), ends[:600], SEARCHED, "x", "first")
    assert FEWEST <= short.ends == ends[150:600].sum()
    with pytest.raises(TextError, match="x ends 0 times in the second half of the text"):
        read_ends(np.arange(600), np.zeros(600, bool), SEARCHED, "x", "second")
    with pytest.raises(TextError, match="x ends 1 time in"):
        read_ends(np.arange(1), ends[:1], SEARCHED, "x", "first")


def test_ends_that_stand_together_are_read_where_they_are() -> None:
    """However they stand, as many as are wanted are read, each once and with the whole warm-up, and in lanes that are
    hardly longer than the ends need."""
    ends = np.zeros(100_000, bool)
    ends[98_500:99_500:2] = True
    reading = read_ends(np.arange(100_000), ends, SEARCHED, "x", "first")
    assert SEARCHED <= reading.ends <= 500
    assert len(reading.ids) < WARM_UP + 100
    random = np.random.default_rng(3)
    for number in range(300):
        size = int(random.integers(600, 40_000))
        ends, begin = np.zeros(size, bool), 0
        for _ in range(random.integers(1, 4)):  # clusters, some of them at the very end
            begin = int(random.integers(begin, size))
            ends[begin : begin + int(random.integers(1, 900)) : int(random.integers(1, 9))] = True
        warm_up = min(WARM_UP, size // 4)
        there = int(ends[warm_up : size - 32].sum())
        if there < FEWEST:
            continue
        most = int(random.integers(FEWEST, 1000))
        reading = read_ends(np.arange(size), ends, most, "x", "first")
        taken = reading.ids[reading.scored]
        assert len(set(taken.tolist())) == len(taken) == reading.ends >= max(FEWEST, min(most, there) / 2), number
        assert ends[taken].all()
        assert not reading.scored[:warm_up].any()
        for lane, scored in zip(reading.ids.T, reading.scored.T, strict=True):
            last = int(np.flatnonzero(scored)[-1]) if scored.any() else 0
            assert (np.diff(lane[: last + 1]) == 1).all()


def test_a_circuit_in_every_form(command: Command) -> None:
    """JSON and NPZ say what the library found, and the terminal and the page in words; several models are refused."""
    planted = replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=planted_arrays())
    Path("checkpoints/planted").mkdir(parents=True)
    save(Path("checkpoints/planted/best.safetensors"), planted)
    Path("text.txt").write_text(TEXT, "utf-8")
    asked = ("inspect", "text.txt", "--circuit", INSIDE)
    found, told = _planted(), json.loads(command(*asked, "--json").out)
    (member,) = told["circuit"]
    assert (told["label"], told["units"], told["characters"]) == (INSIDE, H, len(TEXT))
    assert member == {"unit": f"L1.h{PLANTED}", **{name: pytest.approx(getattr(found.members[0], name), abs=1e-5)
                                                   for name in ("mean", "cost")}}  # fmt: skip
    for name, losses in (("first", found.first), ("second", found.second)):
        for each in ("whole", "held", "circuit", "target", "ends"):
            assert told[name][each] == pytest.approx(getattr(losses, each), abs=1e-5)
        assert told[name]["is_kept"] is True
        assert told[name]["faithfulness"] == pytest.approx(1, abs=1e-3)
    assert told["random"] == pytest.approx(found.random, abs=1e-5)
    assert command(*asked, "--npz", "a.npz").status == 0
    with np.load("a.npz") as arrays:
        assert arrays["circuit.unit"].tolist() == [f"L1.h{PLANTED}"]
        assert arrays["circuit.cost"] == pytest.approx([found.members[0].cost], abs=1e-5)
        assert arrays["first.circuit"] == pytest.approx(found.first.circuit, abs=1e-5)
        assert arrays["second.target"] == pytest.approx(found.second.target, abs=1e-5)
        assert arrays["random"] == pytest.approx(found.random, abs=1e-5)
    shown = command(*asked).out
    assert f"1 of {H} units keeps the loss where it ends" in shown
    assert "the circuit keeps the target" in shown.replace("\n", " ")
    assert command(*asked, "--html", "page.html").status == 0
    assert "1 of 20 units keeps the loss where it ends" in Path("page.html").read_text("utf-8")
    # Half of the text alone, from a place on: the text before it is not read.
    half = json.loads(command(*asked, "--from", "3000", "--json").out)
    assert half["characters"] == len(TEXT) - 3000
    assert [each["unit"] for each in half["circuit"]] == [f"L1.h{PLANTED}"]
    assert half["first"]["ends"] < told["first"]["ends"]


def test_a_share_that_is_no_number_is_refused(command: Command) -> None:
    """Before anything is read: no loss is within it, so that all units would be the circuit, after a long search."""
    Path("checkpoints/tiny").mkdir(parents=True)
    save(Path("checkpoints/tiny/best.safetensors"), tiny())
    Path("text.txt").write_text("abcd efgh\n" * 60, "utf-8")
    status, _, err = command("inspect", "text.txt", "--circuit", "vowel", "--within", "nan")
    assert status == 2
    assert "--within is nan" in err


def test_several_models_have_no_circuit(command: Command) -> None:
    """An ensemble is refused, and it is said what can be asked instead."""
    one = tiny()
    both = {f"member.{k}.{name}": array for k in (1, 2) for name, array in one.parameters.items()}
    Path("checkpoints/both").mkdir(parents=True)
    save(Path("checkpoints/both/best.safetensors"), replace(one, parameters=both, members=2))
    Path("text.txt").write_text("abcd efgh\n" * 60, "utf-8")
    status, _, err = command("inspect", "text.txt", "--circuit", "vowel")
    assert status == 2
    assert "--circuit is about one model" in err
