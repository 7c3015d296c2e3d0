"""Documents, normal forms, rare characters and grown vocabularies in one run, on the command line and in Python."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.evaluation.report import NATS_PER_UNKNOWN
from charrnn.sampling.training_text import read_training_text
from tests.kit.command import Command
from tests.kit.runs_compared import assert_same_run

SMALL = (
    "--hidden", "7", "--embedding", "3", "--batch", "2", "--bptt", "9", "--threads", "1", "--sample-length", "9",
    "--validate-every", "2", "--decay", "constant", "--average", "0", "--warmup", "1", "--quiet",
)  # fmt: skip
LISTED = ("--documents", "lines", "--normalize", "nfc", "--lowercase", "--min-count", "6")
RARE = "\u4e00\u4e01\u4e8c\u4e09"


def _names() -> str:
    """A list of names with letters in two spellings, in capitals and not, of which some have a rare character."""
    ends = ("Caf\u00e9", "cafe\u0301", "NAI\u0308VE", "\u00e9lan", "lla", "\u00c5ngstr\u00f6m")
    rows = [f"{a}{b}{end}" for a in "abdf" for b in "aeiou" for end in ends]
    return "".join(f"{row}{RARE[place % 4] if place % 7 == 0 else ''}\n" for place, row in enumerate(rows))


def _last(path: str) -> Checkpoint:
    return checkpoints.load(Path(path) / "last.safetensors", with_state=True)


def _eval(command: Command, *words: str) -> dict[str, Any]:
    result = command("eval", *words, "--json")
    assert result.status == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_documents_in_a_form_with_rare_characters(command: Command) -> None:
    """A run that is cut in two is the whole one; the held-out documents are those of training when `eval` cuts them,
    which knows the rare characters apart, and cost what training said, and 20 bits more for each of these."""
    Path("names.txt").write_text(_names(), "utf-8")
    train = ("train", "names.txt", *LISTED, *SMALL, "--validation-fraction", "0.3")
    for steps, out in (("4", "whole"), ("2", "parts"), ("4", "parts")):
        assert command(*train, "--steps", steps, "--out", out).status == 0
    assert_same_run(Path("whole"), Path("parts"))
    last = _last("parts")
    letters = set(_names().lower().replace("e\u0301", "\u00e9").replace("i\u0308", "\u00ef"))
    assert set(last.vocabulary.characters) == (letters - {"\n", *RARE}) | {"\ufffd"}
    assert last.vocabulary.end == len(last.vocabulary.code_points)
    assert last.vocabulary.unknown_symbol == len(last.vocabulary.code_points) - 1
    found = _eval(command, "names.txt", "-c", "parts/last.safetensors", "--split", "validation")
    assert found["characters"] == last.corpus["validation"] - 1
    assert found["unknown_characters"] > 0
    nats = found["nats_per_character"] * found["characters"] - found["unknown_characters"] * NATS_PER_UNKNOWN
    metrics = [json.loads(line) for line in Path("parts/metrics.jsonl").read_text("utf-8").splitlines()]
    validated = [entry["validation_nats"] for entry in metrics if entry.get("validation_nats")]
    averaged = nats / found["characters"]
    assert averaged == pytest.approx(validated[-1], rel=1e-5)
    # The parts are the whole.
    parts = [_eval(command, "names.txt", "-c", "parts", "--split", each) for each in ("train", "validation")]
    assert sum(each["unknown_characters"] for each in parts) == sum(_names().count(each) for each in RARE)


def test_a_text_in_another_form_is_scored_as_the_models(command: Command) -> None:
    """By `eval`, `inspect` and Python, where the text is made of documents, too."""
    Path("names.txt").write_text(_names(), "utf-8")
    assert command("train", "names.txt", *LISTED, *SMALL, "--steps", "2", "--out", "run").status == 0
    texts = {"given.txt": "CAFE\u0301\r\n\r\nna\u00efve\r\n", "meant.txt": "caf\u00e9\nna\u00efve\n"}
    for name, text in texts.items():
        Path(name).write_bytes(text.encode())
    one, other = (_eval(command, name, "-c", "run") for name in texts)
    for figure in ("characters", "nats_per_character", "unknown_characters"):
        assert one[figure] == other[figure]
    model = charrnn.load("run")
    given, meant = (model.score(text) for text in texts.values())
    assert given == meant
    assert given.bits_per_character == pytest.approx(one["bits_per_character"], rel=1e-5)
    shown = [command("inspect", name, "-c", "run", "--gates", "--json") for name in texts]
    assert [each.status for each in shown] == [0, 0]
    assert [json.loads(each.out)["gates"] for each in shown] == [json.loads(shown[0].out)["gates"]] * 2


def test_every_text_of_sampling_is_read_in_the_models_form(command: Command) -> None:
    """Each prime of --prime-lines, each --stop of several, and a biased text, on the command line and in Python."""
    Path("text.txt").write_text("caf\u00e9 d\u00e9j\u00e0 vu\n" * 40, "utf-8")
    assert command("train", "text.txt", *SMALL, "--steps", "2", "--out", "run").status == 0
    sample = ("sample", "-c", "run", "-n", "30", "-t", "2", "--json")
    outputs = []
    for e in ("\u00e9", "e\u0301"):
        Path("primes").write_text(f"caf{e}\nd{e}\n", "utf-8")
        outputs.append(
            command(*sample, "--prime-lines", "primes", "--stop", e, "--stop", f"{e}j", "--logit-bias", f"{e}=2")
        )
        assert outputs[-1].status == 0, outputs[-1].err
    assert outputs[0].out == outputs[1].out
    assert [json.loads(line)["prime"] for line in outputs[0].out.splitlines()] == ["caf\u00e9", "d\u00e9"]
    assert outputs[0].err == ""
    for what in ("the text of --prime-lines", "--stop", "--logit-bias"):
        assert f"note: {what} is brought into the normal form NFC" in outputs[1].err
    model = charrnn.load("run")
    one, other = (
        model.samples(3, f"d{e}", length=30, temperature=2.0, stop=[e, f"{e}j"], logit_bias={e: 2.0})
        for e in ("\u00e9", "e\u0301")
    )
    assert one == other
    assert any(text.endswith("\u00e9") for text in one)


def test_a_rare_character_can_be_no_stop(command: Command) -> None:
    """It would end a sample at any unknown symbol; the model never writes the character itself."""
    Path("text.txt").write_text("abc abc\n" * 60 + RARE, "utf-8")
    assert command("train", "text.txt", *SMALL, "--min-count", "3", "--steps", "2", "--out", "run").status == 0
    for option in (("--stop", RARE[0]), ("--logit-bias", f"{RARE[0]}=1")):
        found = command("sample", "-c", "run", *option)
        assert found.status == 2
        assert "vocabulary lacks '\u4e00' U+4E00" in found.err
    assert command("sample", "-c", "run", "--stop", "\ufffd", "-n", "9").status == 0


def test_the_text_of_a_run_is_searched_as_it_was_read(command: Command) -> None:
    """Of a table the texts of its column, in the model's form, each a line."""
    cells = ["Cafe\u0301 one\ntwo", "NA\u00cfVE", *(f"text {number}" for number in range(60))]
    Path("list.jsonl").write_text("".join(json.dumps({"Text": cell}) + "\n" for cell in cells), "utf-8")
    more = ("--column", "Text", "--normalize", "nfc", "--lowercase", "--steps", "2", "--out", "run")
    assert command("train", "list.jsonl", *SMALL, *more).status == 0
    path = Path("run/best.safetensors")
    text, notice = read_training_text(checkpoints.load(path), path)
    assert notice is None
    assert text.holds("caf\u00e9 one\ntwo".encode(), is_line=True)
    assert text.holds("na\u00efve".encode(), is_line=True)
    assert not text.holds("NA\u00cfVE".encode(), is_line=False)
    assert not text.holds(b"text 5 ", is_line=True)


