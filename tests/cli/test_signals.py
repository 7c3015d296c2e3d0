"""Signals are heard at any moment, and whoever does not read holds neither a run nor its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from tests.kit.command import Command, Result
from tests.kit.forked import ROOT, Job, full_pipe, run_signalled
from tests.kit.text import make_text

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

HANG = 120
POLITE = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
TRAIN = "train text.txt --hidden 4 --embedding 3 --batch 4 --bptt 9 --threads 1 --log-every 5".split()


@pytest.fixture(autouse=True)
def _text() -> None:
    Path("text.txt").write_text(make_text(2000))


def _run(code: str, *words: str, out: int = subprocess.PIPE, first: str = "") -> Result:
    """Runs code in a new Python, where `command` is run as the program is; it ends before the test hangs."""
    whole = f"import os, signal, sys, time\n{first}\nfrom charrnn.cli import leaving\n{code}\nleaving.run(command)\n"
    ended = subprocess.run(
        [sys.executable, "-c", whole, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=out, stderr=subprocess.PIPE, text=True, timeout=HANG,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), check=False,
    )  # fmt: skip
    return Result(ended.returncode, ended.stdout or "", ended.stderr)


_KILL = "def kill(name):\n    os.kill(os.getpid(), getattr(signal, name))\n"


@pytest.mark.parametrize(
    ("number", "module", "words"),
    [
        (signal.SIGINT, "typer", "--version"),
        (signal.SIGTERM, "typer.main", "--help"),
        (signal.SIGHUP, "numpy", "eval text.txt"),
        (signal.SIGINT, "torch", " ".join(TRAIN)),
        (signal.SIGTERM, "torch", " ".join(TRAIN)),
    ],
)
def test_while_a_module_is_imported(number: signal.Signals, module: str, words: str) -> None:
    """Which may do anything with an exception: the program ends at once, silently."""
    first = f"""
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            try:
                os.kill(os.getpid(), {int(number)})
                time.sleep(60)
            except BaseException:
                raise ImportError("swallowed") from None
sys.meta_path.insert(0, Finder())
"""
    result = _run("from charrnn.__main__ import _command as command", *words.split(), first=first)
    assert result.status == 128 + number, result.err
    assert "Traceback" not in result.err
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize("number", POLITE, ids=lambda number: number.name)
def test_the_program_tidies_up(number: signal.Signals) -> None:
    """What is to be done at the end is done, and then no time is lost."""
    code = f"""
import atexit
atexit.register(print, "last")
def command():
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(60)
    finally:
        print("tidied")
"""
    assert _run(code) == Result(128 + number, "tidied\nlast\n", "")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            "import hashlib; kill('SIGTERM'); hashlib.pbkdf2_hmac('sha512', b'', b'', 10**9)",
            id="before a call that does not return",
        ),
        pytest.param(
            "import hashlib, threading\n"
            "    threading.Timer(0.2, kill, ['SIGTERM']).start()\n"
            "    hashlib.pbkdf2_hmac('sha512', b'', b'', 10**9)",
            id="in a call that does not return",
        ),
        pytest.param(
            "class Thing:\n"
            "        def __del__(self):\n"
            "            kill('SIGTERM')\n"
            "            time.sleep(1)\n"
            "    Thing()\n"
            "    time.sleep(60)",
            id="where nothing can be raised",
        ),
        pytest.param(
            "try:\n        kill('SIGTERM')\n        time.sleep(60)\n    except BaseException:\n        time.sleep(60)",
            id="while it is tidied up for long",
        ),
        pytest.param(
            "try:\n"
            "        kill('SIGTERM')\n"
            "        time.sleep(60)\n"
            "    except BaseException:\n"
            "        raise ValueError",
            id="taken for something else",
        ),
        pytest.param("kill('SIGTERM')\n    time.sleep(60)", id="asleep"),
        pytest.param("leaving.nothing_is_left()\n    kill('SIGTERM')\n    time.sleep(60)", id="at the end"),
        pytest.param(
            "import threading\n    threading.Timer(0.2, kill, ['SIGTERM']).start()\n    sys.stdout.write('x' * 10**6)",
            id="while it writes",
        ),
    ],
)
def test_a_signal_is_obeyed_whatever_happens(body: str) -> None:
    """With its status, and without a word."""
    result = _run(f"{_KILL}def command():\n    {body}\n", out=(full := full_pipe()))
    os.close(full)
    assert (result.status, result.err) == (143, "")


def test_a_second_ctrl_c_ends_at_once() -> None:
    """A second SIGTERM is taken for the first: a terminal that closes and a shell may both send one."""
    code = """
