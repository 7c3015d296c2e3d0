"""`charrnn eval`: bits per character, dynamic evaluation, and what a model is compared with."""
