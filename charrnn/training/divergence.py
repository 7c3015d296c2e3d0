"""When a run has diverged, and what its user can do then.

A loss that is not finite is the end of it. So is one that is finite and three times as dear as guessing, ln V nats for
each of V characters: such weights are thrown about, and hardly ever find back. A model that begins from another one may
be sure of the wrong characters at first, so that what counts is three times its first loss where that is more.
"""

from __future__ import annotations

import math

from charrnn.checkpoints.folder import Run
from charrnn.errors import DivergenceError
from charrnn.settings.choices import SEARCHING
from charrnn.training.plan import Plan
from charrnn.wording import count

_TOLERATED = 3.0
MOST_ROLLBACKS = 10
_USUAL = 0.01
_SMALLER = "a smaller --lr or --clip"


def guessing(vocabulary_size: int) -> float:
    """Returns the nats per character of a guess that holds all characters to be as likely as each other."""
    return math.log(vocabulary_size)


def bound(vocabulary_size: int, first_nats: float | None) -> float:
    """Returns the nats per character above which a run has diverged; `first_nats` is the loss of its first step."""
    return _TOLERATED * max(guessing(vocabulary_size), first_nats or 0.0)


def divergence(
    run: Run, plan: Plan, step: int, rollbacks: int, nats: float, norm: float, rate: float
) -> DivergenceError:
    """Returns the error for a run that has diverged at a step, after so many rollbacks, at a loss, a gradient's norm
    (nan where that is not known) and a learning rate."""
    config, searches = plan.run, plan.training.optimizer in SEARCHING
    lower = f"{rate / 2:.3g}" if searches else _lower(rate)
    ways = [f"go on from it at a lower rate, such as --change --lr {lower}"] if step else []
    # The rate of a search is the length that it begins with, which it shortens by itself.
    ways.append(f"start over with {'a larger --damping or --structural-damping' if searches else _SMALLER}")
    kept = f"{run.last} holds the last good state"
    if config.on_divergence == "stop":
        ways.append("let --on-divergence rollback try")
    elif rollbacks:
        kept += f", and going back to it {count(rollbacks, 'time')}, at half the rate each time, did not help"
    measured = "" if math.isnan(norm) and math.isfinite(nats) else f", gradient norm {norm:.4g}"
    return DivergenceError(
        f"training diverged at step {step:,}: loss {nats:.4g}{measured}, learning rate {rate:.4g}",
        f"{kept}: {', '.join(ways[:-1])}{', or ' if len(ways) > 1 else ''}{ways[-1]}",
    )


def _lower(rate: float) -> str:
    """Returns a tenth of a rate, or the usual one where that is lower, as a user would type it."""
    return f"{min(rate / 10, _USUAL):.1g}"
