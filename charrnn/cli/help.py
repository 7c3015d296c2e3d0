"""`charrnn help`: the manual, whose pages lie in the package as Markdown.

A page is drawn where stdout is a terminal, through a pager where it is longer than the window; a pipe gets the Markdown
as it stands. The index is a page like the others, and gives the topics their order and a line each.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from charrnn.errors import UsageError

FOLDER = Path(__file__).parents[1] / "guide"
"""The folder of the pages."""
INDEX = "README"
"""The page that lists the others; under this name a repository shows it beside the folder's files."""
_OPTIONS = re.compile(r"<!-- options \w+ -->.*?<!-- end -->", re.DOTALL)
_ENTRY = re.compile(r"^- \[([\w-]+)\]\(\1\.md\): (.+)$", re.MULTILINE)


def topics() -> dict[str, str]:
    """Returns the topics in the order of the index, each with its line."""
    return dict(_ENTRY.findall(read(INDEX)))


def read(topic: str) -> str:
    """Returns the Markdown of a page."""
    return (FOLDER / f"{topic}.md").read_text("utf-8")


def guide(
    topic: Annotated[
        str | None,
        typer.Argument(
            help="The page to read. Without it: the list of topics.",
            metavar="[TOPIC]",
            show_default=False,
            autocompletion=lambda incomplete: list(_completed(incomplete)),
        ),
    ] = None,
) -> None:
    """Read the manual. Without a topic: a list of all topics.

    \b
    charrnn help                the topics, one line each
    charrnn help start          from the installation to the first samples
    charrnn help train          what `charrnn train` does, and what it chooses for you
    charrnn help train > t.md   the page as Markdown
    """
    if topic is not None and (topic := topic.lower()) not in topics():
        raise _unknown(topic)
    if sys.stdout.isatty():
        _show(topic)
    else:
        sys.stdout.write(read(topic or INDEX))


def _completed(incomplete: str) -> Iterator[tuple[str, str]]:
    for topic, line in topics().items():
        if topic.startswith(incomplete):
            yield topic, line


def _unknown(topic: str) -> UsageError:
    """Returns the error for a topic that does not exist, with the nearest one, or the pages that speak of the word."""
    from difflib import get_close_matches

    hints = ["charrnn help lists the topics"]
    near = [one for one in topics() if one.startswith(topic) or topic.startswith(one)][:1]
    near = near or get_close_matches(topic, topics(), n=1, cutoff=0.7)
    if near:
        hints.insert(0, f"did you mean charrnn help {near[0]}?")
    elif told := _pages_that_tell_of(topic):
        hints.insert(0, f"these pages speak of it: {', '.join(told)}")
    return UsageError(f"there is no topic {topic!r}", *hints)


def _pages_that_tell_of(word: str, most: int = 3) -> list[str]:
    """Returns the topics whose pages have a word most often, at most so many; lists of options do not count."""
    pattern = re.compile(rf"\b{re.escape(word)}", re.IGNORECASE)
    counts = {topic: len(pattern.findall(_OPTIONS.sub("", read(topic)))) for topic in topics()}
    return [topic for topic in sorted(counts, key=lambda topic: -counts[topic]) if counts[topic]][:most]


def _show(topic: str | None) -> None:
    """Draws a page, or the list of topics, on the terminal."""
    from rich.console import Console

    from charrnn.display.guide import STYLES, drawn, drawn_index

    console = Console(highlight=False, markup=False, emoji=False, theme=STYLES)
    text = drawn(read(topic), console) if topic else drawn_index(topics(), console)
    if text.count("\n") < console.height or not _page(text):
        sys.stdout.write(text)


def _page(text: str) -> bool:
    """Shows `text` in the user's pager; returns whether there is one that could be started."""
    # As git has it: an empty PAGER or `cat` asks for none, and less is told to pass colours and to leave short texts.
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or os.environ.get("TERM") == "dumb" or shutil.which(command[0]) is None:
        return False
    sys.stdout.flush()
    # Ctrl-C is for the pager, which stays; this process must not leave before it. A handler, unlike SIG_IGN, is not
    # passed on to the pager.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        subprocess.run(
            command,
            input=text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"),
            env={"LESS": "FRX", "LESSCHARSET": "utf-8", **os.environ},
            check=False,
        )
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return True
