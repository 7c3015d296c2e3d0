"""The installed command, and `python -m charrnn`. Signals are heard before anything of size is imported."""

import sys

from charrnn.cli import leaving


def main() -> None:
    """Runs the command line, or says in one line what the machine lacks to load it."""
    leaving.run(_command)


def _command() -> None:
    from charrnn.system_errors import lacking

    try:
        from charrnn.cli import app
    except (OSError, MemoryError, ImportError) as error:
        lack = lacking(error)
        if lack is None:
            raise
        if sys.stderr is not None:
            sys.stderr.write(f"error: the program cannot be loaded: {lack}\n")
        sys.exit(6)
    app.main()


if __name__ == "__main__":
    main()
