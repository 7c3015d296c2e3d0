"""Texts without an end, and texts that the disk has no room for."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.errors import ResourceError, TextError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import corpus, sources
from charrnn.text.cache import cache_folder
from charrnn.text.sources import Source, find
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command


class _Endless(io.RawIOBase):
    """Gives the same byte for ever."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b"a" * len(buffer)
        return len(buffer)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A disk with the room that its attribute `free` says."""
    room = SimpleNamespace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: room)
    monkeypatch.setattr(sources, "_A_LOOK", 1 << 20)
    monkeypatch.setattr(sources, "_HELD", 1 << 20)
    return room


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/full"])
def test_a_device_is_no_text(command: Command, tmp_path: Path, device: str) -> None:
    """It would be read for ever, by whatever name: refused before a byte of it is read."""
    if not Path(device).exists():
        pytest.skip(f"no {device} here")
    link = tmp_path / "link.txt"
    link.symlink_to(device)
    for name in (device, str(link)):
        result = command("train", name, "--bytes")
        assert result.status == 3
        assert f"error: {name} is a device, not a file of text" in result.err
        assert "hint: name a file, or pipe" in result.err
    assert not cache_folder().exists() or list(cache_folder().iterdir()) == []


def test_the_null_device_is_an_empty_text() -> None:
    """As everywhere."""
    (found,) = find(os.devnull)[0]
    with found.open() as stream:
        assert stream.read() == b""


def test_a_device_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`charrnn eval - < /dev/zero`."""
    with open("/dev/zero", encoding="utf-8") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        with pytest.raises(TextError, match="standard input is a device"):
            find("-")


def test_a_stream_without_end_leaves_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, disk: SimpleNamespace) -> None:
    """`yes | charrnn train -` stops while the disk still has room, says so with status 6, and leaves nothing."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(_Endless())))
    with pytest.raises(ResourceError, match=r"encoding stdin, of which 20,971,520 bytes .* has 10.0 MB left") as raised:
        find("-")
    assert raised.value.exit_status == 6
    assert "CHARRNN_CACHE" in str(raised.value.hint)
    assert [path.name for path in cache_folder().rglob("*")] == ["corpora"]


def test_a_pipe_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch, disk: SimpleNamespace) -> None:
    """However long it is."""
    content = b"abc" * 2_000_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    (found,) = find("-")[0]
    assert found.size() == len(content)
    sources.release([found])


def test_a_text_too_large_for_the_disk_is_told_before_it_is_written(tmp_path: Path, disk: SimpleNamespace) -> None:
    """A small archive may hold a large text; how large is known when it has been read once."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"ab" * 1_000_000))
    disk.free = 1_999_999
    with pytest.raises(ResourceError, match=r"encoding the corpus needs 2\.0 MB in .*, and its disk has 2\.0 MB left"):
        corpus.load([Source(path, "bomb")], DataConfig(), name="bomb")
    assert not [file for file in cache_folder().rglob("*") if file.is_file()]
    disk.free = 2_000_000
    assert len(corpus.load([Source(path, "bomb")], DataConfig(), name="bomb")) == 2_000_000


@pytest.mark.parametrize("view", [["--label-file"], ["--probe-file"]])
def test_a_device_is_no_file_of_labels(command: Command, view: list[str], tmp_path: Path) -> None:
    """Nor are its lines of any length."""
    from charrnn.checkpoints.checkpoint import save
    from tests.kit.tiny import tiny

    save(tmp_path / "best.safetensors", tiny())
    (tmp_path / "text.txt").write_text("abc abc " * 100)
    text = [] if view == ["--probe-file"] else [str(tmp_path / "text.txt"), "--find"]
    result = command("inspect", *text, "-c", str(tmp_path / "best.safetensors"), *view, "/dev/zero")
    assert result.status == 3
    assert "/dev/zero is a device" in result.err


@pytest.mark.parametrize("encoding", ["punycode", "no-such"])
@pytest.mark.parametrize("name", ["empty", "damaged.gz", "-"])
def test_an_encoding_that_is_none_is_told_first(tmp_path: Path, encoding: str, name: str) -> None:
    """Before it is known whether there is any text; Python decodes punycode wrongly in pieces, so it is none."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.gz").write_bytes(b"\x1f\x8b")
    argument = name if name == "-" else str(tmp_path / name)
    with pytest.raises(UsageError, match=f"--encoding is '{encoding}'"):
        find(argument, config=DataConfig(encoding=encoding))


def test_a_second_mark_is_text(tmp_path: Path) -> None:
    """One byte order mark is taken off, by the codec where it does so itself, and never two."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        path = tmp_path / encoding
        mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
        path.write_bytes(f"{mark}\ufeffab".encode(encoding))
        read = corpus.load([Source(path, encoding)], DataConfig(encoding=encoding), name="marks")
        assert read.vocabulary == Vocabulary.of("\ufeffab")
        assert len(read) == 3
