"""Draws the values it is given, for the terminal and as HTML. It computes nothing about models."""
