"""Numbers with their nouns, and names with their articles, as plain English has them."""

from __future__ import annotations

import math

_SPELLED = ("lstm", "rnn", "mlstm")
"""Names whose letters are read aloud one by one, the first of which begins with a vowel: an l-s-t-m, an r-n-n."""
_WITH_YOU = ("urnn", "uni", "use")
"""Beginnings that are spoken as "you", and take "a" although they are written with a vowel."""


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun in the right form, such as "1 thread" or "1,234 characters".

    The plural is the noun with an s unless `plural` gives another.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def an(name: str) -> str:
    """Returns the name with its indefinite article, such as "an lstm", "a gru" or "an embedding"."""
    word = name.lower()
    has_vowel = word.startswith(_SPELLED) or (word[:1] in tuple("aeiou") and not word.startswith(_WITH_YOU))
    return f"{'an' if has_vowel else 'a'} {name}"


def shortened(text: str, most: int) -> str:
    """Returns a text of at most about `most` characters: a longer one loses its middle.

    >>> shortened("a" * 40 + "b" * 60, 40), shortened("short", 40)
    ('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ... (60 characters) ... bbbbbbbbbb', 'short')
    """
    if len(text) <= most:
        return text
    end = most // 4
    begin = most - end
    return f"{text[:begin]} ... ({count(len(text) - most, 'character')}) ... {text[-end:]}"


NOT_UTF_8 = (
    "bytes that are not UTF-8 come from a shell that is set to another encoding: set it to UTF-8 (LANG, chcp 65001)"
)


def not_utf_8(text: str) -> str | None:
    """Returns which bytes of an argument are not UTF-8, as the end of a sentence, or None. Python hands such bytes over
    as characters that no text has.

    >>> not_utf_8("caf\udce9"), not_utf_8("café")
    ('holds the byte 0xe9, which is not UTF-8', None)
    """
    bytes_ = list(dict.fromkeys(ord(each) - 0xDC00 for each in text if "\udc80" <= each <= "\udcff"))
    if not bytes_:
        return None
    named = ", ".join(f"0x{byte:02x}" for byte in bytes_[:10])
    return (
        f"holds the byte {named}, which is not UTF-8"
        if len(bytes_) == 1
        else f"holds bytes that are not UTF-8: {named}"
    )


def ago(seconds: float) -> str:
    """Returns how long ago something was, in whole units, such as "4 minutes ago"."""
    if seconds < 1:
        return "just now"
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return f"{count(int(seconds // length), unit)} ago"
    return f"{count(int(seconds), 'second')} ago"


def figure(number: float, digits: int = 2) -> str:
    """Returns a number with so many significant digits and no exponent, such as "0.00005", "1.4" or "12,000".

    Numbers that are not finite are given as `nan` and `inf`.
    """
    if not math.isfinite(number) or not number:
        return f"{number:g}"
    rounded = float(f"{number:.{digits}g}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    text = f"{rounded:,.{max(0, decimals)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rounded(number: float) -> str:
    """Returns a large number in words that can be read at a glance, such as "1.2 million", "31,000" or "800"."""
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.2g} {name}" if number < 99.5 * size else f"{number / size:,.0f} {name}"
    return figure(number)


def epochs(number: float) -> str:
    """Returns passes over a text with their noun, such as "1 epoch", "0.27 epochs" or "less than 0.01 epochs"."""
    said = figure(number)
    if number < 0.01:
        return "less than 0.01 epochs"
    return f"{said} {'epoch' if said == '1' else 'epochs'}"
