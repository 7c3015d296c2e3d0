"""Writing together: the word search against every string there is, exact undo, sessions on pipes and terminals."""

from __future__ import annotations

import doctest
import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.display import menu
from charrnn.display.menu import Menu
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.inference.distribution import log_probabilities, probabilities
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.sampling.cowriting import Session
from charrnn.sampling.next_words import WordCharacters, likeliest_words
from charrnn.sampling.sampler import read_prime, sample
from charrnn.settings.config import ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command, Result
from tests.kit.tiny import tiny

try:
    import readline

    _READLINE = readline.__doc__ or ""
except ImportError:
    _READLINE = ""
needs_readline = pytest.mark.skipif("GNU" not in _READLINE, reason="needs a Python with GNU readline")
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
ALPHABET = "\n 'ab."


def _parameters(config: ModelConfig, size: int, seed: int, scale: float) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = parameter_shapes(config, size)
    return {name: (scale * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def _engine(size: int, *, seed: int = 0, scale: float = 1.0, kind: Callable[..., Any] = make_engine) -> Any:
    """A model of random numbers over `size` characters."""
    config = ModelConfig(cell="lstm", num_layers=2, hidden_size=7, embedding_size=3)
    return kind(config, _parameters(config, size, seed, scale))


def _session(text: str = "a b", *, engine: Any = None, unknown: Any = "error", **settings: Any) -> Session:
    vocabulary = Vocabulary.of(ALPHABET)
    engine = engine or _engine(len(vocabulary))
    return Session(engine, vocabulary, vocabulary.encode(text).tolist(), SamplingConfig(**settings), unknown=unknown)


def _bits(state: Any) -> list[bytes]:
    """Every array of a state."""
    parts = astuple(state) if is_dataclass(state) and not isinstance(state, type) else state
    if isinstance(parts, np.ndarray):
        return [parts.tobytes()]
    return [bits for part in parts if part is not None for bits in _bits(part)]


# The search for words.


def _words_in(text: str) -> list[tuple[int, int]]:
    """Where the words of `text` begin and end, by another definition: letters that single apostrophes may follow."""
    return [match.span() for match in re.finditer("[ab](?:'?[ab])*'?", text)]


def _new_words(text: str, string: str) -> list[tuple[int, int]]:
    return [span for span in _words_in(text + string) if span[1] > len(text)]


def _is_candidate(text: str, string: str) -> bool:
    """Whether `string` completes the word that `text` ends with, or begins and completes the next one."""
    return [end for _, end in _new_words(text, string)] == [len(text + string)]


def _goes_on(text: str, character: str) -> bool:
    return _words_in(text + character)[-1:] == [(_words_in(text)[-1][0], len(text) + 1)]


def _every_word(network: Network, vocabulary: Vocabulary, text: str, longest: int) -> tuple[dict[str, float], float]:
    """All candidates of at most `longest` characters with their probabilities, and the likeliest longer beginning."""
    logits, state = read_prime(network, vocabulary, vocabulary.encode(text))
    V = len(vocabulary)
    strings, likely, found = [""], np.ones(1), {}
    for _ in range(longest):
        following = np.exp(log_probabilities(logits))
        lanes, ids = (grid.ravel() for grid in np.meshgrid(np.arange(len(strings)), np.arange(V), indexing="ij"))
        longer = [strings[lane] + vocabulary.characters[id_] for lane, id_ in zip(lanes, ids, strict=True)]
        is_alive = [_is_candidate(text, string) or not _new_words(text, string) for string in longer]
        likely = (likely[:, None] * following).ravel()[is_alive]
        strings = [string for string, alive in zip(longer, is_alive, strict=True) if alive]
        logits, state = network.step(ids[is_alive], network.take(state, lanes[is_alive].tolist()))
        following = np.exp(log_probabilities(logits))
        for place, string in enumerate(strings):
            if _is_candidate(text, string):
                ends = [not _goes_on(text + string, character) for character in vocabulary.characters]
                found[string] = float(likely[place] * following[place][ends].sum())
    return found, float(likely.max())


@pytest.mark.parametrize("text", ["", "a b", "ab ", "b'", "ba''", ".\n"])
def test_the_search_finds_what_trying_every_string_finds(text: str) -> None:
    """Ten likeliest of the thousands of strings, in order, with their probabilities; on the fast engine, too."""
    vocabulary = Vocabulary.of(ALPHABET)
    network = _engine(len(vocabulary), seed=3, scale=1.4, kind=Network)
    every, open_ = _every_word(network, vocabulary, text, longest=6)
    expected = sorted(every.items(), key=lambda item: -item[1])[:10]
    assert expected[-1][1] > open_, "the reference itself must be exact"
    characters = WordCharacters(vocabulary)
    ids = vocabulary.encode(text).tolist()
    for engine in (network, _engine(len(vocabulary), seed=3, scale=1.4)):
        for lanes in (1, 7, 32):
            logits, state = read_prime(engine, vocabulary, ids)
            words = likeliest_words(engine, characters, logits, state, characters.end(ids), steps=2000, lanes=lanes)
            assert words.is_exact
            assert [vocabulary.decode(word) for word, _ in words.ranking] == [word for word, _ in expected]
            np.testing.assert_allclose([p for _, p in words.ranking], [p for _, p in expected], rtol=1e-4)


def test_a_search_that_is_cut_short_says_so() -> None:
    """What it has found is in order and has the right probabilities; fewer steps than that find nothing."""
    vocabulary = Vocabulary.of(ALPHABET)
    network = _engine(len(vocabulary), seed=3, kind=Network)
    every, _ = _every_word(network, vocabulary, "a ", longest=3)
    characters = WordCharacters(vocabulary)
    logits, state = read_prime(network, vocabulary, vocabulary.encode("a "))
    for steps in (0, 1, 2):
        words = likeliest_words(network, characters, logits, state, characters.end([3, 1]), steps=steps, lanes=4)
        assert not words.is_exact
        shares = [share for _, share in words.ranking]
        assert shares == sorted(shares, reverse=True)
        assert bool(shares) == (steps > 0)
        for word, share in words.ranking:
            assert share == pytest.approx(every[vocabulary.decode(word)], rel=1e-4)


def test_what_makes_up_words() -> None:
    """Letters and marks of any script, digits, underscores; apostrophes and joiners inside, not quotes."""
    text = "Zaß3_天\u0301\u0e33'\u2019\u200d \n.,-\"\u201c\u2014("
    vocabulary = Vocabulary.of(text)
    characters = WordCharacters(vocabulary)

    def inside(text: str) -> str:
        ids = vocabulary.encode(text).tolist()
        return "".join("w" if characters.end(ids[: place + 1]) else "." for place in range(len(ids)))

    assert inside("Zaß3_天\u0301\u0e33") == "wwwwwwww"
    assert inside("a'a \u2019a\u2019 'a''a a\u200da") == "www." + ".ww" + ".." + "ww.w" + "." + "www"
    assert inside(' \n.,-"\u201c\u2014(') == "........."
    raw = WordCharacters(Vocabulary.of_bytes())
    assert [id_ for id_ in range(256) if raw.core[id_]] == [
        *b"0123456789", *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz", *range(0x80, 0x100),
    ]  # fmt: skip
    assert np.flatnonzero(raw.joiners).tolist() == [ord("'")]


def test_a_vocabulary_without_words_or_without_anything_else() -> None:
    """Nothing is found where no word begins, or where none ends."""
    for text in (" .", "ab"):
        vocabulary = Vocabulary.of(text)
        session = Session(_engine(2), vocabulary, [], SamplingConfig())
        assert session.choices().words == ()
        assert len(session.choices().characters) == 2
        with pytest.raises(UsageError, match="no word number 1"):
            session.take("word", 1)


# The session.


def test_the_characters_shown_are_the_models_own() -> None:
    """The softmax at temperature 1, whatever the settings of drawing are."""
    session = _session(temperature=0.1, top_k=1)
    expected = probabilities(session.now.logits[0], SamplingConfig(temperature=1.0))
    shown = session.choices().characters
    assert [choice.ids for choice in shown] == [(id_,) for id_ in np.argsort(-expected)]
    np.testing.assert_allclose([choice.probability for choice in shown], np.sort(expected)[::-1])


@pytest.mark.parametrize("kind", [make_engine, Network])
def test_undo_restores_every_bit(kind: Callable[..., Any]) -> None:
    """After any deed, text, logits and state are what they were, and what is drawn from there is, too."""
    session = _session(engine=_engine(len(ALPHABET), kind=kind))
    deeds: list[Callable[[], Any]] = [
        lambda: session.take("word", 3),
        lambda: list(session.write(70)),
        lambda: session.add("ab. b"),
        lambda: list(session.write_line()),
        lambda: session.take("character", 2),
        lambda: list(session.write_word()),
    ]
    before = []
    for deed in deeds:
        before.append((session.ids, session.now.logits.tobytes(), _bits(session.now.state), session.choices()))
        deed()
        assert len(session) > len(before[-1][0])
    for ids, logits, state, choices in reversed(before):
        assert session.undo() == 1
        assert (session.ids, session.now.logits.tobytes(), _bits(session.now.state)) == (ids, logits, state)
        assert session.choices() == choices
    with pytest.raises(UsageError, match="nothing to undo"):
        session.undo()
    fresh = _session(engine=_engine(len(ALPHABET), kind=kind))
    for _ in range(3):  # a drawing that was undone has used up its number
        next(fresh.write(1))
        fresh.undo()
    assert "".join(session.write(90)) == "".join(fresh.write(90))
    assert _bits(session.now.state) == _bits(fresh.now.state)


@pytest.mark.parametrize("kind", [make_engine, Network])
def test_redo_restores_the_very_same_moments(kind: Callable[..., Any]) -> None:
    """The state is the object it was before the undo, several times over; a new change of the text ends that."""
    session = _session(engine=_engine(len(ALPHABET), kind=kind))
    moments, texts = [session.now], [session.text]
    for deed in (lambda: session.add("ab."), lambda: list(session.write(70)), lambda: session.take("word", 2)):
        deed()
        moments.append(session.now)
        texts.append(session.text)
    for _ in range(3):
        assert session.undo(3) == 3
        assert session.now is moments[0]
        for moment, text in zip(moments[1:], texts[1:], strict=True):
            assert session.redo() == 1
            assert session.now is moment
            assert session.text == text
    assert session.undo(2) == 2
    assert session.redo(9) == 2
    assert session.now is moments[3]
    with pytest.raises(UsageError, match="nothing to redo"):
        session.redo()
    session.undo(2)
    session.add("b")
    with pytest.raises(UsageError, match="nothing to redo"):
        session.redo()
    assert session.undo(9) == 2
    assert session.now is moments[0]


def test_several_changes_are_undone_at_once() -> None:
    """And no more than there are."""
    session = _session("a")
    for text in ("a", "b", "'", " "):
        session.add(text)
    assert session.undo(3) == 3
    assert session.text == "aa"
    assert session.undo(3) == 1
    assert session.text == "a"


def test_the_first_drawing_is_what_sample_writes() -> None:
    """The same random stream, whether drawn in chunks or not; and in the end the same state."""
    settings: dict[str, Any] = {"temperature": 0.9, "top_k": 4, "seed": 5, "length": 100}
    session = _session(**settings)
    engine, vocabulary = _engine(len(ALPHABET)), Vocabulary.of(ALPHABET)
    ids = vocabulary.encode("a b").tolist()
    written = "".join(sample(engine, vocabulary, ids, SamplingConfig(**settings)))
    assert "".join(session.write(100)) == written
    assert session.text == "a b" + written
    _, state = read_prime(engine, vocabulary, vocabulary.encode(session.text))
    for ours, theirs in zip(_bits(session.now.state), _bits(state), strict=True):
        np.testing.assert_allclose(np.frombuffer(ours, np.float32), np.frombuffer(theirs, np.float32), atol=1e-6)


def test_drawing_again_gives_something_new_and_the_same_deeds_the_same() -> None:
    """A drawing that was undone has used up its number."""

    def texts() -> list[str]:
        session = _session()
        found = []
        for _ in range(3):
            found.append("".join(session.write(40)))
            session.undo()
        return found

    assert texts() == texts()
    assert len(set(texts())) == 3


def test_a_line_ends_with_the_first_line_end_and_a_word_with_the_word() -> None:
    """Both are beginnings of what the same drawing writes when nothing stops it."""
    for seed in range(12):
        for text in ("a b", "a ", "b'", ""):
            free = "".join(_session(text, seed=seed).write(1000))
            line = "".join(_session(text, seed=seed).write_line())
            assert line == free[: free.find("\n") + 1 or None]
            word = "".join(_session(text, seed=seed).write_word())
            assert free.startswith(word)
            assert _is_candidate(text, word)
            assert len(word) == 1000 or not _goes_on(text + word, free[len(word)])


def test_a_line_that_does_not_end() -> None:
    """After 1,000 characters it is given up, and where there are no line ends it is not begun."""
    session = _session("a", engine=_Always(ALPHABET.index("a") - 1))
    assert len("".join(session.write_line())) == 1000
    assert len("".join(session.write_word())) == 1000
    with pytest.raises(UsageError, match="no line end"):
        Session(_engine(2), Vocabulary.of("ab"), [0], SamplingConfig()).write_line()
    with pytest.raises(UsageError, match="write 0 characters"):
        session.write(0)


class _Always:
    """A model that writes one character for ever."""

    def __init__(self, id_: int) -> None:
        self._config = ModelConfig(cell="rnn", num_layers=1, hidden_size=2, embedding_size=2)
        arrays = _parameters(self._config, len(ALPHABET), 0, 0.0)
        arrays["decoder.bias"][id_] = 90.0
        self._network = Network(self._config, arrays)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


class _Switched:
    """An engine that another one can take the place of."""

    def __init__(self, engine: Any) -> None:
        self.current = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current, name)


def test_temperature_nothing_writes_the_likeliest() -> None:
    """What is written is what picking the first character over and over gives, from the moment it is set."""
    lines = []
    for seed in range(8):
        session, greedy = (_session(engine=_engine(len(ALPHABET), seed=seed)) for _ in range(2))
        session.set_temperature(0)
        lines.append("".join(session.write_line()))
        for _ in lines[-1][:50]:
            greedy.take("character", 1)
        assert session.text[:53] == greedy.text
    assert any(line.endswith("\n") for line in lines)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--temperature is"):
            session.set_temperature(wrong)
    assert session.config.temperature == 0


def test_picking_is_typing() -> None:
    """What is picked leads where typing the same leads, bit for bit."""
    for number in range(1, 6):
        picked, typed = _session(), _session()
        word = picked.choices().words[number - 1].text
        picked.take("word", number)
        character = picked.choices().characters[number - 1].text
        picked.take("character", number)
        assert typed.add(word) == len(word)
        typed.add(character)
        assert picked.text == typed.text == "a b" + word + character
        assert _bits(picked.now.state) == _bits(typed.now.state)
        assert picked.choices() == typed.choices()


def test_who_stops_iterating_keeps_what_was_written() -> None:
    """As one change; and a drawing ends when the text has changed otherwise."""
    session = _session()
    pieces = session.write(10**9)
    kept = next(pieces) + next(pieces)
    assert session.text == "a b" + kept
    session.add("ab")
    assert list(pieces) == []
    assert session.text == "a b" + kept + "ab"
    assert session.undo(2) == 2
    assert session.text == "a b"


def test_own_text_that_the_model_does_not_know() -> None:
    """By policy an error that names it and changes nothing, left out, or its nearest."""
    session = _session()
    with pytest.raises(TextError, match="U\\+0078 LATIN SMALL LETTER X"):
        session.add("axb")
    assert session.text == "a b"
    skipping = _session(unknown="skip")
    assert (skipping.add("axB"), skipping.text) == (1, "a ba")
    assert (skipping.add("xyz"), skipping.text) == (0, "a ba")
    assert skipping.undo() == 1
    replacing = _session(unknown="replace")
    assert (replacing.add("A\u2019B"), replacing.text) == (3, "a ba'b")


def test_bytes() -> None:
    """Own text goes in as UTF-8; what is proposed is shown with the bytes that the text has begun."""
    vocabulary = Vocabulary.of_bytes()
    engine = _engine(256, scale=2.0)
    session = Session(engine, vocabulary, [*b"x\xe2\x82"], SamplingConfig())
    assert session.text == "x\ufffd"
    shown = {choice.ids[0]: choice.text for choice in session.choices().characters}
    session.add("\u20ac")
    assert session.ids == [*b"x\xe2\x82\xe2\x82\xac"]
    session.undo()
    for id_, text in shown.items():
        assert text == vocabulary.decode([0xE2, 0x82, id_])
    session.add("\udcac ")  # a byte that is no UTF-8, as Python hands it over
    assert (session.text, session.encoded()) == ("x\u20ac ", b"x\xe2\x82\xac ")
    for choice in (*session.choices().characters, *session.choices().words):
        lonely = len(choice.ids) == 1 and choice.ids[0] >= 0xC0
        assert choice.text == (f"<{choice.ids[0]:02X}>" if lonely else vocabulary.decode(choice.ids))
    assert any(choice.ids[-1] >= 0x80 for choice in session.choices().words)
    session.take("word", 1)
    assert len("".join(session.write(30)).encode("utf-8")) >= 30
    assert len(session.encoded()) == len(session)


def test_weights_that_are_too_large() -> None:
    """An error of the checkpoint, at the beginning or later, and the text stays."""
    good = _engine(len(ALPHABET))
    config = ModelConfig(cell="lstm", num_layers=2, hidden_size=7, embedding_size=3)
    arrays = _parameters(config, len(ALPHABET), 0, 1.0)
    arrays["decoder.bias"].fill(np.inf)
    bad = make_engine(config, arrays)
    with pytest.raises(CheckpointError, match="not finite"):
        _session(engine=bad)
    for deed in (
        lambda session: session.add("a"),
        lambda session: list(session.write(3)),
        lambda session: session.choices(),
    ):
        engine = _Switched(good)
        session = _session(engine=engine)
        engine.current = bad
        with pytest.raises(CheckpointError, match="not finite"):
            deed(session)
        assert session.text == "a b"


def test_the_examples() -> None:
    """In the documentation of both."""
    assert doctest.testmod(menu).failed == 0


# The menu.


class _Terminal(io.StringIO):
    """A terminal that takes anything."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def _drawn(stream: io.StringIO) -> str:
    shown = Menu(stream)
    words = [(" the", 0.5), ("\n天地玄黄", 0.25), ("\x1b[31m\u202e", 0.1), ("x" * 60, 0.01), ("\u0301a", 0.0001)]
    characters = [(" ", 0.9996), ("\t", 0.1), ("\u200b", 0.05), ("\xa0", 0.01), ("天", 0.001), ("a", 0.0)]
    shown.tail("天地\x1b[2J \t|" * 30 + "\nthe end  ", 5)
    shown.proposals(words, characters)
    shown.proposals([], characters[:1])
    shown.say("a\x1bb")
    shown.keys([("1", "takes it"), ("+TEXT", "writes it " * 9)])
    return stream.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_menu_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """No row is wider, columns are aligned by cells, and nothing that cannot be seen is left."""
    monkeypatch.setenv("COLUMNS", str(width))
    text = _drawn(io.StringIO())
    rows = text.split("\n")
    assert all(cell_len(row) <= width for row in rows), text
    assert text.replace("\n", "").isprintable()
    for sign in ("\u2423the", "\u21b5天地", "\u241b[31m", "\u25cc\u0301a", "\u2039U+200B\u203a", "<0.1%", "100%"):
        assert sign in text
    if width >= 40:
        beside = [row for row in rows if re.match("[1-5] .* c[1-5] ", row)]
        assert len({cell_len(row[: row.index(" c")]) for row in beside}) == 1
        assert len(beside) == 5
    else:
        assert not re.search("^1 .* c1 ", text, re.MULTILINE)


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a pipe, nor NO_COLOR, nor a dumb terminal gets any."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    assert "\x1b" not in _drawn(io.StringIO())
    coloured = _drawn(_Terminal())
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", coloured)
    assert not re.search(r"\x1b(?!\[[0-9;]*m)", coloured), "nothing but colour"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]m", _drawn(_Terminal()))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in _drawn(_Terminal())


def test_a_terminal_that_is_not_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs have stand-ins, the rest is spelled out, and columns keep their places."""
    monkeypatch.setenv("COLUMNS", "80")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True)
    Menu(stream).tail("天 a")
    Menu(stream).proposals([(" the", 0.5), ("天", 0.5)], [("\n", 1.0)])
    rows = raw.getvalue().decode().splitlines()
    assert rows[0] == "\\u5929 a|"
    assert rows[2].startswith("1 _the   50.0% ####")
    assert rows[3].startswith("2 \\u5929 50.0% ####")
    assert "c1 \\n 100%" in " ".join(rows[2].split())


