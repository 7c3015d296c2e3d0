"""Where the weights of a checkpoint come from, if not from its seed and its settings alone.

A record in the checkpoint's metadata, each entry of which may be absent:

    from       {sha256, corpus, step, characters}: the checkpoint that the run began from (--init-from), by its digest
    teacher    {sha256, corpus, step, characters, members}: the checkpoint that the run learns from (--distill-from)
    texts      [{characters, sha256}, ...]: what the run's text was before it grew, the first one first
    changes    [{step, settings: {option: [before, now]}, text: [characters before, now]}, ...]: what --change changed
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from charrnn.checkpoints.checkpoint import Checkpoint
from charrnn.text.corpus import Corpus, Parts
from charrnn.text.growth import growth_of
from charrnn.text.held_out import HeldOut

FROM, TAUGHT, TEXTS, CHANGES = "from", "teacher", "texts", "changes"


def begun_from(lineage: Mapping[str, Any]) -> str | None:
    """Returns the digest of the checkpoint that a run began from, where it did."""
    return _digest(lineage, FROM)


def taught_by(lineage: Mapping[str, Any]) -> str | None:
    """Returns the digest of the checkpoint that a run learns from, where it has such a teacher."""
    return _digest(lineage, TAUGHT)


def _digest(lineage: Mapping[str, Any], entry: str) -> str | None:
    with contextlib.suppress(KeyError, TypeError):
        return str(lineage[entry]["sha256"])
    return None


def begun_characters(lineage: Mapping[str, Any]) -> int | None:
    """Returns how many characters of the text, without a separate one to validate on, were cut into parts at the
    beginning; None where the text has not grown."""
    with contextlib.suppress(KeyError, TypeError, IndexError):
        found = lineage[TEXTS][0]["characters"]
        return found if type(found) is int and found > 0 else None
    return None


def known_texts(lineage: Mapping[str, Any]) -> set[str]:
    """Returns the digests of the texts that a run's text has grown from."""
    with contextlib.suppress(KeyError, TypeError):
        return {str(each["sha256"]) for each in lineage[TEXTS]}
    return set()


def held_out_of(checkpoint: Checkpoint) -> HeldOut | None:
    """Returns which places of its text a run holds out; None where it is made of documents."""
    corpus = checkpoint.corpus
    return None if corpus["held_out"] is None else HeldOut.of_dict(corpus["held_out"], corpus["characters"])


def parts_as(checkpoint: Checkpoint, corpus: Corpus) -> Parts:
    """Returns the parts of a text, cut as the run of a checkpoint cut its own, which may have grown to this one since.

    Raises TextError where it is small.
    """
    own = checkpoint.corpus
    begun, kept = begun_characters(checkpoint.lineage), held_out_of(checkpoint)
    if corpus.sha256 != own["sha256"]:
        growth = growth_of(corpus, own["characters"], own["sha256"])
        begun, kept = (None, None) if growth is None else (begun or growth.before, kept)
    return corpus.split(checkpoint.data, begun, checkpoint.vocabulary, kept)


def told(lineage: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a lineage says, in words: from which model the run began, and each change of its settings."""
    said: dict[str, str] = {}
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
        if FROM in lineage:
            model = lineage[FROM]
            said["begun from"] = f"{model['corpus']}, step {model['step']:,}, sha256 {model['sha256'][:16]}"
        if TAUGHT in lineage:
            model = lineage[TAUGHT]
            several = "" if model["members"] == 1 else f"{model['members']} members of "
            said["taught by"] = f"{several}{model['corpus']}, step {model['step']:,}, sha256 {model['sha256'][:16]}"
        if CHANGES in lineage:
            said["changed"] = "; ".join(f"at step {each['step']:,} {_change(each)}" for each in lineage[CHANGES])
    return said


def _change(change: Mapping[str, Any]) -> str:
    made = [f"--{name} {was} -> {now}" for name, (was, now) in change.get("settings", {}).items()]
    if "text" in change:
        made.append("the text from {:,} to {:,} characters".format(*change["text"]["characters"]))
    return ", ".join(made)
