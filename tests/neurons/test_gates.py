"""Saturation of gates: against a count by brute force, gates held by their bias, and the pictures of both."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.cells.gru import GRU
from charrnn.cells.lstm import LSTM
from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints import checkpoint
from charrnn.display.gates import pieces as pieces_of
from charrnn.display.report import page as page_of
from charrnn.display.report import spaced
from charrnn.display.scatter import Scatter, Scatters
from charrnn.errors import CheckpointError, UsageError
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.neurons.gates import GateSaturation, Saturation, gate_kinds, saturation
from charrnn.neurons.record import limits, record
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig
from tests.kit.command import Command, Result
from tests.kit.tiny import CHARACTERS, tiny

V, E, H, L = 9, 4, 7, 2
NASTY = '\x1b[31m<script>alert("1")</script>&[/i]\u202e'


def _config(cell: str) -> ModelConfig:
    return ModelConfig(cell=cell, num_layers=L, hidden_size=H, embedding_size=E)  # type: ignore[arg-type]


def _random(cell: str) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """Weights so large that gates swing between both ends."""
    random = np.random.default_rng(5)
    config = _config(cell)
    shapes = parameter_shapes(config, V)
    return config, {name: random.normal(scale=2.0, size=shape).astype(np.float32) for name, shape in shapes.items()}


def _ids(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, V, count)


# What is counted.


@pytest.mark.parametrize("make", [Network, make_engine])
@pytest.mark.parametrize(("cell", "expected"), [("lstm", "ifo"), ("gru", "rz")])
@pytest.mark.parametrize("start", [0, 1, 13, 82])
def test_fractions_are_those_of_a_count_by_hand(make, cell: str, expected: str, start: int) -> None:
    """Character by character and unit by unit over what `record` gives, wherever pieces and blocks are cut."""
    engine, ids = make(*_random(cell)), _ids(83)
    parts = [(layer, kind) for layer in (1, 2) for kind in expected]
    (values,) = record(engine, ids, parts, block=100)
    for cuts, block in (([], 100), ([0, 5, 5, 6, 40, 83], 3), (list(range(83)), 1), ([12, 13, 14], 7)):
        found = saturation(engine, np.split(ids, cuts), start, block=block)
        assert found.characters == 83 - start
        assert [(gate.layer, gate.kind) for gate in found.gates] == parts
        for gate in found.gates:
            for unit in range(H):
                over = [float(value) for value in values[gate.layer, gate.kind][start:, unit]]
                assert gate.right[unit] == sum(value > np.float32(0.9) for value in over) / len(over)
                assert gate.left[unit] == sum(value < np.float32(0.1) for value in over) / len(over)
    whole = saturation(engine, [ids])
    assert any(0 < fraction < 1 for gate in whole.gates for fraction in (*gate.right, *gate.left))


def _held(cell: str, kind_row: int, bias: str) -> Network:
    """A network of zeros, the gates of one kind held by their bias: two open, one shut, one just inside either end."""
    config = _config(cell)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config, V).items()}
    ends = [9.0, 9.0, -9.0, np.log(0.901 / 0.099), np.log(0.899 / 0.101), np.log(0.099 / 0.901), np.log(0.101 / 0.899)]
    arrays[f"layers.2.{bias}"][kind_row * H : (kind_row + 1) * H] = ends
    return Network(config, arrays)


@pytest.mark.parametrize(
    ("cell", "kind", "row", "bias"), [("lstm", "f", 1, "bias"), ("lstm", "o", 3, "bias"), ("gru", "z", 1, "bias_ih")]
)
def test_gates_that_their_bias_holds(cell: str, kind: str, row: int, bias: str) -> None:
    """Open, shut, or in between all the time; the others, at one half, are never saturated."""
    for gate in saturation(_held(cell, row, bias), [_ids(11), _ids(4)]).gates:
        if (gate.layer, gate.kind) == (2, kind):
            assert gate.right.tolist() == [1, 1, 0, 1, 0, 0, 0]
            assert gate.left.tolist() == [0, 0, 1, 0, 0, 1, 0]
            assert (gate.mostly_right, gate.mostly_left) == (3, 2)
        else:
            assert not gate.right.any()
            assert not gate.left.any()
            assert (gate.mostly_right, gate.mostly_left) == (0, 0)


def test_candidates_are_no_gates() -> None:
    """Every other value between the state and the input is one."""
    assert gate_kinds(_config("lstm")) == ("i", "f", "o")
    assert gate_kinds(_config("gru")) == ("r", "z")
    for cell, gates in (("lstm", "ifo"), ("gru", "rz")):
        assert all(limits(kind, _config(cell)) == (0.0, 1.0) for kind in gates)


def test_a_cell_without_gates_is_refused() -> None:
    """With the reason, before a character is read."""
    config, arrays = _random("rnn")
    with pytest.raises(UsageError, match="an rnn has no gates") as caught:
        saturation(Network(config, arrays), iter(()))
    assert "lstm or a gru" in (caught.value.hint or "")


@pytest.mark.parametrize("pieces", [[], [np.zeros(0, int)], [_ids(3)]])
def test_nothing_read_is_nothing_counted(pieces: list[np.ndarray]) -> None:
    """No text, or none from the start on: no fractions, and no division by zero."""
    found = saturation(Network(*_random("gru")), pieces, 3)
    assert (found.characters, found.gates) == (0, ())


def test_weights_too_large_are_said() -> None:
    """A gate that is not a number is neither open nor shut."""
    config, arrays = _random("lstm")
    arrays["layers.1.weight_ih"][:] = np.float32(3e38)
    arrays["embedding"][:, 0], arrays["embedding"][:, 1] = 1e38, -1e38
    with pytest.raises(CheckpointError, match="gates of layer 1 are not finite"):
        saturation(Network(config, arrays), [_ids(3)])


# What is drawn: points in a square.


def _scatter(*points: tuple[float, float], title: str = "t") -> Scatter:
    return Scatter(title, points, [f"p{place}" for place in range(len(points))], "x", "y")


def _drawn(*plots: Scatter, width: int = 22) -> list[str]:
    stream = StringIO()
    Console(file=stream, width=width).print(Scatters(plots))
    return stream.getvalue().split("\n")[:-1]


def test_points_stand_where_they_belong() -> None:
    """Corners, edges and the middle, by Unicode's numbering of braille; nothing but the diagonal is drawn beside."""
    lines = _drawn(_scatter((0, 0), (1, 0), (0, 1), (0.5, 0.25), (20 / 39, 0)))
    assert [line.replace("╲", " ").rstrip() for line in lines] == [
        "t",
        "↑ y",
        "1┤⠁",
        *[" │"] * 6,
        " │          ⠂",
        " │",
        "0┤⡀         ⡀        ⢀",
        " └────────────────────",
        "  0       x →        1",
    ]


