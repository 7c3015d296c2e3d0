"""The four commands: they read what was asked for, check that it goes together, and print what the other rooms give.
Each command has a file, and so has each view of `inspect`."""
