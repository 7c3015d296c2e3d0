"""Where the cache lies, how large it may become, and what leaves nothing in it."""

from __future__ import annotations

import errno
import io
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import bounded, cache, corpus, sources, stored
from charrnn.text.cache import DEFAULT_SIZE, cache_folder, elsewhere, largest_size
from charrnn.text.corpus import Corpus, load
from charrnn.text.entries import IDS
from charrnn.text.sources import Held, Source, find
from tests.kit.command import Command
from tests.kit.text import make_text

Home = Callable[..., Path]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    """Makes a user's place for caches with a mode, and a folder for temporary files; returns the place."""

    def make(mode: int = 0o755, *, is_there: bool = True) -> Path:
        monkeypatch.delenv("CHARRNN_CACHE")
        base = tmp_path / "home"
        base.mkdir(mode=0o755)
        (tmp_path / "tmp").mkdir()
        usual = base / "caches" / "charrnn"
        if is_there:
            usual.mkdir(parents=True)
        monkeypatch.setattr(cache, "usual_folder", lambda: usual)
        monkeypatch.setattr("charrnn.text.under_way.usual_folder", lambda: usual)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        real = tempfile.mkdtemp

        def mkdtemp(**more: Any) -> str:
            if str(more["dir"]).startswith(str(base)) and not mode & 0o200:  # root may write everywhere
                raise PermissionError(errno.EACCES, "Permission denied", str(more["dir"]))
            return real(**more)

        monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
        return usual

    return make


def _temporary(tmp_path: Path) -> Path:
    return tmp_path / "tmp" / f"charrnn-{os.geteuid()}"


def _source(folder: Path, number: int, characters: int = 3000) -> Source:
    path = folder / f"{number}.txt"
    path.write_text(make_text(characters, seed=number), "utf-8", newline="")
    return Source(path, path.name)


def _load(folder: Path, number: int, said: list[str] | None = None, *, in_passing: bool = False) -> Corpus:
    return load(
        [_source(folder, number)], DataConfig(), name="text", note=[].append if said is None else said.append,
        in_passing=in_passing,
    )  # fmt: skip


def _keys() -> set[str]:
    return {path.name for path in (cache_folder() / "corpora").iterdir()}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_home_that_can_be_written_to(home: Home, tmp_path: Path, is_there: bool) -> None:
    """Is where the cache lies, whether or not anything is there yet; nothing is said."""
    usual, said = home(is_there=is_there), list[str]()
    assert cache_folder() == usual
    _load(tmp_path, 1, said)
    assert (elsewhere(), said, len(_keys())) == (None, [], 1)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_a_home_that_cannot_be_written_to(home: Home, tmp_path: Path, is_there: bool) -> None:
    """As in a container or on a cluster's node: the text is kept among the temporary files, which is said."""
    usual, said = home(0o555, is_there=is_there), list[str]()
    assert cache_folder() == _temporary(tmp_path)
    first = _load(tmp_path, 1, said)
    (notice,) = said
    assert notice == elsewhere()
    assert str(usual) in notice
    assert str(_temporary(tmp_path)) in notice
    assert "CHARRNN_CACHE names another folder" in notice
    assert (_temporary(tmp_path).stat().st_mode & 0o777) == 0o700
    assert _load(tmp_path, 1, said).ids.tolist() == first.ids.tolist()
    assert len(said) == 1  # nothing was encoded the second time
    assert len(_keys()) == 1


def test_what_lies_in_a_home_that_cannot_be_written_to_is_read(home: Home, tmp_path: Path) -> None:
    """Another machine may have encoded the text there."""
    usual = home(0o555)
    os.environ["CHARRNN_CACHE"] = str(usual)
    _load(tmp_path, 1)
    del os.environ["CHARRNN_CACHE"]
    _load(tmp_path, 1, said := list[str]())
    assert said == []
    assert not (_temporary(tmp_path) / "corpora").exists()


