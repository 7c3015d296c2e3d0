"""What `charrnn sample` writes to a pipe is the text of the model alone; a terminal gets rules between samples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoints.checkpoint import Checkpoint, save
from tests.kit.command import Command
from tests.kit.pseudoterminal import run as on_terminal
from tests.kit.tiny import tiny

RUN = Path("checkpoints/one/best.safetensors")
WORDS = ("sample", "-c", str(RUN))
ENCODINGS: tuple[dict[str, str], ...] = (
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-16"},
    {"PYTHONIOENCODING": "latin-1:replace"},
)


def _save(**settings: Any) -> Checkpoint:
    RUN.parent.mkdir(parents=True, exist_ok=True)
    saved = tiny(**settings)
    save(RUN, saved)
    return saved


def _piped(*options: str, **environment: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", *WORDS, *options], capture_output=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_pipe_gets_the_same_bytes_whatever_the_console_is(as_bytes: bool) -> None:
    """UTF-8 of the text, or the very bytes of a model of bytes, which are hardly UTF-8."""
    saved = _save(as_bytes=True) if as_bytes else _save(characters="\n ΗΕλ€😀")
    Path("prime").write_text("é" if as_bytes else "ΗΕ", "utf-8")
    options = ("--prime-file", "prime", "-n", "60", "--seed", "3", "-t", "2")
    expected = _piped(*options)
    model = charrnn.load(RUN)
    if as_bytes:
        from charrnn.sampling.sampler import SampleRequest, write
        from charrnn.settings.sampling import SamplingConfig

        config = SamplingConfig(length=60, seed=3, temperature=2.0)
        ids = list("é".encode())
        for piece in write(model.engine, saved.vocabulary, ids, [SampleRequest(config)]):
            ids += piece.ids.tolist()
        assert expected.removesuffix(b"\n") == bytes(ids).removesuffix(b"\n")
        with pytest.raises(UnicodeDecodeError):
            expected.decode()
    else:
        text = "ΗΕ" + model.sample("ΗΕ", length=60, seed=3, temperature=2.0)
        assert expected.decode().removesuffix("\n") == text.removesuffix("\n")
    for environment in ENCODINGS:
        assert _piped(*options, **environment) == expected, environment


def test_inspect_and_help_are_utf8_in_a_pipe_too(command: Command) -> None:
    """Whatever the console's encoding."""
    _save(characters="\n ΗΕλ")
    for words in (["inspect", "-c", str(RUN)], ["help", "sample"], ["sample", "--help-all"]):
        outputs = [
            subprocess.run(
                [sys.executable, "-m", "charrnn", *words], capture_output=True, env={**os.environ, **environment}
            ).stdout
            for environment in ({"PYTHONIOENCODING": "utf-8"}, {"PYTHONIOENCODING": "ascii"})
        ]
        assert outputs[0] == outputs[1] != b""
        outputs[0].decode()


