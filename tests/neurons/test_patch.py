"""Matched pairs and exchanged states: against equations stepped by hand, planted units, and identities."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from charrnn.cells.members import joined
from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.errors import UsageError
from charrnn.neurons import patch as patching
from charrnn.neurons.labels import labels_of
from charrnn.neurons.pairs import LONGEST, MAKERS, Pair, find_maker
from charrnn.neurons.patch import CONTEXT, Exchange, Mean, patch, places_of_units
from charrnn.neurons.record import Unit
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig
from tests.kit.quotes import CONFIG, IDS, INSIDE, PLANTED, TEXT, VOCABULARY, H, V, letters_and_quotes, planted_arrays
from tests.kit.tiny import tiny
from tests.kit.variants import models, moved

Doubles = npt.NDArray[np.float64]
SEEDS = range(8)


def _exchanges(text: str = TEXT, what: str = INSIDE, most: int = 60) -> list[Exchange]:
    return [
        Exchange(pair.place, VOCABULARY.encode(pair.new), pair.asked)
        for pair in find_maker(what).pairs(text)
        if pair.place >= CONTEXT
    ][:most]


SAMPLES = {
    'inside "quotes"': 'He said: "It is\nlate." And went.',
    "inside “quotes”": "He said: “It is late.” And went.",
    "inside 'quotes'": "He said: 'It isn't late.' And went.",
    "inside ‘quotes’": "He said: ‘It isn’t late.’ And went.",
    "inside ( )": "It is (as they\nsay) late.",
    "inside [ ]": "a = b[index] + c",
    "inside { }": "f() {\n  return 3;\n}\n",
    "inside [[ ]]": "the [[city of]] light",
    "inside a tag < >": "the <a href=x>link</a>",
    "inside a /* comment */": "x = 1; /* as\n * said */ y = 2;",
    "inside a # comment": "x = 1  # as we have said before\ny = 2\n",
    "inside <!-- -->": "<p><!-- as - said --></p>",
    "inside a string literal": "x = 'as said' + y\n",
    "inside an if condition": "    if x == y and z:\n        return 1\n",
    "capital letters in a row": "The old KING is dead.",
    "speaker's name on its line": "Is it late?\n\nFirst Servant:\nAy.\n",
    "depth of brackets": "It (as (they) say) is late.",
    "depth of { }": "f() { if (x) { y(); } z(); }\n",
    "indentation": "def f():\n        x = first\n        y = second\n",
    "position in the line": "In the beginning there was nothing but words that came in lines.\nOf about this length.\n",
}
"""A text for each maker, in which it makes one pair."""


@pytest.mark.parametrize("what", MAKERS)
def test_a_pair_flips_its_label_and_nothing_moves(what: str) -> None:
    """The label that the maker is called after differs between the change and the question, and the two texts are of
    one length and equal elsewhere."""
    text = SAMPLES[what]
    (pair,) = MAKERS[what].pairs(text)
    behind = pair.place + len(pair.new)
    changed = text[: pair.place] + pair.new + text[behind:]
    assert len(changed) == len(text)
    assert behind <= pair.asked
    assert text[pair.place : behind] != pair.new
    before, after = (
        next(label for label in labels_of(each) if label.name == what).values[pair.place : pair.asked]
        for each in (text, changed)
    )
    assert (before != after).any()
    assert MAKERS[what].says.endswith(".")


def test_a_change_of_the_user_is_a_pattern_and_characters() -> None:
    """The group is replaced, the last character of the match is asked for; what is too far away is left out."""
    assert find_maker(r"(\()[^)]*\)= ").pairs("f(x) (y)") == [Pair(1, " ", 3), Pair(5, " ", 7)]
    assert find_maker("(x)==").pairs("ax=") == [], "x is replaced by =, and the question would stand in it"
    assert find_maker("(x)y==").pairs("axy") == [Pair(1, "=", 2)]
    assert find_maker("(ab)c=de").pairs("abc ab") == [Pair(0, "de", 2)]
    assert find_maker("(a)b*c=a").pairs("abc") == [], "nothing changes"
    near, far = ("a" + "b" * count + "c" for count in (LONGEST - 1, LONGEST))
    assert [len(find_maker("(a)b*c=d").pairs(text)) for text in (near, far)] == [1, 0]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("inside quotes", "names no label whose pairs are built in"),
        ("=x", "names no label"),
        ("ab=x", "has 0 groups"),
        ("(a)(b)c=x", "has 2 groups"),
        ("(a=x", "is not valid"),
    ],
)
def test_a_change_that_cannot_be_made_is_said(said: str, message: str) -> None:
    """In a sentence, with what can be given."""
    with pytest.raises(UsageError, match=message):
        find_maker(said)


def test_what_is_put_in_has_the_length_of_what_is_replaced() -> None:
    """Otherwise everything behind it would move."""
    with pytest.raises(UsageError, match="not of one length"):
        find_maker("(a+)b=x").pairs("aab")


# The equations by hand.


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _step(cell: str, p: Mapping[str, Any], layer: int, x: Any, state: Sequence[Any]) -> list[Any]:
    """One step of one lane: vectors in, vectors out."""
    w, u = p[f"layers.{layer}.weight_ih"], p[f"layers.{layer}.weight_hh"]
    if cell == "gru":
        a, b = w @ x + p[f"layers.{layer}.bias_ih"], u @ state[0] + p[f"layers.{layer}.bias_hh"]
        (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
        z = _sigmoid(az + bz)
        return [(1 - z) * np.tanh(an + _sigmoid(ar + br) * bn) + z * state[0]]
    rows = w @ x + u @ state[0] + p[f"layers.{layer}.bias"]
    if cell == "rnn":
        return [np.tanh(rows)]
    i, f, g, o = np.split(rows, 4)
    c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
    return [_sigmoid(o) * np.tanh(c), c]


def _trajectory(
    config: ModelConfig, p: Mapping[str, Any], ids: Sequence[int], donor: Any = None, first: int = 0, places: Any = ()
) -> tuple[list[list[list[Any]]], Any]:
    """All states after each character, and the logits after the last; from `first` on the states of `places` are those
    of the `donor`'s trajectory."""
    states = [[np.zeros(config.hidden_size) for _ in range(2 if config.cell == "lstm" else 1)] for _ in range(2)]
    kept = []
    for t, id_ in enumerate(ids):
        x = p["embedding"][id_]
        for layer in range(2):
            states[layer] = _step(config.cell, p, layer + 1, x, states[layer])
            if donor is not None and t >= first:
                for one, index in places:
                    if one == layer + 1:
                        for number, array in enumerate(states[layer]):
                            array[index] = donor[t][layer][number][index]
            x = states[layer][0]
        kept.append([[array.copy() for array in layer] for layer in states])
    return kept, p["decoder.weight"] @ states[1][0] + p["decoder.bias"]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_answers_and_shares_are_those_of_a_plain_loop(cell: str) -> None:
    """One unit, two units, and units of both layers, in both directions: every answer, the ratio of sums, and the
    interval of the delta method."""
    config = ModelConfig(cell=cell, num_layers=2, hidden_size=5, embedding_size=3)  # type: ignore[arg-type]
    random = np.random.default_rng(5)
    p = {name: random.normal(0, 0.7, shape) for name, shape in parameter_shapes(config, 7).items()}
    ids = random.integers(0, 7, CONTEXT + 400)
    places = CONTEXT + 12 * np.arange(22)
    exchanges = [
        Exchange(int(place), (ids[place : place + 1 + place % 2] + 1) % 7, int(place) + 2 + number % 9)
        for number, place in enumerate(places)
    ]
    sets = [[(1, 2)], [(2, 4), (2, 0)], [(1, 1), (2, 3)]]
    found = patch(config, p, ids, exchanges, sets, compared=0)
    wanted = np.zeros((4, 2, len(exchanges)))
    for number, one in enumerate(exchanges):
        first = one.place - (one.place - CONTEXT)  # read from CONTEXT characters before the change on
        texts = [ids[one.place - first : one.asked].copy() for _ in range(2)]
        texts[1][first : first + len(one.changed)] = one.changed
        plain = [_trajectory(config, p, text) for text in texts]
        logits = [[logits for _, logits in plain]]
        for places_ in sets:
            logits.append([
                _trajectory(config, p, texts[k], plain[1 - k][0], first, places_)[1] for k in range(2)
            ])  # fmt: skip
        for s, k in np.ndindex(4, 2):
            weights = np.exp(logits[s][k] - np.max(logits[s][k]))
            chance = weights[ids[one.asked]] / weights.sum()
            wanted[s, k, number] = math.log(chance / (1 - chance))
    np.testing.assert_allclose(found.answers, wanted[0], atol=1e-9)
    whole = wanted[0, 0] - wanted[0, 1]
    assert found.change.value == pytest.approx(whole.mean(), abs=1e-9)
    for number, one in enumerate(found.carried, 1):
        assert one.places == tuple(sets[number - 1])
        np.testing.assert_allclose(one.answers, wanted[number], atol=1e-9)
        assert np.abs(one.answers - wanted[0]).max() > 1e-3, "exchanging changes nothing"
        for part, share in (
            (wanted[0, 0] - wanted[number, 0], one.taken_out),
            (wanted[number, 1] - wanted[0, 1], one.put_in),
        ):
            if found.is_shown:
                ratio = part.sum() / whole.sum()
                rest = part - ratio * whole
                error = math.sqrt((rest**2).sum() / (len(rest) - 1) / len(rest)) / abs(whole.mean())
                t = 2.0796138447  # the 97.5 % quantile for 21 degrees of freedom
                assert share == pytest.approx(Mean(ratio, ratio - t * error, ratio + t * error), abs=1e-6)
            else:
                assert math.isnan(share.value)


