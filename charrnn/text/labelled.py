"""Reads files of labelled texts, which have `LABEL<TAB>TEXT` on each line, and encodes the texts as ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from charrnn.errors import TextError
from charrnn.settings.choices import UnknownPolicy

if TYPE_CHECKING:
    from charrnn.text.vocabulary import Ids, Vocabulary

_MOST_LABELS = 50


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labels, and the ids of each text; `lines` is the number of texts in the file."""

    labels: list[str]
    texts: list[Any]
    lines: int


def read_labelled(file: Path, vocabulary: Vocabulary, unknown: UnknownPolicy, most: int, seed: int) -> Labelled:
    """Returns the texts of `file`, or `most` of them, drawn by `seed`; memory never holds more than these.

    Raises TextError that names the first invalid line.
    """
    import numpy as np

    random = np.random.Generator(np.random.Philox(seed))
    kept: list[tuple[int, str, str]] = []
    seen, lines = set[str](), 0
    for number, label, text in _lines(file):
        seen.add(label)
        if len(seen) > _MOST_LABELS:
            raise TextError(
                f"{file} has more than {_MOST_LABELS} different labels, such as {label!r}",
                "a line is LABEL, a tab, TEXT: is it the other way round?",
            )
        lines += 1
        if len(kept) < most:
            kept.append((number, label, text))
        elif (place := int(random.integers(lines))) < most:  # so each line is as likely to be kept as the next
            kept[place] = number, label, text
    if not lines:
        raise TextError(f"there is nothing in {file}", "a line is LABEL, a tab, TEXT")
    kept.sort()
    missing = Counter[str]()
    for _, _, text in kept:
        missing.update(vocabulary.unknown(text))
    vocabulary.check_unknown(missing, unknown)
    texts = [vocabulary.encode(text, unknown) for _, _, text in kept]
    for ids, (number, _, _) in zip(texts, kept, strict=True):
        if not len(ids):
            raise TextError(f"{file}, line {number:,}: there is no text that the model can read", "leave the line out")
    if vocabulary.end is not None:  # behind which each document begins
        end = np.array([vocabulary.end], vocabulary.dtype)
        texts = [cast("Ids", np.concatenate([end, ids])) for ids in texts]
    return Labelled([label for _, label, _ in kept], texts, lines)


def _lines(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yields the number, the label and the text of each line that is not blank."""
    from charrnn.files import explained, opened
    from charrnn.text.sources import refuse_device

    refuse_device(file)
    with explained(file, "reading"), opened(file) as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError as error:
                raise TextError(f"{file}, line {number:,}, is not UTF-8: {error}", "save the file as UTF-8") from error
            if not line.strip():
                continue
            label, tab, text = line.partition("\t")
            if not tab:
                raise TextError(f"{file}, line {number:,}: there is no tab", "a line is LABEL, a tab, TEXT")
            if not label.strip():
                raise TextError(f"{file}, line {number:,}: there is no label", "a line is LABEL, a tab, TEXT")
            yield number, label.strip(), text