def test_a_stream_that_is_gone_is_given_up() -> None:
    """Nobody needs to see a menu."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    assert _drawn(Broken()) == ""


# Whole sessions, in this process.

PRIME = "ab cd"


@pytest.fixture
def converse(monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Runs `charrnn sample --interactive` on lines (or bytes): status, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(script: Sequence[str] | bytes, *options: str, prime: str = PRIME, checkpoint: Any = None) -> Result:
        checkpoints.save(Path("tiny.safetensors"), checkpoint or tiny())
        given = script if isinstance(script, bytes) else "".join(f"{line}\n" for line in script).encode()
        return command("sample", "-c", "tiny.safetensors", "--interactive", "--prime", prime, *options, stdin=given)

    return run


SCRIPT = ["3", "+ gab", "", "l", "u", "t 1.3", "l", "c2", "g 70", "u 2", "t 0", "g 9", "10", "g 40", "u", "g 40", "q"]


def test_a_session_reproduces(converse: Command) -> None:
    """The same script gives the same text and the same menus; another seed another text."""
    first = converse(SCRIPT)
    assert first[0] == 0
    assert first[1].startswith(PRIME)
    assert len(first[1]) > 60
    assert converse(SCRIPT) == first
    assert converse(SCRIPT, "--seed", "2")[1] != first[1]


def test_a_session_is_what_the_library_does(converse: Command) -> None:
    """The command line adds nothing to the text, not even a last line end, and what was undone has never been."""
    saved = tiny()
    session = Session(
        make_engine(saved.model, saved.parameters), saved.vocabulary, saved.vocabulary.encode(PRIME), SamplingConfig()
    )
    session.take("word", 3)
    session.add(" gab")
    for pieces in (session.write_word(), session.write_line()):
        list(pieces)
    session.undo()
    session.set_temperature(1.3)
    list(session.write_line())
    session.take("character", 2)
    assert converse(SCRIPT[:8])[:2] == (0, session.text)
    assert converse([*SCRIPT[:8], "u 99"])[:2] == (0, PRIME)


def test_menus_are_on_stderr_and_show_what_can_be_picked(converse: Command) -> None:
    """The keys of the menu give what stands behind them; the text is on stdout alone."""
    _, out, err = converse(["m", "q"])
    assert out == PRIME
    assert err.count(f"{PRIME}\u258c\n") == 2
    rows = re.findall(r"^ *(\d+) (\S+) +[0-9.]+% \S+ +c(\d+) (\S+)", err, re.MULTILINE)
    assert len(rows) >= 18
    signs = str.maketrans("\u2423\u21b5", " \n")
    for word_key, word, character_key, character in rows[:9]:
        for key, shown in ((word_key, word), (f"c{character_key}", character)):
            assert converse([key])[1] == PRIME + shown.translate(signs)


def test_own_text_is_taken_as_it_stands(converse: Command) -> None:
    r"""Spaces before and after it, too; \n and \\ are what they mean; the last line counts without an end."""
    assert converse([r"+  a \nb  "])[1] == PRIME + "  a \nb  "
    assert converse(b"+ a\r\n+gh")[1] == PRIME + " agh"
    saved = tiny()
    vocabulary = Vocabulary.of("\n \\\t+abcdef")
    odd = replace(saved, vocabulary=type(vocabulary)(vocabulary.code_points[: len(saved.vocabulary)].tolist()))
    assert converse([r"+\\a\tb++"], prime="", checkpoint=odd)[1] == "\\a\tb++"


ERRORS = {
    "hello": ("'l' U+006C", "'o' U+006F", "nothing was added; type it without them"),
    "ab\x1b[2J": ("'\\x1b' U+001B",),
    "0": ("no word number 0", "1 to 10"),
    "11": ("no word number 11", "1 to 10; +11 writes 11 itself"),
    "c11": ("no character number 11", "1 to 10; +c11 writes c11 itself"),
    "9" * 30: ("'9' U+0039 DIGIT NINE (30 times)",),
    "+": ("adds nothing",),
    "+xa\u00e9": ("'x' U+0078", "U+00E9 LATIN SMALL LETTER E WITH ACUTE", "near characters (e for \u00e9)"),
    "+a\\qb": ("\\q", "\\\\"),
    "+a\\": ("the text holds \\", "\\\\"),
    "g": ("g needs a whole number", "g 3; +g writes g itself"),
    "g 0": ("cannot write 0 characters", "at least 1"),
    "u": ("nothing to undo",),
    "r": ("nothing to redo",),
    "t -1": ("temperature cannot be -1", "at least 0, for example t 0.5"),
    "p 0": ("top-p cannot be 0", "above 0 and at most 1, for example p 0.9"),
    "p 1.5": ("top-p cannot be 1.5", "at most 1"),
    "s": ("no name", "s story.txt"),
    "s folder": ("folder is a folder", "story.txt"),
    "s! folder": ("folder is a folder",),
    "s there": ("there exists already", "s! there"),
    "s folder/no/story": ("cannot go on writing folder/no/story",),
    "s " + "x" * 300: ("cannot go on writing xxx",),
    "s a\0b": ("no name",),
}


def test_a_mistake_gets_a_message_and_changes_nothing(converse: Command) -> None:
    """Each has its own, with what to do; the session goes on."""
    Path("folder").mkdir()
    Path("there").write_text("mine")
    status, out, err = converse([*ERRORS, "+ gh"])
    assert (status, out) == (0, PRIME + " gh")
    assert "Traceback" not in err
    assert "--" not in err, "no option of the command line, which nobody has typed here"
    assert re.sub(r"[\n\t]", "", err).isprintable()
    answers = re.split(r"^> .*\n", err, flags=re.MULTILINE)[1:]
    assert len(answers) >= len(ERRORS)
    for answer, said in zip(answers, ERRORS.values(), strict=False):
        assert answer.startswith("error: ")
        assert all(words in answer for words in said), (answer, said)
    assert Path("there").read_text() == "mine"
    assert not list(Path("folder").iterdir())


def test_unknown_characters_by_policy(converse: Command) -> None:
    """As `--unknown` says; what is not even UTF-8 gets a message."""
    assert converse(["+ Ah!x"], "--unknown", "skip")[1] == PRIME + " h"
    assert converse(["+ Ah"], "--unknown", "replace")[1] == PRIME + " ah"
    status, out, err = converse(b"+\xff\n+ gh\n")
    assert (status, out) == (0, PRIME + " gh")
    assert "U+DCFF" in err


def test_other_notices(converse: Command) -> None:
    """Help, temperature and top-p, and an undo or a redo that comes to the end of what there is."""
    err = converse(["?", "t", "p 0.9", "t 0.25", "p 1", "+ab", "u 5", "r 2"])[2]
    assert "+TEXT" in err
    assert "Ctrl-C" in err
    assert re.findall("^temperature .*", err, re.MULTILINE) == [
        "temperature 0.8, top-p off", "temperature 0.8, top-p 0.9", "temperature 0.25, top-p 0.9",
        "temperature 0.25, top-p off",
    ]  # fmt: skip
    assert "1 change undone, and there are no more" in err
    assert "1 change redone, and there are no more" in err


def test_a_line_that_is_no_command_is_text(converse: Command) -> None:
    """A space joins words, and nothing else is changed; what looks like a command is written with a + before it."""
    assert converse(["gah", "", "u"])[1] == PRIME + " gah"
    assert converse(["gah bad", "a feed  ", "cab", "+ge", " ha"])[1] == PRIME + " gah bad a feed  cabge ha"
    assert converse(["a b\\n", "ad"])[1] == PRIME + " a b\nad"
    assert converse(["gah"], prime="")[1] == "gah"
    assert converse(["+g", "+ a", "c h", "g e"])[1] == PRIME + "g a c h g e"
    assert converse(["2 a"])[2].count("'2' U+0032") == 1


def test_a_line_that_nearly_is_a_command_says_so(converse: Command) -> None:
    """It is text all the same; other text gets no such line."""
    notice = "added as text; u takes it back, q quits\n"
    status, out, err = converse(["g e", "H b", "g h a", "+g e", "G"], "--unknown", "skip")
    assert (status, out) == (0, PRIME + " g e  b g h ag e ")
    answers = re.split(r"^> .*\n", err, flags=re.MULTILINE)[1:]
    assert [answer.endswith(notice) for answer in answers[:4]] == [True, False, False, False]
    assert len(notice) <= 40


def test_what_was_undone_can_be_redone(converse: Command) -> None:
    """Several times, until the text changes otherwise."""
    assert converse(["ga", "ha", "u 2", "r"])[1] == PRIME + " ga"
    assert converse(["ga", "ha", "u", "u", "r 2"])[1] == PRIME + " ga ha"
    status, out, err = converse(["ga", "ha", "u 2", "fa", "r"])
    assert (status, out) == (0, PRIME + " fa")
    assert "nothing to redo" in err


def test_top_p_cuts_what_the_model_draws(converse: Command) -> None:
    """Of a tiny share of the probability only the likeliest is left, as at a temperature of 0; p 1 turns it off."""
    greedy = converse(["t 0", "g 30"])[1]
    assert converse(["p 1e-9", "g 30"])[1] != greedy, "1e-9 is no number that anyone types"
    assert converse(["p 0.000001", "g 30"])[1] == greedy
    assert converse(["p .000001", "p 1", "g 30"])[1] == converse(["g 30"])[1] != greedy


def test_saving(converse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of that moment, whole; over a file only when that is said; ~ is the user's home."""
    monkeypatch.setenv("HOME", str(Path.cwd()))
    status, out, err = converse(["+ a\\n", "s my story.txt", "s ~/again", "+gh", "s again", "s! again", "u"])
    assert (status, out) == (0, PRIME + " a\n")
    assert Path("my story.txt").read_text() == PRIME + " a\n"
    assert Path("again").read_text() == PRIME + " a\ngh"
    assert "saved 8 characters to my story.txt" in err
    assert sorted(path.name for path in Path().iterdir()) == ["again", "my story.txt", "tiny.safetensors"]


