"""What a model of documents writes, against a plain loop of draws from the beginning of a document."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoints.checkpoint import Checkpoint, save
from charrnn.checkpoints.folder import BEST
from charrnn.inference.distribution import draw, generator, log_probabilities, probabilities
from charrnn.inference.make_engine import make_engine
from charrnn.python.pretrained import Pretrained, load
from charrnn.sampling.cowriting import Session
from charrnn.sampling.next_words import WordCharacters, likeliest_words
from charrnn.sampling.sampler import SampleRequest, prime_ids, write
from charrnn.sampling.stopping import Ended
from charrnn.settings.sampling import SamplingConfig
from tests.kit.command import Command
from tests.kit.tiny import tiny

RUN = Path("checkpoints") / "names" / BEST
LETTERS = " abcdefgh"


def model_of(documents: str = "lines", *, as_bytes: bool = False, characters: str = LETTERS) -> Checkpoint:
    """A random model of documents; the end is likelier than chance, so that documents are short."""
    checkpoint = tiny(documents=documents, as_bytes=as_bytes, characters=characters)
    parameters = dict(checkpoint.parameters)
    (bias,) = [name for name, array in parameters.items() if "decoder" in name and array.ndim == 1]
    parameters[bias] = parameters[bias].copy()
    parameters[bias][-1] += 5.0 if as_bytes else 2.0
    return replace(checkpoint, parameters=parameters)


def drawn(checkpoint: Checkpoint, prime: str, config: SamplingConfig, number: int) -> tuple[list[int], list[float]]:
    """The ids of one sample, drawn one by one, and their log-probabilities; the last id may be the end."""
    engine, vocabulary = make_engine(checkpoint.model, checkpoint.parameters), checkpoint.vocabulary
    assert vocabulary.end is not None
    logits, state = engine.read([vocabulary.end, *vocabulary.encode(prime).tolist()], engine.zero_state(1))
    ids, likely, random = [], [], generator(config.seed_number, number)
    while len(ids) < config.length and vocabulary.end not in ids:
        ids.append(draw(probabilities(logits[0], config), random.random()))
        likely.append(float(log_probabilities(logits[0])[ids[-1]]))
        logits, state = engine.step([ids[-1]], state)
    return ids, likely


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("prime", ["", "ab"])
def test_samples_are_whole_documents(prime: str, as_bytes: bool) -> None:
    """Each begins after an end, follows its prime, and stops where it draws an end, which is no text."""
    checkpoint = model_of(as_bytes=as_bytes)
    vocabulary, engine = checkpoint.vocabulary, make_engine(checkpoint.model, checkpoint.parameters)
    config = SamplingConfig(length=60, temperature=0.9, seed=5)
    requests = [SampleRequest(config, number) for number in range(20)]
    found: dict[int, list[int]] = {number: [] for number in range(20)}
    likely: dict[int, list[float]] = {number: [] for number in range(20)}
    texts, ended = [""] * 20, [False] * 20
    for piece in write(engine, vocabulary, vocabulary.encode(prime), requests):
        found[piece.sample] += piece.ids.tolist()
        likely[piece.sample] += piece.log_probabilities.tolist()
        texts[piece.sample] += piece.text
        ended[piece.sample] = piece.ended is not None and piece.ended.reason == "end"
    for number in range(20):
        ids, values = drawn(checkpoint, prime, config, number)
        is_ended = ids[-1] == vocabulary.end
        ids, values = ids[: len(ids) - is_ended], values[: len(ids) - is_ended]
        assert found[number] == ids
        np.testing.assert_allclose(likely[number], values, atol=1e-4)
        assert texts[number] == vocabulary.decode(ids)
        assert ended[number] == is_ended
    assert any(ended)
    assert len(set(texts)) > 5


def test_a_prime_follows_an_end_and_not_a_line_end() -> None:
    """Also where the model knows line ends, as that of files does."""
    vocabulary = model_of("files", characters="\n" + LETTERS).vocabulary
    assert prime_ids(vocabulary, []).tolist() == [len(vocabulary) - 1]
    assert prime_ids(vocabulary, [3, 1]).tolist() == [len(vocabulary) - 1, 3, 1]


def test_a_stop_text_comes_first_or_the_end_does() -> None:
    """A sample that stopped at its stop text has not ended its document."""
    checkpoint = model_of()
    engine = make_engine(checkpoint.model, checkpoint.parameters)
    stopped = ended = 0
    for number in range(40):
        config = SamplingConfig(length=200, stop="a", temperature=1.0)
        pieces = list(write(engine, checkpoint.vocabulary, [], [SampleRequest(config, number)]))
        text, is_ended = "".join(piece.text for piece in pieces), pieces[-1].ended == Ended("end")
        plain, _ = drawn(checkpoint, "", replace(config, stop=None), number)
        whole = checkpoint.vocabulary.decode(plain)
        assert text == (whole[: whole.index("a") + 1] if "a" in whole else whole)
        assert is_ended == ("a" not in whole and plain[-1] == checkpoint.vocabulary.end)
        stopped, ended = stopped + text.endswith("a"), ended + is_ended
    assert stopped
    assert ended


@pytest.fixture
def model() -> Pretrained:
    """A model of lines in a run's folder."""
    RUN.parent.mkdir(parents=True)
    save(RUN, model_of())
    return load(RUN.parent)


