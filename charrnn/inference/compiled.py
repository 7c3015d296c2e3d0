"""A checkpoint's arrays stepped by compiled code: the plain cells at the speed of memory.

Where the package was installed without it (`native.step.find_library` is None), `inplace.py` serves instead. A number
computed here depends on neither the number of threads nor the lanes beside it (see native/step.h), so sample i is the
same text whatever `--count` is.

Shape letters: T characters, B lanes, L layers, H hidden size, P hidden size padded, V vocabulary.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.registry import make_cell
from charrnn.inference.engine import Doubles, Floats, Integers, RecordingEngine, Scored, Written
from charrnn.inference.panels import LAYOUTS, NEVER, Panels
from charrnn.native.crew import most_threads
from charrnn.native.step import MOST_LANES, Job, Settings, aligned, best_set, find_library
from charrnn.settings.choices import WeightsName
from charrnn.settings.config import ModelConfig
from charrnn.settings.sampling import SamplingConfig

_BYTES_FOR_A_THREAD = 1 << 17
_MOST_THREADS = 4  # more read hardly faster, and wait for the slowest of them


@dataclass(frozen=True, slots=True)
class CompiledState:
    """The state of B lanes: h (L, B, P), and c where the cell has a memory."""

    hidden: Floats
    cell: Floats | None


class CompiledNetwork(RecordingEngine):
    """Embedding, layers and decoder in compiled code."""

    most_lanes = MOST_LANES

    def __init__(
        self,
        config: ModelConfig,
        parameters: Mapping[str, npt.NDArray[Any]],
        *,
        weights: WeightsName = "float32",
        threads: int | None = None,
        end: int | None = None,
        instruction_set: int | None = None,
    ) -> None:
        found = find_library()
        assert found is not None, "ask engine.make_engine, which knows what is there"
        self.config, self._library, self._weights = config, found, weights
        self._set = best_set() if instruction_set is None else instruction_set
        cell = make_cell(config).core.at_rest()
        assert cell.compiled is not None
        self._has_late_product = bool(LAYOUTS[cell.compiled].late)
        self.panels = Panels(found, self._set, config, cell.compiled, parameters, weights, end)
        self._model, self._has_memory = self.panels.model, len(cell.state_names) > 1
        self._recorded = (*cell.state_names, *cell.gate_names)
        self.vocabulary_size = self._model.vocabulary
        wanted = min(most_threads(), _MOST_THREADS, max(1, self.panels.num_bytes // _BYTES_FOR_A_THREAD))
        self.threads = max(1, min(threads or wanted, self._model.panels))
        """At most; beside busy programs fewer compute, where that is faster."""

    def zero_state(self, lanes: int = 1) -> CompiledState:
        """Returns the state before the first character."""
        shape = (self.config.num_layers, lanes, self._model.padded)
        return CompiledState(np.zeros(shape, np.float32), np.zeros(shape, np.float32) if self._has_memory else None)

    def take(self, state: CompiledState, lanes: Sequence[int]) -> CompiledState:
        """Returns the state of these lanes, in this order; one may be named several times."""
        chosen = list(lanes)
        return CompiledState(state.hidden[:, chosen], None if state.cell is None else state.cell[:, chosen])

    def join(self, states: Sequence[CompiledState]) -> CompiledState:
        """Returns one state of the lanes of several, in their order."""
        cells = [state.cell for state in states if state.cell is not None]
        hidden = np.concatenate([state.hidden for state in states], axis=1)
        return CompiledState(hidden, np.concatenate(cells, axis=1) if cells else None)

    def step(self, ids: npt.ArrayLike, state: CompiledState) -> tuple[Floats, CompiledState]:
        """Reads one character in each lane: `ids` (B,) -> logits of the next (B, V), new state."""
        return self.read(np.asarray(ids)[None], state)

    def read(self, ids: npt.ArrayLike, state: CompiledState) -> tuple[Floats, CompiledState]:
        """Reads `ids` (T, B) or, in one lane, (T,): logits of the next character (B, V), new state."""
        done = self._run(state, given=self._given(ids, state))
        return done.logits, done.state

    def score(self, ids: npt.ArrayLike, state: CompiledState, logits: Floats | None = None) -> Scored:
        """Reads `ids` (T, B), or (T,) in one lane, and returns the log-probability of each, given all before it.

        `logits` (B, V) are those of the characters before; without them the first ones' are not numbers.
        """
        done = self._run(state, given=self._given(ids, state), logits=logits, score=True)
        likely = done.log_probabilities if np.ndim(ids) == 2 else done.log_probabilities[:, 0]
        return Scored(likely, done.logits, done.state)

    def write(
        self, logits: Floats, state: CompiledState, settings: Sequence[SamplingConfig], uniforms: Doubles
    ) -> Written:
        """Draws characters in each lane from `logits` (B, V) on, with uniform numbers (T, B) in [0, 1)."""
        B = state.hidden.shape[1]
        if uniforms.shape != (len(uniforms), B) or len(settings) != B:
            raise ValueError(f"{uniforms.shape} numbers and {len(settings)} settings, the state has {B} lanes")
        return self._run(state, uniforms=uniforms, settings=settings, logits=logits, score=True)

    def record(self, ids: npt.ArrayLike, state: CompiledState) -> tuple[dict[str, Floats], CompiledState]:
        """Reads `ids` (T,) in one lane: what every unit did after each, by kind (T, L, H), and the new state."""
        given, model = self._given(ids, state), self._model
        assert given.shape[1] == 1
        recorded = aligned((len(given), model.num_layers, len(self._recorded), model.padded), np.float32)
        done = self._run(state, given=given, record=recorded)
        return {name: recorded[:, :, place, : model.hidden] for place, name in enumerate(self._recorded)}, done.state

    def _given(self, ids: npt.ArrayLike, state: CompiledState) -> Integers:
        given = np.asarray(ids)
        if given.ndim == 1:
            given = given[:, None]
        if given.ndim != 2 or given.shape[1] != state.hidden.shape[1] or not given.size:
            raise ValueError(f"ids are {given.shape}, the state has {state.hidden.shape[1]} lanes")
        if given.min() < 0 or given.max() >= self.vocabulary_size:
            raise IndexError(f"an id is outside 0 to {self.vocabulary_size - 1}")
        return np.ascontiguousarray(given.astype(np.int32, casting="same_kind", copy=False))

    def _run(
        self,
        state: CompiledState,
        *,
        given: Integers | None = None,
        uniforms: Doubles | None = None,
        settings: Sequence[SamplingConfig] = (),
        logits: Floats | None = None,
        score: bool = False,
        record: Floats | None = None,
    ) -> Written:
        """Reads what is `given` (T, B), or writes by `uniforms` (T, B); puts into `record` (T, L, kinds, P) what every
        unit did."""
        model = self._model
        L, B, P = state.hidden.shape
        V, VP = self.vocabulary_size, model.vocabulary_padded
        driving = uniforms if given is None else given
        assert driving is not None, "nothing is read and nothing is written"
        assert given is not None or logits is not None
        # What the compiled code would not survive.
        if (model.num_layers, model.padded) != (L, P) or not 1 <= B <= MOST_LANES:
            raise ValueError(
                f"a state of {B} lanes, {L} layers, {P} units is not one of this model, or of too many lanes"
            )
        if logits is not None and np.shape(logits) != (B, V):
            raise ValueError(f"logits are {np.shape(logits)}, not {(B, V)}")
        steps = len(driving)
        hidden = aligned((L, 2, B, P), np.float32)
        hidden[:, 0], hidden[:, 1] = state.hidden, 0  # what lies behind the last panel is never written
        job = Job(lanes=B, steps=steps, threads=self.threads, decode_all=given is None or score)
        kept: list[Any] = [hidden]

        def point(array: npt.NDArray[Any]) -> int:
            kept.append(array)
            return array.ctypes.data

        job.hidden = point(hidden)
        if self._weights == "int8":
            job.hidden_quantised = point(np.zeros((L, 2, B, P), np.int16))
        cell = None
        if state.cell is not None:
            cell = aligned((L, B, P), np.float32)
            cell[:] = state.cell
            job.cell_state = point(cell)
        all_logits = aligned((B, VP), np.float32)
        if logits is not None:
            all_logits[:, :V], all_logits[:, V:] = logits, NEVER
            job.has_logits = 1
        job.logits = point(all_logits)
        ids = np.empty((steps, B), np.int32)
        job.ids = point(ids)
        if given is not None:
            job.given = point(given)
        if uniforms is not None:
            job.uniforms = point(np.ascontiguousarray(uniforms, np.float64))
            array = (Settings * B)(*(_as_settings(config) for config in settings))
            kept.append(array)
            job.settings = ctypes.addressof(array)
        log_probabilities = np.full((steps, B), np.nan) if score else np.empty((0, B))
        if score:
            job.log_probabilities = point(log_probabilities)
        if record is not None:
            job.record = point(record)
        if self._has_late_product:
            job.reset = point(aligned((B, P), np.float32))
            job.waiting = point(aligned((B, model.panels, 2, model.units), np.float32))
            if self._weights == "int8":
                job.reset_quantised = point(np.zeros((B, P), np.int16))
        job.probabilities = point(aligned((B, VP), np.float32))
        job.order = point(np.empty((B, VP), np.int32))
        self._library.charrnn_run(ctypes.byref(model), ctypes.byref(job), ctypes.c_int32(self._set))
        after = CompiledState(hidden[:, steps % 2].copy(), cell)
        is_finite = not job.not_finite
        if self._weights == "int8" and not np.isfinite(after.hidden).all():
            all_logits[:], is_finite = np.nan, False  # whole numbers hid it from the layers above
        return Written(ids, log_probabilities, all_logits[:, :V], after, is_finite)


def _as_settings(config: SamplingConfig) -> Settings:
    return Settings(
        temperature=config.temperature,
        top_p=1.0 if config.top_p is None else config.top_p,
        min_p=config.min_p or 0.0,
        top_k=config.top_k or 0,
    )
