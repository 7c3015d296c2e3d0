"""Training: a run as a generator of events, the update of the weights, the optimizers, the schedules, the default
settings, and training in several processes."""
