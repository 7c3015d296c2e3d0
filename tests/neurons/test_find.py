"""The atlas of units: what was planted is found, what is not there is not, and memory does not depend on the text."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from rich.console import Console
from sklearn.metrics import f1_score

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.display.find import pieces
from charrnn.display.report import spaced
from charrnn.inference.make_engine import make_engine
from charrnn.inference.reference import Network
from charrnn.network.model import CharacterModel
from charrnn.neurons import find as atlas_module
from charrnn.neurons.find import Atlas, Finding, Scores, make_atlas
from charrnn.neurons.labels import Label, labels_of
from charrnn.neurons.record import Unit, record
from charrnn.neurons.sparse_probe import KCurve
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig
from charrnn.text.vocabulary import Vocabulary
from tests.kit.quotes import quote_cell, quoted_words
from tests.kit.tiny import tiny

H = 20
PLANTED = 17
INSIDE = "inside “quotes”"


TEXT = quoted_words(12_000)
VOCABULARY = Vocabulary.of(TEXT)
IDS = VOCABULARY.encode(TEXT)
CONFIG = ModelConfig(cell="lstm", num_layers=1, hidden_size=H, embedding_size=len(VOCABULARY))


def _planted() -> Network:
    """See `_arrays`."""
    return Network(CONFIG, _arrays())


def _arrays() -> dict[str, npt.NDArray[np.float32]]:
    """An lstm whose cell 17 is set by an opening quote, cleared by a closing one, and kept in between."""
    return quote_cell(CONFIG, VOCABULARY, PLANTED)


def _novice(seed: int = 8) -> Network:
    return Network(CONFIG, untrained_arrays(CONFIG, len(VOCABULARY), seed=seed))


def test_the_planted_unit_is_found_and_named() -> None:
    """First of all findings, with an AUC above 0.95 on the half that did not choose it, beyond both comparisons."""
    found = make_atlas(_planted(), _novice(), IDS, labels_of(TEXT))
    best = next(finding for finding in found.findings if finding.label == INSIDE)
    assert best.unit.index == PLANTED
    assert best.unit.kind in "hc"
    assert (1 + best.effect) / 2 > 0.95
    assert best.low <= best.effect <= best.high
    assert best.is_found
    assert best.verdict == "found"
    assert abs(best.from_characters) < 0.8
    assert abs(best.untrained) < 0.8
    assert "inside a URL" in found.too_rare
    assert found.units == 6 * H
    assert 0 < found.beyond_characters <= found.strong


def test_the_planted_unit_alone_is_enough_and_its_threshold_divides_its_values() -> None:
    """k is 1, and the first unit of the curve is the planted one, which scores what the atlas says of it where that is
    no gate. F1 is scikit-learn's of the values that are at the threshold or beyond it."""
    found = make_atlas(_planted(), _novice(), IDS, labels_of(TEXT))
    best = next(finding for finding in found.findings if finding.label == INSIDE)
    assert best.curve.k == 1
    assert best.curve.first[0] == best.unit
    assert best.curve.counts == (1, 2, 4, 8, 16, 32, 2 * H)
    assert best.curve.scores[0] == pytest.approx(best.effect, abs=1e-9)
    values = np.concatenate([taken[best.unit.part][:, PLANTED] for taken in record(_planted(), IDS, [best.unit.part])])
    half = len(IDS) // 2  # all of it is sampled
    truth = next(label for label in labels_of(TEXT) if label.name == INSIDE).values > 0
    assert best.threshold is not None
    says = (values >= best.threshold) == best.is_above
    assert best.f1 == pytest.approx(f1_score(truth[half:], says[half:]), abs=1e-9)
    assert best.f1 > 0.9
    graded = next(finding for finding in found.findings if finding.is_graded)
    assert (graded.f1, graded.threshold, graded.is_above) == (None, None, None)


def test_labels_of_another_text_are_not_found() -> None:
    """Shuffled in long blocks they keep their own correlations and lose every relation to the text."""
    random = np.random.default_rng(1)
    labels = []
    for label in labels_of(TEXT):
        blocks = np.array_split(label.values, 100)
        labels.append(replace(label, values=np.concatenate([blocks[n] for n in random.permutation(100)])))
    found = make_atlas(_planted(), _novice(), IDS, labels)
    assert len(found.findings) > 5
    assert not any(finding.is_found for finding in found.findings)
    assert sum(finding.is_discovery for finding in found.findings) <= 1


