"""Labels against pictures made by hand: the text above, what is said of each character below.

In a picture ⏎ stands for a line feed, ␍ for a carriage return and → for a tab.
"""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import UsageError
from charrnn.neurons.labels import Label, labels_of, parse_label

PICTURES: dict[str, list[tuple[str, str]]] = {
    'inside "quotes"': [
        ('He said "no" to me', "........111......."),
        ('"a" "b"', "11..11."),
        # left open at a paragraph's end: the next one is not turned inside out
        ('a "b⏎⏎c "d" e', "........11..."),
        ('a "b␍⏎␍⏎c "d" e', "..........11..."),
        # the speech of two paragraphs opens twice and closes once
        ('"a b⏎⏎"c" d', "1111..11..."),
        # over the end of a line; the slip in the first line ends with it where the next opens
        ('"a⏎b" c', "1111..."),
        ('5" a "b"', ".....11."),
        (r'"a\"b" c', "11111..."),
        ("""x='"' "a\"""", "......11."),
        ('"', "."),
    ],
    "inside “quotes”": [
        ("a “b” c", "..11..."),
        ("“a⏎⏎“b” c", "11..11..."),
        ("a “b⏎⏎c “d” e", "........11..."),
        ("” a “b”", "....11."),
    ],
    "inside 'quotes'": [
        ("say 'no' twice", "....111......."),
        ("I don't say 'I can't' now", "............11111111....."),
        ("the dogs' bowl, the cats' too", "............................."),
        ("'tis so, the dogs' bowl", "......................."),
        ("'Twas in the '90s, 'em' said", "...................111......"),
        ("'a⏎b' c", "......."),
    ],
    "inside ‘quotes’": [
        ("‘I don’t,’ he said", "111111111........."),
        ("a ‘b⏎⏎c ‘d’", "........11."),
        ("‘a⏎b’", "1111."),
    ],
    "inside ( )": [
        ("a (b (c) d) e", "..11111111..."),
        ("(a (b) c", "...11..."),
        ("a) (b) c)", "...11...."),
        ("([)]", "11.."),
        ("()", "1."),
    ],
    "inside [ ]": [("a[b[0]] [", ".11111..."), ("[([)]", "..11.")],
    "inside { }": [("if (a) { b; } }", ".......11111...")],
    "inside [[ ]]": [
        ("a [[b|c]] d [e]", "..111111......."),
        ("[[a [[b]] c", "....1111..."),
        ("[[F:a|b [[c]] d]]", "1111111111111111."),
    ],
    "inside a tag < >": [
        ('a <b c="d">e</b> f', "..11111111..111..."),
        ("a < b, c > d", "............"),
        ("<a⏎b> <stdio.h>", "1111..........."),
        ("<http://x.y/> <br/>", "..............1111."),
    ],
    "inside a URL": [
        ("see http://a.b/c.", "....111111111111."),
        ("(see https://a.b/c) d", ".....1111111111111..."),
        ("http://a.b/c_(d), e", "1111111111111111..."),
        ("[http://a.b c] www.d.e?", ".1111111111....1111111."),
        ("awww.no www...", ".............."),
    ],
    "inside a /* comment */": [
        ("a /* b // c */ d", "..11111111111..."),
        ("a; // b⏎c", "...1111.."),
        ("a; // b␍⏎c", "...1111..."),
        ("http://a.b // c d", "...........111111"),
        ('s = "// no"; // yes', ".............111111"),
        ("x = a // b⏎", "..........."),
        ("/* a", "...."),
        ("// it's⏎'a' // b c⏎", "1111111.....111111."),
        ("/*/ a */", "1111111."),
    ],
    "inside a # comment": [
        ("a = 1  # b", ".......111"),
        ("# a⏎b", "111.."),
        ("a = '# b'  # c", "...........111"),
        ("color: #fff; # a", ".............111"),
        ('"""a⏎# b⏎"""  # c⏎', "..............111."),
        ("#include <a>⏎#!a", ".............111"),
        ("# don't⏎s = 'a' # 'b'", "1111111.........11111"),
    ],
    "inside <!-- -->": [
        ("a <!-- b --> c", "..111111111..."),
        ("<!-- a <!-- b --> c -->", "1111111111111111......."),
        ("<!-- a", "......"),
    ],
    "inside a string literal": [
        (r'a = "b\"c" + d', "....11111....."),
        (r"a = 'b\\' + 'c'", "....1111....11."),
        ('"""a⏎# "b"⏎""" c', "1111111111111..."),
        ("'''it's''' # 'no'", "111111111........"),
        ("f'a' rb'c'", ".11....11."),
        ("don't say can't", "..............."),
        ('a "b⏎c "d"', ".......11."),
        ('\'"\' "a"', "11..11."),
        ('"a\\⏎b" c', "11111..."),
        ('# "a"⏎"b"', "......11."),
    ],
    "inside an if condition": [
        ("if (a && (b)) c;", "...111111111...."),
        ("} else if (a) {", "..........11..."),
        ("if a[1:2]:  # b⏎  c", "...111111.........."),
        ("  elif (a) or b:⏎", ".......11111111.."),
        ("if (c == '(') d", "...111111111..."),
        ("if you like it: yes", "..................."),
        ("only if (and when) it", "....................."),
        ("while a: break", "......1......."),
        ("if a == ':':␍⏎", "...11111111..."),
        ("if (a", "....."),
    ],
    "start of a line": [("a⏎b␍⏎⏎c", "1.1..11")],
    "start of a sentence": [
        ("It is. So! And", "1......1...1.."),
        ('"No!" he said. "Yes."', "1..............1....."),
        ("Mr. A. B is 3.14 m. So", "1...................1."),
        ("A⏎⏎b", "1..1"),
        ("Я тут. Да", "1......1."),
    ],
    "start of a paragraph": [("a⏎b⏎⏎c⏎ ⏎⏎d", "1....1....1"), ("a␍⏎␍⏎b", "1....1")],
    "start of a word": [
        ("I don't, a_b", "1.1......1.."),
        ("naı\u0308ve éa", "1......1."),
        ("я да😀a", "1.1..1"),
    ],
    "next is a line end": [("a⏎b␍⏎⏎", "1.111.")],
    "next is a space": [("a  b ", "11.1.")],
    "capital letters in a row": [("NASA Is A ДА", "1111......11")],
    "speaker's name on its line": [
        ("First Citizen:⏎We:⏎a:", "11111111111111.111..."),
        ("ROMEO:␍⏎A: b", "111111......"),
        ("ДА:⏎", "111."),
    ],
    "digit": [("a1 22😀", ".1.11.")],
    "upper case": [("aBЯя1É", ".11..1")],
    "vowel": [("aбéйЁyAñ", "1.1.1.1.")],
    "letter": [("a1_я é😀", "1..1.1.")],
    "space or line end": [("a b⏎→␍c", ".1.111.")],
    "punctuation": [("a, b—«c» +_", ".1..11.1.11"), ("e\u0301😀.", "...1")],
    "space 1 back": [("a b⏎ c", "..1..1"), ("⏎⏎ a", ".11."), ("ab", "..")],
    "space 3 back": [("a b⏎ c a", "....1..1")],
    "space 5 back": [("a b⏎ c a", "......1."), (" a", "..")],
    "commonest letter 1 back": [("ab⏎b b", "..1.1."), ("ba1", "..1")],
    "commonest letter 3 back": [("abcb1,, b", "....1.1..")],
    "commonest letter 5 back": [("ab⏎b a..b", "......1.1")],
    "depth of brackets": [("a(b[c]{d})(", "01122122100"), ("(()", "010")],
    "depth of { }": [("{a{b}({})}", "1122112110")],
    "indentation": [
        ("a⏎  b⏎", "001222"),
        ("→a⏎ →b␍⏎c", "888188880"),
    ],
    "position in the line": [("ab⏎c⏎⏎de", "01201001")],
    "position in the word": [("ab don't—e", "1201234501"), ("e\u0301a 😀b", "123001")],
    "position in the sentence": [("A b. Cd.", "01234012")],
    "position in the paragraph": [("a⏎b⏎⏎cd", "0123401")],
}

