"""Selecting spans: against plain loops over every value, and a planted unit that is named first and found again."""

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
from charrnn.cli import select as command
from charrnn.display import select as display
from charrnn.display.report import page as page_of
from charrnn.display.select import Marked, pieces
from charrnn.errors import CheckpointError, UsageError
from charrnn.inference.reference import Network
from charrnn.neurons import select as selection
from charrnn.neurons.record import Unit
from charrnn.neurons.select import Match, Selection, elsewhere, find_spans, overlapping, parse_pattern, runs_of, select
from charrnn.settings.config import ModelConfig
from charrnn.text.vocabulary import Vocabulary
from tests.kit.quotes import quote_cell, quoted_words
from tests.kit.tiny import tiny

H, PLANTED = 11, 7


class _Given:
    """An engine whose units do what they are told: values (T, L, H) by kind; its state is how much it has read."""

    def __init__(self, config: ModelConfig, values: dict[str, npt.NDArray[np.float32]]) -> None:
        self.config = config
        self.values = values

    def zero_state(self, lanes: int = 1) -> int:
        return 0

    def record(self, ids: npt.ArrayLike, state: int) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
        end = state + len(np.asarray(ids))
        return {kind: values[state:end] for kind, values in self.values.items()}, end


def _given(cell: str, layers: int, hidden: int, T: int) -> _Given:
    """Random steps that stay for a while, so that there are runs of every length, and are like each other's."""
    random = np.random.default_rng(5)
    common = np.repeat(random.normal(size=T), random.integers(1, 6, T))[:T]
    config = ModelConfig(cell=cell, num_layers=layers, hidden_size=hidden)  # type: ignore[arg-type]
    values = {}
    for kind in "hc" if cell == "lstm" else "h":
        flat = np.stack([
            random.choice([-1, 1]) * common + 0.3 * np.repeat(random.normal(size=T), random.integers(1, 6, T))[:T]
            for _ in range(layers * hidden)
        ], axis=1)  # fmt: skip
        values[kind] = flat.reshape(T, layers, hidden).astype(np.float32)
    return _Given(config, values)


def _on(engine: _Given, threshold: float) -> dict[tuple[Unit, bool], list[bool]]:
    """Whether a unit is high, or low, at each character, asked one by one."""
    answers: dict[tuple[Unit, bool], list[bool]] = {}
    for layer in range(engine.config.num_layers):
        for kind, values in engine.values.items():
            for index in range(engine.config.hidden_size):
                shown = [np.tanh(v) if kind == "c" else v for v in values[:, layer, index]]
                answers[Unit(layer + 1, kind, index), False] = [bool(v >= threshold) for v in shown]
                answers[Unit(layer + 1, kind, index), True] = [bool(v <= -threshold) for v in shown]
    return answers


def _throughout(on: list[bool], begin: int, end: int) -> bool:
    return all(on[begin:end])


def _fits(on: list[bool], begin: int, end: int) -> bool:
    before = begin == 0 or not on[begin - 1] or begin == 1 or not on[begin - 2]
    return _throughout(on, begin, end) and before and (not on[end] or not on[end + 1])


def _runs(on: list[bool]) -> list[tuple[int, int]]:
    found, begin = [], None
    for place, is_on in enumerate([*on, False]):
        if is_on and begin is None:
            begin = place
        if not is_on and begin is not None:
            found.append((begin, place))
            begin = None
    return found


def _tally(on: list[bool], spans: Any, controls: Any, low: int, high: int) -> dict[str, int]:
    runs = _runs(on)
    fitted = [(begin, end) for begin, end in spans if _fits(on, begin, end)]
    return {
        "spans": len(spans),
        "throughout": sum(_throughout(on, *span) for span in spans),
        "fits": len(fitted),
        "runs": sum(begin < high and end > low for begin, end in runs),
        "runs_fit": sum(any(begin <= span[0] < end for span in fitted) for begin, end in runs),
        "controls": len(controls),
        "controls_throughout": sum(_throughout(on, *span) for span in controls),
        "controls_fit": sum(_fits(on, *span) for span in controls),
    }


