"""Which cells can be had in which ways, and why not in the others."""

from __future__ import annotations

from typing import Any

from charrnn.errors import UsageError
from charrnn.settings.fields import settings_of

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
    """Raises UsageError where a way of having a cell does not go with the cell, or with another way."""
    for name, (off, cells, reason) in _ONLY_FOR.items():
        if getattr(config, name) != off and config.cell not in cells:
            use = " or ".join(f"--cell {cell}" for cell in cells)
            option = settings_of(type(config))[name].flag.replace("--", "--no-" if off is True else "--", 1)
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
