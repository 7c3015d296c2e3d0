"""`charrnn train`: its options, and the request they make.

Imports nothing heavy: this is read for `--help` too. What becomes of a request is told in `training.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cells.names import CELLS
from charrnn.cli.options import Computing, complete_texts, with_options
from charrnn.settings.checks import FLAG, PATH, TEXT, one_of
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.fields import setting
from charrnn.settings.presets import PresetName
from charrnn.settings.run import RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch(Computing):
    """Where a run reads and writes, and how it begins; nothing of this is kept in a checkpoint."""

    preset: PresetName | None = setting(None, one_of(PresetName), "--preset", panel="Model")
    """A published recipe, as far as there are options for it, or best (our own), which other options override and
    --dry-run explains, with how it departs from the paper."""
    out: Path | None = setting(
        None, PATH, "--out", panel="Run", level="everyday", shown="checkpoints/<corpus>", metavar="DIR"
    )
    """The run's folder."""
    dry_run: bool = setting(False, FLAG, "--dry-run", panel="Run")
    """Say what would be done, and with which settings, and stop."""
    fresh: bool = setting(False, FLAG, "--fresh", panel="Run", level="everyday")
    """Start over, with a run in the folder kept aside until the new one has its first validated checkpoint."""
    quiet: bool = setting(False, FLAG, "--quiet", "-q", panel="Run", level="everyday")
    """Print nothing but errors."""
    validation: str | None = setting(None, TEXT, "--validation", panel="Data", level="everyday", metavar="FILE")
    """A file or folder to validate on, instead of a part of the corpus."""
    glob: str | None = setting(None, TEXT, "--glob", panel="Data", metavar="PATTERN")
    """Which files of a folder to read, by name, such as '*.py'."""


@with_options(cell={name: entry.help for name, entry in CELLS.items()})
def train(
    corpus: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, - for standard input, or a corpus known by name: stdlib (your Python's own source "
            "code), tinyshakespeare, warandpeace, enwik8, text8.",
            metavar="CORPUS...",
            show_default=False,
            autocompletion=complete_texts,
        ),
    ],
    *,
    model: Annotated[dict[str, Any], ModelConfig],
    budget: Annotated[dict[str, Any], Budget],
    training: Annotated[dict[str, Any], TrainingConfig],
    data: Annotated[dict[str, Any], DataConfig],
    launch: Launch,
    run: Annotated[dict[str, Any], RunConfig],
) -> None:
    """Train a model on a text. The same command again resumes where the run stopped.

    \b
    charrnn train corpus.txt
    charrnn train stdlib --minutes 2
    charrnn train books/ --cell gru --layers 3 --hidden 512 --epochs 20
    zcat corpus.gz | charrnn train - --out checkpoints/mine
    """
    from charrnn.cli.training import carry_out
    from charrnn.training.plan import TrainRequest, with_preset

    asked = Budget(**budget) if budget else None
    request = TrainRequest(model=model, data=data, training=training, run=run, budget=asked)
    if launch.preset is not None:
        request = with_preset(request, launch.preset)
    request.check()  # bad values are found before any text is read
    signal = carry_out(request, corpus, launch)
    if signal is not None:
        raise typer.Exit(128 + signal)
