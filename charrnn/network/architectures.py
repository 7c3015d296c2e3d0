"""Which GPUs a build of torch has kernels for, by the list of architectures that it was compiled for.

The rules are NVIDIA's (CUDA C++ Programming Guide, "Compute Capabilities" and "Binary Compatibility"), as far as torch
follows them too (`DEVICE_REQUIREMENT` in torch/cuda/__init__.py):

    sm_86        machine code: runs on 8.6 and later minor versions of the same major one
    sm_90a       machine code that uses what 9.0 alone has: runs on 9.0
    sm_100f      machine code that uses what a family has in common: runs as sm_100 does
    compute_90   code that the driver compiles for 9.0 and whatever came later; with a and f it has their limits

Machine code for an embedded GPU (Jetson and the like) and for others is not exchanged. What is not NVIDIA's (gfx90a)
has no rule here. Pure functions, which do not ask torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAME = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
_EMBEDDED = {(5, 3), (6, 2), (7, 2), (8, 7), (10, 1)}
# CUDA 13 calls one GPU by another number than CUDA 12 did.
_RENAMED = {(10, 1): (11, 0)}


def has_kernels(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether any of the `architectures` runs on a GPU of this compute capability; a list without a rule says yes.

    >>> has_kernels(["sm_80", "sm_90"], (8, 6)), has_kernels(["sm_80", "sm_90"], (12, 0))
    (True, False)
    """
    known = [match for match in map(_NAME.fullmatch, architectures) if match]
    return not known or any(_runs_on(match, capability) for match in known)


def _runs_on(architecture: re.Match[str], capability: tuple[int, int]) -> bool:
    kind, major, minor, suffix = architecture.groups()
    made_for = int(major), int(minor)
    if capability in (made_for, _RENAMED.get(made_for)):
        return True
    if suffix == "a":
        return False
    if kind == "compute" and not suffix:
        return capability > made_for
    if _EMBEDDED & {made_for, capability}:
        return False
    return capability[0] == made_for[0] and capability > made_for
