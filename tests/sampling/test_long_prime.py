"""Primes as long as a book: memory holds little more than their ids."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoints.checkpoint import load, save
from charrnn.cli.reading import read_prime
from charrnn.errors import TextError
from charrnn.inference.make_engine import make_engine
from charrnn.sampling import sampler
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command
from tests.kit.tiny import CHARACTERS, tiny


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of random numbers."""
    save(tmp_path / "best.safetensors", tiny())
    return tmp_path / "best.safetensors"


def test_a_long_prime_takes_little_more_than_its_ids(tmp_path: Path, model: Path, command: Command) -> None:
    """Read, fed and written, ten million characters take at most thirty million bytes, not a hundred and seventy."""
    loaded, path = load(model), tmp_path / "prime.txt"
    path.write_bytes(CHARACTERS.encode() * 1_000_000)
    tracemalloc.start()
    try:
        ids = read_prime(str(path), loaded, "error")
        beginning = sampler.prime_ids(loaded.vocabulary, ids[: sampler._BLOCK])
        written = sum(len(piece) for piece in loaded.vocabulary.decode_pieces(ids))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(ids), written, ids.dtype) == (10_000_000, 10_000_000, np.uint8)
    assert len(beginning) == sampler._BLOCK + 1
    assert most < 30_000_000


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 9000])
@pytest.mark.parametrize("has_line_end", [True, False])
def test_a_prime_is_read_as_one_text(length: int, has_line_end: bool) -> None:
    """A line end, where the model has one, and then the prime, in blocks of the same size, as if put together."""
    vocabulary = Vocabulary.of("\nab" if has_line_end else "abc")
    seen: list[Any] = []

    class Engine:
        def zero_state(self, lanes: int) -> int:
            return 0

        def read(self, ids: Any, state: int) -> tuple[int, int]:
            assert ids.dtype == np.int32
            seen.append(ids.tolist())
            return state + 1, state + 1

    ids = np.random.default_rng(1).integers(0, 3, length).astype(np.uint8)
    _, state = sampler.read_prime(Engine(), vocabulary, ids)  # type: ignore[arg-type]
    whole = sampler.prime_ids(vocabulary, ids).tolist()
    assert seen == [whole[start : start + 4096] for start in range(0, len(whole), 4096)]
    assert state == len(seen)


@pytest.mark.parametrize("unknown", ["error", "skip", "replace"])
def test_unknown_characters_are_all_told(tmp_path: Path, model: Path, unknown: str) -> None:
    """Of the whole file, not of the piece that is read first."""
    path = tmp_path / "prime.txt"
    path.write_text("ab?" * 40_000 + "!" + "A")
    loaded = load(model)
    if unknown == "skip":
        assert read_prime(str(path), loaded, "skip").tolist() == loaded.vocabulary.encode("ab" * 40_000).tolist()
        return
    with pytest.raises(TextError) as raised:
        read_prime(str(path), loaded, unknown)  # type: ignore[arg-type]
    assert "'?' U+003F QUESTION MARK (40000 times), '!' U+0021 EXCLAMATION MARK" in raised.value.message
    assert ("'A'" in raised.value.message) == (unknown == "error")  # which is near to a


def test_what_is_written_is_the_prime(tmp_path: Path, command: Command) -> None:
    """In the model's bytes too, whatever they are."""
    save(tmp_path / "bytes.safetensors", tiny(as_bytes=True))
    raw = Random(3).randbytes(150_000) + "é".encode()[:1]
    (tmp_path / "prime").write_bytes(raw)
    words = ["-c", str(tmp_path / "bytes.safetensors"), "--prime-file", str(tmp_path / "prime")]
    result = command("sample", *words, "--length", "1")
    assert result.status == 0
    assert result.out.encode("utf-8", "surrogateescape").startswith(raw)


def test_an_endless_prime_is_refused(model: Path, command: Command) -> None:
    """As any text."""
    if not os.path.exists("/dev/urandom"):
        pytest.skip("no such device here")
    result = command("sample", "-c", str(model), "--prime-file", "/dev/urandom")
    assert (result.status, result.out) == (3, "")
    assert "is a device" in result.err


def test_a_session_keeps_a_long_prime_small(model: Path) -> None:
    """Four bytes an id."""
    from charrnn.sampling.cowriting import Session
    from charrnn.settings.sampling import SamplingConfig

    loaded = load(model)
    ids = np.tile(loaded.vocabulary.encode(CHARACTERS), 10_000)
    session = Session(make_engine(loaded.model, loaded.parameters), loaded.vocabulary, ids, SamplingConfig(seed=1))
    assert session.text == CHARACTERS * 10_000
    assert session.encoded() == session.text.encode()
    session.add("abc")
    assert session.ids == [*ids.tolist(), *loaded.vocabulary.encode("abc").tolist()]
    assert session._ids.itemsize * len(session._ids) == 4 * 100_003
