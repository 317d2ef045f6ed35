"""Which file system a folder is on."""

import re
from pathlib import Path

# Linux: device, mount point, type and options of each mounted file system. Other systems have no such file.
MOUNTS = Path("/proc/self/mounts")
# Several machines can have a folder of these at once; none guarantees the locks and shared memory that SQLite needs.
NETWORK_TYPES = {
    *("afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs"),
    *("fuse.blobfuse2", "fuse.ceph", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs"),
    *("fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
}


def network_type(folder: Path, mounts: Path | None = None) -> str | None:
    """Return the type of the network file system that a folder is on, such as nfs4; None where it is on none.

    Parameters
    ----------
    folder : it need not exist.
    mounts : a file like `MOUNTS`, which is the default; where it cannot be read, the answer is None.
    """
    try:
        lines = (mounts or MOUNTS).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, found = folder.absolute().resolve(), (0, "")
    for fields in (line.split(" ") for line in lines):
        if len(fields) >= 3:
            point = Path(_unescaped(fields[1]))
            # Of two at the same place, the later one covers the earlier.
            if place.is_relative_to(point) and len(point.parts) >= found[0]:
                found = len(point.parts), fields[2]
    return found[1] if found[1] in NETWORK_TYPES else None


def _unescaped(text: str) -> str:
    r"""Return a mount point as it is: the file has \040 in place of a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
