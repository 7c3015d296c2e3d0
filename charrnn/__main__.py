"""The installed command, and `python -m charrnn`. Signals are heard before anything of size is imported."""

from charrnn.cli import leaving


def main() -> None:
    """Runs the command line."""
    leaving.run(_command)


def _command() -> None:
    from charrnn.cli.app import main

    main()


if __name__ == "__main__":
    main()
