"""The page that writes, in a real browser: what a person does there and sees, and what it holds."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.cells.members import joined
from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import Checkpoint, load, save
from charrnn.cli.app import main
from charrnn.display.safe import visible
from charrnn.display.writing_page import WritingPage
from charrnn.inference.make_engine import make_engine
from charrnn.inference.page_model import pack
from charrnn.inference.reference import Network
from charrnn.sampling.sampler import sample
from charrnn.settings.config import ModelConfig
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.vocabulary import Vocabulary
from tests.display.test_pages import _INKS, _MEASURE, _colour, _luminance
from tests.kit.browser import Browser
from tests.kit.command import Command
from tests.kit.tiny import tiny

LETTERS = "\n abcdefghijklmnopqrstuvwxyzABC.,"
ESC, TURN, HALF = "\x1b", "\u202e", "\ud800"
NASTY = f"<script>alert(1)</script><img src=x onerror=alert(2)> &amp;\"'{ESC}[31m{TURN}{HALF}\u2028\0\n"
CJK = "".join(map(chr, range(0x4E00, 0x4E00 + 5990))) + "\n。，、「」！？"


def _checkpoint(vocabulary: Vocabulary, **settings: Any) -> Checkpoint:
    """A model with weights of chance that are large enough for a varied text."""
    base = tiny(as_bytes=vocabulary.kind == "bytes", has_end=vocabulary.has_end)
    model = dataclasses.replace(ModelConfig(num_layers=1, hidden_size=24, embedding_size=8), **settings)
    random = np.random.default_rng(3)
    shapes = parameter_shapes(model, len(vocabulary))
    arrays = {
        name: (3 * random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32) for name, shape in shapes.items()
    }
    return dataclasses.replace(base, model=model, vocabulary=vocabulary, parameters=arrays)


class Pages:
    """Writes pages as the command does."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    def run(self, checkpoint: Checkpoint) -> Path:
        self._number += 1
        run = self._folder / f"run {self._number} <b>" / "best.safetensors"
        run.parent.mkdir()
        save(run, checkpoint)
        return run

    def write(self, run: Path, *options: str) -> Path:
        self._number += 1
        page = self._folder / f"{self._number}.html"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["charrnn", "sample", "-c", str(run), "--page", str(page), *options])
            with pytest.raises(SystemExit) as leaving:
                main()
        assert not leaving.value.code
        return page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def letters(pages: Pages) -> Path:
    return pages.run(_checkpoint(Vocabulary.of(LETTERS)))


