"""The optimizers: one update rule a file, what all of them have in common in `rule.py`, and `updater.py`, which applies
one of them to a model's arrays."""
