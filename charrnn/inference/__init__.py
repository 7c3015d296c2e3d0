"""The model without torch: the compiled step, numpy in place, and the plain reference both are held to."""
