"""`python -m charrnn` is `charrnn`: the command line, or one line about what the machine lacks to load it."""

import sys


def main() -> None:
    """The installed command."""
    from charrnn.system_errors import lacking

    try:
        from charrnn.cli import app
    except (OSError, MemoryError, ImportError) as error:
        lack = lacking(error)
        if lack is None:
            raise
        sys.stderr.write(f"error: the program cannot be loaded: {lack}\n")
        sys.exit(6)
    app.main()


if __name__ == "__main__":
    main()