def test_python_writes_documents(model: Pretrained) -> None:
    """The text has no end in it, and is that of the loop of draws."""
    config = SamplingConfig(length=50)
    for number in range(5):
        ids, _ = drawn(model.checkpoint, "a", config, number)
        assert model.sample("a", length=50, number=number) == model.vocabulary.decode(ids)
    assert model.samples(5, "a", length=50) == [model.sample("a", length=50, number=number) for number in range(5)]


def test_the_command_writes_one_document_a_line(model: Pretrained, command: Command) -> None:
    """No rules between them, nor headings for a row of temperatures: it is no terminal."""
    texts = model.samples(6, "b", length=50)
    result = command("sample", "--prime", "b", "--count", "6", "--length", "50")
    assert result.out == "".join(f"b{text}\n" for text in texts)
    row = command("sample", "--prime", "b", "--temperature", "0.8,0.8001", "--count", "2", "--length", "50").out
    assert row.count("\n") == 4
    assert "--" not in row


def test_json_says_whether_the_document_ended(model: Pretrained, command: Command) -> None:
    """Whose log-probability is that of no character."""
    result = command("sample", "--count", "8", "--length", "12", "--json")
    for number, line in enumerate(result.out.splitlines()):
        said = json.loads(line)
        ids, likely = drawn(model.checkpoint, "", SamplingConfig(length=12), number)
        is_ended = ids[-1] == model.vocabulary.end
        assert said["ended_by"] == ("end" if is_ended else "length")
        assert said["text"] == model.vocabulary.decode(ids)
        np.testing.assert_allclose(said["log_probabilities"], likely[: len(likely) - is_ended], atol=1e-4)


# Writing together.


def session_of(checkpoint: Checkpoint, prime: str = "ab") -> Session:
    """A session that begins with a prime."""
    engine = make_engine(checkpoint.model, checkpoint.parameters)
    return Session(engine, checkpoint.vocabulary, checkpoint.vocabulary.encode(prime), SamplingConfig())


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_session_shows_the_end_and_takes_it(as_bytes: bool) -> None:
    """As a character of the menu, called <end>; in the text it is a line end, and another document begins."""
    session = session_of(model_of(as_bytes=as_bytes))
    characters = session.choices().characters
    place = [one.text for one in characters].index("<end>")
    assert characters[place].ids == (session.vocabulary.end,)
    session.take("character", place + 1)
    assert session.text == "ab\n"
    session.add("ba")
    assert session.text == "ab\nba"
    assert session.encoded() == b"ab\nba"
    session.undo(2)
    assert session.text == "ab"


@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_a_session_draws_stops_at_the_end(as_bytes: bool) -> None:
    """A number of characters, a line, a word: each ends with the document at the latest."""
    session = session_of(model_of(as_bytes=as_bytes))
    for _ in range(8):
        before = session.text
        written = "".join(session.write(500))
        assert session.text == before + written
        assert written.endswith("\n")
        assert written.count("\n") == 1
    written = "".join(session.write_line())
    assert written.endswith("\n")
    for _ in range(20):
        before = session.text
        written = "".join(session.write_word())
        assert as_bytes or session.text == before + written  # a character of bytes may go on in the next word
        assert written.count("\n") == written.endswith("\n")


def test_no_word_is_looked_for_behind_the_end() -> None:
    """The end ends a word, as a separator does: the probabilities of all words add up to less than 1."""
    checkpoint = model_of(characters=" ab")
    engine, vocabulary = make_engine(checkpoint.model, checkpoint.parameters), checkpoint.vocabulary
    words = WordCharacters(vocabulary)
    logits, state = engine.read(prime_ids(vocabulary, [1]), engine.zero_state(1))
    found = likeliest_words(engine, words, logits, state, words.end([1]), count=20, steps=200)
    assert found.ranking
    for ids, probability in found.ranking:
        assert vocabulary.end not in ids
        likely, here, at = 0.0, logits, state
        for id_ in ids:
            likely += log_probabilities(here[0])[id_]
            here, at = engine.step([id_], at)
        ends = np.exp(log_probabilities(here[0]))[[0, 3]].sum()  # a space, or the end
        assert probability == pytest.approx(np.exp(likely) * ends, rel=1e-4)
