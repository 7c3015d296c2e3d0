"""The words that say how a text is cut into documents: what they may be, and the pattern that `split:REGEX` holds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charrnn.errors import UsageError
from charrnn.settings.checks import Check

if TYPE_CHECKING:
    from charrnn.settings.config import DataConfig

_SPLIT = "split:"


def _accepts(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return value in ("none", "lines", "files") or (value.startswith(_SPLIT) and value != _SPLIT)


COLUMN = Check(str, lambda name: isinstance(name, str) and bool(name), "the name of a column")
DOCUMENTS = Check(str, _accepts, "none, lines, files, or split: with a regular expression behind it")


def pattern_of(documents: str) -> str | None:
    """Returns the regular expression of `split:REGEX`, None for the other words."""
    return documents.removeprefix(_SPLIT) if documents.startswith(_SPLIT) else None


def compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Returns the pattern that parts documents, in which ^ and $ match at line ends.

    Raises UsageError where it is no regular expression, or matches the empty text: it would part every two characters.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what may mean something else in a version of Python to come
            found = re.compile(pattern, re.MULTILINE | flags)
    except (ValueError, re.error, OverflowError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"--documents {_SPLIT}{pattern} is no regular expression: {error}", "see Python's re module"
        ) from error
    if found.search("") is not None:
        raise UsageError(
            f"--documents {_SPLIT}{pattern} matches the empty text, so that a document would end at every character",
            "let it match what stands between two documents, such as split:\\n\\n for empty lines",
        )
    return found


def are_asked_for(data: Mapping[str, Any]) -> bool:
    """Returns whether some settings of a text, by field name, make documents of it."""
    return data.get("documents", "none") != "none" or data.get("column") is not None


def check_documents(data: DataConfig) -> None:
    """Raises UsageError where documents are cut or held out in two ways at once, or cut by a pattern that cannot part
    any."""
    if data.has_documents and data.held_out is not None:
        raise UsageError(
            f"--held-out is {data.held_out}, and of documents whole ones are held out, each by its own content",
            "leave --held-out out, or --documents and --column",
        )
    if (pattern := pattern_of(data.documents)) is not None:
        compiled(pattern)
    if data.column is not None and data.documents != "none":
        raise UsageError(
            f"--column {data.column} makes a document of each row, and --documents {data.documents} cuts otherwise",
            "give one of them",
        )