def test_a_session_in_bytes(converse: Command) -> None:
    """Any text and any byte can be typed; the file holds the bytes."""
    status, out, err = converse(b"+ \xe2\x82\xac\xff\ns raw\ng 20\n", prime="\u00fc", checkpoint=tiny(as_bytes=True))
    assert status == 0
    assert out.encode("utf-8", "surrogateescape").startswith("\u00fc \u20ac".encode() + b"\xff")
    assert Path("raw").read_bytes() == "\u00fc \u20ac".encode() + b"\xff"
    assert "saved 7 bytes" in err


def test_a_model_never_drives_the_terminal(converse: Command) -> None:
    """What it has learned of escape sequences is shown, in text and menu."""
    saved = tiny()
    evil = type(saved.vocabulary)(sorted(map(ord, "\x1b\x07\n\u202e\x9b[ab c")))
    assert len(evil) == len(saved.vocabulary)
    status, out, err = converse(["g 90", "1", "l"], prime="a\x1b[", checkpoint=replace(saved, vocabulary=evil))
    assert status == 0
    assert "\x1b" in out
    assert "a\u241b[" in err
    assert not set("\x1b\x07\u202e\x9b") & set(err)


def test_weights_that_are_too_large_end_the_session(converse: Command) -> None:
    """With the status of a bad checkpoint."""
    saved = tiny()
    for array in saved.parameters.values():
        array.fill(3e38)
    status, out, err = converse(["l"], checkpoint=saved)
    assert (status, out) == (4, "")
    assert "not finite" in err


