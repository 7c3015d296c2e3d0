"""The directory of a run: which files it holds, and how they are kept consistent with the checkpoint.

config.json                   the settings and where the text lies, for people and for `train FOLDER`
best.safetensors              weights of the best validation
last.safetensors              everything needed to resume
step-00001000.safetensors     weights at a step, which --keep-every keeps
member-1.safetensors          the best weights of a finished member of --ensemble, alone
ensemble.safetensors          all finished members together, whose student --distill trains
metrics.jsonl                 one object a line; `records.py` writes it, and cuts it back where a run goes on
samples.txt                   what the model wrote as it learned; likewise
.lock                         empty; who trains has it locked (`lock.py`)
.charrnn-????????.tmp         a folder of what is being saved; what a killed process has left of it, the next removes

`train --fresh` gives the whole folder NAME of a run another name by one rename: NAME.2026-11-28T114500, with the local
date and time, and with -2, -3 and so on behind it where that name is taken. Nothing here ever removes such a folder.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.checkpoints.lock import LOCK, lock
from charrnn.errors import CheckpointError, UsageError
from charrnn.files import explained, is_there, make_folder, mode_of, remove_leftovers, sync_folder
from charrnn.system_errors import retried

RUNS = Path("checkpoints")
BEST = "best.safetensors"
LAST = "last.safetensors"
ENSEMBLE = "ensemble.safetensors"
METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"
CONFIG = "config.json"
_KEPT = re.compile(r"step-(\d{8,})\.safetensors")
_MEMBER = re.compile(r"member-\d{1,2}\.safetensors")
_FILES = (CONFIG, LAST, METRICS, SAMPLES, BEST)
_ASIDE = re.compile(r".+\.\d{4}-\d{2}-\d{2}T\d{6}(-\d+)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Run:
    """The directory of one run."""

    folder: Path

    @property
    def best(self) -> Path:
        """Returns the path of the checkpoint with the weights of the best validation."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """Returns the path of the checkpoint with everything needed to resume."""
        return self.folder / LAST

    @property
    def metrics(self) -> Path:
        """Returns the path of the metrics, a file with one JSON object a line."""
        return self.folder / METRICS

    @property
    def samples(self) -> Path:
        """Returns the path of the samples that the model wrote during training."""
        return self.folder / SAMPLES

    @property
    def config(self) -> Path:
        """Returns the path of the settings, written for people and for `train FOLDER`."""
        return self.folder / CONFIG

    def member(self, number: int) -> Path:
        """Returns the path of the weights of a member of an ensemble (from 1), alone."""
        return self.folder / f"member-{number}.safetensors"

    @property
    def ensemble(self) -> Path:
        """Returns the path of the members of an ensemble together, where a student has taken their place."""
        return self.folder / ENSEMBLE

    def kept(self, step: int) -> Path:
        """Returns the path of the weights that `--keep-every` keeps at a step."""
        return self.folder / f"step-{step:08}.safetensors"

    @property
    def is_there(self) -> bool:
        """Whether the folder holds anything of a run."""
        with explained(self.folder, "looking for a run in"):
            if any(is_there(self.folder / name) for name in _FILES):
                return True
            # os.path's questions have an answer for a name that is too long, too.
            return os.path.isdir(self.folder) and any(_is_own(path) for path in self.folder.glob("step-*.safetensors"))

    def other_files(self) -> list[Path]:
        """Returns the files and folders beside those of the run, without hidden ones."""
        found = sorted(self.folder.iterdir()) if os.path.isdir(self.folder) else []
        return [path for path in found if not path.name.startswith(".") and not _is_own(path)]

    def check_can_be_set_aside(self, needed: Iterable[Path] = ()) -> None:
        """Raises UsageError where the folder holds more than a run: what is `needed`, other runs, or where one is."""
        if not self.is_there:
            return
        folder = Path(os.path.realpath(self.folder))
        held = (path for path in needed if Path(os.path.realpath(path)).is_relative_to(folder))
        if Path(os.path.realpath(os.curdir)).is_relative_to(folder):
            reason = "is the folder that you are in, or holds it"
        elif (text := next(held, None)) is not None:
            reason = f"holds the text {text}"
        elif other := next((path for path in self.other_files() if os.path.exists(Run(path).last)), None):
            reason = f"holds another run, {other.name}"
        else:
            return
        raise UsageError(
            f"--fresh would give the folder {self.folder} another name, and it {reason}",
            "choose another --out, or move the files of the run there away yourself",
        )

    def set_aside(self) -> Path | None:
        """Gives the folder, with the run in it, a dated name beside it, by one rename; returns that name.

        The run is whole under the one name or the other, whenever this process is killed. None is returned, and nothing
        done, where the folder holds no run. The lock that this process has on the folder goes with it, so a new folder
        must be locked anew.
        """
        if not self.is_there:
            return None
        # Of "." and the like only the whole path has a name.
        folder = self.folder if self.folder.name not in ("", "..") else Path(os.path.abspath(self.folder))
        date = time.strftime("%Y-%m-%dT%H%M%S")
        with explained(folder, "setting the run aside in"):
            for number in itertools.count(1):
                aside = folder.parent / _with_ending(folder, f".{date}" if number == 1 else f".{date}-{number}")
                if is_there(aside):
                    continue
                try:
                    retried(os.rename, folder, aside)
                except OSError as error:
                    # The name was taken in this very moment. What a rename could take the place of is an empty folder.
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and os.path.lexists(aside):
                        continue
                    raise
                break
            sync_folder(folder.parent)
        return aside

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the directory, locks it against a second training process, and removes what a killed one left.

        An error within removes the directory again, and those above it that were made as well, where nothing but the
        lock is in it: what is refused leaves nothing behind. It does so before it lets go of the lock, since then
        another process may have the directory. Raises UsageError if another process has it.
        """
        with contextlib.ExitStack() as held:
            missing: list[Path] = []
            is_ours = False
            try:
                while not is_ours:  # again where the folder has got another name, or was removed, meanwhile
                    missing = [path for path in (self.folder, *self.folder.parents) if not os.path.lexists(path)]
                    make_folder(self.folder)
                    is_ours = os.name != "posix" or lock(self.folder, held)
                # Who made it may have been killed before its name was on the disk.
                with explained(self.folder, "creating"):
                    sync_folder(self.folder / os.pardir)
                remove_leftovers(self.folder)
                yield
            except BaseException:
                _remove_unbegun(missing, is_ours=is_ours)
                raise

    def has(self, path: Path) -> bool:
        """Whether a file of the run is there. Raises UsageError or ResourceError where the system does not say."""
        with explained(path, "looking at"):
            return mode_of(path) is not None

    def check_files(self) -> None:
        """Raises UsageError where a name of the run's files is that of something else, so that nothing outside changes.

        A checkpoint or a config.json may be a link to a file: it is read, and then replaced by a file of its own.
        """
        for name in _FILES:
            path = self.folder / name
            if name in (METRICS, SAMPLES) and path.is_symlink():
                raise UsageError(
                    f"{path} is a link, and training writes only to files of the run's own folder",
                    "put a copy of the file in the place of the link, or move the link away",
                )
            with explained(path, "looking at"):
                mode = mode_of(path)
            if os.path.lexists(path) if mode is None else not stat.S_ISREG(mode):
                what = f"is a link to {os.readlink(path)}, where no file is" if path.is_symlink() else "is not a file"
                raise UsageError(f"{path} {what}", "move it away, or choose another --out")