class Person:
    """Opens a page, and does what a person does: presses, types, looks."""

    def __init__(self, browser: Browser, page: Path, *, width: int = 1280, is_dark: bool = False) -> None:
        self.browser = browser
        browser.open(page, width=width, is_dark=is_dark)
        self.wait("Ready", "left out", "held at", "There is no unit")

    def wait(self, *beginnings: str) -> str:
        """Waits until the status says something of this kind, and returns it."""
        for _ in range(600):
            if any(each in (said := self.see("status")) for each in beginnings):
                return said
            time.sleep(0.02)
        raise AssertionError((said, self.browser.complaints))

    def shows(self, text: str) -> bool:
        """Whether this, and nothing else, stands in the text before long."""
        for _ in range(200):
            if self.text == text:
                return True
            time.sleep(0.02)
        raise AssertionError((self.text, text))

    def see(self, id_: str) -> str:
        said: str = self.browser.evaluate(f"document.getElementById('{id_}')?.textContent ?? ''")
        return said

    def press(self, id_: str) -> None:
        """Presses the mouse on the middle of a control."""
        self.press_at(f"document.getElementById('{id_}')")

    def press_at(self, element: str) -> None:
        x, y = self.browser.evaluate(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); "
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, id_: str, text: str) -> None:
        """Types a text in the place of what a field holds."""
        self.browser.evaluate(f"document.getElementById('{id_}').focus(); document.getElementById('{id_}').select()")
        self.browser.call("Input.insertText", text=text)

    def key(self, name: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.browser.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code)

    def set(self, id_: str, value: float) -> None:
        """Moves a slider."""
        self.browser.evaluate(
            f"(() => {{ const e = document.getElementById('{id_}'); e.value = {value}; "
            "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def write(self, button: str = "write") -> str:
        """Presses a button that writes, and returns the text when it is written."""
        self.browser.evaluate("document.getElementById('status').textContent = ''")
        self.press(button)
        self.wait("Wrote", "has ended")
        return self.text

    @property
    def text(self) -> str:
        return self.see("text")

    @property
    def guesses(self) -> list[str]:
        found: list[str] = self.browser.evaluate(
            "[...document.querySelectorAll('#next button')].map(each => each.textContent)"
        )
        return found

    @property
    def colours(self) -> list[str]:
        """The background of each character of the text."""
        return _backgrounds(self.browser)


def _backgrounds(browser: Browser) -> list[str]:
    found: list[str] = browser.evaluate(
        "[...document.querySelectorAll('#text span')].map(each => getComputedStyle(each).backgroundColor)"
    )
    return found


def _sampled(checkpoint: Checkpoint, prime: str, weights: str = "int8", **settings: Any) -> str:
    """What charrnn sample writes after a prime, in the weights that the page has."""
    engine = make_engine(checkpoint.model, checkpoint.parameters, weights=weights, end=checkpoint.vocabulary.end)  # type: ignore[arg-type]
    ids = checkpoint.vocabulary.encode(prime)
    return "".join(sample(engine, checkpoint.vocabulary, ids, SamplingConfig(**settings)))


def test_a_person_writes_with_the_model(browser: Browser, pages: Pages, letters: Path) -> None:
    """Types a prime, writes, changes the temperature, picks, undoes, colours by a unit, holds it: in one sitting."""
    page = pages.write(letters, "--length", "200", "--page-weights", "float32")
    person, checkpoint = Person(browser, page), load(letters)
    person.type("prime", "the cat ")
    assert person.shows("the cat "), "what is typed is read at once"
    first = person.write()
    assert first == "the cat " + _sampled(checkpoint, "the cat ", "float32", length=200)
    assert person.see("status") == "Wrote 200 characters."
    assert re.fullmatch(r"[\d,]+ characters a second, [\d,]+ million multiply-adds a second", person.see("speed"))

    person.set("temperature", 0)
    assert browser.evaluate("at('temperature-slider').value") == "0"
    assert person.write("again") == "the cat " + _sampled(checkpoint, "the cat ", "float32", length=200, temperature=0)

    before, guesses = person.text, person.guesses
    assert len(guesses) == 10
    third = guesses[2][0]
    person.press_at("document.querySelectorAll('#next button')[2]")
    person.wait("Picked")
    assert person.shows(before + {"␣": " ", "↵": "\n"}.get(third, third))
    assert person.guesses != guesses
    person.type("own", "and so")
    person.key("Enter", 13)
    person.wait("Added")
    picked = before + person.text[len(before)]
    assert person.shows(picked + "and so")
    for expected in (picked, before, "the cat "):
        person.press("undo")
        person.wait("Undone")
        assert person.text == expected
    assert person.guesses != guesses
    assert browser.evaluate("document.getElementById('undo').disabled")

    person.write()
    assert set(person.colours) == {"rgba(0, 0, 0, 0)"}
    person.press("colour-surprisal")
    assert len(set(person.colours)) > 1
    person.press("colour-unit")
    person.type("unit", "L1.h5")
    person.key("Tab", 9)
    free = person.colours
    assert len(set(free)) > 4
    value = float(re.fullmatch(r"L1\.h5 is at ([+−]\d\.\d\d)", person.see("under"))[1].replace("−", "-"))  # type: ignore[index]
    assert -1 <= value <= 1

    person.press("hold")
    person.set("at", -1)
    assert person.see("status") == "L1.h5 is held at −1.00 from here on; Start again holds it from the beginning."
    text = person.text
    person.write()
    held = person.colours
    assert held[: len(free)] == free, "what was written before stays as it was"
    assert len(held) == len(free) + 200
    assert set(held[len(free) :]) == {held[-1]}, "the unit is held"
    assert person.see("under") == "L1.h5 is at −1.00"
    again = person.write("again")
    assert again != text, "the held unit changes the text"
    with pytest.MonkeyPatch.context() as patch:
        clamped = _clamped(patch, letters, "L1.h5=-1", "the cat ")
    assert again == "the cat " + clamped
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.complaints == []


def _clamped(patch: pytest.MonkeyPatch, run: Path, clamp: str, prime: str) -> str:
    from charrnn.cli.steering import Steering

    return _sampled(Steering(clamp=[clamp]).clamped(load(run)), prime, "float32", length=200, temperature=0)


def test_it_stops_and_goes_on(browser: Browser, pages: Pages, letters: Path) -> None:
    """Stopped at any place and gone on with, it writes the text that it would have written in one go."""
    person = Person(browser, pages.write(letters, "--length", "3000", "--prime", "so "))
    browser.evaluate("document.getElementById('pace').value = '20'")
    person.press("write")
    assert person.see("write") == "Stop"
    while len(person.text) < 9:
        time.sleep(0.01)
    person.key("Escape", 27)
    person.wait("Wrote")
    so_far = len(person.text)
    assert 9 <= so_far < 3003, "it was stopped in the midst"
    browser.evaluate("document.getElementById('pace').value = '0'")
    assert person.see("write") == "Go on"
    person.press("one")
    person.wait("Wrote 1 character.")
    assert len(person.text) == so_far + 1
    person.type("length", "400")
    text = person.write()
    assert text == "so " + _sampled(load(letters), "so ", length=so_far - 3 + 1 + 400)


def test_a_slow_click_picks_the_character_that_was_pressed(browser: Browser, pages: Pages, letters: Path) -> None:
    """While the model writes, and so guesses other characters; by the space bar too."""
    person = Person(browser, pages.write(letters, "--length", "3000", "--prime", "so "))
    browser.evaluate("document.getElementById('pace').value = '20'")
    button = "document.querySelectorAll('#next button')[1]"
    x, y = browser.evaluate(f"(({{x, y}}) => [x + 9, y + 9])({button}.getBoundingClientRect())")
    place = {"x": x, "y": y, "button": "left", "clickCount": 1}
    space = {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32}
    for method, down, up in [
        ("Input.dispatchMouseEvent", {"type": "mousePressed", **place}, {"type": "mouseReleased", **place}),
        ("Input.dispatchKeyEvent", {"type": "keyDown", "text": " ", **space}, {"type": "keyUp", **space}),
    ]:
        person.press("write")
        browser.evaluate(f"{button}.focus()")
        browser.call(method, **down)
        pressed, others = person.guesses[1], len(person.text)
        while len(person.text) < others + 10:
            time.sleep(0.02)
        assert person.guesses[1] == pressed
        browser.call(method, **up)
        said = person.wait("Picked")
        assert said == f"Picked {pressed[0]}."
        while browser.evaluate("page.session.isReading"):
            time.sleep(0.02)
        assert browser.evaluate("page.characters.name(page.session.ids.at(-1))") == pressed[0]
        assert person.see("write") == "Go on", "what is picked stops the model"
        assert browser.evaluate(f"document.activeElement === {button}")


def test_words_that_are_still_read_are_undone_whole(browser: Browser, pages: Pages, letters: Path) -> None:
    """One character is asked for before the words before it have been read."""
    person = Person(browser, pages.write(letters, "--prime", "so "))
    browser.evaluate("at('own').value = 'and so on'; at('add').click(); at('one').click()")
    assert person.wait("Wrote") == "Wrote 1 character."
    assert len(person.text) == len("so and so on") + 1
    for expected in ("so and so on", "so "):
        person.press("undo")
        assert person.shows(expected)
    browser.evaluate("at('again').click(); at('write').click()")
    assert person.wait("Wrote") == "Wrote 0 characters.", "stopped while the beginning was read"
    assert person.shows("so ")


def test_what_has_no_room_is_kept_where_it_was_typed(browser: Browser, pages: Pages, letters: Path) -> None:
    """The status says why nothing was put, for words and for a guess."""
    person = Person(browser, pages.write(letters, "--prime", "so "))
    browser.evaluate("page.session.most = page.session.ids.length + 1; at('own').value = 'so'; at('add').click()")
    assert "would have more than" in person.wait("The text would")
    assert browser.evaluate("at('own').value") == "so"
    assert person.shows("so ")
    browser.evaluate("page.session.most -= 1; document.querySelector('#next button').click()")
    assert "would have more than" in person.wait("The text would", "Picked")
    assert person.shows("so ")


def test_it_says_why_the_model_cannot_go_on(browser: Browser, pages: Pages, letters: Path) -> None:
    """What was written before in the same moment stays, with its values, and the model can go on after it."""
    person = Person(browser, pages.write(letters, "--prime", "so ", "--length", "40"))
    browser.evaluate(
        """const {read} = page.model, wanted = page.session.ids.length + 21;
           page.model.read = function (id) {
             read.call(this, id);
             if (page.session.ids.length + 1 === wanted) {
               this.logits[0] = NaN;
               page.model.read = read;
             }
           };"""
    )
    person.press("write")
    assert person.wait("Wrote", "cannot") == "The model cannot go on: the model's output is not finite."
    assert person.see("write") == "Go on"
    assert len(person.text) == 3 + 20
    lengths = browser.evaluate("['ids', 'who', 'bits', 'held', 'units'].map(name => page.session[name].length)")
    assert lengths == [1 + 3 + 20] * 5
    assert person.write() == "so " + _sampled(load(letters), "so ", length=60)


def test_enter_that_ends_a_composition_adds_nothing(browser: Browser, pages: Pages, letters: Path) -> None:
    person = Person(browser, pages.write(letters, "--prime", "so "))
    press = "at('own').dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: %s}))"
    person.type("own", "and")
    browser.evaluate(press % "true")
    assert browser.evaluate("at('own').value") == "and"
    browser.evaluate(press % "false")
    assert person.shows("so and")


def test_the_greedy_text_is_that_of_sample(browser: Browser, pages: Pages, letters: Path) -> None:
    page = pages.write(letters, "-t", "0", "-n", "500", "--prime", "Ca", "--page-weights", "float32")
    assert Person(browser, page).write() == "Ca" + _sampled(load(letters), "Ca", "float32", temperature=0, length=500)


@pytest.mark.parametrize("drawn", [(3.0, 0.655), (0.8, 0.005), (1.23456789, 1.0)])
def test_any_temperature_and_top_p_are_those_of_sample(
    browser: Browser, pages: Pages, letters: Path, drawn: tuple[float, float]
) -> None:
    """Also those beyond the sliders, and between their steps; what is no number in a field changes nothing."""
    temperature, top_p = drawn
    options = ("-t", str(temperature), "--top-p", str(top_p), "-n", "200", "--page-weights", "float32")
    person = Person(browser, pages.write(letters, *options))
    expected = _sampled(load(letters), "", "float32", temperature=temperature, top_p=top_p, length=200)
    assert person.write() == expected
    for nonsense in ("", "-1", "x", "1e999"):
        person.type("temperature", nonsense)
        person.type("top-p", nonsense)
    person.key("Tab", 9)
    assert browser.evaluate("['temperature', 'top-p'].map(id => Number(at(id).value))") == [temperature, top_p]
    assert person.write("again") == expected
    person.set("temperature-slider", 0)
    assert person.write("again") == _sampled(load(letters), "", "float32", temperature=0, length=200)


@pytest.mark.parametrize("name", ["empty prime", "cjk", "bytes", "documents", "no line end"])
def test_other_vocabularies(browser: Browser, pages: Pages, name: str) -> None:
    """The page begins as charrnn sample does, and shows what that writes."""
    vocabulary = {
        "empty prime": Vocabulary.of(LETTERS),
        "cjk": Vocabulary.of(CJK),
        "bytes": Vocabulary.of_bytes(),
        "documents": Vocabulary.of(LETTERS, has_end=True),
        "no line end": Vocabulary.of("abcdef"),
    }[name]
    prime = {"cjk": "丁七万", "bytes": "é€", "documents": "ab"}.get(name, "")
    checkpoint = _checkpoint(vocabulary, cell="gru")
    if vocabulary.has_end:
        checkpoint.parameters["decoder.bias"][-1] += 2
    page = pages.write(pages.run(checkpoint), "--prime", prime, "-n", "120", "-t", "0.6", "--page-weights", "float32")
    person = Person(browser, page)
    assert person.shows(prime)
    expected = _sampled(checkpoint, prime, "float32", length=120, temperature=0.6)
    shown = person.write()
    if name == "documents":
        assert "‹end›" in shown, "it is likely"
        shown = shown.partition("‹end›")[0]
    assert shown.rstrip("�") == (prime + visible(expected)).rstrip("�")
    assert len(set(expected)) > 1
    assert browser.complaints == []


def test_what_is_nasty_is_shown_and_never_run(browser: Browser, pages: Pages) -> None:
    """In the vocabulary, the prime, the name of the run, what is typed, picked and found, and in the address."""
    run = pages.run(_checkpoint(Vocabulary.of(NASTY)))
    found = run.parent / "found.json"
    label = "<script>alert(3)</script>" + TURN
    findings = [("L1.c3", label, "found"), ("L1.c4", "b", "chance"), ("L1.h5", "c", "found"), ("L1.c3", "d", "found")]
    rows = [dict(zip(("unit", "label", "verdict"), one, strict=True)) for one in findings]
    found.write_text(json.dumps({"checkpoint": str(run), "findings": rows, "strong": 3}))
    prime = run.parent / "prime.txt"
    told = NASTY.replace(HALF, "").replace("\0", "")
    prime.write_text(told, "utf-8")
    page = pages.write(run, "--prime-file", str(prime), "--found", str(found), "-t", "2", "-n", "300")
    source = page.read_bytes()
    assert source.count(b"<script") == 3
    assert TURN.encode() not in source
    person = Person(browser, page)
    assert person.shows(visible(told))
    browser.evaluate(
        "(() => { const field = document.getElementById('prime'); field.value = '\\ud800\\0a\\u202e'; "
        "field.dispatchEvent(new Event('input')); })()"
    )
    assert person.shows("‹U+D800›␀a‹U+202E›")
    person.write()
    assert "␛" in person.text
    assert TURN not in person.text
    written = person.text
    person.type("own", "<script>alert(1)</script>é")
    person.press("add")
    assert person.wait("left out") == "The model has never met é (U+00E9): left out."
    assert person.shows(written + "<script>alert(1)</script>")
    person.press("colour-unit")
    assert person.see("unit-help")
    options = browser.evaluate("[...document.getElementById('found').options].map(each => each.textContent)")
    assert options == ["choose", f"{visible(label)}, d (L1.c3)", "c (L1.h5)"]
    assert browser.evaluate("document.getElementById('unit').value") == "L1.c3"
    browser.evaluate("location.hash = 'prime=%3Cscript%3E%E2%80%AE&unit=%3Cimg src=x onerror=alert(5)>&seed=-1e9'")
    assert person.wait("There is no unit").startswith("There is no unit <img src=x onerror=alert(5)>.")
    assert person.shows(visible("<script>" + TURN))
    tags = browser.evaluate("[...new Set([...document.body.querySelectorAll('*')].map(each => each.localName))]")
    assert not {"img", "b"} & set(tags)
    assert browser.evaluate("document.querySelectorAll('script').length") == 2, "the program, and its data"
    assert browser.requests[1:] == []
    assert browser.complaints == []


def test_a_character_is_asked_about_by_keys(browser: Browser, pages: Pages, letters: Path) -> None:
    """Its bits and its unit's value are those that numpy has."""
    person = Person(browser, pages.write(letters, "--prime", "so it is", "--page-weights", "float32"))
    loaded = load(letters)
    network = Network(loaded.model, loaded.parameters)
    ids = loaded.vocabulary.encode("\nso it is")
    bits, state = [], network.zero_state(1)
    for id_, following in itertools.pairwise(ids.tolist()):
        logits, state = network.read(np.array([id_]), state)
        bits.append(float(np.log2(np.exp(logits[0]).sum()) - logits[0, following] / np.log(2)))
    values = network.record(ids, network.zero_state(1))[0]["h"][1:, 0, 5]
    browser.evaluate("document.getElementById('text').focus()")
    for key, code, place in (
        ("ArrowLeft", 37, 7), ("ArrowLeft", 37, 6), ("ArrowRight", 39, 7), ("ArrowRight", 39, 7),
        ("Home", 36, 0), ("ArrowRight", 39, 1), ("ArrowRight", 39, 2), ("End", 35, 7),
    ):  # fmt: skip
        person.key(key, code)
        assert person.see("status") == f"{'so␣it␣is'[place]}: {bits[place]:.2f} bits"
        marked = "[...document.querySelectorAll('#text span')].map(each => each.classList.contains('cursor'))"
        assert browser.evaluate(marked) == [other == place for other in range(8)]
    person.press("colour-unit")
    assert browser.evaluate("document.querySelectorAll('.cursor').length") == 0, "the focus has left"
    person.type("unit", "L1.h5")
    person.key("Tab", 9)
    browser.evaluate("document.getElementById('text').focus()")
    person.key("Home", 36)
    said = person.see("status").replace("−", "-")
    assert said.startswith(f"s: {bits[0]:.2f} bits, L1.h5 at ")
    assert float(said.rpartition(" ")[2]) == pytest.approx(values[0], abs=0.01)


@pytest.mark.parametrize("bytes_", [b"a\xff\xc3b", "é€ &=+%".encode()])
def test_a_prime_of_bytes_and_the_pace_are_shared(browser: Browser, pages: Pages, bytes_: bytes) -> None:
    """Bytes that are not UTF-8 too."""
    run = pages.run(_checkpoint(Vocabulary.of_bytes()))
    prime = run.parent / "prime.bin"
    prime.write_bytes(bytes_)
    page = pages.write(run, "--prime-file", str(prime))
    person = Person(browser, page)
    browser.evaluate("at('pace').value = '5'")
    person.press("share")
    person.wait("address")
    address = browser.evaluate("location.href")
    browser.call("Page.navigate", url="about:blank")
    other = pages.write(run).resolve().as_uri()
    browser.call("Page.navigate", url=other + "#" + address.partition("#")[2])
    person.wait("Ready")
    assert browser.evaluate("at('pace').value") == "5"
    while browser.evaluate("page.session.isReading"):
        time.sleep(0.02)
    assert bytes(browser.evaluate("page.session.ids.slice(page.session.shown)")) == bytes_
    browser.call("Page.navigate", url=other + "#prime-json=%5B3&prime=ab&pace=7")
    assert person.shows("ab")
    assert browser.evaluate("at('pace').value") == "5", "what makes no sense stays as it is"


def test_a_shared_colour_without_a_unit_colours_by_one(browser: Browser, pages: Pages, letters: Path) -> None:
    """By the unit that varies most over the beginning, which is read after the address."""
    page = pages.write(letters, "--prime", "so it is, and so it was")
    browser.open(page, width=1280)
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=page.resolve().as_uri() + "#colour=unit")
    for _ in range(200):
        name = browser.evaluate("document.getElementById('unit')?.value")
        if name:
            break
        time.sleep(0.02)
    values = browser.evaluate("page.session.units.map(each => Array.from(each))")
    variances = np.var(np.array(values), axis=0)[: 2 * 24]
    best = int(variances.argmax())
    assert name == f"L1.{'hc'[best // 24]}{best % 24}"
    assert len(set(_backgrounds(browser))) > 4


