"""The model without torch: the compiled step (`compiled`, its arrays in `panels`), numpy in place (`inplace`), and
the plain `reference` both are held to; from logits to the next character (`distribution`)."""
