"""Which settings of a model cannot go together, and what to do instead.

Each is refused with the reason rather than ignored. Knows settings by name. Refuses to know values out of bounds, which
`config.py` checks first.
"""

from __future__ import annotations

from typing import Protocol

from charrnn.errors import UsageError

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
    def skip(self) -> str: ...


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


def check_penalties(model: Model, orthogonal_penalty: float) -> None:
    """Raises UsageError where a penalty would have nothing to act on."""
    if orthogonal_penalty and (model.orthogonal or model.cell == "urnn"):
        said = "--orthogonal" if model.orthogonal else "--cell urnn"
        raise UsageError(
            f"--orthogonal-penalty does not go with {said}: the recurrent matrices are what it asks for already",
            "leave one of them out",
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
