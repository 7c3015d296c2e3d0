"""The probe: what one unit holds is told by that unit, what nothing holds is not told, and comparisons are fair."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli.probe import choose
from charrnn.display.probe import pieces
from charrnn.display.report import spaced
from charrnn.errors import CheckpointError, TextError, UsageError
from charrnn.inference.reference import Network
from charrnn.neurons.labels import Label, labels_of
from charrnn.neurons.probe import Probe, ProbeScore, Weight, most_places, probe_text, probe_texts
from charrnn.neurons.record import Unit, record
from charrnn.neurons.states import state_units, states_after, states_in
from charrnn.neurons.untrained import untrained_arrays
from charrnn.settings.config import ModelConfig
from charrnn.text.labelled import read_labelled
from charrnn.text.vocabulary import Vocabulary
from tests.kit.tiny import tiny

H, E = 7, 5
PLANTED = 4
INSIDE = "inside “quotes”"


def _text(characters: int, seed: int = 0) -> str:
    """Words in lines, some of them between quotes of very different lengths; all quotes are closed."""
    random = np.random.default_rng(seed)
    found, inside = "", False
    while len(found) < characters or inside:
        word = "".join(random.choice(list("abcdefgh"), random.integers(1, 8)))
        if random.random() < 0.15:
            word = word + "”" if inside else "“" + word
            inside = not inside
        found += word + ("\n" if random.random() < 0.1 and not inside else " ")
    return found


TEXT = _text(8_000)
VOCABULARY = Vocabulary.of(TEXT)
IDS = VOCABULARY.encode(TEXT)
V = len(VOCABULARY)
CONFIG = ModelConfig(cell="rnn", num_layers=1, hidden_size=H, embedding_size=E)


def _planted() -> Network:
    """An rnn whose unit 4 is thrown by quotes, like a switch, and stays: h = tanh(3 h + input)."""
    arrays = untrained_arrays(CONFIG, V, seed=3)
    opening, closing = (int(VOCABULARY.encode(quote)[0]) for quote in "“”")
    arrays["embedding"][:, 0] = 0
    arrays["embedding"][[opening, closing], 0] = 10, -10
    arrays["layers.1.weight_ih"][PLANTED] = [1, 0, 0, 0, 0]
    arrays["layers.1.weight_hh"][PLANTED] = 3 * np.eye(H)[PLANTED]
    arrays["layers.1.weight_hh"][:PLANTED, PLANTED] = arrays["layers.1.weight_hh"][PLANTED + 1 :, PLANTED] = 0
    return Network(CONFIG, arrays)


def _novice() -> Network:
    return Network(CONFIG, untrained_arrays(CONFIG, V, seed=8))


def _inside() -> Label:
    return next(label for label in labels_of(TEXT) if label.name == INSIDE)


def _baseline(found: Probe, name: str) -> ProbeScore:
    return next(score for score in found.baselines if score.name == name)


def test_the_planted_unit_tells_its_label() -> None:
    """Nearly always right on the test part, with few units of which it is the heaviest, beyond all comparisons."""
    found = probe_text(_planted(), _novice(), IDS, _inside())
    assert found.score.accuracy > 0.99
    assert found.score.auc > 0.99
    assert found.score.low <= found.score.accuracy <= found.score.high
    assert found.score.features is not None
    assert found.score.features <= 3
    assert found.heaviest[0].unit == found.best_unit == Unit(1, "h", PLANTED)
    assert (found.heaviest[0].weight > 0, found.heaviest[0].towards) == (True, "yes")
    assert found.alone.accuracy > 0.99
    assert found.alone.features == 1
    assert all(score.accuracy < 0.9 for score in found.baselines)
    assert 0 < found.low <= found.difference <= found.high
    assert found.difference == pytest.approx(found.score.accuracy - _baseline(found, found.best_baseline).accuracy)
    assert found.units == H
    assert found.parts == (3000, 1500, 1500)
    assert sum(found.shares) == pytest.approx(1)
    assert _baseline(found, "majority").accuracy == pytest.approx(max(found.shares))
    assert _baseline(found, "majority").auc == 0.5


def test_random_labels_are_told_no_better_than_by_the_majority() -> None:
    """Whatever their share: within the interval, or with no weight at all."""
    for seed, share in ((1, 0.3), (2, 0.5), (3, 0.1)):
        values = (np.random.default_rng(seed).random(len(IDS)) < share).astype(np.float32)
        found = probe_text(_planted(), _novice(), IDS, Label("coin", values), seed=seed)
        assert found.low <= 0 <= found.high or found.difference < 0
        assert found.score.low <= _baseline(found, "majority").accuracy <= found.score.high + 0.02


def test_what_the_last_characters_tell_is_said() -> None:
    """A label that is a function of two of them is told without a fault, and the state can be no better."""
    letters = np.array(list(TEXT))
    values = np.zeros(len(TEXT), np.float32)
    values[1:] = np.isin(letters[:-1], list("abcd")) & np.isin(letters[1:], list("efgh"))
    found = probe_text(_planted(), _novice(), IDS, Label("rising", values))
    assert _baseline(found, "last 3 characters").accuracy == 1
    assert found.best_baseline == "last 3 characters"
    assert found.high <= 0


def test_parts_follow_one_another_and_begin_at_the_start() -> None:
    """A label of the last quarter alone is unknown to the first half; what lies before the start has no say."""
    late = np.zeros(len(IDS), np.float32)
    late[len(IDS) * 3 // 4 :: 2] = 1
    with pytest.raises(TextError, match="'late' holds at 0 of 3,000 places of the training part, too few"):
        probe_text(_planted(), _novice(), IDS, Label("late", late))
    values = _inside().values
    wrong = values.copy()
    wrong[:2000] = 1 - wrong[:2000]
    one, two = (probe_text(_planted(), _novice(), IDS, Label("x", each), start=2000) for each in (values, wrong))
    assert one == two
    assert one.score.accuracy > 0.99
    assert one != probe_text(_planted(), _novice(), IDS, Label("x", values), start=2000, seed=1)


def test_states_are_what_record_hands_out() -> None:
    """At places of a text, across blocks; after texts read by themselves; of every layer and kind in order."""
    config = ModelConfig(cell="lstm", num_layers=2, hidden_size=H, embedding_size=E)
    network = Network(config, untrained_arrays(config, V, seed=5))
    units = state_units(config)
    assert list(map(str, units))[:: 2 * H] == ["L1.h0", "L2.h0"]
    assert len(units) == 4 * H
    parts = list(dict.fromkeys(unit.part for unit in units))
    blocks = list(record(network, IDS[:600], parts))
    whole = np.concatenate([np.concatenate([block[part] for part in parts], 1) for block in blocks])
    places = np.array([0, 3, 255, 256, 599])
    told: list[tuple[int, int]] = []
    states = states_in(network, IDS, places, lambda _doing, done, total: told.append((done, total)))
    np.testing.assert_array_equal(states, whole[places])
    assert told[-1] == (600, 600)
    ends = states_after(network, [IDS[:1], IDS[:600], IDS[:4]], lambda *_: None)
    np.testing.assert_array_equal(ends, whole[[0, 599, 3]])


def _texts(count: int, seed: int = 4) -> list[str]:
    """Half of them end within quotes; every one ends in some letters."""
    random = np.random.default_rng(seed)
    texts = []
    for number in range(count):
        text = "a“bc" + "d” e“f" * int(random.integers(0, 3)) + ("” " if number % 2 else "")
        texts.append(text + "".join(random.choice(list("abcdefgh "), random.integers(4, 30))))
    return texts


def test_the_state_at_the_end_tells_a_class() -> None:
    """With the planted unit, of texts that their last characters do not tell; parts are stratified and of one seed."""
    texts = [VOCABULARY.encode(text) for text in _texts(240)]
    labels = ["out" if number % 2 else "in" for number in range(240)]
    found = probe_texts(_planted(), _novice(), texts, labels, vocabulary_size=V, seed=6)
    assert found.classes == ("in", "out")
    assert found.parts == (120, 60, 60)
    assert found.shares == (0.5, 0.5)
    assert found.score.accuracy == 1
    assert found.best_unit == found.heaviest[0].unit == Unit(1, "h", PLANTED)
    assert found.heaviest[0].weight < 0
    assert _baseline(found, "last 3 characters").accuracy < 0.8
    assert _baseline(found, "character counts").accuracy == 1  # quotes that close are as many as those that open
    again = probe_texts(_planted(), _novice(), texts, labels, vocabulary_size=V, seed=6)
    assert found == again


def test_three_classes_are_one_against_the_rest() -> None:
    """The last character's class: a matter of the last characters; the middle class too."""
    random = np.random.default_rng(9)
    ends = random.choice(list("abc"), 300)
    texts = [VOCABULARY.encode("".join(random.choice(list("abcdefgh"), 9)) + str(end)) for end in ends]
    found = probe_texts(_planted(), _novice(), texts, [f"ends in {end}" for end in ends], vocabulary_size=V)
    assert found.classes == ("ends in a", "ends in b", "ends in c")
    assert found.score.accuracy > 0.9
    assert found.score.auc > 0.8  # the class between two others needs no weight of its own
    assert {weight.towards for weight in found.heaviest} <= set(found.classes)
    assert _baseline(found, "last 3 characters").accuracy > 0.95
    assert _baseline(found, "majority").accuracy == pytest.approx(max(found.shares), abs=0.05)


