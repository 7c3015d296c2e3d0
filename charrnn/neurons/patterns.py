"""Regular expressions that a user gives."""

from __future__ import annotations

import re
import warnings

from charrnn.errors import UsageError
from charrnn.wording import NOT_UTF_8, not_utf_8


def compiled(pattern: str, what: str) -> re.Pattern[str]:
    """Returns a compiled pattern, in which ^ and $ match at line ends.

    Raises UsageError, which begins with `what`, where it is not a valid regular expression, or not UTF-8. Python has
    more kinds of errors for one than its own: flags that contradict each other are a ValueError, and brackets too deep
    a RecursionError.
    """
    if (broken := not_utf_8(pattern)) is not None:
        raise UsageError(f"{what} {broken}, and would never match", NOT_UTF_8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what may mean something else in a version of Python to come
            return re.compile(pattern, re.MULTILINE)
    except (ValueError, re.error, OverflowError, RecursionError, MemoryError) as error:
        raise UsageError(f"{what}: {error}", "see Python's re module") from error
