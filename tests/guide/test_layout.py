"""The page on a checkpoint's layout: its program reproduces `eval`, and it names every tensor that there is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.cells.parameters import parameter_shapes
from charrnn.checkpoints.checkpoint import save
from charrnn.cli.help import read
from charrnn.settings.config import ModelConfig
from tests.kit.command import Command
from tests.kit.tiny import tiny
from tests.kit.variants import models

PAGE = read("layout")
PROGRAM, MODULES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
RUN = Path("checkpoints/tinyshakespeare/best.safetensors")


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 1}, {"tie": True, "embedding_size": 4}])
def test_the_program_of_the_page_is_eval(
    cell: str, settings: dict[str, int], command: Command, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """To a millionth of a nat, for a text of many characters; and the modules below it run after it."""
    small = tiny(cell=cell)
    config = replace(small.model, **settings)
    random = np.random.default_rng(5)
    shapes = parameter_shapes(config, len(small.vocabulary))
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    RUN.parent.mkdir(parents=True)
    save(RUN, replace(small, model=config, parameters=arrays))
    text = "".join(random.choice(list("\n abcdefgh"), 900))
    Path("held_out.txt").write_text(text, "utf-8")
    result = command("eval", "held_out.txt", "-c", "checkpoints/tinyshakespeare", "--json", "--threads", "1")
    expected = json.loads(result.out)["nats_per_character"]
    known: dict[str, object] = {}
    exec(PROGRAM, known)  # noqa: S102 - a page of the manual
    assert float(capsysbinary.readouterr().out) == pytest.approx(expected, abs=1e-6)
    exec(MODULES.replace("To be, ", "abc"), known)  # noqa: S102
    assert b"(decoder): Linear" in capsysbinary.readouterr().out


def test_the_page_names_every_tensor() -> None:
    """Of every cell and variant, by the part of its name behind the layer."""
    named = set(re.findall(r"`(?:model\.)?(?:layers\.<l>\.)?([\w.<>]+)`", PAGE))
    for config in (*models().values(), ModelConfig(hidden_size=6, embedding_size=5, mogrifier=2, mogrifier_rank=2)):
        for name in parameter_shapes(config, 9):
            own = re.sub(r"^layers\.\d+\.|^mogrifier_\d", "", name) if "mogrifier" not in name else "mogrifier_<r>"
            kin = {"statistics_hh", "statistics_c", "statistics", "angle_2", "_a", "_b"}
            assert own in named or own in kin, name