@pytest.mark.parametrize("name", models())
def test_whoever_has_all_states_of_the_other_reading_answers_as_it_does(name: str) -> None:
    """In every cell and variant that steps in numpy; and lanes in small groups answer as all of them together do."""
    config = models()[name]
    arrays = {key: array.numpy(force=True).astype(np.float64) for key, array in moved(config).arrays().items()}
    vocabulary = len(arrays["embedding"])
    random = np.random.default_rng(7)
    ids = random.integers(0, vocabulary, CONTEXT + 300)
    exchanges = [Exchange(CONTEXT + 9 * n, (ids[CONTEXT + 9 * n : CONTEXT + 9 * n + 1] + 1) % vocabulary,
                          CONTEXT + 9 * n + 2 + n % 5) for n in range(25)]  # fmt: skip
    every = [(layer, index) for layer in (1, 2) for index in range(config.hidden_size)]
    found = patch(config, arrays, ids, exchanges, [every, every[:1]])
    assert np.abs(found.answers[0] - found.answers[1]).max() > 1e-6
    np.testing.assert_allclose(found.carried[0].answers, found.answers[::-1], atol=1e-9)
    assert found.random[0] == []
    with pytest.MonkeyPatch.context() as small:
        small.setattr(patching, "_LANES", 50)
        again = patch(config, arrays, ids, exchanges, [every, every[:1]])
    np.testing.assert_allclose(again.carried[1].answers, found.carried[1].answers, atol=1e-9)


