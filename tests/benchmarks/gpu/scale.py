"""Where the parts run and how large they are: on a GPU, or as a rehearsal on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from charrnn.network import device as devices
from charrnn.network.cudnn import GPU, IMAGINED
from charrnn.settings.choices import PrecisionName
from charrnn.training.step_mode import Way
from tests.benchmarks.steps import CPU, Kind, Shape

MARK = 1.4697  # nats: nanoGPT's README, its GPU recipe, about three minutes on an A100
WARM_UPS = 4  # both kinds of Muon's steps are recorded, and run


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where everything runs, and how large it is."""

    device: torch.device
    shapes: tuple[Shape, ...]
    precision: PrecisionName
    """Of our step."""
    way: Way
    """Of our step, where it is not said to be eager."""
    kinds: tuple[Kind, ...]
    """Of the plain step."""
    types: dict[str, torch.dtype]
    """For single layers; the ceilings are measured in the first."""
    square: int
    """Rows and columns of the compute ceiling."""
    links: int
    """Products in a chain."""
    widths: tuple[int, ...]
    lanes: tuple[int, ...]
    window: int
    """For single layers."""
    train: dict[str, tuple[str, ...]]
    """Runs of the command by name, and their options."""
    mark: float
    """The loss that is waited for, in nats a character."""
    moment: float
    """Seconds that one round of one loop takes."""
    rounds: int

    @property
    def described(self) -> GPU:
        """What kernels are expected on."""
        return devices.describe_gpu(self.device) if self.device.type == "cuda" else IMAGINED


FULL = Scale(
    device=torch.device("cuda"),
    shapes=tuple(
        Shape(cell, layers, hidden, embedding, lanes, window)
        for cell in ("lstm", "gru")
        for layers, hidden, embedding, lanes, window in (
            (2, 512, 512, 64, 128), (3, 1024, 1024, 128, 150), (3, 1840, 1840, 128, 200)
        )
    ),
    precision="auto", way="graph", kinds=("fp32", "tf32", "bf16"),
    types={"fp16": torch.float16, "fp32": torch.float32},
    square=8192, links=256, widths=(128, 160, 192, 256), lanes=(32, 64, 128), window=128,
    train={"defaults": (), "--minutes 1": ("--minutes", "1")}, mark=MARK, moment=0.3, rounds=5,
)  # fmt: skip
REHEARSAL = Scale(
    device=CPU,
    shapes=(Shape("lstm", 2, 12, 8, 5, 7), Shape("gru", 1, 9, 8, 5, 7)),
    precision="fp32", way="device", kinds=("fp32",), types={"fp32": torch.float32},
    square=48, links=4, widths=(8, 9), lanes=(2, 3), window=5,
    train={
        "tiny": (
            *("--threads", "1", "--steps", "20", "--log-every", "5", "--validate-every", "10"),
            *("--layers", "1", "--hidden", "16", "--batch", "3", "--bptt", "11"),
        )
    },
    mark=100.0, moment=0.005, rounds=2,
)  # fmt: skip
