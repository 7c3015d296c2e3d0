"""A trained model from Python and from `charrnn sample`: against torch's own scoring, and against each other."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import Checkpoint, save
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.evaluation import bpc
from charrnn.network.model import CharacterModel
from charrnn.network.open_engine import open_engine
from charrnn.python.pretrained import Pretrained
from charrnn.settings.config import ModelConfig
from tests.kit.tiny import tiny

TEXT = "abc def\ngh ab ba cab\n" * 40
RUN = Path("checkpoints/one/best.safetensors")


@pytest.fixture(params=["1", "0"], ids=["compiled", "numpy"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretrained]:
    """A small model, with the compiled step (where there is one) and without."""
    from charrnn.native.step import find_library

    monkeypatch.setenv("CHARRNN_COMPILED", request.param)
    find_library.cache_clear()
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    yield charrnn.load(RUN)
    find_library.cache_clear()


def _torch(checkpoint: Checkpoint) -> CharacterModel:
    model = CharacterModel(checkpoint.model, len(checkpoint.vocabulary))
    model.load_arrays(checkpoint.parameters)
    return model


def test_a_score_is_that_of_eval(model: Pretrained) -> None:
    """To 1e-6 nats a character, over several blocks of reading; the count is exact."""
    text = TEXT * 6
    expected = bpc.score(_torch(model.checkpoint), model.vocabulary.encode(text), lanes=1)
    found = model.score(text)
    assert found.characters == expected.characters == len(text) - 1 > 4096
    assert found.nats_per_character == pytest.approx(expected.nats_per_character, abs=1e-6)
    assert found.bits_per_character == pytest.approx(found.nats_per_character / np.log(2))


def test_steps_add_up_to_a_score(model: Pretrained) -> None:
    """Reading character by character, the log-probability of each next one sums to the score; a state may be reused."""
    text, nats = TEXT[:50], 0.0
    likely, state = model.step(text[0])
    for character in text[1:]:
        assert np.exp(likely).sum() == pytest.approx(1)
        nats -= likely[model.vocabulary.characters.index(character)]
        model.step("a", state)
        likely, state = model.step(character, state)
    assert nats == pytest.approx(model.score(text).nats, abs=1e-5)
    np.testing.assert_allclose(model.step(text)[0], likely, atol=1e-6)


def test_samples_are_those_of_the_command(model: Pretrained) -> None:
    """The same text from `sample`, `stream`, `samples`, `charrnn.sample` and the command line; each number its own."""
    settings = {"length": 60, "temperature": 0.9, "seed": 3, "top_k": 7, "min_p": 0.01}
    texts = [model.sample("ab", number=number, **settings) for number in range(3)]
    assert len(set(texts)) == 3
    assert "".join(model.stream("ab", number=1, **settings)) == texts[1]
    assert model.samples(3, "ab", **settings) == texts
    assert charrnn.sample("ab", **settings) == texts[0]
    options = "--prime ab --length 60 -t 0.9 --seed 3 --top-k 7 --min-p 0.01 --count 3 --json"
    lines = _sample(*options.split()).splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts


def test_a_row_of_temperatures_is_each_alone(model: Pretrained) -> None:
    """Sample by sample the text that the temperature alone gives, under a line that names it."""
    row = model.samples(2, "a", temperatures=[0.0, 0.5, 2.0], length=30)
    alone = [model.sample("a", number=number, temperature=t, length=30) for t in (0.0, 0.5, 2.0) for number in (0, 1)]
    assert row == alone
    assert row[0] == row[1] != row[2]
    shown = _on_a_terminal(*"--prime a -n 30 -t 0,0.5,2 --count 2".split()).replace("\r\n", "\n")
    parts = re.split(r"^-- temperature (\S+) -+\n", shown, flags=re.MULTILINE)
    assert parts[1::2] == ["0", "0", "0.5", "0.5", "2", "2"]
    assert [part.removesuffix("\n") for part in parts[2::2]] == ["a" + text.removesuffix("\n") for text in row]


def test_log_probabilities_are_the_models_own(model: Pretrained) -> None:
    """What --json says of each character is what a score of the same text says, whatever the temperature.

    A sample begins as a line does.
    """
    body = json.loads(_sample(*"--prime abc -n 25 -t 3 --top-p 0.9 --json".split()))
    assert body["temperature"] == 3
    assert len(body["log_probabilities"]) == len(body["text"]) == 25
    whole, prime = model.score("\nabc" + body["text"]), model.score("\nabc")
    assert -sum(body["log_probabilities"]) == pytest.approx(whole.nats - prime.nats, abs=1e-4)


def test_writing_goes_on_until_the_stop_text(model: Pretrained) -> None:
    """Past the length, which is otherwise the end."""
    text = _sample(*"-n 3 --repeat-until-stop --stop ab".split())
    assert text.endswith("ab\n")
    assert text.count("ab") == 1
    assert len(text) > 4


def test_the_package_itself_has_what_it_says() -> None:
    """What `dir` shows comes when it is asked for; anything else is missing as from any module."""
    assert dir(charrnn) == sorted(["CharrnnError", "__version__", "curve", "load", "sample", "train"])
    for _ in range(2):
        assert charrnn.load.__module__ == charrnn.sample.__module__ == "charrnn.python.pretrained"
        assert charrnn.curve.__module__ == "charrnn.python.metrics"
        assert charrnn.train.__module__ == "charrnn.python.training"
        assert all(callable(getattr(charrnn, name)) for name in dir(charrnn) if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        charrnn.lode  # noqa: B018


def test_importing_loads_nothing_heavy_and_help_no_torch() -> None:
    """Neither numpy for `import charrnn` and `dir`, nor torch for the whole help, which tells of every setting."""
    code = (
        "import sys, charrnn\n"
        "dir(charrnn)\n"
        "heavy = {'numpy', 'torch', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "help(charrnn)\n"
        "heavy = {'torch', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for words in ("VERSION\n    0.", "load(path: ", "sample(prime: ", "train(corpus: ", "hidden_size\n", "top_p\n"):
        assert words in result.stdout


def test_a_model_says_what_it_is(model: Pretrained) -> None:
    """On a line that tells cell, size, corpus, best score and folder; in a notebook as a small table."""
    assert repr(model) == "<charrnn lstm 2 x 4 on ring, 2.525 bpc, checkpoints/one>"
    page = model._repr_html_()
    for words in ("lstm 2 x 4, embedding 3", "2.5247 bpc at step 20", "1,234 characters, 10 different", "<table"):
        assert words in page
    assert f"{sum(array.size for array in model.checkpoint.parameters.values()):,}" in page
    assert repr(model.score("abc")).startswith("<score of 2 characters: ")


def test_a_name_from_a_checkpoint_drives_neither_terminal_nor_page() -> None:
    """A corpus may be called anything."""
    RUN.parent.mkdir(parents=True)
    evil = tiny()
    save(RUN, replace(evil, corpus={**evil.corpus, "name": "\x1b[2J<script>\n"}))
    model = charrnn.load(RUN)
    assert repr(model).isprintable()
    assert "<script>" not in model._repr_html_()
    assert "\x1b" not in model._repr_html_()


def test_what_comes_next_and_what_it_costs_as_arrays(model: Pretrained) -> None:
    """Row by row the distribution that `step` gives; the mean surprisal is the score."""
    text = TEXT[:40]
    probabilities, bits = model.probabilities(text), model.surprisal(text)
    assert probabilities.shape == (40, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    for place in (0, 7, 39):
        np.testing.assert_allclose(np.log(probabilities[place]), model.step(text[: place + 1])[0], atol=1e-4)
    assert np.isnan(bits[0])
    assert bits[1:].mean() == pytest.approx(model.score(text).bits_per_character, abs=1e-6)
    places = [model.vocabulary.characters.index(character) for character in text]
    np.testing.assert_allclose(bits[1:], -np.log2(probabilities[np.arange(39), places[1:]]), atol=1e-4)


def test_what_cannot_be_is_refused(model: Pretrained) -> None:
    """With the errors of the command line."""
    with pytest.raises(TextError, match="'X' U"):
        model.sample("aXb")
    assert model.sample("aXb", unknown="skip", length=9) == model.sample("ab", length=9)
    for text in ("", "a"):
        with pytest.raises(TextError, match="nothing to score"):
            model.score(text)
    with pytest.raises(TextError, match="nothing to read"):
        model.step("")
    with pytest.raises(UsageError, match="top_p is 0\nit must be a number above 0 and at most 1"):
        model.sample(top_p=0)
    with pytest.raises(UsageError, match="int8"):
        charrnn.load(RUN, device="cuda", weights="int8")
    for wrong in ({"device": "gpu"}, {"weights": "fp8"}, {"threads": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(UsageError, match=f"{name} is {value!r}\nit must be "):
            charrnn.load(RUN, **wrong)
    with pytest.raises(UsageError, match="unknown is 'drop'\nit must be one of error, skip, replace"):
        model.sample("aXb", unknown="drop")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        charrnn.load("elsewhere")


def test_bytes_are_read_and_written() -> None:
    """In byte mode the prime's UTF-8 is read, and a score counts bytes."""
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny(as_bytes=True))
    model = charrnn.load()
    expected = bpc.score(_torch(model.checkpoint), model.vocabulary.encode("naïve"), lanes=1)
    assert model.score("naïve").characters == expected.characters == 5
    assert model.score("naïve").nats == pytest.approx(expected.nats, abs=1e-5)
    assert len(model.sample("é", length=40)) <= 40


