"""Figures and tables, made from numbers that other rooms computed."""
