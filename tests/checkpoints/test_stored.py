"""Arrays are read into memory: what happens to the file later, or meanwhile, kills nobody and changes no number."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.cells.parameters import forget, parameter_shapes
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints import stored
from charrnn.checkpoints.checkpoint import Checkpoint, load, save
from charrnn.errors import CheckpointError, ResourceError
from charrnn.settings.config import ModelConfig
from tests.kit.tiny import arrays_of, forge, tiny

FILE = Path("best.safetensors")


def _large(seed: int = 0) -> Checkpoint:
    """A model whose weights take 5 MB."""
    small = tiny()
    model = ModelConfig(num_layers=2, hidden_size=320, embedding_size=3)
    shapes = parameter_shapes(model, len(small.vocabulary))
    random = np.random.default_rng(seed)
    parameters = {name: random.uniform(-0.1, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return replace(small, model=model, parameters=parameters)


@pytest.mark.parametrize("make", [tiny, _large])
@pytest.mark.parametrize("harm", ["cut short", "overwritten", "removed"])
def test_what_was_read_stays_when_the_file_changes(make: Any, harm: str) -> None:
    """In a process of its own: a mapped file that has become shorter kills with SIGBUS."""
    saved = make()
    save(FILE, saved)
    code = (
        "import os, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from charrnn.checkpoints.checkpoint import load\n"
        "loaded = load(Path('best.safetensors'))\n"
        "size = os.path.getsize('best.safetensors')\n"
        "if sys.argv[1] == 'cut short': os.truncate('best.safetensors', 100)\n"
        "elif sys.argv[1] == 'removed': os.unlink('best.safetensors')\n"
        "else: open('best.safetensors', 'r+b').write(bytes(size))\n"
        "np.savez('read.npz', **loaded.parameters)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, harm], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with np.load("read.npz") as read:
        assert all(np.array_equal(read[name], array) for name, array in saved.parameters.items())


def test_a_file_that_is_cut_short_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and nothing else happens."""
    save(FILE, _large())
    reading = checkpoints.read_arrays

    def cut(*words: Any, **more: Any) -> Any:
        os.truncate(FILE, 3_000_000)
        return reading(*words, **more)

    monkeypatch.setattr(checkpoints, "read_arrays", cut)
    with pytest.raises(CheckpointError, match="was written to while it was read"):
        load(FILE)


def test_a_file_that_is_overwritten_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another checkpoint of the same size: neither half of both, nor called damaged for good."""
    save(FILE, _large())
    other = Path("other.safetensors")
    save(other, _large(seed=1))
    reading = checkpoints.read_arrays

    def overwrite(*words: Any, **more: Any) -> Any:
        with open(FILE, "r+b") as file:
            file.write(other.read_bytes())
        os.utime(FILE, ns=(1, 1))  # also where the clock of the disk is slow
        return reading(*words, **more)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "read_arrays", overwrite)
        with pytest.raises(CheckpointError, match="was written to while it was read"):
            load(FILE)
    assert np.array_equal(load(FILE).parameters["embedding"], _large(seed=1).parameters["embedding"])


def test_readers_beside_a_writer_read_one_or_the_other() -> None:
    """A file that is overwritten in place again and again is refused, or read whole: 300 readings."""
    contents = []
    for seed in (0, 1):
        save(FILE, replace(tiny(), parameters=_shuffled(seed)))
        contents.append(FILE.read_bytes())
    wholes = [_shuffled(seed) for seed in (0, 1)]
    is_over = threading.Event()

    def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            with open(FILE, "wb") as file:  # cut short first, as `cp` does
                file.write(contents[number % 2])
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            try:
                read = load(FILE).parameters
            except CheckpointError:
                continue
            assert any(all(np.array_equal(read[name], whole[name]) for name in whole) for whole in wholes)
    finally:
        is_over.set()
        writer.join()
    assert load(FILE).kind == "best"


def _shuffled(seed: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return {name: random.permuted(array) for name, array in tiny().parameters.items()}


def test_what_is_forgotten_is_read_again() -> None:
    """The same numbers, read-only, also when another file has taken the name since."""
    saved = _large()
    save(FILE, saved)
    read = load(FILE).parameters
    save(FILE, tiny())
    for name, array in saved.parameters.items():
        for _ in range(2):
            forget(read, name)
            assert np.array_equal(read[name], array)
            assert not read[name].flags.writeable
    assert list(read) == list(saved.parameters)
    forget(saved.parameters, "embedding")  # plain arrays cannot be read again
    assert "embedding" in saved.parameters


def test_what_was_forgotten_and_has_changed_is_refused() -> None:
    """One byte of one array: the others can still be had."""
    save(FILE, _large())
    read = load(FILE).parameters
    name = "layers.2.weight_hh"
    content, wanted = FILE.read_bytes(), read[name].tobytes()
    with open(FILE, "r+b") as file:
        file.seek(content.index(wanted) + 77)
        file.write(b"\x01\x02")
    for each in read:
        forget(read, each)
    assert len(read["layers.2.weight_ih"])
    with pytest.raises(CheckpointError, match="was written to while it was read, or has been since"):
        read[name]
    os.truncate(FILE, 1000)
    with pytest.raises(CheckpointError, match="was written to"):
        read[name]


def _sent(whole: Any) -> Any:
    return pickle.loads(pickle.dumps(whole))  # noqa: S301 - it was made here


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, _sent])
@pytest.mark.parametrize("make", [tiny, _large])
def test_a_loaded_checkpoint_can_be_copied_and_pickled(make: Any, duplicate: Any) -> None:
    """As other processes are sent it: all arrays, also one that was forgotten, which stays so."""
    saved = make()
    save(FILE, saved)
    loaded = load(FILE)
    forget(loaded.parameters, "layers.1.weight_hh")
    parameters = duplicate(loaded.parameters)
    assert type(parameters) is dict
    whole = replace(duplicate(loaded), parameters=parameters)
    FILE.unlink()
    assert whole.metadata() == saved.metadata()
    assert list(parameters) == list(saved.parameters)
    assert all(np.array_equal(parameters[name], array) for name, array in saved.parameters.items())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into Linux's /proc")
def test_files_are_closed_with_the_checkpoint() -> None:
    """A large model's stays open as long as it may be read again, a small one's does not."""
    gc.collect()  # what other tests have left open
    before = len(os.listdir("/proc/self/fd"))
    save(FILE, tiny())
    small = load(FILE)
    assert len(os.listdir("/proc/self/fd")) == before
    save(FILE, _large())
    large = load(FILE)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del small, large
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_reading_goes_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a signal is heard; the numbers are the same whatever a piece is."""
    whole = tiny("last")
    save(FILE, whole)
    for piece in (8, 24, 1 << 20):
        monkeypatch.setattr(stored, "_PIECE", piece)
        read = arrays_of(load(FILE, with_state=True))
        assert all(np.array_equal(array, read[name]) for name, array in arrays_of(whole).items())


