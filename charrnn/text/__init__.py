"""Turns files into character ids: sources, decoding, the vocabulary, the corpus and the catalogue of named corpora."""
