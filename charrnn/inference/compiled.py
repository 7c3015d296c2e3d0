"""A checkpoint's arrays stepped by compiled code: the plain cells at the speed of memory.

The package builds `native/step.c` where a C compiler is found when it is installed; `library` is None where there was
none, and `inplace.py` serves instead. A number computed here depends on neither the number of threads nor the lanes
beside it (see native/step.h), so sample i is the same text whatever `--count` is.

Weights are kept as float32 or as int8: groups of 64 along a row share a scale, the cell's outputs enter as 16-bit
integers, sums are exact integers; embedding, biases, decoder and activations stay float32.

Knows the layout that native/step.h describes, and threads. Refuses to know text.

Shape letters: T characters, B lanes, L layers, H hidden size, P hidden size padded, V vocabulary, E embedding size.
"""

from __future__ import annotations

import ctypes
import functools
import os
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import layer_parameters
from charrnn.config import ModelConfig, SamplingConfig, WeightsName
from charrnn.cores import available_cores
from charrnn.inference.engine import Doubles, Floats, Integers, Scored, Written
from charrnn.tensorfile import let_go

MOST_LANES = 64
_VERSION = 2
_SCRATCH, _GROUP, _LINE = 128, 64, 64
_BYTES_FOR_A_THREAD = 1 << 18
_MOST_THREADS = 4  # more read hardly faster, and wait for the slowest of them
_SMALL_TABLE = 1 << 23
_NEVER = np.float32(-1e30)  # logit of a character that does not exist


class _Matrix(ctypes.Structure):
    _fields_ = [
        ("inputs", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("weights", ctypes.c_void_p),
        ("quantised", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [("input", _Matrix), ("recurrent", _Matrix), ("bias", ctypes.c_void_p)]


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("cell", "num_layers", "hidden", "padded", "panels", "units")),
        *((name, ctypes.c_int32) for name in ("vocabulary", "vocabulary_padded", "embedding_size")),
        *((name, ctypes.c_void_p) for name in ("table", "embedding", "layers")),
        ("decoder", _Matrix),
        ("decoder_bias", ctypes.c_void_p),
    ]


class _Settings(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_double) for name in ("temperature", "top_p", "min_p")),
        ("top_k", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    ]


class _Job(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("lanes", "steps", "threads", "decode_all", "has_logits")),
        *((name, ctypes.c_void_p) for name in ("given", "uniforms", "settings", "ids", "log_probabilities", "logits")),
        *((name, ctypes.c_void_p) for name in ("hidden", "hidden_quantised", "cell_state", "record")),
        *((name, ctypes.c_void_p) for name in ("probabilities", "order")),
        *((name, ctypes.c_int32) for name in ("arrived", "generation", "not_finite", "given_up")),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled step, or None where the package was installed without it (or CHARRNN_COMPILED=0 turns it off)."""
    if os.environ.get("CHARRNN_COMPILED") == "0":
        return None
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name("_step" + suffix)
        if path.exists():
            try:
                found = ctypes.CDLL(str(path))
                is_ours = found.charrnn_version() == _VERSION
            except (OSError, AttributeError):
                continue
            if is_ours:
                return found
    return None


def is_available(config: ModelConfig) -> bool:
    """Whether this module can step such a model here."""
    return config.cell in _PLANS and library() is not None


@functools.cache
def _best_set() -> int:
    found = library()
    assert found is not None
    return int(found.charrnn_best_set())


def _aligned(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An uninitialised array that begins with a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(count + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    aligned: npt.NDArray[Any] = raw[start : start + count].view(dtype).reshape(shape)
    return aligned


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


@dataclass(frozen=True, slots=True)
class CompiledState:
    """The state of B lanes: h (L, B, P), and c for an lstm."""

    hidden: Floats
    cell: Floats | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a cell's blocks of rows lie in a panel."""

    code: int
    units: int
    input_order: tuple[int, ...]
    recurrent_order: tuple[int, ...]
    gates: int

    def bias(self, p: Mapping[str, Any]) -> list[Floats]:
        """Where the chains of each block start, block by block (H,)."""
        if self.code != 2:
            return list(np.split(p["bias"], len(self.input_order)))
        x_r, x_z, x_n = np.split(p["bias_ih"], 3)
        h_r, h_z, h_n = np.split(p["bias_hh"], 3)
        with np.errstate(over="ignore"):  # what is too large to compute with shows in the logits
            return [x_n, x_r + h_r, x_z + h_z, h_n]


_PLANS = {
    "rnn": _Plan(0, 64, (0,), (0,), 0),
    "lstm": _Plan(1, 32, (0, 1, 2, 3), (0, 1, 2, 3), 4),
    "gru": _Plan(2, 32, (2, 0, 1), (0, 1, 2), 3),
}


