"""Outputs what `inspect` measured: on the terminal, or in the formats that the options name.

A new format is an `Option`, a function that writes it, and a line in `FORMATS`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

from charrnn.cli.view import Given, Option, Result, Streamed
from charrnn.display.palette import PaletteName
from charrnn.errors import UsageError
from charrnn.files import explained

if TYPE_CHECKING:
    import zipfile

PALETTE = Option(
    "--palette",
    PaletteName,
    "Colours of text and guesses: safe for every kind of colour vision, or those of Karpathy's pictures (red and green "
    "among them).",
    more={"show_default": "safe"},
)
SCHEMA = 2
"""The version of what --json prints, raised whenever a field changes its meaning or goes."""
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip file can tell no earlier time
_PIECE = 1 << 20
_IN_MEMORY = 1 << 26  # bytes of an array that waits to be written; beyond, they lie in a temporary file


@dataclass(frozen=True, slots=True)
class Format:
    """A form in which a result is output, besides the terminal or instead of it."""

    option: Option
    """The option that asks for the format; its value is the file to write, where there is one."""
    write: Callable[[Result, Any], None]


def give_out(result: Result, asked: Given) -> None:
    """Writes a result in each format that was asked for; where none was, shows it on the terminal."""
    formats = [one for one in FORMATS if asked.gives(one.option)]
    for one in formats:
        one.write(result, getattr(asked, one.option.name))
    if not formats:
        from charrnn.display.report import spaced

        print_pieces(spaced(result.sections(False)))


def check_files(asked: Given) -> None:
    """Raises UsageError, before anything is measured, where a file cannot be written, would be written twice, or holds
    what is read."""
    named: dict[str, str] = {}
    read = {
        os.path.realpath(path) for path in (asked.text, asked.checkpoint, asked.label_file, asked.probe_file) if path
    }
    for flag, file in ((one.option.flag, getattr(asked, one.option.name)) for one in FORMATS):
        if not isinstance(file, Path):
            continue
        real = os.path.realpath(file)
        if (other := named.setdefault(real, flag)) != flag:
            raise UsageError(f"{other} and {flag} are both {file}", "name two files")
        if real in read and not os.path.isdir(real):
            raise UsageError(f"{flag} is {file}, which is read", "name another file")
        check_can_be_written(file)


def check_can_be_written(file: Path) -> None:
    """Raises UsageError where a file cannot be written: its name is a folder's, its folder is none, or it is "-"."""
    if str(file) == "-":
        raise UsageError("the file to write is -, which stands for the standard input", "name a file")
    folder = os.path.dirname(os.path.realpath(file))
    with explained(file):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(file).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def write_arrays(file: Path, arrays: Mapping[str, Any], streamed: Streamed | None = None) -> None:
    """Writes named arrays to an .npz file in one step, and prints a notice that it did.

    The format is that of `numpy.savez`, with one fixed time stamp, so that the same arrays give the same bytes. Arrays
    of objects are refused.
    """
    import zipfile

    import numpy as np

    from charrnn.files import opened

    def write(temporary: Path) -> None:
        with opened(temporary, "wb") as stream, zipfile.ZipFile(_written_once(stream), "w") as archive:
            for name, array in arrays.items():
                with _entry(archive, name) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
            if streamed is not None:
                _write_streamed(archive, streamed)

    _write_file(file, write)


def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    from zipfile import ZipInfo

    return archive.open(ZipInfo(f"{name}.npy", _OLDEST), "w", force_zip64=True)


def _write_streamed(archive: zipfile.ZipFile, streamed: Streamed) -> None:
    """Writes arrays as their rows come. An archive is written from end to end, so those but the first wait in files."""
    import numpy as np

    written = np.dtype(np.float32)
    headers = {
        name: {"descr": np.lib.format.dtype_to_descr(written), "fortran_order": False, "shape": shape}
        for name, shape in streamed.shapes.items()
    }
    first, *others = streamed.shapes
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY)) for _ in others]
        with _entry(archive, first) as entry:
            number = 0
            np.lib.format.write_array_header_1_0(entry, headers[first])
            for rows in streamed.pieces():
                number += len(rows[0])
                for file, some in zip([entry, *waiting], rows, strict=True):
                    file.write(np.ascontiguousarray(some, written).data.cast("B"))
        assert number == streamed.shapes[first][0], "other rows came than were said"
        for name, file in zip(others, waiting, strict=True):
            file.seek(0)
            with _entry(archive, name) as entry:
                np.lib.format.write_array_header_1_0(entry, headers[name])
                shutil.copyfileobj(file, entry, _PIECE)


def _written_once(stream: IO[bytes]) -> Any:
    """Returns a stream that an archive can be written to from its beginning to its end: a device such as /dev/null
    says that it has a place to go back to, and has none."""
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    return SimpleNamespace(write=stream.write, flush=stream.flush)


def columns(name: str, rows: Sequence[Mapping[str, Any]], dtype: Any = None) -> dict[str, Any]:
    """Returns an array, called `name.field`, for each field of `rows`, which all have the same fields."""
    import numpy as np

    fields = rows[0] if rows else ()
    return {f"{name}.{field}": np.array([row[field] for row in rows], dtype) for field in fields}


def rounded(value: Any) -> Any:
    """Returns a value with all numbers in it, however deep, rounded to six decimals, and arrays turned into lists."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, float):
        return round(value, 6)
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [rounded(each) for each in value] if isinstance(value, list) else value


def print_pieces(pieces: Iterable[object]) -> None:
    """Prints pieces that rich can draw, one below the other; of tables nothing is cut where no terminal shows them."""
    from rich.console import Console

    from charrnn.display.table import Columns, Pairs

    console = Console(highlight=False, markup=False, emoji=False)
    for piece in pieces:
        if isinstance(piece, (Columns, Pairs)) and not console.is_terminal:
            print(piece.whole())
        else:
            console.print(piece, crop=False)


def write_page(file: Path, page: str) -> None:
    """Writes a page or a picture to a file in one step, and prints a notice that it did."""
    from charrnn.files import write_content

    def write(temporary: Path) -> None:
        write_content(temporary, page.encode())

    _write_file(file, write)


def _write_result(result: Result, file: Path) -> None:
    from charrnn.display.report import page

    write_page(file, page(result.heading, result.sections(True)))


def _write_picture(result: Result, file: Path) -> None:
    from charrnn.display.vector import picture

    write_page(file, picture(result.heading, result.sections(False)))


def _write_file(file: Path, write: Callable[[Path], None]) -> None:
    from charrnn.display.notice import say
    from charrnn.files import replace_durably

    replace_durably(file, write)
    say(f"wrote {file}")


def _print_json(result: Result, _asked: bool) -> None:
    print(json.dumps({"schema": SCHEMA, "checkpoint": str(result.subject.path), **result.numbers()}))


def _write_npz(result: Result, file: Path) -> None:
    assert result.arrays is not None, "asked for without a text"
    write_arrays(file, result.arrays(), result.streamed)


FORMATS = (
    Format(
        Option("--json", bool, "Print the numbers as JSON."),
        _print_json,
    ),
    Format(
        Option("--html", Path, "Write the picture as one self-contained page.", more={"metavar": "FILE"}),
        _write_result,
    ),
    Format(
        Option("--svg", Path, "Write what a terminal would show as a picture.", more={"metavar": "FILE"}),
        _write_picture,
    ),
    Format(
        Option(
            "--npz", Path, "Write the numbers as numpy arrays, to be read with numpy.load.", more={"metavar": "FILE"}
        ),
        _write_npz,
    ),
)
