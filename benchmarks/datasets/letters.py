"""Letters and digits in many typefaces, a class for each: a set with many classes, far from photographs.

    python -m benchmarks.datasets.letters unpacked sets/letters

It uses one OpenType or TrueType font of each family below a folder, such as Debian's fonts-* unpacked by `dpkg -x`. The
classes are the 47 of EMNIST Balanced (Cohen et al. 2017, arXiv 1702.05373), without the small letters that look like
their capitals. With `--characters ascii` they are the 94 visible characters of ASCII. A fifth of the families is the
test part; training sees no image of those.
"""

import argparse
import hashlib
import string
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CHARACTERS = {
    "emnist": string.digits + string.ascii_uppercase + "abdefghnqrt",
    "ascii": string.digits + string.ascii_letters + string.punctuation,
}
PIXELS = 96
# Capitals of most typefaces are then about half as high as the image.
FONT_PIXELS = 64
PLAIN_STYLES = ("Regular", "Roman", "Book", "Medium")
TEST_SHARE = 0.2


def class_name(character: str) -> str:
    """Return the folder's name for a character: its name in Unicode, which every file system accepts."""
    return unicodedata.name(character).lower()


def families(folder: Path) -> dict[str, Path]:
    """Return the plainest font file of each family below a folder, by the family's name."""
    found: dict[str, tuple[bool, Path]] = {}
    for path in sorted(folder.rglob("*.[ot]tf")):
        family, style = ImageFont.truetype(path, FONT_PIXELS).getname()
        ranked = (style not in PLAIN_STYLES, path)
        found[family] = min(found.get(family, ranked), ranked)
    return {family: path for family, (_, path) in sorted(found.items())}


def pictures(path: Path, characters: str) -> Iterator[tuple[str, Image.Image]]:
    """Yield each of the characters that a font has, with its picture: black on white, in the middle."""
    font = ImageFont.truetype(path, FONT_PIXELS)
    unknown = font.getmask("\U0010ffff")
    for character in characters:
        picture = Image.new("L", (PIXELS, PIXELS), "white")
        ImageDraw.Draw(picture).text((PIXELS / 2, PIXELS / 2), character, "black", font, anchor="mm")
        # A character that a font lacks is drawn as an empty box, or not at all.
        if bytes(font.getmask(character)) != bytes(unknown) and picture.getextrema()[0] < 128:
            yield character, picture


def part_of(family: str) -> str:
    """Return train or test, by the hash of the family's name."""
    share = int.from_bytes(hashlib.sha256(family.encode()).digest()[:4], "big") / 2**32
    return "test" if share < TEST_SHARE else "train"


def main() -> None:
    """Write the data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fonts", type=Path, help="a folder with font files in it, or in its folders")
    parser.add_argument("folder", type=Path, help="made here, with train/ and test/ of class folders")
    parser.add_argument("--characters", choices=CHARACTERS, default="emnist", help="a class for each")
    options = parser.parse_args()
    if options.folder.exists():
        raise SystemExit(f"error: {options.folder}: it exists already; give a new folder")
    characters = CHARACTERS[options.characters]
    counts = {"train": 0, "test": 0}
    chosen = families(options.fonts)
    if not chosen:
        raise SystemExit(f"error: {options.fonts}: no .otf and no .ttf file below it")
    for family, path in chosen.items():
        for character, picture in pictures(path, characters):
            folder = options.folder / part_of(family) / class_name(character)
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{family.replace('/', '_')}.png")
            counts[part_of(family)] += 1
    trained, tested = counts["train"], counts["test"]
    print(f"{len(chosen)} families, {len(characters)} classes: {trained} to train on, {tested} to test on")


if __name__ == "__main__":
    main()
