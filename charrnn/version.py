"""The version, as a constant: reading it costs nothing and imports nothing."""

__version__ = "0.1.0"
