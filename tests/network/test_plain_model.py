"""A model as plain modules of torch: it computes what the model does, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import charrnn
from charrnn.cells.registry import make_cell
from charrnn.checkpoints.checkpoint import save
from charrnn.errors import UsageError
from charrnn.network.plain_model import plain_model
from tests.kit.every_option import V
from tests.kit.tiny import tiny
from tests.kit.variants import models, moved

T, B = 5, 3
MODELS = models()
PLAIN = {name: config for name, config in MODELS.items() if make_cell(config).core.at_rest().kernel is not None}
OTHERS = sorted(set(MODELS) - set(PLAIN))


def _ids(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, V, shape))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_modules_compute_what_the_model_does(name: str) -> None:
    """Logits and states of a window, and of the next one that goes on from there; a call without a state begins at
    zero. All modules are torch's own."""
    model = moved(PLAIN[name])
    plain = plain_model(model.config, model.numpy_arrays())
    assert not plain.training
    kinds = {type(module) for module in plain.modules()} - {type(plain)}
    assert kinds <= {nn.Embedding, nn.LSTM, nn.GRU, nn.RNN, nn.Linear, nn.Dropout, nn.ModuleList}
    ids, state, ours = _ids(2 * T, B), None, model.zero_state(B)
    with torch.no_grad():
        for window in (ids[:T], ids[T:]):
            expected, ours = model(window, ours)
            logits, state = plain(window, state)
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(state, ours, rtol=1e-5, atol=1e-5)


def test_the_plain_cells_are_among_them_and_others_too() -> None:
    """So that the two tests beside this one are about something."""
    words = " ".join(PLAIN)
    for part in ("cell=lstm", "cell=gru", "cell=rnn", "relu", "tie", "dense", "residual", "sum", "orthogonal"):
        assert part in words
    assert len(OTHERS) > 12


@pytest.mark.parametrize("name", OTHERS)
def test_what_modules_of_torch_cannot_do_is_refused(name: str) -> None:
    """With the cell in words, and where to look instead."""
    model = moved(MODELS[name])
    with pytest.raises(UsageError, match="torch has no module that computes what this cell does: ") as caught:
        plain_model(model.config, model.numpy_arrays())
    assert "charrnn help layout" in str(caught.value)


def test_a_tied_decoder_is_one_array_with_the_embedding() -> None:
    """Also when the modules are trained further."""
    model = moved(MODELS["tie=True embedding_size=10"])
    plain = plain_model(model.config, model.numpy_arrays())
    assert plain.decoder.weight is plain.embedding.weight
    assert len(list(plain.parameters())) == 1 + 2 * 4 + 1


def test_a_loaded_model_becomes_modules() -> None:
    """They score a text as the model does, their weights are their own, and the model goes on as before."""
    path = Path("checkpoints/one/best.safetensors")
    path.parent.mkdir(parents=True)
    save(path, tiny(cell="gru"))
    model, text = charrnn.load(), "abc def\ngh ab ba cab\n" * 4
    expected = model.score(text).nats
    plain = model.to_torch()
    ids = torch.from_numpy(model.vocabulary.encode(text).astype(np.int64))
    with torch.no_grad():
        logits, _ = plain(ids[:-1, None])
        nats = nn.functional.cross_entropy(logits[:, 0].double(), ids[1:], reduction="sum")
        assert float(nats) == pytest.approx(expected, abs=1e-4)
        for parameter in plain.parameters():
            parameter.zero_()
    assert model.score(text).nats == expected