def test_settings_are_shared_in_the_address(browser: Browser, pages: Pages, letters: Path) -> None:
    page = pages.write(letters, "--length", "60")
    person = Person(browser, page)
    person.type("prime", "a b&c=d".replace("&", ".").replace("=", ","))
    person.set("temperature", 1.25)
    person.set("top-p", 0.9)
    person.type("seed", "9007199254740993")
    person.press("colour-unit")
    person.type("unit", "L1.c3")
    person.key("Tab", 9)
    person.press("hold")
    person.set("at", 0.5)
    person.press("share")
    person.wait("address")
    address = browser.evaluate("location.href")
    text, colours = person.write("again"), person.colours
    browser.open(page, width=1280)
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=address)
    person.wait("Ready", "held")
    assert browser.evaluate("at('temperature').value") == "1.25"
    assert person.write() == text
    assert person.colours == colours
    assert text[7:] == _clamped_at(letters, "L1.c3=0.5", "a b.c,d")


def _clamped_at(run: Path, clamp: str, prime: str) -> str:
    from charrnn.cli.steering import Steering

    settings = {"length": 60, "temperature": 1.25, "top_p": 0.9, "seed": 9007199254740993}
    return _sampled(Steering(clamp=[clamp]).clamped(load(run)), prime, "int8", **settings)


