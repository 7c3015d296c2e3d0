"""The README's option tables, made from the command line itself.

python -m tests.kit.readme_options      rewrites them in README.md; a test holds them to this
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.kit.command import commands

README = Path(__file__).parents[2] / "README.md"
_TABLE = re.compile(r"<!-- options (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def table(command: str) -> str:
    """A Markdown table of the options of one command, in the order of its help."""
    rows = ["| option | meaning | default |", "| --- | --- | --- |"]
    for parameter in commands()[command].params:
        if parameter.param_type_name != "option" or parameter.name == "help_all":
            continue
        flags = ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))
        text, default = parameter.help, ""
        if isinstance(parameter.show_default, str):
            default = parameter.show_default
        elif parameter.default not in (None, False):
            default = str(parameter.default)
        rows.append(f"| {flags} | {_escape(text)} | {_escape(default)} |")
    return "\n".join(rows)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def with_tables(readme: str) -> str:
    """The README with every table between its marks made anew."""
    return _TABLE.sub(lambda match: f"<!-- options {match[1]} -->\n{table(match[1])}\n<!-- end -->", readme)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text("utf-8")), "utf-8")
