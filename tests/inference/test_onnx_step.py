"""A step as an ONNX graph, run by ONNX Runtime: it computes what the reference does, for every cell of real numbers.

Skipped where onnx and onnxruntime are not installed, but for what is said then.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import charrnn
from charrnn.cells.parameters import layer_parameters
from charrnn.checkpoints.checkpoint import save
from charrnn.cli.help import read
from charrnn.errors import UsageError
from charrnn.inference.onnx_step import step_model
from charrnn.inference.reference import Network
from charrnn.settings.config import ModelConfig
from tests.kit.command import Command
from tests.kit.every_option import V
from tests.kit.tiny import CHARACTERS, tiny
from tests.kit.variants import models, moved

MODELS = models()
REAL = [name for name in MODELS if not name.startswith("cell=urnn")]
RUN = Path("checkpoints/tinyshakespeare/best.safetensors")


def _session(content: bytes | str) -> Any:
    pytest.importorskip("onnx")
    return pytest.importorskip("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])


def _run(session: Any, ids: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Reads ids (T, B) one by one from zeros: the logits (T, B, V), and the states after the last."""
    names = [each.name for each in session.get_inputs()][1:]
    shape = (config.num_layers, ids.shape[1], config.hidden_size)
    states, found = {name: np.zeros(shape, np.float32) for name in names}, []
    for row in ids:
        logits, *after = session.run(None, {"ids": row, **states})
        states = dict(zip(names, after, strict=True))
        found.append(logits)
    return np.stack(found), states


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("lanes", [1, 3])
def test_steps_are_the_references(name: str, lanes: int) -> None:
    """Logits of eight characters with the state carried, for any number of lanes by one graph."""
    pytest.importorskip("onnx")
    model = moved(MODELS[name])
    arrays = model.numpy_arrays()
    session = _session(step_model(model.config, arrays, {}))
    ids = np.random.default_rng(1).integers(0, V, (8, lanes))
    logits, states = _run(session, ids, model.config)
    network = Network(model.config, arrays)
    state = network.zero_state(lanes)
    for row, found in zip(ids, logits, strict=True):
        expected, state = network.step(row, state)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for place, kind in enumerate(states):
        np.testing.assert_allclose(states[kind], [layer[place] for layer in state], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("reset_gate", "flag"), [("before", 0), ("after", 1)])
def test_either_gru_is_onnxs_own(reset_gate: Literal["before", "after"], flag: int) -> None:
    """Its operator says by linear_before_reset where the reset gate acts: outputs of a window of nine, three lanes."""
    onnx, H, E = pytest.importorskip("onnx"), 5, 4
    config = ModelConfig(cell="gru", num_layers=1, hidden_size=H, embedding_size=E, reset_gate=reset_gate)
    arrays = moved(config).numpy_arrays()
    p = layer_parameters(arrays, 1)

    def theirs(name: str) -> np.ndarray:
        r, z, n = np.split(p[name], 3)
        return np.concatenate([z, r, n])

    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    biases = np.concatenate([theirs("bias_ih"), theirs("bias_hh")])
    constants = {"W": theirs("weight_ih")[None], "R": theirs("weight_hh")[None], "B": biases[None]}
    node = helper.make_node("GRU", ["X", "W", "R", "B"], ["Y"], hidden_size=H, linear_before_reset=flag)
    graph = helper.make_graph(
        [node], "layer", [helper.make_tensor_value_info("X", real, [9, 3, E])],
        [helper.make_tensor_value_info("Y", real, [9, 1, 3, H])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    ids = np.random.default_rng(1).integers(0, V, (9, 3))
    (expected,) = _session(model.SerializeToString()).run(None, {"X": arrays["embedding"][ids]})
    network = Network(config, arrays)
    state = network.zero_state(3)
    for row, wanted in zip(ids, expected[:, 0], strict=True):
        _, state = network.step(row, state)
        np.testing.assert_allclose(state[0][0], wanted, rtol=1e-4, atol=1e-5)


def test_the_file_says_what_it_is(command: Command) -> None:
    """Names, shapes and the vocabulary; constants go by the layout's names. The command writes what Python does."""
    onnx = pytest.importorskip("onnx")
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    charrnn.load().to_onnx("model.onnx")
    result = command("inspect", "--onnx", "other.onnx")
    assert (result.status, result.out) == (0, "")
    assert "wrote other.onnx\n" in result.err
    assert Path("other.onnx").read_bytes() == Path("model.onnx").read_bytes()
    session = _session("model.onnx")
    shapes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    state = [2, "batch", 4]
    assert shapes == {
        "ids": ["batch"], "h": state, "c": state, "logits": ["batch", 10], "h_after": state, "c_after": state
    }  # fmt: skip
    about = json.loads(session.get_modelmeta().custom_metadata_map["charrnn"])
    assert "".join(map(chr, about["vocabulary"]["code_points"])) == "".join(sorted(CHARACTERS))
    assert about["model"]["cell"] == "lstm"
    graph = onnx.load("model.onnx").graph
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for name, array in tiny().parameters.items():
        np.testing.assert_array_equal(stored[name], array)
    assert sum(array.nbytes for array in stored.values()) < 1.1 * sum(a.nbytes for a in tiny().parameters.values())


def test_writing_a_graph_needs_no_torch() -> None:
    """Its import takes a second, and nothing of it is used."""
    pytest.importorskip("onnx")
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    code = "import sys, charrnn; charrnn.load().to_onnx('model.onnx'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert Path("model.onnx").stat().st_size > 1000


def test_a_tied_matrix_is_stored_once() -> None:
    """The decoder reads the embedding."""
    onnx = pytest.importorskip("onnx")
    model = moved(MODELS["tie=True embedding_size=10"])
    graph = onnx.load_model_from_string(step_model(model.config, model.numpy_arrays(), {})).graph
    assert [each.name for each in graph.initializer].count("embedding") == 1
    assert not any("decoder.weight" in each.name for each in graph.initializer)


def test_the_example_of_the_manual_writes_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Its greedy text is the command's; the example runs as it stands."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    charrnn.load().to_onnx("model.onnx")
    (program,) = re.findall(r"^```py\n(.*?)^```$", read("layout"), re.DOTALL | re.MULTILINE)
    exec(program, {})  # noqa: S102 - a page of the manual
    assert capsys.readouterr().out == charrnn.sample(temperature=0, length=200) + "\n"


def test_complex_numbers_are_refused() -> None:
    """With the cell in words, before anything is written."""
    pytest.importorskip("onnx")
    model = moved(MODELS["cell=urnn"])
    with pytest.raises(UsageError, match="ONNX has no complex numbers"):
        step_model(model.config, model.numpy_arrays(), {})


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """Where the package is not installed, with what brings it; what does not go together, before that."""
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match="the package onnx is not installed\npip install 'charrnn\\[onnx\\]'"):
        charrnn.load().to_onnx("model.onnx")
    Path("text.txt").write_text("abc")
    Path("folder").mkdir()
    for options, said in (
        (["--onnx", "a"], "onnx is not installed"),
        (["--onnx", "a", "--json"], "--json does not go with it"),
        (["--onnx", "a", "--length", "3"], "--length does not go with it"),
        (["text.txt", "--onnx", "a"], "text.txt is a text"),
        (["--onnx", "folder"], "folder"),
        (["--onnx", "nowhere/a"], "nowhere/a"),
    ):
        result = command("inspect", *options)
        assert result.status == 2, options
        assert said in result.err
    assert not Path("a").exists()
