"""What a run that has ended has used up, and with what it goes on."""

from __future__ import annotations

from charrnn.events import Finished
from charrnn.settings.config import Budget
from charrnn.training.plan import Plan


def used(budget: Budget, ended: Finished) -> Budget:
    """Returns the budget that a run has used: its own, or what was done before under a larger one."""
    if budget.unit == "steps":
        return Budget(steps=max(int(budget.amount), ended.step))
    done = ended.epoch if budget.unit == "epochs" else ended.seconds / 60
    # A run ends with a whole step and a validation: what it did more than its budget in these is of no interest.
    return Budget.from_dict({budget.unit: max(budget.amount, float(f"{done:.3g}"))})


def beyond(plan: Plan, ended: Finished) -> dict[str, float]:
    """Returns what a run that has ended has used up: a budget, --patience, or both. With more of each of them, by the
    names of their settings, it goes on; nothing, where it does not."""
    is_of_several = plan.training.ensemble > 1 and not plan.training.distill
    if ended.reason == "patience" and is_of_several:
        return {}
    found: dict[str, float] = {}
    budget = used(plan.budget, ended)
    done = {"steps": ended.step, "epochs": ended.epoch, "minutes": ended.seconds / 60}[budget.unit]
    if ended.reason != "patience" or done >= plan.budget.amount:
        found[budget.unit] = budget.amount
    if ended.reason == "patience" and plan.run.patience is not None:
        found["patience"] = plan.run.patience
    elif is_of_several:
        found["ensemble"] = plan.training.ensemble
    return found


def finished_in_words(plan: Plan, ended: Finished) -> str:
    """Returns that a run has ended, and with what it goes on, such as "this run is finished: a larger budget than 300
    steps goes on". Of what is to change, nothing does before."""
    if plan.notices:
        return f"this run is finished, and nothing is changed: {beyond_in_words(plan, ended)} with what is to change"
    return f"this run is finished: {beyond_in_words(plan, ended)}"


def beyond_in_words(plan: Plan, ended: Finished) -> str:
    """Returns with what a run that has ended goes on, such as "a larger budget than 300 steps goes on"."""
    found = beyond(plan, ended)
    if not found:
        return "a member brought nothing, with which --patience ends a run of several"
    if "ensemble" in found:
        return f"more members than {found['ensemble']} and a larger budget than {used(plan.budget, ended)} go on"
    parts = [f"a larger budget than {used(plan.budget, ended)}"] if len(found) > ("patience" in found) else []
    parts += [f"a larger patience than {found['patience']:,}"] if "patience" in found else []
    return f"{' and '.join(parts)} {'goes' if len(parts) == 1 else 'go'} on"
