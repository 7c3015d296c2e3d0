"""Checkpoints: what is saved comes back, and nothing else is ever taken for one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from charrnn.checkpoints import described
from charrnn.checkpoints.checkpoint import FORMAT, Checkpoint, load, save
from charrnn.checkpoints.described import MODEL_PREFIX, TEACHER_PREFIX
from charrnn.display.summary import summary
from charrnn.errors import CheckpointError, ResourceError, UsageError
from tests.kit.tiny import arrays_of, enclose, forge, tiny

Metadata = dict[str, Any]
in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _same(a: Checkpoint, b: Checkpoint) -> bool:
    """Equal in every value, and in every bit of every array."""
    mine, theirs = arrays_of(a), arrays_of(b)
    return (
        json.dumps(a.metadata(), sort_keys=True) == json.dumps(b.metadata(), sort_keys=True)
        and a.vocabulary == b.vocabulary
        and mine.keys() == theirs.keys()
        and all(
            (mine[name].dtype, mine[name].shape, mine[name].tobytes())
            == (theirs[name].dtype, theirs[name].shape, theirs[name].tobytes())
            for name in mine
        )
    )


def _refused(path: Path, content: bytes | None = None) -> str:
    """Loading raises the one error that may come of it, with exit status 4; gives its message without the path."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load(path, with_state=True)
    assert caught.value.exit_status == 4
    before, _, after = caught.value.message.partition(str(path))
    assert len(before + after) < 400
    return before + after


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole `last` checkpoint."""
    file = tmp_path / "last.safetensors"
    save(file, tiny("last"))
    return file


# What is saved comes back.


@pytest.mark.parametrize("kind", ["best", "last"])
@pytest.mark.parametrize(("cell", "layers"), [("lstm", 2), ("gru", 1), ("rnn", 3)])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path, kind: str, cell: str, layers: int, as_bytes: bool) -> None:
    """Configuration, vocabulary, records and every bit of every array."""
    saved = tiny(kind, cell=cell, layers=layers, as_bytes=as_bytes)
    save(tmp_path / "c.safetensors", saved)
    assert _same(load(tmp_path / "c.safetensors", with_state=True), saved)


def test_without_state_the_weights_alone_come(path: Path) -> None:
    """Whoever samples is not handed the optimizer."""
    loaded = load(path)
    assert loaded.state == {}
    assert loaded.training == {}
    assert loaded.parameters.keys() == tiny("last").parameters.keys()


_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_ARRAYS = st.dictionaries(
    _NAMES.filter(lambda name: not name.startswith((MODEL_PREFIX, TEACHER_PREFIX))),
    st.tuples(st.sampled_from(["<f4", "<f8", "<i8", "|u1"]), st.lists(st.integers(0, 4), max_size=3)),
    max_size=5,
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(in_one_folder, max_examples=60)
@given(described=_ARRAYS, training=st.dictionaries(st.text(), _JSON, max_size=4), name=st.text())
def test_any_state_and_any_record_come_back(
    tmp_path: Path, described: dict[str, tuple[str, list[int]]], training: Metadata, name: str
) -> None:
    """Arrays of any shape under any name, any JSON, any name of a corpus, lone surrogates included."""
    whole = tiny("last")
    state = {
        key: np.random.default_rng(0).integers(0, 100, shape).astype(dtype) for key, (dtype, shape) in described.items()
    }
    saved = replace(whole, state=state, training=training, corpus={**whole.corpus, "name": name})
    save(tmp_path / "c.safetensors", saved)
    assert _same(load(tmp_path / "c.safetensors", with_state=True), saved)


def test_safetensors_itself_reads_the_file(path: Path) -> None:
    """The library's own reader finds the same arrays, and the metadata is a JSON object of the documented keys."""
    theirs, ours = load_file(path), arrays_of(load(path, with_state=True))
    assert theirs.keys() == ours.keys()
    assert all(np.array_equal(theirs[name], ours[name]) for name in ours)
    with safe_open(path, "numpy") as opened:
        metadata = opened.metadata()
    assert metadata["charrnn.format"] == str(FORMAT)
    assert json.loads(metadata["charrnn"])["vocabulary"] == {
        "kind": "text",
        "code_points": [10, 32, *range(97, 105)],
        "has_end": False,
        "has_unknown_symbol": False,
    }


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_model_of_documents_comes_back(tmp_path: Path, as_bytes: bool) -> None:
    """The end of a document is an id of its vocabulary, for which the model has a row."""
    saved = tiny(documents="lines", as_bytes=as_bytes)
    save(tmp_path / "c.safetensors", saved)
    loaded = load(tmp_path / "c.safetensors")
    assert _same(loaded, saved)
    assert loaded.vocabulary.end == (256 if as_bytes else 10)
    assert loaded.data.documents == "lines"


