"""How what `inspect` draws looks and where it goes: onto the terminal piece by piece, or into a file,
as a page or as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
NPZ = typer.Option(
    "--npz",
    help="Write the numbers as numpy arrays, to be read with numpy.load.",
    metavar="FILE",
    rich_help_panel="Output",
)
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip file can tell no earlier time


@dataclass(frozen=True, slots=True)
class View:
    """Where what was found goes, and its colours. Raises UsageError where two files are one."""

    as_json: bool = False
    html: Path | None = None
    npz: Path | None = None
    palette: Palette = SAFE

    def __post_init__(self) -> None:
        if self.npz is not None and self.html is not None and self.npz.resolve() == self.html.resolve():
            raise UsageError(f"--html and --npz are both {self.npz}", "name two files")

    @property
    def is_drawn(self) -> bool:
        """Whether it goes to the terminal: where nothing else was asked for."""
        return not self.as_json and self.html is None and self.npz is None


def put(pieces: Iterable[Piece], heading: str, view: View) -> None:
    """A report onto the terminal; or into the file that was named, under its heading."""
    from charrnn.display.report import draw, page

    if view.html is not None:
        write_page(view.html, page(heading, pieces, view.palette))
    elif view.is_drawn:
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


def write_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    """Puts arrays by name into an .npz file in one step, and says so.

    As `numpy.savez` does, of one time for all, so that the same arrays are the same bytes; objects are refused.
    """
    import zipfile

    import numpy as np

    from charrnn.display.safe import say
    from charrnn.files import replace_durably

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _OLDEST), "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    replace_durably(file, write)
    say(f"wrote {file}")


def print_pieces(pieces: Iterable[RenderableType]) -> None:
    """On stdout, one below the other."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for piece in pieces:
        console.print(piece)
