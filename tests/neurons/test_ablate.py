"""The price of a unit's standing still: exact numbers, a hand-built network, and what must not be called used."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.inference.reference import Network
from charrnn.neurons.ablate import ablate, cut_into_lanes, places_of
from charrnn.neurons.clamping import clamp
from charrnn.neurons.labels import Label, labels_of
from charrnn.neurons.record import Unit, record
from tests.kit.quotes import (
    CLOSING,
    CONFIG,
    IDS,
    INSIDE,
    PLANTED,
    TEXT,
    VOCABULARY,
    H,
    V,
    letters_and_quotes,
    planted_arrays,
)
from tests.kit.tiny import tiny


def _label(name: str = INSIDE) -> Label:
    return next(label for label in labels_of(TEXT) if label.name == name)


def test_without_the_planted_unit_closing_quotes_are_dear_and_nothing_else_is() -> None:
    """Its label is called used, with the price paid exactly at closing quotes: no other character pays any."""
    unit = Unit(1, "h", PLANTED)
    (found,) = ablate(CONFIG, planted_arrays(), IDS, {unit: [_label()]}, start=50)
    (use,) = found.uses
    assert use.is_used
    assert use.ends.characters == int((IDS[50:] == CLOSING).sum())
    assert use.ends.bits > 3
    assert use.ends.low > 3
    assert use.inside.bits < 0.01
    assert abs(use.outside.bits) < 0.01
    assert abs(use.compared) < 1e-6
    assert use.margin > 3
    assert found.dearest[0][0] == CLOSING
    paid = {id_: bits * count for id_, bits, count in found.dearest}
    assert paid.pop(CLOSING) > 500 * sum(paid.values())
    assert use.ends.characters + use.inside.characters + use.outside.characters == found.overall.characters


def test_a_unit_that_nothing_reads_is_encoded_and_not_used() -> None:
    """The same unit, as sure of the quotes, in a model whose decoder does not look at it."""
    unit = Unit(1, "c", PLANTED)
    arrays = planted_arrays(is_read=False)
    arrays["layers.1.weight_hh"][:, PLANTED] = 0
    (found,) = ablate(CONFIG, arrays, IDS, {unit: [_label()]})
    assert found.overall.bits == 0
    assert not found.uses[0].is_used
    assert found.dearest == []


def test_costs_are_means_of_differences_of_losses() -> None:
    """Against a plain loop over softmaxes, on the places that a plain loop finds; for a graded label too."""
    rng = np.random.default_rng(4)
    arrays = {name: rng.normal(0, 0.5, array.shape).astype(np.float32) for name, array in planted_arrays().items()}
    unit, ids, start = Unit(1, "c", 5), IDS[:900], 30
    text = TEXT[:900]
    labels = [label for label in labels_of(text) if label.name in (INSIDE, "position in the word", "vowel")]
    (found,) = ablate(CONFIG, arrays, ids, {unit: labels}, start=start)
    values = np.concatenate([taken[unit.part] for taken in record(Network(CONFIG, arrays), ids, [unit.part])])
    assert found.held_at == pytest.approx(float(values[start:, 5].mean()), abs=1e-6)

    def bits(parameters: dict[str, npt.NDArray[np.float32]]) -> list[float]:
        engine, losses = Network(CONFIG, parameters), [math.nan]
        state = engine.zero_state()
        for id_, coming in zip(ids, ids[1:], strict=False):
            logits, state = engine.step([id_], state)
            exact = logits[0].astype(np.float64)
            losses.append(float(np.log(np.exp(exact).sum()) - exact[coming]) / math.log(2))
        return losses

    rise = np.array(bits(clamp(CONFIG, arrays, {unit: found.held_at}))) - np.array(bits(arrays))
    assert found.overall.bits == pytest.approx(rise[start:].mean(), abs=1e-5)
    for use, label in zip(found.uses, labels, strict=True):
        sums = {"inside": [], "ends": [], "outside": []}  # type: ignore[var-annotated]
        median = np.median(label.values[start - 1 : -1])
        for place in range(start, len(ids)):
            before, here = label.values[place - 1], label.values[place]
            holds = before > median if label.is_graded else before > 0
            sums["ends" if here < before else "inside" if holds else "outside"].append(rise[place])
        for name, wanted in sums.items():
            cost = getattr(use, name)
            assert cost.characters == len(wanted)
            assert cost.bits == pytest.approx(np.mean(wanted), abs=1e-5)
            assert cost.low <= cost.bits <= cost.high
    totals = {id_: rise[start:][ids[start:] == id_].sum() for id_ in range(V)}
    assert found.dearest[0][0] == max(totals, key=totals.__getitem__)


def test_a_line_ends_with_its_line_feed() -> None:
    """Which still belongs to it: the place asked about is the line feed itself, a sentence's its full stop."""
    text = "One two. Three\nfour.\n\nFive"
    labels = {label.name: label for label in labels_of(text)}
    for name, ends in (
        ("position in the line", [14, 20, 21]),
        ("position in the sentence", [7, 19]),
        ("position in the paragraph", [20]),
        ("position in the word", [3, 7, 14, 19]),
    ):
        found = places_of(labels[name], 1)[1]
        assert (np.flatnonzero(found) + 1).tolist() == ends, name