def test_a_file_forged_by_hand_is_read(tmp_path: Path) -> None:
    """The format is what `tests/kit/tiny.py` spells out, digest included: the refusals below lean on it."""
    file, saved = tmp_path / "c.safetensors", tiny("last")
    file.write_bytes(forge(saved.metadata(), arrays_of(saved)))
    assert _same(load(file, with_state=True), saved)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_that_the_umask_asks_for(tmp_path: Path, mask: int, mode: int) -> None:
    """A colleague can read a checkpoint where she can read any other new file."""
    before = os.umask(mask)
    try:
        save(tmp_path / "c.safetensors", tiny())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "c.safetensors").stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_file_that_is_replaced_keeps_its_mode(path: Path) -> None:
    """Whoever made it private finds it private after the next save."""
    path.chmod(0o600)
    save(path, tiny())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_save_that_fails_leaves_the_file_and_no_litter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of before stay, and the temporary file goes."""
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(Exception, match="no room left") as caught:
        save(path, tiny())
    assert getattr(caught.value, "exit_status", None) == 6
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    """No folder, or a folder in the place of the file."""
    with pytest.raises(UsageError, match="nowhere"):
        save(tmp_path / "nowhere" / "c.safetensors", tiny())
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="folder"):
        save(tmp_path / "folder", tiny())


def test_values_that_are_not_json_are_never_written(path: Path) -> None:
    """NaN is not JSON: it is a programming error here, not a file that others cannot read."""
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(path, replace(tiny(), progress={"best_nats": float("nan")}))
    assert path.read_bytes() == before


def test_a_checkpoint_replaced_while_it_is_read_is_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on saves while another process loads: header and arrays come from one and the same file."""
    original = described.read_header

    def replaced_meanwhile(*arguments: Any) -> Any:
        result = original(*arguments)
        save(path, tiny("best", cell="gru", layers=1))
        return result

    monkeypatch.setattr(described, "read_header", replaced_meanwhile)
    loaded = load(path, with_state=True)
    monkeypatch.undo()
    assert _same(loaded, tiny("last"))
    assert _same(load(path, with_state=True), tiny("best", cell="gru", layers=1))


def test_a_header_that_begins_like_a_pickle_or_a_zip_is_no_obstacle(tmp_path: Path) -> None:
    """The length of a header may be any number: one in 32 of them has a pickle's first byte, and one a zip's two."""
    first, whole = set(), tiny()
    save(tmp_path / "c.safetensors", replace(whole, corpus={**whole.corpus, "name": ""}))
    shortest = int.from_bytes((tmp_path / "c.safetensors").read_bytes()[:8], "little")
    zip_width = int.from_bytes(b"PK", "little") - shortest - 64
    for width in [*range(0, 256, 8), zip_width]:
        for more in range(0, 128 if width == zip_width else 8, 8):
            saved = replace(whole, corpus={**whole.corpus, "name": "x" * (width + more)})
            save(tmp_path / "c.safetensors", saved)
            start = (tmp_path / "c.safetensors").read_bytes()[:2]
            first.add(start[:1])
            first.add(start)
            if start[:1] == b"\x80" or start == b"PK":
                assert _same(load(tmp_path / "c.safetensors"), saved)
    assert {b"\x80", b"PK"} <= first


