"""What `train` says once a run has ended: whether more of it would help, where it is, and what can be done next."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import starmap

from charrnn.checkpoints.folder import Run
from charrnn.display.blocks import bits
from charrnn.display.progress import TrainingDisplay
from charrnn.errors import TextLost
from charrnn.events import Finished
from charrnn.text.corpus import Corpus
from charrnn.training.beyond import beyond
from charrnn.training.plan import Plan
from charrnn.wording import figure

_LOOKED_AT = 20_000
"""Characters at the beginning of the text in which a common word is looked for, for a sample to begin with."""


def farewell(
    display: TrainingDisplay, ended: Finished, plan: Plan, run: Run, corpus: Corpus, *, goes_on_alone: bool
) -> None:
    """Shows what the user can do with the run; its samples only once there is a checkpoint of weights.

    `goes_on_alone` tells whether the run's folder is enough to go on with it: its text can be read again, by one
    process.
    """
    display.tell(*_outlook(ended))
    more = "" if ended.signal is not None else " ".join(starmap(_longer, beyond(plan, ended).items()))
    is_worth_it = ended.signal is not None or (bool(more) and _would_learn_more(ended) and not plan.training.distill)
    if is_worth_it and not goes_on_alone:
        display.tell(f"the same command {f'with {more} ' if more else ''}goes on")
    goes_on = is_worth_it and goes_on_alone
    display.tell(f"the run is in {run.folder}{'; next:' if goes_on or run.best.exists() else ''}")
    if goes_on:
        display.tell_command("charrnn", "train", str(run.folder), *more.split())
    if not run.best.exists():
        return
    prime = plan.run.prime if plan.run.prime.isprintable() else ""
    prime = prime or _common_word(corpus)
    display.tell_command("charrnn", "sample", "-c", str(run.folder), *(["--prime", prime] if prime else []))
    display.tell_command("charrnn", "inspect", "-c", str(run.folder))


def _longer(unit: str, amount: float) -> str:
    """Returns the option for twice of what was used up, in minutes and epochs a number that is easy to type."""
    amount = 2 * amount
    if unit not in ("steps", "patience") and figure(amount, 2) != figure(amount, 12):
        step = 1.0 if amount >= 5 else 0.1
        amount = math.ceil(amount / step) * step
    return f"--{unit} {figure(amount, 12).replace(',', '')}"


def _has_hardly_begun(ended: Finished) -> bool:
    """Returns whether part of the text has not been read at all, and validation tells nothing that matters more."""
    is_told = ended.trend is not None and ended.trend.kind != "flat"
    return ended.best_nats is not None and ended.epoch < 1.0 and not is_told


def _would_learn_more(ended: Finished) -> bool:
    return _has_hardly_begun(ended) or (ended.trend is not None and ended.trend.kind == "falling")


def _outlook(ended: Finished) -> Iterator[str]:
    """Yields a sentence on what more training would bring; none after an interruption."""
    trend = ended.trend
    if ended.signal is not None:
        return
    if _has_hardly_begun(ended):
        yield "the run has not read its whole text once, so more training would help"
    elif trend is None:
        return
    elif trend.kind == "falling":
        by = f"by {bits(trend.fall_nats):.3f} bpc in the last quarter of the run"
        yield f"validation was still falling ({by}), so more training would help"
    elif trend.kind == "flat":
        yield "validation hardly fell any more in the last quarter of the run: more training would help little"
    else:
        yield (
            f"validation stopped improving at step {trend.best_step:,} of {ended.step:,}: to end there would have cost "
            "nothing, and more text or several models (--ensemble 3) help where more training does not"
        )


def _common_word(corpus: Corpus) -> str:
    """Returns the commonest word of three letters or more near the text's beginning; nothing where it has none."""
    try:
        beginning = corpus.vocabulary.decode_documents(corpus.ids[:_LOOKED_AT])
    except TextLost:  # the run is done, and need not fail for this
        return ""
    words = Counter(re.findall(r"\b[A-Za-z]{3,}\b", beginning))
    return words.most_common(1)[0][0] if words else ""
