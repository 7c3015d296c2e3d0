"""Which cells can be had in which ways, and why not in the others.

Knows the fields of a model's configuration that change the cell. Refuses to know what they do.
"""

from __future__ import annotations

from typing import Any

from charrnn.errors import UsageError
from charrnn.settings.checks import between, one_of, positive_integer, require

VARIANTS = {
    "activation": "--activation",
    "forget_gate": "--forget-gate",
    "peephole": "--peephole",
    "coupled": "--coupled",
    "orthogonal": "--orthogonal",
    "layer_norm": "--layer-norm",
    "batch_norm": "--batch-norm",
    "zoneout": "--zoneout",
    "zoneout_cell": "--zoneout-cell",
    "recurrent_dropout": "--recurrent-dropout",
    "multiplicative": "--multiplicative",
    "mogrifier": "--mogrifier",
    "mogrifier_rank": "--mogrifier-rank",
}
"""Field -> option."""

_MOST_ROUNDS = 100
_HIGHEST_RANK = 1 << 20
_REAL = ("lstm", "gru", "rnn")
_LENGTH = "what is normalised does not keep its length, and the unitary matrix is there for that"
_ONLY_FOR: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "activation": ("tanh", ("rnn",), "its equations have one of their own"),
    "forget_gate": (True, ("lstm",), "it has none to leave out (a gru's z also says what is written)"),
    "peephole": (False, ("lstm",), "it has no memory c beside its output h, which its units read anyway"),
    "coupled": ("off", ("lstm",), "it has no input and forget gate to couple (a gru's z is both at once)"),
    "orthogonal": (False, _REAL, "its recurrent matrix is unitary by itself"),
    "layer_norm": (False, _REAL, _LENGTH),
    "batch_norm": (False, _REAL, _LENGTH),
    "multiplicative": (False, _REAL, "the recurrent matrix of each character would not be unitary"),
    "weight_drop": (0.0, _REAL, "it has no recurrent matrix of weights"),
    "zoneout_cell": (0.0, ("lstm",), "it has no memory c beside its output h, which --zoneout is for"),
    "recurrent_dropout": (
        0.0,
        ("lstm", "gru"),
        "its candidate is the whole of its memory, and dropping it is losing it",
    ),
    "mogrifier": (0, ("lstm", "gru"), "its output is all that it remembers; gated in every step it would be lost"),
}
"""Field -> its value where it is off, the cells it is for, and why not for the others."""


def check_variants(config: Any) -> None:
    """Raises UsageError where a value is not one, or does not go with the others."""
    one_of("--activation", config.activation, ("tanh", "relu", "modrelu"))
    one_of("--coupled", config.coupled, ("off", "tied", "min"))
    for name in ("forget_gate", "peephole", "orthogonal", "layer_norm", "batch_norm", "multiplicative"):
        require(isinstance(getattr(config, name), bool), VARIANTS[name], getattr(config, name), "true or false")
    for name in ("zoneout", "zoneout_cell", "recurrent_dropout"):
        between(VARIANTS[name], getattr(config, name), 0.0, 1.0, high_included=False)
    for name, most in (("mogrifier", _MOST_ROUNDS), ("mogrifier_rank", _HIGHEST_RANK)):
        value = getattr(config, name)
        if value != 0 or isinstance(value, bool):
            positive_integer(VARIANTS[name], value, most)
    for name, (off, cells, reason) in _ONLY_FOR.items():
        if getattr(config, name) != off and config.cell not in cells:
            use = " or ".join(f"--cell {cell}" for cell in cells)
            option = VARIANTS.get(name, "--weight-drop").replace("--", "--no-" if off is True else "--", 1)
            raise UsageError(f"{option} does not go with --cell {config.cell}: {reason}", f"use {use}, or leave it out")
    if not config.forget_gate and config.coupled != "off":
        raise UsageError(
            f"--no-forget-gate does not go with --coupled {config.coupled}: there is no forget gate to go with",
            "leave one of them out",
        )
    if config.layer_norm and config.batch_norm:
        raise UsageError("--layer-norm and --batch-norm normalise the same products", "give one of them")
    if config.cell == "urnn" and config.hidden_size % 2:
        raise UsageError(
            f"--hidden is {config.hidden_size}, and a urnn's numbers are complex, two to each", "give an even number"
        )
    if config.orthogonal:
        _check_orthogonal(config)
    if config.mogrifier_rank and not config.mogrifier:
        raise UsageError("--mogrifier-rank has no mogrifier to go with", "give it rounds with --mogrifier")


def _check_orthogonal(config: Any) -> None:
    """Raises UsageError where a recurrent matrix would be orthogonal twice, or not at all."""
    if config.init in ("orthogonal", "identity"):
        raise UsageError(
            f"--init {config.init} sets recurrent matrices, and under --orthogonal they are not what is trained",
            "leave one of them out",
        )
    for name, option, reason in (
        ("weight_drop", "--weight-drop", "a matrix of which weights are dropped is not orthogonal"),
        ("multiplicative", "--multiplicative", "each character's own recurrent matrix would not be orthogonal"),
    ):
        if getattr(config, name):
            raise UsageError(f"{option} does not go with --orthogonal: {reason}", "leave one of them out")