# Whole sessions, in processes of their own.


def _spawn(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    checkpoints.save(Path("tiny.safetensors"), tiny())
    command = [sys.executable, "-m", "charrnn", "sample", "-c", "tiny.safetensors", "--interactive", *arguments]
    return subprocess.Popen(command, **options)


def test_a_session_through_a_pipe(converse: Command) -> None:
    """The real command gives what it gives in this process."""
    expected = converse(SCRIPT)
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = _spawn("--prime", PRIME, **pipes)
    out, err = process.communicate("".join(f"{line}\n" for line in SCRIPT).encode(), timeout=60)
    assert (process.returncode, out.decode(), err.decode()) == expected


@on_posix
def test_readers_that_are_gone() -> None:
    """Without a reader of the menus the text is written all the same; without a reader of the text all is quiet."""
    reading, gone = os.pipe()
    os.close(reading)
    script = b"+ gh\ng 200\nu\n"
    without_menus = _spawn("--prime", PRIME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=gone)
    without_text = _spawn("--prime", PRIME, stdin=subprocess.PIPE, stdout=gone, stderr=subprocess.PIPE)
    os.close(gone)
    out, _ = without_menus.communicate(script, timeout=60)
    assert (without_menus.returncode, out.decode()) == (0, PRIME + " gh")
    _, err = without_text.communicate(script, timeout=60)
    assert without_text.returncode == 0
    assert b"Traceback" not in err
    assert b"Exception" not in err


class _Conversation:
    """The command on a pseudo-terminal that is its controlling one, as a person's is."""

    def __init__(self, *arguments: str, stdout: Any = None, readline: bool = True, inputrc: str = os.devnull) -> None:
        import pty
        import termios

        self._ours, self._theirs = pty.openpty()
        self.resize(24, 80)
        self._modes: Callable[[], list[Any]] = lambda: termios.tcgetattr(self._theirs)
        self._modes_before = self._modes()
        checkpoints.save(Path("tiny.safetensors"), tiny())
        code = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        )
        module = ["-m", "charrnn"]
        if not readline:
            module = ["-c", "import sys; sys.modules['readline'] = None; from charrnn.cli.app import main; main()"]
        command = ["sample", "-c", "tiny.safetensors", "--interactive", "--prime", PRIME, *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *module, *command], stdin=self._theirs, stdout=stdout or self._theirs,
            stderr=self._theirs, start_new_session=True, env={**os.environ, "TERM": "xterm", "INPUTRC": inputrc},
        )  # fmt: skip
        self.received = ""

    def see(self, expected: str, timeout: float = 60) -> None:
        """Waits until `expected` (a pattern) has come since the last time; that and all before it is taken."""
        limit = time.monotonic() + timeout
        while not (match := re.search(expected, self.received)):
            self._receive(limit)
        self.received = self.received[match.end() :]

    def _receive(self, limit: float) -> None:
        assert time.monotonic() < limit, self.received
        if select.select([self._ours], [], [], 0.2)[0]:
            self.received += os.read(self._ours, 1 << 16).decode("utf-8", "replace")
            self.received = re.sub("\x1b\\[[0-9;]*m", "", self.received)  # colours

    def resize(self, lines: int, columns: int) -> None:
        """Another size of the window."""
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        """What a keyboard sends."""
        os.write(self._ours, keys.encode())

    def leave(self) -> tuple[int, str]:
        """The exit status and the rest of what came. The terminal must be as it was."""
        limit = time.monotonic() + 60
        while self.process.poll() is None:
            self._receive(limit)
        while select.select([self._ours], [], [], 0)[0]:
            self._receive(limit)
        assert self._modes() == self._modes_before
        os.close(self._theirs)
        os.close(self._ours)
        return self.process.returncode, self.received


