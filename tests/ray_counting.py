"""What a Ray worker of the tests runs: it writes down each view that it begins, and dies where a test says so."""

import os
import signal
import time
from pathlib import Path

from graft.activations.ray_worker import run_block


def counted_block(models, sha256, outputs, pixels, expected, block):
    folder = Path(pixels.augment["folder"])
    with (folder / "computed").open("a") as file:
        for requests, _ in block:
            for request in requests:
                file.write(f"{request.key}\n")
    time.sleep(pixels.augment["seconds"])
    if any("kills" in request.path.name for requests, _ in block for request in requests):
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        # The first worker that comes here takes the file with it.
        (folder / "kill one").unlink()
    except FileNotFoundError:
        return run_block(models, sha256, outputs, pixels, expected, block)
    os.kill(os.getpid(), signal.SIGKILL)
