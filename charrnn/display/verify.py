"""Draws what was found of the files of runs: a line for each."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from charrnn.checkpoints.verify import Verified
from charrnn.display.safe import visible

_STYLES = {"ok": "", "note": "dim", "damaged": "bold"}


def lines_of(found: Verified) -> Iterator[tuple[str, str]]:
    """Yields a word and a sentence for each finding, and last what a resume would be."""
    for each in found.findings:
        yield each.verdict, f"{each.file}: {each.said}"
    if found.is_training:
        yield "running", "process unknown" if found.process is None else f"process {found.process} trains there"
    if found.resume is not None:
        yield "resume", found.resume


def drawing(found: Verified) -> Iterator[RenderableType]:
    """Yields the name of a run, and its lines, broken where the terminal is narrow."""
    yield Text(visible(str(found.path), kept=""), "bold")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for word, said in lines_of(found):
        table.add_row(Text(word), Text(visible(said, kept="")), style=_STYLES.get(word, ""))
    yield table


def plain(found: Verified) -> str:
    """Returns the same as text of one line each."""
    rows = [f"{word:8} {visible(said, kept='')}" for word, said in lines_of(found)]
    return "\n".join([visible(str(found.path), kept=""), *rows]) + "\n"