def test_the_text_is_copied_exactly(browser: Browser, pages: Pages, letters: Path) -> None:
    person = Person(browser, pages.write(letters, "--length", "50", "--prime", "co"))
    text = person.write()
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    person.press("copy")
    person.wait("copied")
    assert browser.evaluate("navigator.clipboard.readText()") == text


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_and_can_be_read(browser: Browser, pages: Pages, letters: Path, width: int, is_dark: bool) -> None:
    """Nothing is wider than the window; every letter has a contrast of 4.5 to 1, on each colour of the text too."""
    person = Person(
        browser, pages.write(letters, "--length", "300", "--prime", "a " * 40), width=width, is_dark=is_dark
    )
    person.write()
    for colour in ("surprisal", "unit"):
        person.press(f"colour-{colour}")
        if colour == "unit":
            person.press("lively")
            assert len(set(person.colours)) > 8
        measured = browser.evaluate(_MEASURE)
        assert measured["width"] == width
        assert 0 <= measured["left"] < measured["right"] <= width
        assert measured["smallest"] >= 12
        for ink, ground in browser.evaluate(_INKS):
            if ground is not None and ink is not None:
                light, dark = sorted((_luminance(_colour(ink)), _luminance(_colour(ground))), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_every_control_has_a_name_and_is_reached_by_keyboard(browser: Browser, pages: Pages, letters: Path) -> None:
    """By the browser's own tree of what a screen reader is told."""
    person = Person(browser, pages.write(letters, "--length", "60"))
    person.press("colour-unit")
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "slider", "radio", "checkbox", "combobox", "region", "spinbutton", "status"}
    named = {
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if node.get("role", {}).get("value") in roles and not node.get("ignored") and "name" in node
    }
    assert {
        ("textbox", "Beginning"), ("button", "Write"), ("button", "Undo"), ("region", "Text"), ("textbox", "Unit"),
        ("textbox", "Temperature"), ("slider", "Temperature from 0 to 2"), ("textbox", "Top-p"),
        ("slider", "Top-p from 0.01 to 1"), ("textbox", "Seed"), ("textbox", "Length"),
        ("combobox", "Pace"), ("radio", "surprisal"), ("checkbox", "hold it at"),
        ("slider", "Value at which the unit is held"),
    } <= named  # fmt: skip
    assert not [role for role, name in named if not name and role != "status"]
    browser.evaluate("document.getElementById('prime').focus()")
    order = []
    for _ in range(20):
        self_ = browser.evaluate("document.activeElement.id || document.activeElement.textContent")
        order.append(self_)
        person.key("Tab", 9)
    assert order[:2] == ["prime", "write"]
    assert {"one", "again", "text", "own", "add"} <= set(order)
    browser.evaluate("document.getElementById('prime').focus()")
    browser.call("Input.dispatchKeyEvent", type="rawKeyDown", key="Enter", windowsVirtualKeyCode=13, modifiers=2)
    person.wait("Wrote 60")


