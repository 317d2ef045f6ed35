"""Stage split: which image is for training, validation or test follows from what it shows, and from nothing else."""

import hashlib
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.core.errors import GraftError
from graft.core.files import read_json, read_rows, write_rows
from graft.data import split as of_data
from graft.data.split import assign_part, uniform
from graft.images.table import COLUMNS, PARTS
from graft.settings import params
from graft.settings.params import Split
from stages import split


def settings(seed=0, folds=5, fold=0, validation=0.15):
    return Split(seed=seed, folds=folds, fold=fold, validation=validation)


def image(number, label="a", own_part="", group=None):
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    return dict(zip(COLUMNS, (f"{label}/{number}.jpg", label, own_part, sha256, group or sha256[:6]), strict=True))


def images(count, first=0):
    return [image(number, "ab"[number % 2]) for number in range(first, first + count)]


def split_images(rows, settings):
    return list(of_data.split_images(rows, settings))


def few_images(rows, given_parts):
    return of_data.few_images(Counter((row["label"], row["split"]) for row in rows), given_parts)


def parts(rows):
    return {row["sha256"]: row["split"] for row in rows}


GROUPS = st.text("0123456789abcdef", min_size=6, max_size=6)
SETTINGS = st.builds(
    settings,
    seed=st.integers(0, 2**31 - 1),
    folds=st.just(5),
    fold=st.integers(0, 4),
    validation=st.floats(0.01, 0.99),
)


@given(st.lists(GROUPS, min_size=1), SETTINGS)
def test_every_image_is_in_exactly_one_part(groups, any_settings):
    assert all(assign_part(group, [""], any_settings) in PARTS for group in groups)


@given(GROUPS, st.integers(0, 2**31 - 1), st.floats(0.01, 0.99))
def test_the_validation_part_has_its_share_of_the_hash_of_purpose_seed_and_group(group, seed, share):
    found = assign_part(group, ["test"], settings(seed=seed, validation=share))
    digest = hashlib.sha256(f"validation/{seed}/{group}".encode()).digest()
    assert (found == "validation") == (int.from_bytes(digest[:8], "big") / 2**64 < share)


def test_all_images_come_back_in_order_with_nothing_but_their_part_changed():
    given_images = images(200)
    rows = split_images(given_images, settings())
    assert [row | {"split": ""} for row in rows] == given_images
    assert set(parts(rows).values()) == set(PARTS)


@given(GROUPS, st.integers(0, 2**31 - 1), st.integers(2, 10), st.floats(0.01, 0.99))
def test_the_folds_partition_the_images(group, seed, folds, validation):
    found = [assign_part(group, [""], settings(seed, folds, fold, validation)) for fold in range(folds)]
    assert found.count("test") == 1


@given(GROUPS, st.integers(0, 2**31 - 1), st.integers(2, 10))
def test_outside_its_test_fold_an_image_has_the_same_part_in_every_fold(group, seed, folds):
    found = {assign_part(group, [""], settings(seed, folds, fold)) for fold in range(folds)}
    assert len(found) == 2


@given(GROUPS, st.integers(0, 2**31 - 1), st.floats(0.01, 0.5), st.floats(0.01, 0.49))
def test_a_larger_validation_part_keeps_the_images_it_had(group, seed, validation, more):
    if assign_part(group, [""], settings(seed, validation=validation)) == "validation":
        assert assign_part(group, [""], settings(seed, validation=validation + more)) == "validation"


@given(st.integers(0, 2**31 - 1))
def test_adding_images_moves_none(seed):
    few = parts(split_images(images(150), settings(seed)))
    many = parts(split_images(images(50, first=500) + images(150), settings(seed)))
    assert few.items() <= many.items()


def test_relabelling_and_renaming_move_none():
    relabelled = [row | {"label": "ba"[number % 2], "path": f"x/{number}"} for number, row in enumerate(images(200))]
    assert parts(split_images(relabelled, settings())) == parts(split_images(images(200), settings()))


def test_copies_of_a_picture_share_their_part_whatever_their_labels():
    copies = [image(number, "ab"[number % 2], group=f"{number // 4:06x}") for number in range(400)]
    by_group = {}
    for row in split_images(copies, settings()):
        by_group.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in by_group.values())


