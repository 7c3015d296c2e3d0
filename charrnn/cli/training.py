"""What `charrnn train` does once its options are read: find the text, decide in the run's folder, train, show.

What can be wrong is found before a folder is made or a run set aside. torch is loaded only once the text has been read
and found long enough.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cells.names import enumerated
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.config_file import Origin
from charrnn.checkpoints.folder import RUNS, Run, folder_size
from charrnn.cli import texts as text_arguments
from charrnn.cli.escapes import as_expected
from charrnn.cli.going_on import refusal
from charrnn.cli.leaving import TIDYING_SECONDS, leave_within, nothing_is_left
from charrnn.cli.signals import StopOnSignal
from charrnn.cli.without_graphs import goes_on, without_graphs
from charrnn.display.progress import TrainingDisplay
from charrnn.errors import RecordingFailed, UsageError
from charrnn.events import Finished
from charrnn.network import torchrun
from charrnn.settings.config import DataConfig
from charrnn.settings.conflicts import check_together
from charrnn.settings.launch import Launch
from charrnn.settings.run import RunConfig
from charrnn.text.corpus import Corpus
from charrnn.text.finding import title_of
from charrnn.text.fitting import Reader
from charrnn.training.beyond import finished_in_words
from charrnn.training.inherited import Inherited, inherited
from charrnn.training.plan import OtherSettings, Plan, TrainRequest
from charrnn.training.request import computing_as_before, origin_of
from charrnn.wording import count, shortened

if TYPE_CHECKING:
    import torch

    from charrnn.training.distributed import World

_REPEATED = 2.0
"""Seconds in which a signal may come again by way of torchrun, which passes on what the terminal has sent to all."""

_NAMED = 3


def carry_out(request: TrainRequest, arguments: list[str], launch: Launch, notices: Sequence[str] = ()) -> int | None:
    """Finds the text, decides what to do, does it, after showing `notices`.

    Returns the number of the signal that ended the run, if one did.
    """
    # One process prints, and writes, for all; what another process has begun is not begun again.
    launch = replace(launch, quiet=launch.quiet or torchrun.rank() > 0, fresh=launch.fresh and not goes_on())
    is_one_of_several = torchrun.world_size() > 1
    stop: StopOnSignal | None = None
    try:
        with contextlib.ExitStack() as stack:
            display = stack.enter_context(
                TrainingDisplay(quiet=launch.quiet, whole_samples=_asks_for_whole_samples(request))
            )
            stack.enter_context(_warnings_shown(display))
            display.tell(f"reading {_named(arguments)} ...")  # before anything that takes long
            display.note(*notices)
            if is_one_of_several:
                _join(arguments, launch, stack)
            prepared = _read(request, arguments, launch, display)
            stop = StopOnSignal(partial(_heard, display), deaf=_REPEATED if is_one_of_several else 0.0)
            if is_one_of_several:  # one that left at once would let the others wait
                stack.enter_context(stop)
            number = _run(prepared, prepared.launch, display, stop)
            if number is not None:
                leave_within(TIDYING_SECONDS, number)  # the run is saved: what is left is to be read
            nothing_is_left()
            return number
    except RecordingFailed as failed:  # at a first step, and before it the run has been saved
        if stop is not None and (number := stop()) is not None:
            return number
        without_graphs(failed, quiet=launch.quiet)


def _heard(display: TrainingDisplay, number: int) -> None:
    """Says that a signal has come; called in its handler."""
    again = " (Ctrl-C again stops at once, without saving)" if number == signal.SIGINT else ""
    display.tell_at_once(f"finishing this step and saving{again}")


@contextlib.contextmanager
def _warnings_shown(display: TrainingDisplay) -> Iterator[None]:
    """A context in which Python's warnings are written as all else is, so that none waits for a reader."""

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        display.pass_on(warnings.formatwarning(message, category, filename, lineno, line))

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before


def _named(arguments: list[str]) -> str:
    """Names what is read; of many files the first ones."""
    names = ["standard input" if argument == "-" else shortened(argument, 200) or "''" for argument in arguments]
    shown = names if len(names) <= _NAMED else names[:_NAMED]
    more = len(names) - len(shown)
    return enumerated([*shown, *([count(more, "other")] if more else [])], "and")


