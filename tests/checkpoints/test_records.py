"""The metrics and the samples of a run are as its last checkpoint says, or it is said how they are not."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoints.folder import Run
from charrnn.checkpoints.records import FILES, Agreement, Records, agreements
from charrnn.errors import UsageError

RUN = Run(Path("run"))


def _written(steps: int = 3) -> tuple[Records, dict[str, Any]]:
    """Records of some steps, and what `last` would say of them."""
    RUN.folder.mkdir(exist_ok=True)
    records = Records(RUN)
    records.begin()
    for step in range(1, steps + 1):
        records.add_metrics({"step": step, "nats": 0.5, "none": None})
        records.add_sample(f"step {step}", "a\r\n\ud800é")
    return records, {FILES: records.marks()}


def test_what_is_written_and_what_is_said_of_it() -> None:
    """Bytes and digests; a value of None is left out, and text stays as it is."""
    _, training = _written(2)
    metrics = b'{"step": 1, "nats": 0.5}\n{"step": 2, "nats": 0.5}\n'
    samples = "=== step 1 ===\na\r\n\ud800é\n\n=== step 2 ===\na\r\n\ud800é\n\n".encode("utf-8", "surrogatepass")
    assert RUN.metrics.read_bytes() == metrics
    assert RUN.samples.read_bytes() == samples
    assert training[FILES] == {
        "metrics.jsonl": {"bytes": len(metrics), "sha256": hashlib.sha256(metrics).hexdigest()},
        "samples.txt": {"bytes": len(samples), "sha256": hashlib.sha256(samples).hexdigest()},
    }
    assert agreements(RUN.folder, json.loads(json.dumps(training))) == [
        Agreement("metrics.jsonl", len(metrics), len(metrics), None),
        Agreement("samples.txt", len(samples), len(samples), None),
    ]


def test_what_came_later_is_cut_off_and_written_again() -> None:
    """After which all is as if there had been no interruption."""
    records, training = _written(2)
    records.add_metrics({"step": 3})
    records.add_sample("step 3", "abc")
    whole = {path: path.read_bytes() for path in (RUN.metrics, RUN.samples)}
    said = records.marks()
    with open(RUN.metrics, "ab") as file:
        file.write(b'{"step": 4, "na')
    assert [each.problem for each in agreements(RUN.folder, training)] == [None, None]
    again = Records(RUN)
    assert again.go_on(training, 2) == []
    again.add_metrics({"step": 3})
    again.add_sample("step 3", "abc")
    assert again.marks() == said
    assert {path: path.read_bytes() for path in whole} == whole


def _cut(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size + size)


def _null(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(8))


METRICS = b'{"step": 1, "nats": 0.5}\n{"step": 2, "nats": 0.5}\n'
THEN = "when last.safetensors was saved"


@pytest.mark.parametrize(
    ("spoil", "said", "left"),
    [
        (lambda path: _cut(path, -4), f"lacks 4 of the 75 bytes that it had {THEN}", METRICS),
        (lambda path: _cut(path, -25), f"lacks 25 of the 75 bytes that it had {THEN}", METRICS),
        (os.unlink, f"is missing, which had 75 bytes {THEN}", None),
        (
            _null,
            f"is damaged, for its 75 bytes are not those that it had {THEN}: 8 bytes of it are NUL",
            METRICS,
        ),
        (
            lambda path: path.write_bytes(METRICS[:25] + b'{"step": 4, "nats": 0.5}\n' * 5),
            f"is damaged, for its 75 bytes are not those that it had {THEN}",
            METRICS[:25],
        ),
        (lambda path: path.write_bytes(b"[" * 200_000), f"is damaged, for its 75 bytes are not those {THEN}", b""),
    ],
    ids=["torn", "a line missing", "missing", "NUL", "other lines", "brackets"],
)
def test_metrics_that_are_not_as_they_were_are_told_of_and_what_is_whole_stays(
    spoil: Any, said: str, left: bytes | None
) -> None:
    """Lines that can be read and are not of later steps; what is then said of the file is true."""
    _, training = _written(3)
    spoil(RUN.metrics)
    (problem,) = [each.problem for each in agreements(RUN.folder, training) if each.problem]
    assert problem == f"metrics.jsonl {said}".replace(f"those {THEN}", f"those that it had {THEN}")
    again = Records(RUN)
    assert again.go_on(training, 3) == [problem]
    assert (RUN.metrics.read_bytes() if RUN.metrics.exists() else None) == left
    again.add_metrics({"step": 4})
    assert [each.problem for each in agreements(RUN.folder, {FILES: again.marks()})] == [None, None]
    assert RUN.metrics.read_bytes() == (left or b"") + b'{"step": 4}\n'
    assert sorted(path.name for path in RUN.folder.iterdir()) == ["metrics.jsonl", "samples.txt"]


@pytest.mark.parametrize(("cut", "left"), [(1, b"\n"), (2, b"\n\n"), (4, b"\n\n")])
def test_samples_that_were_cut_off_end_as_samples_end(cut: int, left: bytes) -> None:
    """So that the next one begins on a line of its own; and without the NULs of a lost end."""
    _, training = _written(1)
    whole = RUN.samples.read_bytes()
    for nulls in (0, cut):
        RUN.samples.write_bytes(whole[:-cut] + bytes(nulls))
        problems = Records(RUN).go_on(training, 1)
        assert len(problems) == 1
        assert problems[0].startswith(f"samples.txt {'is damaged' if nulls else 'lacks'}")
        assert RUN.samples.read_bytes() == whole[:-cut].rstrip(b"\n") + b"\n\n"
        assert RUN.samples.read_bytes().endswith(left)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt"])
def test_links_and_pipes_are_not_written_to(name: str) -> None:
    """Whoever put them there, and when."""
    records, training = _written(1)
    Path("outside").write_bytes((RUN.folder / name).read_bytes() + b"more")
    before = Path("outside").read_bytes()
    (RUN.folder / name).unlink()
    (RUN.folder / name).symlink_to("../outside")
    for write in (
        lambda: (records.add_metrics({"step": 2}), records.add_sample("2", "x")),
        records.marks,
        lambda: Records(RUN).go_on(training, 1),
        Records(RUN).begin,
    ):
        with pytest.raises(UsageError, match=name):
            write()
    assert Path("outside").read_bytes() == before
    (RUN.folder / name).unlink()
    os.mkfifo(RUN.folder / name)
    with pytest.raises(UsageError, match=name):
        Records(RUN).go_on(training, 1)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_a_copy_by_hard_links_stays_as_it_is() -> None:
    """A run that goes on, and one that begins, write to files of their own."""
    _, training = _written(2)
    with open(RUN.metrics, "ab") as file:
        file.write(b'{"step": 3}\n')
    for number in (0, 1):
        again = Records(RUN)
        before = {path.name: path.read_bytes() for path in (RUN.metrics, RUN.samples)}
        copy = Path(f"copy-{number}")
        copy.mkdir()
        for name in before:
            os.link(RUN.folder / name, copy / name)
        if number:
            again.begin()
        else:
            again.go_on(training, 2)
        again.add_metrics({"step": 4})
        again.add_sample("4", "x")
        assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
        assert [each.problem for each in agreements(RUN.folder, {FILES: again.marks()})] == [None, None]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_both_are_on_the_disk_before_their_lengths_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that was written to, and the folder where one may be new in it; nothing where nothing was added."""
    happened: list[str] = []
    fsync = os.fsync

    def note(opened: int) -> None:
        happened.append(Path(os.readlink(f"/proc/self/fd/{opened}")).name)
        fsync(opened)

    monkeypatch.setattr(os, "fsync", note)
    RUN.folder.mkdir()
    records = Records(RUN)
    records.begin()
    for add, expected in (
        (lambda: records.add_metrics({"step": 1}), ["metrics.jsonl", "run"]),
        (lambda: records.add_sample("1", "x"), ["samples.txt", "run"]),
        (lambda: (records.add_metrics({"step": 2}), records.add_sample("2", "x")), ["metrics.jsonl", "samples.txt"]),
        (lambda: None, []),
    ):
        happened.clear()
        add()
        records.marks()
        assert happened == expected


