"""The parts of a run's text: what it is trained on, and what is held out."""

from __future__ import annotations

from charrnn.checkpoints.lineage import begun_characters
from charrnn.text.corpus import Corpus, Parts
from charrnn.training.plan import Plan


def parts_of(plan: Plan, corpus: Corpus) -> Parts:
    """Returns the parts of a run's text. What was held out when the run began stays so where the text has grown."""
    return corpus.split(plan.data, begun_characters(plan.lineage), kept=plan.held_out)
