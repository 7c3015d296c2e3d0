"""What is declared of a setting, once: the command line, the checks and the words of messages are made from it.

A configuration is a frozen dataclass of settings. The string below a field is its help, one sentence that stands alone.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from charrnn.errors import UsageError
from charrnn.settings.checks import FLAG, Check

Level = Literal["everyday", "advanced"]
"""Whether a beginner needs the option, or only an expert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is declared of a field beside its default and its help."""

    flags: tuple[str, ...]
    """The option's names as Typer takes them; the first is the one that messages use."""
    check: Check
    panel: str
    """The panel of the help page that shows the option."""
    level: Level = "advanced"
    may_change: bool = False
    """Whether a run that is resumed may have another value than it began with."""
    fixed: str = ""
    """Why --change cannot change it in a run that is resumed, as the end of a sentence; nothing where it can."""
    shown: str | None = None
    """What the help shows as the default, where that is not the plain default; empty for nothing."""
    metavar: str | None = None
    is_listed: bool = False
    """Whether an option takes several values, with commas between them."""

    @property
    def flag(self) -> str:
        """The option's name, such as `--lr`; of a switch the one that says yes."""
        return self.flags[0].partition("/")[0]


def setting(default: Any, check: Check, *flags: str, **more: Any) -> Any:
    """A dataclass field whose option is `flags`; `more` are fields of `Setting`.

    Where the default is None, None is allowed: the setting is left open.
    """
    return field(default=default, metadata={"setting": Setting(flags=flags, check=check, **more)})


def switch(default: bool, flag: str, **more: Any) -> Any:
    """A setting that is true or false: `flag`, such as `--tie`, says true, and `--no-tie` false."""
    return setting(default, FLAG, f"{flag}/{flag.replace('--', '--no-', 1)}", **more)


def settings_of(cls: type) -> Mapping[str, Setting]:
    """Field name -> what is declared of it, in the order of the class."""
    return {each.name: each.metadata["setting"] for each in fields(cls)}


@functools.cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """Class name -> the statements of its body."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}


def help_of(cls: type) -> Mapping[str, str]:
    """Field name -> the string that stands below the field in the class body, on one line; inherited ones come last."""
    body = _classes(cls.__module__)[cls.__name__]
    own = {
        above.target.id: " ".join(text.value.value.split())
        for above, text in zip(body, body[1:], strict=False)
        if isinstance(above, ast.AnnAssign)
        and isinstance(above.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
    assert cls.__base__ is not None
    return own if cls.__base__ is Record else {**own, **help_of(cls.__base__)}


class Record:
    """A frozen dataclass of settings, which checks each value and has a round trip through a plain dict."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Raises UsageError, in the name of the option, for a value that its setting does not accept."""
        for each in fields(self):  # type: ignore[arg-type]
            value, declared = getattr(self, each.name), each.metadata["setting"]
            if value is not None or each.default is not None:
                declared.check.require(declared.flag, value)
        self.check_together()

    def check_together(self) -> None:
        """Raises UsageError where values that are accepted one by one do not go together."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; an absent field takes its default. Raises UsageError for an unknown name."""
        if unknown := sorted(set(values) - set(settings_of(cls))):
            raise UsageError(f"unknown setting {unknown[0]!r} for {cls.__name__}")
        return cls(**values)

    @classmethod
    def spelled(cls, name: str, value: Any) -> str:
        """Field `name` with `value` as a user would type it, such as `--lr 0.002` or `--no-cautious`."""
        flag = settings_of(cls)[name].flag
        if isinstance(value, bool):
            return flag if value else flag.replace("--", "--no-", 1)
        return f"{flag} {f'{value:g}' if isinstance(value, float) else value}"


_SHOWN_ELSEWHERE = ("cell", "num_layers", "hidden_size", "embedding_size", "dropout")


def variants(model: Record) -> str:
    """Every setting in the help's panel of the model, beside its sizes, that is not the default: `--tie --skip sum`.

    The sizes are shown elsewhere, as is the cell (`cells.registry.describe`).
    """
    return " ".join(
        model.spelled(each.name, value)
        for each in fields(model)  # type: ignore[arg-type]
        if each.metadata["setting"].panel == "Model" and each.name not in _SHOWN_ELSEWHERE
        if (value := getattr(model, each.name)) != each.default
    )
