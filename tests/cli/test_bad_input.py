"""Bad input, of every kind that could be thought of, through the real command line.

For each: one message on stderr that says what is wrong with which value, the documented exit status, nothing on
stdout, no traceback, and no control character. Most run in this process, since starting Python costs more than being
refused; what needs real streams, limits or signals runs in its own.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import FORMAT
from charrnn.checkpoints.lock import LOCK, is_training
from charrnn.settings.config import DataConfig
from tests.kit.command import Command, Result
from tests.kit.pseudoterminal import run as on_terminal
from tests.kit.tiny import arrays_of, forge, tiny

USAGE, TEXT, CHECKPOINT, RESOURCE = 2, 3, 4, 6
RUN = Path("checkpoints/tiny/best.safetensors")
NAMED = ("-c", str(RUN))
"""The run named, so that no line on stderr says which one was chosen."""
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
as_user = pytest.mark.skipif(ROOT, reason="root may read and write everything")
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def _message(result: Result) -> str:
    """The one message that stderr holds, on one line."""
    assert "Traceback" not in result.err
    assert not re.search(r"[^\n -~\u00a0-\U0010ffff]", result.err), "a control character"
    lines = [line for line in result.err.split("\n") if line and not line.startswith(("note: ", "run ", "reading "))]
    assert re.fullmatch(r"error: [^\n]+(\n hint: [^\n]+)?", "\n".join(lines))
    return " ".join(lines)


def _check(result: Result, status: int, *said: str) -> None:
    assert result.status == status, result.err
    assert result.out == ""
    message = _message(result)
    assert all(words in message for words in said), message


@cache
def _file(kind: str = "best", cell: str = "lstm") -> bytes:
    """The bytes of a checkpoint."""
    saved = tiny(kind, cell=cell)
    return forge(saved.metadata(), arrays_of(saved))


def _big() -> bytes:
    """A gru whose numbers are all finite, and whose second step is a closed reset gate times infinity: not a number."""
    saved = tiny(cell="gru")
    H = saved.model.hidden_size
    biases, recurrent = saved.parameters["layers.1.bias_ih"], saved.parameters["layers.1.weight_hh"]
    biases[: 2 * H], biases[2 * H :] = -3e38, 1e5  # r = z = 0, n = 1, so the first h is 1
    recurrent[2 * H :] = 3e38
    return forge(saved.metadata(), arrays_of(saved))


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test stands in a folder with a run, a text that the run knows, and a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    RUN.parent.mkdir(parents=True)
    RUN.write_bytes(_file())
    Path("text.txt").write_text("abc def gh\n" * 50)


def _spawn(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "charrnn", *arguments], **options)


def _run_apart(*arguments: str, first: str = "", **options: Any) -> Result:
    """Runs it in a process of its own, after the statement `first` there."""
    code = (
        f"import os, resource, sys; {first}; os.execv(sys.executable, [sys.executable, '-m', 'charrnn', *sys.argv[1:]])"
    )
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    words = [sys.executable, *(("-c", code) if first else ("-m", "charrnn")), *arguments]
    process = subprocess.Popen(words, **pipes)
    out, err = process.communicate(timeout=60)
    return Result(process.returncode, (out or b"").decode(), (err or b"").decode())


# The table.


@dataclass(frozen=True)
class Case:
    """One kind of bad input. `set_up` is called in the folder that the command runs in."""

    command: str
    status: int
    said: str | tuple[str, ...]
    set_up: Callable[[], Any] | None = None
    stdin: bytes = b""


def _write(name: str, content: bytes) -> Callable[[], Any]:
    return lambda: Path(name).write_bytes(content)


def _zip(name: str, *members: str) -> Callable[[], Any]:
    def write() -> None:
        with zipfile.ZipFile(name, "w") as archive:
            for member in members:
                archive.writestr(member, "abc def gh\n" * 50)

    return write


def _folder(name: str, **files: bytes) -> Callable[[], Any]:
    def make() -> None:
        Path(name).mkdir()
        for file, content in files.items():
            Path(name, file).write_bytes(content)

    return make


_LINES = "abc def gh\n" * 50
_TEXTS: dict[str, Case] = {
    "a file that is not there": Case("missing.txt", TEXT, "no file or folder missing.txt"),
    "a name too long for any file": Case("x" * 300, TEXT, "x" * 300),
    "a name of nothing": Case("''", TEXT, "there is no file or folder"),
    "a path through a file": Case("text.txt/more", TEXT, "text.txt/more"),
    "an empty folder": Case("folder", TEXT, ("no", "text in the folder folder"), _folder("folder")),
    "a folder without text": Case(
        "folder", TEXT, ("no", "text in the folder folder"), _folder("folder", a=b"\0\1", b=b"\xff\xfe\xff")
    ),
    "a folder in which no name matches": Case(
        "folder --glob '*.py'", TEXT, "no file in folder matches *.py", _folder("folder", a=b"text")
    ),
    "NUL bytes": Case(
        "binary", TEXT, ("binary holds NUL", "name a file of text"), _write("binary", b"abc\0def\n" * 99)
    ),
    "bytes that are not UTF-8": Case(
        "bad.txt", TEXT, ("bad.txt is not utf-8: byte 0xff at offset 5,507, line 501", "--encoding"),
        _write("bad.txt", b"abc def gh\n" * 500 + b"abc def\xff\n"),
    ),
    "UTF-8 that is cut off": Case(
        "cut.txt", TEXT, "byte 0xe2 at offset 550, line 51", _write("cut.txt", (_LINES + "\u20ac").encode()[:-1])
    ),
    "UTF-16": Case("u16.txt", TEXT, "--encoding utf-16", _write("u16.txt", _LINES.encode("utf-16"))),
    "UTF-16 without a mark": Case("u16.txt", TEXT, "utf-16", _write("u16.txt", _LINES.encode("utf-16-le"))),
    "a gz that is cut off": Case("a.gz", TEXT, "a.gz is damaged", _write("a.gz", gzip.compress(b"abc" * 999)[:-9])),
    "a gz that is none": Case("a.gz", TEXT, "a.gz is damaged", _write("a.gz", b"abc" * 999)),
    "a gz with a wrong sum": Case(
        "a.gz", TEXT, "a.gz is damaged", _write("a.gz", gzip.compress(b"abc" * 999)[:-8] + bytes(8))
    ),
    "a bz2 that is none": Case("a.bz2", TEXT, "a.bz2 is damaged", _write("a.bz2", b"abc" * 999)),
    "a bz2 that is cut off": Case("a.bz2", TEXT, "a.bz2 is damaged", _write("a.bz2", bz2.compress(b"ab" * 999)[:-9])),
    "an xz that is none": Case("a.xz", TEXT, "a.xz is damaged", _write("a.xz", b"abc" * 999)),
    "an xz that is cut off": Case("a.xz", TEXT, "a.xz is damaged", _write("a.xz", lzma.compress(b"abc" * 999)[:-9])),
    "a zip that is none": Case("a.zip", TEXT, "a.zip is damaged", _write("a.zip", b"abc" * 999)),
    "a zip of two files": Case("a.zip", TEXT, "a.zip holds 2 files", _zip("a.zip", "one.txt", "two.txt")),
    "a zip of nothing": Case("a.zip", TEXT, "a.zip holds 0 files", _zip("a.zip")),
    "standard input that is not UTF-8": Case("-", TEXT, "stdin is not utf-8: byte 0xfc at offset 1", stdin=b"f\xfcr"),
    "an encoding nobody knows": Case("text.txt --encoding klingon", USAGE, "--encoding is 'klingon'"),
    "an encoding that is none of text": Case("text.txt --encoding rot13", USAGE, "--encoding is 'rot13'"),
    "an encoding that is a packing": Case("text.txt --encoding base64", USAGE, "--encoding is 'base64'"),
    "an encoding of no name": Case("text.txt --encoding ''", USAGE, "--encoding is ''"),
    "a way with errors nobody knows": Case(
        "text.txt --encoding-errors ignore", USAGE, "--encoding-errors is 'ignore'"
    ),
    "no text at all": Case("", USAGE, ("needs", "such as charrnn")),
    "a text of an unknown name": Case(
        "tinyshakespear.txt", TEXT, ("no file or folder tinyshakespear", "mean tinyshakespeare?")
    ),
    "an option that does not exist": Case("text.txt --tempo 3", USAGE, "has no option --tempo"),
    "an option without its value": Case("text.txt --encoding", USAGE, "--encoding"),
}  # fmt: skip


@pytest.mark.parametrize("words", ["train", "eval"])
@pytest.mark.parametrize("kind", _TEXTS)
def test_a_text_that_cannot_be_read(command: Command, words: str, kind: str) -> None:
    """The same words from the command that learns it and the one that scores it."""
    case = _TEXTS[kind]
    if case.set_up:
        case.set_up()
    result = command(words, *shlex.split(case.command), stdin=case.stdin)
    _check(result, case.status, *([case.said] if isinstance(case.said, str) else case.said))


_CASES: dict[str, Case] = {
    # The command line itself
    "a command that does not exist": Case("trian text.txt", USAGE, ("no command trian", "did you mean charrnn train?")),
    "an option before any command": Case("--cell lstm train text.txt", USAGE, "has no option --cell"),
    "a word too many for sample": Case("sample KING", USAGE, "charrnn sample --prime KING"),
    "two texts for inspect": Case("inspect text.txt text.txt", USAGE, "inspect reads one text"),
    "a switch with a value": Case("sample --json=yes", USAGE, "--json"),
    # Corpora
    "an empty corpus": Case("train empty", TEXT, "0 characters", _write("empty", b"")),
    "an empty standard input": Case("train -", TEXT, "0 characters"),
    "a corpus of a mark alone": Case("train bom", TEXT, "0 characters", _write("bom", b"\xef\xbb\xbf")),
    "a corpus of one character": Case("train one", TEXT, "single character", _write("one", b"a" * 9999)),
    "a corpus too small": Case("train small", TEXT, "needs at least", _write("small", b"abc")),
    "an empty corpus of bytes": Case("train --bytes empty", TEXT, "0 characters", _write("empty", b"")),
    "standard input twice": Case("train - -", USAGE, "named twice"),
    "a validation text that is missing": Case("train text.txt --validation no.txt", TEXT, "no file or folder no.txt"),
    "a validation text of one character": Case(
        "train text.txt --validation one --steps 1", TEXT, "single character", _write("one", b"a")
    ),
    "a prime of unknown characters": Case(
        "train text.txt --prime 'a\u00e9' --steps 1", TEXT, "LATIN SMALL LETTER E WITH ACUTE"
    ),
    # Budgets and combinations
    "two budgets": Case("train text.txt --steps 3 --epochs 2", USAGE, "more than one budget was given: --epochs, --st"),
    "three budgets": Case("train text.txt --steps 3 --epochs 2 --minutes 1", USAGE, "more than one budget"),
    "more parts than lanes": Case(
        "train text.txt --batch 5 --accumulate 9 --hidden 4 --steps 1", USAGE,
        ("--batch is 5, too few lanes for 9 pieces of a step", "--batch 9 or more, or a smaller --accumulate"),
    ),
    "more parts than a small text has lanes": Case(
        "train text.txt --accumulate 9 --hidden 4 --steps 1", USAGE, "too few lanes for 9 pieces of a step"
    ),
    "more parts than lanes, to be tried": Case(
        "train text.txt --batch 5 --accumulate 9 --hidden 4 --steps 1 --dry-run", USAGE, "--batch is 5, too few lanes"
    ),
    "everything held out": Case(
        "train text.txt --validation-fraction 0.5 --test-fraction 0.5", USAGE, ("held-out share", "is 1.0", "0.9")
    ),
    # Folders of runs
    "an out that is a file": Case("train text.txt --out text.txt --steps 1", USAGE, "text.txt: File exists"),
    "an out below a file": Case("train text.txt --out text.txt/run --steps 1", USAGE, "text.txt/run: Not a directory"),
    "an out below a device": Case("train text.txt --out /dev/null/run --steps 1", USAGE, "/dev/null/run"),
    "an out too long for any folder": Case(f"train text.txt --out {'x' * 300} --steps 1", USAGE, "name too long"),
    "a run with a best and no last": Case(
        "train text.txt --out checkpoints/tiny --steps 1", CHECKPOINT, ("no last.safetensors", "--fresh")
    ),
    "a run whose last is damaged": Case(
        "train text.txt --out run --steps 1", CHECKPOINT, ("run/last.safetensors is damaged", "hint: "),
        _folder("run", **{"last.safetensors": _file("last")[:-5]}),
    ),
    "a run whose last lacks its settings": Case(
        "train text.txt --out run --steps 1", CHECKPOINT, ("lacks its settings", "--fresh"),
        _folder("run", **{"last.safetensors": _file("best")}),
    ),
    # Primes
    "unknown characters in a prime": Case("sample --prime 'ab XY'", TEXT, ("'X' U+0058", "'Y' U+0059", "--unknown")),
    "unknown characters that lie to the eye": Case("sample --prime 'a\u202eb'", TEXT, "U+202E RIGHT-TO-LEFT OVERRIDE"),
    "bytes in a prime that are not UTF-8": Case(
        "sample --prime 'a\udcff'", TEXT, "holds the byte 0xff, which is not UTF-8"
    ),
    "a prime and a file with one": Case("sample --prime a --prime-file text.txt", USAGE, "are both given"),
    "an empty prime and a file with one": Case("sample --prime '' --prime-file text.txt", USAGE, "are both given"),
    "a prime file that is missing": Case("sample --prime-file no.txt", TEXT, "no file or folder no.txt"),
    "a prime file that is a folder": Case("sample --prime-file checkpoints", TEXT, "checkpoints is a folder"),
    "a prime file with no name": Case("sample --prime-file ''", TEXT, "no file or folder"),
    "a prime in place of a prime file": Case(f"sample --prime-file '{'Once upon ' * 50}'", TEXT, "no file or folder"),
    "a prime file that is not UTF-8": Case(
        "sample --prime-file bad", TEXT, "bad is not utf-8: byte 0xe9 at offset 1, line 1", _write("bad", b"a\xe9")
    ),
    "a prime on standard input that is not UTF-8": Case("sample --prime-file -", TEXT, "stdin is not", stdin=b"\xff"),
    "an escape nobody knows": Case(r"sample -e --prime 'a\qb'", USAGE, (r"--prime holds the escape '\\q'", r"\uXXXX")),
    "an escape that is cut off": Case(r"sample -e --prime '\u00'", USAGE, r"--prime holds the escape '\\u'"),
    "an escape of nothing": Case("sample -e --prime 'abc\\'", USAGE, r"--prime holds the escape '\\'"),
    "an escape beyond Unicode": Case(r"sample -e --stop '\U00110000'", USAGE, r"--stop holds the escape '\\U00110000'"),
    "samples without an end": Case("sample --repeat-until-stop --json", USAGE, ("--repeat-until-stop", "--stop")),
    "several samples without an end": Case("sample --repeat-until-stop --count 2", USAGE, "--stop"),
    "a session of several samples": Case("sample --interactive --count 2", USAGE, "--interactive writes one text"),
    "a session of a length": Case("sample -i -n 9", USAGE, "leave --length out"),
    "a session in colour": Case("sample -i --color", USAGE, "leave --color out"),
    "a session with an end": Case("sample -i --stop x", USAGE, "ends when you say so"),
    "a session as JSON": Case("sample -i --json", USAGE, "--interactive writes one text"),
    "a session at two temperatures": Case("sample -i -t 1,2", USAGE, "--interactive writes one text"),
    "a session whose prime takes standard input": Case("sample -i --prime-file -", USAGE, "reads your choices"),
    "an empty stop": Case("sample --stop ''", USAGE, ("--stop is ''", "at least one character")),
    # Inspecting
    "a unit for no text": Case("inspect --unit L1.h0", USAGE, "needs a text"),
    "colours of no text": Case("inspect --palette karpathy", USAGE, "inspect without a text draws neither"),
    "colours of gates": Case("inspect text.txt --gates --palette safe", USAGE, ("--gates draws", "leave --pal")),
    "colours of a horizon": Case("inspect text.txt --horizon --palette safe", USAGE, "--horizon draws neither"),
    "colours of what is found": Case("inspect text.txt --find --palette safe", USAGE, "--find draws neither"),
    "a page of a view of no text": Case("inspect --find --html page.html", USAGE, "needs a text"),
    "a text that is missing": Case("inspect no.txt", TEXT, "no file or folder no.txt"),
    "a text of nothing": Case("inspect empty", TEXT, "nothing to read in empty", _write("empty", b"")),
    "a text of strangers": Case("inspect greek", TEXT, "U+03B1", _write("greek", "\u03b1\u03b2\u03b3".encode())),
    "a text of strangers, left out": Case(
        "inspect greek --unknown skip", TEXT, "nothing to read", _write("greek", "\u03b1\u03b2\u03b3".encode())
    ),
    "a start beyond the end": Case("inspect text.txt --from 550", USAGE, "--from is 550, but the text has 550 char"),
    "a start beyond all texts": Case(f"inspect text.txt --from {10**40}", USAGE, "but the text has 550 char"),
    "arrays of no text": Case("inspect --npz a.npz", USAGE, "--npz needs a text"),
    "arrays in a folder that is missing": Case("inspect text.txt --npz no/a", USAGE, "no/a: No such file"),
    "a page and a picture in one file": Case("inspect --html ./a --svg a", USAGE, "--html and --svg are both a"),
    "a page in no folder": Case("inspect --html no/a", USAGE, "no/a: No such file"),
    "arrays where texts come from": Case("inspect text.txt --npz -", USAGE, "to write is -, which stands for"),
    "a page where texts come from": Case("inspect --html ./-", USAGE, "to write is -, which stands for"),
    "a page to write in where texts come from": Case("sample --page -", USAGE, "to write is -, which stands for"),
    "arrays in the place of a page": Case("inspect text.txt --npz ./a --html a", USAGE, "--html and --npz are both a"),
    "a page in a folder that is missing": Case("inspect text.txt --html no/a.html", USAGE, "no/a.html: No such file"),
    "a page in the place of a folder": Case("inspect text.txt --html checkpoints", USAGE, "points: Is a directory"),
    "a page of no name": Case("inspect text.txt --html ''", USAGE, "cannot go on writing"),
    "inspecting on a GPU": Case("inspect text.txt --device cuda", USAGE, "--device is cuda"),
    "weights too large to compute with": Case(
        "inspect text.txt -c big -u L1.h0", CHECKPOINT, "L1.h0 is not finite", lambda: Path("big").write_bytes(_big())
    ),
    "guesses of weights too large to compute with": Case(
        "inspect text.txt -c big --predictions", CHECKPOINT, "not finite", lambda: Path("big").write_bytes(_big())
    ),
    "a horizon of no text": Case("inspect --horizon", USAGE, "--horizon needs a text"),
    "a horizon of a unit": Case("inspect text.txt --horizon --unit L1.h0", USAGE, "leave --unit out"),
    "a horizon from a place on": Case("inspect text.txt --horizon --from 3", USAGE, "leave --from out"),
    "a horizon of some characters": Case("inspect text.txt --horizon --length 3", USAGE, "leave --length out"),
    "a horizon of some units": Case("inspect text.txt --horizon --units 2", USAGE, "leave --units out"),
    "a distance without a horizon": Case("inspect text.txt --distance 9", USAGE, ("--distance says how", "--horizon")),
    "lanes without a horizon": Case("inspect text.txt --lanes 9", USAGE, ("--lanes says how", "add --horizon")),
    "reading without a horizon": Case("inspect text.txt --read 9", USAGE, ("--read says how", "add --horizon")),
    "a seed without a horizon": Case("inspect text.txt --seed 0", USAGE, ("--seed says how", "add --horizon")),
    "a horizon of one lane": Case("inspect text.txt --horizon --lanes 1", USAGE, "--lanes"),
    "a horizon of nothing": Case("inspect empty --horizon", TEXT, "0 characters, too few", _write("empty", b"")),
    "a horizon of three characters": Case("inspect abc --horizon", TEXT, "too few for two", _write("abc", b"abc")),
    "a circuit of no text": Case("inspect --circuit vowel", USAGE, "--circuit needs a text"),
    "a circuit of no label": Case(
        "inspect text.txt --circuit wovel", USAGE, ("no label called 'wovel'", "mean vowel?", "--circuit NAME")
    ),
    "a circuit of units": Case("inspect text.txt --circuit vowel -u L1.h0", USAGE, "leave --unit out"),
    "a circuit for hardly any ends": Case("inspect text.txt --circuit digit", TEXT, "too few to find a circuit for"),
    "a circuit that may lose everything": Case("inspect text.txt --circuit vowel --within 1", USAGE, "--within"),
    "a share without a circuit": Case("inspect text.txt --within 0.1", USAGE, ("--within says how", "add --circuit")),
    "a circuit of weights too large": Case(
        "inspect text.txt -c big --circuit vowel", CHECKPOINT, "not finite", lambda: Path("big").write_bytes(_big())
    ),
    "an atlas of weights too large": Case(
        "inspect text.txt -c big --find", CHECKPOINT, "not finite", lambda: Path("big").write_bytes(_big())
    ),
    "a horizon of weights too large": Case(
        "inspect text.txt -c big --horizon --distance 9", CHECKPOINT, "not finite",
        lambda: Path("big").write_bytes(_big()),
    ),
    "a pattern of flags that contradict each other": Case(
        "inspect text.txt --select '(?a)(?u)x'", USAGE, "--select '(?a)(?u)x' is no valid pattern"
    ),
    "a label of flags that contradict each other": Case(
        "inspect text.txt --find --label 'q=(?a)(?u)x'", USAGE, "the label 'q' has no valid pattern"
    ),
    "a page in the place of the text": Case("inspect text.txt --html ./text.txt", USAGE, "text.txt, which is read"),
    "a page in the place of the model": Case(f"inspect text.txt --html {RUN} -c {RUN}", USAGE, "which is read"),
    "a page in a loop of links": Case(
        "inspect text.txt --html loop", USAGE, "loop: Too many", lambda: Path("loop").symlink_to("loop")
    ),
    "a text in a loop of links": Case("inspect loop", TEXT, "loop", lambda: Path("loop").symlink_to("loop")),
    # Numbers beyond all that is counted
    "a sample without an end": Case(
        f"train text.txt --sample-length {2**63} --steps 1", USAGE, ("--sample-length is", "1 to 1,048,576")
    ),
    "more samples than anybody reads": Case(f"sample --count {2**31}", USAGE, ("--count is", "1 to 1,048,576")),
    "characters without an end": Case(f"sample -n {2**63}", USAGE, ("--length is", "at most 1,000,000,000,000,0")),
    "a wrong value beside a run that cannot go on": Case(
        "train checkpoints/tiny --beta1 2", USAGE, ("--beta1 is 2.0", "from 0 to less than 1")
    ),
    "a wrong value beside a file of settings": Case("train --config no.toml --lr nan", USAGE, "--lr is nan"),
    "a run to set aside of too long a name": Case(f"train text.txt --fresh --name {'x' * 300}", USAGE, "name too long"),
    # Evaluating
    "a score of nothing": Case("eval empty", TEXT, "nothing to score", _write("empty", b"")),
    "a score of one character": Case("eval one", TEXT, "nothing to score", _write("one", b"a")),
    "a score of strangers": Case("eval other", TEXT, "'X' U+0058 LATIN CAPITAL LETTER X (50 times)",
                                 _write("other", b"abX\n" * 50)),
    "a score that is no number": Case(
        "eval text.txt -c big", CHECKPOINT, "is not finite", lambda: Path("big").write_bytes(_big())
    ),
    "a test part where there is none": Case("eval text.txt --split test", TEXT, "cut no test part"),
    "standard input twice to score": Case("eval - -", USAGE, "named twice"),
    "a score on no text but a checkpoint": Case(f"eval {RUN}", TEXT, "best.safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("kind", _CASES)
def test_bad_input(command: Command, kind: str) -> None:
    """Each is refused with its own words."""
    case = _CASES[kind]
    if case.set_up:
        case.set_up()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = command(*shlex.split(case.command), stdin=case.stdin)
    _check(result, case.status, *([case.said] if isinstance(case.said, str) else case.said))
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before, "a file was changed or made"
    assert not Path("checkpoints/text").exists()


def test_a_long_value_is_not_repeated_whole(command: Command) -> None:
    """Nor that of an option that takes anything, nor the name of a text."""
    for words in (
        ["--hidden", "9" * 4000 + "x"],
        ["--encoding", "x" * 100_000],
        ["--prime", "x" * 100_000, "y" * 4000],
    ):
        result = command("train", "text.txt", *words)
        assert result.status in (USAGE, TEXT)
        assert len(result.err) < 5000
        assert " characters) ... " in result.err


def test_a_page_is_not_written_where_another_file_cannot_be(command: Command) -> None:
    """Both are looked at before anything is measured."""
    result = command("inspect", "text.txt", "--html", "a.html", "--npz", "checkpoints", *NAMED)
    _check(result, USAGE, "checkpoints: Is a directory")
    assert not Path("a.html").exists()


@pytest.mark.parametrize("words", ["--prime 'a\u00e9'", "--batch 5 --accumulate 9", "--average-after 1 --patience 1"])
def test_a_run_that_is_refused_leaves_no_folder(command: Command, words: str) -> None:
    """Also what is found only once the folder has been locked; a folder that was there stays."""
    words += " --hidden 4 --steps 1"
    result = command("train", "text.txt", "--out", "runs/new", *shlex.split(words))
    assert result.status in (USAGE, TEXT)
    assert not Path("runs").exists()
    Path("runs/new").mkdir(parents=True)
    assert command("train", "text.txt", "--out", "runs/new", *shlex.split(words)).status == result.status
    assert Path("runs/new").is_dir()


@on_posix
def test_a_run_that_is_refused_removes_its_folder_while_it_has_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that came a moment later would lose what it has locked."""
    seen, unlink = [], os.unlink

    def watched(path: Any, **more: Any) -> None:
        if os.path.basename(path) == LOCK:
            seen.append(is_training(Path("new")))
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", watched)
    words = "--batch 5 --accumulate 9 --hidden 4 --steps 1"
    assert command("train", "text.txt", "--out", "new", *words.split()).status == USAGE
    assert seen == [True]
    assert not Path("new").exists()


