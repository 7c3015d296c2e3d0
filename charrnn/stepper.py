"""The torch model as something to sample from, a character at a time: for GPUs.

On a CPU `inference/` is faster and needs no torch. Knows one step for a few lanes. Refuses to know text.

Shape letters: B lanes, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charrnn.checkpoint import Checkpoint
from charrnn.model import CharacterModel
from charrnn.recurrent import StackState


class TorchStepper:
    """What `sampling.Stepper` asks for, over a model on a device."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._device = device
        self._model = CharacterModel(checkpoint.model, len(checkpoint.vocabulary))
        self._model.load_arrays(checkpoint.parameters)
        self._model.to(device)

    def zero_state(self, lanes: int = 1) -> StackState:
        """The state before the first character."""
        return self._model.zero_state(lanes)

    def step(self, ids: npt.ArrayLike, state: Any) -> tuple[npt.NDArray[np.float32], StackState]:
        """One character in each lane (B,) -> logits (B, V) and the new state."""
        with torch.inference_mode():
            inputs = torch.as_tensor(np.asarray(ids, np.int64)).unsqueeze(0).to(self._device)
            logits, state = self._model(inputs, state)
            return logits[0].float().cpu().numpy(), state