def test_an_untrained_model_knows_nothing_beyond_itself() -> None:
    """Its units answer to single characters, as any random features do; none is called a finding."""
    found = make_atlas(_novice(1), _novice(2), IDS, labels_of(TEXT))
    assert not any(finding.is_found for finding in found.findings)
    assert found.beyond_characters == 0


def test_what_the_last_characters_tell_is_said() -> None:
    """A label that is a function of them is predicted perfectly, one that needs a longer memory is not."""
    letters = np.array(list(TEXT))
    after_ab = np.zeros(len(TEXT), np.float32)
    after_ab[1:] = (letters[:-1] == "a") & (letters[1:] == "b")
    labels = [Label("after ab", after_ab), next(label for label in labels_of(TEXT) if label.name == INSIDE)]
    found = {finding.label: finding for finding in make_atlas(_planted(), _novice(), IDS, labels).findings}
    assert found["after ab"].from_characters == pytest.approx(1.0)
    assert not found["after ab"].is_found
    assert abs(found[INSIDE].from_characters) < 0.9


def test_any_engine_and_any_number_of_samples_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy's reference and the engine that inspect uses agree; a tight limit on memory takes fewer places."""
    labels, planted = labels_of(TEXT), _planted()
    reference = make_atlas(planted, _novice(), IDS, labels, samples=900)
    novice = make_engine(CONFIG, untrained_arrays(CONFIG, len(VOCABULARY), seed=8))
    other = make_atlas(make_engine(CONFIG, _arrays()), novice, IDS, labels, samples=900)
    one, two = ([(f.label, f.unit) for f in each.findings if f.is_found] for each in (reference, other))
    assert one == two
    monkeypatch.setattr(atlas_module, "_MOST_BYTES", 4 * 6 * H * 700)
    small = make_atlas(planted, _novice(), IDS, labels)
    assert any(finding.label == INSIDE and finding.is_found for finding in small.findings)


def test_what_lies_before_the_start_is_read_and_not_asked_about() -> None:
    """A beginning that would mislead changes no share; a quote opened in it is still known to be open."""
    before = "“" + "a" * 400
    text = before + "b" * 60 + "”" + TEXT
    ids = np.concatenate((VOCABULARY.encode(before + "b" * 60 + "”"), IDS))
    labels = labels_of(text)
    found = make_atlas(_planted(), _novice(), ids, labels, start=len(before))
    best = next(finding for finding in found.findings if finding.label == INSIDE)
    assert best.unit.index == PLANTED
    second = len(before) + (len(text) - len(before)) // 2
    truth = next(label for label in labels if label.name == INSIDE).values[second:].mean()
    assert best.share == pytest.approx(float(truth))
    assert best.is_found


class _Counter:
    """An engine of whose units one counts the characters since the line feed; the others make noise."""

    config = CONFIG

    def zero_state(self, lanes: int = 1) -> int:
        return 0

    def record(self, ids: npt.ArrayLike, state: int) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
        taken = np.asarray(ids)
        random = np.random.default_rng([len(taken), state])
        values = {kind: random.random((len(taken), 1, H), np.float32) for kind in "hcifgo"}
        (line_feed,) = VOCABULARY.encode("\n")
        for place, id_ in enumerate(taken):
            state = 0 if id_ == line_feed else state + 1
            values["h"][place, 0, PLANTED] = state / 100
        return values, state


def test_lines_of_equal_length_are_no_chance() -> None:
    """Shifted by whole lines their labels are what they were, and would score as the labels themselves do."""
    letters = np.random.default_rng(6).choice(list("abcde"), (480, 24))
    text = "".join("".join(line) + "\n" for line in letters)
    labels = [label for label in labels_of(text) if label.name in ("position in the line", "next is a line end")]
    found = make_atlas(_Counter(), _novice(), VOCABULARY.encode(text), labels)
    assert len(found.findings) == 2
    for finding in found.findings:
        assert finding.unit == Unit(1, "h", PLANTED)
        assert finding.p_value < 0.02
        assert finding.is_found


