"""Guesses: against a softmax by hand, against scoring, and as they are drawn in columns, on pages and as JSON."""

from __future__ import annotations

import doctest
import html
import json
import math
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from charrnn.checkpoints.checkpoint import save
from charrnn.display import predictions as display
from charrnn.display.palette import KARPATHY
from charrnn.display.predictions import Column, Grid, Scale, symbol
from charrnn.display.report import Prose
from charrnn.display.report import page as page_of
from charrnn.errors import CheckpointError
from charrnn.evaluation.score import TextScore
from charrnn.inference.inplace import InPlaceNetwork
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.neurons.predictions import Guesses, GuessTally, guess
from charrnn.neurons.record import Unit, record
from charrnn.python.pretrained import load
from tests.kit.command import Command
from tests.kit.nasty import ANY_TEXT, NASTY, is_dangerous
from tests.kit.tiny import CHARACTERS, tiny

ESC = "\x1b"
RUN = Path("checkpoints/ring/best.safetensors")
TEXT = "bad cafe\nhe had a bag ed\ngabbed a cab"


def _ids(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, size, count)


def _joined(blocks: list[Guesses]) -> Guesses:
    names = ("ids", "probabilities", "log_probabilities", "ranks")
    values = None if blocks[0].values is None else np.concatenate([block.values for block in blocks])
    return Guesses(*(np.concatenate([getattr(block, name) for block in blocks]) for name in names), values)


# Guesses.


@pytest.mark.parametrize("engine", [Network, InPlaceNetwork, make_engine])
@pytest.mark.parametrize(("cell", "as_bytes"), [("lstm", False), ("gru", True), ("rnn", False)])
def test_guesses_are_the_top_of_a_softmax(engine: Callable[..., object], cell: str, as_bytes: bool) -> None:
    """Of the reference's logits after each character, with what came looked up in it; whatever the engine."""
    checkpoint = tiny(cell=cell, as_bytes=as_bytes)
    V = len(checkpoint.vocabulary)
    ids, start, count, number = _ids(41, V), 6, 23, 3
    reference = Network(checkpoint.model, checkpoint.parameters)
    taken = _joined(
        list(guess(engine(checkpoint.model, checkpoint.parameters), ids, start, count, number, block=9))  # type: ignore[arg-type]
    )
    assert taken.ids.shape == (count, number)
    state = reference.zero_state(1)
    for place in range(start + count):
        logits, state = reference.step(ids[place : place + 1], state)
        if place < start:
            continue
        weights = [math.exp(float(logit)) for logit in logits[0]]
        likely = [weight / math.fsum(weights) for weight in weights]
        best = sorted(range(V), key=lambda id_: (-likely[id_], id_))[:number]
        here, came = place - start, int(ids[place + 1])
        assert taken.ids[here].tolist() == best
        assert taken.probabilities[here] == pytest.approx([likely[id_] for id_ in best], rel=1e-5)
        assert math.exp(taken.log_probabilities[here]) == pytest.approx(likely[came], rel=1e-5)
        assert taken.ranks[here] == (best.index(came) if came in best else -1)


@pytest.mark.parametrize("engine", [Network, InPlaceNetwork, make_engine])
def test_spans_side_by_side_score_as_the_whole(engine: Callable[..., object]) -> None:
    """The nats of spans add up to what `engine.score` gives; the last character has nothing after it."""
    checkpoint = tiny()
    made = engine(checkpoint.model, checkpoint.parameters)
    ids = _ids(50, len(CHARACTERS))
    tally, blocks = GuessTally(), []
    for start, count in ((0, 17), (17, 30), (47, 99)):
        for taken in guess(made, ids, start, count, 4):  # type: ignore[arg-type]
            tally += taken
            blocks.append(taken)
    whole = made.score(ids, made.zero_state(1)).log_probabilities[1:]  # type: ignore[attr-defined]
    likely = _joined(blocks).log_probabilities
    assert np.isnan(likely[-1])
    np.testing.assert_allclose(likely[:-1], whole, atol=1e-5)
    assert tally.characters == 49
    assert tally.nats == pytest.approx(-whole.sum(), rel=1e-6)
    ranks = _joined(blocks).ranks
    assert (tally.first, tally.among) == (int((ranks == 0).sum()), int((ranks >= 0).sum()))