def test_it_answers_while_it_writes(browser: Browser, pages: Pages) -> None:
    """No task of a page that writes takes long: a timer that is asked for at once comes in time."""
    run = pages.run(_checkpoint(Vocabulary.of(LETTERS), hidden_size=700))
    person = Person(browser, pages.write(run, "--length", "5000"))
    person.press("write")
    waited = browser.evaluate(
        """new Promise(async done => {
             const gaps = [];
             for (let k = 0; k < 15; k++) {
               const before = performance.now();
               await new Promise(next => setTimeout(next, 0));
               gaps.push(performance.now() - before);
             }
             done(gaps.sort((a, b) => a - b)[7]);
           })"""
    )
    assert waited < 200, "milliseconds, on a busy machine; half of them come sooner"
    assert person.see("write") == "Stop", "it still writes"
    person.press("write")
    person.wait("Wrote")


def test_the_size_is_that_of_the_arrays_in_base64(pages: Pages) -> None:
    """At most 1.4 times the arrays as the int8 engine holds them, and 70 kB; the page tells its size beforehand."""
    for settings, vocabulary in (({}, LETTERS), ({"hidden_size": 192, "num_layers": 2}, LETTERS), ({}, CJK)):
        checkpoint = _checkpoint(Vocabulary.of(vocabulary), **settings)
        held = 0
        for name, array in checkpoint.parameters.items():
            is_rounded = name.endswith("weight_hh") or (name.endswith("weight_ih") and not name.startswith("layers.1."))
            groups = -(-array.shape[-1] // 64)
            held += array.size + 4 * len(array) * groups if is_rounded else 4 * array.size
        page = pages.write(pages.run(checkpoint))
        assert page.stat().st_size <= 1.4 * held + 70_000


def test_the_same_gives_the_same_bytes(pages: Pages, letters: Path) -> None:
    options = ("--prime", "ab", "--seed", "5")
    first = pages.write(letters, *options).read_bytes()
    assert pages.write(letters, *options).read_bytes() == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--page p.html --json", "--json does not go with it"),
        ("--page p.html --count 3", "--count does not go with it"),
        ("--page p.html --top-k 3", "--top-k does not go with it"),
        ("--page p.html --clamp L1.c1=1", "--clamp does not go with it"),
        ("--page p.html -t 0.5,1", "a second temperature does not go with it"),
        ("--page p.html --weights int8", "--weights does not go with it"),
        ("--page nowhere/p.html", "nowhere"),
        ("--page-weights float32", "--page-weights is about the page of --page"),
        ("--found f.json", "--found is about the page of --page"),
        ("--page p.html --found f.json", "f.json"),
        ("--page p.html --found other.json", "other.json does not hold what inspect --find --json prints"),
        ("--page p.html --found recurring.json", "recurring.json does not hold what inspect --find --json prints"),
        ("--page p.html --found far.json", "there is no layer 9"),
        ("--page p.html --prime é", "U+00E9"),
        ("--page p.html -n 50000", "--length is 50,000, and the page of this model has room for 9,999"),
        ("--page p.html -n 9999 --prime a", "--length is 9,999 after a prime of 1 character, and"),
        ("--page p.html --prime-file long.txt", "the prime has 9,900 characters, and the page of this model reads at"),
    ],
)
def test_what_does_not_go_with_a_page_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("one/best.safetensors")
    run.parent.mkdir()
    save(run, tiny())
    Path("other.json").write_text('{"findings": 3}')
    far = {"unit": "L9.c1", "label": "a", "verdict": "found"}
    Path("far.json").write_text(json.dumps({"checkpoint": "x", "findings": [far], "strong": 1}))
    Path("recurring.json").write_text(json.dumps({"checkpoint": "x", "findings": [{"label": "a", "verdict": "some"}]}))
    Path("long.txt").write_text("a" * 9900)
    result = command("sample", "-c", str(run), *options.split())
    assert result.status in (2, 3)
    assert said in result.err
    assert not Path("p.html").exists()


