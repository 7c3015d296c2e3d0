"""The torch model as an engine to sample from: for GPUs.

On a CPU `inference/` is faster and needs no torch. Drawing happens on the device, with the numbers of the same random
streams, and nothing waits for it inside the loop: on CUDA the whole step (distribution, draw, embedding, layers,
decoder) is one captured graph, replayed once a character, and the ids come back once a piece. Elsewhere the same step
runs eagerly.

A graph has a fixed number of lanes. It is a power of two, so that samples which end one by one do not need a graph for
each number of those that are left; lanes without a sample run along unseen.

Shape letters: T characters, B lanes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charrnn.cells.members import joined, parted
from charrnn.cells.parameters import written_out
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.inference.engine import Doubles, Engine, Floats, Scored, Written
from charrnn.network.ensemble import Ensemble, make_model
from charrnn.network.graphs import GraphRecorder, records_on
from charrnn.network.layers import StackState
from charrnn.network.model import CharacterModel
from charrnn.settings.sampling import SamplingConfig

_LONGEST = 4096
_KEPT = 2
"""Loops that are held at a time: what is written goes from many lanes to few."""
_MOST_LOGITS = 1 << 23
"""Numbers of logits that are made at once where a text is scored."""


class TorchStepper(Engine):
    """An `Engine` over a model on a device."""

    most_lanes = 1024

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.device = device
        config, parameters = checkpoint.model, parted(checkpoint.parameters, checkpoint.members)
        written = [written_out(config, each) for each in parameters]
        arrays = joined([each for _, each in written])
        self.vocabulary_size = len(checkpoint.vocabulary)
        self.model = make_model(written[0][0], arrays, self.vocabulary_size, checkpoint.vocabulary.end)
        self.model.to(device).eval()
        self._recorder = GraphRecorder(device)
        self._loops: dict[tuple[int, bool], _Loop] = {}

    def zero_state(self, lanes: int = 1) -> StackState:
        """Returns the state before the first character."""
        return self.model.zero_state(lanes)

    def join(self, states: Sequence[StackState]) -> StackState:
        """Returns one state of the lanes of several, in their order."""
        with torch.inference_mode():
            return tuple(
                tuple(torch.cat(arrays) for arrays in zip(*layers, strict=True)) for layers in zip(*states, strict=True)
            )

    def step(self, ids: npt.ArrayLike, state: StackState) -> tuple[Floats, StackState]:
        """Reads one character in each lane: `ids` (B,) -> logits (B, V) of the next, new state."""
        return self.read(np.asarray(ids)[None], state)

    def read(self, ids: npt.ArrayLike, state: StackState) -> tuple[Floats, StackState]:
        """Reads `ids` (T, B), or (T,) in one lane, as one window: logits of the next character (B, V), new state."""
        rows = np.asarray(ids, np.int64)
        with torch.inference_mode():
            window = torch.from_numpy(rows[:, None] if rows.ndim == 1 else rows).to(self.device)
            logits, state = self.model(window, state)
            return logits[-1].float().cpu().numpy(), state

    def score(self, ids: npt.ArrayLike, state: StackState, logits: Floats | None = None) -> Scored:
        """Reads `ids` (T, B), or (T,) in one lane, as windows, and says how likely each was. See `Engine.score`."""
        rows = np.asarray(ids, np.int64)
        window = torch.from_numpy(rows[:, None] if rows.ndim == 1 else rows).to(self.device)
        T, B = window.shape
        assert T, "there is nothing to read"
        found, exact = [], exact_type(self.device)
        with torch.inference_mode():
            unknown = torch.full((B, self.vocabulary_size), torch.nan)
            last = (unknown if logits is None else torch.from_numpy(np.array(logits))).to(self.device)
            for part in torch.split(window, max(1, _MOST_LOGITS // (B * self.vocabulary_size))):
                after, state = self.model(part, state)
                before = torch.cat((last[None].float(), after[:-1].float()))
                likely = before.to(exact).log_softmax(2).gather(2, part.unsqueeze(2)).squeeze(2)
                found.append(likely.cpu().numpy().astype(np.float64))  # one wait a part
                last = after[-1]
            joined = np.concatenate(found)
            return Scored(joined if rows.ndim == 2 else joined[:, 0], last.float().cpu().numpy(), state)

    def write(
        self, logits: Floats, state: StackState, settings: Sequence[SamplingConfig], uniforms: Doubles
    ) -> Written:
        """Draws and reads characters in each lane, from `logits` (B, V) on. See `inference.engine.Engine.write`."""
        T, B = uniforms.shape
        if not T or len(logits) != B or len(settings) != B or len(state[0][0]) != B:
            raise ValueError(f"{B} lanes of {T} numbers, {len(logits)} of logits, {len(settings)} settings do not fit")
        cuts = any(config.top_k is not None or config.top_p is not None for config in settings)
        loop = self._loop(B, cuts)
        with torch.inference_mode():
            loop.load(logits, state, settings)
            parts = [loop.run(uniforms[start : start + _LONGEST]) for start in range(0, T, _LONGEST)]
            ids, likely = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            after = loop.logits[:B].float().cpu().numpy()
            state = tuple(tuple(array[:B].clone() for array in layer) for layer in loop.state)
        return Written(ids, likely, after, state, bool(np.isfinite(likely).all()))

    def _loop(self, lanes: int, cuts: bool) -> _Loop:
        """Returns the loop for so many lanes; of those used before only the last few are kept."""
        key = 1 << (lanes - 1).bit_length(), cuts
        loop = self._loops.pop(key, None)
        while len(self._loops) >= _KEPT:
            del self._loops[next(iter(self._loops))]
        if loop is None:
            loop = _Loop(self.model, key[0], self.device, self._recorder, cuts=cuts)
        self._loops[key] = loop
        return loop


def exact_type(device: torch.device) -> torch.dtype:
    """Returns the type that distributions are computed in: float64, but on Apple's GPUs, which have none, float32."""
    return torch.float32 if device.type == "mps" else torch.float64


