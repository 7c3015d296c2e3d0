"""The corpus cache: damaged, replaced, forbidden, shared, full, removed or half made, before a run or under it.

What a command does with an intact cache is known for each text: the bytes of the run that `train` makes, and the
figures of `eval`. With an attacked one it must do the same, and say once that it encodes anew where it found damage;
or, where a text too large for memory proves damaged under it, end with status 6 after saving, so that the same command
goes on to the very same run. Afterwards nothing is left over, and what lies in the cache is whole.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charrnn.text.entries import IDS
from tests.campaign._cache_attacks import ATTACKS, CHANGES, attack_entry, entries
from tests.campaign.campaign import Campaign
from tests.kit.command import Result
from tests.kit.forked import Job, run
from tests.kit.runs_compared import assert_same_run

_COMMAND = "tests.campaign._attacked_command"
_SMALL = (
    "--hidden 6 --embedding 3 --batch 4 --bptt 17 --threads 1 --steps 9 --validate-every 4 --sample-every 5 "
    "--sample-length 9"
).split()  # fmt: skip
_DAMAGED = "is encoded anew"
_LOST = "the encoded text in"
_NOBODY, _SOMEBODY = 65534, 65533


def _characters(kind: str) -> str:
    return {"two": "ab", "sixty": "".join(map(chr, range(65, 125))), "many": "".join(map(chr, range(0x4E00, 0x4F2C)))}[
        kind
    ]


KINDS = ["two", "sixty", "many", "bytes"]


def _text(kind: str) -> bytes:
    pick = random.Random(kind)
    if kind == "bytes":
        return bytes(range(256)) + pick.randbytes(1500)
    alphabet = _characters(kind)
    return (alphabet + "".join(pick.choices(alphabet, k=1700))).encode()


@dataclass
class _Prepared:
    folder: Path
    intact: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Figures of `eval` on each text whose run has been made."""

    def known(self, kind: str) -> dict[str, Any]:
        """Makes the run of a text with an intact cache, and scores the text, once."""
        if kind not in self.intact:
            (self.folder / f"{kind}.txt").write_bytes(_text(kind))
            cache = self.folder / f"cache-{kind}"
            (done,) = run([self.job(kind, self.folder / kind, cache)])
            assert done.status == 0, done.err
            (scored,) = run([self.job(kind, None, cache)])
            assert scored.status == 0, scored.err
            self.intact[kind] = json.loads(scored.out)
        return self.intact[kind]

    def job(self, kind: str, out: Path | None, cache: Path, given: str = "", **attack: Any) -> Job:
        """`train` into a folder, or `eval` where there is none."""
        text = "-" if given else str(self.folder / f"{kind}.txt")
        if out is None:
            words = ["eval", text, "-c", str(self.folder / kind), "--json", "--threads", "1", "--device", "cpu"]
        else:
            words = [
                "train",
                text,
                "--out",
                str(out),
                *_SMALL,
                "--device",
                "cpu",
                *(["--bytes"] if kind == "bytes" else []),
            ]
        environment = {"PATH": os.environ["PATH"], "CHARRNN_CACHE": str(cache), "HOME": str(cache.parent)}
        where = cache.parent if out is None else out.parent
        return Job([_COMMAND, json.dumps(attack), *words], where, environment, given)


