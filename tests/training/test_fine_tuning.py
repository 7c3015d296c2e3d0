"""A run that begins with the weights of another one: what it takes over, what it adds, and that it needs it no more."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.errors import TextError
from charrnn.network.model import CharacterModel
from charrnn.text.union import listed, places, union
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command, Result
from tests.kit.interrupt import interrupted_after
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text
from tests.kit.trained_once import trained_once

SMALL = [
    "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-every", "4", "--sample-length", "5",
    "--validate-every", "3", "--log-every", "2",
]  # fmt: skip
MODEL = ["--hidden", "6", "--embedding", "4", "--layers", "2"]
GREEK = "αβγδεζηθικλμνξοπρστυ"
BY_CHARACTER = ("embedding", "decoder.weight", "decoder.bias")


@pytest.fixture(autouse=True)
def _texts(command: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    old = make_text(3000, 1)
    Path("old.txt").write_text(old, "utf-8")
    # Twenty new characters, and none of some that were known.
    text = "".join(each for each in make_text(3500, 2) if each in set(old) - set("egA"))
    Path("new.txt").write_text("".join(a + b for a, b in zip(text, GREEK * 200, strict=False)), "utf-8")
    trained_once(command, tmp_path_factory, "old", "old.txt", *MODEL, *SMALL, "--steps", "40")


def _load(path: str) -> Checkpoint:
    return checkpoints.load(Path(path), with_state=True)


def _begin(command: Command, *more: str, text: str = "new.txt", out: str = "new", steps: str = "8") -> Result:
    return command("train", text, *SMALL, "--init-from", "old", "--steps", steps, "--out", out, *more)


def _weights_at_the_beginning(command: Command, *more: str, **where: str) -> Checkpoint:
    """A rate of almost nothing leaves them as they were, but for the last digits."""
    result = _begin(command, "--lr", "1e-30", "--average", "0", *more, **where)
    assert result.status == 0, result.err
    return _load(f"{where.get('out', 'new')}/last.safetensors")


@pytest.mark.parametrize("more", [[], ["--init-from", "old/last.safetensors"], ["--init-from", "old/best.safetensors"]])
def test_what_is_known_keeps_its_rows_and_what_is_new_is_drawn(command: Command, more: list[str]) -> None:
    """By character, from a folder or a file; the layers are the model's; new rows are those that the seed draws."""
    words = ["train", "new.txt", *SMALL, *(more or ["--init-from", "old"]), "--lr", "1e-30", "--average", "0"]
    assert command(*words, "--steps", "1", "--seed", "5", "--out", "new").status == 0
    new = _load("new/last.safetensors")
    old = _load("old/last.safetensors" if "old/last.safetensors" in more else "old/best.safetensors")
    assert set(new.vocabulary.characters) == set(old.vocabulary.characters) | set(GREEK)
    assert replace(new.model, dropout=old.model.dropout) == old.model
    assert new.model.dropout == old.model.dropout / 2  # the texts are equally long
    model = CharacterModel(new.model, len(new.vocabulary))
    model.initialise(torch.Generator().manual_seed(5))
    drawn = model.numpy_arrays()
    for name, array in new.parameters.items():
        if name not in BY_CHARACTER:
            np.testing.assert_array_equal(array, old.parameters[name])
            continue
        for id_, character in enumerate(new.vocabulary.characters):
            if character in old.vocabulary:
                expected = old.parameters[name][old.vocabulary.encode(character)[0]]
            else:
                expected = drawn[name][id_]
            if character in old.vocabulary or name != "decoder.bias":
                np.testing.assert_array_equal(array[id_], expected, err_msg=f"{name} {character!r}")


def test_a_new_character_begins_about_as_likely_as_it_is_frequent(command: Command) -> None:
    """Half of the text are the twenty new characters: their probability is near theirs, and not 1 or 0; one that comes
    once in the text is rare."""
    Path("new.txt").write_text(Path("new.txt").read_text("utf-8") + "ω" + make_text(900, 4), "utf-8")
    _weights_at_the_beginning(command)
    model = charrnn.load("new/last.safetensors")
    text = Path("new.txt").read_text("utf-8")[:2000]
    probabilities = model.probabilities(text).mean(0)
    ids = [model.vocabulary.characters.index(character) for character in GREEK]
    share = sum(text.count(character) for character in GREEK) / len(text)
    assert probabilities[ids].sum() == pytest.approx(share, abs=0.2)
    assert probabilities[model.vocabulary.characters.index("ω")] < 0.005


