"""Corpora by name: the standard library of this Python, and downloads from a server of our own on the loopback."""

from __future__ import annotations

import doctest
import errno
import gzip
import hashlib
import http.server
import os
import re
import shutil
import socket
import stat
import sysconfig
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import pytest

from charrnn.cli import texts
from charrnn.errors import CharrnnError, ResourceError, TextError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import catalogue, corpus, download
from charrnn.text.cache import cache_folder
from charrnn.text.catalogue import Entry, download_folder, fetch, standard_library
from charrnn.text.sources import Source, find
from tests.kit.full_disk import no_file_above
from tests.kit.text import make_text

TEXT = make_text(5003).encode()


@dataclass
class Server:
    """What it serves and how it misbehaves; what it saw."""

    url: str
    content: bytes = TEXT
    status: int = 200
    cut_after: int | None = None
    """Closes the connection after this many bytes of each answer."""
    has_ranges: bool = True
    has_lengths: bool = True
    is_mute: bool = False
    """Closes the connection without an answer."""
    seen: list[str | None] = field(default_factory=list)
    """The Range of each request."""
    sent: list[int] = field(default_factory=list)
    """Bytes of body in each answer."""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        wanted = handler.headers["Range"]
        self.seen.append(wanted)
        if self.is_mute:
            return
        status, start = self.status, 0
        if wanted and self.has_ranges and status == 200:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < len(self.content) else 416
        body = self.content[start:] if status in (200, 206) else b"no"
        handler.send_response(status)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        # What real servers do, unless they are told not to: then a range is one of the packed bytes.
        if "gzip" in handler.headers["Accept-Encoding"]:
            body = gzip.compress(self.content)[start:]
            handler.send_header("Content-Encoding", "gzip")
        if self.has_lengths:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        body = body[: self.cut_after]
        self.sent.append(len(body))  # before it is, or the test might look sooner
        handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """On 127.0.0.1, at a port of the system's choice, past any proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(download, "_PIECE", 97)  # so that of a small text much has come when it breaks off

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state = Server(f"http://127.0.0.1:{listening.server_port}/texts/tiny.txt")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture
def entry(server: Server, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """The only one of the catalogue."""
    tiny = Entry(
        name="tiny",
        title="A small text",
        url=server.url,
        file="tiny.txt",
        bytes=len(TEXT),
        sha256=hashlib.sha256(TEXT).hexdigest(),
        licence="ours",
        validation_fraction=0.2,
        test_fraction=0.3,
    )
    monkeypatch.setattr(catalogue, "entries", lambda: {"tiny": tiny})
    return tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where downloads go."""
    target = tmp_path / "downloads"
    target.mkdir()
    return target


def _partials() -> list[Path]:
    place = cache_folder() / "partial"
    return list(place.iterdir()) if place.exists() else []


