"""What each character, each line and each kind of character costs: sums that are the score, and counts by hand."""

from __future__ import annotations

import io
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.cli import lines
from charrnn.display.wrap import cells
from charrnn.evaluation.breakdown import by_class, by_context, by_occurrence, by_place_in_word, dearest
from charrnn.evaluation.error_pie import Training, error_pie
from charrnn.evaluation.itemised import Itemised, itemised, text_of
from charrnn.evaluation.ngram import ngram_probabilities
from charrnn.evaluation.words import CLASSES, class_of, spans
from charrnn.inference.distribution import log_probabilities
from charrnn.inference.reference import Network
from charrnn.text.vocabulary import Vocabulary
from tests.kit.command import Command
from tests.kit.documents import OfDocuments
from tests.kit.text import make_text
from tests.kit.tiny import CHARACTERS, tiny

TEXT = "".join(np.random.default_rng(3).choice(list(CHARACTERS), 2_500))
LOSSES = np.random.default_rng(4).exponential(1.5, 5_000).astype(np.float32)


@pytest.fixture
def run() -> checkpoints.Checkpoint:
    """A model, and a text of characters that it knows."""
    file = Path("checkpoints/tiny/best.safetensors")
    file.parent.mkdir(parents=True)
    saved = tiny()
    checkpoints.save(file, saved)
    Path("text.txt").write_text(TEXT, "utf-8")
    return saved


def _plain(checkpoint: checkpoints.Checkpoint, text: str, before: str = "") -> list[float]:
    """-ln p of each character of a text after `before`, by a plain loop in numpy from the zero state."""
    network = Network(checkpoint.model, checkpoint.parameters)
    state, found, logits = network.zero_state(), [], None
    for character in before + text:
        id_ = checkpoint.vocabulary.characters.index(character)
        if logits is not None:
            found.append(-float(log_probabilities(logits)[0][id_]))
        logits, state = network.step([id_], state)
    return found


def _eval(command: Command, *words: str) -> dict[str, Any]:
    result = command("eval", "text.txt", *words, "--json")
    assert result.status == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.mark.parametrize("protocol", [[], ["--protocol", "windowed", "--context", "70"], ["--protocol", "lines"]])
def test_the_lines_add_up_to_the_score(command: Command, run: checkpoints.Checkpoint, protocol: list[str]) -> None:
    """Nats and characters, under every protocol; and every line of the text is there."""
    found = _eval(command, "--lines", *protocol)
    lines = found["lines"]
    assert sum(line["characters"] for line in lines) == found["characters"]
    assert sum(line["nats"] for line in lines) == pytest.approx(found["nats_per_character"] * found["characters"])
    assert [line["text"] for line in lines] == TEXT.removesuffix("\n").split("\n")
    assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
    for line in lines:
        if line["characters"]:
            assert line["bits_per_character"] == pytest.approx(line["nats"] / line["characters"] / math.log(2))


def test_a_line_in_its_context_is_what_the_stream_gives_it(command: Command, run: checkpoints.Checkpoint) -> None:
    losses = [0.0, *_plain(run, TEXT)]
    place = 0
    for line in _eval(command, "--lines")["lines"]:
        end = place + len(line["text"]) + 1
        assert line["nats"] == pytest.approx(sum(losses[place:end]), abs=1e-4)
        place = end


@pytest.mark.parametrize("more", [[], ["--lanes", "3", "--window", "2"], ["--lanes", "1"]])
def test_a_line_by_itself_depends_on_no_other(command: Command, run: checkpoints.Checkpoint, more: list[str]) -> None:
    """Each is read after a line end from the zero state, whatever the lanes."""
    lines = _eval(command, "--lines", "--protocol", "lines", *more)["lines"]
    for line in lines:
        is_last = line["line"] == len(lines) and not TEXT.endswith("\n")
        whole = line["text"] + ("" if is_last else "\n")
        assert line["characters"] == len(whole)
        assert line["nats"] == pytest.approx(sum(_plain(run, whole, before="\n")), abs=1e-4)
    Path("text.txt").write_text("\n".join(reversed(TEXT.removesuffix("\n").split("\n"))) + "\n")
    again = _eval(command, "--lines", "--protocol", "lines", *more)["lines"]
    costs = {line["text"]: line["nats"] for line in again}
    for line in lines[:-1]:
        assert costs[line["text"]] == pytest.approx(line["nats"], abs=1e-4)


