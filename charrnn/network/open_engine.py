"""The engine that runs a trained model on a device: torch on a GPU, and without torch on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from charrnn.cells.members import parted
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import UsageError
from charrnn.inference.engine import Engine
from charrnn.inference.ensemble import EnsembleEngine
from charrnn.inference.make_engine import make_engine
from charrnn.settings.checks import COUNT, one_of
from charrnn.settings.choices import DeviceName, WeightsName


def check_single(loaded: Checkpoint, what: str) -> None:
    """Raises UsageError for an ensemble where `what` is about one model."""
    if loaded.members > 1:
        raise UsageError(
            f"{what} is about one model, and this is an ensemble of {loaded.members} members",
            "name one of them, such as member-1.safetensors in the run's folder, or a model that --distill-from made",
        )


def members_of(loaded: Checkpoint, engine: Engine) -> Iterator[tuple[Checkpoint, Engine]]:
    """Yields each member of an ensemble by itself, with an engine of the kind that runs the whole."""
    if loaded.members == 1:
        yield loaded, engine
        return
    for number, parameters in enumerate(parted(loaded.parameters, loaded.members)):
        alone = replace(loaded, parameters=parameters, members=1)
        if isinstance(engine, EnsembleEngine):
            yield alone, engine.members[number]
        else:
            from charrnn.network.stepper import TorchStepper

            assert isinstance(engine, TorchStepper)
            yield alone, TorchStepper(alone, engine.device)


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
