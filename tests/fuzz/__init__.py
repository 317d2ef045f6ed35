"""Damaged inputs for everything that reads a file of somebody else's: it must end in a result or in one line.

corpus/TARGET/ has small whole files to start from, and every input that was once a fault; tests/test_fuzz_corpus.py
reads them all. `make fuzz SECONDS=120` looks for more.
"""
