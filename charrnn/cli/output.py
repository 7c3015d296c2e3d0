"""How what `inspect` draws looks and where it goes: onto the terminal piece by piece, or into a file as a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charrnn.display.palette import PALETTES, SAFE, Palette, PaletteName
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from charrnn.display.report import Piece

PALETTE = typer.Option(
    "--palette",
    help="Colours of text and guesses: safe for every kind of colour vision, or those of Karpathy's pictures (red and "
    "green among them).",
    show_default="safe",
    rich_help_panel="Output",
)


@dataclass(frozen=True, slots=True)
class View:
    """Where a report goes, and its colours."""

    as_json: bool
    html: Path | None
    palette: Palette = SAFE


def put(pieces: Iterable[Piece], heading: str, view: View) -> None:
    """A report onto the terminal; or into the file that was named, under its heading."""
    from charrnn.display.report import draw, page

    if view.html is not None:
        write_page(view.html, page(heading, pieces, view.palette))
    elif not view.as_json:
        print_pieces(draw(pieces, view.palette))


def palette_of(name: PaletteName | None, others: dict[str, bool]) -> Palette:
    """The palette that was asked for. Raises UsageError where it would colour nothing; `others`: what else was asked,
    and draws no text."""
    for view, is_asked in others.items():
        if name is not None and is_asked:
            raise UsageError(f"--palette colours text and guesses, and {view} draws neither", "leave --palette out")
    return SAFE if name is None else PALETTES[name]


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
