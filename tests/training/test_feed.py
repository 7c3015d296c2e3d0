"""Windows of a feed against the ring's own, wherever they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from charrnn.text import stored
from charrnn.training import feed as feeds
from charrnn.training.feed import Feed, HostFeed, ResidentFeed, make_feed
from charrnn.training.lanes import Ring
from tests.kit.stored_ids import stored_ids

CPU = torch.device("cpu")
N, B, T = 101, 7, 5
PARTS = [slice(0, B), slice(0, 2), slice(2, 5), slice(6, 7)]
POSITIONS = [*range(N + T + 2), 3 * N - 1, 10_007]
"""Every place of a window, so that each lane goes over the seam in every way, and places far round the ring."""


def _ids(dtype: type[np.unsignedinteger], seed: int = 0) -> npt.NDArray[np.unsignedinteger]:
    """With the smallest and largest there are of one and two bytes: those are negative numbers to a signed type."""
    most = {np.uint8: 2**8, np.uint16: 2**16, np.uint32: 0x110000}[dtype]
    ids = np.random.default_rng(seed).integers(0, most, N).astype(dtype)
    ids[[0, 1, N // 2, N - 2, N - 1]] = [most - 1, 0, most // 2, most // 2 - 1, most - 2]
    return ids


def _make(kind: str, ring: Ring, lanes: slice) -> Feed:
    return HostFeed(ring, lanes) if kind == "host" else ResidentFeed(ring, lanes, CPU)


def _assert_same(feed: Feed, ring: Ring, lanes: slice) -> None:
    for position in POSITIONS:
        inputs, targets, _ = feed.at(position)
        whole = ring.at(position)
        assert inputs.dtype == targets.dtype == torch.int64
        assert inputs.shape == targets.shape == (T, lanes.stop - lanes.start)
        assert torch.equal(inputs, whole[0][:, lanes])
        assert torch.equal(targets, whole[1][:, lanes])


@pytest.mark.parametrize("lanes", PARTS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("kind", ["host", "resident"])
def test_a_feed_gives_the_rings_windows(kind: str, dtype: type[np.unsignedinteger], lanes: slice) -> None:
    """At every position, the seam included, of all lanes and of some."""
    ids = _ids(dtype)
    ring = Ring(ids, B, T)
    assert int(ids.max()) >= 2 ** min(8 * ids.itemsize - 1, 20)
    _assert_same(_make(kind, ring, lanes), ring, lanes)


@pytest.mark.parametrize("piece", [1, 13, N - 1, N, N + 1])
def test_a_resident_text_is_copied_piece_by_piece(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the pieces, the last one smaller than the others or not."""
    monkeypatch.setattr(feeds, "_PIECE", piece)
    ring = Ring(_ids(np.uint16), B, T)
    _assert_same(ResidentFeed(ring, slice(0, B), CPU), ring, slice(0, B))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("kind", ["host", "resident"])
def test_a_stored_text(
    kind: str, dtype: type[np.unsignedinteger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids in a file, of which a part is read, a few blocks at a time."""
    monkeypatch.setattr(stored, "CAPACITY", 64)
    ids = _ids(dtype)
    held = stored_ids(tmp_path, np.concatenate([ids[:3], ids, ids[:4]]), 0x110000, block=16)
    ring = Ring(held.part(3, 3 + N), B, T)
    lanes = slice(2, 5)
    _assert_same(_make(kind, ring, lanes), Ring(ids, B, T), lanes)


@pytest.mark.parametrize("kind", ["host", "resident"])
def test_a_text_that_cannot_be_written_to(kind: str) -> None:
    """It need not be."""
    ids = _ids(np.uint16)
    ids.flags.writeable = False
    _assert_same(_make(kind, Ring(ids, B, T), slice(2, 5)), Ring(ids, B, T), slice(2, 5))


@pytest.mark.parametrize("kind", ["host", "resident"])
def test_a_window_longer_than_the_text(kind: str) -> None:
    """It goes round more than once."""
    ring = Ring(np.array([65535, 1, 32768], np.uint16), lanes=2, window=8)
    feed = _make(kind, ring, slice(0, 2))
    inputs, targets, _ = feed.at(5)
    assert inputs[:, 0].tolist() == [32768, 65535, 1, 32768, 65535, 1, 32768, 65535]
    assert targets[:, 1].tolist() == [1, 32768, 65535, 1, 32768, 65535, 1, 32768]


@pytest.mark.parametrize("kind", ["host", "resident"])
def test_a_window_is_its_takers(kind: str) -> None:
    """What is done to it changes neither the text nor a window that was taken before."""
    ring = Ring(_ids(np.uint8), B, T)
    feed = _make(kind, ring, slice(0, B))
    first = feed.at(9)[0]
    kept = first.clone()
    feed.at(9)[0].zero_()
    assert torch.equal(first, kept)
    assert torch.equal(feed.at(9)[0], kept)


@pytest.mark.parametrize("lanes", PARTS, ids=str)
def test_windows_differ_in_length(lanes: slice) -> None:
    """Where the ring has room for it, any number of characters up to the most, from the host and from a device."""
    ids = _ids(np.uint16)
    ring = Ring(ids, B, T, spare=3)
    for kind in ("host", "resident"):
        feed = _make(kind, ring, lanes)
        for length in range(1, T + 4):
            for position in (0, 9, N - 2, 3 * N - 1):
                inputs, targets, _ = feed.at(position, length)
                whole = Ring(ids, B, length).at(position, lanes)
                assert torch.equal(inputs, whole[0])
                assert torch.equal(targets, whole[1])
        assert feed.at(3)[0].shape == (T, lanes.stop - lanes.start)


@pytest.mark.parametrize("lanes", PARTS, ids=str)
def test_a_cpu_cuts_windows_when_they_are_asked_for(lanes: slice) -> None:
    """Nothing is copied beforehand."""
    ring = Ring(_ids(np.uint16), B, T)
    feed = make_feed(ring, lanes, CPU)
    assert isinstance(feed, HostFeed)
    _assert_same(feed, ring, lanes)
