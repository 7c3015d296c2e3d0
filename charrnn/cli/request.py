"""What `charrnn train` is asked for, put together from the command line, a file of settings, and a run's folder.

What the command line says wins over the file, and the file over the run; of budgets, and of `name` and `out`, one takes
the place of the other. A preset that the command line names wins over the file, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn.checkpoints.config_file import is_config
from charrnn.checkpoints.folder import Run
from charrnn.cli.going_on import WAYS
from charrnn.errors import UsageError
from charrnn.text import catalogue
from charrnn.training.plan import with_preset
from charrnn.training.request import OF_THE_PLACE, Order, Said, check_place, over, read_file, settle


def make_order(said: Said) -> Order:
    """Returns what the command line asks for, together with the file and the run that it names.

    Raises UsageError where the places contradict themselves, and TextError or CheckpointError where a run that is named
    cannot go on.
    """
    check_place(said.settings["launch"])
    file = said.settings["launch"].get("config")
    request = said.with_preset()
    launch, corpus = dict(said.settings["launch"]), said.corpus
    if file is not None:
        written = _read_file(Path(file))
        check_place(written.settings["launch"])
        request = over(request, written.request())
        if said.preset is None and written.preset is not None:
            request = with_preset(request, written.preset)
        launch = _launch_over(launch, written.settings["launch"])
        corpus = corpus or written.corpus
    if not corpus:
        raise UsageError(
            "charrnn train needs a text",
            "name a file, a folder or a corpus, such as charrnn train stdlib, or - for standard input",
            "or name the folder of a run that is to go on",
        )
    return settle(request, corpus, launch, WAYS)


def _launch_over(top: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    if any(name in top for name in OF_THE_PLACE):
        below = {name: value for name, value in below.items() if name not in OF_THE_PLACE}
    return {**below, **top}


def _read_file(path: Path) -> Said:
    """Reads the file of --config; of a run's folder its config.json."""
    if os.path.isdir(path) and is_config(Run(path).config):
        path = Run(path).config
    written = read_file(path)
    settings = dict(written.settings)
    launch = settings["launch"] = dict(settings["launch"])
    if "validation" in launch:
        launch["validation"] = _placed_beside(path, launch["validation"])
    if "out" in launch:
        launch["out"] = path.parent / launch["out"]
    for model in ("init_from", "distill_from"):
        if model in launch and os.path.lexists(path.parent / launch[model]):
            launch[model] = path.parent / launch[model]
    return Said([_placed_beside(path, word) for word in written.corpus], written.preset, settings)


def _placed_beside(file: Path, word: str) -> str:
    """Returns a text that a file names: relative to the file, unless it is - or is known by that name."""
    beside = file.parent / word
    if word == "-" or (not os.path.lexists(beside) and catalogue.is_known(word)):
        return word
    return str(beside)
