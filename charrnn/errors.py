"""The failures that a user can mend, each with the exit status that the shell sees.

The command line prints them. Programming errors are not among them; they keep their traceback and exit with 1.
"""

from __future__ import annotations

from collections.abc import Iterable


def in_one_line(hints: Iterable[str]) -> str:
    """Returns hints as one line: "did you mean this? that is another way; so is this"."""
    return "; ".join(hints).replace("?; ", "? ")


class CharrnnError(Exception):
    """A foreseeable failure. `message` says what is wrong with which value, and each of `hints` one way to mend it.

    A command that lacks an option leaves out the hints that name it.
    """

    exit_status = 1

    def __init__(self, message: str, *hints: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hint for hint in hints if hint)

    @property
    def hint(self) -> str | None:
        """All hints as one sentence, or None where there are none."""
        return in_one_line(self.hints) or None

    def __str__(self) -> str:
        """Returns the message and, on a line of its own, the hint: what a traceback or a notebook shows."""
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class UsageError(CharrnnError):
    """An option or argument has a value that cannot be used."""

    exit_status = 2


class TextError(CharrnnError):
    """A corpus, prime or evaluated text cannot be read or does not fit the model."""

    exit_status = 3


class CheckpointError(CharrnnError):
    """A checkpoint is missing, damaged, foreign, newer than this program, or belongs to another run."""

    exit_status = 4


class WeightsTooLarge(CheckpointError):
    """A model computes a number that is not finite. `what` names it with its verb, such as "the state is"."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} not finite: the weights are too large to compute with", "train again")


class DivergenceError(CharrnnError):
    """Loss or gradient stopped being finite, or the loss exploded; the last good checkpoint has been kept."""

    exit_status = 5


class ResourceError(CharrnnError):
    """Memory or disk space has run out."""

    exit_status = 6


class TextLost(ResourceError):
    """The encoded text that is being read has been damaged, or its disk fails.

    Whoever has something to lose may save it first: what needed the text has changed nothing.
    """


class PeerError(CharrnnError):
    """Another process of the same run has ended."""


class RecordingFailed(CharrnnError):
    """A step could not be recorded as a CUDA graph, and this process cannot go on with the GPU.

    Nothing is lost: the same work can be done by another process without graphs.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the GPU's work cannot be recorded as a CUDA graph ({reason})",
            "give the same command again with CHARRNN_GRAPHS=0 in the environment: it then goes without, only slower",
        )
        self.reason = reason
