"""From words to the files of a text: files, folders, standard input, names of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.errors import UsageError
from charrnn.settings.config import DataConfig
from charrnn.settings.documents import are_asked_for
from charrnn.text import catalogue, sources
from charrnn.text.sources import Source


@dataclass(frozen=True, slots=True)
class Texts:
    """The files that were named, and what goes with them."""

    sources: list[Source]
    name: str
    notices: list[str]
    customary: dict[str, Any]
    """Data settings that are customary for a corpus of the catalogue."""

    def customary_beside(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the customary settings that go with others: of documents whole ones are held out."""
        left_out = {"held_out"} if are_asked_for(data) else set()
        return {name: value for name, value in self.customary.items() if name not in left_out}


def find(
    arguments: Sequence[str],
    *,
    glob: str | None,
    report: Callable[[str, int, int], None],
    config: DataConfig | None = None,
) -> Texts:
    """Finds the files that `arguments` name, in their order. A path that exists wins over a name.

    `config` tells what counts as text in a folder: the encoding, or bytes of any kind.
    """
    if arguments.count("-") > 1:
        raise UsageError("standard input (-) is named twice", "it can be read only once")
    found: list[Source] = []
    notices: list[str] = []
    customary: dict[str, Any] = {}
    for argument in arguments:
        known = None if argument == "-" or sources.is_there(argument) else catalogue.find(argument, report)
        if known is not None:
            found += known
            entry = catalogue.entries().get(argument)
            if entry is not None and len(arguments) == 1:
                customary = {
                    "validation_fraction": entry.validation_fraction,
                    "test_fraction": entry.test_fraction,
                    "held_out": "end",
                    "as_bytes": entry.as_bytes,
                }
        else:
            more, said = sources.find(argument, glob, config)
            found += more
            notices += said
    return Texts(found, title_of(arguments), notices, customary)


def title_of(arguments: Sequence[str]) -> str:
    """Returns the name for a run on these arguments, of which it names three at most.

    >>> title_of(["books/emma.txt", "b.txt", "c.txt", "d.txt"])
    'emma+b+c+...'
    """
    names = [sources.title(argument) for argument in arguments]
    return "+".join(names[:3]) + ("+..." if len(names) > 3 else "")
