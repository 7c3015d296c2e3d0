"""`charrnn eval`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charrnn.cli.options import CHECKPOINT, DEVICE, THREADS
from charrnn.config import DecodeErrors, DeviceName, UnknownPolicy
from charrnn.errors import CheckpointError

if TYPE_CHECKING:
    pass


def evaluate(
    text: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, - for standard input, or a corpus known by name.",
            metavar="TEXT...",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    split: Annotated[
        Literal["all", "train", "validation", "test"],
        typer.Option(
            "--split",
            help="Score only this part of the text, cut as the run cut its corpus.",
            rich_help_panel="Text",
        ),
    ] = "all",
    unknown: Annotated[
        UnknownPolicy,
        typer.Option(
            "--unknown",
            help="Characters the model does not know: error; skip (not fed to the model); replace (the nearest is "
            "fed). Each is counted and charged 20.1 bits, the price of any character of Unicode.",
            rich_help_panel="Text",
        ),
    ] = "error",
    glob: Annotated[
        str | None,
        typer.Option(
            "--glob",
            help="Which files of a folder to read, by name.",
            metavar="PATTERN",
            rich_help_panel="Text",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="Encoding of the text.", show_default="as in training", rich_help_panel="Text"),
    ] = None,
    encoding_errors: Annotated[
        DecodeErrors | None,
        typer.Option(
            "--encoding-errors",
            help="strict (an error) or replace (by U+FFFD).",
            show_default="as in training",
            rich_help_panel="Text",
        ),
    ] = None,
    window: Annotated[
        int,
        typer.Option(
            "--window",
            min=1,
            help="Characters scored at a time; changes memory, not the number.",
            rich_help_panel="Run",
        ),
    ] = 128,
    lanes: Annotated[
        int | None,
        typer.Option(
            "--lanes",
            min=1,
            help="Parts of the text scored side by side. Each but the first reads 1,024 characters before it, "
            "unscored; 1 is a single stream.",
            show_default="by length, at most 64",
            rich_help_panel="Run",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel="Run")] = False,
    device: Annotated[DeviceName, DEVICE] = "auto",
    threads: Annotated[int | None, THREADS] = None,
) -> None:
    """Bits per character of a model on a text: state carried throughout, every character but the first scored once.

    \b
    charrnn eval held_out.txt
    charrnn eval tinyshakespeare --split validation -c checkpoints/tinyshakespeare --json
    """
    from contextlib import closing
    from dataclasses import replace

    from charrnn import checkpoint as checkpoints
    from charrnn.cli import texts as text_arguments
    from charrnn.display.progress import WorkDisplay
    from charrnn.display.safe import say
    from charrnn.runs import find_checkpoint

    loaded = checkpoints.load(find_checkpoint(checkpoint))
    text_arguments.check_split(split, loaded)
    data = loaded.data
    if encoding is not None:
        data = replace(data, encoding=encoding)
    if encoding_errors is not None:
        data = replace(data, encoding_errors=encoding_errors)
    with closing(WorkDisplay()) as work:
        texts = text_arguments.find(text, glob=glob, report=work, config=data)
    for notice in texts.notices:
        say(f"note: {notice}")
    corpus = text_arguments.load(texts, data)

    # Only now torch: what can be wrong with the checkpoint and the text has been said at once.
    from charrnn.device import choose_device, out_of_memory_explained, prepare
    from charrnn.evaluate.report import ForeignText, report

    foreign = ForeignText.of(corpus, loaded, split, unknown)
    chosen = choose_device(device)
    prepare(chosen, threads)
    with out_of_memory_explained("fewer --lanes or a smaller --window need less"), closing(WorkDisplay()) as bar:
        result = report(loaded, foreign, device=chosen, window=window, lanes=lanes, progress=bar)
    if not math.isfinite(result["nats_per_character"]):
        raise CheckpointError("the score is not finite: the weights are too large to compute with", "train again")
    _show(result, as_json=as_json)


def _show(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    print(f"{result['bits_per_character']:.4f} bits per character ({result['nats_per_character']:.4f} nats)")
    print(f"{result['bits_per_byte']:.4f} bits per byte, perplexity {result['perplexity']:.4f}")
    print(f"over {result['characters']:,} characters, {result['bytes']:,} bytes", end="")
    print(
        f", of which {result['unknown_characters']:,} unknown and charged 20.1 bits each"
        if result["unknown_characters"]
        else ""
    )
