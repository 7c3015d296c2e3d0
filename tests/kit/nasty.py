"""Text that would drive a terminal or a page if it were sent as it is."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

ESC = "\x1b"
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ANY_TEXT = st.text(st.characters())  # lone surrogates included
NASTY = f"[/i][bold]{ESC}[31m{ESC}]0;title\x07 <script>alert(1)</script> &amp; \u202eabc\r\x9b31m\u2028\ud800"


def is_dangerous(character: str) -> bool:
    """Whether a terminal or a page may take the character for more than a sign."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDI + "\ufeff"
