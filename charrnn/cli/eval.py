"""`charrnn eval`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charrnn.cli import dynamic as adapting
from charrnn.cli import ngrams as counting
from charrnn.cli.options import CHECKPOINT, DEVICE, THREADS
from charrnn.errors import UsageError, WeightsTooLarge
from charrnn.evaluation.dynamic_rule import RuleName
from charrnn.settings.choices import DecodeErrors, DeviceName, UnknownPolicy

DEFAULT_CONTEXT = 256


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
    protocol: Annotated[
        Literal["streamed", "windowed"],
        typer.Option(
            "--protocol",
            help="streamed: the state is carried through the whole text, as recurrent models are compared. windowed: "
            "windows of --context characters, each read from the zero state, every character after the first of its "
            "window scored, as transformers are.",
            rich_help_panel="Protocol",
        ),
    ] = "streamed",
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=2,
            help="Characters in a window of --protocol windowed. (nanoGPT's block of 256 scores 256 characters: 257.)",
            show_default=str(DEFAULT_CONTEXT),
            rich_help_panel="Protocol",
        ),
    ] = None,
    ngrams: Annotated[int | None, counting.NGRAMS] = None,
    dynamic: Annotated[RuleName | None, adapting.DYNAMIC] = None,
    segment: Annotated[int | None, adapting.SEGMENT] = None,
    learning_rate: Annotated[float | None, adapting.LEARNING_RATE] = None,
    prior: Annotated[float | None, adapting.PRIOR] = None,
    epsilon: Annotated[float | None, adapting.EPSILON] = None,
    statistics: Annotated[str | None, adapting.STATISTICS] = None,
    temperature: Annotated[float | None, adapting.TEMPERATURE] = None,
    tune: Annotated[bool, adapting.TUNE] = False,
    tune_on: Annotated[str | None, adapting.TUNE_ON] = None,
    tune_length: Annotated[int | None, adapting.TUNE_LENGTH] = None,
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
            "unscored; 1 is a single stream. Of --protocol windowed, windows side by side.",
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
    charrnn eval corpus.txt --split test --dynamic rms --tune
    charrnn eval corpus.txt --split test --ngrams 9     beside what counting achieves
    """
    from contextlib import closing
    from dataclasses import replace

    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.cli import texts as text_arguments
    from charrnn.display.progress import WorkDisplay
    from charrnn.display.safe import say
    from charrnn.text.corpus import Corpus

    if context is not None and protocol != "windowed":
        raise UsageError("--context is for --protocol windowed", "add --protocol windowed, or leave --context out")
    counting.check(longest=ngrams, split=split, is_streamed=protocol == "streamed")
    rates = {"segment": segment, "learning_rate": learning_rate, "prior": prior, "epsilon": epsilon}
    asked = adapting.Asked.of(
        dynamic, rates, protocol=protocol, temperature=temperature, statistics=statistics, tune=tune, tune_on=tune_on,
        tune_length=tune_length,
    )  # fmt: skip
    loaded = checkpoints.load(find_checkpoint(checkpoint))
    text_arguments.check_split(split, loaded)
    data = loaded.data
    if encoding is not None:
        data = replace(data, encoding=encoding)
    if encoding_errors is not None:
        data = replace(data, encoding_errors=encoding_errors)

    def read(*arguments: str) -> Corpus:
        with closing(WorkDisplay()) as work:
            texts = text_arguments.find(arguments, glob=glob, report=work, config=data)
        for notice in texts.notices:
            say(f"note: {notice}")
        return text_arguments.load(texts, data)

    corpus = read(*text)
    training, tuning = adapting.find_parts(asked, adapting.Part(corpus, split), loaded, read)

    # Only now torch: what can be wrong with the checkpoint and the text has been said at once.
    from charrnn.evaluation.report import ForeignText, report
    from charrnn.network.device import choose_device, out_of_memory_explained, passed_over, prepare

    foreign = ForeignText.of(corpus, loaded, split, unknown)
    sizes: dict[str, Any] = {"window": window, "lanes": lanes}
    sizes["context"] = None if protocol == "streamed" else context or DEFAULT_CONTEXT
    chosen = choose_device(device)
    not_taken = passed_over(device)
    if not_taken is not None:
        say(f"note: {not_taken}")
    prepare(chosen, threads)
    with out_of_memory_explained("fewer --lanes or a smaller --window need less"), closing(WorkDisplay()) as bar:
        if asked.is_plain:
            result = report(loaded, foreign, device=chosen, progress=bar, **sizes)
        else:
            from charrnn.evaluation.compare import Static, compare

            def ids_of(part: adapting.Part | None) -> Any:
                return None if part is None else ForeignText.of(part.corpus, loaded, part.split, unknown).ids

            plan = adapting.plan(asked, ids_of(training), ids_of(tuning))
            result = compare(
                loaded, foreign, plan, Static(device=chosen, **sizes), progress=bar, tried=adapting.say_trial
            )
    if not math.isfinite(result["nats_per_character"]):
        raise WeightsTooLarge("the score is")
    if ngrams is not None:
        result["ngrams"] = counting.score(corpus, loaded, split, unknown, ngrams)
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
    if result["protocol"] == "windowed":
        print(f"in {result['windows']:,} windows of {result['context']:,}, each from the zero state")
    if "ngrams" in result:
        counting.show(result)
    if "static" in result:
        adapting.show(result, result.get("tuning", {}).get("characters"))
