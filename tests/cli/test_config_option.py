"""`train --config FILE`: settings from TOML and from a run, below what the command line says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.kit.command import Command, Result
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

TOML = """
corpus = ["../text.txt"]      # relative to this file
out = "run"
hidden = 4
embedding = 3
batch = 4
bptt = 9
threads = 1
lr = 1                        # a whole number for one that need not be
sample_every = 2              # _ is as good as -
sample-length = 5
cautious = false
steps = 2
"""


@pytest.fixture(autouse=True)
def _files() -> None:
    Path("text.txt").write_text(make_text(2000), "utf-8")
    Path("settings").mkdir()
    Path("settings/my.toml").write_text(TOML)


def _config(folder: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path(folder, "config.json").read_text("utf-8"))
    return values


def _refused(result: Result, *said: str) -> None:
    assert result.status == 2, result.err
    assert result.out == ""
    said = [line for line in result.err.splitlines() if not line.startswith("reading ")]
    assert [line.partition(": ")[0] for line in said] == ["error", " hint"]
    assert all(words in result.err for words in said), result.err


def test_a_file_says_what_the_command_line_would(command: Command) -> None:
    """Text and folder included, which are relative to the file."""
    assert command("train", "--config", "settings/my.toml").status == 0
    words = ["--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--lr", "1",
             "--sample-every", "2", "--sample-length", "5", "--no-cautious", "--steps", "2"]  # fmt: skip
    assert command("train", "text.txt", *words, "--out", "same").status == 0
    assert_same_run(Path("settings/run"), Path("same"))
    assert _config("settings/run") == _config("same")
    assert command("train", "--config", "settings/my.toml", "--steps", "3").status == 0, "it goes on"


def test_the_command_line_wins(command: Command) -> None:
    """Over each setting by itself, over the budget as one, over the texts as one, and over the place as one."""
    Path("other.txt").write_text(make_text(1500, 2), "utf-8")
    words = ["--config", "settings/my.toml", "--hidden", "5", "--cautious", "--epochs", "0.1", "--name", "mine"]
    assert command("train", "other.txt", *words).status == 0
    assert not Path("settings/run").exists()
    config = _config("checkpoints/mine")
    assert config["corpus"] == [str(Path.cwd() / "other.txt")]
    assert (config["hidden"], config["embedding"], config["cautious"]) == (5, 3, True)
    assert (config["epochs"], "steps" in config) == (0.1, False)


def test_presets_and_files(command: Command) -> None:
    """A preset that the file names is below the file's settings; one of the command line is above them."""
    path = Path("settings/my.toml")
    path.write_text('preset = "zoneout"\n' + TOML)
    assert command("train", "--config", str(path)).status == 0
    config = _config("settings/run")
    assert (config["zoneout"], config["hidden"], config["lr"], config["steps"]) == (0.05, 4, 1.0, 2)
    words = ["--preset", "mlstm", "--hidden", "6", "--batch", "3", "--bptt", "7", "--name", "mine", "--steps", "1"]
    result = command("train", "--config", str(path), *words)
    assert result.status == 0
    config = _config("checkpoints/mine")
    assert (config["zoneout"], config["multiplicative"], config["hidden"]) == (0.0, True, 6)
    assert (config["embedding"], config["lr"], config["sample-every"]) == (400, 1e-3, 2)


@pytest.mark.parametrize("form", ["settings/run/config.json", "settings/run"])
def test_the_settings_of_a_run_make_another_one(command: Command, form: str) -> None:
    """The same numbers on the same text, in a new folder; its file or its folder is named."""
    assert command("train", "--config", "settings/my.toml").status == 0
    assert command("train", "--config", form, "--name", "again").status == 0
    assert_same_run(Path("settings/run"), Path("checkpoints/again"))
    assert _config("settings/run") == _config("checkpoints/again")