any_text = st.text(st.characters() | st.sampled_from("\"'()[]{}<>/*#:.\\!w-“”‘’ \r\n\t"))


def _answers(text: str) -> dict[str, Label]:
    return {label.name: label for label in labels_of(text)}


def _check(text: str) -> None:
    """What holds of the labels of any text."""
    found = labels_of(text)
    assert len({label.name for label in found}) == len(found)
    for label, again in zip(found, labels_of(text), strict=True):
        assert label.values.dtype == np.float32, label.name
        assert label.values.shape == (len(text),), label.name
        assert np.isfinite(label.values).all(), label.name
        assert (label.values >= 0).all(), label.name
        assert label.is_graded or (label.values <= 1).all(), label.name
        assert (label.values == np.floor(label.values)).all(), label.name
        np.testing.assert_array_equal(label.values, again.values)


@pytest.mark.parametrize(
    ("name", "picture", "marks"), [(name, *one) for name, pictures in PICTURES.items() for one in pictures]
)
def test_pictures(name: str, picture: str, marks: str) -> None:
    """The label says what the hand says."""
    text = picture.translate({ord("⏎"): "\n", ord("␍"): "\r", ord("→"): "\t"})
    assert len(text) == len(marks), "the picture is crooked"
    values = _answers(text)[name].values
    drawn = "".join(str(int(value)) for value in values)
    assert drawn == marks.replace(".", "0"), f"{name}\n{picture}\n{drawn}\n{marks}"