def test_the_shortest_budget_is_over_at_once(command: Command) -> None:
    """Half of the smallest number above 0 is 0."""
    result = command("train", "text.txt", "--minutes", "5e-324", "--hidden", "4", "--threads", "1", "--quiet")
    assert (result.status, result.err) == (0, "")


def test_more_threads_than_the_system_gives(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP would end the process; those that were made are let go of."""
    start, made = threading.Thread.start, threading.active_count()

    def limited(thread: threading.Thread) -> None:
        if threading.active_count() >= made + 5:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    result = command("train", "text.txt", "--threads", "1000", "--hidden", "4", "--steps", "1")
    _check(result, USAGE, "--threads is 1000, and the system lets this process have 5")  # one shows
    assert threading.active_count() == made


def test_a_sample_that_becomes_no_number(command: Command) -> None:
    """What was written until then is kept; then the error, and its status."""
    Path("big").write_bytes(_big())
    result = command("sample", "-c", "big", "-n", "9")
    assert result.status == CHECKPOINT
    assert "is not finite" in result.err
    assert len(result.out) == 2
    assert result.out.endswith("\n")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(command: Command) -> None:
    """Settings, expectation and how to change them; no folder, no file; and of a run that is there, that it goes on."""
    result = command("train", "text.txt", "--out", "new", "--minutes", "3", "--hidden", "80", "--dry-run")
    assert (result.status, result.out) == (0, "")
    said = [line for line in result.err.splitlines() if line.startswith("note: ")]
    assert "8 lanes of 61 characters instead of 16 of 64" in said[0]
    assert "the model is an lstm of 1 layer with 80 units" in said[1]
    assert "trains for 3 minutes on cpu and is kept in new" in said[3]
    assert re.search(r"about [\d,.]+( million)? characters \([\d,.]+ epochs\), and to need [\d.]+ [kMG]B of", said[5])
    assert "learning rate 0.018 (constant, and the mean of the weights after 75% of a model's time is kept)" in said[6]
    assert "--dropout" in said[-2]
    assert "bits per character" in said[-1]
    falls = command("train", "text.txt", "--out", "new", "--decay", "linear", "--hidden", "80", "--dry-run")
    assert "learning rate 0.012 (linear decay)" in falls.err
    assert not Path("new").exists()
    command("train", "text.txt", "--out", "new", "--steps", "2", "--hidden", "8", "--quiet")
    before = {path: path.read_bytes() for path in Path("new").iterdir()}
    result = command("train", "text.txt", "--out", "new", "--steps", "9", "--hidden", "8", "--dry-run")
    assert result.status == 0
    assert "9 steps" in result.err
    assert {path: path.read_bytes() for path in Path("new").iterdir()} == before
    _check(command("train", "text.txt", "--out", "new", "--hidden", "9", "--dry-run"), USAGE, "--hidden 8 -> 9")


@pytest.mark.parametrize("members", [(), ("--ensemble", "2", "--distill", "0.5")])
def test_a_dry_run_of_a_run_that_is_there_says_what_is_left(command: Command, members: tuple[str, ...]) -> None:
    """Nothing of one that is finished, until it has a larger budget; nor of members that are trained already."""
    words = ("train", "text.txt", "--out", "new", "--hidden", "8", *members)
    command(*words, "--steps", "6", "--quiet")
    result = command(*words, "--steps", "6", "--dry-run")
    assert (result.status, "the run of 6 steps in new is finished: nothing is left to train" in result.err) == (0, True)
    result = command(*words, "--steps", "12", "--dry-run")
    assert "the run trains for 12 steps on cpu" in result.err
    assert "is finished" not in result.err
    assert "members are trained" not in result.err


def test_a_dry_run_refuses_what_the_run_does(command: Command) -> None:
    """Also a mean of the weights whose time never comes."""
    words = ("train", "text.txt", "--out", "new", "--average-after", "3", "--dry-run")
    _check(command(*words, "--patience", "2"), USAGE, "--patience 2 ends the run before --average-after 3 begins")
    _check(command(*words, "--validation-fraction", "0"), USAGE, "nothing is held out to validate on")


@pytest.fixture
def without_gpu() -> None:
    """The test plans for a GPU that is not at hand."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is an NVIDIA GPU")