def _remove_unbegun(made: Sequence[Path], *, is_ours: bool) -> None:
    """Removes a run's folder, the first of those that were made for it, where the run has not begun, and those above
    it. A folder that something else is in stays; the file of the lock is removed only where the lock `is_ours`."""
    with contextlib.suppress(OSError):
        if made and is_ours and os.listdir(made[0]) == [LOCK]:
            os.unlink(made[0] / LOCK)
    for path in made:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _with_ending(folder: Path, ending: str) -> str:
    """Returns a folder's name with an ending; of a name that would be too long then, the beginning."""
    try:
        longest = os.pathconf(folder.parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # it is not known
        longest = 255
    name = os.fsencode(folder.name)
    room = longest - len(ending)
    return (folder.name if len(name) <= room else _whole_characters(name[:room])) + ending


def _whole_characters(name: bytes) -> str:
    """Returns the beginning of a name without a character that was cut; what is no UTF-8 stays as it is."""
    return name.decode(errors="ignore") or os.fsdecode(name)


def _is_own(path: Path) -> bool:
    return path.name in _FILES or kept_step(path) is not None or is_member(path)


def is_member(path: Path) -> bool:
    """Returns whether a file has the name of a member of an ensemble, or of all of them.

    >>> is_member(Path("run/member-2.safetensors")), is_member(Path("run/best.safetensors"))
    (True, False)
    """
    return path.name == ENSEMBLE or _MEMBER.fullmatch(path.name) is not None


def kept_step(path: Path) -> int | None:
    """Returns the step whose weights `--keep-every` has kept under the name of a file; None of another name.

    >>> kept_step(Path("run/step-00001000.safetensors")), kept_step(Path("run/last.safetensors"))
    (1000, None)
    """
    found = _KEPT.fullmatch(path.name)
    return None if found is None else int(found[1])


def is_set_aside(path: Path) -> bool:
    """Whether a run's folder has the dated name that `train --fresh` gives to what it keeps.

    >>> is_set_aside(Path("checkpoints/emma.2026-11-28T114500-2")), is_set_aside(Path("checkpoints/emma"))
    (True, False)
    """
    return _ASIDE.fullmatch(path.name) is not None


def folder_size(path: Path) -> int:
    """Returns the bytes of all files in a folder and the folders in it; what cannot be looked at counts nothing."""
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def find_checkpoint(path: Path | None) -> Path:
    """Returns the checkpoint file that `--checkpoint` means: a file, a run's best (or last), or the newest run's.

    A run under checkpoints/ can be named by its folder's name alone, as `train --name` does.
    Raises CheckpointError where there is none.
    """
    if path is None:
        path = _newest_run()
    elif not os.path.lexists(path) and len(path.parts) == 1 and os.path.isdir(RUNS / path):
        path = RUNS / path
    # os.path's questions have an answer for every name; Path's raise an OSError for one that is too long.
    for name in (BEST, LAST):
        if os.path.isfile(path / name):
            return path / name
    if os.path.isdir(path):
        raise CheckpointError(
            f"the folder {path} holds neither {BEST} nor {LAST}", "-c names a checkpoint or a run's folder"
        )
    return path


def _has_learned(folder: Path) -> bool:
    """Returns whether a run has made a step: it has been validated, or its last checkpoint says so."""
    from charrnn.checkpoints.checkpoint import read_metadata

    if (folder / BEST).exists():
        return True
    try:
        return bool(read_metadata(folder / LAST)["progress"]["step"])
    except (CheckpointError, KeyError, TypeError):
        return False


def _newest_run() -> Path:
    found: list[tuple[bool, bool, float, Path]] = []
    for file in (file for name in (BEST, LAST) for file in RUNS.glob(f"*/{name}")):
        with contextlib.suppress(OSError):  # moved away meanwhile
            # One that was set aside, or has made no step yet, is meant only where there is no other.
            found.append((not is_set_aside(file.parent), _has_learned(file.parent), file.stat().st_mtime, file.parent))
    if not found:
        raise CheckpointError(
            f"there is no run under {RUNS}{os.sep}",
            "charrnn train makes one; -c names a checkpoint or a run's folder",
        )
    return max(found)[3]
