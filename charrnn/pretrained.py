"""A trained model for use from Python: `charrnn.load(path)`.

    model = charrnn.load("checkpoints/tinyshakespeare")
    print(model.sample("ROMEO:", length=200, temperature=0.7))
    print(model.score("To be, or not to be").bits_per_character)
    log_probabilities, state = model.step("T")

On a CPU it works without torch, as the command line does.

Shape letters: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.cells.registry import describe
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import find_checkpoint
from charrnn.errors import TextError, UsageError
from charrnn.evaluation.score import TextScore
from charrnn.inference.distribution import Doubles, log_probabilities
from charrnn.inference.engine import Engine
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.clamping import clamp as hold
from charrnn.neurons.clamping import parse_clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.sampling.sampler import SampleRequest, write
from charrnn.settings.choices import DeviceName, UnknownPolicy, WeightsName
from charrnn.settings.config import ModelConfig, SamplingConfig
from charrnn.text.vocabulary import Vocabulary

_BLOCK = 4096


def load(
    path: str | Path | None = None,
    *,
    device: DeviceName = "cpu",
    weights: WeightsName = "float32",
    threads: int | None = None,
    clamp: Mapping[str, float] | None = None,
) -> Pretrained:
    """Returns the model of a checkpoint file or a run's folder; by default of the newest run under checkpoints/.

    `clamp` holds units at values, as {"L2.c318": 1.0}: see `neurons.clamping`.

    With `weights` "int8" wide models are about three times faster and lose about a thousandth of a bit per character.
    Where `threads` is None, the model's size decides. Raises CheckpointError, or UsageError for what this machine
    lacks. The first text on a GPU may raise RecordingFailed; a new process with CHARRNN_GRAPHS=0 in its environment can
    write it.
    """
    loaded = checkpoints.load(find_checkpoint(None if path is None else Path(path)))
    if clamp:
        held = dict(parse_clamp(f"{name}={value!r}", loaded.model) for name, value in clamp.items())
        model, parameters = with_own_columns(loaded.model, loaded.parameters)
        loaded = replace(loaded, model=model, parameters=hold(model, parameters, held))
    return Pretrained(loaded, open_engine(loaded, device=device, weights=weights, threads=threads))


def sample(prime: str = "", *, checkpoint: str | Path | None = None, **settings: Any) -> str:
    """Returns a text that a trained model writes after `prime`: see `Pretrained.sample`."""
    return load(checkpoint).sample(prime, **settings)


def open_engine(
    loaded: Checkpoint, *, device: DeviceName = "cpu", weights: WeightsName = "float32", threads: int | None = None
) -> Engine:
    """Returns an engine that runs the model on `device`; the one for a CPU needs no torch and starts at once."""
    if device in ("cpu", "auto"):
        engine: Engine = make_engine(loaded.model, loaded.parameters, weights=weights, threads=threads)
        return engine
    if weights != "float32":
        raise UsageError(f"--weights is {weights!r} and --device {device}", "int8 weights are for --device cpu")
    from charrnn.network.device import choose_device, prepare
    from charrnn.network.stepper import TorchStepper

    chosen = choose_device(device)
    prepare(chosen, threads)
    return TorchStepper(loaded, chosen)


class Pretrained:
    """A trained model. Several threads may use it; a recurrent state is never changed and may be used again."""

    def __init__(self, loaded: Checkpoint, engine: Engine) -> None:
        self.checkpoint = loaded
        self.engine = engine

    @property
    def config(self) -> ModelConfig:
        """Returns the model's configuration: its cell, layers and sizes."""
        return self.checkpoint.model

    @property
    def vocabulary(self) -> Vocabulary:
        """Returns the characters that the model knows; a character's place among them is its id."""
        return self.checkpoint.vocabulary

    def __repr__(self) -> str:
        config = self.config
        shape = f"{config.num_layers} x {config.hidden_size}"
        return f"<charrnn {describe(config)} {shape}, {len(self.vocabulary)} characters>"

    def stream(
        self, prime: str = "", *, number: int = 0, unknown: UnknownPolicy = "error", **settings: Any
    ) -> Iterator[str]:
        """Yields one sample, piece by piece, without the prime. `settings` are the fields of `SamplingConfig`.

        The same seed and `number` always give the same text. Raises TextError for a prime with characters that the
        model does not know, UsageError for settings that cannot be used.
        """
        config = SamplingConfig(**settings)
        ids = self.vocabulary.encode(prime, unknown)
        for piece in write(self.engine, self.vocabulary, ids, [SampleRequest(config, number)]):
            if piece.text:
                yield piece.text

    def sample(self, prime: str = "", *, number: int = 0, unknown: UnknownPolicy = "error", **settings: Any) -> str:
        """Returns the text of one sample, without the prime; see `stream`."""
        return "".join(self.stream(prime, number=number, unknown=unknown, **settings))

    def samples(
        self,
        count: int,
        prime: str = "",
        *,
        temperatures: Sequence[float] | None = None,
        unknown: UnknownPolicy = "error",
        **settings: Any,
    ) -> list[str]:
        """Returns samples 0 to count - 1, written side by side; with `temperatures`, as many for each in turn."""
        config = SamplingConfig(**settings)
        chosen = [config.temperature] if temperatures is None else temperatures
        requests = [
            SampleRequest(replace(config, temperature=temperature), number)
            for temperature in chosen
            for number in range(count)
        ]
        texts = [""] * len(requests)
        for piece in write(self.engine, self.vocabulary, self.vocabulary.encode(prime, unknown), requests):
            texts[piece.sample] += piece.text
        return texts

    def score(self, text: str, *, unknown: UnknownPolicy = "error") -> TextScore:
        """Returns the nats of `text`, of each character but the first given all before it, from the zero state.

        `charrnn eval` prints the same number for a text whose characters the model knows. Raises TextError where fewer
        than two characters are left.
        """
        ids = self.vocabulary.encode(text, unknown)
        if len(ids) < 2:
            raise TextError("there is nothing to score", "give a text of at least two characters")
        state, logits, likely = self.engine.zero_state(1), None, []
        for start in range(0, len(ids), _BLOCK):
            scored = self.engine.score(ids[start : start + _BLOCK], state, logits)
            logits, state = scored.logits, scored.state
            likely.append(scored.log_probabilities)
        return TextScore(float(-np.concatenate(likely)[1:].sum()), len(ids) - 1)

    def step(self, text: str, state: Any = None, *, unknown: UnknownPolicy = "error") -> tuple[Doubles, Any]:
        """Reads `text` (one character or more) from `state` on, by default from the zero state.

        Returns the log-probabilities (V,) of each character to come next, in the order of `vocabulary.characters`, and
        the new state.
        """
        ids = self.vocabulary.encode(text, unknown)
        if not len(ids):
            raise TextError("there is nothing to read", "give at least one character")
        logits, state = self.engine.read(ids, self.engine.zero_state(1) if state is None else state)
        return log_probabilities(logits[0]), state
