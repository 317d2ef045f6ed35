"""Classifiers on features: what a head is, how each kind is fitted, and how it joins the backbone."""
