"""Which settings cannot go together, and what to do instead.

Each is refused with the reason rather than ignored. Knows settings by name. Refuses to know values out of bounds, which
`config.py` checks first.
"""

from __future__ import annotations

from typing import Protocol

from charrnn.errors import UsageError
from charrnn.settings.choices import AVERAGING

_FORGET_BIAS = 1.0  # where the user says nothing


class Model(Protocol):
    """What is asked of a configuration here."""

    @property
    def cell(self) -> str: ...
    @property
    def forget_bias(self) -> float: ...
    @property
    def forget_gate(self) -> bool: ...
    @property
    def init(self) -> str: ...
    @property
    def init_gain(self) -> float: ...
    @property
    def chrono_range(self) -> int | None: ...
    @property
    def gate_bias(self) -> float | None: ...
    @property
    def spectral_radius(self) -> float | None: ...
    @property
    def activation(self) -> str: ...
    @property
    def layer_norm(self) -> bool: ...
    @property
    def batch_norm(self) -> bool: ...
    @property
    def multiplicative(self) -> bool: ...
    @property
    def orthogonal(self) -> bool: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def embedding_size(self) -> int: ...
    @property
    def tie(self) -> bool: ...
    @property
    def zoneout(self) -> float: ...
    @property
    def skip(self) -> str: ...


class Training(Protocol):
    """The same of how a model is trained."""

    @property
    def batch_size(self) -> int: ...
    @property
    def freeze(self) -> str: ...
    @property
    def activation_penalty(self) -> float: ...
    @property
    def temporal_penalty(self) -> float: ...
    @property
    def orthogonal_penalty(self) -> float: ...
    @property
    def jacobian_penalty(self) -> float: ...
    @property
    def optimizer(self) -> str: ...
    @property
    def decay(self) -> str: ...
    @property
    def average(self) -> float: ...
    @property
    def average_after(self) -> int | None: ...
    @property
    def average_from(self) -> float | None: ...


def check_initial(model: Model) -> None:
    """Raises UsageError where initial weights and biases contradict each other, or lack what they are about."""
    is_biased = model.gate_bias is not None
    if model.init == "identity" and model.cell != "rnn":
        raise UsageError(
            f"--init identity is for the rnn: a {model.cell}'s gates would all read the same",
            "--init orthogonal is its like for gated cells",
        )
    if model.cell == "urnn" and model.init == "orthogonal":
        raise UsageError("--init orthogonal: a urnn's recurrent matrix is unitary by itself", "leave it out")
    if model.cell in ("rnn", "urnn") and (is_biased or model.init == "chrono"):
        said = "--gate-bias" if is_biased else "--init chrono"
        which = "an rnn" if model.cell == "rnn" else "a urnn"
        raise UsageError(f"{said} sets the biases of gates, and {which} has none", "choose --cell lstm or gru")
    if model.init == "chrono" and is_biased:
        raise UsageError("--init chrono and --gate-bias set the same biases", "give one of them")
    if model.cell == "lstm" and model.forget_bias != _FORGET_BIAS and (is_biased or model.init == "chrono"):
        said = "--gate-bias" if is_biased else "--init chrono"
        raise UsageError(f"{said} and --forget-bias set the same bias", "give one of them")
    if not model.forget_gate and (model.forget_bias != _FORGET_BIAS or model.init == "chrono"):
        said = "--init chrono" if model.init == "chrono" else "--forget-bias"
        raise UsageError(
            f"{said} sets the bias of the forget gate, and with --no-forget-gate there is none", "leave one of them out"
        )
    if model.init_gain != 1.0 and model.init not in ("orthogonal", "identity"):
        raise UsageError(
            f"--init-gain is {model.init_gain:g}, and --init {model.init} has no gain",
            "it goes with --init orthogonal and --init identity",
        )
    if model.chrono_range is not None and model.init != "chrono":
        raise UsageError(f"--chrono-range goes with --init chrono, not {model.init}", "leave it out")
    if model.spectral_radius is not None:
        _check_radius(model)


def _check_radius(model: Model) -> None:
    """Raises UsageError where a recurrent matrix's radius is set twice, or is not that of the recurrence."""
    if model.init_gain != 1.0:
        raise UsageError("--spectral-radius and --init-gain set the same factor", "give one of them")
    if model.layer_norm or model.batch_norm:
        said = "--layer-norm" if model.layer_norm else "--batch-norm"
        raise UsageError(
            f"--spectral-radius scales what {said} brings back to one scale", "give one of the two settings"
        )
    if model.orthogonal or model.cell == "urnn":
        said = "--orthogonal" if model.orthogonal else "--cell urnn"
        raise UsageError(
            f"--spectral-radius scales recurrent matrices, and under {said} every eigenvalue is of size 1",
            "give one of the two settings",
        )
    if model.multiplicative:
        raise UsageError(
            "--spectral-radius is of one recurrent matrix, and under --multiplicative every character has its own",
            "give one of the two settings",
        )


