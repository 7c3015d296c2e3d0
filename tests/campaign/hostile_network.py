"""Downloads of a named corpus from a server that misbehaves."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from unittest.mock import patch

from charrnn.errors import CharrnnError, TextError
from charrnn.text import catalogue, download
from charrnn.text.catalogue import Entry
from tests.campaign._server import HUNG, Server
from tests.campaign.campaign import Campaign
from tests.kit.text import make_text

_TEXT = make_text(20_011).encode()
_ATTEMPTS = 8
_SMALL = {"_TIMEOUT": (0.5, 0.2), "_MINUTE": 0.3, "_LEAST": 50, "_PIECE": 997}


def trial(server: Server, seed: int, folder: Path) -> str | None:
    """The same download again and again, until the server has done all it was drawn to do: the text in the end."""
    random = Random(seed)
    server.draw(random)
    target, cache = folder / "target", folder / "cache"
    target.mkdir()
    partial = cache / "partial" / f"{hashlib.sha256(_TEXT).hexdigest()}.part"
    begun = random.choice([None, None, _TEXT[:5000], b"?" * 3000, _TEXT, _TEXT + b"?"])
    if begun is not None:
        partial.parent.mkdir(parents=True)
        partial.write_bytes(begun)
    kept = random.choice([None, None, None, b"wrong", _TEXT])
    if kept is not None:
        (target / "tiny.txt").write_bytes(kept)
    entry = Entry(
        name="tiny", title="", url=server.url, file="tiny.txt", bytes=len(_TEXT),
        sha256=hashlib.sha256(_TEXT).hexdigest(), licence="", validation_fraction=0.1, test_fraction=0.0,
    )  # fmt: skip
    drawn, said = list(server.kinds), list[str]()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"CHARRNN_CACHE": str(cache), "NO_PROXY": "*"}))
        for name, value in _SMALL.items():
            stack.enter_context(patch.object(download, name, value))
        for _ in range(_ATTEMPTS):
            began = time.monotonic()
            wrong = _attempt(entry, target, partial, kept, said)
            if time.monotonic() - began > HUNG * 0.9:
                wrong = "it hangs as long as the server does"
            if wrong == "done":
                return None
            if wrong is not None:
                return f"{wrong} [{drawn}, served {server.served}, begun with {begun and len(begun)}]"
    return f"no text after {_ATTEMPTS} attempts: {said} [{drawn}, served {server.served}]"


def _attempt(entry: Entry, target: Path, partial: Path, kept: bytes | None, said: list[str]) -> str | None:
    """One download. Returns "done", what went wrong, or None where it failed as it may."""
    largest = [0]

    def report(_doing: str, done: int, total: int) -> None:
        largest[0] = max(largest[0], partial.stat().st_size - total, done - total)

    failed: CharrnnError | None = None
    try:
        source = catalogue.fetch(entry, target, report)
        if source.path.read_bytes() != _TEXT:
            return "another text is taken for the right one"
    except CharrnnError as error:
        failed = error
    if largest[0] > 1:
        return f"{largest[0]} bytes too many are written"
    names = [path.name for path in target.iterdir()]
    if failed is None:
        return "done" if names == ["tiny.txt"] and not partial.exists() else f"left behind: {names}, {partial.exists()}"
    said.append(failed.message)
    there = {path.name: path.read_bytes() for path in target.iterdir()}
    if there != ({} if kept is None else {"tiny.txt": kept}):
        return f"a download that failed left {names}"
    if not isinstance(failed, TextError) or not failed.hint or len(failed.message) > 1500:
        return f"status {failed.exit_status}: {failed.message[:300]}"
    if partial.exists() and partial.stat().st_size > len(_TEXT) + 1:
        return f"a partial file of {partial.stat().st_size} bytes is kept"
    return None


CAMPAIGNS = {
    "hostile-network": Campaign(
        summary="A server that breaks off, lies, drips and never ends: the right text in the end, else a clear error.",
        prepare=lambda _folder: Server(_TEXT),
        trial=trial,
        in_suite=20,
    ),
}
