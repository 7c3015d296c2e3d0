"""The table of what a failed call leads to."""

from __future__ import annotations

import doctest
import errno

import pytest

from charrnn import system_errors
from charrnn.system_errors import Outcome, outcome_of, retried, told


@pytest.mark.parametrize(
    ("call", "name", "expected"),
    [
        ("", "EINTR", Outcome.RETRIED),
        ("close", "EINTR", Outcome.HARMLESS),
        ("close", "EIO", Outcome.RESOURCES),
        ("sync of a folder", "EINVAL", Outcome.HARMLESS),
        ("sync of a folder", "EIO", Outcome.RESOURCES),
        ("lock", "ENOLCK", Outcome.HARMLESS),
        ("lock", "EBADF", Outcome.HARMLESS),
        ("lock", "EIO", Outcome.RESOURCES),
        ("lock", "EACCES", Outcome.WRONG_PLACE),
        ("chmod", "EPERM", Outcome.HARMLESS),
        ("", "ENOSPC", Outcome.RESOURCES),
        ("", "EDQUOT", Outcome.RESOURCES),
        ("", "EFBIG", Outcome.RESOURCES),
        ("", "EIO", Outcome.RESOURCES),
        ("", "EMFILE", Outcome.RESOURCES),
        ("", "ENFILE", Outcome.RESOURCES),
        ("", "ENOMEM", Outcome.RESOURCES),
        ("", "EROFS", Outcome.WRONG_PLACE),
        ("going on", "EROFS", Outcome.RESOURCES),
        ("", "EACCES", Outcome.WRONG_PLACE),
        ("", "ENOENT", Outcome.WRONG_PLACE),
        ("", "ENAMETOOLONG", Outcome.WRONG_PLACE),
        ("", "ENOTDIR", Outcome.WRONG_PLACE),
    ],
)
def test_outcomes(call: str, name: str, expected: Outcome) -> None:
    """As the manual's table says."""
    assert outcome_of(OSError(getattr(errno, name), "why"), call) is expected


def test_every_outcome_has_a_hint_of_its_own() -> None:
    """Space for a full disk, files for too many, memory for too little, and the disk itself."""
    hints = {
        told(OSError(number, "why"), "writing")[1] for number in (errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.EIO)
    }
    assert len(hints) == 4


def test_only_interruptions_are_retried() -> None:
    """Another error is raised at once."""
    raised = iter(
        [InterruptedError(errno.EINTR, ""), InterruptedError(errno.EINTR, ""), PermissionError(errno.EACCES, "")]
    )

    def call(value: int) -> int:
        if (error := next(raised, None)) is not None:
            raise error
        return value

    with pytest.raises(PermissionError):
        retried(call, 3)
    assert retried(call, 3) == 3


def test_examples() -> None:
    """What the docstrings show is so."""
    assert doctest.testmod(system_errors).failed == 0
