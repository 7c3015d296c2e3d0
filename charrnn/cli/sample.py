"""`charrnn sample`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn.cli import steering
from charrnn.cli.chosen import say_chosen
from charrnn.cli.escapes import as_expected, unescaped
from charrnn.cli.options import CHECKPOINT, with_options
from charrnn.cli.reading import read_prime
from charrnn.errors import RecordingFailed, UsageError
from charrnn.settings.checks import FLAG, SIZE, TEXT, one_of, whole
from charrnn.settings.choices import DeviceName, UnknownPolicy, WeightsName
from charrnn.settings.config import SamplingConfig
from charrnn.settings.fields import Record, setting

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.sampling.sampler import SampledPiece, SampleRequest
    from charrnn.text.fitting import Reader
    from charrnn.text.vocabulary import Ids, Vocabulary

_text = partial(setting, panel="Text")
_output = partial(setting, panel="Output")
_run = partial(setting, panel="Run")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prime(Record):
    """What the model goes on from."""

    prime: str | None = _text(None, TEXT, "--prime", "-p", level="everyday", shown="none: a new line")
    """Text to go on from, which the model reads first, as the beginning of a line."""
    prime_file: str | None = _text(None, TEXT, "--prime-file", level="everyday", metavar="FILE")
    """File with the text to go on from, - for standard input."""
    escapes: bool = _text(False, FLAG, "--escapes", "-e")
    r"""Read every escape (\n, \t, \\, \uXXXX) in --prime and --stop exactly, where without this option \n and \t are a
    line end and a tab unless the model's text has backslashes."""
    unknown: UnknownPolicy = _text("error", one_of(UnknownPolicy), "--unknown", level="everyday")
    """What to do with characters of the prime that the model does not know: error, skip, or replace by the nearest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output(Record):
    """How samples are written."""

    count: int = _text(1, SIZE, "--count", level="everyday", shown=f"1, with --compare {steering.COUNT}")
    """Samples to write, each with its own random numbers."""
    interactive: bool = _output(False, FLAG, "--interactive", "-i", level="everyday")
    """Write together with the model, which proposes characters and words, while you choose, type and undo."""
    color: bool = _output(False, FLAG, "--color")
    """Colour each character by how little the model expected it (on a terminal)."""
    as_json: bool = _output(False, FLAG, "--json", level="everyday")
    """Print a line for each sample, a JSON object with the log-probability of every character."""
    weights: WeightsName = _run("float32", one_of(WeightsName), "--weights")
    """Recurrent weights: float32; float16, which takes half the room and costs nothing that shows; or int8, a quarter,
    at a cost of about a thousandth of a bit. Both are faster where the model is wide."""
    threads: int | None = _run(None, whole(1, 64), "--threads", shown="by the model's size")
    """CPU threads, on which the text does not depend."""
    device: DeviceName = _run("cpu", one_of(DeviceName), "--device", level="everyday")
    """Where to compute: the CPU, which auto takes too and which starts at once, or cuda, for many samples."""


@with_options()
def sample(
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    *,
    begin: Prime,
    drawing: Annotated[dict[str, Any], SamplingConfig],
    output: Output,
    steered: steering.Steering,
) -> None:
    """Write text with a trained model, streamed as it is drawn. The same seed gives the same text.

    \b
    charrnn sample --prime "KING" --temperature 0.8 --length 500
    charrnn sample --prime "KING" --temperature 0.2,0.6,1
    charrnn sample -c checkpoints/stdlib --prime "def " --count 3
    echo "Once upon" | charrnn sample --prime-file - --unknown replace
    charrnn sample --prime "My " --interactive
    charrnn sample --clamp L2.c318=+1                   with a unit held; inspect --find finds some
    """
    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.display.notice import say
    from charrnn.network.open_engine import open_engine
    from charrnn.sampling.sampler import SampleRequest, write
    from charrnn.text.fitting import Reader

    if begin.prime is not None and begin.prime_file is not None:
        raise UsageError("--prime and --prime-file are both given", "give one of them")
    if begin.escapes:
        begin = replace(begin, prime=None if begin.prime is None else unescaped("--prime", begin.prime))
        if "stop" in drawing:
            drawing["stop"] = unescaped("--stop", drawing["stop"])
    configs = [SamplingConfig(**{**drawing, **one}) for one in _temperatures(drawing.get("temperature"))]
    _refuse_endless(configs, output)
    if output.interactive:
        _refuse_beside_session(drawing, output, begin.prime_file, is_row=len(configs) > 1)
    texts_only = {
        "--interactive": output.interactive,
        "--color": output.color,
        "a second temperature": len(configs) > 1,
        "--repeat-until-stop without --stop": _is_endless(configs[0]),
    }
    steered.check_beside(texts_only, configs[0])
    path = find_checkpoint(checkpoint)
    loaded = checkpoints.load(path)
    if checkpoint is None:
        say_chosen(path, loaded)
    held = steered.clamped(loaded)
    prime, reader = begin.prime or "", Reader.of(loaded.data, loaded.vocabulary, loaded.corpus)
    if not begin.escapes:
        prime = _as_expected("--prime", prime, loaded.vocabulary)
        if configs[0].stop:
            stop = _as_expected("--stop", configs[0].stop, loaded.vocabulary)
            configs = [replace(config, stop=stop) for config in configs]
    if configs[0].stop:
        configs = [replace(config, stop=_as_read("--stop", configs[0].stop, reader)) for config in configs]
    ids = (
        loaded.vocabulary.encode(_as_read("--prime", prime, reader), begin.unknown)
        if begin.prime_file is None
        else read_prime(begin.prime_file, loaded, begin.unknown)
    )
    open_it = partial(open_engine, device=output.device, weights=output.weights, threads=output.threads)
    engine = open_it(held)
    if steered.compare:
        count = output.count if output.count > 1 else steering.COUNT
        pairs = [SampleRequest(configs[0], number) for number in range(count)]
        steered.show(open_it(loaded), engine, loaded, ids, pairs, as_json=output.as_json)
        return
    if output.interactive:
        from charrnn.cli.interactive import run

        run(engine, loaded.vocabulary, ids, configs[0], unknown=begin.unknown, reader=reader)
        return
    if "seed" not in drawing and not output.as_json and sys.stderr.isatty() and configs[0].temperature > 0:
        seed = configs[0].seed
        say(f"seed {seed}, which writes the same text again; --seed {seed + 1} writes another", is_dim=True)
    requests = [SampleRequest(config, number) for config in configs for number in range(output.count)]
    if output.device != "cuda":
        _say_what_is_missed(held, sum(request.config.length for request in requests))
    pieces = _begun(_in_order(write(engine, loaded.vocabulary, ids, requests), len(requests)))
    if output.as_json:
        _print_json(loaded.vocabulary.decode(ids), pieces, requests)
    else:
        _stream(ids, pieces, requests, loaded.vocabulary, color=output.color)


def _as_expected(option: str, text: str, vocabulary: Vocabulary) -> str:
    from charrnn.display.notice import say

    text, notice = as_expected(option, text, has_backslashes="\\" in vocabulary)
    if notice is not None:
        say(f"note: {notice}")
    return text


def _as_read(option: str, text: str, reader: Reader) -> str:
    """Returns a text with the line ends and in the form that the model knows, and says what was changed."""
    from charrnn.display.notice import say

    text, notes = reader.text(text, option)
    for note in notes:
        say(f"note: {note}")
    return text


def _say_what_is_missed(loaded: Checkpoint, characters: int) -> None:
    from charrnn.cli.uncompiled import missed_in_sampling
    from charrnn.display.notice import say

    if (missed := missed_in_sampling(loaded.model, len(loaded.vocabulary), characters)) is not None:
        say(f"note: {missed}")


def _temperatures(text: str | None) -> list[dict[str, float]]:
    """Returns what `--temperature` says of each sample to write: one temperature or several, or nothing."""
    if text is None:
        return [{}]
    try:
        return [{"temperature": float(word)} for word in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--temperature is {text!r}", "give a number of at least 0, or several with commas between them"
        ) from None


def _is_endless(config: SamplingConfig) -> bool:
    return config.repeat_until_stop and config.stop is None


def _refuse_endless(configs: list[SamplingConfig], output: Output) -> None:
    if _is_endless(configs[0]) and (output.as_json or output.count > 1 or len(configs) > 1):
        raise UsageError(
            "--repeat-until-stop without --stop writes one sample, as text, until Ctrl-C",
            "say where to stop with --stop",
        )


def _refuse_beside_session(drawing: dict[str, Any], output: Output, prime_file: str | None, *, is_row: bool) -> None:
    given = {
        "--json": output.as_json,
        "--color": output.color,
        "--count": output.count > 1,
        "further temperatures": is_row,
        "--length": "length" in drawing,
        "--stop": "stop" in drawing,
        "--repeat-until-stop": "repeat_until_stop" in drawing,
    }
    if senseless := [option for option, is_given in given.items() if is_given]:
        raise UsageError("--interactive writes one text and ends when you say so", f"leave {', '.join(senseless)} out")
    if prime_file == "-":
        raise UsageError("--interactive reads your choices from standard input", "give the prime in a file")


def _begun(pieces: Iterator[SampledPiece]) -> Iterator[SampledPiece]:
    """Returns the pieces with the first of them made already: until one is shown, another process can begin anew."""
    from charrnn.cli.without_graphs import without_graphs

    try:
        first = list(islice(pieces, 1))
    except RecordingFailed as failed:
        without_graphs(failed)
    return chain(first, pieces)


def _in_order(pieces: Iterator[SampledPiece], count: int) -> Iterator[SampledPiece]:
    """Yields the pieces of sample 0 as they come, then those of sample 1, and so on; what comes too soon waits."""
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
    prime: Ids, pieces: Iterator[SampledPiece], requests: list[SampleRequest], vocabulary: Vocabulary, *, color: bool
) -> None:
    """Writes each sample as it comes, with the prime (ids) before it."""
    from charrnn.display.safe import write

    last = ""
    try:
        for place, written in groupby(pieces, lambda piece: piece.sample):
            if len(requests) > 1:
                _rule(requests, place, last)
            is_plain = not (color and sys.stdout.isatty())
            show = (lambda piece: write(piece.text, sys.stdout)) if is_plain else _coloured(vocabulary)
            last = ""
            for text in vocabulary.decode_pieces(prime):
                write(text, sys.stdout)
                last = text or last
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
    """Writes the line between samples, or, with several temperatures, the line above each that names its own."""
    temperature = requests[place].config.temperature
    is_row = any(request.config.temperature != temperature for request in requests)
    if place and not before.endswith("\n"):
        sys.stdout.write("\n")
    if is_row or place:
        sys.stdout.write((f"-- temperature {temperature:g} " if is_row else "").ljust(40, "-") + "\n")


def _coloured(vocabulary: Vocabulary) -> Callable[[SampledPiece], None]:
    """Returns what shows pieces of one sample, each character coloured by its surprisal (the sum of its bytes')."""
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
        console.print(coloured(characters, console), end="")

    return show
