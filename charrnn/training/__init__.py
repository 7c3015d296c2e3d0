"""`charrnn train`: a run as a generator of events, one update of the weights, the optimizers, when to validate and
save, what is chosen for the user, and several processes."""
