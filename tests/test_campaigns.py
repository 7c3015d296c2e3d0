"""A few trials of every campaign, and how campaigns are counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign import campaign as campaigns
from tests.campaign.campaign import Campaign, CannotSay, Failure, all_campaigns, run, seeds_of

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", [*all_campaigns()])
def test_a_few_trials_are_survived(name: str) -> None:
    """As many as the campaign wants in the suite; of those that can be counted, spread over all."""
    wanted = all_campaigns()[name].in_suite
    seeds = seeds_of(name, 0, wanted if all_campaigns()[name].size is None else None)
    spread = seeds[:: max(1, len(seeds) // wanted)][:wanted]
    made = list(run(name, spread))
    failures = [failure for _, failed in made for failure in failed]
    assert all_campaigns()[name].survives(sum(count for count, _ in made), len(failures)), failures
    assert spread


def _even(_prepared: object, seed: int, folder: Path) -> str | None:
    assert not any(folder.iterdir())
    if seed == 5:
        raise ValueError("five")
    return None if seed % 2 == 0 else f"{seed} is odd"


def test_what_fails_is_told_by_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception is a failure too; a campaign of seven trials has no more."""
    made_up = {"even": Campaign(summary="", trial=_even, size=lambda _prepared: 7)}
    monkeypatch.setattr(campaigns, "all_campaigns", lambda: made_up)
    assert seeds_of("even", 3, 100) == range(3, 7)
    assert seeds_of("even", 0, None) == range(7)
    made = list(run("even", range(2, 7)))
    assert sum(count for count, _ in made) == 5
    assert made[0][1][0] == Failure(3, "3 is odd")
    assert [failure.seed for _, failed in made for failure in failed] == [3, 5]
    assert "ValueError: five" in made[0][1][1].said


def _one_in_ten(_prepared: object, seed: int, folder: Path) -> str | None:
    if seed % 10 == 3:
        raise CannotSay
    return "by chance" if seed % 10 == 7 else None


def test_a_stated_rate_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that could say one in nine fails: too many for 5 %, right for 7 to 15 %, too few for 20 % or more."""
    made_up = {"tenth": Campaign(summary="", trial=_one_in_ten)}
    monkeypatch.setattr(campaigns, "all_campaigns", lambda: made_up)
    made = list(run("tenth", range(400)))
    count, failed = sum(more for more, _ in made), sum(len(failures) for _, failures in made)
    assert (count, failed) == (360, 40)
    for tolerated, is_kept in (((0.0, 0.0), False), ((0.0, 0.05), False), ((0.07, 0.15), True), ((0.2, 0.9), False)):
        assert Campaign(summary="", trial=_one_in_ten, tolerated=tolerated).survives(count, failed) == is_kept
    assert Campaign(summary="", trial=_one_in_ten, tolerated=(0.03, 0.07)).survives(0, 0)


def test_the_command_lists_the_campaigns() -> None:
    """Each with a sentence."""
    listed = subprocess.run(
        [sys.executable, "-m", "tests.campaign"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = listed.stdout.splitlines()
    assert [line for line in lines if line[0] != " "] == [*all_campaigns()]
    assert all(line.rstrip().endswith(".") for line in lines if line[0] == " ")
