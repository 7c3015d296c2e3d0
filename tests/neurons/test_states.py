"""States as arrays: against plain loops over the reference and over torch, piece by piece, in bounded memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from charrnn.checkpoints.checkpoint import Checkpoint, save
from charrnn.cli import states as view
from charrnn.cli.output import write_arrays
from charrnn.cli.view import Streamed
from charrnn.errors import CheckpointError, UsageError
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.network.plain_model import plain_model
from charrnn.neurons.record import Unit, is_unbounded, kinds, units_named
from charrnn.neurons.states import lines_in, state_units, states_of, vectors_of
from charrnn.settings.config import ModelConfig
from tests.kit.command import Command, Result
from tests.kit.every_option import V
from tests.kit.tiny import tiny
from tests.kit.variants import models, moved

RUN = Path("checkpoints/one/best.safetensors")
TEXT = "abc def\n\ngh ab ba cab\n" + "hag\r\nbad cab\n" * 30 + "a"
CELLS = [
    "cell=lstm", "cell=gru", "cell=rnn", "cell=urnn", "cell=rnn activation=relu", "layer_norm=True", "skip=dense"
]  # fmt: skip


def _loop(config: ModelConfig, arrays: Any, ids: Any, units: list[Unit]) -> npt.NDArray[np.float32]:
    """The values (T, N) of units after each id, asked one by one."""
    network = Network(config, arrays)
    state, rows = network.zero_state(1), []
    for id_ in ids:
        state, gates = network.observe([id_], state)
        values = {
            (layer, kind): value[0]
            for layer, both in enumerate(zip(state, gates, strict=True), start=1)
            for kind, value in zip(kinds(config), (*both[0], *both[1]), strict=True)
        }
        row = [values[unit.part][unit.index] for unit in units]
        rows.append([np.tanh(x) if is_unbounded(u.kind, config) else x for u, x in zip(units, row, strict=True)])
    return np.array(rows, np.float32)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("start", [0, 1, 256, 300])
def test_states_are_those_of_a_plain_loop(name: str, start: int) -> None:
    """Of all units and of some, gates among them, in any order; over blocks, from any character on."""
    model = moved(models()[name])
    config, arrays = model.config, model.numpy_arrays()
    ids = np.random.default_rng(1).integers(0, V, 301)
    some = [units_named(kinds(config)[-1], config)[3], Unit(2, "h", 7), Unit(1, "h", 0)]
    for units in (state_units(config), some):
        told: list[tuple[int, int]] = []
        engine = make_engine(config, arrays)
        found = list(states_of(engine, ids, units, start, lambda _, done, total, told=told: told.append((done, total))))
        expected = _loop(config, arrays, ids, units)[start:]
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-5)
        assert told == [(256, 301), (301, 301)]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_states_are_torchs(cell: str) -> None:
    """h, and tanh of c, of nn.LSTM and its like, stepped one by one."""
    model = moved(models()[f"cell={cell}"])
    plain, state = plain_model(model.config, model.numpy_arrays()), None
    ids, rows = np.random.default_rng(1).integers(0, V, 50), []
    with torch.no_grad():
        for id_ in ids:
            _, state = plain(torch.tensor([[id_]]), state)
            rows.append(torch.cat([x.tanh() if place else x for layer in state for place, x in enumerate(layer)], 1))
    units = state_units(model.config)
    found = states_of(make_engine(model.config, model.numpy_arrays()), ids, units, 0, lambda *_: None)
    np.testing.assert_allclose(np.concatenate(list(found)), torch.cat(rows).numpy(), atol=1e-5)


def test_lines_are_those_of_a_split() -> None:
    """Whatever ends them, and wherever empty ones stand; the end of a line is no part of it."""
    for text in ("", "\n", "a", "ab\ncd", "ab\n\n\ncd\n", "\n\nab", "ab\r\ncd\r\n", "\r\n\r\nab\r", "\r\na\rb\r\n"):
        ids = np.array([ord(character) for character in text], np.uint8)
        lines = lines_in(ids, 10, 13)
        found = [text[start : start + length] for start, length in zip(*lines, strict=True)]
        assert found == [line for line in text.replace("\r\n", "\n").split("\n") if line], repr(text)
    assert lines_in(np.array([0, 1, 2], np.uint8), None, None)[0].tolist() == [0]
    assert lines_in(np.array([0, 1, 0, 2], np.uint8), 0, None)[1].tolist() == [1, 1]


@pytest.mark.parametrize("name", CELLS[:3])
def test_vectors_of_texts_are_those_of_a_plain_loop(name: str) -> None:
    """The last state and the mean, also of a text longer than a block; no text depends on the others."""
    model = moved(models()[name])
    config, arrays = model.config, model.numpy_arrays()
    random, before, units = np.random.default_rng(2), np.array([3]), state_units(model.config)
    texts = [random.integers(0, V, length) for length in (1, 7, 600, 255, 256, 3)]
    engine = make_engine(config, arrays)
    found = list(vectors_of(engine, texts, units, before))
    for text, (last, mean) in zip(texts, found, strict=True):
        expected = _loop(config, arrays, [3, *text], units)[1:]
        np.testing.assert_allclose(last, expected[-1], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-4, atol=1e-5)
    in_another_order = reversed(list(vectors_of(engine, texts[::-1], units, before)))
    for (last, mean), (again, its) in zip(found, in_another_order, strict=True):
        assert last.tobytes() + mean.tobytes() == again.tobytes() + its.tobytes()


@pytest.fixture
def inspect(command: Command) -> Callable[..., Result]:
    """Runs `inspect` on a text that a saved run knows."""
    RUN.parent.mkdir(parents=True)
    save(RUN, _run())
    Path("text.txt").write_bytes(TEXT.encode())
    return lambda *options: command("inspect", *options, "-c", str(RUN))


def _run() -> Checkpoint:
    return tiny(characters="\r\n abcdefgh")


def _ids(text: str) -> Any:
    return _run().vocabulary.encode(text)


def _read(name: str) -> dict[str, Any]:
    with np.load(name) as found:
        return dict(found)


def test_the_file_has_states_names_and_characters(inspect: Callable[..., Result]) -> None:
    """Everything in one file that numpy reads without pickle; the size is said before; twice the same bytes."""
    result = inspect("text.txt", "--states", "all", "--npz", "a.npz")
    assert (result.status, result.out) == (0, "")
    T = len(TEXT)
    assert result.err.index(f"note: {T} characters x 16 units take ") < result.err.index("wrote a.npz")
    found, run = _read("a.npz"), _run()
    assert "".join(map(chr, found["code_points"][found["ids"]])) == TEXT
    units = state_units(run.model)
    assert found["units"].tolist() == [str(unit) for unit in units]
    assert found["is_tanh"].tolist() == [unit.kind == "c" for unit in units]
    assert found["states"].dtype == np.float32
    np.testing.assert_allclose(found["states"], _loop(run.model, run.parameters, _ids(TEXT), units), atol=1e-5)
    inspect("text.txt", "--states", "all", "--npz", "b.npz")
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


def test_units_layers_and_kinds_can_be_listed(inspect: Callable[..., Result]) -> None:
    """Each once, in their order, for a stretch of the text; the model reads what stands before it too."""
    words = "L2.f, L1,h,L2.c3,L1.c0"
    result = inspect("text.txt", "--states", words, "--npz", "a.npz", "--from", "9", "-n", "20", "--json")
    names = [f"L2.f{n}" for n in range(4)] + [f"L1.{kind}{n}" for kind in "hc" for n in range(4)]
    names += [*(f"L2.h{n}" for n in range(4)), "L2.c3"]
    found, run = _read("a.npz"), _run()
    assert found["units"].tolist() == names
    assert (found["from"], found["ids"].tolist()) == (9, _ids(TEXT)[9:29].tolist())
    units = [unit for name in names for unit in units_named(name, run.model)]
    expected = _loop(run.model, run.parameters, _ids(TEXT)[:29], units)[9:]
    np.testing.assert_allclose(found["states"], expected, atol=1e-5)
    numbers = json.loads(result.out)
    assert (numbers["characters"], numbers["units"], numbers["shapes"]) == (20, names, {"states": [20, 17]})


@pytest.mark.parametrize("start", [0, 2, 10])
def test_a_vector_for_each_line(start: int, inspect: Callable[..., Result]) -> None:
    """Read by itself after a line feed; lines can be found again in the text."""
    result = inspect("text.txt", "--states", "Documents,L2.h", "--npz", "a.npz", "--from", str(start))
    lines = [line for line in TEXT[start:].replace("\r\n", "\n").split("\n") if line]
    assert f"note: {len(lines)} documents x 4 units take " in result.err
    found, run = _read("a.npz"), _run()
    assert found["units"].tolist() == ["L2.h0", "L2.h1", "L2.h2", "L2.h3"]
    places = zip(found["starts"], found["lengths"], strict=True)
    assert [TEXT[place : place + length] for place, length in places] == lines
    for place, line in enumerate(lines):
        expected = _loop(run.model, run.parameters, _ids("\n" + line), units_named("L2.h", run.model))[1:]
        np.testing.assert_allclose(found["last"][place], expected[-1], atol=1e-5)
        np.testing.assert_allclose(found["mean"][place], expected.mean(0), atol=1e-5)


def test_bytes_have_states_and_documents(command: Command) -> None:
    """A row for each byte, and a line ends at the byte of a line feed."""
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny(as_bytes=True))
    Path("text.txt").write_bytes("naïve\n\xff\n".encode("latin-1"))
    for what, shapes in (("h", {"states": (8, 8)}), ("documents", {"last": (2, 16), "mean": (2, 16)})):
        assert command("inspect", "text.txt", "--states", what, "--npz", "a.npz").status == 0
        found = _read("a.npz")
        assert {name: found[name].shape for name in shapes} == shapes


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ("--states all", 2, "add --npz FILE"),
        ("--states all --json", 2, "add --npz FILE"),
        ("--states all --npz a.npz --html a.html", 2, "--html does not go with it"),
        ("--states all --npz a.npz --svg a.svg", 2, "--svg does not go with it"),
        ("--states all --npz a.npz --unit L1.h0", 2, "--unit does not go with it"),
        ("--states , --npz a.npz", 2, "--states is ','"),
        ("--states all,hidden --npz a.npz", 2, "--states is 'hidden'"),
        ("--states L3.h --npz a.npz", 2, "the model's layers are 1 to 2"),
        ("--states L1.z --npz a.npz", 2, "has no 'z'"),
        ("--states all --npz nowhere/a.npz", 2, "nowhere"),
        ("--states all --npz a.npz --from 5000", 2, "--from is 5,000"),
        ("--states all --gates --npz a.npz", 2, "pictures of their own"),
    ],
)
def test_what_cannot_be_is_refused(options: str, status: int, said: str, inspect: Callable[..., Result]) -> None:
    """With what to do instead, and no file."""
    result = inspect("text.txt", *options.split())
    assert result.status == status
    assert said in result.err
    assert not Path("a.npz").exists()


def test_texts_that_cannot_be_read_are_refused(inspect: Callable[..., Result]) -> None:
    """Unknown characters are listed, or left out where that is wished; nothing but line ends are no documents."""
    Path("odd.txt").write_text("abXcd\nY")
    result = inspect("odd.txt", "--states", "all", "--npz", "a.npz")
    assert result.status == 3
    assert "'X'" in result.err
    assert "'Y'" in result.err
    assert inspect("odd.txt", "--states", "h", "--npz", "a.npz", "--unknown", "skip").status == 0
    assert _read("a.npz")["states"].shape == (5, 8)
    Path("empty.txt").write_text("\n\n\n")
    result = inspect("empty.txt", "--states", "documents", "--npz", "b.npz")
    assert (result.status, "are empty" in result.err) == (3, True)


def test_a_disk_without_room_is_said_before_anything_is_computed(
    inspect: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both sizes; a device has room for everything."""
    monkeypatch.setattr(view.shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * len(TEXT) * 16 - 1))
    result = inspect("text.txt", "--states", "all", "--npz", "a.npz")
    assert result.status == 6
    assert "take 26.4 kB, and the disk of a.npz has 26.4 kB left" in result.err
    assert not Path("a.npz").exists()
    assert inspect("text.txt", "--states", "all", "--npz", "/dev/null").status == 0


