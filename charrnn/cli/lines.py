"""`charrnn eval --lines`: what each line of a text costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.evaluation.itemised import Itemised, Line


def listed(items: Itemised, order: str) -> list[dict[str, Any]]:
    """Returns the lines, ready for JSON, in the order `text`, `dearest` or `cheapest`.

    Lines of which nothing is scored come last where they are sorted by what a character costs.
    """
    lines = as_numbers(items.lines())
    if order == "text":
        return lines
    sign = -1.0 if order == "dearest" else 1.0

    def key(line: Mapping[str, Any]) -> tuple[bool, float, int]:
        bits = line["bits_per_character"]
        return bits is None, 0.0 if bits is None else sign * bits, line["line"]

    return sorted(lines, key=key)


def as_numbers(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Returns lines as JSON has them."""
    return [
        {
            "line": line.number,
            "characters": line.characters,
            "nats": line.nats,
            "bits_per_character": line.bits_per_character,
            "text": line.text,
        }
        for line in lines
    ]


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """Prints a row for each line: bits per character, bits, characters, its number, and the line itself, which a
    terminal cuts at its edge."""
    import sys

    from charrnn.display.safe import visible, write
    from charrnn.display.wrap import cells, columns

    wide = columns(sys.stdout)
    print(f"\n{'bpc':>8} {'bits':>10} {'characters':>10} {'line':>8}  text")
    for line in lines:
        bits = line["bits_per_character"]
        mean = "" if bits is None else f"{bits:.4f}"
        begin = f"{mean:>8} {line['nats'] / math.log(2):>10.2f} {line['characters']:>10,} {line['line']:>8,}  "
        text = line["text"]
        if wide is not None:
            text = visible(text, kept="")
            while cells(begin + text) > wide and text:
                text = text[: max(0, len(text) - max(1, (cells(begin + text) - wide) // 2))]
        write(f"{begin}{text}\n", sys.stdout)
