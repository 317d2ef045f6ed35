"""Folders of images: which folders are classes and parts, and which files are images."""

from pathlib import Path

import pytest

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
    with pytest.raises(GraftError, match=r"^photos: it has test, val, but no train/ folder$"):
        found(tree("test/a/1.jpg", "val/b/1.jpg"))


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
