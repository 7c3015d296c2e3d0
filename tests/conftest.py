"""What every test stands on: an own cache, no user's environment, deterministic torch, the command in this process."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.command import Command, Result, check_hints
from tests.kit.text import make_text

# One thread: the tests' models are tiny, and two test runs side by side must not disturb each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# One of several processes that run the tests ignores Ctrl-C, and whatever it starts would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a cache of its own and runs in an empty folder of its own."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in ("CHARRNN_CORPORA", "CHARRNN_TRACEBACK", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    yield
    if "torch" in sys.modules:  # a run flushes denormals for the whole process; other tests must not depend on it
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Runs the command in this process, as its installed program does, with nothing or `stdin` on standard input.

    Bytes in its output that are not UTF-8 are surrogates in the result.
    """
    from charrnn.cli.app import main

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["charrnn", *arguments])
        # `python -m pytest` has a package, of which the command would be called a part.
        monkeypatch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with pytest.raises(SystemExit) as leaving:
            main()
        written = (part.decode("utf-8", "surrogateescape") for part in capsysbinary.readouterr())
        result = Result(int(leaving.value.code or 0), *written)
        check_hints(result, arguments[0] if arguments else "")
        return result

    return run


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a text of a given size to a file."""

    def write(characters: int = 4000, name: str = "text.txt", seed: int = 0) -> Path:
        path = tmp_path / name
        path.write_text(make_text(characters, seed), "utf-8")
        return path

    return write
