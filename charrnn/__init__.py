"""charrnn: character-level language modelling with recurrent networks, from the command line."""

from charrnn.version import __version__ as __version__
