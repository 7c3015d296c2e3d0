"""How the teacher of a run reads the training text before the first step, heard of as events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from charrnn.evaluation.bpc import Stopped
from charrnn.events import Event, Notice
from charrnn.training.teacher import Teacher


def prepared(teacher: Teacher | None, stop: Callable[[], int | None]) -> Iterator[Event]:
    """Lets the teacher, if there is one, read the training text; gives it up where `stop` tells of a signal."""

    def give_up(_done: int, _of: int) -> None:
        if stop() is not None:
            raise Stopped

    if teacher is None:
        return
    if teacher.reads_along:
        yield Notice("the teacher reads along with each step: its distributions of the whole text would not fit")
    else:
        yield Notice("the teacher reads the training text once, before the first step")
        with contextlib.suppress(Stopped):
            teacher.prepare(give_up)
