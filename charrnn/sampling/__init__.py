"""`charrnn sample`: draws text from a model, searches the likeliest next words, and writes together with the user."""
