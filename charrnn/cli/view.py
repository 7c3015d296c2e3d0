"""A view of `inspect`: what asks for it, what goes with it, what it measures, and what a measurement can be made into.

A new view is a `View` in a module of its own, and a line in `VIEWS` of `inspect.py`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charrnn.display.palette import PALETTES, Palette

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """An option of the command line; `more` holds further keyword arguments for Typer, such as bounds."""

    flag: str
    type: Any
    help: str
    short: str | None = None
    name: str = ""
    """The name under which `Given` has the option's value; the default is the flag without its dashes."""
    default: Any = None
    alone: str = "{flag} is for {views}"
    """The error message for an option that was given without any of its views."""
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.flag.removeprefix("--").replace("-", "_"))
        if self.type is bool:
            object.__setattr__(self, "default", False)


class Given:
    """The value of every option by its name: what was given, or the default."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values[name]

    def gives(self, option: Option) -> bool:
        """Returns whether the option's value differs from its default."""
        return self._values[option.name] not in (option.default, [], None)

    @property
    def colours(self) -> Palette:
        """The palette that --palette names."""
        return PALETTES[self.palette or "safe"]


@dataclass(frozen=True, slots=True)
class Streamed:
    """Arrays of float32 for an .npz file that are made and written piece by piece, and never held as a whole."""

    shapes: Mapping[str, tuple[int, ...]]
    """The shape of each array by its name; all have as many rows."""
    pieces: Callable[[], Iterable[Sequence[Any]]]
    """Makes the arrays: yields the next rows of each, in the order of `shapes`."""

    @property
    def num_bytes(self) -> int:
        """The size of all arrays together."""
        return sum(4 * math.prod(shape) for shape in self.shapes.values())


@dataclass(frozen=True, slots=True)
class Result:
    """What a view measured, in each form in which it can be output; a form is made only when it is asked for."""

    subject: Subject
    said: str
    """The subject of the measurement, for the heading of a page."""
    sections: Callable[[bool], Iterable[Any]]
    """Returns the sections from top to bottom: for a page if the argument is true, else for the terminal (anything that
    rich can draw)."""
    numbers: Callable[[], dict[str, Any]]
    """Returns the fields of the JSON output, to which the checkpoint's name is added."""
    arrays: Callable[[], Mapping[str, Any]] | None = None
    """Returns the arrays of the .npz file by name; None where the view has no arrays."""
    streamed: Streamed | None = None
    """Arrays of the .npz file that are too large to be held."""

    @property
    def heading(self) -> str:
        """The heading of a page: the name of the run, and what was measured."""
        return f"{Path(os.path.realpath(self.subject.path)).parent.name}: {self.said}"


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A view of `inspect`; a view without a flag is shown when no other one is asked for."""

    panel: str
    """The panel of the help page in which the view's options stand."""
    flag: Option | None
    measure: Callable[[Subject, Given], Result | Callable[[], None]]
    """Measures, and returns either a result or a function that shows it on the terminal."""
    options: tuple[Option, ...] = ()
    """The options the view allows besides `EVERY_TEXT`; the flag of another view may be among them."""
    needs: Literal["text", "run"] = "text"
    """Whether the view needs a model that reads a text, or only a run."""
    compares: bool = False
    """Whether the view compares several runs, which `asked.runs` names."""
    length: int | None = 600
    """The number of characters shown when --length is not given; None means all of them."""
    beyond: int = 0
    """The number of characters read after the last one shown."""
    alone: tuple[str, tuple[Option, ...]] = ("", ())
    """The reason why some options of `EVERY_TEXT` cannot be used with this view, and those options."""
    check: Callable[[Given], None] = lambda _asked: None
    """Raises UsageError for values and combinations that make no sense, before anything is read."""
    is_coloured: Callable[[Given], bool] = lambda _asked: False
    """Returns whether the view draws with the colours of --palette."""
    shows: str = ""
    """A sentence for the help page that says what the view shows; a view without one stands only in --help-all."""

    @property
    def called(self) -> str:
        """The name of the view in messages."""
        return self.flag.flag if self.flag else "charrnn inspect without a text"
