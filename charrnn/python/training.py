"""Training from Python: `charrnn.train` does what `charrnn train` does, and gives its events instead of showing them.

Nothing here imports torch before a run begins.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from charrnn.cells.names import CELLS
from charrnn.checkpoints.folder import RUNS
from charrnn.display.notebook import table
from charrnn.display.safe import visible
from charrnn.errors import UsageError
from charrnn.events import Event, Finished, Progress
from charrnn.network import torchrun
from charrnn.python.going_on import WAYS
from charrnn.python.metrics import Curve, read_curve
from charrnn.python.order import GivenText, Stop, events_of
from charrnn.settings.choices import DeviceName
from charrnn.settings.fields import settings_of
from charrnn.settings.keywords import TRAINING, errors_in_python, with_settings
from charrnn.settings.presets import PresetName
from charrnn.settings.typed import TrainingSettings
from charrnn.text.finding import title_of
from charrnn.training.request import GROUPS, Order, Said, check_place, settle

if TYPE_CHECKING:
    from charrnn.python.pretrained import Pretrained

Argument = str | os.PathLike[str]


class Training(Iterator[Event]):
    """A run that is being trained: an iterator over its events, which ends after `Finished`.

    In a `with` statement the run is saved at the end of the block, however it is left.
    """

    def __init__(self, order: Order, out: Path, given: GivenText | None = None) -> None:
        self._stop = Stop()
        self._events = events_of(order, out, given, self._stop)
        self._turn = threading.Lock()  # held while the run advances
        weakref.finalize(self, _leave, self._events)  # also where the program ends: a save needs a whole interpreter
        self._progress: Progress | None = None
        self.out = out
        """The run's folder."""
        self.finished: Finished | None = None
        """The last event, once there is one."""

    def __next__(self) -> Event:
        with errors_in_python(), self._stop.on_interrupt(), self._turn:
            event = next(self._events)
        if isinstance(event, Progress):
            self._progress = event
        if isinstance(event, Finished):
            self.finished = event
        return event

    def close(self) -> None:
        """Ends the run after the step that it is in, and saves it, as Ctrl-C does. The same call to `train` resumes.

        Where another thread is taking the events, its loop ends too.
        """
        self._stop.signal = signal.SIGINT
        with errors_in_python(), self._turn:
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def model(self) -> Pretrained:
        """Returns the run's best model so far, or the latest where nothing has been validated. Reads it anew."""
        from charrnn.python.pretrained import load

        return load(self.out)

    def curve(self) -> Curve:
        """Returns the metrics of the run so far, as arrays; see `charrnn.curve`."""
        return read_curve(self.out)

    def _standing(self) -> str:
        if self.finished is not None:
            return f"finished at step {self.finished.step:,}"
        if self._progress is None:
            return "not begun"
        return f"step {self._progress.step:,}, {self._progress.fraction:.0%} of the budget"

    def __repr__(self) -> str:
        return f"<training in {visible(str(self.out), kept='')}: {self._standing()}>"

    def _repr_html_(self) -> str:
        return table({"run": str(self.out), "training": self._standing()}) + self.curve().chart()


def _leave(events: Generator[Event, None, None]) -> None:
    with contextlib.suppress(ValueError):  # a daemon's thread is still at it, and will be gone with the program
        events.close()


