"""Training from Python: the same run as the command's, saved however it is left, in any thread, and silent."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import charrnn
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.events import Event, Finished, Notice, Progress, Sampled, Saved, Validated
from tests.kit.command import Command
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

SMALL: dict[str, Any] = {"hidden_size": 7, "num_layers": 2, "embedding_size": 5, "batch_size": 3, "bptt": 11}
OPTIONS = "--hidden 7 --layers 2 --embedding 5 --batch 3 --bptt 11 --threads 1".split()
WRITTEN = {"sample_every": 10, "sample_length": 9, "validate_every": 10, "log_every": 5, "dropout": 0.2, "threads": 1}
MORE = "--sample-every 10 --sample-length 9 --validate-every 10 --log-every 5 --dropout 0.2".split()
TEXT = make_text(3000)


def _steps(events: list[Event]) -> list[tuple[str, int | None]]:
    """Kinds of events with their steps, without those that a clock sends."""
    told = [event for event in events if not isinstance(event, Progress | Notice)]
    return [(type(event).__name__, event.step) for event in told]


def test_a_run_is_the_commands_bit_for_bit(command: Command, text_file: Callable[..., Path]) -> None:
    """Checkpoints, metrics and samples are equal, and the events tell what the command showed and wrote."""
    corpus = text_file(3000)
    result = command("train", str(corpus), "--out", "theirs", "--steps", "20", *OPTIONS, *MORE, "--quiet")
    assert result == (0, "", "")
    events = list(charrnn.train(corpus, out="ours", steps=20, **SMALL, **WRITTEN))
    assert_same_run(Path("ours"), Path("theirs"))
    last, best = "ours/last.safetensors", "ours/best.safetensors"
    saved = [event.path for event in events if isinstance(event, Saved)]
    assert {str(path) for path in saved} == {last, best}
    assert [step for kind, step in _steps(events) if kind == "Validated"] == [10, 20]
    assert [step for kind, step in _steps(events) if kind == "Sampled"] == [10, 20]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "budget"
    nats = [event.validation_nats for event in events if isinstance(event, Validated)]
    assert charrnn.curve("ours").validation["validation_nats"].tolist() == nats
    assert charrnn.load("ours").best_bpc == pytest.approx(min(nats) / math.log(2))
    samples = [event.text for event in events if isinstance(event, Sampled)]
    assert all(text in Path("ours/samples.txt").read_text("utf-8") for text in samples)


def test_a_string_trains_as_its_file_does(text_file: Callable[..., Path]) -> None:
    """Beside the run's name nothing tells them apart; the copy on disk is gone."""
    list(charrnn.train(text_file(3000), out="file", steps=4, **SMALL))
    list(charrnn.train(text=TEXT, steps=4, **SMALL))
    assert_same_run(Path("file"), Path("checkpoints/text"))
    loaded = [checkpoints.load(Path(place, "last.safetensors")).corpus for place in ("file", "checkpoints/text")]
    assert loaded[0] == {**loaded[1], "name": "text"}
    assert not list(Path(os.environ["CHARRNN_CACHE"]).glob("*.tmp"))


def test_several_files_with_a_text_to_validate_on(command: Command, text_file: Callable[..., Path]) -> None:
    """The arguments mean what they mean to the command, and so does the place where the run goes by default."""
    one, two, held_out = text_file(900, "one.txt"), text_file(900, "two.txt", 1), text_file(400, "held.txt", 2)
    words = ["train", str(one), str(two), "--validation", str(held_out), "--steps", "4", "--quiet"]
    assert command(*words, "--out", "theirs", *OPTIONS).status == 0
    training = charrnn.train([one, str(two)], validation=held_out, steps=4, threads=1, **SMALL)
    events = list(training)
    assert training.out == Path("checkpoints/one+two")
    assert_same_run(training.out, Path("theirs"))
    assert any(isinstance(event, Validated) for event in events)


def test_the_same_call_goes_on_where_it_was_left(text_file: Callable[..., Path]) -> None:
    """After a loop that was left early, as after Ctrl-C: together the run that was never left."""
    corpus = text_file(3000)
    list(charrnn.train(corpus, out="whole", steps=20, **SMALL, **WRITTEN))
    for event in charrnn.train(corpus, out="parts", steps=20, **SMALL, **WRITTEN):
        if isinstance(event, Progress) and event.step >= 5:
            break
    step = checkpoints.load(Path("parts/last.safetensors")).progress["step"]
    assert 5 <= step < 10
    events = list(charrnn.train(corpus, out="parts", steps=20, **SMALL, **WRITTEN))
    assert Notice(f"exact resume at step {step}: the run goes on from there") in events
    assert_same_run(Path("whole"), Path("parts"))
    again = list(charrnn.train(corpus, out="parts", steps=20, **SMALL, **WRITTEN))
    assert [type(event) for event in again] == [Notice, Finished]
    assert "fresh=True starts over" in again[0].text  # type: ignore[union-attr]
    further = list(charrnn.train(corpus, out="parts", steps=22, **SMALL, **WRITTEN))
    assert _steps(further)[-1] == ("Finished", 22)