@pytest.fixture
def terminal() -> Iterator[Callable[..., _Conversation]]:
    """Begins conversations, and ends those that a failing test leaves behind."""
    begun: list[_Conversation] = []

    def begin(*arguments: str, **options: Any) -> _Conversation:
        begun.append(_Conversation(*arguments, **options))
        return begun[-1]

    yield begin
    for conversation in begun:
        if conversation.process.poll() is None:
            conversation.process.kill()
            conversation.process.wait()


@on_posix
def test_a_person_at_a_terminal(terminal: Callable[..., _Conversation]) -> None:
    """Picks, own text, Ctrl-C in a stretch without end, which stays written; Ctrl-D ends with the text and status 0."""
    talk = terminal()
    talk.see(r"ab cd\S*\u258c(.|\n)*> $")
    talk.type("+ gah\n")
    talk.see("gah.*\u258c(.|\n)*> $")
    talk.type("g 100000000\n")
    talk.see("(.|\n){3000}")
    talk.type("\x03")
    talk.see(r"stopped after [\d,]+ characters; u undoes them(.|\n)*> $")
    talk.type("u\n")
    talk.see("gah.*\u258c(.|\n)*> $")
    talk.type("h\n")
    talk.see("gah h.*\u258c(.|\n)*> $")
    talk.type("\x04")
    status, rest = talk.leave()
    assert status == 0
    assert rest.endswith("\r\nab cd gah h\r\n")