def check_wiring(model: Model) -> None:
    """Raises UsageError where layers and decoder cannot read each other as asked, or nothing would be skipped."""
    if model.tie and model.skip == "dense":
        raise UsageError(
            "--tie needs a decoder as wide as the embedding, and under --skip dense it reads all layers side by side",
            "choose --skip residual or sum, or leave --tie out",
        )
    if model.tie and model.embedding_size != model.hidden_size:
        raise UsageError(
            f"--tie: the decoder reads {model.hidden_size} numbers, and the embedding it shares has "
            f"{model.embedding_size}",
            "make --embedding and --hidden equal, or leave one of them out",
        )
    if model.num_layers > 1:
        return
    if model.skip == "sum":
        raise UsageError("--skip sum adds up layers, and there is one", "give --layers 2 or more")
    if model.skip == "residual" and model.embedding_size != model.hidden_size:
        raise UsageError(
            "--skip residual has nothing to add to: there is one layer, and its input is not as wide as its output",
            "give --layers 2 or more, or make --embedding and --hidden equal",
        )


def check_frozen(training: Training) -> None:
    """Raises UsageError where a penalty is about nothing that learns."""
    if training.freeze != "none" and training.orthogonal_penalty:
        raise UsageError(
            f"--orthogonal-penalty is on recurrent matrices, and --freeze {training.freeze} leaves them as they were",
            "give one of the two settings; --init orthogonal draws such matrices",
        )
    if training.freeze == "echo" and (training.activation_penalty or training.temporal_penalty):
        said = "--activation-penalty" if training.activation_penalty else "--temporal-penalty"
        raise UsageError(
            f"{said} is on what the layers put out, which no weight that --freeze echo lets learn changes",
            "give one of the two settings",
        )


def check_together(model: Model, training: Training, *, parts: int = 1) -> None:
    """Raises UsageError where a model cannot be trained in this way, in so many parts of the lanes."""
    if training.freeze == "echo" and model.tie:
        raise UsageError(
            "--freeze echo learns the decoder and nothing else, and under --tie its matrix is the embedding",
            "give one of the two settings",
        )
    if model.batch_norm and training.batch_size < 2:
        raise UsageError(
            "--batch-norm has nothing to normalise over: there is one lane, which is its own mean",
            "use --batch 2 or more (and a text that is long enough for it), or --layer-norm",
        )
    if model.batch_norm and parts > 1:
        raise UsageError(
            f"--batch-norm is over all lanes at once, and a step in {parts} pieces would know only each piece's own",
            "leave --accumulate out and use one process, or use --layer-norm",
        )
    if training.orthogonal_penalty and (model.orthogonal or model.cell == "urnn"):
        said = "--orthogonal" if model.orthogonal else "--cell urnn"
        raise UsageError(
            f"--orthogonal-penalty does not go with {said}: the recurrent matrices are what it asks for already",
            "leave one of them out",
        )
    _check_jacobian(model, training)


def check_schedule(training: Training) -> None:
    """Raises UsageError where an optimizer that needs neither a falling rate nor an average is given one."""
    if training.optimizer not in AVERAGING:
        return
    if training.decay != "constant":
        raise UsageError(
            f"--optimizer {training.optimizer} averages in the place of a rate that falls, and --decay is "
            f"{training.decay}",
            "leave --decay out, or choose another --optimizer",
        )
    asked = {"": training.average, "-after": training.average_after, "-from": training.average_from}
    for which, value in asked.items():
        if value:
            raise UsageError(
                f"--optimizer {training.optimizer} validates and keeps an average of its own: --average{which} "
                f"{value:g} would be one of an average",
                "leave it out, or choose another --optimizer",
            )


def _check_jacobian(model: Model, training: Training) -> None:
    """Raises UsageError where the penalty on a step back in time has no step of the kind that it is made for."""
    if not training.jacobian_penalty:
        return
    if model.cell != "rnn":
        reason = "has its gates for that" if model.cell in ("lstm", "gru") else "steps back in time in another way"
        raise UsageError(
            f"--jacobian-penalty is for the rnn, whose gradients vanish and explode: --cell {model.cell} {reason}",
            "choose --cell rnn, or leave it out",
        )
    others = {
        "--activation modrelu": model.activation == "modrelu",
        "--orthogonal": model.orthogonal,
        "--layer-norm": model.layer_norm,
        "--batch-norm": model.batch_norm,
        "--multiplicative": model.multiplicative,
        "--zoneout": bool(model.zoneout),
    }
    for option, is_on in others.items():
        if is_on:
            raise UsageError(
                f"--jacobian-penalty knows the plain rnn's step back in time, and with {option} it is another",
                f"leave {option} or the penalty out",
            )
    if training.freeze != "none":
        raise UsageError(
            f"--jacobian-penalty is on recurrent matrices, and --freeze {training.freeze} leaves them as they were",
            "give one of the two settings",
        )