@pytest.mark.parametrize("place", range(40))
def test_every_dot_can_be_met(place: int) -> None:
    """A point in the middle of each of the 40 dots along both axes."""
    places = {0x01: (0, 0), 0x02: (0, 1), 0x04: (0, 2), 0x40: (0, 3), 0x08: (1, 0), 0x10: (1, 1), 0x20: (1, 2),
              0x80: (1, 3)}  # fmt: skip
    lines = _drawn(_scatter((place / 39, 7 / 39)))
    ((row, column, character),) = [
        (row, column, character)
        for row, line in enumerate(lines[2:12])
        for column, character in enumerate(line[2:])
        if "\u2800" < character <= "\u28ff"
    ]
    x, y = places[ord(character) - 0x2800]
    assert (2 * column + x, 39 - (4 * row + y)) == (place, 7)


def test_the_diagonal_is_drawn_with_marks_of_its_own() -> None:
    """From corner to corner, and a point upon it is shown in its place."""
    lines = _drawn(_scatter((0.5, 0.5)))[2:12]
    assert [line[2:] for line in lines] == [
        (" " * 2 * row + "╲") if row != 5 else " " * 10 + "⠁" for row in range(10)
    ]  # fmt: skip


def test_points_in_one_place_are_one_dot() -> None:
    """Without an overflow into other marks."""
    assert _drawn(_scatter(*[(0.25, 0.25)] * 300)) == _drawn(_scatter((0.25, 0.25)))


