"""The step in JavaScript, in a real browser, against numpy's and the compiled one: logits, units, clamps, draws."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from charrnn.cells.parameters import parameter_shapes
from charrnn.cli.page import reading_of
from charrnn.errors import UsageError
from charrnn.inference.distribution import generator
from charrnn.inference.make_engine import make_engine
from charrnn.inference.page_model import PackedModel, pack, rounded
from charrnn.inference.reference import Network
from charrnn.native.step import find_library
from charrnn.neurons.clamping import clamp
from charrnn.neurons.columns import with_own_columns
from charrnn.neurons.record import Unit
from charrnn.sampling.sampler import sample
from charrnn.settings.config import DataConfig, ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.fitting import Reader
from charrnn.text.traits import LineEnds
from charrnn.text.vocabulary import Vocabulary
from tests.kit.browser import Browser
from tests.kit.every_option import OPTIONS, configured

Arrays = dict[str, npt.NDArray[Any]]

V, STEPS = 13, 500
IDS = np.random.default_rng(5).integers(0, V, STEPS).tolist()
CONFIGS = {
    "lstm": ModelConfig(cell="lstm", num_layers=2, hidden_size=70, embedding_size=5),
    "gru": ModelConfig(cell="gru", num_layers=2, hidden_size=67, embedding_size=6),
    "gru before": ModelConfig(cell="gru", num_layers=2, hidden_size=66, embedding_size=6, reset_gate="before"),
    "rnn": ModelConfig(cell="rnn", num_layers=3, hidden_size=65, embedding_size=7),
    "lstm, tied": ModelConfig(cell="lstm", num_layers=1, hidden_size=9, embedding_size=9, tie=True),
    "lstm, orthogonal": ModelConfig(cell="lstm", num_layers=1, hidden_size=11, embedding_size=3, orthogonal=True),
}
"""Sizes that are no multiples of four or of a group of 64."""


def _parameters(config: ModelConfig, size: int = V, *, scale: float | None = None) -> Arrays:
    """Weights of chance; an rnn's are smaller, since with larger ones any rounding grows from step to step."""
    scale = (1.0 if config.cell == "rnn" else 1.5) if scale is None else scale
    random = np.random.default_rng(3)
    shapes = parameter_shapes(config, size)
    return {
        name: (random.normal(size=shape) * scale / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in shapes.items()
    }


class Stepped:
    """A model in the browser."""

    def __init__(self, browser: Browser, folder: Path, packed: PackedModel, end: int | None = None) -> None:
        room = files("charrnn").joinpath("display/page")
        scripts = "".join(room.joinpath(name).read_text("utf-8") for name in ("step.js", "draw.js", "text.js"))
        said = json.dumps({**packed.described, "end": end})
        page = folder / "step.html"
        page.write_text(
            f'<!DOCTYPE html><p id="arrays">{base64.b64encode(packed.content).decode()}</p><script>{scripts}\n'
            f'const model = new Model({said}, bytesOf(document.getElementById("arrays").textContent));</script>'
        )
        self._browser = browser
        browser.open(page, width=400)
        assert browser.complaints == []

    def ask(self, expression: str) -> Any:
        return self._browser.evaluate(expression)

    def read(self, ids: list[int]) -> npt.NDArray[np.float64]:
        """The logits after ids, from the zero state."""
        self.ask(f"model.begin(); for (const id of {ids}) model.read(id);")
        return self.logits()

    def logits(self) -> npt.NDArray[np.float64]:
        return np.array(self.ask("Array.from(model.logits)"))

    def unit(self, layer: int, kind: str) -> npt.NDArray[np.float64]:
        return np.array(self.ask(f"Array.from(model.stack[{layer - 1}].values.{kind})"))


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_after_500_characters_are_those_of_numpy(browser: Browser, tmp_path: Path, name: str) -> None:
    config, parameters = CONFIGS[name], _parameters(CONFIGS[name])
    stepped = Stepped(browser, tmp_path, pack(config, parameters, "float32"))
    engine = Network(config, parameters)
    logits, _ = engine.read(IDS, engine.zero_state(1))
    assert np.abs(logits).max() > 0.5, "there is something to compare"
    np.testing.assert_allclose(stepped.read(IDS), logits[0], atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru before", "rnn"])
def test_logits_in_int8_are_those_of_the_int8_engine(browser: Browser, tmp_path: Path, name: str) -> None:
    """Of the compiled engine, which rounds h alike, and of numpy with the rounded weights and h as it is."""
    config, parameters = CONFIGS[name], _parameters(CONFIGS[name])
    here = Stepped(browser, tmp_path, pack(config, parameters, "int8")).read(IDS)
    coarse = dict(parameters)
    for layer in range(1, config.num_layers + 1):
        for which in ("weight_hh", *(["weight_ih"] if layer > 1 else [])):
            array = parameters[f"layers.{layer}.{which}"]
            quantised, scales = rounded(array)
            coarse[f"layers.{layer}.{which}"] = (
                quantised * np.repeat(scales * 32767, 64, axis=1)[:, : array.shape[1]]
            ).astype(np.float32)
    engine = Network(config, coarse)
    np.testing.assert_allclose(here, engine.read(IDS, engine.zero_state(1))[0][0], atol=2e-3)
    exact = Network(config, parameters)
    assert np.abs(here - exact.read(IDS, exact.zero_state(1))[0][0]).max() > 3e-3, "rounding is seen"
    if find_library() is not None:
        compiled = make_engine(config, parameters, weights="int8")
        np.testing.assert_allclose(here, compiled.read(IDS, compiled.zero_state(1))[0][0], atol=1e-3)


def test_weights_are_rounded_to_the_nearest_of_their_group() -> None:
    matrix = np.zeros((3, 66), np.float32)
    matrix[0, :3], matrix[0, 65], matrix[2, 64] = (2.0, -1.0, 0.012), 0.5, -0.25
    quantised, scales = rounded(matrix)
    assert quantised[0, [0, 1, 2, 65]].tolist() == [127, -64, 1, 127]
    assert (quantised[1] == 0).all()
    assert quantised[2, 64] == -127
    np.testing.assert_allclose(scales * 32767 * 127, [[2.0, 0.5], [0, 0], [0, 0.25]])


@pytest.mark.parametrize("name", ["lstm", "gru", "gru before", "rnn"])
def test_units_are_those_that_inspect_records(browser: Browser, tmp_path: Path, name: str) -> None:
    config, parameters = CONFIGS[name], _parameters(CONFIGS[name])
    stepped = Stepped(browser, tmp_path, pack(config, parameters, "float32"))
    stepped.read(IDS[:40])
    engine = Network(config, parameters)
    taken, _ = engine.record(np.array(IDS[:40]), engine.zero_state(1))
    for kind, values in taken.items():
        for layer in range(1, config.num_layers + 1):
            wanted = np.tanh(values[-1, layer - 1]) if kind == "c" else values[-1, layer - 1]
            np.testing.assert_allclose(stepped.unit(layer, kind), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("lstm", {"L1.h3": 0.5, "L2.h66": -1.0}),
        ("lstm", {"L1.c3": 1.0, "L2.c5": -0.5, "L2.o5": 0.25}),
        ("lstm", {"L1.i0": 0.0, "L1.f1": 1.0, "L2.g69": -0.75}),
        ("gru", {"L1.h3": -0.5}),
        ("gru", {"L1.r2": 0.25, "L2.z1": 0.75, "L2.n4": 0.5}),
        ("gru before", {"L1.r2": 0.25, "L2.r65": 1.0, "L2.z1": 0.75, "L2.n4": 0.5}),
        ("rnn", {"L1.h64": 0.5, "L3.h0": -0.25}),
    ],
)
def test_a_held_unit_acts_as_in_sample(browser: Browser, tmp_path: Path, name: str, held: dict[str, float]) -> None:
    """`charrnn sample --clamp` changes weights; here values are overwritten."""
    config, parameters = CONFIGS[name], _parameters(CONFIGS[name])
    stepped = Stepped(browser, tmp_path, pack(config, parameters, "float32"))
    free = stepped.read(IDS[:60])
    units = {Unit(int(word[1]), word[3], int(word[4:])): value for word, value in held.items()}
    said = [
        {"layer": unit.layer - 1, "kind": unit.kind, "index": unit.index, "value": value}
        for unit, value in units.items()
    ]
    stepped.ask(f"model.held = {json.dumps(said)}")
    here = stepped.read(IDS[:60])
    engine = Network(*_held(config, parameters, units))
    np.testing.assert_allclose(here, engine.read(IDS[:60], engine.zero_state(1))[0][0], atol=1e-4)
    assert np.abs(here - free).max() > 1e-2
    for unit, value in units.items():
        assert stepped.unit(unit.layer, unit.kind)[unit.index] == pytest.approx(value)
    stepped.ask("model.held = []")
    np.testing.assert_array_equal(stepped.read(IDS[:60]), free)


def _held(config: ModelConfig, parameters: Arrays, units: dict[Unit, float]) -> Any:
    own = with_own_columns(config, parameters)
    return own[0], clamp(*own, units)


def test_a_snapshot_brings_everything_back(browser: Browser, tmp_path: Path) -> None:
    config = CONFIGS["lstm"]
    stepped = Stepped(browser, tmp_path, pack(config, _parameters(config), "int8"))
    first = stepped.read(IDS[:30])
    stepped.ask("globalThis.kept = model.snapshot(); for (const id of [1, 2, 3]) model.read(id);")
    assert np.abs(stepped.logits() - first).max() > 1e-3
    after = stepped.logits()
    stepped.ask("model.restore(kept); for (const id of [1, 2, 3]) model.read(id);")
    np.testing.assert_array_equal(stepped.logits(), after)


@pytest.mark.parametrize("id_", [-1, V, 1 << 31, 1.5, "null", "undefined"])
def test_an_id_beyond_the_vocabulary_is_refused(browser: Browser, tmp_path: Path, id_: Any) -> None:
    config = CONFIGS["lstm, tied"]
    stepped = Stepped(browser, tmp_path, pack(config, _parameters(config), "int8"))
    said = stepped.ask(f"(() => {{ try {{ model.read({id_}); }} catch (error) {{ return String(error); }} }})()")
    assert said == f"RangeError: the id {id_} is outside 0 to {V - 1}"


def test_the_end_of_a_document_is_read_from_the_zero_state(browser: Browser, tmp_path: Path) -> None:
    config = CONFIGS["gru"]
    stepped = Stepped(browser, tmp_path, pack(config, _parameters(config), "float32"), end=V - 1)
    np.testing.assert_array_equal(stepped.read([1, 2, V - 1, 4]), stepped.read([V - 1, 4]))


def test_a_vocabulary_of_thousands(browser: Browser, tmp_path: Path) -> None:
    """Chinese, say: ids up to 6,000, of which the first and the last are read."""
    config = ModelConfig(cell="lstm", num_layers=1, hidden_size=12, embedding_size=10)
    parameters, ids = _parameters(config, 6000), [0, 5999, 3000, 1, 4097] * 9
    stepped = Stepped(browser, tmp_path, pack(config, parameters, "float32"))
    engine = Network(config, parameters)
    np.testing.assert_allclose(stepped.read(ids), engine.read(ids, engine.zero_state(1))[0][0], atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.0}, {"temperature": 0.8, "seed": 7}, {"temperature": 1.2, "top_p": 0.8, "seed": 2**63 - 1}],
)
def test_the_text_is_that_of_sample(browser: Browser, tmp_path: Path, settings: dict[str, Any]) -> None:
    """500 characters, greedy and drawn: a seed gives the same random numbers."""
    config, vocabulary = CONFIGS["lstm"], Vocabulary.of("\nabcdefghijkl")
    parameters = _parameters(config, scale=4.0)
    drawing = SamplingConfig(length=STEPS, **settings)
    engine = Network(config, parameters)
    text = "".join(sample(engine, vocabulary, vocabulary.encode("abc"), drawing))
    stepped = Stepped(browser, tmp_path, pack(config, parameters, "float32"))
    stepped.read([0, 1, 2, 3])
    top_p, seed = drawing.top_p or 1, drawing.seed_number
    here = stepped.ask(f"""Array.from({{length: {STEPS}}}, (_, place) => {{
        const id = draw(model.logits, {drawing.temperature}, {top_p}, uniform({seed}n, place));
        model.read(id);
        return id;
    }})""")
    assert vocabulary.decode(here) == text
    assert len(set(text)) > 4


