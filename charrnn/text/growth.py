"""Whether a text is another one that has grown at its end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.text.corpus import Corpus
from charrnn.text.stored import part_of, pieces

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Growth:
    """How a text has grown, without a separate text to validate on."""

    before: int
    """Its characters before."""
    by: int
    """The characters that have come since."""


def growth_of(corpus: Corpus, characters: int, sha256: str) -> Growth | None:
    """Returns how `corpus` has grown from the text of so many characters with this SHA-256; None where it has not.

    A separate text to validate on stands at the end of both, and must be the same. Of documents a list of lines is
    recognised that has no empty ones, and no such text to validate on: of others the ids do not tell what they were cut
    out of.
    """
    if corpus.vocabulary.has_end:
        return _growth_of_list(corpus, characters, sha256)
    own = corpus.separate_validation
    by = len(corpus) - characters
    if by <= 0 or characters <= own:
        return None
    digest = hashlib.sha256()
    for start, stop in ((0, characters - own), (len(corpus) - own, len(corpus))):
        for some in pieces(part_of(corpus.ids, start, stop), _PIECE):
            digest.update(_bytes_of(corpus, some))
    return Growth(characters - own, by) if digest.hexdigest() == sha256 else None


def _growth_of_list(corpus: Corpus, characters: int, sha256: str) -> Growth | None:
    by, end = len(corpus) - characters, corpus.vocabulary.end
    if by <= 0 or characters < 2 or corpus.separate_validation or corpus.ids[characters - 1] != end:
        return None
    for line_end in (b"\n", b"\r\n", b"\r"):
        digest = hashlib.sha256()
        for some in pieces(part_of(corpus.ids, 1, characters - 1), _PIECE):
            digest.update(_lined(corpus, some).replace(b"\n", line_end))
        ended = digest.copy()
        ended.update(line_end)
        if sha256 in (digest.hexdigest(), ended.hexdigest()):
            return Growth(characters, by)
    return None


def _lined(corpus: Corpus, ids: Any) -> bytes:
    """Returns the bytes of a piece of a list, with a line feed for the end of each document."""
    points = np.append(corpus.vocabulary.code_points, np.uint32(ord("\n")))[ids].astype("<u4")
    text = str(points.tobytes(), "utf-32-le", "surrogatepass")
    if corpus.vocabulary.kind == "bytes":
        return text.encode("latin-1")
    return text.encode("utf-8", "surrogatepass")


def _bytes_of(corpus: Corpus, ids: Any) -> bytes:
    """Returns the bytes of a piece of the text, of which its SHA-256 is taken."""
    if corpus.vocabulary.kind == "bytes":
        return bytes(ids.tobytes())
    return "".join(corpus.vocabulary.decode_pieces(ids)).encode("utf-8", "surrogatepass")
