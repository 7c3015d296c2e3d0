"""What of samples stands in a text: both automata and the command against searches by brute force."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.novelty import with_own_text
from charrnn.cli.samples import read_samples
from charrnn.errors import TextError
from charrnn.evaluation import novelty as module
from charrnn.evaluation.automaton import Automaton, make_automaton
from charrnn.evaluation.novelty import LineTally, Novelty, line_numbers, novelty
from charrnn.native.matching import CompiledAutomaton, find_library
from charrnn.settings.config import DataConfig
from charrnn.text.corpus import load
from charrnn.text.sources import Source
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command
from tests.kit.documents import OfDocuments
from tests.kit.text import make_text
from tests.kit.tiny import tiny

needs_library = pytest.mark.skipif(find_library() is None, reason="no compiled library was built")


def _compiled(characters: np.ndarray) -> CompiledAutomaton:
    library = find_library()
    assert library is not None
    return CompiledAutomaton(library, characters)


AUTOMATA = [pytest.param(Automaton, id="python"), pytest.param(_compiled, id="compiled", marks=needs_library)]
Make = Callable[[np.ndarray], Any]


def _longest(samples: str, text: str) -> list[int]:
    """The length of the longest stretch that ends with each character and stands in the text."""
    found = []
    for end in range(1, len(samples) + 1):
        length = 0
        while length < end and samples[end - length - 1 : end] in text:
            length += 1
        found.append(length)
    return found


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<i4").astype(np.int32)


@pytest.mark.parametrize("make", AUTOMATA)
@given(st.text("ab", max_size=40) | st.text("abcd", max_size=40), st.text("ab", max_size=60), st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_the_longest_stretches_are_those_of_a_search(make: Make, samples: str, text: str, piece: int) -> None:
    """At each character, whatever repeats, however the text is cut; and each stands where it is said to end."""
    automaton = make(_codes(samples))
    for start in range(0, len(text), piece):
        automaton.read(_codes(text[start : start + piece]))
    lengths, ends = automaton.finish()
    assert lengths.tolist() == _longest(samples, text)
    for place, (length, end) in enumerate(zip(lengths.tolist(), ends.tolist(), strict=True), 1):
        assert text[end - length : end] == samples[place - length : place]


@needs_library
@pytest.mark.parametrize("kind", ["one character", "period", "words", "noise", "copy"])
def test_compiled_code_and_python_find_the_same(kind: str) -> None:
    """On longer texts, also those that are worst for a search."""
    pick = random.Random(3)
    text = make_text(9_000, 1)
    samples = {
        "one character": "a" * 3_000, "period": "ab" * 1_500, "words": make_text(3_000, 2),
        "noise": "".join(chr(pick.randrange(1, 50_000)) for _ in range(3_000)), "copy": text[2_000:5_000],
    }[kind]  # fmt: skip
    text += "a" * 2_000 + "ba" * 900
    one, other = Automaton(_codes(samples)), _compiled(_codes(samples))
    for automaton in (one, other):
        automaton.read(_codes(text))
    (lengths, ends), (same, places) = one.finish(), other.finish()
    assert np.array_equal(lengths, same)
    for where in (ends, places):
        for place, (length, end) in enumerate(zip(lengths.tolist(), where.tolist(), strict=True), 1):
            assert text[end - length : end] == samples[place - length : place]
    assert kind != "copy" or lengths.max() == 3_000


def test_the_switch_turns_compiled_code_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_COMPILED", "0")
    find_library.cache_clear()
    try:
        assert type(make_automaton(_codes("ab"))) is Automaton
    finally:
        monkeypatch.undo()
        find_library.cache_clear()


def _brute(samples: list[tuple[str, str]], text: str) -> tuple[list[dict[str, Any]], LineTally]:
    """The same figures by searches in the text between two line ends."""
    bounded = "\n" + text + ("" if text.endswith("\n") else "\n")
    found, whole = [], set(text.split("\n"))
    lines = [line for _, sample in samples for line in sample.split("\n") if line]
    for _, sample in samples:
        lengths = _longest(sample, bounded)
        grams = {n: [sample[i : i + n] for i in range(len(sample) - n + 1)] for n in module.NGRAMS}
        found.append(
            {
                "longest": max(lengths, default=0),
                "found": {n: sum(gram in bounded for gram in each) for n, each in grams.items()},
                "ngrams": {n: len(each) for n, each in grams.items()},
                "is_copy": bool(sample) and sample in bounded,
            }
        )
    return found, LineTally(len(lines), len(set(lines)), len(set(lines) & whole))


def _check(samples: list[tuple[str, str]], text: str, found: list[Novelty], lines: LineTally) -> None:
    expected, tally = _brute(samples, text)
    assert lines == tally
    for (name, sample), one, wanted in zip(samples, found, expected, strict=True):
        assert (one.name, one.characters) == (name, len(sample))
        assert {"longest": len(one.longest), "found": one.found, "ngrams": one.ngrams, "is_copy": one.is_copy} == wanted
        assert one.longest.text in sample
        bounded, start = f"\n{text}\n", one.longest.start + 1
        # What begins with the line end before the text is said to begin with the text.
        assert bounded.startswith(one.longest.text, start) or (start == 1 and bounded.startswith(one.longest.text))


_PIECES = st.lists(st.sampled_from(["ab", "abcab" * 3, "\n", "b\n", "cab" * 9, "x", "aab\n"]), max_size=14).map("".join)


@given(st.lists(_PIECES, max_size=4), _PIECES)
@settings(max_examples=150, deadline=None)
def test_the_figures_are_those_of_a_search(texts: list[str], text: str) -> None:
    """Of each sample, and of the lines of all, with characters that the text lacks."""
    samples = [(str(number), each) for number, each in enumerate(texts)]
    vocabulary = Vocabulary.of(text)
    _check(samples, text, *novelty(samples, vocabulary.encode(text), vocabulary))


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_pieces_of_the_text_change_nothing(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a sample that is cut from the text is found whole, at its line."""
    monkeypatch.setattr(module, "_PIECE", piece)
    text = make_text(2_000)
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    samples = [("cut", text[700:1_100]), ("other", make_text(300, 5)), ("mixed", text[:90] + "?!" + text[90:200])]
    done: list[tuple[int, int]] = []
    found, lines = novelty(samples, ids, vocabulary, lambda *of: done.append(of))
    _check(samples, text, found, lines)
    assert done[-1] == (2_000, 2_000)
    assert found[0].is_copy
    assert not found[2].is_copy
    assert text.startswith(found[0].longest.text, found[0].longest.start)
    starts = [one.longest.start for one in found]
    assert line_numbers(ids, starts, vocabulary) == [text[:start].count("\n") + 1 for start in starts]


