"""Lays out what a training run shows as it learns: rows of figures in fixed columns, and samples below them.

The columns are step, characters, train, validation and a mark at the best; a narrow terminal leaves characters out.
Losses are shown in bits per character.
"""

from __future__ import annotations

import math

from charrnn.display.safe import visible
from charrnn.display.wrap import wrapped

_WIDE = {"step": 9, "characters": 15, "train bpc": 11, "validation bpc": 16}
_NARROW = {"step": 9, "train": 8, "validation bpc": 16}
_NARROWEST_WIDE = 60
_MARK = "  | "
_MOST_BEFORE_THE_POINT = 3
_FIRST, _GROWN = 80, 0.25


def bits(nats: float) -> float:
    """Returns a number of nats converted to bits."""
    return nats / math.log(2)


def short(number: float, digits: int) -> str:
    """Returns a number with so many digits behind the point. One of a run that explodes could have dozens before it,
    which would fill the line: it has an exponent.

    >>> short(2.25, 3), short(6.7e23, 3)
    ('2.250', '6.7e+23')
    """
    shown = f"{number:.{digits}f}"
    return shown if len(shown) <= _MOST_BEFORE_THE_POINT + 1 + digits else f"{number:.1e}"


def heading(width: int | None) -> str:
    """Returns the names of the columns, for a terminal of `width` cells or, without one, for a file."""
    return "".join(name.rjust(wide) for name, wide in _columns(width).items())


def row(
    width: int | None,
    step: int,
    characters: int,
    train_nats: float | None,
    validation_nats: float | None,
    *,
    is_best: bool = False,
) -> str:
    """Returns the figures under their `heading`; a dash stands for one that was not measured."""
    train, validation = ("-" if nats is None else short(bits(nats), 3) for nats in (train_nats, validation_nats))
    shown = [f"{step:,}", f"{characters:,}", train, validation]
    columns = _columns(width)
    if len(columns) < len(shown):
        del shown[1]
    figures = "".join(figure.rjust(wide) for figure, wide in zip(shown, columns.values(), strict=True))
    return figures + ("  best" if is_best else "")


def _columns(width: int | None) -> dict[str, int]:
    return _WIDE if width is None or width >= _NARROWEST_WIDE else _NARROW


def shortened(text: str, fraction: float, primed: int) -> str:
    """Returns the beginning of a sample: about 80 written characters at first, all from a quarter of the budget on.

    What a model writes before it has learned anything is noise, of which less is enough.
    """
    written = len(text) - primed
    shown = primed + round(_FIRST + (written - _FIRST) * min(1.0, fraction / _GROWN))
    if written <= _FIRST or shown >= len(text):
        return text
    kept = text[:shown]
    cut = max(kept.rfind(" "), kept.rfind("\n"))
    return (kept[:cut] if cut > shown - 20 and cut > primed else kept).rstrip() + " ..."


def sample_lines(text: str, width: int | None) -> list[str]:
    """Returns a sample with a bar before each line; for a terminal it is made visible and broken at its width."""
    if width is None:
        return [_MARK + line for line in text.rstrip("\n").split("\n")]
    inner, lines = width - len(_MARK), []
    for line in visible(text.rstrip("\n")).expandtabs(4).split("\n"):
        lines += wrapped(line, inner, is_torn=True)
    return [_MARK + line for line in lines]
