"""`inspect` of runs: the table of a folder, curves of several, live ones, and which run a command has chosen."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from charrnn.checkpoints.folder import Run
from charrnn.cli import follow
from charrnn.display.notice import say
from tests.kit.command import Command
from tests.kit.run_folders import make_run, metrics, write_metrics

on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
TEXT = "abc def gh\n" * 60


@pytest.fixture
def three() -> list[str]:
    """Three runs, of which `b` is the best, `a` the newest and `c` the longest; and a text beside them."""
    now = time.time()
    names = [str(make_run(name, bpc, every=every)) for name, bpc, every in (
        ("c", [3.0, 2.4, 2.2], 60), ("b", [3.0, 2.0], 40), ("a", [3.0, 2.5], 30),
    )]  # fmt: skip
    for number, name in enumerate(names):
        for file in Path(name).iterdir():
            os.utime(file, (now - 1000 + number, now - 1000 + number))
    Path("text.txt").write_text(TEXT)
    return names


def _names(table: str) -> list[str]:
    return [line.split()[0] for line in table.split("\n\n")[0].split("\n")[1:] if line]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("folder", ["checkpoints/", "checkpoints", "./checkpoints"])
def test_a_folder_of_runs_is_listed(command: Command, folder: str) -> None:
    """The newest first; a folder without a run among them is none."""
    Path("checkpoints/notes").mkdir()
    result = command("inspect", folder)
    assert (result.status, result.err) == (0, "")
    assert result.out.split("\n")[0].split() == "name corpus model characters minutes best bpc age state size".split()
    assert _names(result.out) == ["a", "b", "c"]
    assert re.search(r"^b +ring +lstm 2x4 +3.20k +0.3 +2.0000 +16 min +finished +\d", result.out, re.MULTILINE)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("order", "names"),
    [("age", "abc"), ("best", "bca"), ("name", "abc"), ("minutes", "cba"), ("characters", "cba"), ("size", "cab")],
)
def test_the_table_is_sorted(command: Command, order: str, names: str) -> None:
    """By any of its columns, and JSON alike."""
    Path("checkpoints/c/samples.txt").write_text("x" * 5000)
    Path("checkpoints/a/samples.txt").write_text("x" * 1000)
    assert _names(command("inspect", "checkpoints", "--sort", order).out) == list(names)
    told = json.loads(command("inspect", "checkpoints", "--sort", order, "--json").out)
    assert [run["name"] for run in told["runs"]] == list(names)


def test_the_table_as_json(command: Command) -> None:
    """Every number in full."""
    make_run("a", [3.0, 2.0])
    make_run("a.2026-11-28T114500", [3.0])
    told = json.loads(command("inspect", "checkpoints/", "--json", "--sort", "name").out)
    assert (told["schema"], told["folder"]) == (1, "checkpoints")
    first, second = told["runs"]
    assert first.pop("model")["hidden_size"] == 4
    assert 0 <= first.pop("age_seconds") < 60
    assert first.pop("bytes") == sum(file.stat().st_size for file in Path("checkpoints/a").iterdir())
    assert first.pop("best_nats") == pytest.approx(1.3862944)
    assert first == {
        "name": "a", "path": "checkpoints/a", "state": "finished", "set_aside": False, "corpus": "ring", "step": 40,
        "characters": 1600, "minutes": 0.204, "best_bpc": pytest.approx(2.0), "best_step": 40, "problem": None,
        "members": 1,
    }  # fmt: skip
    assert second["set_aside"] is True


def test_a_damaged_run_has_a_row(command: Command) -> None:
    """The others are listed as ever."""
    make_run("good", [2.0])
    bad = make_run("bad", [2.0])
    for name in ("last.safetensors", "best.safetensors"):
        (bad / name).write_bytes(b"no checkpoint")
    result = command("inspect", "checkpoints")
    assert result.status == 0
    assert re.search(r"^bad +- +- +- +- +- +\d+ s +damaged", result.out, re.MULTILINE)
    assert re.search(r"^good +ring", result.out, re.MULTILINE)
    assert "checkpoints/bad/last.safetensors is not a checkpoint of charrnn" in result.out


def test_what_is_set_aside_is_told_with_its_size(command: Command) -> None:
    make_run("a", [2.0])
    old = make_run("a.2026-11-28T114500", [2.5])
    with (old / "samples.txt").open("wb") as file:
        file.truncate(3_000_000)
    result = command("inspect", "checkpoints")
    assert _names(result.out) == ["a"]
    assert "Set aside by --fresh, 3.0" in result.out
    assert re.search(
        r"^a\.2026-11-28T114500 +2\.5000 +\d+ s +3\.0\d MB$", result.out.replace("1.7500", "2.5000"), re.MULTILINE
    )


def test_a_folder_for_runs_that_holds_none(command: Command) -> None:
    """It is not taken for a text, whatever else lies there."""
    Path("checkpoints").mkdir()
    Path("checkpoints/README.md").write_text(TEXT)
    result = command("inspect", "checkpoints/")
    assert result.status == 4
    assert result.err == "error: there is no run under checkpoints/\n hint: charrnn train makes one\n"


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "words", ["checkpoints/b", "checkpoints/b/", "-c checkpoints/b", "checkpoints/b/best.safetensors"]
)
def test_a_run_given_as_a_text_is_the_run(command: Command, words: str) -> None:
    """To `inspect`; no line says which, since the user has."""
    result = command("inspect", *words.split())
    assert (result.status, result.err) == (0, "")
    assert "checkpoint  checkpoints/b/best.safetensors" in result.out


@pytest.mark.usefixtures("three")
def test_the_curve_has_every_record(command: Command) -> None:
    """From the first line of metrics to the last, and not from the two validations that the checkpoint remembers."""
    lines = metrics([4.0 - number / 30 for number in range(30)], every=100)
    write_metrics(Path("checkpoints/b"), lines)
    with Path("checkpoints/b/metrics.jsonl").open("a") as file:
        file.write('{"step": 3200, "train_nats": 1')
    result = command("inspect", "-c", "checkpoints/b")
    assert re.search(r"^ {9}50 .* 3,000 steps$", result.out, re.MULTILINE)
    assert re.search(r"^   4\.500\u2502", result.out, re.MULTILINE)
    told = json.loads(command("inspect", "-c", "checkpoints/b", "--json").out)["curves"]
    assert told["train"]["step"] == list(range(50, 3001, 50))
    assert told["validation"]["bpc"] == pytest.approx([4.0 - number / 30 for number in range(30)], abs=1e-6)
    Path("checkpoints/b/metrics.jsonl").unlink()
    result = command("inspect", "-c", "checkpoints/b")
    assert re.search(r"^ {9}0 .* 40 steps$", result.out, re.MULTILINE)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "words", ["checkpoints/a checkpoints/b", "-c checkpoints/a -c checkpoints/b", "checkpoints/b -c checkpoints/a"]
)
def test_several_runs_share_a_chart(command: Command, words: str) -> None:
    """As arguments, with -c, or both."""
    result = command("inspect", *words.split())
    assert (result.status, result.err) == (0, "")
    rows = result.out.rstrip().split("\n")[-3:]
    assert [row.split() for row in rows][1:] == [
        ["\u2824\u2824\u2824\u2824", "a", "2.5000", "2.40k", "finished"],
        ["\u2824\u2824\u2804\u2800", "b", "2.0000", "3.20k", "finished"],
    ]


@pytest.mark.usefixtures("three")
def test_several_runs_on_a_page_and_as_numbers(command: Command) -> None:
    """The page has both curves, the JSON every point of them."""
    result = command("inspect", "checkpoints/a", "checkpoints/b", "--html", "page.html", "--json")
    assert result.status == 0
    assert result.err == "wrote page.html\n"
    assert Path("page.html").read_text("utf-8").count("<polyline") == 2
    told = json.loads(result.out)
    assert [run["name"] for run in told["runs"]] == ["a", "b"]
    assert told["runs"][1]["validation"] == {"step": [40, 80], "characters": [1600, 3200], "bpc": [3.0, 2.0]}
    assert told["runs"][1]["train"]["step"] == [20, 40, 60, 80]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("checkpoints/a checkpoints/b text.txt", 2, "2 runs are named, and what is asked of the text"),
        ("checkpoints/a checkpoints/b --find", 2, "--find does not go with that"),
        ("checkpoints/a checkpoints/b --npz a.npz", 2, "--npz does not go with that"),
        ("checkpoints/a checkpoints/b --sort best", 2, "--sort does not go with that"),
        ("checkpoints text.txt", 2, "checkpoints is a folder of runs, which are listed by themselves"),
        ("checkpoints -c checkpoints/a", 2, "checkpoints is a folder of runs, which are listed by themselves"),
        ("checkpoints --html a.html", 2, "--html does not go with that"),
        ("checkpoints --follow", 2, "--follow does not go with that"),
        ("checkpoints --sort length", 2, "--sort is 'length'"),
        ("text.txt --sort best", 2, "--sort is for the table of the runs in a folder"),
        ("text.txt text.txt", 2, "inspect reads one text, and text.txt and text.txt are two"),
        ("text.txt --follow", 2, "--follow draws the curves of runs: the text text.txt"),
        ("--follow --json", 2, "--json does not go with that"),
        ("-c checkpoints/a -c checkpoints", 4, "the folder checkpoints holds neither"),
        ("-c checkpoints/a -c nowhere", 4, "there is no checkpoint nowhere"),
        ("-c checkpoints/a -c alone.safetensors", 4, "lies in no run's folder"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(command: Command, words: str, status: int, said: str) -> None:
    """Each refusal names what was given."""
    Path("alone.safetensors").write_bytes(Path("checkpoints/a/best.safetensors").read_bytes())
    result = command("inspect", *words.split())
    assert (result.status, result.out) == (status, "")
    assert said in " ".join(re.sub(r"[\u2500-\u257f]", " ", result.err).split())


def test_a_run_that_cannot_be_read_has_no_curve(command: Command) -> None:
    """An error, where it was named."""
    make_run("a", [2.0])
    bad = make_run("bad", [2.0])
    for name in ("last.safetensors", "best.safetensors"):
        (bad / name).write_bytes(b"no checkpoint")
    result = command("inspect", "checkpoints/a", "checkpoints/bad")
    assert result.status == 4
    assert result.err.startswith("error: checkpoints/bad/last.safetensors is not a checkpoint of charrnn")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "words",
    [
        "sample -n 3",
        "sample -n 3 --json",
        "eval text.txt",
        "eval text.txt --json",
        "inspect",
        "inspect text.txt",
        "inspect --json",
    ],
)
def test_a_command_says_which_run_it_has_chosen(command: Command, words: str) -> None:
    """In one line on stderr, and not where the user has named it."""
    result = command(*words.split())
    assert result.status == 0
    assert result.err == "run checkpoints/a (best at step 40, 16 minutes ago)\n"
    assert "run checkpoints" not in result.out
    assert command(*words.split(), "-c", "checkpoints/a").err == ""


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "words", ["eval {}", "eval text.txt {}", "train text.txt --validation {}", "sample --prime-file {}"]
)
@pytest.mark.parametrize(
    ("named", "what"), [("checkpoints/a", "a run"), ("checkpoints/a/best.safetensors", "a checkpoint")]
)
def test_a_run_is_no_text(command: Command, words: str, named: str, what: str) -> None:
    """To a command that needs one; nothing is read, and no other run looked for."""
    result = command(*words.format(named).split())
    assert (result.status, result.out) == (3, "")
    more = "" if words.startswith("train") else f"; -c {named} names the model"
    assert f"error: {named} is {what}, not a text\n hint: name a text{more}\n" in result.err


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("words", ["train checkpoints", "eval checkpoints/", "train text.txt --validation checkpoints"])
def test_a_folder_of_runs_is_no_text(command: Command, words: str) -> None:
    """Its metrics and samples would be read as one."""
    result = command(*words.split())
    assert result.status == 3
    assert "is a folder of runs, not a text" in result.err


@pytest.mark.usefixtures("three")
def test_a_run_that_is_named_without_its_folder_is_suggested(command: Command) -> None:
    assert "hint: did you mean checkpoints/a?" in command("train", "a").err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "value", "is_dim"), [("TERM", "xterm", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)]
)
def test_what_is_said_in_passing_is_dim_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, is_dim: bool
) -> None:
    """Unless the terminal, or its user, wants no such thing; what a name holds stays visible."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", stream := _Terminal())
    say("run \x1b[31m", is_dim=True)
    shown = "run \u241b[31m"
    assert stream.getvalue() == (f"\x1b[2m{shown}\x1b[22m\n" if is_dim else f"{shown}\n")


