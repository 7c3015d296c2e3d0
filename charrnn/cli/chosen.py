"""Says which run a command has chosen where the user has named none."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.checkpoints.checkpoint import Checkpoint


def say_chosen(path: Path, loaded: Checkpoint) -> None:
    """Says in one line on stderr which checkpoint is read: its run, its step, and how long ago it was written."""
    from charrnn.display.notice import say
    from charrnn.wording import ago

    try:
        age = ago(time.time() - os.stat(path).st_mtime)
    except OSError:  # moved away meanwhile
        age = "moved away since"
    say(f"run {path.parent} ({loaded.kind} at step {loaded.progress['step']:,}, {age})", is_dim=True)
