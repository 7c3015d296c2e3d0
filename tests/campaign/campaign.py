"""What a campaign is: many trials, each made from its seed alone, each of which the program must survive.

A module of this folder registers its campaigns by name in a dictionary CAMPAIGNS.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import binom

_A_CHUNK = 20
_SIGNIFICANT = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """One kind of attack."""

    summary: str
    """What is done, and what surviving means, in one sentence."""
    trial: Callable[[Any, int, Path], str | None]
    """Makes the trial of a seed in an empty folder of its own, with what `prepare` has returned. Returns None where the
    program survived, else what went wrong, in one line. An exception counts as gone wrong."""
    prepare: Callable[[Path], Any] = lambda _folder: None
    """Makes what all trials of one process share, in a folder that stays as long as the process."""
    size: Callable[[Any], int] | None = None
    """How many trials there are, given what `prepare` returned, where they can be counted: seeds from 0 to this, and no
    others, are all of them."""
    in_suite: int = 5
    """How many trials the suite of tests makes."""
    tolerated: tuple[float, float] = (0.0, 0.0)
    """The least and the greatest share of trials that may fail, where failing at a stated rate is right, as it is for a
    test at 5 %. A rate is kept when neither of two one-sided binomial tests at 1 % rejects it."""

    def survives(self, made: int, failed: int) -> bool:
        """Returns whether `failed` of `made` trials are no more, and no fewer, than is tolerated."""
        least, most = self.tolerated
        if most == 0.0:
            return failed == 0
        return bool(binom.sf(failed - 1, made, most) > _SIGNIFICANT and binom.cdf(failed, made, least) > _SIGNIFICANT)


class CannotSay(Exception):
    """Raised by a trial in which the program said that it cannot tell, so that a rate is taken over the others."""


class Failure(NamedTuple):
    """A trial that the program did not survive."""

    seed: int
    said: str


@functools.cache
def all_campaigns() -> dict[str, Campaign]:
    """Every campaign by name, in the order of the names."""
    import tests.campaign

    found: dict[str, Campaign] = {}
    for module in pkgutil.iter_modules(tests.campaign.__path__):
        if not module.name.startswith("_"):
            found |= getattr(importlib.import_module(f"tests.campaign.{module.name}"), "CAMPAIGNS", {})
    return dict(sorted(found.items()))


def seeds_of(name: str, first: int, count: int | None) -> range:
    """The seeds of `count` trials from `first` on; of a campaign whose trials can be counted no more than there are."""
    campaign = all_campaigns()[name]
    if campaign.size is None:
        return range(first, first + (campaign.in_suite if count is None else count))
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        size = campaign.size(campaign.prepare(Path(folder)))
    return range(min(first, size), size if count is None else min(first + count, size))


def run(name: str, seeds: Sequence[int], *, jobs: int = 1) -> Iterator[tuple[int, list[Failure]]]:
    """Makes the trials of `seeds`, in `jobs` processes; yields how many more were made, and which of them failed.

    Those that could not say are not counted.
    """
    chunks = [list(seeds[start : start + _A_CHUNK]) for start in range(0, len(seeds), _A_CHUNK)]
    if jobs == 1:
        with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
            prepared = all_campaigns()[name].prepare(Path(folder))
            for chunk in chunks:
                yield _judged(name, prepared, chunk)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (name,)) as pool:
        for done in as_completed([pool.submit(_make, name, chunk) for chunk in chunks]):
            yield done.result()


_prepared: list[Any] = []


def _begin(name: str) -> None:
    import atexit

    folder = tempfile.mkdtemp(prefix="campaign-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _prepared.append(all_campaigns()[name].prepare(Path(folder)))


def _make(name: str, chunk: list[int]) -> tuple[int, list[Failure]]:
    return _judged(name, _prepared[0], chunk)


def _judged(name: str, prepared: Any, chunk: list[int]) -> tuple[int, list[Failure]]:
    tried = [made for seed in chunk if (made := _tried(name, prepared, seed)) is not None]
    return len(tried), [failure for made in tried for failure in made]


def _tried(name: str, prepared: Any, seed: int) -> list[Failure] | None:
    with tempfile.TemporaryDirectory(prefix="trial-", ignore_cleanup_errors=True) as folder:
        try:
            said = all_campaigns()[name].trial(prepared, seed, Path(folder))
        except CannotSay:
            return None
        except Exception:
            said = " / ".join(traceback.format_exc().strip().splitlines()[-3:])
    return [] if said is None else [Failure(seed, said)]
