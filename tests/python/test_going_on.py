"""A run that began in Python goes on with the command, and one of the command in Python: one config.json, one run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.errors import CharrnnError, CheckpointError, TextError, UsageError
from charrnn.events import Finished, Notice
from tests.kit.command import Command
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

OPTIONS = [
    "--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--dropout", "0.3",
    "--sample-every", "4", "--sample-length", "5", "--validate-every", "3", "--log-every", "2", "--no-cautious",
]  # fmt: skip
SMALL: dict[str, Any] = {
    "hidden_size": 4, "embedding_size": 3, "batch_size": 4, "bptt": 9, "threads": 1, "dropout": 0.3,
    "sample_every": 4, "sample_length": 5, "validate_every": 3, "log_every": 2, "cautious": False,
}  # fmt: skip
TEXT = make_text(2000)


@pytest.fixture(autouse=True)
def _texts() -> None:
    Path("text.txt").write_text(TEXT, "utf-8")
    Path("held out.txt").write_text(make_text(300, 3), "utf-8")
    Path("books").mkdir()
    Path("books/one.txt").write_text(make_text(900, 1), "utf-8")
    Path("books/two.md").write_text("not read", "utf-8")


def _config(folder: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path(folder, "config.json").read_text("utf-8"))
    return values


def _step(folder: str) -> int:
    step: int = checkpoints.load(Path(folder, "last.safetensors")).progress["step"]
    return step


def _hint(error: CharrnnError) -> str:
    """The call at the end of the hint."""
    assert error.hint is not None
    found = re.search(r"charrnn\.train\(.*\)$", error.hint)
    assert found is not None, error.hint
    return found[0]


def _train(call: str, **names: Any) -> None:
    """Makes a call that an error has printed."""
    assert isinstance(list(eval(call, {"charrnn": charrnn, **names}))[-1], Finished)


def test_a_run_from_python_is_recorded_as_the_commands(command: Command) -> None:
    """The same file to the byte, and whichever goes on with whichever, it is the run that the command makes alone."""
    assert command("train", "text.txt", *OPTIONS, "--steps", "5", "--out", "theirs").status == 0
    list(charrnn.train("text.txt", out="ours", steps=5, **SMALL))
    assert Path("ours/config.json").read_bytes() == Path("theirs/config.json").read_bytes()
    assert command("train", "ours", "--steps", "9").status == 0
    events = list(charrnn.train("theirs", steps=9))
    assert any("exact resume at step 5" in event.text for event in events if isinstance(event, Notice))
    for steps in ("5", "9"):
        assert command("train", "text.txt", *OPTIONS, "--steps", steps, "--out", "whole").status == 0
    for folder in ("ours", "theirs"):
        assert_same_run(Path(folder), Path("whole"))
        assert _config(folder) == _config("whole")
        loaded = [checkpoints.load(Path(each, "last.safetensors")).corpus for each in (folder, "whole")]
        assert loaded[0] == loaded[1]


def test_all_that_names_a_text_is_recorded(command: Command) -> None:
    """Several files and folders, a pattern, a text to validate on, and a preset; the name of the run is not of it."""
    words = ["books", "text.txt", "--glob", "*.txt", "--validation", "held out.txt", "--preset", "zoneout"]
    assert command("train", *words, *OPTIONS, "--steps", "2", "--out", "theirs").status == 0
    given: dict[str, Any] = {"glob": "*.txt", "validation": Path("held out.txt"), "preset": "zoneout"}
    list(charrnn.train(["books", Path("text.txt")], name="ours", steps=2, **given, **SMALL))
    assert _config("checkpoints/ours") == _config("theirs")
    assert _config("theirs")["corpus"] == [str(Path.cwd() / "books"), str(Path.cwd() / "text.txt")]
    list(charrnn.train(Path("checkpoints/ours"), steps=3))
    assert (_step("checkpoints/ours"), _config("checkpoints/ours")["zoneout"]) == (3, _config("theirs")["zoneout"])


def test_what_may_change_is_kept_and_the_rest_refused() -> None:
    """As by the command, in the words of Python."""
    list(charrnn.train("text.txt", out="run", steps=2, **SMALL))
    list(charrnn.train("run", steps=4, patience=9, device="cpu"))
    assert {"steps": 4, "patience": 9, "device": "cpu"}.items() <= _config("run").items()
    with pytest.raises(UsageError, match="hidden_size=4 -> 5"):
        list(charrnn.train("run", steps=6, hidden_size=5))
    list(charrnn.train("run", epochs=0.2))
    config = _config("run")
    assert ("steps" in config, config["epochs"], config["device"]) == (False, 0.2, "cpu")


def test_a_string_must_be_given_again(command: Command) -> None:
    """As what came on standard input must be; the command and the call that errors print go on with it."""
    list(charrnn.train(text=TEXT, steps=2, **SMALL))
    assert _config("checkpoints/text")["corpus"] == ["-"]
    result = command("train", "checkpoints/text")
    assert result.status == 2
    assert "came on standard input, or from Python as a string, and cannot be found again" in result.err
    line = re.search(r"give it once more: (charrnn train .*)\n\Z", result.err)
    assert line is not None
    assert command(*shlex.split(line[1])[1:], "--steps", "3", stdin=TEXT.encode()).status == 0
    assert _step("checkpoints/text") == 3
    with pytest.raises(UsageError, match="as a string, and cannot be found again") as caught:
        charrnn.train("checkpoints/text")
    _train(_hint(caught.value).replace("steps=3", "steps=4"), TEXT=TEXT)
    with pytest.raises(UsageError) as caught:
        charrnn.train("checkpoints/text", steps=4, patience=9)
    assert "steps=4" in _hint(caught.value)
    assert "patience=9" in _hint(caught.value)
    assert _step("checkpoints/text") == 4
    list(charrnn.train(text=TEXT, name="whole", steps=4, **SMALL))
    assert _step("checkpoints/whole") == 4
    arrays = [checkpoints.load(Path("checkpoints", name, "best.safetensors")).parameters for name in ("text", "whole")]
    assert all((arrays[0][name] == arrays[1][name]).all() for name in arrays[1])


def test_a_text_that_has_moved_is_named_and_can_be_given() -> None:
    """By a call that goes on, whichever of the texts it is, also before the first checkpoint."""
    list(charrnn.train(["text.txt", "books/one.txt"], validation="held out.txt", out="run", steps=2, **SMALL))
    for steps, name in enumerate(("books/one.txt", "held out.txt"), 3):
        shutil.move(name, f"{name}.moved")
        with pytest.raises(TextError, match=re.escape(f"is not there any more: {Path.cwd() / name}")) as caught:
            charrnn.train("run", steps=steps)
        _train(_hint(caught.value).replace("NEWPATH", f"{name}.moved"))
        assert _step("run") == steps
    Path("begun").mkdir()
    shutil.copy("run/config.json", "begun")
    shutil.move("text.txt", "moved.txt")
    with pytest.raises(TextError) as caught:
        charrnn.train("begun")
    _train(_hint(caught.value).replace("NEWPATH", "moved.txt"))
    assert _step("begun") == 4


def test_a_run_without_its_config_json_says_the_whole_call() -> None:
    """All but the text; afterwards config.json is there again."""
    list(charrnn.train("text.txt", out="run", steps=2, learning_rate=0.0123456789, **SMALL))
    before = _config("run")
    Path("run/config.json").unlink()
    with pytest.raises(CheckpointError, match=r"run holds no config\.json") as caught:
        charrnn.train("run")
    _train(_hint(caught.value).replace("TEXT", "text.txt").replace("steps=2", "steps=3, threads=1"))
    assert _config("run") == {**before, "steps": 3}


@pytest.mark.parametrize(
    ("corpus", "more", "said"),
    [
        (["run", "text.txt"], {}, "run is the folder of a run, which goes on with its own text"),
        ("run", {"out": "other"}, "which goes on in its place, and out is other\ngive no out; to begin another"),
        ("run", {"name": "other"}, "which goes on in its place, and name is other"),
        ("text.txt", {"name": "a", "out": "b"}, "name a and out b both name the run's folder"),
    ],
)
def test_contradictions_are_refused(corpus: Any, more: dict[str, Any], said: str) -> None:
    """At once, before anything is read or made."""
    Path("run").mkdir()
    Path("run/config.json").write_text('{"charrnn": "1", "corpus": ["text.txt"]}')
    before = sorted(Path().rglob("*"))
    with pytest.raises(UsageError, match=re.escape(said)):
        charrnn.train(corpus, **more)
    assert sorted(Path().rglob("*")) == before


def test_another_program_s_config_json_is_not_overwritten() -> None:
    """Nor is its folder a run's."""
    Path("books/config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"books/config\.json is there already and is not a run's"):
        list(charrnn.train("text.txt", out="books", steps=1, **SMALL))
    assert Path("books/config.json").read_text() == "{}"


def test_starting_over_goes_the_commands_way() -> None:
    """One rename for the whole folder, unless that would take away the text or another run."""
    list(charrnn.train("text.txt", name="it", steps=2, **SMALL))
    before = {path.name: path.read_bytes() for path in Path("checkpoints/it").iterdir()}
    list(charrnn.train("checkpoints/it", steps=3, seed=5, fresh=True))
    (aside,) = Path("checkpoints").glob("it.*")
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before
    assert (_step("checkpoints/it"), _config("checkpoints/it")["seed"]) == (3, 5)
    list(charrnn.train("books/one.txt", out="books", steps=1, **SMALL))
    with pytest.raises(UsageError, match=r"fresh=True would give the folder books another .* the text books/one\.txt"):
        list(charrnn.train("books/one.txt", out="books", steps=1, fresh=True, **SMALL))
    assert Path("books/one.txt").exists()


@pytest.mark.parametrize("place", ["corpus", "validation"])
def test_a_checkpoint_is_no_text(place: str) -> None:
    """Nor is a run a text to validate on."""
    list(charrnn.train("text.txt", out="run", steps=1, **SMALL))
    for named, what in (("run/best.safetensors", "a checkpoint"), ("run", "a run")):
        if (place, named) != ("corpus", "run"):
            with pytest.raises(TextError, match=re.escape(f"{named} is {what}, not a text")):
                list(charrnn.train(**{"corpus": "text.txt", "out": "other", **SMALL, place: named}))
    assert not Path("other").exists()


def test_a_checkpoint_names_the_call_that_goes_on() -> None:
    """And one that is damaged what is left to do."""
    list(charrnn.train("text.txt", out="run", steps=1, **SMALL))
    with pytest.raises(TextError, match=r"run/best\.safetensors is a checkpoint, not a text") as caught:
        charrnn.train("run/best.safetensors", steps=2)
    assert _hint(caught.value) == "charrnn.train('run', steps=2)"
    _train(_hint(caught.value))
    with open("run/last.safetensors", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match=r"goes on only from last\.safetensors; start over with fresh=True"):
        list(charrnn.train("run", steps=3))


def test_another_budget_and_a_finished_run_are_told() -> None:
    """And a call that leaves threads open keeps those of the run."""
    list(charrnn.train("text.txt", out="run", steps=2, **SMALL))
    settings = {name: value for name, value in SMALL.items() if name != "threads"}
    notices = [each.text for each in charrnn.train("text.txt", out="run", steps=4, **settings) if type(each) is Notice]
    said = (
        "exact resume at step 2: the budget is now 4 steps instead of 2, "
        "so the learning rate follows another course than in one run of 4 steps"
    )
    assert said in notices
    assert _config("run")["threads"] == 1
    notices = [each.text for each in charrnn.train("run", steps=3) if type(each) is Notice]
    assert notices == ["this run is finished: a larger budget than 4 steps goes on, and fresh=True starts over"]
