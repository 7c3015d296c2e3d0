"""A run goes on by the name of its folder, and what is refused says with which command it would."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.native.window import find_library
from charrnn.settings.fields import settings_of
from charrnn.settings.settings_file import option_name
from charrnn.training.request import GROUPS
from charrnn.version import __version__
from tests.kit.command import Command, Result, overriding
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

SMALL = [
    "--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--dropout", "0.3",
    "--sample-every", "4", "--sample-length", "5", "--validate-every", "3", "--log-every", "2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _text() -> None:
    Path("text.txt").write_text(make_text(2000), "utf-8")


def _step(folder: str | Path) -> int:
    step: int = checkpoints.load(Run(Path(folder)).last).progress["step"]
    return step


def _config(folder: str | Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path(folder, "config.json").read_text("utf-8"))
    return values


def _refused(result: Result, status: int, *said: str) -> str:
    """Gives the command at the end of the hint."""
    assert result.status == status, result.err
    assert result.out == ""
    assert re.search(r"^error: [^\n]+\n hint: [^\n]+\n\Z", result.err, re.MULTILINE)
    assert all(words in result.err for words in said), result.err
    command = re.search(r": (charrnn train .*)\n\Z", result.err)
    return command[1] if command else ""


def _paste(command: Command, line: str, **options: Any) -> Result:
    return command(*shlex.split(line)[1:], **options)


def test_a_name_is_short_for_a_folder_under_checkpoints(command: Command) -> None:
    """And `-c checkpoints/NAME` finds it."""
    assert command("train", "text.txt", *SMALL, "--steps", "1", "--name", "it's mine").status == 0
    assert [path.name for path in Path("checkpoints").iterdir()] == ["it's mine"]
    assert command("sample", "-c", "checkpoints/it's mine", "-n", "3").status == 0


def test_config_json_can_be_read_by_people(command: Command) -> None:
    """Every setting as it was chosen, under the names of the options in the order of the classes; where the text lies;
    one line each; nothing that is left open."""
    Path("held out.txt").write_text(make_text(300, 3), "utf-8")
    words = [
        "train",
        "text.txt",
        *SMALL,
        "--validation",
        "held out.txt",
        "--steps",
        "2",
        "--out",
        "run",
        "--no-cautious",
    ]
    assert command(*words).status == 0
    text, config = Path("run/config.json").read_text("utf-8"), _config("run")
    assert text.endswith("\n}\n")
    assert '\n  "hidden": 4,\n' in text
    assert config["charrnn"] == __version__
    assert config["corpus"] == [str(Path.cwd() / "text.txt")]
    assert config["validation"] == str(Path.cwd() / "held out.txt")
    assert {"steps": 2, "hidden": 4, "threads": 1, "cell": "lstm", "validation-fraction": 0.0}.items() <= config.items()
    assert config["cautious"] is False
    assert config["lr"] == 0.012
    options = [option_name(declared) for cls in GROUPS.values() for declared in settings_of(cls).values()]
    names = [name for name in config if name not in ("charrnn", "corpus", "validation", "glob")]
    assert names == [name for name in options if name in names]
    assert {"hidden", "lr", "batch", "seed", "test-fraction", "prime", "keep-every"} - set(names) == {"keep-every"}


def test_checkpoints_hold_no_path(command: Command) -> None:
    """They can be given away; config.json stays."""
    assert command("train", "text.txt", *SMALL, "--steps", "1", "--out", "run").status == 0
    for name in ("best.safetensors", "last.safetensors"):
        assert str(Path.cwd()).encode() not in Path("run", name).read_bytes()
    assert str(Path.cwd()) in Path("run/config.json").read_text("utf-8")


def test_a_run_goes_on_by_its_folder_from_anywhere(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a relative and an absolute path and a larger budget each time, it is the run that was never stopped."""
    here = Path.cwd()
    assert command("train", "text.txt", *SMALL, "--steps", "5", "--name", "it").status == 0
    assert command("train", "checkpoints/it", "--steps", "9").status == 0
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert command("train", str(here / "checkpoints/it"), "--steps", "13").status == 0
    assert command("train", "../checkpoints/it/", "--steps", "17").status == 0
    result = command("train", "../checkpoints/it")
    assert result.status == 0
    assert "this run is finished" in result.err
    assert not list(Path().iterdir())
    monkeypatch.chdir(here)
    assert _config("checkpoints/it")["steps"] == 17
    for steps in ("5", "9", "13", "17"):
        assert command("train", "text.txt", *SMALL, "--steps", steps, "--out", "whole").status == 0
    assert_same_run(Path("checkpoints/it"), Path("whole"))
    assert _config("checkpoints/it") == _config("whole")


