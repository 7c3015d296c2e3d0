"""Settings in a file, under the names of the options without their dashes: TOML that a user writes, or a run's
config.json.

    corpus = ["books/emma.txt"]
    cell = "gru"
    layers = 3
    sample-every = 500        # or sample_every
    cautious = false

The file is flat. Paths in it are relative to the folder that it stands in.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from charrnn.errors import ResourceError, UsageError
from charrnn.settings.checks import FLAG
from charrnn.settings.fields import Record, Setting, settings_of
from charrnn.settings.presets import PresetName
from charrnn.system_errors import Outcome, outcome_of, told
from charrnn.wording import an

CORPUS = "corpus"
PRESET = "preset"
VERSION = "charrnn"
"""The entry of config.json that holds the version of the program, and shows that the file is a run's."""
BEGUN_FROM = "begun-from"
"""The entry of config.json that holds the digest of the checkpoint that a run began from."""
TAUGHT_BY = "taught-by"
"""The entry of config.json that holds the digest of the checkpoint that a run learns from."""
_LARGEST = 1 << 20
Reader = Callable[[Path, int], bytes]
"""Returns the first bytes of a file, at most so many. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a settings file says."""

    corpus: list[str] = field(default_factory=list)
    """As the file has it."""
    preset: PresetName | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a group -> name of a field -> value, checked."""


def option_name(declared: Setting) -> str:
    """Returns the name of a setting in a file: that of its option without dashes, such as `sample-every`."""
    return declared.flag.removeprefix("--")


def values_of(record: Record) -> dict[str, Any]:
    """Returns what a file says of these settings, by name; what is left open is left out."""
    values = record.to_dict()
    named = {option_name(declared): values[name] for name, declared in settings_of(type(record)).items()}
    return {name: value for name, value in named.items() if value is not None}


def _first(path: Path, most: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(most)


def read_settings(
    path: Path, groups: Mapping[str, type[Record]], refused: Mapping[str, str], read: Reader = _first
) -> Written:
    """Reads a file of settings. `groups` are the classes whose settings it may hold, by any names.

    `refused` are options that have no place in a file, each with the reason. `read` reads the file; as it is, from a
    pipe as well. Raises UsageError, with the file, the name and the value, for whatever is wrong.
    """
    known = {
        option_name(declared): (group, name, declared)
        for group, cls in groups.items()
        for name, declared in settings_of(cls).items()
        if option_name(declared) not in refused
    }
    corpus: list[str] = []
    preset: PresetName | None = None
    settings: dict[str, dict[str, Any]] = {group: {} for group in groups}
    for name, value in _entries(path, read):
        where = f"{name} in {path}"
        if name == CORPUS:
            corpus = _corpus(where, value)
        elif name == PRESET:
            if value not in get_args(PresetName):
                raise UsageError(f"{where} is {value!r}", f"it must be one of {', '.join(get_args(PresetName))}")
            preset = value
        elif name in refused:
            raise UsageError(f"{name} stands in {path}", refused[name])
        elif name in known:
            group, own, declared = known[name]
            settings[group][own] = _checked(where, value, declared)
        elif name not in (VERSION, BEGUN_FROM, TAUGHT_BY):
            raise _unknown(name, path, {**{key: own for key, (_, own, _) in known.items()}, CORPUS: "", PRESET: ""})
    return Written(corpus, preset, settings)


def _entries(path: Path, read: Reader) -> Iterator[tuple[str, Any]]:
    """Yields the names, with `-` for `_`, and values of a file. Raises UsageError where it has another form."""
    text = _text(path, read)
    values = _JSON(path, text) if path.suffix.lower() == ".json" else _TOML(path, text)
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no settings but {an(type(values).__name__)}", 'write { "hidden": 256, ... }')
    seen: set[str] = set()
    for key, value in values.items():
        name = key.replace("_", "-")
        if isinstance(value, dict):
            raise UsageError(
                f"{path} holds a table, {key}", "write every setting at the top of the file, under its option's name"
            )
        if name in seen:
            raise UsageError(f"{name} stands twice in {path}", "leave one of them out")
        seen.add(name)
        yield name, value


def _TOML(path: Path, text: str) -> Any:  # noqa: N802 - what it reads is called so
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path} is not TOML: {error}", "write one setting a line, such as: hidden = 256") from error


def _JSON(path: Path, text: str) -> Any:  # noqa: N802
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{path} is not JSON: {error}", "mend it, or write the settings as TOML") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands in it twice")
    return values


def _text(path: Path, read: Reader) -> str:
    try:
        content = read(path, _LARGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and outcome_of(error) is Outcome.RESOURCES:
            raise ResourceError(*told(error, f"reading the settings in {path}")) from error
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the settings in {path}: {reason}", "--config names a file of settings"
        ) from error
    if len(content) > _LARGEST:
        raise UsageError(f"{path} is too large for a file of settings", "--config names a file of settings")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not utf-8: byte {content[error.start]:#x} at offset {error.start:,}",
            "--config names a text file of settings",
        ) from error


def _corpus(where: str, value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise UsageError(f"{where} is {value!r}", 'it must be a list of texts, such as ["emma.txt", "persuasion.txt"]')
    return words


def _checked(where: str, value: Any, declared: Setting) -> Any:
    """Returns a value as the command line makes it. Raises UsageError where the setting does not accept it."""
    check = declared.check
    if check.kind is Path and isinstance(value, str):
        value = Path(value)
    elif check.kind is float and isinstance(value, int) and not isinstance(value, bool):
        check.require(where, value)
        value = float(value)
    check.require(where, value)
    return value


def _unknown(name: str, path: Path, known: Mapping[str, str]) -> UsageError:
    """Returns the error for a name that no option has; `known` are the names that there are, with their fields'."""
    message = f"there is no setting {name!r}, which stands in {path}"
    positive = name.removeprefix("no-")
    if name != positive and positive in known:
        return UsageError(message, f"write {positive} = false")
    nearest = [key for key, own in known.items() if own.replace("_", "-") == name] or _nearest(name, known)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return UsageError(message, f"{hint}names are those of the options of charrnn train, without the dashes")


def _nearest(name: str, known: Collection[str]) -> list[str]:
    return difflib.get_close_matches(name, known, 1)


def typed(record_type: type[Record], values: Mapping[str, Any]) -> list[str]:
    """Returns settings, by field name, as the words of a command line that give exactly these values."""
    words: list[str] = []
    for name, declared in settings_of(record_type).items():
        value = values.get(name)
        if value is None:
            continue
        if declared.check is FLAG:
            yes, _, no = declared.flags[0].partition("/")
            words += [yes] if value else [no] if no else []
        elif (word := repr(value) if isinstance(value, float) else str(value)).startswith("-"):
            words.append(f"{declared.flag}={word}")
        else:
            words += [declared.flag, word]
    return words
