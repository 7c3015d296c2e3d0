"""Checkpoints that are damaged, and everybody who reads them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import Checkpoint, load, read_metadata
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.network.open_engine import open_engine
from charrnn.sampling.sampler import SampleRequest, write
from charrnn.settings.sampling import SamplingConfig
from tests.campaign import _damage
from tests.campaign.campaign import Campaign
from tests.kit.forked import Job, run

_MOST_SECONDS = 120
_MOST_MEGABYTES = 700
_TEXT = "".join(random.Random(3).choices("ab cd\nefg", k=1500))
_RUNS = {
    "lstm": "--cell lstm --hidden 6 --layers 2 --embedding 3",
    "gru": "--cell gru --hidden 5 --layers 1 --embedding 4 --optimizer sgd --momentum 0.9 --bytes",
    "rnn": "--cell rnn --hidden 7 --layers 2 --embedding 7 --tie --skip residual --optimizer muon --average 0.9",
    "odd": "--cell lstm --hidden 4 --layers 1 --embedding 3 --mogrifier 2 --layer-norm --optimizer schedule-free",
}


@dataclass
class _Prepared:
    folder: Path
    files: list[Path]
    """Every checkpoint of every run."""
    wholes: dict[Path, Checkpoint]
    environment: dict[str, str]


def _prepare(folder: Path) -> _Prepared:
    (folder / "text.txt").write_text(_TEXT)
    environment = {**os.environ, "CHARRNN_CACHE": str(folder / "cache"), "COLUMNS": "80"}
    common = "--steps 6 --batch 2 --bptt 8 --validation-fraction 0.1 --keep-every 3 --threads 1 --quiet"
    for name, settings in _RUNS.items():
        words = ["charrnn", "train", "text.txt", "--out", name, *settings.split(), *common.split()]
        (result,) = run([Job(words, folder, environment)])
        assert result.status == 0, result.err
    files = sorted(folder.glob("*/*.safetensors"))
    assert len(files) >= 4 * len(_RUNS)
    return _Prepared(folder, files, {file: load(file, with_state=True) for file in files}, environment)


def _content(loaded: Checkpoint) -> tuple[Any, ...]:
    """All that a checkpoint holds, so that what is equal is equal in every bit."""
    arrays = {**{f"model.{name}": array for name, array in loaded.parameters.items()}, **loaded.state}
    described = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}
    return json.dumps(loaded.metadata(), sort_keys=True), described


class _HangsError(BaseException):
    """Nobody takes it for an error of his own; a TimeoutError is an OSError."""


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Ends what hangs with an exception."""

    def end(*_: object) -> None:
        raise _HangsError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _trial(prepared: _Prepared, seed: int, folder: Path) -> str | None:
    random_ = random.Random(seed)
    file = random_.choice(prepared.files)
    content, made, how = _damage.damaged(random_, file.read_bytes())
    path = folder / file.name
    path.write_bytes(content)
    if random_.random() < 0.02 and made is None:
        how += " and a hole behind it"
        os.truncate(path, len(content) + random_.choice((1, 4096, 17 << 30)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _bounded():
            said = _read(prepared.wholes[file], path, made, random_) or _used(prepared, file, path, random_)
    except _HangsError:
        said = "it hangs"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if said is None and grown > _MOST_MEGABYTES:
        said = f"{grown:.0f} MB more were in use"
    return None if said is None else f"{file.parent.name}/{file.name} {how}: {said}"


def _read(whole: Checkpoint, path: Path, made: _damage.Checkpoint | None, random_: random.Random) -> str | None:
    """Reads a file in each way; says what is wrong where it is neither refused nor as good as it says."""
    found: list[Checkpoint | None] = []
    for with_state in (True, False):
        try:
            found.append(load(path, with_state=with_state))
        except CheckpointError as error:
            found.append(None)
            if error.exit_status != 4 or len(error.message) > 1000 + len(str(path)):
                return f"refused with status {error.exit_status} in {len(error.message)} letters"
    loaded, weights = found
    if (loaded is None) is not (weights is None):
        return "readable with state, and not without, or the other way round"
    try:
        metadata = read_metadata(path)
    except CheckpointError:
        metadata = None
    if loaded is None or weights is None:
        return None
    if metadata is None:
        return "its metadata cannot be read, and all of it can"
    if metadata != json.loads(json.dumps(loaded.metadata())):
        # Settings that are left out have their defaults.
        groups = {name for name in metadata if metadata[name] != json.loads(json.dumps(loaded.metadata()))[name]}
        if not groups <= {"model", "data", "version"}:
            return f"its metadata are other ones when they are read alone: {groups}"
    if {name: array.tobytes() for name, array in weights.parameters.items()} != {
        name: array.tobytes() for name, array in loaded.parameters.items()
    }:
        return "it has other weights without state"
    if weights.state or weights.training:
        return "it has a state where none was asked for"
    if _content(loaded) == _content(whole):
        return None
    return "it is taken for whole, with another content" if made is None else _as_made(loaded, made)


def _as_made(loaded: Checkpoint, made: _damage.Checkpoint) -> str | None:
    """Says where a file whose digest fits is read as something else than it says, or is no checkpoint."""
    said = json.loads(_damage.spelled(made.metadata))
    ours = json.loads(json.dumps(loaded.metadata()))
    for name in ("kind", "corpus", "progress", "training", "environment", "vocabulary"):
        if said[name] != ours[name] or repr(said[name]) != repr(ours[name]):
            return f"{name} is read as {ours[name]!r:.80}"
    for name in ("model", "data"):
        if any(repr(ours[name].get(key)) != repr(value) for key, value in said[name].items()):
            return f"{name} is read as {ours[name]!r:.80}"
    arrays = {**{f"model.{name}": array for name, array in loaded.parameters.items()}, **loaded.state}
    if list(loaded.parameters) != list(parameter_shapes(loaded.model, len(loaded.vocabulary))):
        return "its arrays are not those of its configuration"
    entries = {key: value for key, value in made.header.pairs if key != "__metadata__"}
    if arrays.keys() != entries.keys():
        return "it has other arrays than it says"
    for name, array in arrays.items():
        begin, end = entries[name]["data_offsets"]
        is_same = array.tobytes() == made.data[begin:end] and list(array.shape) == entries[name]["shape"]
        if not is_same or array.dtype.str != _damage.TYPES[entries[name]["dtype"]] or not np.isfinite(array).all():
            return f"{name} is another array than it says, or holds what is no number"
    return None


# Whole commands.

_TEXTLESS = ("inspect -c {}", "inspect -c {} --json", "sample -c {} -n 5 --threads 1", "inspect {}")
_OTHERS = ("eval text.txt -c {} --threads 1 --unknown skip", "inspect text.txt -c {} -n 5 --unknown skip")


def _used(prepared: _Prepared, file: Path, path: Path, random_: random.Random) -> str | None:
    """Reads the file as users do: the model writes; now and then by a command; seldom by one that needs torch."""
    try:
        loaded = load(path)
    except CheckpointError:
        loaded = None
    chance = random_.random()
    if chance < 0.004:
        return _resumed(prepared, file, path, is_refused=loaded is None)
    if chance < 0.01:
        words = random_.choice(_OTHERS).format(path).split()
        (result,) = run([Job(["charrnn", *words], prepared.folder, prepared.environment)])
        return _judged(words, result.status, result.err, is_refused=loaded is None)
    if chance < 0.04:
        words = random_.choice(_TEXTLESS).format(path).split()
        return _judged(words, *_in_process(words), is_refused=loaded is None)
    if loaded is not None and chance < 0.3:
        with np.errstate(all="ignore"), contextlib.suppress(CharrnnError):
            engine = open_engine(loaded, threads=1)
            ids = loaded.vocabulary.code_points[:0]
            list(write(engine, loaded.vocabulary, ids, [SampleRequest(SamplingConfig(length=3), 0)]))
    return None


def _judged(words: list[str], status: int, err: str, *, is_refused: bool) -> str | None:
    if "Traceback" in err or status not in range(7) or status == 1:
        return f"{' '.join(words)} ended with {status}: {err[-300:]!r}"
    if is_refused and status != 4:
        return f"{' '.join(words)} ended with {status} for a file that is refused: {err[-300:]!r}"
    return None


def _in_process(words: list[str]) -> tuple[int, str]:
    from charrnn.cli.app import main

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["charrnn", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        sys.argv = before
    return status, err.getvalue()


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The size and the beginning of each file."""
    state = {}
    for path in folder.iterdir():
        with open(path, "rb") as file:
            state[path.name] = path.stat().st_size, file.read(1 << 20)
    return state


def _resumed(prepared: _Prepared, file: Path, path: Path, *, is_refused: bool) -> str | None:
    """Goes on with a run whose last checkpoint is the damaged file."""
    folder = path.parent / "run"
    shutil.copytree(file.parent, folder)
    os.replace(path, folder / "last.safetensors")  # which may be large, and a hole
    before = _state(folder)
    words = ["train", str(folder), "--steps", "8", "--threads", "1", "--quiet"]
    (result,) = run([Job(["charrnn", *words], prepared.folder, prepared.environment)])
    if is_refused and before != _state(folder):
        return "a run that cannot go on was changed"
    return _judged(words, result.status, result.err, is_refused=is_refused)


CAMPAIGNS = {
    "corruption": Campaign(
        summary="Damages a checkpoint in its bytes or in what its header says, and reads it in every way: it is "
        "refused with status 4, or read as exactly what it says, which without a new digest is what was saved.",
        prepare=_prepare,
        trial=_trial,
        in_suite=150,
    )
}