def _reference(engine: _Given, T: int, spans: Any, threshold: float, start: int) -> tuple[list[Any], list[Match]]:
    """Choices (unit, low, tallies of the halves) and matches, by asking of each unit and place."""
    half = len(spans) // 2
    cut = spans[half][0]
    random = np.random.Generator(np.random.Philox(0))
    array = np.array(spans)
    halves = [
        (spans[:half], elsewhere(array, array[:half], start, cut, random).tolist(), start, cut),
        (spans[half:], elsewhere(array, array[half:], cut, T - 2, random).tolist(), cut, T),
    ]
    answers = _on(engine, threshold)
    best: dict[tuple[int, int], Any] = {}
    for (unit, is_low), on in answers.items():
        first, second = (_tally(on, *one) for one in halves)
        if first["fits"]:
            share, precision = first["fits"] / first["spans"], first["runs_fit"] / first["runs"]
            score = 2 * share * precision / (share + precision)
            if (unit.layer, unit.index) not in best or score > best[unit.layer, unit.index][0]:
                best[unit.layer, unit.index] = (score, unit, is_low, first, second)
    ranked = sorted(best.values(), key=lambda one: (-one[0], one[1]))[:10]
    members = [(one[1], one[2]) for one in ranked if one[0] >= ranked[0][0] / 2]
    cells = {(unit.layer, unit.index) for unit, _ in members}
    places = set()
    shortest = min(2, *(end - begin for begin, end in spans))
    for least in range(1, len(members) + 1):
        if 2 * least >= len(members):
            together = [
                place >= start and sum(answers[member][place] for member in members) >= least for place in range(T)
            ]
            places |= {(begin, end) for begin, end in _runs(together) if end - begin >= shortest and end + 2 <= T}
    scored = []
    for begin, end in places:
        shared = sum(_fits(answers[member], begin, end) for member in members)
        others = sum(
            _fits(on, begin, end) for (unit, _), on in answers.items() if (unit.layer, unit.index) not in cells
        )
        is_selected = any(begin < one[1] and end > one[0] for one in spans)
        if not is_selected and 2 * shared >= len(members):
            scored.append((-shared, others, begin - end, begin, end))
    matches: list[Match] = []
    for minus, others, _, begin, end in sorted(scored):
        if len(matches) < 20 and all(end <= one.start or begin >= one.end for one in matches):
            matches.append(Match(begin, end, -minus, others, -minus / (len(members) + others)))
    return ranked, matches


@pytest.mark.parametrize(
    ("cell", "layers", "hidden", "threshold", "start"),
    [("lstm", 3, 5, 0.3, 0), ("gru", 2, 7, 0.45, 13), ("rnn", 1, 19, 0.2, 0)],
)
def test_everything_is_what_plain_loops_say(cell: str, layers: int, hidden: int, threshold: float, start: int) -> None:
    """Every number of every choice, and every match, for random activations; whatever the blocks."""
    T = 1557
    engine = _given(cell, layers, hidden, T)
    random = np.random.default_rng(3)
    begins = start + 4 + np.cumsum(random.integers(5, 12, 44))
    lengths = random.integers(1, 5, 44)
    spans = list(zip(begins.tolist(), (begins + lengths).tolist(), strict=True))
    ranked, matches = _reference(engine, T, spans, threshold, start)
    ids = np.zeros(T, np.int64)
    found = select(engine, ids, np.array(spans), threshold=threshold, start=start, with_matches=True, block=T)
    assert [(choice.unit, choice.is_low) for choice in found.choices] == [(one[1], one[2]) for one in ranked]
    for choice, (score, _, _, first, second) in zip(found.choices, ranked, strict=True):
        for tally, expected in ((choice.chosen, first), (choice.reported, second)):
            assert {name: getattr(tally, name) for name in expected} == expected
        assert choice.chosen.score == pytest.approx(score)
    assert found.units == layers * hidden * len(engine.values)
    assert len(ranked) > 3
    assert len(matches) > 4
    assert len({(match.shared, match.others) for match in matches}) > 1
    assert any(choice.is_low for choice in found.choices)
    assert found.matches == matches
    small = select(engine, ids, np.array(spans), threshold=threshold, start=start, with_matches=True, block=7)
    assert small == found