@pytest.mark.parametrize("kind", ["file", "link", "open to all"])
def test_a_temporary_folder_that_is_not_ours_is_not_used(home: Home, tmp_path: Path, kind: str) -> None:
    """Whoever may write there could put other texts in the place of ours."""
    usual = home(0o555)
    folder = _temporary(tmp_path)
    if kind == "file":
        folder.write_bytes(b"")
    elif kind == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    assert cache_folder() == usual


def test_nobody_knows_where_home_is(monkeypatch: pytest.MonkeyPatch, home: Home, tmp_path: Path) -> None:
    """A user without a name has a home called ~, which must not become a folder here."""
    home()
    monkeypatch.setattr(cache, "usual_folder", lambda: Path("~/.cache/charrnn"))
    assert cache_folder() == _temporary(tmp_path)


def test_a_named_cache_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who names a folder that cannot be used is told so, instead of finding the text elsewhere."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="file/corpora") as raised:
        _load(tmp_path, 1)
    assert "CHARRNN_CACHE" in str(raised.value.hint)
    assert elsewhere() is None


# How large it may become.


@pytest.mark.parametrize(
    ("said", "size"),
    [("", DEFAULT_SIZE), ("0", 0), ("12", 12), ("5kB", 5000), ("1.5 MB", 1_500_000), ("20GB", 20 * 10**9),
     ("1tb", None), ("-1", None), ("a lot", None), ("1e9", None), ("999999999999999999GB", None)],
)  # fmt: skip
def test_the_size_that_is_named(monkeypatch: pytest.MonkeyPatch, said: str, size: int | None) -> None:
    """A number with a unit, or an error that says so."""
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", said)
    if size is not None:
        assert largest_size() == size
        return
    with pytest.raises(UsageError, match="CHARRNN_CACHE_SIZE is"):
        largest_size()


def _used_long_ago(key: str, seconds: float) -> None:
    for path in (cache_folder() / "corpora" / key).iterdir():
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def _made(folder: Path, count: int) -> list[str]:
    """Encodes texts, the first of which was used longest ago; returns their keys in this order."""
    keys: list[str] = []
    for number in range(count):
        _load(folder, number)
        keys += _keys() - set(keys)
    for age, key in enumerate(reversed(keys)):
        _used_long_ago(key, 100.0 * age)
    return keys


def _size(key: str) -> int:
    return sum(path.stat().st_size for path in (cache_folder() / "corpora" / key).iterdir())


def test_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And no more of it than must."""
    keys = _made(tmp_path, 4)
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", str(sum(map(_size, keys[1:]))))
    bounded.shrink()
    assert _keys() == set(keys[1:])
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", str(sum(map(_size, keys[2:])) + 1))
    bounded.shrink()
    assert _keys() == set(keys[2:])


def test_reading_is_using(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The oldest entry is read, and the second one goes in its place."""
    keys = _made(tmp_path, 3)
    _load(tmp_path, 0)
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", str(_size(keys[0]) + _size(keys[2])))
    bounded.shrink()
    assert _keys() == {keys[0], keys[2]}


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_what_is_in_use_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_memory: int) -> None:
    """Whether its ids are in memory or read when they are needed, and however small the cache may be."""
    monkeypatch.setattr(stored, "IN_MEMORY", in_memory)
    keys = _made(tmp_path, 2)
    held = _load(tmp_path, 0)
    part = held.ids[5:9]
    _used_long_ago(keys[0], 10**6)
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", "0")
    bounded.shrink()
    assert _keys() == {keys[0]}
    assert held.ids[5:9].tolist() == part.tolist()
    del held, part
    bounded.shrink()
    assert _keys() == set()