# Following.


def _start(*arguments: str, **options: int) -> subprocess.Popen[str]:
    code = "from charrnn.cli.app import main; main()"
    stdout = options.get("stdout", subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-c", code, "inspect", "--follow", *arguments], stdout=stdout, stderr=subprocess.PIPE,
        stdin=options.get("stdin", subprocess.DEVNULL), text=True,
    )  # fmt: skip


@on_posix
def test_a_pipe_gets_a_line_for_each_validation(command: Command) -> None:
    """Those there are, and each new one, until the run ends; whatever is half written is waited for."""
    folder = make_run("a", [3.0])
    lines = metrics([3.0, 2.5, 2.25])
    with Run(folder).locked():
        process = _start("checkpoints/a")
        assert process.stdout is not None
        assert process.stdout.readline() == "step 20, 800 characters, validation 3.0000 bpc\n"
        text = "".join(json.dumps(line) + "\n" for line in lines[3:6])
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(text[:-9])
            file.flush()
            time.sleep(0.7)
            file.write(text[-9:])
        assert process.stdout.readline() == "step 40, 1,600 characters, validation 2.5000 bpc\n"
        write_metrics(folder, lines)
    assert process.communicate(timeout=30) == ("step 60, 2,400 characters, validation 2.2500 bpc\n", "")
    assert process.returncode == 0
    several = command("inspect", "checkpoints/a", str(make_run("b", [2.0])), "--follow")
    assert several.out.split("\n")[3:] == ["b: step 20, 800 characters, validation 2.0000 bpc", ""]


