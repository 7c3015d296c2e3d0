"""What `train` says once a run has ended: whether more of it would help, where it is, and what can be done next."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from charrnn.checkpoints.folder import Run
from charrnn.display.blocks import bits
from charrnn.display.progress import TrainingDisplay
from charrnn.events import Finished
from charrnn.settings.config import Budget
from charrnn.text.corpus import Corpus
from charrnn.training.plan import Plan
from charrnn.wording import figure

_LOOKED_AT = 20_000
"""Characters at the beginning of the text in which a common word is looked for, for a sample to begin with."""


def farewell(display: TrainingDisplay, ended: Finished, plan: Plan, run: Run, corpus: Corpus, *, fresh: bool) -> None:
    """Shows what the user can do with the run; nothing where it was stopped before its first checkpoint of weights."""
    display.tell(*_outlook(ended, plan.budget, "without --fresh" if fresh else ""))
    display.tell(f"the run is in {run.folder}" + ("; next:" if run.best.exists() else ""))
    if not run.best.exists():
        return
    prime = plan.run.prime if plan.run.prime.isprintable() else ""
    prime = prime or _common_word(corpus)
    display.tell_command("charrnn", "sample", "-c", str(run.folder), *(["--prime", prime] if prime else []))
    display.tell_command("charrnn", "inspect", "-c", str(run.folder))


def _outlook(ended: Finished, budget: Budget, changed: str) -> Iterator[str]:
    """Yields a sentence on what more training would bring, or on how to go on after an interruption."""
    if ended.signal is not None:
        yield f"the same command {f'{changed} ' if changed else ''}goes on from here"
        return
    trend = ended.trend
    longer = f"--{budget.unit} {figure(2 * budget.amount, 12).replace(',', '')}"
    again = f"the same command with {longer}{f' and {changed}' if changed else ''} goes on"
    if trend is None:
        if ended.best_nats is not None and ended.epoch < 1.0:
            yield f"the run has not read its whole text once, so more training would help: {again}"
    elif trend.kind == "falling":
        by = f"by {bits(trend.fall_nats):.3f} bpc in the last quarter of the run"
        yield f"validation was still falling ({by}), so more training would help: {again}"
    elif trend.kind == "flat":
        yield "validation hardly fell any more in the last quarter of the run: more training would help little"
    else:
        yield (
            f"validation stopped improving at step {trend.best_step:,}: more training would not help, "
            "but more text or more dropout may"
        )


def _common_word(corpus: Corpus) -> str:
    """Returns the commonest word of three letters or more near the text's beginning; nothing where it has none."""
    beginning = corpus.vocabulary.decode(corpus.ids[:_LOOKED_AT].tolist())
    words = Counter(re.findall(r"\b[A-Za-z]{3,}\b", beginning))
    return words.most_common(1)[0][0] if words else ""
