"""Which kernel a layer gets, against cases worked out from torch's source; and advice, against following it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from charrnn.network.cudnn import GPU, IMAGINED, expected, explain
from charrnn.settings.config import ModelConfig

H100 = GPU("an H100", (9, 0), 132, 80)
A100 = GPU("an A100", (8, 0), 108, 40)
A30 = GPU("an A30", (8, 0), 56, 24)
A40 = GPU("an A40", (8, 6), 84, 48)
A_LARGE_A40 = GPU("one that there is not", (8, 6), 132, 48)
T4 = GPU("a T4", (7, 5), 40, 16)
V100 = GPU("a V100", (7, 0), 80, 32)
P100 = GPU("a P100", (6, 0), 56, 16)
M40 = GPU("an M40", (5, 2), 24, 12)
SMALL, PERSISTENT, STANDARD = "small", "persistent", "standard"


def _kernels(
    cell: str, input_size: int, hidden: int, lanes: int, *, precision: str = "fp16", gpu: GPU = H100, parts: int = 1
) -> tuple[str, str]:
    """Forward and backward."""
    found = expected(cell, input_size, hidden, lanes, precision, gpu, parts=parts)
    return found.forward, found.backward


@pytest.mark.parametrize(
    ("cell", "hidden", "forward", "backward"),
    [
        ("lstm", 1, SMALL, SMALL),
        ("lstm", 128, SMALL, SMALL),
        ("lstm", 129, SMALL, STANDARD),
        ("lstm", 192, SMALL, STANDARD),
        ("lstm", 193, STANDARD, STANDARD),
        ("gru", 128, SMALL, SMALL),
        ("gru", 129, SMALL, STANDARD),
        ("gru", 192, SMALL, STANDARD),
        ("gru", 193, STANDARD, STANDARD),
        ("rnn", 256, SMALL, SMALL),
        ("rnn", 257, SMALL, STANDARD),
        ("rnn", 384, SMALL, STANDARD),
        ("rnn", 385, STANDARD, STANDARD),
    ],
)
def test_a_narrow_layer_has_a_kernel_of_its_own(cell: str, hidden: int, forward: str, backward: str) -> None:
    """Forward and backward have limits of their own; neither input, lanes nor GPU matter, from the P100 on."""
    for gpu, precision in product((H100, A30, T4, P100), ("fp32", "tf32")):
        assert _kernels(cell, 65, hidden, 61, precision=precision, gpu=gpu) == (forward, backward)
        assert _kernels(cell, 128, hidden, 64, precision=precision, gpu=gpu) == (forward, backward)
    assert _kernels(cell, 65, hidden, 61, gpu=M40) == (STANDARD, STANDARD)


def test_the_backward_pass_of_a_narrow_layer_can_be_persistent() -> None:
    """An rnn of 384 units is narrow enough forward, too wide backward, and a multiple of 128."""
    assert _kernels("rnn", 128, 384, 64) == (SMALL, PERSISTENT)
    assert _kernels("rnn", 128, 384, 64, precision="tf32") == (SMALL, STANDARD)


@pytest.mark.parametrize("gpu", [H100, A100, IMAGINED, V100], ids=lambda gpu: gpu.name)
@pytest.mark.parametrize(
    ("input_size", "hidden", "lanes", "kernel"),
    [
        (128, 256, 64, PERSISTENT),
        (384, 512, 8, PERSISTENT),
        (1152, 1024, 128, PERSISTENT),  # the input may be wider than the widest layer
        (128, 200, 64, STANDARD),
        (128, 500, 64, STANDARD),
        (128, 1152, 64, STANDARD),
        (127, 512, 64, STANDARD),
        (64, 512, 64, STANDARD),
        (128, 512, 1, STANDARD),
        (128, 512, 60, STANDARD),
        (128, 512, 136, STANDARD),
        (128, 512, 256, STANDARD),
    ],
)
def test_the_sizes_of_the_persistent_kernel(input_size: int, hidden: int, lanes: int, kernel: str, gpu: GPU) -> None:
    """Widths and inputs in steps of 128, lanes in steps of 8 (16 on a V100) up to 128; in fp16 and nothing else."""
    assert _kernels("lstm", input_size, hidden, lanes, gpu=gpu) == (kernel, kernel)
    for precision in ("fp32", "tf32", "bf16"):
        assert _kernels("lstm", input_size, hidden, lanes, precision=precision, gpu=gpu) == (STANDARD, STANDARD)


@pytest.mark.parametrize(
    ("cell", "hidden", "lanes", "kernel"),
    [
        ("gru", 512, 64, STANDARD),
        ("gru", 256, 8, STANDARD),
        ("lstm", 1024, 96, PERSISTENT),
        ("rnn", 1024, 88, PERSISTENT),
        ("rnn", 896, 88, PERSISTENT),
        ("rnn", 768, 128, PERSISTENT),
        ("rnn", 896, 96, STANDARD),
        ("rnn", 1024, 128, STANDARD),
    ],
)
def test_cells_that_are_kept_from_it(cell: str, hidden: int, lanes: int, kernel: str) -> None:
    """A gru always, a wide rnn with many lanes; an lstm never."""
    for gpu in (H100, A100):
        assert _kernels(cell, 128, hidden, lanes, gpu=gpu) == (kernel, kernel)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_v100_asks_for_lanes_alone(cell: str) -> None:
    """Multiples of 16 without 80 and 112, and 8; of every cell (torch looks at the cell on later GPUs only)."""
    taken = [lanes for lanes in range(1, 200) if _kernels(cell, 128, 896, lanes, gpu=V100)[0] == PERSISTENT]
    assert taken == [8, 16, 32, 48, 64, 96, 128]


@pytest.mark.parametrize("gpu", [A30, A40, A_LARGE_A40, T4, P100, M40], ids=lambda gpu: gpu.name)
def test_gpus_without_it(gpu: GPU) -> None:
    """Turing, sm_86, what has fewer than 98 multiprocessors, and what is older than a V100; it is said by name."""
    assert _kernels("lstm", 128, 512, 64, gpu=gpu) == (STANDARD, STANDARD)
    found = expected("lstm", 128, 512, 64, "fp16", gpu)
    assert gpu.name in found.why
    assert found.advice == ""
    assert _kernels("lstm", 128, 512, 64, gpu=replace(A100, multiprocessors=98)) == (PERSISTENT, PERSISTENT)
    assert _kernels("lstm", 128, 512, 64, gpu=replace(A100, multiprocessors=97)) == (STANDARD, STANDARD)


def test_a_split_step_asks_for_the_lanes_of_a_part() -> None:
    """Parts are of one size, or one of them has a number of lanes that is no multiple of eight."""
    sizes = {parts: _kernels("lstm", 128, 512, 96, parts=parts)[0] for parts in (1, 2, 3, 4, 5, 7, 12, 16, 96)}
    assert [parts for parts, kernel in sizes.items() if kernel == PERSISTENT] == [1, 2, 3, 4, 12]
    assert _kernels("lstm", 128, 512, 512, parts=4) == (PERSISTENT, PERSISTENT)
    assert _kernels("lstm", 128, 512, 31, parts=4) == (STANDARD, STANDARD)  # 8, 8, 8 and 7
    assert _kernels("lstm", 128, 512, 33, parts=4) == (STANDARD, STANDARD)  # 8, 8, 8 and 9
    found = expected("lstm", 128, 512, 24, "fp16", H100, parts=2)
    assert "24 lanes in 2 parts" in found.why
    assert found.advice == "--batch 16"


# Advice.


def _grid() -> Iterator[tuple[ModelConfig, int, int, str, GPU]]:
    """Model, lanes, parts, precision and GPU: every rule broken alone and together."""
    for cell, layers, embedding, hidden, lanes, parts, precision, gpu in product(
        ("lstm", "gru", "rnn"), (1, 3), (64, 128, 500), (100, 160, 300, 384, 500, 800, 1024, 1500),
        (3, 40, 96, 500), (1, 3), ("fp32", "fp16"), (H100, V100, A40),
    ):  # fmt: skip
        model = ModelConfig(cell=cell, num_layers=layers, embedding_size=embedding, hidden_size=hidden)  # type: ignore[arg-type]
        yield model, lanes, parts, precision, gpu


def _read(line: str) -> tuple[str, str]:
    """Kernel and advice of a line."""
    match = re.fullmatch(
        r"layers? \d+(?: to \d+)?: cuDNN's (.+) kernel expected \(.+?\)(?:; to change it: (.+))?", line
    )
    assert match, line
    return match[1], match[2] or ""


def _options(advice: str) -> dict[str, str]:
    words = advice.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _follow(options: dict[str, str], model: ModelConfig, lanes: int, precision: str) -> tuple[ModelConfig, int, str]:
    """What the command would train with these options added."""
    values: dict[str, Any] = {
        field: int(options[name]) if field != "cell" else options[name]
        for name, field in (("--cell", "cell"), ("--hidden", "hidden_size"), ("--embedding", "embedding_size"))
        if name in options
    }
    return replace(model, **values), int(options.get("--batch", lanes)), options.get("--precision", precision)


def test_following_all_advice_gives_a_fast_kernel() -> None:
    """Of whichever alternative; and nothing of it is in vain: with one option left out, a layer is still slow."""
    advised = 0
    for model, lanes, parts, precision, gpu in _grid():
        lines = [_read(line) for line in explain(model, lanes, precision, gpu, parts=parts)]
        for way in range(2):
            # A line may name two ways, with commas between them.
            chosen = [advice.split(", or ")[: way + 1][-1] for _, advice in lines if advice]
            options = {name: value for advice in chosen for name, value in _options(advice).items()}
            if not options:
                continue
            advised += 1
            after = explain(*_follow(options, model, lanes, precision), gpu, parts=parts)
            assert {_read(line) for line in after} <= {(PERSISTENT, ""), (SMALL, "")}, (model, options, after)
            for name in options:
                fewer = {other: value for other, value in options.items() if other != name}
                left = explain(*_follow(fewer, model, lanes, precision), gpu, parts=parts)
                assert {_read(line)[0] for line in left} - {PERSISTENT, SMALL}, (model, options, name)
    assert advised > 1000


def test_without_advice_nothing_would_help() -> None:
    """Every layer is fast already, or the GPU has no persistent kernel for whatever there is to be trained."""
    possible = {
        gpu
        for model, lanes, parts, precision, gpu in _grid()
        if any(_read(line)[0] == PERSISTENT for line in explain(model, lanes, precision, gpu, parts=parts))
    }
    assert possible == {H100, V100}
    for model, lanes, parts, precision, gpu in _grid():
        for kernel, advice in map(_read, explain(model, lanes, precision, gpu, parts=parts)):
            assert bool(advice) == (kernel not in (PERSISTENT, SMALL)) or gpu not in possible


@pytest.mark.parametrize(
    ("cell", "embedding", "hidden", "lanes", "precision", "advice"),
    [
        ("gru", 128, 512, 64, "fp32", "--cell lstm --precision fp16"),
        ("lstm", 100, 500, 64, "fp16", "--hidden 512 --embedding 128"),
        ("lstm", 128, 2000, 200, "fp16", "--hidden 1024 --batch 128"),
        ("lstm", 128, 160, 61, "fp32", "--hidden 128, or --precision fp16 --hidden 256 --batch 64"),
        ("rnn", 128, 300, 64, "fp16", "--hidden 256, or --hidden 512"),
        ("rnn", 128, 800, 96, "fp16", "--hidden 896 --batch 88"),
        ("lstm", 128, 512, 64, "fp16", ""),
    ],
)
def test_advice_by_hand(cell: str, embedding: int, hidden: int, lanes: int, precision: str, advice: str) -> None:
    """In the words of the command line."""
    assert expected(cell, embedding, hidden, lanes, precision, H100).advice == advice
    if hidden <= 192:
        assert expected(cell, embedding, hidden, lanes, precision, A40).advice == "--hidden 128"


def test_layers_that_are_alike_share_a_line() -> None:
    """The first is alone where its input makes it another; one layer is no layers."""
    model = ModelConfig(num_layers=4, hidden_size=512, embedding_size=128)
    fast = "cuDNN's persistent kernel expected (fp16, and every size is one it takes)"
    assert explain(model, 64, "fp16", H100) == [f"layers 1 to 4: {fast}"]
    assert explain(replace(model, num_layers=1), 64, "fp16", H100) == [f"layer 1: {fast}"]
    slow = "cuDNN's standard kernel expected (an input of 65 is not a multiple of 128); to change it: --embedding 128"
    narrow = replace(model, embedding_size=65)
    assert explain(narrow, 64, "fp16", H100) == [f"layer 1: {slow}", f"layers 2 to 4: {fast}"]
    assert explain(replace(narrow, num_layers=2), 64, "fp16", H100) == [f"layer 1: {slow}", f"layer 2: {fast}"]
    mixed = explain(replace(model, hidden_size=150, num_layers=1), 64, "fp16", T4)
    assert mixed[0].startswith("layer 1: cuDNN's small forward, standard backward kernel expected (between 128 and 192")
    assert mixed[0].endswith("; to change it: --hidden 128")
