"""What is held out of a text: exact ranges, spread over it, that stand for it; kept, and never trained on."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoints import checkpoint as checkpoints
from charrnn.errors import TextError, UsageError
from charrnn.settings.config import DataConfig
from charrnn.text import corpus as corpora
from charrnn.text import likeness, spreading, stored
from charrnn.text.corpus import Corpus
from charrnn.text.held_out import HeldOut, described, usual
from charrnn.text.sources import Source
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.lanes import Ring
from charrnn.training.recipe import choose_data
from tests.kit.command import Command
from tests.kit.text import make_text

SMALL = [
    "--hidden", "4", "--embedding", "3", "--batch", "4", "--bptt", "9", "--threads", "1", "--sample-every", "0",
    "--dropout", "0",
]  # fmt: skip
UNEVEN = [0, 1, 1, 17, 0, 900, 3, 5000, 1, 40, 41, 42, 0, 12_000, 260, 1]
EVEN = [25] * 120


def counted(files: Sequence[int], own: int = 0) -> Corpus:
    """A text each of whose characters tells its place."""
    length = sum(files) + own
    ids = np.arange(length, dtype=np.uint32)
    return Corpus("text", Vocabulary(range(100, 100 + length)), ids, length, "", own, files=tuple(files))


@pytest.mark.parametrize("held_out", ["end", "blocks", "files"])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("shares", [(0.1, 0.0), (0.02, 0.05), (0.0, 0.2), (0.45, 0.45), (0.3, 0.001), (0.9, 0.0)])
@pytest.mark.parametrize("files", [UNEVEN, EVEN, [3000], [200], [199, 1], [1] * 300, [0, 0, 700]])
def test_parts_have_nothing_in_common_and_are_everything(
    held_out: Any, seed: int, shares: tuple[float, float], files: list[int]
) -> None:
    """By identifiable places, with empty files and files of one character."""
    corpus, length = counted(files), sum(files)
    config = DataConfig(held_out=held_out, split_seed=seed, validation_fraction=shares[0], test_fraction=shares[1])
    if min(filter(None, shares)) * length < 2.5 or files == [1] * 300:
        with contextlib.suppress(TextError):  # one character is too few to validate on
            corpus.split(config)
        return
    parts = corpus.split(config)
    found = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    for ids in found.values():
        assert (np.diff(np.asarray(ids).astype(np.int64)) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([*map(np.asarray, found.values())])), np.arange(length))
    assert len(parts.train)
    for name, share in (("validation", shares[0]), ("test", shares[1])):
        assert bool(len(found[name])) == (int(length * (1 - share)) < length and round(share * length) > 0)
    if held_out != "end" and files is not EVEN and length > 1000:  # a file of 25 is a whole
        for name, share in (("validation", shares[0]), ("test", shares[1])):
            assert len(found[name]) == pytest.approx(share * length, rel=0.3, abs=25)


@pytest.mark.parametrize("own", [0, 300])
@pytest.mark.parametrize("held_out", ["end", "blocks", "files"])
def test_no_window_of_training_holds_what_is_held_out(held_out: Any, own: int) -> None:
    """Neither as a target nor as a context, through more than an epoch, over all seams."""
    config = DataConfig(held_out=held_out, validation_fraction=0.2, test_fraction=0.1)
    corpus = counted([70, 1, 0, 800, 90, 90, 90, 1200, 60], own)
    parts = corpus.split(config)
    if own:
        np.testing.assert_array_equal(parts.validation, np.arange(len(corpus) - own, len(corpus)))
    banned = {*np.asarray(parts.validation).tolist(), *np.asarray(parts.test).tolist()}
    ring, seen = Ring(parts.train, lanes=3, window=7), set[int]()
    for position in range(0, len(parts.train), 7):
        seen.update(ring.window_at(position).ravel().tolist())
    assert not seen & banned
    assert seen | banned == set(range(len(corpus)))


def test_whole_files_stay_whole_and_long_ones_are_cut() -> None:
    """A file is in one part, unless it is longer than a sixteenth of what is held out."""
    pick = np.random.default_rng(3)
    files = [*pick.integers(1, 90, 400).tolist(), 12_000, 9000]
    corpus = counted(files)
    for seed in range(1, 6):
        parts = corpus.split(DataConfig(held_out="files", split_seed=seed, validation_fraction=0.3, test_fraction=0.3))
        part_of = np.zeros(len(corpus), int)
        part_of[np.asarray(parts.validation)], part_of[np.asarray(parts.test)] = 1, 2
        ends = np.cumsum(files)
        for size, end in zip(files[:400], ends[:400].tolist(), strict=True):
            assert len(set(part_of[end - size : end].tolist())) == 1
        assert len(set(part_of[ends[399] :].tolist())) > 1


def test_the_share_is_right_where_one_file_is_most_of_the_text() -> None:
    """It is cut into blocks, and what is held out is about what is wanted, whatever the seed."""
    for files in ([50_000, 40, 40, 40], [20] * 50 + [30_000] + [20] * 50, [9000, 9000, 9000]):
        for seed in range(1, 8):
            config = DataConfig(held_out="files", split_seed=seed, validation_fraction=0.1)
            held = len(counted(files).split(config).validation)
            assert held == pytest.approx(0.1 * sum(files), rel=0.2), (files, seed)


def test_the_seed_decides_and_another_draws_others() -> None:
    """The same seed holds out the same, and there is a choice."""
    corpus = counted([30] * 200)
    found = {
        seed: corpus.split(DataConfig(held_out="files", split_seed=seed)).held_out for seed in (1, 2, 3, 2**63 - 1)
    }
    assert len(set(found.values())) == len(found)
    again = counted([30] * 200).split(DataConfig(held_out="files", split_seed=2))
    assert again.held_out == found[2]


def test_blocks_begin_and_end_where_lines_do() -> None:
    """And not within a carriage return and its line feed."""
    for line_end in ("\n", "\r\n", "\r"):
        text = line_end.join(make_text(120_000, 3).split("\n"))
        ids = Vocabulary.of(text).encode(text)
        corpus = Corpus("text", Vocabulary.of(text), ids, len(text), "", 0)
        found = corpus.split(DataConfig(held_out="blocks", test_fraction=0.1)).held_out
        assert found is not None
        for start, stop in (*found.validation, *found.test):
            assert start == 0 or text[:start].endswith(line_end)
            assert stop == len(text) or text[:stop].endswith(line_end)
        assert min(len(found.validation), len(found.test)) >= 3


def test_what_is_held_out_stands_for_the_text() -> None:
    """Of a text that is easy in its first half and hard in its second: half of each, where its end is all hard; and an
    easy file among the hard ones counts by its characters, not as one of many."""
    pick = np.random.default_rng(0)
    files = pick.integers(500, 1500, 200).tolist()
    easy, ids = sum(files[:100]), pick.integers(0, 60, sum(files)).astype(np.uint8)
    ids[:easy] = np.arange(easy) % 3
    corpus = Corpus("text", Vocabulary(range(32, 92)), ids, len(ids), "", 0, files=tuple(files))
    assert (np.asarray(corpus.split(DataConfig(held_out="end")).validation) < 3).mean() < 0.1
    share = easy / len(ids)
    for seed in range(1, 6):
        held = corpus.split(DataConfig(held_out="files", split_seed=seed)).held_out
        assert held is not None
        of_easy = sum(stop - start for start, stop in held.validation if stop <= easy)
        assert of_easy / sum(stop - start for start, stop in held.validation) == pytest.approx(share, abs=0.02)


def test_exchanges_bring_parts_nearer_to_the_whole() -> None:
    """The figures of what is chosen differ from seed to seed by less than half of what a plain draw differs by."""
    pick = np.random.default_rng(5)
    rates = pick.beta(0.4, 0.4, 300)
    ids = np.concatenate([(pick.random(200) < rate) * pick.integers(1, 30, 200) for rate in rates]).astype(np.uint8)
    units = spreading.cut([200] * 300, 6000)
    of_unit = likeness.costs(ids, units.begins)[:, 0]
    drawn = [of_unit[np.random.default_rng(seed).permutation(300)[:30]].mean() for seed in range(20)]
    chosen = [of_unit[spreading.chosen(ids, units, 6000, seed, 0)].mean() for seed in range(20)]
    assert np.std(chosen) < 0.5 * np.std(drawn)
    assert np.mean(chosen) == pytest.approx(of_unit.mean(), rel=0.02)


@pytest.mark.parametrize("most", [1, 5, 100])
def test_a_few_units_of_each_stratum_are_looked_at(most: int) -> None:
    """They are different ones, in their order, and as many of each as there may be."""
    edges = np.array([0, 3, 3 + 40, 50, 51])
    draw = np.random.Philox(key=9).random_raw
    pool, of_pool = spreading._pool(edges, most, draw)
    assert (np.diff(pool) > 0).all()
    np.testing.assert_array_equal(np.diff(of_pool), np.minimum(np.diff(edges), most))
    for stratum in range(4):
        inside = pool[of_pool[stratum] : of_pool[stratum + 1]]
        assert (edges[stratum] <= inside).all()
        assert (inside < edges[stratum + 1]).all()


def test_costs_are_those_of_plain_counts() -> None:
    """Beside dictionaries: a context of no character up to three, and what follows it."""
    ids = np.array([1, 2, 3, 1, 2, 4, 1, 2, 3, 0, 0, 1, 2], np.uint8)
    starts = np.array([0, 5, 6])
    ours = likeness.costs(ids, starts)
    for order in range(likeness.ORDERS):
        pairs = [(tuple(ids[max(0, place - order) : place].tolist()), int(ids[place])) for place in range(len(ids))]
        together, alone = Counter(pairs), Counter(context for context, _ in pairs)
        nats = [np.log((alone[each[0]] + 0.01 * 5) / (together[each] + 0.01)) for each in pairs]
        np.testing.assert_allclose(ours[:, order], np.add.reduceat(nats, starts), rtol=1e-5)


def test_ranges_keep_their_round_trip() -> None:
    """Through JSON, and back to the parts of a text."""
    held = counted(UNEVEN).split(DataConfig(held_out="files", test_fraction=0.2)).held_out
    assert held is not None
    length = sum(UNEVEN)
    assert HeldOut.of_dict(json.loads(json.dumps(held.to_dict())), length) == held
    train = np.asarray(held.training(np.arange(length)))
    assert held.places(range(len(train)), length) == train.tolist()


@pytest.mark.parametrize(
    "content",
    [
        None, [], {}, {"validation": []}, {"validation": [], "test": [], "more": []}, {"validation": 3, "test": []},
        {"validation": [[0, 101]], "test": []}, {"validation": [[-1, 5]], "test": []},
        {"validation": [[5, 5]], "test": []}, {"validation": [[6, 5]], "test": []},
        {"validation": [[0, 5]], "test": [[4, 9]]}, {"validation": [[0, 5], [3, 9]], "test": []},
        {"validation": [[8, 9], [0, 5]], "test": []}, {"validation": [[0.0, 5]], "test": []},
        {"validation": [[True, 5]], "test": []}, {"validation": [[1, 2, 3]], "test": []},
        {"validation": [["a", "b"]], "test": []},
    ],
)  # fmt: skip
def test_wild_ranges_are_refused(content: Any) -> None:
    """Empty, overlapping, out of order, beyond the text, or no ranges at all."""
    with pytest.raises((ValueError, TypeError, KeyError)):
        HeldOut.of_dict(content, 100)


def test_what_is_held_out_where_nobody_says_it() -> None:
    """Files of several, blocks of one text that has room for some, else its end; of documents nothing of these."""
    assert usual(10**6, 0.1, 2) == "files"
    assert usual(10**6, 0.1, 1) == "blocks"
    assert usual(10**5, 0.1, 1) == usual(10**6, 0.0, 1) == "end"
    assert choose_data({}, 10**6, 9).held_out == "files"
    assert choose_data({"held_out": "end"}, 10**6, 9).held_out == "end"
    assert choose_data({"documents": "lines"}, 10**6, 9).held_out is None
    assert choose_data({"validation_fraction": 0.0, "test_fraction": 0.5}, 10**5, 1).held_out == "blocks"


def test_documents_are_held_out_otherwise() -> None:
    """To ask for both is refused, with what to do."""
    for more in ({"documents": "lines"}, {"column": "text"}):
        with pytest.raises(UsageError, match="--held-out is blocks"):
            DataConfig(held_out="blocks", **more)  # type: ignore[arg-type]


def test_words_for_what_is_held_out() -> None:
    """Whole files and blocks are told apart; an empty file is none."""
    assert described(((0, 5), (7, 9)), [5, 0, 2, 2]) == "2 of 3 files"
    assert described(((0, 5), (6, 7)), [5, 4]) == "1 of 2 files and 1 block of a longer one"
    assert described(((1, 2), (3, 4)), [9]) == "2 blocks"


def test_files_are_known_to_the_text_and_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line end behind one that has none; in memory, from the cache, and where the ids stay in a file."""
    sources = []
    for number, text in enumerate(["one\ntwo", "", "x", make_text(500) + "\n", "end"]):
        (tmp_path / str(number)).write_bytes(text.encode())
        sources.append(Source(tmp_path / str(number), str(number)))
    for size in (stored.IN_MEMORY, 0):
        monkeypatch.setattr(stored, "IN_MEMORY", size)
        for _ in range(2):
            found = corpora.load(sources[:4], DataConfig(), name="n", validation_sources=sources[4:])
            assert found.files == (8, 0, 2, 501)
            assert found.num_files == 3
            parts = found.split(DataConfig(held_out="files", test_fraction=0.2))
            assert len(parts.train) + len(parts.test) == 511
            assert found.vocabulary.decode(parts.validation[:]) == "end"
    assert corpora.load(sources, DataConfig(documents="files"), name="n").files == ()


