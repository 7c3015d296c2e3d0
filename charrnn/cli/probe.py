"""`charrnn inspect TEXT --probe LABEL` and `charrnn inspect --probe-file FILE`: what the state as a whole knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.inspect_options import FROM, LABEL, LABEL_FILE, LENGTH, SEED, UNIT, UNITS
from charrnn.cli.view import Given, Option, Result, View
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject
    from charrnn.neurons.labels import Label
    from charrnn.neurons.probe import Probe

_LENGTH = 100_000


def _measure_text(subject: Subject, asked: Given) -> Result:
    """Probes the state at places of a text for a label."""
    from charrnn.neurons.labels import labels_of
    from charrnn.neurons.probe import probe_text

    own = subject.own_labels(asked)
    choose(asked.probe, labels_of("", own))  # a name that does not exist is refused before the text is read
    subject.check_length("to learn on some and to test on others", _LENGTH)
    label = choose(asked.probe, labels_of(subject.text, own))
    return _result(
        subject,
        probe_text(
            subject.engine, subject.novice, subject.ids, label,
            start=subject.start, seed=asked.seed or 0, report=subject.report,
        ),
        label.name,
        "places",
        {"label": label.name, "characters": subject.characters},
    )  # fmt: skip


def _check_file(asked: Given) -> None:
    if asked.text is not None:
        raise UsageError(f"--probe-file brings its own texts, and {asked.text} is another", "leave one of them out")


def _measure_file(subject: Subject, asked: Given) -> Result:
    """Probes the state at the end of each text of a file for the text's label."""
    from charrnn.display.notice import say
    from charrnn.neurons.probe import most_places, probe_texts
    from charrnn.text.labelled import read_labelled

    file, loaded, seed = asked.probe_file, subject.loaded, asked.seed or 0
    labelled = read_labelled(file, loaded.vocabulary, asked.unknown, most_places(loaded.of_units), seed)
    if len(labelled.texts) < labelled.lines:
        say(f"note: {len(labelled.texts):,} of the {labelled.lines:,} texts were taken, drawn by --seed")
    return _result(
        subject,
        probe_texts(
            subject.engine, subject.novice, labelled.texts, labelled.labels,
            vocabulary_size=len(loaded.vocabulary), seed=seed, report=subject.report,
        ),
        file.name,
        "texts",
        {"file": str(file), "texts": len(labelled.texts)},
    )  # fmt: skip


def _result(subject: Subject, found: Probe, asked: str, kind: str, about: dict[str, Any]) -> Result:
    from charrnn.display.probe import pieces

    return Result(
        subject,
        asked,
        lambda _: pieces(found, asked, kind),
        lambda: {**about, **_numbers(found)},
        lambda: _arrays(found),
    )


def choose(said: str, labels: Sequence[Label], option: str = "--probe", *, takes_degrees: bool = False) -> Label:
    """Returns the label that `said` names; case, spaces and, where one label fits, quotes do not count.

    Raises UsageError where there is none, several are alike, or it is a degree and those are not taken.
    """
    for form in (str, _close, _bare):
        alike = [label for label in labels if form(label.name) == form(said)]
        if len(alike) == 1 and alike[0].is_graded and not takes_degrees:
            raise UsageError(
                f"{alike[0].name!r} is a degree, not yes or no",
                "give a label that holds or not; --find shows which units tell degrees",
            )
        if len(alike) == 1:
            return alike[0]
        if alike:
            raise UsageError(f"several labels are like {said!r}", f"give one of {_listed(alike)}")
    taken = [label for label in labels if takes_degrees or not label.is_graded]
    raise UsageError(
        f"there is no label called {said!r}",
        f"did you mean {_listed(_near(said, taken))}? One of your own: --label NAME=REGEX {option} NAME",
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


def _arrays(found: Probe) -> dict[str, Any]:
    """Returns arrays: scores of the state, its best unit and each baseline, and the units with the largest weights."""
    import numpy as np

    scores = [found.score, found.alone, *found.baselines]
    return {
        "told_by": np.array(["the state", str(found.best_unit), *(score.name for score in found.baselines)], np.str_),
        **{
            name: np.array([getattr(one, name) for one in scores], np.float64)
            for name in ("accuracy", "low", "high", "auc")
        },
        "heaviest.units": np.array([str(one.unit) for one in found.heaviest], np.str_),
        "heaviest.weights": np.array([one.weight for one in found.heaviest]),
        "difference": np.array([found.difference, found.low, found.high], np.float64),
    }


def _numbers(found: Probe) -> dict[str, Any]:
    numbers = asdict(found)
    numbers["best_unit"] = str(found.best_unit)
    numbers["heaviest"] = [{**asdict(one), "unit": str(one.unit)} for one in found.heaviest]
    return numbers


VIEW = View(
    "Probe",
    Option(
        "--probe",
        str,
        "How well the state as a whole tells a label: one of those of --find that are yes or no, or one of your own "
        "(--label). L1 logistic regression, beside its best unit, an untrained model and the last three characters.",
        more={"metavar": "LABEL"},
    ),
    _measure_text,
    options=(LABEL, LABEL_FILE, SEED),
    length=_LENGTH,
    alone=("--probe prints a table", (UNIT, UNITS)),
    shows="How well the state as a whole tells a label.",
)
FILE_VIEW = View(
    "Probe",
    Option(
        "--probe-file",
        Path,
        "The same for labels of whole texts, instead of TEXT: a file with LABEL, a tab, TEXT on each line; asks the "
        "state at the end of each.",
        more={"metavar": "FILE"},
    ),
    _measure_file,
    options=(SEED,),
    needs="run",
    alone=("--probe-file prints a table", (UNIT, UNITS, FROM, LENGTH)),
    check=_check_file,
    shows="How well the state at the end of each text of a file tells its label.",
)