def _plan_for_a_gpu(command: Command, *arguments: str) -> list[str]:
    """The notices of a dry run on a text that is long enough for any lanes."""
    Path("long.txt").write_text("abc def gh\n" * 30_000)
    result = command("train", "long.txt", "--device", "cuda", "--dry-run", "--steps", "1", *arguments)
    assert (result.status, result.out) == (0, ""), result.err
    assert not Path("checkpoints/long").exists()
    return [line.removeprefix("note: ") for line in result.err.splitlines() if line.startswith("note: ")]


@pytest.mark.usefixtures("without_gpu")
def test_a_dry_run_for_a_gpu_that_is_not_here(command: Command) -> None:
    """What it holds for is said, and which kernel the defaults get there; to train it takes a GPU all the same."""
    _, _, start, _, expected, *_, gpu, kernel = _plan_for_a_gpu(command)
    assert "for 1 step on cuda and is kept in checkpoints/long" in start
    assert expected.endswith(" of memory, in fp16")
    assert gpu == "torch sees no NVIDIA GPU here: what follows holds for an H200-class GPU"
    assert re.match(r"layers? 1( to \d)?: cuDNN's persistent kernel expected \(", kernel)
    _check(command("train", "long.txt", "--device", "cuda", "--steps", "1"), USAGE, "--device is cuda", "no NVIDIA GPU")
    assert not Path("checkpoints/long").exists()


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", ["persistent"]),
        ("--cell gru", ["standard", "torch keeps gru layers from the persistent kernel", "to change it: --cell lstm"]),
        ("--hidden 500", ["standard", "500 units are not a multiple of 128", "to change it: --hidden 512"]),
        ("--hidden 100", ["small"]),
        ("--precision tf32", ["standard", "the precision is tf32, not fp16", "to change it: --precision fp16"]),
        ("--accumulate 2", ["persistent"]),
        ("--accumulate 16", ["standard", "64 lanes in 16 parts are not a number it is", "to change it: --batch 128"]),
        ("--batch 128 --accumulate 16", ["persistent"]),
        ("--batch 66 --accumulate 2", ["standard", "66 lanes in 2 parts are not", "to change it: --batch 64"]),
        ("--batch 62", ["standard", "62 lanes at once are not", "to change it: --batch 64"]),
    ],
)
def test_the_kernel_of_other_settings(command: Command, arguments: str, said: list[str]) -> None:
    """What stands in the way, and what to change; of a split step what counts are the lanes of a part."""
    settings = {"--layers": "3", "--hidden": "512", "--embedding": "128", "--batch": "64", "--bptt": "80"}
    changed = arguments.split()
    settings |= dict(zip(changed[::2], changed[1::2], strict=True))
    *_, gpu, kernel = _plan_for_a_gpu(command, *(word for pair in settings.items() for word in pair))
    assert "torch sees no NVIDIA GPU" in gpu
    assert kernel.startswith(f"layers 1 to 3: cuDNN's {said[0]} kernel expected (")
    assert all(words in kernel for words in said)
    assert ("to change it" in kernel) == (said[0] == "standard")