@with_settings(*TRAINING, cell={name: entry.help for name, entry in CELLS.items()})
def train(
    corpus: Argument | Sequence[Argument] | None = None,
    *,
    text: str | None = None,
    out: Argument | None = None,
    name: str | None = None,
    preset: PresetName | None = None,
    validation: Argument | None = None,
    glob: str | None = None,
    device: DeviceName = "auto",
    threads: int | None = None,
    fresh: bool = False,
    init_from: Argument | None = None,
    distill_from: Argument | None = None,
    change: bool = False,
    **settings: Unpack[TrainingSettings],
) -> Training:
    """Trains a model on a text, as the command `charrnn train` does: an iterator over the events of the run.

        for event in charrnn.train("corpus.txt", minutes=2):
            print(event)
        model = charrnn.load("checkpoints/corpus")

    The run advances only while its events are taken; they are the classes of `charrnn.events`, and the last is
    `Finished`. The rules are those of the command: where the folder holds the same run, it is resumed (or given a
    larger budget), another run is refused, and settings that are left open are chosen by corpus, machine and budget.
    Both write the same config.json, so the command goes on with a run from here, and a call with one of the command.
    Leaving the loop early, `Training.close` and Ctrl-C save the run, which the same call resumes.

    corpus
        A file, a folder or the name of a known corpus (such as "stdlib" or "tinyshakespeare"), or several of them; or
        a run's folder, to go on with it on its own text and with its settings.
    text
        The text itself, instead of `corpus`.
    out
        The run's folder, where it does not lie under checkpoints/.
    name
        The name of the run's folder under checkpoints/, by default the corpus's, or "text".
    preset
        A published recipe, as far as there are settings for it, or "best" (our own); settings that are given win.
    validation
        A file or folder to validate on, instead of a part of the corpus.
    glob
        Which files of a folder to read, by name, such as "*.py".
    device
        "cpu", "cuda", "mps", or "auto", which takes an NVIDIA GPU where there is one that torch has kernels for.
    threads
        CPU threads; by default all cores.
    fresh
        Start over; a run in the folder is kept, under a dated name beside it.
    init_from
        A trained model, by its checkpoint file or its run's folder, whose weights and settings a new run begins with.
    distill_from
        A trained model or an ensemble, likewise, whose distributions a new run learns beside the text.
    change
        Let a run that goes on take over the settings that are given otherwise, or a text that has grown at its end.

    This prints nothing. torch computes with flushed denormals, and with `threads`, in the whole process from then on.
    A budget is one of `epochs`, `steps` and `minutes`. Settings that are wrong raise UsageError at once, and so does a
    run's folder that cannot go on (or TextError or CheckpointError, where its text or its files are missing); iterating
    raises TextError for a text that cannot be read, CheckpointError for a damaged run, DivergenceError where loss or
    gradient are not finite or the loss explodes, and ResourceError where memory or disk run out.
    """
    said: dict[str, dict[str, Any]] = {
        group: {key: settings[key] for key in settings_of(cls) if settings.get(key) is not None}  # type: ignore[literal-required]
        for group, cls in GROUPS.items()
        if group != "launch"
    }
    words = _words(corpus, text)
    held_out = None if validation is None else os.fspath(validation)
    if "-" in (*words, held_out):
        raise UsageError("standard input (-) is for the command line", "read it: text=sys.stdin.read()")
    place = {"name": name, "out": None if out is None else Path(out), "validation": held_out, "glob": glob}
    launch = {key: value for key, value in {**place, "threads": threads}.items() if value is not None}
    # A run that goes on keeps its device where this call leaves it open.
    launch |= ({} if device == "auto" else {"device": device}) | ({"fresh": fresh} if fresh else {})
    models = {"init_from": init_from, "distill_from": distill_from}
    launch |= {key: Path(path) for key, path in models.items() if path is not None}
    launch |= {"change": change} if change else {}
    check_place(launch)
    asked = Said(words, preset, said).with_preset()
    order = settle(asked, words if text is None else ["-"], launch, WAYS)
    order.request.check(has_initial=order.launch.init_from is not None)
    if torchrun.world_size() > 1:
        raise UsageError("several processes train together by the command line only", "torchrun -m charrnn train ...")
    given = None if text is None else GivenText(text, name or "text")
    folder = order.launch.out or RUNS / (title_of(words) if given is None else given.name)
    return Training(order, folder, given)


def _words(corpus: Argument | Sequence[Argument] | None, text: str | None) -> list[str]:
    if (corpus is None) == (text is None):
        raise UsageError(
            "both a corpus and a text were given" if corpus is not None else "no corpus was given",
            'give one of them: train("corpus.txt") or train(text="...")',
        )
    if corpus is None:
        return []
    several = [corpus] if isinstance(corpus, str | os.PathLike) else corpus
    words = [os.fspath(each) for each in several]
    if not words:
        raise UsageError("the list of corpora is empty", "name a file, a folder or a known corpus")
    return words
