"""What `papers.py` trains: a text, how it is cut, and with which options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A text, how it is cut, and with which options it is trained."""

    name: str
    text: tuple[str, ...]
    """Words of `quality`; {} is the folder."""
    options: tuple[str, ...]
    marks: dict[str, tuple[str, ...]]
    """What is asked, in words -> where the figure stands in the record."""
    folder: str = "checkpoints/papers"
    """Where its run is kept, up to its name."""

    @property
    def run(self) -> str:
        """The run's folder."""
        return f"{self.folder}-{self.name}"
