"""graft report: the page says what the stages wrote, is one file, and names what it leaves out."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import one_stage
import pandas as pd
import pytest
import run_results
from split_files import write_split

from graft.__main__ import command
from graft.core import paths
from graft.core.array_file import write_array
from graft.core.errors import GraftError
from graft.core.files import write_json
from graft.images.table import read_image_table
from graft.report import charts, confidence, feature_map, pictures, thumbnails, words
from graft.report.page import Run, page
from graft.report.results import Results, read_results
from graft.report.tables_of_files import table_of
from graft.scores.intervals import wilson_interval

CLASSES = ["blue", "green", "red"]
WRONG = 2


@pytest.fixture
def run(project, image_folder):
    """A finished run with nine test images of three classes, two of them wrong; the images' table."""
    write_split(image_folder)
    table = read_image_table()
    run_results.write_features(table)
    test = table.part("test")
    run_results.write_judgement(test, run_results.probabilities(test.labels, 3, WRONG))
    run_results.write_training()
    return table


def written(*arguments):
    """Return the page that the command writes, with usual spaces for those at which no line ends."""
    assert not command(["report", *arguments])
    return paths.REPORT.read_text(encoding="utf-8").replace("\u00a0", " ")


def payload(text):
    """Return the data for the page's script."""
    return json.loads(re.search(r'<script type="application/json" id="payload">(.*?)</script>', text, re.DOTALL)[1])


def judged(matrix, confidence=0.9):
    """Return results with this confusion matrix, all of the same confidence."""
    matrix = np.array(matrix)
    rows = [(a, p) for (a, p), count in np.ndenumerate(matrix) for _ in range(count)]
    names = [f"class {number}" for number in range(len(matrix))]
    table = pd.DataFrame({"actual": [names[a] for a, _ in rows], "predicted": [names[p] for _, p in rows]})
    table["p_predicted"] = confidence
    right, images = int(matrix.trace()), int(matrix.sum())
    low, high = wilson_interval(right, images)
    accuracy = {"accuracy": right / images, "images": images, "expected_calibration_error": 0.01}
    return Results(accuracy | {"accuracy_low": low, "accuracy_high": high}, matrix, names, names, table)


def test_the_command_ends_with_how_often_it_is_right_where_the_page_is_and_what_to_type_next(run, capsys):
    written()
    right, where, following = capsys.readouterr().out.splitlines()[-3:]
    assert right.startswith("right:  7 of 9 test images are right, 77.8 % (95 % interval 45.3 % to 93.7 %)")
    assert str(paths.REPORT.absolute()) in where
    assert following.startswith("next:   graft import /path/to/photos")


@pytest.mark.parametrize(
    ("suspects", "start"),
    [
        (2, "next:   2 labels look wrong: see Suspect labels on the page; docs/data.md says how to"),
        (1, "next:   1 label looks wrong: "),
        (0, "next:   commit (git add . && git commit -m results), then try another recipe: graft preset"),
    ],
)
def test_with_own_photos_the_next_thing_is_to_correct_labels_or_else_to_compare(run, project, capsys, suspects, start):
    project.set(dataset="photos/mine")
    write_json(paths.DATA_METRICS, run_results.data_metrics(suspects=suspects))
    written()
    assert capsys.readouterr().out.splitlines()[-1].startswith(start)


def test_the_page_says_in_words_how_good_the_classifier_is(run):
    text = written()
    assert "77.8 % right" in text
    assert re.search(r"7 of 9 images\s+of the test part", text)
    for part in (
        "The answer “blue” for every image would be right for 33.3 %",
        "The head alone",
        "Weakest class: “blue”",
    ):
        assert part in text


def test_without_a_run_it_is_one_line(project):
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json: no such file; `dvc repro` writes it$"):
        command(["report"])
    assert not paths.REPORT.exists()


def test_predictions_and_features_in_numbered_files_give_the_same_page(run):
    before = written()
    content, rows = paths.PREDICTIONS.read_text().splitlines(keepends=True), np.load(paths.FEATURES)
    paths.PREDICTIONS.unlink()
    paths.PREDICTIONS.mkdir()
    for number, start in enumerate(range(1, len(content), 4)):
        text = content[0] + "".join(content[start : start + 4])
        (paths.PREDICTIONS / f"{number:05d}.csv").write_text(text)
    write_array(paths.FEATURES, lambda of: [rows[of.start : of.stop]], rows.shape, 4)
    assert written() == before


