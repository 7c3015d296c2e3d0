"""Reads the texts that a model is given in Python: by the rules of its run, and in the form that it knows."""

from __future__ import annotations

from typing import Any

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.sampling.known_form import in_known_form
from charrnn.settings.choices import UnknownPolicy
from charrnn.settings.sampling import SamplingConfig
from charrnn.text.cutting import cut_text
from charrnn.text.encoding import encode_cut
from charrnn.text.fitting import Reader
from charrnn.text.vocabulary import Ids


def _reader(loaded: Checkpoint) -> Reader:
    return Reader.of(loaded.data, loaded.vocabulary, loaded.corpus)


def drawing(loaded: Checkpoint, settings: dict[str, Any]) -> SamplingConfig:
    """Returns the settings of sampling, with stop texts and biased texts in the form that the model writes."""
    (config,), _ = in_known_form([SamplingConfig(**settings)], _reader(loaded))
    return config


def ids_of(loaded: Checkpoint, text: str, unknown: UnknownPolicy) -> Ids:
    """Returns the ids of a text that goes on. Raises TextError for characters that the model does not know."""
    read, _ = _reader(loaded).text(text, "the text")
    return loaded.vocabulary.encode(read, unknown)


def ids_to_score(loaded: Checkpoint, text: str, unknown: UnknownPolicy) -> Ids:
    """Returns the ids of a whole text, which for a model of documents is cut into documents as its own text was."""
    if not loaded.vocabulary.has_end:
        return ids_of(loaded, text, unknown)
    read, _ = _reader(loaded).text(text, "the text")
    return encode_cut(cut_text(read, loaded.data), loaded.vocabulary, unknown)
