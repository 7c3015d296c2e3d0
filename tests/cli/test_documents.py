"""Documents on the command line: what is refused, what is kept and compared, and every view of a text of documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoints.checkpoint import load, save
from charrnn.checkpoints.folder import BEST
from tests.kit.command import Command
from tests.kit.tiny import tiny

RUN = Path("checkpoints") / "names" / BEST
SMALL = (
    "--steps", "2", "--batch", "2", "--bptt", "10", "--layers", "1", "--hidden", "6", "--threads", "1",
    "--sample-length", "40", "--quiet",
)  # fmt: skip


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A list of names, sorted."""
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{a}{b}{c}\n" for a in "ABCD" for b in "aeiou" for c in ("f", "lla", "n", "rt")), "utf-8")
    return path


def test_standard_input_is_no_list_of_files(command: Command) -> None:
    """It is one text."""
    result = command("train", "-", "--documents", "files", stdin=b"a\nb\n")
    assert result.status == 2
    assert "--documents files makes a document of each file, and standard input (or a string) is one text" in result.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--documents", "words"], "--documents is 'words'"),
        (["--documents", "split:["], "--documents split:[ is no regular expression"),
        (["--documents", "split:x?"], "--documents split:x? matches the empty text"),
        (["--documents", "files", "--column", "a"], "--column a makes a document of each row"),
    ],
)
def test_settings_that_cannot_cut_are_refused(names: Path, command: Command, options: list[str], said: str) -> None:
    """Before the text is read, with the option's name and value."""
    result = command("train", str(names), *options)
    assert result.status == 2
    assert said in result.err


def test_a_run_keeps_how_its_text_is_cut(names: Path, command: Command) -> None:
    """In config.json and in its checkpoints; the same text cut otherwise is another run's."""
    assert command("train", str(names), "--documents", "lines", *SMALL).status == 0
    folder = Path("checkpoints/names")
    assert json.loads((folder / "config.json").read_text("utf-8"))["documents"] == "lines"
    checkpoint = load(folder / "last.safetensors")
    assert checkpoint.data.documents == "lines"
    assert checkpoint.vocabulary.end == len(checkpoint.vocabulary.code_points)
    assert command("train", str(folder), *SMALL).status == 0
    result = command("train", str(names), *SMALL)
    assert result.status == 2
    assert "--documents lines -> not given" in result.err
    assert "corpus" not in result.err.split("--documents")[0]  # the text is the same


def test_samples_of_training_are_documents(names: Path, command: Command) -> None:
    """Several, one below the other, up to the sample's length; no end of a document is written."""
    assert command("train", str(names), "--documents", "lines", *SMALL).status == 0
    written = Path("checkpoints/names/samples.txt").read_text("utf-8")
    first = written.split("===\n")[1].split("\n\n===")[0]
    assert 20 <= len(first.strip("\n")) <= 41
    assert "<end>" not in written
    assert "\0" not in written


def test_a_sorted_list_gets_a_notice(names: Path, command: Command) -> None:
    """One that is trained as one text; cut into lines there is nothing to say."""
    said = "the text looks like a sorted list of 80 lines: --documents lines trains each by itself"
    more = [word for word in SMALL if word != "--quiet"]
    assert said in command("train", str(names), "--dry-run", *more).err
    assert said in command("train", str(names), *more).err.replace("\n", " ")
    assert "sorted list" not in command("train", str(names), "--dry-run", "--documents", "lines", *more).err


def test_a_dry_run_counts_documents(names: Path, command: Command) -> None:
    """And the different ids, of which the end is one."""
    result = command("train", str(names), "--documents", "lines", "--dry-run", "--steps", "3", "--threads", "1")
    assert "the text is names (80 documents of " in result.err.replace("\n", " ")


# Views.


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of lines in a run's folder, and a text for it."""
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny(documents="lines", characters=" abcdefgh"))
    path = tmp_path / "list.txt"
    path.write_text("abc\nhead\nbad cafe\nfade\n" * 40, "utf-8")
    return path


VIEWS = [
    [],
    ["--predictions"],
    ["--gates"],
    ["--find"],
    ["--card", "--unit", "L1.h0"],
    ["--ablate", "--unit", "L1.h0"],
    ["--patch", "(h)ea=f", "--unit", "L1.h0"],
    ["--select", "head"],
    ["--probe", "vowel"],
    ["--horizon", "--distance", "20", "--lanes", "9", "--read", "600"],
    ["--circuit", "vowel"],
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: " ".join(view[:1]))
@pytest.mark.parametrize(
    "output", [[], ["--json"], ["--html", "page.html"], ["--npz", "a.npz"]], ids=lambda o: "".join(o[:1])
)
def test_every_view_reads_documents(model: Path, command: Command, view: list[str], output: list[str]) -> None:
    """With the ends of documents, which no view takes for a character."""
    result = command("inspect", str(model), *view, *output)
    assert result.status in (0, 3), result.err  # a view may find nothing to tell in so little
    assert "Traceback" not in result.err
    assert "\0" not in result.out
    if output == ["--json"] and not result.status:
        json.loads(result.out)


@pytest.mark.parametrize("output", [[], ["--json"], ["--svg", "a.svg"]], ids=lambda o: "".join(o[:1]))
def test_a_run_without_a_text(model: Path, command: Command, output: list[str]) -> None:
    """The summary counts the characters, and names the end beside them."""
    result = command("inspect", *output)
    assert result.status == 0, result.err
    if not output:
        assert "9 characters: " in result.out
        assert "<end>" in result.out


def test_predictions_name_the_end(model: Path, command: Command) -> None:
    """As a character that comes, and as a guess."""
    said = json.loads(command("inspect", str(model), "--predictions", "--guesses", "10", "--length", "6", "--json").out)
    assert [one["character"] for one in said["characters"]] == ["<end>", "a", "b", "c", "<end>", "h"]
    assert [one["next"] for one in said["characters"]] == ["a", "b", "c", "<end>", "h", "e"]
    for one in said["characters"]:
        assert "<end>" in [guess["character"] for guess in one["guesses"]]
        assert sum(guess["probability"] for guess in one["guesses"]) == pytest.approx(1, abs=1e-3)
    assert "<end>" in command("inspect", str(model), "--predictions", "--guesses", "10").out


def test_arrays_have_the_id_of_the_end(model: Path, command: Command) -> None:
    """The last one, for which there is no code point."""
    assert command("inspect", str(model), "--length", "6", "--npz", "a.npz").status == 0
    with np.load("a.npz") as arrays:
        assert arrays["ids"].tolist() == [9, 1, 2, 3, 9, 8]
        assert len(arrays["code_points"]) == 9


def test_a_split_part_of_documents_is_read(model: Path, command: Command) -> None:
    """Those of the validation part, each with its end."""
    model.write_text("".join(f"{a}{b}{c}{a}\n" for a in "abcdef" for b in "abcdef" for c in "abcd"), "utf-8")
    said = json.loads(command("inspect", str(model), "--split", "validation", "--length", "11", "--json").out)
    assert said["text"][0] == said["text"][5] == said["text"][10] == "\n"
    assert "\n" not in said["text"][1:5]