def test_predictions_of_another_run_than_the_matrix_are_one_line(run):
    lines = paths.PREDICTIONS.read_text().splitlines()
    paths.PREDICTIONS.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(GraftError, match=r"^metrics/predictions\.csv: not of the same run as [^\n]*; run `dvc repro`$"):
        command(["report"])


@pytest.mark.parametrize(
    ("missing", "title"),
    [
        (paths.SUSPECTS, "Suspect labels"),
        (paths.PER_CLASS, "Each class"),
        (paths.HISTORY, "Learning curves"),
        (paths.FEATURES, "Map of the images"),
        (paths.FORMAT_METRICS, "Exported formats"),
        (paths.UNKNOWN, "Prediction sets and images of none of the classes"),
        (paths.OPERATING_POINTS, "Operating points"),
    ],
)
def test_a_section_without_its_input_is_left_out_with_one_line_in_the_page_and_on_the_terminal(
    run, capsys, missing, title
):
    missing.unlink(missing_ok=True)
    text = written()
    line = f"{title}: left out, because {missing} is missing; "
    assert [found.startswith(line) for found in capsys.readouterr().out.splitlines()].count(True) == 1
    assert line in text


@pytest.mark.parametrize(
    "path",
    [
        paths.ACCURACY,
        paths.HEAD_METRICS,
        paths.EXPORT_METRICS,
        paths.PER_CLASS,
        paths.RAW_REPORT,
        paths.ENVIRONMENT,
        paths.DATA_METRICS,
        paths.UNKNOWN,
        paths.LABELS,
        paths.BACKBONE_DESCRIPTION,
        paths.FEATURES,
    ],
)
@pytest.mark.parametrize("content", ["3", '[1, "a"]', '{"display_names": 3}'])
def test_a_file_of_another_form_is_one_line_that_names_it(run, path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if path == paths.ENVIRONMENT and content.startswith("{"):
        # It may have any names.
        assert "<td>3</td>" in written()
        return
    with pytest.raises(GraftError, match=rf"^[^\n]*{re.escape(str(path))}[^\n]*: not as [^\n]* it; run `dvc repro`$"):
        command(["report"])
    assert not paths.REPORT.exists()


def test_the_page_needs_nothing_but_itself(run):
    text = written()
    assert not re.findall(r"https?://", text)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "url(" not in text


def test_each_picture_is_in_the_page_once(run):
    text = written()
    images = payload(text)["images"]
    assert text.count("data:image/webp") == len(images) == len(set(images))
    assert len(images) >= 9


def test_without_the_images_the_page_is_without_pictures_and_says_so(run, capsys):
    paths.RAW.unlink()
    text = written()
    assert "data:image/webp" not in text
    line = "The pictures are left out: the images of data/raw are not here."
    assert line in text
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "a & \"b\" 'c'"]
)
def test_a_class_name_with_html_is_text(project, name):
    images = run_results.images_of([name, "b"], 6)
    run_results.write_judgement(images, run_results.probabilities(images.labels, 2, 2))
    text = written()
    assert name not in text
    assert payload(text)["names"] == [name, "b"]


def test_display_names_are_shown(run):
    write_json(paths.LABELS, {"labels": CLASSES, "display_names": {"blue": "bleu"}})
    text = written()
    assert payload(text)["names"] == ["bleu", "green", "red"]
    assert "Weakest class: “bleu”" in text


def test_a_cell_of_the_matrix_has_its_images_the_surest_mistakes_first(run):
    data = payload(written())
    table = pd.read_csv(paths.PREDICTIONS)
    for cell, numbers in data["cells"].items():
        row, column = (CLASSES[int(number)] for number in cell.split(","))
        of_cell = table[(table["actual"] == row) & (table["predicted"] == column)]
        assert {data["records"][number]["path"] for number in numbers} == set(of_cell["path"])
    assert sum(map(len, data["cells"].values())) == 9