@dataclass
class _Trial:
    """One trial: its text, and where it lies."""

    prepared: _Prepared
    kind: str
    folder: Path
    is_large: bool
    is_eval: bool
    wrong: list[str] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def run(self, name: str = "run", given: str = "", **attack: Any) -> Result:
        """Runs the command of this trial."""
        out = None if self.is_eval else self.folder / name
        (done,) = run([self.prepared.job(self.kind, out, self.cache, given, large=self.is_large, **attack)])
        return done

    def check(
        self, done: Result, *, name: str = "run", says: bool | None = None, damage_may_come: bool = False
    ) -> None:
        """Checks what a command did; where it may have lost its text, it is given again."""
        if damage_may_come and done.status == 6:
            if _LOST not in done.err or "Traceback" in done.err:
                self.wrong.append(f"status 6 without a reason: {done.err[-300:]}")
            done, says = self.run(name), None
        self.wrong += [] if done.status == 0 else [f"status {done.status}: {done.err[-400:]}"]
        if "Traceback" in done.err:
            self.wrong.append(f"a traceback: {done.err[-400:]}")
        if says is not None and done.err.count(_DAMAGED) != int(says):
            self.wrong.append(
                f"says {done.err.count(_DAMAGED)} times that it encodes anew, not {int(says)}: {done.err}"
            )
        if done.status:
            return
        if self.is_eval:
            if json.loads(done.out) != self.prepared.known(self.kind):
                self.wrong.append(f"other figures: {done.out}")
        else:
            try:
                assert_same_run(self.folder / name, self.prepared.folder / self.kind)
            except AssertionError as error:
                self.wrong.append(f"another run: {error}")

    def check_cache(self, *, most: int = 1) -> None:
        """Checks that nothing is left over, and that a whole entry is there that the next command just takes."""
        left = [path for path in self.cache.rglob("*") if "under-way" in path.parts or ".t" in path.name]
        found = entries(self.cache)
        if left or len(found) > most:
            self.wrong.append(f"left over: {[str(path.relative_to(self.cache)) for path in [*left, *found]]}")
        if not self.wrong:
            before = {path: path.lstat().st_mtime_ns for path in found}
            self.check(self.run("again"), name="again", says=False)
            if {path: path.lstat().st_mtime_ns for path in entries(self.cache)} != before:
                self.wrong.append("the entry was not whole: it was made again")


def _content(entry: Path) -> dict[str, bytes] | None:
    """What can be read of an entry; None where there is none."""
    if not os.path.lexists(entry):
        return None
    return {path.name: path.read_bytes() for path in entry.glob("*") if path.is_file()} if entry.is_dir() else {}


def _at_rest(trial: _Trial, pick: random.Random) -> None:
    """The entry is attacked before a command begins."""
    trial.run("first")
    (entry,) = entries(trial.cache)
    whole = _content(entry)
    for kind in pick.choices([*ATTACKS, "linked"], k=pick.choice([1, 1, 1, 2])):
        if os.path.lexists(entry):
            attack_entry(kind, entry, pick)
    now = _content(entry)
    is_damaged = now is not None and now != whole
    # The blocks of a large text are looked at when they are read.
    is_late = is_damaged and trial.is_large and len((now or {}).get(IDS, b"")) == len((whole or {})[IDS])
    trial.check(trial.run(), says=None if is_late else is_damaged, damage_may_come=is_late)
    if not is_late:
        trial.check_cache()


def _under_way(trial: _Trial, pick: random.Random) -> None:
    """The entry is attacked, or removed, between two steps of a run."""
    attack = pick.choice([*CHANGES, "removed", "replaced", "wild"])
    done = trial.run(attack=attack, seed=pick.randrange(10**6), at=pick.randrange(9))
    trial.check(done, damage_may_come=trial.is_large)


def _killed(trial: _Trial, pick: random.Random) -> None:
    """A process is killed while it encodes, or while it copies standard input; others go on at the same time."""
    phase = pick.choice(["encoding", "describing", "copying"])
    given = "" if phase != "copying" else _text(trial.kind).decode("utf-8", "surrogateescape")
    killed = trial.run("killed", given=given, killed=phase, at=0 if phase != "copying" else pick.randrange(2))
    if killed.status != -9:
        trial.wrong.append(f"not killed: {killed.status}")
    trial.check(trial.run(), says=False)
    trial.check_cache()


def _together(trial: _Trial, pick: random.Random) -> None:
    """Several processes encode the same text at once, over nothing or over a damaged entry."""
    if pick.random() < 0.6:
        trial.run("first")
        attack_entry(pick.choice(["truncated", "replaced", "brackets"]), entries(trial.cache)[0], pick)
    names = [f"run-{number}" for number in range(pick.choice([2, 3]))]
    jobs = [
        trial.prepared.job(
            trial.kind, None if trial.is_eval else trial.folder / name, trial.cache, large=trial.is_large
        )
        for name in names
    ]
    for name, done in zip(names, run(jobs), strict=True):
        trial.check(done, name=name)
    trial.check_cache()


