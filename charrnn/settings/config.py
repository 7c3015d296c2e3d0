"""Every setting of a run, as frozen dataclasses of plain values.

A setting is declared here and nowhere else: its default, what its value may be, its option, and its help (`fields.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from charrnn.errors import UsageError
from charrnn.settings import choices
from charrnn.settings.checks import (
    ABOVE_0,
    AT_LEAST_0,
    COUNT,
    MOST_MEMBERS,
    RATE,
    SEED,
    SHARE,
    SHARE_ABOVE_0,
    SIZE,
    WIDEST,
    number,
    one_of,
    require,
    text,
    whole,
)  # fmt: skip
from charrnn.settings.conflicts import check_frozen, check_initial, check_of_characters, check_schedule, check_wiring
from charrnn.settings.documents import COLUMN, DOCUMENTS, check_documents
from charrnn.settings.fields import Record, setting, switch
from charrnn.wording import figure

CHOSEN = "auto"
"""How help shows the default of what follows the corpus, the machine and the budget."""

_SHAPES = "it shapes the weights"
_BEGINNING = "it is about the weights that a run begins with"
_READ = "it decides what is read of a text and what is held out"
_LEARNT = "the weights have learned with it"
_LANES = "each lane has a state, which is carried on"
_MOMENTS = "the optimizer's moments, which go on, are of other arrays or of another kind"
_STUDENT = "it decides what the members are trained with"
_DAMPED = "the damping goes on from where it is"
_DRAWN = "random numbers go on from where they are"

_model = partial(setting, panel="Model")
_cell = partial(setting, panel="The cell in other ways", fixed=_SHAPES)
_cell_switch = partial(switch, panel="The cell in other ways", fixed=_SHAPES)
_data = partial(setting, panel="Data", fixed=_READ)
_training = partial(setting, panel="Optimisation")
_training_switch = partial(switch, panel="Optimisation")
_budget = partial(setting, panel="Budget (one of)", level="everyday", may_change=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Record):
    """The shape of the network. The size of its vocabulary is the vocabulary's to know."""

    cell: str = _model("lstm", text("the name of a cell"), "--cell", fixed=_SHAPES, level="everyday")
    """Recurrent cell."""
    num_layers: int = _model(1, whole(1, 1000), "--layers", fixed=_SHAPES, level="everyday", shown=CHOSEN)
    """Recurrent layers stacked on each other."""
    hidden_size: int = _model(320, SIZE, "--hidden", fixed=_SHAPES, level="everyday", shown=CHOSEN)
    """Units in each recurrent layer."""
    embedding_size: int = _model(64, SIZE, "--embedding", fixed=_SHAPES, shown=CHOSEN)
    """Size of the vector that stands for a character."""
    dropout: float = _model(0.0, RATE, "--dropout", level="everyday", shown=CHOSEN)
    """Share of each layer's outputs that is dropped in training."""
    forget_bias: float = _model(1.0, number(), "--forget-bias", fixed=_BEGINNING)
    """Initial bias of the lstm's forget gate, which above 0 lets the cell start out remembering."""
    init: choices.InitName = _model("uniform", one_of(choices.InitName), "--init", fixed=_BEGINNING)
    """Initial weights: uniform (+-1/sqrt(hidden)), orthogonal or, for the rnn, identity recurrent matrices, xavier, or
    chrono (uniform, with gate biases that spread how long units remember)."""
    init_gain: float = _model(1.0, AT_LEAST_0, "--init-gain", fixed=_BEGINNING)
    """Factor on the recurrent matrices of --init orthogonal and identity."""
    chrono_range: int | None = _model(None, whole(3, WIDEST), "--chrono-range", fixed=_BEGINNING, metavar="CHARACTERS")
    """Characters that the slowest units start out remembering under --init chrono, 256 where it is not given."""
    gate_bias: float | None = _model(None, number(), "--gate-bias", fixed=_BEGINNING, metavar="A")
    """Initial biases of the lstm's gates i = -A, f = A, o = -A (blocks start one by one), or of the gru's update gate A
    (h is kept)."""
    spectral_radius: float | None = _model(None, ABOVE_0, "--spectral-radius", fixed=_BEGINNING, metavar="R")
    """Size of the largest eigenvalue that each gate's recurrent matrix is scaled to once it is drawn."""
    tie: bool = switch(False, "--tie", panel="Model", fixed=_SHAPES)
    """Take the embedding's matrix as the decoder's, which therefore reads as many numbers, so that --embedding follows
    --hidden."""
    skip: choices.SkipName = _model("none", one_of(choices.SkipName), "--skip", fixed=_SHAPES)
    """Connections past layers: none, residual (each layer's output is added to its input), dense (layers and decoder
    read all that is below them, side by side), or sum (the decoder reads the sum of all layers' outputs)."""
    variational_dropout: float = _model(0.0, RATE, "--variational-dropout")
    """Share dropped of what each layer and the decoder read, the same numbers all through a window, with --dropout off
    unless it is given."""
    input_dropout: float | None = _model(None, RATE, "--input-dropout")
    """Share dropped of what the first layer reads, the same numbers all through a window, as --variational-dropout says
    where it is not given."""
    output_dropout: float | None = _model(None, RATE, "--output-dropout")
    """Share dropped of what the decoder reads, the same numbers all through a window, as --variational-dropout says
    where it is not given."""
    weight_drop: float = _model(0.0, RATE, "--weight-drop")
    """Share of the recurrent matrices' weights that is dropped, the same ones all through a window and in every
    lane."""
    embedding_dropout: float = _model(0.0, RATE, "--embedding-dropout")
    """Share of characters whose embedding is dropped for a window, wherever they occur in it."""
    activation: choices.ActivationName = _cell("tanh", one_of(choices.ActivationName), "--activation", fixed=_LEARNT)
    """What the rnn's units do with what comes in: tanh, relu, or modrelu (the sign stays, the size changes by a trained
    bias)."""
    forget_gate: bool = _cell_switch(True, "--forget-gate")
    """Give the lstm a forget gate, without which its memory only ever adds up (the cell of 1997)."""
    peephole: bool = _cell_switch(False, "--peephole")
    """Let the lstm's gates see the memory c."""
    coupled: choices.CouplingName = _cell("off", one_of(choices.CouplingName), "--coupled", fixed=_SHAPES)
    """How the lstm's input gate i goes with its forget gate f: off (free), tied (i = 1 - f), or min (at most 1 - f)."""
    reset_gate: choices.ResetGateName = _cell("after", one_of(choices.ResetGateName), "--reset-gate", fixed=_LEARNT)
    """Where the gru's reset gate acts: after the recurrent product, as torch and cuDNN have it, or before it, on the
    output h that is read, as the paper and the lectures have it."""
    orthogonal: bool = _cell_switch(False, "--orthogonal")
    """Keep each gate's recurrent matrix orthogonal all through training, as the exponential of a skew matrix, which is
    what is learned."""
    layer_norm: bool = _cell_switch(False, "--layer-norm")
    """Normalise over the layer, at every step, what the units are fed and, of an lstm, the memory its output sees."""
    batch_norm: bool = _cell_switch(False, "--batch-norm")
    """Normalise over the lanes, at every step, what the units are fed and, of an lstm, the memory its output sees,
    outside training by running averages of the lanes' means and variances."""
    zoneout: float = _cell(0.0, RATE, "--zoneout", fixed="")
    """Share of the units whose output h keeps its value of the step before, drawn anew in every step of training."""
    zoneout_cell: float = _cell(0.0, RATE, "--zoneout-cell", fixed="")
    """Share of the lstm's units whose memory c keeps its value of the step before, drawn anew in every step of
    training."""
    recurrent_dropout: float = _cell(0.0, RATE, "--recurrent-dropout", fixed="")
    """Share of the candidates (what an lstm or gru is about to write to its memory) that is dropped, drawn anew in
    every step of training, while the memory itself is never dropped."""
    multiplicative: bool = _cell_switch(False, "--multiplicative")
    """Let each character choose the recurrent matrix, by multiplying the state by a product of the input first."""
    mogrifier: int = _cell(0, whole(0, 100), "--mogrifier", metavar="ROUNDS")
    """Rounds in which input and state gate each other before the lstm or gru reads them (0 for none)."""
    mogrifier_rank: int = _cell(0, whole(0, WIDEST), "--mogrifier-rank", metavar="RANK")
    """Rank of the mogrifier's matrices (0 for full ones)."""

    def check_together(self) -> None:
        """Raises UsageError where settings of the model contradict each other."""
        check_initial(self)
        check_wiring(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig(Record):
    """How the corpus becomes a stream of characters, and which part of it is held out."""

    validation_fraction: float = _data(
        0.1, number(0.0, 0.9), "--validation-fraction", shown="0.1, at most 250,000 characters"
    )
    """Share of the corpus held out for validation, as --held-out says, or of documents whole ones."""
    test_fraction: float = _data(0.0, number(0.0, 0.9), "--test-fraction")
    """Share of the corpus held out as --held-out says (of documents whole ones) and never looked at in training, which
    `eval --split test` scores."""
    held_out: choices.HeldOutName | None = _data(
        None, one_of(choices.HeldOutName), "--held-out", shown="files of several, blocks of one, the customary end"
    )
    """What is held out of a text that is not made of documents: its end (first validation, then test), blocks spread
    over it, or whole files spread over it (of long ones blocks), drawn by --split-seed so that they stand for the
    text."""
    encoding: str = _data("utf-8", text("the name of an encoding"), "--encoding")
    """Encoding of the text files."""
    encoding_errors: choices.DecodeErrors = _data("strict", one_of(choices.DecodeErrors), "--encoding-errors")
    """What to do with bytes that are not valid in the encoding: strict (an error) or replace (by U+FFFD)."""
    as_bytes: bool = switch(False, "--bytes", panel="Data", fixed=_READ)
    """Model bytes instead of characters, so that any file will do."""
    newlines: choices.Newlines = _data("keep", one_of(choices.Newlines), "--newlines")
    """What becomes of line ends: keep (they stay as they are), or lf (each becomes one line feed), crlf or cr."""
    normalize: choices.NormalForm = _data("none", one_of(choices.NormalForm), "--normalize")
    """Normal form of Unicode that texts are brought into: none (they stay as they are), nfc (a letter and its accent
    are one character where there is such a one), nfd (they are two), or nfkc and nfkd, which also make one of
    characters that look different and mean the same, such as ligatures."""
    lowercase: bool = switch(False, "--lowercase", panel="Data", fixed=_READ)
    """Bring texts to lower case."""
    min_count: int = _data(1, COUNT, "--min-count", metavar="TIMES")
    """Times that a character must occur in the corpus to be learnt as itself, where all rarer ones become one unknown
    symbol, U+FFFD."""
    documents: str = _data("none", DOCUMENTS, "--documents", metavar="lines|files|split:REGEX")
    """Documents that are read each from the zero state, in a new order each epoch, with an end that is learned: lines
    (each line), files (each file), split:REGEX (what stands between two matches), or none (one long text)."""
    column: str | None = _data(None, COLUMN, "--column", metavar="NAME")
    """Column of a CSV or TSV file with a header, or key of the objects of JSON lines, of which each text is a
    document."""
    split_seed: int = _data(1, SEED, "--split-seed")
    """Seed by which files and blocks are held out, and documents, each of these by its own content, so that the order
    of the text is of no account."""

    @property
    def has_documents(self) -> bool:
        """Whether the text is made of documents."""
        return self.documents != "none" or self.column is not None

    def check_together(self) -> None:
        """Raises UsageError where hardly anything would be left to train on, documents cannot be cut, or bytes are
        treated as characters."""
        held_out = self.validation_fraction + self.test_fraction
        require(held_out <= 0.9, "the held-out share (validation + test)", held_out, "at most 0.9")
        check_documents(self)
        check_of_characters(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(Record):
    """How the network is trained: everything that changes the course of the numbers."""

    batch_size: int = _training(16, SIZE, "--batch", level="everyday", shown=CHOSEN, fixed=_LANES)
    """Parallel lanes of text read at once."""
    bptt: int = _training(64, SIZE, "--bptt", level="everyday", shown=CHOSEN)
    """Characters in a window, which is how far gradients flow back (the state itself is carried on)."""
    random_bptt: bool = _training_switch(False, "--random-bptt")
    """Draw each window's length anew, about --bptt, in one step of twenty about half of it, with a learning rate that
    goes with the length."""
    state_reset: float = _training(0.01, SHARE, "--state-reset")
    """Share of windows that begin from the zero state instead of the carried one, so that the model stays sound
    wherever a text begins (0 carries the state for ever)."""
    learning_rate: float = _training(1.2e-2, ABOVE_0, "--lr", level="everyday", shown=CHOSEN)
    """Peak learning rate."""
    optimizer: choices.OptimizerName = _training("muon", one_of(choices.OptimizerName), "--optimizer", fixed=_MOMENTS)
    """Optimizer: muon (orthogonalised momentum for the layers' matrices, adamw for the rest), adamw, schedule-free
    (adamw whose rate need not fall, since an average of its own is validated and kept), sgd (with momentum), rmsprop,
    or hessian-free (each step minimises a quadratic model of a large window's loss by conjugate gradients)."""
    muon_ratio: float = _training(0.33, AT_LEAST_0, "--muon-ratio")
    """Learning rate of the layers' matrices under --optimizer muon, as a share of the others'."""
    cautious: bool = _training_switch(True, "--cautious")
    """Leave out, in adamw's updates, what would move against the gradient."""
    momentum: float = _training(0.9, RATE, "--momentum")
    """Momentum of sgd and rmsprop."""
    beta1: float = _training(0.9, RATE, "--beta1")
    """Decay of adamw's first moment, or under schedule-free the average's share in the weights that are trained."""
    beta2: float = _training(0.99, RATE, "--beta2")
    """Decay of the second moment of adamw, schedule-free and rmsprop."""
    cg_steps: int = _training(100, COUNT, "--cg-steps")
    """Most steps of conjugate gradients in one step of hessian-free."""
    curvature_share: float = _training(0.25, SHARE_ABOVE_0, "--curvature-share")
    """Share of the lanes that hessian-free measures the curvature on, others in each step, where the gradient is of all
    lanes."""
    damping: float = _training(0.1, ABOVE_0, "--damping", fixed=_DAMPED)
    """Damping that hessian-free begins with, the weight of the square of a step's change, which goes up and down with
    how well its model of the loss foretells what a step gains."""
    structural_damping: float = _training(0.1, AT_LEAST_0, "--structural-damping")
    """Weight of the change of the layers' outputs, beside that of the weights, in the damping of hessian-free."""
    weight_decay: float = _training(0.01, AT_LEAST_0, "--weight-decay", shown=CHOSEN)
    """Decay of the weight matrices at each step, times the learning rate (decoupled in adamw; biases are spared)."""
    clip_norm: float = _training(1.0, AT_LEAST_0, "--clip")
    """Global norm that larger gradients are scaled down to (0 turns clipping off)."""
    clip_loss: choices.ClipLossName = _training("mean", one_of(choices.ClipLossName), "--clip-loss")
    """Loss whose gradient --clip is about: the mean over a window's characters, or, as some papers have it, their sum
    (a mean over lanes), for which --clip is divided by the window's length."""
    warmup: int = _training(50, whole(0), "--warmup")
    """Steps over which the learning rate climbs to its peak."""
    decay: choices.DecayName = _training("linear", one_of(choices.DecayName), "--decay", shown=CHOSEN)
    """How the learning rate falls from its peak over the budget: cosine, linear, or constant (does not fall; so under
    schedule-free)."""
    final_learning_rate: float = _training(0.0, SHARE, "--final-lr")
    """Share of the peak learning rate that is left at the end of the budget."""
    average: float = _training(0.05, SHARE, "--average")
    """Share of the steps made so far (or of those still to come where they are fewer) that the weights which are
    validated, sampled and kept as best are averaged over, where 0 takes the weights as they are (so under
    schedule-free, which keeps an average of its own)."""
    average_after: int | None = _training(None, COUNT, "--average-after", metavar="VALIDATIONS")
    """Validations in a row without a new best after which the plain mean of the weights of all steps from there to the
    end takes the place of what --average says, whether or not a new best comes."""
    average_from: float | None = _training(None, SHARE, "--average-from", metavar="SHARE", shown=CHOSEN)
    """Share of the budget after which the plain mean of the weights of all steps from there to the end takes the place
    of what --average says, unless --average-after has brought that about before."""
    precision: choices.PrecisionName = _training("auto", one_of(choices.PrecisionName), "--precision")
    """What products are made of: fp32, on NVIDIA GPUs also tf32 or fp16 (with scaled losses; weights, softmax, norms
    and updates stay fp32), on CPUs with AVX512-BF16 also bf16 (sums, state and weights stay fp32), or auto, the fastest
    that the device has."""
    seed: int = _training(1, SEED, "--seed", level="everyday", fixed=_DRAWN)
    """Seed of initial weights, dropout and state resets."""
    ensemble: int = _training(1, whole(1, MOST_MEMBERS), "--ensemble", metavar="MODELS", may_change=True, shown=CHOSEN)
    """Models that are trained one after the other within the budget, each from its own seed, and averaged: sampled,
    scored and inspected as one."""
    distill: float = _training(0.0, RATE, "--distill", metavar="SHARE", fixed=_STUDENT, shown=CHOSEN)
    """Share of the budget, its last, in which one more model (the student) learns from the averaged distributions of
    the members of --ensemble and takes their place where it is better, so that writing costs one model again."""
    label_smoothing: float = _training(0.0, RATE, "--label-smoothing")
    """Share of each true character's probability in what is learned that is spread evenly over all characters (the loss
    reported stays that of the true one)."""
    distill_weight: float = _training(0.7, SHARE, "--distill-weight")
    """Share of a teacher's distribution in what is learned, where there is one, beside that of the true characters (the
    loss reported stays that of the true ones)."""
    activation_penalty: float = _training(0.0, AT_LEAST_0, "--activation-penalty")
    """Weight of a penalty added to the loss that is differentiated (not to the one reported): the mean square of what
    the decoder reads."""
    temporal_penalty: float = _training(0.0, AT_LEAST_0, "--temporal-penalty")
    """Weight of a penalty added to the loss that is differentiated (not to the one reported): the mean square of the
    change of the last layer's output from one character to the next."""
    orthogonal_penalty: float = _training(0.0, AT_LEAST_0, "--orthogonal-penalty")
    """Weight of a penalty added to the loss that is differentiated (not to the one reported): how far each gate's
    recurrent matrix W is from orthogonal, as the sum of the squares of W^T W - I."""
    l2: float = _training(0.0, AT_LEAST_0, "--l2")
    """Weight of a penalty added to the loss that is differentiated (not to the one reported): half the sum of the
    squares of all weights, the L2 of papers, which unlike --weight-decay is a part of the gradient, so that clipping
    and the optimizer's moments see it and adamw makes little of it where gradients are large, and which spares no
    biases."""
    freeze: choices.FreezeName = _training("none", one_of(choices.FreezeName), "--freeze", fixed=_MOMENTS)
    """What stays as it began: none (every weight learns), recurrent (the weights of the recurrent layers), or echo (all
    but the decoder, as in an echo state network)."""
    jacobian_penalty: float = _training(0.0, AT_LEAST_0, "--jacobian-penalty")
    """Weight of a penalty added to the loss that is differentiated (not to the one reported): how far a step back in
    time makes an rnn's gradient shorter or longer, as the mean square of the norms' ratio less 1."""

    def check_together(self) -> None:
        """Raises UsageError where settings of training contradict each other."""
        check_frozen(self)
        check_schedule(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget(Record):
    """How long to train: exactly one of the three."""

    epochs: float | None = _budget(None, ABOVE_0, "--epochs")
    """Passes over the training part."""
    steps: int | None = _budget(None, COUNT, "--steps")
    """Updates of the weights."""
    minutes: float | None = _budget(None, ABOVE_0, "--minutes", shown="10, or fewer epochs where more would not help")
    """Minutes of training, validation and saving included."""

    def check_together(self) -> None:
        """Raises UsageError unless there is exactly one."""
        given = [f"--{name}" for name, value in self.to_dict().items() if value is not None]
        if len(given) != 1:
            raise UsageError(
                "more than one budget was given: " + ", ".join(given) if given else "no budget was given",
                "give one of --epochs, --steps, --minutes",
            )

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
        return f"{figure(self.amount, digits=15)} {self.unit if self.amount != 1 else self.unit[:-1]}"
