"""How long a model remembers: against brute force, networks whose memory is known, and intervals that cover."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.cells.parameters import parameter_shapes
from charrnn.display.horizon import pieces
from charrnn.display.report import page as page_of
from charrnn.display.report import spaced
from charrnn.errors import CheckpointError, TextError
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.neurons.horizon import (
    Bin,
    Memory,
    bin_starts,
    interval,
    longest_distance,
    measure,
    starting_places,
    student_quantile,
)
from charrnn.settings.config import ModelConfig
from tests.kit.command import Command
from tests.kit.tiny import arrays_of, forge, tiny

V, E, H, L = 7, 3, 5, 2
CELLS = ["lstm", "gru", "rnn"]


def _config(cell: str, layers: int = L, hidden: int = H, embedding: int = E) -> ModelConfig:
    return ModelConfig(cell=cell, num_layers=layers, hidden_size=hidden, embedding_size=embedding)  # type: ignore[arg-type]


def _arrays(cell: str, seed: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = parameter_shapes(_config(cell), V)
    # An rnn with weights around 1 is chaotic, and magnifies the rounding in which the engines differ.
    return {name: random.normal(0, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}


def _ids(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, count)


def _bits(network: Network, before: np.ndarray, id_: int) -> float:
    """The loss of `id_` after reading `before`, from the zero state, in one go."""
    logits, _ = network.read(before, network.zero_state())
    return float(-log_probabilities(logits[0])[id_] / math.log(2))


def _brute_force(network: Network, ids: np.ndarray, start: int, distance: int) -> list[float]:
    """The excess at d = 1..D of the lane that starts at `start`, every loss computed anew."""
    return [
        _bits(network, ids[start : start + d], ids[start + d]) - _bits(network, ids[: start + d], ids[start + d])
        for d in range(1, distance + 1)
    ]


# Against references.


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("make", [make_engine, InPlaceNetwork, Network])
def test_the_excess_is_what_brute_force_finds(
    cell: str, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean and 95 % interval of each d and each bin, from losses that are each read anew, lane by lane.

    Nine lanes in groups of four, the stream in blocks of 16; t(8) = 2.306004 from tables.
    """
    monkeypatch.setattr("charrnn.neurons.record._SCORED", 16)
    N, D, B = 83, 11, 9
    ids, config, arrays = _ids(N), _config(cell), _arrays(cell)
    engine = make(config, arrays)
    engine.most_lanes = 4
    found = measure(engine, ids, distance=D, lanes=B, seed=3)
    network = Network(config, arrays)
    starts = starting_places(N, D, B, 3)
    expected = np.array([_brute_force(network, ids, start, D) for start in starts])
    half = 2.306004 * expected.std(0, ddof=1) / 3
    assert found.excess.shape == (D,)
    np.testing.assert_allclose(found.excess, expected.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.low, expected.mean(0) - half, atol=3e-6)
    np.testing.assert_allclose(found.high, expected.mean(0) + half, atol=3e-6)
    full = np.mean([_bits(network, ids[: s + d], ids[s + d]) for s in starts for d in range(1, D + 1)])
    assert found.full_bits == pytest.approx(full, abs=1e-6)
    assert [(row.first, row.last) for row in found.bins] == [(1, 1), (2, 2), (3, 4), (5, 6), (7, 11)]
    for row in found.bins:
        lanes = expected[:, row.first - 1 : row.last].mean(1)
        half_bin = 2.306004 * lanes.std(ddof=1) / 3
        assert row.excess == pytest.approx(lanes.mean(), abs=1e-6)
        assert (row.low, row.high) == pytest.approx((lanes.mean() - half_bin, lanes.mean() + half_bin), abs=3e-6)
        assert row.bits == pytest.approx(full + lanes.mean(), abs=2e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_what_remembers_one_character_has_a_horizon_of_one(cell: str) -> None:
    """No recurrent weights, forget gate (lstm) and update gate (gru) closed: nothing is carried on.

    At d = 1 the lane has read one character, which is all such a network uses; so the excess is 0 from d = 1 on.
    """
    arrays = _arrays(cell)
    for layer in (1, 2):
        arrays[f"layers.{layer}.weight_hh"][:] = 0
        bias = arrays[f"layers.{layer}." + ("bias_ih" if cell == "gru" else "bias")]
        if cell != "rnn":
            bias[H : 2 * H] = -100  # the second block: the lstm's f, the gru's z
    found = measure(make_engine(_config(cell), arrays), _ids(150), distance=13, lanes=8)
    np.testing.assert_allclose(found.excess, 0, atol=1e-5)
    assert found.horizon == 1
    assert found.gained_at(0.9) is None
    assert "The horizon is 1:" in _said(found)


def _register(length: int, weight: float) -> InPlaceNetwork:
    """An rnn of `length` units that hand a bit on from one to the next; the last one tells the next character.

    Weights of 30 saturate tanh, so a unit is exactly 1 or -1, or 0 where it has been told nothing since the zero state.
    """
    config = _config("rnn", layers=1, hidden=length, embedding=1)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config, 2).items()}
    arrays["embedding"][:, 0] = -1, 1
    arrays["layers.1.weight_ih"][0, 0] = 30
    arrays["layers.1.weight_hh"][np.arange(1, length), np.arange(length - 1)] = 30
    arrays["decoder.weight"][:, -1] = -weight / 2, weight / 2
    return InPlaceNetwork(config, arrays)


