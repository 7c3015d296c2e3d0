"""Characters that are hard to type, spelled out in an option's value as Python does it."""

from __future__ import annotations

import re

from charrnn.errors import UsageError

_NAMED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.|$)", re.DOTALL)


def unescaped(option: str, text: str) -> str:
    r"""`text` with \n, \t, \r, \\, quotes, \xXX, \uXXXX and \UXXXXXXXX as what they stand for; the rest stays.

    Raises UsageError, in the name of `option`, for any other escape.

    >>> unescaped("--prime", r"a\tb\u00e9")
    'a\tbé'
    """

    def character(match: re.Match[str]) -> str:
        body = match[1]
        if body in _NAMED:
            return _NAMED[body]
        if len(body) > 1:
            code = int(body[1:], 16)
            if code < 0x110000:
                return chr(code)
        raise UsageError(f"{option} holds the escape {match[0]!r}", r"known are \n \t \r \\ \xXX \uXXXX \UXXXXXXXX")

    return _ESCAPE.sub(character, text)
