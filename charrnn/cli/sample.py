"""`charrnn sample`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import CHECKPOINT, DEVICE, setting
from charrnn.config import DeviceName, SamplingConfig, UnknownPolicy
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.sampling import Stepper
    from charrnn.vocabulary import Ids

_TEXT, _DRAWING = "Text", "Drawing"


def sample(
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    prime: Annotated[
        str | None,
        typer.Option(
            "--prime",
            "-p",
            help="Text to go on from; the model reads it first.",
            show_default="a new line",
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
    count: Annotated[
        int,
        typer.Option(
            "--count", min=1, help="Samples to write; each has its own random numbers.", rich_help_panel=_TEXT
        ),
    ] = 1,
    temperature: Annotated[
        float | None, setting(SamplingConfig, "temperature", "--temperature", "-t", panel=_DRAWING)
    ] = None,
    top_k: Annotated[int | None, setting(SamplingConfig, "top_k", "--top-k", panel=_DRAWING)] = None,
    top_p: Annotated[float | None, setting(SamplingConfig, "top_p", "--top-p", panel=_DRAWING)] = None,
    seed: Annotated[int | None, setting(SamplingConfig, "seed", "--seed", panel=_DRAWING)] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object for each sample, a line each.", rich_help_panel="Run"),
    ] = False,
    device: Annotated[DeviceName, DEVICE] = "cpu",
) -> None:
    """Write text with a trained model, streamed as it is drawn. The same seed gives the same text.

    \b
    charrnn sample --prime "KING" --temperature 0.8 --length 500
    charrnn sample -c checkpoints/stdlib --prime "def " --stop "def " --count 3
    echo "Once upon" | charrnn sample --prime-file - --unknown replace
    """
    from charrnn import checkpoint as checkpoints
    from charrnn.runs import find_checkpoint
    from charrnn.sampling import sample as draw_sample

    if prime is not None and prime_file is not None:
        raise UsageError("--prime and --prime-file are both given", "give one of them")
    if escapes:
        prime, stop = _unescape("--prime", prime), _unescape("--stop", stop)
    given: dict[str, Any] = {
        "length": length,
        "stop": stop,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    config = SamplingConfig(**{name: value for name, value in given.items() if value is not None})
    path = find_checkpoint(checkpoint)
    loaded = checkpoints.load(path)
    ids = (
        loaded.vocabulary.encode(prime or "", unknown)
        if prime_file is None
        else _read_prime(prime_file, loaded, unknown)
    )
    text = loaded.vocabulary.decode(ids.tolist())
    stepper = _stepper(loaded, device)
    for number in range(count):
        written = draw_sample(stepper, loaded.vocabulary, ids.tolist(), config, number)
        if as_json:
            body = {"sample": number, "seed": config.seed, "prime": text, "text": "".join(written)}
            print(json.dumps(body), flush=True)
        else:
            _stream(text, written, is_first=number == 0)


def _stepper(loaded: Checkpoint, device: DeviceName) -> Stepper:
    """The model to step: numpy on a CPU, which starts at once; torch on a GPU."""
    if device in ("cpu", "auto"):
        from charrnn.inference.network import Network

        return Network(loaded.model, loaded.parameters)
    from charrnn.device import choose_device
    from charrnn.stepper import TorchStepper

    return TorchStepper(loaded, choose_device(device))


def _stream(prime: str, written: Iterator[str], *, is_first: bool) -> None:
    from charrnn.display.safe import write

    if not is_first:
        sys.stdout.write("-" * 40 + "\n")
    write(prime, sys.stdout)
    last = prime
    try:
        for piece in written:
            write(piece, sys.stdout)
            sys.stdout.flush()
            last = piece or last
    finally:
        # Ctrl-C keeps the text so far, and the prompt begins on a line of its own.
        if not last.endswith("\n"):
            sys.stdout.write("\n")
        sys.stdout.flush()


def _unescape(option: str, text: str | None) -> str | None:
    r"""Python's escapes \n, \t, \\, \xXX, \uXXXX; other characters stay."""
    if text is None:
        return None
    import re

    escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}

    def character(match: re.Match[str]) -> str:
        body = match[1]
        if body in escapes:
            return escapes[body]
        if len(body) > 1:
            code = int(body[1:], 16)
            if code < 0x110000:
                return chr(code)
        raise UsageError(f"{option} holds the escape {match[0]!r}", r"known are \n \t \r \\ \xXX \uXXXX \UXXXXXXXX")

    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.|$)", character, text, flags=re.DOTALL)


def _read_prime(argument: str, loaded: Checkpoint, unknown: UnknownPolicy) -> Ids:
    """The file in the model's ids: its bytes as they are, or its text in UTF-8 with line ends as in training."""
    import numpy as np

    from charrnn.config import DataConfig
    from charrnn.decoding import read_text
    from charrnn.errors import TextError
    from charrnn.sources import find, release

    if os.path.isdir(argument):
        raise TextError(f"--prime-file {argument} is a folder", "name a file")
    found, _ = find(argument)
    try:
        text = read_text(found[0], DataConfig(as_bytes=loaded.data.as_bytes, newlines=loaded.data.newlines))
    finally:
        release(found)
    if loaded.data.as_bytes:
        return np.frombuffer(text.encode("latin-1"), np.uint8)
    return loaded.vocabulary.encode(text, unknown)
