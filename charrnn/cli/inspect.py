"""`charrnn inspect`: which of its views was asked for, and whether what was said goes together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from charrnn.cli import ablate as ablating
from charrnn.cli import browse as browsing
from charrnn.cli import card as carding
from charrnn.cli import horizon as horizons
from charrnn.cli import inspect_options as options
from charrnn.cli import probe as probes
from charrnn.cli import select as selecting
from charrnn.cli.options import CHECKPOINT, READING_DEVICE
from charrnn.cli.output import NPZ, PALETTE, View, palette_of, print_pieces
from charrnn.cli.reading import Part, Reading, ids_of, read_text
from charrnn.display.palette import PaletteName
from charrnn.errors import TextError, UsageError
from charrnn.settings.choices import DeviceName, UnknownPolicy

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint

_COLOURED = ("--predictions", "--card")
"""Views that draw coloured text, beside the plain one; the page of --find does too."""


def inspect(
    text: Annotated[str | None, options.TEXT] = None,
    checkpoint: Annotated[Path | None, CHECKPOINT] = None,
    unit: Annotated[list[str] | None, options.UNIT] = None,
    units: Annotated[int, options.HOW_MANY] = options.UNITS,
    start: Annotated[int, options.FROM] = 0,
    length: Annotated[int | None, options.HOW_LONG] = None,
    split: Annotated[Part, options.SPLIT_OF_TEXT] = "all",
    unknown: Annotated[UnknownPolicy, options.UNKNOWN] = "error",
    as_json: Annotated[bool, options.JSON] = False,
    html: Annotated[Path | None, options.HTML] = None,
    npz: Annotated[Path | None, NPZ] = None,
    palette: Annotated[PaletteName | None, PALETTE] = None,
    device: Annotated[DeviceName, READING_DEVICE] = "cpu",
    predictions: Annotated[bool, options.PREDICTIONS] = False,
    guesses: Annotated[int | None, options.GUESSES] = None,
    find: Annotated[bool, options.FIND] = False,
    browse: Annotated[bool, browsing.BROWSE] = False,
    ablate: Annotated[bool, ablating.ABLATE] = False,
    card: Annotated[bool, carding.CARD] = False,
    label: Annotated[list[str] | None, options.LABEL] = None,
    label_file: Annotated[Path | None, options.LABEL_FILE] = None,
    gates: Annotated[bool, options.GATES] = False,
    select: Annotated[str | None, selecting.SELECT] = None,
    match: Annotated[bool, selecting.MATCH] = False,
    threshold: Annotated[float | None, selecting.THRESHOLD] = None,
    probe: Annotated[str | None, probes.PROBE] = None,
    probe_file: Annotated[Path | None, probes.PROBE_FILE] = None,
    horizon: Annotated[bool, horizons.HORIZON] = False,
    distance: Annotated[int | None, horizons.DISTANCE] = None,
    lanes: Annotated[int | None, horizons.LANES] = None,
    read_length: Annotated[int | None, horizons.READ] = None,
    seed: Annotated[int | None, horizons.SEED] = None,
) -> None:
    """See what a model is and what its units respond to.

    \b
    charrnn inspect                                     what the newest run is, and how it learned
    charrnn inspect held_out.txt                        the units that vary most over the text
    charrnn inspect held_out.txt --unit L2.c17 --html c17.html
    charrnn inspect held_out.txt --unit L2.c17 --card   all that can be said of a unit
    charrnn inspect held_out.txt --predictions          what it expects after each character
    charrnn inspect held_out.txt --find                 which units know what, and how sure that is
    charrnn inspect held_out.txt --find --ablate        and whether the model uses what they know
    charrnn inspect held_out.txt --gates                how often each gate is open or shut
    charrnn inspect held_out.txt --horizon              how many characters back the model remembers
    charrnn inspect held_out.txt --select '"([^"]*)"' --match  which units are on there, and where else
    charrnn inspect held_out.txt --probe "upper case"   how well the state as a whole tells a label
    """
    from charrnn.checkpoints import checkpoint as checkpoints
    from charrnn.checkpoints.folder import find_checkpoint
    from charrnn.cli import find as finding
    from charrnn.cli import predictions as guessing

    views = {
        "--predictions": predictions,
        "--gates": gates,
        "--horizon": horizon,
        "--find": find,
        "--card": card,
        "--ablate": ablate and not find,  # what was found may be ablated at once
        "--select": select is not None,
        "--probe": probe is not None,
        "--probe-file": probe_file is not None,
    }
    is_probed = views["--probe"] or views["--probe-file"]
    if sum(views.values()) > 1:
        asked = " and ".join(name for name, is_asked in views.items() if is_asked)
        raise UsageError(f"{asked} are pictures of their own", "give one of them")
    coloured = (*_COLOURED, "--find") if html is not None or browse else _COLOURED
    uncoloured = {name: is_asked for name, is_asked in views.items() if name not in coloured}
    colours = palette_of(palette, uncoloured | {"charrnn inspect without a text": text is None})
    view = View(as_json, html, npz, colours)
    own = finding.check(
        is_asked=find,
        is_used=find or ablate or card or probe is not None,
        labels=label or [],
        file=label_file,
        others=bool(unit),
    )
    outputs = {"--ablate": ablate, "--json": as_json, "--html": html is not None, "--npz": npz is not None}
    browsing.check(is_asked=browse, find=find, others=outputs)
    carding.check(is_asked=card, units=unit or [])
    ablating.check(is_asked=ablate, units=unit or [], find=find)
    number = guessing.check(predictions=predictions, guesses=guesses, units=len(unit or []))
    if device not in ("cpu", "auto"):
        raise UsageError(f"--device is {device}", "inspect reads one character at a time and computes on the CPU")
    request = horizons.Request(distance, lanes, read_length, None if is_probed else seed)
    others = {"--unit": bool(unit), "--units": units != options.UNITS}
    spans = {"--from": start != 0, "--length": length is not None}
    horizons.check(is_asked=horizon, request=request, text=text, others=others | spans)
    probes.check(label=probe, file=probe_file, text=text, others=others | spans)
    selection = selecting.Request(select, match, threshold)
    selecting.check(selection, others)
    path = find_checkpoint(checkpoint)
    loaded = checkpoints.load(path)
    if probe_file is not None:
        probes.show_file(probe_file, loaded, path, view, unknown=unknown, seed=seed)
        return
    if text is None:
        needing = {
            "--unit": bool(unit),
            "--html": html is not None,
            "--npz": npz is not None,
            "--split": split != "all",
        }
        for name, is_asked in (needing | views).items():
            if is_asked:
                raise UsageError(f"{name} needs a text", f"charrnn inspect TEXT {name} ...")
        _summarise(path, loaded, as_json=as_json)
        return
    if horizon:
        ids = ids_of(read_text(text, loaded, unknown, request.characters, split), loaded.vocabulary)
        horizons.show(ids, loaded, path, request, view)
        return
    if gates:
        from charrnn.cli.gates import show_gates

        if unit:
            raise UsageError("--gates is a picture of its own", "leave out --unit")
        show_gates(text, path, loaded, view, start=start, length=length, split=split, unknown=unknown)
        return
    if probe is not None:
        probes.show_text(
            text, probe, own, loaded, path, view, start=start, length=length, split=split, unknown=unknown, seed=seed
        )
        return
    from charrnn.cli import heat
    from charrnn.inference.make_engine import make_engine
    from charrnn.neurons.record import parse_unit

    chosen = list(dict.fromkeys(parse_unit(name, loaded.model) for name in unit or []))
    shown = length or options.usual_length(whole=find or select is not None, some=ablate or card)
    # What follows the last one is guessed too.
    read = read_text(text, loaded, unknown, start + shown + predictions, split)
    if not read:
        raise TextError(f"there is nothing to read in {text}", "give a text of characters the model knows")
    if len(read) <= start:
        raise UsageError(f"--from is {start:,}, but the text has {len(read):,} characters", "start earlier")
    engine = make_engine(loaded.model, loaded.parameters)
    reading = Reading(loaded, path, engine, read, ids_of(read, loaded.vocabulary), start)
    if find:
        finding.show(reading, own, view, ablate=ablate, browse=browse)
    elif card:
        carding.show(reading, chosen, own, view)
    elif ablate:
        ablating.show(reading, chosen, own, view)
    elif select is not None:
        selecting.show(reading, selection, view)
    elif predictions:
        charged = unknown == "error" or loaded.vocabulary.kind == "bytes"
        guessing.show(reading, guessing.Shown(shown, number, chosen, charged, view))
    else:
        heat.show(reading, chosen, view, most=units)


def _summarise(path: Path, loaded: Checkpoint, *, as_json: bool) -> None:
    if as_json:
        from charrnn.display.summary import parameters_by_part

        counts = parameters_by_part({name: array.shape for name, array in loaded.parameters.items()})
        body = {"checkpoint": str(path), "parameters": counts, **loaded.metadata()}
        del body["training"]
        print(json.dumps(body))
        return
    from charrnn.checkpoints.folder import METRICS, read_metrics
    from charrnn.display.summary import summary

    print_pieces(summary(str(path), loaded, read_metrics(path.with_name(METRICS))))