def test_untrained_weights_have_every_name_and_shape() -> None:
    """For each cell; the same seed draws the same."""
    for cell in ("lstm", "gru", "rnn"):
        config = ModelConfig(cell=cell, num_layers=2, hidden_size=7, embedding_size=5)  # type: ignore[arg-type]
        arrays = untrained_arrays(config, 9, seed=4)
        assert {name: array.shape for name, array in arrays.items()} == parameter_shapes(config, 9)
        again = untrained_arrays(config, 9, seed=4)
        assert all((array == again[name]).all() for name, array in arrays.items())


CURVE = KCurve((1, 2, 20), (0.78, 0.95, 0.99), (Unit(12, "c", 9), Unit(12, "h", 1)), 0.97, 1.0, 0.001, is_told=True)


def test_the_verdicts_say_why() -> None:
    """Each by the first reason that holds, of a finding that would be one but for it."""
    good = Finding(
        label="a", is_graded=False, share=0.1, unit=Unit(1, "c", 3), effect=-0.9, low=-0.95, high=-0.8, p_value=0.005,
        is_discovery=True, from_characters=0.3, untrained=-0.4, stretches=900, curve=CURVE,
    )  # fmt: skip
    assert good.verdict == "found"
    for change, verdict in (
        ({"is_discovery": False}, "chance"),
        ({"from_characters": -0.91}, "characters"),
        ({"untrained": 0.92}, "new net"),
        ({"from_characters": 0.85}, "weak"),  # within the interval
        ({"effect": -0.6, "low": -0.7, "high": -0.45}, "weak"),  # too little
        ({"low": -0.95, "high": 0.1}, "weak"),
        ({"low": None, "high": None, "p_value": None, "is_discovery": False, "stretches": 9}, "too slow"),
    ):
        assert replace(good, **change).verdict == verdict  # type: ignore[arg-type]


def test_the_table_fits_and_nothing_in_it_drives_the_terminal() -> None:
    """At 80 columns, with AUCs turned upright, rho signed, and a label of the user's shown and not sent."""
    unit = Unit(12, "c", 1023)
    found = [
        Finding(
            "speaker's name on its line",
            False,
            0.1,
            unit,
            -0.99,
            -1.0,
            -0.98,
            0.005,
            True,
            0.3,
            -0.4,
            900,
            CURVE,
            f1=0.87,
            threshold=0.1,
            is_above=False,
        ),
        Finding("x\x1b[31m‮", True, 40.0, unit, -0.7, -0.75, -0.6, 0.005, True, 0.9, 0.1, 900, CURVE),
        Finding(
            "chapter",
            False,
            0.5,
            unit,
            0.7,
            None,
            None,
            None,
            False,
            0.2,
            0.1,
            5,
            replace(CURVE, is_told=False),
            1_300_000,
            f1=0.6,
            threshold=0.1,
            is_above=True,
        ),
    ]
    nothing = Scores([], [], np.zeros((0, 0)), np.zeros((0, 0)))
    console = Console(width=80, file=io.StringIO(), color_system=None)
    for piece in spaced(pieces(Atlas(found, ["digit\x07"], 6144, 300, 40, nothing), 200_000)):
        console.print(piece)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    assert "‮" not in shown
    assert "\x07" not in shown
    rows = [line.split() for line in shown.splitlines()]  # of which the labels may wrap
    assert ["-L12.c1023", ".995", ".990", "1.00", ".870", "2", ".650", ".700", "found"] in [row[-9:] for row in rows]
    assert ["L12.c1023", "ρ-.700", "-.750", "-.600", "2", ".900", ".100", "characters"] in [row[-8:] for row in rows]
    assert ["L12.c1023", ".850", "?", ".600", ".600", ".550", "too", "slow"] in [row[-8:] for row in rows]
    assert "1 label is too slow for this text" in shown
    assert "chapter (1,300,000)." in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    assert "5,844 (95%)" in shown


RUN = Path("checkpoints/tiny/best.safetensors")