def test_bytes_are_compared_as_bytes() -> None:
    """A model of bytes has one character for each of them."""
    text = "ab\xc3\xa9cd\nee\n" * 3
    vocabulary = Vocabulary.of_bytes()
    (one,), lines = novelty([("a", "b\xc3\xa9c")], np.frombuffer(text.encode("latin-1"), np.uint8), vocabulary)
    assert one.is_copy
    assert lines == LineTally(1, 1, 0)


def test_documents_are_compared_as_lines() -> None:
    """The end of a document is a line end of the samples, whether the documents hold any or not."""
    for characters in ("abc", "\nabc"):
        vocabulary = OfDocuments(map(ord, characters))
        end = [vocabulary.end]
        ids = np.array([*end, *vocabulary.encode("ab"), *end, *vocabulary.encode("cab"), *end], np.uint8)
        (one,), lines = novelty([("a", "ab\nca\ncab\nab\nb")], ids, vocabulary)
        assert lines == LineTally(5, 4, 2)
        assert one.longest.text == "ab\nca"
        assert line_numbers(ids, [1, 4], vocabulary) == [1, 2]


def test_too_many_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHARACTERS", 5)
    with pytest.raises(ValueError, match="more than 5 characters"):
        novelty([("a", "abc"), ("b", "abc")], np.zeros(9, np.uint8), Vocabulary.of("abc"))