def test_another_run_in_the_folder_is_refused_or_set_aside() -> None:
    """With the settings that differ, by the names that they have in Python."""
    list(charrnn.train(text=TEXT, steps=3, **SMALL))
    with pytest.raises(UsageError, match=r"hidden_size=7 -> 8.*\n.*fresh=True"):
        list(charrnn.train(text=TEXT, steps=3, **{**SMALL, "hidden_size": 8}))
    with pytest.raises(UsageError, match="corpus: text"):
        list(charrnn.train(text="x" + TEXT, steps=3, **SMALL))
    with pytest.raises(UsageError, match="the text of text has grown by 1 character at its end\nwith change=True"):
        list(charrnn.train(text=TEXT + "x", steps=3, **SMALL))
    before = Path("checkpoints/text/best.safetensors").read_bytes()
    for event in charrnn.train(text=TEXT, steps=3, fresh=True, **{**SMALL, "hidden_size": 8}):
        if isinstance(event, Notice):
            (aside,) = Path("checkpoints").glob("text.*")
            assert (aside / "best.safetensors").read_bytes() == before
    assert charrnn.load().config.hidden_size == 8


def test_with_and_close_save_what_a_variable_still_holds() -> None:
    """The lock is free afterwards, and what is left says where it stands."""
    with charrnn.train(text=TEXT, name="held", steps=500, **SMALL, **WRITTEN) as training:
        assert repr(training) == "<training in checkpoints/held: not begun>"
        for event in training:
            if isinstance(event, Validated):
                break
        with pytest.raises(UsageError, match=r"checkpoints/held is open in this program\nclose it first"):
            list(charrnn.train(text=TEXT, name="held", steps=500, **SMALL, **WRITTEN))
    assert next(training, None) is None
    assert training.finished is None
    assert training.model().checkpoint.progress["best_step"] == 10
    assert "of the budget" in repr(training)
    page = training._repr_html_()
    assert "checkpoints/held" in page
    other = charrnn.train(text=TEXT, name="held", steps=500, **SMALL, **WRITTEN)
    assert any("exact resume" in event.text for event in [next(other)] if isinstance(event, Notice))
    other.close()
    untouched = charrnn.train(text=TEXT, name="untouched", steps=5)
    untouched.close()
    assert not untouched.out.exists()