# Nothing else is taken for one: accidents.


def test_a_file_cut_off_anywhere_is_refused(path: Path) -> None:
    """At every length from nothing to one byte less than all."""
    length = path.stat().st_size
    os.truncate(path, length - 1)
    assert "cut off: 1 bytes" in _refused(path)
    for shorter in range(length - 2, -1, -1):
        os.truncate(path, shorter)
        _refused(path)
    assert "empty" in _refused(path)


def _flipped(path: Path, places: range, patterns: tuple[int, ...]) -> Iterator[str]:
    """What is said of the file with each byte in turn changed, and then put right again."""
    with open(path, "r+b", buffering=0) as file:
        for place in places:
            file.seek(place)
            (byte,) = file.read(1)
            for pattern in patterns:
                file.seek(place)
                file.write(bytes((byte ^ pattern,)))
                yield _refused(path)
            file.seek(place)
            file.write(bytes((byte,)))


def test_a_changed_byte_in_the_header_is_found(path: Path) -> None:
    """Every byte before the arrays, with one bit, another bit (a letter's case), or all bits flipped."""
    end = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert len(list(_flipped(path, range(end), (0x01, 0x20, 0xFF)))) == 3 * end
    assert _same(load(path, with_state=True), tiny("last"))


def test_a_changed_byte_in_the_arrays_is_found(path: Path) -> None:
    """Every seventh byte, with each of its bits flipped in turn, and all of them."""
    start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    patterns = (1, 2, 4, 8, 16, 32, 64, 128, 255)
    for message in _flipped(path, range(start, path.stat().st_size, 7), patterns):
        assert "checksum" in message


@pytest.mark.parametrize("more", [b"\0", b"\n", b"x" * 100])
def test_bytes_after_the_end_are_found(path: Path, more: bytes) -> None:
    """Nothing hides behind the arrays."""
    assert f"{len(more)} bytes follow its end" in _refused(path, path.read_bytes() + more)


_PIECES = st.tuples(st.integers(0, 5000), st.integers(0, 12), st.binary(max_size=12))


@settings(in_one_folder, max_examples=400)
@given(changes=st.lists(_PIECES, min_size=1, max_size=4))
def test_random_damage_is_refused_or_harmless(path: Path, changes: list[tuple[int, int, bytes]]) -> None:
    """Bytes replaced, removed and inserted at random: an equal checkpoint, or the one error."""
    whole = path.with_name("whole.safetensors")
    if not whole.exists():
        path.rename(whole)
    content = whole.read_bytes()
    for place, length, inserted in changes:
        content = content[:place] + inserted + content[place + length :]
    path.write_bytes(content)
    try:
        loaded = load(path, with_state=True)
    except CheckpointError:
        return
    assert _same(loaded, tiny("last"))


@settings(in_one_folder, max_examples=200)
@given(content=st.binary(max_size=200), as_header=st.booleans())
def test_random_bytes_are_refused(tmp_path: Path, content: bytes, as_header: bool) -> None:
    """Whatever a file holds, alone or as a header of the right length."""
    _refused(tmp_path / "c.safetensors", enclose(b"{" + content, b"") if as_header else content)


# Nothing else is taken for one: other files.

