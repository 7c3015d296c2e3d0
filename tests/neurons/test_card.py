"""A unit's card: each of its numbers against a plain loop, and the planted quote cell described as what it is."""

from __future__ import annotations

import functools
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.display.card import pieces as card_pieces
from charrnn.display.report import Prose, page, spaced
from charrnn.inference.reference import Network
from charrnn.neurons.card import Card, autocorrelation_length, extremes, make_card
from charrnn.neurons.clamping import clamp
from charrnn.neurons.labels import labels_of
from charrnn.neurons.record import Unit, record
from charrnn.neurons.statistics import auc
from tests.kit.quotes import CLOSING, CONFIG, IDS, INSIDE, PLANTED, TEXT, VOCABULARY, planted_arrays
from tests.kit.tiny import tiny

UNIT = Unit(1, "h", PLANTED)
START = 40


@pytest.fixture(scope="module")
def card() -> Card:
    """Of the hand-built network's quote cell."""
    return make_card(CONFIG, planted_arrays(), UNIT, IDS, labels_of(TEXT), start=START)


def test_the_planted_cell_is_described_as_what_it_is(card: Card) -> None:
    """Its label first, with all it can tell; high inside and low outside; it makes the closing quote likelier."""
    assert card.told[0].label == INSIDE
    assert card.told[0].effect > 0.95
    assert abs(card.told[0].from_characters) < 0.9
    inside = next(label for label in labels_of(TEXT) if label.name == INSIDE).values
    assert all(inside[place] == 1 for place in card.highest)
    assert all(inside[place] == 0 for place in card.lowest)
    assert card.promoted[0].id == CLOSING
    assert card.promoted[0].high > 0.1 > 0.001 > card.promoted[0].low
    gates = {gate.kind: gate for gate in card.gates}
    assert list(gates) == ["i", "f", "g", "o"]
    assert gates["o"].right == 1
    quotes = float(np.isin(IDS[START:], [IDS[TEXT.index(quote)] for quote in "“”"]).mean())
    assert gates["f"].left == pytest.approx(quotes, abs=1e-6)
    assert gates["f"].right == pytest.approx(1 - quotes, abs=1e-6)
    assert card.ablation.unit == UNIT
    assert card.counts.sum() == len(card.values) == len(IDS) - START


def test_its_values_are_the_recorder_s(card: Card) -> None:
    """And their range holds nine in ten of them."""
    values = np.concatenate([taken[1, "h"] for taken in record(Network(CONFIG, planted_arrays()), IDS, [(1, "h")])])[
        START:
    ]
    np.testing.assert_allclose(card.values, values[:, PLANTED], atol=1e-6)
    assert card.held_low == pytest.approx(np.quantile(values[:, PLANTED], 0.05), abs=1e-6)


def test_characters_move_as_a_loop_over_softmaxes_says() -> None:
    """Mean probabilities with the unit held high and low, the characters in the order of p ln(p / q)."""
    rng, ids = np.random.default_rng(4), IDS[:500]
    arrays = {name: rng.normal(0, 0.6, array.shape).astype(np.float32) for name, array in planted_arrays().items()}
    unit = Unit(1, "c", 5)
    found = make_card(CONFIG, arrays, unit, ids, labels_of(TEXT[:500]))
    means = []
    for held in (found.held_low, found.held_high):
        engine, total = Network(CONFIG, clamp(CONFIG, arrays, {unit: held})), np.zeros(len(VOCABULARY))
        state = engine.zero_state()
        for id_ in ids:
            logits, state = engine.step([id_], state)
            weights = np.exp(logits[0].astype(np.float64))
            total += weights / weights.sum()
        means.append(total / len(ids))
    low, high = means
    adds = {id_: float(high[id_] * math.log(high[id_] / low[id_])) for id_ in range(len(VOCABULARY))}
    wanted = sorted((id_ for id_, value in adds.items() if value > 1e-5), key=lambda id_: -adds[id_])[:6]
    assert [one.id for one in found.promoted] == wanted
    for one in found.promoted + found.demoted:
        assert one.low == pytest.approx(low[one.id], abs=1e-6)
        assert one.high == pytest.approx(high[one.id], abs=1e-6)
    assert all(one.high < one.low for one in found.demoted)