def test_the_figures_of_lines_by_themselves(command: Command, run: checkpoints.Checkpoint) -> None:
    """Every character counts, also the first of the text; unknown ones are charged in their lines."""
    Path("text.txt").write_text("ab\nX\n\nYcX\nab")
    found = _eval(command, "--lines", "--protocol", "lines", "--unknown", "skip")
    assert (found["protocol"], found["lines_read"]) == ("lines", 5)
    assert (found["characters"], found["bytes"], found["unknown_characters"]) == (12, 12, 3)
    charge = math.log(0x110000)
    known = ["ab\n", "\n", "\n", "c\n", "ab"]
    expected = [sum(_plain(run, line, before="\n")) for line in known]
    assert [line["nats"] for line in found["lines"]] == pytest.approx(
        [expected[0], expected[1] + charge, expected[2], expected[3] + 2 * charge, expected[4]], abs=1e-4
    )


@pytest.mark.parametrize("policy", ["skip", "replace"])
@pytest.mark.parametrize("begin", ["X", "a"])
@pytest.mark.parametrize("protocol", [[], ["--protocol", "windowed", "--context", "3"], ["--protocol", "lines"]])
def test_unknown_characters_are_charged_in_their_lines(
    command: Command, run: checkpoints.Checkpoint, policy: str, begin: str, protocol: list[str]
) -> None:
    """Also where the first of the text, or of a window, is one."""
    Path("text.txt").write_text(f"{begin}bA\nBBc\n\nabAAAd\n" + ("G" * 3 + "a\n") * 3)
    if policy == "replace" and begin == "X":
        begin = "H"  # one that has a near character
        Path("text.txt").write_text("HbA\nBBc\n\nabAAAd\n" + ("G" * 3 + "a\n") * 3)
    found = _eval(command, "--lines", "--errors", "--unknown", policy, *protocol)
    lines = found["lines"]
    assert sum(line["characters"] for line in lines) == found["characters"]
    assert sum(line["nats"] for line in lines) == pytest.approx(found["nats_per_character"] * found["characters"])
    unknown = [group for group in found["errors"]["by_class"] if "does not know" in group["name"]]
    assert unknown[0]["characters"] == found["unknown_characters"]


def test_lines_are_sorted_on_wish(command: Command, run: checkpoints.Checkpoint) -> None:
    """By what a character costs; a line of which nothing is scored comes last."""
    Path("text.txt").write_text("\n" + TEXT)
    plain = _eval(command, "--lines")["lines"]
    scored = [line for line in plain if line["characters"]]
    assert plain[0]["bits_per_character"] is None
    for order, sign in (("dearest", -1), ("cheapest", 1)):
        found = _eval(command, "--lines", "--sort", order)["lines"]
        assert found[:-1] == sorted(scored, key=lambda line: (sign * line["bits_per_character"], line["line"]))
        assert found[-1] == plain[0]


def test_the_table_of_lines(command: Command, run: checkpoints.Checkpoint) -> None:
    """One row a line, with the whole line where no terminal cuts it."""
    Path("text.txt").write_text("ab\n" + "abcdefgh " * 40 + "\n")
    out = command("eval", "text.txt", "--lines").out.splitlines()
    assert out[4].split() == ["bpc", "bits", "characters", "line", "text"]
    assert out[5].split()[2:] == ["2", "1", "ab"]
    assert out[6].endswith("abcdefgh " * 40)


def test_a_terminal_cuts_lines_at_its_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in them, which is shown and not sent."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "60")
    texts = ["short", "a" * 300, "\u65e5\u672c" * 100, "\x1b[2J" * 40, ""]
    row = {"characters": 3, "nats": 1.0, "bits_per_character": None}
    lines.show([{"line": number, "text": text, **row} for number, text in enumerate(texts, 1)])
    shown = out.getvalue().splitlines()[2:]
    assert len(shown) == len(texts)
    assert shown[0].endswith("  short")
    assert all(55 <= cells(line) <= 60 for line in shown[1:4])
    assert "\x1b" not in out.getvalue()


def _items(text: str, *, losses: np.ndarray = LOSSES, known: str | None = None) -> Itemised:
    """A text whose characters cost what `losses` say, all but the first."""
    nats = losses[: len(text)].copy()
    nats[0] = 0
    is_unknown = np.array([known is not None and character not in known for character in text])
    is_scored = np.arange(len(text)) > 0
    ends = np.array([character == "\n" for character in text])
    return Itemised(text, nats, is_scored, is_unknown & is_scored, ends, np.zeros(1, np.int64), np.arange(len(text)))