def test_weights_too_large_are_said() -> None:
    """Instead of states that are not numbers."""
    model = moved(models()["cell=rnn activation=relu"])
    arrays = {name: array * np.float32(1e20) for name, array in model.numpy_arrays().items()}
    engine, ids, units = Network(model.config, arrays), np.arange(5), state_units(model.config)
    with np.errstate(all="ignore"):
        for found in (states_of(engine, ids, units, 0, lambda *_: None), vectors_of(engine, [ids], units, ids[:0])):
            with pytest.raises(CheckpointError, match="the state is not finite"):
                list(found)


def test_arrays_that_are_streamed_are_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arrays of 40 MB each, row by row; what is written is what numpy reads."""
    from charrnn.cli import output

    monkeypatch.setattr(output, "_IN_MEMORY", 1 << 20)
    rows, width = 10_000, 1_000

    def pieces() -> Iterator[tuple[Any, Any]]:
        for start in range(0, rows, 100):
            some = np.arange(start, start + 100, dtype=np.float32)[:, None].repeat(width, 1)
            yield some, -some

    tracemalloc.start()
    try:
        write_arrays(Path("a.npz"), {"x": np.arange(3)}, Streamed({"y": (rows, width), "z": (rows, width)}, pieces))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 8e6
    with np.load("a.npz") as found:
        assert found.files == ["x", "y", "z"]
        for name, sign in (("y", 1), ("z", -1)):
            assert (found[name] == sign * np.arange(rows, dtype=np.float32)[:, None]).all()


def test_rows_that_were_not_announced_are_an_error() -> None:
    """A header that lies would make an archive that nobody can read."""
    with pytest.raises(AssertionError, match="other rows"):
        write_arrays(Path("a.npz"), {}, Streamed({"y": (3, 2)}, lambda: iter([(np.zeros((2, 2)),)])))
    assert not Path("a.npz").exists()


def test_a_layer_stands_for_its_states() -> None:
    """One by one, as in `Pretrained.record`."""
    config = ModelConfig(num_layers=2, hidden_size=3)
    assert [str(unit) for unit in units_named("L2", config)] == [f"L2.{kind}{n}" for kind in "hc" for n in range(3)]
    assert units_named("all", config) == state_units(config) == [*units_named("L1", config), *units_named("L2", config)]
    with pytest.raises(UsageError, match="no layer 3"):
        units_named("L3", config)
