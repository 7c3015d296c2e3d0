"""The README's tour, as its reader walks it: every line in order, in an empty folder, by the installed `charrnn`.

    python -m tests.benchmarks.tour [--folder FOLDER] [--seconds 600]

It prints each line with its exit status, its seconds and the ends of what it wrote, and ends with status 1 if a line
failed or the whole tour took longer than it may.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines_of_tour(readme: str) -> list[str]:
    """The commands of the section "A tour", without their prompts."""
    section = readme.split("\n## A tour\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\$ (.+)$", "".join(_BLOCK.findall(section)), re.MULTILINE)


def walk(lines: list[str], folder: Path) -> list[tuple[str, int, float, str]]:
    """Runs the lines by a shell in the folder: each with its exit status, its seconds and what it wrote."""
    walked = []
    # The command of this Python's environment, as if it were active; nothing of the project but what is installed.
    surroundings = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for line in lines:
        begin = time.monotonic()
        done = subprocess.run(
            line, shell=True, cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - begin
        walked.append((line, done.returncode, seconds, done.stdout.decode("utf-8", "backslashreplace")))
        print(f"\n$ {line}\n{_ends(walked[-1][3])}\n[exit status {done.returncode}, {seconds:.1f} s]", flush=True)
    return walked


def _ends(text: str, most: int = 12) -> str:
    lines = text.rstrip().split("\n")
    return "\n".join(lines if len(lines) <= 2 * most else [*lines[:most], "...", *lines[-most:]])


def main() -> int:
    """Walks the tour; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, help="an empty folder to walk in; without it a temporary one")
    parser.add_argument("--seconds", type=float, default=600, help="what the whole tour may take (600)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            parser.error(f"{folder} is not empty")
        walked = walk(lines_of_tour(README.read_text("utf-8")), folder)
    total, failed = sum(seconds for _, _, seconds, _ in walked), [line for line, status, _, _ in walked if status]
    print(f"\n{len(walked)} lines in {total:.0f} s, {len(failed)} failed{''.join(f': {line}' for line in failed)}")
    return int(bool(failed) or not walked or total > given.seconds)


if __name__ == "__main__":
    sys.exit(main())
