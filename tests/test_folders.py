"""Folders of images: which folders are classes and parts, and which files are images."""

import os
import socket
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.core.errors import GraftError
from graft.data import folders


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes empty files of those names below a folder."""

    def make(*names):
        for name in names:
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.touch()
            else:
                path.mkdir(exist_ok=True)
        return tmp_path / "tree"

    return make


def found(folder):
    return [(image.path.as_posix(), image.label, image.split) for image in folders.find_images(folder, "photos")]


def test_the_folders_are_the_classes(tree):
    assert found(tree("b/1.jpg", "a/2.png")) == [("a/2.png", "a", ""), ("b/1.jpg", "b", "")]


def test_images_are_sorted_by_path_whatever_the_file_system_says(tree):
    names = ["b/10.jpg", "b/9.jpg", "a b/1.jpg", "a/1.jpg", "a-b/1.jpg"]
    assert [path for path, _, _ in found(tree(*names))] == sorted(names)


def test_names_may_have_spaces_and_any_script_and_suffixes_any_case(tree):
    assert found(tree("雏菊/图 1.JPG", "red rose/é.Png")) == [
        ("red rose/é.Png", "red rose", ""),
        ("雏菊/图 1.JPG", "雏菊", ""),
    ]


def test_a_class_folder_may_have_folders_of_its_own(tree):
    assert found(tree("a/2019/1.jpg", "a/2.jpg", "b/3.jpg"))[0] == ("a/2.jpg", "a", "")


def test_hidden_files_and_folders_and_other_files_are_no_images(tree):
    images = ["a/1.jpg", "b/1.jpg"]
    others = ["LICENSE.txt", "a/notes.txt", "a/.hidden.jpg", "a/._1.jpg", "a/.thumbnails/1.jpg", ".git/1.jpg"]
    others += ["__MACOSX/a/1.jpg", "a/__MACOSX/1.jpg", "cover.jpg"]
    assert [path for path, _, _ in found(tree(*images, *others))] == images


@pytest.mark.parametrize(
    ("part", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val", "validation"),
        ("valid", "validation"),
        ("validation", "validation"),
        ("test", "test"),
        ("TEST", "test"),
    ],
)
def test_the_parts_of_a_data_set_are_kept_whatever_their_names(tree, part, split):
    folder = tree("train/a/0.jpg", "train/b/0.jpg", f"{part}/a/1.jpg")
    assert (f"{part}/a/1.jpg", "a", split) in found(folder)


def test_classes_that_are_called_like_parts_are_classes_if_others_are_not(tree):
    assert [label for _, label, _ in found(tree("test/1.jpg", "control/1.jpg"))] == ["control", "test"]


def test_a_folder_beside_the_parts_is_refused_rather_than_taken_for_a_class(tree):
    with pytest.raises(GraftError, match=r"^photos: beside test/ there is extra/, which is no part"):
        found(tree("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "extra/1.jpg"))


def test_unlabelled_images_in_a_part_are_left_out(tree):
    assert len(found(tree("train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"))) == 2


def test_parts_without_training_are_refused(tree):
    with pytest.raises(
        GraftError, match=r"^photos: it has test, val, but no train/ folder; rename them if they are classes$"
    ):
        found(tree("test/a/1.jpg", "val/b/1.jpg"))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train_images", "images_test"),
        ("trainset", "testset"),
        ("train2017", "test1"),
        ("TrainImages", "TestImages"),
        ("dataset-TRAIN", "dataset-TEST"),
        ("train", "Test Data"),
        ("fruits-360_Training", "fruits-360_Test"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_usual_names_of_parts_are_known_and_a_part_may_wrap_a_folder_of_its_name(tree, train, test, wrapped):
    places = [f"{part}/{part}" if wrapped else part for part in (train, test)]
    rows = found(tree(*(f"{place}/{label}/1.jpg" for place in places for label in ("cats", "dogs"))))
    assert rows == sorted(
        (f"{place}/{label}/1.jpg", label, part)
        for place, part in zip(places, ("train", "test"), strict=True)
        for label in ("cats", "dogs")
    )


def test_dev_is_the_validation_part(tree):
    rows = found(tree("train/a/1.jpg", "train/b/1.jpg", "dev/a/1.jpg"))
    assert ("dev/a/1.jpg", "a", "validation") in rows


def test_a_wrapped_part_without_class_folders_has_no_class(tree):
    # The ASL alphabet of Kaggle.
    rows = found(tree("asl_train/asl_train/A/1.jpg", "asl_train/asl_train/B/1.jpg", "asl_test/asl_test/A_test.jpg"))
    assert [label for _, label, _ in rows] == ["A", "B"]


def test_a_class_in_all_parts_may_be_called_like_one(tree):
    rows = found(tree("train/train/1.jpg", "train/bus/1.jpg", "test/train/1.jpg", "test/bus/1.jpg"))
    assert {(label, part) for _, label, part in rows} == {
        (label, part) for label in ("train", "bus") for part in ("train", "test")
    }


@pytest.mark.parametrize(
    "names",
    [
        ("steam_train", "freight_train"),
        ("blood_test", "stress_test", "control"),
        ("train", "train_station"),
        ("train", "bus", "car"),
        ("test1", "test2", "test3"),
        ("latest", "contest"),
        ("dev", "prod"),
        ("valid_ticket", "test_ticket_invalid"),
        ("test1", "control", "test1/more"),
    ],
)
def test_classes_whose_names_have_a_word_of_the_parts_stay_classes(tree, names):
    rows = found(tree(*(f"{name}/{number}.jpg" for name in names for number in range(2))))
    assert {(label, part) for _, label, part in rows} == {(name.split("/")[0], "") for name in names}


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test1"), ("train/train", "test/test"), ("train_set", "test_set")]
)
def test_parts_whose_images_have_no_class_folders_are_refused_with_what_to_do(tree, train, test):
    message = (
        rf"^photos: {test.split('/')[0]}/, {train.split('/')[0]}/ are parts by their names, but {train}/ holds no "
        rf"class folders; put the images of each class in a folder of its own, {train}/NAME/, or rename the folders "
        r"if they are the classes$"
    )
    with pytest.raises(GraftError, match=message):
        found(tree(f"{train}/cat.0.jpg", f"{train}/dog.0.jpg", f"{test}/1.jpg"))


@pytest.mark.parametrize(
    "names",
    [
        ("training_set/a/1.jpg", "test_set/a/1.jpg", "more/1.jpg"),
        ("seg_train/a/1.jpg", "seg_train/b/1.jpg", "seg_test/a/1.jpg", "seg_pred/1.jpg"),
        ("train/1.jpg", "test/1.jpg", "unlabelled/1.jpg"),
        ("train_images/a/1.jpg", "train_images/b/1.jpg", "sample/1.jpg"),
        ("cat_train/1.jpg", "cat_test/1.jpg", "dog_train/1.jpg", "dog_test/1.jpg"),
    ],
)
def test_folders_with_the_names_of_parts_beside_others_are_refused(tree, names):
    with pytest.raises(
        GraftError,
        match=r"^photos: beside \w+/ there is \w+/, which is no part; remove one of them, or rename \w+/ if it",
    ):
        found(tree(*names))


@pytest.mark.parametrize(
    ("names", "classes", "shared"),
    [
        (
            ("fold1/cat/1.jpg", "fold1/dog/1.jpg", "fold2/cat/1.jpg", "fold2/dog/1.jpg"),
            "fold1/ and fold2/",
            "cat/, dog/",
        ),
        (("cat/test/1.jpg", "cat/train/1.jpg", "dog/test/1.jpg", "dog/train/1.jpg"), "cat/ and dog/", "test/, train/"),
        (
            ("train/x/a/1.jpg", "train/x/b/1.jpg", "train/y/a/1.jpg", "train/y/b/1.jpg", "test/x/a/1.jpg"),
            "x/ and y/",
            "a/, b/",
        ),
    ],
)
def test_classes_that_hold_the_same_folders_are_refused_because_one_of_both_may_be_parts(tree, names, classes, shared):
    with pytest.raises(
        GraftError, match=rf"^photos: {classes} hold no images but folders of the same names, {shared}: put"
    ):
        found(tree(*names))


def test_one_folder_of_the_same_name_in_each_class_is_usual_and_so_are_folders_beside_images(tree):
    assert len(found(tree("a/images/1.jpg", "b/images/1.jpg", "a/boxes/1.txt", "b/boxes/1.txt"))) == 2
    assert len(found(tree("c/1.jpg", "c/2019/1.jpg", "c/2020/1.jpg", "d/1.jpg", "d/2019/1.jpg", "d/2020/1.jpg"))) == 8


def test_a_class_of_one_part_may_hold_the_folders_that_it_holds_in_another(tree):
    names = [f"{part}/{label}/{label}{year}/1.jpg" for part in ("train", "test") for label in "ab" for year in (1, 2)]
    assert len(found(tree(*names))) == 8


def test_a_class_without_training_images_is_refused_and_its_part_named(tree):
    message = r"^photos: class 'cats' has images in test/, but none in the training part; add some, or check whether"
    with pytest.raises(GraftError, match=message):
        found(tree("train/archive/cats/1.jpg", "train/archive/dogs/1.jpg", "test/cats/1.jpg", "test/dogs/1.jpg"))


def test_a_name_in_two_unicode_forms_is_one_class(tree):
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    rows = found(tree(f"train/{composed}/1.jpg", "train/Bar/1.jpg", f"test/{decomposed}/1.jpg"))
    assert [(path, label) for path, label, _ in rows] == [
        (f"test/{decomposed}/1.jpg", composed),
        ("train/Bar/1.jpg", "Bar"),
        (f"train/{composed}/1.jpg", composed),
    ]


def test_a_class_written_in_another_case_in_another_part_is_refused(tree):
    message = r"^photos: class 'Cat' in train/ and class 'cat' in test/ differ in case alone; give both the same name$"
    with pytest.raises(GraftError, match=message):
        found(tree("train/Cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg"))


def test_classes_of_one_folder_may_differ_in_case_alone(tree):
    # Letters, for example.
    assert [label for _, label, _ in found(tree("A/1.jpg", "a/1.jpg", "b/1.jpg"))] == ["A", "a", "b"]
    assert folders.case_pairs(["b", "a", "A", "a"]) == [["A", "a"]]


NAMES = st.text(st.sampled_from("abé雏 -_.0"), min_size=1, max_size=6).filter(
    lambda name: name.strip() and not name.startswith(".") and "val" not in name
)


@given(
    classes=st.lists(
        NAMES, min_size=2, max_size=4, unique_by=lambda name: unicodedata.normalize("NFC", name).casefold()
    ),
    parts=st.sampled_from([(), ("train",), ("train", "test"), ("Training", "valid", "TEST"), ("train", "validation")]),
    inner=st.lists(st.sampled_from(["", "images/", "images/deep/"]), min_size=4, max_size=4),
)
def test_whatever_the_classes_are_called_each_image_has_the_class_and_part_of_its_folders(classes, parts, inner):
    split_of = {"train": "train", "Training": "train", "test": "test", "TEST": "test"}
    expected = sorted(
        (
            f"{part}{label}/{deep}1.jpg",
            unicodedata.normalize("NFC", label),
            split_of.get(part[:-1], part and "validation"),
        )
        for part in ([f"{part}/" for part in parts] or [""])
        for label, deep in zip(classes, inner, strict=False)
    )
    with tempfile.TemporaryDirectory() as name:
        for path, _, _ in expected:
            Path(name, path).parent.mkdir(parents=True)
            Path(name, path).touch()
        assert found(Path(name)) == expected


@pytest.mark.parametrize(
    ("names", "count"), [([], "0 class folders"), (["a/1.jpg"], "1 class folder"), (["1.jpg"], "0 class folders")]
)
def test_fewer_than_two_classes_are_refused(tree, names, count):
    with pytest.raises(GraftError, match=rf"^photos: {count} found; it must hold two or more, or train/"):
        found(tree("other.txt", *names))


def test_a_class_folder_without_any_image_is_refused(tree):
    with pytest.raises(
        GraftError, match=r"^photos: no readable image in class folder 'c', 'd'; fill or remove it \(known are"
    ):
        found(tree("a/1.jpg", "b/1.jpg", "c/", "d/notes.txt"))


def test_a_class_may_be_missing_from_a_part(tree):
    assert len(found(tree("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/"))) == 3


@pytest.mark.parametrize("wrapper", ["", "flower_photos/", "outer/inner/"])
def test_folders_that_only_wrap_are_skipped(tree, wrapper):
    folder = tree(f"{wrapper}a/1.jpg", f"{wrapper}b/1.jpg", "__MACOSX/x.jpg", ".DS_Store", "README.md")
    assert folders.skip_wrappers(folder) == folder / wrapper


def test_a_wrapper_may_hold_parts(tree):
    folder = tree("set/train/a/1.jpg", "set/train/b/1.jpg", "set/test/a/1.jpg")
    assert folders.skip_wrappers(folder) == folder / "set"


def test_a_single_class_is_no_wrapper(tree):
    folder = tree("a/1.jpg")
    assert folders.skip_wrappers(folder) == folder


LINKS_TO_FOLDERS = {
    "class": "c",
    "deeper": "a/2019/c",
    "class_of_a_part": "train/c",
    "part": "val",
}


@pytest.mark.parametrize("link", LINKS_TO_FOLDERS.values(), ids=LINKS_TO_FOLDERS.keys())
@pytest.mark.parametrize("target", ["elsewhere", "tree/a", "tree"], ids=["outside", "inside", "loop"])
def test_a_link_to_a_folder_is_refused(tree, tmp_path, link, target):
    folder = tree("a/1.jpg", "b/1.jpg", "train/a/1.jpg", "a/2019/1.jpg")
    (tmp_path / "elsewhere").mkdir()
    (folder / link).symlink_to(tmp_path / target)
    message = rf"^photos: {link} is a link to a folder, where DVC sees no change; put the folder itself in its place$"
    with pytest.raises(GraftError, match=message):
        folders.check_links(folder, "photos")


@pytest.mark.parametrize("target", ["nowhere.jpg", "2.jpg"], ids=["nothing", "itself"])
@pytest.mark.parametrize("name", ["2.jpg", ".#2.jpg", "2019"])
def test_a_link_that_leads_nowhere_is_refused(tree, name, target):
    folder = tree("a/1.jpg", "b/1.jpg")
    (folder / "a" / name).symlink_to(target)
    with pytest.raises(GraftError, match=rf"^photos: a/{name} is a link that leads nowhere; remove it$"):
        folders.check_links(folder, "photos")


@pytest.mark.parametrize("name", ["a/pipe.jpg", "a/.pipe", ".hidden/pipe", "__MACOSX/pipe"])
def test_a_pipe_is_refused_wherever_dvc_would_wait_for_it(tree, name):
    folder = tree("a/1.jpg", "b/1.jpg", ".hidden/x", "__MACOSX/x")
    os.mkfifo(folder / name)
    with pytest.raises(GraftError, match=rf"^photos: {name} is neither a file nor a folder; remove it$"):
        folders.check_links(folder, "photos")


def test_a_socket_and_a_link_to_a_device_are_refused(tree, monkeypatch):
    folder = tree("a/1.jpg", "b/1.jpg", "c/1.jpg")
    (folder / "a/zero.jpg").symlink_to("/dev/zero")
    with pytest.raises(GraftError, match=r"^photos: a/zero\.jpg is neither a file nor a folder; remove it$"):
        folders.check_links(folder, "photos")
    (folder / "a/zero.jpg").unlink()
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("b/socket")
    with pytest.raises(GraftError, match=r"^photos: b/socket is neither a file nor a folder; remove it$"):
        folders.check_links(folder, "photos")


def test_a_dangling_link_in_a_hidden_folder_is_refused_but_for_folders_that_dvc_never_looks_into(tree):
    folder = tree("a/1.jpg", "b/1.jpg", ".git/x", ".hidden/x")
    (folder / ".git/gone").symlink_to("nowhere")
    folders.check_links(folder, "photos")
    (folder / ".hidden/gone").symlink_to("nowhere")
    with pytest.raises(GraftError, match=r"^photos: \.hidden/gone is a link that leads nowhere; remove it$"):
        folders.check_links(folder, "photos")


def test_links_to_files_and_a_link_to_the_data_set_itself_are_taken(tree, tmp_path):
    folder = tree("a/1.jpg", "b/1.jpg")
    (tmp_path / "picture.jpg").touch()
    (folder / "b/2.jpg").symlink_to(tmp_path / "picture.jpg")
    (tmp_path / "link").symlink_to(folder)
    folders.check_links(tmp_path / "link", "photos")
    assert [path for path, _, _ in found(tmp_path / "link")] == ["a/1.jpg", "b/1.jpg", "b/2.jpg"]


def test_links_to_folders_that_are_ignored_anyway_are_taken(tree, tmp_path):
    folder = tree("a/1.jpg", "b/1.jpg")
    (folder / ".thumbnails").symlink_to(tmp_path)
    (folder / "a/__MACOSX").symlink_to(tmp_path)
    folders.check_links(folder, "photos")


def test_dvc_sees_what_changes_behind_a_link_to_a_file_and_not_behind_one_to_a_folder(tree, tmp_path, monkeypatch):
    # Why the one is taken and the other refused. Should this fail, links to folders can be allowed.
    from dvc.repo import Repo

    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    photos = tree("a/1.jpg", "b/1.jpg")
    picture, linked = tmp_path / "picture.jpg", tmp_path / "linked"
    linked.mkdir()
    picture.touch()
    (photos / "b/2.jpg").symlink_to(picture)
    (photos / "c").symlink_to(linked)
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    Path("source").symlink_to(photos)
    Path("dvc.yaml").write_text("stages: {download: {cmd: echo, deps: [source]}}")
    with Repo.init(".", no_scm=True) as repository:
        repository.commit(force=True)
        (linked / "1.jpg").touch()
        assert repository.status() == {}
        picture.write_bytes(b"another")
        assert repository.status() == {"download": [{"changed deps": {"source": "modified"}}]}
        # Why these are refused. Should this fail, they can be left out and listed instead.
        for name in ("a/gone.jpg", ".hidden/gone.jpg"):
            (photos / name).parent.mkdir(exist_ok=True)
            (photos / name).symlink_to("nowhere")
            with pytest.raises(FileNotFoundError):
                repository.status()
            (photos / name).unlink()


def test_what_systems_leave_in_folders_is_counted_nowhere(image_folder):
    """DVC leaves it out (.dvcignore), so a clone would count other files than the folder that was imported."""
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (image_folder / "red" / name).touch()
    assert folders.count_other_files(image_folder) == {".txt": 1}