def _planted(seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """The hand-built network with all other weights drawn anew: units that see the planted one and each other, and a
    decoder that reads them a little."""
    arrays, drawn = planted_arrays(), untrained_arrays(CONFIG, V, seed=100 + seed)
    own = [PLANTED + gate * H for gate in range(4)]
    for name in ("weight_ih", "weight_hh", "bias"):
        kept = arrays[f"layers.1.{name}"][own]
        arrays[f"layers.1.{name}"] = drawn[f"layers.1.{name}"].copy()
        arrays[f"layers.1.{name}"][own] = kept
    noise = 0.2 * drawn["decoder.weight"]
    noise[:, PLANTED] = 0
    arrays["decoder.weight"] = arrays["decoder.weight"] + noise
    return arrays


@pytest.mark.parametrize("seed", SEEDS)
def test_the_planted_unit_carries_the_change_and_no_other_does(seed: int) -> None:
    """Above 0.9 in both directions, and random units below 0.05, whatever the other weights are."""
    found = patch(CONFIG, _planted(seed), IDS, _exchanges(), [[(1, PLANTED)]], seed=seed)
    (one,) = found.carried
    assert found.change.low > 3
    assert one.taken_out.low > 0.9
    assert one.put_in.low > 0.9
    assert len(found.random[0]) == 8
    for other in found.random[0]:
        assert other.places != one.places
        assert abs(other.taken_out.value) < 0.05
        assert abs(other.put_in.value) < 0.05


def test_a_unit_of_which_nothing_is_read_carries_nothing() -> None:
    """The planted unit knows the quotes, and a copy of it is read in its place."""
    arrays, copy = planted_arrays(), 5
    for name in ("weight_ih", "weight_hh", "bias"):
        array = arrays[f"layers.1.{name}"]
        for gate in range(4):
            array[gate * H + copy] = array[gate * H + PLANTED]
    arrays["decoder.weight"][:, copy] = arrays["decoder.weight"][:, PLANTED]
    arrays["decoder.weight"][:, PLANTED] = 0
    arrays["layers.1.weight_hh"][:, PLANTED] = 0
    found = patch(CONFIG, arrays, IDS, _exchanges(), [[(1, PLANTED)], [(1, copy)], [(1, copy), (1, PLANTED)]])
    assert [round(one.taken_out.value, 6) for one in found.carried] == [0, 1, 1]
    assert [len(one.places) for one in found.random[2]] == [2] * 8


def test_where_the_answer_does_not_change_there_is_nothing_to_carry() -> None:
    """A model that does not read the unit answers the same to both readings: shares are unknown, not infinite."""
    arrays = planted_arrays(is_read=False)
    found = patch(CONFIG, arrays, IDS, _exchanges(), [[(1, PLANTED)]])
    assert not found.is_shown
    assert found.change == Mean(0, 0, 0)
    assert math.isnan(found.carried[0].taken_out.value)


def test_a_member_of_an_ensemble_carries_its_part() -> None:
    """Two equal members answer as one of them, and carry together what the one does; each alone carries less."""
    one = planted_arrays()
    single = patch(CONFIG, one, IDS, _exchanges(), [[(1, PLANTED)]], compared=0)
    both = patch(
        CONFIG, joined([one, planted_arrays()]), IDS, _exchanges(),
        [[(1, PLANTED), (1, H + PLANTED)], [(1, PLANTED)], [(1, H + PLANTED)]], compared=0,
    )  # fmt: skip
    np.testing.assert_allclose(both.answers, single.answers, atol=1e-6)
    assert both.carried[0].taken_out.value == pytest.approx(single.carried[0].taken_out.value, abs=1e-6)
    assert both.carried[1].taken_out.value == pytest.approx(both.carried[2].taken_out.value, abs=1e-6)
    assert 0.05 < both.carried[1].taken_out.value < 0.95


def test_states_are_exchanged_and_gates_are_not() -> None:
    """An lstm's h and c of one index are one place."""
    assert places_of_units([Unit(1, "c", 3), Unit(1, "h", 3), Unit(2, "h", 0)], CONFIG) == [(1, 3), (2, 0)]
    with pytest.raises(UsageError, match="a gate") as caught:
        places_of_units([Unit(1, "f", 3)], CONFIG)
    assert "L1.h3 or L1.c3" in " ".join(filter(None, caught.value.hints))


RUN = Path("checkpoints/quotes/best.safetensors")


@pytest.fixture
def inspect(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `charrnn inspect` with the hand-built network beside a text of its kind."""
    RUN.parent.mkdir(parents=True)
    checkpoints.save(RUN, replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=planted_arrays()))
    Path("text.txt").write_text(letters_and_quotes(6000), "utf-8")
    return functools.partial(command, "inspect", "text.txt")


def test_the_unit_is_found_and_its_share_said(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """In words, in numbers, on a page and as arrays, which say the same."""
    status, out, _ = inspect("--patch", INSIDE)
    assert status == 0
    words = " ".join(out.split())
    assert f"The states of L1.h{PLANTED} L1.c{PLANTED} tell the label best on the first half" in words
    assert "the 4 best units" in words
    assert "8 random units, largest" in words
    status, out, _ = inspect("--patch", INSIDE, "--json", "--html", "p.html", "--npz", "p.npz", "--pairs", "40")
    assert status == 0
    found = json.loads(out)["patch"]
    one, four = found["carried"]
    assert len(four["states"]) == 8
    assert set(one["states"]) < set(four["states"])
    assert one["states"] == [f"L1.h{PLANTED}", f"L1.c{PLANTED}"]
    assert one["taken_out"]["value"] == pytest.approx(1, abs=1e-4)
    assert one["put_in"]["value"] == pytest.approx(1, abs=1e-4)
    assert found["pairs"] == 40 < found["made"]
    assert "states exchanged" in Path("p.html").read_text("utf-8")
    with np.load("p.npz") as arrays:
        assert arrays["answers"].shape == (2, 40)
        assert arrays["sets.answers"].shape == (18, 2, 40)
        assert (arrays["pairs.place"] >= len(TEXT) // 2).all(), "the first half chose the unit"
        whole = arrays["answers"][0] - arrays["answers"][1]
        assert found["change"]["value"] == pytest.approx(whole.mean(), abs=1e-6)
        lost = arrays["answers"][0] - arrays["sets.answers"][:, 0]
        np.testing.assert_allclose(arrays["sets.shares"][:, 0, 0], lost.sum(1) / whole.sum(), atol=1e-6)
        assert arrays["sets.is_random"].tolist() == [False] * 2 + [True] * 16


def test_units_and_a_change_of_the_users_own(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """Several units are exchanged one by one and together."""
    own = "(“)[^“”]{2,}”= "
    status, out, _ = inspect("--patch", own, "--unit", f"L1.c{PLANTED}", "--unit", "L1.h3", "--json")
    assert status == 0
    found = json.loads(out)["patch"]
    assert [round(one["put_in"]["value"], 3) for one in found["carried"]] == [1, 0, 1]
    assert [len(one["states"]) for one in found["carried"]] == [2, 2, 4]
    status, out, _ = inspect("--patch", own, "--unit", f"L1.c{PLANTED}", "--unit", "L1.h3")
    assert status == 0
    assert f"L1.h{PLANTED} L1.c{PLANTED}, L1.h3 L1.c3" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--patch", "quotes"], 2, "names no label whose pairs are built in"),
        (["--patch", "(“)a= "], 2, "needs to know which units to exchange"),
        (["--patch", INSIDE, "--unit", "L1.f2"], 2, "a gate keeps nothing"),
        (["--patch", INSIDE, "--unit", "L1.c2", "-n", "600"], 3, "too few to measure a share"),
        (["--patch", "(“)a=xx", "--unit", "L1.c2"], 2, "not of one length"),
        (["--patch", "(“)a=q", "--unit", "L1.c2"], 3, "'q'"),
        (["--patch", INSIDE, "--units", "2"], 2, "takes units by name"),
        (["--pairs", "30"], 2, "--pairs says how to measure --patch"),
        (["--patch", INSIDE, "--find"], 2, "--find and --patch are pictures"),
    ],
)
def test_what_patching_cannot_do_is_said(
    inspect: Callable[..., tuple[int, str, str]], arguments: list[str], status: int, said: str
) -> None:
    """In one sentence with the right status, and nothing on stdout."""
    found, out, err = inspect(*arguments)
    assert (found, out) == (status, "")
    assert said in " ".join(err.split())
