"""The curves of a training run, as numpy arrays: `charrnn.curve(folder)`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.checkpoints.folder import METRICS, find_checkpoint
from charrnn.checkpoints.metrics import Entry, is_number, is_report, is_validation, read_metrics
from charrnn.display.notebook import Line, chart, table
from charrnn.display.safe import visible
from charrnn.errors import CheckpointError
from charrnn.settings.keywords import errors_in_python
from charrnn.wording import count

Column = npt.NDArray[np.float64]
_LARGEST = 1e300
"""A gradient's norm may be any number that a float64 holds."""
_EVERY = ("step", "epoch", "characters", "seconds", "train_nats")
_TRAINING = (*_EVERY, "learning_rate", "gradient_norm", "clip_rate", "skipped_steps", "characters_per_second")
_VALIDATION = (*_EVERY, "validation_nats", "validation_bpc")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The metrics of a run as two tables, each a dict of arrays (N,) of float64 of one length, for pandas or a plot.

    A value that a line lacks is nan. Losses are in nats a character, bpc is in bits.
    """

    folder: Path
    training: Mapping[str, Column]
    """A row for each report of training: step, epoch, characters, seconds, train_nats, learning_rate, gradient_norm,
    clip_rate, skipped_steps, characters_per_second."""
    validation: Mapping[str, Column]
    """A row for each validation: step, epoch, characters, seconds, train_nats (the mean since the validation before),
    validation_nats, validation_bpc."""

    def __repr__(self) -> str:
        reports = count(len(self.training["step"]), "report")
        return f"<curve of {visible(str(self.folder), kept='')}: {reports}, {self._validations()}>"

    def _validations(self) -> str:
        bpc = self.validation["validation_bpc"]
        best = f", best {np.nanmin(bpc):.3f} bpc" if np.isfinite(bpc).any() else ""
        return count(len(bpc), "validation") + best

    def _repr_html_(self) -> str:
        rows = {"run": str(self.folder), "validations": self._validations()}
        return table(rows) + self.chart()

    def chart(self) -> str:
        """Returns the curves of training and validation in bits per character as an SVG element."""
        train = _points(self.training, "train_nats", 1 / math.log(2))
        lines = [Line("train", train), Line("validation", _points(self.validation, "validation_nats", 1 / math.log(2)))]
        return chart(lines, x_label="steps", y_label="bpc")


def _points(columns: Mapping[str, Column], name: str, factor: float) -> Sequence[tuple[float, float]]:
    found = np.stack([columns["step"], columns[name] * factor], 1)
    found = found[np.isfinite(found).all(1)]
    most = 400  # more points than a curve of this width can show
    return [(x, y) for x, y in found[:: 1 + len(found) // most].tolist()]


@errors_in_python()
def curve(run: str | os.PathLike[str] | None = None) -> Curve:
    """Returns the metrics of a run so far, also of one that is being trained.

    `run` is a run's folder or a file in it; by default the newest run under checkpoints/. A last line that is only half
    written is left out, as is what is no number. Raises CheckpointError where there is no run.
    """
    path = find_checkpoint(None) if run is None else Path(run)
    if not os.path.exists(path):
        raise CheckpointError(f"there is no run {path}", "name the folder of a run")
    folder = path if path.is_dir() else path.parent
    if not (folder / METRICS).is_file():
        raise CheckpointError(f"there is no {METRICS} in {folder}", "name the folder of a run")
    return read_curve(folder)


def read_curve(folder: Path) -> Curve:
    """Returns the metrics in a run's folder, which are empty where it has none yet."""
    lines = read_metrics(folder / METRICS)
    reports, validations = list(filter(is_report, lines)), list(filter(is_validation, lines))
    return Curve(folder, _columns(reports, _TRAINING), _columns(validations, _VALIDATION))


def _columns(lines: Sequence[Entry], names: Sequence[str]) -> dict[str, Column]:
    def number(value: Any) -> float:
        return float(value) if is_number(value, _LARGEST) else math.nan

    return {name: np.array([number(line.get(name)) for line in lines], np.float64) for name in names}
