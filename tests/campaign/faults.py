"""Every call of the system that a command makes on its files fails once, or all fail from one on.

The commands are a run, one that goes on, one that starts over, and first starts on a text from standard input and on
one that is downloaded; each fills the cache. Which calls they make is counted in a command without faults.
"""

from __future__ import annotations

import atexit
import errno
import functools
import http.server
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.errors import CharrnnError
from tests.campaign._failing import EVERY_OTHER, FROM_THEN_ON, ONCE, Call, Failing, compiled, known, run_failing
from tests.campaign.campaign import Campaign
from tests.kit.command import Result
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

_TEXT = make_text(1500)
_RUN = Path("checkpoints", "it")
_SMALL = [
    "--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-length", "5",
    "--validate-every", "3", "--log-every", "2", "--name", "it", "--quiet", "--sample-every",
]  # fmt: skip
_NONE = Failing()
_LACK = {errno.ENOSPC: 6, errno.EDQUOT: 6, errno.EIO: 6, errno.EMFILE: 6}
_ERRORS = (*_LACK, errno.EROFS, errno.EACCES, errno.EINTR)
_LOOKING = (errno.EIO, errno.EACCES)
"""Errors of calls that only look at a name or list a folder; POSIX has no interruption of these."""
_MODES = (ONCE, FROM_THEN_ON)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A command; what was done in its folder before; and what it is given."""

    words: list[str]
    before: tuple[list[str], ...] = ()
    given: str = ""
    trains: bool = True


_TRAIN = ["train", "corpus.txt", *_SMALL]
_KINDS = {
    "run": _Kind([*_TRAIN, "3", "--steps", "4"]),
    "resume": _Kind([*_TRAIN, "3", "--steps", "6"], ([*_TRAIN, "3", "--steps", "3"],)),
    "fresh": _Kind([*_TRAIN, "1", "--steps", "1", "--seed", "2", "--fresh"], ([*_TRAIN, "3", "--steps", "3"],)),
    "input": _Kind(["train", "-", *_SMALL, "3", "--dry-run"], given=_TEXT, trains=False),
    "download": _Kind(["train", "known", *_SMALL, "3", "--dry-run"], trains=False),
}


@dataclass(frozen=True, slots=True)
class _Trial:
    kind: str
    place: int
    """Which of the commands's calls fails, from 1."""
    call: Call
    number: int
    mode: int

    def __str__(self) -> str:
        how = "once" if self.mode == ONCE else "from then on"
        return f"{self.kind}: {self.call.name} {self.call.path} fails {how} with {errno.errorcode[self.number]}"


@dataclass(frozen=True, slots=True)
class _Prepared:
    library: Path
    folder: Path
    """Holds for each kind of command `KIND-before`, its folder before it, and `KIND`, the one after it."""
    environment: dict[str, str]
    trials: list[_Trial]