_OTHER_FILES = {
    "a zip, as torch.save makes": (b"PK\x03\x04\x00\x00\x08\x08\x00\x00" + bytes(200), "pickle"),
    "an empty zip": (b"PK\x05\x06" + bytes(18), "pickle"),
    "a pickle of protocol 2": (b"\x80\x02}q\x00X\x05\x00\x00\x00modelq\x01K\x01s.", "pickle"),
    "a pickle of protocol 4": (b"\x80\x04\x95\x11\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x05model\x94K\x01s.", "pickle"),
    "torch.save before 1.6": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "pickle"),
    "a text": (b"Now is the winter of our discontent\n" * 9, "not begin as a safetensors file"),
    "JSON": (b'{"model": {"cell": "lstm"}}', "not begin as a safetensors file"),
    "zeros": (bytes(1000), "not begin as a safetensors file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "not begin as a safetensors file"),
    "GGUF": (b"GGUF\x03\x00\x00\x00" + bytes(100), "not begin as a safetensors file"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "not begin as a safetensors file"),
    "seven bytes": (b"1234567", "only 7 bytes"),
    "a number that claims much": (b"\xff" * 8 + b"{", "middle of its header"),
    "a bare header": (enclose(b"{}", b""), "another program"),
    "metadata that is none": (enclose(b'{"__metadata__": null}', b""), "another program"),
    "metadata that is a list": (enclose(b'{"__metadata__": ["charrnn", "charrnn.format"]}', b""), "another program"),
    "a header that is a list": (enclose(b"[1, 2, 3]", b""), "not begin as a safetensors file"),
    "a header that never ends": (enclose(b'{"a": ' + b"[" * 200_000, b""), "damaged"),
    "a header that is not UTF-8": (enclose(b'{"a\xff": 1}', b""), "damaged"),
}


