"""The options that all views of `inspect`, or several of them, have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.view import Given, Option
from charrnn.errors import TextError, UsageError
from charrnn.settings.choices import SplitName, UnknownPolicy

if TYPE_CHECKING:
    import re

UNIT = Option(
    "--unit",
    list[str],
    "Colour the text by this unit, such as L2.c17 (layer from 1; h, c or a gate; index from 0). May be given several "
    "times.",
    short="-u",
    more={"show_default": "the units that vary most", "metavar": "UNIT"},
)
UNITS = Option("--units", int, "Without --unit: how many units to show.", default=3, more={"min": 1})
FROM = Option(
    "--from",
    int,
    "First character to show; the model reads all before it too.",
    name="start",
    default=0,
    more={"min": 0},
)
LENGTH = Option("--length", int, "Characters to show.", short="-n", more={"min": 1})
SPLIT = Option("--split", SplitName, "Read only this part of the text, cut as the run cut its corpus.", default="all")
UNKNOWN = Option(
    "--unknown",
    UnknownPolicy,
    "Characters the model does not know: error, skip, or replace by the nearest.",
    default="error",
)
EVERY_TEXT = (UNIT, UNITS, FROM, LENGTH, SPLIT, UNKNOWN)
"""The options that every view allows, unless it refuses some by name."""

LABEL = Option(
    "--label",
    list[str],
    "With --find, --recurrence, --ablate, --card, --probe and --circuit: a label of your own, which holds "
    "within each match of a regular expression. May be given several times.",
    alone="--label and --label-file are for {views}",
    more={"metavar": "NAME=REGEX"},
)
LABEL_FILE = Option(
    "--label-file",
    Path,
    "A file of such labels, one a line; lines that begin with # are left out.",
    alone=LABEL.alone,
    more={"metavar": "FILE"},
)
SEED = Option(
    "--seed",
    int,
    "With --horizon and --probe: the same seed gives the same places, or parts of --probe-file.",
    alone="{flag} says how to measure {views}",
    more={"min": 0, "max": 2**63 - 1, "show_default": "1; with --probe 0"},
)


def own_labels(asked: Given, *, are_bytes: bool = False) -> dict[str, re.Pattern[str]]:
    """Returns the patterns of the user's labels by name: those of the options first, then those of the file.

    If `are_bytes`, what they say in UTF-8 is looked for in a text that has one character for each byte.
    """
    from charrnn.files import explained
    from charrnn.neurons.labels import parse_label
    from charrnn.text.sources import refuse_device

    lines, file = list(asked.label or []), asked.label_file
    if file is not None:
        refuse_device(file)
        with explained(file, "reading the labels in"):
            raw = file.read_bytes()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise TextError(f"the labels in {file} are not UTF-8: {error}", "save the file as UTF-8") from error
        lines += [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    labels = dict(parse_label(line, are_bytes=are_bytes) for line in lines)
    if len(labels) < len(lines):
        raise UsageError("two labels have the same name", "give each its own")
    return labels
