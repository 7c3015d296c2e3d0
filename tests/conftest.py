"""What every test stands on: an own cache, no user's environment, deterministic torch, and small texts made here."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


def make_text(characters: int, seed: int = 0) -> str:
    """Text with structure to learn: words of a small lexicon in sentences, quotes and lines, `characters` long."""
    pick = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    lexicon = ["".join(pick.choice(letters) for _ in range(pick.randint(1, 7))) for _ in range(60)]
    pieces: list[str] = []
    length = 0
    while length < characters:
        words = [pick.choice(lexicon) for _ in range(pick.randint(3, 9))]
        sentence = " ".join(words).capitalize() + pick.choice(".!?") + pick.choice(" \n")
        if pick.random() < 0.3:
            sentence = f'"{sentence.strip()}" '
        pieces.append(sentence)
        length += len(sentence)
    return "".join(pieces)[:characters]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: its exit status, and what it wrote to stdout and stderr."""
    from charrnn.cli.app import main

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["charrnn", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
        captured = capsys.readouterr()
        return int(leaving.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a text of a given size to a file."""

    def write(characters: int = 4000, name: str = "text.txt", seed: int = 0) -> Path:
        path = tmp_path / name
        path.write_text(make_text(characters, seed), "utf-8")
        return path

    return write
