"""The arrays of `inspect --npz`: the numbers of `--json`, in a file that numpy reads without pickle."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoints.checkpoint import save
from charrnn.cli.output import write_arrays
from charrnn.inference.make_engine import make_engine
from charrnn.neurons.find import make_atlas
from tests.kit.command import Command
from tests.kit.tiny import tiny

RUN = Path("checkpoints/ring/best.safetensors")
TEXT = "".join(np.random.default_rng(2).choice(list("\n abcdefgh"), 900))
Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def inspect(command: Command) -> Callable[[str], tuple[Any, Arrays]]:
    """Runs `charrnn inspect text.txt` on a tiny checkpoint: what it prints as JSON, and the arrays it writes."""

    def run(options: str) -> tuple[Any, Arrays]:
        done = command("inspect", "text.txt", "--json", "--npz", "numbers.npz", *options.split())
        assert done.status == 0, done.err
        assert "wrote numbers.npz\n" in done.err
        with np.load("numbers.npz", allow_pickle=False) as read:
            return json.loads(done.out), dict(read)

    RUN.parent.mkdir(parents=True)
    save(RUN, tiny())
    Path("text.txt").write_text(TEXT, "utf-8")
    return run


def _text(arrays: Arrays) -> str:
    return "".join(map(chr, arrays["code_points"][arrays["ids"]]))


def _same(array: np.ndarray[Any, Any], numbers: Any, digits: float = 5e-7) -> None:
    """JSON has six digits after the point, null for what is not a number."""
    np.testing.assert_allclose(array, np.array(numbers, float), rtol=0, atol=digits)


def test_the_values_of_units(inspect: Callable[[str], tuple[Any, Arrays]]) -> None:
    """Each unit's under its name; the text as ids and what they stand for."""
    body, arrays = inspect("-u L2.c1 -u L1.f3 --from 7 -n 23")
    assert list(arrays) == ["ids", "from", "code_points", "L2.c1", "L1.f3"]
    assert (_text(arrays), int(arrays["from"])) == (body["text"], 7)
    assert body["text"] == TEXT[7:30]
    for unit, values in body["units"].items():
        assert arrays[unit].dtype == np.float32
        _same(arrays[unit], values)


def test_the_text_of_a_model_of_bytes(inspect: Callable[[str], tuple[Any, Arrays]]) -> None:
    """Byte by byte, NUL and what is no UTF-8 included."""
    save(RUN, tiny(as_bytes=True))
    data = bytes(range(256)) + b"\0\0"
    Path("text.txt").write_bytes(data)
    _, arrays = inspect("")
    assert bytes(arrays["code_points"][arrays["ids"]].tolist()) == data


def test_guesses(inspect: Callable[[str], tuple[Any, Arrays]]) -> None:
    """Ids of the likeliest with their probabilities; what came next, at the text's end not a number."""
    body, arrays = inspect("--predictions --guesses 4 -u L1.h2 --from 880 -n 40")
    entries = body["characters"]
    assert _text(arrays) == "".join(entry["character"] for entry in entries) == TEXT[880:]
    assert arrays["guesses"].shape == arrays["probabilities"].shape == (20, 4)
    for place, entry in enumerate(entries):
        guessed = [chr(point) for point in arrays["code_points"][arrays["guesses"][place]]]
        assert guessed == [guess["character"] for guess in entry["guesses"]]
        assert arrays["ranks"][place] == (guessed.index(entry["next"]) if entry["next"] in guessed else -1)
        _same(arrays["probabilities"][place], [guess["probability"] for guess in entry["guesses"]])
    _same(arrays["next_probability"], [entry["next_probability"] for entry in entries])
    assert np.isnan(arrays["next_probability"]).tolist() == [False] * 19 + [True]
    _same(arrays["L1.h2"], [entry["value"] for entry in entries])
    for name in ("scored", "guessed_first", "guessed_among", "bits_per_character"):
        _same(arrays[name], body[name], 1e-12)


def test_a_single_character_has_nothing_to_score(inspect: Callable[[str], tuple[Any, Arrays]]) -> None:
    """Not a number where JSON has null."""
    Path("text.txt").write_text("a")
    _, arrays = inspect("--predictions")
    assert np.isnan(arrays["bits_per_character"])
    assert arrays["next_probability"].shape == (1,)


def test_shares_of_the_time_that_gates_are_saturated(inspect: Callable[[str], tuple[Any, Arrays]]) -> None:
    """By layer, gate and end."""
    body, arrays = inspect("--gates -n 300")
    assert (int(arrays["characters"]), float(arrays["left_below"]), float(arrays["right_above"])) == (300, 0.1, 0.9)
    assert len(arrays) == 3 + 2 * 3 * 2
    for gate, ends in body["gates"].items():
        for end, shares in ends.items():
            assert arrays[f"{gate}.{end}"].shape == (4,)
            _same(arrays[f"{gate}.{end}"], shares)