def _refused_among_several(result: Result, *said: str) -> None:
    """As `_check`; who it is stands before the message of every process but the first."""
    who = os.environ.get("RANK", "0")
    lines = result.err.splitlines()
    if who != "0":
        assert all(line.startswith(f"process {who}: ") for line in lines)
        result = result._replace(err="\n".join(line.removeprefix(f"process {who}: ") for line in lines))
    _check(result, USAGE, *said)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "junk"}, ("RANK is 'junk', not a whole number", "start with torchrun, or unset it")),
        ({"RANK": "junk", "WORLD_SIZE": "2"}, ("RANK is 'junk'",)),
        ({"RANK": ""}, ("RANK is ''",)),
        ({"RANK": "9" * 5000}, ("RANK is '9999",)),
        ({"WORLD_SIZE": "two"}, ("WORLD_SIZE is 'two', not a whole number",)),
        ({"WORLD_SIZE": "1.5"}, ("WORLD_SIZE is '1.5'",)),
        ({"RANK": "2", "WORLD_SIZE": "2"}, ("RANK is 2, and WORLD_SIZE 2", "start with torchrun, or unset both")),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, ("RANK is '-1', not a whole number",)),
        ({"RANK": "1"}, ("RANK is 1, and WORLD_SIZE 1",)),
        ({"WORLD_SIZE": "0"}, ("RANK is 0, and WORLD_SIZE 0",)),
    ],
    ids=lambda value: (
        " ".join(f"{name}={number[:9]}" for name, number in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_an_environment_that_torchrun_does_not_make(
    command: Command, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: tuple[str, ...]
) -> None:
    """Refused before a folder is made, and before anything is joined."""
    _never_join(monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _refused_among_several(command("train", "text.txt", "--out", "new", "--hidden", "4", "--steps", "1"), *said)
    assert not Path("new").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("words", ["train -", "train text.txt -", "train text.txt --validation -"])
def test_one_standard_input_for_several(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: str, rank: str
) -> None:
    """Each process would read a part of it: none begins."""
    _never_join(monkeypatch)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = command(*words.split(), "--hidden", "4", "--steps", "1", stdin=b"abc def gh\n" * 50)
    _refused_among_several(result, "several processes cannot read one standard input", "put the text into a file")


def _never_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a process that would wait for others, fails."""
    import torch.distributed

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a process joined others")

    monkeypatch.setattr(torch.distributed, "init_process_group", fail)


def test_a_precision_that_this_machine_lacks(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error before anything is made."""
    monkeypatch.setattr("charrnn.network.precision.find_library", lambda: None)
    _check(
        command("train", "text.txt", "--out", "new", "--steps", "1", "--precision", "bf16"),
        USAGE,
        "--precision is bf16",
    )
    assert not Path("new").exists()


# Values of options.

_NOT_POSITIVE_INTEGERS = ["0", "-1", "1.5", "ten", "nan", "inf", "", "9" * 5000]
_NOT_COUNTS = ["-1", "1.5", "ten", "nan", "inf", ""]
_NOT_NUMBERS = ["nan", "inf", "-inf", "ten", "", "1e999"]
_NEGATIVE = [*_NOT_NUMBERS, "-1"]
_NOT_POSITIVE = [*_NEGATIVE, "0"]
_NOT_BELOW_ONE = [*_NOT_NUMBERS, "-0.1", "1", "1.1"]
_NOT_A_SHARE = [*_NOT_BELOW_ONE, "0.95"]
_VALUES: dict[str, dict[str, list[str]]] = {
    "train text.txt": {
        **dict.fromkeys(
            ("--layers", "--hidden", "--embedding", "--batch", "--bptt", "--steps", "--validate-every", "--log-every",
             "--sample-length", "--patience", "--average-after", "--accumulate", "--threads", "--keep-every"),
            _NOT_POSITIVE_INTEGERS,
        ),
        **dict.fromkeys(("--sample-every", "--warmup"), _NOT_COUNTS),
        "--seed": [*_NOT_COUNTS, str(2**63)],
        **dict.fromkeys(("--lr", "--epochs", "--minutes"), _NOT_POSITIVE),
        **dict.fromkeys(("--dropout", "--momentum", "--beta1", "--beta2"), _NOT_BELOW_ONE),
        **dict.fromkeys(("--validation-fraction", "--test-fraction"), _NOT_A_SHARE),
        **dict.fromkeys(("--weight-decay", "--clip", "--l2", "--sample-temperature", "--save-every"), _NEGATIVE),
        "--muon-ratio": _NEGATIVE,
        "--final-lr": [*_NOT_NUMBERS, "-1", "1.1"],
        "--average": [*_NOT_NUMBERS, "-1", "1.1"],
        "--average-from": [*_NOT_NUMBERS, "-1", "1.1"],
        "--forget-bias": _NOT_NUMBERS,
    },
    "sample": {
        **dict.fromkeys(("--length", "--count", "--top-k"), _NOT_POSITIVE_INTEGERS),
        "--top-p": [*_NOT_NUMBERS, "0", "2", "-1"],
        "--min-p": [*_NOT_NUMBERS, "1.5", "-1"],
        "--temperature": [*_NEGATIVE, "0.5,", ",", "0.5,-1", "0.5;1"],
        "--threads": [*_NOT_POSITIVE_INTEGERS, "100000"],
        "--seed": [*_NOT_COUNTS, str(2**63)],
    },
    "eval text.txt": {
        **dict.fromkeys(("--window", "--lanes"), _NOT_POSITIVE_INTEGERS),
        **{option: [*_NOT_POSITIVE_INTEGERS, "1"] for option in ("--context", "--tune-length")},
        "--segment": _NOT_POSITIVE_INTEGERS,
        **dict.fromkeys(("--epsilon", "--temperature"), _NOT_POSITIVE),
        "--lr": _NEGATIVE,
        "--prior": [*_NEGATIVE, "1.1"],
        "--threads": [*_NOT_POSITIVE_INTEGERS, "100000"],
    },
    "inspect text.txt": {
        **dict.fromkeys(("--units", "--length", "--guesses"), _NOT_POSITIVE_INTEGERS),
        "--from": _NOT_COUNTS,
        **dict.fromkeys(("--distance", "--read", "--lanes"), _NOT_POSITIVE_INTEGERS),
        "--seed": [*_NOT_COUNTS, str(2**63)],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "option"), [(words, option) for words, options in _VALUES.items() for option in options]
)
def test_a_number_that_cannot_be(command: Command, words: str, option: str) -> None:
    """Zero, negative, broken, endless, no number at all: usage, with the name of the option."""
    for value in _VALUES[words][option]:
        _check(command(*words.split(), f"{option}={value}"), USAGE, option)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        *(("train text.txt", name) for name in
          ("--cell", "--optimizer", "--decay", "--precision", "--device", "--newlines", "--encoding-errors",
           "--on-divergence")),
        *(("sample", name) for name in ("--unknown", "--device", "--weights")),
        *(("eval text.txt", name) for name in ("--split", "--unknown", "--encoding-errors", "--device",
                                              "--protocol", "--dynamic", "--sort")),
        *(("inspect text.txt", name) for name in ("--unknown", "--device", "--palette")),
    ],
)  # fmt: skip
def test_a_choice_that_does_not_exist(command: Command, words: str, option: str) -> None:
    """Usage, with the value and the choices there are."""
    _check(command(*words.split(), option, "elman"), USAGE, option, "'elman'", "it must be one of")


# Checkpoints.


def _no_runs() -> None:
    RUN.unlink()
    RUN.parent.rmdir()
    RUN.parent.parent.rmdir()


_DAMAGE: dict[str, Case] = {
    "no runs at all": Case("", CHECKPOINT, ("no run under checkpoints", "charrnn train makes one"), _no_runs),
    "no run in the folder": Case("-c folder", CHECKPOINT, "the folder folder holds neither", _folder("folder", a=b"")),
    "missing": Case("-c no.safetensors", CHECKPOINT, ("there is no checkpoint no.safetensors", "train makes one")),
    "a name of nothing": Case("-c ''", CHECKPOINT, "holds neither best.safetensors nor last.safetensors"),
    "a name too long for any file": Case(f"-c {'x' * 300}", CHECKPOINT, "File name too long"),
    "a path through a file": Case("-c text.txt/best.safetensors", CHECKPOINT, "Not a directory"),
    "a device": Case(f"-c {os.devnull}", CHECKPOINT, "it is not a file"),
    "empty": Case("-c a", CHECKPOINT, "it is empty", _write("a", b"")),
    "a text": Case("-c text.txt", CHECKPOINT, "text.txt is not a checkpoint of charrnn"),
    "cut off": Case("-c a", CHECKPOINT, "cut off: 40 bytes are missing", _write("a", _file()[:-40])),
    "cut off in the header": Case("-c a", CHECKPOINT, "middle of its header", _write("a", _file()[:100])),
    "a bit flipped": Case(
        "-c a", CHECKPOINT, "not match its checksum",
        _write("a", _file()[:-9] + bytes((_file()[-9] ^ 16,)) + _file()[-8:]),
    ),
    "foreign": Case(
        "-c a", CHECKPOINT, "another program",
        _write("a", b'\x40\0\0\0\0\0\0\0{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}          \0\0\0\0'),
    ),
    "of the future": Case(
        "-c a", CHECKPOINT, (f"newer charrnn (format {FORMAT + 1}", "update charrnn"),
        _write("a", forge(tiny().metadata(), arrays_of(tiny()), **{"charrnn.format": str(FORMAT + 1)})),
    ),
    "a pickle": Case("-c a.pt", CHECKPOINT, "looks like a pickle", _write("a.pt", b"\x80\x04\x95\x03" + bytes(40))),
    "a zip of pickles": Case("-c a.pt", CHECKPOINT, "looks like a pickle", _write("a.pt", b"PK\x03\x04" + bytes(40))),
    "damaged in the newest run": Case("", CHECKPOINT, f"{RUN} is damaged", _write(str(RUN), _file()[:-1])),
}  # fmt: skip


@pytest.mark.parametrize("words", ["sample", "eval text.txt", "inspect", "inspect text.txt"])
@pytest.mark.parametrize("kind", _DAMAGE)
def test_a_checkpoint_that_cannot_be_read(command: Command, words: str, kind: str) -> None:
    """The same words from every command that reads one."""
    case = _DAMAGE[kind]
    if case.set_up:
        case.set_up()
    result = command(*words.split(), *shlex.split(case.command))
    _check(result, CHECKPOINT, *([case.said] if isinstance(case.said, str) else case.said))


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("", "--unit is ''"),
        ("L1", "--unit is 'L1'"),
        ("h0", "--unit is 'h0'"),
        ("l1.h0", "--unit is 'l1.h0'"),
        ("L1.h", "--unit is 'L1.h'"),
        ("L1.h-1", "--unit is 'L1.h-1'"),
        ("L1.h0 ", "--unit is 'L1.h0 '"),
        ("L1.h0\n", "--unit is 'L1.h0\\n'"),
        ("L1.h\u0663", "--unit is 'L1.h\u0663'"),
        ("L99999999999.h0", "--unit is"),
        ("L0.h0", "there is no layer 0"),
        ("L3.h0", "there is no layer 3"),
        ("L1.x0", "an lstm has no 'x'"),
        ("L1.r0", "an lstm has no 'r'"),
        ("L1.h4", "there is no unit 4"),
        ("L2.c999999999", "there is no unit 999999999"),
    ],
)
def test_a_unit_that_does_not_exist(command: Command, unit: str, said: str) -> None:
    """Malformed, or of a layer, a kind or an index that the model does not have."""
    _check(command("inspect", "text.txt", f"--unit={unit}"), USAGE, said)
    _check(command("inspect", "text.txt", "--unit=L1.h0", f"--unit={unit}"), USAGE, said)


