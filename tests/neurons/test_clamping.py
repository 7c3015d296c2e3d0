"""A held unit: other weights, against the step with the unit overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from charrnn.cells.cell import Gates, State
from charrnn.cells.parameters import layer_parameters, parameter_shapes
from charrnn.cells.wiring import layer_input
from charrnn.errors import UsageError
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network, NetworkState
from charrnn.network.model import CharacterModel
from charrnn.neurons.clamping import clamp, parse_clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.record import Unit
from charrnn.settings.config import ModelConfig

L, H, E, V, T = 2, 6, 5, 7, 40


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1 / (1 + np.exp(-x))


class _Overwritten(Network):
    """The reference: every step computed from the equations, with the held units overwritten where they arise."""

    def __init__(self, config: ModelConfig, parameters: Mapping[str, Any], held: Mapping[Unit, float]) -> None:
        super().__init__(config, {name: array.astype(np.float64) for name, array in parameters.items()})
        self.held = held
        self.p = [layer_parameters(parameters, layer) for layer in range(1, config.num_layers + 1)]

    def _over(self, layer: int, kind: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        values = values.copy()
        for unit, value in self.held.items():
            if unit.part == (layer, kind):
                values[:, unit.index] = value
        return values

    def zero_state(self, lanes: int = 1) -> NetworkState:
        zero = super().zero_state(lanes)
        return tuple((self._over(layer, "h", state[0]), *state[1:]) for layer, state in enumerate(zero, 1))

    def observe(self, ids: npt.ArrayLike, state: NetworkState) -> tuple[NetworkState, tuple[Gates, ...]]:
        below, states = [self.embedding[np.asarray(ids)]], []
        for layer, old in enumerate(state, 1):
            x = layer_input(self.config.skip, below)
            new = getattr(self, "_" + self.config.cell)(layer, x, old)
            states.append(new)
            below.append(new[0])
        return tuple(states), ()

    def _lstm(self, layer: int, x: Any, state: State) -> State:
        p = self.p[layer - 1]
        rows = x @ p["weight_ih"].T + state[0] @ p["weight_hh"].T + p["bias"]
        i, f, g, o = np.split(rows, 4, axis=1)
        i, f, o = (self._over(layer, kind, _sigmoid(gate)) for kind, gate in zip("ifo", (i, f, o), strict=True))
        c = f * state[1] + i * self._over(layer, "g", np.tanh(g))
        return self._over(layer, "h", o * self._over(layer, "c", np.tanh(c))), c

    def _gru(self, layer: int, x: Any, state: State) -> State:
        p = self.p[layer - 1]
        x_r, x_z, x_n = np.split(x @ p["weight_ih"].T + p["bias_ih"], 3, axis=1)
        h_r, h_z, h_n = np.split(state[0] @ p["weight_hh"].T + p["bias_hh"], 3, axis=1)
        r, z = (self._over(layer, kind, _sigmoid(gate)) for kind, gate in (("r", x_r + h_r), ("z", x_z + h_z)))
        n = self._over(layer, "n", np.tanh(x_n + r * h_n))
        return (self._over(layer, "h", (1 - z) * n + z * state[0]),)

    def _rnn(self, layer: int, x: Any, state: State) -> State:
        p = self.p[layer - 1]
        return (self._over(layer, "h", np.tanh(x @ p["weight_ih"].T + state[0] @ p["weight_hh"].T + p["bias"])),)


def _model(cell: str, **wiring: Any) -> tuple[ModelConfig, dict[str, npt.NDArray[np.float32]]]:
    config = ModelConfig(
        **{"cell": cell, "num_layers": L, "hidden_size": H, "embedding_size": E, **wiring}  # type: ignore[arg-type]
    )
    random = np.random.default_rng(5)
    shapes = parameter_shapes(config, V)
    return config, {name: random.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


IDS = np.random.default_rng(6).integers(0, V, T)
HELD = {
    "lstm": [
        {Unit(1, "h", 3): -0.4}, {Unit(2, "h", 5): 1.0}, {Unit(1, "c", 2): 0.9}, {Unit(2, "c", 0): -1.0},
        {Unit(2, "c", 4): 0.0}, {Unit(1, "i", 1): 0.25}, {Unit(2, "f", 3): 1.0}, {Unit(2, "f", 2): 0.0},
        {Unit(1, "o", 5): 0.6}, {Unit(2, "g", 1): -0.3}, {Unit(1, "g", 1): 1.0},
        {Unit(1, "h", 3): 0.2, Unit(1, "c", 3): 0.7, Unit(2, "c", 3): -0.2, Unit(2, "o", 3): 0.5, Unit(1, "h", 4): 0.1},
    ],
    "gru": [
        {Unit(1, "h", 3): -0.4}, {Unit(2, "h", 5): 1.0}, {Unit(1, "r", 2): 0.0}, {Unit(2, "z", 1): 1.0},
        {Unit(2, "n", 4): -0.7}, {Unit(1, "n", 0): 0.3, Unit(2, "h", 0): 0.5, Unit(2, "h", 1): -0.5},
    ],
    "rnn": [{Unit(1, "h", 3): -0.4}, {Unit(2, "h", 5): 1.0, Unit(1, "h", 5): 0.0}],
}  # fmt: skip


@pytest.mark.parametrize(("cell", "number"), [(cell, number) for cell in HELD for number in range(len(HELD[cell]))])
def test_holding_a_unit_is_overwriting_it(cell: str, number: int) -> None:
    """Logits after every character, of numpy's step, of the engine that inspect uses and of torch's model."""
    held = HELD[cell][number]
    config, arrays = _model(cell)
    before = {name: array.copy() for name, array in arrays.items()}
    changed = clamp(config, arrays, held)
    reference, plain = _Overwritten(config, arrays, held), Network(config, arrays)
    engines = [Network(config, changed), make_engine(config, changed)]
    states, truth, free = [engine.zero_state() for engine in engines], reference.zero_state(), plain.zero_state()
    logits, moved = [], 0.0
    for id_ in IDS:
        wanted, truth = reference.step([id_], truth)
        unheld, free = plain.step([id_], free)
        moved = max(moved, float(np.abs(unheld - wanted).max()))
        logits.append(wanted[0])
        for place, engine in enumerate(engines):
            got, states[place] = engine.step([id_], states[place])
            np.testing.assert_allclose(got, wanted, atol=2e-5)
    assert moved > 0.01, "holding it changes nothing"
    model = CharacterModel(config, V)
    model.load_arrays(changed)
    with torch.no_grad():
        theirs, _ = model(torch.from_numpy(IDS[:, None]), model.zero_state(1))
    np.testing.assert_allclose(theirs[:, 0].numpy(), np.stack(logits), atol=2e-5)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    "wiring",
    [
        {"skip": "residual"},
        {"skip": "residual", "embedding_size": H, "num_layers": 3},
        {"skip": "dense", "num_layers": 3},
        {"skip": "sum", "num_layers": 3},
        {"tie": True, "embedding_size": H},
        {"tie": True, "embedding_size": H, "skip": "sum"},
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", HELD)
def test_past_layers_and_in_a_tied_decoder_too(cell: str, wiring: dict[str, Any]) -> None:
    """Written out with columns of their own, the weights compute what they did; a held unit is held for each reader."""
    config, arrays = _model(cell, **wiring)
    own_config, own = with_own_columns(config, arrays)
    assert {name: array.shape for name, array in own.items()} == parameter_shapes(own_config, V)
    free, spelled = Network(config, arrays), Network(own_config, own)
    for held in HELD[cell]:
        reference, engine = _Overwritten(config, arrays, held), make_engine(own_config, clamp(own_config, own, held))
        states = [one.zero_state() for one in (free, spelled, reference, engine)]
        for id_ in IDS:
            logits = []
            for place, one in enumerate((free, spelled, reference, engine)):
                got, states[place] = one.step([id_], states[place])
                logits.append(got)
            np.testing.assert_allclose(logits[1], logits[0], atol=2e-5)
            np.testing.assert_allclose(logits[3], logits[2], atol=2e-5)


def test_columns_that_are_their_own_stay_where_they_are() -> None:
    """The very same configuration and arrays."""
    for wiring in ({}, {"skip": "dense"}):
        config, arrays = _model("lstm", **wiring)
        own = with_own_columns(config, arrays)
        assert own[0] is config
        assert own[1] is arrays


def test_holding_nothing_changes_nothing() -> None:
    """Not even which arrays these are."""
    config, arrays = _model("lstm")
    assert all(array is arrays[name] for name, array in clamp(config, arrays, {}).items())


def test_a_clamp_is_a_unit_and_a_number() -> None:
    """With a sign or without, within the unit's range; everything else is said in a sentence."""
    lstm, gru = _model("lstm")[0], _model("gru")[0]
    assert parse_clamp("L2.c5=+1", lstm) == (Unit(2, "c", 5), 1.0)
    assert parse_clamp(" L1.z0 = .25", gru) == (Unit(1, "z", 0), 0.25)
    for said, message in (
        ("L2.c5", "write UNIT=VALUE"),
        ("L2.c5=high", "write UNIT=VALUE"),
        ("L2.c5=nan", "write UNIT=VALUE"),
        ("L2.c5=1.5", "it can take on -1 to 1"),
        ("L1.f0=-0.1", "it can take on 0 to 1"),
        ("L3.c5=1", "layers are 1 to 2"),
        ("c5=1", "units are named like"),
        ("L1.z0=1", "its kinds are h, c, i, f, g, o"),
    ):
        with pytest.raises(UsageError) as caught:
            parse_clamp(said, lstm)
        assert message in f"{caught.value} {caught.value.hint}"