def test_random_numbers_are_numpys(browser: Browser, tmp_path: Path) -> None:
    config = CONFIGS["lstm, tied"]
    stepped = Stepped(browser, tmp_path, pack(config, _parameters(config), "int8"))
    for seed in (0, 1, 12345678901234567890 % 2**63):
        assert stepped.ask(f"Array.from({{length: 11}}, (_, place) => uniform({seed}n, place))") == (
            generator(seed, 0).random(11).tolist()
        )


def test_bits_and_likeliest_are_of_the_models_own_distribution(browser: Browser, tmp_path: Path) -> None:
    config = CONFIGS["lstm"]
    stepped = Stepped(browser, tmp_path, pack(config, _parameters(config), "float32"))
    logits = stepped.read(IDS[:9])
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(stepped.ask("[0, 5, 12].map(id => bitsOf(model.logits, id))"),
                               -np.log2(shares[[0, 5, 12]]), rtol=1e-6)  # fmt: skip
    found = stepped.ask("likeliest(model.logits, 4)")
    assert [id_ for id_, _ in found] == np.argsort(-shares)[:4].tolist()
    np.testing.assert_allclose([share for _, share in found], np.sort(shares)[::-1][:4], rtol=1e-6)


TYPED = "Ab\r\nc\n\u00e9e\u0301\u00fc"