def test_equals_are_named_by_their_id() -> None:
    """Where all are equally likely: ids in order; more guesses than characters are all characters."""
    checkpoint = tiny()
    network = Network(checkpoint.model, {name: np.zeros_like(array) for name, array in checkpoint.parameters.items()})
    (taken,) = guess(network, [3, 1, 4], 0, 3, 99)
    assert taken.ids.tolist() == [list(range(len(CHARACTERS)))] * 3
    assert taken.probabilities == pytest.approx(1 / len(CHARACTERS))
    assert taken.ranks.tolist() == [1, 4, -1]


@pytest.mark.parametrize("unit", [Unit(2, "c", 3), Unit(1, "h", 0), Unit(2, "f", 1)])
def test_the_units_value_is_the_recorded_one(unit: Unit) -> None:
    """In the middle of a text, block by block, as `record` gives it from the beginning."""
    checkpoint = tiny()
    network = Network(checkpoint.model, checkpoint.parameters)
    ids = _ids(30, len(CHARACTERS))
    taken = _joined(list(guess(network, ids, 11, 14, 2, unit, block=5)))
    expected = np.concatenate([block[unit.part][:, unit.index] for block in record(network, ids, [unit.part])])
    np.testing.assert_allclose(taken.values, expected[11:25], atol=1e-7)


def test_weights_too_large_are_an_error() -> None:
    """Not a grid of nothing."""
    checkpoint = tiny()
    arrays = {**checkpoint.parameters, "decoder.bias": np.full(len(CHARACTERS), np.inf, np.float32)}
    with pytest.raises(CheckpointError, match="not finite"):
        list(guess(Network(checkpoint.model, arrays), [1, 2], 0, 2, 3))


# The grid on a terminal.


def _column(character: str, guesses: str = "ab", hit: int | None = None, value: float | None = None) -> Column:
    likely = [(other, 0.5 / (place + 1)) for place, other in enumerate(guesses)]
    return Column(character, likely, hit, 0.25, value)


def _raw(shown: Grid, *, colour: bool, width: int = 40) -> list[str]:
    stream = StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="truecolor" if colour else None, highlight=False,
        no_color=not colour, legacy_windows=False,
    )  # fmt: skip
    console.print(shown)
    return stream.getvalue().split("\n")[:-1]


def _drawn(shown: Grid, *, colour: bool, width: int = 40) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in _raw(shown, colour=colour, width=width)]


def _bands(shown: Grid, *, colour: bool, width: int = 40) -> list[list[str]]:
    """The lines of each band; the legend left out."""
    lines, bands = _drawn(shown, colour=colour, width=width), []
    for line in lines:
        if not line:
            bands.append([])
        elif bands:
            bands[-1].append(line)
    return bands


def test_guesses_stand_below_the_character_they_follow() -> None:
    """Best on top; a newline, a tab and a guessed space can be seen; wide characters keep the columns in line."""
    columns = [_column("a", "b\n"), _column("日", " \t"), _column("\n", "c本"), _column("d", "ef")]
    assert _bands(Grid(columns), colour=True) == [["a日↵ d", "b␣ c e", "↵→ 本f"]]


def test_without_colour_a_star_marks_what_came_and_bars_are_probabilities() -> None:
    """In columns as wide as the widest of their cells."""
    columns = [_column("x", "ab", hit=1), _column("日", "cd", hit=0), _column("y", "本e")]
    assert _bands(Grid(columns), colour=False) == [
        [" x  日  y", " a▄*c▄  本▄", "*b▂ d▂  e▂"],
    ]


