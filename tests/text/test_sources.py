"""Which files an argument names, in which order, and how each is opened."""

from __future__ import annotations

import doctest
import errno
import gzip
import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.cli import texts
from charrnn.errors import ResourceError, TextError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import archives, finding, sources
from charrnn.text.cache import cache_folder
from charrnn.text.sources import Source, find, release, title
from tests.kit.full_disk import no_file_above
from tests.kit.packing import PACK, zipped
from tests.kit.text import make_text


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _read(source: Source) -> bytes:
    with source.open() as stream:
        return stream.read()


def _names(found: list[Source], folder: Path) -> list[str]:
    return [source.path.relative_to(folder).as_posix() for source in found]


def _give_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes, held: int = 0) -> None:
    """Puts content on the standard input, of which more than `held` bytes are not held in memory."""
    monkeypatch.setattr(sources, "_HELD", held)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_examples_in_docstrings() -> None:
    """What the docstrings show is what happens."""
    for module in (sources, finding):
        result = doctest.testmod(module)
        assert result.attempted >= 1
        assert result.failed == 0


@pytest.mark.parametrize("suffix", [*PACK, ".GZ"])
def test_file_is_opened_unpacked(tmp_path: Path, suffix: str) -> None:
    """The bytes inside, whatever the packing; the digest is of the file as it lies on disk."""
    content = make_text(3001).encode()
    path = _write(tmp_path / f"text.txt{suffix}", PACK[suffix.lower()](content))
    found, notices = find(str(path))
    assert [_read(source) for source in found] == [content]
    assert notices == []
    assert found[0].name == str(path)
    assert found[0].digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found[0].size() == path.stat().st_size


