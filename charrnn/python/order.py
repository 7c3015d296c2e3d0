"""A run that was ordered from Python: reads its text, decides in its folder, and hands on the events of its trainer.

Nothing here imports torch before a run begins.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from charrnn.checkpoints.folder import Run
from charrnn.errors import UsageError
from charrnn.events import Event, Finished, Notice
from charrnn.settings.choices import DeviceName
from charrnn.settings.config import DataConfig
from charrnn.text import corpus as corpora
from charrnn.text import sources
from charrnn.text.corpus import Corpus
from charrnn.text.finding import Texts, find
from charrnn.training.plan import TrainRequest

_open: set[Path] = set()
"""The folders of the runs that this program is training, or has left without closing them."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for."""

    request: TrainRequest
    corpus: Sequence[str]
    text: str | None
    validation: str | None
    glob: str | None
    out: Path
    name: str
    device: DeviceName
    threads: int | None
    fresh: bool


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


def events_of(order: Order, stop: Stop) -> Generator[Event, None, None]:
    """Yields the events of the run. Once it is to end early, all that is left to hear of is its end.

    Where it is closed, the run goes on to its end in silence, and after Ctrl-C KeyboardInterrupt is raised there.
    """
    events = _run(order, stop)
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
        raise KeyboardInterrupt(f"the run in {order.out} is saved, and the same call resumes it")


def _run(order: Order, stop: Stop) -> Generator[Event, None, None]:
    """Reads the text, decides in the run's folder, and trains."""
    request, corpus, notices = _read(order)
    yield from map(Notice, notices)
    from charrnn.network.device import choose_device, passed_over, prepare
    from charrnn.network.precision import choose_precision
    from charrnn.training.beginning import begin
    from charrnn.training.trainer import Trainer

    run, device = Run(order.out), choose_device(order.device)
    if (not_taken := passed_over(order.device)) is not None:
        yield Notice(not_taken)
    prepare(device, order.threads)
    choose_precision(request.training.get("precision", "auto"), device)  # before a folder is made
    with contextlib.ExitStack() as held:
        held.enter_context(_opened(run))
        plan, resume = begin(request, run, corpus, device, fresh=order.fresh)
        trainer = Trainer(run, corpus, plan, device=device, resume=resume, stop=stop)
        if resume is not None and trainer.is_finished:
            yield Notice(f"this run is finished; a larger budget than {plan.budget} goes on, fresh=True starts over")
            yield trainer.outcome()
            return
        if order.fresh and (aside := run.set_aside()) is not None:
            yield Notice(f"the run before is kept in {aside} until you remove that folder")
            held.enter_context(run.locked())  # the folder is a new one
        stop.is_training = True
        yield from trainer.run()


@contextlib.contextmanager
def _opened(run: Run) -> Iterator[None]:
    """Creates the run's folder and locks it. Raises UsageError where this program or another process has it open."""
    folder = run.folder.resolve()
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


def _read(order: Order) -> tuple[TrainRequest, Corpus, Sequence[str]]:
    """Reads and encodes the text. Returns the request with what is customary for it, the text, and notices."""
    request = order.request
    config = DataConfig(**request.data)

    def look(words: Sequence[str]) -> Texts:
        return find(words, glob=order.glob, report=lambda _doing, _done, _total: None, config=config)

    if order.text is None:
        texts = look(order.corpus)
    else:
        texts = Texts([sources.of_text(order.text, order.name, config)], order.name, [], {})
    held_out = look([order.validation] if order.validation else [])
    separate = {"validation_fraction": 0.0} if order.validation else {}
    request = replace(request, data={**separate, **texts.customary, **request.data})
    try:
        corpus = corpora.load(
            texts.sources, DataConfig(**request.data), name=order.name, validation_sources=held_out.sources
        )
    finally:
        sources.release([*texts.sources, *held_out.sources])
    corpus.check_size()  # before torch is loaded
    return request, corpus, [*texts.notices, *held_out.notices]
