"""`charrnn inspect`: records what units do along a text and measures what they respond to, without torch."""
