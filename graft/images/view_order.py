"""Which view of each image an epoch trains on: the same for the head and for fine-tuning."""

import hashlib


def view_in_epoch(sha256: str, epoch: int, views: int) -> int:
    """Return the view of an image that an epoch trains on, from 0 (the image itself) to `views`.

    The views of an image follow one another. Its hash decides which comes first, so an epoch has views of all numbers.
    """
    first = int.from_bytes(hashlib.sha256(sha256.encode()).digest()[:4], "big")
    return (first + epoch) % (views + 1)
