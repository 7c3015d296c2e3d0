"""The lanes over documents against a stream that is put together by hand, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.text.documents import Documents
from charrnn.training import documents as documents_module
from charrnn.training.documents import DocumentRing

END = 9


def _ring(documents: list[list[int]], lanes: int, window: int, seed: int = 5, spare: int = 0) -> DocumentRing:
    flat = [END]
    begins, ends = [], []
    for document in documents:
        begins.append(len(flat))
        flat += document
        ends.append(len(flat))
        flat.append(END)
    kept = Documents(np.array(begins, np.int64), np.array(ends, np.int64))
    return DocumentRing(np.array(flat, np.uint8), kept, seed, lanes, window, spare)


def _drawn(sizes: tuple[int, int], count: int) -> list[list[int]]:
    random = np.random.default_rng(3)
    return [random.integers(0, END, int(random.integers(*sizes))).tolist() for _ in range(count)]


def _streams(ring: DocumentRing, documents: list[list[int]], epochs: int) -> list[list[tuple[int, int, bool]]]:
    """What each lane reads in so many epochs, as (input, target, whether it starts from zero)."""
    lanes: list[list[tuple[int, int, bool]]] = [[] for _ in range(ring.lanes)]
    for epoch in range(epochs):
        key = np.array([ring.seed, epoch], np.uint64)
        order = np.argsort(np.random.Philox(key=key).random_raw(len(documents)), kind="stable")
        stream = []
        for number in order:
            whole = [END, *documents[number], END]
            stream += [(*pair, pair[0] == END) for pair in zip(whole, whole[1:], strict=False)]
        length = -(-len(stream) // ring.lanes)
        for lane, read in enumerate(lanes):
            first = lane * len(stream) // ring.lanes
            part = [stream[(first + place) % len(stream)] for place in range(length)]
            read += [(*part[0][:2], True), *part[1:]]
    return lanes


@pytest.mark.parametrize(
    ("sizes", "count", "lanes", "window"),
    [((1, 9), 40, 3, 7), ((1, 2), 17, 5, 4), ((50, 90), 3, 8, 11), ((2, 4), 2, 4, 9), ((3, 6), 7, 1, 64)],
)
@pytest.mark.parametrize("block", [5, 1 << 15])
def test_windows_are_those_of_the_stream(
    sizes: tuple[int, int], count: int, lanes: int, window: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short documents and long ones, more lanes than documents, windows longer than an epoch of a lane or a block."""
    monkeypatch.setattr(documents_module, "_BLOCK", block)
    documents = _drawn(sizes, count)
    ring = _ring(documents, lanes, window)
    steps = -(-3 * ring.lane_length // window)
    streams = _streams(ring, documents, 5 + steps * window // ring.lane_length)
    for step in range(steps):
        inputs, targets, starts = ring.window_at(step * window)
        for lane in range(lanes):
            wanted = streams[lane][step * window : (step + 1) * window]
            assert inputs[:, lane].tolist() == [read for read, _, _ in wanted]
            assert targets[:, lane].tolist() == [following for _, following, _ in wanted]
            assert starts[:, lane].tolist() == [zero for _, _, zero in wanted]


def test_each_epoch_reads_every_pair() -> None:
    """Each at least once; a few, fewer than the lanes, twice."""
    documents = _drawn((1, 12), 50)
    ring = _ring(documents, lanes=7, window=ring_window(documents, 7))
    whole = [pair for document in documents for pair in zip([END, *document], [*document, END], strict=True)]
    for epoch in range(3):
        inputs, targets, _ = ring.window_at(epoch * ring.lane_length)
        read = sorted(zip(inputs.ravel().tolist(), targets.ravel().tolist(), strict=True))
        for pair in whole:
            read.remove(pair)
        assert len(read) < 7


def ring_window(documents: list[list[int]], lanes: int) -> int:
    """The pairs that a lane reads in an epoch."""
    return -(-sum(len(document) + 1 for document in documents) // lanes)


def test_orders_differ_by_epoch_and_by_seed() -> None:
    """And a position gives the same window however one came to it."""
    documents = _drawn((3, 12), 60)
    ring = _ring(documents, 2, 16)
    first, second = (ring.window_at(epoch * ring.lane_length)[0] for epoch in (0, 1))
    assert (first != second).any()
    assert (first != _ring(documents, 2, 16, seed=6).window_at(0)[0]).any()
    far = _ring(documents, 2, 16)
    for position in (7 * ring.lane_length + 3, 0, 2 * ring.lane_length - 5):
        for one, other in zip(ring.window_at(position), far.window_at(position), strict=True):
            assert (one == other).all()


@pytest.mark.parametrize("lanes", [slice(0, 2), slice(2, 5), slice(4, 5)])
def test_some_lanes_read_what_they_read_among_all(lanes: slice) -> None:
    """As processes do that share the lanes; a longer window begins as a shorter one."""
    ring = _ring(_drawn((1, 20), 30), 5, 8, spare=8)
    for position in (0, 13, ring.lane_length - 2):
        for some, every in zip(ring.window_at(position, lanes, 12), ring.window_at(position, length=16), strict=True):
            assert (some == every[:12, lanes]).all()


def test_epochs_are_counted_in_pairs() -> None:
    """Ten documents of nine characters are a hundred pairs."""
    ring = _ring([[1] * 9] * 10, lanes=4, window=10)
    assert (ring.pairs, ring.lane_length) == (100, 25)
    assert ring.epoch(50) == 2.0
    assert ring.steps(2) == 5
    assert ring.characters_per_step == 40