def test_a_file_of_seventeen_gigabytes_of_nothing_is_refused_at_once() -> None:
    """Sparse: it takes no room, and to read it would take minutes. No digest is asked for."""
    size = 17 << 30
    for kind, reason in (("last", "more than any run keeps"), ("best", "it holds more than weights")):
        whole = tiny(kind)
        content = forge(whole.metadata(), {**arrays_of(whole), "~": np.zeros(3, np.uint8)})
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        begin = header["~"]["data_offsets"][0]
        header["~"] = {"dtype": "U8", "shape": [size], "data_offsets": [begin, begin + size]}
        raw = json.dumps(header).encode()
        FILE.write_bytes(len(raw).to_bytes(8, "little") + raw + content[8 + length :])
        os.truncate(FILE, 8 + len(raw) + begin + size)
        with pytest.raises(CheckpointError, match=reason):
            load(FILE)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="POSIX tells how much memory there is")
def test_a_model_larger_than_the_machine_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 6, before the system ends the process for it."""
    save(FILE, _large())
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}[name])
    with pytest.raises(ResourceError, match=r"holds 0\.0 GiB, and this machine has 0\.0 GiB"):
        load(FILE)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("progress", "history", "[" + "[]," * 3_000_000 + "[]]"),
        ("vocabulary", "code_points", "[" + "1," * 9_000_000 + "1]"),
    ],
)
def test_a_header_of_more_records_than_any_run_has(group: str, name: str, value: str) -> None:
    """An empty list of two letters would take 64 bytes of memory."""
    whole = tiny()
    metadata = json.loads(json.dumps(whole.metadata()))
    metadata[group][name] = "here"
    FILE.write_bytes(forge(json.dumps(metadata).replace('"here"', value), arrays_of(whole)))
    with pytest.raises(CheckpointError, match="more records than any run has"):
        load(FILE)


@pytest.mark.parametrize(
    "edit",
    [
        lambda metadata: metadata.update(new=1),
        lambda metadata: metadata.pop("version"),
        lambda metadata: metadata["vocabulary"].update(new=1),
        lambda metadata: metadata["environment"].update(threads=Raw),
        lambda metadata: metadata["progress"].update(history=[[1, 2.0, True]]),
    ],
)
def test_nothing_in_the_metadata_goes_unread(edit: Any) -> None:
    """What `load` would leave out is refused, and a number without end anywhere."""
    whole = tiny()
    metadata = json.loads(json.dumps(whole.metadata()))
    edit(metadata)
    text = json.dumps(metadata, default=lambda _: "1e999").replace('"1e999"', "1e999")
    FILE.write_bytes(forge(text, arrays_of(whole)))
    with pytest.raises(CheckpointError, match="is damaged"):
        load(FILE)


Raw = object()


@pytest.mark.parametrize("shape", [[2**47, 2**47, 0], "", {}], ids=repr)
def test_a_shape_that_no_library_makes(shape: Any) -> None:
    """It is refused whether the array is asked for or not; a word without letters is no shape of no dimensions."""
    whole = tiny("last")
    array = np.zeros((0, 3), np.float32) if shape else np.float32(1).reshape(())
    content = forge(whole.metadata(), {**arrays_of(whole), "~": array})
    FILE.write_bytes(_with_shape(content, shape))
    for with_state in (False, True):
        with pytest.raises(CheckpointError, match="impossible shape"):
            load(FILE, with_state=with_state)


def _with_shape(content: bytes, shape: Any) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["~"]["shape"] = shape
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content[8 + length :]