def _join(arguments: list[str], launch: Launch, stack: contextlib.ExitStack) -> None:
    """Makes this process one of several, until the `stack` is left. Raises UsageError where they cannot all do it."""
    from charrnn.network.device import choose_device
    from charrnn.training.distributed import joined, local_device, world_from_environment

    if "-" in (*arguments, launch.validation):
        raise UsageError("several processes cannot read one standard input (-)", "put the text into a file")
    world = world_from_environment()
    device = choose_device(launch.device, is_needed=not launch.dry_run)
    stack.enter_context(joined(world, local_device(device, world)))


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What was asked for, with what is customary for the text; where the run goes; and the text."""

    request: TrainRequest
    run: Run
    corpus: Corpus
    arguments: list[str]
    launch: Launch
    origin: Origin
    """Where the text lies, as the run's folder records it."""
    known: Inherited
    """The models that a run which begins takes its weights from, and learns from."""

    def plan(self, device: torch.device, world: World, *, fresh: bool) -> tuple[Plan, checkpoints.Checkpoint | None]:
        """What to do in the run's folder, and the checkpoint to go on from, if the run goes on."""
        from charrnn.training.beginning import begin

        try:
            return begin(
                self.request, self.run, self.corpus, device, fresh=fresh, processes=world.size, known=self.known
            )
        except OtherSettings as other:
            raise refusal(other, self.run, self.request, self.arguments, self.launch) from other


def _with_prime(run: dict[str, Any], corpus: Corpus, data: DataConfig, display: TrainingDisplay) -> dict[str, Any]:
    """Returns the settings of the run with the prime as `sample` would read it. Raises TextError where the text lacks
    a character of it."""
    if "prime" not in run:
        return run
    prime, notice = as_expected("--prime", run["prime"], has_backslashes="\\" in corpus.vocabulary, exact=None)
    prime, notes = Reader(data, corpus.vocabulary, corpus.traits.line_ends).text(prime, "--prime")
    corpus.vocabulary.encode(prime)
    display.note(*([notice] if notice else []), *notes)
    return {**run, "prime": prime}


def _asks_for_whole_samples(request: TrainRequest) -> bool:
    """Returns whether samples are to be shown whole: the user has given a length, which a resumed run remembers."""
    usual = next(each.default for each in fields(RunConfig) if each.name == "sample_length")
    return bool(request.run.get("sample_length", usual) != usual)


def _read(request: TrainRequest, arguments: list[str], launch: Launch, display: TrainingDisplay) -> _Prepared:
    """Reads and encodes the text."""
    with _one_process_of_a_machine_first():
        named = [launch.validation] if launch.validation else []
        run = Run(launch.out or RUNS / title_of(arguments))
        with display.work() as work:
            known = inherited(launch, run, request.data)
            config = DataConfig(**{**known.data, **request.data})
            look = partial(text_arguments.find, glob=launch.glob, report=work, config=config)
            texts, held_out = look(arguments), look(named)
        display.note(*texts.notices, *held_out.notices)
        if launch.fresh:
            run.check_can_be_set_aside(source.path for source in (*texts.sources, *held_out.sources))
        origin = origin_of(arguments, launch)
        separate = {"validation_fraction": 0.0} if named else {}
        customary = texts.customary_beside({**known.data, **request.data})
        request = replace(request, data={**separate, **customary, **known.data, **request.data})
        config, held = DataConfig(**request.data), held_out.sources
        corpus = text_arguments.load(texts, config, held, known.vocabulary, work=display.work(), note=display.note)
        corpus.check_size()  # before torch is loaded
        data = DataConfig(**request.data)
        display.note(*corpus.traits.notices(data.min_count))
        request = replace(request, run=_with_prime(request.run, corpus, data, display))
    if torchrun.world_size() == 1:  # several processes have chosen their devices before they read
        launch = computing_as_before(launch, run)
    return _Prepared(replace(request, change=launch.change), run, corpus, arguments, launch, origin, known)


@contextlib.contextmanager
def _one_process_of_a_machine_first() -> Iterator[None]:
    """What one process downloads and encodes, the others of its machine find in the cache."""
    if torchrun.world_size() == 1:
        yield
        return
    from charrnn.training.distributed import world_from_environment

    world = world_from_environment()
    if torchrun.local_rank() > 0:
        world.wait()
    yield
    if torchrun.local_rank() == 0:
        world.wait()