def test_what_may_change_is_kept_for_the_next_time(command: Command) -> None:
    """And the rest is refused by name, with the command that goes on."""
    assert command("train", "text.txt", *SMALL, "--steps", "2", "--out", "run").status == 0
    assert command("train", "run", "--steps", "4", "--sample-every", "0", "--patience", "9").status == 0
    config = _config("run")
    assert (config["sample-every"], config["patience"]) == (0, 9)
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    line = _refused(command("train", "run", "--steps", "6", "--hidden", "5"), 2, "settings: --hidden 4 -> 5", "--fresh")
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before
    assert _paste(command, line).status == 0
    assert _step("run") == 6
    assert _config("run")["patience"] == 9


def test_a_larger_budget_of_another_kind_takes_the_place_of_the_first(command: Command) -> None:
    """Of three budgets one holds."""
    assert command("train", "text.txt", *SMALL, "--steps", "2", "--out", "run").status == 0
    assert command("train", "run", "--epochs", "0.1").status == 0
    config = _config("run")
    assert ("steps" in config, config["epochs"]) == (False, 0.1)


def test_a_run_that_has_hardly_begun_begins(command: Command) -> None:
    """Killed between its settings and its first checkpoint."""
    assert command("train", "text.txt", *SMALL, "--steps", "6", "--out", "whole").status == 0
    Path("run").mkdir()
    shutil.copy("whole/config.json", "run/config.json")
    assert command("train", "run").status == 0
    assert_same_run(Path("run"), Path("whole"))


def test_starting_over_by_the_folder_keeps_the_settings(command: Command) -> None:
    """And those that are given besides may be any."""
    assert command("train", "text.txt", *SMALL, "--steps", "2", "--out", "run").status == 0
    assert command("train", "run", "--fresh", "--seed", "5", "--steps", "3").status == 0
    config = _config("run")
    assert (config["hidden"], config["seed"], _step("run")) == (4, 5, 3)
    (aside,) = Path().glob("run.*")
    assert _step(aside) == 2


def test_a_folder_with_texts_and_a_run_is_a_run(command: Command) -> None:
    """A note says so, and how to train on what lies there."""
    Path("books").mkdir()
    shutil.copy("text.txt", "books/emma.txt")
    assert command("train", "books/emma.txt", *SMALL, "--steps", "2", "--out", "books").status == 0
    result = command("train", "books", "--steps", "3")
    assert result.status == 0
    assert "note: books holds a run, which goes on, and other files, such as emma.txt: to train on files" in result.err
    assert _step("books") == 3


def test_another_program_s_config_json_is_neither_read_nor_overwritten(command: Command) -> None:
    """A folder with one is a folder of texts, and no place for a run."""
    Path("books").mkdir()
    shutil.copy("text.txt", "books/emma.txt")
    Path("books/config.json").write_text('{"architectures": ["GPT"]}')
    assert command("train", "books", *SMALL, "--steps", "1", "--out", "run").status == 0
    result = command("train", "text.txt", *SMALL, "--steps", "1", "--out", "books")
    _refused(result, 2, "books/config.json is there already and is not a run's", "choose another --out")
    assert Path("books/config.json").read_text() == '{"architectures": ["GPT"]}'