def test_too_few_texts_or_classes_are_refused() -> None:
    """By name and number."""
    texts = [IDS[:5]] * 50
    with pytest.raises(TextError, match="all texts have the label 'a'"):
        probe_texts(_planted(), _novice(), texts, ["a"] * 50, vocabulary_size=V)
    with pytest.raises(TextError, match="19 texts have the label 'b', too few"):
        probe_texts(_planted(), _novice(), texts, ["a"] * 31 + ["b"] * 19, vocabulary_size=V)


def test_weights_that_are_too_large_are_said_to_be() -> None:
    """Not numbers in a state end the probe in a sentence."""
    arrays = untrained_arrays(CONFIG, V)
    arrays["layers.1.weight_ih"][2] = np.nan
    with pytest.raises(CheckpointError, match="the state is not finite"):
        probe_text(Network(CONFIG, arrays), _novice(), IDS, _inside())


def test_memory_depends_on_the_model_only_up_to_a_limit() -> None:
    """A large state is asked at fewer places."""
    assert most_places(CONFIG) == 6000
    wide = ModelConfig(cell="lstm", num_layers=3, hidden_size=4096, embedding_size=E)
    assert 100 < most_places(wide) * 3 * 2 * 4096 * 8 / 2**20 <= 128


LABELS = labels_of("", None)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('inside "quotes"', 'inside "quotes"'),
        ("Inside  “Quotes”", "inside “quotes”"),
        ("inside ()", "inside ( )"),
        ("speakers name on its line", "speaker's name on its line"),
        ('"vowel"', "vowel"),
        ("UPPERCASE", "upper case"),
    ],
)
def test_a_label_is_found_by_something_like_its_name(said: str, name: str) -> None:
    """Whatever its case, spaces and quotes."""
    assert choose(said, LABELS).name == name


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("inside quotes", "several labels are like", "inside “quotes”"),
        ("punctation", "no label called 'punctation'", "punctuation"),
        ("comment", "no label called", "inside a # comment"),
        ("xyzzy", "no label called", "vowel"),
        ("Indentation", "'indentation' is a degree", "holds or not"),
    ],
)
def test_a_label_that_cannot_be_asked_for_is_refused_with_those_that_can(said: str, message: str, hint: str) -> None:
    """Those that are near, or all."""
    with pytest.raises(UsageError, match=message) as refused:
        choose(said, LABELS)
    assert hint in str(refused.value.hint)


