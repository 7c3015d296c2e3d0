"""Orthogonal recurrence: the exponential against torch's and against eigenvalues, and what training leaves orthogonal.

The cells themselves are among the variants of `test_cell_variants.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.orthogonal import Orthogonal, exponential, exponential_on_device, rotations
from charrnn.cells.parameters import parameter_shapes, written_out
from charrnn.cells.registry import is_plain, is_plain_in_training, make_cell
from charrnn.errors import UsageError
from charrnn.inference.make_engine import has_compiled_step
from charrnn.network.layers import KernelLayer
from charrnn.network.model import CharacterModel
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.run import RunConfig
from charrnn.training.learner import Learner
from charrnn.training.plan import Plan

H, G, I, T, B, V = 9, 3, 5, 6, 4, 7  # noqa: E741 - the letter the equations use


def _skew(size: float, seed: int = 0, hidden: int = H) -> torch.Tensor:
    """(G, H, H) whose eigenvalues are at most i `size` apart from zero."""
    drawn = torch.randn(G, hidden, hidden, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = drawn - drawn.mT
    return x * (size / torch.linalg.matrix_norm(x, 2).max())


@pytest.mark.parametrize("size", [0.0, 0.01, 0.5, 3.0, 40.0, 300.0])
def test_the_exponential_is_torchs(size: float) -> None:
    """However large; in numpy the same; without asking the device how large it is the same."""
    x = _skew(size)
    truth, tolerance = torch.matrix_exp(x), max(size, 1.0) * 3e-8
    torch.testing.assert_close(exponential(x), truth, rtol=0, atol=tolerance)
    torch.testing.assert_close(exponential_on_device(x), exponential(x), rtol=0, atol=1e-11)
    np.testing.assert_allclose(exponential(x.numpy()), exponential(x).numpy(), rtol=0, atol=1e-11)


def test_the_exponential_turns_by_its_eigenvalues() -> None:
    """i X is Hermitian: exp(X) = V exp(-i w) V^H, of which the imaginary part is nothing."""
    x = _skew(7.0).numpy()
    values, vectors = np.linalg.eigh(1j * x)
    expected = vectors @ (np.exp(-1j * values)[..., None] * vectors.conj().swapaxes(1, 2))
    np.testing.assert_allclose(expected.imag, 0, atol=1e-12)
    np.testing.assert_allclose(exponential(x), expected.real, atol=3e-7)


def test_rotations_are_orthogonal_to_rounding() -> None:
    """Every gate's block by itself, in float32 and float64, for angles of several turns; with determinant 1."""
    skew = _skew(12.0, hidden=32).reshape(-1, 32) / 2
    for array, tolerance in ((skew, 1e-6), (skew.float(), 3e-6), (skew.float().numpy(), 3e-7)):
        blocks = np.asarray(rotations(array), np.float64).reshape(G, 32, 32)
        np.testing.assert_allclose(blocks.swapaxes(1, 2) @ blocks, np.eye(32)[None].repeat(G, 0), atol=tolerance)
        np.testing.assert_allclose(np.linalg.det(blocks), 1, atol=3e-5)


def test_its_gradient_is_that_of_finite_differences() -> None:
    """Through every squaring; and what cannot be computed gives what is not a number, not an error."""
    skew = _skew(2.0, hidden=4).reshape(-1, 4).requires_grad_()
    assert torch.autograd.gradcheck(rotations, (skew,))
    assert torch.autograd.gradcheck(lambda x: exponential_on_device(x.view(G, 4, 4) - x.view(G, 4, 4).mT), (skew,))
    for bad in (math.nan, math.inf, 1e30):
        assert not torch.isfinite(rotations(torch.full((2, 2), bad).triu())).all()


def test_angles_begin_between_minus_pi_and_pi() -> None:
    """One for every two units, the same spread in numpy: a rotation of neighbours, the odd unit out stands still."""
    config = ModelConfig(cell="gru", hidden_size=41, embedding_size=I, orthogonal=True)
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    for arrays in (model.numpy_arrays(), untrained_arrays(config, V)):
        skew = arrays["layers.1.skew_hh"].reshape(3, 41, 41)
        places = np.arange(0, 40, 2)
        angles = skew[:, places, places + 1]
        assert np.count_nonzero(skew) == angles.size
        assert -math.pi < angles.min() < -2.5
        assert 2.5 < angles.max() < math.pi
        block = rotations(arrays["layers.1.skew_hh"])[:41]
        c, s = math.cos(angles[0, 3]), math.sin(angles[0, 3])
        np.testing.assert_allclose(block[6:8, 6:8], [[c, s], [-s, c]], atol=1e-6)
        assert block[40, 40] == 1


