"""Where a run reads, computes and writes, and how it begins. Nothing of this is kept in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from charrnn.settings.checks import FLAG, NAME, PATH, TEXT, one_of, whole
from charrnn.settings.choices import DeviceName
from charrnn.settings.fields import Record, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Computing(Record):
    """Where a command computes."""

    device: DeviceName = setting("auto", one_of(DeviceName), "--device", panel="Run", level="everyday")
    """Where to compute: cpu, cuda, mps, or auto, which is an NVIDIA GPU where torch has kernels for one."""
    # Far beyond any machine's cores, torch's thread pool crashes.
    threads: int | None = setting(None, whole(1, 1024), "--threads", panel="Run", shown="all cores")
    """CPU threads at most; fewer compute where other programs need the cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch(Computing):
    """Where a run reads and writes, and how it begins; nothing of this is kept in a checkpoint."""

    name: str | None = setting(None, NAME, "--name", panel="Run", level="everyday", metavar="NAME")
    """The run's name, short for --out checkpoints/NAME."""
    out: Path | None = setting(
        None, PATH, "--out", panel="Run", level="everyday", shown="checkpoints/<corpus>", metavar="DIR"
    )
    """The run's folder."""
    config: Path | None = setting(None, PATH, "--config", panel="Run", metavar="FILE")
    """A TOML file of settings under the names of the options, or the config.json of a run, whose settings hold where
    the command line says nothing else."""
    init_from: Path | None = setting(None, PATH, "--init-from", panel="Model", metavar="RUN")
    """A trained model, by its checkpoint file or its run's folder, whose weights and settings a new run begins with, on
    any text, with new characters added."""
    distill_from: Path | None = setting(None, PATH, "--distill-from", panel="Model", metavar="RUN")
    """A trained model or an ensemble, by its checkpoint file or its run's folder, whose distributions over the next
    character a new run learns beside the text, which must have no other characters."""
    dry_run: bool = setting(False, FLAG, "--dry-run", panel="Run")
    """Say what would be done, and with which settings, and stop."""
    fresh: bool = setting(False, FLAG, "--fresh", panel="Run", level="everyday")
    """Start over, and keep a run that is in the folder under a dated name beside it."""
    change: bool = setting(False, FLAG, "--change", panel="Run")
    """Let a run that goes on take over the other settings that are given, such as --lr or --dropout, or a text that has
    grown at its end, and keep a record of the change."""
    quiet: bool = setting(False, FLAG, "--quiet", "-q", panel="Run", level="everyday")
    """Print nothing but errors."""
    validation: str | None = setting(None, TEXT, "--validation", panel="Data", level="everyday", metavar="FILE")
    """A file or folder to validate on, instead of a part of the corpus."""
    glob: str | None = setting(None, TEXT, "--glob", panel="Data", metavar="PATTERN")
    """Which files of a folder to read, by name, such as '*.py'."""
