"""Says something to the user in passing, on stderr."""

from __future__ import annotations

import contextlib
import os
import sys

from charrnn.display.safe import visible, write
from charrnn.display.wrap import columns, wrapped


def say(text: str, *, is_dim: bool = False) -> None:
    """Writes one line to stderr, always made visible, and broken between words where a terminal is narrower.

    On a terminal it is dim if it is only said in passing.

    Errors of a stderr that cannot be written to are ignored.
    """
    with contextlib.suppress(OSError, ValueError):
        lines = wrapped(visible(text, kept="\t"), columns(sys.stderr), hanging="  ")
        said = "\n".join(lines)
        if is_dim and sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
            sys.stderr.write("\x1b[2m")
            write(said, sys.stderr)
            sys.stderr.write("\x1b[22m\n")
        else:
            write(said + "\n", sys.stderr)
        sys.stderr.flush()
