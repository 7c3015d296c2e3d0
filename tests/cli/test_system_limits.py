"""What becomes of a command where the system refuses: too few files, no room, too little memory, and devices."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.command import Command, Result
from tests.kit.tiny import arrays_of, forge, tiny

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits, pipes and devices are POSIX's")

RUN = Path("checkpoints/tiny/best.safetensors")


@pytest.fixture(autouse=True)
def _place() -> None:
    RUN.parent.mkdir(parents=True)
    saved = tiny()
    RUN.write_bytes(forge(saved.metadata(), arrays_of(saved)))
    Path("text.txt").write_text("abc def gh\n" * 50)


def _limited(what: str, size: int, *words: str) -> Result:
    """Runs the command in a process with a limit of the system's."""

    def limit() -> None:
        import resource

        resource.setrlimit(getattr(resource, what), (size, size))

    ended = subprocess.run(
        [sys.executable, "-m", "charrnn", *words], preexec_fn=limit, capture_output=True, text=True, timeout=60
    )
    return Result(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    ("what", "size", "words"),
    [
        ("RLIMIT_NOFILE", 5, "train text.txt --hidden 4 --steps 1 --threads 1 --quiet"),
        ("RLIMIT_NOFILE", 5, "inspect text.txt -n 9"),
        ("RLIMIT_FSIZE", 0, "train text.txt --hidden 4 --steps 1 --threads 1 --quiet"),
        ("RLIMIT_FSIZE", 0, "inspect --html page.html"),
        ("RLIMIT_AS", 20_000_000, "inspect"),
        ("RLIMIT_AS", 40_000_000, "inspect"),
        ("RLIMIT_AS", 300_000_000, "eval text.txt"),
    ],
)
def test_a_limit_of_the_system_is_told_in_one_error(what: str, size: int, words: str) -> None:
    """How much is needed depends on the machine; what is lacking is told with status 6, and never as a bug."""
    result = _limited(what, size, *words.split())
    assert result.status in (0, 6), result.err
    assert "Traceback" not in result.err
    assert result.err.count("error: ") == (1 if result.status else 0)
    if what == "RLIMIT_FSIZE":
        assert result.status == 6
        assert "File too large" in result.err
        assert not Path("page.html").exists()


@pytest.mark.parametrize("option", ["--npz", "--html", "--svg"])
@pytest.mark.parametrize(
    ("place", "status", "said"),
    [
        ("/dev/null", 0, "wrote /dev/null"),
        ("/dev/full", 6, "no room left writing /dev/full: No space left on device"),
        ("folder", 2, "Is a directory"),
        ("nowhere/file", 2, "No such file or directory"),
        ("pipe", 2, "No such device or address"),
    ],
)
def test_a_result_written_to_a_strange_place(command: Command, option: str, place: str, status: int, said: str) -> None:
    """A device takes it, or is full; a folder, a missing one and a pipe that nobody reads are wrong places."""
    if place.startswith("/dev/") and not Path(place).exists():
        pytest.skip(f"there is no {place}")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    result = command("inspect", "text.txt", "-n", "9", "-c", str(RUN), option, place)
    assert result.status == status, result.err
    assert said in result.err
    assert result.err.count("error: ") == (1 if status else 0)
    assert sorted(path.name for path in Path().iterdir() if not path.name.startswith("cache")) == [
        "checkpoints", "folder", "pipe", "text.txt",
    ]  # fmt: skip
    assert list(Path("folder").iterdir()) == []


@pytest.mark.parametrize("option", ["--npz", "--html"])
def test_a_pipe_that_is_read_gets_the_same_bytes_as_a_file(command: Command, option: str) -> None:
    """Of an archive, at least the arrays: in a pipe nothing can be written again once its size is known."""
    words = ("inspect", "text.txt", "-n", "9", "-c", str(RUN), option)
    os.mkfifo("pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()))
    reader.start()
    assert command(*words, "pipe").status == 0
    reader.join(timeout=60)
    assert command(*words, "file").status == 0
    if option == "--html":
        assert read == [Path("file").read_bytes()]
    else:
        import numpy as np

        Path("received").write_bytes(read[0])
        with np.load("received") as received, np.load("file") as written:
            assert received.files == written.files
            assert all(np.array_equal(received[name], written[name]) for name in written.files)


def test_what_fails_under_no_name_is_told_without_a_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch, text_file: Callable[..., Path]
) -> None:
    """An error of the system that no other place has explained."""
    import errno

    for number, status in ((errno.EIO, 6), (errno.EACCES, 2)):

        def fail(*_: object, number: int = number) -> bool:
            raise OSError(number, os.strerror(number), "there")

        with monkeypatch.context() as broken:
            broken.setattr("charrnn.checkpoints.runs.runs_in", fail)
            broken.setattr("charrnn.cli.texts.runs_in", fail)
            result = command("eval", str(text_file()), "-c", str(RUN))
        assert result.status == status
        assert re.match(rf"error: cannot go on with there: {os.strerror(number)}\n hint: ", result.err)
