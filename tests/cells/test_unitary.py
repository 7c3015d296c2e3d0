"""The unitary network: against the product of its matrices, and what holds of it whatever is learned.

The cell itself is among the variants of `test_cell_variants.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.cells.arrays import permuted
from charrnn.cells.registry import check
from charrnn.cells.unitary import URNN
from charrnn.errors import UsageError
from charrnn.network.model import CharacterModel
from charrnn.neurons.gates import gate_kinds
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.choices import OptimizerName
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.training.learner import Learner

B, I, H, V, T = 3, 5, 14, 7, 6  # noqa: E741 - the letter the equations use
n = H // 2


def _drawn(seed: int = 0) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    p = {name: random.normal(size=shape) for name, shape in URNN().shapes(I, H).items()}
    return p, random.normal(size=(B, I)), random.normal(size=(B, H))


def _matrix(p: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """W = D_3 R_2 F^-1 D_2 P R_1 F D_1, factor by factor as a matrix (n, n)."""
    D = [np.diag(np.exp(1j * p[f"angle_{place}"])) for place in (1, 2, 3)]
    R = []
    for place in (1, 2):
        v = p[f"mirror_{place}"][:n] + 1j * p[f"mirror_{place}"][n:]
        R.append(np.eye(n) - 2 * np.outer(v, v.conj()) / np.vdot(v, v).real)
    F = np.array([[np.exp(-2j * np.pi * row * column / n) for column in range(n)] for row in range(n)]) / math.sqrt(n)
    P = np.eye(n)[permuted(np.arange(n))]
    return D[2] @ R[1] @ F.conj().T @ D[1] @ P @ R[0] @ F @ D[0]


def test_a_step_is_the_product_of_its_matrices() -> None:
    """modrelu(W h + V x), number by number; W is unitary."""
    cell, (p, x, h) = URNN(), _drawn()
    W = _matrix(p)
    np.testing.assert_allclose(W.conj().T @ W, np.eye(n), atol=1e-12)
    V_complex = p["weight_ih"][:n] + 1j * p["weight_ih"][n:]
    (got,) = cell.step(p, x, (h,))
    for lane in range(B):
        z = W @ (h[lane, :n] + 1j * h[lane, n:]) + V_complex @ x[lane]
        for unit in range(n):
            size = abs(z[unit])
            expected = z[unit] * max(size + p["modrelu_bias"][unit], 0.0) / size
            assert got[lane, unit] == pytest.approx(expected.real, abs=1e-11)
            assert got[lane, n + unit] == pytest.approx(expected.imag, abs=1e-11)


def test_lengths_are_kept() -> None:
    """|W h| = |h| in float64 and in float32, after a thousand steps without input and bias."""
    cell, (p, _, h) = URNN(), _drawn()
    p["modrelu_bias"][:] = 0
    for kind, tolerance in ((np.float64, 1e-9), (np.float32, 4e-4)):  # its rounding, a thousand times
        arrays, state = cell.derive({name: array.astype(kind) for name, array in p.items()}), h.astype(kind)
        for _ in range(1000):
            state = cell.recur(arrays, (), state)
        assert state.dtype == kind
        np.testing.assert_allclose(np.linalg.norm(state, axis=1), np.linalg.norm(h, axis=1), rtol=tolerance)


def test_the_order_is_always_the_same() -> None:
    """For every machine and version; each place once; on tensors as on arrays, in training after inference too."""
    assert permuted(np.arange(7)).tolist() == [6, 3, 2, 1, 4, 5, 0]
    for size in (1, 2, 160):
        assert sorted(permuted(np.arange(size)).tolist()) == list(range(size))
    with torch.inference_mode():
        assert permuted(torch.arange(11)).tolist() == permuted(np.arange(11)).tolist()
    z = torch.randn(B, 11, requires_grad=True)
    (permuted(z)[:, 0] * 2).sum().backward()
    assert z.grad is not None
    assert int(z.grad.argmax(1)[0]) == permuted(np.arange(11))[0]


def test_the_gradient_at_zero_is_finite() -> None:
    """Where a lane begins from nothing and reads nothing."""
    cell, (p, _, _) = URNN(), _drawn()
    tensors = {name: torch.from_numpy(array).requires_grad_() for name, array in p.items()}
    (h,) = cell.step(tensors, torch.zeros(B, I, dtype=torch.float64), cell.zero_state(tensors, B))
    h.sum().backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(each.grad).all() for each in tensors.values() if each.grad is not None)


def test_it_begins_as_the_paper_says() -> None:
    """Angles of a whole turn, mirrors in -1 to 1, Glorot's V, no biases; by torch and by numpy."""
    config = ModelConfig(cell="urnn", hidden_size=160, embedding_size=40)
    model = CharacterModel(config, V)
    model.initialise(torch.Generator().manual_seed(3))
    for arrays in (model.numpy_arrays(), untrained_arrays(config, V)):
        for place in (1, 2, 3):
            angles = arrays[f"layers.1.angle_{place}"]
            assert -math.pi <= angles.min() < -2.7
            assert 2.7 < angles.max() <= math.pi
        for place in (1, 2):
            mirror = arrays[f"layers.1.mirror_{place}"]
            assert -1 <= mirror.min() < -0.9
            assert 0.9 < mirror.max() <= 1
        bound = (6 / 200) ** 0.5
        assert np.abs(arrays["layers.1.weight_ih"]).max() == pytest.approx(bound, rel=0.01)
        assert not arrays["layers.1.modrelu_bias"].any()
    numbers = sum(array.size for name, array in arrays.items() if name.startswith("layers.1") and "weight" not in name)
    assert numbers == 160 * 4, "3 n angles, 2 n complex numbers of mirrors, n biases"


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_every_optimizer_takes_it(optimizer: OptimizerName) -> None:
    """V is a matrix of the layers, all else is trained as biases are; W stays unitary."""
    training = TrainingConfig(batch_size=B, bptt=T, optimizer=optimizer, state_reset=1.0)
    learner = Learner(ModelConfig(cell="urnn", hidden_size=H, embedding_size=I), training, V, torch.device("cpu"))
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(1))
    before = {name: array.copy() for name, array in learner.model.numpy_arrays().items()}
    losses = [float(learner.step(ids[:-1], ids[1:], 0.02)[0]) for _ in range(30)]
    assert losses[-1] < losses[0]
    after = learner.model.numpy_arrays()
    assert all((after[name] != array).any() for name, array in before.items())
    W = _matrix({name.removeprefix("layers.1."): array.astype(np.float64) for name, array in after.items()})
    np.testing.assert_allclose(W.conj().T @ W, np.eye(n), atol=1e-12)


def test_what_it_has_not_is_refused() -> None:
    """Gates to look at, and a penalty on what is unitary."""
    config = ModelConfig(cell="urnn", hidden_size=H)
    with pytest.raises(UsageError, match="a urnn has no gates, its units are a modrelu"):
        gate_kinds(config)
    with pytest.raises(UsageError, match="does not go with --cell urnn"):
        check(config, TrainingConfig(orthogonal_penalty=0.1))
