"""Servers that lie, drip and never end: what comes of a download, said in a sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from charrnn.errors import TextError
from charrnn.text import download
from charrnn.text.cache import cache_folder
from charrnn.text.catalogue import Entry, fetch
from tests.campaign._server import Server
from tests.kit.text import make_text

TEXT = make_text(5003).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """On the loopback, with time-outs of a moment."""
    monkeypatch.setenv("NO_PROXY", "*")
    for name, value in {"_TIMEOUT": (1, 0.3), "_MINUTE": 0.2, "_LEAST": 50}.items():
        monkeypatch.setattr(download, name, value)
    return Server(TEXT)


@pytest.fixture
def entry(server: Server) -> Entry:
    """The text that the server has."""
    return Entry(
        name="tiny", title="", url=server.url, file="tiny.txt", bytes=len(TEXT),
        sha256=hashlib.sha256(TEXT).hexdigest(), licence="", validation_fraction=0.1, test_fraction=0.0,
    )  # fmt: skip


def _begin(entry: Entry, content: bytes) -> Path:
    partial = cache_folder() / "partial" / f"{entry.sha256}.part"
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(content)
    return partial


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("endless redirect", "the server names an address|names another address|cannot"),
        ("file", "No connection adapters"),
        ("drip head", "the connection broke off"),
        ("silent", "the server does not answer in time"),
        ("drip", "the server sends hardly anything|does not answer"),
        ("huge headers", "the connection broke off"),
        ("bad gzip", "the server sends what cannot be unpacked"),
        ("part unasked", "the server sends a part that it was not asked for"),
        ("wild reason", "the server answers 500"),
        ("endless", "its sha256 is not"),
        ("bomb", "its sha256 is not"),
    ],
)
def test_whatever_a_server_does_ends(server: Server, entry: Entry, tmp_path: Path, kind: str, said: str) -> None:
    """In a moment, with a reason of one short sentence, and nothing in the folder; the next attempt brings the text."""
    server.random, server.kinds = Random(1), [kind] * (20 if kind == "endless redirect" else 1)
    with pytest.raises(TextError, match=said) as raised:
        fetch(entry, tmp_path)
    assert len(raised.value.message) < 600
    assert list(tmp_path.iterdir()) == []
    assert all(part.stat().st_size <= len(TEXT) + 1 for part in (cache_folder() / "partial").iterdir())
    server.kinds = []
    assert fetch(entry, tmp_path).path.read_bytes() == TEXT


@pytest.mark.parametrize("kind", ["other range", "no content range", "wild range", "gzip"])
def test_a_part_that_does_not_go_on_is_not_appended(server: Server, entry: Entry, tmp_path: Path, kind: str) -> None:
    """What lies there is dropped, and the whole is asked for in the same call: a server that always does so is no
    reason to fail for ever."""
    _begin(entry, TEXT[:1000])
    server.random, server.kinds = Random(1), [kind]
    assert fetch(entry, tmp_path).path.read_bytes() == TEXT
    assert server.served == [kind, "right"]


def test_the_time_that_a_server_asks_for_is_told(server: Server, entry: Entry, tmp_path: Path) -> None:
    """Where it is a number of seconds."""
    said = []
    for seed in range(8):
        server.random, server.kinds = Random(seed), ["503"]
        with pytest.raises(TextError) as raised:
            fetch(entry, tmp_path)
        said.append(raised.value.message.removeprefix(f"cannot download tiny from {server.url}: "))
    answer = "the server answers 503 Said"
    assert set(said) == {answer, f"{answer} and asks to wait for 120 seconds"}


def test_more_length_than_text(server: Server, entry: Entry, tmp_path: Path) -> None:
    """A connection that ends where the text does has brought it, whatever length the server had announced."""
    server.random, server.kinds = Random(1), ["longer length"]
    assert fetch(entry, tmp_path).path.read_bytes() == TEXT


def test_a_beginning_is_not_kept_beside_the_text(server: Server, entry: Entry, tmp_path: Path) -> None:
    """One that was begun while the text was brought otherwise."""
    partial = _begin(entry, TEXT[:1000])
    (tmp_path / "tiny.txt").write_bytes(TEXT)
    assert fetch(entry, tmp_path).path.read_bytes() == TEXT
    assert not partial.exists()
    assert server.served == []