@pytest.mark.parametrize("kind", _OTHER_FILES)
def test_another_kind_of_file_is_refused(tmp_path: Path, kind: str) -> None:
    """With a word about what it is."""
    content, said = _OTHER_FILES[kind]
    assert said in _refused(tmp_path / "model.pt", content)


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    """A healthy safetensors file that is not ours."""
    file = tmp_path / "bert.safetensors"
    save_file({"layer.weight": np.zeros((2, 3), np.float32)}, file, {"format": "pt"})
    assert "safetensors file of another program" in _refused(file)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    """A folder, nothing, a dead link, a device, a name that no system takes, a path through a file."""
    assert "is a folder" in _refused(tmp_path)
    assert "there is no checkpoint" in _refused(tmp_path / "nothing")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert "there is no checkpoint" in _refused(tmp_path / "link")
    assert "File name too long" in _refused(tmp_path / ("x" * 300))
    (tmp_path / "text").write_text("text")
    assert "Not a directory" in _refused(tmp_path / "text" / "best.safetensors")
    assert "not a file" in _refused(Path(os.devnull))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Opening a named pipe without a writer would hang for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert "not a file on a disk" in _refused(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(path: Path) -> None:
    """Without permission."""
    path.chmod(0)
    assert "Permission denied" in _refused(path)


@pytest.mark.parametrize("version", [str(FORMAT + 1), "17", "4000000000"])
def test_a_newer_format_asks_for_an_update(tmp_path: Path, version: str) -> None:
    """Before anything else in it is looked at: what a later version writes is for that version to know."""
    whole = tiny()
    content = forge({"later": True}, arrays_of(whole), **{"charrnn.format": version, "charrnn.later": "x"})
    message = _refused(tmp_path / "c.safetensors", content)
    assert f"newer charrnn (format {version}; this one reads {FORMAT})" in message


@pytest.mark.parametrize("version", [str(each) for each in range(FORMAT)])
def test_an_older_format_is_refused_by_name(tmp_path: Path, version: str) -> None:
    """What an earlier version wrote, this one does not guess at."""
    whole = tiny()
    content = forge(whole.metadata(), arrays_of(whole), **{"charrnn.format": version})
    message = _refused(tmp_path / "c.safetensors", content)
    assert f"older charrnn (format {version}; this one reads {FORMAT})" in message


# Nothing else is taken for one: lies with a digest that is right.


def _set(*place: Any) -> Callable[[Metadata], None]:
    """A change of the metadata: keys down to a place, and last the value to put there."""
    *keys, last, value = place

    def change(metadata: Metadata) -> None:
        inner: Any = metadata
        for key in keys:
            inner = inner[key]
        inner[last] = value

    return change


def _remove(*place: Any) -> Callable[[Metadata], None]:
    *keys, last = place

    def change(metadata: Metadata) -> None:
        inner: Any = metadata
        for key in keys:
            inner = inner[key]
        del inner[last]

    return change


_HUGE = 10**12
_LIES: dict[str, Callable[[Metadata], None]] = {
    **{f"no {key}": _remove(key) for key in tiny().metadata() if key != "version"},
    **{
        f"{key} is {value!r}"[:60]: _set(key, value)
        for key in ("kind", "model", "vocabulary", "data", "corpus", "progress", "training", "environment")
        for value in (None, 7, "text", [], [["a", 1]], True)
    },
    **{
        f"corpus without {key}": _remove("corpus", key)
        for key in ("name", "characters", "bytes", "sha256", "train", "validation", "test", "traits")
    },
    **{
        f"progress without {key}": _remove("progress", key)
        for key in ("step", "epoch", "characters", "seconds", "best_nats", "best_step", "history")
    },
    "a third kind": _set("kind", "worst"),
    "a cell of the future": _set("model", "cell", "transformer"),
    "a cell that is a list": _set("model", "cell", ["lstm"]),
    "a cell with a name of a million letters": _set("model", "cell", "x" * 1_000_000),
    "a setting of the future": _set("model", "attention", True),
    "no layers": _set("model", "num_layers", 0),
    "another layer": _set("model", "num_layers", 3),
    "a million million layers": _set("model", "num_layers", _HUGE),
    "layers that are a float": _set("model", "num_layers", 2.0),
    "layers that are true": _set("model", "num_layers", True),
    "another hidden size": _set("model", "hidden_size", 5),
    "an enormous hidden size": _set("model", "hidden_size", _HUGE),
    "a hidden size beyond any machine": _set("model", "hidden_size", 10**400),
    "a negative hidden size": _set("model", "hidden_size", -4),
    "an enormous embedding": _set("model", "embedding_size", _HUGE),
    "dropout of one": _set("model", "dropout", 1.0),
    "dropout that is text": _set("model", "dropout", "0.1"),
    "a forget bias without end": _set("model", "forget_bias", 10**400),
    "no characters": _set("vocabulary", "code_points", []),
    "one character less": _set("vocabulary", "code_points", [10, 32, 97]),
    "a character twice": _set("vocabulary", "code_points", [10, 10, *range(97, 105)]),
    "characters out of order": _set("vocabulary", "code_points", [32, 10, *range(97, 105)]),
    "a character beyond Unicode": _set("vocabulary", "code_points", [10, *range(97, 105), 0x110000]),
    "a negative character": _set("vocabulary", "code_points", [-1, 10, *range(97, 105)]),
    "characters that are text": _set("vocabulary", "code_points", "\n abcdefgh"),
    "characters that are digits": _set("vocabulary", "code_points", [str(code) for code in (10, 32, *range(97, 105))]),
    "characters that are floats": _set("vocabulary", "code_points", [10.5, 32.5, *range(97, 105)]),
    "a character that is true": _set("vocabulary", "code_points", [True, 10, *range(97, 105)]),
    "an end that the arrays lack": _set("vocabulary", "has_end", True),
    "a third kind of vocabulary": _set("vocabulary", "kind", "words"),
    "bytes that are not 256": _set("vocabulary", "kind", "bytes"),
    "an end that is nothing": _set("vocabulary", "has_end", None),
    "documents without an end": _set("data", "documents", "lines"),
    "documents of the future": _set("data", "documents", "chapters"),
    "documents parted by no pattern": _set("data", "documents", "split:("),
    "a column that is a number": _set("data", "column", 3),
    "an encoding that is a number": _set("data", "encoding", 8),
    "bytes with characters": _set("data", "as_bytes", True),
    "byte mode that is a word": _set("data", "as_bytes", "no"),
    "line ends of the future": _set("data", "newlines", "nel"),
    "all of it held out": _set("data", "validation_fraction", 1.0),
    "a share that is text": _set("data", "test_fraction", "a lot"),
    "a corpus without a name": _set("corpus", "name", None),
    "characters that are a list of records": _set("corpus", "characters", [1]),
    "characters without end": _set("corpus", "characters", 10**400),
    "steps that are true": _set("progress", "step", True),
    "steps that are text": _set("progress", "step", "40"),
    "a history that is text": _set("progress", "history", "long"),
    "a history of numbers": _set("progress", "history", [1, 2, 3]),
    "a history of pairs": _set("progress", "history", [[1, 2.0], [2, 1.0]]),
    "a history of words": _set("progress", "history", [["one", "two", "three"]]),
    "a history without end": _set("progress", "history", [[1, 2.0, 10**400], [2, 1.0, 1.0]]),
}


@pytest.mark.parametrize("lie", _LIES)
def test_metadata_that_cannot_be_is_refused(tmp_path: Path, lie: str) -> None:
    """Though every checksum is right, and without an exception of any other kind, or much memory."""
    whole = tiny("last")
    metadata: Metadata = json.loads(json.dumps(whole.metadata()))
    _LIES[lie](metadata)
    content = forge(metadata, arrays_of(whole))
    tracemalloc.start()
    try:
        _refused(tmp_path / "c.safetensors", content)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000 + 8 * len(content)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, word: str) -> None:
    """Python's JSON reader takes NaN and Infinity, and 1e999 for infinity; a checkpoint has no use for them."""
    whole = tiny()
    text = json.dumps(whole.metadata()).replace('"best_nats": 1.75', f'"best_nats": {word}')
    assert word in text
    _refused(tmp_path / "c.safetensors", forge(text, arrays_of(whole)))


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    """In the header, in its metadata, or in the JSON inside: readers would differ on what the file means."""
    whole, file = tiny(), tmp_path / "c.safetensors"
    content = forge(whole.metadata(), arrays_of(whole))
    end = 8 + int.from_bytes(content[:8], "little")
    header, data = content[8:end], content[end:]
    array = b', "model.embedding": {"dtype": "F32", "shape": [10, 3], "data_offsets": [0, 120]}}'
    assert "occurs twice" in _refused(file, enclose(header[:-1] + array, data))
    again = header.replace(b'{"format": "pt"', b'{"format": "pt", "format": "pt"')
    assert "occurs twice" in _refused(file, enclose(again, data))
    text = json.dumps(whole.metadata()).replace('{"version"', '{"kind": "last", "version"')
    assert "occurs twice" in _refused(file, forge(text, arrays_of(whole)))


