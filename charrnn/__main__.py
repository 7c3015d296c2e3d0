"""`python -m charrnn` is `charrnn`."""

from charrnn.cli.app import main

if __name__ == "__main__":
    main()