@pytest.mark.parametrize(
    ("width", "rows"), [(2, 3), (21, 3), (22, 3), (46, 3), (47, 2), (71, 2), (72, 1), (80, 1), (300, 1)]
)
def test_plots_stand_side_by_side_where_they_fit(width: int, rows: int) -> None:
    """Each line within the width, each plot half as many rows as columns, one more line between rows of plots."""
    lines = _drawn(*[_scatter((1, 0), title=f"{name} 日本 {NASTY}") for name in "abc"], width=width)
    assert max(map(cell_len, lines)) <= width
    plots = [line.count("└") for line in lines if "└" in line]
    assert (len(plots), sum(plots)) == (rows, 3)
    beside = -(-3 // rows)
    inner = min(40, ((width + 3) // beside - 5) // 2 * 2)
    height = max(1, inner // 2)
    assert len(lines) == rows * (height + 4) + rows - 1
    assert not any(ord(character) < 32 or character == "\u202e" for line in lines for character in line)


def test_points_outside_the_square_are_a_mistake() -> None:
    """As is a point without a name; no plots at all are nothing."""
    for point in ((1.01, 0), (0, -0.01), (float("nan"), 0)):
        with pytest.raises(AssertionError, match="unit square"):
            _scatter(point)
    with pytest.raises(AssertionError, match="one name"):
        Scatter("t", [(0, 0)], [], "x", "y")
    assert _drawn() == []


def test_svg_places_and_names_points() -> None:
    """Well-formed; each point at its place in the square of 200, named under the pointer; text is text."""
    plot = Scatter(NASTY, [(0, 0), (1, 0), (0.25, 0.75)], ["u0", NASTY, "u2"], f"x{NASTY}", "y")
    svg = Scatters([plot, _scatter()]).html()
    box = ElementTree.fromstring(svg)
    first, second = box.findall("svg")
    circles = first.findall("circle")
    assert [(c.get("cx"), c.get("cy")) for c in circles] == [("24.0", "224.0"), ("224.0", "224.0"), ("74.0", "74.0")]
    shown = NASTY.replace("\x1b", "\u241b").replace("\u202e", "‹U+202E›")
    assert [c.findtext("title") for c in circles] == [
        f"{name}: x{shown} {values}"
        for name, values in (("u0", "0.000, y 0.000"), (shown, "1.000, y 0.000"), ("u2", "0.250, y 0.750"))
    ]
    assert first.get("aria-label") == shown
    (line,) = [line for line in first.findall("line") if line.get("class")]
    assert [line.get(end) for end in ("x1", "y1", "x2", "y2")] == ["24", "24", "224", "224"]
    assert len(second.findall("line")) == 3


# What is said about gates.


def _found(kinds: str = "ifo") -> Saturation:
    """Ten units a gate: of the first kind none, of the second one, of the third two nearly always right (and left)."""
    cell, gates = (LSTM() if "f" in kinds else GRU()), []
    titles, ends = dict(cell.gate_titles), dict([cell.keeping])
    for layer in (1, 2):
        for place, kind in enumerate(kinds):
            right = np.array([1.0, 0.95, *[0.9] * 8][2 - place :] + [0.0] * (2 - place))
            left = np.where(right == 0, 0.91, 0.0)
            gates.append(GateSaturation(layer, kind, titles[kind], ends.get(kind), right, left))
    return Saturation(1234, tuple(gates))


def _said(found: Saturation, width: int = 200) -> str:
    stream = StringIO()
    console = Console(file=stream, width=width, highlight=False)
    for piece in spaced(pieces_of(found, on_page=False)):
        console.print(piece)
    return stream.getvalue()


def test_a_table_counts_units_that_are_saturated_nearly_always() -> None:
    """More than nine tenths: 0.9 itself does not count."""
    rows = [
        re.split(r" {2,}", line.strip()) for line in _said(_found()).split("\n") if re.match(r"L\d\.\w \w+ +10", line)
    ]
    assert rows[:3] == [
        ["L1.i input", "10", "72.0%", "18.2%", "0 (0.0%)", "2 (20.0%)"],
        ["L1.f forget", "10", "81.5%", "9.1%", "1 (10.0%)", "1 (10.0%)"],
        ["L1.o output", "10", "91.5%", "0.0%", "2 (20.0%)", "0 (0.0%)"],
    ]
    assert len(rows) == 6


def test_a_sentence_for_each_layer_says_what_is_kept() -> None:
    """Of an lstm's forget gates and a gru's update gates, near 1 of which a unit keeps its value in both."""
    said = _said(_found())
    assert "Layer 1: 1 of 10 forget gates is open more than nine tenths of the time (integrators, " in said
    assert "; 1 is shut more than nine tenths of the time (feed-forward cells, " in said
    assert "Layer 2: 1 of 10 forget gates is open" in said
    said = _said(_found("rz"))
    assert "Layer 1: 1 of 10 update gates is near 1 more than nine tenths of the time (integrators, " in said
    assert "over 1,234 characters" in said


def test_without_colour_there_is_no_escape_sequence_and_all_is_there() -> None:
    """A pipe gets plots, table and sentences; a terminal the same with colours."""
    plain = _said(_found(), width=80)
    assert "\x1b" not in plain
    stream = StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system="truecolor", highlight=False)
    for piece in spaced(pieces_of(_found(), on_page=False)):
        console.print(piece)
    assert "38;2;230;97;1m" in stream.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()) == plain


def test_a_page_is_well_formed_and_holds_nothing_that_acts() -> None:
    """Every unit of every gate once, the table, the sentences; the same bytes each time."""
    page = page_of(f"run {NASTY}", pieces_of(_found(), on_page=True))
    assert page == page_of(f"run {NASTY}", pieces_of(_found(), on_page=True))
    body = page[page.index("<body>") : page.index("</html>")]
    assert {element.tag for element in ElementTree.fromstring(body).iter()} == {
        "body", "h1", "h2", "p", "div", "svg", "text", "line", "circle", "title", "table", "tr", "th", "td",
    }  # fmt: skip
    assert body.count("<circle") == 60
    assert "L2.o9: right 0.900, left 0.000" in body
    assert ">1 (10.0%)</td>" in body
    assert "Layer 2: 1 of 10 forget gates is open" in body
    assert not re.search(r"<script|\b(src|href|on[a-z]+)=|url\(|@import", page)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "\x1b" not in page


# The command.


@pytest.fixture
def inspect(command: Command) -> Callable[..., Result]:
    """`charrnn inspect`, on a checkpoint that lies where the newest run would: status, stdout, stderr."""

    def run(*arguments: str, cell: str = "lstm", as_bytes: bool = False) -> Result:
        path = Path("checkpoints/ring/best.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, tiny(cell=cell, as_bytes=as_bytes))
        return command("inspect", *arguments)

    return run


def _text(count: int) -> str:
    return "".join(CHARACTERS[id_] for id_ in np.random.default_rng(2).integers(0, len(CHARACTERS), count))


@pytest.mark.parametrize(
    ("options", "begin", "end"),
    [("", 0, 70_001), ("--length 650", 0, 650), ("--from 20", 20, 70_001), ("--from 20 -n 3", 20, 23)],
)
def test_the_whole_text_counts_unless_a_length_is_given(inspect, options: str, begin: int, end: int) -> None:
    """What `--json` prints is what the library counts, also beyond 600 characters and the pieces a file is read in."""
    text = _text(70_001)
    Path("text.txt").write_text(text)
    status, out, _ = inspect("text.txt", "--gates", "--json", *options.split())
    found = json.loads(out)
    assert (status, found["characters"], found["left_below"], found["right_above"]) == (0, end - begin, 0.1, 0.9)
    checked = tiny()
    ids = checked.vocabulary.encode(text[:end])
    expected = saturation(make_engine(checked.model, checked.parameters), [ids], begin)
    assert list(found["gates"]) == [f"L{layer}.{kind}" for layer in (1, 2) for kind in "ifo"]
    for gate, fractions in zip(expected.gates, found["gates"].values(), strict=True):
        np.testing.assert_allclose(fractions["right"], gate.right, atol=1e-6)
        np.testing.assert_allclose(fractions["left"], gate.left, atol=1e-6)


def test_pictures_on_the_terminal_and_in_a_file(inspect) -> None:
    """Without `--json`; the page is written whole, and what is said about it goes to stderr."""
    Path("text.txt").write_text(_text(30))
    status, out, chosen = inspect("text.txt", "--gates", cell="gru")
    assert status == 0
    assert re.fullmatch(r"run checkpoints/ring \(best at step 40, just now\)\n", chosen)
    assert "L2.z update gates" in out
    assert "Layer 2:" in out
    status, out, err = inspect("text.txt", "--gates", "--html", "page.html")
    assert (status, out, err) == (0, "", f"{chosen}wrote page.html\n")
    assert "<title>ring: gates</title>" in Path("page.html").read_text("utf-8")


def test_bytes_are_read_as_bytes(inspect) -> None:
    """Any file, each byte a character."""
    Path("any.bin").write_bytes(bytes(range(256)))
    status, out, _ = inspect("any.bin", "--gates", "--json", as_bytes=True)
    assert (status, json.loads(out)["characters"]) == (0, 256)


def test_characters_that_the_model_does_not_know(inspect) -> None:
    """All are named before anything is computed, also beyond the first piece; or left out, or replaced, as asked."""
    Path("text.txt").write_text("ab\u0101" + _text(70_000) + "xA", "utf-8")
    status, out, err = inspect("text.txt", "--gates")
    assert (status, out) == (3, "")
    assert all(code in err for code in ("U+0101", "U+0078", "U+0041"))
    status, out, _ = inspect("text.txt", "--gates", "--json", "--unknown", "skip")
    assert (status, json.loads(out)["characters"]) == (0, 70_002)
    status, _, err = inspect("text.txt", "--gates", "--unknown", "replace")
    assert status == 3
    assert "U+0078" in err
    assert "U+0101" not in err
    Path("text.txt").write_text("ab\u0101", "utf-8")
    status, out, _ = inspect("text.txt", "--gates", "--json", "--unknown", "replace")
    assert (status, json.loads(out)["characters"]) == (0, 3)


@pytest.mark.parametrize(
    ("text", "options", "cell", "status", "said"),
    [
        ("abc", "text.txt --gates", "rnn", 2, "an rnn has no gates"),
        ("abc", "missing.txt --gates", "rnn", 2, "an rnn has no gates"),
        ("", "text.txt --gates", "lstm", 3, "nothing to read in text.txt"),
        ("", "text.txt --gates --from 7", "lstm", 3, "nothing to read in text.txt"),
        ("xyz", "text.txt --gates --unknown skip", "lstm", 3, "nothing to read in text.txt"),
        ("abc", "text.txt --gates --from 3", "lstm", 2, "--from is 3, but the text has 3 characters"),
        ("abc", "text.txt --gates --from 99999999999999999999 -n 5", "lstm", 2, "but the text has 3 characters"),
        ("abc", "text.txt --gates --unit L1.f0", "lstm", 2, "--gates is a picture of its own"),
        ("abc", "missing.txt --gates", "gru", 3, "no file or folder missing.txt"),
        ("abc", "--gates", "lstm", 2, "needs a text"),
        ("abc", "text.txt --gates --html no/page.html", "lstm", 2, "no/page.html"),
    ],
)
def test_what_cannot_be_is_refused(inspect, text: str, options: str, cell: str, status: int, said: str) -> None:
    """With the status and the reason, and nothing on stdout."""
    Path("text.txt").write_text(text)
    found, out, err = inspect(*options.split(), cell=cell)
    assert (found, out) == (status, "")
    assert said in err
    assert " hint: " in err


def test_an_lstm_without_a_forget_gate_has_a_sentence_too() -> None:
    """None of its gates says what is dropped of what a unit holds."""
    config = replace(_config("lstm"), forget_gate=False)
    found = saturation(Network(config, untrained_arrays(config, V)), [_ids(9)])
    assert {gate.title for gate in found.gates} == {"input", "output"}
    assert not any(gate.ends for gate in found.gates)
