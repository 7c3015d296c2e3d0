"""`charrnn inspect TEXT --probe LABEL` and `charrnn inspect --probe-file FILE`: what the state as a whole knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charrnn.cli.options import refuse_beside
from charrnn.cli.output import View, put, write_arrays
from charrnn.cli.reading import heading
from charrnn.errors import UsageError
from charrnn.settings.choices import UnknownPolicy

if TYPE_CHECKING:
    import re

    from charrnn.checkpoints.checkpoint import Checkpoint
    from charrnn.cli.reading import Part
    from charrnn.neurons.labels import Label
    from charrnn.neurons.probe import Probe

_PANEL = "Probe"
LENGTH = 100_000

PROBE = typer.Option(
    "--probe",
    help="How well the state as a whole tells a label: one of those of --find that are yes or no, or one of your own "
    "(--label). L1 logistic regression, beside its best unit, an untrained model and the last three characters.",
    metavar="LABEL",
    rich_help_panel=_PANEL,
)
PROBE_FILE = typer.Option(
    "--probe-file",
    help="The same for labels of whole texts, instead of TEXT: a file with LABEL, a tab, TEXT on each line; asks the "
    "state at the end of each.",
    metavar="FILE",
    rich_help_panel=_PANEL,
)


def check(*, label: str | None, file: Path | None, text: str | None, others: Mapping[str, bool]) -> None:
    """Raises UsageError for options that do not go together; `others` says which of the rest were given."""
    if label is None and file is None:
        return
    asked = "--probe" if file is None else "--probe-file"
    if file is not None and text is not None:
        raise UsageError(f"--probe-file brings its own texts, and {text} is another", "leave one of them out")
    if label is not None and text is None:
        raise UsageError("--probe needs a text to ask about", "charrnn inspect TEXT --probe LABEL")
    spans = () if file is not None else ("--from", "--length")
    refuse_beside(f"{asked} prints a table", {name: given for name, given in others.items() if name not in spans})


def show_text(
    text: str,
    said: str,
    own: dict[str, re.Pattern[str]],
    loaded: Checkpoint,
    path: Path,
    view: View,
    *,
    start: int,
    length: int | None,
    split: Part,
    unknown: UnknownPolicy,
    seed: int | None,
) -> None:
    """Asks for a label of a text."""
    from charrnn.cli.reading import check_length, ids_of, read_text
    from charrnn.neurons.labels import labels_of
    from charrnn.neurons.probe import probe_text

    choose(said, labels_of("", own))  # a name that does not exist is refused before the text is read
    read = read_text(text, loaded, unknown, start + (length or LENGTH), split)
    if read and len(read) <= start:
        raise UsageError(f"--from is {start:,}, but the text has {len(read):,} characters", "start earlier")
    check_length(len(read) - start, "to learn on some and to test on others", LENGTH)
    label = choose(said, labels_of(read, own))
    ids = ids_of(read, loaded.vocabulary)
    found = _probed(
        loaded,
        lambda engine, novice, report: probe_text(
            engine, novice, ids, label, start=start, seed=seed or 0, report=report
        ),
    )
    _show(found, label.name, "places", {"label": label.name, "characters": len(read) - start}, path, view)


def show_file(
    file: Path, loaded: Checkpoint, path: Path, view: View, *, unknown: UnknownPolicy, seed: int | None
) -> None:
    """Asks for the labels of texts."""
    from charrnn.display.safe import say
    from charrnn.neurons.probe import most_places, probe_texts
    from charrnn.text.labelled import read_labelled

    labelled = read_labelled(file, loaded.vocabulary, unknown, most_places(loaded.model), seed or 0)
    if len(labelled.texts) < labelled.lines:
        say(f"note: {len(labelled.texts):,} of the {labelled.lines:,} texts, drawn by --seed")
    size = len(loaded.vocabulary)
    found = _probed(
        loaded,
        lambda engine, novice, report: probe_texts(
            engine, novice, labelled.texts, labelled.labels, vocabulary_size=size, seed=seed or 0, report=report
        ),
    )
    _show(found, file.name, "texts", {"file": str(file), "texts": len(labelled.texts)}, path, view)


def choose(said: str, labels: Sequence[Label]) -> Label:
    """The yes-or-no label that is meant, whatever its case, its spaces and, where only one is like it, its quotes."""
    for form in (str, _close, _bare):
        alike = [label for label in labels if form(label.name) == form(said)]
        if len(alike) == 1 and alike[0].is_graded:
            raise UsageError(
                f"{alike[0].name!r} is a degree, not yes or no",
                "give a label that holds or not; --find shows which units tell degrees",
            )
        if len(alike) == 1:
            return alike[0]
        if alike:
            raise UsageError(f"several labels are like {said!r}", f"give one of {_listed(alike)}")
    yes_no = [label for label in labels if not label.is_graded]
    raise UsageError(
        f"there is no label called {said!r}",
        f"did you mean {_listed(_near(said, yes_no))}? One of your own: --label NAME=REGEX --probe NAME",
    )


def _close(name: str) -> str:
    return "".join(name.casefold().split())


def _bare(name: str) -> str:
    return "".join(character for character in _close(name) if character not in "\"'`“”‘’„«»")


def _near(said: str, labels: Sequence[Label]) -> list[Label]:
    from difflib import get_close_matches

    wanted, names = _bare(said), {_bare(label.name) for label in labels}
    near = set(get_close_matches(wanted, sorted(names), n=3, cutoff=0.6))
    near |= {name for name in names if len(wanted) > 2 and wanted in name}
    return [label for label in labels if _bare(label.name) in near] or list(labels)


def _listed(labels: Sequence[Label]) -> str:
    return ", ".join(label.name for label in labels)


def _probed(loaded: Checkpoint, ask: Any) -> Probe:
    from contextlib import closing

    import numpy as np

    from charrnn.display.progress import WorkDisplay
    from charrnn.inference.make_engine import make_engine
    from charrnn.neurons.find import untrained_arrays

    engine = make_engine(loaded.model, loaded.parameters)
    novice = make_engine(loaded.model, untrained_arrays(loaded.model, len(loaded.vocabulary)))
    with closing(WorkDisplay()) as work, np.errstate(over="ignore", invalid="ignore"):  # it is said in a sentence
        found: Probe = ask(engine, novice, work)
    return found


def _show(found: Probe, asked: str, kind: str, about: dict[str, Any], path: Path, view: View) -> None:
    from charrnn.display.probe import pieces

    if view.npz is not None:
        write_arrays(view.npz, _arrays(found))
    if view.as_json:
        print(json.dumps({"checkpoint": str(path), **about, **_numbers(found)}))
    put(pieces(found, asked, kind), heading(path, asked), view)


def _arrays(found: Probe) -> dict[str, Any]:
    """A row for each that tells, the state first, and the heaviest units."""
    import numpy as np

    scores = [found.score, found.alone, *found.baselines]
    return {
        "told_by": np.array(["the state", str(found.best_unit), *(score.name for score in found.baselines)], np.str_),
        **{name: np.array([getattr(one, name) for one in scores]) for name in ("accuracy", "low", "high", "auc")},
        "heaviest.units": np.array([str(one.unit) for one in found.heaviest], np.str_),
        "heaviest.weights": np.array([one.weight for one in found.heaviest]),
        "difference": np.array([found.difference, found.low, found.high]),
    }


def _numbers(found: Probe) -> dict[str, Any]:
    numbers = asdict(found)
    numbers["best_unit"] = str(found.best_unit)
    numbers["heaviest"] = [{**asdict(one), "unit": str(one.unit)} for one in found.heaviest]
    return numbers
