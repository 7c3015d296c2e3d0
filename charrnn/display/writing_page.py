"""A page that writes: a model, its vocabulary and a small program in one HTML file that asks for nothing else.

The program is plain JavaScript, which stands beside this module in the folder `page`; the page's policy lets nothing
run but that program, and nothing be loaded. The same model and settings give the same bytes. What is text (of the
vocabulary, a prime, a run's name) stands in the page as JSON without a `<`, or escaped; the program puts it into the
document as text alone.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from charrnn.display.css import css_on
from charrnn.display.palette import SAFE, Colour, Ramp, mixed
from charrnn.display.surprisal import MOST_BITS
from charrnn.display.webpage import escape
from charrnn.inference.page_model import PackedModel

_SCRIPTS = ("step.js", "draw.js", "text.js", "session.js", "painting.js", "guesses.js", "address.js", "page.js")
_STEPS = 24
"""Colours of a unit's values from low to high, less one."""
_MOST_CHARACTERS, _FEWEST_CHARACTERS = 10_000, 500
_ROOM = 64_000_000
"""Bytes that a text's values of all units take at most in the browser, one byte each."""
_LEFT = 100
"""Characters that a beginning leaves to be written, at least."""
_NIGHT: Colour = (31, 32, 36)
_BY_NIGHT = Ramp(((38, 104, 176), _NIGHT, (181, 84, 12)), (), ())
"""The colours of a unit's values where the page is dark, whose middle is the ground of the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WritingPage:
    """What a page says and holds."""

    heading: str
    about: str
    """What the model is, in a sentence."""
    model: PackedModel
    characters: Mapping[str, Any]
    """The vocabulary, and how a text is read (see page/text.js)."""
    start: Mapping[str, Sequence[int]]
    """The ids that are read before a beginning without characters (`empty`), and before one with some (`text`)."""
    settings: Mapping[str, Any]
    """What the controls show at first: prime, temperature, top_p, seed, length."""
    most: int
    """Characters that the page keeps (see `most_characters`)."""
    found: Sequence[tuple[str, str]] = ()
    """Units that are offered by name: the unit, and what it knows."""

    @property
    def num_bytes(self) -> int:
        """The size of the page's file, but for its heading and what stands around the parts."""
        arrays = 4 * -(-len(self.model.content) // 3)
        return arrays + len(_as_json(self._said)) + len(_source().encode()) + len(_colours())

    @property
    def _said(self) -> dict[str, Any]:
        """What the program is told."""
        return {
            "model": {**self.model.described, "end": self.characters["end"]},
            "characters": self.characters,
            "start": self.start,
            "settings": self.settings,
            "found": self.found,
            "limits": {
                "characters": self.most,
                "beginning": most_read(self.most),
                "steps": _STEPS,
                "bits": int(MOST_BITS),
            },
        }

    def html(self) -> str:
        """Returns the page."""
        style = _source("page.css") + _colours()
        script = '"use strict";\n' + "".join(map(_source, _SCRIPTS))
        policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'"
        texts = {"heading": escape(self.heading), "about": escape(self.about)}
        body = re.sub("@@([a-z]+)@@", lambda match: texts[match[1]], _source("page.html"))
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.heading)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}"
            f'<script type="application/json" id="said">{_as_json(self._said)}</script>\n'
            f'<script type="text/plain" id="arrays">{base64.b64encode(self.model.content).decode("ascii")}</script>\n'
            f"<script>{script}</script>\n</body>\n</html>\n"
        )


def most_characters(num_units: int) -> int:
    """Returns how many characters a page keeps of a model with this many units, with the value of each unit at each."""
    return max(_FEWEST_CHARACTERS, min(_MOST_CHARACTERS, _ROOM // num_units))


def most_read(most: int) -> int:
    """Returns how many characters of a beginning a page reads that has room for `most`."""
    return most - _LEFT


def _as_json(said: Mapping[str, Any]) -> str:
    """Returns JSON in ASCII, in which no element of HTML begins or ends; halves of UTF-16 pairs stay what they are."""
    return json.dumps(said, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@functools.cache
def _source(*names: str) -> str:
    """Returns the files of the program with these names one behind the other, or all of it."""
    room = files("charrnn").joinpath("display/page")
    return "".join(room.joinpath(name).read_text("utf-8") for name in names or ("page.html", "page.css", *_SCRIPTS))


def _digest(content: str) -> str:
    """Returns what a policy calls a script or a style (Content Security Policy Level 3, section 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _colours() -> str:
    """Returns the rules of the classes v0, v1, ... of a unit's values, and s1, s2, ... of surprisal in bits."""
    guesses = Ramp((_NIGHT, _BY_NIGHT.anchors[-1]), (), ())
    by_day, by_night = _rules(SAFE.text, SAFE.guesses), _rules(_BY_NIGHT, guesses)
    return f"{by_day}@media (prefers-color-scheme: dark) {{\n{by_night}}}\n"


def _rules(of_unit: Ramp, of_surprisal: Ramp) -> str:
    most = int(MOST_BITS)
    shares = {f"v{step}": (of_unit, step / _STEPS) for step in range(_STEPS + 1)}
    shares |= {f"s{step}": (of_surprisal, step / most) for step in range(1, most + 1)}
    return "".join(f".{name} {{ {css_on(mixed(ramp, share))}; }}\n" for name, (ramp, share) in shares.items())