def test_a_corpus_known_by_name_and_standard_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are no files beside the file."""
    Path("corpora").mkdir()
    Path("corpora/known.txt").write_text(make_text(1500, 4), "utf-8")
    monkeypatch.setenv("CHARRNN_CORPORA", str(Path("corpora").absolute()))
    for number, word in enumerate(("known", "-")):
        Path("settings/my.toml").write_text(
            TOML.replace('["../text.txt"]', f'"{word}"').replace('"run"', f'"{number}"')
        )
        given = Path("text.txt").read_bytes() if word == "-" else b""
        assert command("train", "--config", "settings/my.toml", stdin=given).status == 0
        assert _config(f"settings/{number}")["corpus"] == [word]


def test_a_run_s_folder_and_a_file(command: Command) -> None:
    """The file is above the run: what may change does, and what may not is refused."""
    assert command("train", "--config", "settings/my.toml").status == 0
    Path("more.toml").write_text("steps = 3\nsample-every = 0\n")
    assert command("train", "settings/run", "--config", "more.toml").status == 0
    assert _config("settings/run")["sample-every"] == 0
    Path("more.toml").write_text("steps = 4\nhidden = 5\n")
    _refused(command("train", "settings/run", "--config", "more.toml"), "--hidden 4 -> 5")
    _refused(command("train", "settings/run", "--config", "settings/my.toml"), "goes on in its place, and --out is")


BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "an unknown name": ("hiden = 4", ("there is no setting 'hiden', which stands in a.toml", "did you mean hidden?")),
    "a name that is like none": ("qqqq = 4", ("no setting 'qqqq'", "hint: names are those of the options")),
    "the name of a field": ("learning_rate = 4", ("no setting 'learning-rate'", "did you mean lr?")),
    "a name that says no": ("no-cautious = true", ("no setting 'no-cautious'", "write cautious = false")),
    "an option of another command": ("top-k = 4", ("no setting 'top-k'",)),
    "a name twice": ("sample-every = 1\nsample_every = 2", ("sample-every stands twice in a.toml",)),
    "a name twice in TOML": ("hidden = 1\nhidden = 2", ("a.toml is not TOML",)),
    "a table": ("[train]\nhidden = 4", ("a.toml holds a table, train", "at the top of the file")),
    "no TOML": ("hidden: 4", ("a.toml is not TOML", "line 1", "such as: hidden = 256")),
    "a word for a number": ("hidden = 'wide'", ("hidden in a.toml is 'wide'", "it must be a whole number")),
    "a number for a word": ("cell = 4", ("cell in a.toml is 4",)),
    "a cell that does not exist": ("cell = 'elman'", ("cell in a.toml is 'elman'", "it must be one of lstm, gru")),
    "a fraction for a whole number": ("hidden = 4.5", ("hidden in a.toml is 4.5",)),
    "yes for a number": ("lr = true", ("lr in a.toml is True", "it must be a number above 0")),
    "a word for yes": ("cautious = 'no'", ("cautious in a.toml is 'no'", "true or false")),
    "out of bounds": ("dropout = 1", ("dropout in a.toml is 1", "from 0 to less than 1")),
    "no number": ("lr = nan", ("lr in a.toml is nan",)),
    "a number too large": (f"hidden = {'9' * 5000}", ("a.toml is not TOML",)),
    "a choice that does not exist": ("optimizer = 'adam'", ("optimizer in a.toml is 'adam'", "muon, adamw")),
    "a preset that does not exist": ("preset = 'adam'", ("preset in a.toml is 'adam'", "karpathy2015, zaremba")),
    "a list for a number": ("hidden = [4]", ("hidden in a.toml is [4]",)),
    "a date": ("hidden = 2026-11-28", ("hidden in a.toml is datetime.date(2026, 11, 28)",)),
    "a corpus that is none": ("corpus = 4", ("corpus in a.toml is 4", "a list of texts")),
    "a corpus of numbers": ("corpus = [4]", ("corpus in a.toml is [4]",)),
    "two budgets": ("steps = 4\nminutes = 3", ("more than one budget stands in a.toml: steps, minutes",)),
    "two places": ("name = 'a'\nout = 'b'", ("--name a and --out b both name",)),
    "a name that is none": ("name = 'a/b'", ("name in a.toml is 'a/b'",)),
    "starting over": ("fresh = true", ("fresh stands in a.toml", "give it on the command line")),
    "trying": ("dry-run = true", ("dry-run stands in a.toml", "give it on the command line")),
    "another file": ("config = 'b.toml'", ("config stands in a.toml", "names no other one")),
    "what does not go together": ("tie = true\nhidden = 4\nembedding = 5", ("--tie: the decoder reads 4 numbers",)),
    "nothing to read": ("", ("charrnn train needs a text",)),
}


def test_a_cell_may_be_written_in_capitals(command: Command) -> None:
    """As on the command line; config.json has it in small letters, and the same file goes on with the run."""
    Path("settings/my.toml").write_text(TOML + 'cell = "GRU"\n')
    assert command("train", "--config", "settings/my.toml").status == 0
    assert _config("settings/run")["cell"] == "gru"
    assert command("train", "--config", "settings/my.toml", "--cell", "GRU", "--steps", "3").status == 0


@pytest.mark.parametrize("kind", BAD)
def test_bad_settings_in_a_file(command: Command, kind: str) -> None:
    """Each is refused with the file, the name and the value."""
    content, said = BAD[kind]
    Path("a.toml").write_text(content)
    _refused(command("train", *([] if kind == "nothing to read" else ["text.txt"]), "--config", "a.toml"), *said)
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{", "a.json is not JSON"),
        ("a.json", b"[1]", "a.json holds no settings but a list"),
        ("a.json", b"[" * 100_000, "a.json is not JSON"),
        ("a.json", b'{"hidden": 4, "hidden": 5}', "a name stands in it twice"),
        ("a.json", b'{"hidden": NaN}', "hidden in a.json is nan"),
        ("a.json", b'{"hidden": null}', "hidden in a.json is None"),
        ("a.toml", b"prime = '\xff'", "a.toml is not utf-8: byte 0xff at offset 9"),
        ("a.toml", b"#" * (1 << 20) + b"#", "a.toml is too large for a file of settings"),
        ("settings", None, "cannot read the settings in settings: Is a directory"),
        ("no.toml", None, "cannot read the settings in no.toml: No such file or directory"),
        ("", None, "cannot read the settings in .: Is a directory"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_files_that_cannot_be_read(command: Command, name: str, content: bytes | None, said: str) -> None:
    """Each with its own words."""
    if content is not None:
        Path(name).write_bytes(content)
    _refused(command("train", "text.txt", "--config", name), said)


def test_what_a_file_says_never_drives_the_terminal(command: Command) -> None:
    """Names and values of a file are a stranger's."""
    Path("a.toml").write_text('"\\u001b[31mhidden" = 4\n')
    result = command("train", "text.txt", "--config", "a.toml")
    assert result.status == 2
    assert "\x1b" not in result.err
    Path("a.toml").write_text('cell = "\\u001b[31m"\n')
    assert "\x1b" not in command("train", "text.txt", "--config", "a.toml").err


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="needs /dev/fd")
def test_a_users_settings_may_come_from_a_pipe(command: Command) -> None:
    """As the shell's <(...) makes one; only a run's own files must be files."""
    reading, writing = os.pipe()
    os.write(
        writing,
        TOML.replace('"../text.txt"', f'"{Path("text.txt").resolve()}"')
        .replace('"run"', f'"{Path("run").resolve()}"')
        .encode(),
    )
    os.close(writing)
    try:
        result = command("train", "--config", f"/dev/fd/{reading}")
    finally:
        os.close(reading)
    assert result.status == 0, result.err
    assert _config("run")["hidden"] == 4