@on_posix
@needs_readline
@pytest.mark.parametrize("is_kept", [False, True])
def test_lines_can_be_edited_and_come_back(terminal: Callable[..., _Conversation], is_kept: bool) -> None:
    """Ctrl-A and the arrows move, up recalls; prompts and echo go to the terminal, wherever stdout leads."""
    with open("story.txt", "wb") as story:
        talk = terminal(stdout=story if is_kept else None)
    talk.see("> $")
    talk.type("ah\x01g\n")
    talk.see("ab cd .*gah.*\u258c(.|\n)*> $")
    talk.type("\x1b[A\x1b[D\x7fe\n")  # the line again, one to the left, a for e
    talk.see("gah .*geh.*\u258c(.|\n)*> $")
    talk.type("u 9\x15\x1b[A\x1b[A\n")  # Ctrl-U takes the line away; the one before the last
    talk.see("gah geh .*gah.*\u258c(.|\n)*> $")
    talk.type("q\n")
    status, rest = talk.leave()
    assert status == 0
    text = "ab cd gah geh gah"
    assert (text in rest) != is_kept
    assert Path("story.txt").read_text() == (text if is_kept else "")


@on_posix
@needs_readline
def test_another_size_of_the_window_redraws_at_once(terminal: Callable[..., _Conversation]) -> None:
    """The menu in its new width, and below it the half-typed line with the cursor where it was."""
    talk = terminal()
    talk.see("> $")
    talk.type("ah h\x01")
    talk.see("ah h")
    for columns in (50, 45, 40, 35, 30):  # as one drags it; the first may come while a key is being read
        talk.resize(40, columns)
        time.sleep(0.05)
    talk.see("\x1b\\[2J(.|\n)*words(.|\n)*characters(.|\n)*> ah h")  # one below the other, since there is no room
    talk.type("g\n")
    talk.see("ab cd .*gah h.*\u258c(.|\n)*> $")
    talk.resize(24, 80)
    talk.see("ab cd gah h.*\u258c(.|\n)*words .*characters(.|\n)*> $")
    talk.type("q\n")
    assert talk.leave()[0] == 0