def test_the_same_characters_are_the_same_model(command: Command) -> None:
    """A text without new characters begins with the very model: the same score on any text."""
    Path("same.txt").write_text(Path("old.txt").read_text("utf-8")[::-1], "utf-8")
    _weights_at_the_beginning(command, text="same.txt", out="same")
    scores = [charrnn.load(f"{run}.safetensors").score(make_text(99, 1)) for run in ("old/best", "same/last")]
    assert scores[0] == scores[1]


def test_what_was_added_and_what_is_never_used_is_said_once(command: Command) -> None:
    """In one notice each, with the characters; a resume says it no more."""
    result = _begin(command)
    assert result.err.count("note: added 20 characters: α β γ δ ε ζ η θ ι κ λ μ ν ξ ο π ρ σ τ υ\n") == 1
    unused = set(Path("old.txt").read_text("utf-8")) - set(Path("new.txt").read_text("utf-8"))
    said = r"note: the text never uses (\d+) characters? of the model, which it can still write: (.+)\n"
    found = re.search(said, result.err)
    assert found is not None
    assert set(found[2].split(" ")) == unused
    assert int(found[1]) == len(unused)
    assert "half of what a new model gets" in result.err
    again = _begin(command, steps="10")
    assert again.status == 0, again.err
    assert "added" not in again.err


def test_cut_anywhere_it_is_the_run_that_was_not(command: Command) -> None:
    """Every tensor, every line and every sample."""
    more = ["--dropout", "0.3"]
    assert _begin(command, *more, out="whole").status == 0
    for k in (1, 4, 7):
        with interrupted_after(k):
            assert _begin(command, *more, out=f"cut{k}").status == 143
        shutil.move("old", "away")
        assert _begin(command, *more, out=f"cut{k}").status == 0
        shutil.move("away", "old")
        assert_same_run(Path(f"cut{k}"), Path("whole"))


