"""The manual's lists of options, made from the command line itself.

python -m tests.kit.guide_options      rewrites them in charrnn/guide/*.md; a test holds them to this

A page takes the list of a command's options where it has the two marks `<!-- options COMMAND -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from charrnn.cli.help_page import default_of
from tests.kit.command import commands

GUIDE = Path(__file__).parents[2] / "charrnn" / "guide"
_LIST = re.compile(r"<!-- options (\w+) -->\n.*?<!-- end -->", re.DOTALL)
_WIDTH = 118


def pages() -> dict[Path, str]:
    """Every page of the manual: its file and its Markdown."""
    return {file: file.read_text("utf-8") for file in sorted(GUIDE.glob("*.md"))}


def options_list(command: str) -> str:
    """A Markdown list of the options of one command, under the panels of its help and in its order."""
    options = [
        each for each in commands()[command].params if each.param_type_name == "option" and each.name != "help_all"
    ]
    panels = dict.fromkeys(each.rich_help_panel for each in options)
    parts = []
    for panel in panels:
        parts.append(f"### {panel or 'Options'}\n")
        parts += [_entry(each) for each in options if each.rich_help_panel == panel]
        parts.append("")
    return "\n".join(parts).rstrip("\n")


def _entry(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    default = default_of(option).removeprefix("[default: ").removesuffix("]")
    line = f"- {flags}: {_escape(option.help)}" + (f" Default: {_escape(default)}." if default else "")
    # A line that began with a lone dash would begin an entry of a list.
    line = line.replace(" - ", "\0- ")
    filled = textwrap.fill(line, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return filled.replace("\0", " ")


def _escape(text: str) -> str:
    """Returns the text with what Markdown would read as markup escaped."""
    return text.replace("\\\\", "\\\\\\\\").replace("*", "\\*").replace("<", "&lt;")


def with_lists(page: str) -> str:
    """The page with every list between its marks made anew."""
    return _LIST.sub(lambda match: f"<!-- options {match[1]} -->\n{options_list(match[1])}\n<!-- end -->", page)


if __name__ == "__main__":
    for file, page in pages().items():
        file.write_text(with_lists(page), "utf-8")
