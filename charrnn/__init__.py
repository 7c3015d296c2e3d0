"""charrnn: character-level language modelling with recurrent networks, from the command line and from Python.

`load` gives a trained model, `sample` a text at once (`charrnn/pretrained.py`); they are imported when they are asked
for, since this file is read before anything else of the package.
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