def test_every_label_has_a_picture() -> None:
    """None is without an example, and none of the examples is of a label that is gone."""
    assert list(_answers("")) == list(PICTURES)


def test_a_slip_is_not_closed_far_away() -> None:
    """Brackets and quotes with too much between them are not taken for a pair; a long body in braces is one."""
    far = "a " * 2000
    for opening, closing in ("()", "[]", '""', "“”", "‘’", ("[[", "]]")):
        assert not _answers(opening + far + closing)[f"inside {_name(opening, closing)}"].values.any()
    assert _answers("{" + far + "}")["inside { }"].values.sum() == len(far) + 1


def _name(opening: str, closing: str) -> str:
    return f"{opening} {closing}" if opening[0] in "([{" else f"{opening}quotes{closing}"


def test_a_slip_does_not_turn_inside_out_what_follows() -> None:
    """A paragraph of every kind of slip before a text changes nothing in the text."""
    text = "He said \"no\" and 'yes' (or [both]).\n\n“So” it ‘is’ {a} [[b]] <!-- c --> /* d */ 'e'\n"
    slips = 'It is 5" wide "and “so ‘on ( [ { [[ <b <!-- \'no\n\n'
    alone, after = _answers(text), _answers(slips + text)
    for name, label in alone.items():
        if name.startswith("inside") and name != "inside <!-- -->":
            np.testing.assert_array_equal(after[name].values[len(slips) :], label.values, err_msg=name)


@pytest.mark.parametrize("text", ["", "a", "\n", '"', "😀", "\u0301", "\r\n\r\n", "\n\n\n", "\ud83d", "\x00"])
def test_small_texts(text: str) -> None:
    """Nothing, one character, only line ends, half a pair."""
    _check(text)


def test_an_astral_character_is_one() -> None:
    """Places are Python's characters."""
    assert _answers('😀 "😀" 😀')['inside "quotes"'].values.tolist() == [0, 0, 1, 1, 0, 0, 0]


@given(any_text)
@settings(deadline=None)
def test_labels_of_any_text(text: str) -> None:
    """A finite whole number of float32 for every character, 0 or 1 where the question is yes or no, twice the same."""
    _check(text)