@pytest.mark.parametrize(
    "wrapped",
    [
        {"format": "np"},
        {"format": None},
        {"charrnn.format": "0"},
        {"charrnn.format": "-1"},
        {"charrnn.format": "04"},
        {"charrnn.format": "one"},
        {"charrnn.format": "1" * 9000},
        {"charrnn.format": 2},
        {"charrnn.format": [2]},
        {"charrnn.format": None},
        {"charrnn.sha256": "0" * 64},
        {"charrnn.sha256": None},
        {"charrnn": "not JSON"},
        {"charrnn": {"kind": "best"}},
        {"charrnn": "[]"},
        {"charrnn": "[" * 200_000},
        {"charrnn": '"\\ud800"'},
        {"something": "else"},
    ],
    ids=lambda wrapped: str(wrapped)[:40],
)
def test_a_wrapping_that_is_not_ours_is_refused(tmp_path: Path, wrapped: Metadata) -> None:
    """What the digest does not cover is checked for itself."""
    whole = tiny()
    _refused(tmp_path / "c.safetensors", forge(whole.metadata(), arrays_of(whole), **wrapped))


# Nothing else is taken for one: arrays.


def _entry(**changed: Any) -> Metadata:
    return {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changed}


_ENTRIES: dict[str, Any] = {
    "no entry": None,
    "a list": [],
    "a number": 5,
    "nothing in it": {},
    "too much in it": _entry(device="cuda"),
    "an unknown type": _entry(dtype="BF16"),
    "a type that is a list": _entry(dtype=["F32"]),
    "a wrong type": _entry(dtype="F64"),
    "a larger shape": _entry(shape=[2, 4]),
    "a shape that is a number": _entry(shape=6),
    "a shape of text": _entry(shape=["2", "3"]),
    "a shape of floats": _entry(shape=[2.0, 3.0]),
    "a shape of truth": _entry(shape=[True, 6]),
    "a negative shape": _entry(shape=[-2, -3]),
    "a huge shape without elements": _entry(shape=[10**12, 0]),
    "a huge shape": _entry(shape=[10**12, 10**12]),
    "a shape of numbers beyond any machine": _entry(shape=[10**300, 0], data_offsets=[0, 0]),
    "a shape of a hundred thousand dimensions": _entry(shape=[2**47] * 100_000),
    "a hundred thousand dimensions of one": _entry(shape=[6] + [1] * 100_000),
    "offsets that are text": _entry(data_offsets="024"),
    "offsets that are floats": _entry(data_offsets=[0.0, 24.0]),
    "one offset": _entry(data_offsets=[24]),
    "three offsets": _entry(data_offsets=[0, 12, 24]),
    "negative offsets": _entry(data_offsets=[-24, 0]),
    "offsets in the wrong order": _entry(data_offsets=[24, 0]),
    "offsets beyond the end": _entry(data_offsets=[24, 48]),
    "offsets beyond any machine": _entry(data_offsets=[0, 10**300]),
    "a gap before it": _entry(data_offsets=[1, 25]),
}


