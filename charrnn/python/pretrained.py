"""A trained model for use from Python: `charrnn.load(path)`.

    model = charrnn.load("checkpoints/tinyshakespeare")
    print(model.sample("ROMEO:", length=200, temperature=0.7))
    print(model.score("To be, or not to be").bits_per_character)
    log_probabilities, state = model.step("T")
    memories = model.record("To be, or not to be").c

On a CPU it works without torch, as the command line does.

Shape letters: T characters, V vocabulary.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt

from charrnn.cells.parameters import is_statistic
from charrnn.cells.registry import describe
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import BEST, find_checkpoint
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.evaluation.score import TextScore
from charrnn.inference.distribution import Doubles, log_probabilities
from charrnn.inference.engine import Engine, RecordingEngine
from charrnn.network.open_engine import open_engine
from charrnn.neurons.clamping import clamp as hold
from charrnn.neurons.clamping import parse_clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.record import losses_of
from charrnn.sampling.sampler import SampleRequest, write
from charrnn.settings.choices import DeviceName, UnknownPolicy, WeightsName
from charrnn.settings.config import ModelConfig, SamplingConfig
from charrnn.settings.keywords import SAMPLING, errors_in_python, with_settings
from charrnn.settings.typed import SamplingSettings
from charrnn.text.fitting import Reader
from charrnn.text.vocabulary import Ids, Vocabulary

if TYPE_CHECKING:
    from charrnn.python.metrics import Curve
    from charrnn.python.recording import Recording

_BLOCK = 4096


@errors_in_python()
def load(
    path: str | os.PathLike[str] | None = None,
    *,
    device: DeviceName = "cpu",
    weights: WeightsName = "float32",
    threads: int | None = None,
    clamp: Mapping[str, float] | None = None,
) -> Pretrained:
    """Returns a trained model, ready to write, score and record.

    path
        A checkpoint file or a run's folder, of which the best checkpoint is taken; by default the newest run under
        checkpoints/.
    device
        Where to compute: "cpu" (also for "auto"), which needs no torch, or "cuda" or "mps".
    weights
        "float16" makes wide models up to twice as fast on a CPU at no cost that shows, "int8" about three times as fast
        at about a thousandth of a bit per character.
    threads
        CPU threads; by default the model's size decides.
    clamp
        Units to hold at a value all the time, such as {"L2.c318": 1.0}: see `charrnn sample --clamp`.

    Raises CheckpointError for a file that is missing, damaged or foreign, and UsageError for what this machine lacks.
    The first text on a GPU may raise RecordingFailed; a new process with CHARRNN_GRAPHS=0 in its environment can write
    it.
    """
    found = find_checkpoint(None if path is None else Path(path))
    loaded = checkpoints.load(found)
    if clamp:
        held = dict(parse_clamp(f"{name}={value!r}", loaded.model) for name, value in clamp.items())
        model, parameters = with_own_columns(loaded.model, loaded.parameters)
        loaded = replace(loaded, model=model, parameters=hold(model, parameters, held))
    return Pretrained(loaded, open_engine(loaded, device=device, weights=weights, threads=threads), found)


@with_settings(*SAMPLING)
def sample(
    prime: str = "", *, checkpoint: str | os.PathLike[str] | None = None, **settings: Unpack[SamplingSettings]
) -> str:
    """Returns a text that a trained model writes after `prime`, without the prime, in one call.

    `checkpoint` is a checkpoint file or a run's folder; by default the newest run under checkpoints/. To write several
    texts, `load` the model once and use `Pretrained.sample` or `Pretrained.samples`, which say more.
    """
    return load(checkpoint).sample(prime, **settings)


class Pretrained:
    """A trained model. Several threads may use it; a recurrent state is never changed and may be used again.

    It reads texts by the rules of its run (--newlines, --normalize, --lowercase), and where it would not know their
    characters otherwise, in another normal form or with other line ends: what is returned for each character counts
    them as it reads them.

    `checkpoint` holds what was read from the file: `checkpoint.corpus`, `checkpoint.progress`, and `parameters`, the
    weights as numpy arrays by name.
    """

    def __init__(self, loaded: Checkpoint, engine: Engine, path: Path | None = None) -> None:
        self.checkpoint = loaded
        self.engine = engine
        self.path = path

    @property
    def config(self) -> ModelConfig:
        """Returns the model's configuration: its cell, layers and sizes."""
        return self.checkpoint.model

    @property
    def vocabulary(self) -> Vocabulary:
        """Returns the characters that the model knows; a character's place among them is its id."""
        return self.checkpoint.vocabulary

    @property
    def num_parameters(self) -> int:
        """Returns how many numbers training has learned."""
        arrays = self.checkpoint.parameters.items()
        return sum(array.size for name, array in arrays if not is_statistic(name))

    @property
    def best_bpc(self) -> float | None:
        """Returns the bits per character of the best validation; None where nothing was held out."""
        nats = self.checkpoint.progress["best_nats"]
        return None if nats is None else float(nats / math.log(2))

    def _place(self) -> str:
        """Returns the run's folder, or the file where it is not the best checkpoint of one."""
        path = self.path
        return "" if path is None else str(path.parent if path.name == BEST else path)

    def __repr__(self) -> str:
        from charrnn.display.safe import visible  # here and below: what is drawn seldom is loaded when it is drawn

        config, bpc = self.config, self.best_bpc
        parts = [
            f"{describe(config)} {config.num_layers} x {config.hidden_size} on {self.checkpoint.corpus['name']}",
            "" if bpc is None else f"{bpc:.3f} bpc",
            self._place(),
        ]
        return visible(f"<charrnn {', '.join(filter(None, parts))}>", kept="")

    def _repr_html_(self) -> str:
        """Returns a small table for a notebook."""
        from charrnn.display.notebook import table

        config, progress, corpus, bpc = self.config, self.checkpoint.progress, self.checkpoint.corpus, self.best_bpc
        rows = {
            "model": f"{describe(config)}, {config.num_layers} x {config.hidden_size}, "
            f"embedding {config.embedding_size}",
            "parameters": f"{self.num_parameters:,}",
            "corpus": f"{corpus['name']}: {corpus['characters']:,} characters, {len(self.vocabulary):,} different",
            "best": "nothing was held out" if bpc is None else f"{bpc:.4f} bpc at step {progress['best_step']:,}",
            "path": self._place(),
        }
        return table({name: value for name, value in rows.items() if value})

    @with_settings(*SAMPLING)
    def stream(
        self,
        prime: str = "",
        *,
        number: int = 0,
        unknown: UnknownPolicy = "error",
        **settings: Unpack[SamplingSettings],
    ) -> Iterator[str]:
        """Yields one sample, piece by piece, without the prime.

        The same seed and `number` always give the same text. `unknown` says what becomes of characters of the prime
        that the model does not know: "error", "skip" or "replace" (by a near one). Raises TextError for a prime with
        unknown characters, UsageError for settings that cannot be used.
        """
        config, ids = SamplingConfig(**settings), self._ids(prime, unknown)
        pieces = write(self.engine, self.vocabulary, ids, [SampleRequest(config, number)])
        return (piece.text for piece in pieces if piece.text)

    @with_settings(*SAMPLING)
    def sample(
        self,
        prime: str = "",
        *,
        number: int = 0,
        unknown: UnknownPolicy = "error",
        **settings: Unpack[SamplingSettings],
    ) -> str:
        """Returns the text of one sample, without the prime; `stream` says what the arguments mean."""
        return "".join(self.stream(prime, number=number, unknown=unknown, **settings))

    @with_settings(*SAMPLING)
    def samples(
        self,
        count: int,
        prime: str = "",
        *,
        temperatures: Sequence[float] | None = None,
        unknown: UnknownPolicy = "error",
        **settings: Unpack[SamplingSettings],
    ) -> list[str]:
        """Returns `count` samples, with the numbers 0 to count - 1, written side by side.

        With `temperatures` there are as many samples for each of them, in their order. `stream` says what the other
        arguments mean.
        """
        config = SamplingConfig(**settings)
        chosen = [config.temperature] if temperatures is None else temperatures
        requests = [
            SampleRequest(replace(config, temperature=temperature), number)
            for temperature in chosen
            for number in range(count)
        ]
        texts = [""] * len(requests)
        for piece in write(self.engine, self.vocabulary, self._ids(prime, unknown), requests):
            texts[piece.sample] += piece.text
        return texts

    @errors_in_python()
    def score(self, text: str, *, unknown: UnknownPolicy = "error") -> TextScore:
        """Returns the nats of `text`, of each character but the first given all before it, from the zero state.

        `charrnn eval` prints the same number for a text whose characters the model knows. Raises TextError where fewer
        than two characters are left.
        """
        ids = self._ids(text, unknown)
        if len(ids) < 2:
            raise TextError("there is nothing to score", "give a text of at least two characters")
        state, logits, likely = self.engine.zero_state(1), None, []
        for start in range(0, len(ids), _BLOCK):
            scored = self.engine.score(ids[start : start + _BLOCK], state, logits)
            logits, state = scored.logits, scored.state
            likely.append(scored.log_probabilities)
        return TextScore(float(-np.concatenate(likely)[1:].sum()), len(ids) - 1)

    @errors_in_python()
    def surprisal(self, text: str, *, unknown: UnknownPolicy = "error") -> Doubles:
        """Returns the bits (T,) that each character of `text` costs, given all before it, from the zero state.

        The first is nan; the mean of the others is the score's bits per character.
        """
        return losses_of(self.engine, self._read(text, unknown))

    @errors_in_python()
    def probabilities(self, text: str, *, unknown: UnknownPolicy = "error") -> npt.NDArray[np.float32]:
        """Returns the distribution (T, V) of the character to come after each character of `text`.

        The V columns stand in the order of `vocabulary.characters`, and each row adds up to 1. The memory it takes is
        4 T V bytes.
        """
        ids, walk = self._read(text, unknown), self.engine.walk(self.engine.zero_state(1))
        found = np.empty((len(ids), len(self.vocabulary)), np.float32)
        for place, id_ in enumerate(ids):
            found[place] = np.exp(log_probabilities(walk.step([id_])[0]))
        return found

    @errors_in_python()
    def record(self, text: str, units: Sequence[str] | None = None, *, unknown: UnknownPolicy = "error") -> Recording:
        """Returns what units do while the model reads `text` from the zero state: a value after each character.

        `units` names single units ("L2.c17": the second layer, kind c, index 17), a layer's units of a kind ("L2.c"),
        or all units of a kind: "h" and "c" are the states, "i", "f", "o" and "g" the gates of an lstm, "r", "z" and
        "n" those of a gru. By default all states are recorded. An lstm's c is given as tanh(c).

        The memory it takes is 4 bytes for each unit and character: 4 T L H for the h of L layers with H units. Raises
        UsageError for units that the model does not have, and on a GPU.
        """
        from charrnn.python.recording import recording

        if not isinstance(self.engine, RecordingEngine):
            raise UsageError("units are recorded on a CPU only", 'load the model with device="cpu"')
        ids = self._read(text, unknown)
        points = self.vocabulary.code_points[ids]
        return recording(self.engine, ids, "".join(map(chr, points.tolist())), units)

    def curve(self) -> Curve:
        """Returns the metrics of the run that the model comes from; see `charrnn.curve`."""
        from charrnn.python.metrics import curve

        if self.path is None:
            raise CheckpointError("the model was not loaded from a run's folder", "name it: charrnn.curve(folder)")
        return curve(self.path)

    @errors_in_python()
    def step(self, text: str, state: Any = None, *, unknown: UnknownPolicy = "error") -> tuple[Doubles, Any]:
        """Reads `text` (one character or more) from `state` on, by default from the zero state.

        Returns the log-probabilities (V,) of each character to come next, in the order of `vocabulary.characters`, and
        the new state.
        """
        ids = self._read(text, unknown)
        logits, state = self.engine.read(ids, self.engine.zero_state(1) if state is None else state)
        return log_probabilities(logits[0]), state

    def _ids(self, text: str, unknown: UnknownPolicy) -> Ids:
        """Returns the ids of a text by the rules of the run, and in the normal form and with the line ends that the
        model knows. Raises TextError for characters that it does not know."""
        loaded = self.checkpoint
        read, _ = Reader.of(loaded.data, loaded.vocabulary, loaded.corpus).text(text, "the text")
        return self.vocabulary.encode(read, unknown)

    def _read(self, text: str, unknown: UnknownPolicy) -> Ids:
        """Returns the ids of a text. Raises TextError where there are none."""
        ids = self._ids(text, unknown)
        if not len(ids):
            raise TextError("there is nothing to read", "give at least one character")
        return ids
