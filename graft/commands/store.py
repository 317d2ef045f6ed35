"""graft store: list what the store of activations holds, remove the oldest, or check every record."""

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from graft.activations.store import Store, default_folder
from graft.core.byte_sizes import parse_size, readable

EXAMPLE = "graft store prune --limit 5GB"


def table_of(store: Store) -> str:
    """Return the table of the store's namespaces, the last used first, and a line with the total size."""
    rows = [("namespace", "records", "size", "last used", "holds")]
    for row in store.contents():
        last_used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.last_used))
        description = row.description or "-"
        rows.append((row.namespace[:12], str(row.records), readable(row.size), last_used, description))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:<{width}}}" for width in widths)
    table = [form.format(*row).rstrip() for row in rows]
    total = f"{readable(store.size())} on disk in {store.folder}, limit {readable(store.limit_bytes)}"
    return "\n".join([*table, total])


def _pruned(store: Store) -> str:
    return f"{readable(store.prune())} removed\n{table_of(store)}"


def _verified(store: Store) -> str:
    found = store.verify()
    broken, damaged = _counted(found.broken, "broken record"), _counted(found.damaged_files, "damaged file")
    return f"{found.whole} records are whole, {broken} and {damaged} deleted\n{table_of(store)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


ACTIONS = {"size": table_of, "prune": _pruned, "verify": _verified}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `graft store`."""
    parser.add_argument("action", choices=ACTIONS, help="list it, remove the least recently used, or check all records")
    parser.add_argument("--limit", help="such as 5GB (default: $GRAFT_STORE_LIMIT or 20GB)")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="default: %(default)s")


def main(arguments: Namespace) -> None:
    """Carry out the action and print what the store holds then."""
    limit = parse_size(arguments.limit, "--limit") if arguments.limit else None
    with Store(arguments.folder, limit) as store:
        print(ACTIONS[arguments.action](store))