def test_what_another_process_uses_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its lock is seen, and goes with it."""
    (key,) = _made(tmp_path, 1)
    program = (
        "import sys; from pathlib import Path; from charrnn.text import entries\n"
        "held = entries.read(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read()"
    )
    folder = str(cache_folder() / "corpora" / key)
    with subprocess.Popen(
        [sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        monkeypatch.setenv("CHARRNN_CACHE_SIZE", "0")
        bounded.shrink()
        assert _keys() == {key}
        other.communicate(b"")
    bounded.shrink()
    assert _keys() == set()


@pytest.mark.parametrize(("age", "left"), [(60.0, 1), (8 * 86400.0, 0)])
def test_a_disk_without_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, age: float, left: int) -> None:
    """Nobody can tell what is in use there: only what was not touched for a week goes."""
    (key,) = _made(tmp_path, 1)
    _used_long_ago(key, age)
    monkeypatch.setattr(bounded, "take_lock", lambda descriptor: bounded.Lock.NONE)
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", "0")
    bounded.shrink()
    assert len(_keys()) == left


def test_a_new_entry_makes_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Encoding a text is when the others are looked at; the new one is there however small the cache may be."""
    _made(tmp_path, 3)
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", "1")
    kept = _load(tmp_path, 9)
    assert len(_keys()) == 1
    assert len(kept) == 3000


def test_what_is_no_entry_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of the user's own beside the entries, or a link, is none of ours."""
    _made(tmp_path, 1)
    shelf = cache_folder() / "corpora"
    (shelf / "mine").mkdir()
    (shelf / ("a" * 32)).symlink_to(tmp_path)
    monkeypatch.setenv("CHARRNN_CACHE_SIZE", "0")
    bounded.shrink()
    assert {path.name for path in shelf.iterdir()} == {"mine", "a" * 32}
    assert (tmp_path / "0.txt").exists()


# What leaves nothing in it.


def test_a_small_text_read_in_passing_leaves_nothing(tmp_path: Path) -> None:
    """And is the same as one that is kept."""
    passing = _load(tmp_path, 1, in_passing=True)
    assert not cache_folder().exists() or list(cache_folder().rglob(IDS)) == []
    kept = _load(tmp_path, 1)
    assert len(_keys()) == 1
    assert passing.ids.tolist() == kept.ids.tolist()
    assert (passing.vocabulary, passing.num_bytes, passing.sha256) == (kept.vocabulary, kept.num_bytes, kept.sha256)
    assert passing.traits == kept.traits


def test_a_large_text_read_in_passing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Encoding it again each time would take long, and it may not fit into memory."""
    monkeypatch.setattr(corpus, "_SMALL", 2999)
    _load(tmp_path, 1, in_passing=True)
    assert len(_keys()) == 1


def test_standard_input_and_strings_need_no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not for the copy of what can be read only once, and not for its ids: the cache may be anything."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "file"))
    content = make_text(5003)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    for _ in range(2):  # it can be asked for twice
        (found,) = find("-")[0]
        assert isinstance(found, Held)
        read = load([found], DataConfig(), name="stdin", in_passing=True)
        assert read.vocabulary.decode(read.ids) == content  # type: ignore[arg-type]
    text = sources.of_text(content, "string", DataConfig(encoding="utf-16"))
    assert len(load([text], DataConfig(encoding="utf-16"), name="string", in_passing=True)) == 5003


def test_a_long_stream_is_copied_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before it proved long comes first."""
    monkeypatch.setattr(sources, "_HELD", 1 << 21)
    content = os.urandom(5 << 20)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    (found,) = find("-")[0]
    assert not isinstance(found, Held)
    with found.open() as stream:
        assert stream.read() == content
    sources.release([found])


def test_nothing_is_mapped(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """Some file systems of networks and containers cannot map files: texts, cache and checkpoints are only read."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", refused)
    monkeypatch.setattr(stored, "IN_MEMORY", 1000)  # so that the text is read from the cache piece by piece
    Path("text.txt").write_text(make_text(5000), "utf-8")
    small = ("--steps", "2", "--hidden", "4", "--batch", "2", "--bptt", "8", "--threads", "1")
    for words in (
        ["train", "text.txt", *small], ["train", "text.txt", "--steps", "3", *small[2:]], ["sample", "-n", "9"],
        ["eval", "text.txt"], ["eval", "text.txt", "--split", "validation"], ["inspect", "text.txt", "-n", "300"],
        ["inspect"], ["inspect", "--verify"],
    ):  # fmt: skip
        assert command(*words).status == 0, words
