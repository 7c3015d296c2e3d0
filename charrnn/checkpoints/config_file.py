"""The file config.json of a run: its settings and where its text lies, for people and for `train FOLDER`.

Checkpoints hold no path, so that they can be given away; this file stays in the run's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import ResourceError, UsageError
from charrnn.files import read_file, replace_durably, write_content
from charrnn.settings.settings_file import CORPUS, VERSION
from charrnn.system_errors import Outcome, outcome_of, told
from charrnn.version import __version__

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the text of a run comes from: absolute paths, - for standard input, and names of the catalogue."""

    corpus: list[str]
    validation: str | None = None
    glob: str | None = None

    @property
    def texts(self) -> list[str]:
        """Returns what is trained on and what is validated on."""
        return [*self.corpus, *([] if self.validation is None else [self.validation])]


def write_config(path: Path, origin: Origin, settings: Mapping[str, Any]) -> None:
    """Writes config.json durably, unless it says the same already; `settings` by their options' names, in order.

    Raises UsageError where the file is another program's, and that or ResourceError where it cannot be written.
    """
    entries = {VERSION: __version__, CORPUS: origin.corpus, "validation": origin.validation, "glob": origin.glob}
    values = {name: value for name, value in {**entries, **settings}.items() if value is not None}
    content = _spelled(values)
    try:
        before = read_file(path)
    except FileNotFoundError:
        before = b""
    except OSError as error:
        if outcome_of(error) is Outcome.RESOURCES:
            raise ResourceError(*told(error, f"reading {path}")) from error
        raise UsageError(f"cannot read {path}: {error.strerror}", "check its permissions") from error
    if before == content:
        return
    if before and VERSION not in _parsed(before[:_LARGEST]):
        raise UsageError(f"{path} is there already and is not a run's", "choose another --out, or move that file away")
    replace_durably(path, lambda temporary: write_content(temporary, content), follows_links=False)


def _spelled(values: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        return (json.dumps(values, indent=2) + "\n").encode()


def is_config(path: Path) -> bool:
    """Whether a file is the config.json of a run, and not another program's."""
    return VERSION in _values(path)


def settings_in(path: Path) -> dict[str, Any]:
    """Returns what a config.json says, by the names of the options; nothing where it cannot be read."""
    return _values(path)


def read_origin(path: Path) -> Origin | None:
    """Returns where the text of a run comes from, by its config.json; None where there is none that says it."""
    values = _values(path)
    corpus, validation, glob = values.get(CORPUS), values.get("validation"), values.get("glob")
    if VERSION not in values or not isinstance(corpus, list) or not all(isinstance(each, str) for each in corpus):
        return None
    if not corpus or not isinstance(validation, str | None) or not isinstance(glob, str | None):
        return None
    return Origin(corpus, validation, glob)


def _values(path: Path) -> dict[str, Any]:
    try:
        return _parsed(read_file(path, _LARGEST))
    except (OSError, ValueError):
        return {}


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