def _found(**changes: Any) -> Probe:
    score = ProbeScore("state", 0.99961, 0.9, 1.0, 0.5, 11, 0.25)
    found = Probe(
        classes=("no", "yes"), shares=(0.7, 0.3), parts=(3000, 1500, 1500), units=12_288, score=score, alone=score,
        best_unit=Unit(12, "c", 1023), baselines=(replace(score, name="majority", features=None),),
        best_baseline="majority", difference=0.0314, low=0.01, high=0.05,
        heaviest=tuple(Weight(Unit(12, "c", 1000 + n), -12.345, "yes") for n in range(5)), path=(),
    )  # fmt: skip
    return replace(found, **changes)


def _drawn(found: Probe, asked: str) -> str:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    for piece in spaced(pieces(found, asked, "places")):
        console.print(piece)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_table_fits_and_nothing_in_it_drives_the_terminal() -> None:
    """At 80 columns, with every verdict in words; labels are shown, not sent."""
    shown = _drawn(_found(), "x\x1b[31m‮")
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    assert "‮" not in shown
    assert "100.0 %  90.0 % to 100.0 %  0.500  11 of 12,288" in shown
    flat = " ".join(shown.split())
    assert "is 3.1 points above the best of the others, majority (95 %: +1.0 to +5.0)." in flat
    assert "The state knows more than they tell." in flat
    assert "towards yes, for one standard deviation, are L12.c1000 -12.35" in flat
    assert "no more than chance" in " ".join(_drawn(_found(low=0.0), "x").split())
    assert "The state tells less" in " ".join(_drawn(_found(low=-0.2, high=-0.1), "x").split())
    assert "No unit has a weight" in _drawn(_found(heaviest=()), "x")
    many = tuple(Weight(Unit(1, "h", n), 1.0, "b\x07") for n in range(2))
    shown = _drawn(_found(classes=("a", "b\x07", "c"), heaviest=many), "x")
    assert "L1.h0 +1.00 (b␇)" in " ".join(shown.split())
    assert "3 classes" in shown