def test_ten_thousand_test_images_of_a_hundred_classes_make_a_page_of_bounded_size(project):
    classes = [f"class {number:03d}" for number in range(102)]
    images = run_results.images_of(classes, 10_000)
    run_results.write_judgement(images, run_results.probabilities(images.labels, 102, 3000))
    text = written()
    assert len(text) < 5_000_000
    data = payload(text)
    assert "7,000 of 10,000 images" in text.replace("\n", " ")
    assert max(map(len, data["cells"].values())) <= pictures.MOST_OF_CELL
    assert text.count('class="card"') <= pictures.MOST_MISTAKES + pictures.MOST_UNSURE


def test_pictures_end_at_the_bounds_and_the_important_ones_come_first(tmp_path, draw_picture, monkeypatch):
    for number in range(6):
        draw_picture((90, 90, 90), number, 100).save(tmp_path / f"{number}.png")
    asked = thumbnails.Thumbnails(tmp_path)
    numbers = [asked.of_file(f"{number}.png") for number in (0, 1, 2, 1, 3, 4, 5)]
    assert numbers == [0, 1, 2, 1, 3, 4, 5]
    every = asked.encoded()
    assert all(every)
    monkeypatch.setattr(thumbnails, "MOST_PICTURES", 4)
    assert asked.encoded() == [*every[:4], None, None]
    monkeypatch.setattr(thumbnails, "MOST_BYTES", len(every[0] + every[1]))
    assert asked.encoded() == [*every[:2], None, None, None, None]


def test_the_same_run_gives_the_same_page(run):
    assert written() == written()


def test_suspect_labels_stand_beside_an_image_of_the_likelier_class(run):
    train = run.part("train")
    pd.DataFrame(
        {
            "path": [train.paths[0]],
            "label": ["blue"],
            "likelier": ["red"],
            "p_label": [0.01],
            "p_likelier": [0.98],
            "score": [0.97],
        }
    ).to_csv(paths.SUSPECTS, index=False)
    text = written()
    found = re.search(r'<figure class="pair">.*?</figure>', text, re.DOTALL)[0]
    assert train.paths[0] in found
    beside = re.search(r"beside: (\S+?)<", found)[1]
    assert dict(zip(run.paths, run.labels, strict=True))[beside] == CLASSES.index("red")


def test_findings_of_the_data_doctor_are_grouped_and_bounded(run):
    rows = [{"finding": "dark", "path": path, "other": "", "value": "0.1"} for path in run.paths]
    rows.append({"finding": "near_duplicate", "path": run.paths[0], "other": run.paths[1], "value": ""})
    pd.DataFrame(rows).to_csv(paths.FINDINGS, index=False)
    text = written()
    assert f"<summary>dark: {len(run)}</summary>" in text
    assert "<summary>near duplicate: 1</summary>" in text
    assert "All 36 are in data/findings.csv." in text


def test_the_data_doctor_speaks_in_words(run):
    write_json(paths.DATA_METRICS, run_results.data_metrics(suspects=9, exact_copy=3, near_copy=1, dark=2, refused=1))
    section = written().split("Data doctor</h3>")[1].split("</section>")[0]
    for text in (
        "9 of 36 labels (25.0 %) look wrong, 2 of them in the test part.",
        "3 exact copies and 1 near copy; none under another label, none in another part than its picture.",
        "2 dark.",
        "3 classes; the smallest has 10 images, the largest 14.",
        "20 PNG, 16 JPEG; 8 pixels wide, 24 to 2,048 (median 32) high. 1 file could not be read.",
    ):
        assert text in section


def test_a_data_set_without_faults_is_said_to_have_none(run):
    write_json(paths.DATA_METRICS, run_results.data_metrics())
    section = written().split("Data doctor</h3>")[1].split("</section>")[0]
    for text in ("None of 36 labels looks wrong.", "No image is a copy of another.", "None is dark, bright, blurred"):
        assert text in section


def test_prediction_sets_and_images_of_no_class_are_explained_in_words(run):
    write_json(paths.UNKNOWN, run_results.LIMITS)
    section = written().split('<section id="confidence">')[1].split("</section>")[0]
    for text in (
        "the right one for 95 % of the images. It does for 99.4 % (97.9 % to 99.8 %) of the test images",
        "It accepts 94.6 % (91.7 % to 96.5 %) of the test images, and 100.0 % of these are right.",
        "It refuses 90.0 % of 60 generated pictures",
        "On average 54.5 % of the images of that class were refused",
    ):
        assert text in section