def test_runs_begin_and_end_where_they_do() -> None:
    """Of all patterns of nine characters."""
    for number in range(1 << 9):
        on = [bool(number >> place & 1) for place in range(9)]
        assert [tuple(run) for run in runs_of(np.array(on)).tolist()] == _runs(on)


def test_places_elsewhere_are_as_long_and_outside() -> None:
    """Within the bounds and touching no span where there is room; where there is none, at least not the spans."""
    spans = np.array([(10, 13), (20, 29), (40, 41), (60, 77)])
    random = np.random.default_rng(1)
    placed = elsewhere(spans, spans[:3], 5, 90, random)
    assert len(placed) == 2000
    assert placed.min() >= 5
    assert placed.max() <= 90
    assert {3, 9, 1} == set((placed[:, 1] - placed[:, 0]).tolist())
    for begin, end in np.unique(placed, axis=0).tolist():
        assert all(end <= one[0] or begin >= one[1] for one in spans.tolist())
    assert overlapping(np.array([(12, 14), (13, 20), (28, 30), (0, 99)]), spans).tolist() == [True, False, True, True]
    dense = np.array([(begin, begin + 4) for begin in range(0, 80, 5)])
    placed = elsewhere(dense, dense, 0, 80, random)
    assert len(placed) == 2000
    assert not set(placed[:, 0].tolist()) & set(dense[:, 0].tolist())


TEXT = quoted_words(6000)
VOCABULARY = Vocabulary.of(TEXT)
IDS = VOCABULARY.encode(TEXT)
CONFIG = ModelConfig(cell="lstm", num_layers=1, hidden_size=H, embedding_size=len(VOCABULARY))


def _arrays(sign: float = 1.0) -> dict[str, npt.NDArray[np.float32]]:
    """An lstm whose cell 7 is set by an opening quote, cleared by a closing one, and kept in between."""
    return quote_cell(CONFIG, VOCABULARY, PLANTED, inside=sign, outside=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_planted_unit_is_named_first(sign: int) -> None:
    """With its sign, whether the quotes are selected or what is between them; in all spans, nowhere else."""
    for pattern in ("“([^”]*)", "“[^”]*"):
        spans = find_spans(TEXT, parse_pattern(pattern))
        found = select(Network(CONFIG, _arrays(sign)), IDS, spans)
        best = found.choices[0]
        assert (best.unit.layer, best.unit.index, best.is_low) == (1, PLANTED, sign < 0)
        assert str(best).startswith("-L1." if sign < 0 else "L1.")
        tally = best.reported
        assert tally.throughout == tally.fits == tally.spans == len(spans) - len(spans) // 2
        assert tally.precision > 0.9  # the last run has no end
        assert tally.share == 1
        assert tally.base == 0
        assert tally.lift is None
        assert found.matches is None


def test_the_other_quotes_are_found() -> None:
    """Selected are those that begin with a letter up to d; the matches are others, each from a quote to its end."""
    spans = find_spans(TEXT, parse_pattern("“([a-d][^”]*)"))
    found = select(Network(CONFIG, _arrays()), IDS, spans, with_matches=True)
    assert {choice.unit.index for choice in found.together} == {PLANTED}
    assert found.matches is not None
    assert len(found.matches) == 20
    others = find_spans(TEXT, parse_pattern("“[e-h][^”]*"))
    assert {(match.start, match.end) for match in found.matches} <= {tuple(span) for span in others.tolist()}
    assert all(match.overlap == 1 / (1 + match.others) for match in found.matches)


def test_spans_are_what_the_pattern_says() -> None:
    """Group 1 of those that took part, in lines; from a place on, seeing what is before it; none at the end."""
    text = "ab 1\nab 22\ncd 333\nab 4\nx\nab 55\nab 6"
    numbers = find_spans(text, parse_pattern(r"^ab (\d+)"))
    assert [text[begin:end] for begin, end in numbers.tolist()] == ["1", "22", "4", "55"]
    whole = find_spans(text, parse_pattern(r"(?<=ab )\d+|^$"), 3)
    assert [text[begin:end] for begin, end in whole.tolist()] == ["1", "22", "4", "55"]
    either = find_spans(text, parse_pattern(r"(\d)|b"))
    assert [text[begin:end] for begin, end in either.tolist()] == list("122333455")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("z", "selects nothing"), ("()a", "selects nothing"), ("“ab", "fewest to choose"), ("(?=a)", "selects nothing")],
)
def test_too_few_spans_are_refused(pattern: str, said: str) -> None:
    """With what was selected and what to do."""
    with pytest.raises(UsageError, match=said) as caught:
        find_spans(TEXT, parse_pattern(pattern))
    assert "group 1" in str(caught.value.hint)


