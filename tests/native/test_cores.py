"""Cores: what affinity and a container's quota leave, from files as Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charrnn.native.cores import available_cores

FREE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, FREE),
        ({"cpu.max": "max 100000\n"}, FREE),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "99000000 100000\n"}, FREE),
        ({"cpu.max": "nonsense"}, FREE),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, FREE),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "0\n"}, FREE),
    ],
)
def test_a_quota_counts(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    """Both versions of control groups, none, and files that cannot be read as such."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores
