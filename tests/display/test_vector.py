"""Pictures of what a terminal shows: whole SVG documents that load nothing, from every view of `inspect`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.text import Text

from charrnn.checkpoints.checkpoint import save
from charrnn.display.heat import Picture
from charrnn.display.vector import picture
from tests.kit.command import Command
from tests.kit.tiny import tiny

SVG = "{http://www.w3.org/2000/svg}"
VIEWS = (
    "", "--units 2 --palette karpathy", "--predictions", "--gates", "--horizon --distance 60 --lanes 5",
    "--find --ablate", "--card --unit L2.c1", "--select a(b) --match --threshold 0.01", "--label x=[ab] --probe x",
    "--patch (a)b*.=c --unit L1.c2",
    "--circuit vowel",
)  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_a_picture(view: str, command: Command) -> None:
    """The same command writes the same bytes; what is loaded from elsewhere is nothing."""
    run = Path("checkpoints/a&b/best.safetensors")
    run.parent.mkdir(parents=True)
    save(run, tiny())
    random = np.random.default_rng(2)
    Path("text.txt").write_text("long" * 60 + "".join(random.choice(list("\n abcdefgh<&"), 900)), "utf-8")
    written = []
    for name in ("a.svg", "b.svg"):
        status, out, err = command("inspect", "text.txt", "--unknown", "skip", *view.split(), "--svg", name)
        assert (status, out) == (0, ""), err
        assert err.endswith(f"wrote {name}\n")
        written.append(Path(name).read_text("utf-8"))
    assert written[0] == written[1]
    root = ElementTree.fromstring(written[0])
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title", "").startswith("a&b: ")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")|@import|url\(|<script|<image|href", written[0])
    assert "".join(root.itertext()).strip()


def _shapes(svg: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    root = ElementTree.fromstring(svg)
    paths = [(each.get("fill", ""), each.get("d", "")) for each in root.iter(f"{SVG}path")]
    letters = [(each.text or "", each.get("x", "")) for each in root.iter(f"{SVG}text")]
    return paths, letters


def test_letters_stand_on_their_colours() -> None:
    """The background of a character is as wide as it is in a terminal; equal neighbours share one."""
    line = Text.assemble("a", ("bc", "black on #ff0000"), ("d", "black on #ff0000"), ("日", "on #00ff00"), "e")
    paths, letters = _shapes(picture("x", [line], columns=20))
    assert paths == [("#ff0000", "M20 12h24v18h-24z"), ("#00ff00", "M44 12h16v18h-16z")]
    assert letters == [("a", "12"), ("bcd", "20"), ("日e", "44")]


def test_it_is_in_colour_wherever_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither NO_COLOR nor a pipe takes the colours from a picture."""
    monkeypatch.setenv("NO_COLOR", "1")
    heat = Picture("t", "ab", [-1.0, 1.0], -1.0, 1.0)
    paths, letters = _shapes(picture("x", [heat]))
    assert len({colour for colour, _ in paths}) > 2
    assert "".join(text for text, _ in letters).endswith("ab")


@pytest.mark.parametrize("hostile", ["\x1b[31m", "a\0b", "\u202eabc", "<b>&amp;", "\ud800"])
def test_what_a_text_holds_is_shown_and_not_obeyed(hostile: str) -> None:
    """Control characters, markup and lone surrogates leave a document that can be read."""
    svg = picture(hostile, [Text(hostile), hostile])
    ElementTree.fromstring(svg.encode("utf-8"))
    assert "\x1b" not in svg


def test_where_it_cannot_be_written_it_says_so(command: Command, text_file: Callable[..., Path]) -> None:
    """A view needs a text, as for other files, and a file of its own."""
    file = text_file(900)
    status, _, err = command("inspect", str(file), "--svg", "a", "--html", "a")
    assert (status, "name two files" in err) == (2, True)
    status, _, err = command("inspect", "--find", "--svg", "a.svg")
    assert (status, "needs a text" in err) == (2, True)
