"""How many processor cores this process may use: by affinity, and by a container's quota.

Threads that wait for each other by spinning must not be more than the cores that run them, and a container on a large
machine sees all of its cores and may use a few.
"""

from __future__ import annotations

import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def available_cores(group: Path = _GROUP) -> int:
    """Returns the number of cores, at least 1. `group` is where Linux shows the process's control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(group)
    return cores if quota is None else max(1, min(cores, int(quota)))


def _quota(group: Path) -> float | None:
    """Returns how many cores' worth of time the group gets, or None where nothing limits it."""
    try:
        if (group / "cpu.max").exists():  # version 2: "200000 100000", or "max 100000"
            quota, period = (group / "cpu.max").read_text().split()
        else:  # version 1: -1 where nothing limits it
            quota = (group / "cpu/cpu.cfs_quota_us").read_text()
            period = (group / "cpu/cpu.cfs_period_us").read_text()
        share = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None
