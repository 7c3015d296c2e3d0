"""All the C of the package, and how its two libraries are found and entered."""