def _copies(count: int, back: int) -> np.ndarray:
    """Bits, each of them the one `back` places before it, but for one in ten."""
    random = np.random.default_rng(4)
    bits = random.integers(0, 2, count)
    flips = random.random(count) < 0.1
    for place in range(back, count):
        bits[place] = bits[place - back] ^ flips[place]
    return bits


@pytest.mark.parametrize("back", [2, 7, 15])
def test_a_memory_is_found_where_it_was_planted(back: int) -> None:
    """With fewer than `back` characters all is a coin's toss (1 bit); from there on nothing is missing.

    At 9 to 1 the network is right, so what is missing below is 1 bit less the entropy of that, 0.531 bits.
    """
    found = measure(_register(back, math.log(9)), _copies(4000, back), distance=40, lanes=400)
    assert found.horizon == found.gained_at(0.9) == found.gained_at(0.99) == back
    np.testing.assert_allclose(found.excess[back - 1 :], 0, atol=1e-6)
    entropy = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    assert (found.low[: back - 1] < 1 - entropy + 0.1).all()
    assert (found.high[: back - 1] > 1 - entropy - 0.1).all()
    assert (found.excess[: back - 1] > 0.3).all()
    assert found.full_bits == pytest.approx(entropy, abs=0.08)


def test_a_memory_beyond_the_distance_is_not_reached() -> None:
    """Said plainly, and with the distance; what was gained cannot be told either."""
    found = measure(_register(15, math.log(9)), _copies(2000, 15), distance=14, lanes=200)
    assert found.horizon is None
    assert found.gained_at(0.9) is None
    said = _said(found)
    assert "The horizon is not reached within 14" in said
    assert "90 % is not reached within 14 and 99 % is not reached within 14" in said


# Intervals.


def test_students_quantiles_are_those_of_the_tables() -> None:
    """Two-sided 95 % and 99 %: Abramowitz & Stegun 1964, table 26.10, and the normal limit."""
    expected = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {degrees: round(student_quantile(degrees), 3) for degrees in expected} == expected
    assert student_quantile(5, 0.99) == pytest.approx(4.032, abs=5e-4)
    assert student_quantile(100_001) == pytest.approx(1.959964, abs=5e-5)


@pytest.mark.parametrize(("lanes", "shape"), [(2, None), (5, None), (64, 2.0), (256, 0.5)])
def test_intervals_cover_a_known_mean(lanes: int, shape: float | None) -> None:
    """Of normal numbers 95 % with any count; of skewed ones (gamma) with as many lanes as are usual, nearly so."""
    random = np.random.default_rng(8)
    size = (3000, lanes)
    values = random.normal(3, 2, size) if shape is None else random.gamma(shape, 3 / shape, size)
    covered = np.mean([low <= 3 <= high for low, high in map(interval, values)])
    assert (0.938 if shape is None else 0.925) < covered < 0.962