@pytest.mark.parametrize("name", run_results.LIMITS)
def test_what_the_classifier_does_not_have_is_left_out_of_these_words(run, name):
    write_json(paths.UNKNOWN, {key: value for key, value in run_results.LIMITS.items() if key != name})
    section = written().split("images of none of the classes</h3>")[1].split("</section>")[0]
    assert section.count("<dt>") == 2


@pytest.mark.parametrize("path", [paths.DATA_METRICS, paths.UNKNOWN])
def test_no_key_of_a_file_is_on_the_page(run, path):
    write_json(paths.DATA_METRICS, run_results.data_metrics(suspects=1, dark=1))
    write_json(paths.UNKNOWN, run_results.LIMITS)
    text = written().split('<script type="application/json"')[0]
    found = json.loads(path.read_text())
    keys = [key for section in found.values() if isinstance(section, dict) for key in section] + list(found)
    compound = [key.replace("_", " ") for key in keys if "_" in key]
    shown = [key for key in compound if f">{key}<" in text or f">{key}:" in text]
    assert compound
    assert shown == []


def test_operating_points_are_those_of_all_classes_together(run):
    columns = "threshold,coverage,accuracy,class,class_coverage,precision,recall"
    rows = [f"0.9,0.75,0.98,{name},0.5,0.5,0.5" for name in CLASSES]
    paths.OPERATING_POINTS.write_text("\n".join([columns, *rows]) + "\n")
    section = written().split("Operating points</h3>")[1].split("</section>")[0]
    assert re.findall(r"[\d.]+(?: |&nbsp;)%", section) == ["90&nbsp;%", "75.0 %", "98.0 %"]


@pytest.mark.parametrize(
    "path", [paths.SUSPECTS, paths.FINDINGS, paths.HISTORY, paths.OPERATING_POINTS, paths.PREDICTIONS]
)
def test_a_table_without_its_columns_is_one_line(run, path):
    path.write_text("a,b\n1,2\n")
    with pytest.raises(GraftError, match=rf"^{path}: no column \w+; run `dvc repro`$"):
        command(["report"])


def test_a_comparison_outside_of_a_git_repository_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(GraftError, match="^metrics/predictions\\.csv at main: .*only a clone made by git"):
        command(["report", "--against", "main"])


def test_heat_maps_are_made_for_the_predicted_and_the_right_class_of_mistakes(run):
    write_json(paths.LABELS, {"labels": CLASSES, "image_size": 16, "resize": "crop"})
    asked = []

    def make(crop, classes):
        asked.append((crop.shape, crop.dtype, classes))
        return np.zeros((2, 16, 16), np.float32)

    _, left_out = page(read_results(), Run(None, heat_maps=make))
    table = pd.read_csv(paths.PREDICTIONS)
    wrong = table[table["actual"] != table["predicted"]]
    expected = {(CLASSES.index(p), CLASSES.index(a)) for p, a in zip(wrong["predicted"], wrong["actual"], strict=True)}
    assert {tuple(classes) for _, _, classes in asked} == expected
    assert {(shape, dtype) for shape, dtype, _ in asked} == {((16, 16, 3), np.dtype(np.uint8))}
    assert len(asked) == WRONG
    assert not [line for line in left_out if line.startswith("Where the network looked")]


