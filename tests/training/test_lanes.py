"""The ring of lanes against the drawing in its docstring and against plain indexing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from charrnn.text import stored
from charrnn.training.lanes import Ring
from tests.kit.stored_ids import stored_ids


def _read(ring: Ring, steps: int) -> list[str]:
    """What each lane reads in the first `steps` windows, as letters."""
    windows = [ring.at(step * ring.window)[0].numpy() for step in range(steps)]
    lanes = np.concatenate(windows).T
    return ["".join(chr(ord("a") + id_) for id_ in lane) for lane in lanes]


def test_the_drawing_of_the_docstring() -> None:
    """Twelve letters, three lanes, windows of two."""
    ring = Ring(np.arange(12, dtype=np.uint8), lanes=3, window=2)
    assert _read(ring, 6) == ["abcdefghijkl", "efghijklabcd", "ijklabcdefgh"]


@pytest.mark.parametrize(("size", "lanes", "window"), [(12, 3, 2), (101, 7, 5), (64, 1, 9), (13, 5, 4)])
def test_each_epoch_reads_every_character_once(size: int, lanes: int, window: int) -> None:
    """Over one trip of all lanes round the ring each character is read as often as there are lanes."""
    ring = Ring(np.arange(size, dtype=np.uint8), lanes, window)
    inputs = np.concatenate([ring.at(position)[0].numpy() for position in range(0, size * window, window)])
    counts = np.bincount(inputs.ravel(), minlength=size)
    assert (counts == lanes * window).all()


@pytest.mark.parametrize("position", [0, 3, 50, 97, 10_000])
def test_targets_are_the_successors_on_the_ring(position: int) -> None:
    """Against plain modular indexing, the seam included."""
    ids = np.random.default_rng(0).integers(0, 250, 101).astype(np.uint8)
    ring = Ring(ids, lanes=7, window=5)
    inputs, targets, _ = ring.at(position)
    for lane in range(7):
        for t in range(5):
            place = lane * 101 // 7 + position + t
            assert inputs[t, lane] == ids[place % 101]
            assert targets[t, lane] == ids[(place + 1) % 101]


def test_a_window_longer_than_the_text_goes_round() -> None:
    """Tiny texts are read more than once in a window, correctly."""
    ring = Ring(np.arange(3, dtype=np.uint8), lanes=1, window=8)
    assert ring.at(2)[0].ravel().tolist() == [2, 0, 1, 2, 0, 1, 2, 0]


def test_epochs_are_counted_in_characters() -> None:
    """An epoch ends when the lanes together have read the text once; the last window may reach over."""
    ring = Ring(np.zeros(1000, np.uint8), lanes=4, window=30)
    assert ring.epoch(250) == 1.0
    assert ring.steps(1) == 9  # 8 windows of 120 are 960, the ninth reaches 1,000
    assert ring.steps(2.5) == 21
    assert ring.steps(1e-9) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="nothing tells how much memory there is")
def test_memory_does_not_grow_with_a_large_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one pass over 48 MB of stored ids a few are resident, and what was let go of is read again as it was."""

    def megabytes() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    monkeypatch.setattr(stored, "CAPACITY", 4 << 20)
    ids = np.random.default_rng(0).integers(0, 251, 48 << 20, np.uint8)
    held = stored_ids(tmp_path, ids, 251)
    before = megabytes()
    ring = Ring(held.part(0, len(ids) - 3), lanes=3, window=1 << 13)
    for step in range(ring.steps(1)):
        ring.at(step * ring.window)
    assert megabytes() - before < 16
    in_memory = Ring(ids[:-3], lanes=3, window=1 << 13)
    assert ring.at(1 << 16)[1].equal(in_memory.at(1 << 16)[1])