def test_a_file_that_was_removed_under_the_run_is_missed_when_it_is_resumed() -> None:
    """It does not end the run."""
    records, _ = _written(1)
    RUN.metrics.unlink()
    training = {FILES: records.marks()}
    records.add_metrics({"step": 2})
    training = {FILES: records.marks()}
    problems = [each.problem for each in agreements(RUN.folder, training)]
    assert problems == [f"metrics.jsonl lacks 25 of the 37 bytes that it had {THEN}", None]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"metrics.jsonl": {"bytes": 1, "sha256": ""}},
        {"metrics.jsonl": {"bytes": 1}, "samples.txt": {"bytes": 1, "sha256": ""}},
        *(
            {"metrics.jsonl": {"bytes": number, "sha256": ""}, "samples.txt": {"bytes": 1, "sha256": ""}}
            for number in (-1, 1 << 63, True, 1.0, None)
        ),
        {"metrics.jsonl": {"bytes": 1, "sha256": 5}, "samples.txt": {"bytes": 1, "sha256": ""}},
        {"metrics.jsonl": [], "samples.txt": 5},
    ],
)
def test_a_record_that_no_run_writes_is_refused(record: dict[str, Any]) -> None:
    """Before anything is changed."""
    _written(1)
    before = RUN.metrics.read_bytes()
    with pytest.raises((ValueError, KeyError, TypeError)):
        agreements(RUN.folder, {FILES: record})
    with pytest.raises((ValueError, KeyError, TypeError)):
        Records(RUN).go_on({FILES: record}, 1)
    assert RUN.metrics.read_bytes() == before
