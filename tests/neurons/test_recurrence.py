"""Which units come back in other models: against numpy's correlations, permuted copies, and models of chance."""

from __future__ import annotations

import functools
import io
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.cells import cell_len
from rich.console import Console

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.display.recurrence import pieces
from charrnn.display.report import spaced
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.neurons import correlations
from charrnn.neurons import recurrence as module
from charrnn.neurons.correlations import by_chance, draw_places, paired, partners, standardised, take
from charrnn.neurons.find import Atlas, make_atlas
from charrnn.neurons.labels import labels_of
from charrnn.neurons.record import Unit, record
from charrnn.neurons.recurrence import Other, Recurrence, recurrence
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig
from tests.kit.command import Command
from tests.kit.planted import TASKS, learn
from tests.kit.quotes import CONFIG, IDS, INSIDE, PLANTED, TEXT, VOCABULARY, H, V, planted_arrays
from tests.kit.tiny import tiny

Arrays = dict[str, npt.NDArray[np.float32]]

LABELS = [label for label in labels_of(TEXT) if label.name in (INSIDE, "vowel", "space 3 back")]

ORDER = np.random.default_rng(5).permutation(H)
FLIPPED = np.random.default_rng(6).integers(0, 2, H) * 2 - 1
"""The sign that each unit of the copy has, by its place there."""


def _copy(arrays: Arrays) -> Arrays:
    """The same lstm with its units in another order, and some of them with the other sign: c, h, and what is read of
    h; only the candidate g changes its sign with them."""
    rows = np.concatenate([ORDER + gate * H for gate in range(4)])
    signs = np.concatenate([FLIPPED if gate == 2 else np.ones(H) for gate in range(4)]).astype(np.float32)
    flipped = FLIPPED.astype(np.float32)
    copy = dict(arrays)
    copy["layers.1.weight_ih"] = arrays["layers.1.weight_ih"][rows] * signs[:, None]
    copy["layers.1.weight_hh"] = arrays["layers.1.weight_hh"][rows][:, ORDER] * signs[:, None] * flipped
    copy["layers.1.bias"] = arrays["layers.1.bias"][rows] * signs
    copy["decoder.weight"] = arrays["decoder.weight"][:, ORDER] * flipped
    return copy


def _untrained(seed: int, config: ModelConfig = CONFIG) -> Network:
    return Network(config, untrained_arrays(config, V, seed=seed))


def _other(engine: Network, name: str = "other") -> Other:
    return Other(name, engine, _untrained(8, engine.config), IDS)


def _sought(*others: Other, samples: int = 2000, seed: int = 0) -> Recurrence:
    """The units of the hand-built network in others."""
    engine = Network(CONFIG, planted_arrays())
    return recurrence(engine, IDS, _atlas(), LABELS, others, samples=samples, seed=seed)


@functools.cache
def _atlas() -> Atlas:
    return make_atlas(Network(CONFIG, planted_arrays()), _untrained(8), IDS, LABELS)


# Correlations.


def test_correlations_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-9, in blocks; the partner is the one whose |r| is largest, and a constant correlates with nothing."""
    monkeypatch.setattr(correlations, "_ROWS", 3)
    random = np.random.default_rng(0)
    mine, theirs = (random.normal(size=(rows, 50)).astype(np.float32) + 7 for rows in (8, 11))
    theirs[4] -= 3 * mine[2]
    expected = np.corrcoef(mine, theirs)[:8, 8:]
    np.testing.assert_allclose(standardised(mine) @ standardised(theirs).T, expected, rtol=0, atol=1e-9)
    which = partners(mine, theirs)
    assert which.tolist() == np.abs(expected).argmax(1).tolist()
    assert which[2] == 4
    np.testing.assert_allclose(paired(mine, theirs[which]), expected[np.arange(8), which], rtol=0, atol=1e-9)
    constant = np.full((1, 50), 0.1, np.float32)
    assert paired(constant, theirs[:1]).tolist() == [0]
    assert paired(mine[:0], theirs[:0]).shape == (0,)


def test_chance_is_the_best_of_a_text_that_is_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value is one of those that all pairs of lengths give, none shorter than a twentieth; not all are alike."""
    monkeypatch.setattr(correlations, "_ROWS", 2)
    random = np.random.default_rng(1)
    mine, theirs = (random.normal(size=(rows, 81)).cumsum(1).astype(np.float32) for rows in (3, 5))
    found = by_chance(mine, theirs, 30, np.random.default_rng(2))
    assert found.shape == (3, 30)
    possible = []
    for one, two in itertools.product(range(2, 40), range(2, 39)):
        turned = np.concatenate([np.roll(mine[:, :41], one, 1), np.roll(mine[:, 41:], two, 1)], axis=1)
        possible.append(np.abs(np.corrcoef(turned, theirs)[:3, 3:]).max(1))
    for row, values in zip(found, np.array(possible).T, strict=True):
        assert np.abs(row[:, None] - values[None]).min(1).max() < 1e-5
        assert len(set(row.round(4))) > 20


