"""The small transformer that people train on a CPU instead: the other side of the comparison in `training.py`.

It follows the CPU recipe of nanoGPT's README (github.com/karpathy/nanoGPT), written anew from its description: a
pre-norm decoder without biases (Radford et al. 2019) with learned positions, GELU blocks of four times the width and an
embedding tied to the decoder, trained by AdamW on random windows. torch.compile is off there, and so it is here; its
dropout is 0, so there is none in the code. Knows windows of ids. Refuses to know characters, files and our models.

Shape letters: B windows, T characters of a window, C width, N heads, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention

_INITIAL_DEVIATION = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The model's shape and how it is trained."""

    num_layers: int = 4
    num_heads: int = 4
    width: int = 128
    context: int = 64
    batch_size: int = 12
    iterations: int = 2000
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1
    """Of matrices, the embeddings among them; the norms' gains are spared."""
    clip_norm: float = 1.0
    validate_every: int = 250
    validation_batches: int = 200
    seed: int = 1

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration: a linear climb, then half a cosine down to the final rate at the end."""
        if iteration < self.warmup:
            return self.learning_rate * (iteration + 1) / (self.warmup + 1)
        share = min(1.0, (iteration - self.warmup) / max(1, self.iterations - self.warmup))
        height = 0.5 * (1.0 + math.cos(math.pi * share))
        return self.final_learning_rate + height * (self.learning_rate - self.final_learning_rate)


class Moment(NamedTuple):
    """Where training stands at a validation."""

    seconds: float
    """Spent on training alone: drawing batches and updating weights."""
    iteration: int
    """Updates made so far."""
    nats: float
    """Mean over random windows of the held-out part."""


class _Block(nn.Module):
    """Attention, then an MLP, each added to what it read through a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.mlp_in = nn.Linear(width, 4 * width, bias=False)
        self.mlp_out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        mixed = self.attention_in(self.attention_norm(x)).view(B, T, 3, self.heads, C // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)  # (B, N, T, C / N) each
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(seen.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp_out(nn.functional.gelu(self.mlp_in(self.mlp_norm(x))))


class Transformer(nn.Module):
    """A distribution over the next id, given those before it in its window."""

    def __init__(self, recipe: Recipe, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, recipe.width)
        self.positions = nn.Embedding(recipe.context, recipe.width)
        self.blocks = nn.ModuleList(_Block(recipe.width, recipe.num_heads) for _ in range(recipe.num_layers))
        self.norm = nn.LayerNorm(recipe.width, bias=False)
        self._initialise(torch.Generator().manual_seed(recipe.seed))

    def _initialise(self, generator: torch.Generator) -> None:
        """Normal numbers; what is added to the residual stream is smaller, the more often it is added to."""
        smaller = _INITIAL_DEVIATION / math.sqrt(2 * len(self.blocks))
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                is_residual = name.endswith(("attention_out.weight", "mlp_out.weight"))
                nn.init.normal_(parameter, std=smaller if is_residual else _INITIAL_DEVIATION, generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        """`ids` (B, T) -> logits of each one's successor (B, T, V)."""
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return linear(self.norm(x), self.embedding.weight)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean nats of `targets` (B, T)."""
        return cross_entropy(self(inputs).flatten(0, 1), targets.flatten())


def train(model: Transformer, recipe: Recipe, text: Tensor, held_out: Tensor) -> Iterator[Moment]:
    """Trains on the ids `text` (N,), yielding before the first iteration, at each validation and at the end.

    Validation draws its windows from a generator of its own, and neither it nor what the caller does meanwhile counts
    as training time.
    """
    draw, validation_draw = (torch.Generator().manual_seed(recipe.seed + offset) for offset in (0, 1 << 32))
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    gains = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas)
    seconds = 0.0
    for iteration in range(recipe.iterations + 1):
        if iteration % recipe.validate_every == 0 or iteration == recipe.iterations:
            yield Moment(seconds, iteration, _validate(model, recipe, held_out, validation_draw))
        if iteration == recipe.iterations:
            return
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(iteration)
        loss = model.loss(*_windows(text, recipe, draw))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds += time.perf_counter() - began


def score(model: Transformer, held_out: Tensor, context: int) -> float:
    """Mean nats of every id but the first: the text is cut into windows, and each is read without what precedes it."""
    whole = (len(held_out) - 1) // context * context
    # inputs and targets (windows, T), and what is left at the end as a shorter window
    pieces = [(held_out[:whole].view(-1, context), held_out[1 : whole + 1].view(-1, context))] if whole else []
    if whole < len(held_out) - 1:
        pieces.append((held_out[None, whole:-1], held_out[None, whole + 1 :]))
    nats = 0.0
    with torch.inference_mode():
        for inputs, targets in pieces:
            for some, successors in zip(inputs.split(256), targets.split(256), strict=True):
                logits = model(some).flatten(0, 1).double()
                nats += float(cross_entropy(logits, successors.flatten(), reduction="sum"))
    return nats / (len(held_out) - 1)


def _windows(ids: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch from random places: inputs (B, T) and their successors."""
    starts = torch.randint(len(ids) - recipe.context, (recipe.batch_size, 1), generator=generator)
    places = starts + torch.arange(recipe.context)
    return ids[places], ids[places + 1]


def _validate(model: Transformer, recipe: Recipe, held_out: Tensor, generator: torch.Generator) -> float:
    """Mean loss over random windows, as the recipe estimates it."""
    with torch.no_grad():
        losses = [model.loss(*_windows(held_out, recipe, generator)).item() for _ in range(recipe.validation_batches)]
    return sum(losses) / len(losses)
