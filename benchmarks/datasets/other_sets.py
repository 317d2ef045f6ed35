"""Image sets from software packages, on which the recipe was not tuned: for docs/accuracy.md.

    dpkg -x tuxpaint-stamps-default_2022.06.04-1_all.deb unpacked
    python -m benchmarks.datasets.other_sets stamps unpacked sets/stamps

Each package sorts its pictures by subject, in folders or in the names of files. This script copies the files to class
folders. It leaves out classes with fewer than `FEWEST` pictures. It keeps near copies: `split` puts them into one part.
"""

import argparse
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

FEWEST = 12
# Maps of the relief and shine of surfaces, copies in black and white, and mirror images.
NO_PICTURES = ("*_[nsgrlh]m.*", "*_nh.*", "*glow*", "*_bw.*", "*_mirror*", "*_flip*")


class Set(NamedTuple):
    """Where the pictures are.

    Attributes
    ----------
    package : the package and its version.
    root : the folder of the pictures in it.
    classes : patterns of paths below `root`, by class. A picture that fits two classes is left out.
    """

    package: str
    root: str
    classes: Mapping[str, tuple[str, ...]]


SETS = {
    "textures": Set(
        "Debian ufoai-textures 2.5-2; then unzip usr/share/games/ufoai/base/0textures.pk3",
        "textures",
        {
            "brick": ("*/brick*",),
            "carpet": ("*/carpet*",),
            "concrete": ("*/concrete*",),
            "dirt": ("*/dirt*", "*/desert*", "*/ground*"),
            "grass": ("*/grass*",),
            "metal": ("*/metal*",),
            "rock": ("*/rock*", "*/pjrock*", "*/stone*"),
            "roof": ("*/roof*",),
            "tiles": ("*/tile*",),
            "wood": ("*/wood*",),
        },
    ),
    "stamps": Set(
        "Debian tuxpaint-stamps-default 2022.06.04-1",
        "usr/share/tuxpaint/stamps",
        {
            "bird": ("animals/birds/*",),
            "fish": ("animals/fish/*",),
            "flower": ("plants/flowers/*",),
            "fruit": ("food/fruit/*",),
            "instrument": ("hobbies/music/*",),
            "mammal": ("animals/mammals/*",),
            "money": ("symbols/money/*",),
            "planet": ("space/planets/*",),
            "road sign": ("town/roadsigns/*",),
            "tool": ("household/tools/*",),
            "vegetable": ("food/vegetables/*",),
            "vehicle": ("vehicles/*",),
        },
    ),
    "clipart": Set(
        "Debian openclipart-png 1:0.18+dfsg-19",
        "usr/share/openclipart/png",
        {
            "beverage": ("food/beverages/*",),
            "bird": ("animals/birds/*",),
            "bread": ("food/breads_and_carbs/*",),
            "bug": ("animals/bugs/*",),
            "dessert": ("food/desserts/*",),
            "fish": ("animals/fish/*",),
            "flower": ("plants/flowers/*",),
            "fruit": ("food/fruit/*",),
            "home": ("buildings/homes/*",),
            "mammal": ("animals/mammals/*",),
            "music": ("recreation/music/*",),
            "road sign": ("transportation/roadsigns/*",),
            "smiley": ("people/smilies/*",),
            "sport": ("recreation/sports/*",),
            "tree": ("plants/trees/*",),
            "vehicle": ("transportation/vehicles/*",),
            "weapon": ("tools/weapons/*",),
            "weather": ("signs_and_symbols/weather/*",),
        },
    ),
    "icons": Set(
        "Debian oxygen-icon-theme 5:5.103.0-1",
        "usr/share/icons/oxygen/base/128x128",
        {
            "action": ("actions/*",),
            "application": ("apps/*",),
            "category": ("categories/*",),
            "device": ("devices/*",),
            "emotion": ("emotes/*",),
            "file type": ("mimetypes/*",),
            "place": ("places/*",),
            "status": ("status/*",),
        },
    ),
}


def pictures(chosen: Set, unpacked: Path) -> Iterator[tuple[str, Path]]:
    """Yield the class and the path of each picture of an unpacked package, in the order of the paths.

    Raises
    ------
    SystemExit
        If the package was not unpacked there.
    """
    root = unpacked / chosen.root
    if not root.is_dir():
        raise SystemExit(f"error: {root}: no such folder; unpack there {chosen.package}")
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix in (".png", ".jpg") and not any(fnmatch(name, pattern) for pattern in NO_PICTURES):
            found = [kind for kind, patterns in chosen.classes.items() if any(fnmatch(name, p) for p in patterns)]
            if len(found) == 1:
                yield found[0], path


def main() -> None:
    """Copy the pictures of a set to class folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SETS)
    parser.add_argument("unpacked", type=Path, help="where the package was unpacked")
    parser.add_argument("folder", type=Path, help="made here, with a folder for each class")
    options = parser.parse_args()
    if options.folder.exists():
        raise SystemExit(f"error: {options.folder}: it exists already; give a new folder")
    root = options.unpacked / SETS[options.name].root
    by_class: dict[str, list[Path]] = {}
    for kind, path in pictures(SETS[options.name], options.unpacked):
        by_class.setdefault(kind, []).append(path)
    for kind, paths in sorted(by_class.items()):
        if len(paths) < FEWEST:
            print(f"{kind}: {len(paths)}, left out")
            continue
        (options.folder / kind).mkdir(parents=True)
        for path in paths:
            shutil.copyfile(path, options.folder / kind / "-".join(path.relative_to(root).parts))
        print(f"{kind}: {len(paths)}")


if __name__ == "__main__":
    main()