class CompiledNetwork:
    """Embedding, layers and decoder in compiled code."""

    most_lanes = MOST_LANES

    def __init__(
        self,
        config: ModelConfig,
        parameters: Mapping[str, npt.NDArray[Any]],
        *,
        weights: WeightsName = "float32",
        threads: int | None = None,
        instruction_set: int | None = None,
    ) -> None:
        found = library()
        assert found is not None, "ask engine.make_network, which knows what is there"
        self._library = found
        self._set = _best_set() if instruction_set is None else instruction_set
        self.config = config
        self._kept: list[Any] = []  # memory that the structures point to
        self._plan = plan = _PLANS[config.cell]
        self._weights = weights
        V = len(parameters["embedding"])
        H, L = config.hidden_size, config.num_layers
        self.vocabulary_size = V
        P = _padded(H, _LINE)
        decoder_rows = 64
        self._model = model = _Model(
            cell=plan.code, num_layers=L, hidden=H, padded=P, panels=-(-H // plan.units), units=plan.units,
            vocabulary=V, vocabulary_padded=_padded(V, 16),
        )  # fmt: skip
        layers = (_Layer * L)()
        self._kept.append(layers)
        model.layers = ctypes.addressof(layers)
        self._bytes = 0
        for layer in range(L):
            p = layer_parameters(parameters, layer + 1)
            layers[layer].bias = self._keep(self._bias(plan.bias(p)))
            layers[layer].recurrent = self._matrix(p["weight_hh"], plan.recurrent_order, weights)
            if layer > 0:
                layers[layer].input = self._matrix(p["weight_ih"], plan.input_order, weights)
        self._first_input(parameters, layers)
        decoder_bias = _aligned((model.vocabulary_padded,), np.float32)
        decoder_bias[:V], decoder_bias[V:] = parameters["decoder.bias"], _NEVER
        model.decoder_bias = self._keep(decoder_bias)
        model.decoder = self._pack(
            parameters["decoder.weight"], (0,), V, decoder_rows, model.vocabulary_padded, "float32"
        )
        wanted = min(available_cores(), _MOST_THREADS, max(1, self._bytes // _BYTES_FOR_A_THREAD))
        self.threads = max(1, min(threads or wanted, model.panels))
        self._crew = _Crew(self.threads)

    def _keep(self, array: npt.NDArray[Any]) -> int:
        self._kept.append(array)
        return array.ctypes.data

    def _bias(self, blocks: list[Floats]) -> Floats:
        """Panels x SCRATCH."""
        plan, panels = self._plan, self._model.panels
        bias = _aligned((panels, _SCRATCH), np.float32)
        bias[:] = 0
        H = self.config.hidden_size
        for place, block in enumerate(blocks):
            padded = np.zeros(panels * plan.units, np.float32)
            padded[:H] = block
            bias[:, place * plan.units : (place + 1) * plan.units] = padded.reshape(panels, plan.units)
        return bias

    def _matrix(self, matrix: Floats, order: tuple[int, ...], weights: WeightsName) -> _Matrix:
        return self._pack(
            matrix, order, self.config.hidden_size, self._plan.units, self._model.panels * self._plan.units, weights
        )

    def _pack(
        self, matrix: Floats, order: tuple[int, ...], size: int, units: int, padded: int, weights: WeightsName
    ) -> _Matrix:
        """`matrix` (blocks of `size` rows, K) in panels (see native/step.h)."""
        given, matrix = matrix, np.ascontiguousarray(matrix, np.float32)
        blocks, K = len(order), matrix.shape[1]
        packed = _Matrix(inputs=K, rows=blocks * units)
        if weights == "float32":
            out = _aligned((padded * blocks * K,), np.float32)
            packed.weights = self._keep(out)
            self._bytes += out.nbytes
        else:
            groups = _padded(K, _GROUP) // _GROUP
            quantised = _aligned((padded * blocks * groups * _GROUP,), np.int8)
            scales = _aligned((padded * blocks * groups,), np.float32)
            packed.quantised, packed.scales = self._keep(quantised), self._keep(scales)
            self._bytes += quantised.nbytes + scales.nbytes
        self._library.charrnn_pack(
            ctypes.c_void_p(matrix.ctypes.data), blocks, size, K, (ctypes.c_int32 * blocks)(*order), units, padded,
            ctypes.c_void_p(packed.weights), ctypes.c_void_p(packed.quantised), ctypes.c_void_p(packed.scales),
        )  # fmt: skip
        let_go(given)
        return packed

    def _first_input(self, parameters: Mapping[str, npt.NDArray[Any]], layers: Any) -> None:
        """The first layer's input product for every character, once, where that takes little room beside the rest."""
        model, embedding = self._model, parameters["embedding"]
        V, E = embedding.shape
        padded = _aligned((V, _padded(E, 16)), np.float32)
        padded[:, :E], padded[:, E:] = embedding, 0
        model.embedding, model.embedding_size = self._keep(padded), padded.shape[1]
        kept, counted = len(self._kept), self._bytes
        layers[0].input = self._matrix(parameters["layers.1.weight_ih"], self._plan.input_order, "float32")
        size = 4 * V * model.panels * layers[0].input.rows
        if size <= max(_SMALL_TABLE, self._bytes // 4):
            table = _aligned((V, model.panels, layers[0].input.rows), np.float32)
            self._library.charrnn_tabulate(ctypes.byref(model), ctypes.c_void_p(table.ctypes.data), self._set)
            del self._kept[kept:]
            self._bytes = counted
            model.table = self._keep(table)

    @property
    def bytes_per_character(self) -> int:
        """Bytes of weights that one step of a single lane reads."""
        return self._bytes

    def zero_state(self, lanes: int = 1) -> CompiledState:
        """The state before the first character."""
        shape = (self.config.num_layers, lanes, self._model.padded)
        return CompiledState(
            np.zeros(shape, np.float32), np.zeros(shape, np.float32) if self.config.cell == "lstm" else None
        )

    def take(self, state: CompiledState, lanes: Sequence[int]) -> CompiledState:
        """The state of these lanes, in this order; one may be named several times."""
        chosen = list(lanes)
        return CompiledState(state.hidden[:, chosen], None if state.cell is None else state.cell[:, chosen])

    def step(self, ids: npt.ArrayLike, state: CompiledState) -> tuple[Floats, CompiledState]:
        """Reads one character in each lane: `ids` (B,) -> logits of the next (B, V), new state."""
        return self.read(np.asarray(ids)[None], state)

    def read(self, ids: npt.ArrayLike, state: CompiledState) -> tuple[Floats, CompiledState]:
        """Reads `ids` (T, B) or, in one lane, (T,): logits of the next character (B, V), new state."""
        given = self._given(ids, state)
        done = self._run(state, len(given), given=given)
        return done.logits[:, : self.vocabulary_size], done.state

    def score(self, ids: npt.ArrayLike, state: CompiledState, logits: Floats | None = None) -> Scored:
        """Reads `ids` (T,) in one lane, and the log-probability of each of them, given all before it.

        `logits` (1, V) are those of the character before; without them the first one's is not a number.
        """
        given = self._given(ids, state)
        done = self._run(state, len(given), given=given, logits=logits, score=True)
        return Scored(done.log_probabilities[:, 0], done.logits[:, : self.vocabulary_size], done.state)

    def write(
        self, logits: Floats, state: CompiledState, settings: Sequence[SamplingConfig], uniforms: Doubles
    ) -> Written:
        """Draws characters in each lane from `logits` (B, V) on, with uniform numbers (T, B) in [0, 1)."""
        B = state.hidden.shape[1]
        if uniforms.shape != (len(uniforms), B) or len(settings) != B:
            raise ValueError(f"{uniforms.shape} numbers and {len(settings)} settings, the state has {B} lanes")
        done = self._run(state, len(uniforms), uniforms=uniforms, settings=settings, logits=logits, score=True)
        return Written(
            done.ids, done.log_probabilities, done.logits[:, : self.vocabulary_size], done.state, done.is_finite
        )

    def record(self, ids: npt.ArrayLike, state: CompiledState) -> tuple[dict[str, Floats], CompiledState]:
        """Reads `ids` (T,) in one lane: what every unit did after each, by kind (T, L, H), and the new state."""
        given = self._given(ids, state)
        done = self._run(state, len(given), given=given, record=True)
        names = {"lstm": "hcifgo", "gru": "hrzn", "rnn": "h"}[self.config.cell]
        H = self.config.hidden_size
        assert done.record is not None
        return {name: done.record[:, :, place, :H] for place, name in enumerate(names)}, done.state

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
        steps: int,
        *,
        given: Integers | None = None,
        uniforms: Doubles | None = None,
        settings: Sequence[SamplingConfig] = (),
        logits: Floats | None = None,
        score: bool = False,
        record: bool = False,
    ) -> _Done:
        model = self._model
        L, B, P = state.hidden.shape
        V, VP = self.vocabulary_size, model.vocabulary_padded
        assert given is not None or logits is not None
        # What the compiled code would not survive.
        if (model.num_layers, model.padded) != (L, P) or not 1 <= B <= MOST_LANES:
            raise ValueError(
                f"a state of {B} lanes, {L} layers, {P} units is not one of this model, or of too many lanes"
            )
        if logits is not None and np.shape(logits) != (B, V):
            raise ValueError(f"logits are {np.shape(logits)}, not {(B, V)}")
        threads = self.threads
        hidden = _aligned((L, 2, B, P), np.float32)
        hidden[:, 0], hidden[:, 1] = state.hidden, 0  # what lies behind the last panel is never written
        job = _Job(lanes=B, steps=steps, threads=threads, decode_all=given is None or score)
        kept: list[Any] = [hidden]

        def point(array: npt.NDArray[Any]) -> int:
            kept.append(array)
            return array.ctypes.data

        job.hidden = point(hidden)
        if self._weights == "int8":
            job.hidden_quantised = point(np.zeros((L, 2, B, P), np.int16))
        cell = None
        if state.cell is not None:
            cell = _aligned((L, B, P), np.float32)
            cell[:] = state.cell
            job.cell_state = point(cell)
        all_logits = _aligned((B, VP), np.float32)
        if logits is not None:
            all_logits[:, :V], all_logits[:, V:] = logits, _NEVER
            job.has_logits = 1
        job.logits = point(all_logits)
        ids = np.empty((steps, B), np.int32)
        job.ids = point(ids)
        if given is not None:
            job.given = point(given)
        if uniforms is not None:
            job.uniforms = point(np.ascontiguousarray(uniforms, np.float64))
            array = (_Settings * B)(*(_as_settings(config) for config in settings))
            kept.append(array)
            job.settings = ctypes.addressof(array)
        log_probabilities = np.full((steps, B), np.nan) if score else np.empty((0, B))
        if score:
            job.log_probabilities = point(log_probabilities)
        recorded = None
        if record:
            assert B == 1
            recorded = _aligned((steps, L, 1 + (self.config.cell == "lstm") + self._plan.gates, P), np.float32)
            job.record = point(recorded)
        job.probabilities = point(_aligned((threads, VP), np.float32))
        job.order = point(np.empty((threads, VP), np.int32))
        self._crew.run(self._library.charrnn_run, model, job, self._set, kept)
        after = CompiledState(hidden[:, steps % 2].copy(), cell)
        is_finite = not job.not_finite
        if self._weights == "int8" and not np.isfinite(after.hidden).all():
            all_logits[:], is_finite = np.nan, False  # whole numbers hid it from the layers above
        return _Done(ids, log_probabilities, all_logits, after, recorded, is_finite)


@dataclass(frozen=True, slots=True)
class _Done:
    ids: Integers
    log_probabilities: Doubles
    logits: Floats
    state: CompiledState
    record: Floats | None
    is_finite: bool


def _as_settings(config: SamplingConfig) -> _Settings:
    return _Settings(
        temperature=config.temperature,
        top_p=1.0 if config.top_p is None else config.top_p,
        min_p=config.min_p or 0.0,
        top_k=config.top_k or 0,
    )


class _Crew:
    """Threads that enter the compiled step together; the caller's own is the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: list[queue.SimpleQueue[Callable[[], None] | None]] = []
        weakref.finalize(self, _dismiss, self._tasks)
        self._hire()

    def _hire(self) -> None:
        self._process = os.getpid()
        self._one_job = threading.Lock()  # two callers' jobs, mixed, would wait for each other for ever
        self._tasks[:] = [queue.SimpleQueue() for _ in range(self._size - 1)]
        for tasks in self._tasks:
            threading.Thread(target=_work, args=(tasks,), daemon=True).start()

    def run(self, function: Any, model: _Model, job: _Job, instruction_set: int, kept: list[Any]) -> None:
        """Enters `function` from every thread; returns when all have left."""
        left: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        called = 0

        def enter(thread: int) -> None:
            function(ctypes.byref(model), ctypes.byref(job), thread, instruction_set)
            left.put(kept)  # so the task holds the job's memory for as long as it runs

        if os.getpid() != self._process:
            self._hire()  # a forked child has none of its parent's threads
        with self._one_job:
            try:
                for place, tasks in enumerate(self._tasks):
                    tasks.put(functools.partial(enter, place + 1))
                    called += 1
                function(ctypes.byref(model), ctypes.byref(job), 0, instruction_set)
            except BaseException:
                job.given_up = 1  # Ctrl-C before this thread came in: nobody may wait for it
                raise
            finally:
                for _ in range(called):
                    left.get()


def _work(tasks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # or the memory of a finished job would stay until the next


def _dismiss(crew: list[queue.SimpleQueue[Callable[[], None] | None]]) -> None:
    for tasks in crew:
        tasks.put(None)