def test_colours_are_probabilities_and_what_came_is_underlined() -> None:
    """White for 0, orange for 1; the text bold, or on the colour of its unit."""
    columns = [Column("a", [("b", 1.0), ("c", 0.0)], 0, 1.0)]
    *_, text, first, second = _raw(Grid(columns), colour=True)
    assert text == f"{ESC}[1ma{ESC}[0m"
    assert first == f"{ESC}[1;4;38;2;0;0;0;48;2;230;97;1mb{ESC}[0m"
    assert second == f"{ESC}[38;2;0;0;0;48;2;247;247;247mc{ESC}[0m"
    columns = [Column("a", [("b", 1.0)], None, None, -1.0)]
    lines = _raw(Grid(columns, Scale("L1.h0", -1, 1)), colour=True)
    assert lines[0] == "L1.h0"
    assert lines[-2] == f"{ESC}[1;38;2;255;255;255;48;2;33;102;172ma{ESC}[0m"


def test_the_grid_in_the_colours_of_karpathys() -> None:
    """A unit from blue to green above guesses from white to red, on the terminal, on a page, and in both legends."""
    columns = [Column("a", [("b", 1.0)], None, None, -1.0), Column("b", [("c", 0.0)], None, None, 1.0)]
    lines = _raw(Grid(columns, Scale("L1.h0", -1, 1), palette=KARPATHY), colour=True)
    assert lines[-2:] == [
        f"{ESC}[1;38;2;255;255;255;48;2;0;0;255ma{ESC}[0m{ESC}[1;38;2;0;0;0;48;2;0;255;0mb{ESC}[0m",
        f"{ESC}[38;2;0;0;0;48;2;255;0;0mb{ESC}[0m{ESC}[38;2;0;0;0;48;2;255;255;255mc{ESC}[0m",
    ]
    assert "48;2;0;0;255m" in lines[1]
    assert any("0 " in line and "48;2;255;0;0m" in line for line in lines[2:-2])
    page = page_of("x", [Grid(columns, Scale("L1.h0", -1, 1), palette=KARPATHY)])
    assert re.findall(r'<[bi] style="background:(#[0-9a-f]{6})', page) == ["#0000ff", "#ff0000", "#00ff00", "#ffffff"]
    assert re.findall(r"linear-gradient\(90deg, ([^)]*)\)", page) == ["#0000ff, #ffffff, #00ff00", "#ffffff, #ff0000"]


def test_without_colour_a_unit_is_a_bar_behind_each_character() -> None:
    """As high as its value."""
    columns = [_column("a", "b", value=value) for value in (-1.0, 0.0, 1.0)]
    lines = _drawn(Grid(columns, Scale("L2.c1 (tanh c)", -1, 1)), colour=False)
    assert lines[0] == "L2.c1 (tanh c)"
    assert lines[-2] == " a  a▄ a█"


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "a" * 205,
        "x日" * 50,
        "😀🎉" * 41,
        "❤\ufe0f" * 30,
        "👨\u200d👩\u200d👧 " * 9,
        "e\u0301" * 90,
        "🇩🇪👍🏽" * 9,
        NASTY,
    ],
)
def test_every_band_fits_and_every_line_of_it_is_in_columns(text: str, colour: bool) -> None:
    """The characters of a band are the text in order, and each guess begins in the same place as its character."""
    columns = [_column(character, text[place : place + 2].ljust(2)) for place, character in enumerate(text)]
    bands = _bands(Grid(columns), colour=colour)
    assert all(len(band) == 3 for band in bands)
    assert max(cell_len(line) for band in bands for line in band) <= 40
    assert sum(cell_len(line) for line in bands[0][:1]) <= 40
    if colour:
        tops = [band[0] for band in bands]
        assert "".join("".join(tops).split()) == "".join("".join(symbol(character) for character in text).split())
        for band in bands:
            assert len({cell_len(line) for line in band}) == 1


@settings(max_examples=100, deadline=None)
@given(text=ANY_TEXT, colour=st.booleans())
def test_any_text_is_drawn_safely(text: str, colour: bool) -> None:
    """No character drives the terminal or joins its neighbours, and each has a width."""
    lines = _drawn(Grid([_column(character, text[:3]) for character in text]), colour=colour)
    assert not any(is_dangerous(character) for line in lines for character in line)
    assert all(cell_len(symbol(character)) >= 1 for character in text)


def test_the_examples_in_the_documentation_are_true() -> None:
    """The doctests of the symbols."""
    results = doctest.testmod(display)
    assert results.attempted > 0
    assert results.failed == 0


# The grid as a page.


