"""Figures, drawn from numbers that are already there."""
