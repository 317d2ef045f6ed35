"""Figures, tables and the page about a run, made from numbers that other rooms computed."""
