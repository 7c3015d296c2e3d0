"""Which texts look like sorted lists, and which do not."""

from __future__ import annotations

import itertools
import random
import textwrap
from pathlib import Path

import pytest

from charrnn.settings.config import DataConfig
from charrnn.text.corpus import load
from charrnn.text.lists import is_sorted_list, list_notice
from charrnn.text.sources import Source
from tests.kit.text import make_text


def words(count: int) -> list[str]:
    """Made-up words, all different."""
    pick = random.Random(1)
    made = dict.fromkeys("".join(pick.choices("abcdefghij", k=pick.randint(3, 9))) for _ in range(2 * count))
    return list(made)[:count]


def nearly(lines: list[str]) -> list[str]:
    """A sorted list into which one line of twenty has been put elsewhere."""
    pick, made = random.Random(2), sorted(lines)
    for _ in range(len(lines) // 40):
        made.insert(pick.randrange(len(made)), made.pop(pick.randrange(len(made))))
    return made


@pytest.mark.parametrize(
    "lines",
    [
        sorted(words(200)),
        sorted(words(200), reverse=True),
        nearly(words(400)),
        sorted((word.title() if place % 2 else word for place, word in enumerate(words(200))), key=str.casefold),
        [f'"{word}"' if place % 3 else word for place, word in enumerate(sorted(words(200)))],
        [line for word in sorted(words(100)) for line in (word, "")],
        [f"{word}: {number}" for number, word in enumerate(sorted(words(200)))],
    ],
    ids=["sorted", "reverse", "nearly", "any case", "quoted", "blank lines", "with more behind"],
)
def test_sorted_lists_are_told(lines: list[str]) -> None:
    """In the order of code points, of letters in any case, of letters and digits alone, or backwards."""
    assert is_sorted_list(lines)


def a_poem() -> list[str]:
    """Short lines, some of which begin alike."""
    pick, made = random.Random(3), words(90)
    return [" ".join([pick.choice(["And", "The", "Oh", "When"]), *pick.choices(made, k=4)]) for _ in range(300)]


def a_dialogue() -> list[str]:
    """Two who speak in turn, with blank lines between them."""
    pick, made = random.Random(4), words(90)
    turns = [f"{'ANNA' if n % 2 else 'BOB'}: {' '.join(pick.choices(made, k=4))}" for n in range(200)]
    return [line for turn in turns for line in (turn, "")]


def some_code() -> list[str]:
    """This very file, and another of the tests."""
    here = Path(__file__)
    return [*here.read_text("utf-8").splitlines(), *here.with_name("test_corpus.py").read_text("utf-8").splitlines()]


def a_log() -> list[str]:
    """Lines in the order of their times."""
    return [f"{10 + n // 60}:{n % 60:02} {'joined' if n % 3 else 'left'}" for n in range(300)]


@pytest.mark.parametrize(
    "lines",
    [
        words(300),
        a_poem(),
        a_dialogue(),
        some_code(),
        a_log(),
        [f"[{line}" for line in a_log()],
        textwrap.wrap(make_text(20_000), 70),
        textwrap.wrap(make_text(20_000), 35),
        ["the same"] * 300,
        sorted(words(40)),
        sorted(f"{word} {'and so on ' * 5}" for word in words(200)),
        [],
    ],
    ids=[
        "unsorted", "poem", "dialogue", "code", "log", "log in brackets", "prose", "short prose", "one line", "few",
        "long lines", "nothing",
    ],
)  # fmt: skip
def test_other_texts_are_not(lines: list[str]) -> None:
    """Prose, poems, dialogues, code and logs have an order of their own, or none."""
    assert not is_sorted_list(lines)


def test_the_notice_counts_all_lines(tmp_path: Path) -> None:
    """Also of a text that is longer than what is looked at, and of one without a line end behind the last line."""
    path = tmp_path / "list.txt"
    made = ["".join(letters) for letters in itertools.product("ab", *["abcdefghij"] * 3, "abcdefghijklmnopqrst")]
    for lines, number in ((made[:2000], "2,000"), (made, "40,000")):
        path.write_text("\n".join(lines), "utf-8")
        corpus = load([Source(path, "list.txt")], DataConfig(), name="list")
        notice = list_notice(corpus)
        assert notice is not None
        assert notice.startswith(f"the text looks like a sorted list of {number} lines: --documents lines")
    path.write_bytes("\r\n".join(made[:2000]).encode())
    corpus = load([Source(path, "list.txt")], DataConfig(as_bytes=True), name="list")
    assert "2,000 lines" in str(list_notice(corpus))
    cut = load([Source(path, "list.txt")], DataConfig(documents="lines"), name="list")
    assert list_notice(cut) is None
