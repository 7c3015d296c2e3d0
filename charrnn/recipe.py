"""Defaults by corpus, device and budget: what a run uses for each setting the user left open.

Pure functions of a few numbers, so that the same command always chooses the same. The choices come from measurements
(`corpora/EXPERIMENTS.md`). Knows sizes and budgets. Refuses to know how training works.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from charrnn.config import Budget, ModelConfig, TrainingConfig

DEFAULT_BUDGET = Budget(minutes=10)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A full set of choices."""

    model: ModelConfig
    training: TrainingConfig


def choose(characters: int, budget: Budget, device: str) -> Recipe:
    """The defaults for a training part of `characters` characters on `device` ("cpu", "cuda" or "mps")."""
    if device == "cuda":
        # Multiples of 128 and single layers are what cuDNN's persistent kernel asks for.
        model = ModelConfig(num_layers=2, hidden_size=512, embedding_size=128, dropout=0.1)
        training = TrainingConfig(batch_size=64, bptt=128, learning_rate=3e-3)
    else:
        model, training = ModelConfig(), TrainingConfig()
    if characters < 200_000:  # little text is soon known by heart
        model = replace(model, hidden_size=128, dropout=0.2)
    return Recipe(model, training)


def validation_share(characters: int) -> float:
    """The share of a corpus that is held out: a tenth, but no more than 250,000 characters.

    More would hardly make the figure surer (its standard error is near 0.003 nats by then) and would take long to
    score, again and again, on a CPU.
    """
    return min(0.1, 250_000 / max(characters, 1))


def fit_to_corpus(training: TrainingConfig, characters: int) -> TrainingConfig:
    """`training` with window and lanes shrunk until a step reads no character twice.

    A text of 200 characters still trains: the window shrinks to an eighth of it, then the lanes to what is left.
    """
    bptt = min(training.bptt, max(1, characters // 8))
    batch_size = min(training.batch_size, max(1, characters // bptt))
    return replace(training, bptt=bptt, batch_size=batch_size)