def test_intervals_cover_the_excess_over_all_places() -> None:
    """The whole measurement again and again with other seeds: what is covered is the mean over all starting places."""
    N, D, B = 131, 3, 12
    ids, engine = _ids(N), Network(_config("gru"), _arrays("gru"))
    truth = np.mean([_brute_force(engine, ids, start, D) for start in range(D, N - D)], axis=0)
    found = [measure(engine, ids, distance=D, lanes=B, seed=seed) for seed in range(300)]
    covered = np.mean([(one.low <= truth) & (truth <= one.high) for one in found], axis=0)
    assert (covered > 0.9).all()
    assert (covered < 0.99).all()
    assert np.mean([one.excess for one in found], axis=0) == pytest.approx(truth, abs=0.1)


# Places, bins, and what follows from them.


def test_places_depend_on_the_seed_alone_and_are_everywhere() -> None:
    """More lanes go on where fewer stopped; every place that has D before it and D after it is drawn as often."""
    few, many = starting_places(100, 20, 5, 7), starting_places(100, 20, 60_000, 7)
    np.testing.assert_array_equal(few, many[:5])
    uniforms = np.random.Generator(np.random.Philox(key=[7, 0])).random(5)
    np.testing.assert_array_equal(few, 20 + np.floor(60 * uniforms))
    assert not np.array_equal(few, starting_places(100, 20, 5, 8))
    counts = np.bincount(many, minlength=100)
    assert counts[:20].sum() == counts[80:].sum() == 0
    np.testing.assert_allclose(counts[20:80], 1000, atol=150)


def test_the_same_seed_gives_the_same_numbers() -> None:
    """To the bit; however the lanes are grouped, but for numpy's rounding. Another seed gives others."""
    engine, ids = make_engine(_config("lstm"), _arrays("lstm")), _ids(200)
    first, again = (measure(engine, ids, distance=9, lanes=7, seed=2) for _ in range(2))
    assert first.bins == again.bins
    assert first.excess.tobytes() == again.excess.tobytes()
    assert first.high.tobytes() == again.high.tobytes()
    assert measure(engine, ids, distance=9, lanes=7, seed=4).bins != first.bins
    engine.most_lanes = 3
    grouped = measure(engine, ids, distance=9, lanes=7, seed=2)
    np.testing.assert_allclose(first.excess, grouped.excess, atol=1e-6)
    np.testing.assert_allclose(first.high, grouped.high, atol=1e-6)


def test_bins_hold_every_distance_once() -> None:
    """They begin at 1, 1.5, 2, 3, 5, 7 times a power of ten; the last is half full at least, or joined by less."""
    grid = bin_starts(10**6)
    assert all(re.fullmatch("[12357]0*|150*", str(start)) for start in grid)
    for distance in [*range(1, 1700), 40_000]:
        starts = bin_starts(distance)
        assert starts == grid[: len(starts)]
        full, after = np.diff(grid[len(starts) - 1 : len(starts) + 2])
        length = distance - starts[-1] + 1
        assert 2 * length >= full
        assert length <= full or 2 * (length - full) < after


def test_the_bins_of_a_thousand() -> None:
    """The grid as it is documented; the last bin takes 1,000 itself."""
    assert bin_starts(1000) == [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700]
    assert bin_starts(1250)[-1] == 1000


def _memory(rows: list[tuple[float, float]]) -> Memory:
    """A measurement with these (excess, upper end) in its bins."""
    D = len(rows)
    starts = bin_starts(1000)[: D + 1]
    bins = tuple(
        Bin(starts[place], starts[place + 1] - 1, 2 + excess, excess, 2 * excess - high, high)
        for place, (excess, high) in enumerate(rows)
    )
    return Memory(6, 12, 345, 2.0, bins, np.zeros(12), np.zeros(12), np.zeros(12))


def test_the_horizon_counts_only_from_which_on() -> None:
    """A bin that dips below and rises again is not it; nor is one whose interval reaches too high."""
    assert _memory([(1.0, 1.1), (0.005, 0.01), (0.011, 0.015), (0.009, 0.019), (0.0, 0.01)]).horizon == 5
    assert _memory([(1.0, 1.1), (0.009, 0.02), (0.009, 0.019)]).horizon == 3
    assert _memory([(1.0, 1.1), (0.009, 0.019), (0.009, 0.021)]).horizon is None
    assert _memory([(0.0, 0.001), (-0.1, 0.0)]).horizon == 1


