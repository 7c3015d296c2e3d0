"""The text that a run was trained on, to tell what a model wrote anew from what it knows by heart."""

from __future__ import annotations

import hashlib
from pathlib import Path

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.checkpoints.config_file import read_origin
from charrnn.checkpoints.folder import Run
from charrnn.errors import TextError, UsageError
from charrnn.text import finding, sources
from charrnn.text.decoding import TextPiece
from charrnn.text.encoding import Reading, without_marks


class TrainingText:
    """A text as bytes, in which a plain search finds what a sample repeats. CRLF counts as LF, in both."""

    def __init__(self, text: bytes) -> None:
        self._text = b"\n" + text.replace(b"\r\n", b"\n") + b"\n"

    def holds(self, sample: bytes, *, is_line: bool) -> bool:
        """Returns whether the text holds a sample: as a whole line (or as several) with `is_line`, else anywhere.

        Line ends behind the sample do not count. An empty sample is always held.
        """
        sought = sample.replace(b"\r\n", b"\n").rstrip(b"\r\n")
        if is_line and sought:
            sought = b"\n" + sought + b"\n"
        return sought in self._text


def read_training_text(loaded: Checkpoint, path: Path) -> tuple[TrainingText, str | None]:
    """Reads the text of a run, which the config.json beside its checkpoint `path` names; held-out parts are of it too,
    and each of its documents is a line.

    Returns it, and a notice where it is not what the run was trained on. Raises UsageError where it is not told where
    the text lies, and TextError where it cannot be read.
    """
    file = Run(path.parent).config
    origin = read_origin(file)
    if origin is None or "-" in origin.corpus:
        why = f"{file} does not name it" if origin is None else "it did not come from a file"
        raise UsageError(f"--novel needs the text of the run, and {why}", "leave --novel out")
    try:
        found = finding.find(
            origin.corpus, glob=origin.glob, report=lambda _doing, _done, _total: None, config=loaded.data
        )
    except TextError as error:
        raise TextError(f"--novel needs the text of the run: {error.message}", "leave --novel out") from error
    digest, reading = hashlib.sha256(), Reading((found.sources, []), loaded.data, lambda _place, _done: None)

    def read(piece: TextPiece) -> bytes:
        if not loaded.vocabulary.has_end:
            return piece.raw
        lined = without_marks(piece.text, loaded.vocabulary, "\n")
        return lined.encode("latin-1" if loaded.vocabulary.kind == "bytes" else "utf-8")

    try:
        text = b"".join(map(read, reading.pieces(digest.update)))
    finally:
        sources.release(found.sources)
    is_known = origin.validation is not None or digest.hexdigest() == loaded.corpus.get("sha256")
    notice = (
        None if is_known else "the text of the run has changed since it was trained on it: --novel looks at it as it is"
    )
    return TrainingText(text), notice
