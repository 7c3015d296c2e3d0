"""Where what `inspect` draws goes: onto the terminal piece by piece, or into a file as a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_page(file: Path, page: str) -> None:
    """Puts a page in its place in one step, and says so."""
    from charrnn.display.safe import say
    from charrnn.files import replace_durably

    def write(temporary: Path) -> None:
        temporary.write_text(page, "utf-8")

    replace_durably(file, write)
    say(f"wrote {file}")


def print_pieces(pieces: Iterable[RenderableType]) -> None:
    """On stdout, one below the other."""
    from rich.console import Console

    console = Console(highlight=False)
    for piece in pieces:
        console.print(piece)