@pytest.mark.parametrize("kind", _ENTRIES)
def test_an_array_described_wrongly_is_refused(tmp_path: Path, kind: str) -> None:
    """Types, shapes and places are checked before an array is touched."""
    whole = replace(tiny("last"), state={"extra": np.ones((2, 3), np.float32)})
    content = forge(whole.metadata(), {"extra": whole.state["extra"], **arrays_of(replace(whole, state={}))})
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header["extra"] == _entry()
    header["extra"] = _ENTRIES[kind]
    tracemalloc.start()
    try:
        _refused(tmp_path / "c.safetensors", enclose(json.dumps(header).encode(), content[8 + length :]))
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_an_empty_array_with_a_huge_side_costs_nothing(tmp_path: Path) -> None:
    """[10**12, 0] is a shape like any other where it takes no bytes and names no parameter."""
    whole = replace(tiny("last"), state={"nothing": np.zeros((10**12, 0), np.float32)})
    file = tmp_path / "c.safetensors"
    file.write_bytes(forge(whole.metadata(), arrays_of(whole)))
    tracemalloc.start()
    try:
        assert load(file, with_state=True).state["nothing"].shape == (10**12, 0)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


_ARRAY_CHANGES: dict[str, Callable[[dict[str, np.ndarray[Any, Any]]], Any]] = {
    "one is missing": lambda arrays: arrays.pop("model.layers.2.bias"),
    "one too many": lambda arrays: arrays.update({"model.layers.3.bias": np.zeros(16, np.float32)}),
    "another name": lambda arrays: arrays.update({"model.Embedding": arrays.pop("model.embedding")}),
    "a row less": lambda arrays: arrays.update({"model.embedding": arrays["model.embedding"][1:]}),
    "a column more": lambda arrays: arrays.update({"model.decoder.weight": np.zeros((10, 5), np.float32)}),
    "turned": lambda arrays: arrays.update({"model.embedding": arrays["model.embedding"].reshape(3, 10)}),
    "another axis": lambda arrays: arrays.update({"model.decoder.bias": np.zeros((10, 1), np.float32)}),
    "doubles": lambda arrays: arrays.update({"model.decoder.bias": np.zeros(10)}),
    "integers": lambda arrays: arrays.update({"model.decoder.bias": np.zeros(10, np.int64)}),
    "NaN": lambda arrays: arrays["model.embedding"].__setitem__((0, 0), np.nan),
    "infinity": lambda arrays: arrays["model.layers.1.weight_hh"].__setitem__((3, 2), -np.inf),
    "NaN in the state": lambda arrays: arrays["optimizer.moments"].__setitem__((1, 1), np.nan),
    "none at all": lambda arrays: arrays.clear(),
}


