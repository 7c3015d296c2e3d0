"""Makes the trials of one campaign.

    python -m tests.campaign                                  lists the campaigns
    python -m tests.campaign NAME --count 1000 --seed 0       the trials of the seeds from 0 to 999
    python -m tests.campaign NAME                             where trials can be counted, all of them

Each trial is made from its seed alone, so that any can be made again, and totals add up over ranges of seeds. The last
line is `NAME: TRIALS trials, SURVIVED survived`; the exit status is 0 where all survived, else 1. Where trials may fail
at a stated rate (say a test at 5 %), the line names it, and the status is 0 where a binomial test does not reject it.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.campaign.campaign import all_campaigns, run, seeds_of

_SECONDS_BETWEEN_LINES = 20.0


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=[*all_campaigns()])
    parser.add_argument("--count", type=int, help="how many trials; without it a few, or all where they can be counted")
    parser.add_argument("--seed", type=int, default=0, help="the first trial's seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    asked = parser.parse_args()
    if asked.name is None:
        for name, campaign in all_campaigns().items():
            print(f"{name}\n    {campaign.summary}")
        return 0
    seeds = seeds_of(asked.name, asked.seed, asked.count)
    made = failed = 0
    said_at = time.monotonic()
    for more, failures in run(asked.name, seeds, jobs=asked.jobs):
        made, failed = made + more, failed + len(failures)
        for failure in failures:
            print(f"{asked.name} {failure.seed}: {ascii(failure.said)[1:-1]}", flush=True)
        if time.monotonic() - said_at > _SECONDS_BETWEEN_LINES:
            said_at = time.monotonic()
            print(f"... {made:,} of {len(seeds):,}, {failed:,} failed", file=sys.stderr, flush=True)
    campaign = all_campaigns()[asked.name]
    said = f"{asked.name}: {made:,} trials, {made - failed:,} survived"
    if (most := campaign.tolerated[1]) > 0:
        least = f"{campaign.tolerated[0]:.0%} to " if campaign.tolerated[0] else "up to "
        cannot = f", {len(seeds) - made:,} others could not say" if made < len(seeds) else ""
        said += f" ({least}{most:.0%} may fail{cannot})"
    print(said)
    return int(not campaign.survives(made, failed))


if __name__ == "__main__":
    sys.exit(main())
