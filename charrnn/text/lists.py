"""Tells a text that is a sorted list of short lines, which is better learned as documents, each line by itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import numpy as np

from charrnn.text.corpus import Corpus
from charrnn.text.stored import pieces

_LOOKED_AT = 1 << 18
_FEWEST = 50
_LONGEST = 40
_IN_ORDER = 0.9
_PIECE = 1 << 20


def list_notice(corpus: Corpus) -> str | None:
    """Returns what to know about a text that looks like a sorted list; None about any other."""
    vocabulary = corpus.vocabulary
    if vocabulary.has_end or "\n" not in vocabulary:
        return None
    body = len(corpus) - corpus.separate_validation
    lines = vocabulary.decode(corpus.ids[: min(body, _LOOKED_AT)]).splitlines()
    if not is_sorted_list(lines if body <= _LOOKED_AT else lines[:-1]):
        return None
    line_end = int(vocabulary.lookup("\n")[0])
    ends = sum(int(np.count_nonzero(piece == line_end)) for piece in pieces(corpus.ids, _PIECE))
    return (
        f"the text looks like a sorted list of {ends + int(corpus.ids[-1] != line_end):,} lines: --documents lines "
        "trains each by itself, in a new order each epoch"
    )


def is_sorted_list(lines: Sequence[str]) -> bool:
    """Returns whether lines are many, short, mostly different, and nearly all in order.

    Lines that begin with a number, as those of a log do, tell of their order by it and are no such list.
    """
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) < _FEWEST or median(map(len, lines)) >= _LONGEST or 2 * len(set(lines)) < len(lines):
        return False
    if 2 * sum(line.lstrip("([<#")[:1].isdigit() for line in lines) > len(lines):
        return False
    alike = [line.casefold() for line in lines]
    orders = (lines, alike, ["".join(filter(str.isalnum, line)) for line in alike])
    return any(_is_in_order(order) or _is_in_order(order[::-1]) for order in orders)


def _is_in_order(lines: Sequence[str]) -> bool:
    pairs = [one < two for one, two in pairwise(lines) if one != two]
    return bool(pairs) and sum(pairs) >= _IN_ORDER * len(pairs)