def test_ensembles_and_variants_are_refused_with_the_reason(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "best.safetensors"
    save(run, _checkpoint(Vocabulary.of(LETTERS), layer_norm=True))
    result = command("sample", "-c", str(run), "--page", str(tmp_path / "p.html"))
    assert result.status == 2
    assert "this model's step is that of lstm with layer norm" in result.err
    one = _checkpoint(Vocabulary.of(LETTERS))
    two = joined([one.parameters, one.parameters])
    save(run, dataclasses.replace(one, members=2, parameters=two))
    result = command("sample", "-c", str(run), "--page", str(tmp_path / "p.html"))
    assert result.status == 2
    assert "a page is about one model, and this is an ensemble of 2 members" in result.err
    assert not (tmp_path / "p.html").exists()


def test_a_page_of_more_than_64_megabytes_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "best.safetensors"
    save(run, _checkpoint(Vocabulary.of(LETTERS), hidden_size=64))
    monkeypatch.setattr("charrnn.cli.page._MOST_BYTES", 150_000)
    result = command("sample", "-c", str(run), "--page", str(tmp_path / "p.html"), "--page-weights", "float32")
    assert result.status == 2
    assert "the page would have 0.2 MB" in result.err
    assert "leave --page-weights out: with int8 the page has 0.1 MB; train a smaller model" in result.err
    monkeypatch.setattr("charrnn.cli.page._MOST_BYTES", 50_000)
    result = command("sample", "-c", str(run), "--page", str(tmp_path / "p.html"), "--page-weights", "float32")
    assert result.status == 2
    assert "leave --page-weights out" not in result.err, "it would not help"


def test_the_size_that_is_told_is_the_files(pages: Pages, letters: Path) -> None:
    checkpoint = load(letters)
    page = WritingPage(
        heading="a", about="b", model=pack(checkpoint.model, checkpoint.parameters, "int8"),
        characters={"points": checkpoint.vocabulary.code_points.tolist(), "end": None}, start={},
        settings={"prime": "é" * 9000}, found=[("L1.c1", "a" * 300_000)], most=9_900,
    )  # fmt: skip
    assert abs(page.num_bytes - len(page.html().encode())) < 1500


def test_found_units_of_another_network_are_noted(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is that nothing was found; the page is written in both cases."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(name).mkdir()
        save(Path(name, "best.safetensors"), tiny())
    findings = [{"unit": "L1.c1", "label": "a", "verdict": "found"}]
    for made_of, rows, said in (
        ("one", findings, None),
        ("two", findings, "whose units may know"),
        ("one", [], "no unit"),
    ):
        content = {"checkpoint": f"{made_of}/best.safetensors", "findings": rows, "strong": 1}
        Path("f.json").write_text(json.dumps(content))
        result = command("sample", "-c", "one", "--page", "p.html", "-n", "10", "--found", "f.json")
        assert result.status == 0
        assert ("note: f.json" in result.err) == (said is not None)
        assert said is None or said in result.err