class _Loop:
    """Static buffers of B lanes, and the step that reads and writes nothing else: what a CUDA graph needs."""

    def __init__(
        self, model: CharacterModel | Ensemble, lanes: int, device: torch.device, recorder: GraphRecorder, *, cuts: bool
    ) -> None:
        V, exact = model.vocabulary_size, exact_type(device)
        self._model, self._recorder, self._cuts = model, recorder, cuts
        self._is_recorded = records_on(device)

        def zeros(*shape: int, dtype: torch.dtype = exact) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        with torch.inference_mode():
            self.logits = zeros(lanes, V, dtype=torch.float32)
            self.state: StackState = tuple(tuple(array.clone() for array in layer) for layer in model.zero_state(lanes))
            self._temperature, self._top_p, self._min_p = zeros(lanes, 1), zeros(lanes, 1), zeros(lanes, 1)
            self._top_k = zeros(lanes, 1, dtype=torch.int64)
            self._uniforms, self._likely = zeros(_LONGEST, lanes), zeros(_LONGEST, lanes)
            self._ids = zeros(_LONGEST, lanes, dtype=torch.int64)
            self._place = zeros(1, dtype=torch.int64)
            self._ranks = torch.arange(V, device=device).expand(lanes, V)
        self._graph: torch.cuda.CUDAGraph | None = None

    def load(self, logits: Floats, state: StackState, settings: Sequence[SamplingConfig]) -> None:
        """Puts values where the step looks for them."""
        B, V = logits.shape
        self.logits[:B].copy_(torch.from_numpy(np.ascontiguousarray(logits)))
        for ours, theirs in zip(self.state, state, strict=True):
            for to, from_ in zip(ours, theirs, strict=True):
                to[:B].copy_(from_)
        columns = [
            (self._temperature, [config.temperature for config in settings]),
            (self._top_p, [1.0 if config.top_p is None else config.top_p for config in settings]),
            (self._min_p, [config.min_p or 0.0 for config in settings]),
            (self._top_k, [config.top_k or V for config in settings]),
        ]
        for buffer, values in columns:
            buffer[:B].copy_(torch.tensor(values, dtype=buffer.dtype)[:, None])

    def run(self, uniforms: Doubles) -> tuple[npt.NDArray[np.int32], Doubles]:
        """Writes T characters in each of B lanes by `uniforms` (T, B): ids (T, B) and their log-probabilities."""
        T, B = uniforms.shape
        self._uniforms[:T, :B].copy_(torch.from_numpy(np.ascontiguousarray(uniforms)))
        if self._is_recorded and self._graph is None:
            self._place.zero_()
            changed = [self.logits, *(array for layer in self.state for array in layer), self._place]
            (self._graph,) = self._recorder.record([self._step], changed)  # which undoes what the step changed
        self.replay(T)
        ids, likely = self._ids[:T, :B].cpu(), self._likely[:T, :B].cpu()  # the one place that waits
        return ids.numpy().astype(np.int32), likely.numpy().astype(np.float64)

    def replay(self, count: int) -> None:
        """Takes `count` steps from the beginning of the buffers, without waiting for any of them."""
        self._place.zero_()
        for _ in range(count):
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()

    def _step(self) -> None:
        """Draws a character in each lane and reads it. All shapes are fixed, nothing comes from or goes to the host."""
        exact = self.logits.to(self._temperature.dtype)
        uniform = self._uniforms.index_select(0, self._place).T
        ids = _draw(self._distribution(exact), uniform)
        greedy = exact.argmax(1, keepdim=True)
        ids = torch.where(self._temperature == 0, greedy, ids)
        likely = exact.log_softmax(1).gather(1, ids)
        self._ids.index_copy_(0, self._place, ids.T)
        self._likely.index_copy_(0, self._place, likely.T)
        logits, state = self._model(ids.T, self.state)
        self.logits.copy_(logits[0])
        for ours, new in zip(self.state, state, strict=True):
            for to, from_ in zip(ours, new, strict=True):
                to.copy_(from_)
        self._place.add_(1)

    def _distribution(self, logits: Tensor) -> Tensor:
        """Returns weights (B, V), not normalised, as `distribution.probabilities` does for one lane."""
        temperature = torch.where(self._temperature == 0, 1.0, self._temperature)
        weights = ((logits - logits.amax(1, keepdim=True)) / temperature).exp()
        weights = torch.where(weights < self._min_p, 0.0, weights)
        if self._cuts:
            order = logits.argsort(dim=1, descending=True, stable=True)
            ordered = weights.gather(1, order)
            ordered = torch.where(self._ranks < self._top_k, ordered, 0.0)
            total = ordered.sum(1, keepdim=True)
            before = ordered.cumsum(1) - ordered
            ordered = torch.where((before < self._top_p * total) | (self._top_p >= 1), ordered, 0.0)
            weights = torch.zeros_like(weights).scatter(1, order, ordered)
        return weights


def _draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Returns the ids (B, 1) that `uniform` (B, 1) falls on, by inverting the sums as `distribution.draw` does."""
    cumulative = weights.cumsum(1)
    ids = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    places = torch.arange(weights.shape[1], device=weights.device)
    last = torch.where(weights > 0, places, 0).amax(1, keepdim=True)
    return torch.minimum(ids, last)