def test_a_gate_of_another_cell(command: Command) -> None:
    """A gru has r, z and n, and no i."""
    Path("gru").write_bytes(_file(cell="gru"))
    _check(command("inspect", "text.txt", "-c", "gru", "--unit", "L1.i0"), USAGE, "a gru has no 'i'", "h, r, z, n")


def test_a_device_that_is_not_there(command: Command) -> None:
    """Asked for by name, it is never replaced silently."""
    import torch

    devices = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for device in (name for name, is_there in devices.items() if not is_there):
        for words in (["train", "text.txt", "--steps", "1"], ["sample"], ["eval", "text.txt"]):
            _check(command(*words, "--device", device), USAGE, f"--device is {device}", "--device cpu")


@as_user
def test_files_without_permission(command: Command) -> None:
    """Neither a text nor a checkpoint that may not be read, nor a folder that may not be written to."""
    for path in (Path("text.txt"), RUN):
        path.chmod(0)
    _check(command("train", "text.txt", "--steps", "1"), TEXT, "text.txt: Permission denied")
    _check(command("sample"), CHECKPOINT, "Permission denied")
    Path("text.txt").chmod(0o600)
    Path("read-only").mkdir()
    Path("read-only").chmod(0o500)
    _check(command("train", "text.txt", "--out", "read-only/run", "--steps", "1"), USAGE, "Permission denied")
    _check(command("train", "text.txt", "--out", "read-only", "--steps", "1"), USAGE, "Permission denied")
    RUN.chmod(0o600)
    _check(command("inspect", "text.txt", "--html", "read-only/page.html"), USAGE, "Permission denied")
    Path("read-only").chmod(0o700)


