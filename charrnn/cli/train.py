"""`charrnn train`: its options, and the request they make.

Imports nothing heavy: this is read for `--help` too. What becomes of a request is told in `training.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from charrnn.cells.names import CELLS
from charrnn.cli.options import complete_texts, with_options
from charrnn.settings.config import Budget, DataConfig, ModelConfig, TrainingConfig
from charrnn.settings.launch import Launch
from charrnn.settings.presets import PresetName
from charrnn.settings.run import RunConfig


@with_options(cell={name: entry.help for name, entry in CELLS.items()})
def train(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, - for standard input, a corpus known by name (stdlib, which is your Python's own "
            "source, tinyshakespeare, warandpeace, enwik8, text8), or a run's folder, to go on with it.",
            metavar="CORPUS...",
            show_default=False,
            autocompletion=complete_texts,
        ),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            "--preset",
            help="A published recipe, as far as there are options for it, or best (our own), which other options "
            "override and --dry-run explains, with how it departs from the paper.",
            rich_help_panel="Model",
        ),
    ] = None,
    *,
    model: Annotated[dict[str, Any], ModelConfig],
    budget: Annotated[dict[str, Any], Budget],
    training: Annotated[dict[str, Any], TrainingConfig],
    data: Annotated[dict[str, Any], DataConfig],
    launch: Annotated[dict[str, Any], Launch],
    run: Annotated[dict[str, Any], RunConfig],
) -> None:
    """Train a model on a text. The same command again resumes where the run stopped.

    \b
    charrnn train corpus.txt
    charrnn train stdlib --minutes 2
    charrnn train books/ --cell gru --layers 3 --hidden 512 --epochs 20
    zcat corpus.gz | charrnn train - --name mine
    charrnn train checkpoints/mine --minutes 30
    """
    from charrnn.cli.request import make_order
    from charrnn.cli.training import carry_out
    from charrnn.training.request import Said

    settings = {"budget": budget, "model": model, "data": data, "training": training, "run": run, "launch": launch}
    order = make_order(Said(corpus or [], preset, settings))
    order.request.check(has_initial=order.launch.init_from is not None)  # bad values are found before any text is read
    signal = carry_out(order.request, order.corpus, order.launch, order.notices)
    if signal is not None:
        raise typer.Exit(128 + signal)


train.levels |= {"preset": "advanced"}  # type: ignore[attr-defined]
