"""A text that has grown at its end: it is recognised, offered, and gone on with, and what was held out stays so."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.folder import Run
from charrnn.errors import TextLost
from charrnn.settings.config import DataConfig
from charrnn.text import corpus as corpora
from charrnn.text import stored
from charrnn.text.corpus import Corpus
from charrnn.text.growth import Growth, growth_of
from charrnn.text.joined import JoinedIds, joined
from charrnn.text.sources import Source
from charrnn.text.stored import Digests, File, StoredIds, part_of
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.beginning import begin
from charrnn.training.plan import TrainRequest
from charrnn.training.trainer import Trainer
from tests.kit.command import Command, Result
from tests.kit.runs_compared import assert_same_run
from tests.kit.text import make_text

SMALL = [
    "--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-every", "0",
    "--validate-every", "3", "--log-every", "2", "--dropout", "0.2",
]  # fmt: skip

BY_CHARACTER = ("embedding", "decoder.weight", "decoder.bias")


def _load(text: str, tmp_path: Path, held_out: str = "", **data: Any) -> Corpus:
    sources = []
    for name, content in (("text", text), ("held-out", held_out)):
        (tmp_path / name).write_text(content, "utf-8")
        sources.append(Source(tmp_path / name, name))
    return corpora.load(
        sources[:1], DataConfig(**data), name="text", validation_sources=sources[1:] if held_out else []
    )


@pytest.mark.parametrize("data", [{}, {"as_bytes": True}, {"newlines": "lf"}])
@pytest.mark.parametrize("held_out", ["", make_text(300, 7)])
def test_a_text_that_has_grown_is_recognised(tmp_path: Path, data: dict[str, Any], held_out: str) -> None:
    """By the digest of its beginning, also with characters of several bytes and with a text of its own to validate on;
    no other text is."""
    text = make_text(900) + "é\r\nöß"
    before = _load(text, tmp_path, held_out, **data)
    length, sha256 = len(before), before.sha256
    own = len(before) - before.separate_validation
    for more in ("x", "\n", "более", make_text(500, 3)):
        now = _load(text + more, tmp_path, held_out, **data)
        assert growth_of(now, length, sha256) == Growth(own, len(now) - length)
    for other in (text, text[:-1], text[1:] + "xx", "x" + text, text[:500] + "!" + text[501:] + "more"):
        assert growth_of(_load(other, tmp_path, held_out, **data), length, sha256) is None
    if held_out:
        assert growth_of(_load(text + "x", tmp_path, held_out + "x", **data), length, sha256) is None


@pytest.mark.parametrize("held_out", ["", make_text(300, 7)])
def test_what_was_held_out_stays_held_out(tmp_path: Path, held_out: str) -> None:
    """And all else is trained on, in its order: beside slices of the text itself."""
    text, more = make_text(900), make_text(400, 3)
    fractions = {"validation_fraction": 0.0 if held_out else 0.1, "test_fraction": 0.2}
    config = DataConfig(**fractions)
    before = _load(text, tmp_path, held_out)
    then = before.split(config)
    corpus = _load(text + more, tmp_path, held_out)
    parts = corpus.split(config, len(text))
    decode = corpus.vocabulary.decode
    old = before.vocabulary.decode
    assert decode(np.asarray(parts.validation)) == old(np.asarray(then.validation))
    assert decode(np.asarray(parts.test)) == old(np.asarray(then.test))
    assert decode(np.asarray(parts.train)) == old(np.asarray(then.train)) + more
    assert len(parts.train) + len(parts.test) + (0 if held_out else len(parts.validation)) == len(text + more)


LIST = [f"{first}{second}{third}é" for first in "abcd" for second in "efgh" for third in "ijklmn"] * 2


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_list_that_has_grown_is_recognised(tmp_path: Path, line_end: str, *, as_bytes: bool) -> None:
    """Whether its last line ended or not; one that was changed elsewhere, or only longer in its last line, is not."""
    data: dict[str, Any] = {"documents": "lines", "as_bytes": as_bytes}
    for last in ("", line_end):
        before = _load(line_end.join(LIST) + last, tmp_path, **data)
        now = _load(line_end.join([*LIST, "ö", "new"]) + last, tmp_path, **data)
        assert growth_of(now, len(before), before.sha256) == Growth(len(before), len(now) - len(before))
        for other in (LIST, LIST[1:], ["x", *LIST], [*LIST[:-1], LIST[-1] + "more"], [*LIST[:9], "x", *LIST[10:], "y"]):
            corpus = _load(line_end.join(other) + last, tmp_path, **data)
            assert growth_of(corpus, len(before), before.sha256) is None


def test_documents_that_were_held_out_stay_so_and_no_copy_of_them_is_trained_on(tmp_path: Path) -> None:
    """And all else that came is trained on, also what its number would hold out."""
    config = DataConfig(documents="lines", validation_fraction=0.2, test_fraction=0.1)
    more = [f"new{number}" for number in range(30)]

    def _documents(corpus: Corpus, begun: int | None = None) -> dict[str, list[str]]:
        parts, found = corpus.split(config, begun), {}
        for name in ("train", "validation", "test"):
            ids = np.asarray(parts.part(name)).tolist()  # type: ignore[arg-type]
            text = "".join("\n" if id_ == corpus.vocabulary.end else corpus.vocabulary.characters[id_] for id_ in ids)
            found[name] = sorted(text.strip("\n").split("\n"))
        return found

    before = _load("\n".join(LIST), tmp_path, documents="lines")
    then = _documents(before)
    corpus = _load("\n".join([*LIST, *more, then["validation"][0], then["test"][0]]), tmp_path, documents="lines")
    now = _documents(corpus, len(before))
    assert (now["validation"], now["test"]) == (then["validation"], then["test"])
    assert now["train"] == sorted([*then["train"], *more])
    assert not set(more) <= set(_documents(corpus)["train"])


def test_a_list_that_has_grown_is_offered_and_goes_on(command: Command) -> None:
    """With new characters too, and then exactly, cut or not; eval scores what the run held out."""
    Path("text.txt").write_text("\n".join(LIST) + "\n", "utf-8")
    words = ["train", "text.txt", "--documents", "lines", "--layers", "1", *SMALL, "--out", "run"]
    assert command(*words, "--steps", "6").status == 0
    before = checkpoints.load(Path("run/best.safetensors"))
    _grow("Zebra\nnewone\n")
    result = command(*words, "--steps", "9")
    assert "error: the text of text has grown by 13 characters at its end" in result.err
    _hint(result)
    shutil.copytree("run", "other")
    other = [*words[:-1], "other"]
    assert command(*words, "--steps", "9", "--change").status == 0
    assert command(*other, "--steps", "9", "--change", "--save-every", "0").status == 0
    for given in (words, other):
        assert command(*given, "--steps", "12").status == 0
    assert_same_run(Path("run"), Path("other"))
    now = checkpoints.load(Path("run/last.safetensors"))
    assert now.corpus["validation"] == before.corpus["validation"]
    assert set("ZwbNo") & set(now.vocabulary.characters) == set("Zwbo")
    scored = command("eval", "text.txt", "--split", "validation", "-c", "run", "--json")
    assert f'"characters": {before.corpus["validation"] - 1}' in scored.out


def _stored(ids: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path) -> StoredIds:
    path = tmp_path / "ids"
    path.write_bytes(ids.tobytes())
    digests = Digests(stored.BLOCK)
    digests.update(ids.tobytes())
    file = File(
        os.open(path, os.O_RDONLY), length=len(ids), size=256, dtype=np.dtype(np.uint8), block=stored.BLOCK,
        digests=digests.whole(),
    )  # fmt: skip
    return StoredIds.of(file, TextLost)


def test_parts_of_a_file_are_joined_as_arrays_are(tmp_path: Path) -> None:
    """Beside numpy: slices, single places, arrays of them, and parts of it again."""
    random = np.random.default_rng(0)
    ids = random.integers(0, 256, 90_000).astype(np.uint8)
    whole = _stored(ids, tmp_path)
    first, second, third = (3, 40_000), (50_000, 50_002), (70_001, 90_000)
    ours = joined([part_of(whole, *each) for each in (first, (9, 9), second, third)])
    theirs = np.concatenate([ids[slice(*each)] for each in (first, second, third)])
    assert isinstance(ours, JoinedIds)
    assert (len(ours), ours.dtype, ours.itemsize, ours.nbytes) == (len(theirs), theirs.dtype, 1, theirs.nbytes)
    seam = first[1] - first[0]
    for places in (
        slice(None), slice(5, 50), slice(seam - 3, seam + 4), slice(seam, seam + 9), slice(-7, None), slice(9, 3),
        slice(0, None, 997), np.array([0, seam - 1, seam, len(theirs) - 1, -1]),
        random.integers(0, len(theirs), (5, 7)), 0, seam, -1,
    ):  # fmt: skip
        np.testing.assert_array_equal(ours[places], theirs[places])
    for start, stop in ((0, 10), (seam - 5, seam + 5), (seam + 1, seam + 4), (0, len(theirs))):
        np.testing.assert_array_equal(np.asarray(part_of(ours, start, stop)), theirs[start:stop])
    with pytest.raises(IndexError):
        ours[len(theirs)]
    assert len(part_of(ours, 7, 7)) == len(part_of(ours, len(theirs), len(theirs))) == 0
    assert joined([whole, part_of(whole, 0, 0)]) is whole
    assert len(joined([part_of(whole, 0, 0)])) == 0
    np.testing.assert_array_equal(cast(Any, joined([ids[:4], ids[8:9]])), ids[[0, 1, 2, 3, 8]])


def _begun(command: Command, more: Sequence[str] = ()) -> list[str]:
    Path("text.txt").write_text(make_text(2000), "utf-8")
    words = ["train", "text.txt", *SMALL, *more, "--out", "run"]
    assert command(*words, "--steps", "6").status == 0
    return words


def _grow(more: str) -> None:
    with open("text.txt", "a", encoding="utf-8") as file:
        file.write(more)


def _hint(result: Result) -> list[str]:
    assert result.status == 2, result.err
    found = re.search(r"or go on with the grown text: charrnn (train .* --change)\n\Z", result.err)
    assert found is not None, result.err
    return shlex.split(found[1])


@pytest.mark.parametrize("more", ["a line\n", "neue Wörter 日本\n", make_text(1500, 5)])
def test_a_text_that_has_grown_is_offered_and_goes_on(command: Command, more: str) -> None:
    """By the command that began it and by the folder; with new characters, too; the next start needs no --change."""
    words = _begun(command)
    before = checkpoints.load(Path("run/best.safetensors"))
    _grow(more)
    for given in (["train", "run"], [*words, "--steps", "9"]):
        result = command(*given)
        assert f"error: the text of text has grown by {len(more):,} character" in result.err
        line = _hint(result)
    result = command(*line)
    assert result.status == 0, result.err
    assert f"the text has grown by {len(more):,} characters, which are trained on from step 6 on" in result.err
    assert command(*words, "--steps", "12").status == 0
    now = checkpoints.load(Path("run/last.safetensors"), with_state=True)
    assert now.progress["step"] == 12
    assert (now.corpus["validation"], now.corpus["test"]) == (before.corpus["validation"], before.corpus["test"])
    assert now.corpus["train"] == before.corpus["train"] + len(more)
    assert set(now.vocabulary.characters) == set(before.vocabulary.characters) | set(more)
    assert now.lineage["texts"] == [{"characters": 2000, "sha256": before.corpus["sha256"]}]
    verified = command("inspect", "run", "--verify")
    assert verified.status == 0, verified.out
    scored = command("eval", "text.txt", "--split", "validation", "-c", "run", "--json")
    assert f'"characters": {before.corpus["validation"] - 1}' in scored.out


def test_a_resume_on_the_grown_text_is_exact(command: Command) -> None:
    """Cut and gone on with, and grown twice: the same run."""
    words = _begun(command)
    shutil.copytree("run", "other")
    _grow("more ünd\n")
    other = [*words[:-1], "other"]
    assert command(*words, "--steps", "12", "--change").status == 0
    assert command(*other, "--steps", "12", "--change", "--save-every", "0").status == 0
    assert_same_run(Path("run"), Path("other"))
    _grow("and more ß\n")
    for given in (words, other):
        assert command(*given, "--steps", "15", "--change").status == 0
        assert command(*given, "--steps", "18").status == 0
    assert_same_run(Path("run"), Path("other"))
    last = checkpoints.load(Path("run/last.safetensors"), with_state=True)
    assert [each["characters"] for each in last.lineage["texts"]] == [2000, 2009]
    assert last.corpus["train"] == 1800 + 9 + 11


def test_a_text_that_is_changed_elsewhere_is_another(command: Command) -> None:
    """Nor is --change for it."""
    words = _begun(command)
    Path("text.txt").write_text("x" + make_text(2000) + "more", "utf-8")
    for more in ([], ["--change"]):
        result = command(*words, "--steps", "9", *more)
        assert result.status == 2
        assert "corpus: text " in result.err
        assert "has changed since" in result.err


@pytest.mark.parametrize("optimizer", ["muon", "schedule-free", "sgd", "rmsprop"])
def test_rows_go_with_their_characters(command: Command, optimizer: str) -> None:
    """Weights, averages and moments of what was known are as they were, by character; moments of what is new are 0, and
    averages of it begin with its weights."""
    _begun(command, ["--optimizer", optimizer])
    before = checkpoints.load(Path("run/last.safetensors"), with_state=True)
    _grow("0123 ÄÖ")
    source = Source(Path("text.txt"), "text.txt")
    corpus = corpora.load([source], DataConfig(), name="text", known=before.vocabulary)
    plan, resume = begin(TrainRequest(change=True), Run(Path("run")), corpus, torch.device("cpu"), fresh=False)
    learner = Trainer(Run(Path("run")), corpus, plan, device=torch.device("cpu"), resume=resume)._stage.learner
    weights, state = learner.model.numpy_arrays(), learner.state()
    old, new = _ids(before.vocabulary, corpus.vocabulary)
    assert len(new) == len(set("0123 ÄÖ") - set(before.vocabulary.characters))
    seen = 0
    for name, array in {**before.parameters, **before.state}.items():
        if name == "tally":
            continue
        now = {**weights, **state}[name]
        if name.startswith("carry."):
            assert not now.any()
        elif name.endswith(BY_CHARACTER) and array.ndim:
            seen += 1
            np.testing.assert_array_equal(now[old], array, err_msg=name)
            kept = name.removesuffix("embedding").removesuffix("decoder.weight").removesuffix("decoder.bias")
            if kept in ("average.", "optimizer.x.", "optimizer.z."):
                np.testing.assert_array_equal(now[new], weights[name.removeprefix(kept)][new])
            elif kept:
                assert not now[new].any()
        else:
            np.testing.assert_array_equal(now, array, err_msg=name)
    assert seen >= 6


def _ids(before: Vocabulary, now: Vocabulary) -> tuple[list[int], list[int]]:
    """The ids now of what was known, in the order of before, and of what was not."""
    known = [now.characters.index(character) for character in before.characters]
    return known, [id_ for id_ in range(len(now)) if id_ not in known]
