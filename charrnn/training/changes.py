"""How what is asked for differs from a run that is there, and the record of what --change lets it take over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from charrnn.checkpoints.lineage import CHANGES, TEXTS
from charrnn.errors import UsageError
from charrnn.settings.config import Budget
from charrnn.settings.fields import Record, Setting, settings_of
from charrnn.settings.settings_file import option_name
from charrnn.text.growth import Growth
from charrnn.training.recipe import completed, completed_training
from charrnn.wording import count

GROUPS = ("model", "data", "training", "run")
_FOLLOWING = {"model": completed, "training": completed_training}
"""How settings that are left open follow from those that are given, by group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that a run has otherwise than it is asked for."""

    group: str
    name: str
    declared: Setting
    shown: Any
    """What was given when the run began, or what was chosen then."""
    was: Any
    """What the run has."""
    now: Any
    is_given: bool
    """Whether the setting is given now, and not only left out."""

    def __str__(self) -> str:
        return f"{self.declared.flag} {self.shown} -> {self.now if self.is_given else 'not given'}"


def differences(
    asked: Mapping[str, Mapping[str, Any]],
    requested: Mapping[str, Mapping[str, Any]],
    resolved: Mapping[str, Record],
) -> list[Difference]:
    """Returns the settings that differ from those of the run, `resolved`, and that may not without being told.

    A setting left open both times does not differ, nor does one given now with the value that was chosen then, nor one
    left out now that was given then with the value that it has by itself on every text and machine.
    """
    found = []
    for group in GROUPS:
        now, then, has = asked[group], requested.get(group, {}), resolved[group]
        usual = {each.name: each.default for each in fields(type(has))}  # type: ignore[arg-type]
        by_itself = {**usual, **_FOLLOWING.get(group, dict)(now)}
        for name in dict.fromkeys([*then, *now]):
            declared, value = settings_of(type(has))[name], getattr(has, name)
            same_as_chosen = name in now and now[name] == value
            is_left_out = name not in now and declared.shown is None and then[name] == by_itself[name]
            if declared.may_change or same_as_chosen or is_left_out or now.get(name) == then.get(name):
                continue
            found.append(
                Difference(
                    group=group, name=name, declared=declared, shown=then.get(name, value), was=value,
                    now=now.get(name), is_given=name in now,
                )
            )  # fmt: skip
    return found


def check_changes(given: Sequence[Difference]) -> None:
    """Raises UsageError, with the reason, for the first setting that no run takes over once it has begun."""
    for each in given:
        if each.declared.fixed:
            flag = each.declared.flag
            ways = ("--init-from begins another run with the weights of this one",) if each.group == "training" else ()
            raise UsageError(
                f"--change does not go with {each}, since {each.declared.fixed}",
                *(f"leave {flag} out to go on as before", *ways, "or choose another --out, or start over with --fresh"),
            )


def record_of(
    given: Sequence[Difference],
    budgets: tuple[Budget, Budget],
    growth: Growth | None,
    sha256: tuple[str, str],
    step: int,
) -> dict[str, Any]:
    """Returns what changes at a step, for the checkpoint and the metrics; empty where nothing does."""
    settings = {option_name(each.declared): [each.was, each.now] for each in given}
    if budgets[0] != budgets[1]:
        settings |= {budgets[0].unit: [budgets[0].amount, None], budgets[1].unit: [None, budgets[1].amount]}
        if budgets[0].unit == budgets[1].unit:
            settings[budgets[0].unit] = [each.amount for each in budgets]
    record: dict[str, Any] = {"settings": settings} if settings else {}
    if growth is not None:
        record["text"] = {"characters": [growth.before, growth.before + growth.by], "sha256": list(sha256)}
    return {"step": step, **record} if record else {}


def lineage_with(lineage: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a checkpoint's record of where its weights come from with a change added to it."""
    known = {**lineage, CHANGES: [*lineage.get(CHANGES, []), dict(record)]}
    if "text" in record:
        text = record["text"]
        known[TEXTS] = [*lineage.get(TEXTS, []), {"characters": text["characters"][0], "sha256": text["sha256"][0]}]
    return known


def told(given: Sequence[Difference], growth: Growth | None, step: int) -> list[str]:
    """Returns a sentence for what changes, and one for a text that has grown."""
    said = []
    if given:
        changes = ", ".join(f"{each.declared.flag} {each.was} -> {each.now}" for each in given)
        said.append(f"from step {step:,} on: {changes}")
    if growth is not None:
        said.append(
            f"the text has grown by {count(growth.by, 'character')}, which are trained on from step {step:,} on; what "
            "was held out stays held out, and lanes begin at other places, from the zero state"
        )
    return said
