"""Which views of which images are learnt from: the same for the head and for fine-tuning."""

import hashlib


def view_in_epoch(sha256: str, epoch: int, views: int) -> int:
    """Return which view of an image an epoch sees, from 0 (the image as it is) to `views`.

    Every image goes through all its views in turn, each from a place of its own.
    """
    start = int.from_bytes(hashlib.sha256(sha256.encode()).digest()[:4], "big")
    return (start + epoch) % (views + 1)
