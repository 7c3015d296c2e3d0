"""Choosing among samples: against the samples as they come, judged one by one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoints.checkpoint import save
from charrnn.checkpoints.config_file import Origin, write_config
from charrnn.errors import UsageError
from charrnn.python.pretrained import Pretrained
from charrnn.sampling.training_text import TrainingText
from charrnn.settings.sampling import SamplingConfig, Selection
from tests.kit.command import Command
from tests.kit.tiny import tiny

RUN = Path("checkpoints/one")
SETTINGS: dict[str, Any] = {"length": 3, "stop": "\n", "seed": 4}
WORDS = ("sample", "-c", str(RUN), "-n", "3", "--stop", r"\n", "--seed", "4")


@pytest.fixture
def model() -> Pretrained:
    """A small model whose run tells where its text lies."""
    return _model()


def _model(text: str = "abc\nfe\nhab\n") -> Pretrained:
    RUN.mkdir(parents=True, exist_ok=True)
    Path("text.txt").write_bytes(text.encode())
    save(RUN / "best.safetensors", tiny())
    write_config(RUN / "config.json", Origin([str(Path("text.txt").absolute())]), {})
    return charrnn.load(RUN)


def test_unique_samples_are_the_first_of_their_kind(model: Pretrained) -> None:
    """Those that drawing one after the other gives, without those that came before; for any number of lanes."""
    drawn = model.samples(3000, **SETTINGS)
    expected = list(dict.fromkeys(drawn))
    for count in (1, 5, 70, 150):
        assert model.samples(count, unique=True, **SETTINGS) == expected[:count]


def test_a_filter_looks_at_prime_and_sample(model: Pretrained) -> None:
    """And what it keeps is unique too where both are asked for."""
    drawn = model.samples(2000, "ab", **SETTINGS)
    kept = [text for text in drawn if re.search("^ab[c-h]+\n$", "ab" + text)]
    assert model.samples(9, "ab", filter="^ab[c-h]+\n$", **SETTINGS) == kept[:9]
    both = model.samples(9, "ab", filter="^ab[c-h]+\n$", unique=True, **SETTINGS)
    assert both == list(dict.fromkeys(kept))[:9]


def test_novel_lines_are_no_lines_of_the_text() -> None:
    """A line that stands within another is new; a sample without its line's end must stand nowhere."""
    drawn = list(dict.fromkeys(_model().samples(400, **SETTINGS)))
    lines = [text for text in drawn if text.endswith("\n")]
    parts = [text for text in drawn if not text.endswith("\n")]
    assert len(lines) > 10
    assert len(parts) > 10
    text = f"{lines[0]}x{lines[1]}{lines[2].strip()}y\n{parts[0]}z\n" + lines[3].replace("\n", "\r\n")
    found = _model(text).samples(len(drawn) - 3, unique=True, novel=True, tries=9, **SETTINGS)
    held = [one for one in drawn if (one in lines and f"\n{one}" in "\n" + text.replace("\r", "")) or one in parts[:1]]
    expected = [one for one in drawn if one not in held and one != "\n" and not (one in parts and one in text)]
    assert {lines[0], lines[3], parts[0]} <= set(held)
    assert lines[1] in found
    assert lines[2] in found
    assert found[: len(expected) - 3] == expected[: len(expected) - 3]


@pytest.mark.parametrize(
    ("sample", "is_line", "is_held"),
    [
        ("abc", True, True),
        ("abc\n", True, True),
        ("ab", True, False),
        ("ab", False, True),
        ("c\nde", False, True),
        ("abc\nde", True, True),
        ("abc\nd", True, False),
        ("e\r\nf", False, True),
        ("", True, True),
        ("\n", True, True),
    ],
)
def test_what_a_text_holds(sample: str, is_line: bool, is_held: bool) -> None:
    """By hand; the first and the last line are lines too, and CRLF is a line end as any."""
    assert TrainingText(b"abc\nde\r\nf").holds(sample.encode(), is_line=is_line) == is_held


def test_where_there_are_no_more_it_says_so(command: Command) -> None:
    """After so many tries, with what was found and why the others were not kept; status 0."""
    _model()
    result = command(*WORDS[:3], "-n", "1", "--unique", "--filter", "[a-c]", "--count", "5", "--tries", "40")
    assert result.status == 0
    assert sorted(result.out) == ["\n", "\n", "\n", "a", "b", "c"]
    told = re.search(r"note: 3 of 5 samples were found in 200 tries, .* \((.*)\); --tries allows more", result.err)
    assert told is not None
    numbers = {what: int(number) for number, what in re.findall(r"(\d+) ([a-z ]+)", told[1])}
    assert set(numbers) == {"without a match", "repeated"}
    assert sum(numbers.values()) == 197


def test_the_command_and_python_choose_the_same(command: Command) -> None:
    """Each sample's number says how it is drawn again, alone."""
    model = _model()
    expected = model.samples(12, "a", unique=True, novel=True, **SETTINGS)
    result = command(*WORDS, "--prime", "a", "--unique", "--novel", "--count", "12", "--json")
    bodies = [json.loads(line) for line in result.out.splitlines()]
    assert [body["text"] for body in bodies] == expected
    for body in bodies:
        assert model.sample("a", number=body["sample"], **SETTINGS) == body["text"]
    lines = command(*WORDS, "--prime", "a", "--unique", "--novel", "--count", "12").out
    assert lines == "".join(f"a{text}".removesuffix("\n") + "\n" for text in expected)


def test_what_cannot_be_chosen_from_is_refused(command: Command, model: Pretrained) -> None:
    """One text, no text of the run, a pattern that is none, a bound on nothing."""
    for words, said in (
        ("--unique -t 0", "there is nothing to choose from"),
        ("--filter a --top-k 1", "there is nothing to choose from"),
        ("--novel --num-beams 3 --count 2", "writes the likeliest texts, so that there is nothing to choose from"),
        ("--filter (", "--filter is '('"),
        ("--tries 3", "--tries is about samples that are not kept"),
        ("--unique --tries 0", "--tries is 0"),
    ):
        result = command(*WORDS, *words.split())
        assert (result.status, result.out) == (2, ""), words
        assert said in result.err
    Path("text.txt").unlink()
    gone = command(*WORDS, "--novel")
    assert gone.status == 3
    assert "--novel needs the text of the run: there is no file or folder" in gone.err
    assert "check the spelling" not in gone.err  # nobody has typed it
    (RUN / "config.json").unlink()
    result = command(*WORDS, "--novel")
    assert result.status == 2
    assert "--novel needs the text of the run" in result.err
    with pytest.raises(UsageError, match="filter is"):
        model.samples(2, filter="(")
    with pytest.raises(UsageError, match="novel needs the text of the run"):
        Pretrained(model.checkpoint, model.engine).samples(2, novel=True)


def test_a_text_that_has_changed_is_told(command: Command) -> None:
    """The digest in the checkpoint is that of another text."""
    _model()
    result = command(*WORDS, "--novel")
    assert "the text of the run has changed" in result.err


def test_a_selection_knows_whether_it_chooses() -> None:
    """Of its own accord it does not."""
    assert not Selection().is_choosy
    assert all(Selection(**one).is_choosy for one in ({"unique": True}, {"novel": True}, {"filter": "a"}))  # type: ignore[arg-type]
    assert SamplingConfig(temperature=0.0).is_certain
