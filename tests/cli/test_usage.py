"""What is wrong with a command line, in one voice, with what was meant; and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.command import Command
from tests.kit.tiny import arrays_of, forge, tiny


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("trian text.txt", "there is no command trian", "did you mean charrnn train?"),
        ("text.txt", "there is no command text.txt", "to train on it: charrnn train text.txt"),
        ("nothing", "there is no command nothing", "it must be one of train, sample, eval, inspect, help"),
        ("train text.txt --learning-rate 1", "charrnn train has no option --learning-rate", "did you mean --lr?"),
        ("train text.txt --hidden-size 9", "charrnn train has no option --hidden-size", "did you mean --hidden?"),
        ("train text.txt --batch-size 9", "charrnn train has no option --batch-size", "did you mean --batch?"),
        ("sample --lenght 3", "charrnn sample has no option --lenght", "did you mean --length?"),
        ("sample --temp 2", "charrnn sample has no option --temp", "did you mean --temperature?"),
        ("train text.txt --time 2", "charrnn train has no option --time", "did you mean --minutes?"),
        (
            "train text.txt --resume",
            "charrnn train has no option --resume",
            "a run is resumed by the same command, or by its folder: charrnn train checkpoints/NAME",
        ),
        ("sample -z", "charrnn sample has no option -z", "charrnn sample --help-all lists the options"),
        ("--cell lstm train", "charrnn has no option --cell", "the options of a command stand after its name"),
        ("train text.txt --layers two", "--layers is 'two'", "it must be a whole number"),
        ("train text.txt --lr much", "--lr is 'much'", "it must be a number"),
        ("inspect text.txt --length -3", "--length is -3", "it must be a whole number of at least 1"),
        (
            "train text.txt --cell lsmt",
            "--cell is 'lsmt'",
            "did you mean lstm? it must be one of lstm, gru, rnn, urnn",
        ),
        ("train text.txt --layers", "--layers needs a value", "give it as --layers N"),
        ("sample --stop", "--stop needs a value", "give it as --stop TEXT"),
        ("train text.txt --quiet=3", "--quiet takes no value", "give --quiet alone"),
        (
            "train",
            "charrnn train needs a text",
            "name a file, a folder or a corpus, such as charrnn train stdlib, or - for standard input; "
            "or name the folder of a run that is to go on",
        ),
        (
            "sample KING",
            "charrnn sample takes no text without an option",
            "to go on from it: charrnn sample --prime KING",
        ),
        (
            "train tinyshakespear.txt",
            "there is no file or folder tinyshakespear.txt",
            "did you mean tinyshakespeare? charrnn train --help lists the corpora known by name",
        ),
        (
            "train txet.txt",
            "there is no file or folder txet.txt",
            "did you mean text.txt? charrnn train --help lists the corpora known by name",
        ),
        ("train text.txt --minutes 1 --minutes 2", "--minutes is given twice: 1 and 2", "give it once"),
        ("train text.txt -q --quiet", "--quiet is given twice", "give it once"),
        ("train text.txt --tie --no-tie", "--tie or --no-tie is given twice", "give it once"),
        ("sample -t 1 -t 2 -t 3", "--temperature is given 3 times: 1, 2 and 3", "give it once"),
        ("sample --prime= -p KING", "--prime is given twice: '' and KING", "give it once"),
        ("eval text.txt --split all --split=test", "--split is given twice: all and test", "give it once"),
        ("inspect text.txt --from 1 --from 2", "--from is given twice: 1 and 2", "give it once"),
    ],
)
def test_what_is_wrong_and_what_was_meant(command: Command, words: str, message: str, hint: str) -> None:
    Path("text.txt").write_text("text")
    result = command(*words.split())
    assert result.status == 2 or "no file" in message
    said = [line for line in result.err.splitlines() if not line.startswith("reading ")]
    assert said == [f"error: {message}", f" hint: {hint}"]
    assert result.out == ""


def test_what_was_typed_never_drives_the_terminal(command: Command) -> None:
    for words in (
        ["\x1b[2Jx"],
        ["train", "x", "--\x1b[2J"],
        ["sample", "\x1b[2J"],
        ["train", "x", "--cell", "\x1b[2J"],
    ):
        assert "\x1b" not in command(*words).err


@pytest.mark.parametrize("words", [["--label", "a=b", "--label", "c=d"], ["--unit", "L1.h0", "-u", "L1.h1"]])
def test_an_option_for_several_values_may_be_given_several_times(command: Command, words: list[str]) -> None:
    assert "is given" not in command("inspect", "no.txt", "--find", *words).err


def _run(prime: str, *more: str) -> tuple[str, ...]:
    return ("sample", "-c", "model.safetensors", "--prime", prime, "--length", "1", *more)


def _write_model(characters: str) -> None:
    saved = tiny(characters=characters)
    Path("model.safetensors").write_bytes(forge(saved.metadata(), arrays_of(saved)))


def test_line_ends_and_tabs_can_be_typed(command: Command) -> None:
    _write_model("ab\n\t")
    result = command(*_run(r"a\nb\ta"))
    assert result.status == 0
    assert result.out.startswith("a\nb\ta")
    assert "note" not in result.err


def test_with_backslashes_in_the_models_text_they_stand_as_they_are(command: Command) -> None:
    _write_model("abn\n\\")
    result = command(*_run(r"a\nb"))
    assert result.out.startswith(r"a\nb")
    assert result.err == (
        r"note: \n in --prime is taken as a backslash and a letter, since the text has backslashes; "
        "with --escapes it is a line end\n"
    )
    exact = command(*_run(r"a\nb", "-e"))
    assert exact.out.startswith("a\nb")
    assert exact.err == ""


def test_a_stop_text_is_read_by_the_same_rule(command: Command) -> None:
    """A model that can write nothing but a line end stops at once where the two characters mean one."""
    _write_model("\n")
    result = command("sample", "-c", "model.safetensors", "--length", "50", "--stop", r"\n")
    assert result.out == "\n"


@pytest.mark.parametrize(("more", "prime"), [("", "ab\ncd\te"), ("\\", r"ab\ncd\te")])
def test_samples_of_training_begin_by_the_same_rule(command: Command, more: str, prime: str) -> None:
    Path("text.txt").write_text("abcden\tt\n" * 200 + more * 9)
    words = "train text.txt --hidden 4 --steps 2 --threads 1 --sample-every 2 --sample-length 3 --prime".split()
    result = command(*words, r"ab\ncd\te")
    assert result.status == 0
    assert prime in Path("checkpoints/text/samples.txt").read_text()
    assert ("since the text has backslashes" in result.err) == bool(more)


@pytest.mark.skipif(os.name != "posix", reason="bash's completion")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("charrnn tr", ["train"]),
        ("charrnn train tiny", ["tinyshakespeare"]),
        ("charrnn train te", ["text8", "text.txt"]),
        ("charrnn train x --cell g", ["gru"]),
        ("charrnn train x --optimizer s", ["schedule-free", "sgd"]),
        ("charrnn sample -c checkpoints/o", ["checkpoints/one", "checkpoints/other"]),
        ("charrnn inspect x --fi", ["--find"]),
    ],
)
def test_a_shell_completes_names_runs_and_choices(typed: str, offered: list[str]) -> None:
    Path("text.txt").write_text("text")
    for name in ("one", "other"):
        Path("checkpoints", name).mkdir(parents=True)
    words = typed.split(" ")
    environment = os.environ | {
        "_CHARRNN_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv = ['charrnn']; from charrnn.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == offered, done.stderr


def test_a_choice_may_be_typed_in_capitals(command: Command) -> None:
    Path("text.txt").write_text("some text\n" * 99)
    result = command("train", "text.txt", "--cell", "GRU", "--hidden", "4", "--steps", "1", "--dry-run")
    assert "the model is a gru" in result.err


def test_a_run_is_named_as_it_was_trained(command: Command) -> None:
    """By --name, without its folder; a file of that name here wins."""
    saved = tiny()
    Path("checkpoints/emma").mkdir(parents=True)
    Path("checkpoints/emma/best.safetensors").write_bytes(forge(saved.metadata(), arrays_of(saved)))
    assert command("sample", "-c", "emma", "-n", "1").status == 0
    Path("emma").write_bytes(b"something else")
    assert command("sample", "-c", "emma", "-n", "1").status == 4