def test_chance_is_not_called_used() -> None:
    """Labels cut into blocks and put together in another order have lost the text: none of forty is affirmed."""
    rng, unit = np.random.default_rng(1), Unit(1, "h", PLANTED)
    labels = []
    for number in range(40):
        blocks = np.array_split(_label().values, 60)
        labels.append(Label(str(number), np.concatenate([blocks[n] for n in rng.permutation(60)])))
    (found,) = ablate(CONFIG, planted_arrays(), IDS, {unit: labels})
    assert len(found.uses) == 40
    assert not any(use.is_used for use in found.uses)


def test_ends_in_one_corner_of_the_text_are_too_few() -> None:
    """Thirty closing quotes, all dear: but every resample that holds any holds much the same, so that none is sure."""
    inside, unit = _label().values, Unit(1, "h", PLANTED)
    ends = np.append(False, np.diff(inside) < 0)
    ends[900:] = False
    corner = Label("corner", inside, ends=ends)
    (found,) = ablate(CONFIG, planted_arrays(), IDS, {unit: [corner, _label()]}, compared=0)
    first, everywhere = found.uses
    assert first.ends.characters >= 30
    assert first.ends.bits > 3
    assert not first.ends.is_enough
    assert first.used_at != "ends"
    assert everywhere.ends.is_enough
    assert everywhere.verdict == "used"
    inside = np.where(np.arange(len(inside)) < 900, inside, 0)
    (found,) = ablate(CONFIG, planted_arrays(), IDS, {unit: [Label("all of it there", inside)]}, compared=0)
    assert [use.verdict for use in found.uses] == ["too few"]


def test_what_another_unit_costs_more_is_not_its_own() -> None:
    """A weak copy of the planted unit costs surely, but less than that does: used only if that is asked about too."""
    arrays, copy = planted_arrays(), 5
    for name in ("weight_ih", "weight_hh", "bias"):
        array = arrays[f"layers.1.{name}"]
        for gate in range(4):
            array[gate * H + copy] = array[gate * H + PLANTED]
    arrays["decoder.weight"][CLOSING, copy] = arrays["decoder.weight"][CLOSING, PLANTED] / 8
    weak, strong = Unit(1, "h", copy), Unit(1, "h", PLANTED)
    (found,) = ablate(CONFIG, arrays, IDS, {weak: [_label()]}, compared=H)
    (use,) = found.uses
    assert use.ends.low > 0.1
    assert use.compared > use.ends.high
    assert use.verdict == "not shown"
    both = ablate(CONFIG, arrays, IDS, {weak: [_label()], strong: [_label()]}, compared=H)
    assert [one.uses[0].verdict for one in both] == ["used", "used"]


def test_a_label_that_holds_only_where_it_ends_is_no_mean_of_nothing() -> None:
    """It holds nowhere inside, and where it ends too rarely: there is nothing to compare with other units, and no
    warning of numpy's (which the tests take for an error)."""
    holds = np.zeros(len(IDS), np.int8)
    holds[100:200:2] = 1
    (found,) = ablate(CONFIG, planted_arrays(), IDS, {Unit(1, "h", PLANTED): [Label("single", holds)]}, compared=2)
    (use,) = found.uses
    assert use.verdict == "too few"
    assert math.isnan(use.compared)


RUN = Path("checkpoints/quotes/best.safetensors")