def test_the_excess_over_distances(inspect: Callable[[str], tuple[Any, Arrays]]) -> None:
    """Every distance and every row of the table; not a number for a horizon that is not reached."""
    body, arrays = inspect("--horizon --distance 30 --lanes 7")
    assert arrays["distances"].tolist() == list(range(1, 31))
    for name in ("excess", "low", "high", "lanes", "distance", "characters", "full_bits"):
        _same(arrays[name], body[name])
    for name in ("horizon", "gain_90", "gain_99"):
        _same(arrays[name], np.nan if body[name] is None else body[name])
    for name in body["grid"][0]:
        _same(arrays[f"grid.{name}"], [row[name] for row in body["grid"]])


def test_what_every_unit_tells(inspect: Callable[[str], tuple[Any, Arrays]]) -> None:
    """Of every label on both halves; each finding is the best unit of the first half with its score on the second."""
    body, arrays = inspect("--find --label ab=a[bc]")
    U, L = len(arrays["units"]), len(arrays["labels"])
    assert (body["units"], len(body["findings"])) == (U, L)
    assert arrays["first"].shape == arrays["second"].shape == (U, L)
    assert L > 3
    for name in body["findings"][0]:
        expected = [finding[name] for finding in body["findings"]]
        found = arrays[f"findings.{name}"].tolist()
        assert [None if number != number else number for number in found] == expected  # no number is nan there
    labels = arrays["labels"].tolist()
    for finding in body["findings"]:
        column = labels.index(finding["label"])
        best = int(np.nanargmax(np.abs(arrays["first"][:, column])))
        assert arrays["units"][best] == finding["unit"]
        assert arrays["second"][best, column] == finding["effect"]
    assert arrays["too_rare"].tolist() == body["too_rare"]
    assert (int(arrays["strong"]), int(arrays["beyond_characters"])) == (body["strong"], body["beyond_characters"])


def test_nothing_asked_is_nothing_told() -> None:
    """Without labels every unit has its name and no column."""
    checkpoint = tiny(layers=3)
    engine = make_engine(checkpoint.model, checkpoint.parameters)
    scores = make_atlas(engine, engine, np.arange(300) % 10, []).scores
    assert (scores.labels, len(scores.units)) == ([], 3 * 6 * 4)
    assert scores.first.shape == scores.second.shape == (72, 0)


VIEWS = ["", "--predictions", "--gates", "--horizon --distance 20 --lanes 4", "--find"]


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_command_writes_the_same_bytes(
    inspect: Callable[[str], tuple[Any, Arrays]], monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    """Whenever it runs; there are numbers and names in it, and no objects."""
    _, arrays = inspect(view)
    first = Path("numbers.npz").read_bytes()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e8)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    inspect(view)
    assert Path("numbers.npz").read_bytes() == first
    assert {array.dtype.kind for array in arrays.values()} <= set("fiubU")
    with zipfile.ZipFile("numbers.npz") as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_arrays_are_numpys_own() -> None:
    """What `numpy.savez` would hold, whatever the name of the file; an object is refused and leaves the old file."""
    arrays = {
        "file": np.arange(6).reshape(2, 3).T,
        "one": 1.5,
        "names": np.array(["a", "日"]),
        "none": np.zeros((0, 2)),
    }
    write_arrays(Path("ours"), arrays)
    np.savez("theirs.npz", **{f"x{name}": array for name, array in arrays.items()})
    ours, theirs = np.load("ours", allow_pickle=False), np.load("theirs.npz")
    with ours, theirs:
        for name in arrays:
            np.testing.assert_array_equal(ours[name], theirs[f"x{name}"], strict=True)
    before = Path("ours").read_bytes()
    with pytest.raises(ValueError, match="Object arrays"):
        write_arrays(Path("ours"), {"x": np.array([None])})
    assert Path("ours").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["ours", "theirs.npz"]


def test_arrays_instead_of_a_picture(inspect: Callable[[str], tuple[Any, Arrays]], command: Command) -> None:
    """Without `--json` nothing is printed; a page may be written beside them."""
    for view in VIEWS:
        page = [] if view == "--find" else ["--html", "page.html"]
        done = command("inspect", "text.txt", "--npz", "numbers.npz", *page, *view.split())
        assert done.out == ""
        assert "wrote numbers.npz" in done.err
        assert ("wrote page.html" in done.err) == bool(page)
