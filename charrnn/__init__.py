"""charrnn: character-level language modelling with recurrent networks, from the command line and from Python.

`load` returns a trained model and `sample` a text written by one (`charrnn/pretrained.py`). Both are imported on first
use, since Python runs this file before any other of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.version import __version__

if TYPE_CHECKING:
    from charrnn.pretrained import load, sample

__all__ = ["__version__", "load", "sample"]


def __getattr__(name: str) -> Any:
    if name not in ("load", "sample"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from charrnn import pretrained

    return getattr(pretrained, name)
