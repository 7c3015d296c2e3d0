"""Which settings cannot go together, and what to do instead.

Each is refused with the reason rather than ignored. Each value alone has been checked before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from charrnn.errors import UsageError
from charrnn.settings.choices import AVERAGING, SEARCHING

if TYPE_CHECKING:
    from charrnn.settings.config import DataConfig, ModelConfig, TrainingConfig


def check_initial(model: ModelConfig) -> None:
    """Raises UsageError where initial weights and biases contradict each other, or lack what they are about."""
    if model.init == "chrono" and model.gate_bias is not None:
        raise UsageError("--init chrono and --gate-bias set the same biases", "give one of them")
    if model.init_gain != 1.0 and model.init not in ("orthogonal", "identity"):
        raise UsageError(
            f"--init-gain is {model.init_gain:g}, and --init {model.init} has no gain",
            "it goes with --init orthogonal and --init identity",
        )
    if model.chrono_range is not None and model.init != "chrono":
        raise UsageError(f"--chrono-range goes with --init chrono, not {model.init}", "leave it out")
    others = {
        "and --init-gain set the same factor": model.init_gain != 1.0,
        "scales what --layer-norm brings back to one scale": model.layer_norm,
        "scales what --batch-norm brings back to one scale": model.batch_norm,
        "scales recurrent matrices, and under --orthogonal every eigenvalue is of size 1": model.orthogonal,
        "is of one recurrent matrix, and under --multiplicative every character has its own": model.multiplicative,
    }
    _give_one("--spectral-radius", model.spectral_radius is not None, others)


def check_wiring(model: ModelConfig) -> None:
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


def check_of_characters(data: DataConfig) -> None:
    """Raises UsageError where bytes are to be treated as if they were characters."""
    given = {
        "--normalize": data.normalize != "none",
        "--lowercase": data.lowercase,
        "--min-count": data.min_count > 1,
    }
    for option, is_given in given.items():
        if data.as_bytes and is_given:
            raise UsageError(
                f"{option} is about characters, and with --bytes the model reads bytes", "give one of the two settings"
            )


def check_frozen(training: TrainingConfig) -> None:
    """Raises UsageError where a penalty is about nothing that learns."""
    if training.freeze != "none" and training.orthogonal_penalty:
        raise UsageError(
            f"--orthogonal-penalty is on recurrent matrices, and --freeze {training.freeze} leaves them as they were",
            "give one of the two settings; --init orthogonal draws such matrices",
        )
    if training.freeze == "echo" and (training.activation_penalty or training.temporal_penalty):
        said = "--activation-penalty" if training.activation_penalty else "--temporal-penalty"
        reason = "is on what the layers put out, which no weight that --freeze echo lets learn changes"
        raise UsageError(f"{said} {reason}", "give one of the two settings")


def check_together(model: ModelConfig, training: TrainingConfig, *, parts: int = 1) -> None:
    """Raises UsageError where a model cannot be trained in this way, in so many parts of the lanes."""
    alone = {"learns the decoder and nothing else, and under --tie its matrix is the embedding": model.tie}
    _give_one("--freeze echo", training.freeze == "echo", alone)
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
    if model.batch_norm and training.optimizer in SEARCHING:
        raise UsageError(
            f"--batch-norm does not go with --optimizer {training.optimizer}, which measures curvature on some of the "
            "lanes, and these would be normalised otherwise than all",
            "use --layer-norm, or choose another --optimizer",
        )
    kept = {"does not go with --orthogonal: the recurrent matrices are what it asks for already": model.orthogonal}
    _give_one("--orthogonal-penalty", training.orthogonal_penalty, kept)
    others = {
        "--activation modrelu": model.activation == "modrelu",
        "--orthogonal": model.orthogonal,
        "--layer-norm": model.layer_norm,
        "--batch-norm": model.batch_norm,
        "--multiplicative": model.multiplicative,
        "--zoneout": model.zoneout,
    }
    reasons = {
        f"knows the plain rnn's step back in time, and with {one} it is another": on for one, on in others.items()
    }
    reasons[f"is on recurrent matrices, and --freeze {training.freeze} leaves them as they were"] = (
        training.freeze != "none"
    )
    _give_one("--jacobian-penalty", training.jacobian_penalty, reasons)


def check_schedule(training: TrainingConfig) -> None:
    """Raises UsageError where an optimizer is given what it has no use for: one that averages by itself a falling rate
    or another average, one that searches for its steps anything that sets or bounds them or changes the loss; or where
    a student is to learn from members that there are not."""
    _check_student(training)
    if training.optimizer in SEARCHING:
        _check_searching(training)
    if training.optimizer not in AVERAGING:
        return
    chosen = f"--optimizer {training.optimizer}"
    if training.decay != "constant":
        raise UsageError(
            f"{chosen} averages in the place of a rate that falls, and --decay is {training.decay}",
            "leave --decay out, or choose another --optimizer",
        )
    asked = {"": training.average, "-after": training.average_after, "-from": training.average_from}
    for which, value in asked.items():
        if value:
            raise UsageError(
                f"{chosen} validates and keeps an average of its own: --average{which} {value:g} would average that",
                "leave it out, or choose another --optimizer",
            )


def _check_student(training: TrainingConfig) -> None:
    """Raises UsageError where a student is to learn from members that there are not."""
    if training.distill and training.ensemble == 1:
        raise UsageError(
            f"--distill {training.distill:g} trains a student of several members, and there is one model",
            "add --ensemble 3, or name a trained teacher with --distill-from",
        )


def _check_searching(training: TrainingConfig) -> None:
    """Raises UsageError where the steps of an optimizer that searches for them are meddled with."""
    searched = "it searches for the length of each step"
    quadratic = "it needs a loss whose curvature is known, as that of --l2 is"
    lower = "each of its steps makes the loss of a large window less"
    true = "the loss that it searches along is that of the true characters"
    others = {
        "--clip": (training.clip_norm, searched),
        "--warmup": (training.warmup, searched),
        "--random-bptt": (training.random_bptt, searched),
        f"--decay {training.decay}": (training.decay != "constant", searched),
        "--average": (training.average, lower),
        "--average-after": (training.average_after, lower),
        "--average-from": (training.average_from is not None, lower),
        "--weight-decay": (training.weight_decay, quadratic),
        "--activation-penalty": (training.activation_penalty, quadratic),
        "--temporal-penalty": (training.temporal_penalty, quadratic),
        "--orthogonal-penalty": (training.orthogonal_penalty, quadratic),
        "--jacobian-penalty": (training.jacobian_penalty, quadratic),
        "--label-smoothing": (training.label_smoothing, true),
        "--distill": (training.distill, true),
        f"--precision {training.precision}": (training.precision != "fp32", "its searches need fp32"),
    }
    for option, (is_given, reason) in others.items():
        if is_given:
            raise UsageError(
                f"{option} does not go with --optimizer {training.optimizer}: {reason}",
                f"leave {option.partition(' ')[0]} out, or choose another --optimizer",
            )


def _give_one(option: str, is_given: object, others: Mapping[str, object]) -> None:
    """Raises UsageError where `option` is given beside a setting that it excludes.

    `others` says for each reason, which goes on after the option's name, whether that other setting is given.
    """
    for reason, is_other_given in others.items():
        if is_given and is_other_given:
            raise UsageError(f"{option} {reason}", "give one of the two settings")
