"""A view of `inspect`: what asks for it, what goes with it, what it measures, and what a measurement can be made into.

A new view is a `View` in a module of its own, and a line in `VIEWS` of `inspect.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from charrnn.display.palette import PALETTES, Palette

if TYPE_CHECKING:
    from charrnn.cli.reading import Subject


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """An option of the command line; `more` is what Typer is told besides, such as bounds."""

    flag: str
    type: Any
    help: str
    short: str | None = None
    name: str = ""
    """Under which `Given` has its value: by default its flag without dashes."""
    default: Any = None
    alone: str = "{flag} is for {views}"
    """What is said where none of its views was asked for."""
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
        """Returns whether the option was given something else than its default."""
        return self._values[option.name] not in (option.default, [], None)

    @property
    def colours(self) -> Palette:
        """The colours of --palette."""
        return PALETTES[self.palette or "safe"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a view measured, in the forms in which it can be given out; each is made when it is asked for."""

    subject: Subject
    said: str
    """What it is about, for the heading of a page."""
    sections: Callable[[bool], Iterable[Any]]
    """From top to bottom: for a page where that is so, or for the terminal, which takes whatever rich can draw."""
    numbers: Callable[[], dict[str, Any]]
    """For JSON, beside the checkpoint's name."""
    arrays: Callable[[], Mapping[str, Any]] | None = None
    """For numpy, by name; None where there are none."""

    @property
    def heading(self) -> str:
        """What a page of it is called: by the run, and what it says."""
        return f"{self.subject.path.resolve().parent.name}: {self.said}"


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A view; one without a flag is shown where no other is asked for."""

    panel: str
    """Of the help page, where its options stand."""
    flag: Option | None
    measure: Callable[[Subject, Given], Result | Callable[[], None]]
    """Returns a result, or what shows itself on the terminal when it is called."""
    options: tuple[Option, ...] = ()
    """Options that go with it, besides those of every text; the flag of another view may be among them."""
    needs: Literal["text", "run"] = "text"
    """Whether it looks at a model that reads a text, or at a run alone."""
    length: int | None = 600
    """Characters that are shown where --length is not given; None: all of them."""
    beyond: int = 0
    """Characters that are read after the last one shown."""
    alone: tuple[str, tuple[Option, ...]] = ("", ())
    """Options of every text that do not go with it, and why."""
    check: Callable[[Given], None] = lambda _asked: None
    """Raises UsageError for values and combinations that make no sense, before anything is read."""
    is_coloured: Callable[[Given], bool] = lambda _asked: False
    """Whether it draws with the colours of --palette."""
    examples: tuple[tuple[str, str], ...] = ()
    """For the help page: what to type, and what is seen."""

    @property
    def called(self) -> str:
        """How a message names it."""
        return self.flag.flag if self.flag else "charrnn inspect without a text"
