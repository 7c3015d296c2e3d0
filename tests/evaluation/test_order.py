"""What stands before a document is of no account for its score: no bit of it leaks."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from charrnn.checkpoints.checkpoint import save
from charrnn.python.pretrained import load
from tests.kit.command import Command
from tests.kit.tiny import tiny


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_order_of_documents_is_of_no_account(command: Command, as_bytes: bool) -> None:
    """`eval` gives the sum of the documents' own scores, in any order and in any number of lanes."""
    Path("checkpoints/leak").mkdir(parents=True)
    save(Path("checkpoints/leak/best.safetensors"), tiny(documents="lines", characters=" abcdefgh", as_bytes=as_bytes))
    pick, model = random.Random(1), load("checkpoints/leak")
    lines = ["".join(pick.choices(" abcdefgh", k=pick.randint(1, 9))) for _ in range(600)]
    expected = sum(model.score(line).nats for line in lines)
    assert model.score("\n".join(lines)).nats == pytest.approx(expected, rel=1e-9)
    for order in (lines, lines[::-1], sorted(lines)):
        for lanes in ("1", "3"):
            Path("list.txt").write_text("\n".join(order), "utf-8")
            found = json.loads(command("eval", "list.txt", "--lanes", lanes, "--json").out)
            assert found["characters"] == sum(map(len, lines)) + len(lines)
            assert found["nats_per_character"] * found["characters"] == pytest.approx(expected, rel=1e-6)
