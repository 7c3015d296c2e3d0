"""`charrnn sample`: from distributions to text, the likeliest next words, and a text written together with the user."""