def test_a_page_has_a_column_for_each_character() -> None:
    """Text and guesses escaped, probabilities under the pointer, nothing that acts, the same bytes each time."""
    text = '<script>&"\u202e' + ESC
    columns = [
        Column(character, [("<", 0.75), ("\u2066", 0.125)], 0 if place else None, 0.75, 0.5)
        for place, character in enumerate(text)
    ]
    pieces = [Grid(columns, Scale("L1.h0", -1, 1)), Prose("guessed < 5 %")]
    page = page_of("a <b>", pieces)
    assert page == page_of("a <b>", pieces)
    assert set(re.findall(r"<([a-z0-9]+)", page)) == {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "span", "p", "b", "i",
    }  # fmt: skip
    assert not re.search(r"\b(src|href|on[a-z]+)=|url\(|@import", page)
    assert not any(is_dangerous(character) for character in page if character not in "\n\t")
    tops = [html.unescape(top) for top in re.findall(r"<b [^>]*>([^<]*)</b>", page)]
    assert tops == [symbol(character) for character in text]
    cells = re.findall(
        r'<i( class="hit")? style="background:#[0-9a-f]{6};color:#000" title="([0-9.]+)">([^<]*)</i>', page
    )
    assert cells[:3] == [("", "0.7500", "&lt;"), ("", "0.1250", "‹U+2066›"), (' class="hit"', "0.7500", "&lt;")]
    assert "flex-wrap: wrap" in page
    assert "<p>guessed &lt; 5 %</p>" in page


# The command.


@pytest.fixture
def inspect(command: Command) -> Callable[..., str]:
    """Runs `charrnn inspect text.txt --predictions` with more arguments on a tiny checkpoint: what it prints."""

    def run(*arguments: str, status: int = 0) -> str:
        ended = command("inspect", "text.txt", "--predictions", *arguments)
        assert ended.status == status, ended.err
        return ended.out or ended.err

    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    Path("text.txt").write_text(TEXT, "utf-8")
    return run


def test_json_scores_as_eval_does(inspect: Callable[..., str]) -> None:
    """The whole text as `eval` defines it; a span as its part; every character with its guesses and what came."""
    whole = json.loads(inspect("--json", "--guesses", "3"))
    assert "".join(entry["character"] for entry in whole["characters"]) == TEXT
    assert (whole["scored"], len(whole["characters"])) == (len(TEXT) - 1, len(TEXT))
    assert whole["bits_per_character"] == pytest.approx(load().score(TEXT).bits_per_character, rel=1e-6)
    assert whole["characters"][-1]["next"] is whole["characters"][-1]["next_probability"] is None
    part = json.loads(inspect("--json", "--guesses", "3", "--from", "7", "-n", "13", "-u", "L2.c1"))
    assert (part["from"], part["unit"], part["scored"]) == (7, "L2.c1", 13)
    assert [{**entry, "value": None} for entry in part["characters"]] == [
        {**entry, "value": None} for entry in whole["characters"][7:20]
    ]
    assert all(-1 <= entry["value"] <= 1 for entry in part["characters"])
    nats = -sum(math.log(entry["next_probability"]) for entry in part["characters"])
    assert part["bits_per_character"] == pytest.approx(TextScore(nats, 13).bits_per_character, rel=1e-5)
    assert [entry["next"] for entry in part["characters"]] == list(TEXT[8:21])
    hits = [[g["character"] for g in entry["guesses"]].index(entry["next"]) for entry in part["characters"]
            if entry["next"] in [g["character"] for g in entry["guesses"]]]  # fmt: skip
    assert (part["guessed_first"], part["guessed_among"]) == (hits.count(0), len(hits))


def test_the_evaluation_of_the_text_gives_the_same_number(inspect: Callable[..., str]) -> None:
    """`eval` itself, which runs on torch."""
    from charrnn.evaluation.bpc import score
    from charrnn.network.model import CharacterModel

    checkpoint = tiny()
    model = CharacterModel(checkpoint.model, len(checkpoint.vocabulary))
    model.load_arrays(checkpoint.parameters)
    scored = score(model, checkpoint.vocabulary.encode(TEXT))
    assert f"of {len(TEXT) - 1} characters.\n" in inspect()
    assert inspect().endswith(f"\nA character cost the model {scored.bits_per_character:.4f} bits.\n")


