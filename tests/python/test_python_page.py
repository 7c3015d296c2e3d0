"""The manual's page on Python: every block of code on it runs, in the order of the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import charrnn
from tests.kit.text import make_text

PAGE = (Path(charrnn.__file__).parent / "guide/python.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_every_block_of_the_page_runs() -> None:
    """As one program on a small corpus, with steps in the place of minutes; it prints what the comments say."""
    Path("corpus.txt").write_text(make_text(4000), "utf-8")
    program = "\n".join(BLOCKS)
    assert program.count("minutes=2") == 1
    program = program.replace("minutes=2", "steps=20, sample_every=10, sample_length=10")
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "finished: budget\n" in result.stdout
    assert re.search(r"^<training in checkpoints/foxes: step \d+, \d+% of the budget>$", result.stdout, re.MULTILINE)
    assert re.search(r"^<charrnn lstm 1 x 16 on foxes, \d\.\d{3} bpc, checkpoints/foxes>$", result.stdout, re.MULTILINE)
    assert "there is no checkpoint checkpoints/nowhere\n" in result.stdout


def test_the_page_is_short_and_names_all_there_is() -> None:
    """What `dir(charrnn)` shows stands on it."""
    assert len(PAGE.splitlines()) < 300
    for name in dir(charrnn):
        assert name == "__version__" or f"`charrnn.{name}`" in PAGE