def test_a_terminal_is_shown_what_a_model_of_bytes_writes() -> None:
    """Never sent: what is not UTF-8 is U+FFFD there, and control characters are symbols."""
    _save(as_bytes=True)
    seen = on_terminal(80, *WORDS, "-n", "200", "-t", "5", "--seed", "1")
    assert seen.status == 0
    assert "\ufffd" in seen.terminal
    assert not re.search(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", seen.terminal)


def test_five_lines_are_five_lines(command: Command) -> None:
    """In a pipe no rule stands between samples; each begins a line of its own."""
    _save()
    out = command(*WORDS, "--count", "5", "--stop", r"\n", "-n", "500").out
    assert out == "".join(charrnn.load(RUN).samples(5, stop="\n", length=500))
    assert out.count("\n") == 5
    cut = command(*WORDS, "--count", "5", "-n", "7", "--logit-bias", r"\n=-1000").out
    assert [len(line) for line in cut.splitlines()] == [7] * 5
    at_line = command(*WORDS, "--count", "5", "--stop-at", "line", "-n", "500").out
    assert at_line.endswith("\n")
    row = command(*WORDS, "-t", "0.5,2", "-n", "4", "--logit-bias", r"\n=-1000").out
    assert [len(line) for line in row.splitlines()] == [4, 4]


def test_a_terminal_has_rules_between_samples() -> None:
    """With the temperature where there are several."""
    _save()
    seen = on_terminal(80, *WORDS, "--count", "3", "-n", "5", "--logit-bias", r"\n=-1000")
    assert [bool(re.fullmatch("-{40}", line)) for line in seen.lines if not line.startswith("\x1b")] == [
        False, True, False, True, False, False,
    ]  # fmt: skip
    lines = on_terminal(80, *WORDS, "--count", "4", "--stop", r"\n", "--seed", "2")
    assert "---" not in lines.terminal  # each is a line of its own
    assert lines.terminal.count("\n") == 4
    row = on_terminal(80, *WORDS, "-t", "1,2,1", "-n", "5")
    assert re.findall(r"^-- temperature (\S+) -+\r?$", row.terminal, re.MULTILINE) == ["1", "2", "1"]


@pytest.mark.parametrize(
    ("typed", "meant"), [("", ""), (r"\n--\n", "\n--\n"), (r"\x00", "\0"), (" | ", " | "), (r"\u00e9", "é")]
)
def test_a_separator_stands_between_samples(command: Command, typed: str, meant: str) -> None:
    """Exactly, and nothing else does, not even a line end at the end."""
    _save()
    out = command(*WORDS, "--count", "3", "-n", "6", "--separator", typed, "--prime", "ab").out
    assert out == meant.join("ab" + text for text in charrnn.load(RUN).samples(3, "ab", length=6))
    assert command(*WORDS, "--separator", r"\q").status == 2


def test_the_prime_can_be_left_out(command: Command) -> None:
    """Of text; JSON has it by itself anyway."""
    _save()
    model = charrnn.load(RUN)
    assert command(*WORDS, "--prime", "ab", "-n", "9", "--no-prime", "--separator", "").out == model.sample(
        "ab", length=9
    )


def test_each_line_is_gone_on_from_by_itself(command: Command) -> None:
    """As its own --prime would be, with --count as many each; an empty line is an empty prime."""
    saved = _save()
    model = charrnn.load(RUN)
    primes = ["ab", "", "ha h", "c"]
    Path("primes").write_bytes(b"ab\n\nha h\r\nc")
    words = ("--prime-lines", "primes", "--count", "3", "-n", "12", "--json")
    bodies = [json.loads(line) for line in command(*WORDS, *words).out.splitlines()]
    assert [body["prime"] for body in bodies] == [prime for prime in primes for _ in range(3)]
    assert [body["text"] for body in bodies] == [
        text for prime in primes for text in model.samples(3, prime, length=12)
    ]
    out = command(*WORDS, "--prime-lines", "-", "-n", "5", "--separator", "|", stdin=b"a\nb\n").out
    assert out == "|".join(prime + model.sample(prime, length=5) for prime in "ab")
    many = "".join(f"{'abcdefgh'[n % 8]}\n" for n in range(200)).encode()
    lines = command(*WORDS, "--prime-lines", "-", "-n", "6", "--json", stdin=many).out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [
        model.sample("abcdefgh"[n % 8], length=6) for n in range(200)
    ]
    result = command(*WORDS, "--prime-lines", "-", stdin=b"a\nxb\n")
    assert result.status == 3
    assert "line 2 of -: the model's vocabulary lacks 'x'" in result.err
    assert command(*WORDS, "--prime-lines", "-", "--unknown", "skip", stdin=b"a\nxb\n").status == 0
    assert command(*WORDS, "--prime-lines", "primes", "--prime", "a").status == 2
    save(RUN, replace(tiny(as_bytes=True), model=saved.model))
    Path("bytes").write_bytes(b"\xff\xc3\n\xe2")
    found = [json.loads(line)["prime"] for line in command(*WORDS, "--prime-lines", "bytes", "--json").out.splitlines()]
    assert found == ["\ufffd\ufffd", "\ufffd"]


def test_a_random_seed_is_told(command: Command) -> None:
    """And writes the same again; in JSON it stands by itself."""
    _save()
    result = command(*WORDS, "--seed", "random", "-n", "30", "--json")
    (seed,) = re.findall(r"the seed is (\d+): --seed \1 writes the same again", result.err)
    body = json.loads(result.out)
    assert body["seed"] == int(seed)
    assert command(*WORDS, "--seed", seed, "-n", "30", "--json").out == result.out
    row = command(*WORDS, "--seed", "random", "-t", "1,2", "--json").out
    assert len({json.loads(line)["seed"] for line in row.splitlines()}) == 1
    seeds = {json.loads(command(*WORDS, "--seed", "random", "-n", "1", "--json").out)["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert len({charrnn.load(RUN).sample(seed="random", length=40) for _ in range(3)}) == 3


def test_json_says_what_ended_a_sample(command: Command) -> None:
    """Its length, one of the stop texts, or the unit."""
    _save()

    def ended(*words: str) -> Any:
        body = json.loads(command(*WORDS, "--json", *words).out)
        assert len(body["log_probabilities"]) == len(body["text"])
        return body["ended_by"], body.get("stop")

    assert ended("-n", "3") == ("length", None)
    kind, stop = ended("--stop", "a", "--stop", r"\n", "--stop", "ch")
    assert (kind, stop in ("a", "\n", "ch")) == ("stop", True)
    assert ended("--stop-at", "line") == ("line", None)


def test_the_best_texts_of_a_search(command: Command) -> None:
    """In the order of their likelihood; not beside what draws."""
    _save()
    lines = command(*WORDS, "--num-beams", "5", "--count", "3", "-n", "9", "--json").out.splitlines()
    bodies = [json.loads(line) for line in lines]
    sums = [sum(body["log_probabilities"]) for body in bodies]
    assert sums == sorted(sums, reverse=True)
    assert len({body["text"] for body in bodies}) == 3
    assert [body["text"] for body in bodies] == charrnn.load(RUN).samples(3, num_beams=5, length=9)
    for words, said in (
        ("--num-beams 3 --count 4", "--count is 4, and --num-beams 3"),
        ("--num-beams 3 -t 0.5", "--temperature does not go with it"),
        ("--num-beams 3 --seed 4", "--seed does not go with it"),
        ("--num-beams 3 --top-p 0.5", "--top-p has no part in it"),
        ("--num-beams 3 --interactive", "leave --num-beams out"),
        ("--num-beams 61", "--num-beams is 61"),
        ("--length-penalty 1", "--length-penalty is about the texts of --num-beams"),
        ("--repetition-window 9", "--repetition-window is about --repetition-penalty"),
    ):
        result = command(*WORDS, *words.split())
        assert (result.status, result.out) == (2, ""), words
        assert said in result.err, result.err


@pytest.mark.parametrize("typed", ["1e307", "4e38", "1e39"])
def test_a_temperature_that_is_too_large_is_told_to_be(command: Command, typed: str) -> None:
    """Not that it must be at least 0, which it is."""
    _save()
    for words in (["-t", typed], ["-t", f"0.5,{typed}"]):
        result = command(*WORDS, *words)
        assert result.status == 2
        assert f"--temperature is {float(typed)}" in result.err
        assert "it must be at most 3e+38" in result.err


def test_a_stop_that_cannot_come_is_an_error(command: Command) -> None:
    """Not an endless run, where the length is no end."""
    _save()
    for words in (["--stop", "xyz"], ["--stop", "a", "--stop", "Z"], ["--stop-at", "sentence"]):
        result = command(*WORDS, *words, "--repeat-until-stop")
        if words[0] == "--stop":
            assert (result.status, result.out) == (2, "")
            assert "can never come" in result.err
    save(RUN, tiny(characters="abc"))
    for stop in (r"\n", "\n", r"\t"):
        result = command(*WORDS, "--stop", stop, "--repeat-until-stop")
        assert result.status == 2
        assert "can never come" in result.err


@pytest.mark.parametrize("words", [["--separator", "caf\udce9"], ["--filter", "\udcff"], ["--stop", "\udce9"]])
def test_an_argument_that_is_not_utf8_says_so(command: Command, words: list[str]) -> None:
    """Python hands its bytes over as characters that no text has; they are neither written nor waited for."""
    _save()
    result = command(*WORDS, *words)
    assert (result.status, result.out) == (2, "")
    assert words[0] in result.err
    assert "bytes that are not UTF-8 come from a shell" in " ".join(result.err.split())


def test_samples_that_are_listed_keep_their_numbers(command: Command) -> None:
    """More samples than lanes: each is what it is alone, and they come in order."""
    _save()
    texts = charrnn.load(RUN).samples(150, stop=["\n", "a"], length=90)
    lines = command(*WORDS, "--count", "150", "-n", "90", "--stop", "a", "--stop", r"\n", "--json").out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts
    assert np.std([len(text) for text in texts]) > 1


def test_what_compares_or_converses_takes_no_list(command: Command) -> None:
    """Each is refused with its name, before a model is looked for."""
    for words in (
        "--unique",
        "--novel",
        "--filter a",
        "--prime-lines primes",
        "--no-prime",
        "--separator x",
        "--num-beams 2",
    ):
        for other in (["--interactive"], ["--clamp", "L1.c1=1", "--compare"]):
            result = command("sample", *words.split(), *other)
            assert (result.status, result.out) == (2, ""), (words, other)
            assert words.split()[0] in result.err
    for words in ("--stop-at line", "--logit-bias a=1", "--repetition-penalty 2"):
        result = command("sample", *words.split(), "--interactive")
        assert result.status == 2
        assert f"leave {words.split()[0]} out" in result.err


def test_novel_bytes_are_compared_as_bytes(command: Command) -> None:
    """What is not UTF-8 is no U+FFFD: a sample whose bytes the text has is not new, another is."""
    from charrnn.checkpoints.config_file import Origin, write_config

    saved = _save(as_bytes=True)
    write_config(RUN.with_name("config.json"), Origin([str(Path("text.bin").absolute())]), {})
    model = charrnn.load(RUN)
    settings: dict[str, Any] = {"length": 2, "temperature": 9.0}
    from charrnn.sampling.sampler import SampleRequest, write
    from charrnn.settings.sampling import SamplingConfig

    raw = dict.fromkeys(range(3), b"")
    requests = [SampleRequest(SamplingConfig(**settings), n) for n in range(3)]
    for piece in write(model.engine, saved.vocabulary, [], requests):
        raw[piece.sample] += bytes(piece.ids.tolist())
    assert len(set(raw.values())) == 3
    Path("text.bin").write_bytes(b"x" * 300 + raw[0] + b"x" * 9)
    lines = command(*WORDS, "-n", "2", "-t", "9", "--novel", "--count", "2", "--json").out.splitlines()
    assert [json.loads(line)["sample"] for line in lines] == [1, 2]
