"""`charrnn inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import horizon as horizons
from charrnn.cli import probe as probes
from charrnn.cli.options import CHECKPOINT, DEVICE
from charrnn.cli.output import print_pieces, write_page
from charrnn.cli.reading import ids_of, read_text
from charrnn.config import DeviceName, UnknownPolicy
from charrnn.errors import CheckpointError, TextError, UsageError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.neurons.record import Unit

_TEXT, _OUTPUT = "Text", "Output"
_LENGTH = 600
_FIND_LENGTH = 200_000


def inspect(
    text: Annotated[
        str | None,
        typer.Argument(
            help="A file, - for standard input, or a corpus known by name. Without it: a summary of the checkpoint.",
            show_default=False,
            metavar="[TEXT]",
        ),
    ] = None,
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(
            "--unit",
            "-u",
            help="Colour the text by this unit, such as L2.c17: layer from 1; h, c or a gate (ifgo, rzn); index from "
            "0. May be given several times.",
            show_default="the units that vary most",
            metavar="UNIT",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    units: Annotated[
        int,
        typer.Option("--units", min=1, help="Without --unit: how many units to show.", rich_help_panel=_TEXT),
    ] = 3,
    start: Annotated[
        int,
        typer.Option(
            "--from",
            min=0,
            help="First character to show; the model reads all before it too.",
            rich_help_panel=_TEXT,
        ),
    ] = 0,
    length: Annotated[
        int | None,
        typer.Option(
            "--length",
            "-n",
            min=1,
            help="Characters to show.",
            show_default=f"{_LENGTH}; with --find {_FIND_LENGTH:,}, with --probe {probes.LENGTH:,}, with --gates the "
            "whole text",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    unknown: Annotated[
        UnknownPolicy,
        typer.Option(
            "--unknown",
            help="Characters the model does not know: error, skip, or replace by the nearest.",
            rich_help_panel=_TEXT,
        ),
    ] = "error",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON.", rich_help_panel=_OUTPUT)
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            help="Write the picture as one self-contained page.",
            metavar="FILE",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    device: Annotated[DeviceName, DEVICE] = "cpu",
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions",
            help="Show what the model expects after each character: its likeliest guesses, in a grid.",
            rich_help_panel=_TEXT,
        ),
    ] = False,
    guesses: Annotated[
        int | None,
        typer.Option(
            "--guesses",
            min=1,
            help="With --predictions: how many guesses for each character.",
            show_default="5",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    find: Annotated[
        bool,
        typer.Option(
            "--find",
            help="Find the units that know something: every unit against a library of labels, chosen on one half of "
            "the text and scored on the other, beside chance, an untrained model and the last three characters.",
            rich_help_panel=_TEXT,
        ),
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="With --find or --probe: a label of your own, which holds within each match of a regular expression. "
            "May be given several times.",
            metavar="NAME=REGEX",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    label_file: Annotated[
        Path | None,
        typer.Option(
            "--label-file",
            help="With --find or --probe: a file of such labels, one a line; lines that begin with # are left out.",
            metavar="FILE",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    gates: Annotated[
        bool,
        typer.Option(
            "--gates",
            help="Instead of colouring the text: how often each gate of an lstm or a gru is as good as open (above "
            "0.9) or shut (below 0.1).",
            rich_help_panel=_TEXT,
        ),
    ] = False,
    horizon: Annotated[bool, horizons.HORIZON] = False,
    distance: Annotated[int | None, horizons.DISTANCE] = None,
    lanes: Annotated[int | None, horizons.LANES] = None,
    read_length: Annotated[int | None, horizons.READ] = None,
    seed: Annotated[int | None, horizons.SEED] = None,
    probe: Annotated[str | None, probes.PROBE] = None,
    probe_file: Annotated[Path | None, probes.PROBE_FILE] = None,
) -> None:
    """See what a model is and what its units respond to.

    \b
    charrnn inspect                                     what the newest run is, and how it learned
    charrnn inspect held_out.txt                        the units that vary most over the text
    charrnn inspect held_out.txt --unit L2.c17 --html c17.html
    charrnn inspect held_out.txt --predictions          what it expects after each character
    charrnn inspect held_out.txt --find                 which units know what, and how sure that is
    charrnn inspect held_out.txt --gates                how often each gate is open or shut
    charrnn inspect held_out.txt --horizon              how many characters back the model remembers
    charrnn inspect held_out.txt --probe "upper case"   how well the state as a whole tells a label
    """
    from charrnn import checkpoint as checkpoints
    from charrnn.cli import find as finding
    from charrnn.cli import predictions as guessing
    from charrnn.runs import find_checkpoint

    views = {"--predictions": predictions, "--gates": gates, "--horizon": horizon, "--find": find}
    probing = {"--probe": probe is not None, "--probe-file": probe_file is not None}
    views |= probing
    if sum(views.values()) > 1:
        asked = " and ".join(name for name, is_asked in views.items() if is_asked)
        raise UsageError(f"{asked} are pictures of their own", "give one of them")
    others = {"--unit": bool(unit), "--units": units != 3, "--from": start != 0, "--length": length is not None}
    probes.check(label=probe, file=probe_file, text=text, others={**others, "--html": html is not None})
    asks = find or probe is not None
    own = finding.check(is_asked=asks, labels=label or [], file=label_file, others=bool(html or unit))
    number = guessing.check(predictions=predictions, guesses=guesses, units=len(unit or []))
    if device not in ("cpu", "auto"):
        raise UsageError(f"--device is {device}", "inspect reads one character at a time and computes on the CPU")
    request = horizons.Request(distance, lanes, read_length, None if any(probing.values()) else seed)
    horizons.check(is_asked=horizon, request=request, text=text, others=others)
    path = find_checkpoint(checkpoint)
    loaded = checkpoints.load(path)
    if horizon and text is not None:
        ids = ids_of(read_text(text, loaded, unknown, request.characters), loaded.vocabulary)
        horizons.show(ids, loaded, path, request, as_json=as_json, html=html)
        return
    if probe_file is not None:
        probes.show_file(probe_file, loaded, path, unknown=unknown, seed=seed, as_json=as_json)
        return
    if text is None:
        if unit or html or any(views.values()):
            raise UsageError(
                "--unit, --html, --predictions, --gates and --find need a text", "charrnn inspect TEXT ..."
            )
        _summarise(path, loaded, as_json=as_json)
        return
    if probe is not None:
        probes.show_text(
            text, probe, own, loaded, path,
            start=start, length=length, unknown=unknown, seed=seed, as_json=as_json,
        )  # fmt: skip
        return
    if gates:
        from charrnn.cli.gates import show_gates

        if unit:
            raise UsageError("--gates is a picture of its own", "leave out --unit")
        show_gates(text, path, loaded, start=start, length=length, unknown=unknown, as_json=as_json, html=html)
        return
    import numpy as np

    from charrnn.inference.engine import make_engine
    from charrnn.neurons.record import liveliest, parse_unit

    chosen = [parse_unit(name, loaded.model) for name in unit or []]
    shown = length or (_FIND_LENGTH if find else _LENGTH)
    read = read_text(text, loaded, unknown, start + shown + predictions)  # what follows the last one is guessed too
    if not read:
        raise TextError(f"there is nothing to read in {text}", "give a text of characters the model knows")
    if len(read) <= start:
        raise UsageError(f"--from is {start:,}, but the text has {len(read):,} characters", "start earlier")
    engine = make_engine(loaded.model, loaded.parameters)
    ids = ids_of(read, loaded.vocabulary)
    if find:
        finding.show(engine, ids, read, loaded, path, own, start=start, as_json=as_json)
        return
    if predictions:
        charged = unknown == "error" or loaded.vocabulary.kind == "bytes"
        view = guessing.Shown(start, shown, number, chosen, charged, as_json, html)
        guessing.show(engine, ids, read, loaded, path, view)
        return
    with np.errstate(over="ignore", invalid="ignore"):  # `_values` says it in a sentence
        chosen = chosen or liveliest(engine, ids, units)
        values = _values(engine, ids, chosen, start)
    _draw(read[start:], chosen, values, path, as_json=as_json, html=html)


def _values(engine: Any, ids: Any, units: list[Unit], start: int) -> dict[Unit, list[float]]:
    import math

    from charrnn.neurons.record import record

    values: dict[Unit, list[float]] = {unit: [] for unit in units}
    for taken in record(engine, ids, list(dict.fromkeys(unit.part for unit in units))):
        for unit in units:
            values[unit] += taken[unit.part][:, unit.index].tolist()
    for unit, all_values in values.items():
        if not all(map(math.isfinite, all_values)):
            raise CheckpointError(f"{unit} is not finite: the weights are too large to compute with", "train again")
    return {unit: all_values[start:] for unit, all_values in values.items()}


def _draw(
    text: str,
    units: list[Unit],
    values: dict[Unit, list[float]],
    path: Path,
    *,
    as_json: bool,
    html: Path | None,
) -> None:
    from charrnn.neurons.record import limits

    titles = {unit: f"{unit} (tanh c)" if unit.kind == "c" else str(unit) for unit in units}
    if html is not None:
        from charrnn.display.webpage import Picture, render

        pictures = [Picture(titles[unit], text, values[unit], *limits(unit.kind)) for unit in units]
        page = render(f"{path.resolve().parent.name}: {', '.join(map(str, units))}", pictures)
        write_page(html, page)
    if as_json:
        rounded = {str(unit): [round(value, 6) for value in values[unit]] for unit in units}
        print(json.dumps({"checkpoint": str(path), "text": text, "units": rounded}))
    elif html is None:
        from rich.console import Console

        from charrnn.display.heat import HeatText

        console = Console(highlight=False)
        for number, unit in enumerate(units):
            if number:
                console.print()
            console.print(HeatText(titles[unit], text, values[unit], *limits(unit.kind)))


def _summarise(path: Path, loaded: Checkpoint, *, as_json: bool) -> None:
    if as_json:
        from charrnn.display.summary import parameters_by_part

        counts = parameters_by_part({name: array.shape for name, array in loaded.parameters.items()})
        body = {"checkpoint": str(path), "parameters": counts, **loaded.metadata()}
        del body["training"]
        print(json.dumps(body))
        return
    from charrnn.display.summary import summary

    print_pieces(summary(str(path), loaded))
