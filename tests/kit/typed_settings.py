"""The types of settings for type checkers, made from the fields that declare them.

python -m tests.kit.typed_settings      rewrites charrnn/settings/typed.py; a test holds it to this
"""

from __future__ import annotations

from pathlib import Path

import charrnn
from charrnn.settings.fields import Record
from charrnn.settings.keywords import LISTS, SAMPLING, TRAINING, is_open, keywords

FILE = Path(charrnn.__file__).parent / "settings/typed.py"

_BEGINNING = '''"""The names and types of the settings that Python functions take, for type checkers and editors.

Written by `python -m tests.kit.typed_settings` from the fields that declare the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from charrnn.settings import choices
from charrnn.settings.run import DivergencePolicy
from charrnn.settings.sampling import SeedWord, UnitName


class SamplingSettings(TypedDict, total=False):
    """The settings of sampling; each has a default."""

'''
_LISTS = '''

class ListSettings(SamplingSettings, total=False):
    """The settings of writing several samples; each has a default."""

'''
_MIDDLE = '''

class TrainingSettings(TypedDict, total=False):
    """The settings of training; each has a default, or one that the program chooses where it is None or absent."""

'''


def _lines(classes: tuple[type[Record], ...]) -> str:
    lines = []
    for cls in classes:
        for name, known in keywords(cls).items():
            written = cls.__annotations__[name]  # as the source has it
            open_ = "" if written.endswith("| None") or not is_open(known) else " | None"
            lines.append(f"    {name}: {written}{open_}\n")
    return "".join(lines)


def source() -> str:
    """Returns the module's source."""
    return _BEGINNING + _lines(SAMPLING) + _LISTS + _lines(LISTS[len(SAMPLING) :]) + _MIDDLE + _lines(TRAINING)


if __name__ == "__main__":
    FILE.write_text(source(), "utf-8")