@pytest.fixture
def inspect(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `charrnn inspect` with a tiny network beside a text of its characters."""
    RUN.parent.mkdir(parents=True)
    checkpoints.save(RUN, tiny())
    random = np.random.default_rng(2)
    Path("text.txt").write_text("".join(random.choice(list("\n abcdefgh"), 900)), "utf-8")
    Path("labels.txt").write_text("# mine\nab=ab\n\nlong = x{3}[a-c]+\n", "utf-8")
    return functools.partial(command, "inspect")


def test_find_from_the_command_line(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """A table; the numbers as JSON, own labels of options and of a file included."""
    status, out, _ = inspect("text.txt", "--find")
    assert status == 0
    assert "position in the line" in out
    assert "too rare in this text to say" in out
    status, out, _ = inspect(
        "text.txt", "--find", "--json", "--label", "cd=cd", "--label-file", "labels.txt", "-n", "800"
    )
    numbers = json.loads(out)
    assert numbers["characters"] == 800
    labels = {finding["label"] for finding in numbers["findings"]}
    assert {"ab", "cd"} <= labels | set(numbers["too_rare"])
    assert "long" in numbers["too_rare"]
    assert {"unit", "effect", "low", "high", "p_value", "verdict", "from_characters", "untrained"} <= set(
        numbers["findings"][0]
    )


def test_every_output_has_f1_and_the_curves(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """The table has two columns, JSON the fields, NPZ the same as arrays, a page the curves of what is told."""
    _, out, _ = inspect("text.txt", "--find", "--json", "--npz", "a.npz", "--html", "page.html")
    body, arrays = json.loads(out), np.load("a.npz")
    findings, counts = body["findings"], body["curve_units"]
    assert counts[:3] == [1, 2, 4]
    assert arrays["curve_units"].tolist() == counts
    for place, finding in enumerate(findings):
        assert len(finding["curve"]) == len(counts)
        assert finding["curve"][-1] == finding["dense"]
        assert arrays["findings.curve"][place].tolist() == finding["curve"]
        assert arrays["findings.first_units"][place].tolist() == finding["first_units"]
        for name in ("f1", "threshold", "k", "dense_low", "dense_high", "dense_p_value"):
            expected = np.nan if finding[name] is None else finding[name]
            np.testing.assert_array_equal(arrays[f"findings.{name}"][place], expected)
    told = [finding for finding in findings if finding["k"]]
    assert told
    page = Path("page.html").read_text("utf-8")
    assert "How few units tell it" in page
    assert f"all {counts[-1]}" in page
    _, shown, _ = inspect("text.txt", "--find")
    heading, *rows = shown.splitlines()
    assert heading.split()[:6] == ["label", "unit", "tells", "95", "%", "F1"]
    for finding in told:
        (row,) = (row for row in rows if row.startswith(finding["label"] + " "))
        assert str(finding["k"]) in row.split()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["text.txt", "--find", "--gates"], 2, "--gates and --find are pictures of their own"),
        (["text.txt", "--find", "--unit", "L1.h0"], 2, "--find looks at all units"),
        (["text.txt", "--find", "--card"], 2, "--find and --card are pictures of their own"),
        (["text.txt", "--card"], 2, "--card needs a unit"),
        (["text.txt", "--label", "a=b"], 2, "--label and --label-file are for --find"),
        (["--find"], 2, "needs a text"),
        (["text.txt", "--find", "--label", "a"], 2, "a label is 'a'"),
        (["text.txt", "--find", "--label", "a=("], 2, "the label 'a' has no valid pattern"),
        (["text.txt", "--find", "--label", "a=b", "--label", "a=c"], 2, "two labels have the same name"),
        (["text.txt", "--find", "--label", "digit=[0-9]"], 2, "there is a label called 'digit' already"),
        (["text.txt", "--find", "--label-file", "none.txt"], 2, "none.txt"),
        (["text.txt", "--find", "--label-file", "latin.txt"], 3, "the labels in latin.txt are not UTF-8"),
        (["text.txt", "--find", "-n", "150"], 3, "the text has 150 characters, too few"),
    ],
)  # fmt: skip
def test_what_find_cannot_do_is_said(
    inspect: Callable[..., tuple[int, str, str]], arguments: list[str], status: int, said: str
) -> None:
    """In one sentence with the right status, and nothing on stdout."""
    Path("latin.txt").write_bytes(b"caf\xe9=x")
    found, out, err = inspect(*arguments)
    assert (found, out) == (status, "")
    assert said in err


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_untrained_weights_are_drawn_as_training_draws_them(cell: str) -> None:
    """Each array against the model's own: the same constants, or the same bounds and spread."""
    config = ModelConfig(cell=cell, num_layers=2, hidden_size=60, embedding_size=50, forget_bias=1.5)  # type: ignore[arg-type]
    model = CharacterModel(config, 70)
    model.initialise(torch.Generator().manual_seed(0))
    theirs, ours = model.numpy_arrays(), untrained_arrays(config, 70)
    for name, array in ours.items():
        if name.startswith("layers.") and "bias" in name:
            np.testing.assert_array_equal(array, theirs[name])
        else:
            assert array.std() == pytest.approx(theirs[name].std(), rel=0.25 if array.size < 100 else 0.05)
            if name != "embedding":
                assert np.abs(array).max() <= 60**-0.5


def test_one_label_among_a_hundred_can_be_a_discovery() -> None:
    """The smallest p that shifts can give is small enough for it, however many labels mean nothing."""
    random, mine = np.random.default_rng(3), next(label for label in labels_of(TEXT) if label.name == INSIDE)
    labels = [mine]
    for number in range(99):
        blocks = np.array_split(mine.values, 40 + number)
        labels.append(Label(f"{number}", np.concatenate([blocks[n] for n in random.permutation(len(blocks))])))
    found = make_atlas(_planted(), _novice(), IDS, labels, samples=1500)
    assert found.findings[0].label == INSIDE
    assert 1 / 20_001 <= (found.findings[0].p_value or 1) < 0.05 / 100
    assert [finding.label for finding in found.findings if finding.is_found] == [INSIDE]


class _Slow:
    """An engine of whose units the first knows every label; it reads its values from an array."""

    config = ModelConfig(cell="rnn", num_layers=1, hidden_size=3, embedding_size=2)

    def __init__(self, values: npt.NDArray[np.float64]) -> None:
        self._values = np.tanh(values).astype(np.float32)

    def zero_state(self, lanes: int = 1) -> int:
        return 0

    def record(self, ids: npt.ArrayLike, state: int) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
        end = state + len(np.asarray(ids))
        return {"h": self._values[state:end, None]}, end


def test_what_is_too_slow_for_the_text_is_said_and_not_found() -> None:
    """Although a unit knows it perfectly: a label that turns every thousand characters of twelve thousand. One that
    turns every thirty characters is found, by as good a unit, and the slow one does not count among the tests."""
    random = np.random.default_rng(4)

    def turning(mean: int) -> npt.NDArray[np.float64]:
        return np.cumsum(random.random(12_000) < 1 / mean) % 2

    slow, fast = turning(1000), turning(30)
    units = np.stack([slow, fast, random.random(12_000)], 1) * 2 - 1 + random.normal(0, 0.3, (12_000, 3))
    labels = [Label("slow", slow.astype(np.float32)), Label("fast", fast.astype(np.float32))]
    ids = random.integers(0, 5, 12_000)
    found = {each.label: each for each in make_atlas(_Slow(units), _Slow(units[::-1]), ids, labels).findings}
    assert found["slow"].verdict == "too slow"
    assert abs(found["slow"].effect) > 0.9
    assert (found["slow"].low, found["slow"].high, found["slow"].p_value) == (None, None, None)
    assert not found["slow"].is_found
    assert not found["slow"].is_discovery
    assert found["slow"].stretches < 32
    assert 12_000 < (found["slow"].enough or 0) < 400_000
    assert found["fast"].is_found
    assert found["fast"].enough is None


def test_a_model_that_never_moves_tells_nothing() -> None:
    """Its rank correlations are not numbers: they are 0, no discoveries, and valid JSON."""
    arrays = {name: np.zeros(array.shape, np.float32) for name, array in _arrays().items()}
    atlas = make_atlas(Network(CONFIG, arrays), _planted(), IDS[:4000], labels_of(TEXT[:4000]))
    assert any(finding.is_graded for finding in atlas.findings)
    for finding in atlas.findings:
        assert (finding.effect, finding.low, finding.high, finding.p_value) == (0, 0, 0, 1)
        assert not finding.is_discovery
