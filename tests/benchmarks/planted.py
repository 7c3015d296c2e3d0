"""How much of what is planted `inspect --find` finds, how much it finds that is not there, and on how few units it says
that it rests: over several seeds.

    python -m tests.benchmarks.planted [--json] [--seeds 8] [--tasks quotes,brackets,lines,recall]

For each seed and each task of `tests/kit/planted.py` a small model is trained on other text; then there is an atlas of
it, one of labels that have lost the text, and one of a model that has learned nothing.

    recall        the share of planted labels (and degrees of them) that are found
    false finds   the share of labels found in the other two atlases; of the untrained model only those planted count
    k             how many seeds say how few units tell the planted label, and the largest of those numbers

Texts and models of a seed are the same on every machine of a kind. A seed and task takes about half a minute.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.kit.planted import TASKS, learn


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found for one task and seed."""

    task: str
    seed: int
    planted: int
    found: int
    asked: int
    """The labels of the atlases in which there is nothing to find."""
    false: int
    k: int | None
    """Of the planted label."""
    f1: float


def trial(task: str, seed: int) -> Trial:
    """Trains a model and makes its atlases."""
    with tempfile.TemporaryDirectory() as folder:
        trained = learn(TASKS[task], Path(folder), seed)
    planted = {trained.task.label, trained.task.graded} - {""}
    found = [finding for finding in trained.found.findings if finding.label in planted and finding.is_found]
    nothing = trained.atlas_of_shuffled_labels().findings
    nothing += [each for each in trained.atlas_of_an_untrained_model().findings if each.label in planted]
    best = trained.finding(trained.task.label)
    false = sum(each.is_found for each in nothing)
    return Trial(task, seed, len(planted), len(found), len(nothing), false, best.curve.k, best.f1 or 0.0)


def summed(trials: Sequence[Trial]) -> dict[str, object]:
    """Returns the figures of all trials together."""
    ks = {task: Counter(each.k for each in trials if each.task == task) for task in {each.task for each in trials}}
    return {
        "trials": len(trials),
        "recall": sum(each.found for each in trials) / sum(each.planted for each in trials),
        "false finds": sum(each.false for each in trials) / sum(each.asked for each in trials),
        "k": {task: {str(k): count for k, count in sorted(found.items(), key=str)} for task, found in ks.items()},
    }


def main() -> None:
    """Prints what was asked for: a line a trial, then all together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--tasks", default=",".join(TASKS))
    asked = parser.parse_args()
    trials = []
    for seed in range(asked.seeds):
        for task in asked.tasks.split(","):
            trials.append(trial(task, seed))
            said = asdict(trials[-1])
            print(json.dumps(said) if asked.json else "  ".join(f"{n} {v}" for n, v in said.items()), flush=True)
    found = summed(trials)
    print(json.dumps(found) if asked.json else "\n".join(f"{name:14}{value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
