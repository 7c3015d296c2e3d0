"""`charrnn sample`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import steering
from charrnn.cli.escapes import unescaped
from charrnn.cli.options import CHECKPOINT, SAMPLING_DEVICE, SAMPLING_THREADS, setting
from charrnn.cli.reading import read_prime
from charrnn.errors import RecordingFailed, UsageError
from charrnn.settings.choices import DeviceName, UnknownPolicy, WeightsName
from charrnn.settings.config import SamplingConfig
from charrnn.settings.fields import field_help

if TYPE_CHECKING:
    from charrnn.sampling.sampler import SampledPiece, SampleRequest
    from charrnn.text.vocabulary import Vocabulary

_TEXT, _DRAWING, _OUTPUT = "Text", "Drawing", "Output"


def sample(
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    prime: Annotated[
        str | None,
        typer.Option(
            "--prime",
            "-p",
            help="Text to go on from; the model reads it first, as the beginning of a line.",
            show_default="none: a new line",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    prime_file: Annotated[
        str | None,
        typer.Option(
            "--prime-file",
            help="File with the text to go on from; - for standard input.",
            metavar="FILE",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    escapes: Annotated[
        bool,
        typer.Option(
            "--escapes",
            "-e",
            help=r"Read \n, \t, \\ and \uXXXX in --prime and --stop as the characters they stand for.",
            rich_help_panel=_TEXT,
        ),
    ] = False,
    unknown: Annotated[
        UnknownPolicy,
        typer.Option(
            "--unknown",
            help="Characters of the prime that the model does not know: error, skip, or replace by the nearest.",
            rich_help_panel=_TEXT,
        ),
    ] = "error",
    length: Annotated[int | None, setting(SamplingConfig, "length", "--length", "-n", panel=_TEXT)] = None,
    stop: Annotated[str | None, setting(SamplingConfig, "stop", "--stop", panel=_TEXT)] = None,
    repeat_until_stop: Annotated[
        bool,
        typer.Option(
            "--repeat-until-stop", help=field_help(SamplingConfig, "repeat_until_stop"), rich_help_panel=_TEXT
        ),
    ] = False,
    count: Annotated[
        int,
        typer.Option(
            "--count", min=1, help="Samples to write; each has its own random numbers.", rich_help_panel=_TEXT
        ),
    ] = 1,
    temperature: Annotated[
        str | None,
        setting(
            SamplingConfig,
            "temperature",
            "--temperature",
            "-t",
            panel=_DRAWING,
            metavar="NUMBER[,NUMBER...]",
            more="Several, with commas between them, write one sample each (with --count, as many each).",
        ),
    ] = None,
    top_k: Annotated[int | None, setting(SamplingConfig, "top_k", "--top-k", panel=_DRAWING)] = None,
    top_p: Annotated[float | None, setting(SamplingConfig, "top_p", "--top-p", panel=_DRAWING)] = None,
    min_p: Annotated[float | None, setting(SamplingConfig, "min_p", "--min-p", panel=_DRAWING)] = None,
    seed: Annotated[int | None, setting(SamplingConfig, "seed", "--seed", panel=_DRAWING)] = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            "-i",
            help="Write together with the model: it proposes characters and words, you choose, type and undo.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    color: Annotated[
        bool,
        typer.Option(
            "--color",
            help="Colour each character by how little the model expected it (on a terminal).",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object for each sample, a line each, with the log-probability of every character.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    weights: Annotated[
        WeightsName,
        typer.Option(
            "--weights",
            help="float32, or int8: recurrent weights in a quarter of the room, faster where the model is wide, at a "
            "cost in quality of about a thousandth of a bit.",
            rich_help_panel="Run",
        ),
    ] = "float32",
    threads: Annotated[int | None, SAMPLING_THREADS] = None,
    device: Annotated[DeviceName, SAMPLING_DEVICE] = "cpu",
    clamp: Annotated[list[str] | None, steering.CLAMP] = None,
    compare: Annotated[bool, steering.COMPARE] = False,
) -> None:
    """Write text with a trained model, streamed as it is drawn. The same seed gives the same text.

    \b
    charrnn sample --prime "KING" --temperature 0.8 --length 500
    charrnn sample --prime "KING" --temperature 0.2,0.6,1
    charrnn sample -c checkpoints/stdlib --prime "def " --stop "def " --count 3
    echo "Once upon" | charrnn sample --prime-file - --unknown replace
    charrnn sample --prime "My " --interactive
    charrnn sample --clamp L2.c318=+1                   with a unit held; inspect --find finds some
    """
    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.pretrained import open_engine
    from charrnn.sampling.sampler import SampleRequest, write

    if prime is not None and prime_file is not None:
        raise UsageError("--prime and --prime-file are both given", "give one of them")
    if escapes:
        prime = None if prime is None else unescaped("--prime", prime)
        stop = None if stop is None else unescaped("--stop", stop)
    given: dict[str, Any] = {
        "length": length,
        "stop": stop,
        "repeat_until_stop": repeat_until_stop,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "seed": seed,
    }
    given = {name: value for name, value in given.items() if value is not None}
    configs = [SamplingConfig(**{**given, **drawing}) for drawing in _temperatures(temperature)]
    _refuse_endless(configs, as_json=as_json, count=count)
    if interactive:
        beside = {
            "--json": as_json,
            "--color": color,
            "--count": count > 1,
            "further temperatures": len(configs) > 1,
            "--length": length is not None,
            "--stop": stop is not None,
            "--repeat-until-stop": repeat_until_stop,
        }
        _refuse_beside_session(beside, prime_file)
    texts_only = {
        "--interactive": interactive,
        "--color": color,
        "a second temperature": len(configs) > 1,
        "--repeat-until-stop without --stop": configs[0].repeat_until_stop and configs[0].stop is None,
    }
    steering.check(is_asked=compare, clamps=clamp or [], others=texts_only, drawing=configs[0])
    path = find_checkpoint(checkpoint)
    loaded = checkpoints.load(path)
    held = steering.clamped(loaded, clamp or [])
    ids = (
        loaded.vocabulary.encode(prime or "", unknown)
        if prime_file is None
        else read_prime(prime_file, loaded, unknown)
    )
    engine = open_engine(held, device=device, weights=weights, threads=threads)
    if compare:
        from charrnn.cli.anew import without_graphs

        free = open_engine(loaded, device=device, weights=weights, threads=threads)
        pairs = [SampleRequest(configs[0], number) for number in range(count if count > 1 else steering.COUNT)]
        try:
            steering.show(free, engine, loaded, ids, pairs, clamp or [], as_json=as_json)
        except RecordingFailed as failed:  # nothing is shown before all is written
            without_graphs(failed)
        return
    if interactive:
        from charrnn.cli.interactive import run

        run(engine, loaded.vocabulary, ids.tolist(), configs[0], unknown=unknown)
        return
    requests = [SampleRequest(config, number) for config in configs for number in range(count)]
    text = loaded.vocabulary.decode(ids.tolist())
    pieces = _begun(_in_order(write(engine, loaded.vocabulary, ids, requests), len(requests)))
    if as_json:
        _print_json(text, pieces, requests)
    else:
        _stream(text, pieces, requests, loaded.vocabulary, color=color)


def _temperatures(text: str | None) -> list[dict[str, float]]:
    """What `--temperature` says: one temperature or several, or nothing."""
    if text is None:
        return [{}]
    try:
        return [{"temperature": float(word)} for word in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--temperature is {text!r}", "give a number of at least 0, or several with commas between them"
        ) from None


def _refuse_endless(configs: list[SamplingConfig], *, as_json: bool, count: int) -> None:
    is_endless = configs[0].repeat_until_stop and configs[0].stop is None
    if is_endless and (as_json or count > 1 or len(configs) > 1):
        raise UsageError(
            "--repeat-until-stop without --stop writes one sample, as text, until Ctrl-C",
            "say where to stop with --stop",
        )


def _refuse_beside_session(given: dict[str, bool], prime_file: str | None) -> None:
    if senseless := [option for option, is_given in given.items() if is_given]:
        raise UsageError("--interactive writes one text and ends when you say so", f"leave {', '.join(senseless)} out")
    if prime_file == "-":
        raise UsageError("--interactive reads your choices from standard input", "give the prime in a file")


def _begun(pieces: Iterator[SampledPiece]) -> Iterator[SampledPiece]:
    """The same pieces, the first of them made already: as long as nothing is shown another process can begin anew."""
    from charrnn.cli.anew import without_graphs

    try:
        first = list(islice(pieces, 1))
    except RecordingFailed as failed:
        without_graphs(failed)
    return chain(first, pieces)


def _in_order(pieces: Iterator[SampledPiece], count: int) -> Iterator[SampledPiece]:
    """The pieces of sample 0 as they come, then those of sample 1, and so on; what comes too soon waits."""
    waiting: list[list[SampledPiece]] = [[] for _ in range(count)]
    current = 0
    for piece in pieces:
        waiting[piece.sample].append(piece)
        while current < count and waiting[current]:
            here, waiting[current] = waiting[current], []
            yield from here
            if not here[-1].is_last:
                break
            current += 1


def _print_json(prime: str, pieces: Iterator[SampledPiece], requests: list[SampleRequest]) -> None:
    for place, written in groupby(pieces, lambda piece: piece.sample):
        parts, request = list(written), requests[place]
        body = {
            "sample": request.number,
            "seed": request.config.seed,
            "temperature": request.config.temperature,
            "prime": prime,
            "text": "".join(part.text for part in parts),
            "log_probabilities": [round(value, 6) for part in parts for value in part.log_probabilities.tolist()],
        }
        print(json.dumps(body), flush=True)


def _stream(
    prime: str, pieces: Iterator[SampledPiece], requests: list[SampleRequest], vocabulary: Vocabulary, *, color: bool
) -> None:
    from charrnn.display.safe import write

    def show_plain(piece: SampledPiece) -> None:
        write(piece.text, sys.stdout)

    last = ""
    try:
        for place, written in groupby(pieces, lambda piece: piece.sample):
            if len(requests) > 1:
                _rule(requests, place, last)
            show = _coloured(vocabulary) if color and sys.stdout.isatty() else show_plain
            write(prime, sys.stdout)
            last = prime
            for piece in written:
                show(piece)
                sys.stdout.flush()
                last = piece.text or last
    finally:
        # Ctrl-C keeps the text so far, and the prompt begins on a line of its own.
        if last and not last.endswith("\n"):
            sys.stdout.write("\n")
        sys.stdout.flush()


def _rule(requests: list[SampleRequest], place: int, before: str) -> None:
    """The line between samples; with several temperatures, above each, with its own."""
    temperature = requests[place].config.temperature
    is_row = len({request.config.temperature for request in requests}) > 1
    if place and not before.endswith("\n"):
        sys.stdout.write("\n")
    if is_row:
        sys.stdout.write(f"-- temperature {temperature:g} ".ljust(40, "-") + "\n")
    elif place:
        sys.stdout.write("-" * 40 + "\n")


def _coloured(vocabulary: Vocabulary) -> Callable[[SampledPiece], None]:
    """Shows pieces of one sample, each character coloured by its surprisal; in byte mode, the sum of its bytes'."""
    from rich.console import Console

    from charrnn.display.surprisal import coloured

    console, decode = Console(highlight=False, soft_wrap=True), vocabulary.decoder()
    under_way = 0.0

    def show(piece: SampledPiece) -> None:
        nonlocal under_way
        characters: list[tuple[str, float]] = []
        for id_, log_probability in zip(piece.ids.tolist(), piece.log_probabilities.tolist(), strict=True):
            under_way += log_probability
            if text := decode(id_):
                characters.append((text, under_way))
                under_way = 0.0
        if piece.is_last and (rest := decode.finish()):
            characters.append((rest, under_way))
        console.print(coloured(characters), end="")

    return show
