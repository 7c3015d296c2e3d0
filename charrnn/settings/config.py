"""Every setting of a run, as frozen dataclasses of plain values.

Each field carries its documentation as the string below it; `fields.field_help` hands that string to the command line,
so that an option's help and its documentation are one text. `__post_init__` checks values and raises UsageError naming
the option. Knows values and their limits. Refuses to know files, arrays and how values were chosen
(`training/recipe.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from charrnn.errors import UsageError
from charrnn.settings import choices
from charrnn.settings.checks import between, is_number, one_of, positive_integer, require
from charrnn.settings.conflicts import check_frozen, check_initial, check_schedule, check_wiring
from charrnn.settings.fields import Record

_MOST_LAYERS = 1000
_MOST_ROUNDS = 100
_SWITCHES = ("tie", "forget_gate", "peephole", "orthogonal", "layer_norm", "batch_norm", "multiplicative")
_RATES = (
    *("variational_dropout", "input_dropout", "output_dropout", "weight_drop", "embedding_dropout"),
    *("zoneout", "zoneout_cell", "recurrent_dropout"),
)
_ALWAYS_WRITTEN = {"cell", "num_layers", "hidden_size", "embedding_size", "dropout", "forget_bias"}
WIDEST = 1 << 20
"""Nothing here that is counted is larger."""


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Record):
    """The shape of the network. The size of its vocabulary is the vocabulary's to know."""

    cell: str = "lstm"
    """Recurrent cell:"""
    num_layers: int = 1
    """Recurrent layers stacked on each other."""
    hidden_size: int = 320
    """Units in each layer."""
    embedding_size: int = 64
    """Size of the vector that stands for a character."""
    dropout: float = 0.0
    """Share of a layer's outputs dropped on their way up (between layers and before the decoder), never in time."""
    forget_bias: float = 1.0
    """Initial bias of the lstm's forget gate; above 0 the cell starts out remembering."""
    init: choices.InitName = "uniform"
    """Initial weights: uniform (+-1/sqrt(hidden)); orthogonal or, for the rnn, identity recurrent matrices; xavier; or
    uniform with chrono gate biases, which spread how long units remember."""
    init_gain: float = 1.0
    """Factor on orthogonal and identity recurrent matrices."""
    chrono_range: int | None = None
    """Characters that the slowest units start out remembering, under chrono; 256 where not given."""
    gate_bias: float | None = None
    """A: initial biases of the lstm's gates i = -A, f = A, o = -A (blocks start one by one), of the gru's update gate
    A (h is kept)."""
    spectral_radius: float | None = None
    """R: each gate's recurrent matrix is scaled, once drawn, so that its largest eigenvalue is of this size."""
    tie: bool = False
    """The decoder's matrix is the embedding's, so that it reads no more and no fewer numbers; --embedding follows
    --hidden."""
    skip: choices.SkipName = "none"
    """Connections past layers: residual (each layer's output is added to its input), dense (layers and decoder read all
    that is below them, side by side), or sum (the decoder reads the sum of all layers' outputs)."""
    variational_dropout: float = 0.0
    """Share dropped of what each layer and the decoder read, the same numbers all through a window; --dropout is then
    off unless given."""
    input_dropout: float | None = None
    """The same for what the first layer reads; as --variational-dropout where not given."""
    output_dropout: float | None = None
    """The same for what the decoder reads; as --variational-dropout where not given."""
    weight_drop: float = 0.0
    """Share of the recurrent matrices' weights dropped, the same ones all through a window and in every lane."""
    embedding_dropout: float = 0.0
    """Share of characters whose embedding is dropped for a window, wherever they occur in it."""
    activation: choices.ActivationName = "tanh"
    """What the rnn's units do with what comes in: tanh, relu, or modrelu (the sign stays, the size changes by a trained
    bias)."""
    forget_gate: bool = True
    """Give the lstm a forget gate; without, its memory only ever adds up (the cell of 1997)."""
    peephole: bool = False
    """Let the lstm's gates see the memory c."""
    coupled: choices.CouplingName = "off"
    """How the lstm's input gate i goes with its forget gate f: off (free), tied (i = 1 - f), or min (at most 1 - f)."""
    orthogonal: bool = False
    """Keep each gate's recurrent matrix orthogonal all through training: it is the exponential of a skew matrix, which
    is what is learned."""
    layer_norm: bool = False
    """Normalise what the units are fed over the layer, at every step; of an lstm also the memory its output sees."""
    batch_norm: bool = False
    """The same over the lanes; outside training by running averages of the lanes' means and variances."""
    zoneout: float = 0.0
    """Share of the units whose output h keeps its value of the step before, drawn anew in every step of training."""
    zoneout_cell: float = 0.0
    """The same for the lstm's memory c."""
    recurrent_dropout: float = 0.0
    """Share of the candidates (what an lstm or gru is about to write to its memory) that is dropped, drawn anew in
    every step of training; the memory itself is never dropped."""
    multiplicative: bool = False
    """Let each character choose the recurrent matrix: the state is multiplied by a product of the input first."""
    mogrifier: int = 0
    """Rounds in which input and state gate each other before the lstm or gru reads them; 0 for none."""
    mogrifier_rank: int = 0
    """Rank of the mogrifier's matrices; 0 for full ones."""

    def __post_init__(self) -> None:
        require(isinstance(self.cell, str), "--cell", self.cell, "the name of a cell")
        positive_integer("--layers", self.num_layers, _MOST_LAYERS)
        positive_integer("--hidden", self.hidden_size, WIDEST)
        positive_integer("--embedding", self.embedding_size, WIDEST)
        between("--dropout", self.dropout, 0.0, 1.0, high_included=False)
        require(is_number(self.forget_bias), "--forget-bias", self.forget_bias, "a finite number")
        one_of("--init", self.init, get_args(choices.InitName))
        between("--init-gain", self.init_gain, 0.0, math.inf)
        if self.chrono_range is not None:
            valid = isinstance(self.chrono_range, int) and 3 <= self.chrono_range <= WIDEST
            require(valid, "--chrono-range", self.chrono_range, f"a whole number from 3 to {WIDEST:,}")
        if self.gate_bias is not None:
            require(is_number(self.gate_bias), "--gate-bias", self.gate_bias, "a finite number")
        if self.spectral_radius is not None:
            valid = is_number(self.spectral_radius) and self.spectral_radius > 0
            require(valid, "--spectral-radius", self.spectral_radius, "a number above 0")
        one_of("--skip", self.skip, get_args(choices.SkipName))
        one_of("--activation", self.activation, get_args(choices.ActivationName))
        one_of("--coupled", self.coupled, get_args(choices.CouplingName))
        for name in _SWITCHES:
            require(isinstance(getattr(self, name), bool), _option(name), getattr(self, name), "true or false")
        for name in _RATES:
            rate, is_own = getattr(self, name), name in ("input_dropout", "output_dropout")  # which follow another
            if rate is not None or not is_own:
                between(_option(name), rate, 0.0, 1.0, high_included=False)
        for name, most in (("mogrifier", _MOST_ROUNDS), ("mogrifier_rank", WIDEST)):
            value = getattr(self, name)
            if value != 0 or isinstance(value, bool):
                positive_integer(_option(name), value, most)
        check_initial(self)
        check_wiring(self)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, without variants that are off: a plain model is written as ever."""
        off = {field.name: field.default for field in fields(self) if field.name not in _ALWAYS_WRITTEN}
        return {name: value for name, value in Record.to_dict(self).items() if name not in off or value != off[name]}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig(Record):
    """How the corpus becomes a stream of characters, and which part of it is held out."""

    encoding: str = "utf-8"
    """Encoding of the text files."""
    encoding_errors: choices.DecodeErrors = "strict"
    """What to do with bytes that are not valid in the encoding: strict (an error) or replace (by U+FFFD)."""
    as_bytes: bool = False
    """Model bytes instead of characters; any file will do."""
    newlines: choices.Newlines = "keep"
    """keep line ends as they are, or make every one of them lf."""
    validation_fraction: float = 0.1
    """Share of the corpus held out for validation, taken from its end (before the test part)."""
    test_fraction: float = 0.0
    """Share held out at the very end and never looked at in training; `eval --split test` scores it."""

    def __post_init__(self) -> None:
        require(isinstance(self.encoding, str), "--encoding", self.encoding, "the name of an encoding")
        require(isinstance(self.as_bytes, bool), "--bytes", self.as_bytes, "true or false")
        one_of("--encoding-errors", self.encoding_errors, get_args(choices.DecodeErrors))
        one_of("--newlines", self.newlines, get_args(choices.Newlines))
        between("--validation-fraction", self.validation_fraction, 0.0, 0.9)
        between("--test-fraction", self.test_fraction, 0.0, 0.9)
        held_out = self.validation_fraction + self.test_fraction
        require(held_out <= 0.9, "the held-out share (validation + test)", held_out, "at most 0.9")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(Record):
    """How the network is trained: everything that changes the course of the numbers."""

    batch_size: int = 16
    """Parallel lanes of text read at once."""
    bptt: int = 64
    """Characters in a window: how far gradients flow back. The state itself is carried on without end."""
    random_bptt: bool = False
    """Draw each window's length anew, about --bptt, in one step of twenty about half of it; the learning rate goes with
    the length."""
    state_reset: float = 0.01
    """Share of windows that begin from the zero state instead of the carried one, so that the model stays sound
    wherever a text begins; 0 carries the state for ever."""
    optimizer: choices.OptimizerName = "muon"
    """muon (orthogonalised momentum for the layers' matrices, adamw for the rest), adamw, schedule-free (adamw whose
    rate need not fall, since an average of its own is validated and kept), sgd (with momentum), or rmsprop."""
    learning_rate: float = 1.2e-2
    """Peak learning rate."""
    muon_ratio: float = 0.33
    """Under muon, learning rate of the layers' matrices as a share of the others'."""
    cautious: bool = True
    """Leave out, in adamw's updates, what would move against the gradient."""
    momentum: float = 0.9
    """Momentum of sgd and rmsprop."""
    beta1: float = 0.9
    """Decay of adamw's first moment; under schedule-free the average's share in the weights that are trained."""
    beta2: float = 0.99
    """Decay of adamw's second moment, of schedule-free's, and of rmsprop's."""
    weight_decay: float = 0.01
    """Decay of the weight matrices at each step, times the learning rate (decoupled in adamw; biases are spared)."""
    clip_norm: float = 1.0
    """Gradients with a larger global norm are scaled down to it; 0 turns clipping off."""
    clip_loss: choices.ClipLossName = "mean"
    """Which loss that norm is of: the mean over a window's characters, or, as some papers have it, their sum (a mean
    over lanes): then --clip is divided by the window's length."""
    warmup: int = 50
    """Steps over which the learning rate climbs to its peak."""
    decay: choices.DecayName = "linear"
    """How the learning rate falls from its peak over the budget: cosine, linear, or constant (does not fall; so
    under schedule-free)."""
    final_learning_rate: float = 0.0
    """Share of the peak learning rate that is left at the end of the budget."""
    average: float = 0.05
    """What is validated, sampled and kept as best are the weights averaged over this share of the steps made so far, or
    of those still to come where they are fewer; 0 takes the weights as they are (schedule-free, which keeps
    an average of its own, has 0)."""
    average_after: int | None = None
    """After this many validations in a row without a new best, the plain mean of the weights of all steps from there to
    the end takes the place of what --average says; a new best does not end it."""
    average_from: float | None = None
    """The same from the first validation on after which this share of the budget is used, if not before."""
    precision: choices.PrecisionName = "auto"
    """What products are made of: fp32; on NVIDIA GPUs also tf32 or fp16 (with scaled losses; weights, softmax, norms
    and updates stay fp32); on CPUs with AVX512-BF16 also bf16 (sums, state and weights stay fp32). auto takes the
    fastest that the device has."""
    seed: int = 1
    """Seed of initial weights, dropout and state resets."""
    activation_penalty: float = 0.0
    """Times the mean square of what the decoder reads, added to what is differentiated (not to the loss reported)."""
    temporal_penalty: float = 0.0
    """The same for the change of the last layer's output from one character to the next."""
    orthogonal_penalty: float = 0.0
    """The same for how far each gate's recurrent matrix W is from orthogonal: the squares of W^T W - I, summed."""
    l2: float = 0.0
    """The same for half the squares of all weights, summed: the L2 of papers that add it to the loss. Unlike
    --weight-decay it is a part of the gradient, so that clipping and the optimizer's moments see it and adamw makes
    little of it where gradients are large; and it spares no biases."""
    freeze: choices.FreezeName = "none"
    """What stays as it was drawn: none of the weights; recurrent, those of the recurrent layers; or echo, all but the
    decoder (an echo state network)."""
    jacobian_penalty: float = 0.0
    """The same for how far a step back in time makes an rnn's gradient shorter or longer: the mean square of the norms'
    ratio less 1."""

    def __post_init__(self) -> None:
        positive_integer("--batch", self.batch_size, WIDEST)
        positive_integer("--bptt", self.bptt, WIDEST)
        require(isinstance(self.random_bptt, bool), "--random-bptt", self.random_bptt, "true or false")
        between("--state-reset", self.state_reset, 0.0, 1.0)
        one_of("--optimizer", self.optimizer, get_args(choices.OptimizerName))
        between("--average", self.average, 0.0, 1.0)
        if self.average_after is not None:
            positive_integer("--average-after", self.average_after)
        if self.average_from is not None:
            between("--average-from", self.average_from, 0.0, 1.0)
        one_of("--precision", self.precision, get_args(choices.PrecisionName))
        one_of("--decay", self.decay, get_args(choices.DecayName))
        positive = is_number(self.learning_rate) and self.learning_rate > 0
        require(positive, "--lr", self.learning_rate, "a number above 0")
        between("--muon-ratio", self.muon_ratio, 0.0, math.inf)
        require(isinstance(self.cautious, bool), "--cautious", self.cautious, "true or false")
        for name in ("momentum", "beta1", "beta2"):
            between(f"--{name}", getattr(self, name), 0.0, 1.0, high_included=False)
        between("--weight-decay", self.weight_decay, 0.0, math.inf)
        between("--clip", self.clip_norm, 0.0, math.inf)
        one_of("--clip-loss", self.clip_loss, get_args(choices.ClipLossName))
        between("--warmup", self.warmup, 0, math.inf)
        between("--final-lr", self.final_learning_rate, 0.0, 1.0)
        require(0 <= self.seed < 2**63, "--seed", self.seed, "a whole number from 0 to 2^63 - 1")
        for name in ("activation", "temporal", "orthogonal", "jacobian"):
            between(f"--{name}-penalty", getattr(self, f"{name}_penalty"), 0.0, math.inf)
        between("--l2", self.l2, 0.0, math.inf)
        one_of("--freeze", self.freeze, get_args(choices.FreezeName))
        check_frozen(self)
        check_schedule(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget(Record):
    """How long to train: exactly one of the three."""

    epochs: float | None = None
    """Passes over the training part."""
    steps: int | None = None
    """Updates of the weights."""
    minutes: float | None = None
    """Minutes of training, validation and saving included."""

    def __post_init__(self) -> None:
        given = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UsageError(
                "more than one budget was given: " + ", ".join(f"--{name}" for name in given)
                if given
                else "no budget was given",
                "give one of --epochs, --steps, --minutes",
            )
        valid = is_number(self.amount) and self.amount > 0
        require(valid, f"--{self.unit}", self.amount, "a number above 0")

    @property
    def unit(self) -> Literal["epochs", "steps", "minutes"]:
        """Which of the three it is."""
        if self.epochs is not None:
            return "epochs"
        return "steps" if self.steps is not None else "minutes"

    @property
    def amount(self) -> float:
        """How many of them."""
        amount: float = getattr(self, self.unit)
        return amount

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit if self.amount != 1 else self.unit[:-1]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig(Record):
    """How characters are drawn from the model's distribution."""

    length: int = 1000
    """Characters to write."""
    temperature: float = 0.8
    """Logits are divided by it: below 1 safer, above 1 wilder, 0 takes the likeliest character each time."""
    top_k: int | None = None
    """Draw only from the k likeliest characters."""
    top_p: float | None = None
    """Draw only from the smallest set of characters that holds this much probability (nucleus sampling)."""
    min_p: float | None = None
    """Draw only from characters at least this share as likely as the likeliest."""
    seed: int = 1
    """The same seed gives the same text."""
    stop: str | None = None
    """Stop once this text has been written (it is included)."""
    repeat_until_stop: bool = False
    """Write on past the length until the stop text comes; without a stop text, until Ctrl-C."""

    def __post_init__(self) -> None:
        positive_integer("--length", self.length)
        between("--temperature", self.temperature, 0.0, math.inf)
        if self.top_k is not None:
            positive_integer("--top-k", self.top_k)
        if self.top_p is not None:
            valid = is_number(self.top_p) and 0 < self.top_p <= 1
            require(valid, "--top-p", self.top_p, "a number above 0 and at most 1")
        if self.min_p is not None:
            between("--min-p", self.min_p, 0.0, 1.0)
        require(self.stop != "", "--stop", self.stop, "at least one character")
        require(0 <= self.seed < 2**63, "--seed", self.seed, "a whole number from 0 to 2^63 - 1")
