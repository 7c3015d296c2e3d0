"""Recordings from Python: the values of the room of neurons, by name, for every cell; and how they are drawn."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import charrnn
from charrnn.checkpoints.checkpoint import save
from charrnn.errors import TextError, UsageError
from charrnn.inference.engine import Engine
from charrnn.neurons.record import kinds, record
from charrnn.python.pretrained import Pretrained
from tests.kit.tiny import tiny

TEXT = "abc def\ngh ab ba cab\n" * 20
RUN = Path("checkpoints/one/best.safetensors")


def _model(cell: str = "lstm", *, as_bytes: bool = False) -> Pretrained:
    RUN.parent.mkdir(parents=True)
    save(RUN, tiny(cell=cell, layers=3, as_bytes=as_bytes))
    return charrnn.load(RUN)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_kind_of_unit_by_every_name(cell: str) -> None:
    """A unit, a layer's units and all units of a kind are the values that `inspect` reads, over several blocks."""
    model = _model(cell)
    everything = kinds(model.config)
    parts = [(layer, kind) for kind in everything for layer in (1, 2, 3)]
    blocks = list(record(model.engine, model.vocabulary.encode(TEXT), parts))
    assert len(blocks) > 1
    recording = model.record(TEXT, units=everything)
    assert recording.text == TEXT
    assert recording.values.shape == (len(TEXT), 3 * 4 * len(everything))
    assert recording.values.dtype == np.float32
    for layer, kind in parts:
        expected = np.concatenate([block[layer, kind] for block in blocks])
        np.testing.assert_array_equal(recording[f"L{layer}.{kind}"], expected)
        np.testing.assert_array_equal(recording[kind][:, layer - 1], expected)
        np.testing.assert_array_equal(recording[f"L{layer}.{kind}2"], expected[:, 2])
        np.testing.assert_array_equal(recording.values[:, recording.names.index(f"L{layer}.{kind}2")], expected[:, 2])
    assert recording["h"].shape == (len(TEXT), 3, 4)
    assert np.shares_memory(recording.h, recording.values)


def test_only_what_was_asked_for_is_kept() -> None:
    """In the order in which it was named, each unit once; what was not recorded is refused by name."""
    model = _model()
    few = model.record(TEXT, units=["L2.c3", "L1.h0", "L2.c", "L2.c3"])
    assert few.names == ["L2.c3", "L1.h0", "L2.c0", "L2.c1", "L2.c2"]
    assert few.values.nbytes == 4 * len(TEXT) * 5
    whole = model.record(TEXT)
    assert whole.names[:2] == ["L1.h0", "L1.h1"]
    assert len(whole.names) == 2 * 3 * 4
    np.testing.assert_array_equal(few["L2.c"], whole.c[:, 1])
    np.testing.assert_array_equal(model.record(TEXT, units="L2.c3")["L2.c3"], whole["L2.c3"])
    with pytest.raises(UsageError, match=r'L1\.h1 was not recorded\nrecord it with units=\["L1\.h"\]'):
        few["L1.h"]
    for name in ("L4.h0", "L1.r0", "L1.h4", "hidden", "L0.c"):
        with pytest.raises(UsageError):
            model.record(TEXT, units=[name])
        with pytest.raises(UsageError):
            whole[name]
    with pytest.raises(UsageError, match="nothing to record"):
        model.record(TEXT, units=[])
    with pytest.raises(TextError, match="nothing to read"):
        model.record("")


def test_an_engine_that_cannot_tell_is_refused() -> None:
    """Such as a GPU's; the message says how to load the model."""
    with pytest.raises(UsageError, match='on a CPU only\nload the model with device="cpu"'):
        Pretrained(tiny(), Engine).record("a")  # type: ignore[arg-type]


def test_bytes_are_recorded_one_by_one() -> None:
    """Of a model of bytes the text has a character for each byte, so that values stand beside it."""
    recording = _model(as_bytes=True).record("na\u00efve")
    assert recording.text == "na\u00efve".encode().decode("latin-1")
    assert len(recording) == len(recording.h) == 6


def test_a_notebook_sees_a_table_and_the_text_in_colour() -> None:
    """Of the liveliest unit over the beginning; characters and values are those of the recording, and escaped."""
    model = _model()
    recording = model.record(TEXT * 3)
    assert repr(recording) == "<recording of 24 units over 1,260 characters, 0.1 MB>"
    page = recording._repr_html_()
    assert len(page) < 100_000
    assert "1,260 characters, 24 units: L1.h0 to L3.c3" in page
    picture = recording.picture("L2.c1", 3, 40)
    assert repr(picture) == "<picture of L2.c1 (tanh c) over 37 characters; a notebook draws it>"
    drawn = picture._repr_html_()
    spans = re.findall(r'<span style="background:#[0-9a-f]{6};color:#[0f]{3}" title="([+-]\d\.\d{3})">(.)', drawn)
    assert [float(value) for value, _ in spans] == pytest.approx(recording["L2.c1"][3:40].tolist(), abs=6e-4)
    assert "".join(character for _, character in spans) == TEXT[3:40].replace("\n", "\u21b5")
    for markup in (page, drawn):
        ElementTree.fromstring(f"<page>{markup}</page>")
        assert not re.search(r"https?:|<script|<link|src=", markup)
        assert "max-width:600px" in markup