def write_folder(files: int) -> None:
    """Writes `files` files of some hundred characters into the folder `texts`."""
    Path("texts").mkdir()
    for number in range(files):
        Path("texts", f"{number:03}.txt").write_text(make_text(150 + 7 * number, number).rstrip("\n"), "utf-8")


def test_a_run_keeps_and_finds_what_it_holds_out(command: Command) -> None:
    """By the folder, by all of it as one file, and after it has grown; a fresh start with another seed holds out
    others."""
    write_folder(30)
    words = ["train", "texts", *SMALL, "--steps", "2", "--out", "run"]
    result = command(*words, "--test-fraction", "0.1")
    assert result.status == 0, result.err
    assert " of 30 files" in result.err
    loaded = checkpoints.load(Path("run/last.safetensors"))
    assert loaded.data.held_out == "files"
    ranges = loaded.corpus["held_out"]
    assert ranges["validation"]
    assert ranges["test"]
    texts = [path.read_text("utf-8") for path in sorted(Path("texts").iterdir())]
    whole = "\n".join(texts)
    Path("whole.txt").write_text(whole, "utf-8")
    for split in ("validation", "test", "train"):
        scores = [
            json.loads(command("eval", text, "--split", split, "-c", "run", "--json").out)
            for text in ("texts", "whole.txt")
        ]
        assert scores[0] == scores[1]
    held = "".join(whole[start:stop] for start, stop in ranges["validation"])
    Path("held.txt").write_text(held, "utf-8")
    alone = json.loads(command("eval", "held.txt", "-c", "run", "--json").out)
    split = json.loads(command("eval", "texts", "--split", "validation", "-c", "run", "--json").out)
    assert split["nats_per_character"] == pytest.approx(alone["nats_per_character"], rel=1e-9)
    with open("texts/029.txt", "a", encoding="utf-8") as file:
        file.write("\nmore of it, at the end\n")
    again = command(*words[:-4], "--steps", "4", "--out", "run", "--test-fraction", "0.1", "--change")
    assert again.status == 0, again.err
    grown = checkpoints.load(Path("run/last.safetensors"))
    assert grown.corpus["held_out"] == ranges
    assert grown.corpus["train"] == loaded.corpus["train"] + 24
    scored = json.loads(command("eval", "texts", "--split", "validation", "-c", "run", "--json").out)
    assert scored["characters"] == split["characters"]
    other = command(*words, "--test-fraction", "0.1", "--split-seed", "2", "--fresh")
    assert other.status == 0, other.err
    assert checkpoints.load(Path("run/last.safetensors")).corpus["held_out"] != ranges


