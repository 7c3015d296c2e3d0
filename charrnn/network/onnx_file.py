"""Writes a checkpoint's model as an ONNX file that describes itself. Torch is not needed."""

from __future__ import annotations

import json
from pathlib import Path

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.described import METADATA_KEY
from charrnn.files import replace_durably, write_content
from charrnn.inference.onnx_step import step_model
from charrnn.network.open_engine import check_single

_SAID = ("version", "model", "vocabulary", "data", "corpus")


def write_onnx(path: Path, loaded: Checkpoint) -> None:
    """Writes the graph of one step, with what the checkpoint says of model, vocabulary and corpus, to a file.

    Raises UsageError as `step_model` does, for an ensemble, and where the file cannot be written.
    """
    check_single(loaded, "an ONNX file")
    about = {name: value for name, value in loaded.metadata().items() if name in _SAID}
    content = step_model(loaded.model, loaded.parameters, {METADATA_KEY: json.dumps(about)})
    replace_durably(path, lambda temporary: write_content(temporary, content))