@on_posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_following_ends_at_a_signal(number: int, status: int) -> None:
    """Ctrl-C is how one ends it."""
    folder = make_run("a", [3.0])
    with Run(folder).locked():
        process = _start()
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert re.fullmatch(r"run checkpoints/a \(best at step 40, .*\)\n", err)


@on_posix
@pytest.mark.parametrize("ends", ["q", "the run"])
def test_a_terminal_sees_the_curve_grow(ends: str) -> None:
    """It is drawn anew, and its keyboard is as before when q, or the run, has ended it."""
    import pty
    import select
    import termios

    folder = make_run("a", [3.0, 2.5])
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    before = termios.tcgetattr(theirs)
    seen = ""

    def wait_for(text: str) -> None:
        nonlocal seen
        end = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([ours], [], [], 0.2)[0]:
                seen += os.read(ours, 1 << 16).decode("utf-8", "replace")

    with Run(folder).locked():
        process = _start("checkpoints/a", stdin=theirs, stdout=theirs)
        wait_for("a: running, step 40, 1.60k characters, 0.2 min; best 2.5000 bpc at step 40")
        write_metrics(folder, metrics([3.0, 2.5, 2.0]))
        wait_for("best 2.0000 bpc at step 60")
        wait_for("q ends")
        if ends == "q":
            os.write(ours, b"q")
            assert process.wait(30) == 0
    if ends != "q":
        wait_for("a: finished, step 60")
        assert process.wait(30) == 0
    assert termios.tcgetattr(theirs) == before
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    os.close(ours)
    os.close(theirs)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("words", [[], ["checkpoints/a"], ["checkpoints/a", "checkpoints/b"], ["-c", "checkpoints/a"]])
