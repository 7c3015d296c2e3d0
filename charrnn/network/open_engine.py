"""The engine that runs a trained model on a device: torch on a GPU, and without torch on a CPU."""

from __future__ import annotations

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import UsageError
from charrnn.inference.engine import Engine
from charrnn.inference.make_engine import make_engine
from charrnn.settings.checks import COUNT, one_of
from charrnn.settings.choices import DeviceName, WeightsName


def open_engine(
    loaded: Checkpoint, *, device: DeviceName = "cpu", weights: WeightsName = "float32", threads: int | None = None
) -> Engine:
    """Returns an engine that runs the model on `device`; the one for a CPU needs no torch and starts at once.

    Raises UsageError for what this machine lacks, for rounded weights on a GPU, and for values that are none.
    """
    one_of(DeviceName).require("--device", device)
    one_of(WeightsName).require("--weights", weights)
    if threads is not None:
        COUNT.require("--threads", threads)
    if device in ("cpu", "auto"):
        engine: Engine = make_engine(
            loaded.model, loaded.parameters, weights=weights, threads=threads, end=loaded.vocabulary.end
        )
        return engine
    if weights != "float32":
        raise UsageError(f"--weights is {weights!r} and --device {device}", "rounded weights are for --device cpu")
    from charrnn.network.device import choose_device, prepare
    from charrnn.network.stepper import TorchStepper

    chosen = choose_device(device)
    prepare(chosen, threads)
    return TorchStepper(loaded, chosen)
