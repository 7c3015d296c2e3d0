"""charrnn: character-level language modelling with recurrent networks, from the command line and from Python.

`load` gives a trained model, `sample` a text at once; both import what they need when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.version import __version__ as __version__

if TYPE_CHECKING:
    from pathlib import Path

    from charrnn.config import DeviceName, WeightsName
    from charrnn.pretrained import Pretrained


def load(
    path: str | Path | None = None,
    *,
    device: DeviceName = "cpu",
    weights: WeightsName = "float32",
    threads: int | None = None,
) -> Pretrained:
    """A trained model from a checkpoint file or a run's folder: see `charrnn.pretrained.load`."""
    from charrnn.pretrained import load as load_pretrained

    return load_pretrained(path, device=device, weights=weights, threads=threads)


def sample(prime: str = "", *, checkpoint: str | Path | None = None, **settings: Any) -> str:
    """A text that a trained model writes after `prime`: see `charrnn.pretrained.Pretrained.sample`."""
    return load(checkpoint).sample(prime, **settings)