def test_memory_is_the_lag_at_which_the_autocorrelation_is_below_a_third() -> None:
    """Against numpy's correlation of everything with everything; an autoregression has its closed form."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=60_000)
    series, phi = np.zeros(60_000), 0.95
    for place in range(1, len(series)):
        series[place] = phi * series[place - 1] + noise[place]
    for values in (series[:3000], rng.normal(size=101), np.sin(np.arange(500) / 30)):
        centred = values - values.mean()
        full = np.correlate(centred, centred, "full")[len(values) - 1 :]
        assert autocorrelation_length(values) == int(np.flatnonzero(full < full[0] / math.e)[0])
    assert autocorrelation_length(series) == pytest.approx(-1 / math.log(phi), rel=0.15)
    assert autocorrelation_length(np.full(50, 0.25)) is None
    assert autocorrelation_length(np.linspace(0, 1, 50_000)) is None  # a drift: it lasts beyond all lags


def test_extremes_keep_apart() -> None:
    """The largest first, then the largest that is far enough from all before it."""
    values: npt.NDArray[np.float32] = np.array([0, 5, 4, 1, 3, 2, 2, 6], np.float32)
    assert extremes(values, count=3, apart=1) == [7, 1, 2]
    assert extremes(values, count=3, apart=2) == [7, 1, 4]
    assert extremes(values, count=9, apart=4) == [7, 1]
    assert extremes(values, count=9, apart=6) == [7, 1]  # just so far apart
    assert extremes(values, count=9, apart=7) == [7, 0]
    assert extremes(values[::-1].copy(), count=9, apart=6) == [0, 6]


def test_brackets_and_colons_of_a_text_are_no_markup(card: Card) -> None:
    """What rich would take for a closing tag, a colour or a picture stands in the table as it stands in the text."""
    text, tricky = list(TEXT), "[/b] [red]:smile:"
    text[card.highest[0] - len(tricky) : card.highest[0]] = tricky
    console = Console(width=80, file=io.StringIO(), color_system=None)
    for piece in spaced(list(card_pieces(card, "".join(text), list("abcdefghi"), "L1.h17"))):
        console.print(piece)
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any(tricky in line and "\u25c2" in line for line in shown)


def test_a_card_fits_and_drives_neither_terminal_nor_page(card: Card) -> None:
    """At 80 columns; a text with an escape sequence, a bidirectional mark and a script in it is shown."""
    text = list(TEXT)
    place = card.highest[0]
    text[place - 9 : place] = "\x1b‮<b>&\n\t|"
    pieces = list(card_pieces(card, "".join(text), ["\x1b", *"abcdefgh"], "L1.h17"))
    console = Console(width=80, file=io.StringIO(), color_system=None)
    for piece in spaced(pieces):
        console.print(piece)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "␛‹U+202E›<b>&↵→|" in shown
    assert max(map(len, shown.splitlines())) <= 80
    written = page("a <card>", pieces)
    assert "␛‹U+202E›&lt;b&gt;&amp;↵→|" in written
    assert "<title>a &lt;card&gt;</title>" in written
    for dangerous in ("\x1b", "‮", "<b>"):
        assert dangerous not in shown.replace("<b>", "")
        assert dangerous not in written
    assert written == page("a <card>", pieces)


@pytest.fixture
def inspect(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `charrnn inspect` with the hand-built network beside its text."""
    run = Path("checkpoints/quotes/best.safetensors")
    run.parent.mkdir(parents=True)
    checkpoints.save(run, replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=planted_arrays()))
    Path("text.txt").write_text(TEXT[:3000], "utf-8")
    return functools.partial(command, "inspect")


def test_cards_from_the_command_line(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """Of several units, as text, as numbers and as a page, from any place of the text on."""
    status, out, _ = inspect("text.txt", "-u", "L1.h17", "-u", "L1.c3", "--card", "--from", "30")
    assert status == 0
    assert out.index("L1.h17") < out.index("What it tells") < out.index("L1.c3 (tanh c)")
    status, out, _ = inspect("text.txt", "-u", "L1.h17", "--card", "--json", "--html", "card.html", "--label", "x=a+")
    assert status == 0
    (one,) = json.loads(out)["cards"]
    assert one["labels"][0]["label"] == INSIDE
    assert one["promoted"][0]["character"] == "”"
    assert one["highest"][0]["text"] in TEXT
    assert one["ablation"]["unit"] == "L1.h17"
    assert "Where it is lowest" in Path("card.html").read_text("utf-8")
    assert "over the first 3,000 characters" in " ".join(inspect("text.txt", "-u", "L1.h17", "--card")[1].split())
    status, out, err = inspect("text.txt", "-u", "L1.h17", "--card", "-n", "150")
    assert (status, out) == (3, "")
    assert "too few to know a unit by" in err


def test_what_it_tells_is_scored_on_the_second_half() -> None:
    """Of a text whose second half has lost its order: it tells next to nothing there, whatever the first half says."""
    label = next(label for label in labels_of(TEXT) if label.name == INSIDE)
    values, half = label.values.copy(), START + (len(IDS) - START) // 2
    values[half:] = np.random.default_rng(6).permutation(values[half:])
    made = make_card(CONFIG, planted_arrays(), UNIT, IDS, [replace(label, values=values)], start=START)
    (told,) = made.told
    exact = 2 * auc(made.values[half - START :], values[half:]) - 1
    assert told.effect == pytest.approx(exact)
    assert abs(told.effect) < 0.2
    assert -0.3 < told.low < told.effect < told.high < 0.3


def test_held_high_and_low_are_its_own_tails() -> None:
    """A unit that takes on many values: what one in twenty lies below, and above."""
    made = make_card(CONFIG, planted_arrays(), Unit(1, "c", 3), IDS[:900], [], start=START)
    assert (made.values < made.held_low).mean() == pytest.approx(0.05, abs=0.01)
    assert (made.values > made.held_high).mean() == pytest.approx(0.05, abs=0.01)
    assert made.held_low < made.held_high


def test_a_unit_named_twice_is_one(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """In the coloured text, on cards and in prices."""
    for heading, *view in ("L1.h17   -1",), ("Where it is highest", "--card"), ("held at its mean,", "--ablate"):
        status, out, _ = inspect("text.txt", "-u", "L1.h17", "-u", "L1.h17", *view)
        assert status == 0
        assert out.count(heading) == 1


def test_a_unit_that_never_moves_is_said_to(card: Card) -> None:
    """Not that its autocorrelation lasts, which it does not have."""
    still = replace(card, values=np.zeros_like(card.values), memory=None)
    pieces = card_pieces(still, TEXT, list("abcdefghi"), "L1.h17")
    said = " ".join(piece.text for piece in pieces if isinstance(piece, Prose))
    assert "It never moves." in said
    assert "autocorrelation" not in said