def _run(prepared: _Prepared, launch: Launch, display: TrainingDisplay, stop: StopOnSignal) -> int | None:
    from charrnn.cli.afterwards import farewell
    from charrnn.cli.dry_run import describe, expect, watch_over
    from charrnn.network.device import choose_device, passed_over, prepare
    from charrnn.network.precision import choose_precision
    from charrnn.training.beginning import record
    from charrnn.training.distributed import check_parts, local_device, world_from_environment
    from charrnn.training.pace import check_trigger
    from charrnn.training.parts import parts_of
    from charrnn.training.trainer import Trainer

    request, run, corpus, fresh = prepared.request, prepared.run, prepared.corpus, launch.fresh
    world = world_from_environment()
    device = local_device(choose_device(launch.device, is_needed=not launch.dry_run), world)
    if (not_taken := passed_over(launch.device)) is not None:
        display.note(not_taken)
    prepare(device, launch.threads)
    choose_precision(request.training.get("precision", "auto"), device)  # before a folder is made
    if launch.dry_run:
        plan, resume = prepared.plan(device, world, fresh=fresh)
        forecast = expect(plan, corpus, device, world) if resume is None else None
        check_parts(plan.training.batch_size, world.size, plan.run.accumulate)
        check_trigger(plan.training, plan.run, len(parts_of(plan, corpus).validation))
        check_together(plan.model, plan.training, parts=world.size * plan.run.accumulate)
        display.note(*plan.notices, *describe(plan, corpus, run, device, resume, world, forecast))
        return None
    goes_on_alone = world.is_alone and "-" not in (*prepared.arguments, launch.validation)
    with contextlib.ExitStack() as held:
        if world.is_first:
            held.enter_context(run.locked())
        plan, resume = prepared.plan(device, world, fresh=fresh)
        _check_same_start(world, prepared, plan, device, resume)
        trainer = Trainer(run, corpus, plan, device=device, resume=resume, stop=stop, world=world)
        if resume is not None and trainer.is_finished:
            outcome = trainer.outcome()
            display.note(*trainer.mended)
            display.note(f"{finished_in_words(plan, outcome)}, and --fresh starts over")
            display.show(outcome)
            farewell(display, outcome, plan, run, corpus, goes_on_alone=goes_on_alone)
            return None
        if world.is_alone:  # until here there was nothing to save
            held.enter_context(stop)
        if world.is_first:
            # Only now can nothing be wrong with the new run.
            if fresh and (aside := run.set_aside()) is not None:
                display.note(_kept(aside))
                held.enter_context(run.locked())  # the folder is a new one
            record(run, plan, prepared.origin, launch)
        forecast = expect(plan, corpus, device, world) if resume is None else None
        display.note(*describe(plan, corpus, run, device, resume, world, forecast))
        watch = watch_over(forecast, plan.model, device, world)
        for event in trainer.run():
            display.show(event)
            display.note(*watch(event))
            if isinstance(event, Finished):
                farewell(display, event, plan, run, corpus, goes_on_alone=goes_on_alone)
                return stop() if event.signal is None else event.signal  # it may have come a moment too late
    raise AssertionError("a run ends with Finished")


def _kept(aside: Path) -> str:
    """Says where the run before is kept, and how large it is."""
    size = folder_size(aside)
    said = f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
    return f"the run before is kept in {aside} ({said}) until you remove that folder"


def _check_same_start(
    world: World, prepared: _Prepared, plan: Plan, device: torch.device, resume: checkpoints.Checkpoint | None
) -> None:
    """Raises UsageError where processes would train different models on different texts, or some go on and some not."""
    if world.is_alone:
        return
    from charrnn.network.precision import choose_precision
    from charrnn.training.parts import parts_of

    if not world.is_same(_number_for(prepared.corpus.sha256)):
        raise UsageError("the processes do not read the same text", "give each machine the same files")
    if not world.is_same(_number_for(repr(parts_of(plan, prepared.corpus).held_out))):
        raise UsageError(
            "the processes do not hold out the same parts of the text", "--held-out end is the same on any machine"
        )
    if not world.is_same(-1 if resume is None else resume.progress["step"]):
        raise UsageError(
            f"the processes do not find the same run in {prepared.run.folder}",
            "put it where all machines see it, with --out",
        )
    if not world.is_same(_number_for(repr((plan, choose_precision(plan.training.precision, device))))):
        raise UsageError(
            "the processes do not choose the same settings, since their machines differ",
            "choose them yourself: --hidden, --layers, --dropout, --batch, --precision",
        )


def _number_for(text: str) -> int:
    """A number that two texts share only where they are the same (or once in 10^14), and that fits into a float."""
    return int(hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12], 16)
