"""A run that was ordered from Python: reads its text, decides in its folder, and hands on the events of its trainer.

Nothing here imports torch before a run begins.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.runs import run_named
from charrnn.errors import TextError, UsageError
from charrnn.events import Event, Finished, Notice
from charrnn.settings.config import DataConfig
from charrnn.settings.launch import Launch
from charrnn.text import corpus as corpora
from charrnn.text import sources
from charrnn.text.corpus import Corpus
from charrnn.text.finding import Texts, find
from charrnn.text.fitting import Reader
from charrnn.text.sources import Source
from charrnn.training.beyond import finished_in_words
from charrnn.training.inherited import Inherited, inherited
from charrnn.training.plan import TrainRequest
from charrnn.training.request import Order, computing_as_before, origin_of

_open: set[Path] = set()
"""The folders of the runs that this program is training, or has left without closing them."""


@dataclass(frozen=True, slots=True)
class GivenText:
    """A text that was given as a string; the corpus of its order is - as if it came on standard input."""

    text: str
    name: str


class Stop:
    """Whether the run is to end, which its trainer asks after every step: the number of a signal, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_interrupted = False
        """Whether it was Ctrl-C."""
        self.is_training = False
        """Whether there is something to save."""

    def __call__(self) -> int | None:
        return self.signal

    @contextlib.contextmanager
    def on_interrupt(self) -> Iterator[None]:
        """Lets Ctrl-C inside save the run before KeyboardInterrupt is raised; a second one raises it at once.

        Only the main thread can do so, and only where nobody else handles Ctrl-C.
        """
        is_ours = threading.current_thread() is threading.main_thread()
        if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return

        def remember(number: int, frame: FrameType | None) -> None:
            if self.signal is not None or not self.is_training:
                raise KeyboardInterrupt
            self.signal, self.is_interrupted = number, True

        signal.signal(signal.SIGINT, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def events_of(order: Order, folder: Path, given: GivenText | None, stop: Stop) -> Generator[Event, None, None]:
    """Yields the events of the run in `folder`. Once it is to end early, all that is left to hear of is its end.

    Where it is closed, the run goes on to its end in silence, and after Ctrl-C KeyboardInterrupt is raised there.
    """
    run = Run(folder)
    events = _run(order, given, run, stop)
    try:
        for event in events:
            if stop.signal is None or (isinstance(event, Finished) and not stop.is_interrupted):
                yield event
    except GeneratorExit:
        stop.signal = signal.SIGINT
        if not stop.is_training:
            events.close()
        for _ in events:
            pass
        raise
    if stop.is_interrupted:
        raise KeyboardInterrupt(f"the run in {run.folder} is saved, and the same call resumes it")


def _run(order: Order, given: GivenText | None, run: Run, stop: Stop) -> Generator[Event, None, None]:
    """Reads the text, decides in the run's folder, and trains."""
    launch = computing_as_before(order.launch, run)
    known = inherited(launch, run, order.request.data)
    request, corpus, notices = _read(order, given, run, known)
    origin = origin_of(order.corpus, launch)
    yield from map(Notice, [*order.notices, *notices])
    from charrnn.network.device import choose_device, passed_over, prepare
    from charrnn.network.precision import choose_precision
    from charrnn.training.beginning import begin, record
    from charrnn.training.trainer import Trainer

    device = choose_device(launch.device)
    if (not_taken := passed_over(launch.device)) is not None:
        yield Notice(not_taken)
    prepare(device, launch.threads)
    choose_precision(request.training.get("precision", "auto"), device)  # before a folder is made
    with contextlib.ExitStack() as held:
        held.enter_context(_opened(run))
        plan, resume = begin(request, run, corpus, device, fresh=launch.fresh, known=known)
        trainer = Trainer(run, corpus, plan, device=device, resume=resume, stop=stop)
        if resume is not None and trainer.is_finished:
            outcome = trainer.outcome()
            yield from map(Notice, trainer.mended)
            yield Notice(f"{finished_in_words(plan, outcome)}, and fresh=True starts over")
            yield outcome
            return
        if launch.fresh and (aside := run.set_aside()) is not None:
            yield Notice(f"the run before is kept in {aside} until you remove that folder")
            held.enter_context(run.locked())  # the folder is a new one
        record(run, plan, origin, launch)
        stop.is_training = True
        yield from trainer.run()


@contextlib.contextmanager
def _opened(run: Run) -> Iterator[None]:
    """Creates the run's folder and locks it. Raises UsageError where this program or another process has it open."""
    folder = Path(os.path.realpath(run.folder))
    if folder in _open:
        raise UsageError(
            f"the run in {run.folder} is open in this program",
            "close it first (Training.close), or choose another --out",
        )
    with run.locked():
        _open.add(folder)
        try:
            yield
        finally:
            _open.remove(folder)


def _read(
    order: Order, given: GivenText | None, run: Run, known: Inherited
) -> tuple[TrainRequest, Corpus, Sequence[str]]:
    """Reads and encodes the text. Returns the request with what is customary for it, the text, and notices.

    Raises UsageError where the run is to be set aside and cannot be.
    """
    request, launch = order.request, order.launch
    config = DataConfig(**{**known.data, **request.data})
    named = [launch.validation] if launch.validation else []
    found: list[Source] = []
    damaged: list[str] = []
    try:
        texts = _find(order.corpus, launch, config) if given is None else _given(given, config)
        found += texts.sources
        held_out = _find(named, launch, config)
        found += held_out.sources
        if launch.fresh:
            run.check_can_be_set_aside(source.path for source in found)
        separate = {"validation_fraction": 0.0} if named else {}
        customary = texts.customary_beside({**known.data, **request.data})
        request = replace(request, data={**separate, **customary, **known.data, **request.data})
        corpus = corpora.load(
            texts.sources,
            DataConfig(**request.data),
            name=texts.name,
            validation_sources=held_out.sources,
            known=known.vocabulary,
            note=damaged.append,
        )
    finally:
        sources.release(found)
    corpus.check_size()  # before torch is loaded
    data, notes = DataConfig(**request.data), list[str]()
    if "prime" in request.run:
        reader = Reader(data, corpus.vocabulary, corpus.traits.line_ends)
        prime, notes = reader.text(request.run["prime"], "the prime")
        request = replace(request, run={**request.run, "prime": prime})
    said = [*texts.notices, *held_out.notices, *damaged, *corpus.traits.notices(data.min_count), *notes]
    return replace(request, change=launch.change), corpus, said


def _find(words: Sequence[str], launch: Launch, config: DataConfig) -> Texts:
    """Finds the files that are named. Raises TextError where a word names a run, a checkpoint or nothing."""
    for word in words:
        if launch.glob is None and (what := run_named(Path(word))) is not None:
            raise TextError(f"{word} is {what}, not a text", "name a file or a folder of texts")
    return find(words, glob=launch.glob, report=lambda _doing, _done, _total: None, config=config)


def _given(given: GivenText, config: DataConfig) -> Texts:
    return Texts([sources.of_text(given.text, given.name, config)], given.name, [], {})
