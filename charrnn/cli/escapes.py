r"""Characters that are hard to type, spelled out in an option's value: \n and \t as people expect, or exactly."""

from __future__ import annotations

import re

from charrnn.errors import UsageError

_NAMED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_USUAL = re.compile(r"\\[nt]")
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


def as_expected(
    option: str, text: str, *, has_backslashes: bool, exact: str | None = "--escapes"
) -> tuple[str, str | None]:
    r"""`text` with \n as a line end and \t as a tab, unless the model's own text has backslashes, and a notice or None.

    Then the two characters are taken as they stand, and the notice says so, and that the option `exact` reads them
    otherwise where the command has one.

    >>> as_expected("--prime", r"KING:\n", has_backslashes=False)
    ('KING:\n', None)
    """
    found = _USUAL.search(text)
    if found is None:
        return text, None
    if not has_backslashes:
        return _USUAL.sub(lambda match: _NAMED[match[0][1]], text), None
    meaning = "a line end" if found[0] == r"\n" else "a tab"
    notice = f"{found[0]} in {option} is taken as a backslash and a letter, since the text has backslashes"
    return text, f"{notice}; with {exact} it is {meaning}" if exact else notice
