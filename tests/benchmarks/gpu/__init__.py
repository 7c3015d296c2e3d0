"""Everything that is to be known on a day with an NVIDIA GPU, part after part, against the clock: see __main__.py."""