@pytest.fixture
def text() -> str:
    """The text of a run, text.txt, whose last tenth was held out; the run's folder says so."""
    whole = make_text(3_000, 7)
    Path("text.txt").write_text(whole, "utf-8")
    held_out = {"validation": [[2_700, 3_000]], "test": []}
    corpus = {**tiny().corpus, "characters": 3_000, "held_out": held_out}
    corpus["sha256"] = hashlib.sha256(whole.encode()).hexdigest()
    checkpoint = replace(tiny(characters="".join(sorted(set(whole)))), corpus=corpus)
    file = Path("checkpoints/run/best.safetensors")
    file.parent.mkdir(parents=True)
    checkpoints.save(file, checkpoint)
    config = {"charrnn": "1", "corpus": [str(Path("text.txt").resolve())]}
    file.with_name("config.json").write_text(json.dumps(config))
    return whole


def test_eval_compares_samples_with_the_training_text_of_the_run(command: Command, text: str) -> None:
    """Found by its config.json; what was held out does not count, and no model is read."""
    training = text[:2_700]
    samples = [("a.txt", text[200:260] + "\nzzz"), ("b.txt", text[2_750:2_990])]
    for name, sample in samples:
        Path(name).write_text(sample)
    result = command("eval", "--novelty", "a.txt", "--novelty", "b.txt", "-c", "checkpoints/run", "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)["novelty"]
    expected, tally = _brute(samples, training)
    assert found["text"] == {"name": "text", "part": "train", "characters": 2_700}
    assert [one["longest"]["characters"] for one in found["samples"]] == [one["longest"] for one in expected]
    assert found["samples"][0]["longest"]["line"] == text[:200].count("\n") + 1
    assert found["longest"]["sample"] == "a.txt"
    for n in module.NGRAMS:
        share = sum(one["found"][n] for one in expected) / sum(one["ngrams"][n] for one in expected)
        assert found["ngrams"][str(n)] == pytest.approx(share, abs=1e-6)
    assert found["lines"]["different"] == tally.different
    assert (found["lines"]["copied"], found["lines"]["new"]) == (tally.copied, tally.new)
    assert command("eval", "--novelty", "b.txt", "text.txt", "--split", "validation", "--json").status == 0


def test_the_text_of_a_run_with_a_validation_text_of_its_own(command: Command, text: str) -> None:
    """It is found as it was read, and what was validated on does not count."""
    Path("a.txt").write_text(text[2_700:2_800] + "\nc a b\n")
    Path("held.txt").write_text("c a b\n" * 9)
    words = ("--hidden", "4", "--layers", "1", "--steps", "1", "--threads", "1", "--quiet")
    assert command("train", "text.txt", "--validation", "held.txt", "--name", "own", *words).status == 0
    found = json.loads(command("eval", "--novelty", "a.txt", "-c", "checkpoints/own", "--json").out)["novelty"]
    assert found["text"]["characters"] == 3_000
    assert found["longest"]["characters"] == 100
    assert found["lines"]["copied"] == _brute([("a", text[2_700:2_800] + "\nc a b\n")], text)[1].copied


def test_held_out_documents_are_not_of_the_training_text(command: Command) -> None:
    """A document that was held out is new to the model; where one was copied from is told by its place in the list."""
    names = [f"{first}{second}{third}" for first in "abcd" for second in "efgh" for third in "ijklmn"]
    Path("names.txt").write_text("\n".join(names) + "\n")
    words = ("--hidden", "4", "--layers", "1", "--steps", "1", "--threads", "1", "--quiet")
    assert command("train", "names.txt", "--documents", "lines", "--name", "own", *words).status == 0
    loaded = checkpoints.load(Path("checkpoints/own/best.safetensors"))
    whole = load([Source(Path("names.txt"), "names.txt")], loaded.data, name="names")
    held = whole.vocabulary.decode(whole.split(loaded.data).validation[1:-1]).split("\n")
    held = [name for name in names if name in "".join(held)]
    learned = [name for name in names if name not in held]
    assert held
    for sample, copied in (([held[0]], 0), ([learned[-1]], 1), (names, len(learned))):
        Path("a.txt").write_text("\n".join(sample) + "\n")
        found = json.loads(command("eval", "--novelty", "a.txt", "-c", "checkpoints/own", "--json").out)["novelty"]
        assert found["text"]["characters"] == 1 + 4 * len(learned)
        assert (found["lines"]["copied"], found["lines"]["different"]) == (copied, len(sample))
    Path("a.txt").write_text(learned[-1])
    found = json.loads(command("eval", "--novelty", "a.txt", "-c", "checkpoints/own", "--json").out)["novelty"]
    assert found["longest"]["line"] == names.index(learned[-1]) + 1


def test_other_texts_can_be_named_and_samples_piped(command: Command, text: str) -> None:
    """All of another text counts; the table and the sentences say what JSON says."""
    Path("other.txt").write_text("alpha beta\ngamma\n")
    words = ("eval", "other.txt", "--novelty", "-")
    found = json.loads(command(*words, "--json", stdin=b"gamma\ngamma\nbeta\n").out)["novelty"]
    assert found["lines"] == {"lines": 3, "different": 2, "copied": 1, "new": 1, "copied_share": 0.5}
    assert found["text"]["part"] == "all"
    said = command(*words, stdin=b"gamma\ngamma\nbeta\n").out
    assert "Of 3 lines 2 are different. Of these 1 (50.0 %) stand there as whole lines, and 1 are new." in " ".join(
        said.split()
    )
    assert "stdin" in said


def test_samples_of_the_other_forms(command: Command, text: str) -> None:
    """The lines of `sample --json`, whose prime does not count, and a run's samples.txt."""
    Path("s.jsonl").write_text(command("sample", "--json", "--count", "3", "-n", "40", "-p", text[:9]).out)
    lines = [json.loads(line)["text"] for line in Path("s.jsonl").read_text().splitlines()]
    assert read_samples(["s.jsonl"], DataConfig()) == [(f"s.jsonl:{n}", text) for n, text in enumerate(lines, 1)]
    Path("samples.txt").write_text("=== step 1, epoch 0.1 ===\nab\nc\n\n=== step 2, epoch 0.2 ===\n=== x\n\n")
    assert read_samples(["samples.txt"], DataConfig()) == [
        ("step 1, epoch 0.1", "ab\nc"), ("step 2, epoch 0.2", "=== x"),
    ]  # fmt: skip
    assert command("eval", "--novelty", "samples.txt").status == 0
    with Path("s.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(TextError, match=r"line 4 of s\.jsonl is not an object with a text"):
        read_samples(["s.jsonl"], DataConfig())


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--novelty empty.txt", 3, "there is no sample in empty.txt"),
        ("--novelty no.txt", 3, "there is no file or folder no.txt"),
        ("- --novelty -", 2, "standard input (-) is named twice"),
        ("--novelty a.txt --errors", 2, "--errors does not go with it"),
        ("--novelty a.txt --temperature 0.5", 2, "--temperature does not go with it"),
        ("--novelty a.txt -c checkpoints/run -c checkpoints/lost", 2, "--novelty does not go with that"),
        ("--novelty a.txt -c checkpoints/lost", 3, "nothing beside checkpoints/lost/best.safetensors says on which"),
        ("--novelty a.txt -c checkpoints/gone", 3, "the run's text cannot be read again: there is no file"),
        ("--novelty a.txt -c checkpoints/piped", 3, "came on standard input"),
        ("--novelty a.txt -c checkpoints/changed", 3, "is not what the run was trained on any more"),
        ("", 2, "charrnn eval needs TEXT..."),
    ],
)
def test_what_cannot_be_compared(command: Command, text: str, words: str, status: int, said: str) -> None:
    """Each refusal says why, and nothing is printed."""
    Path("a.txt").write_text("abc")
    Path("empty.txt").write_text("")
    Path("b.txt").write_text(text[:500])
    for name, corpus in (
        ("lost", None),
        ("gone", "/no.txt"),
        ("piped", "-"),
        ("changed", str(Path("b.txt").resolve())),
    ):
        folder = Path("checkpoints", name)
        folder.mkdir()
        (folder / "best.safetensors").write_bytes(Path("checkpoints/run/best.safetensors").read_bytes())
        if corpus:
            (folder / "config.json").write_text(json.dumps({"charrnn": "1", "corpus": [corpus]}))
    result = command("eval", *words.split())
    assert (result.status, result.out) == (status, ""), result.err
    assert said in result.err.replace("\n", " ")


