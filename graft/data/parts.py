"""The names that data sets give to the folders of their training, validation and test parts."""

import re
from collections.abc import Sequence

PART_OF_WORD = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
# Words that may stand beside the word of a part: training_set, train_images.
FILLERS = frozenset(("set", "data", "dataset", "images", "image", "imgs", "img", "split"))
# The word of a part, alone or as in trainset, valdata, test1 and train2017.
PART_WORD = re.compile(rf"({'|'.join(PART_OF_WORD)})(?:{'|'.join(sorted(FILLERS))})?\d*")
WORD = re.compile(r"[^\W_]+")
INNER_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def is_exact(name: str) -> bool:
    """Return whether a folder's name is the word of a part and nothing else; case does not matter."""
    return name.lower() in PART_OF_WORD


def read_name(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the part that a folder's name says, and the other words of the name; None if it says none, or two.

    `training_set` and `TrainImages` are ("train", ()), `seg_test` is ("test", ("seg",)).
    """
    words = WORD.findall(INNER_CAPITAL.sub(" ", name).lower())
    parts = [match[1] for word in words if (match := PART_WORD.fullmatch(word))]
    if len(parts) != 1:
        return None
    rest = (word for word in words if not PART_WORD.fullmatch(word) and word not in FILLERS and not word.isdigit())
    return PART_OF_WORD[parts[0]], tuple(rest)


def find_parts(names: Sequence[str]) -> dict[str, str]:
    """Return those of the names that go together as the names of parts, and the part of each.

    They differ in the part alone: seg_train and seg_test do, freight_train and blood_test do not. Where no names say
    two different parts, the names without other words are returned.
    """
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        if (read := read_name(name)) is not None:
            part, rest = read
            groups.setdefault(rest, {})[name] = part
    several = [group for group in groups.values() if len(set(group.values())) > 1]
    return max(several, key=len, default=groups.get((), {}))
