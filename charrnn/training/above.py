"""Explains, once in a run, why the training loss can be above that of the validation."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.settings.config import ModelConfig

TRAIN_ABOVE = "train can be above validation, since dropout disturbs the model in training only"
_DISTURBING = (
    "dropout", "variational_dropout", "input_dropout", "output_dropout", "weight_drop", "embedding_dropout",
    "recurrent_dropout", "zoneout", "zoneout_cell",
)  # fmt: skip


def explains_train(model: ModelConfig, history: Sequence[Sequence[float | None]]) -> bool:
    """Whether the last validation is the first below the training loss before it, in a run with dropout of any kind.

    `history` has a list for each validation: step, training nats, validation nats; None is what was not measured.
    """
    if not any(getattr(model, name) for name in _DISTURBING):
        return False
    above = [train is not None and nats is not None and train > nats for _, train, nats in history]
    return above[-1:] == [True] and not any(above[:-1])
