"""Commands that read a text, what they may end with, and what must then be true, told without charrnn."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from charrnn.checkpoints.checkpoint import load
from charrnn.settings.config import DataConfig
from tests.campaign._attacked import Ended
from tests.campaign._forms import Given, form
from tests.campaign._texts import ENCODINGS, KNOWN, NO_ENCODINGS, Reading, characters, content, is_encoding, text_of
from tests.kit.nasty import is_dangerous

MODELS = {
    "keep": DataConfig(),
    "lf": DataConfig(newlines="lf"),
    "bytes": DataConfig(as_bytes=True),
}
"""The models that texts are given to, by how each reads a text."""


def known(model: str) -> str:
    """Returns the characters of a model."""
    return KNOWN.replace("\r", "") if model == "lf" else KNOWN


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command that reads a text, the statuses it may end with, and what must be true where that is 0."""

    words: list[str]
    statuses: set[int]
    check: Callable[[Ended], str | None] = lambda _ended: None
    given: Given = field(default_factory=lambda: Given(names=[], text=""))


def _decoding(random: Random) -> tuple[Reading, list[str]]:
    """Returns how a text is read, and the options that say so."""
    pick = random.random()
    encoding = random.choice(ENCODINGS) if pick < 0.3 else random.choice(NO_ENCODINGS) if pick < 0.35 else "utf-8"
    errors = random.choice(["strict", "strict", "replace"])
    words = [] if encoding == "utf-8" else ["--encoding", encoding]
    return Reading(encoding=encoding, errors=errors), words + (
        ["--encoding-errors", errors] if errors != "strict" else []
    )


def _unknown(text: str, model: str) -> int:
    return 0 if model == "bytes" else sum(character not in known(model) for character in text)


def _eval(random: Random, folder: Path, models: Mapping[str, Path]) -> Asked:
    model, policy = random.choice([*models]), random.choice(["error", "skip", "skip"])
    reading, words = _decoding(random)
    reading = replace(reading, newlines=MODELS[model].newlines, as_bytes=model == "bytes")
    is_known = is_encoding(reading.encoding) or (model == "bytes")
    given = form(random, folder, reading if is_known else Reading(as_bytes=reading.as_bytes), 600)
    as_json = random.random() < 0.7
    words = ["eval", *given.names, "-c", str(models[model]), "--unknown", policy, "--threads", "1", *words]
    text, lacking = given.text or "", _unknown(given.text or "", model)
    scored = max(len(text) - lacking - 1, 0)
    charged = lacking - (lacking > 0 and text[0] not in known(model))

    def check(ended: Ended) -> str | None:
        if not as_json:
            return None
        told = json.loads(ended.out)
        size = len if model == "bytes" else lambda part: len(part.encode())
        wanted = (scored + charged, size(text) - size(text[0]), charged)
        found = (told["characters"], told["bytes"], told["unknown_characters"])
        is_finite = all(math.isfinite(value) for value in told.values() if isinstance(value, float))
        return None if found == wanted and is_finite else f"{found} is told, {wanted} is there: {told}"

    is_fine = given.text is not None and len(text) - lacking + charged >= 2 and not (lacking and policy == "error")
    statuses = {2} if not is_known else {0} if is_fine else {3}
    return Asked(words=words + ["--json"] * as_json, statuses=statuses, check=check, given=given)


def _train(random: Random, folder: Path, models: Mapping[str, Path]) -> Asked:
    reading, words = _decoding(random)
    reading = replace(reading, as_bytes=random.random() < 0.2, newlines=random.choice(["keep", "lf"]))
    is_known = is_encoding(reading.encoding) or reading.as_bytes
    given = form(random, folder, reading if is_known else Reading(as_bytes=reading.as_bytes), 3000)
    more: str | None = ""
    words += ["--bytes"] * reading.as_bytes + ["--newlines", reading.newlines]
    if is_known and random.random() < 0.2:
        raw = content(random, reading)
        (folder / "more.txt").write_bytes(raw)
        more, words = text_of(raw, reading) or None, [*words, "--validation", "more.txt"]
    words = ["train", *given.names, "--out", "run", "--hidden", "8", "--layers", "1", "--steps", "2", *words]
    words += ["--batch", "2", "--bptt", "8", "--threads", "1", "--sample-length", "20"]
    text = given.text or ""
    together = text + (more or "")

    def check(_ended: Ended) -> str | None:
        kept = [folder / "run" / f"{kind}.safetensors" for kind in ("best", "last")]
        made = load(next(file for file in kept if file.exists()))
        wanted = "".join(sorted(set(together))) if not reading.as_bytes else made.vocabulary.characters
        if made.vocabulary.characters != wanted:
            return f"the vocabulary is {made.vocabulary.characters!a}, not {wanted!a}"
        raw = together.encode("latin-1" if reading.as_bytes else "utf-8")
        found = (made.corpus["sha256"], made.corpus["bytes"])
        return None if found == (hashlib.sha256(raw).hexdigest(), len(raw)) else f"the corpus is another: {made.corpus}"

    is_fine = given.text is not None and more is not None and len(text) >= 200 and len(more) != 1
    is_fine = is_fine and (reading.as_bytes or len(set(together)) > 1)
    statuses = {2} if not is_known else {0} if is_fine else {3}
    return Asked(words=words, statuses=statuses, check=check, given=given)