def test_where_it_comes_from_is_recorded(command: Command) -> None:
    """By the digest in the checkpoint, which holds no path; config.json has the path, too."""
    assert _begin(command).status == 0
    digest = checkpoints.fingerprint(Path("old/best.safetensors"))
    for name in ("best", "last"):
        loaded = _load(f"new/{name}.safetensors")
        assert loaded.lineage["from"]["sha256"] == digest
        assert str(Path.cwd()).encode() not in Path(f"new/{name}.safetensors").read_bytes()
    config = json.loads(Path("new/config.json").read_text("utf-8"))
    assert (config["init-from"], config["begun-from"]) == (str(Path.cwd() / "old"), digest)
    assert digest[:16] in command("inspect", "-c", "new").out
    assert command("inspect", "new", "--verify").status == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--hidden", "7"], "--hidden is 7, and the model has 6: it shapes the weights"),
        (["--cell", "gru"], "--cell is gru, and the model has lstm: it shapes the weights"),
        (["--layers", "1"], "--layers is 1, and the model has 2: it shapes the weights"),
        (["--tie"], "--tie is True, and the model has False"),
        (
            ["--init", "chrono"],
            "--init is chrono, and the model has uniform: it is about the weights",
        ),
        (["--bytes"], "--bytes is given, and the model that --init-from names knows characters, not bytes"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_what_cannot_fit_is_refused(command: Command, more: list[str], said: str) -> None:
    """With the setting and both its values, before a folder is made."""
    result = _begin(command, *more)
    assert result.status == 2
    assert said in result.err
    assert not Path("new").exists()


def test_what_may_differ_may(command: Command) -> None:
    """Dropout of any kind, the optimizer, lanes and windows; and settings of the model that are given as they are."""
    result = _begin(command, *MODEL, "--variational-dropout", "0.2", "--optimizer", "adamw", "--lr", "0.001")
    assert result.status == 0, result.err
    assert "half of what" not in result.err  # no other dropout is chosen beside that
    assert "half of what a new model gets" in _begin(command, out="plain").err
    assert "half of what" not in _begin(command, "--dropout", "0.1", out="other").err
    assert _load("new/last.safetensors").model.variational_dropout == 0.2


@pytest.mark.parametrize("freeze", ["recurrent", "echo"])
def test_what_is_frozen_stays_as_the_model_had_it(command: Command, freeze: str) -> None:
    """Beside the embedding under echo: the layers."""
    assert _begin(command, "--freeze", freeze).status == 0
    old, new = _load("old/best.safetensors"), _load("new/last.safetensors")
    for name, array in old.parameters.items():
        if name.startswith("layers."):
            np.testing.assert_array_equal(new.parameters[name], array)
    assert not np.array_equal(
        new.parameters["decoder.bias"][: len(GREEK)], old.parameters["decoder.bias"][: len(GREEK)]
    )


@pytest.mark.parametrize(
    ("first", "more", "cut"),
    [
        (["list.txt", "--documents", "lines"], ["list.txt"], ("lines", None)),
        (["list.txt", "--documents", "lines"], ["table.csv", "--column", "name"], ("none", "name")),
        (["table.csv", "--column", "name"], ["table.csv"], ("none", "name")),
        (["table.csv", "--column", "name"], ["list.txt", "--documents", "lines"], ("lines", None)),
        (["table.csv", "--column", "name"], ["list.txt", "--documents", "none"], ("none", None)),
    ],
)
def test_how_a_text_is_cut_holds_until_it_is_given(
    command: Command, first: list[str], more: list[str], cut: tuple[str, str | None]
) -> None:
    """As a whole: a column that is given is not in the way of documents of the model's, nor the other way round."""
    names = [first + second + third for first in "abcd" for second in "efgh" for third in "ijklmn"]
    Path("list.txt").write_text("\n".join([*names, ""]) + "\n\n", "utf-8")
    Path("table.csv").write_text("\n".join(["name,number", *(f"{name}ß,1" for name in names), ",1", ""]), "utf-8")
    assert command("train", *first, *MODEL, *SMALL, "--steps", "4", "--out", "cut").status == 0
    words = ["train", *more, *SMALL, "--init-from", "cut", "--out", "new", "--steps"]
    for steps in ("4", "6"):
        result = command(*words, steps)
        assert result.status == 0, result.err
    assert result.err.count("empty document") == (cut != ("none", None))
    data = _load("new/last.safetensors").data
    assert (data.documents, data.column) == cut


@pytest.mark.parametrize("optimizer", ["muon", "schedule-free"])
def test_averages_begin_with_the_weights(command: Command, optimizer: str) -> None:
    """A validation after a step of almost no length is that of the model."""
    more = ["--lr", "1e-30", "--optimizer", optimizer]
    assert _begin(command, *more, text="old.txt", out="one", steps="1").status == 0
    model = charrnn.load("old")
    held_out = Path("old.txt").read_text("utf-8")[2700:]
    found = _load("one/last.safetensors").progress["history"][-1][2]
    assert found == pytest.approx(model.score(held_out).nats_per_character, abs=1e-4)


def test_a_byte_model_stays_one(command: Command) -> None:
    """Without --bytes, also when it goes on; characters are refused."""
    words = ["train", "old.txt", *MODEL, *SMALL, "--steps", "3", "--bytes", "--out", "bytes"]
    assert command(*words).status == 0
    more = ["train", "new.txt", *SMALL, "--init-from", "bytes", "--out", "on"]
    for steps in ("3", "5"):
        result = command(*more, "--steps", steps)
        assert result.status == 0, result.err
        assert "added" not in result.err
    assert _load("on/last.safetensors").vocabulary.kind == "bytes"
    refused = command("train", "new.txt", "--init-from", "bytes", "--no-bytes", "--out", "other")
    assert refused.status == 2
    assert "--no-bytes is given, and the model that --init-from names knows bytes, not characters" in refused.err


def test_another_model_or_none_is_refused_where_a_run_goes_on(command: Command) -> None:
    """The same one that has learned more since is not another."""
    assert _begin(command).status == 0
    assert command("train", "old", "--steps", "60", "--quiet").status == 0
    result = _begin(command, steps="9")
    assert result.status == 0, result.err
    shutil.copytree("old", "other")
    words = ["train", "new.txt", *SMALL, "--steps", "10", "--out", "new", "--init-from", "other"]
    result = command(*words)
    assert result.status == 2
    assert "the run in new began from another model, and --init-from is other" in result.err
    result = command("train", "old.txt", *MODEL, *SMALL, "--steps", "70", "--out", "old", "--init-from", "other")
    assert result.status == 2
    assert "the run in old did not begin from a model, and --init-from is other" in result.err


def test_it_can_be_asked_for_what_would_happen(command: Command) -> None:
    """--dry-run says what would be added, and makes nothing; a model that is not there is refused."""
    result = _begin(command, "--dry-run")
    assert result.status == 0
    assert "added 20 characters" in result.err
    assert "lstm of 2 layers with 6 units each" in result.err
    assert not Path("new").exists()
    assert command("train", "new.txt", "--init-from", "nowhere", "--steps", "1").status == 4


@pytest.mark.parametrize("option", ["--init-from", "--distill-from"])
def test_a_held_out_part_that_the_model_has_learned_is_said(command: Command, option: str) -> None:
    """Of the same text, with the number of its characters and the options that hold out what the model held out."""
    shape = MODEL if option == "--distill-from" else []
    words = ["train", "old.txt", *shape, *SMALL, option, "old", "--steps", "1"]
    same = command(*words, "--out", "same")
    assert (same.status, "has learned" in same.err) == (0, False)
    other = ("--held-out", "blocks", "--split-seed", "5", "--test-fraction", "0.1")
    result = command(*words, *other, "--out", "other")
    assert result.status == 0, result.err
    before, now = (_held_out(run) for run in ("old", "other"))
    said = " ".join(result.err.split())
    assert f"the model that {option} names has learned {len(now - before):,} characters of what is held out" in said
    given = re.search(r"is too good: (.*?) holds out what it held out", said)
    assert given
    assert command(*words, *given[1].split(), "--out", "third").status == 0
    assert _held_out("third") == before
    assert "of what is held out here" not in command(*words[:1], "new.txt", *words[2:], *other, "--out", "apart").err


def _held_out(run: str) -> set[int]:
    ranges = _load(f"{run}/last.safetensors").corpus["held_out"]
    return {place for part in ranges.values() for start, stop in part for place in range(start, stop)}


def test_starting_over_begins_from_the_model_again(command: Command) -> None:
    """By the folder: config.json knows it."""
    assert _begin(command, out="a").status == 0
    assert _begin(command, out="b").status == 0
    assert command("train", "b", "--fresh").status == 0
    assert_same_run(Path("a"), Path("b"))


def test_it_is_the_same_from_python(command: Command) -> None:
    """The call makes the run that the command makes."""
    assert _begin(command, out="theirs").status == 0
    settings: dict[str, Any] = {
        "batch_size": 4, "bptt": 9, "threads": 1, "sample_every": 4, "sample_length": 5, "validate_every": 3,
        "log_every": 2, "steps": 8,
    }  # fmt: skip
    list(charrnn.train("new.txt", init_from="old", out="ours", **settings))
    assert_same_run(Path("ours"), Path("theirs"))


def test_vocabularies_are_put_together_by_their_symbols() -> None:
    """Beside a plain look-up of each character."""
    one, other = Vocabulary.of("hello"), Vocabulary.of("world!")
    both = union(one, other)
    assert both.characters == "".join(sorted(set("helloworld!")))
    assert places(one, both).tolist() == [one.characters.find(character) for character in both.characters]
    assert union(one, one) is one
    assert listed(Vocabulary.of("\n ab\u200b"), [0, 1, 3, 4]) == r"\n (space) b \u200b"
    with pytest.raises(TextError, match="bytes and characters"):
        union(one, Vocabulary.of_bytes())