@pytest.fixture
def inspect(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `charrnn inspect` with the hand-built network beside its text."""
    RUN.parent.mkdir(parents=True)
    checkpoints.save(RUN, replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=planted_arrays()))
    Path("text.txt").write_text(TEXT, "utf-8")
    return functools.partial(command, "inspect")


def test_find_and_ablate_name_the_planted_unit_and_its_price(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """On the half that did not choose it: found, and used; in words and in numbers."""
    status, out, _ = inspect("text.txt", "--find", "--ablate")
    assert status == 0
    assert "Of 1 label that units tell, 1 is encoded and used; 0 are encoded" in out
    status, out, _ = inspect(
        "text.txt", "--find", "--ablate", "--json", "--html", "atlas.html", "--palette", "karpathy"
    )
    numbers = json.loads(out)
    (one,) = numbers["ablations"]
    assert one["unit"] in (f"L1.c{PLANTED}", f"L1.h{PLANTED}")
    (use,) = one["uses"]
    assert (use["label"], use["is_used"]) == (INSIDE, True)
    assert use["ends"]["characters"] == TEXT[len(TEXT) // 2 :].count("”")
    assert one["dearest"][0]["character"] == "”"
    page = Path("atlas.html").read_text("utf-8")
    assert "encoded and used" in page
    passage = page[page.index(f"<h2>{one['unit']}") :]
    assert INSIDE in passage
    shown = "".join(re.findall(r"<span[^>]* title=[^>]*>(.)</span>", passage))
    assert len(shown) == 600
    assert shown in TEXT[len(TEXT) // 2 :]


def test_ablate_a_unit_that_is_named(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """Against every label, the user's own among them, from any place on."""
    unit = f"L1.h{PLANTED}"
    status, out, _ = inspect("text.txt", "--unit", unit, "--ablate", "--label", "bad=b.d", "--from", "100")
    assert status == 0
    assert f"{unit} held at its mean, " in out
    assert "rises most, each with its share of their total: '”' +" in " ".join(out.split())
    assert INSIDE in out
    status, out, _ = inspect("text.txt", "--unit", unit, "--ablate", "--label", "bad=b.d", "--json", "-n", "5000")
    (one,) = json.loads(out)["ablations"]
    uses = {use["label"]: use for use in one["uses"]}
    assert {INSIDE, "bad", "vowel"} <= set(uses)
    assert uses[INSIDE]["is_used"]
    assert one["overall"]["characters"] == 4999


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["text.txt", "--ablate"], 2, "--ablate needs to know which units to hold"),
        (["text.txt", "--ablate", "--unit", "L1.h0", "-n", "150"], 3, "too few to measure a price on"),
        (["text.txt", "--ablate", "--unit", "L1.h0", "--gates"], 2, "--gates and --ablate are pictures"),
        (["--ablate", "--unit", "L1.h0"], 2, "needs a text"),
    ],
)
def test_what_ablate_cannot_do_is_said(
    inspect: Callable[..., tuple[int, str, str]], arguments: list[str], status: int, said: str
) -> None:
    """In one sentence with the right status, and nothing on stdout."""
    found, out, err = inspect(*arguments)
    assert (found, out) == (status, "")
    assert said in err


def test_lanes_tell_what_one_stream_tells() -> None:
    """A text long enough for lanes: every character is scored once, given a thousand before it or all."""
    for characters in (1, 999, 8_999, 9_001, 20_011, 100_000):
        starts, rows, unscored = cut_into_lanes(characters)
        scored = np.zeros(characters + rows, int)
        for lane, start in enumerate(starts):
            scored[start + (unscored if lane else 0) : start + rows] += 1
        assert (scored[:characters] == 1).all()
        assert len(starts) == max(1, min(8, (characters - 1000) // 4000))
    text = letters_and_quotes(13_000, seed=3)
    ids, unit = VOCABULARY.encode(text), Unit(1, "c", PLANTED)
    labels = [label for label in labels_of(text) if label.name == INSIDE]
    found = ablate(CONFIG, planted_arrays(), ids, {unit: labels}, compared=0)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.neurons.ablate._LANES", 1)
        stream = ablate(CONFIG, planted_arrays(), ids, {unit: labels}, compared=0)[0]
    assert len(cut_into_lanes(len(ids))[0]) == 3
    assert found.overall.bits == pytest.approx(stream.overall.bits, abs=1e-6)
    assert found.uses[0].ends.bits == pytest.approx(stream.uses[0].ends.bits, abs=1e-6)
    assert found.uses[0].verdict == "used"
