"""Where fine-tuning gets the maps at the cut: from the store, or computed for each step (`fine_tune.maps`)."""

import math
from typing import NamedTuple

from graft.activations.litert import output_shape
from graft.activations.requests import DTYPES
from graft.activations.store import default_limit
from graft.core import paths
from graft.core.byte_sizes import readable
from graft.settings.extract import Extract

STORED = "stored"
# What SQLite's pages add to records of the size of a map (record_file.py).
OVERHEAD = 1.1


class Maps(NamedTuple):
    """Where the maps come from.

    Attributes
    ----------
    stored : whether the store keeps them.
    line : where they are and why, for people.
    """

    stored: bool
    line: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """Which outputs of the trunk the store keeps, as `Activations` takes it."""
        return ("map",) if self.stored else ()

    def engine(self, settings: Extract, batch_size: int) -> Extract:
        """Return the settings of the engine that computes them for training.

        For computed maps a batch is that of a training step, so that no place in it is empty. One step is too little
        work for a cluster: this machine computes the same numbers.

        Parameters
        ----------
        settings : `extract` of params.yaml.
        batch_size : `fine_tune.batch_size`.
        """
        if self.stored:
            return settings
        engine = "litert" if settings.engine == "ray" else settings.engine
        return settings.model_copy(update={"engine": engine, "batch_size": batch_size})


def maps_for_training(setting: str, count: int, limit_bytes: int | None = None) -> Maps:
    """Return where the maps come from.

    Parameters
    ----------
    setting : `fine_tune.maps`; ``auto`` stores them if the store's limit is large enough for all.
    count : of the maps: one for each image and each view.
    limit_bytes : of the store; None for `store.default_limit`.
    """
    if setting != "auto":
        return Maps(setting == STORED, f"maps: {setting}, as fine_tune.maps says")
    size = int(OVERHEAD * count * math.prod(output_shape(paths.TRUNK)) * DTYPES["map"].itemsize)
    limit = default_limit() if limit_bytes is None else limit_bytes
    size_in_words = f"those of {count:,} images and views take about {readable(size)}"
    if size <= limit:
        return Maps(True, f"maps: stored; {size_in_words}, and the store may have {readable(limit)}")
    return Maps(
        False,
        f"maps: computed for each step; {size_in_words}, more than the store's limit of {readable(limit)} "
        "(GRAFT_STORE_LIMIT)",
    )