@pytest.mark.parametrize(
    ("characters", "data", "line_ends"),
    [
        ("abc\ne\u0301\u00fc", {}, LineEnds(lf=3)),
        ("Abc\r\ne\u00e9\u00fc", {}, LineEnds(crlf=3)),
        ("abc\r\u00e9\u00fc", {"lowercase": True}, LineEnds(cr=2)),
        ("Abc\ne\u0301\u0308u", {"normalize": "nfd", "newlines": "lf"}, LineEnds(lf=2)),
        ("Abc\n\r\u00e9\u00fc", {}, LineEnds(lf=2, crlf=2)),
    ],
)
def test_what_is_typed_is_read_as_a_prime(
    browser: Browser, tmp_path: Path, characters: str, data: dict[str, Any], line_ends: LineEnds
) -> None:
    """Line ends, case and normal forms; unknown characters are named, and left out as by --unknown skip."""
    config, vocabulary = CONFIGS["lstm, tied"], Vocabulary.of(characters)
    stepped = Stepped(browser, tmp_path, pack(config, _parameters(config), "int8"))
    reader = Reader(DataConfig(**data), vocabulary, line_ends)
    text, _ = reader.text(TYPED, "it")
    said = json.dumps({**reading_of(reader), "end": None, "unknown": None})
    here = stepped.ask(f"new Characters({said}).encode({json.dumps(TYPED)})")
    assert here["ids"] == vocabulary.encode(text, "skip").tolist()
    assert here["unknown"] == list(vocabulary.missing(text))