def _fails(entry: Entry, folder: Path, status: int = 3, report: catalogue.Report | None = None) -> CharrnnError:
    """The one error of a download that fails and leaves the folder as it was."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CharrnnError) as raised:
        fetch(entry, folder, report)
    assert raised.value.exit_status == status
    assert raised.value.hint
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return raised.value


def _report(*_: object) -> None:
    pass


def test_examples_in_docstrings() -> None:
    """What the docstrings show is what happens."""
    assert doctest.testmod(catalogue).failed == 0


def test_download(server: Server, entry: Entry, folder: Path) -> None:
    """The whole file, verified, with progress up to the end, and nothing else left anywhere."""
    said: list[tuple[str, int, int]] = []
    source = fetch(entry, folder, lambda *what: said.append(what))
    assert source.path == folder / "tiny.txt"
    assert source.path.read_bytes() == TEXT
    assert list(folder.iterdir()) == [source.path]
    assert _partials() == []
    assert (server.seen, server.sent) == ([None], [5003])
    steps = [done for _, done, _ in said]
    assert steps == sorted(set(steps))
    assert said[-1] == ("downloading tiny", 5003, 5003)


def test_what_could_not_be_removed_goes_the_next_time(
    server: Server, entry: Entry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corpus is there all the same, and is not downloaded again."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(Path, "unlink", refuse)
        assert fetch(entry, folder).path.read_bytes() == TEXT
    assert len(_partials()) == 1
    fetch(entry, folder)
    assert _partials() == []
    assert server.sent == [5003]


def test_what_is_there_is_not_downloaded_again(server: Server, entry: Entry, folder: Path) -> None:
    """A file with the right checksum is enough; no network is needed."""
    (folder / "tiny.txt").write_bytes(TEXT)
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen == []


def test_damaged_file_is_downloaded_again(server: Server, entry: Entry, folder: Path) -> None:
    """A wrong checksum on disk is repaired; while that fails, the file stays as it was."""
    (folder / "tiny.txt").write_bytes(TEXT[:-1] + b"?")
    server.status = 503
    _fails(entry, folder)
    server.status = 200
    assert fetch(entry, folder).path.read_bytes() == TEXT


def test_permissions_follow_the_umask(server: Server, entry: Entry, folder: Path) -> None:
    """A corpus in a shared place is for others too."""
    before = os.umask(0o027)
    try:
        source = fetch(entry, folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(source.path.stat().st_mode) == 0o640


@pytest.mark.parametrize("has_lengths", [True, False])
def test_broken_download_is_continued(server: Server, entry: Entry, folder: Path, has_lengths: bool) -> None:
    """The second request asks for the rest only, and the rest only is sent."""
    server.cut_after, server.has_lengths = 1234, has_lengths
    error = _fails(entry, folder)
    (partial,) = _partials()
    kept = partial.stat().st_size
    assert 1234 - 97 < kept <= 1234
    assert f"the {kept:,} bytes received are kept and the same command continues" in error.message
    assert server.url in error.message
    server.cut_after = None
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen == [None, f"bytes={kept}-"]
    assert server.sent == [1234, 5003 - kept]
    assert _partials() == []


def test_download_that_breaks_again_and_again(server: Server, entry: Entry, folder: Path) -> None:
    """Each attempt brings it further."""
    server.cut_after = 2000
    for _ in range(2):
        _fails(entry, folder)
    assert fetch(entry, folder).path.read_bytes() == TEXT
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in server.seen if wanted]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1]


def test_server_that_cannot_continue(server: Server, entry: Entry, folder: Path) -> None:
    """It sends everything; what was there before is dropped, not doubled."""
    server.cut_after, server.has_ranges = 1234, False
    _fails(entry, folder)
    server.cut_after = None
    said: list[int] = []
    source = fetch(entry, folder, lambda _doing, done, _total: said.append(done))
    assert source.path.read_bytes() == TEXT
    assert said[0] == 97
    assert server.sent == [1234, 5003]
    assert server.seen[1] is not None


def test_server_with_less_than_was_received(server: Server, entry: Entry, folder: Path) -> None:
    """Where there is nothing to continue with (416), the whole is asked for instead of failing for ever."""
    server.content = TEXT[:1201]
    error = _fails(entry, folder)
    assert "the connection ended after 1,201 of 5,003 bytes" in error.message
    _fails(entry, folder)
    assert server.seen == [None, "bytes=1201-", None]
    server.content = TEXT
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen[3:] == ["bytes=1201-"]


@pytest.mark.parametrize("content", [b"?" + TEXT[1:], TEXT + b"?", TEXT * 3])
def test_wrong_checksum(server: Server, entry: Entry, folder: Path, content: bytes) -> None:
    """Of the right length or too long: refused with a remedy, and begun anew the next time."""
    server.content = content
    done = [0]
    error = _fails(entry, folder, report=lambda _doing, so_far, _total: done.append(so_far))
    assert max(done) <= 5003
    assert f"what {server.url} sent is not tiny" in error.message
    assert entry.sha256 in error.message
    assert "CHARRNN_CORPORA" in str(error.hint)
    assert _partials() == []
    server.content = TEXT
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen == [None, None]


def test_partial_of_another_text(server: Server, entry: Entry, folder: Path) -> None:
    """Continued by the rest of the right text it is wrong, which the checksum tells; the next attempt is clean."""
    partial = cache_folder() / "partial" / f"{entry.sha256}.part"
    partial.parent.mkdir()
    partial.write_bytes(b"?" * 1301)
    assert "its sha256 is not" in _fails(entry, folder).message
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen == ["bytes=1301-", None]


def test_partial_that_is_too_long(server: Server, entry: Entry, folder: Path) -> None:
    """It can be no beginning of the text."""
    partial = cache_folder() / "partial" / f"{entry.sha256}.part"
    partial.parent.mkdir()
    partial.write_bytes(TEXT + b"?")
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen == [None]


@pytest.mark.parametrize(("status", "reason"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_refusal(server: Server, entry: Entry, folder: Path, status: int, reason: str) -> None:
    """The answer is in the message; nothing of its body is taken for text, and what was received before is kept."""
    server.status = status
    error = _fails(entry, folder)
    assert error.message == f"cannot download tiny from {server.url}: the server answers {reason}"
    assert "charrnn train stdlib" in str(error.hint)
    server.status, server.cut_after = 200, 1234
    _fails(entry, folder)
    (partial,) = _partials()
    kept = partial.read_bytes()
    server.status, server.cut_after = status, None
    assert f"the {len(kept):,} bytes received are kept" in _fails(entry, folder).message
    assert partial.read_bytes() == kept


def test_nothing_listens(entry: Entry, folder: Path) -> None:
    """Said in the system's words, without the layers of libraries around them."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else can take the port
        gone = replace(entry, url=f"http://127.0.0.1:{reserved.getsockname()[1]}/tiny.txt")
        error = _fails(gone, folder)
    assert error.message == f"cannot download tiny from {gone.url}: {os.strerror(errno.ECONNREFUSED)}"


