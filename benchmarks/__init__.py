"""Measurements of what the README and docs/ claim; README.md of this folder lists them."""
