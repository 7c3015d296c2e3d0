"""What a command says in passing, so that a number or a text is not misread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kit.command import Command
from tests.kit.text import make_text

SMALL = "--hidden 4 --embedding 3 --batch 4 --bptt 9 --threads 1 --steps 3 --sample-every 0".split()
OWN = "the model was trained on this text, which makes the score too good"
OTHER = "this is not the run's own text"


@pytest.fixture
def trained(command: Command) -> None:
    """A run on text.txt, with a validation part, and another text."""
    Path("text.txt").write_text(make_text(2000))
    Path("other.txt").write_text(make_text(2000)[:1500])
    assert command("train", "text.txt", *SMALL).status == 0


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("text.txt", OWN),
        ("text.txt --split train", OWN),
        ("text.txt --split validation", None),
        ("other.txt", None),
        ("other.txt --split validation", OTHER),
        ("text.txt other.txt", None),
    ],
)
def test_eval_says_what_the_model_has_seen_of_the_text(command: Command, words: str, said: str | None) -> None:
    result = command("eval", *words.split(), "--threads", "1")
    assert result.status == 0
    notes = [line for line in result.err.splitlines() if line.startswith("note: ")]
    assert [said in note for note in notes if said] == ([True] if said else [])
    assert bool(notes) == (said is not None)
    assert "note" not in result.out


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudoterminal")
@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(("more", "is_said"), [([], True), (["--seed", "1"], False), (["--temperature", "0"], False)])
def test_sample_says_on_a_terminal_that_a_seed_was_chosen(more: list[str], is_said: bool) -> None:
    """Since the same text comes again, which a user who gave no seed may not expect."""
    from tests.kit import pseudoterminal

    seen = pseudoterminal.run(100, "sample", "--length", "9", *more, is_out_piped=True)
    assert seen.status == 0
    assert ("seed 1, which writes the same text again; --seed 2 writes another" in seen.terminal) == is_said
    assert "seed" not in seen.piped


@pytest.mark.usefixtures("trained")
def test_sample_says_nothing_of_seeds_to_a_script(command: Command) -> None:
    assert "seed" not in command("sample", "--length", "9").err