RUN = Path("checkpoints/tiny/best.safetensors")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def inspect(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `charrnn inspect` with a tiny network beside texts of its characters."""
    RUN.parent.mkdir(parents=True)
    checkpoints.save(RUN, tiny())
    random = np.random.default_rng(2)
    Path("text.txt").write_text("".join(random.choice(list("\n abcdefgh"), 1500)), "utf-8")
    lines = [
        f"{'good' if n % 2 else 'bad'}\t{''.join(random.choice(list('abcdefgh'), 6))}{'a' if n % 2 else 'b'}"
        for n in range(90)
    ]
    Path("lines.tsv").write_text("﻿" + "\r\n".join(lines) + "\n\n", "utf-8")
    Path("strange.tsv").write_text("\n".join(line + "E?" for line in lines), "utf-8")
    Path("one.tsv").write_text("\n".join(lines[::2]), "utf-8")
    Path("few.tsv").write_text("\n".join(lines[:30]), "utf-8")
    Path("untabbed.tsv").write_text("a\tb\n\nc d\n", "utf-8")
    Path("unlabelled.tsv").write_text("a\tb\n \tc\n", "utf-8")
    Path("empty.tsv").write_text("\n\n", "utf-8")
    Path("textless.tsv").write_text("a\tb\nc\t\n", "utf-8")
    Path("latin.tsv").write_bytes(b"a\tb\na\tcaf\xe9\n")
    Path("swapped.tsv").write_text("\n".join(f"{n} words\tgood" for n in range(60)), "utf-8")
    return functools.partial(command, "inspect")


def test_probe_from_the_command_line(inspect: Run) -> None:
    """A table; the numbers as JSON; an own label."""
    status, out, _ = inspect("text.txt", "--probe", "Vowel")
    assert status == 0
    assert out.startswith("vowel: the probe was trained on 750 places")
    assert "untrained model" in out
    numbers = json.loads(inspect("text.txt", "--probe", "Vowel", "--json", "-n", "1200", "--from", "200")[1])
    assert (numbers["label"], numbers["characters"], numbers["parts"]) == ("vowel", 1200, [600, 300, 300])
    assert numbers["units"] == 16
    assert [score["name"] for score in numbers["baselines"]] == ["untrained model", "last 3 characters", "majority"]
    assert {"unit", "weight", "towards"} == set(numbers["heaviest"][0])
    assert numbers["path"][0]["C"] == 2**-8
    own = ("text.txt", "--probe", "a to c", "--label", "a to c=[a-c]", "--json")
    assert json.loads(inspect(*own)[1])["label"] == "a to c"
    assert inspect(*own)[1] == inspect(*own, "--seed", "0")[1]


def test_probe_file_from_the_command_line(inspect: Run) -> None:
    """A table; the numbers as JSON; characters that the model does not know as `--unknown` says; bytes need no such."""
    status, out, _ = inspect("--probe-file", "lines.tsv")
    assert status == 0
    assert out == inspect("--probe-file", "lines.tsv", "--seed", "0")[1]
    assert out != inspect("--probe-file", "lines.tsv", "--seed", "1")[1]
    assert out.startswith("lines.tsv: the probe was trained on 46 texts")
    numbers = json.loads(inspect("--probe-file", "lines.tsv", "--json")[1])
    assert (numbers["texts"], numbers["classes"]) == (90, ["bad", "good"])
    assert "character counts" in {score["name"] for score in numbers["baselines"]}
    status, out, err = inspect("--probe-file", "strange.tsv")
    assert (status, out) == (3, "")
    assert "'E' U+0045" in err
    assert "(90 times)" in err
    status, out, err = inspect("--probe-file", "strange.tsv", "--unknown", "replace")
    assert status == 3
    assert "'E' U+0045" not in err
    assert inspect("--probe-file", "strange.tsv", "--unknown", "skip")[0] == 0
    checkpoints.save(RUN, tiny(as_bytes=True))
    assert inspect("--probe-file", "strange.tsv")[0] == 0
    assert inspect("text.txt", "--probe", "vowel")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--probe", "vowel"], 2, "--probe needs a text"),
        (["text.txt", "--probe-file", "lines.tsv"], 2, "--probe-file brings its own texts"),
        (["text.txt", "--probe", "vowel", "--find"], 2, "are pictures of their own"),
        (["text.txt", "--probe", "vowel", "--probe-file", "lines.tsv"], 2, "are pictures of their own"),
        (["text.txt", "--probe", "vowel", "--unit", "L1.h0"], 2, "--unit does not go with it"),
        (["text.txt", "--probe", "vowel", "--units", "2"], 2, "--units does not go with it"),
        (["text.txt", "--probe", "vowel", "--guesses", "2"], 2, "--guesses"),
        (["text.txt", "--probe", "vowel", "--lanes", "9"], 2, "--lanes says how to measure --horizon"),
        (["--probe-file", "lines.tsv", "--from", "2"], 2, "--from does not go with it"),
        (["--probe-file", "lines.tsv", "-n", "200"], 2, "--length does not go with it"),
        (["--probe-file", "lines.tsv", "--label", "a=b"], 2, "--label and --label-file are for --find"),
        (["text.txt", "--probe", "owel"], 2, "there is no label called 'owel'"),
        (["text.txt", "--probe", "indentation"], 2, "is a degree"),
        (["text.txt", "--probe", "digit"], 3, "'digit' holds at 0 of 750 places of the training part, too few"),
        (["text.txt", "--probe", "vowel", "-n", "150"], 3, "the text has 150 characters, too few"),
        (["text.txt", "--probe", "vowel", "--from", "1500"], 2, "--from is 1,500"),
        (["--probe-file", "none.tsv"], 2, "none.tsv"),
        (["--probe-file", "one.tsv"], 3, "all texts have the label 'bad'"),
        (["--probe-file", "few.tsv"], 3, "15 texts have the label 'bad', too few"),
        (["--probe-file", "untabbed.tsv"], 3, "untabbed.tsv, line 3: there is no tab"),
        (["--probe-file", "unlabelled.tsv"], 3, "line 2: there is no label"),
        (["--probe-file", "empty.tsv"], 3, "there is nothing in empty.tsv"),
        (["--probe-file", "textless.tsv"], 3, "textless.tsv, line 2: there is no text"),
        (["--probe-file", "latin.tsv"], 3, "latin.tsv, line 2, is not UTF-8"),
        (["--probe-file", "swapped.tsv"], 3, "more than 50 different labels"),
    ],
)
def test_what_probe_cannot_do_is_said(inspect: Run, arguments: list[str], status: int, said: str) -> None:
    """In one sentence with the right status, and nothing on stdout."""
    found, out, err = inspect(*arguments)
    assert (found, out) == (status, "")
    assert said in " ".join(err.split())


def test_of_many_lines_some_are_drawn(tmp_path: Path) -> None:
    """As many as asked for, each as likely as the next, in the file's order, by the seed."""
    file = tmp_path / "many.tsv"
    file.write_text("".join(f"{'ab'[n % 2]}\t{'abcdefgh'[n // 63] * (n % 63 + 1)}\n" for n in range(500)), "utf-8")
    vocabulary = Vocabulary.of("abcdefgh")
    counts = np.zeros(500, np.int64)
    for seed in range(200):
        drawn = read_labelled(file, vocabulary, "error", 50, seed)
        places = [63 * int(text[0]) + len(text) - 1 for text in drawn.texts]
        assert drawn.lines == 500
        assert len(places) == 50
        assert places == sorted(set(places))
        assert drawn.labels == ["ab"[place % 2] for place in places]
        counts[places] += 1
    expected: npt.NDArray[np.int64] = np.full(5, 2000)
    np.testing.assert_allclose(counts.reshape(5, 100).sum(1), expected, rtol=0.1)
    whole = read_labelled(file, vocabulary, "error", 500, 0)
    assert len(whole.texts) == whole.lines == 500
