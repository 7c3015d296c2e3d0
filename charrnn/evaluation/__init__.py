"""`charrnn eval`: bits per character, dynamic evaluation, and n-gram models to compare with."""