@on_posix
def test_a_python_without_readline_reads_plain_lines(terminal: Callable[..., _Conversation]) -> None:
    """The terminal's own editing is left: it erases, and hands over a begun line at Ctrl-D."""
    talk = terminal(readline=False)
    talk.see("> $")
    talk.type("gab\x7fh\n")
    talk.see("gah.*\u258c(.|\n)*> $")
    talk.resize(40, 60)
    talk.type("h\x04\x04")
    status, rest = talk.leave()
    assert status == 0
    assert rest.endswith("\r\nab cd gah h\r\n")


@on_posix
@needs_readline
def test_ctrl_c_clears_a_half_typed_line(terminal: Callable[..., _Conversation]) -> None:
    """The session goes on, several times over; on an empty line Ctrl-C ends it."""
    talk = terminal()
    talk.see("> $")
    for _ in range(2):
        talk.type("+no such line")
        talk.see("such line")
        talk.type("\x03")
        talk.see("\n(\x1b\\[\\?2004h)?> $")
    talk.type("gah\n")
    talk.see("ab cd .*gah.*\u258c(.|\n)*> $")
    talk.type("\x03")
    status, rest = talk.leave()
    assert status == 130
    assert rest.endswith("\nab cd gah\r\n")


@on_posix
@needs_readline
def test_a_paste_is_text_as_it_stands(terminal: Callable[..., _Conversation]) -> None:
    """With its line ends, which a terminal sends as returns: no command, no word of the model, one change."""
    Path("inputrc").write_text("set enable-bracketed-paste off\n")  # as it is before readline 8.1
    with open("story.txt", "wb") as story:
        talk = terminal(stdout=story, inputrc="inputrc")
    talk.see("\x1b\\[\\?2004h> $")
    talk.type("\x1b[200~gah\r\r1\r  u\rq\r\x1b[201~")
    talk.type("\x15\x1b[200~gah a\r\rbad\r  a\r\x1b[201~\n")
    talk.see("gah a(.|\n)*\n  a\r\n\u258c(.|\n)*> $")
    talk.type("u\n")
    talk.see("ab cd\u258c(.|\n)*> $")
    talk.type("r\n")
    talk.see("\u258c(.|\n)*> $")
    talk.type("\x1b[200~g\rh\r\r\x1b[201~\n")
    talk.see("\u258c(.|\n)*> $")
    talk.type("q\n")
    assert talk.leave()[0] == 0
    assert Path("story.txt").read_text() == "ab cd gah a\n\nbad\n  a\ng\nh\n\n"


@on_posix
def test_ctrl_c_at_the_prompt_keeps_the_text(terminal: Callable[..., _Conversation]) -> None:
    """Status 130, and the text is where it was to go."""
    with open("story.txt", "wb") as story:
        talk = terminal(stdout=story)
    talk.see("> $")
    talk.type("+ gah\n")
    talk.see("gah.*\u258c(.|\n)*> $")
    talk.type("\x03")
    status, rest = talk.leave()
    assert status == 130
    assert "Traceback" not in rest
    assert Path("story.txt").read_text() == "ab cd gah"


@on_posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_keep_the_text_too(number: signal.Signals) -> None:
    """At the prompt, or while the model writes: the status is that of the signal."""
    for command in (b"", b"g 100000000\n"):
        process = _spawn(
            "--prime", PRIME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"+ gah\n" + command)
        seen = b""
        while not re.search(b" gah\xe2\x96\x8c(.|\n)*> " + (b"g 1(.|\n)*cd gah(.|\n){300}" if command else b""), seen):
            seen += (piece := process.stderr.read(1 << 12))
            assert piece, seen
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert out.decode().startswith("ab cd gah")
        assert (len(out) > 200) == bool(command)
        assert b"Traceback" not in err
