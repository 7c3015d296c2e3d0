"""The commands that a document shows in its `console` blocks, and how each is run in small.

A line that begins with `$ ` is a command; the others are what it prints. `UNIT` in a command stands for a unit that
`inspect --find` printed. A comment before a block tells what else is to be known of its commands:

<!-- shown, not run: REASON -->     they need a terminal; only their options are checked
<!-- refused: REASON -->            they end with an error
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_BLOCK = re.compile(r"(?:<!-- (shown, not run|refused): .+ -->\n)?^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PIPE = re.compile(r"((?:echo|cat) .+) \| (charrnn .+)")
UNIT = "L1.c1"

TRAINING = ("--batch 4", "--bptt 20", "--threads 1", "--layers 1", "--hidden 6")
SMALL = {
    "train": (*TRAINING, "--steps 4", "--sample-length 20"),
    "sample": ("--length 20",),
    "eval": ("--threads 1",),
    "inspect": (),
}
"""The options that a command gets in the place of what is written, or besides it."""
WITH = {
    "--horizon": "--distance 20 --lanes 9 --read 600",
    "--compare": "--length 40 --count 4",
    "--from": "--from 400",
    "--select": "--split all",
    "--probe": "--split all",
    "--recurrence": "--split all",
    "--circuit": "--split all --circuit vowel",
    "--patch": "--split all --unit L1.c1",
}
"""What is added or put in the place of what is written, where an option asks for more work or text than is there."""
_EVERY = ("1000", "1")
"""After how many steps `--keep-every` keeps a checkpoint, in a document and in small."""


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it."""

    line: str
    words: list[str] = field(default_factory=list)
    """The words after `charrnn`."""
    before: str = ""
    """What is piped into it."""
    mark: Literal["", "shown, not run", "refused"] = ""


def shown_commands(page: str) -> list[Shown]:
    """The commands of a document, in order. Raises ValueError for one that is no charrnn command, piped into or not."""
    found = []
    for mark, block in _BLOCK.findall(page):
        for line in re.findall(r"^\$ (.+)$", block, re.MULTILINE):
            before, command = match.groups() if (match := _PIPE.fullmatch(line)) else ("", line)
            program, *words = shlex.split(command)
            if program != "charrnn" or {"|", ">", "&&", ";"} & set(words):
                raise ValueError(f"no command that can be run here: {line}")
            found.append(Shown(line, [word.replace("UNIT", UNIT) for word in words], before, mark))
    return found


def in_small(words: list[str]) -> list[str]:
    """The command with tiny settings: four steps of a tiny network, and twenty characters."""
    command, *given = (word.replace(f"step-{_EVERY[0]:>08}", f"step-{_EVERY[1]:>08}") for word in words)
    if "--dry-run" in given:
        return words
    if command == "train":
        given = _without(given, "--minutes", "--epochs")
        if "--keep-every" in given:
            given[given.index("--keep-every") + 1] = _EVERY[1]
    kept = list(given)
    for option in (*SMALL.get(command, ()), *(more for asked, more in WITH.items() if asked in given)):
        for flag, value in zip(option.split()[::2], option.split()[1::2], strict=True):
            if flag in kept and flag in ("--layers", "--hidden"):
                # Another size stays another size, since a run in the same folder is refused for it.
                place = kept.index(flag) + 1
                kept[place] = str(min(int(kept[place]), 4 + int(kept[place]) // 64))
            elif flag in kept:
                kept[kept.index(flag) + 1] = value
            else:
                kept += [flag, value]
    return [command, *kept]


def run_of(words: list[str]) -> str:
    """Returns the folder of the run that a command trains; nothing for another command, or one that goes on."""
    command, *given = words
    if command != "train" or "--dry-run" in given:
        return ""
    for flag, folder in (("--out", ""), ("--name", "checkpoints/")):
        if flag in given:
            return folder + given[given.index(flag) + 1]
    return "" if "checkpoints" in Path(given[0]).parts else f"checkpoints/{Path(given[0]).stem}"


def named_runs(shown: Iterable[Shown]) -> set[str]:
    """Returns the folders of the runs that commands name, also those of files in them; not `checkpoints/` itself."""
    paths = (Path(word) for one in shown for word in one.words if word.startswith("checkpoints/"))
    return {"/".join(path.parts[:2]) for path in paths if len(path.parts) > 1}


def _without(words: list[str], *flags: str) -> list[str]:
    kept = list(words)
    for flag in flags:
        if flag in kept:
            place = kept.index(flag)
            del kept[place : place + 2]
    return kept


def write_documents() -> None:
    """Writes the texts of many documents that the manual names: a list, a folder of files, a table."""
    words = sorted(f"{a}{b}{c}{d}" for a in "ABCD" for b in "aeiou" for c in "lmnr" for d in ("", "a", "tes"))
    Path("names.txt").write_text("\n".join(words), "utf-8")
    Path("docs").mkdir(exist_ok=True)
    for number, word in enumerate(words[::10]):
        Path("docs", f"{number}.txt").write_text(f"Return {word},\nand nothing else.\n", "utf-8")
    Path("signs.csv").write_text("sign,name\n" + "".join(f'{n},"A, {word}"\n' for n, word in enumerate(words)), "utf-8")


def play(lines: int = 300) -> str:
    """A text that has what the manual's commands look for: speakers, quotes, brackets, numbers, long lines."""
    words = "the king said to his men that a storm would come and none of them should sail".split()
    found = ["To be, or not to be, The prince"]
    for number in range(lines):
        start = number * 7 % len(words)
        many = 4 + number * number % 11
        line = " ".join((words * 3)[start : start + many])
        kind = number % 6
        if kind == 0:
            found.append(("ROMEO:", "JULIET:", "First Citizen:")[number // 6 % 3])
        found.append((f'"{line}," he said.', f"{line} ({number})", line.capitalize(), f"{line};", line, "")[kind])
    return "\n".join(found) + "\n"