@given(any_text)
@settings(deadline=None)
def test_depth_and_position_agree_with_a_loop(text: str) -> None:
    """One is inside brackets where their depth is not 0; a position in the line counts from its start."""
    found = {name: label.values for name, label in _answers(text).items()}
    inside = np.maximum.reduce([found[f"inside {pair}"] for pair in ("( )", "[ ]", "{ }")])
    np.testing.assert_array_equal(inside > 0, found["depth of brackets"] > 0)
    positions = [place - (text.rfind("\n", 0, place) + 1) for place in range(len(text))]
    assert found["position in the line"].tolist() == positions
    assert ((found["position in the word"] == 1) == (found["start of a word"] == 1)).all()


LONG = 100_000
PIECES = ['"', "'", "(", "[[", "{", "a", " ", "\n", "\r\n", '"\\', '\\"', "'\\", "'a ", "'''a ", '"""a ', '\\"""', "/*"]
PIECES += [
    "//",
    "//a",
    "x // a ",
    "# ",
    "<a",
    "<!--",
    "“",
    "‘",
    "“\n\n",
    '"\n',
    "www.",
    "www.(",
    "if (",
    "if a: ",
    ". ",
]


@pytest.mark.slow
@pytest.mark.parametrize("piece", [*PIECES, "random"])
def test_time_grows_with_the_text_only(piece: str) -> None:
    """No text is so wrong that it takes minutes: quadratic answers took two for 200,000 characters."""
    if piece == "random":
        pick = random.Random(3)
        text = "".join(pick.choice("ab \n\"'()[]{}<>/*#:.\\!w-“”‘’if\r\tA1") for _ in range(LONG))
    else:
        text = (piece * LONG)[:LONG]
    began = time.perf_counter()
    labels_of(text)
    assert time.perf_counter() - began < 10


@pytest.mark.slow
@pytest.mark.parametrize(("before", "again"), [("if ", ":"), ("www.", "."), ('"""', '\\"""'), ("<a", " "), (". ", " ")])
def test_time_after_an_opening(before: str, again: str) -> None:
    """The same where something opens once and what follows never closes it."""
    began = time.perf_counter()
    labels_of(before + (again * LONG)[:LONG] + "a")
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("said", "name", "pattern"), [("year=[0-9]{4}", "year", "[0-9]{4}"), (" a b =x=y|=", "a b", "x=y|=")]
)
def test_own_labels_are_read(said: str, name: str, pattern: str) -> None:
    """The name before the first =, all that follows as the pattern."""
    found = parse_label(said)
    assert (found[0], found[1].pattern) == (name, pattern)


@pytest.mark.parametrize("said", ["", "year", "=a", " =a", "a=", "a=[", "a=*", "a=(", "a=b{99999999999999999999}"])
def test_wrong_labels_are_refused(said: str) -> None:
    """Without =, name or pattern, or with a pattern that is none."""
    with pytest.raises(UsageError) as raised:
        parse_label(said)
    assert raised.value.hint


def test_own_labels_mark_whole_matches() -> None:
    """The last character too, and ^ is the beginning of a line."""
    own = dict([parse_label("year=[0-9]{4}"), parse_label("first=^.")])
    found = {label.name: label for label in labels_of("in 1984\nor 2001", own)}
    assert found["year"].values.tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    assert np.flatnonzero(found["first"].values).tolist() == [0, 8]
    assert not found["year"].is_graded


def test_a_pattern_for_bytes_finds_what_is_written_in_utf_8() -> None:
    """A text of a model of bytes has a character for each byte: two of "é", which the pattern means both."""
    name, pattern = parse_label("accent=é|œ", are_bytes=True)
    text = "née, œuvre".encode().decode("latin-1")
    assert name == "accent"
    assert [match.span() for match in pattern.finditer(text)] == [(1, 3), (6, 8)]
    assert not parse_label("accent=é|œ")[1].search(text)
