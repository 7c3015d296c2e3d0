"""The gradient of the loss at chosen characters with regard to every array of a model, by training's own passes.

The characters are read in lanes, and the state is carried from window to window: the gradient flows back through one
window, as in training (truncated BPTT, Williams & Peng 1990, Neural Computation 2(4)).

Shape letters: T time, B lanes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy

from charrnn.network.model import CharacterModel
from charrnn.network.threads import torch_beside
from charrnn.settings.config import ModelConfig

WINDOW = 500
"""How many characters the gradient flows back at most."""


def loss_gradient(
    config: ModelConfig,
    arrays: Mapping[str, npt.NDArray[Any]],
    ids: npt.NDArray[Any],
    scored: npt.NDArray[np.bool_],
    *,
    end: int | None = None,
    window: int = WINDOW,
    dtype: torch.dtype = torch.float32,
) -> tuple[float, dict[str, npt.NDArray[Any]]]:
    """Returns the mean loss, in nats, of those of `ids` (T, B) for which `scored` (T, B) is true, and its gradients.

    Each character is predicted from all before it in its lane, from the zero state on; the first of a lane is not
    scored. The gradients have the names of the arrays. `end` is the id that is read from the zero state.
    """
    model = CharacterModel(config, len(arrays["embedding"]), end).to(dtype).eval()
    model.load_arrays(arrays)
    read, count = torch.from_numpy(np.ascontiguousarray(ids, np.int64)), int(scored[1:].sum())
    wanted = torch.from_numpy(scored)
    state, total = model.zero_state(read.shape[1]), 0.0
    with torch_beside(model.is_compiled):
        for begin in range(0, len(read) - 1, window):
            stop = min(begin + window, len(read) - 1)
            chosen, targets = wanted[begin + 1 : stop + 1], read[begin + 1 : stop + 1]
            is_scored = bool(chosen.any())
            with contextlib.nullcontext() if is_scored else torch.no_grad():
                logits, after, *_ = model(read[begin:stop], state)
            if is_scored:
                loss = cross_entropy(logits[chosen], targets[chosen], reduction="sum") / count
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            state = tuple(tuple(array.detach() for array in layer) for layer in after)
    return total, {
        name: np.zeros(array.shape) if array.grad is None else array.grad.numpy()
        for name, array in model.arrays().items()
    }