@pytest.mark.parametrize("change", _ARRAY_CHANGES)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: str) -> None:
    """Names, shapes and types are those of the configuration, and every number is one."""
    whole = tiny("last")
    arrays = {name: array.copy() for name, array in arrays_of(whole).items()}
    _ARRAY_CHANGES[change](arrays)
    _refused(tmp_path / "c.safetensors", forge(whole.metadata(), arrays))


@settings(in_one_folder, max_examples=250)
@given(
    keys=st.sampled_from([(a,) for a in tiny().metadata()] + [(a, b) for a, v in tiny().metadata().items()
                          if isinstance(v, dict) for b in v]),
    value=_JSON,
)  # fmt: skip
def test_any_lie_is_refused_or_can_be_shown(tmp_path: Path, keys: tuple[str, ...], value: Any) -> None:
    """Any JSON in any place of the metadata: refused, or as good as true, so that `inspect` can print it."""
    whole = tiny("last")
    metadata: Metadata = json.loads(json.dumps(whole.metadata()))
    _set(*keys, value)(metadata)
    file = tmp_path / "c.safetensors"
    file.write_bytes(forge(metadata, arrays_of(whole)))
    try:
        loaded = load(file, with_state=True)
    except CheckpointError:
        return
    console = Console(file=StringIO(), width=80)
    for piece in summary(str(file), loaded):
        console.print(piece)


# What loading does not do.


def test_loading_imports_no_torch_and_opens_no_pickle(path: Path) -> None:
    """Neither for a good file nor for a pickle: an audit hook sees every pickle that Python opens."""
    path.with_name("model.pt").write_bytes(_OTHER_FILES["a pickle of protocol 4"][0])
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, _: event.startswith('pickle') and opened.append(event))\n"
        "from charrnn import errors\nfrom charrnn.checkpoints import checkpoint\n"
        "checkpoint.load(Path(sys.argv[1]), with_state=True)\n"
        "checkpoint.save(Path(sys.argv[1]), checkpoint.load(Path(sys.argv[1])))\n"
        "try: checkpoint.load(Path(sys.argv[2]))\n"
        "except errors.CheckpointError: pass\n"
        "else: raise AssertionError\n"
        "assert 'torch' not in sys.modules\n"
        "assert not opened, opened\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(path), str(path.with_name("model.pt"))]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


def test_arrays_cannot_be_written_to(path: Path) -> None:
    """They are views of the file: a change would be a change of the checkpoint."""
    array = load(path).parameters["embedding"]
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1.0


@pytest.mark.parametrize(("number", "status"), [(5, 6), (24, 6), (122, 6), (13, 2)])
def test_an_error_of_the_library_that_writes_is_the_systems(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    """safetensors gives its number in words alone."""
    from safetensors import SafetensorError

    def fail(*_: Any) -> None:
        raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises((ResourceError, UsageError), match=os.strerror(number)) as caught:
        save(path, tiny())
    assert caught.value.exit_status == status
