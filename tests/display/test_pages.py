"""Every page that `inspect` writes, in a real browser: it fits, can be read by day and by night, and does nothing.

Without a browser these tests are skipped; what can be said of a page's source is tested beside what writes it. A new
page is a new line in `PAGES`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import save
from charrnn.cli.app import main
from charrnn.display.safe import visible, visible_character
from charrnn.text.vocabulary import Vocabulary
from tests.kit.browser import PROGRAM, Browser, pixels
from tests.kit.tiny import tiny

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
    pytest.mark.skipif(os.name != "posix", reason="the browser is spoken to over inherited pipes"),
]

PAGES = {
    "text": "",
    "text, karpathy": "--units 2 --palette karpathy",
    "predictions": "--predictions --unit L2.c1",
    "predictions, karpathy": "--predictions --guesses 3 --unit L1.h2 --palette karpathy",
    "gates": "--gates",
    "horizon": "--horizon --distance 60 --lanes 5",
    "find": "--find --ablate",
    "ablate": "--ablate --unit L1.c2 --unit L2.o1",
    "patch": "--patch (l)on=g --unit L1.c2 --unit L2.h1",
    "card": "--card --unit L2.c1 --palette karpathy",
    "select": "--select l(o)n --match --threshold 0.1",
    "probe": "--label o=[on] --probe o",
    "circuit": "--circuit vowel",
    "text in bytes": "--units 1",
    "predictions in bytes": "--predictions",
}
"""What is asked for, by the name of its test; "in bytes" of a model of bytes, whose text may hold NUL."""

ESC, NUL, TURN = "\x1b", "\0", "\u202e"
ASCII = f"<script>alert(1)</script> &amp; <b onclick=alert(1)>\"'{ESC}[31m"
BEYOND = f"{TURN}abc\x9b\u2028\n\tint main() {{ return 0; }}\n日本語の文章 e\u0301 👨\u200d👩\u200d👧\n"
REST = "long" * 60 + "\nand so on\n" * 9
RUN = f"<script>alert(2)<b> &amp; {ESC}{TURN} " + "0123456789" * 9
"""A run's name may hold what a folder's may, and stands at the top of every page."""
WIDTHS = 1280, 400
SMALLEST = 10.0
"""Pixels of the smallest letters."""

# All that is drawn, by the browser's own reckoning. Elements in a box that scrolls by itself may be wider than it.
_MEASURE = """(() => {
  const all = [...document.body.querySelectorAll('*')];
  const scrolls = e => e && (getComputedStyle(e).overflowX === 'auto' || scrolls(e.parentElement));
  const boxes = all.filter(e => !scrolls(e)).map(e => [e, e.getBoundingClientRect()]);
  const cut = [...document.querySelectorAll('svg text')].filter(e => {
    const inner = e.getBoundingClientRect(), outer = e.ownerSVGElement.getBoundingClientRect();
    return inner.left < outer.left - 1 || inner.right > outer.right + 1
        || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  });
  const scale = e => e.getScreenCTM ? Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b) : 1;
  const size = e => parseFloat(getComputedStyle(e).fontSize) * scale(e);
  const texts = all.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  return {
    width: document.documentElement.scrollWidth,
    right: Math.max(...boxes.map(([e, box]) => box.right)),
    left: Math.min(...boxes.map(([e, box]) => box.left)),
    cut: cut.map(e => e.textContent),
    smallest: Math.min(...texts.filter(e => e.tagName !== 'title').map(size)),
  };
})()"""
_INKS = """(() => {
  const under = e => {
    if (!e) return null;
    const colour = getComputedStyle(e).backgroundColor;
    return colour === 'rgba(0, 0, 0, 0)' ? under(e.parentElement) : colour;
  };
  const texts = [...document.body.querySelectorAll('*')].filter(
    e => e.tagName !== 'title' && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  const pairs = texts.map(e => [getComputedStyle(e)[e.ownerSVGElement ? 'fill' : 'color'], under(e)]);
  return [...new Set(pairs.map(JSON.stringify))].map(JSON.parse);
})()"""
_CONTENT = """(() => {
  const all = [...document.querySelectorAll('*')];
  return {
    tags: [...new Set(all.map(e => e.localName))],
    attributes: [...new Set(all.flatMap(e => e.getAttributeNames()))],
    title: document.title,
    heading: document.querySelector('h1').textContent,
    text: document.body.textContent,
    said: all.flatMap(e => e.getAttributeNames().map(name => e.getAttribute(name))).join(' '),
    pre: [...document.querySelectorAll('pre')].map(e => e.textContent),
    tops: [...document.querySelectorAll('.grid b')].map(e => e.textContent),
  };
})()"""


def _inspect(arguments: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["charrnn", "inspect", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
    assert not leaving.value.code


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each page as a small network with weights of chance draws it, and beside it the same again."""
    folder = tmp_path_factory.mktemp("pages")
    for number, vocabulary in enumerate((Vocabulary.of(ASCII + BEYOND + REST), Vocabulary.of_bytes())):
        checkpoint, random = tiny(as_bytes=vocabulary.kind == "bytes"), np.random.default_rng(3)
        shapes = parameter_shapes(checkpoint.model, len(vocabulary))
        arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        (folder / f"{number}" / RUN).mkdir(parents=True)
        run = folder / f"{number}" / RUN / "best.safetensors"
        save(run, dataclasses.replace(checkpoint, vocabulary=vocabulary, parameters=arrays))
        for name, repeats in (("", 1), ("-long", 4)):
            (folder / f"{number}{name}.txt").write_text(ASCII + NUL * number + BEYOND + REST * repeats, "utf-8")
    written = {}
    for number, (name, options) in enumerate(PAGES.items()):
        written[name] = folder / f"{number}.html"
        for page in (written[name], folder / f"{number}-again.html"):
            kind = int("bytes" in name)
            text = f"{kind}{'-long' * (name == 'patch')}.txt"  # pairs have 500 characters before them
            read = [str(folder / text), "-c", str(folder / f"{kind}" / RUN)]
            _inspect([*read, "--html", str(page), *options.split()])
    return written


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests: it takes a second or more to start."""
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def _colour(said: str) -> list[int]:
    return [int(float(number)) for number in re.findall(r"[\d.]+", said)[:3]]


def _luminance(colour: Any) -> float:
    """WCAG 2.2, relative luminance."""
    shares = [channel / 255 for channel in colour]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_what_the_other_tests_look_for_is_found(browser: Browser, tmp_path: Path) -> None:
    """A page that does all that pages must not do is seen to do it."""
    page = tmp_path / "bad.html"
    page.write_text(
        '<!DOCTYPE html><body style="color:#999"><h1>a</h1><script>console.error(1)</script><img src="http://x.test/y">'
        '<div style="width:900px">b</div><svg width="20" height="20"><text y="9" font-size="9">long text</text></svg>'
    )
    browser.open(page, width=400)
    assert "http://x.test/y" in browser.requests
    assert any(event["method"] == "Runtime.consoleAPICalled" for event in browser.complaints)
    measured = browser.evaluate(_MEASURE)
    assert (measured["width"], measured["right"], measured["cut"], measured["smallest"]) == (908, 908, ["long text"], 9)
    assert ["rgb(153, 153, 153)", None] in browser.evaluate(_INKS)
    assert "script" in browser.evaluate(_CONTENT)["tags"]


def test_screenshots_are_read_as_they_were_drawn(browser: Browser, tmp_path: Path) -> None:
    """Boxes of known colours, and a gradient, which takes the filters of PNG that depend on neighbours."""
    page = tmp_path / "drawn.html"
    page.write_text(
        '<!DOCTYPE html><body style="margin:0"><div style="height:20px;background:rgb(12,34,56)"></div>'
        '<div style="height:256px;background:linear-gradient(#000,#fff)"></div>'
    )
    browser.open(page, width=64, height=276)
    seen = pixels(browser.screenshot()).astype(int)
    assert seen.shape == (276, 64, 3)
    assert (seen[:20] == (12, 34, 56)).all()
    np.testing.assert_allclose(seen[20:, :, 1], np.repeat(np.arange(256)[:, None], 64, 1), atol=2)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_loads_nothing_and_has_no_complaints(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    """Nothing is wider than the window or cut off in its picture, no letter is tiny; only the file itself is read."""
    browser.open(pages[name], width=width)
    assert browser.requests == [pages[name].resolve().as_uri()]
    assert browser.complaints == []
    measured = browser.evaluate(_MEASURE)
    assert measured["width"] == width
    assert 0 <= measured["left"] < measured["right"] <= width
    assert measured["cut"] == []
    assert measured["smallest"] >= SMALLEST


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_by_day_and_by_night(
    browser: Browser, pages: dict[str, Path], name: str, is_dark: bool
) -> None:
    """The page is bright or dark as its reader wants; all text has a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3) or more."""
    browser.open(pages[name], width=400, is_dark=is_dark)
    page = pixels(browser.screenshot(clip=(0, 0, 8, 8)))[0, 0]
    assert _luminance(page) < 0.05 if is_dark else _luminance(page) > 0.9
    for ink, under in browser.evaluate(_INKS):
        pair = [_luminance(_colour(ink)), _luminance(page if under is None else _colour(under))]
        assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5, (ink, under)


@pytest.mark.parametrize("name", PAGES)
def test_what_a_text_holds_is_shown_and_never_done(browser: Browser, pages: dict[str, Path], name: str) -> None:
    """No element that acts, no attribute that leads away; markup, control characters and turns can be read."""
    browser.open(pages[name], width=1280)
    content = browser.evaluate(_CONTENT)
    assert set(content["tags"]) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "span", "pre", "b", "i", "mark",
        "table", "thead", "tbody", "tr", "th", "td", "svg", "g", "text", "line", "circle", "polygon", "polyline",
    }  # fmt: skip
    acting = {name for name in content["attributes"] if name.startswith("on") or name in ("src", "href", "srcdoc")}
    assert acting == set()
    shown = visible(RUN, kept="")
    assert content["heading"].startswith(shown)
    assert content["title"].startswith(shown)
    for character in (ESC, NUL, TURN, "\x9b", "\u2028"):
        assert character not in content["text"] + content["said"] + content["title"]
    is_bytes = "bytes" in name
    expected = [visible_character(character) for character in ASCII + (NUL if is_bytes else BEYOND[:6])]
    symbols = {"\u241b", "\u2400"} if is_bytes else {"\u241b", "\u2039U+202E\u203a", "\u2039U+009B\u203a"}
    assert symbols <= set(expected)
    if name.startswith("text"):
        assert content["pre"]
        assert all(text.startswith("".join(expected)) for text in content["pre"])
    if name.startswith("predictions"):
        assert content["tops"][: len(expected)] == expected
        assert len(content["tops"]) >= len(ASCII + BEYOND + REST)


@pytest.mark.parametrize("name", PAGES)
def test_the_same_command_writes_the_same_bytes(pages: dict[str, Path], name: str) -> None:
    """So that pages can be compared, and kept under version control."""
    page = pages[name]
    assert page.read_bytes() == page.with_stem(f"{page.stem}-again").read_bytes()
