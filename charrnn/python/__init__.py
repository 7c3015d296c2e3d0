"""charrnn from Python: loaded models, training, recordings and curves, whose names `charrnn` itself offers."""
