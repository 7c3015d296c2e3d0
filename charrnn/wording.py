"""Numbers with their nouns, and names with their articles, as plain English has them."""

from __future__ import annotations

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


def ago(seconds: float) -> str:
    """Returns how long ago something was, in whole units, such as "4 minutes ago"."""
    if seconds < 1:
        return "just now"
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return f"{count(int(seconds // length), unit)} ago"
    return f"{count(int(seconds), 'second')} ago"
