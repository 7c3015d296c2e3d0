"""`charrnn eval`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from charrnn.cli.options import CHECKPOINT, DEVICE
from charrnn.config import DecodeErrors, DeviceName, UnknownPolicy


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
            help="Parts of the text scored side by side. Each but the first reads 1,024 characters before it, unscored; "
            "1 is a single stream.",
            show_default="by length, at most 64",
            rich_help_panel="Run",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel="Run")] = False,
    device: Annotated[DeviceName, DEVICE] = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="CPU threads.", show_default="all cores", rich_help_panel="Run"),
    ] = None,
) -> None:
    """Bits per character of a model on a text: state carried throughout, every character but the first scored once.

    \b
    charrnn eval held_out.txt
    charrnn eval tinyshakespeare --split validation -c checkpoints/tinyshakespeare --json
    """
    from dataclasses import replace

    from charrnn import checkpoint as checkpoints
    from charrnn.cli import texts as text_arguments
    from charrnn.display.progress import WorkDisplay
    from charrnn.evaluate.report import ForeignText, report
    from charrnn.runs import find_checkpoint

    loaded = checkpoints.load(find_checkpoint(checkpoint))
    data = loaded.data
    if encoding is not None:
        data = replace(data, encoding=encoding)
    if encoding_errors is not None:
        data = replace(data, encoding_errors=encoding_errors)
    work = WorkDisplay()
    texts = text_arguments.find(text, glob=glob, report=work)
    work.close()
    for notice in texts.notices:
        print(f"note: {notice}", file=sys.stderr)
    corpus = text_arguments.load(texts, data)
    foreign = ForeignText.of(corpus, loaded, split, unknown)

    from charrnn.device import choose_device, prepare

    chosen = choose_device(device)
    prepare(chosen, threads)
    bar = WorkDisplay()
    result = report(loaded, foreign, device=chosen, window=window, lanes=lanes, progress=bar)
    bar.close()
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
