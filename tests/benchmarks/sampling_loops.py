"""The loops that `sampling.py` times: torch's modules, ours over any engine, and what memory and cores give at most.

Each writes text from the same weights, those of a freshly initialised model. Knows engines and modules. Refuses to know
clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.network.model import CharacterModel
from charrnn.sampling.sampler import SampleRequest, write
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.traits import Traits
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(range(32, 97))
EMBEDDING, TEMPERATURE = 64, 0.8

Loop = Callable[[int], None]
"""Writes this many characters of each sample."""


def make_checkpoint(layers: int, hidden: int) -> Checkpoint:
    """A freshly initialised model, its decoder scaled so that the text is neither noise nor one letter."""
    config = ModelConfig(num_layers=layers, hidden_size=hidden, embedding_size=EMBEDDING)
    model = CharacterModel(config, len(VOCABULARY))
    model.initialise(torch.Generator().manual_seed(layers * hidden))
    arrays = model.numpy_arrays()
    arrays["decoder.weight"] *= 20
    corpus = {"name": "none", "characters": 1, "bytes": 1, "sha256": "0" * 64, "train": 1, "validation": 0, "test": 0}
    corpus |= {"traits": Traits().to_dict(), "held_out": {"validation": [], "test": []}}
    progress = {"step": 1, "epoch": 1.0, "characters": 1, "seconds": 1.0, "best_nats": None, "best_step": 0}
    return Checkpoint(
        kind="best", model=config, vocabulary=VOCABULARY, data=DataConfig(), corpus=corpus,
        progress={**progress, "history": []}, parameters=arrays,
    )  # fmt: skip


class PlainModules(nn.Module):
    """The same network of torch's modules."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        config = checkpoint.model
        self.embedding = nn.Embedding(len(VOCABULARY), EMBEDDING)
        self.recurrent = nn.LSTM(EMBEDDING, config.hidden_size, config.num_layers)
        self.cells = nn.ModuleList(
            nn.LSTMCell(EMBEDDING if layer == 0 else config.hidden_size, config.hidden_size)
            for layer in range(config.num_layers)
        )
        self.decoder = nn.Linear(config.hidden_size, len(VOCABULARY))
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in checkpoint.parameters.items()}
        with torch.no_grad():
            self.embedding.weight.copy_(arrays["embedding"])
            self.decoder.weight.copy_(arrays["decoder.weight"])
            self.decoder.bias.copy_(arrays["decoder.bias"])
            for layer, cell in enumerate(self.cells):
                for name in ("weight_ih", "weight_hh"):
                    array = arrays[f"layers.{layer + 1}.{name}"]
                    getattr(self.recurrent, f"{name}_l{layer}").copy_(array)
                    getattr(cell, name).copy_(array)
                bias = arrays[f"layers.{layer + 1}.bias"]
                for owner, suffix in ((self.recurrent, f"_l{layer}"), (cell, "")):
                    getattr(owner, "bias_ih" + suffix).copy_(bias)
                    getattr(owner, "bias_hh" + suffix).zero_()

    def logits(self, ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """One step of nn.LSTM."""
        output, state = self.recurrent(self.embedding(ids)[None], state)
        return self.decoder(output[0]), state

    def logits_of_cells(self, ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """One step of the nn.LSTMCells."""
        x, after = self.embedding(ids), []
        for layer, cell in enumerate(self.cells):
            after.append(cell(x, None if state is None else state[layer]))
            x = after[-1][0]
        return self.decoder(x), after


def torch_loop(step: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]], count: int, device: torch.device) -> Loop:
    def loop(length: int) -> None:
        ids, state = torch.zeros(count, dtype=torch.int64, device=device), None
        texts = [""] * count
        with torch.inference_mode():
            for _ in range(length):
                logits, state = step(ids, state)
                ids = torch.multinomial((logits / TEMPERATURE).softmax(1), 1)[:, 0]
                for place, id_ in enumerate(ids.tolist()):
                    texts[place] += VOCABULARY.characters[id_]

    return loop


def our_loop(engine: Any, count: int) -> Loop:
    def loop(length: int) -> None:
        config = SamplingConfig(length=length, temperature=TEMPERATURE)
        texts = [""] * count
        for piece in write(engine, VOCABULARY, [0], [SampleRequest(config, number) for number in range(count)]):
            texts[piece.sample] += piece.text

    return loop


def read_loop(size: int, threads: int, reduce: Callable[[Any], Any]) -> Loop:
    """Reads an array of `size` bytes, `length` times, in as many parts as there are threads."""
    parts = np.array_split(np.random.default_rng(0).normal(size=size // 4).astype(np.float32), threads)

    def read(part: Any, times: int) -> None:
        for _ in range(times):
            reduce(part)

    pool = ThreadPoolExecutor(threads)

    def loop(length: int) -> None:
        list(pool.map(read, parts, [length] * threads))

    return loop


def product_loop() -> Loop:
    """Products of 1024 x 1024 float32 matrices in torch: as many multiplications as the cores give."""
    left, right = torch.randn(2, 1024, 1024)
    out = torch.empty(1024, 1024)

    def loop(length: int) -> None:
        for _ in range(length):
            torch.mm(left, right, out=out)

    return loop
