"""Entries of the cache that are not what was written: found out, said, made anew; another user's; and far too large."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import ResourceError, TextLost, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import corpus as module
from charrnn.text import entries, stored
from charrnn.text.cache import cache_folder
from charrnn.text.corpus import Corpus, load
from charrnn.text.entries import DESCRIBED, IDS
from charrnn.text.sources import Source
from tests.kit.text import make_text

TEXTS = {
    "two": "ab" * 150,
    "sixty": "".join(map(chr, range(65, 125))) * 9,
    "many": "".join(map(chr, range(0x4E00, 0x4F2C))) * 3,
}
NOBODY = 65534


def _load(text: str, said: list[str] | None = None) -> Corpus:
    path = Path("text.txt")
    path.write_text(text, "utf-8")
    return load([Source(path, "text")], DataConfig(), name="text", note=(said if said is not None else []).append)


def _decoded(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids[:].tolist())


def _entry() -> Path:
    (entry,) = (cache_folder() / "corpora").iterdir()
    return entry


def _write(path: Path, change: Callable[[bytearray], object]) -> None:
    raw = bytearray(path.read_bytes())
    change(raw)
    path.write_bytes(raw)


def _ones(raw: bytearray) -> None:
    raw[100:164] = b"\xff" * 64


def _another_id(raw: bytearray) -> None:
    raw[200] ^= 1


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("damage", [_ones, _another_id], ids=["ones", "another id"])
def test_damaged_ids_are_found_and_made_anew(name: str, damage: Callable[[bytearray], None]) -> None:
    """Beyond the vocabulary or within it: the corpus is the text, and one sentence says what happened."""
    _load(TEXTS[name])
    entry = _entry()
    whole = (entry / IDS).read_bytes()
    _write(entry / IDS, damage)
    said: list[str] = []
    assert _decoded(_load(TEXTS[name], said)) == TEXTS[name]
    assert said == [f"the encoded text in {entry} is damaged in the 16,384 bytes from 0 on: it is encoded anew"]
    assert (_entry() / IDS).read_bytes() == whole
    assert _decoded(_load(TEXTS[name], said)) == TEXTS[name]
    assert len(said) == 1


@pytest.mark.parametrize("name", TEXTS)
def test_damaged_ids_of_a_large_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found when they are read: an error says so, and the next start encodes anew."""
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    monkeypatch.setattr(stored, "BLOCK", 64)
    _load(TEXTS[name])
    entry = _entry()
    _write(entry / IDS, _another_id)
    corpus = _load(TEXTS[name])
    width = corpus.ids.itemsize
    assert corpus.vocabulary.decode(corpus.ids[: 192 // width].tolist()) == TEXTS[name][: 192 // width]
    with pytest.raises(TextLost) as raised:
        corpus.ids[:]
    assert raised.value.message == f"the encoded text in {entry} is damaged in the 64 bytes from 192 on"
    assert "the same command again" in str(raised.value.hint)
    assert not entry.exists()
    assert not (entry.parent / "under-way").exists()
    assert _decoded(_load(TEXTS[name])) == TEXTS[name]


def test_another_process_has_made_it_anew_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What proves damaged is then not what lies there: that stays."""
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    _load(TEXTS["sixty"])
    (_entry() / IDS).write_bytes(b"\0" * 540)
    corpus = _load(TEXTS["sixty"])
    shutil.rmtree(_entry())
    _load(TEXTS["sixty"])
    with pytest.raises(TextLost, match="is damaged"):
        corpus.ids[:]
    assert _decoded(_load(TEXTS["sixty"])) == TEXTS["sixty"]


@pytest.mark.parametrize("happens", ["removed", "truncated", "overwritten"])
@pytest.mark.parametrize("is_large", [False, True])
def test_what_happens_to_an_entry_under_a_run(happens: str, is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small text is in memory; a large one is read from the file that was opened, wherever it is, or is an error."""
    if is_large:
        monkeypatch.setattr(stored, "IN_MEMORY", 0)
    corpus = _load(TEXTS["sixty"])
    if happens == "removed":
        shutil.rmtree(_entry())
    elif happens == "truncated":
        os.truncate(_entry() / IDS, 5)
    else:
        (_entry() / IDS).write_bytes(b"\1" * 540)
    if is_large and happens != "removed":
        with pytest.raises(TextLost):
            corpus.ids[:]
    else:
        assert _decoded(corpus) == TEXTS["sixty"]


def _line(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


WILD: list[Any] = [
    None,
    True,
    -1,
    1.5,
    2**70,
    float("nan"),
    "",
    "x",
    "9" * 5000,
    [],
    [[]],
    {},
    [-1],
    [0, 0],
    [5, 3],
    [1.5],
]


@pytest.mark.parametrize(
    "name",
    [
        "key", "kind", "code_points", "characters", "validation", "bytes", "block", "digests", "sha256", "has_end",
        "documents", "empty", "files",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_large", [False, True])
def test_a_description_that_says_something_wild(name: str, is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right digest, so that it comes to be looked at; or without the field."""
    if is_large:
        monkeypatch.setattr(stored, "IN_MEMORY", 0)
    _load(TEXTS["sixty"])
    described = _entry() / DESCRIBED
    content = json.loads(described.read_bytes().partition(b"\n")[2])
    for value in [*WILD, ...]:
        wild = {key: each for key, each in content.items() if key != name}
        if value is not ...:
            wild[name] = value
        described.write_bytes(_line(json.dumps(wild).encode()))
        said: list[str] = []
        assert _decoded(_load(TEXTS["sixty"], said)) == TEXTS["sixty"]
        assert said == [f"the encoded text in {described.parent} has a senseless description: it is encoded anew"]


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"", b"null", b"9" * 10_000])
@pytest.mark.parametrize("has_digest", [False, True])
def test_json_that_no_parser_likes(content: bytes, has_digest: bool) -> None:
    """Deep, long, or none at all."""
    _load(TEXTS["sixty"])
    (_entry() / DESCRIBED).write_bytes(_line(content) if has_digest else content)
    said: list[str] = []
    assert _decoded(_load(TEXTS["sixty"], said)) == TEXTS["sixty"]
    assert len(said) == 1


def test_fewer_characters_than_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests and description are right, and yet an id is beyond the vocabulary: nobody gets it."""
    _load(TEXTS["sixty"])
    described = _entry() / DESCRIBED
    content = json.loads(described.read_bytes().partition(b"\n")[2])
    content["code_points"].pop()
    described.write_bytes(_line(json.dumps(content).encode()))
    said: list[str] = []
    assert _decoded(_load(TEXTS["sixty"], said)) == TEXTS["sixty"]
    assert said == [
        f"the encoded text in {described.parent} holds the id 59, but there are 59 characters: it is encoded anew"
    ]


def test_a_description_without_end() -> None:
    """It is not read: a sparse file of a terabyte takes no time."""
    _load(TEXTS["sixty"])
    os.truncate(_entry() / DESCRIBED, 1 << 40)
    assert _decoded(_load(TEXTS["sixty"])) == TEXTS["sixty"]


def test_another_texts_entry_under_this_name() -> None:
    """It is whole, but not this text."""
    _load(TEXTS["two"])
    other = _entry()
    _load(TEXTS["sixty"])
    (entry,) = set((cache_folder() / "corpora").iterdir()) - {other}
    shutil.rmtree(entry)
    shutil.copytree(other, entry)
    assert _decoded(_load(TEXTS["sixty"])) == TEXTS["sixty"]


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "something").write_bytes(b"x")


def _to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


REPLACEMENTS = {
    "pipe": _pipe, "folder": _folder, "file": lambda path: path.write_bytes(b"x"), "dangling": _to("nowhere"),
    "device": _to("/dev/zero"), "loop": _to("loop"),
}  # fmt: skip


@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("name", ["", IDS, DESCRIBED])
def test_something_else_in_its_place(replacement: str, name: str) -> None:
    """A pipe would never be open, /dev/zero never be read; what is there goes away."""
    _load(TEXTS["sixty"])
    entry = _entry()
    path = entry / name if name else entry
    shutil.rmtree(path) if not name else path.unlink()
    REPLACEMENTS[replacement](path)
    said: list[str] = []
    assert _decoded(_load(TEXTS["sixty"], said)) == TEXTS["sixty"]
    assert len(said) == 1
    assert sorted(path.name for path in _entry().iterdir()) == sorted([IDS, DESCRIBED])
    assert not entry.is_symlink()


def test_an_entry_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links to what is whole are followed."""
    _load(TEXTS["sixty"])
    entry = _entry()
    entry.rename(tmp_path / "there")
    entry.symlink_to(tmp_path / "there")
    monkeypatch.setattr(module, "_encode", None)
    assert _decoded(_load(TEXTS["sixty"])) == TEXTS["sixty"]


def test_the_shelf_elsewhere(tmp_path: Path) -> None:
    """`corpora` may be a link to another disk: what is made is made there."""
    (tmp_path / "there").mkdir()
    (cache_folder() / "corpora").symlink_to(tmp_path / "there")
    assert _decoded(_load(TEXTS["sixty"])) == TEXTS["sixty"]
    (entry,) = (tmp_path / "there").iterdir()
    assert (entry / IDS).exists()


def _as(user: int, work: Callable[[], None]) -> None:
    """Does something as another user, in a process of its own; what it raises is an error here."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache into which all may write; the user of these tests must be able to become another one."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    _load("warm" * 100)  # so that nothing need be imported by one who may not read the interpreter's modules
    cache = tmp_path_factory.mktemp("shared")
    for folder in (cache.parent, cache.parent.parent, cache.parent.parent.parent, Path.cwd(), Path.cwd().parent):
        if folder.name.startswith(("pytest", "work", "popen")):
            folder.chmod(0o755)
    cache.chmod(0o1777)
    monkeypatch.setenv("CHARRNN_CACHE", str(cache))
    Path("text.txt").write_text(TEXTS["sixty"], "utf-8")
    return cache


def _reload() -> None:
    corpus = load([Source(Path("text.txt"), "text")], DataConfig(), name="text")
    assert _decoded(corpus) == TEXTS["sixty"]


@pytest.mark.parametrize("mask", [0o077, 0o022, 0])
def test_a_second_user(shared: Path, mask: int) -> None:
    """He takes what he may read, and has a place of his own for what he may not; so has the first one, afterwards."""
    before = os.umask(mask)
    try:
        _reload()
    finally:
        os.umask(before)
    _as(NOBODY, _reload)
    own = shared / f"corpora-of-{NOBODY}"
    assert own.exists() == (mask == 0o077)
    _as(NOBODY, _reload)
    _reload()
    assert sorted(path.name for path in shared.iterdir()) == ["corpora", *([own.name] if mask == 0o077 else [])]
    (entry,) = (shared / "corpora").iterdir()
    assert entry.stat().st_mode & 0o777 == 0o777 & ~mask
    assert (entry / IDS).stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_second_user_finds_damage_that_is_not_his_to_mend(shared: Path) -> None:
    """He has a place of his own; the first one mends his."""
    _reload()
    (entry,) = (shared / "corpora").iterdir()
    _write(entry / IDS, _another_id)
    _as(NOBODY, _reload)
    (own,) = (shared / f"corpora-of-{NOBODY}").iterdir()
    assert own.name == entry.name
    _reload()
    assert (entry / IDS).read_bytes() == (own / IDS).read_bytes()


def test_an_entry_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, where nobody can become another user: the system refuses."""
    _load(TEXTS["sixty"])
    entry = _entry()
    real_open, real_rename = os.open, os.rename

    def refuse(path: Any, *rest: Any, **named: Any) -> Any:
        if entry in (Path(path), Path(path).parent):
            raise PermissionError(13, "Permission denied")
        return real_open(path, *rest, **named)

    def keep(path: Any, to: Any) -> None:
        if entry in (Path(path), Path(to)):
            raise PermissionError(1, "Operation not permitted")
        real_rename(path, to)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "rename", keep)
    said: list[str] = []
    assert _decoded(_load(TEXTS["sixty"], said)) == TEXTS["sixty"]
    assert said == []
    own = cache_folder() / f"corpora-of-{os.geteuid()}"
    assert [path.name for path in own.iterdir()] == [entry.name]
    monkeypatch.setattr(module, "_encode", None)
    assert _decoded(_load(TEXTS["sixty"])) == TEXTS["sixty"]


def test_a_cache_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it, and nothing is left of what was made."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(entries.os, "rename", refuse)
    with pytest.raises(UsageError, match=r"encoding the corpus into .*: Permission denied"):
        _load(TEXTS["sixty"])
    assert list(cache_folder().rglob(IDS)) == []


def test_what_is_written_cannot_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses it at once is no assertion."""
    monkeypatch.setattr(entries, "read", lambda folder: None)
    with pytest.raises(ResourceError, match="cannot be read back"):
        _load(TEXTS["sixty"])


def test_too_many_open_files_are_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole entry is not thrown away for them."""
    _load(TEXTS["sixty"])
    entry, real = _entry(), os.open

    def refuse(path: Any, *rest: Any, **named: Any) -> int:
        if Path(path).name == IDS:
            raise OSError(24, "Too many open files")
        return real(path, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(ResourceError, match="Too many open files"):
            _load(TEXTS["sixty"])
    assert _entry() == entry


def test_a_text_of_all_characters() -> None:
    """More than a million different ones: ids of four bytes, and the next start finds them."""
    text = "".join(chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000)
    for _ in range(2):
        corpus = _load(text)
        assert len(corpus.vocabulary) == len(text) == 1_112_063
        assert corpus.ids[-3:].tolist() == [1_112_060, 1_112_061, 1_112_062]


def test_nothing_is_told_of_a_whole_entry() -> None:
    """Nor of one that is not there yet."""
    said: list[str] = []
    text = make_text(400)
    for _ in range(2):
        assert _decoded(_load(text, said)) == text
    assert said == []