def test_curves_are_written_as_a_picture_and_as_a_page(command: Command, words: list[str]) -> None:
    """Of one run or several; of the newest where none is named."""
    result = command("inspect", *words, "--svg", "a.svg", "--html", "a.html")
    assert (result.status, result.out) == (0, "")
    root = ElementTree.parse("a.svg").getroot()
    assert root.tag.endswith("svg")
    assert "Runs: a" in Path("a.html").read_text("utf-8")


@pytest.mark.usefixtures("three")
def test_a_picture_of_one_run_is_what_the_terminal_shows(command: Command) -> None:
    """Its settings and all of its curves."""
    assert command("inspect", "checkpoints/a", "--svg", "a.svg").status == 0
    shown = " ".join("".join(text.itertext()) for text in ElementTree.parse("a.svg").getroot().iter())
    assert "parameters" in shown
    assert "vocabulary" in shown


@pytest.mark.usefixtures("three")
def test_inspect_takes_runs_by_their_names(command: Command) -> None:
    assert command("inspect", "a", "--json").out == command("inspect", "checkpoints/a", "--json").out
    assert command("inspect", "a", "b", "--json").status == 0
    Path("checkpoints/stdlib").symlink_to("a")  # as a run on the corpus is called, which is meant by the name
    assert "needs a text" not in command("inspect", "stdlib", "--length", "5", "--unknown", "skip").err
    Path("a").write_text("a file of that name wins")
    assert "unknown" in command("inspect", "a").err


@pytest.mark.parametrize("missing", ["termios", "tty"])
def test_following_needs_no_keys(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """On a system that cannot read single keys it waits, and the command ends with the run or by Ctrl-C."""
    monkeypatch.setitem(sys.modules, missing, None)
    with follow._keys() as is_ended:
        assert is_ended(0.0) is False


def test_following_without_a_keyboard_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with follow._keys() as is_ended:
            assert is_ended(0.0) is False
    monkeypatch.setattr(sys, "stdin", None)
    with follow._keys() as is_ended:
        assert is_ended(0.0) is False
