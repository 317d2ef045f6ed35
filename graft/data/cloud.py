"""A file of an object store, s3:// or gs://, read through fsspec: as `transfer.Transfer` does it for the web."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graft.core.byte_sizes import readable
from graft.core.errors import FULL_DISK, GraftError, one_line
from graft.core.files import CHUNK_BYTES
from graft.core.progress import Progress
from graft.data.transfer import Limits
from graft.settings.shards import require_package

# What identifies the version of an object, by the names that s3fs and gcsfs give it.
VERSIONS = ("ETag", "etag", "size", "LastModified", "updated")


class CloudTransfer:
    """Brings an object into `partial`, and goes on there if the store still has the same object.

    The package of the store tries again after a fault. Keys and endpoints are those that it finds: AWS_ACCESS_KEY_ID,
    AWS_ENDPOINT_URL, ~/.aws and the like.

    Attributes
    ----------
    encoding : empty; an object comes as it is.
    """

    def __init__(self, url: str, partial: Path, limits: Limits) -> None:
        self.url = url
        self.partial = partial
        self.validator = partial.with_name(f"{partial.name}.validator")
        self.encoding = ""
        self._limits = limits

    def run(self) -> None:
        """Bring the rest of the object.

        Raises
        ------
        GraftError
            If a package is missing, or the object cannot be had within the limits; `partial` keeps what came.
        """
        require_package(self.url)
        # Imported only here: the packages are optional.
        import fsspec  # type: ignore[import-untyped]

        try:
            store, path = fsspec.core.url_to_fs(self.url, skip_instance_cache=True)
            self._bring(store, path, store.info(path))
        except (GraftError, KeyboardInterrupt):
            raise
        # Each store has exceptions of its own, and those of its network library come through.
        except Exception as error:
            # `fetch` explains a fault of this machine's disk.
            own = isinstance(error, OSError) and str(error.filename or "").startswith(str(self.partial.parent))
            if own or getattr(error, "errno", None) in FULL_DISK:
                raise
            reason = one_line(_reason(error))
            raise GraftError(
                f"{self.url}: cannot be fetched ({reason}); check the address, the network and the keys"
            ) from error

    def clear(self) -> None:
        """Delete what came so far."""
        self.partial.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)

    def _bring(self, store: Any, path: str, info: Mapping[str, Any]) -> None:
        version = repr([str(info[key]) for key in VERSIONS if key in info])
        if not self.validator.exists() or self.validator.read_text(encoding="utf-8") != version:
            self.clear()
            self.validator.write_text(version, encoding="utf-8")
        size = int(info["size"])
        if size > self._limits.size:
            allowed = readable(self._limits.size)
            raise GraftError(
                f"{self.url}: has {readable(size)}, but limits.download_size is {allowed}; raise it for this file"
            )
        deadline = time.monotonic() + self._limits.seconds
        with (
            self.partial.open("ab") as file,
            store.open(path, "rb", block_size=CHUNK_BYTES * 8, cache_type="readahead") as source,
            Progress(name=self.partial.name, unit="B", total=size) as bar,
        ):
            source.seek(file.tell())
            while chunk := source.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
                if time.monotonic() > deadline:
                    raise GraftError(
                        f"{self.url}: took longer than limits.download_seconds, {self._limits.seconds:,.10g} s; run "
                        "again to go on, or raise it"
                    )
            if file.tell() != size:
                self.clear()
                raise GraftError(f"{self.url}: it has {file.tell():,} bytes, not {size:,}; it has changed, run again")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    line = next(iter(str(error).splitlines()), "")[:200]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