def test_connection_closed_without_an_answer(server: Server, entry: Entry, folder: Path) -> None:
    """Not a word about objects and their addresses in memory."""
    server.is_mute = True
    assert _fails(entry, folder).message == f"cannot download tiny from {server.url}: the connection broke off"


def test_server_that_keeps_silent(entry: Entry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is accepted and never answered ends."""
    monkeypatch.setattr(download, "_TIMEOUT", (1, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = _fails(replace(entry, url=f"http://127.0.0.1:{silent.getsockname()[1]}/"), folder)
    assert "the server does not answer in time" in error.message


def test_address_that_is_none(entry: Entry, folder: Path) -> None:
    """A slip in the catalogue is an error like any other."""
    assert "cannot download tiny from nowhere" in _fails(replace(entry, url="nowhere"), folder).message


def test_no_room_for_the_download(server: Server, entry: Entry, folder: Path) -> None:
    """Status 6; what came before the disk was full counts when there is room again."""
    with no_file_above(3001):
        error = _fails(entry, folder, status=6)
    assert isinstance(error, ResourceError)
    (partial,) = _partials()
    assert partial.read_bytes() == TEXT[:3001]
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.sent[1] == 5003 - 3001


def test_no_room_in_the_folder(server: Server, entry: Entry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that only could not be put in its place is not asked for again."""

    def full(_source: object, target: IO[bytes]) -> None:
        target.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        assert "no room left" in _fails(entry, folder, status=6).message
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen == [None]


def test_interrupted_download_is_continued(server: Server, entry: Entry, folder: Path) -> None:
    """Ctrl-C keeps what has come."""

    def interrupt(_doing: str, done: int, _total: int) -> None:
        if done >= 970:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(entry, folder, interrupt)
    assert list(folder.iterdir()) == []
    assert fetch(entry, folder).path.read_bytes() == TEXT
    assert server.seen == [None, "bytes=970-"]


def test_two_processes_do_not_mix_their_downloads(server: Server, entry: Entry, folder: Path) -> None:
    """The second is told to wait; the first is not disturbed."""
    refused: list[CharrnnError] = []

    def second(_doing: str, _done: int, _total: int) -> None:
        if not refused:
            # The first one's temporary file lies in the folder; the second's must be gone again.
            before = set(folder.iterdir())
            with pytest.raises(TextError) as raised:
                fetch(entry, folder)
            refused.append(raised.value)
            assert set(folder.iterdir()) == before

    assert fetch(entry, folder, second).path.read_bytes() == TEXT
    assert refused[0].message == "another process is downloading tiny"
    assert len(server.seen) == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_download_to_a_disk_without_locks(
    server: Server, entry: Entry, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The checksum tells all the same what two that mix would have made."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
    assert fetch(entry, folder).path.read_bytes() == TEXT


def test_downloads_go_to_the_cache_or_into_a_checkout(server: Server, entry: Entry) -> None:
    """`corpora/` of a checkout that one stands in, where it can be seen; elsewhere the user's cache."""
    here = Path.cwd()
    assert download_folder() == cache_folder() / "downloads"
    (here / "corpora").mkdir()
    assert download_folder() == cache_folder() / "downloads"  # any folder may be called so
    (here / "charrnn" / "text").mkdir(parents=True)
    (here / "charrnn" / "text" / "catalogue.json").write_text("{}")
    assert download_folder() == here / "corpora"
    (here / "corpora").rmdir()
    assert download_folder() == cache_folder() / "downloads"
    (here / "corpora").mkdir()
    found = catalogue.find("tiny")
    assert found is not None
    assert [source.path for source in found] == [here / "corpora" / "tiny.txt"]


def test_unknown_name() -> None:
    """None: it may be something else."""
    assert catalogue.find("no-such-corpus") is None


@pytest.mark.parametrize("name", ["tiny", "tiny.txt", "tiny.gz", "tiny.txt.bz2", "tiny.zip"])
def test_named_folder_is_looked_into_first(
    server: Server, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With or without .txt and a compression's ending; the network is not asked."""
    monkeypatch.setenv("CHARRNN_CORPORA", str(tmp_path))
    (tmp_path / name).write_bytes(b"mine")
    found = catalogue.find("tiny")
    assert found is not None
    assert [source.path for source in found] == [tmp_path / name]
    assert server.seen == []


def test_named_folder_may_hold_names_of_its_own(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And another text under the name of the built-in one; but only its files, and none outside of it."""
    monkeypatch.setenv("CHARRNN_CORPORA", str(tmp_path / "mine"))
    (tmp_path / "mine" / "tiny").mkdir(parents=True)
    (tmp_path / "outside.txt").write_bytes(b"outside")
    for name in ("emma", "stdlib"):
        (tmp_path / "mine" / f"{name}.txt").write_bytes(name.encode())
        found = catalogue.find(name)
        assert found is not None
        assert [source.path.read_bytes() for source in found] == [name.encode()]
    for name in ("../outside", "..", ".", "", "-"):
        assert catalogue.find(name) is None
    downloaded = catalogue.find("tiny")  # a folder is no text of that name
    assert downloaded is not None
    assert downloaded[0].path.read_bytes() == TEXT


def test_path_that_exists_wins_over_a_name(
    server: Server, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the catalogue's and over those of CHARRNN_CORPORA; `./` in front is never a name."""
    monkeypatch.setenv("CHARRNN_CORPORA", str(tmp_path))
    (tmp_path / "tiny").write_bytes(b"from the folder")
    with pytest.raises(TextError, match="no file or folder"):
        texts.find(["./tiny"], glob=None, report=_report)
    Path("tiny").write_bytes(b"from here")
    found = texts.find(["tiny"], glob=None, report=_report)
    assert [source.path for source in found.sources] == [Path("tiny")]
    assert found.customary == {}
    assert server.seen == []


def test_customs_of_a_corpus_count_where_it_stands_alone(server: Server, entry: Entry) -> None:
    """Its usual split, downloaded or not; a mixture has none."""
    Path("mine.txt").write_text(make_text(409))
    alone = texts.find(["tiny"], glob=None, report=_report)
    custom = {"validation_fraction": 0.2, "test_fraction": 0.3, "as_bytes": False}
    assert alone.customary == {**custom, "held_out": "end"}
    assert alone.customary_beside({"documents": "lines"}) == alone.customary_beside({"column": "text"}) == custom
    assert alone.customary_beside({"documents": "none"}) == alone.customary
    assert alone.name == "tiny"
    mixed = texts.find(["tiny", "mine.txt"], glob=None, report=_report)
    assert mixed.customary == {}
    assert mixed.name == "tiny+mine"
    assert [source.path.name for source in mixed.sources] == ["tiny.txt", "mine.txt"]


def test_name_of_many_texts_is_short() -> None:
    """Three names and a sign that there are more; the order is the user's."""
    for name in ("d.txt", "b.txt", "c.txt", "a.txt"):
        Path(name).write_text("text")
    found = texts.find(["d.txt", "b.txt", "c.txt", "a.txt"], glob=None, report=_report)
    assert found.name == "d+b+c+..."
    assert [source.name for source in found.sources] == ["d.txt", "b.txt", "c.txt", "a.txt"]


def test_standard_input_twice() -> None:
    """It can be read only once."""
    with pytest.raises(UsageError, match="named twice"):
        texts.find(["-", "-"], glob=None, report=_report)


def test_loading_removes_temporary_files(tmp_path: Path) -> None:
    """Of text and validation, also where loading fails."""
    spooled = [tmp_path / "stdin-1.tmp", tmp_path / "stdin-2.tmp"]
    for path, content in zip(spooled, (b"good", b"\xff"), strict=True):
        path.write_bytes(content)
    text, validation = (Source(path, "stdin", is_temporary=True) for path in spooled)
    with pytest.raises(TextError, match="stdin is not utf-8"):
        texts.load(texts.Texts([text], "name", [], {}), DataConfig(), [validation])
    assert list(tmp_path.iterdir()) == []


def test_loading_names_the_corpus() -> None:
    """From words on the command line to ids."""
    Path("mine.txt").write_text("hello")
    loaded = texts.load(texts.find(["mine.txt"], glob=None, report=_report), DataConfig(), quiet=True)
    assert (loaded.name, loaded.ids.tolist()) == ("mine", [1, 0, 2, 2, 3])


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of a few files."""
    root = tmp_path / "python3"
    for name, content in {
        "os.py": b"# os",
        "a_module.py": b"# a",
        "json/decoder.py": "# é".encode(),
        "json/__init__.py": b"",
        "test/test_os.py": b"# test",
        "unittest/test/test_case.py": b"# test",
        "lib2to3/tests/x.py": b"# test",
        "idlelib/idle_test/x.py": b"# test",
        "idlelib/run.py": b"# run",
        "test_not_a_folder.py": b"# kept",
        "site-packages/numpy/core.py": b"# not ours",
        "dist-packages/x.py": b"# not ours",
        "__pycache__/os.py": b"# not ours",
        "latin.py": b"# \xe9",
        "nul.py": b"\0",
        "LICENSE.txt": b"text",
        "os.pyc": b"code",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    real = sysconfig.get_path
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root) if name == "stdlib" else real(name))
    return root


def test_standard_library_without_tests_and_what_was_installed(library: Path) -> None:
    """In the order of its paths; what is not UTF-8 is left out, since a corpus has one encoding."""
    names = [source.path.relative_to(library).as_posix() for source in standard_library()]
    assert names == [
        "a_module.py", "idlelib/run.py", "json/__init__.py", "json/decoder.py", "os.py", "test_not_a_folder.py",
    ]  # fmt: skip


def test_python_without_its_sources(library: Path) -> None:
    """Some are packed without; the error says where they were looked for."""
    shutil.rmtree(library)
    with pytest.raises(TextError, match="carries no sources") as raised:
        standard_library()
    assert str(library) in raised.value.message


def test_this_pythons_standard_library() -> None:
    """A real corpus: the same each time, readable throughout, and large enough to learn from."""
    first, second = standard_library(), standard_library()
    assert first == second
    root = Path(sysconfig.get_path("stdlib"))
    names = {source.path.relative_to(root).as_posix() for source in first}
    assert {"os.py", "json/decoder.py"} <= names
    assert not any(re.search("(^|/)(tests?|site-packages)/", name) for name in names)
    loaded = corpus.load(first, DataConfig(), name="stdlib")
    assert len(loaded) > 1_000_000


def test_facts_of_the_catalogue() -> None:
    """Each is complete, can be opened, is found by name in CHARRNN_CORPORA, and has a split that adds up."""
    found = catalogue.entries()
    assert list(found) == ["tinyshakespeare", "warandpeace", "enwik8", "text8"]
    assert catalogue.names() == ["stdlib", *found]
    for name, fact in found.items():
        assert re.fullmatch("[0-9a-f]{64}", fact.sha256)
        assert fact.bytes > 1_000_000
        assert fact.url.startswith(("https://", "http://"))
        assert fact.licence
        assert fact.file in (f"{name}.txt", f"{name}.zip")
        data = DataConfig(validation_fraction=fact.validation_fraction, test_fraction=fact.test_fraction)
        assert 0 < data.validation_fraction <= 0.1
    assert [name for name, fact in found.items() if fact.as_bytes] == ["enwik8"]


def test_a_misspelt_name_is_told() -> None:
    """Neither a file nor a corpus."""
    with pytest.raises(TextError) as raised:
        find("tinyshakespear")
    assert raised.value.hint == "check the spelling"