@pytest.mark.parametrize(("folds", "validation"), [(5, 0.15), (10, 0.3), (2, 0.5), (4, 0.05)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_shares_are_close_to_what_is_asked(folds, validation, seed):
    count = 4000
    rows = split_images(images(count), settings(seed, folds, 1, validation))
    found = Counter(row["split"] for row in rows)
    test_share = 1 / folds
    for part, share in (("test", test_share), ("validation", (1 - test_share) * validation)):
        # Four standard deviations of a binomial distribution.
        assert found[part] == pytest.approx(share * count, abs=4 * math.sqrt(share * (1 - share) * count))


def test_another_seed_gives_another_split():
    assert parts(split_images(images(200), settings(0))) != parts(split_images(images(200), settings(1)))


def test_validation_does_not_depend_on_what_is_test():
    # Were one number used for both, the validation part would be the fold next to the test part.
    rows = split_images(images(4000), settings(validation=0.5))
    low = [row for row in rows if row["split"] == "validation" and uniform(row["group"], "fold", 0) < 0.6]
    high = [row for row in rows if row["split"] == "validation" and uniform(row["group"], "fold", 0) >= 0.6]
    assert len(low) == pytest.approx(len(high), rel=0.15)


def test_the_parts_of_the_data_set_are_kept():
    given = [image(number, "ab"[number % 2], PARTS[number % 3]) for number in range(60)]
    assert split_images(given, settings()) == given


def test_to_a_test_part_of_the_data_set_no_image_is_added():
    given = [image(number, "ab"[number % 2], "test" if number < 20 else "train") for number in range(120)]
    rows = split_images(given, settings())
    assert {row["path"] for row in rows if row["split"] == "test"} == {row["path"] for row in given[:20]}
    assert Counter(row["split"] for row in rows)["validation"] > 0


def test_to_a_validation_part_of_the_data_set_no_image_is_added():
    given = [image(number, "ab"[number % 2], "validation" if number < 20 else "train") for number in range(120)]
    rows = split_images(given, settings())
    assert {row["path"] for row in rows if row["split"] == "validation"} == {row["path"] for row in given[:20]}
    assert Counter(row["split"] for row in rows)["test"] > 0


def test_a_class_without_a_training_image_is_refused():
    held_out = [row["sha256"] for row in split_images(images(200), settings()) if row["split"] == "test"]
    rows = [row | {"label": "rare"} if row["sha256"] == held_out[0] else row for row in images(200)]
    with pytest.raises(GraftError, match=r"^split: no training image left for class 'rare'; add images, change"):
        split_images(rows, settings())
    rows = [row | {"label": "odd"} if row["sha256"] == held_out[1] else row for row in rows]
    with pytest.raises(GraftError, match=r"^split: no training image left for class 'odd', 'rare'; "):
        split_images(rows, settings())


def test_a_data_set_too_small_for_a_test_part_is_refused():
    train = [row for row in split_images(images(200), settings()) if row["split"] == "train"]
    few = [row | {"split": ""} for row in train]
    with pytest.raises(GraftError, match=r"^split: no test and no validation image among \d+; add images or change"):
        split_images(few, settings())


def test_a_data_set_of_copies_is_refused_with_the_number_of_pictures():
    train = next(row["group"] for row in split_images(images(200), settings()) if row["split"] == "train")
    copies = [row | {"group": train} for row in images(200)]
    with pytest.raises(
        GraftError, match=r"^split: no test and no validation image among 200 \(different pictures: 1\);"
    ):
        split_images(copies, settings())


def labelled(part, counts):
    return [image(number, label, part) for label, count in counts.items() for number in range(count)]


def test_a_part_with_fewer_than_ten_images_of_a_class_gives_a_warning_with_the_remedy():
    rows = labelled("train", {"a": 90, "b": 90}) + labelled("test", {"a": 10, "b": 9})
    rows += labelled("validation", {"a": 3})
    assert few_images(rows, [""]) == [
        "split: the validation part has fewer than 10 images of 2 of 2 classes ('b' 0, 'a' 3); "
        "add images, or raise split.validation",
        "split: the test part has fewer than 10 images of 1 of 2 classes ('b' 9); "
        "add images, lower split.folds, or judge every image with `graft crossval`",
    ]


def test_for_a_part_of_the_data_set_the_remedy_is_no_setting():
    rows = labelled("train", {"a": 90}) + labelled("validation", {"a": 10}) + labelled("test", {"a": 2})
    (warning,) = few_images(rows, ["train", "test"])
    assert warning == "split: the test part has fewer than 10 images of 1 of 1 classes ('a' 2); add images of them"


def test_of_many_classes_with_few_images_the_rarest_are_named():
    counts = {label: 9 - place for place, label in enumerate("abcdefg")}
    rows = labelled("train", counts) + labelled("validation", counts) + labelled("test", dict.fromkeys(counts, 10))
    (warning,) = few_images(rows, [""])
    assert "of 7 of 7 classes ('g' 3, 'f' 4, 'e' 5, 'd' 6, 'c' 7 and 2 more);" in warning


def test_with_ten_images_of_each_class_there_is_no_warning():
    counts = {"a": 10, "b": 10}
    assert few_images([row for part in PARTS for row in labelled(part, counts)], [""]) == []


def test_the_stage_writes_the_list_with_its_parts(project, capsys):
    write_rows(Path("data/images.csv"), COLUMNS, images(400))
    split.main()
    rows = read_rows(Path("data/split.csv"))
    assert rows == split_images(images(400), params.load().split)
    found = Counter(row["split"] for row in rows)
    counts = ", ".join(f"{found[part]} {part}" for part in PARTS)
    assert tuple(capsys.readouterr()) == (f"{counts}\n", "")


def test_the_stage_prints_warnings_on_stderr_and_counts_them(project, capsys):
    write_rows(Path("data/images.csv"), COLUMNS, images(60))
    split.main()
    out, err = capsys.readouterr()
    warnings = few_images(split_images(images(60), params.load().split), [""])
    assert len(warnings) == 2
    assert err.splitlines() == [f"warning: {warning}" for warning in warnings]
    assert out.endswith("test; 2 warnings\n")


def test_the_stage_writes_the_classes_in_order(project):
    labels = ["b", "10", "9", "B", "é"]
    write_rows(Path("data/images.csv"), COLUMNS, [image(number, labels[number % 5]) for number in range(200)])
    split.main()
    assert read_json("data/classes.json") == ["10", "9", "B", "b", "é"]


def test_a_missing_list_ends_the_stage_with_one_line(project, run_python):
    result = run_python("-m", "stages.split", folder=project.folder)
    assert (result.returncode, result.stderr) == (1, "error: data/images.csv: no such file; `dvc repro` writes it\n")