def _sample(random: Random, folder: Path, models: Mapping[str, Path]) -> Asked:
    model, policy = random.choice([*models]), random.choice(["error", "skip", "skip"])
    as_json = random.random() < 0.5
    words = ["sample", "-c", str(models[model]), "--unknown", policy, "--length", "5", "--seed", "1"]
    reading = Reading(newlines=MODELS[model].newlines, as_bytes=model == "bytes")
    if random.random() < 0.3:
        raw = content(random, replace(reading, newlines="keep"))[:900].replace(b"\0", b"").replace(b"\\", b"")
        given = Given(names=[], text=raw.decode("latin-1" if model == "bytes" else "utf-8", "surrogateescape"))
        words += ["--prime", os.fsdecode(raw)]
        is_fine = True
    else:
        given = form(random, folder, reading, 600)
        # Of a folder or of several files none is a prime.
        is_fine = given.text is not None and given.names != ["texts"]
        words += ["--prime-file", given.names[0]]
        if len(given.names) > 1:
            is_fine, given = False, replace(given, text=None)
    text = given.text or ""
    prime = (
        text.encode("latin-1").decode("utf-8", "replace")
        if model == "bytes"
        else "".join(c for c in text if c in known(model))
    )

    def check(ended: Ended) -> str | None:
        if given.text is None:
            return None
        if as_json:
            told = json.loads(ended.out)["prime"]
            return None if told == prime else f"the prime is told as {told!a}, not {prime!a}"
        return None if ended.out.startswith(prime.encode()) or is_shown(ended) else f"{ended.out!a} begins otherwise"

    def is_shown(ended: Ended) -> bool:
        return ended.out != ended.out.replace(b"\x1b", b"") or not prime.isprintable()

    if given.names and given.text is None:
        statuses = {3} if len(given.names) == 1 else {0, 3}
    else:
        statuses = {3} if not is_fine or (policy == "error" and _unknown(text, model)) else {0}
    return Asked(words=words + ["--json"] * as_json, statuses=statuses, check=check, given=given)


def _inspect(random: Random, folder: Path, models: Mapping[str, Path]) -> Asked:
    model = random.choice([*models])
    reading = Reading(newlines=MODELS[model].newlines, as_bytes=model == "bytes")
    given = form(random, folder, reading, 900)
    view = random.choice(
        [[], [], [], ["--predictions"], ["--gates"], ["--select", "[^a]"], ["--horizon", "--distance", "9"]]
    )
    output = random.choice(
        [[], [], ["--json"], ["--html", "page.html"], ["--svg", "page.svg"], ["--npz", "arrays.npz"]]
    )
    words = ["inspect", *given.names[:1], "-c", str(models[model]), "--unknown", "skip", *view, *output]

    def check(ended: Ended) -> str | None:
        for page in ("page.html", "page.svg"):
            if page in output:
                drawn = (folder / page).read_bytes().decode()
                if "<script>alert" in drawn or any(is_dangerous(each) for each in set(drawn) - set("\n\t")):
                    return f"{page} holds what drives a page"
        if output == ["--json"]:
            told = json.loads(ended.out)
            kept = "".join(c for c in given.text or "" if model == "bytes" or c in known(model))
            if not view and given.text is not None and told["text"] != kept[: len(told["text"])]:
                return f"the text is told as {told['text']!a}, not {kept!a}"
        return None

    # A pattern that hardly ever matches is one to change.
    return Asked(words=words, statuses={0, 2, 3} if "--select" in view else {0, 3}, check=check, given=given)


def _interactive(random: Random, folder: Path, models: Mapping[str, Path]) -> Asked:
    model = random.choice([*models])
    raw = b"\n".join(content(random, Reading(), most=80) for _ in range(random.randrange(4)))
    typed = re.sub(rb"(?m)^\s*[gl].*", b"", raw)  # which would write for long
    words = ["sample", "-c", str(models[model]), "-i", "--seed", "1", "--unknown", random.choice(["error", "skip"])]
    prime = characters(random, most=50).replace("\0", "") if random.random() < 0.5 else ""
    prime = "".join(c for c in prime if c in known(model) and c != "\\")
    given = Given(names=[], text="", given=typed, is_piped=True)

    def check(ended: Ended) -> str | None:
        ended.out.decode()
        return None

    return Asked(words=[*words, "--prime", prime], statuses={0}, check=check, given=given)


COMMANDS = [_eval, _eval, _eval, _train, _train, _sample, _sample, _inspect, _inspect, _interactive]