AWKWARD = [
    "--lr=0.0123456789012345", "--gate-bias=-1.5", "--prime=-it's \u201cthe\u201d", "--no-cautious", "--tie",
    "--embedding=4", "--validation=held out.txt", "--test-fraction=0.0625", "--on-divergence=rollback",
]  # fmt: skip


def test_a_refused_resume_prints_the_command_that_goes_on(command: Command) -> None:
    """Pasted as it is, whatever has been given, on the same text or another, with what may change as asked now."""
    Path("text.txt").write_text(make_text(2000) + "\n-it's \u201cthe\u201d\n", "utf-8")
    Path("held out.txt").write_text(make_text(300, 3), "utf-8")
    words = [*overriding(["train", "text.txt", *SMALL], [one.partition("=")[0] for one in AWKWARD])]
    words = [*words[: -len(AWKWARD)], *AWKWARD, "--out", "my run"]
    result = command(*words, "--steps", "2")
    assert result.status == 0, result.err
    for steps, other in enumerate((["--layers", "2"], ["--newlines", "lf"], ["--seed", "2", "--sample-every", "0"]), 3):
        asked = overriding(words, [*other, "--steps", str(steps)])
        line = _refused(command(*asked), 2, f"{other[0]} ", " -> ")
        assert _paste(command, line).status == 0
        assert _step("my run") == steps
    assert _config("my run")["sample-every"] == 0
    shutil.copy("held out.txt", "other.txt")
    line = _refused(command("train", "other.txt", "--out", "my run", "--steps", "6"), 2, "settings: corpus: text ")
    assert str(Path.cwd() / "text.txt") in line
    assert _paste(command, line).status == 0
    assert _step("my run") == 6


def test_a_refused_resume_of_a_preset_prints_the_command_that_goes_on(command: Command) -> None:
    """All that the preset stands for, once another one is given."""
    words = ["train", "text.txt", *SMALL, "--out", "run", "--steps"]
    assert command(*words, "2", "--preset", "zoneout").status == 0
    line = _refused(command(*words, "3", "--preset", "mlstm"), 2, "--zoneout 0.05 -> not given")
    assert "--zoneout 0.05" in line
    assert _paste(command, line).status == 0
    assert _step("run") == 3


def test_a_text_that_has_moved_is_named_and_can_be_given(command: Command) -> None:
    """That which is trained on, one of several, or that which is validated on."""
    for name, seed in (("second.txt", 2), ("held out.txt", 3)):
        Path(name).write_text(make_text(900, seed), "utf-8")
    words = ["train", "text.txt", "second.txt", "--validation", "held out.txt", *SMALL, "--out", "run"]
    assert command(*words, "--steps", "2").status == 0
    for steps, name in enumerate(("second.txt", "held out.txt", "text.txt"), 3):
        Path(name).rename(f"new {name}")
        result = command("train", "run", "--steps", str(steps))
        line = _refused(result, 3, f"the text of the run in run is not there any more: {Path.cwd() / name}", "NEWPATH")
        assert _paste(command, line.replace("NEWPATH", f"'new {name}'")).status == 0
        assert _step("run") == steps
        assert command("train", "run", "--steps", str(steps)).status == 0


def test_a_text_that_has_changed_is_named(command: Command) -> None:
    """By its folder and by the command that began it; the text as it was goes on."""
    words = ["train", "text.txt", *SMALL, "--out", "run", "--steps"]
    assert command(*words, "2").status == 0
    shutil.copy("text.txt", "as it was.txt")
    Path("text.txt").write_text("more\n" + Path("text.txt").read_text("utf-8"), "utf-8")
    for given in (["train", "run", "--steps", "3"], [*words, "3"]):
        changed = f"the text in {Path.cwd() / 'text.txt'} has changed since"
        said = ("corpus: text ", changed, "--fresh", "NEWPATH", "--steps 3")
        line = _refused(command(*given), 2, *said)
    assert _paste(command, line.replace("NEWPATH", "'as it was.txt'")).status == 0
    assert _step("run") == 3


