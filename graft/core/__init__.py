"""Errors, files, threads and paths, for all other folders. Nothing here is about images or networks."""
