"""Ids in a file against the same ids as an array, and everything that may happen to the file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.errors import TextLost
from charrnn.text import stored
from charrnn.text.stored import DIGEST, Damaged, Digests, StoredIds, are_equal, part_of, pieces
from tests.kit.stored_ids import file_of, stored_ids

N = 1000
BLOCK = 32
DTYPES = [np.uint8, np.uint16, np.uint32]


def _ids(dtype: Any = np.uint16, size: int = 250) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, size, N).astype(dtype)


@pytest.fixture(autouse=True)
def _few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 to 125 blocks five are kept."""
    monkeypatch.setattr(stored, "CAPACITY", 5 * BLOCK)


@pytest.mark.parametrize("dtype", DTYPES)
def test_they_are_read_as_an_array_is(tmp_path: Path, dtype: Any) -> None:
    """One, a slice, a slice with steps, places in any shape, places counted from the end, and all; parts of parts."""
    whole = _ids(dtype)
    held = stored_ids(tmp_path, whole, 250, BLOCK)
    pick = np.random.default_rng(1)
    assert (len(held), held.dtype, held.itemsize, held.nbytes) == (N, whole.dtype, whole.itemsize, whole.nbytes)
    for array, ids in (
        (whole, held),
        (whole[3:-4], held.part(3, N - 4)),
        (whole[3:-4][5:9], held.part(3, N - 4).part(5, 9)),
    ):
        size = len(array)
        assert len(ids) == size
        assert ids[0] == array[0]
        assert ids[-1] == array[-1]
        assert ids[0].dtype == array.dtype
        for begin, end, step in [
            (0, size, 1),
            (1, 3, 1),
            (7, 7, 1),
            (9, 2, 1),
            (-5, None, 1),
            (0, 10**9, 7),
            (None, None, -1),
        ]:
            read = ids[begin:end:step]
            assert read.dtype == array.dtype
            assert read.tolist() == array[begin:end:step].tolist()
        for shape in ((), (1,), (3, 5), (2, 0), (40, 30)):
            places = pick.integers(-size, size, shape)
            assert np.array_equal(ids[places], array[places])
        assert np.array_equal(np.asarray(ids), array)
        assert [piece.tolist() for piece in pieces(ids, 300)] == [piece.tolist() for piece in pieces(array, 300)]
        assert np.array_equal(part_of(ids, 1, 3)[:], part_of(array, 1, 3))


def test_they_are_read_as_an_array_is_at_random(tmp_path: Path) -> None:
    """In any order, so that each block is let go of and read again."""
    whole = _ids()
    held = stored_ids(tmp_path, whole, 250, BLOCK)
    pick = np.random.default_rng(2)
    for _ in range(300):
        begin = int(pick.integers(0, N))
        end = begin + int(pick.integers(0, 70))
        assert np.array_equal(held[begin:end], whole[begin:end])
        places = pick.integers(0, N, (int(pick.integers(1, 4)), int(pick.integers(1, 20))))
        assert np.array_equal(held[places], whole[places])


def test_what_is_read_is_the_readers_own(tmp_path: Path) -> None:
    """What is done to it does not change the text."""
    held = stored_ids(tmp_path, _ids(), 250, BLOCK)
    held[3:9][:] = 7
    held[np.arange(9)][:] = 7
    assert held[3:9].tolist() == _ids()[3:9].tolist()


@pytest.mark.parametrize("place", [N, -N - 1, np.array([0, N]), 1.5, np.array([True]), "a"])
def test_a_place_outside(tmp_path: Path, place: Any) -> None:
    """It is an IndexError, as an array's is."""
    with pytest.raises(IndexError):
        stored_ids(tmp_path, _ids(), 250, BLOCK)[place]