def test_standard_input_must_be_given_again(command: Command) -> None:
    """As the text, and as what is validated on; the command says how."""
    text = Path("text.txt").read_bytes()
    assert command("train", "-", *SMALL, "--steps", "2", "--out", "run", stdin=text).status == 0
    assert _config("run")["corpus"] == ["-"]
    words = ["--steps", "3", "--patience", "9", "--device", "cpu"]
    line = _refused(command("train", "run", *words), 2, "came on standard input", "give it once more")
    assert line.endswith("--steps 3 --patience 9 --device cpu")
    assert _paste(command, line, stdin=text).status == 0
    assert (_step("run"), _config("run")["patience"], _config("run")["threads"]) == (3, 9, 1)


def test_a_run_without_its_config_json_says_the_whole_command(command: Command) -> None:
    """All but the text, which only the user knows; afterwards config.json is there again."""
    assert command("train", "text.txt", *SMALL, "--lr=0.0123456789", "--steps", "2", "--out", "run").status == 0
    before = _config("run")
    Path("run/config.json").unlink()
    line = _refused(command("train", "run"), 4, "run holds no config.json", "in the place of TEXT", "--hidden 4")
    assert "--lr 0.0123456789" in line
    result = _paste(command, line.replace("TEXT", "text.txt"))
    assert result.status == 0
    assert "this run is finished" in result.err
    longer = line.replace("TEXT", "text.txt").replace("--steps 2", "--steps 3")
    assert _paste(command, f"{longer} --threads 1").status == 0
    assert _config("run") == {**before, "steps": 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "text.txt"], ("run is the folder of a run", "leave it out and add --out run")),
        (["text.txt", "run"], ("run is the folder of a run",)),
        (["run", "--out", "other"], ("goes on in its place, and --out is other", "--config run/config.json")),
        (["run", "--name", "other"], ("goes on in its place, and --name is other",)),
        (["text.txt", "--name", "a", "--out", "b"], ("--name a and --out b both name the run's folder",)),
        ([], ("charrnn train needs a text", "or name the folder of a run")),
    ],
    ids=" ".join,
)
def test_contradictions_are_refused(command: Command, words: list[str], said: tuple[str, ...]) -> None:
    """Before anything is read or made."""
    Path("run").mkdir()
    Path("run/config.json").write_text('{"charrnn": "1", "corpus": ["text.txt"]}')
    _refused(command("train", *words), 2, *said)
    assert sorted(os.listdir()) == ["run", "text.txt"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../a", "a\\b", " "])
def test_names_that_are_no_names(command: Command, name: str) -> None:
    """Of no folder directly under checkpoints/."""
    _refused(command("train", "text.txt", "--steps", "1", f"--name={name}"), 2, f"--name is {name!r}", "without /")
    assert os.listdir() == ["text.txt"]


def test_a_folder_that_holds_the_best_alone_cannot_go_on(command: Command) -> None:
    """As one has it that was given away."""
    assert command("train", "text.txt", *SMALL, "--steps", "1", "--out", "run").status == 0
    Path("given").mkdir()
    shutil.copy("run/best.safetensors", "given/best.safetensors")
    _refused(command("train", "given"), 4, "given holds best.safetensors but no last.safetensors to go on from")


@pytest.mark.parametrize(
    ("config", "status", "said"),
    [
        ('{"charrnn": "1", "corpus": []}', 2, "corpus in run/config.json is []"),
        ('{"charrnn": "1"}', 4, "run/config.json does not say where the text of the run lies"),
        ('{"charrnn": "1", "corpus": ["text.txt"], "hidden": "wide"}', 2, "hidden in run/config.json is 'wide'"),
        ('{"charrnn": "1", "corpus": ["text.txt"], "steps": 1, "epochs": 2}', 2, "budget stands in run/config.json"),
    ],
)
def test_a_config_json_that_was_spoiled(command: Command, config: str, status: int, said: str) -> None:
    """By hand, say: what is wrong with it is said."""
    Path("run").mkdir()
    Path("run/config.json").write_text(config)
    _refused(command("train", "run"), status, said)


def test_a_name_that_is_not_unicode_comes_back(command: Command) -> None:
    """Of a text's file, where the file system takes any bytes."""
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        shutil.copy("text.txt", name)
    except OSError:
        pytest.skip("this file system takes no such name")
    assert command("train", name, *SMALL, "--steps", "2", "--out", "run").status == 0
    assert command("train", "run", "--steps", "3").status == 0
    assert _step("run") == 3


def _notes(result: Result) -> list[str]:
    assert result.status == 0, result.err
    return re.findall(r"^note: (.*)$", result.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ([], "the learning rate follows another course"),
        (["--decay", "constant"], "the weights are averaged over other steps"),
        (
            ["--decay", "constant", "--average", "0", "--average-after", "1"],
            "the weights are averaged over other steps",
        ),
        (["--decay", "constant", "--average", "0"], None),
        (["--decay", "constant", "--average-from", "0"], None),
        (["--optimizer", "schedule-free"], None),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_another_budget_is_said_where_it_is_another_run(command: Command, more: list[str], what: str | None) -> None:
    """Which it is wherever the rate falls or weights are averaged; the rest goes on as one run would."""
    assert command("train", "text.txt", *SMALL, *more, "--steps", "4", "--out", "run").status == 0
    assert command("train", "text.txt", *SMALL, *more, "--steps", "6", "--out", "whole").status == 0
    now = "the budget is now 6 steps instead of 4"
    how = "the run goes on from there" if what is None else f"{now}, so {what} than in one run of 6 steps"
    assert f"exact resume at step 4: {how}" in _notes(command("train", "run", "--steps", "6"))
    arrays = [checkpoints.load(Run(Path(each)).last, with_state=True) for each in ("run", "whole")]
    same = all(np.array_equal(arrays[0].parameters[name], each) for name, each in arrays[1].parameters.items())
    assert same == bool(more), "the rate alone changes what is learned"


_MEAN = ("--decay", "constant", "--average-from", "0.5")


@pytest.mark.parametrize(("steps", "more"), [(10, []), (10, ["--average", "0"]), (8, [])])
def test_a_mean_begins_anew_in_a_larger_budget(command: Command, steps: int, more: list[str]) -> None:
    """A run that is made twice as long or longer ends with the weights and the mean of one run of that length."""
    assert command("train", "text.txt", *SMALL, *_MEAN, *more, "--steps", "4", "--out", "run").status == 0
    assert _since("run") == 2
    assert command("train", "text.txt", *SMALL, *_MEAN, *more, "--steps", f"{steps}", "--out", "whole").status == 0
    notes = _notes(command("train", "run", "--steps", f"{steps}"))
    assert "exact resume at step 4: the run goes on from there" in notes
    assert f"the weights are averaged from step {steps // 2 + 1} on" in notes
    run, whole = (checkpoints.load(Run(Path(each)).last, with_state=True) for each in ("run", "whole"))
    averages = [name for name in whole.state if name.startswith("average.")]
    assert averages
    assert all(np.array_equal(run.parameters[name], each) for name, each in whole.parameters.items())
    assert all(np.array_equal(run.state[name], whole.state[name]) for name in averages)


@pytest.mark.parametrize(("steps", "since"), [(10, 4), (13, 8)])
def test_a_mean_whose_time_is_past_goes_on_or_begins_at_once(command: Command, steps: int, since: int) -> None:
    """Whichever is nearer to the share that is asked for; both are said."""
    assert command("train", "text.txt", *SMALL, *_MEAN, "--steps", "8", "--out", "run").status == 0
    (said,) = [note for note in _notes(command("train", "run", "--steps", str(steps))) if "resume" in note]
    assert f"so the weights are averaged over other steps than in one run of {steps} steps" in said
    assert _since("run") == since


def test_a_mean_begins_anew_where_its_share_is_changed(command: Command) -> None:
    """By --change, and with the same budget: at the step of the new share, which is yet to come."""
    assert command("train", "text.txt", *SMALL, *_MEAN, "--steps", "8", "--out", "run").status == 0
    assert command("train", "text.txt", *SMALL, *_MEAN, "--steps", "16", "--out", "run").status == 0
    assert _since("run") == 8
    changed = command("train", "run", "--steps", "20", "--average-from", "0.9", "--change")
    assert changed.status == 0, changed.err
    assert _since("run") == 18


def _since(run: str) -> int | None:
    counters = checkpoints.load(Run(Path(run)).last, with_state=True).training["counters"]
    since: int | None = counters["averaging_since"]
    return since


def test_another_budget_of_members_is_another_run(command: Command) -> None:
    """Since those that are finished have had their shares of the old one."""
    members = ("--ensemble", "2", "--decay", "constant", "--average", "0")
    assert command("train", "text.txt", *SMALL, *members, "--steps", "4", "--out", "run").status == 0
    grown = command("train", "run", "--steps", "9", "--ensemble", "3")
    (said,) = [note for note in _notes(grown) if "resume" in note]
    assert "so the members before this one have had other shares than in one run of 9 steps" in said


def test_another_budget_of_another_kind_on_other_threads(command: Command) -> None:
    assert command("train", "text.txt", *SMALL, "--steps", "4", "--out", "run").status == 0
    (said,) = [note for note in _notes(command("train", "run", "--epochs", "1", "--threads", "2")) if "resume" in note]
    course = (
        "the budget is now 1 epoch instead of 4 steps, "
        "so the learning rate follows another course than in one run of 1 epoch"
    )
    assert said == f"exact resume at step 4: {course}"


def test_threads_matter_where_torch_computes(command: Command) -> None:
    """Its sums depend on how many there are; those of compiled code do not."""
    for name, cell in (("compiled", []), ("torch", ["--layer-norm"])):
        assert command("train", "text.txt", *SMALL, *cell, "--steps", "4", "--out", name).status == 0
        said = _notes(command("train", name, "--steps", "5", "--threads", "2"))
        is_exact = name == "compiled" and find_library() is not None
        how = "exact resume at step 4" if is_exact else "approximate resume: threads 1 -> 2 at step 4"
        assert any(note.startswith(how) for note in said)


def test_the_command_that_goes_on_computes_as_before(command: Command) -> None:
    """The one that a refusal prints, and the one that began it, without threads and device; config.json keeps both."""
    words = ["train", "text.txt", *[word for word in SMALL if word not in ("--threads", "1")], "--out", "run"]
    assert command(*words, "--threads", "1", "--device", "cpu", "--steps", "2").status == 0
    line = _refused(command(*words, "--layers", "2", "--steps", "3"), 2, "--layers 1 -> 2")
    assert line.endswith("--device cpu --threads 1")
    for steps, result in ((3, lambda: _paste(command, line)), (4, lambda: command(*words, "--steps", "4"))):
        assert any(note.startswith(f"exact resume at step {steps - 1}") for note in _notes(result()))
        config = _config("run")
        assert (config["steps"], config["threads"], config["device"]) == (steps, 1, "cpu")
    assert command(*words, "--steps", "5", "--threads", "2").status == 0
    assert _config("run")["threads"] == 2
    assert command(*words, "--steps", "5", "--fresh").status == 0
    assert "threads" not in _config("run")


@pytest.mark.parametrize(
    ("first", "smaller", "used", "longer"),
    [
        (["--steps", "60"], ["--steps", "30"], "60 steps", "--steps 120"),
        (["--steps", "60"], ["--epochs", "0.1"], "1.2 epochs", "--epochs 2.4"),
        (["--epochs", "1"], ["--epochs", "0.5"], "1 epoch", "--epochs 2"),
        (["--epochs", "1"], ["--epochs", "1"], "1 epoch", "--epochs 2"),
    ],
    ids=str,
)
def test_a_finished_run_is_told_by_what_it_has_done(
    command: Command, first: list[str], smaller: list[str], used: str, longer: str
) -> None:
    """Not by a smaller budget that is asked for; what is proposed then makes steps."""
    small = overriding(["train", "text.txt", *SMALL, *first, "--out", "run"], ["--validate-every", "10"])
    assert command(*small).status == 0
    before = _step("run")
    result = command("train", "run", *smaller)
    assert f"this run is finished: a larger budget than {used} goes on, and --fresh starts over" in _notes(result)
    assert f"\n  charrnn train run {longer}\n" in result.err
    assert _paste(command, f"charrnn train run {longer}").status == 0
    assert _step("run") > 1.9 * before


def test_a_checkpoint_in_the_place_of_a_text_is_told_from_a_run(command: Command) -> None:
    """Where there is one to go on from, with the command that does so; where there is none, a text is asked for."""
    assert command("train", "text.txt", *SMALL, "--keep-every", "1", "--steps", "2", "--out", "my run").status == 0
    for name in ("best", "last", "step-00000001"):
        result = command("train", f"my run/{name}.safetensors", "--steps", "3")
        said = f"my run/{name}.safetensors is a checkpoint, not a text"
        line = _refused(result, 3, said, "or the folder of the run to go on with it")
        assert line == "charrnn train 'my run' --steps 3"
    assert _paste(command, line).status == 0
    assert _step("my run") == 3
    Path("my run/last.safetensors").unlink()
    _refused(command("train", "my run/best.safetensors"), 3, "is a checkpoint, not a text\n hint: name a text\n")


def test_a_damaged_last_checkpoint_is_started_over(command: Command) -> None:
    """No other one can be gone on with; the run is kept."""
    words = ["train", "text.txt", *SMALL, "--steps", "2", "--out", "run"]
    assert command(*words).status == 0
    with open("run/last.safetensors", "r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"abc")
    hint = (
        " hint: training goes on only from last.safetensors; start over with --fresh, "
        "which keeps this run under a dated name\n"
    )
    for asked in (["train", "run"], words):
        result = command(*asked)
        assert result.status == 4
        assert "error: run/last.safetensors is damaged: " in result.err
        assert result.err.endswith(hint)
    config = Path("run/config.json").read_bytes()
    Path("run/config.json").unlink()
    assert command("train", "run").err.endswith(hint)
    Path("run/config.json").write_bytes(config)
    assert command("train", "run", "--fresh").status == 0


def test_plain_defaults_may_be_given_or_left_out(command: Command) -> None:
    """Those that are the same on every text; what is chosen by text and budget is still told."""
    words = ["train", "text.txt", *SMALL, "--out", "run", "--steps"]
    plain = ["--cell", "lstm", "--seed", "1", "--no-tie", "--optimizer", "muon", "--encoding", "utf-8"]
    assert command(*words, "2", *plain).status == 0
    assert command(*words, "3").status == 0
    assert command(*words, "4", *plain).status == 0
    _refused(command(*words, "5", "--seed", "2"), 2, "settings: --seed 1 -> 2\n")
    _refused(command(*overriding([*words, "5"], ["--hidden", "5"])), 2, "settings: --hidden 4 -> 5\n")
    without = ["train", "text.txt", *SMALL[4:], "--out", "run", "--steps", "5"]
    _refused(command(*without), 2, "settings: --hidden 4 -> not given; --embedding 3 -> not given\n")
    other = ["train", "text.txt", *SMALL, "--out", "other", "--steps"]
    assert command(*other, "2", "--decay", "linear").status == 0
    more = ["--optimizer", "schedule-free"]
    _refused(command(*other, "3", *more), 2, "--optimizer muon -> schedule-free", "--decay linear -> not given")