def test_what_cannot_be_kept_or_computed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text too long to keep, and a unit that is not finite."""
    spans = find_spans(TEXT, parse_pattern("“([^”]*)"))
    broken = _arrays()
    broken["layers.1.bias"][2 * H] = np.nan
    with pytest.raises(CheckpointError, match="not finite"):
        select(Network(CONFIG, broken), IDS, spans)
    monkeypatch.setattr(selection, "_MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="6,000 characters are too many") as caught:
        select(Network(CONFIG, _arrays()), IDS, spans)
    assert caught.value.hint == "give --length 166 or less"  # 2 signs of h and c of 11: 44 bits, so 6 bytes


def _drawn(renderable: Any, width: int, *, colour: bool) -> str:
    file = io.StringIO()
    system: Any = "truecolor" if colour else None
    Console(width=width, file=file, color_system=system, force_terminal=colour).print(renderable)
    return file.getvalue()


def _piece(text: str, match: Match) -> Marked:
    return Marked("there", *display.parts_of(text, match))


def _marked(text: str, match: Match, width: int) -> list[str]:
    heading, *lines = _drawn(_piece(text, match), width, colour=False).splitlines()
    assert heading == "there"
    return lines


def test_a_run_is_marked_in_its_surroundings() -> None:
    """Below it without colour; in colour with colour; never wider than the terminal, long runs with a gap."""
    text = "0123456789" * 3 + "RUN\nRUN" + "abcdefghij" * 3
    match = Match(30, 37, 1, 0, 1.0)
    assert _marked(text, match, 21) == ["3456789RUN↵RUNabcdefg", " " * 7 + "^" * 7]
    heading, coloured = _drawn(_piece(text, match), 21, colour=True).splitlines()
    assert heading == "there"
    assert "\x1b[38;2;0;0;0;48;2;230;97;1mRUN↵RUN\x1b[0m" in coloured
    line, carets = _marked("日本" * 90, Match(20, 170, 1, 0, 1.0), 31)
    assert "日…" in line or "本…" in line
    assert 2 * len(line) - 1 <= 31  # all but the gap are two wide
    assert carets.strip("^ ") == ""
    assert _marked("abc", Match(0, 3, 1, 0, 1.0), 40) == ["abc", "^^^"]


def test_nothing_of_the_text_drives_the_terminal_or_the_page() -> None:
    """Escape sequences, marks that turn the direction, and markup, in the text and in the pattern."""
    evil = "a\x1b[31m‮<b>&\x07"
    text = evil * 9
    tally = selection.SpanTally(4, 4, 3, 6, 3, 2000, 7, 2)
    choice = selection.UnitChoice(Unit(1, "c", 3), True, tally, tally)
    found = Selection(8, 0.3, 6, [choice], [choice], [Match(10, 20, 1, 2, 1 / 3)])
    shown = list(pieces(found, text, evil + "\n", 0))
    for colour in (False, True):
        drawn = "".join(_drawn(piece, 80, colour=colour) for piece in shown)
        assert "\x1b[31m" not in drawn
        assert not {"‮", "\x07"} & set(drawn)
        assert max(len(line) for line in drawn.splitlines()) <= 80 or colour
        assert "-L1.c3  4 of 4  3 (75%)       0.1%  750.0   3 of 6 (50%)" in drawn
    page = page_of(evil, shown)
    assert not {"\x1b", "‮", "\x07"} & set(page)
    assert "<b>" not in page
    assert page.count("<mark>") == 1
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert page == page_of(evil, pieces(found, text, evil + "\n", 0))


@pytest.fixture
def inspect(command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `charrnn inspect` with the planted network beside its text."""
    path = Path("checkpoints/quotes/best.safetensors")
    path.parent.mkdir(parents=True)
    checkpoints.save(path, replace(tiny(), model=CONFIG, vocabulary=VOCABULARY, parameters=_arrays()))
    Path("text.txt").write_text(TEXT, "utf-8")
    return functools.partial(command, "inspect")


