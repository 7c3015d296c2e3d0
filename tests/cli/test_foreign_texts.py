"""A text, a prime or a stop text that is written otherwise than the model's own: other line ends, another normal form.

Each is brought into what the model knows and then gives the very figures of a text that was written so.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoints.checkpoint import save
from charrnn.settings.config import DataConfig
from charrnn.text.cache import cache_folder
from charrnn.text.traits import LineEnds, Traits
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command
from tests.kit.tiny import tiny

LF, CRLF = Traits(line_ends=LineEnds(lf=9)), Traits(line_ends=LineEnds(crlf=9))


def _model(characters: str, traits: Traits = LF, **data: Any) -> Path:
    """Saves a model of random weights that knows these characters; returns its path."""
    saved = tiny(characters=characters)
    corpus = {**saved.corpus, "traits": traits.to_dict()}
    vocabulary = Vocabulary(saved.vocabulary.code_points.tolist(), has_unknown_symbol=traits.rare > 0)
    path = Path("model.safetensors")
    save(path, replace(saved, corpus=corpus, vocabulary=vocabulary, data=DataConfig(**data)))
    return path


def _eval(command: Command, text: bytes, *options: str) -> tuple[dict[str, Any], str]:
    Path("given.txt").write_bytes(text)
    result = command("eval", "given.txt", "-c", "model.safetensors", "--json", *options)
    assert result.status == 0, result.err
    return json.loads(result.out), result.err


CASES = [
    ("cafe\u0301 \n", LF, "caf\u00e9 cafe\u0301\ncaf\u00e9", "cafe\u0301 cafe\u0301\ncafe\u0301", "normal form NFD"),
    ("caf\u00e9 \n", LF, "cafe\u0301 caf\u00e9\n", "caf\u00e9 caf\u00e9\n", "normal form NFC"),
    ("abc \n", LF, "ab\r\ncb\r\nb\r", "ab\ncb\nb\n", "2 of CR LF and 1 of CR, and the model knows LF"),
    ("abc \r\n", CRLF, "ab\ncb\n", "ab\r\ncb\r\n", "2 of LF, and the model knows CR LF"),
]


@pytest.mark.parametrize(("known", "traits", "given", "meant", "said"), CASES)
def test_eval(command: Command, known: str, traits: Traits, given: str, meant: str, said: str) -> None:
    """To the last digit, from a file and from standard input, and nothing is left in the cache."""
    _model(known, traits)
    expected, silence = _eval(command, meant.encode())
    found, notes = _eval(command, given.encode())
    assert (found, silence) == (expected, "")
    assert said in notes
    piped = command("eval", "-", "-c", "model.safetensors", "--json", stdin=given.encode())
    assert json.loads(piped.out) == expected
    assert said in piped.err
    assert not list(cache_folder().rglob("*.bin"))


@pytest.mark.parametrize(("known", "traits", "given", "meant", "said"), CASES)
def test_primes(command: Command, known: str, traits: Traits, given: str, meant: str, said: str) -> None:
    """On the command line, in a file, on standard input, and in Python."""
    path = str(_model(known, traits))
    expected = command("sample", "-c", path, "--prime", meant, "-n", "20", "--json")
    assert (expected.status, expected.err) == (0, "")
    assert json.loads(expected.out)["prime"] == meant
    found = command("sample", "-c", path, "--prime", given, "-n", "20", "--json")
    assert found.out == expected.out
    assert f"note: --prime {'has' if 'knows' in said and 'form' not in said else 'is'}" in found.err
    assert said in found.err
    Path("prime").write_bytes(given.encode())
    for name in ("prime", "-"):
        found = command("sample", "-c", path, "--prime-file", name, "-n", "20", "--json", stdin=given.encode())
        assert found.out == expected.out
        assert "note: the text of --prime-file" in found.err
    model = charrnn.load(path)
    assert model.sample(given, length=20) == model.sample(meant, length=20)
    assert model.score(given) == model.score(meant)


@pytest.mark.parametrize(("known", "traits", "given", "meant", "said"), CASES)
def test_inspect(command: Command, known: str, traits: Traits, given: str, meant: str, said: str) -> None:
    """Its views read the same characters."""
    path = str(_model(known, traits))
    for view in ([], ["--gates"], ["--predictions"]):
        results = []
        for text in (given, meant):
            Path("text.txt").write_bytes(text.encode())
            results.append(command("inspect", "text.txt", "-c", path, "--json", *view))
            assert results[-1].status == 0, results[-1].err
        assert results[0].out == results[1].out
        assert said in results[0].err
        assert results[1].err == ""


def test_typed_text(command: Command) -> None:
    """In a session beside the model, too."""
    path = str(_model("cafe\u0301 \n"))
    found = command("sample", "-c", path, "-i", stdin="caf\u00e9\nq\n".encode())
    assert (found.status, found.out) == (0, "cafe\u0301")
    assert "what you typed is brought into the normal form NFD" in found.err


def test_a_blank_line_stops_under_cr_lf(command: Command) -> None:
    """The stop text's line ends become the model's."""
    path = str(_model("\r\n", CRLF))  # which writes nothing but line ends, in any order
    found = command("sample", "-c", path, "--stop", r"\n\n", "-n", "4000", "-t", "1", "--json")
    text = json.loads(found.out)["text"]
    assert "note: --stop has line ends 2 of LF, and the model knows CR LF: each is read as that" in found.err
    assert text.endswith("\r\n\r\n")
    assert text.count("\r\n\r\n") == 1


def test_the_runs_rules_hold_for_primes(command: Command) -> None:
    """Lower case and the normal form are those of training; capitals are lowered, which is said."""
    path = str(_model("abc\u00e9 \n", lowercase=True, normalize="nfc", newlines="lf"))
    Path("prime").write_bytes("ABC\r\nE\u0301".encode())
    plain = command("sample", "-c", path, "--prime", "abc\n\u00e9", "-n", "9", "--json")
    typed = command("sample", "-c", path, "--prime", "ABC\r\nE\u0301", "-n", "9", "--json")
    filed = command("sample", "-c", path, "--prime-file", "prime", "-n", "9", "--json")
    assert plain.out == typed.out == filed.out
    assert typed.err == "note: --prime is read in lower case, as the model's text was\n"
    assert filed.err == ""
    assert _eval(command, "ABC\r\nE\u0301".encode()) == _eval(command, "abc\n\u00e9".encode())


def test_the_runs_encoding_holds_for_files_of_primes(command: Command) -> None:
    """A model of latin-1 texts reads its primes in that encoding."""
    path = str(_model("caf\u00e9 \n", encoding="latin-1"))
    Path("prime").write_bytes("caf\u00e9".encode("latin-1"))
    found = command("sample", "-c", path, "--prime-file", "prime", "-n", "5", "--json")
    assert (found.status, json.loads(found.out)["prime"]) == (0, "caf\u00e9")


def test_what_no_form_helps_is_an_error_as_before(command: Command) -> None:
    """It is told what the model lacks, in the text as it was given."""
    path = str(_model("cafe\u0301 \n"))
    found = command("sample", "-c", path, "--prime", "\u4e00")
    assert found.status == 3
    assert "lacks '\u4e00' U+4E00" in found.err


def test_an_argument_that_is_no_utf_8(command: Command) -> None:
    """A shell of another encoding passes its bytes on: that is said, instead of a character that the model lacks."""
    path = str(_model("cafe\u0301 \n"))
    found = command("sample", "-c", path, "--prime", "caf\udce9", "-n", "5")
    assert found.status == 3
    assert "error: the text holds the byte 0xe9, which is not UTF-8" in found.err
    assert found.err.count("a shell that is set to another encoding") == 1
    found = command("sample", "-c", path, "--prime", "\udce9\udcff\udce9", "-n", "5")
    assert "error: the text holds bytes that are not UTF-8: 0xe9, 0xff" in found.err
    Path("text.txt").write_text("cafe\u0301 \n" * 99, "utf-8")
    for words in (
        ["sample", "-t", "\udce9"], ["sample", "-c", "\udce9"], ["train", "\udce9"],
        ["train", "text.txt", "--steps", "\udce9"],
        ["train", "text.txt", "--encoding", "\udce9"], ["help", "\udce9"], ["\udce9"], ["sample", "--\udce9"],
        ["inspect", "text.txt", "-c", path, "--unit", "\udce9"],
        ["inspect", "text.txt", "-c", path, "--select", "\udce9"],
        ["inspect", "text.txt", "-c", path, "--find", "--label", "x=\udce9"],
    ):  # fmt: skip
        found = command(*words)
        assert found.status in (2, 3, 4)
        assert "bytes that are not UTF-8 come from a shell that is set to another encoding" in found.err, words
    # A model of bytes knows them.
    save(Path("bytes.safetensors"), tiny(as_bytes=True))
    assert command("sample", "-c", "bytes.safetensors", "--prime", "caf\udce9", "-n", "5").status == 0


# The unknown symbol.


def test_eval_charges_for_the_unknown_symbol(command: Command) -> None:
    """A character that is read as the unknown symbol costs what the model gives that, and 20.1 bits to tell which it
    is; it is one character."""
    _model("ab\ufffd\n", replace(LF, rare=2, unknown=2), min_count=5)
    symbol, _ = _eval(command, "ab\ufffdab".encode())
    found, notes = _eval(command, "ab\u4e00ab".encode())
    assert "note: the unknown symbol, U+FFFD, is read in the place of 1 character of the text" in notes
    assert (symbol["unknown_characters"], found["unknown_characters"]) == (0, 1)
    assert found["characters"] == symbol["characters"] == 4
    more = found["bits_per_character"] - symbol["bits_per_character"]
    assert more * 4 == pytest.approx(20.0874628)


def test_rare_characters_in_training(command: Command) -> None:
    """From the text to the samples: notices, the run's own split, what inspect says."""
    Path("text.txt").write_text("abcd efgh\n" * 300 + "\u4e00\u00e9\u00e8\u00ea" * 2, "utf-8")
    options = ("--min-count", "3", "--steps", "3", "--hidden", "8", "--batch", "2", "--bptt", "16", "--threads", "1")
    trained = command("train", "text.txt", *options, "--prime", "\u4e00a", "--validation-fraction", "0.1")
    assert trained.status == 0, trained.err
    assert "4 characters that the text has fewer than 3 times (8 in all) are one unknown symbol, U+FFFD" in trained.err
    assert "the unknown symbol, U+FFFD, is read in the place of 1 character of --prime" in trained.err
    shown = command("inspect")
    assert "U+FFFD stands for 4 rarer ones, 8 characters of the text in all" in shown.out
    for split in ("train", "validation"):
        assert command("eval", "text.txt", "--split", split).status == 0
    again = command("train", "text.txt", *options, "--prime", "\u4e00a", "--validation-fraction", "0.1")
    assert "this run is finished" in again.err
    assert command("sample", "--prime", "\u4e01", "-n", "5").status == 0


def test_forms_of_a_corpus_are_told(command: Command) -> None:
    """And are one with --normalize, whose run the same text goes on with."""
    Path("text.txt").write_text("caf\u00e9 cafe\u0301\r" * 60, "utf-8", newline="")
    options = ("--steps", "2", "--hidden", "4", "--batch", "2", "--bptt", "8", "--threads", "1")
    first = command("train", "text.txt", *options)
    assert "--normalize nfc makes one of both" in first.err
    assert "end in CR alone" in first.err
    second = command("train", "text.txt", *options, "--name", "one", "--normalize", "nfc", "--newlines", "lf")
    assert "--normalize" not in second.err
    assert charrnn.load("checkpoints/one").vocabulary.characters == "\n acf\u00e9"
    other = command("train", "text.txt", *options, "--name", "one", "--normalize", "nfd", "--newlines", "lf")
    assert other.status == 2
    assert "--normalize nfc -> nfd" in other.err