@pytest.mark.parametrize("suffix", list(PACK)[1:])
def test_cut_archive_is_damaged(tmp_path: Path, suffix: str) -> None:
    """An unfinished download is an error that names the file, not a shorter text."""
    packed = PACK[suffix](make_text(5003).encode())
    path = _write(tmp_path / f"text{suffix}", packed[: len(packed) * 2 // 3])
    with pytest.raises(TextError, match="damaged") as raised:
        _read(Source(path, "mine"))
    assert raised.value.message.startswith("mine is damaged")
    assert raised.value.exit_status == 3


@pytest.mark.parametrize("suffix", list(PACK)[1:])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_damage_of_any_kind_is_a_text_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, place: int, value: int, cut: int
) -> None:
    """A wrong byte and a cut anywhere give the text or a TextError: never another exception, never other text."""
    content = make_text(701).encode()
    packed = bytearray(PACK[suffix](content))
    packed[place % len(packed)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(packed[: len(packed) - cut])
    try:
        assert _read(Source(path, "mine")) == content
    except TextError as error:
        # An archive whose list of files is damaged may seem to hold none; that message names the path.
        assert "mine" in error.message or str(path) in error.message  # noqa: PT017


@pytest.mark.parametrize("suffix", list(PACK)[1:])
def test_text_with_a_compressed_name_is_damaged(tmp_path: Path, suffix: str) -> None:
    """A plain text called .gz is said to be not what its ending says."""
    path = _write(tmp_path / f"text{suffix}", make_text(307).encode())
    with pytest.raises(TextError, match="damaged"):
        _read(Source(path, str(path)))


@pytest.mark.parametrize(("more", "count"), [({"b.txt": b"2", "c.txt": b"3"}, 3), ({}, 0)])
def test_zip_must_hold_one_file(tmp_path: Path, more: dict[str, bytes], count: int) -> None:
    """With several there is no telling which is meant."""
    path = tmp_path / "texts.zip"
    if count:
        path.write_bytes(zipped(b"1", **more))
    else:
        zipfile.ZipFile(path, "w").close()
    with pytest.raises(TextError, match=f"holds {count} files, not one"):
        _read(Source(path, str(path)))


def test_zip_made_on_a_mac(tmp_path: Path) -> None:
    """The folder of attributes that a Mac packs along is no second text."""
    path = _write(tmp_path / "text.zip", zipped(b"the text", **{"__MACOSX_inside.txt": b"attributes"}))
    assert _read(Source(path, str(path))) == b"the text"


def test_encrypted_zip(tmp_path: Path) -> None:
    """It cannot be unpacked, and the message says why."""
    packed = bytearray(zipped(make_text(211).encode()))
    # The lowest bit of the flags, in the file's own header and in the central directory, says "encrypted".
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    path = _write(tmp_path / "text.zip", bytes(packed))
    with pytest.raises(TextError, match="encrypted"):
        _read(Source(path, str(path)))


def test_zip_with_an_empty_name(tmp_path: Path) -> None:
    """A name that begins with NUL is cut to nothing."""
    packed = zipped(b"the text").replace(b"inside.txt", b"\0nside.txt")
    path = _write(tmp_path / "text.zip", packed)
    assert _read(Source(path, str(path))) == b"the text"


def test_zip_with_a_name_in_no_encoding(tmp_path: Path) -> None:
    """A damaged list of files is damage, whatever Python's own module stumbles over."""
    packed = bytearray(zipped(b"the text"))
    start = packed.index(b"PK\x01\x02")
    packed[start + 9] |= 0x08  # the name is said to be UTF-8
    packed[start + 46] = 0xFF
    path = _write(tmp_path / "text.zip", bytes(packed))
    with pytest.raises(TextError, match="damaged"):
        _read(Source(path, str(path)))


def test_missing_file_and_what_to_do() -> None:
    """Spelling, or a name of the catalogue."""
    with pytest.raises(TextError, match=r"there is no file or folder emma\.txt") as raised:
        find("emma.txt")
    assert "check the spelling" in str(raised.value.hint)


def test_dangling_link_is_a_missing_file(tmp_path: Path) -> None:
    """A link to nowhere exists as a name; reading it says what is wrong."""
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "gone.txt")
    found, _ = find(str(link))
    for read in (found[0].digest, lambda: _read(found[0])):
        with pytest.raises(TextError, match=r"cannot read .*link\.txt: No such file or directory"):
            read()


@pytest.mark.parametrize("argument", ["", "x" * 5000])
def test_words_that_cannot_be_names(argument: str) -> None:
    """An unset shell variable must not mean the current folder, nor a whole text as an argument a traceback."""
    Path("here.txt").write_text(make_text(223))
    with pytest.raises(TextError, match="there is no file or folder"):
        texts.find([argument], glob=None, report=lambda _doing, _done, _total: None)


def test_whole_text_as_an_argument_with_a_corpora_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up by name does not trip over it either."""
    monkeypatch.setenv("CHARRNN_CORPORA", str(tmp_path))
    with pytest.raises(TextError, match="there is no file or folder"):
        texts.find(["x" * 5000], glob=None, report=lambda _doing, _done, _total: None)


def test_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    """Recursively, a folder's files together, without hidden files and folders."""
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.txt", "B.txt", "a-b/x.txt", ".hidden.txt", ".git/config", "a/.x"):
        _write(tmp_path / name, name.encode())
    found, notices = find(str(tmp_path))
    assert _names(found, tmp_path) == ["B.txt", "a/b/c.txt", "a/z.txt", "a-b/x.txt", "a.txt", "b.txt"]
    assert notices == []


def test_what_is_not_text_is_left_out_and_counted(tmp_path: Path) -> None:
    """Binary and wrongly encoded files are told; an empty file is a text of no characters, and no news."""
    for name, content in {
        "a.txt": "é".encode(),
        "b.png": b"\x89PNG\r\n\x1a\n\0\0",
        "c.txt": "é".encode("latin-1"),
        "d.gz": gzip.compress(b"packed"),
        "e.bin": b"a\0b",
        "f.txt": b"",
        "g.zip": b"no archive",
    }.items():
        _write(tmp_path / name, content)
    found, notices = find(str(tmp_path))
    assert _names(found, tmp_path) == ["a.txt", "d.gz", "f.txt"]
    assert notices == [f"{tmp_path}: left out 4 of 7 files that are not utf-8 text"]


def test_character_across_the_end_of_what_is_looked_at(tmp_path: Path) -> None:
    """The look into a file ends after 8192 bytes, perhaps within a character; that makes it no less a text."""
    _write(tmp_path / "a.txt", b"x" * 8191 + "€".encode())
    assert _names(find(str(tmp_path))[0], tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (DataConfig(), ["a-utf8"]),
        (DataConfig(encoding_errors="replace"), ["a-utf8", "b-latin1"]),
        (DataConfig(encoding="latin-1"), ["a-utf8", "b-latin1"]),
        (DataConfig(encoding="utf-16"), ["c-utf16"]),
        (DataConfig(as_bytes=True), ["a-utf8", "b-latin1", "c-utf16", "d-binary"]),
    ],
)
def test_encoding_decides_what_is_text(tmp_path: Path, config: DataConfig, names: list[str]) -> None:
    """The options that an error recommends choose the files of a folder too."""
    for name, content in {
        "a-utf8": "né".encode(),
        "b-latin1": "né".encode("latin-1"),
        "c-utf16": "né".encode("utf-16"),
        "d-binary": b"\0\1\xff",
    }.items():
        _write(tmp_path / name, content)
    found = texts.find([str(tmp_path)], glob=None, report=lambda _doing, _done, _total: None, config=config)
    assert _names(found.sources, tmp_path) == names
    assert len(found.notices) == (0 if len(names) == 4 else 1)


@pytest.mark.parametrize("encoding", ["no-such", "rot13", "hex"])
def test_unknown_encoding(tmp_path: Path, encoding: str) -> None:
    """What is no encoding of text is named, with examples of what is."""
    _write(tmp_path / "a.txt", b"x")
    with pytest.raises(UsageError, match=f"--encoding is '{encoding}'"):
        find(str(tmp_path), config=DataConfig(encoding=encoding))


