"""`charrnn inspect --onnx FILE`: one step of a model as an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.inspect_options import EVERY_TEXT
from charrnn.cli.output import FORMATS, check_can_be_written
from charrnn.cli.view import Given, Option, View
from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject


def _check(asked: Given) -> None:
    if asked.text is not None:
        raise UsageError(f"--onnx writes a model, and {asked.text} is a text", "leave one of them out")
    check_can_be_written(asked.onnx)


def _measure(subject: Subject, asked: Given) -> Callable[[], None]:
    def write() -> None:
        from charrnn.display.notice import say
        from charrnn.network.onnx_file import write_onnx

        write_onnx(asked.onnx, subject.loaded)
        say(f"wrote {asked.onnx}")

    return write


VIEW = View(
    "Output",
    Option(
        "--onnx",
        Path,
        "Write one step of the model as an ONNX file, for other programs (needs the package onnx: pip install "
        "'charrnn[onnx]').",
        more={"metavar": "FILE"},
    ),
    _measure,
    needs="run",
    alone=("--onnx writes a model", (*EVERY_TEXT, *(one.option for one in FORMATS))),
    check=_check,
    shows="One step of the model as an ONNX file.",
)