def test_memory_that_runs_out(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether numpy, torch on a CPU or torch on a GPU says so; another error of torch's keeps its traceback."""
    for error in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr("charrnn.evaluation.report.static_figures", fail)
        _check(command("eval", "text.txt"), RESOURCE, "out of memory")
        monkeypatch.setattr("charrnn.sampling.sampler.write", fail)
        if isinstance(error, MemoryError):
            _check(command("sample"), RESOURCE, "out of memory")

    def misuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("charrnn.evaluation.report.static_figures", misuse)
    with pytest.raises(RuntimeError, match="mat1"):
        command("eval", "text.txt")


# A run that is there already.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run of two steps on it, made by the command line."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text("abc def gh\n" * 50)
    environment = {**os.environ, "CHARRNN_CACHE": str(folder / "cache")}
    words = ["train", "text.txt", "--hidden", "4", "--steps", "2", "--sample-length", "5"]
    result = _run_apart(*words, cwd=folder, env=environment)
    assert result.status == 0, result.err
    return folder


@pytest.fixture
def beside(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Path, bytes]]:
    """The test stands in that folder; afterwards the run is as it was."""
    monkeypatch.chdir(finished)
    run = finished / "checkpoints" / "text"
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert len(before) == 6
    yield before
    assert {path: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.usefixtures("beside")
def test_a_run_of_other_settings_is_not_resumed(command: Command) -> None:
    """Each difference is named, with what was and what is asked for, and the run is left alone."""
    same = ["train", "text.txt", "--hidden", "4", "--steps", "4"]
    _check(command("train", "text.txt", "--hidden", "5", "--steps", "4"), USAGE, "--hidden 4 -> 5", "--fresh", "--out")
    for more, said in (
        (["--cell", "gru"], "--cell lstm -> gru"),
        (["--lr", "0.1"], "-> 0.1"),
        (["--seed", "7", "--bptt", "9"], "--seed 1 -> 7"),
        (["--test-fraction", "0.1"], "--test-fraction 0.0 -> 0.1"),
        (["--newlines", "lf"], "--newlines keep -> lf"),
    ):
        _check(command(*same, *more), USAGE, said, "--fresh", "--out")
    _check(command("train", "text.txt", "--steps", "4"), USAGE, "--hidden 4 -> not given")


@pytest.mark.usefixtures("beside")
def test_a_run_of_another_corpus_is_not_resumed(command: Command) -> None:
    """Though it has the same name."""
    Path("other").mkdir(exist_ok=True)
    Path("other/text.txt").write_text("abd def gh\n" * 60)
    words = ["train", "other/text.txt", "--out", "checkpoints/text", "--hidden", "4", "--steps", "4"]
    _check(command(*words), USAGE, "other settings: corpus: text", "--fresh")


@on_posix
@pytest.mark.usefixtures("beside")
def test_a_run_in_another_process_is_left_alone(command: Command) -> None:
    """Two processes do not train in one folder."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from charrnn.checkpoints.folder import Run\n"
        "with Run(Path('checkpoints/text')).locked():\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        for more in ([], ["--fresh"]):
            words = ["train", "text.txt", "--hidden", "4", "--steps", "4", *more]
            _check(command(*words), USAGE, "another process is training in checkpoints/text")
        other.communicate(timeout=30)


# Streams, limits and signals.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "words",
    [
        "sample -n 20",
        "sample -n 20 --json",
        "inspect",
        "inspect --json",
        "inspect text.txt -n 9 --json",
        "inspect text.txt -n 9 --predictions",
        "--help",
        "train --help",
        "--version",
    ],
)
def test_output_that_has_no_room(words: str) -> None:
    """A full disk behind `>`: status 6 and one message."""
    with open("/dev/full", "wb") as full:
        result = _run_apart(*words.split(), stdout=full)
    _check(result, RESOURCE, "no room left")


def _limit(size: int) -> str:
    """No file may grow beyond `size` bytes: the system's way to have a full disk without filling one."""
    return f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


@on_posix
def test_a_page_that_has_no_room_leaves_the_one_before() -> None:
    """The old bytes stay, and no half of the new ones."""
    Path("page.html").write_text("the page before")
    result = _run_apart("inspect", "text.txt", "--html", "page.html", first=_limit(5000))
    _check(result, RESOURCE, "no room left writing page.html", "what was there before is untouched")
    assert Path("page.html").read_text() == "the page before"
    assert sorted(path.name for path in Path().iterdir()) == ["checkpoints", "page.html", "text.txt"]


@on_posix
def test_arrays_that_have_no_room_leave_those_before() -> None:
    """As a page does, though a zip file writes its table of contents when it is closed."""
    Path("a.npz").write_text("the arrays before")
    result = _run_apart("inspect", "text.txt", "--npz", "a.npz", first=_limit(5000))
    _check(result, RESOURCE, "no room left writing a.npz", "what was there before is untouched")
    assert Path("a.npz").read_text() == "the arrays before"
    assert sorted(path.name for path in Path().iterdir()) == ["a.npz", "checkpoints", "text.txt"]


@on_posix
def test_a_checkpoint_that_has_no_room_is_found_before_training(finished: Path) -> None:
    """The first save is made before the first step; what lies in the run's folder stays whole."""
    environment = {**os.environ, "CHARRNN_CACHE": str(finished / "cache")}
    words = ["train", "text.txt", "--hidden", "64", "--steps", "2", "--out", "run"]
    result = _run_apart(*words, env=environment, first=_limit(50_000))
    _check(result, RESOURCE, "no room left writing run/last.safetensors")
    assert sorted(path.name for path in Path("run").iterdir()) == [".lock", "config.json"]


@on_posix
@pytest.mark.parametrize("words", ["sample -n 100000", "sample -n 9 --count 30000 --json", "inspect big -n 20000"])
def test_a_reader_that_has_enough(words: str) -> None:
    """`| head -c 1`: silence and status 0."""
    Path("big").write_text("abc def gh\n" * 5000)
    process = _spawn(*words.split(), *NAMED, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert len(process.stdout.read(1)) == 1
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0
    process.stderr.close()


@on_posix
@pytest.mark.parametrize(
    "words", ["--help", "train --help", "--version", f"inspect {RUN}", f"inspect --json {RUN}", f"sample -n 9 -c {RUN}"]
)
def test_a_reader_that_has_gone_before(words: str) -> None:
    """`| true`: the same."""
    reading, writing = os.pipe()
    os.close(reading)
    result = _run_apart(*words.split(), stdout=writing)
    os.close(writing)
    assert (result.status, result.err) == (0, "")


@on_posix
def test_training_goes_on_without_a_reader(finished: Path) -> None:
    """`charrnn train | head -1` trains until it is told to stop, and saves, with the status of the signal."""
    environment = {**os.environ, "CHARRNN_CACHE": str(finished / "cache")}
    process = _spawn(
        "train", "text.txt", "--hidden", "4", "--steps", str(10**7), "--sample-every", "9", "--sample-length", "9",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.stdout.close()
    metrics = Path("checkpoints/text/metrics.jsonl")
    limit = time.monotonic() + 30
    while not metrics.exists() or len(metrics.read_bytes().splitlines()) < 5:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"Exception" not in err
    assert b"saved" in err
    assert checkpoints.load(Path("checkpoints/text/last.safetensors")).progress["step"] > 50


@on_posix
def test_an_error_whose_reader_is_gone_keeps_its_status() -> None:
    """A closed or full stderr, or none at all: the status is what a script looks at."""
    reading, writing = os.pipe()
    os.close(reading)
    assert _run_apart("sample", "-c", "no", stderr=writing).status == CHECKPOINT
    os.close(writing)
    if Path("/dev/full").exists():
        with open("/dev/full", "wb") as full:
            assert _run_apart("sample", "-c", "no", stderr=full).status == CHECKPOINT
    for closed in (1, 2):
        result = _run_apart("sample", "-c", "no", first=f"os.close({closed})")
        assert (result.status, result.out) == (CHECKPOINT, "")
        assert ("error: " in result.err) == (closed == 1)


@on_posix
def test_notices_never_end_up_in_the_product() -> None:
    """With stderr closed, `print(..., file=sys.stderr)` would write to stdout."""
    result = _run_apart("inspect", "text.txt", "--html", "page.html", first="os.close(2)")
    assert (result.status, result.out) == (0, "")
    assert Path("page.html").exists()


@on_posix
def test_ctrl_c_keeps_the_text_so_far() -> None:
    """Status 130, no traceback, and the prompt begins on a line of its own."""
    process = _spawn("sample", "-n", str(10**9), *NAMED, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    first = process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert first
    assert (first + rest).endswith(b"\n")
    assert err == b""


def test_an_encoding_of_the_terminal_that_lacks_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be shown is spelled out; a pipe is UTF-8 all the same."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    for words in (["inspect"], ["inspect", "text.txt"], ["sample", "-n", "9"]):
        result = on_terminal(80, *words, *NAMED)
        assert result.status == 0, result.terminal
        assert result.terminal.isascii()


def test_a_traceback_can_be_asked_for() -> None:
    """For whoever looks for the reason of an error."""
    result = _run_apart("sample", "-c", "no", env={**os.environ, "CHARRNN_TRACEBACK": "1"})
    assert result.status == 1
    assert "CheckpointError: there is no checkpoint no" in result.err
    assert "Traceback" in result.err


def test_no_arguments_show_the_help(command: Command) -> None:
    """Status 2, since nothing was asked for."""
    result = command()
    assert result.status == USAGE
    assert "Traceback" not in result.err
    assert "charrnn inspect held_out.txt" in result.out + result.err


# What is no bad input.


def test_any_bytes_are_a_prime_to_a_model_of_bytes(command: Command) -> None:
    """From a file they are taken as they are, though they be no UTF-8."""
    saved = tiny(as_bytes=True)
    Path("bytes").write_bytes(forge(saved.metadata(), arrays_of(saved)))
    Path("prime").write_bytes(b"ab\xff\0c")
    result = command("sample", "-c", "bytes", "--prime-file", "prime", "-n", "5", "--json")
    assert (result.status, result.err) == (0, "")
    assert json.loads(result.out)["prime"] == "ab\ufffd\0c"


def test_line_ends_of_a_prime_are_those_of_training(command: Command) -> None:
    """A model of texts whose line ends were made LF has no CR to know."""
    saved = replace(tiny(), data=DataConfig(newlines="lf"))
    Path("lf").write_bytes(forge(saved.metadata(), arrays_of(saved)))
    Path("prime").write_bytes(b"ab\r\ncd\r")
    result = command("sample", "-c", "lf", "--prime-file", "prime", "-n", "5", "--json")
    assert (result.status, result.err) == (0, "")
    assert json.loads(result.out)["prime"] == "ab\ncd\n"
    _check(command("sample", "--prime-file", "prime"), TEXT, "U+000D")


# What would drive a terminal.

_EVIL = "\x1b]0;owned\x07\x1b[31mred\u202e\x9b2J"
_QUOTES = [
    ["train", _EVIL],
    ["eval", _EVIL],
    ["inspect", _EVIL],
    ["inspect", "text.txt", "--unit", _EVIL],
    ["inspect", "text.txt", "--html", f"{_EVIL}/page.html"],
    ["sample", "-c", _EVIL],
    ["sample", "--prime", _EVIL],
    ["sample", "--prime-file", _EVIL],
    ["sample", "-e", "--prime", f"\\{_EVIL}"],
    ["sample", _EVIL],
    ["sample", f"--{_EVIL}"],
    ["sample", "--device", _EVIL],
    ["sample", "--top-k", _EVIL],
    [_EVIL],
    [f"--{_EVIL}"],
    ["train", "text.txt", "--encoding", _EVIL],
    ["train", "text.txt", "--out", f"text.txt/{_EVIL}", "--steps", "1"],
]


@pytest.mark.parametrize("arguments", _QUOTES, ids=lambda arguments: " ".join(map(ascii, arguments))[:50])
def test_a_message_never_drives_the_terminal(command: Command, arguments: list[str]) -> None:
    """Escape sequences in names and characters are shown, wherever they are quoted."""
    result = command(*arguments)
    assert result.status in (USAGE, TEXT, CHECKPOINT)
    _message(result)
    assert not set("\x1b\x07\x9b\u202e") & set(result.out + result.err)


def test_a_notice_never_drives_the_terminal(command: Command) -> None:
    """Nor do names of files that were left out, or written."""
    folder = Path(_EVIL)
    folder.mkdir()
    (folder / "text").write_text("abc def gh\n" * 50)
    (folder / "binary").write_bytes(b"\0\xff")
    result = command("eval", _EVIL)
    assert result.status == 0
    assert "left out 1 of 2 files" in result.err
    written = command("inspect", "text.txt", "--html", f"{_EVIL}/page.html")
    assert "wrote" in written.err
    for character in "\x1b\x07\x9b\u202e":
        assert character not in result.err + written.err


def _on_a_terminal(*arguments: str) -> tuple[int, str]:
    """Status and everything that reaches a pseudo-terminal on which the command runs."""
    import pty

    ours, theirs = pty.openpty()
    process = _spawn(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    received = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not piece:
            break
        received += piece
    os.close(ours)
    return process.wait(timeout=60), received.decode()


@on_posix
def test_nothing_raw_reaches_a_terminal() -> None:
    """Neither from a message, nor from a model that has learned escape sequences."""
    status, received = _on_a_terminal("train", _EVIL)
    assert status == TEXT
    assert (
        "error: there is no file or folder \u241b]0;owned\u2407\u241b[31mred\u2039U+202E\u203a\u2039U+009B\u203a2J"
        in received
    )
    assert not set("\x1b\x07\x9b\u202e") & set(received)

    saved = tiny()
    characters = sorted(set(map(ord, _EVIL + "\n \r")))
    assert len(characters) >= len(saved.vocabulary)
    vocabulary = type(saved.vocabulary)(characters[: len(saved.vocabulary)])
    checkpoints.save(Path("evil"), replace(saved, vocabulary=vocabulary))
    assert "\x1b" in vocabulary.characters
    status, received = _on_a_terminal("sample", "-c", "evil", "-n", "200", "--seed", "1")
    assert status == 0
    assert "\u241b" in received
    assert not set("\x1b\x07") & set(received)


def test_standard_input_from_a_keyboard_is_not_waited_for() -> None:
    """A user who forgot the pipe is told so."""
    if os.name == "posix":
        status, received = _on_a_terminal("train", "-")
        assert status == USAGE
        assert "there is nothing on standard input" in received
