"""Documents: parts of a text that are independent of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Where documents lie in an array of ids, in which the end symbol stands before each and after it."""

    begins: npt.NDArray[np.int64]
    """The index of each one's first character, (documents,)."""
    ends: npt.NDArray[np.int64]
    """The index of the end symbol after each, (documents,)."""
