"""A vocabulary for texts of documents, as small as a test needs it."""

from __future__ import annotations

from charrnn.text.vocabulary import Vocabulary


class OfDocuments(Vocabulary):
    """A vocabulary whose last id is the end of a document."""

    __slots__ = ()

    @property
    def end(self) -> int:
        return len(self.code_points)

    def __len__(self) -> int:
        return len(self.code_points) + 1