def test_bytes_are_decoded_as_python_does(browser: Browser, tmp_path: Path) -> None:
    """Every kind of broken sequence, and random bytes."""
    config = CONFIGS["lstm, tied"]
    stepped = Stepped(browser, tmp_path, pack(config, _parameters(config), "int8"))
    random = np.random.default_rng(2)
    texts = [
        "aé€😀".encode(), b"\xe2\x82a", b"\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xf5", b"\xf0\x9f\x98", b"\xe0\x80",
        *(random.choice(list(b"A\x80\xbf\xc3\xe2\xed\xf0\xf4"), 40).astype(np.uint8).tobytes() for _ in range(9)),
    ]  # fmt: skip
    for text in texts:
        here = stepped.ask(
            "(() => { const utf8 = new Utf8(); "
            f"return {list(text)}.map(byte => utf8.next(byte)).join('') + utf8.finish(); }})()"
        )
        assert here == text.decode("utf-8", "replace")


PLAIN_OUTSIDE_TRAINING = {
    "dropout",
    "recurrent_dropout",
    "weight_drop",
    "tie embedding_size",
    "orthogonal",
    "freeze",
    "l2",
}


def test_variants_whose_step_is_more_are_refused_with_the_reason() -> None:
    refused = {}
    for option in OPTIONS:
        config = configured(option)[0]
        try:
            pack(config, _parameters(config, 11), "int8")
        except UsageError as error:
            refused[" ".join(option)] = error.message
    assert (
        refused["layer_norm"]
        == "a page steps the plain lstm, gru and rnn, and this model's step is that of lstm with layer norm"
    )
    assert refused["skip"].endswith("this model's layers are connected by --skip sum")
    assert {"zoneout", "peephole", "mogrifier", "multiplicative", "cell activation", "forget_gate"} <= set(refused)
    assert {" ".join(option) for option in OPTIONS} - set(refused) >= PLAIN_OUTSIDE_TRAINING
    unitary = replace(CONFIGS["rnn"], cell="urnn", hidden_size=8)
    with pytest.raises(UsageError, match="urnn"):
        pack(unitary, _parameters(unitary), "int8")