@pytest.fixture
def repository(run, tmp_path, monkeypatch):
    """The run in a git repository, committed: 7 of 9 images are right there."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    one_stage.write()
    one_stage.commit(tmp_path / "home", monkeypatch.setenv)
    return run.part("test")


def test_a_comparison_shows_what_improved_and_what_broke_image_by_image(repository):
    # Wrong at the commit: the first two. Wrong now: the first, in the same way, and the last.
    shares = run_results.probabilities(repository.labels, 3, 1)
    shares[-1] = np.roll(shares[-1], 1)
    run_results.write_judgement(repository, shares)
    text = written("--against", "HEAD")
    assert "Right now, wrong at HEAD: 1</h3>" in text
    assert "Wrong now, right at HEAD: 1</h3>" in text
    assert "Wrong at both, in another way: 0</h3>" in text
    section = text.split('<section id="against">')[1].split("</section>")[0]
    assert repository.paths[1] in section
    assert repository.paths[-1] in section
    assert repository.paths[0] not in section


@pytest.mark.parametrize(
    ("revision", "reason"), [("HEAD", "not the same images"), ("no-such-branch", "no-such-branch")]
)
def test_a_revision_with_other_images_or_none_is_one_line_and_writes_no_page(repository, revision, reason):
    fewer = repository.take(np.arange(1, len(repository)))
    run_results.write_judgement(fewer, run_results.probabilities(fewer.labels, 3, 1))
    with pytest.raises(GraftError, match=rf"^metrics/predictions\.csv at {revision}: .*{reason}"):
        command(["report", "--against", revision])
    assert not paths.REPORT.exists()


@pytest.mark.parametrize("revision", ["", "-x", "--output=file"])
def test_what_git_takes_for_its_index_or_an_option_is_no_revision(repository, revision):
    with pytest.raises(GraftError, match=rf"^metrics/predictions\.csv at '{revision}': no revision; give a commit"):
        command(["report", f"--against={revision}"])
    assert not paths.REPORT.exists()


def test_a_revision_with_other_classes_is_one_line(repository):
    labels = np.roll(repository.labels, 1)
    other = type(repository)(
        *(getattr(repository, name) for name in ("classes", "paths")), labels, *[repository.parts] * 3
    )
    run_results.write_judgement(other, run_results.probabilities(labels, 3, 1))
    with pytest.raises(GraftError, match=r"^metrics/predictions\.csv at HEAD: not the same classes"):
        command(["report", "--against", "HEAD"])


def test_parameters_that_differ_from_those_committed_with_their_list_are_shown(repository, project):
    Path("graft/settings").mkdir(parents=True)
    Path("graft/settings/params.py").touch()
    one_stage.git("add", ".")
    one_stage.git("commit", "-q", "-m", "A new parameter")
    assert "None differs." in written()
    project.set(lr=0.125, fine_tune__mixup=0.0)
    section = written().split("Parameters that differ from the defaults")[1].split("<details>")[0]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', section)
    assert {(key, here) for key, _, here in rows} == {("lr", "0.125"), ("fine_tune.mixup", "0")}


def test_the_parameters_have_the_names_that_params_yaml_gives_them(run):
    section = written().split("<summary>All parameters</summary>")[1]
    assert '<th scope="row">fine_tune.batch_size</th><td>64</td>' in section


def test_wrong_parameters_do_not_hide_the_results_of_the_last_run(run, project, capsys):
    project.set(lr=-1)
    assert "77.8 % right" in written()
    warning = capsys.readouterr().err
    assert warning.startswith("warning: params.yaml: lr")
    assert warning.count("\n") == 1


def test_the_page_can_be_written_elsewhere(run, tmp_path):
    assert not command(["report", "--output", str(tmp_path / "new/page.html")])
    assert (tmp_path / "new/page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_page_takes_the_place_of_no_other_file_of_the_project(run, project):
    before = Path("params.yaml").read_bytes()
    Path("a.html").mkdir()
    with pytest.raises(GraftError, match=r"^--output a\.html: a folder, which a file would replace; give the name of "):
        command(["report", "--output", "a.html"])
    with pytest.raises(GraftError, match=r"^--output params\.yaml: the name of the page must end in \.html$"):
        command(["report", "--output", "params.yaml"])
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.parametrize("split", ["", "path,label\n"])
def test_without_the_table_of_the_images_the_judgement_is_still_shown(run, capsys, split):
    paths.SPLIT.write_text(split) if split else paths.SPLIT.unlink()
    assert "77.8 % right" in written()
    assert "Images of each class and part, views and map: left out" in capsys.readouterr().out


def test_the_weakest_class_is_the_one_with_the_lowest_recall_and_its_commonest_confusion_is_named():
    sentence = words.weakest(judged([[9, 1, 0], [1, 4, 5], [0, 0, 3]]))
    assert "“class 1”. 4 of its 10 images are right (40.0 %)" in sentence
    assert "taken for “class 2” (5 of 10)" in sentence
    assert "every test image is right" in words.weakest(judged([[3, 0], [0, 2]]))
    # A class without a test image is not the weakest.
    assert "“class 1”" in words.weakest(judged([[0, 0], [1, 2]]))


@pytest.mark.parametrize(("confidence", "start"), [(0.7, "Calibrated"), (0.95, "Too sure"), (0.3, "Not sure enough")])
def test_calibrated_is_what_has_its_mean_confidence_within_the_interval_of_the_accuracy(confidence, start):
    assert words.calibration(judged([[40, 20], [20, 40]], confidence)).startswith(start)


@pytest.mark.parametrize(("confidence", "start"), [(0.7, "Too few images to tell"), (0.99, "Too sure")])
def test_few_images_do_not_show_that_a_classifier_is_calibrated_but_may_show_that_it_is_not(confidence, start):
    assert words.calibration(judged([[4, 2], [2, 4]], confidence)).startswith(start)


@pytest.mark.parametrize(
    ("accuracy", "end"),
    [
        (4 / 6, "this page is about it."),
        (5 / 6, "The exported file, with its own crops and size, is 16.7 points worse."),
    ],
)
def test_where_the_head_was_exported_its_own_figure_is_told_from_that_of_the_file(accuracy, end):
    head = {"head": {"accuracy": accuracy}}
    assert words.head_alone(judged([[2, 1], [1, 2]]), head, {"exported": "head"}).endswith(end)


def test_what_was_exported_is_said_with_the_reason():
    head, tuned = {"head_validation": {"loss": 0.5}}, {"fine_tuned_validation": {"loss": 0.2}}
    exported = {"exported": "head", "image_size": 48, "exported_validation": {"loss": 0.1}}
    assert words.export(exported, head, tuned, "best_on_validation").endswith("0.100; fine-tuned 0.200.")
    assert "params.yaml asks for it (export.model: head)" in words.export(exported, head, tuned, "head")
    assert words.export(None, head, tuned, None) is None


def test_the_bins_of_the_reliability_diagram_have_every_image_once():
    surest = np.array([0.5, 0.55, 0.55, 0.99, 1.0])
    bins = confidence.bins(surest, np.array([True, False, True, True, True]), 0.5)
    assert [one["images"] for one in bins] == [1, 2, 2]
    assert [one["accuracy"] for one in bins] == [1, 0.5, 1]
    assert all(one["low"] <= one["accuracy"] <= one["high"] for one in bins)


def test_the_surest_answers_alone_are_right_as_often_as_counted():
    points = confidence.coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]))
    assert points == [(0.25, 1.0), (0.5, 1.0), (0.75, pytest.approx(2 / 3)), (1.0, 0.75)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.93, 0.99, [0.94, 0.96, 0.98]), (1, 15, [5, 10, 15]), (2, 2, [2])],
)
def test_the_numbers_of_an_axis_are_round(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_the_map_puts_images_of_a_class_together_and_is_the_same_each_time(run):
    rows, places = feature_map.feature_map(paths.FEATURES, run)
    assert set(run.parts[rows]) == {"test"}
    labels = run.labels[rows]
    means = np.array([places[labels == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(places[:, np.newaxis] - means, axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.85
    np.testing.assert_array_equal(feature_map.feature_map(paths.FEATURES, run)[1], places)


def test_two_classes_have_a_map_of_two_dimensions(project, image_folder):
    shutil.rmtree(image_folder / "red")
    write_split(image_folder)
    table = read_image_table()
    paths.FEATURES.parent.mkdir(parents=True)
    np.save(paths.FEATURES, np.random.default_rng(0).normal(size=(len(table), 3, 3, 5)).astype(np.float32))
    assert feature_map.feature_map(paths.FEATURES, table)[1].shape == (6, 2)


def test_any_json_file_becomes_a_table():
    alike = {"litert": {"bytes": 3, "agree": True}, "onnx": {"bytes": 4, "agree": None}}
    assert table_of(alike)["rows"] == [["litert", "3", "yes"], ["onnx", "4", "\u2013"]]
    assert table_of({"images": 1797, "dark": {"count": 3, "share": 0.123456}})["rows"] == [
        ["images", "1,797"],
        ["dark: count", "3"],
        ["dark: share", "0.1235"],
    ]