def _learner(**settings: Any) -> Learner:
    model = {"hidden_size": 12, "embedding_size": I, "orthogonal": True, **settings}
    training = TrainingConfig(batch_size=B, bptt=T, weight_decay=0.5, precision="fp32")
    return Learner(ModelConfig(**model), training, V, torch.device("cpu"))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_training_changes_the_angles_and_leaves_the_matrices_orthogonal(cell: str) -> None:
    """In numpy and in torch, after forty steps."""
    learner = _learner(cell=cell)
    before = learner.model.numpy_arrays()["layers.1.skew_hh"].copy()
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(1))
    for _ in range(40):
        learner.step(ids[:-1], ids[1:], 0.02)
    skew = learner.model.numpy_arrays()["layers.1.skew_hh"]
    assert np.abs(skew - before).max() > 0.05
    for made in (rotations(skew), rotations(torch.from_numpy(skew)).numpy()):
        blocks = made.reshape(-1, 12, 12).astype(np.float64)
        np.testing.assert_allclose(blocks.swapaxes(1, 2) @ blocks, np.eye(12)[None].repeat(len(blocks), 0), atol=3e-6)


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd", "rmsprop"])
def test_angles_are_spared_weight_decay(name: str) -> None:
    """With gradients of zero they stay as they are, and the input matrix shrinks."""
    config = ModelConfig(hidden_size=8, embedding_size=I, orthogonal=True)
    training = TrainingConfig(optimizer=name, weight_decay=0.5, batch_size=B, bptt=T)  # type: ignore[arg-type]
    learner = Learner(config, training, V, torch.device("cpu"))
    arrays = learner.model.arrays()
    before = {key: array.detach().clone() for key, array in arrays.items()}
    learner._updater.step([torch.zeros_like(array) for array in arrays.values()], 0)
    assert torch.equal(arrays["layers.1.skew_hh"], before["layers.1.skew_hh"])
    assert not torch.equal(arrays["layers.1.weight_ih"], before["layers.1.weight_ih"])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_torchs_kernel_computes_what_the_fused_path_does(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, state and gradients: what runs on a GPU, with the matrix that was made for the window."""
    torch.manual_seed(0)
    layer = KernelLayer(make_cell(ModelConfig(cell=cell, orthogonal=True)), I, H).double()  # type: ignore[arg-type]
    x = torch.randn(T, B, I, dtype=torch.float64)
    state = layer.cell.zero_state(layer.arrays(), B)
    found = []
    for is_fused in (True, False):
        if not is_fused:
            monkeypatch.setattr("charrnn.network.layers.is_available", lambda *_: False)
        layer.zero_grad()
        output, after = layer(x, state)
        output.square().sum().backward()
        found.append([output, *after, *(array.grad.clone() for array in layer.arrays().values())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_it_is_a_plain_cell_once_its_matrix_is_made() -> None:
    """For training, sampling and the compiled step; written out it is the plain model with the same numbers."""
    config, plain = (ModelConfig(hidden_size=H, embedding_size=I, orthogonal=each) for each in (True, False))
    assert is_plain(config)
    assert is_plain_in_training(config)
    assert has_compiled_step(config) == has_compiled_step(plain)
    assert not is_plain_in_training(ModelConfig(orthogonal=True, zoneout=0.1))
    assert isinstance(make_cell(ModelConfig(orthogonal=True, zoneout=0.1)), Orthogonal)
    arrays = untrained_arrays(config, V)
    written, made = written_out(config, arrays)
    assert written == plain
    assert {name: array.shape for name, array in made.items()} == parameter_shapes(plain, V)
    np.testing.assert_array_equal(made["layers.1.weight_hh"], rotations(arrays["layers.1.skew_hh"]))
    assert written_out(plain, made) == (plain, made)


def test_a_penalty_on_what_is_orthogonal_is_refused() -> None:
    """It would have nothing to pull at."""
    with pytest.raises(UsageError, match="--orthogonal-penalty does not go with --orthogonal"):
        Plan(
            model=ModelConfig(orthogonal=True),
            data=DataConfig(),
            training=TrainingConfig(orthogonal_penalty=0.1),
            run=RunConfig(),
            budget=Budget(steps=1),
            requested={},
        )


def test_rotations_are_made_of_exact_products_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: never of TF32 ones, which would not stay orthogonal, and never in float64, which most GPUs are slow
    at; what is set outside is left as it is."""
    from charrnn.cells import orthogonal

    seen = []

    def on_device(x: torch.Tensor) -> torch.Tensor:
        seen.append((x.dtype, torch.backends.cuda.matmul.allow_tf32))
        return exponential_on_device(x)

    monkeypatch.setattr(orthogonal, "exponential", on_device)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        turned = rotations(_skew(3.0).reshape(-1, H).float())
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert seen == [(torch.float32, False)]
    blocks = turned.reshape(-1, H, H)
    torch.testing.assert_close(blocks @ blocks.mT, torch.eye(H).expand(G, H, H), rtol=0, atol=3e-6)
