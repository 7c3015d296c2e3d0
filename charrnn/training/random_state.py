"""The state of a training's random generator, which goes on exactly on the kind of device that it was saved on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def restore(generator: torch.Generator, saved: npt.NDArray[Any], seed: int, steps: int) -> list[str]:
    """Sets a generator to the state that was `saved`; returns a sentence where its numbers begin anew.

    They do on another kind of device: from the seed and the number of steps that a run has made.
    """
    state = torch.from_numpy(np.array(saved))  # it is handed over on the CPU, whatever the device
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
        return []
    generator.manual_seed(_seed_at(seed, steps))
    return ["its random numbers begin anew: those of one kind of device are not those of another"]


def _seed_at(seed: int, steps: int) -> int:
    """Returns a seed for the random numbers of a run from a step on; it differs for each step."""
    return int(np.random.SeedSequence([seed, steps]).generate_state(1, np.uint64)[0] >> 1)