def test_the_end_is_one_option_away(command: Command) -> None:
    """It is said what is held out; a run takes over no other choice."""
    write_folder(12)
    words = ["train", "texts", *SMALL, "--steps", "2", "--out", "run"]
    assert "at the end" in command(*words, "--held-out", "end", "--dry-run").err
    assert "spread over the text (--held-out end takes its end)" in command(*words, "--dry-run").err
    assert command(*words, "--held-out", "end").status == 0
    loaded = checkpoints.load(Path("run/last.safetensors"))
    characters = loaded.corpus["characters"]
    assert loaded.corpus["held_out"] == {"validation": [[int(characters * 0.9), characters]], "test": []}
    refused = command(*words, "--held-out", "blocks")
    assert refused.status == 2
    assert "--held-out end -> blocks" in refused.err
    refused = command("train", "texts", "--documents", "files", "--held-out", "files", "--dry-run")
    assert refused.status == 2
    assert "leave --held-out out" in refused.err


def test_of_a_text_too_long_to_count_only_the_sizes_are_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are still disjoint, of the wanted size and spread; where nothing is held out, nothing is chosen."""
    monkeypatch.setattr(spreading, "_LOOKED_AT", 1000)
    corpus = counted([300] * 20)
    parts = corpus.split(DataConfig(held_out="files", validation_fraction=0.2))
    assert len(parts.validation) == pytest.approx(1200, rel=0.1)
    assert not {*np.asarray(parts.validation).tolist()} & {*np.asarray(parts.train).tolist()}
    assert np.ptp(np.asarray(parts.validation).astype(int)) > 3000
    assert corpus.split(DataConfig(held_out="files", validation_fraction=0.0)).held_out == HeldOut()
