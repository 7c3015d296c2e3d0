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
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.folder import BEST, find_checkpoint
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.evaluation.score import TextScore, nats_of
from charrnn.inference.distribution import Doubles, log_probabilities
from charrnn.inference.engine import Engine, RecordingEngine
from charrnn.network.onnx_file import write_onnx
from charrnn.network.open_engine import check_single, members_of, open_engine
from charrnn.neurons.clamping import clamp as hold
from charrnn.neurons.clamping import parse_clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.record import losses_of
from charrnn.python import texts
from charrnn.sampling.choosing import Judge, choose
from charrnn.sampling.sampler import SampleRequest, check_possible, write
from charrnn.sampling.training_text import TrainingText, read_training_text
from charrnn.settings.choices import DeviceName, UnknownPolicy, WeightsName
from charrnn.settings.config import ModelConfig
from charrnn.settings.fields import settings_of
from charrnn.settings.keywords import LISTS, SAMPLING, errors_in_python, with_settings
from charrnn.settings.sampling import Selection
from charrnn.settings.typed import ListSettings, SamplingSettings
from charrnn.text.vocabulary import Ids, Vocabulary

if TYPE_CHECKING:
    from charrnn.network.plain_model import PlainModel
    from charrnn.python.metrics import Curve
    from charrnn.python.recording import Recording


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
        held = dict(parse_clamp(f"{name}={value!r}", loaded.of_units) for name, value in clamp.items())
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
        """Returns the model's configuration: its cell, layers and sizes (of an ensemble those of each member)."""
        return self.checkpoint.model

    @property
    def vocabulary(self) -> Vocabulary:
        """Returns the characters that the model knows; a character's place among them is its id."""
        return self.checkpoint.vocabulary

    @property
    def members(self) -> list[Pretrained]:
        """Returns the models of an ensemble, each by itself; of a single model a list of it alone."""
        return [Pretrained(loaded, engine) for loaded, engine in members_of(self.checkpoint, self.engine)]

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
        from charrnn.python.shown import as_line  # here and below: what is drawn seldom is loaded when it is drawn

        return as_line(self, self._place())

    def _repr_html_(self) -> str:
        """Returns a small table for a notebook."""
        from charrnn.python.shown import as_table

        return as_table(self, self._place())

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

        The same seed and `number` always give the same text. A model of documents ends where its document does, after
        `length` characters at the latest. `unknown` says what becomes of characters of the prime that the model does
        not know: "error", "skip" or "replace" (by a near one). Raises TextError for a prime with unknown characters,
        UsageError for settings that cannot be used.
        """
        config, ids = texts.drawing(self.checkpoint, dict(settings)), texts.ids_of(self.checkpoint, prime, unknown)
        check_possible(config, self.vocabulary)  # now, and not when the first piece is taken
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

    @with_settings(*LISTS)
    def samples(
        self,
        count: int,
        prime: str = "",
        *,
        temperatures: Sequence[float] | None = None,
        unknown: UnknownPolicy = "error",
        **settings: Unpack[ListSettings],
    ) -> list[str]:
        """Returns `count` samples, with the numbers 0 to count - 1, written side by side.

        With `temperatures` there are as many samples for each of them, in their order. With `unique`, `novel` or
        `filter` more are drawn for those that are not kept; where too few can be found, fewer are returned. With
        `num_beams` they are the best texts, where so many were found. `stream` says what the other arguments mean.
        """
        given: dict[str, Any] = dict(settings)
        chosen = {name: given.pop(name) for name in settings_of(Selection) if name in given}
        selection, config = Selection(**chosen), texts.drawing(self.checkpoint, given)
        ids = texts.ids_of(self.checkpoint, prime, unknown)
        configs = [config]
        if temperatures is not None:
            configs = [replace(config, temperature=temperature) for temperature in temperatures]
        if selection.is_choosy:
            judge = Judge(selection, self._training_text() if selection.novel else None)
            found = (choose(self.engine, self.vocabulary, ids, each, judge, count) for each in configs)
            return [piece.text for kept in found for _, piece in kept]
        requests = [SampleRequest(each, number) for each in configs for number in range(count)]
        written = [""] * len(requests)
        for piece in write(self.engine, self.vocabulary, ids, requests):
            written[piece.sample] += piece.text
        return written

    def _training_text(self) -> TrainingText:
        if self.path is None:
            raise UsageError("--novel needs the text of the run, and the model was not loaded from one", "leave it out")
        return read_training_text(self.checkpoint, self.path)[0]

    @errors_in_python()
    def score(self, text: str, *, unknown: UnknownPolicy = "error") -> TextScore:
        """Returns the nats of `text`, of each character but the first given all before it, from the zero state.

        Of a model of documents, the text is cut into documents as the model's own was (into one, if its documents were
        files or cells of a table), and of each all characters and the end are scored. `charrnn eval` prints the same
        number for a text whose characters the model knows. Raises TextError where fewer than two characters are left.
        """
        ids = texts.ids_to_score(self.checkpoint, text, unknown)
        if len(ids) < 2:
            fewest = "one character" if self.vocabulary.has_end else "two characters"
            raise TextError("there is nothing to score", f"give a text of at least {fewest}")
        return TextScore(nats_of(self.engine, ids), len(ids) - 1)

    @errors_in_python()
    def surprisal(self, text: str, *, unknown: UnknownPolicy = "error") -> Doubles:
        """Returns the bits (T,) that each character of `text` costs, given all before it, from the zero state.

        The first is nan; the mean of the others is the score's bits per character. A model of documents reads `text` as
        the beginning of one, here and in the methods below: there the first character has its cost as well.
        """
        losses = losses_of(self.engine, self._read(text, unknown, is_begun=True))
        return losses[1:] if self.vocabulary.has_end else losses

    @errors_in_python()
    def probabilities(self, text: str, *, unknown: UnknownPolicy = "error") -> npt.NDArray[np.float32]:
        """Returns the distribution (T, V) of the character to come after each character of `text`.

        The V columns stand in the order of `vocabulary.characters`, behind which a model of documents has one more for
        the end of the document, and each row adds up to 1. The memory it takes is 4 T V bytes.
        """
        ids, walk = self._read(text, unknown), self.engine.walk(self._begun())
        found = np.empty((len(ids), len(self.vocabulary)), np.float32)
        for place, id_ in enumerate(ids):
            found[place] = np.exp(log_probabilities(walk.step([id_])[0]))
        return found

    @errors_in_python()
    def record(self, text: str, units: Sequence[str] | None = None, *, unknown: UnknownPolicy = "error") -> Recording:
        """Returns what units do while the model reads `text` from the zero state: a value after each character.

        `units` names single units ("L2.c17": the second layer, kind c, index 17), a layer's units of a kind ("L2.c"),
        all states of a layer ("L2"), or all units of a kind: "h" and "c" are the states, "i", "f", "o" and "g" the
        gates of an lstm, "r", "z" and "n" those of a gru. By default all states are recorded. An lstm's c is given as
        tanh(c).

        The memory it takes is 4 bytes for each unit and character: 4 T L H for the h of L layers with H units. Raises
        UsageError for units that the model does not have, and on a GPU.
        """
        from charrnn.python.recording import recording

        if not isinstance(self.engine, RecordingEngine):
            raise UsageError("units are recorded on a CPU only", 'load the model with device="cpu"')
        ids = self._read(text, unknown)
        points = self.vocabulary.code_points[ids]
        before = [] if self.vocabulary.end is None else [self.vocabulary.end]
        return recording(self.engine, ids, "".join(map(chr, points.tolist())), units, before)

    @errors_in_python()
    def to_torch(self) -> PlainModel:
        """Returns the model as plain modules of torch: nn.Embedding, nn.LSTM (or GRU, or RNN) layers, and nn.Linear.

        It is called with ids (T, B) and a state: logits (T, B, V), and the state after. The modules are on the CPU, in
        evaluation mode, and have copies of the weights. Raises UsageError for an ensemble, and for a cell that torch
        has no module for.
        """
        from charrnn.network.plain_model import plain_model

        check_single(self.checkpoint, "to_torch")
        return plain_model(self.config, self.checkpoint.parameters)

    @errors_in_python()
    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Writes one step of the model as an ONNX file: ids (B,) and states (L, B, H) in; logits (B, V) and states out.

        The text "charrnn" of its metadata is what a checkpoint says of itself, as JSON, with the vocabulary. Raises
        UsageError where the package onnx is missing, the cell computes with complex numbers, or for an ensemble.
        """
        write_onnx(Path(path), self.checkpoint)

    def curve(self) -> Curve:
        """Returns the metrics of the run that the model comes from; see `charrnn.curve`."""
        from charrnn.python.metrics import curve

        if self.path is None:
            raise CheckpointError("the model was not loaded from a run's folder", "name it: charrnn.curve(folder)")
        return curve(self.path)

    @errors_in_python()
    def step(self, text: str, state: Any = None, *, unknown: UnknownPolicy = "error") -> tuple[Doubles, Any]:
        """Reads `text` (one character or more) from `state` on, by default from the zero state (of a model of
        documents, from the beginning of one).

        Returns the log-probabilities (V,) of each character to come next, in the order of `vocabulary.characters`, and
        the new state. Of a model of documents the last is that of the end.
        """
        ids = self._read(text, unknown)
        logits, state = self.engine.read(ids, self._begun() if state is None else state)
        return log_probabilities(logits[0]), state

    def _begun(self) -> Any:
        """Returns the state in which a text begins: zero, or after the end of a document."""
        state = self.engine.zero_state(1)
        return state if self.vocabulary.end is None else self.engine.read([self.vocabulary.end], state)[1]

    def _read(self, text: str, unknown: UnknownPolicy, *, is_begun: bool = False) -> Ids:
        """Returns the ids of a text; with `is_begun`, behind the end of a document where the model knows one. Raises
        TextError where there are none."""
        ids = texts.ids_of(self.checkpoint, text, unknown)
        if not len(ids):
            raise TextError("there is nothing to read", "give at least one character")
        if is_begun and self.vocabulary.end is not None:
            ids = np.concatenate([np.array([self.vocabulary.end], self.vocabulary.dtype), ids])
        return ids
