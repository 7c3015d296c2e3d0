"""What every configuration can do: say what its fields mean, and become a plain dict and come back.

Knows dataclasses and the strings below their fields. Refuses to know settings.
"""

from __future__ import annotations

import ast
import functools
import inspect
from dataclasses import asdict, fields
from typing import Any, Self

from charrnn.errors import UsageError


@functools.cache
def _documentation(cls: type) -> dict[str, str]:
    """Field name -> the string literal that stands below it in the class body."""
    tree = ast.parse(inspect.getsource(cls))
    body = tree.body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def field_help(cls: type, name: str) -> str:
    """The documentation string of field `name` of configuration class `cls`."""
    return _documentation(cls)[name]


class Record:
    """A frozen dataclass with a round trip through a plain dict, for metadata."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; an absent field takes its default. Raises UsageError for an unknown name."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"unknown setting {unknown[0]!r} for {cls.__name__}")
        return cls(**values)