def test_a_pipe_gets_the_grid(inspect: Callable[..., str]) -> None:
    """Legend, bands of seven lines with the five guesses, and three lines of numbers."""
    lines = inspect("-n", "20").split("\n")
    assert lines[2] == ""
    assert lines[3][1::3] == TEXT[:20].replace("\n", "↵")
    assert sum(line.count("*") for line in lines[4:9]) == json.loads(inspect("-n", "20", "--json"))["guessed_among"]
    assert re.fullmatch(
        r"The first guess was right for \d+\.\d % of 20 characters\.\n"
        r"One of the first 5 was right for \d+\.\d %\.\n"
        r"A character cost the model \d\.\d{4} bits\.\n",
        "\n".join(lines[-4:]),
    )


def test_bytes_are_shown_as_bytes(inspect: Callable[..., str]) -> None:
    """A model of bytes guesses bytes: beyond ASCII by their hexadecimals, on the terminal and on a page."""
    save(RUN, tiny(as_bytes=True))
    Path("text.txt").write_text("aé日", "utf-8")
    assert inspect("-n", "3").split("\n")[3].split() == ["a", "‹C3›", "‹A9›"]
    body = json.loads(inspect("--json", "--guesses", "2"))
    assert [entry["character"] for entry in body["characters"]] == list("aé日".encode().decode("latin-1"))
    assert body["bits_per_character"] == pytest.approx(load().score("aé日").bits_per_character, rel=1e-6)
    inspect("--html", "page.html")
    assert ">‹C3›</b>" in Path("page.html").read_text("utf-8")


def test_a_page_is_written(inspect: Callable[..., str]) -> None:
    """With the unit's name, and the same line of numbers that the terminal gets."""
    summary = inspect().rstrip("\n").rsplit("\n", 1)[1]
    assert "wrote page.html" in inspect("--html", "page.html", "-u", "L1.f2")
    page = Path("page.html").read_text("utf-8")
    assert "<h2>L1.f2</h2>" in page
    assert f"<p>{summary}</p>" in page


def test_a_page_in_other_colours_is_written(inspect: Callable[..., str]) -> None:
    """The option reaches the page; its default is the palette for all eyes."""
    pages = []
    for arguments in ([], ["--palette", "safe"], ["--palette", "karpathy"]):
        inspect("--html", "page.html", "-u", "L1.f2", *arguments)
        pages.append(Path("page.html").read_text("utf-8"))
    assert pages[0] == pages[1] != pages[2]
    assert "#0000ff, #ffffff, #00ff00" in pages[2]


def test_a_single_character_has_nothing_to_compare_with(inspect: Callable[..., str]) -> None:
    """But guesses all the same; the numbers are null."""
    Path("text.txt").write_text("a", "utf-8")
    assert "No character follows" in inspect()
    body = json.loads(inspect("--json"))
    assert (body["scored"], body["bits_per_character"]) == (0, None)
    assert len(body["characters"][0]["guesses"]) == 5


def test_characters_that_are_left_out_are_said_to_be(inspect: Callable[..., str]) -> None:
    """`eval` charges them; here they do not count."""
    Path("text.txt").write_text("abXcd", "utf-8")
    assert inspect("--unknown", "skip").endswith(" bits; those it does not know are not counted.\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["-u", "L1.h0", "-u", "L1.h1"], "one --unit, not by 2"), (["--guesses", "0"], "--guesses")],
)
def test_options_that_cannot_be(inspect: Callable[..., str], arguments: list[str], reason: str) -> None:
    """Usage, with what is wrong."""
    assert reason in inspect(*arguments, status=2)


def test_guesses_without_predictions_are_refused(inspect: Callable[..., str], command: Command) -> None:
    """They would be ignored; and predictions need a text."""
    for arguments, reason in (
        (["text.txt", "--guesses", "3"], "is for --predictions"),
        (["--predictions"], "needs a text"),
    ):
        ended = command("inspect", *arguments)
        assert ended.status == 2
        assert reason in ended.err