def test_equal_texts(tmp_path: Path) -> None:
    """Whatever holds them."""
    whole = _ids()
    other = whole.copy()
    other[-1] ^= 1
    held = stored_ids(tmp_path, whole, 251, BLOCK)
    assert are_equal(held, whole)
    assert are_equal(whole, held)
    assert are_equal(held, held)
    assert not are_equal(held, other)
    assert not are_equal(held, whole[1:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_in_memory(tmp_path: Path, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, read-only, however many blocks are read at a time; an empty one too."""
    for piece in (1, BLOCK, 100, 1 << 20):
        monkeypatch.setattr(stored, "_PIECE", piece)
        whole = file_of(tmp_path, _ids(dtype), 250, BLOCK).whole()
        assert whole.dtype == dtype
        assert np.array_equal(whole, _ids(dtype))
        assert not whole.flags.writeable
    assert file_of(tmp_path, _ids(dtype)[:0], 250, BLOCK).whole().tolist() == []


def _flip(place: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with open(path, "rb+") as file:
            file.seek(place)
            was = file.read(1)[0]
            file.seek(place)
            file.write(bytes([was ^ 1]))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip(2 * N - 1), "is damaged in the 32 bytes from 1,984 on"),
        (_flip(1999 - 32), "is damaged in the 32 bytes from 1,952 on"),
        (lambda path: os.truncate(path, 1999), "is shorter than it was"),
        (lambda path: os.truncate(path, 0), "is shorter than it was"),
    ],
)
def test_damage_under_a_run(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    """What was read before is still there; what is read then is an error, not a number, nor SIGBUS."""
    held = stored_ids(tmp_path, _ids(), 250, BLOCK)
    assert held[:5].tolist() == _ids()[:5].tolist()
    damage(tmp_path / "ids.bin")
    assert held[:5].tolist() == _ids()[:5].tolist()
    for read in (lambda: held[N - 30 :], lambda: held[np.array([N - 1, N - 17, 3])], lambda: held[:]):
        with pytest.raises(TextLost) as raised:
            read()
        assert raised.value.message == said
    assert raised.value.exit_status == 6


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason is passed on."""
    held = stored_ids(tmp_path, _ids(), 250, BLOCK)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(TextLost, match=r"cannot be read \(Input/output error\)"):
        held[0]


def test_a_disk_that_gives_less_than_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again."""
    held, real = stored_ids(tmp_path, _ids(), 250, BLOCK), os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, place: real(file, min(count, 7), place))
    assert np.array_equal(held[:], _ids())


def test_a_system_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It seeks and reads."""
    monkeypatch.delattr(os, "pread")
    assert np.array_equal(stored_ids(tmp_path, _ids(), 250, BLOCK)[:], _ids())
    assert np.array_equal(file_of(tmp_path, _ids(), 250, BLOCK).whole(), _ids())


@pytest.mark.parametrize("is_large", [False, True])
def test_an_id_beyond_the_vocabulary_is_never_given(tmp_path: Path, is_large: bool) -> None:
    """Even where the digests say that it belongs there: compiled code does not ask again."""
    ids = _ids()
    ids[700] = 250
    file = file_of(tmp_path, ids, 250, BLOCK)
    said = "holds the id 250, but there are 250 characters"
    if is_large:
        held = StoredIds.of(file, TextLost)
        assert held[:688].max() < 250
        with pytest.raises(TextLost, match=said):
            held[690:701]
    else:
        with pytest.raises(Damaged, match=said):
            file.whole()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK])
def test_digests_do_not_depend_on_how_a_file_is_written(size: int) -> None:
    """One for each block, the last of which may be shorter."""
    raw = bytes(range(256))[:size]
    found = set()
    for step in (1, 7, BLOCK, 1000):
        digests = Digests(BLOCK)
        for start in range(0, size, step):
            digests.update(raw[start : start + step])
        found.add(digests.whole())
    (whole,) = found
    assert len(whole) == -(-size // BLOCK) * DIGEST


def test_the_file_is_closed_with_the_text(tmp_path: Path) -> None:
    """No descriptor is left over."""
    held = stored_ids(tmp_path, _ids(), 250, BLOCK)
    if os.path.isdir("/proc/self/fd"):
        assert len(_opened(tmp_path)) == 1
    part = held.part(1, 5)
    del held
    assert part[:].tolist() == _ids()[1:5].tolist()
    del part
    assert _opened(tmp_path) == []


def _opened(folder: Path) -> list[str]:
    """The files below a folder that this process has open, where the system tells."""
    found = []
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if path.startswith(str(folder))]