def test_select_from_the_command_line(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """A table and matches; the numbers as JSON; a page."""
    status, out, _ = inspect("text.txt", "--select", "“([a-d][^”]*)", "--match")
    assert status == 0
    assert "fits" in out
    assert f".c{PLANTED}" in out or f".h{PLANTED}" in out
    assert "The 20 best other places for" in out
    assert out.count("^^") >= 20
    status, out, _ = inspect(
        "text.txt", "--select", "“([^”]*)", "--json", "--threshold", "0.5", "-n", "4000", "--from", "500"
    )
    numbers = json.loads(out)
    assert (numbers["characters"], numbers["threshold"], numbers["units"]) == (4000, 0.5, 2 * H)
    assert numbers["spans"] == len(find_spans(TEXT[:4500], parse_pattern("“([^”]*)"), 500))
    assert numbers["choices"][0]["unit"] in (f"L1.c{PLANTED}", f"L1.h{PLANTED}")
    assert numbers["choices"][0]["reported"]["share"] == 1
    assert "matches" not in numbers
    status, out, err = inspect("text.txt", "--select", "“([a-d][^”]*)", "--match", "--html", "page.html")
    assert (status, out) == (0, "")
    assert "wrote page.html" in err
    assert Path("page.html").read_text("utf-8").count("<mark>") == 20
    status, out, _ = inspect("text.txt", "--select", "“([a-d][^”]*)", "--match", "--json")
    match = json.loads(out)["matches"][0]
    assert match["text"] == TEXT[match["start"] : match["end"]]
    assert match["text"][0] == "“"


def test_nothing_found_is_said(inspect: Callable[..., tuple[int, str, str]]) -> None:
    """A whole line and the next one's beginning: no unit of this network is on there and only there."""
    status, out, _ = inspect("text.txt", "--select", r"[a-h][^“]{90}[a-h]", "--match", "--threshold", "0.99")
    assert status == 0
    assert "No unit is on throughout a span" in out
    assert "no unit to look for" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text.txt", "--select", "a", "--gates"], "--gates and --select are pictures of their own"),
        (["text.txt", "--select", "a", "--unit", "L1.h0"], "--unit does not go with it"),
        (["text.txt", "--select", "a", "--units", "4"], "--units does not go with it"),
        (["text.txt", "--match"], "--match is for --select"),
        (["text.txt", "--select", "a", "--threshold", "nan"], "--threshold is nan"),
        (["text.txt", "--threshold", "0.5"], "--threshold is for --select"),
        (["--select", "a"], "needs a text"),
        (["text.txt", "--select", "("], "is no valid pattern"),
        (["text.txt", "--select", ""], "--select is empty"),
        (["text.txt", "--select", "zebra"], "selects nothing"),
        (["text.txt", "--select", "a", "--threshold", "1"], "threshold"),
        (["text.txt", "--select", "a", "--label", "a=b"], "for --find"),
    ],
)
def test_what_select_cannot_do_is_said(
    inspect: Callable[..., tuple[int, str, str]], arguments: list[str], said: str
) -> None:
    """In one sentence, with status 2, and nothing on stdout."""
    status, out, err = inspect(*arguments)
    assert (status, out) == (2, "")
    assert said in err


def test_the_help_names_the_default() -> None:
    """The command line, which loads no numpy to say it, and the library agree."""
    assert command._THRESHOLD == selection.THRESHOLD
