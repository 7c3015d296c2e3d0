"""The model in torch: layers over time, what is drawn in training, devices, precision and recorded GPU graphs."""