def test_the_gain_is_counted_from_which_on() -> None:
    """Nine tenths of 1.0 are there where 0.1 is missing, and stay there."""
    memory = _memory([(1.0, 1.1), (0.05, 0.1), (0.2, 0.3), (0.1, 0.2), (0.01, 0.02), (0.01, 0.02)])
    assert (memory.gained_at(0.9), memory.gained_at(0.99), memory.gained_at(0.999)) == (5, 7, None)
    assert _memory([(-0.5, 1.0), (0.3, 0.4)]).gained_at(0.9) is None
    assert "no gain" in _said(_memory([(-0.5, 1.0), (0.3, 0.4)]))


def test_a_short_text_shortens_the_distance() -> None:
    """A quarter of it at most, so that half of its places are starts; below two starts it is refused."""
    assert [longest_distance(length) for length in (4, 7, 8, 4003)] == [1, 1, 2, 1000]
    assert set(starting_places(4, 1, 50, 1).tolist()) == {1, 2}
    for length in range(4):
        with pytest.raises(TextError, match="too few for two lanes"):
            longest_distance(length)


def test_losses_that_are_not_finite_are_refused() -> None:
    """With what is wrong, whether the stream meets them or a lane."""
    arrays = _arrays("rnn")
    arrays["decoder.bias"][:] = 3e38, 3e38, -3e38, 3e38, 3e38, 3e38, 3e38
    arrays["decoder.weight"][:] = 3e38
    with pytest.raises(CheckpointError, match="not finite"), np.errstate(all="ignore"):
        measure(Network(_config("rnn"), arrays), _ids(50), distance=4, lanes=3)


# What is drawn.


def _said(memory: Memory) -> str:
    return " ".join(" ".join(_drawn(memory)).split())


def _drawn(memory: Memory, width: int = 80) -> list[str]:
    stream = StringIO()
    console = Console(file=stream, width=width, highlight=False)
    for piece in spaced(pieces(memory, on_page=False)):
        console.print(piece)
    return stream.getvalue().split("\n")


_MEMORY = _memory([(1.5, 1.75), (0.25, 0.5), (0.125, 0.25), (-0.00001, 0.004)])


def test_the_terminal_shows_table_curve_and_sentences() -> None:
    """Each row with its interval, no minus before a zero; then the curve, then what it says."""
    lines = _drawn(_MEMORY)
    assert lines[0].split() == ["context", "bits", "excess", "95", "%", "interval"]
    assert lines[1].split() == ["1", "3.5000", "+1.5000", "+1.2500", "to", "+1.7500"]
    assert lines[3].split() == ["3-4", "2.1250", "+0.1250", "+0.0000", "to", "+0.2500"]
    assert lines[4].split() == ["5-6", "2.0000", "+0.0000", "-0.0040", "to", "+0.0040"]
    assert any(line.startswith("   1.500\u2502") for line in lines)
    assert any(line.startswith("   0.000\u2502") for line in lines)
    said = " ".join(" ".join(lines).split())
    assert "6 lanes began at random places in 345 characters" in said
    assert "The horizon is 5:" in said
    assert "Of the gain over one character of context (1.50 bits)," in said
    assert " 90 % is reached at 3 and 99 % is reached at 5." in said