TEXTS = [
    make_text(1_500, 2),
    "a",
    "ab",
    "\n\n\n",
    "The don't CAT, 42 (na\u0308ive) caf\u00e9\r\n\u65e5\u672c\u8a9e \u2028+\x00!",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_every_breakdown_adds_up_to_the_text(text: str) -> None:
    """Each scored character is in exactly one group of each."""
    items = _items(text, known="abcdefgh \nT")
    words = spans(text)
    found = [by_class(items), by_place_in_word(items, words), by_occurrence(items, words), by_context(items)]
    for groups in found:
        assert sum(group.characters for group in groups) == items.characters == len(text) - 1
        assert sum(group.nats for group in groups) == pytest.approx(items.total, rel=1e-6)


def test_the_groups_by_hand() -> None:
    """A short text, character by character."""
    text = "Ab cd, cd 7\ncd"
    items = _items(text)
    words = spans(text)
    assert words.tolist() == [[0, 2], [3, 5], [7, 9], [10, 11], [12, 14]]

    def told(groups: list[Any]) -> dict[str, list[int]]:
        """The places of each group, from its nats."""
        costs = dict.fromkeys((group.name for group in groups), 0.0)
        return {group.name: [group.characters, costs[group.name] == 0.0 and round(group.nats, 3)] for group in groups}

    def of(**places: list[int]) -> dict[str, list[float]]:
        return {name.replace("_", " "): [len(at), round(float(items.nats[at].sum()), 3)] for name, at in places.items()}

    assert told(by_class(items)) == of(
        small_letters=[1, 3, 4, 7, 8, 12, 13], digits=[10], spaces=[2, 6, 9], line_ends=[11], punctuation=[5]
    )
    place = told(by_place_in_word(items, words))
    assert place == of(
        **{"1": [3, 7, 10, 12], "2": [1, 4, 8, 13], "right_after_a_word": [2, 5, 9, 11], "elsewhere": [6]}
    )
    times = told(by_occurrence(items, words))
    assert times == of(**{"1": [1, 3, 4, 10], "2": [7, 8], "3_to_5": [12, 13], "in_no_word": [2, 5, 6, 9, 11]})
    context = told(by_context(items))
    assert context == of(**{"1": [1], "2_to_3": [2, 3], "4_to_7": [4, 5, 6, 7], "8_to_15": [8, 9, 10, 11, 12, 13]})


def test_classes_of_characters() -> None:
    told = {character: CLASSES[class_of(character)] for character in "aZ7 \n\r\t.$+\u65e5\u0308\ufffd\u00a0\u2014"}
    assert told == {
        "a": "small letters", "Z": "capital letters", "7": "digits", " ": "spaces", "\n": "line ends",
        "\r": "line ends", "\t": "spaces", ".": "punctuation", "$": "punctuation", "+": "punctuation",
        "\u65e5": "letters without case", "\u0308": "other characters", "\ufffd": "symbols", "\u00a0": "spaces",
        "\u2014": "punctuation",
    }  # fmt: skip
    assert CLASSES[class_of("\u00e9", "bytes")] == "bytes above 127"


def test_context_is_what_was_read_since_the_zero_state(command: Command, run: checkpoints.Checkpoint) -> None:
    """In windows of 8 characters: seven are scored, after 1 to 7; of lines the first is scored after none."""
    groups = _eval(command, "--errors", "--protocol", "windowed", "--context", "8")["errors"]["by_context"]
    windows = len(TEXT) // 8
    rest = len(TEXT) % 8
    assert [group["name"] for group in groups] == ["1", "2 to 3", "4 to 7"]
    assert groups[0]["characters"] == windows + (rest > 1)
    groups = _eval(command, "--errors", "--protocol", "lines")["errors"]["by_context"]
    assert groups[0]["name"] == "0"
    assert groups[0]["characters"] == len(TEXT.removesuffix("\n").split("\n"))


def test_the_dearest_lines_are_long_enough(command: Command, run: checkpoints.Checkpoint) -> None:
    """Those of 20 characters and more, by what a character costs."""
    found = _eval(command, "--lines", "--sort", "dearest", "--errors")
    wanted = [line for line in found["lines"] if line["characters"] >= 20][:10]
    assert found["errors"]["dearest_lines"] == wanted
    assert dearest(_items("ab\nab\n")) == []


class _Slow:
    """The oracles of the paper, one error at a time."""

    def __init__(self, items: Itemised, training: str | None, known_to_ngrams: set[int]) -> None:
        self.items, self.training, self.known_to_ngrams = items, training, known_to_ngrams
        self.words = [(int(start), int(end)) for start, end in spans(items.text)]
        counted = training or ""
        self.counts = Counter(counted[start:end] for start, end in spans(counted).tolist())

    def slice_of(self, place: int) -> str | None:
        items, text = self.items, self.items.text
        p = math.exp(-float(items.nats[place]))
        if not items.is_scored[place] or p >= 0.5:
            return None
        word = next(((start, end) for start, end in self.words if start <= place < end), None)
        if self.training is not None and place in self.known_to_ngrams:
            return "n-grams"
        if word and place > word[0] and text[word[0] : word[1]] in text[max(0, word[0] - 5_000) : word[0]]:
            return "dynamic memory"
        if self.training is not None and word and self.counts[text[word[0] : word[1]]] <= 5:
            return "rare words"
        if text[place - 1].isspace() or text[place - 1] in "\"'`\u201c\u201d":
            return "word model"
        if text[place] in ".,!?\"'":
            return "punctuation"
        low = 0.0
        for boost in (0.1, 0.2, 0.3, 0.4):
            if p + boost >= 0.5:
                return f"boost by {low:g} to {boost:g}"
            low = boost
        return "boost by 0.4 to 0.5"


@pytest.mark.parametrize("has_training", [True, False])
def test_the_pie_of_errors_is_that_of_the_paper(has_training: bool) -> None:
    """Each error goes to the first oracle that takes it, and none is left."""
    text, training = make_text(3_000, 2), make_text(9_000, 2)[3_000:] if has_training else None
    vocabulary = Vocabulary.of(text + (training or ""))
    ids, items = vocabulary.encode(text), _items(text)
    known: set[int] = set()
    given = None
    if training is not None:
        given = Training(vocabulary.encode(training), training)
        tables = ngram_probabilities(given.ids, ids, len(vocabulary), 8)
        known = {place for table in tables for place in (np.flatnonzero(table > 0.5) + 1).tolist()}
        assert len(tables) == 9
    slow = _Slow(items, training, known)
    wanted = [(place, name) for place in range(len(text)) if (name := slow.slice_of(place)) is not None]
    found = error_pie(items, spans(text), ids, len(vocabulary), given)
    assert {group.name: group.characters for group in found} == Counter(name for _, name in wanted)
    for group in found:
        nats = items.nats[[place for place, name in wanted if name == group.name]].sum(dtype=np.float64)
        assert group.nats == pytest.approx(nats, rel=1e-6)
    assert len(found) >= (8 if has_training else 6)


def test_errors_of_eval(command: Command, run: checkpoints.Checkpoint) -> None:
    """The shares add up to one, of a part of the text with the training part, and of the whole without."""
    for words, has_training in ((["--split", "validation"], True), ([], False)):
        found = _eval(command, "--errors", *words)
        told = found["errors"]
        total = found["nats_per_character"] * found["characters"]
        for name in ("by_class", "by_place_in_word", "by_occurrence", "by_context"):
            assert sum(group["share"] for group in told[name]) == pytest.approx(1)
            assert sum(group["nats"] for group in told[name]) == pytest.approx(total)
        pie = told["pie"]
        assert pie["characters"] == found["characters"]
        assert pie["errors"] == sum(one["errors"] for one in pie["slices"])
        assert sum(one["share"] for one in pie["slices"]) == pytest.approx(1)
        assert pie["has_training_text"] == has_training
        assert any(one["name"] == "n-grams" for one in pie["slices"]) == has_training
        out = command("eval", "text.txt", "--errors", *words).out
        assert f"{pie['errors']:,} errors, characters with a probability below 1/2" in out
        assert ("--split validation has both" in out) != has_training


def test_the_text_of_bytes_has_a_character_for_each(command: Command) -> None:
    """A model of bytes: classes, lines and sums are those of bytes."""
    file = Path("checkpoints/bytes/best.safetensors")
    file.parent.mkdir(parents=True)
    checkpoints.save(file, tiny(as_bytes=True))
    Path("text.txt").write_bytes("caf\u00e9\nab\n".encode() * 9)
    found = _eval(command, "--lines", "--errors", "--compressors")
    assert found["characters"] == 9 * 9 - 1
    assert found["lines"][1]["text"] == "ab"
    assert found["lines"][0]["text"].encode("latin-1").decode() == "caf\u00e9"
    assert {"bytes above 127": 18}.items() <= {
        group["name"]: group["characters"] for group in found["errors"]["by_class"]
    }.items()
    assert text_of(np.frombuffer("\u00e9".encode(), np.uint8), Vocabulary.of_bytes()) == "\u00c3\u00a9"


def test_the_losses_go_to_the_places_they_are_of() -> None:
    """Of characters that were skipped, and of those that begin windows, none."""

    class Text:
        whole = np.array([0, 3, 1, 2, 3, 0, 1], np.uint8)  # a X b c X a b
        is_skipped = np.array([False, False, False, True])
        is_charged = np.array([False, False, False, True])

    losses = np.array([1, 2, 4, 8], np.float32)
    text: Any = Text()
    items = itemised(text, losses, Vocabulary.of("abcd"), unknown_nats=100)
    assert items.nats.tolist() == [0, 100, 1, 2, 100, 4, 8]
    assert items.is_scored.tolist() == [False, *[True] * 6]
    items = itemised(text, losses, Vocabulary.of("abcd"), unknown_nats=100, context=2)
    assert items.nats.tolist() == [0, 100, 1, 0, 100, 4, 0]
    assert items.is_scored.tolist() == [False, True, True, False, True, True, False]
    assert items.begins.tolist() == [0, 3, 6]


def test_documents_are_lines() -> None:
    """Each with its end, from the zero state before it; line ends within a document are no ends."""

    class Text:
        whole = np.array([3, 0, 1, 3, 2, 0, 0, 3], np.uint8)  # END "\n" a END b "\n" "\n" END
        is_skipped = is_charged = np.zeros(4, bool)

    text: Any = Text()
    items = itemised(text, np.arange(1, 8, dtype=np.float32), OfDocuments(map(ord, "\nab")), unknown_nats=100)
    assert items.text == "\n\na\nb\n\n\n"
    assert [(line.number, line.text, line.characters, line.nats) for line in items.lines()] == [
        (1, "\na", 3, 6.0), (2, "b\n\n", 4, 22.0),
    ]  # fmt: skip
    assert items.begins.tolist() == [0, 1, 4]
    assert {group.name: group.characters for group in by_class(items)} == {
        "small letters": 2, "line ends": 3, "ends of documents": 2,
    }  # fmt: skip
    context = {group.name: (group.characters, group.nats) for group in by_context(items)}
    # A document's first character is read after none of it, and its end after all of it.
    assert context == {"0": (2, 1 + 4), "1": (2, 2 + 5), "2 to 3": (3, 3 + 6 + 7)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sort dearest", "--sort is for --lines"),
        ("--lines --temperature 0.5", "--lines is about the static score at temperature 1"),
        ("--errors --dynamic sgd", "--errors is about the static score"),
        ("--compressors --tune --split validation", "--compressors is about the static score"),
        ("--protocol lines --temperature 2", "--protocol lines is about the static score"),
        ("--protocol lines --dynamic sgd", "--protocol lines starts again and again"),
        ("--protocol lines --ngrams 3 --split validation", "--ngrams are scored in one stream"),
        ("--protocol lines --context 3", "--context is for --protocol windowed"),
        ("-c checkpoints/tiny -c checkpoints/b --lines", "--lines does not go with that"),
        ("-c checkpoints/tiny -c checkpoints/b --protocol lines", "--protocol lines does not go with that"),
    ],
)
def test_what_does_not_go_together(command: Command, run: checkpoints.Checkpoint, words: str, said: str) -> None:
    """Each refusal says why, and nothing is printed."""
    result = command("eval", "text.txt", *words.split())
    assert (result.status, result.out) == (2, ""), result.err
    assert said in result.err


def test_lines_that_the_model_cannot_end(command: Command) -> None:
    """A text without line ends, or a model that does not know them, has no lines to read by themselves."""
    file = Path("checkpoints/a/best.safetensors")
    file.parent.mkdir(parents=True)
    checkpoints.save(file, replace(tiny(characters="abc")))
    Path("text.txt").write_text("abcabc\nab")
    for words in (["--unknown", "skip"],):
        result = command("eval", "text.txt", "--protocol", "lines", *words)
        assert (result.status, result.out) == (3, "")
        assert "no line of the text ends in a line end that the model knows" in result.err
