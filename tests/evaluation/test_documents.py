"""Figures of texts that are made of documents, against each document read by itself."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoints.checkpoint import Checkpoint, save
from charrnn.checkpoints.folder import BEST
from charrnn.errors import TextError
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.make_engine import make_engine
from charrnn.python.pretrained import load as load_model
from charrnn.settings.config import DataConfig
from charrnn.text import corpus as corpora
from charrnn.text.sources import Source
from tests.kit.command import Command
from tests.kit.tiny import tiny

RUN = Path("checkpoints") / "names" / BEST
TEXT = "abc\nhead\n\nbad cafe\nfade\n"
LINES = ["abc", "head", "bad cafe", "fade"]


def nats_of(checkpoint: Checkpoint, document: str) -> float:
    """What a document costs by itself: each character and the end, from the end before it and the zero state on."""
    engine, vocabulary = make_engine(checkpoint.model, checkpoint.parameters), checkpoint.vocabulary
    assert vocabulary.end is not None
    nats, state, before = 0.0, engine.zero_state(1), vocabulary.end
    for id_ in [*vocabulary.encode(document).tolist(), vocabulary.end]:
        logits, state = engine.step([before], state)
        nats -= float(log_probabilities(logits[0])[id_])
        before = id_
    return nats


def saved(documents: str = "lines", *, as_bytes: bool = False) -> Checkpoint:
    """A model in a run's folder."""
    checkpoint = tiny(documents=documents, as_bytes=as_bytes, characters="\n abcdefh")
    RUN.parent.mkdir(parents=True)
    save(RUN, checkpoint)
    return checkpoint


@pytest.mark.parametrize("as_bytes", [False, True])
def test_eval_counts_characters_and_ends(tmp_path: Path, command: Command, as_bytes: bool) -> None:
    """N counts the end of each document, and the text is cut as the run's own was, without being told so."""
    saved(as_bytes=as_bytes)
    (tmp_path / "list.txt").write_text(TEXT, "utf-8")
    result = json.loads(command("eval", str(tmp_path / "list.txt"), "--json").out)
    assert result["documents"] == 4
    assert result["characters"] == result["bytes"] == sum(map(len, LINES)) + 4
    shown = command("eval", str(tmp_path / "list.txt"))
    assert "the ends of 4 documents included" in shown.out
    assert "1 empty document is left out" in shown.err


def test_python_scores_each_document_by_itself() -> None:
    """What `eval` prints: the sum over documents, each from the zero state, with its end."""
    checkpoint = saved()
    model = load_model(RUN)
    one_by_one = [nats_of(checkpoint, line) for line in LINES]
    for line, nats in zip(LINES, one_by_one, strict=True):
        score = model.score(line)
        assert score.characters == len(line) + 1
        assert score.nats == pytest.approx(nats, rel=1e-5)


def test_python_reads_the_beginning_of_a_document() -> None:
    """The first character has its cost, too; what is recorded begins with it."""
    checkpoint = saved("files")
    model = load_model(RUN)
    bits = model.surprisal("bad")
    assert len(bits) == 3
    log_likely, state = model.step("bad")
    whole = bits.sum() * math.log(2) - log_likely[-1]  # and the end
    assert whole == pytest.approx(nats_of(checkpoint, "bad"), rel=1e-5)
    assert whole == pytest.approx(model.score("bad").nats, rel=1e-5)
    likely = model.probabilities("bad")
    assert likely.shape == (3, len(checkpoint.vocabulary))
    np.testing.assert_allclose(likely[-1], np.exp(log_likely), rtol=1e-4)
    recording = model.record("bad")
    assert recording.text == "bad"
    h = recording.h
    assert len(h) == 3
    np.testing.assert_allclose(h[-1], model.record("bad", units="h").h[-1])
    assert state is not None


def test_recordings_begin_behind_the_end() -> None:
    """Block by block as in one go, for texts around the size of a block."""
    saved("files")
    model = load_model(RUN)
    for size in (1, 255, 256, 257, 600):
        text = ("bad cafe\n" * 100)[:size]
        whole = model.record(text)
        assert len(whole) == size
        np.testing.assert_allclose(whole.h[:9], model.record(text[:9]).h, atol=1e-6)


def test_a_split_part_is_whole_documents(tmp_path: Path, command: Command) -> None:
    """The parts of the text have all its documents together; `--split train` reads those that are not held out."""
    saved()
    lines = [f"{a}{b}{c}{a}" for a in "abcdef" for b in "abcdef" for c in "abcd"]
    (tmp_path / "list.txt").write_text("\n".join(lines), "utf-8")
    config = DataConfig(documents="lines")
    corpus = corpora.load([Source(tmp_path / "list.txt", "list.txt")], config, name="list")
    parts = corpus.split(config)
    counts = {}
    for split in ("train", "validation"):
        counts[split] = json.loads(command("eval", str(tmp_path / "list.txt"), "--split", split, "--json").out)
        held = np.asarray(parts.part(split))  # type: ignore[arg-type]
        assert counts[split]["documents"] == int((held == corpus.vocabulary.end).sum()) - 1
        assert counts[split]["characters"] == len(held) - 1
    assert counts["train"]["documents"] + counts["validation"]["documents"] == len(lines)


def test_unknown_characters_of_documents_are_charged(tmp_path: Path, command: Command) -> None:
    """Left out of the text they stand in, and none of them is an end."""
    saved()
    (tmp_path / "list.txt").write_text("abXc\nXX\nhead\n", "utf-8")
    refused = command("eval", str(tmp_path / "list.txt"))
    assert refused.status == 3
    assert "lacks 'X' U+0058 LATIN CAPITAL LETTER X (3 times)" in refused.err
    skipped = json.loads(command("eval", str(tmp_path / "list.txt"), "--unknown", "skip", "--json").out)
    assert skipped["unknown_characters"] == 3
    assert skipped["characters"] == 4 + 2 + 4 + 3
    assert skipped["documents"] == 3


def test_models_that_cut_otherwise_are_not_compared(tmp_path: Path, command: Command) -> None:
    """They read other characters in the same file."""
    saved()
    other = Path("checkpoints") / "other" / BEST
    other.parent.mkdir()
    save(other, tiny(characters="\n abcdefh"))
    (tmp_path / "list.txt").write_text(TEXT, "utf-8")
    result = command("eval", str(tmp_path / "list.txt"), "-c", str(RUN), "-c", str(other))
    assert result.status == 3
    assert "reads texts with --documents lines" in result.err
    save(other, replace(tiny(documents="lines", characters="\n abcdefh"), data=DataConfig(column="name")))
    result = command("eval", str(tmp_path / "list.txt"), "-c", str(RUN), "-c", str(other))
    assert "reads texts with --documents lines" in result.err
    assert "with --column name\n" in result.err


def test_a_text_without_documents_is_said_to_have_none(tmp_path: Path, command: Command) -> None:
    """Neither an empty text nor one of empty lines has a character, and one character is enough for a score."""
    saved()
    for text in ("", "\n\n"):
        (tmp_path / "list.txt").write_text(text, "utf-8")
        result = command("eval", str(tmp_path / "list.txt"))
        assert result.status == 3
        assert "nothing to score: the text has no document that is not empty" in result.err
    model = load_model(RUN)
    with pytest.raises(TextError, match="at least one character"):
        model.score("")
    assert model.score("a").characters == 2