@pytest.mark.parametrize("width", [24, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """On a narrow one cells are folded."""
    assert all(cell_len(line) <= width for line in _drawn(_MEMORY, width))


def test_the_page_holds_the_curve_and_nothing_that_acts() -> None:
    """The heading escaped; one curve with a dot and a title for each bin, up to D; the same bytes again."""
    page = page_of("<script>\x1b", pieces(_MEMORY, on_page=True))
    assert page == page_of("<script>\x1b", pieces(_MEMORY, on_page=True))
    assert "<h1>&lt;script&gt;\u241b</h1>" in page
    assert not re.search(r"<script|\b(src|href|on[a-z]+)=|url\(|@import", page)
    (svg,) = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    drawing = ElementTree.fromstring(svg)
    titles = [title.text for title in drawing.iter("title")]
    assert titles == ["1: +1.5000", "2: +0.2500", "3-4: +0.1250", "5-6: +0.0000"]
    line, band = drawing.find("polyline"), drawing.find("polygon")
    assert line is not None
    assert band is not None
    points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
    left, right = points[0][0], points[-1][0]
    share = (points[1][0] - left) / (right - left)
    assert share == pytest.approx(math.log(2) / math.log(12), abs=0.002)  # d = 2 on the way from 1 to D = 12
    heights = [height for _, height in points]
    assert (heights[0] - heights[1]) / (heights[0] - heights[2]) == pytest.approx(1.25 / 1.375, abs=0.002)
    assert len(band.get("points", "").split()) == 2 * len(points)
    assert "3.5000</td>" in page


def test_a_page_of_nothing_but_zeros_can_be_drawn() -> None:
    """One bin, no excess, no interval."""
    memory = Memory(2, 1, 4, 1.0, (Bin(1, 1, 1.0, 0.0, 0.0, 0.0),), np.zeros(1), np.zeros(1), np.zeros(1))
    assert "<polyline" in page_of("x", pieces(memory, on_page=True))
    assert "The horizon is 1:" in " ".join(_drawn(memory))


# The command.


@pytest.fixture
def run(command: Command) -> Callable[[str], tuple[str, str]]:
    """Runs a command line in a folder with a checkpoint of characters and one of bytes: what it printed and said."""
    for name, checkpoint in (("text", tiny(cell="gru")), ("bytes", tiny(as_bytes=True))):
        Path(name).mkdir()
        Path(name, "best.safetensors").write_bytes(forge(checkpoint.metadata(), arrays_of(checkpoint)))
    Path("text.txt").write_text("abc def gh\n" * 50)

    def run(words: str) -> tuple[str, str]:
        status, out, err = command(*words.split())
        assert not status, err
        return out, err

    return run


@pytest.mark.parametrize("model", ["text", "bytes"])
def test_the_command_prints_what_the_library_measures(run: Callable[[str], tuple[str, str]], model: str) -> None:
    """As JSON: the grid and all distances."""
    out, err = run(f"inspect text.txt -c {model} --horizon --distance 12 --lanes 5 --seed 3 --json")
    assert err == ""
    got = json.loads(out)
    checkpoint = tiny(cell="gru") if model == "text" else tiny(as_bytes=True)
    text = "abc def gh\n" * 50
    ids = checkpoint.vocabulary.encode(text) if model == "text" else np.frombuffer(text.encode(), np.uint8)
    engine = make_engine(checkpoint.model, checkpoint.parameters)
    expected = measure(engine, ids, distance=12, lanes=5, seed=3)
    np.testing.assert_allclose(got["excess"], expected.excess, atol=1e-6)
    np.testing.assert_allclose(got["low"], expected.low, atol=1e-6)
    np.testing.assert_allclose(got["high"], expected.high, atol=1e-6)
    assert got["full_bits"] == pytest.approx(expected.full_bits, abs=1e-6)
    assert [(row["first"], row["last"]) for row in got["grid"]] == [(1, 1), (2, 2), (3, 4), (5, 6), (7, 9), (10, 12)]
    assert got["grid"][2]["high"] == pytest.approx(expected.bins[2].high, abs=1e-6)
    assert (got["lanes"], got["distance"], got["characters"]) == (5, 12, 550)
    assert (got["horizon"], got["gain_90"], got["gain_99"]) == (
        expected.horizon,
        expected.gained_at(0.9),
        expected.gained_at(0.99),
    )


def test_the_command_says_what_it_cut_and_what_it_wrote(run: Callable[[str], tuple[str, str]]) -> None:
    """The distance to a quarter of what is read; the same command again prints and writes the same."""
    out, err = run("inspect text.txt -c text --horizon --read 100 --lanes 5")
    assert err == "note: contexts have at most 25 characters, a quarter of the 100 that were read\n"
    assert "5 lanes began at random places in 100 characters, with 1 to 25 characters" in " ".join(out.split())
    assert run("inspect text.txt -c text --horizon --read 100 --lanes 5")[0] == out
    out, err = run("inspect text.txt -c text --horizon --lanes 5 --distance 9 --html a.html")
    assert (out, err) == ("", "wrote a.html\n")
    run("inspect text.txt -c text --horizon --lanes 5 --distance 9 --html b.html")
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    assert "text: how long it remembers" in Path("a.html").read_text("utf-8")