def test_int8_weights_come_close() -> None:
    """Rounded weights change the score by a little and nothing else; numpy alone does not offer them."""
    from charrnn.native.step import find_library

    if find_library() is None:
        pytest.skip("this installation has no compiled step")
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny(layers=3))
    exact, rounded = charrnn.load(RUN), charrnn.load(RUN, weights="int8")
    difference = rounded.score(TEXT).bits_per_character - exact.score(TEXT).bits_per_character
    assert 0 < abs(difference) < 0.05
    assert json.loads(_sample("--weights", "int8", "--json", "-n", "9"))["text"] == rounded.sample(length=9)


@pytest.mark.parametrize(
    "command",
    [
        "sample -n 20 --count 3 --color",
        "inspect text.txt",
        "inspect text.txt -u L1.i2 --json",
        "inspect text.txt --predictions",
        "inspect",
    ],
)
def test_neither_sampling_nor_inspecting_imports_torch(command: str) -> None:
    """On a CPU, from the command line and from Python; the first character needs nothing that takes long."""
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    Path("text.txt").write_text(TEXT)
    code = (
        "import sys\n"
        "from charrnn.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as leaving: assert not leaving.code, leaving.code\n"
        "import charrnn\n"
        "model = charrnn.load()\n"
        "model.sample(length=5), model.score('abc'), model.step('a')\n"
        "assert 'torch' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def _most_memory(compiled: str) -> int:
    """Bytes that `charrnn sample` holds at most, mapped files included."""
    code = (
        "import re, sys\n"
        "from charrnn.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, "sample", "-c", str(RUN), "-n", "3"]
    environment = {**os.environ, "CHARRNN_COMPILED": compiled, "OPENBLAS_NUM_THREADS": "1"}
    return 1024 * int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="read from Linux's /proc")
@pytest.mark.parametrize("compiled", ["1", "0"], ids=["compiled", "numpy"])
def test_the_weights_are_held_about_once(compiled: str) -> None:
    """What sampling from a large model holds beyond what it holds for a tiny one: less than 2.5 times the weights."""
    RUN.parent.mkdir(parents=True)
    small = tiny()
    save(RUN, small)
    least = _most_memory(compiled)
    model = ModelConfig(num_layers=2, hidden_size=800, embedding_size=3)
    shapes = parameter_shapes(model, len(small.vocabulary))
    random = np.random.default_rng(0)
    parameters = {name: random.uniform(-0.05, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    save(RUN, replace(small, model=model, parameters=parameters))
    weights = sum(array.nbytes for array in parameters.values())
    assert weights > 30e6
    assert _most_memory(compiled) - least < (1.5 if compiled == "1" else 2.5) * weights


def test_colours_are_for_terminals() -> None:
    """On a terminal a surprising character has a background; the text is the same as on a pipe, where there is none."""
    RUN.parent.mkdir(parents=True)
    loud = tiny()
    save(RUN, replace(loud, parameters={**loud.parameters, "decoder.bias": np.linspace(0, 20, 10).astype(np.float32)}))
    options = ["--prime", "ab", "-n", "300", "-t", "8", "--color"]
    plain = _sample(*options)
    assert "\x1b" not in plain
    shown = _on_a_terminal(*options)
    assert re.search("\x1b\\[38;2;0;0;0;48;2;230;97;1m", shown), "no character surprised by eight bits"
    assert re.sub("\x1b\\[[0-9;]*m", "", shown).replace("\r\n", "\n") == plain
    assert "\x1b" not in _on_a_terminal(*options, NO_COLOR="1")


def _sample(*options: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "charrnn", "sample", "-c", str(RUN), *options], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _on_a_terminal(*options: str, **environment: str) -> str:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "charrnn", "sample", "-c", str(RUN), *options]
    surroundings = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=surroundings)
    os.close(theirs)
    received = b""
    try:
        while chunk := os.read(ours, 4096):
            received += chunk
    except OSError:  # the other side has closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    assert process.stderr is not None
    process.stderr.close()
    return received.decode()


def test_sampling_on_a_gpu_computes_as_a_cpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's layers would take TF32 unless they were told not to, and greedy text would not be the CPU's."""
    import torch

    from charrnn.network import device, stepper

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(device, "choose_device", torch.device)
    monkeypatch.setattr(stepper, "TorchStepper", lambda _loaded, chosen: chosen)
    try:
        torch.backends.cudnn.allow_tf32 = True
        assert open_engine(tiny(), device="cuda") == torch.device("cuda")
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