def test_lines_of_equal_length_are_not_chance() -> None:
    """A perfect pair of counters in lines of 25 characters: turned round as a whole, a 25th of all shifts fits."""
    counters = np.tile(np.arange(25), 80).astype(np.float32)[None] + np.zeros((1, 1), np.float32)
    assert np.quantile(by_chance(counters, counters, 300, np.random.default_rng(3)), 0.95) < 0.8


def test_activations_are_taken_at_places_of_both_halves() -> None:
    """One place from each cell; the values are those of the whole record there."""
    random = np.random.default_rng(4)
    places = [draw_places(begin, begin + 700, 90, random) for begin in (100, 800)]
    for begin, chosen in zip((100, 800), places, strict=True):
        assert ((chosen - begin) * 90 // 700 - np.arange(90)).max() <= 0
        assert (np.diff(chosen) > 0).all()
        assert begin <= chosen[0] <= chosen[-1] < begin + 700
    assert draw_places(5, 9, 4, random).tolist() == [5, 6, 7, 8]
    engine, done = Network(CONFIG, planted_arrays()), list[int]()
    taken = take(engine, IDS[:1500], places, done.append)
    for part in ((1, "h"), (1, "c"), (1, "f")):
        whole = np.concatenate([block[part] for block in record(engine, IDS[:1500], [part])])
        row = taken.units.index(Unit(*part, 7))
        np.testing.assert_array_equal(taken.first[row], whole[places[0], 7])
        np.testing.assert_array_equal(taken.second[row], whole[places[1], 7])
    assert done[-1] == 1500


# Models.


def test_every_unit_of_a_permuted_copy_comes_back() -> None:
    """With r = 1, or -1 where its sign was turned; so does what was found. (Of the planted unit, h is as good as c.)"""
    found = _sought(_other(Network(CONFIG, _copy(planted_arrays())), "copy"))
    assert found.runs == ["copy"]
    assert [str(unit) for unit in found.states] == [f"L1.{kind}{index}" for kind in "hc" for index in range(H)]
    back = {int(old): new for new, old in enumerate(ORDER)}
    for unit, partner, r in zip(found.states, found.partners[0], found.r[0], strict=True):
        assert partner.index == back[unit.index]
        assert partner.kind == unit.kind or unit.index == PLANTED
        assert r == pytest.approx(FLIPPED[partner.index], abs=1e-6)
    one = next(each for each in found.recurring if each.finding.label == INSIDE)
    assert one.finding.unit.index == PLANTED
    assert (one.back, one.known, one.verdict) == (1, 1, "of the task")
    (there,) = one.returns
    assert there.unit.index == back[PLANTED]
    assert abs(there.effect) == pytest.approx(abs(one.finding.effect), abs=0.05)
    assert there.known_to.index == back[PLANTED]
    assert there.chance < 0.5
    row = found.states.index(one.finding.unit)
    assert found.comes_back[0, row]
    assert there.untrained == found.untrained[0, row]
    assert found.universal >= 1


def test_the_units_of_an_untrained_model_do_not_come_back() -> None:
    """Nor does the planted unit in a model that has learned nothing, and none of that model's own in another one."""
    found = _sought(_other(_untrained(1)), _other(_untrained(2), "third"))
    one = next(each for each in found.recurring if each.finding.label == INSIDE)
    assert (one.back, one.known, one.verdict) == (0, 0, "of the run")
    assert (found.universal, found.in_some) == (0, 0)
    novice = _untrained(3)
    atlas = make_atlas(novice, _untrained(4), IDS, LABELS)
    found = recurrence(novice, IDS, atlas, LABELS, [_other(_untrained(5))], samples=2000)
    assert found.recurring == []
    assert not found.comes_back.any()


def test_a_unit_that_comes_back_in_one_of_two() -> None:
    """In the copy, and not in the untrained model; in models of another cell and size units are sought as well."""
    gru = ModelConfig(cell="gru", num_layers=2, hidden_size=7, embedding_size=5)
    found = _sought(_other(Network(CONFIG, _copy(planted_arrays())), "copy"), _other(_untrained(2, gru), "gru"))
    one = next(each for each in found.recurring if each.finding.label == INSIDE)
    assert [each.comes_back for each in one.returns] == [True, False]
    assert (one.back, one.verdict) == (1, "in some")
    assert found.universal == 0
    assert found.in_some >= 1
    assert {unit.kind for unit in found.partners[1]} <= set("hrzn")
    row = found.states.index(one.finding.unit)
    assert [each.unit for each in one.returns] == [found.partners[0][row], found.partners[1][row]]


def test_the_rule_is_that_of_the_docstring() -> None:
    """|r| exceeds the untrained partner's by a half, and is above the chance that 95 of 100 shifts stay below."""
    engine, copy = Network(CONFIG, planted_arrays()), Network(CONFIG, _copy(planted_arrays()))
    found = _sought(_other(copy), samples=600)
    exceeds = np.abs(found.r[0]) - np.abs(found.untrained[0]) >= 0.5
    assert (found.comes_back[0] <= exceeds).all()
    assert 0 < exceeds.sum() < len(exceeds)
    (one,) = recurrence(engine, IDS, _atlas(), LABELS, [Other("x", copy, copy, IDS)]).recurring
    assert one.returns[0].r == one.returns[0].untrained  # the untrained model knows as much
    assert one.verdict == "of the run"
    assert one.known == 1


def test_an_untrained_model_of_several_runs_is_read_once() -> None:
    """Progress tells how many characters are read, and ends with all of them."""
    told: list[tuple[int, int]] = []
    engine, novice = Network(CONFIG, planted_arrays()), _untrained(8)
    others = [Other(str(seed), _untrained(seed), novice, IDS) for seed in range(3)]
    recurrence(engine, IDS, _atlas(), LABELS, others, samples=50, report=lambda _, *read: told.append(read))
    assert told == sorted(told)
    assert told[-1] == (5 * len(IDS), 5 * len(IDS))


def test_memory_follows_the_largest_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tight limit takes fewer places, and says the same."""
    monkeypatch.setattr(module, "_MOST_BYTES", 8 * 6 * H * 300)
    sizes: list[int] = []
    wrapped = module.take

    def counted(*given: Any) -> Any:
        taken = wrapped(*given)
        sizes.append(taken.first.shape[1])
        return taken

    monkeypatch.setattr(module, "take", counted)
    found = _sought(_other(Network(CONFIG, _copy(planted_arrays()))))
    assert sizes == [300] * 3
    assert next(each for each in found.recurring if each.finding.label == INSIDE).back == 1


@pytest.mark.slow
@pytest.mark.parametrize("task", ["quotes", "recall"])
def test_what_was_planted_comes_back_in_models_of_other_seeds(task: str, tmp_path: Path) -> None:
    """Three trained models of a task: the unit for it comes back in both others, and in no untrained one."""
    first, *rest = (learn(TASKS[task], tmp_path / str(seed), 2, seed) for seed in (3, 4, 5))

    def other(name: str, parameters: Any) -> Other:
        config = first.checkpoint.model
        novice = make_engine(config, untrained_arrays(config, len(first.checkpoint.vocabulary), seed=8))
        return Other(name, make_engine(config, parameters), novice, first.ids)

    trained = [other(str(number), one.checkpoint.parameters) for number, one in enumerate(rest)]
    drawn = untrained_arrays(first.checkpoint.model, len(first.checkpoint.vocabulary), seed=6)
    engine = make_engine(first.checkpoint.model, first.checkpoint.parameters)
    found = recurrence(engine, first.ids, first.found, first.labels, [*trained, other("untrained", drawn)])
    one = next(each for each in found.recurring if each.finding.label == TASKS[task].label)
    assert [each.comes_back for each in one.returns] == [True, True, False]
    assert [each.is_known for each in one.returns] == [True, True, False]
    assert not any(each.returns[2].comes_back for each in found.recurring)


# The command.


@pytest.fixture
def inspect(command: Command) -> Callable[..., Any]:
    """Runs `charrnn inspect` beside a text and three runs: the hand-built network, its copy, and an untrained one."""
    model = replace(tiny(), model=CONFIG, vocabulary=VOCABULARY)
    arrays = {"one": planted_arrays(), "copy": _copy(planted_arrays()), "new": untrained_arrays(CONFIG, V, seed=1)}
    for name, parameters in arrays.items():
        run = Path("checkpoints", name, "best.safetensors")
        run.parent.mkdir(parents=True)
        checkpoints.save(run, replace(model, parameters=parameters))
    Path("text.txt").write_text(TEXT, "utf-8")
    return functools.partial(command, "inspect")


ALL = ["-c", "checkpoints/one", "-c", "checkpoints/copy", "-c", "checkpoints/new"]


def test_every_form_says_the_same(inspect: Callable[..., Any]) -> None:
    """The terminal, JSON, a page and arrays, of one measurement."""
    status, out, _ = inspect("text.txt", "--recurrence", *ALL)
    assert status == 0
    row = next(line for line in out.splitlines() if line.startswith(INSIDE))
    assert row.split()[-8:] == ["1", "of", "2", "1", "of", "2", "in", "some"]
    status, out, _ = inspect("text.txt", "--recurrence", *ALL, "--json", "--html", "a.html", "--npz", "a.npz")
    assert status == 0
    numbers = json.loads(out)
    assert numbers["characters"] == len(TEXT)
    assert [each["run"] for each in numbers["others"]] == ["copy", "new"]
    one = next(each for each in numbers["findings"] if each["label"] == INSIDE)
    assert (one["back"], one["known"], one["verdict"]) == (1, 1, "in some")
    assert [each["comes_back"] for each in one["returns"]] == [True, False]
    assert "vowel" in numbers["not_found"]
    page = Path("a.html").read_text("utf-8")
    assert one["returns"][0]["unit"] in page
    arrays = np.load("a.npz")
    assert arrays["r"].shape == arrays["partners"].shape == (2, numbers["states"]["units"])
    assert int(arrays["comes_back"].all(0).sum()) == numbers["states"]["universal"]
    place = arrays["states"].tolist().index(one["unit"])
    assert arrays["partners"][:, place].tolist() == [each["unit"] for each in one["returns"]]
    assert arrays["r"][:, place].tolist() == [each["r"] for each in one["returns"]]
    told = dict(zip(zip(arrays["returns.label"], arrays["returns.run"], strict=True), arrays["returns.r"], strict=True))
    assert told[INSIDE, "copy"] == one["returns"][0]["r"]


def test_labels_of_ones_own_are_sought(inspect: Callable[..., Any]) -> None:
    """Those of --label are found and sought like the others."""
    _, out, _ = inspect("text.txt", "--recurrence", *ALL[:4], "--label", "said=“[^”]+", "--json")
    one = next(each for each in json.loads(out)["findings"] if each["label"] == "said")
    assert one["verdict"] == "of the task"


def test_tables_fit_their_terminals() -> None:
    """At 40 columns, too."""
    found = _sought(_other(Network(CONFIG, _copy(planted_arrays())), "copy"), _other(_untrained(1), "new"))
    for width in (40, 80, 120):
        console = Console(
            width=width, file=io.StringIO(), color_system=None, highlight=False, markup=False, emoji=False
        )
        for piece in spaced(pieces(found, "one", len(TEXT))):
            console.print(piece, crop=False)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(cell_len, shown.splitlines())) <= width
        assert "in some" in shown
    nothing = replace(found, recurring=[])
    first, *_ = pieces(nothing, "one", len(TEXT))
    assert "so none was sought in 2 other runs" in str(first)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["text.txt", "--recurrence"], 2, "0 runs are named"),
        (["text.txt", "--recurrence", *ALL[:2]], 2, "1 run is named"),
        (["text.txt", "--recurrence", *ALL[:2], *ALL[:2]], 2, "1 run is named"),
        (["text.txt", "--recurrence", *ALL[:2], "-c", "checkpoints/one/best.safetensors"], 2, "is named twice"),
        (["text.txt", "--recurrence", *ALL, "--length", "150"], 3, "too few to choose"),
        (["text.txt", "--recurrence", *ALL[:4], "-c", "checkpoints/none"], 4, "checkpoints/none"),
        (["text.txt", "--recurrence", *ALL, "--unit", "L1.h0"], 2, "--recurrence looks at all units"),
        (["text.txt", "--recurrence", *ALL, "--find"], 2, "--find and --recurrence are pictures"),
        (["--recurrence", *ALL], 2, "needs a text"),
        (["text.txt", "--find", *ALL], 2, "3 runs are named, and what is asked"),
        (["text.txt", "--recurrence", *ALL, "--follow"], 2, "--follow draws"),
        (["checkpoints", "--recurrence"], 2, "checkpoints is a folder of runs"),
    ],
)  # fmt: skip
def test_what_recurrence_cannot_do_is_said(
    inspect: Callable[..., Any], arguments: list[str], status: int, said: str
) -> None:
    """In one sentence with the right status, and nothing on stdout."""
    found, out, err = inspect(*arguments)
    assert (found, out) == (status, ""), err
    assert said in err.replace("\n", " ")


def test_runs_must_read_the_same_characters(inspect: Callable[..., Any]) -> None:
    """A run of bytes reads two or three where another reads a quote."""
    run = Path("checkpoints/bytes/best.safetensors")
    run.parent.mkdir(parents=True)
    checkpoints.save(run, tiny(as_bytes=True))
    found, out, err = inspect("text.txt", "--recurrence", *ALL[:2], "-c", "checkpoints/bytes")
    assert (found, out) == (3, "")
    assert "do not read the same characters of text.txt" in " ".join(err.split())
