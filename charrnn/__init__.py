"""Character-level language modelling with recurrent networks, from Python as from the command line.

    import charrnn

    for event in charrnn.train("corpus.txt", minutes=2):      # what `charrnn train` does
        print(event)
    model = charrnn.load("checkpoints/corpus")
    print(model.sample("Once", length=200))                   # `charrnn sample`
    print(model.score("a text").bits_per_character)           # `charrnn eval`
    memories = model.record("a text").c                       # `charrnn inspect`: numpy arrays

`load` returns a trained model, `sample` writes a text in one call, `train` trains and yields events (the classes of
`charrnn.events`), and `curve` returns the metrics of a run. What goes wrong and can be mended raises a `CharrnnError`,
whose text says what to do. `charrnn help python` shows the manual's page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.errors import CharrnnError
from charrnn.version import __version__

if TYPE_CHECKING:
    from charrnn.python.metrics import curve
    from charrnn.python.pretrained import load, sample
    from charrnn.python.training import train

__all__ = ["CharrnnError", "__version__", "curve", "load", "sample", "train"]

# Python runs this file before any other of the package: what needs numpy is imported on first use.
_MODULES = {"curve": "metrics", "load": "pretrained", "sample": "pretrained", "train": "training"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"charrnn.python.{_MODULES[name]}"), name)
    globals()[name] = found  # once it is here, this function is not asked again
    return found


def __dir__() -> list[str]:
    return [*__all__]