@functools.cache
def _prepare_once() -> _Prepared:
    # Trials are counted with what is prepared, and made with it: once a process is enough.
    folder = Path(tempfile.mkdtemp(prefix="faults-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = compiled(folder)
    environment = {**os.environ, **known(_serve(_TEXT.encode()), _TEXT.encode())}
    prepared = _Prepared(library, folder, environment, [])
    for name, kind in _KINDS.items():
        before = folder / f"{name}-before"
        before.mkdir()
        (before / "corpus.txt").write_text(_TEXT, "utf-8")
        for words in kind.before:
            _, result, _ = _made(prepared, kind, before, words=words)
            assert result.status == 0, result
        shutil.copytree(before, folder / name)
        calls, result, _ = _made(prepared, kind, folder / name)
        assert result.status == 0, result
        prepared.trials.extend(
            _Trial(name, place, call, number, mode)
            for place, call in enumerate(calls, 1)
            for number in (_LOOKING if call.name in ("stat", "opendir") else _ERRORS)
            for mode in _MODES
        )
    return prepared


def _serve(content: bytes) -> str:
    """Gives the content to all who ask, as long as the process lives; returns the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            begin = int(re.sub(r"\D", "", self.headers.get("Range", "0")) or 0)
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            self.wfile.write(content[begin:])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/known.txt"


def _made(
    prepared: _Prepared, kind: _Kind, folder: Path, failing: Failing = _NONE, words: list[str] | None = None
) -> tuple[list[Call], Result, Path]:
    environment = {**prepared.environment, "CHARRNN_CACHE": str(folder / "cache")}
    log = folder.parent / f"{folder.name}.log"
    result, calls = run_failing(
        prepared.library, words or kind.words, folder, failing, log=log, environment=environment, given=kind.given
    )
    return calls, result, log


def _size(prepared: _Prepared) -> int:
    return len(prepared.trials)


def _trial(prepared: _Prepared, seed: int, folder: Path) -> str | None:
    trial = prepared.trials[seed]
    kind = _KINDS[trial.kind]
    place = folder.resolve() / "here"
    shutil.copytree(prepared.folder / f"{trial.kind}-before", place)
    mode = EVERY_OTHER if trial.number == errno.EINTR and trial.mode == FROM_THEN_ON else trial.mode
    _, result, _ = _made(prepared, kind, place, Failing(trial.place, trial.number, mode))
    reference = prepared.folder / trial.kind
    said = [
        *_wrong_end(trial, result),
        *_lost(trial, prepared.folder / f"{trial.kind}-before", place),
        *([] if result.status else _different(kind, reference, place, leaves_rubbish=True)),
    ]
    if not said:
        _, again, _ = _made(prepared, kind, place)
        said = [
            *([] if again.status == 0 else [f"the next start ends with {again}"]),
            *_different(kind, reference, place),
        ]
    return f"{trial}: {'; '.join(said)}" if said else None


def _wrong_end(trial: _Trial, result: Result) -> Iterator[str]:
    """Says what is wrong with how the command ended: one line says what failed, and the status is the table's."""
    if result.status not in _statuses(trial):
        yield f"status {result.status}, not {sorted(_statuses(trial))}: {result.err}"
    elif "Traceback" in result.err or "Exception ignored" in result.err:
        yield f"a traceback: {result.err}"
    elif result.status and (
        result.err.count("error: ") != 1 or os.strerror(trial.number) not in result.err or len(result.err) > 1000
    ):
        yield f"no clear error: {result.err}"


def _statuses(trial: _Trial) -> set[int]:
    """The statuses that charrnn/system_errors.py and the list of statuses allow. Where it is 0, all was done."""
    call, number = trial.call, trial.number
    if number == errno.EINTR:
        return {0}
    is_folder = not re.search(r"\.(?!DATE|\d{4}-|encoding)\w+$", call.path)
    is_harmless = (
        call.name in ("chmod", "unlink", "stat", "opendir")
        or (call.name in ("open-r", "fsync") and is_folder and number == errno.EACCES)
        # An entry of the cache that a power cut has taken is made anew.
        or (call.name in ("open-r", "fsync") and call.path == "/cache/corpora")
        # An entry of the cache that cannot be read is made anew.
        or (call.path.startswith("/cache") and call.name in ("open-r", "close", "mmap", "mkdir"))
        # Nothing is lost with the end of what was only read, or of what is opened again and synced.
        or (
            call.name == "close"
            and (
                is_folder
                or re.search(r"(\.lock|corpus\.txt|config\.json|metrics\.jsonl|samples\.txt|\.tmp)$", call.path)
            )
        )
        or (call.name == "close" and call.path.endswith((".safetensors", "/ids.bin")))
        # A folder that is there need not be made, nor a config.json be read to be written.
        or (call.name == "mkdir" and trial.kind in ("resume", "fresh") and call.path == "/checkpoints/it")
        or (call.name == "open-r" and call.path == "/checkpoints/it/config.json")
        # The text has its place on another shelf.
        or re.fullmatch(r"/cache/corpora/under-way/[^/]+/lock", call.path)
        # Who made a folder that is there has synced its name.
        or (call.name == "fsync" and call.path == "")
        or call.path.endswith("/..")
        # Where one shelf of the cache refuses, the text has its place on another.
        or (call.path.startswith("/cache/corpora") and number in (errno.EACCES, errno.EROFS))
        # Removing what was under way.
        or (call.name in ("open-r", "close") and re.search(r"/\.(charrnn|encoding)-\w+(\.tmp)?$", call.path))
        or call.name == "sendfile"  # the bytes are then copied one by one
    )
    wrong = (
        {2, 3, 4}
        if trial.mode == FROM_THEN_ON
        else {
            2,
            3 if call.path.endswith((".txt", "/stdin", "/known")) else 2,
            4 if call.path.endswith("safetensors") else 2,
        }
    )
    failed = {_LACK[number]} if number in _LACK else wrong | ({6} if number == errno.EROFS else set())
    return failed | ({0} if is_harmless or trial.mode == FROM_THEN_ON else set())


def _lost(trial: _Trial, before: Path, after: Path) -> Iterator[str]:
    """Says what is lost of what was there before the command, and which checkpoints are not whole."""
    for file in after.glob("checkpoints/*/*.safetensors"):
        try:
            checkpoints.load(file, with_state=True)
        except CharrnnError as error:
            yield f"{file.relative_to(after)} is lost: {error}"
    if trial.kind == "fresh":
        old = _contents(before / _RUN)
        if not any(_contents(folder) == old for folder in after.glob("checkpoints/*")):
            yield "the run before is lost"
    if trial.kind == "resume" and not (after / _RUN / "last.safetensors").exists():
        yield "the run before is lost"


def _contents(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def _different(kind: _Kind, expected: Path, found: Path, *, leaves_rubbish: bool = False) -> Iterator[str]:
    """Says in what a folder differs from that of the command without faults, and what is left over in it; where a
    removal may just have failed, it `leaves_rubbish` for the next start."""
    if kind.trains:
        try:
            assert_same_run(expected / _RUN, found / _RUN)
        except (AssertionError, CharrnnError, OSError) as error:
            yield f"the run differs: {error}"
    names, expected_names = _names(found), _names(expected)
    if expected_names - names or (names - expected_names and not leaves_rubbish):
        yield f"left over: {sorted(names - expected_names)}, missing: {sorted(expected_names - names)}"
    for file in sorted(path for path in found.glob("cache/**/*") if path.is_file()):
        name = re.sub(r"^corpora-of-\d+", "corpora", file.relative_to(found / "cache").as_posix())
        if f"cache/{name}" in expected_names and file.read_bytes() != (expected / "cache" / name).read_bytes():
            yield f"{name} differs"


def _names(folder: Path) -> set[str]:
    """The paths of all files and folders below one. Runs set aside have one name, and what was begun and set aside
    again by the next start is none."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    names = {re.sub(r"^cache/corpora-of-\d+", "cache/corpora", name) for name in names}  # where `corpora` refuses
    return {re.sub(r"^(checkpoints/it)\.[^/]+", r"\1.DATE", name) for name in names}


CAMPAIGNS = {
    "faults": Campaign(
        summary="Each call of the system on a command's files fails, once or from then on: the status is the table's, "
        "nothing is lost, and the next start does all and leaves nothing over.",
        prepare=lambda _folder: _prepare_once(),
        trial=_trial,
        size=_size,
        in_suite=6,
    )
}