def test_a_fine_tuned_model_keeps_the_unknown_symbol(command: Command) -> None:
    """It learns new characters beside it, or reads new rare ones as it; what the model knows is never rare."""
    Path("old.txt").write_text("abcd abcd\n" * 60 + RARE, "utf-8")
    Path("new.txt").write_text("abc xy abc\n" * 60 + "d" + RARE[0] + "\u03b1\u03b2", "utf-8")
    assert command("train", "old.txt", *SMALL, "--min-count", "3", "--steps", "2", "--out", "old").status == 0
    begin = ("train", "new.txt", "--init-from", "old", *SMALL[4:], "--documents", "lines")
    known = {"plain": "\n abcdxy\ufffd\u03b1\u03b2" + RARE[0], "rare": "\n abcdxy\ufffd"}
    for out, more in (("plain", []), ("rare", ["--min-count", "3"])):
        for steps in ("2", "4"):
            result = command(*begin, *more, "--steps", steps, "--out", out)
            assert result.status == 0, result.err
        assert command(*begin, *more, "--steps", "4", "--out", f"{out}-whole").status == 0
        assert_same_run(Path(out), Path(f"{out}-whole"))
        vocabulary = _last(out).vocabulary
        assert vocabulary.characters == "".join(sorted(known[out]))
        assert vocabulary.unknown_symbol == vocabulary.characters.index("\ufffd")
        assert vocabulary.end == len(vocabulary.code_points)
        Path("foreign.txt").write_text(f"ab{RARE[1]}d\n", "utf-8")
        found = _eval(command, "foreign.txt", "-c", out)
        assert (found["unknown_characters"], found["characters"]) == (1, 5)
        assert math.isfinite(found["bits_per_character"])
    assert _last("rare").corpus["traits"]["rare"] == 3  # and d, which the model knows, is none of them
