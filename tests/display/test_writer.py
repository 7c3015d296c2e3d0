"""The thread that writes: in order, holding nobody, thinned where nobody reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from charrnn.display import writer as writers
from charrnn.display.progress import TrainingDisplay, WorkDisplay
from charrnn.display.writer import Writer
from charrnn.events import Notice, Progress, Sampled, Validated

HANG = 60.0


class _Reader:
    """What is written, once the reader reads."""

    def __init__(self, *, is_reading: bool = False) -> None:
        self.read: list[str] = []
        self.reads = threading.Event()
        self.waited_for = threading.Event()
        if is_reading:
            self.reads.set()

    def writing(self, text: str) -> Callable[[], None]:
        def write() -> None:
            self.waited_for.set()
            assert self.reads.wait(HANG)
            self.read.append(text)

        return write


def _writer(reader: _Reader) -> Writer:
    return Writer(lambda lines: reader.read.append(f"({lines})"))


def test_what_is_put_is_written_in_order() -> None:
    reader = _Reader(is_reading=True)
    writer = _writer(reader)
    for number in range(200):
        writer.put(reader.writing(str(number)), lines=1)
    writer.close()
    assert reader.read == [str(number) for number in range(200)]
    writer.close()


def test_without_a_reader_nobody_waits_and_the_newest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of figures a few; of lines as many as there is room for, and a number for the others; the rest whole."""
    monkeypatch.setattr(writers, "_MOST_FIGURES", 2)
    monkeypatch.setattr(writers, "_MOST_LINES", 6)
    reader = _Reader()
    writer = _writer(reader)
    writer.put(reader.writing("held"), lines=1)
    assert reader.waited_for.wait(HANG)
    for number in range(9):
        writer.put(reader.writing(f"figure {number}"), is_figure=True)
        writer.put(reader.writing(f"lines {number}"), lines=2)
    writer.put(reader.writing("kept"))
    writer.interject(reader.writing("urgent"))
    reader.reads.set()
    writer.close()
    assert reader.read == ["held", "urgent", "(12)", "lines 6", "figure 7", "lines 7", "figure 8", "lines 8", "kept"]


def test_one_text_may_have_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_MOST_CHARACTERS", 10)
    reader = _Reader()
    writer = _writer(reader)
    writer.put(reader.writing("held"))
    assert reader.waited_for.wait(HANG)
    for number, characters in enumerate((5, 6, 99)):
        writer.put(reader.writing(str(number)), lines=number + 1, characters=characters)
    reader.reads.set()
    writer.close()
    assert reader.read == ["held", "(3)", "2"]


def test_a_bug_in_what_is_written_is_not_lost() -> None:
    """It is raised at the end; until then what puts goes on, and nothing more is written."""

    def wrong() -> None:
        raise ZeroDivisionError

    writer = Writer(lambda _lines: None)
    writer.put(wrong)
    assert writer._thread is not None
    writer._thread.join(60)
    written: list[str] = []
    writer.put(lambda: written.append("more"))
    with pytest.raises(ZeroDivisionError):
        writer.close()
    assert written == []


def test_where_no_thread_is_allowed_the_caller_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    reader = _Reader(is_reading=True)
    writer = _writer(reader)
    writer.put(reader.writing("one"), lines=1)
    writer.interject(reader.writing("two"))
    assert reader.read == ["one"]
    writer.put(reader.writing("three"), lines=1)
    writer.close()
    assert reader.read == ["one", "two", "three"]


def test_a_run_is_shown_thinned_to_a_reader_who_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout is a pipe that is full: showing does not wait, and a note says how much is missing."""
    monkeypatch.setattr(writers, "_MOST_LINES", 4)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = os.write(writing, b"." * 2**20)
    os.set_blocking(writing, True)
    errors = Path("errors")
    with open(writing, "w") as out, errors.open("w") as err, TrainingDisplay(out, err) as display:
        for step in range(1, 30):
            display.show(Progress(step, 0.5, 100, 0.25, 10.0, 30.0, 2.0, 0.004, 0.5, 12345.6))
            display.show(Validated(step, 0.5, 100, 11.0, 2.0, 2.0, False))
        display.show(Sampled(29, "once\nupon", 110))
        display.show(Notice("the last"))
        received = b""

        def read() -> None:
            nonlocal received
            while piece := os.read(reading, 65536):
                received += piece

        reader = threading.Thread(target=read)
        reader.start()
    reader.join(HANG)
    os.close(reading)
    lines = received[filled:].decode().splitlines()
    assert lines[-3:] == ["  | once", "  | upon", ""]
    assert "lines left out here, since nobody read them\nnote: the last\n" in errors.read_text()


def test_work_before_a_run_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal whose reader sleeps, as after Ctrl-S: the bar is drawn by the display's thread."""
    reads, waits = threading.Event(), threading.Event()

    class Stream:
        encoding = "utf-8"
        written = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            waits.set()
            assert reads.wait(HANG)
            self.written += text

        def flush(self) -> None:
            pass

    stream = Stream()
    monkeypatch.setattr("sys.stderr", stream)
    with TrainingDisplay(stream, stream) as display:  # type: ignore[arg-type]
        display.tell("reading a text ...")
        assert waits.wait(HANG)
        work = display.work()
        assert isinstance(work, WorkDisplay)
        with work:
            for done in range(1, 1000):
                work("reading", done, 1000)
        display.note("done")
        reads.set()
    assert stream.written.startswith("reading a text ...\n")
    assert stream.written.endswith("note: done\n")


def test_what_is_passed_on_is_written_exactly_even_by_a_quiet_display() -> None:
    """Warnings of Python."""
    with open("errors", "w") as err, TrainingDisplay(err, err, quiet=True) as display:
        display.pass_on("file.py:1: UserWarning: a\tb\n  code()\n")
        display.note("a note")
    assert Path("errors").read_text() == "file.py:1: UserWarning: a\tb\n  code()\n"


def test_a_handler_may_interject_while_the_lock_is_held() -> None:
    """A signal comes at any moment of `put`."""
    reader = _Reader(is_reading=True)
    writer = _writer(reader)
    was_written = threading.Event()
    writer.put(reader.writing("one"))
    writer.put(was_written.set)
    assert was_written.wait(HANG)
    with writer._lock:
        thread = threading.Thread(target=partial(writer.interject, reader.writing("two")))
        thread.start()
        thread.join(HANG)
        assert not thread.is_alive()
    writer.close()
    assert reader.read == ["one", "two"]
