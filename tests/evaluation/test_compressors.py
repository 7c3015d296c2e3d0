"""What compressors need, beside a model: figures that can be had again, and a verdict that follows from them."""

from __future__ import annotations

import bz2
import json
import lzma
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.compressors import _verdict
from charrnn.evaluation.compressors import Compressed, compressed
from tests.kit.command import Command
from tests.kit.text import make_text
from tests.kit.tiny import tiny

TEXT = make_text(6_000, 1).encode()
TRAINING = make_text(60_000, 1)[6_000:].encode()
ALWAYS = ["zlib", "bz2", "lzma"]


@pytest.fixture
def _without_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressors of the standard library alone, whatever is installed."""
    for name in ("zstandard", "brotli"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("_without_others")
def test_the_sizes_are_those_of_the_compressors() -> None:
    """zlib without its header of six bytes, bz2, and lzma without its container."""
    told: list[str] = []
    found = {one.name: one for one in compressed(TEXT, TRAINING, told.append)}
    assert list(found) == told == ALWAYS
    assert found["zlib"].alone == len(zlib.compress(TEXT, 9, -15))
    assert found["bz2"] == Compressed("bz2", len(bz2.compress(TEXT)), None)
    assert found["lzma"].alone == pytest.approx(len(lzma.compress(TEXT, preset=9)), abs=80)
    assert found["lzma"].best == found["lzma"].after_training


@pytest.mark.usefixtures("_without_others")
def test_a_training_text_helps() -> None:
    """Of the same words, those that can look at it need less; a dictionary of zlib's reads its own output back."""
    found = {one.name: one for one in compressed(TEXT, TRAINING)}
    for name in ("zlib", "lzma"):
        assert found[name].after_training is not None
        assert found[name].after_training < 0.95 * found[name].alone  # type: ignore[operator]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, TRAINING[-32768:])
    packed = packer.compress(TEXT) + packer.flush()
    assert found["zlib"].after_training == len(packed)
    assert zlib.decompressobj(-15, TRAINING[-32768:]).decompress(packed) == TEXT
    assert all(one.after_training is None for one in compressed(TEXT))
    (again,) = (one for one in compressed(TRAINING[-3_000:], TRAINING) if one.name == "lzma")
    assert again.after_training < 60  # type: ignore[operator]


@pytest.mark.parametrize("name", ["zstandard", "brotli"])
def test_others_are_taken_where_they_are_installed(name: str) -> None:
    """And come after those that are always there."""
    pytest.importorskip(name)
    found = {one.name: one for one in compressed(TEXT, TRAINING)}
    assert list(found)[:3] == ALWAYS
    assert 0.5 < found[name].alone / found["zlib"].alone < 1.3
    if name == "zstandard":
        assert found[name].after_training < 0.95 * found[name].alone  # type: ignore[operator]


def test_an_installed_brotli_is_asked_for_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most effort and the widest window, and no training text."""
    asked: list[dict[str, Any]] = []

    def compress(text: bytes, **settings: Any) -> bytes:
        asked.append(settings)
        return text[:7]

    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "brotli", SimpleNamespace(compress=compress))
    found = compressed(TEXT, TRAINING)
    assert found[-1] == Compressed("brotli", 7, None)
    assert asked == [{"quality": 11, "lgwin": 24}]


def test_nothing_can_be_compressed() -> None:
    """An empty text takes a few bytes."""
    assert all(one.alone < 40 for one in compressed(b"", b"abc"))


def test_the_verdict_is_about_the_best() -> None:
    """In both directions, with the name of the best and its way."""
    listed: list[dict[str, Any]] = [
        {"name": "zlib", "bits_per_character": 3.0, "after_training_bits_per_character": 2.5},
        {"name": "bz2", "bits_per_character": 2.75, "after_training_bits_per_character": None},
    ]
    said = _verdict(2.0, listed)
    assert said == (
        "The model needs 0.5000 bits per character less than the best of them, zlib after the training text "
        "(2.0000 and 2.5000)."
    )
    assert "0.2500 bits per character more than the best of them, zlib after" in _verdict(2.75, listed)
    assert "It has learned less from the training text" in _verdict(2.7, listed)
    assert "It knows less of such text than a general compressor finds out by itself." in _verdict(2.75, listed)


@pytest.mark.usefixtures("_without_others")
def test_eval_shows_them_on_the_same_part(command: Command) -> None:
    """All characters but the first of the part that is scored, after the training part; of all of it alone."""
    text = make_text(6_000, 1)
    checkpoint = tiny(characters="".join(sorted(set(text))))
    Path("checkpoints/tiny").mkdir(parents=True)
    checkpoints.save(Path("checkpoints/tiny/best.safetensors"), checkpoint)
    Path("text.txt").write_text(text, "utf-8")
    words = ("eval", "text.txt", "--compressors")
    result = command(*words, "--split", "validation", "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    wanted = compressed(text[5_401:].encode(), text[:5_400].encode())
    told = found["compressors"]
    assert told["characters"] == found["characters"] == 599
    assert [(one["name"], one["bytes"], one["after_training_bytes"]) for one in told["compressors"]] == [
        (one.name, one.alone, one.after_training) for one in wanted
    ]
    assert told["compressors"][0]["bits_per_character"] == pytest.approx(8 * wanted[0].alone / 599)
    assert told["model_bytes"] == sum(array.nbytes for array in checkpoint.parameters.values())
    out = command(*words, "--split", "validation").out
    assert told["verdict"] in " ".join(out.split())
    assert "are not counted in its score" in out
    alone = json.loads(command(*words, "--json").out)["compressors"]
    assert [one["after_training_bytes"] for one in alone["compressors"]] == [None] * 3