def test_it_runs_in_a_thread_and_beside_an_event_loop(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed, and no handler of a signal is left behind."""
    found: list[Event] = []

    async def notebook() -> None:
        found.extend(charrnn.train(text=TEXT, name="loop", steps=4, **SMALL))

    before = signal.getsignal(signal.SIGINT)
    asyncio.run(notebook())
    training = charrnn.train(text=TEXT, name="thread", steps=4, **SMALL)
    thread = threading.Thread(target=lambda: found.extend(training))
    thread.start()
    thread.join(120)
    assert sum(isinstance(event, Finished) for event in found) == 2
    assert isinstance(training.finished, Finished)
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr() == ("", "")


def test_a_run_in_a_thread_is_closed_from_outside() -> None:
    """The thread's loop ends, and the run is saved."""
    training = charrnn.train(text=TEXT, name="thread", steps=100_000, sample_every=0, **SMALL)
    found: list[Event] = []
    begun = threading.Event()

    def work() -> None:
        for event in training:
            found.append(event)
            if isinstance(event, Progress):
                begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(120)
    training.close()
    thread.join(60)
    assert not thread.is_alive()
    assert checkpoints.load(Path("checkpoints/thread/last.safetensors")).progress["step"] >= 1


@pytest.mark.parametrize("left", ["held = training", "del training"])
def test_what_a_program_leaves_open_is_saved_when_it_ends(left: str) -> None:
    """Also where a variable still holds it; the farewell is silent."""
    program = (
        "import charrnn\n"
        "from charrnn.events import Progress\n"
        f"training = charrnn.train(text={TEXT!r}, name='left', steps=100_000, save_every=1e9, **{SMALL!r})\n"
        "for event in training:\n"
        "    if isinstance(event, Progress) and event.step > 2: break\n"
        f"{left}\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert checkpoints.load(Path("checkpoints/left/last.safetensors")).progress["step"] > 2


def test_ctrl_c_saves_and_then_interrupts() -> None:
    """In a program of its own: KeyboardInterrupt comes, and the run on disk is later than its last save was."""
    program = (
        "import os, signal, threading, charrnn\n"
        "from charrnn.events import Progress\n"
        f"training = charrnn.train(text={TEXT!r}, name='stopped', steps=100_000, sample_every=0, **{SMALL!r})\n"
        "def send():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "try:\n"
        "    for event in training:\n"
        "        if isinstance(event, Progress) and event.step >= 3 and not hasattr(training, 'sent'):\n"
        "            training.sent = event.step\n"
        "            threading.Timer(0.05, send).start()\n"
        "except KeyboardInterrupt as error:\n"
        "    print('interrupted', training.sent, error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert result.stderr == ""
    word, sent, *said = result.stdout.split(maxsplit=2)
    assert word == "interrupted"
    assert said == ["the run in checkpoints/stopped is saved, and the same call resumes it\n"] or said == []
    assert checkpoints.load(Path("checkpoints/stopped/last.safetensors")).progress["step"] >= int(sent)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "no corpus was given"),
        ({"corpus": "a.txt", "text": "b"}, "both a corpus and a text"),
        ({"corpus": []}, "the list of corpora is empty"),
        ({"corpus": "-"}, "standard input"),
        ({"text": TEXT, "name": "a/b"}, "name is 'a/b'"),
        ({"text": TEXT, "hidden_size": 0}, "hidden_size is 0"),
        ({"text": TEXT, "steps": 1, "minutes": 1}, "more than one budget was given: steps, minutes"),
        ({"text": TEXT, "cell": "gru", "peephole": True}, "peephole does not go with cell"),
    ],
)
def test_what_cannot_be_is_refused_at_once(arguments: dict[str, Any], said: str) -> None:
    """Before anything is read, in the words of Python."""
    with pytest.raises(UsageError) as caught:
        charrnn.train(**arguments)
    assert said in caught.value.message
    assert not Path("checkpoints").exists()


def test_a_text_that_is_none_is_refused_when_it_is_read() -> None:
    """Missing, too short, or not in the encoding that was asked for."""
    with pytest.raises(TextError, match="there is no file or folder nowhere"):
        next(charrnn.train("nowhere"))
    with pytest.raises(TextError, match="5 characters"):
        next(charrnn.train(text="short"))
    with pytest.raises(TextError, match=r"\\u20ac.*latin-1"):
        next(charrnn.train(text="\u20ac" * 400, encoding="latin-1"))
    assert not Path("checkpoints").exists()


def test_a_curve_is_what_the_file_says(tmp_path: Path) -> None:
    """Two tables; a torn last line, another program's line and what is no number do no harm."""
    list(charrnn.train(text=TEXT, out=tmp_path, steps=20, **SMALL, **WRITTEN))
    whole = charrnn.curve(tmp_path)
    assert whole.validation["step"].tolist() == [10, 20]
    assert whole.training["step"].tolist() == [5, 10, 15, 20]
    assert (whole.training["gradient_norm"] > 0).all()
    np.testing.assert_allclose(whole.validation["validation_nats"] / math.log(2), whole.validation["validation_bpc"])
    assert {len(column) for column in whole.training.values()} == {4}
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('[1]\n{"step": "x"}\n{"step": 21, "learning_rate": null, "train_nats": true}\n{"step": 22, "train_n')
    more = charrnn.curve(tmp_path / "last.safetensors")
    assert more.training["step"].tolist() == [5, 10, 15, 20, 21]
    assert np.isnan(more.training["train_nats"][-1])
    assert repr(whole).endswith(f": 4 reports, 2 validations, best {whole.validation['validation_bpc'].min():.3f} bpc>")
    drawn = ElementTree.fromstring(f"<page>{whole._repr_html_()}</page>")
    assert [len(each.attrib["points"].split()) for each in drawn.iter("polyline")] == [4, 2]
    with pytest.raises(CheckpointError, match=r"there is no metrics\.jsonl"):
        charrnn.curve(tmp_path.parent)
    with pytest.raises(CheckpointError, match=f"^there is no run {tmp_path}/zzz\nname the folder of a run$"):
        charrnn.curve(tmp_path / "zzz")


def test_events_are_plain_values() -> None:
    """They can be kept, compared and written as JSON."""
    events = list(charrnn.train(text=TEXT, steps=2, **SMALL))
    assert all(isinstance(asdict(event), dict) for event in events)