def _full(trial: _Trial, pick: random.Random) -> None:
    """The disk has no room: status 6, nothing left over, and the same command goes on once there is some."""
    room = pick.choice([0, 1, 100, 500, 1000, 1700, pick.randrange(4000)])
    is_warm = pick.random() < 0.3
    if is_warm:
        trial.run("first")
    done = trial.run(room=room)
    if done.status not in (0, 6):
        trial.wrong.append(f"status {done.status} for a full disk: {done.err[-300:]}")
    if not is_warm and done.status == 6 and room < 1000 and entries(trial.cache):
        trial.wrong.append("an entry that had no room")
    trial.check(trial.run())
    trial.check_cache()


def _shared(trial: _Trial, pick: random.Random) -> None:
    """Two users, neither of whom may do everything, share a cache."""
    trial.folder.chmod(0o777)
    trial.cache.mkdir()
    trial.cache.chmod(pick.choice([0o1777, 0o777]))
    first, second = pick.choice([(None, _NOBODY), (_SOMEBODY, _NOBODY)])
    mask = pick.choice([0o077, 0o027, 0o022, 0])
    trial.check(trial.run("first", user=first, mask=mask), name="first", says=False)
    entry = entries(trial.cache)[0]
    happens = pick.choice(["nothing", "nothing", "damaged", "forbidden"])
    if happens == "damaged":
        attack_entry(pick.choice(["flipped", "truncated", "brackets", "replaced"]), entry, pick)
    elif happens == "forbidden":
        attack_entry("forbidden", entry, pick)
    trial.check(trial.run("second", user=second), name="second", damage_may_come=trial.is_large)
    if first is not None:  # and the first one has to do with what the second one has made of it
        trial.check(trial.run("third", user=first), name="third", damage_may_come=trial.is_large)
    left = [path for path in trial.cache.rglob("*") if "under-way" in path.parts]
    trial.wrong += [f"left over: {left}"] if left else []


def _forbidden(trial: _Trial, pick: random.Random) -> None:
    """A user has lost the permission for what is his own."""
    trial.folder.chmod(0o777)
    trial.run("first", user=_NOBODY)
    attack_entry("forbidden", entries(trial.cache)[0], pick)
    trial.check(trial.run("second", user=_NOBODY), name="second")
    left = [path for path in trial.cache.rglob("*") if "under-way" in path.parts]
    trial.wrong += [f"left over: {left}"] if left else []


_WAYS = [(_at_rest, 8), (_under_way, 5), (_killed, 2), (_together, 2), (_full, 2), (_shared, 3), (_forbidden, 1)]


def _trial(prepared: _Prepared, seed: int, folder: Path) -> str | None:
    pick = random.Random(seed)
    ways = [
        way for way, weight in _WAYS for _ in range(weight) if way not in (_shared, _forbidden) or os.geteuid() == 0
    ]
    way, kind = pick.choice(ways), pick.choice(KINDS)
    trial = _Trial(
        prepared, kind, folder, is_large=pick.random() < 0.5, is_eval=pick.random() < 0.3 and way != _under_way
    )
    if way == _killed and kind == "bytes":
        trial.kind = "sixty"  # what is given on standard input is text
    prepared.known(trial.kind)
    way(trial, pick)
    what = [way.__name__[1:], trial.kind, "large" if trial.is_large else "small", "eval" if trial.is_eval else "train"]
    return None if not trial.wrong else f"{', '.join(what)}: {'; '.join(trial.wrong)}"


CAMPAIGNS = {
    "cache": Campaign(
        summary="Damages, replaces, forbids, shares, fills and removes the cache of encoded texts: a command does what "
        "it does with an intact one.",
        prepare=lambda folder: _prepared(folder),
        trial=_trial,
        in_suite=6,
    )
}


def _prepared(folder: Path) -> _Prepared:
    folder.chmod(0o755)
    return _Prepared(folder)