def test_samples_that_are_too_many_are_refused(command: Command, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHARACTERS", 100)
    Path("a.txt").write_text(text[:101])
    result = command("eval", "--novelty", "a.txt")
    assert result.status == 3
    assert "the samples have 101 characters, and 100 can be compared at a time" in result.err


def test_sample_tells_what_stands_in_the_training_text(command: Command, text: str) -> None:
    """With --json, where it is asked for: what eval tells of the same sample, of its text without its prime."""
    words = ("sample", "--json", "--count", "2", "-n", "60", "-p", text[:5])
    plain, out = command(*words), command(*words, "--novelty").out
    assert "novelty" not in plain.out
    Path("s.jsonl").write_text(out)
    compared = json.loads(command("eval", "--novelty", "s.jsonl", "--json").out)["novelty"]["samples"]
    told = [json.loads(line) for line in out.splitlines()]
    assert len(told) == 2
    for one, wanted in zip(told, compared, strict=True):
        assert one["novelty"] == {name: wanted[name] for name in ("longest", "ngrams", "is_copy")}
        assert one["novelty"]["longest"]["text"] in one["text"]
    for more, said in (([], "--novelty is for --json"), (["--json", "--compare", "--clamp", "L1.c1=1"], "--compare")):
        result = command("sample", "--novelty", *more)
        assert (result.status, result.out) == (2, "")
        assert said in result.err


_TINY = ("--hidden", "8", "--embedding", "4", "--batch", "2", "--bptt", "16", "--threads", "1", "--lr", "0.05")


def test_sample_compares_the_bytes_that_it_writes(command: Command) -> None:
    """Bytes that are not UTF-8 are U+FFFD in the JSON of a sample, and themselves where it is compared."""
    Path("raw.bin").write_bytes(b"\xff\xfe" * 500)
    assert command("train", "raw.bin", "--bytes", *_TINY, "--steps", "60").status == 0
    result = command(
        "sample", "-c", "checkpoints/raw.bin", "-t", "0", "-n", "20", "-p", "\udcff", "--json", "--novelty"
    )
    found = json.loads(result.out)
    assert set(found["text"]) == {"\ufffd"}
    assert found["novelty"]["longest"]["characters"] == 20
    assert found["novelty"]["longest"]["text"] == "\xfe\xff" * 10


def test_sample_compares_with_what_a_grown_text_was_trained_on(command: Command, text: str) -> None:
    """What was held out of the shorter text stays held out, and all that was added is trained on, as eval has it."""
    old, new = text[:2000], "".join(reversed(text[:1000]))
    Path("grown.txt").write_text(old)
    words = ("train", "grown.txt", *_TINY, "--steps")
    assert command(*words, "2").status == 0
    Path("grown.txt").write_text(old + new)
    assert command(*words, "4", "--change").status == 0
    path = Path("checkpoints/grown/last.safetensors")
    compare = with_own_text(path, checkpoints.load(path))
    for sample, is_known in ((new[-200:], True), (old[-150:-50], False), (old[100:250], True)):
        found = compare(sample)["longest"]["characters"]
        assert found == max(_longest(sample, old[:1800] + new))
        assert (found == len(sample)) is is_known


def test_neither_torch_nor_a_model_is_needed(text: str) -> None:
    """The command compares without importing torch, whose import takes a second."""
    Path("a.txt").write_text(text[:300])
    code = (
        "import sys\n"
        "from charrnn.cli.app import main\n"
        "sys.argv[1:] = ['eval', '--novelty', 'a.txt']\n"
        "try: main()\n"
        "except SystemExit as leaving: assert not leaving.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "a.txt" in result.stdout
