"""The one layout of a model's parameters: every array's name and shape, from its configuration alone.

Training, sampling, inspecting and the checkpoint all read these names, whichever path computes with them:

    embedding                   (V, E)
    layers.<l>.<cell's name>    see the cells; l counts from 1, as the units' names do
    decoder.weight              (V, what the decoder reads: H, or more; see wiring.py). None where it is tied: then it
                                is the embedding (Inan, Khosravi & Socher 2017, arXiv 1611.01462, section 4; Press &
                                Wolf 2017, arXiv 1608.05859)
    decoder.bias                (V,)

Gradients move all of them but what `is_trained` names.

Shape letters: V vocabulary, E embedding size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from charrnn.cells.arrays import Array, Arrays
from charrnn.cells.cell import Shape
from charrnn.cells.registry import make_cell
from charrnn.cells.wiring import input_sizes
from charrnn.settings.choices import FreezeName
from charrnn.settings.config import ModelConfig


def parameter_shapes(config: ModelConfig, vocabulary_size: int) -> dict[str, Shape]:
    """Returns the shape of every parameter by its name, in a fixed order."""
    cell = make_cell(config)
    shapes: dict[str, Shape] = {"embedding": (vocabulary_size, config.embedding_size)}
    *sizes, decoder_size = input_sizes(config)
    for layer, input_size in enumerate(sizes, start=1):
        for name, shape in cell.shapes(input_size, config.hidden_size).items():
            shapes[f"layers.{layer}.{name}"] = shape
    if not config.tie:
        shapes["decoder.weight"] = (vocabulary_size, decoder_size)
    shapes["decoder.bias"] = (vocabulary_size,)
    return shapes


def is_statistic(name: str) -> bool:
    """Whether the array `name` holds running statistics, of one product (2, R): mean and variance."""
    return name.rpartition(".")[2].startswith("statistics")


def is_trained(name: str, freeze: FreezeName = "none") -> bool:
    """Whether gradients move the array `name`, where `freeze` is set.

    recurrent   the recurrent layers stay as they were drawn; embedding and decoder learn
    echo        the decoder learns and nothing else: an echo state network, whose layers only have to echo what they
                read in many ways (Jaeger 2001, GMD report 148; Jaeger & Haas 2004, Science 304). There the decoder is
                found by linear regression and matrices are sparse; here it is a softmax learnt by steps, of full ones

    The running statistics of a normalisation (`batchnorm.py`) never are: a step of training measures them.
    """
    if is_statistic(name):
        return False
    if freeze == "echo":
        return name.startswith("decoder.")
    return freeze == "none" or not name.startswith("layers.")


def layer_parameters(arrays: Arrays, layer: int) -> Mapping[str, Array]:
    """Returns the arrays of one layer (counted from 1) under the names its cell uses."""
    prefix = f"layers.{layer}."
    return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}


def forget(arrays: Arrays, name: str) -> None:
    """Frees the memory of an array that has been copied, where it is one that can be read again from its file."""
    if (forget := getattr(arrays, "forget", None)) is not None:
        forget(name)


def written_out(config: ModelConfig, arrays: Arrays) -> tuple[ModelConfig, Arrays]:
    """Returns the same network with its recurrent matrices themselves where they are made of other arrays."""
    if not config.orthogonal:
        return config, arrays
    cell, written = make_cell(config), replace(config, orthogonal=False)
    made = dict(arrays)
    for layer in range(1, config.num_layers + 1):
        made |= {
            f"layers.{layer}.{name}": array for name, array in cell.derive(layer_parameters(arrays, layer)).items()
        }
    return written, {name: made[name] for name in parameter_shapes(written, len(arrays["embedding"]))}


def decoder_weight(arrays: Arrays) -> Array:
    """Returns the decoder's matrix: its own, or the embedding where they are tied."""
    return arrays["decoder.weight"] if "decoder.weight" in arrays else arrays["embedding"]
