"""Skip connections and a tied decoder: torch, numpy and a model written out by hand agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.parameters import parameter_shapes
from charrnn.cells.registry import make_cell
from charrnn.errors import UsageError
from charrnn.inference.compiled import CompiledNetwork
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.network.cudnn import IMAGINED, explain
from charrnn.network.model import CharacterModel
from charrnn.network.speed import REFERENCE, operations
from charrnn.settings.config import Budget, ModelConfig
from charrnn.training.recipe import choose, completed

T, B, V, E, H = 9, 3, 11, 5, 6
WIRINGS: list[dict[str, Any]] = [
    {"skip": "residual", "num_layers": 3},
    {"skip": "residual", "num_layers": 2, "embedding_size": H},
    {"skip": "residual", "num_layers": 1, "embedding_size": H},
    {"skip": "dense", "num_layers": 1},
    {"skip": "dense", "num_layers": 3},
    {"skip": "sum", "num_layers": 3},
    {"tie": True, "num_layers": 2, "embedding_size": H},
    {"tie": True, "num_layers": 2, "embedding_size": H, "skip": "residual"},
    {"tie": True, "num_layers": 3, "embedding_size": H, "skip": "sum"},
]
each = pytest.mark.parametrize("wiring", WIRINGS, ids=str)
cells = pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])


def _config(cell: str = "lstm", **wiring: Any) -> ModelConfig:
    return ModelConfig(**{"cell": cell, "hidden_size": H, "embedding_size": E, **wiring})  # type: ignore[arg-type]


def _model(config: ModelConfig, seed: int = 4) -> CharacterModel:
    model, generator = CharacterModel(config, V), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for array in model.arrays().values():
            array.normal_(std=0.5, generator=generator)
    return model


def _ids() -> torch.Tensor:
    return torch.randint(V, (T, B), generator=torch.Generator().manual_seed(2))


def _by_hand(config: ModelConfig, p: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
    """Logits (T, B, V): the table of `wiring`, one line each."""
    cell, L = make_cell(config), config.num_layers
    E_is_H = config.embedding_size == H
    states = [tuple(torch.zeros(ids.shape[1], H) for _ in cell.state_names) for _ in range(L)]
    weight = p["embedding"] if config.tie else p["decoder.weight"]
    logits = []
    for row in ids:
        e, h = p["embedding"][row], []
        for layer in range(L):
            x = e if layer == 0 else h[-1]
            if config.skip == "residual" and layer:
                x = sum(h) + (e if E_is_H else 0)
            if config.skip == "dense":
                x = torch.cat([e, *h], -1)
            own = {name.split(".")[2]: a for name, a in p.items() if name.startswith(f"layers.{layer + 1}.")}
            states[layer] = cell.step(own, x, states[layer])
            h.append(states[layer][0])
        read = {
            "none": h[-1],
            "residual": sum(h) + (e if E_is_H else 0),
            "dense": torch.cat([e, *h], -1),
            "sum": sum(h),
        }[config.skip]
        logits.append(read @ weight.T + p["decoder.bias"])
    return torch.stack(logits)


@each
@cells
def test_every_path_computes_the_equations(cell: str, wiring: dict[str, Any]) -> None:
    """Torch's model and its gradients, numpy's reference and the engine for this model, against the model by hand."""
    config = _config(cell, **wiring)
    model, ids = _model(config), _ids()
    expected = _by_hand(config, model.arrays(), ids)
    logits, after = model(ids, model.zero_state(B))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(T, B, V, generator=torch.Generator().manual_seed(8))
    names, parameters = zip(*model.arrays().items(), strict=True)
    found, wanted = (torch.autograd.grad((y * weights).sum(), parameters) for y in (logits, expected))
    for name, ours, theirs in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=name)
    for engine in (Network(config, model.numpy_arrays()), make_engine(config, model.numpy_arrays())):
        state = engine.zero_state(B)
        for t in range(T):
            got, state = engine.step(ids[t].numpy(), state)
            np.testing.assert_allclose(got, expected[t].detach().numpy(), atol=1e-5)
        assert np.isfinite(engine.score(ids.numpy(), engine.zero_state(B)).logits).all()
        recorded, _ = engine.record(ids[:, 0].numpy(), engine.zero_state())
        assert recorded["h"].shape == (T, config.num_layers, H)
        np.testing.assert_allclose(recorded["h"][-1], [layer[0][0].detach() for layer in after], atol=1e-5)


def test_the_parameters_are_those_of_the_table() -> None:
    """In the layout; a tied model has no decoder matrix, and its checkpoint none either."""
    dense = parameter_shapes(_config(skip="dense", num_layers=3), V)
    assert [dense[f"layers.{layer}.weight_ih"][1] for layer in (1, 2, 3)] == [E, E + H, E + 2 * H]
    assert dense["decoder.weight"] == (V, E + 3 * H)
    for skip in ("residual", "sum"):
        assert parameter_shapes(_config(skip=skip, num_layers=3), V) == parameter_shapes(_config(num_layers=3), V)
    tied = parameter_shapes(_config(tie=True, embedding_size=H), V)
    assert "decoder.weight" not in tied
    assert list(_model(_config(tie=True, embedding_size=H)).arrays()) == list(tied)


def test_a_tied_matrix_learns_from_both_its_uses() -> None:
    """Its gradient is the sum of the gradients that embedding and decoder have where they are two."""
    tied = _model(_config(tie=True, embedding_size=H))
    apart = CharacterModel(_config(embedding_size=H), V)
    apart.load_arrays({**tied.numpy_arrays(), "decoder.weight": tied.embedding.detach().numpy()})
    for model in (tied, apart):
        logits, _ = model(_ids(), model.zero_state(B))
        logits.square().mean().backward()
    assert apart.embedding.grad is not None
    torch.testing.assert_close(tied.embedding.grad, apart.embedding.grad + apart.decoder.weight.grad)


def test_a_tied_model_keeps_the_compiled_step_and_skips_leave_it() -> None:
    """By what `make_engine` gives; with the reason where int8 was asked for."""
    tied, summed = _config(tie=True, embedding_size=H), _config(skip="sum", num_layers=2)
    assert isinstance(make_engine(tied, _model(tied).numpy_arrays()), CompiledNetwork | InPlaceNetwork)
    assert type(make_engine(summed, _model(summed).numpy_arrays())) is Network
    with pytest.raises(UsageError, match="no compiled step for --skip sum"):
        make_engine(summed, _model(summed).numpy_arrays(), weights="int8")


def test_widths_follow_each_other() -> None:
    """--tie makes the embedding as wide as the layers, whichever was given; kernels and work are told true widths."""
    assert completed({"tie": True, "hidden_size": 7}) == {"tie": True, "hidden_size": 7, "embedding_size": 7}
    assert completed({"tie": True, "embedding_size": 9})["hidden_size"] == 9
    assert completed({"hidden_size": 7}) == {"hidden_size": 7}
    for machine in (REFERENCE, replace(REFERENCE, gpu=IMAGINED)):
        model = choose(10**6, Budget(steps=5), machine, {"tie": True}).model
        assert model.embedding_size == model.hidden_size > 64
    dense = _config(skip="dense", num_layers=3)
    assert operations(dense, V) == 6 * (4 * H * (3 * H + (E + H) + (E + 2 * H)) + V * (E + 3 * H))
    assert operations(_config(num_layers=3), V) == 6 * (4 * H * 5 * H + V * H)
    wide = ModelConfig(skip="dense", num_layers=2, hidden_size=512, embedding_size=100)
    assert "an input of 612" in explain(wide, 64, "fp16", IMAGINED)[1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tie": True}, "the decoder reads 6 numbers, and the embedding it shares has 5"),
        ({"tie": True, "skip": "dense", "embedding_size": H}, "reads all layers side by side"),
        ({"skip": "sum"}, "there is one"),
        ({"skip": "residual"}, "has nothing to add to"),
        ({"skip": "highway"}, "--skip is 'highway'"),
        ({"tie": "yes"}, "--tie is 'yes'"),
    ],
    ids=str,
)
def test_what_cannot_be_wired_is_refused(settings: dict[str, Any], said: str) -> None:
    """With the widths, or the reason."""
    with pytest.raises(UsageError, match=said):
        _config(**settings)
