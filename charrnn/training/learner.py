"""The learner: everything that one update of the weights reads and changes, and nothing else.

It holds model, optimizer, carried state and random generator, and has a method that makes a step. All of it can be
saved as named arrays and loaded again: the next step is then exactly the one that would have been made. The learner
uses no clock, no files and no text.

A step is a program over tensors that stay where they are. On a GPU it is recorded once as a CUDA graph and replayed;
elsewhere the same program runs as it stands.

Clipping by the global norm is Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063, algorithm 1).

Shape letters: T window, B lanes (of this process), H hidden size, V vocabulary.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.cells.parameters import is_trained
from charrnn.cells.registry import is_plain_in_training
from charrnn.network.batch_statistics import Running
from charrnn.network.device import require_memory
from charrnn.network.graphs import GraphRecorder
from charrnn.network.model import CharacterModel
from charrnn.network.precision import LossScale, choose_precision, narrow_iteration
from charrnn.network.threads import is_compiled, is_looped, torch_beside
from charrnn.settings.config import ModelConfig, TrainingConfig
from charrnn.settings.conflicts import check_together
from charrnn.training.averaged import Averaged, like
from charrnn.training.backward import Backward
from charrnn.training.distributed import ALONE, World
from charrnn.training.estimates import training_memory
from charrnn.training.feed import Feed, ResidentFeed
from charrnn.training.gradient import JoinedGradient
from charrnn.training.lanes import TextWindow
from charrnn.training.objective import WindowObjective
from charrnn.training.optimizers.registry import find_optimizer
from charrnn.training.optimizers.updater import Updater
from charrnn.training.random_state import restore
from charrnn.training.step_mode import Way, choose_way
from charrnn.training.tally import StepSums
from charrnn.training.teacher import Teacher

SMALLER = (
    "--accumulate 2 (or more) splits each step without changing its result; a smaller --batch, --bptt or --hidden "
    "needs less too; the last checkpoint is untouched"
)
"""What to do where a step needs more memory than there is."""

_CARRY, _RANDOM, _SCALE, _STEPS = "carry.", "random.training", "loss_scale", "steps"
_TINY = 1e-6  # keeps the clipping factor of a zero gradient finite, as in torch's clip_grad_norm_


class NotFinite(Exception):
    """Loss or gradient is not a finite number, or far beyond all that a model in training makes."""

    def __init__(self, loss: float, gradient_norm: float) -> None:
        super().__init__(loss, gradient_norm)
        self.loss, self.gradient_norm = loss, gradient_norm


class Learner:
    """A model in training."""

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        vocabulary_size: int,
        device: torch.device,
        *,
        end: int | None = None,
        accumulate: int = 1,
        world: World = ALONE,
        way: Way | None = None,
        initial: Mapping[str, npt.NDArray[Any]] | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """`initial` are the weights to begin with; without them they are drawn by the seed. What a `teacher` says is
        learned beside the true characters; its rows have to be made before the first step (`Teacher.prepare`)."""
        self.device, self.world = device, world
        self.precision = choose_precision(training.precision, device)
        self.is_compiled = is_compiled(device, is_plain=is_plain_in_training(model))
        self.way: Way = way or choose_way(model, training, device, world, has_end=end is not None, teacher=teacher)
        parts = accumulate * world.size
        check_together(model, training, parts=parts)
        kept = find_optimizer(training.optimizer).kept
        needed = training_memory(
            model, training, vocabulary_size, kept=kept, precision=self.precision, parts=parts,
            is_taught=teacher is not None, is_looped=is_looped(device, model),
        )  # fmt: skip
        require_memory(needed, device, "training this model")
        self._training, self._accumulate = training, accumulate
        self.model = CharacterModel(model, vocabulary_size, end)
        # Drawn on the CPU, so that a seed gives the same weights on every device.
        if initial is None:
            self.model.initialise(torch.Generator().manual_seed(training.seed))
        else:
            self.model.load_arrays(initial)
        self.model.to(device)
        self._arrays = self.model.arrays()
        for name, array in self._arrays.items():
            array.requires_grad_(is_trained(name, training.freeze))
        # Those that gradients move: the others have neither gradient nor moments.
        self._trained = {name: array for name, array in self._arrays.items() if array.requires_grad}
        self._parameters = list(self._trained.values())
        is_narrow = narrow_iteration(self.precision, device)
        self._updater = Updater(training, self._trained, is_narrow=is_narrow, on_device=self.way != "host")
        self._running = Running(self._arrays, device)
        # Running statistics are averaged as the weights are that they were measured with.
        self._averages = Averaged({**self._trained, **self._running.arrays}, training, self._updater.averages)
        self._random = torch.Generator(device).manual_seed(training.seed)
        self._scale = LossScale(device) if self.precision == "fp16" else None
        self._lanes = world.lanes(training.batch_size)
        count = self._lanes.stop - self._lanes.start
        self._backward = Backward(
            self.model, model, training, self._random, accumulate=accumulate, world=world, precision=self.precision
        )
        self.teacher = teacher
        self._carry = self.model.zero_state(count)
        self._report = torch.zeros(4, device=device)
        self._gradient = JoinedGradient(self._parameters, device, by_host=self.way == "host")
        self._window = torch.zeros(3, training.bptt, count, dtype=torch.int64, device=device)
        self._starts = None if end is None else torch.zeros(training.bptt, count, dtype=torch.bool, device=device)
        self._steps, self._learning_rate = 0, 0.0
        self._feed: Feed | None = None
        self._tallies: Sequence[StepSums] = ()
        self._recorder = GraphRecorder(device)
        self._graphs: dict[bool, list[torch.cuda.CUDAGraph]] = {}

    @property
    def learning_rate(self) -> float:
        """Returns the learning rate of the last step."""
        return self._learning_rate

    @property
    def report(self) -> Tensor:
        """Returns the last step's report (4,), valid until the next (see `step`). Reading it waits for the step."""
        return self._report

    def connect(self, feed: Feed, tallies: Sequence[StepSums]) -> None:
        """Sets where `step_at` takes its windows from, and the sums that it adds its reports to."""
        self._feed, self._tallies = feed, tallies

    def step_at(self, position: int, learning_rate: float, length: int | None = None) -> None:
        """Makes one update from the window at `position` of the connected text and adds it to the connected sums.

        `length` is the window's length where it is not the usual one. Where the windows come from the device's memory,
        one CUDA graph holds all of this. Raises as `step` does.
        """
        assert self._feed is not None
        share = 1.0 if length is None else length / self._training.bptt
        if self.way == "graph" and isinstance(self._feed, ResidentFeed):
            self._set_out(learning_rate)
            self._feed.seek(position)
            self._replay(is_fed=True)
            for tally in self._tallies:
                tally.count(share)
        else:
            places = self._feed.places(position, length) if self._looks_up else None
            self._make(self._feed.at(position, length), places, learning_rate)
            for tally in self._tallies:
                tally.add(self._report, share)

    @property
    def _looks_up(self) -> bool:
        """Whether a teacher has to know where the windows stand."""
        return self.teacher is not None and not self.teacher.reads_along

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        learning_rate: float,
        starts: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Makes one update from a window of ids (T, B) and their successors: forward, backward, clip, check, update.

        `starts` (T, B), on the host, says where a lane's state is zero before it reads, as before each end symbol.
        `places` (T, B) says where in the text the inputs stand, for a teacher that does not read along.

        Returns a report (4,): loss, in nats per character of the window (of this process's lanes, as a part of the mean
        over all lanes); global norm of the gradient before clipping, 0 where the step was skipped; 1 where it was
        clipped; and 1 where the step was skipped because its gradient overflowed the range of fp16.

        Raises NotFinite, with the weights as they were, where the device allows to know at once, and RecordingFailed
        where a first step cannot be recorded.
        """
        self._make(TextWindow(inputs, targets, starts), places, learning_rate)
        return self._report.clone()

    def _make(self, window: TextWindow, places: Tensor | None, learning_rate: float) -> None:
        inputs, targets, starts = window
        self._set_out(learning_rate)
        if self.way == "graph":
            if self._starts is not None:
                self._starts.fill_(value=False) if starts is None else self._starts.copy_(starts, non_blocking=True)
            self._window[0].copy_(inputs, non_blocking=True)
            self._window[1].copy_(targets, non_blocking=True)
            if places is not None:
                self._window[2].copy_(places, non_blocking=True)
            self._replay(is_fed=False)
        else:
            sent = [ids.to(self.device, non_blocking=True) for ids in (inputs, targets)]
            with torch_beside(self.is_compiled):
                self._update(TextWindow(sent[0], sent[1], starts), self._steps, places)
            self._steps += 1

    def _set_out(self, learning_rate: float) -> None:
        """Sets what the host decides about the next step."""
        self._learning_rate = learning_rate
        self._updater.set_rate(learning_rate)

    def _replay(self, *, is_fed: bool) -> None:
        """Makes the step by replaying a CUDA graph. All kinds of steps are recorded at the first one."""
        if is_fed not in self._graphs:
            works = [functools.partial(self._work, turn, is_fed) for turn in range(self._updater.period)]
            self._graphs[is_fed] = self._recorder.record(works, self._changed(is_fed=is_fed), [self._random])
        self._graphs[is_fed][self._steps % self._updater.period].replay()
        self._steps += 1

    def _work(self, turn: int, is_fed: bool) -> None:
        """Does the work of one graph: a step of one kind; if fed, it also gathers the window and adds to the sums."""
        if not is_fed:
            self._update(TextWindow(self._window[0], self._window[1], self._starts), turn, self._window[2])
            return
        assert isinstance(self._feed, ResidentFeed)
        places = self._feed.gather_places() if self._looks_up else None
        self._update(self._feed.gather(), turn, places)
        for tally in self._tallies:
            tally.add_report(self._report)

    def _changed(self, *, is_fed: bool) -> list[Tensor]:
        """Returns every tensor that a recorded step changes, except scratch that the next step overwrites first."""
        scale = self._scale.tensors() if self._scale else []
        carry = [array for layer in self._carry for array in layer]
        sums = [array for tally in self._tallies for array in tally.tensors()] if is_fed else []
        return [
            *self._parameters,
            *self._updater.tensors(),
            *scale,
            *carry,
            *self._running.tensors(),
            self._report,
            *sums,
        ]

    def _update(self, window: TextWindow, turn: int, places: Tensor | None) -> None:
        """Makes a step: gradients, norm, update and report. `turn` is the number of steps before it."""
        soft = None if self.teacher is None else self.teacher(window, places)
        loss, carry, noise = self._backward(window, self._carry, self._scale, soft)
        scale = self._scale.scale if self._scale else 1.0
        norm = self._gradient.join() / scale
        # Of several processes each knows its own loss, but the norm is the same for all, and it is bad where a loss is.
        is_bad = ~torch.isfinite(norm if not self.world.is_alone else loss + norm)
        is_overflow = is_bad & torch.isfinite(loss) & (scale > 1.0) if self._scale else torch.zeros_like(is_bad)
        skips = self.way == "host" and bool(is_bad)
        if skips and not bool(is_overflow):
            raise NotFinite(float(loss), float(norm))
        threshold = self._training.clip_norm or math.inf
        if self._training.clip_loss == "sum":  # the norm of the sum is that of the mean, times the window
            threshold /= len(window.inputs)
        if not skips:
            if self._scale or self.way != "host" or bool(norm > threshold):
                self._gradient.scale((threshold / (norm + _TINY)).clamp(max=1.0) / scale)
            if self.way != "host":
                self._gradient.vector.masked_fill_(is_bad, 0.0)
            objective = WindowObjective(self.model, self._training, window, self._carry, noise, self._accumulate)
            self._updater.step(self._gradient.pieces, turn, is_bad=is_bad, objective=objective)
            self._running.update(noise.measured, is_bad)
        if self._scale:
            self._scale.update(is_bad.float())  # in place: nothing above may come after it
        for ours, new in zip(self._carry, carry, strict=True):
            for to, value in zip(ours, new, strict=True):
                to.copy_(value)
        reported = torch.where(is_overflow, torch.zeros_like(norm), norm)
        self._report.copy_(torch.stack((loss, reported, (reported > threshold).float(), is_overflow.float())))

    def average(self, share: float) -> None:
        """Moves the averaged weights by `share` (0 to 1) of the way to the weights as they are."""
        self._averages.move(share)

    def averaged(self) -> AbstractContextManager[None]:
        """Gives the model its averaged weights inside; it keeps its own where none are averaged."""
        return self._averages.exchanged()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Returns every array beyond the weights that the next step depends on, by name; every process must call this.

        It is the same however many processes there are: the carried state is that of all lanes.
        """
        carry = {
            f"{_CARRY}{number}.{name}": self.world.gather_lanes(array, self._training.batch_size).cpu().numpy()
            for number, layer in enumerate(self._carry, start=1)
            for name, array in zip(self.model.cell.state_names, layer, strict=True)
        }
        return {
            **self._updater.to_numpy(),
            **carry,
            **self._averages.state(),
            **self._running.state(),
            **({} if self.teacher is None else self.teacher.state()),
            **({_SCALE: self._scale.to_numpy()} if self._scale else {}),
            _STEPS: np.array([self._steps], np.int64),
            _RANDOM: self._random.get_state().numpy(),
        }

    def load(self, parameters: Mapping[str, npt.NDArray[Any]], state: Mapping[str, npt.NDArray[Any]]) -> list[str]:
        """Loads what `model.numpy_arrays` and `state` returned; returns a sentence for each thing that begins anew.

        These are what another kind of device cannot take over: the state of a random generator, and the scale of the
        loss where there was none. Raises KeyError or ValueError where arrays do not fit.
        """
        anew = []
        self.model.load_arrays(parameters)
        self._updater.load(state)
        for number, layer in enumerate(self._carry, start=1):
            for name, array in zip(self.model.cell.state_names, layer, strict=True):
                saved = state[f"{_CARRY}{number}.{name}"]
                whole = (self._training.batch_size, *array.shape[1:])
                array.copy_(like(saved, whole)[self._lanes])
        self._averages.load(state)
        self._running.load(state)
        if self.teacher is not None:
            self.teacher.load(state)
        if self._scale and _SCALE in state:
            self._scale.load(state[_SCALE])
        elif self._scale:
            anew.append("the scale of the loss begins anew: there was none in another precision")
        self._steps = int(state[_STEPS][0])
        return anew + restore(self._random, state[_RANDOM], self._training.seed, self._steps)
