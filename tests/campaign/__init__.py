"""Attacks on charrnn, run by hand: `python -m tests.campaign` lists them. The suite runs a few trials of each."""