def command():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("tidied", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        print("never", flush=True)
"""
    assert _run(code) == Result(143, "tidied\n", "")


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('a word')", 1, "a word\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
    ],
)
def test_without_a_signal_all_is_as_python_has_it(ending: str, status: int, said: str) -> None:
    result = _run(f"def command():\n    print('done')\n    {ending}\n")
    assert (result.status, result.out) == (status, "done\n")
    assert said in result.err
    assert bool(said) == bool(result.err)


def test_a_signal_after_all_is_done_changes_nothing() -> None:
    """While Python says farewell."""
    code = (
        "import atexit\natexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))\ndef command():\n    sys.exit(0)"
    )
    assert _run(code) == Result(0, "", "")


def test_what_is_ignored_stays_ignored() -> None:
    """As `nohup` has it."""
    code = "def command():\n    os.kill(os.getpid(), signal.SIGHUP)\n    print('here')"
    assert _run(code, first="signal.signal(signal.SIGHUP, signal.SIG_IGN)") == Result(0, "here\n", "")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "CHARRNN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}


@pytest.fixture(params=["pipe", "terminal"])
def unread(request: pytest.FixtureRequest) -> Iterator[int]:
    """A full pipe, and a terminal on which nobody reads (one that Ctrl-S has stopped is the same)."""
    if request.param == "pipe":
        yield (writing := full_pipe())
        os.close(writing)
        return
    ours, theirs = os.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_a_run_goes_on_though_nobody_reads(unread: int, environment: dict[str, str]) -> None:
    """It trains, validates, samples and saves; a signal ends it, saved."""
    words = [*TRAIN, "--steps", str(10**7), "--sample-every", "20", "--validate-every", "50", "--sample-length", "900"]
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *words], stdin=subprocess.DEVNULL, stdout=unread, stderr=unread,
        env=environment,
    )  # fmt: skip
    samples, limit = Path("checkpoints/text/samples.txt"), time.monotonic() + HANG
    while not samples.exists() or samples.read_text().count("step ") < 12:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=HANG) == 143
    assert checkpoints.load(Path("checkpoints/text/last.safetensors")).progress["step"] >= 240


def test_an_ended_run_waits_for_its_reader_until_a_signal(environment: dict[str, str]) -> None:
    """As any program does; the run is whole."""
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *TRAIN, "--steps", "10"], stdin=subprocess.DEVNULL,
        stdout=(full := full_pipe()), stderr=full, env=environment,
    )  # fmt: skip
    last, limit = Path("checkpoints/text/last.safetensors"), time.monotonic() + HANG
    while not last.exists() or checkpoints.load(last).progress["step"] < 10:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=HANG) == 143
    os.close(full)


@pytest.mark.parametrize("number", POLITE, ids=lambda number: number.name)
def test_the_other_commands_end_though_nobody_reads(
    command: Command, environment: dict[str, str], number: signal.Signals
) -> None:
    """They wait for a reader, since what they write is the product; a signal is heard all the same."""
    assert command(*TRAIN, "--steps", "3").status == 0
    written = ["sample --length 100000", "eval text.txt", "inspect", "inspect text.txt", "--help"]
    jobs = [
        Job(["charrnn", *words.split()], Path.cwd(), environment, signal=number, after=4.0, is_unread=True)
        for words in written
    ]
    assert [ended.result.status for ended in run_signalled(jobs)] == [128 + number] * len(jobs)