def test_glob_takes_exactly_what_matches(tmp_path: Path) -> None:
    """By name or by path within the folder, in the same order, whatever the content."""
    for name, content in {"a.py": b"a", "b/c.py": b"\xff\0", "b/d.txt": b"d", "e.txt": b"e"}.items():
        _write(tmp_path / name, content)
    assert _names(find(str(tmp_path), "*.py")[0], tmp_path) == ["a.py", "b/c.py"]
    assert _names(find(str(tmp_path), "b/*")[0], tmp_path) == ["b/c.py", "b/d.txt"]
    with pytest.raises(TextError, match=r"no file in .* matches \*\.md"):
        find(str(tmp_path), "*.md")


def test_folder_without_text(tmp_path: Path) -> None:
    """The remedies named are those that would work."""
    _write(tmp_path / "a.bin", b"\0")
    with pytest.raises(TextError, match="there is no utf-8 text in the folder") as raised:
        find(str(tmp_path))
    assert all(option in str(raised.value.hint) for option in ("--encoding", "--glob", "--bytes"))


def test_unreadable_file_in_a_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is not quietly taken for one that is not text."""
    _write(tmp_path / "a.txt", b"a")
    secret = _write(tmp_path / "b.txt", b"b")
    real = archives.open_source

    def refuse(path: Path) -> object:
        if path == secret:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    # The mode would not do: root may read everything.
    monkeypatch.setattr(archives, "open_source", refuse)
    with pytest.raises(TextError, match=r"cannot read .*b\.txt: Permission denied") as raised:
        find(str(tmp_path))
    assert raised.value.hint


def test_pipe_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    """Opening it would wait for ever; a dangling link is no file either."""
    _write(tmp_path / "a.txt", b"a")
    os.mkfifo(tmp_path / "b.txt")
    (tmp_path / "c.txt").symlink_to("nowhere")
    assert _names(find(str(tmp_path))[0], tmp_path) == ["a.txt"]


def test_standard_input_is_kept_until_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus is read more than once, standard input only once."""
    content = make_text(1009).encode()
    _give_stdin(monkeypatch, content)
    found, _ = find("-")
    assert [source.name for source in found] == ["stdin"]
    assert _read(found[0]) == content
    assert _read(found[0]) == content
    release(found)
    assert not found[0].path.exists()
    assert list((cache_folder() / "corpora").iterdir()) == []


def test_release_spares_the_users_files(tmp_path: Path) -> None:
    """Only what was made here is removed."""
    path = _write(tmp_path / "a.txt", b"a")
    release(find(str(path))[0])
    assert path.read_bytes() == b"a"


@pytest.mark.parametrize("held", [0, 1 << 20])
def test_named_pipe_is_kept_as_standard_input_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """`charrnn train <(zcat corpus.gz)`: the shell gives the name of a pipe. What is short needs no file."""
    monkeypatch.setattr(sources, "_HELD", held)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = make_text(1013).encode()
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    found, _ = find(str(pipe))
    writer.join()
    assert _read(found[0]) == content
    assert _read(found[0]) == content
    assert found[0].name == str(pipe)
    assert (list(cache_folder().glob("corpora/*")) != []) is (held == 0)
    release(found)
    assert list(cache_folder().glob("corpora/*")) == []
    assert pipe.exists()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stdin", [None, _Terminal()])
def test_no_standard_input(monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None) -> None:
    """A closed one or a terminal: say so instead of waiting."""
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(UsageError, match="nothing on standard input"):
        find("-")


def test_standard_input_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading error is the input's, not the cache's, and a failing device's, not the text's."""

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    class Stdin(io.StringIO):
        buffer = Broken()

    monkeypatch.setattr(sys, "stdin", Stdin())
    with pytest.raises(ResourceError, match="cannot go on reading stdin: Input/output error"):
        find("-")


def test_no_room_for_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is named, and the status is that of a full disk."""
    _give_stdin(monkeypatch, make_text(5009).encode())
    with no_file_above(2000), pytest.raises(ResourceError) as raised:
        find("-")
    assert str(cache_folder()) in raised.value.message


def test_standard_input_is_gone_when_the_program_ends() -> None:
    """Also where another argument fails, so that nobody comes to release it."""
    Path("empty").mkdir()
    program = (
        "from charrnn.cli import texts\n"
        "from charrnn.text import sources\n"
        "sources._HELD = 0\n"
        "from charrnn.text.cache import cache_folder\n"
        "try:\n"
        "    texts.find(['-', 'empty'], glob=None, report=lambda *_: None)\n"
        "finally:\n"
        "    print(len(list(cache_folder().glob('corpora/under-way/*'))))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], input=b"text", capture_output=True, check=False)
    assert ended.stdout == b"1\n"
    assert b"there is no utf-8 text in the folder empty" in ended.stderr
    assert list((cache_folder() / "corpora").iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("books/emma.txt", "emma"),
        ("emma.txt.xz", "emma"),
        ("emma.zip", "emma"),
        ("emma.md", "emma.md"),
        ("books/", "books"),
        ("books/../plays", "plays"),
        ("-", "stdin"),
        ("/", "text"),
        ("...txt", "text"),  # without its ending this would name the folder above
        (".txt", "text"),
    ],
)
def test_titles(argument: str, name: str) -> None:
    """A run is called after its text, and never after a folder that is there already."""
    assert title(argument) == name
