"""What `inspect` can be asked, as options; those of one view alone stand with that view."""

from __future__ import annotations

import typer

from charrnn.cli import ablate, probe

TEXT_PANEL, OUTPUT_PANEL = "Text", "Output"
LENGTH = 600
FIND_LENGTH = 200_000
UNITS = 3

TEXT = typer.Argument(
    help="A file, - for standard input, or a corpus known by name. Without it: a summary of the checkpoint.",
    show_default=False,
    metavar="[TEXT]",
)
SPLIT_OF_TEXT = typer.Option(
    "--split",
    help="Read only this part of the text, cut as the run cut its corpus.",
    rich_help_panel=TEXT_PANEL,
)
UNIT = typer.Option(
    "--unit",
    "-u",
    help="Colour the text by this unit, such as L2.c17: layer from 1; h, c or a gate (ifgo, rzn); index from 0. May be "
    "given several times.",
    show_default="the units that vary most",
    metavar="UNIT",
    rich_help_panel=TEXT_PANEL,
)
HOW_MANY = typer.Option("--units", min=1, help="Without --unit: how many units to show.", rich_help_panel=TEXT_PANEL)
FROM = typer.Option(
    "--from", min=0, help="First character to show; the model reads all before it too.", rich_help_panel=TEXT_PANEL
)
HOW_LONG = typer.Option(
    "--length",
    "-n",
    min=1,
    help="Characters to show.",
    show_default=f"{LENGTH}; with --find or --select {FIND_LENGTH:,}, with --ablate or --card {ablate.LENGTH:,}, "
    f"with --probe {probe.LENGTH:,}, with --gates the whole text",
    rich_help_panel=TEXT_PANEL,
)
UNKNOWN = typer.Option(
    "--unknown",
    help="Characters the model does not know: error, skip, or replace by the nearest.",
    rich_help_panel=TEXT_PANEL,
)
JSON = typer.Option("--json", help="Print the numbers as JSON.", rich_help_panel=OUTPUT_PANEL)
HTML = typer.Option(
    "--html", help="Write the picture as one self-contained page.", metavar="FILE", rich_help_panel=OUTPUT_PANEL
)
PREDICTIONS = typer.Option(
    "--predictions",
    help="Show what the model expects after each character: its likeliest guesses, in a grid.",
    rich_help_panel=TEXT_PANEL,
)
GUESSES = typer.Option(
    "--guesses",
    min=1,
    help="With --predictions: how many guesses for each character.",
    show_default="5",
    rich_help_panel=TEXT_PANEL,
)
FIND = typer.Option(
    "--find",
    help="Find the units that know something: every unit against a library of labels, chosen on one half of the text "
    "and scored on the other, beside chance, an untrained model and the last three characters.",
    rich_help_panel=TEXT_PANEL,
)
LABEL = typer.Option(
    "--label",
    help="With --find, --ablate, --card and --probe: a label of your own, which holds within each match of a regular "
    "expression. May be given several times.",
    metavar="NAME=REGEX",
    rich_help_panel=TEXT_PANEL,
)
LABEL_FILE = typer.Option(
    "--label-file",
    help="A file of such labels, one a line; lines that begin with # are left out.",
    metavar="FILE",
    rich_help_panel=TEXT_PANEL,
)
GATES = typer.Option(
    "--gates",
    help="Instead of colouring the text: how often each gate of an lstm or a gru is as good as open (above 0.9) or "
    "shut (below 0.1).",
    rich_help_panel=TEXT_PANEL,
)


def usual_length(*, whole: bool, some: bool) -> int:
    """Characters that are read where `--length` is not given: for what looks at all units, at some, or draws."""
    return FIND_LENGTH if whole else ablate.LENGTH if some else LENGTH
