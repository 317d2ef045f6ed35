"""The command `graft gate`: exits 0 only if every figure is a number on the right side of its threshold.

With --against, both predictions.csv are compared image by image: a drop must be large and significant to fail.
"""

import json
import shutil

import own_parameters
import pytest
import revisions

from graft.__main__ import command
from graft.commands import gate
from graft.core.errors import GraftError
from graft.core.files import write_bytes, write_json, write_text
from graft.core.paths import ACCURACY as METRICS
from graft.core.paths import FORMAT_METRICS, PREDICTIONS
from graft.scores.intervals import mcnemar

COMMIT_FIRST = r"; commit your results first \(`git add \. && git commit -m results`\)"
GOOD = {"accuracy": 0.97, "balanced_accuracy": 0.96, "expected_calibration_error": 0.02}


@pytest.fixture
def run_gate(project, capsys):
    """Return a function that runs the gate on metrics and returns its status and its lines."""

    def run(metrics, *arguments):
        if metrics is not None:
            write_text(METRICS, json.dumps(metrics))
        status = command(["gate", *arguments])
        return status, capsys.readouterr().out.splitlines()

    return run


def test_metrics_that_cannot_be_read_are_one_line(run_gate):
    for content in ("{", "[" * 100_000):
        write_text(METRICS, content)
        with pytest.raises(GraftError, match=r"^metrics/accuracy\.json: not a JSON file"):
            run_gate(None)


def test_good_metrics_pass_with_a_line_for_each_threshold(run_gate):
    assert run_gate(GOOD) == (
        0,
        [
            "pass  accuracy 0.9700, at least 0.95",
            "pass  balanced_accuracy 0.9600, at least 0.94",
            "pass  expected_calibration_error 0.0200, at most 0.1",
        ],
    )


@pytest.mark.parametrize(
    ("name", "value"), [("accuracy", 0.9499), ("balanced_accuracy", 0.9399), ("expected_calibration_error", 0.1001)]
)
def test_one_bad_figure_fails_and_the_others_are_still_printed(run_gate, name, value):
    status, lines = run_gate(GOOD | {name: value})
    assert status == 1
    assert [line.split()[1] for line in lines if line.startswith("FAIL")] == [name]
    assert len(lines) == 3


def test_a_figure_exactly_at_its_threshold_passes(run_gate):
    assert run_gate({"accuracy": 0.95, "balanced_accuracy": 0.94, "expected_calibration_error": 0.1})[0] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None, True, False, "0.99", [0.99], {}])
@pytest.mark.parametrize("name", list(GOOD))
def test_a_figure_that_is_not_a_number_fails(run_gate, name, value):
    status, lines = run_gate(GOOD | {name: value})
    assert status == 1
    found = "missing" if value is None else repr(value)
    assert f"FAIL  metrics/accuracy.json: {name} is {found}, a number is needed" in lines


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_figure_fails(run_gate, name):
    status, lines = run_gate({key: value for key, value in GOOD.items() if key != name})
    assert status == 1
    assert f"FAIL  metrics/accuracy.json: {name} is missing, a number is needed" in lines


def test_a_missing_file_is_one_line(run_gate):
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json: no such file; [^\n]*`git checkout [^\n]*$"):
        run_gate(None)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff{}", b"[1, 2]", b"0.97", b"null"])
def test_a_file_that_is_not_a_json_object_is_one_line(run_gate, content):
    METRICS.parent.mkdir()
    METRICS.write_bytes(content)
    with pytest.raises(GraftError, match=r"^metrics/accuracy\.json: not a JSON (file|object)[^\n]*$"):
        run_gate(None)


def test_the_thresholds_are_those_of_the_parameters(project, run_gate):
    project.set(gate__min_accuracy=0.98)
    assert run_gate(GOOD)[0] == 1
    project.set(gate__min_accuracy=0.5)
    assert run_gate(GOOD | {"accuracy": 0.6})[0] == 0


def test_the_thresholds_for_the_digits_are_those_that_ship():
    assert {key: own_parameters.VALUES["gate"][key] for key in gate.OF_DIGITS} == gate.OF_DIGITS
    assert own_parameters.VALUES["dataset"] == gate.DIGITS


def test_thresholds_for_the_digits_are_named_as_such_on_other_images(project, run_gate):
    note = (
        "note  gate in params.yaml still has the thresholds for digits; set your own: min_accuracy, "
        "min_balanced_accuracy, max_expected_calibration_error"
    )
    assert note not in run_gate(GOOD)[1]
    project.set(dataset="photos")
    assert run_gate(GOOD)[1].count(note) == 1
    project.set(dataset="photos", gate__min_accuracy=0.9)
    assert note not in run_gate(GOOD)[1]


FORMATS = {"tflite": {"accuracy": 0.97}, "onnx": {"accuracy": 0.97}, "tflite_int8": {"accuracy": 0.96}}


@pytest.fixture
def judge_formats(run_gate):
    """Return a function that writes metrics/formats.json and returns the gate's status and its lines about formats."""

    def run(formats):
        write_text(FORMAT_METRICS, json.dumps(formats))
        status, lines = run_gate(GOOD)
        return status, lines[3:]

    return run


def test_without_further_formats_nothing_more_is_judged(judge_formats):
    assert judge_formats({}) == (0, [])


def test_a_further_format_may_lose_as_much_accuracy_as_the_bound_says(judge_formats):
    # 0.97 - 0.96 is a little more than 0.01 in floating point.
    assert judge_formats(FORMATS) == (
        0,
        [
            "pass  accuracy 0.9700 as onnx, 0.9700 as tflite, may drop by 0.01",
            "pass  accuracy 0.9600 as tflite_int8, 0.9700 as tflite, may drop by 0.01",
        ],
    )


def test_a_further_format_that_loses_more_fails(judge_formats, project):
    status, lines = judge_formats(FORMATS | {"tflite_int8": {"accuracy": 0.9599}})
    assert (status, lines[1]) == (1, "FAIL  accuracy 0.9599 as tflite_int8, 0.9700 as tflite, may drop by 0.01")
    project.set(gate__max_export_drop=0.02)
    assert judge_formats(FORMATS | {"tflite_int8": {"accuracy": 0.9599}})[0] == 0


@pytest.mark.parametrize("figures", [{}, {"accuracy": None}, {"accuracy": float("nan")}, {"accuracy": "0.97"}, 0.97])
@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_a_format_without_an_accuracy_fails(judge_formats, name, figures):
    status, lines = judge_formats(FORMATS | {name: figures})
    assert status == 1
    assert any(line.startswith(f"FAIL  metrics/formats.json: {name}: accuracy is ") for line in lines)


def test_formats_without_the_shipped_file_to_compare_with_fail(judge_formats):
    status, lines = judge_formats({"onnx": {"accuracy": 0.97}})
    assert (status, lines) == (1, ["FAIL  metrics/formats.json: tflite: accuracy is missing, a number is needed"])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_broken_file_of_formats_is_one_line(run_gate, content):
    write_bytes(FORMAT_METRICS, content)
    with pytest.raises(GraftError, match=r"^metrics/formats\.json: not a JSON (file|object)[^\n]*$"):
        run_gate(GOOD)


def predictions(wrong=(), images=400, classes="ab", extra=""):
    """Return a predictions.csv of so many images, in which the predictions of the images `wrong` are wrong."""
    lines = ["path,actual,predicted" + (",p_a,p_b" if extra else "")]
    for number in range(images):
        actual = classes[number % len(classes)]
        predicted = classes[(number + (number in wrong)) % len(classes)]
        lines.append(f"{actual}/{number:03d}.png,{actual},{predicted}{extra}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def compare(project, run_gate):
    """Return a function of the images that are wrong here and in an earlier revision, which runs the gate against it.

    It returns the status, and the lines of the comparison.
    """
    revisions.start()
    tags = []

    def run(wrong, earlier_wrong, *arguments):
        tags.append(f"earlier{len(tags) or ''}")
        revisions.commit(tags[-1], {PREDICTIONS: predictions(earlier_wrong)})
        write_text(PREDICTIONS, predictions(wrong))
        status, lines = run_gate(GOOD, "--against", tags[-1], *arguments)
        assert len(lines) == 6
        return status, lines[3:]

    return run


def test_the_same_predictions_pass(compare):
    assert compare(range(8), range(8)) == (
        0,
        [
            "note  of 400 images, 0 are right only here and 0 only at earlier; McNemar p 1, significant up to 0.05",
            "pass  accuracy 0.9800, 0.9800 at earlier, may drop by 0.01",
            "pass  balanced_accuracy 0.9800, 0.9800 at earlier, may drop by 0.01",
        ],
    )


def in_files(text, rows=150):
    """Return the numbered files, path and text, that `evaluate` writes above limits.rows_in_memory."""
    header, *lines = text.splitlines(keepends=True)
    starts = enumerate(range(0, len(lines), rows))
    return {PREDICTIONS / f"{number:05d}.csv": header + "".join(lines[at : at + rows]) for number, at in starts}


@pytest.mark.parametrize("earlier", [lambda text: {PREDICTIONS: text}, in_files], ids=["one file", "numbered files"])
def test_predictions_in_numbered_files_are_compared_like_those_in_one(run_gate, earlier):
    revisions.start()
    revisions.commit("earlier", earlier(predictions(range(8))))
    shutil.rmtree(PREDICTIONS) if PREDICTIONS.is_dir() else PREDICTIONS.unlink()
    for path, text in in_files(predictions(range(80))).items():
        write_text(path, text)
    status, lines = run_gate(GOOD, "--against", "earlier")
    assert (status, lines[4]) == (1, "FAIL  accuracy 0.8000, 0.9800 at earlier, may drop by 0.01")


def test_a_large_and_significant_drop_fails_although_every_threshold_holds(compare):
    # 10 images are right only at the earlier revision, 1 only here: p is 0.012.
    status, lines = compare(range(10), [399])
    assert status == 1
    assert lines == [
        (
            f"note  of 400 images, 1 are right only here and 10 only at earlier; McNemar p {mcnemar(1, 10):.3g}, "
            "significant up to 0.05"
        ),
        "FAIL  accuracy 0.9750, 0.9975 at earlier, may drop by 0.01",
        "FAIL  balanced_accuracy 0.9750, 0.9975 at earlier, may drop by 0.01",
    ]


def test_a_large_drop_that_is_not_significant_passes_and_a_line_says_so(compare):
    # 12 only at the earlier revision, 5 only here: p is 0.14.
    status, lines = compare(range(12), range(300, 305))
    assert status == 0
    assert lines[1] == ("pass  accuracy 0.9700, 0.9875 at earlier, may drop by 0.01; the drop is not significant")


def test_a_significant_drop_of_exactly_the_bound_passes(compare, project):
    # 1 - 0.98 is a little more than 0.02 in floating point.
    project.set(gate__max_drop=0.02)
    status, lines = compare(range(8), [])
    assert mcnemar(0, 8) < 0.05
    assert (status, lines[1]) == (0, "pass  accuracy 0.9800, 1.0000 at earlier, may drop by 0.02")
    assert compare(range(9), [])[0] == 1


def test_a_p_value_equal_to_the_bound_is_significant(compare, project):
    project.set(gate__significance=mcnemar(5, 12))
    assert compare(range(12), range(300, 305))[0] == 1


def test_a_figure_below_its_threshold_fails_although_nothing_drops(run_gate, repository):
    assert run_gate(GOOD | {"accuracy": 0.9}, "--against", "earlier")[0] == 1


def test_a_significant_gain_passes(compare):
    assert compare([], range(20))[0] == 0


def test_the_bound_of_significance_is_a_parameter(compare, project):
    project.set(gate__significance=0.01)
    assert compare(range(10), [399])[0] == 0
    project.set(gate__significance=0.2)
    assert compare(range(12), range(300, 305))[0] == 1


def test_a_significance_of_1_fails_every_drop_above_the_bound(compare, project):
    project.set(gate__significance=1)
    wrong, earlier = range(10), [*range(100, 104), 399]
    assert mcnemar(5, 10) > 0.05
    assert compare(wrong, earlier)[0] == 1


@pytest.mark.parametrize("significance", [0, -0.1, 1.1])
def test_a_significance_that_no_p_value_can_reach_is_refused(project, run_gate, significance):
    project.set(gate__significance=significance)
    with pytest.raises(GraftError, match=r"^params\.yaml: gate\.significance is "):
        run_gate(GOOD)


def test_balanced_accuracy_drops_where_a_rare_class_gets_worse(run_gate, project):
    # 30 images of the common class a become right, 8 of the 10 of class b become wrong.
    def table(wrong_a, wrong_b):
        rows = [f"a/{n}.png,a,{'b' if n < wrong_a else 'a'}" for n in range(390)]
        rows += [f"b/{n}.png,b,{'a' if n < wrong_b else 'b'}" for n in range(10)]
        return "\n".join(["path,actual,predicted", *rows]) + "\n"

    revisions.start()
    revisions.commit("earlier", {PREDICTIONS: table(40, 0)})
    write_text(PREDICTIONS, table(10, 8))
    status, lines = run_gate(GOOD, "--against", "earlier")
    assert status == 1
    assert lines[4] == "pass  accuracy 0.9550, 0.9000 at earlier, may drop by 0.01"
    assert lines[5].startswith("FAIL  balanced_accuracy 0.5872, 0.9487 at earlier")


def test_a_revision_with_a_probability_per_class_is_compared_too(run_gate, project):
    revisions.start()
    revisions.commit("earlier", {PREDICTIONS: predictions(extra=",0.5,0.5")})
    write_text(PREDICTIONS, predictions())
    assert run_gate(GOOD, "--against", "earlier")[0] == 0


@pytest.fixture
def repository(project):
    """A git repository with predictions, tagged `earlier`."""
    revisions.start()
    revisions.commit("earlier", {PREDICTIONS: predictions()})


def test_a_branch_and_a_commit_are_revisions_too(run_gate, repository):
    assert run_gate(GOOD, "--against", "main")[0] == 0
    assert run_gate(GOOD, "--against", "HEAD")[0] == 0


def test_an_experiment_of_dvc_is_found_by_its_name(run_gate, repository):
    revisions.git("update-ref", "refs/exps/ab/cdef/tender-rose", "HEAD")
    write_text(PREDICTIONS, predictions(range(40)))
    assert run_gate(GOOD, "--against", "tender-rose")[0] == 1


def test_a_project_below_the_top_of_its_git_repository_is_found(run_gate, project, monkeypatch):
    monkeypatch.chdir("..")
    revisions.start()
    monkeypatch.chdir(project.folder)
    revisions.commit("earlier", {PREDICTIONS: predictions()})
    write_text(PREDICTIONS, predictions(range(40)))
    assert run_gate(GOOD, "--against", "earlier")[0] == 1


def test_other_images_are_one_line_with_the_numbers_and_examples(run_gate, repository):
    write_text(PREDICTIONS, predictions(images=397) + "new.png,a,a\n")
    expected = (
        r"^metrics/predictions\.csv at earlier: not the same images, 1 only here and 3 only there, "
        r"such as new\.png, a/398\.png, b/397\.png$"
    )
    with pytest.raises(GraftError, match=expected):
        run_gate(GOOD, "--against", "earlier")


def test_other_classes_are_one_line_with_an_example(run_gate, repository):
    write_text(PREDICTIONS, predictions().replace("a/000.png,a,a", "a/000.png,b,a"))
    expected = r"^metrics/predictions\.csv at earlier: not the same classes, 1 differ, such as a/000\.png$"
    with pytest.raises(GraftError, match=expected):
        run_gate(GOOD, "--against", "earlier")


def test_classes_with_names_like_missing_values_and_numbers_are_text(run_gate, project):
    text = "path,actual,predicted\n1.png,NA,01\n2.png,01,1\n3.png,null,null\n"
    revisions.start()
    revisions.commit("earlier", {PREDICTIONS: text})
    _, lines = run_gate(GOOD, "--against", "earlier")
    assert lines[4] == "pass  accuracy 0.3333, 0.3333 at earlier, may drop by 0.01"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", r"not a CSV file \([^\n]*\)"),
        ("path,actual\na,b\n", "no column predicted; path, actual and predicted are needed"),
        ("path,actual,predicted\n", "no image in it"),
        ("path,actual,predicted\na,x,x\na,x,x\n", "the path a is in it twice"),
    ],
)
def test_a_broken_file_here_or_there_is_one_line(run_gate, repository, content, fault):
    revisions.commit("broken", {PREDICTIONS: content})
    with pytest.raises(GraftError, match=rf"^metrics/predictions\.csv: {fault}$"):
        run_gate(GOOD, "--against", "earlier")
    write_text(PREDICTIONS, predictions())
    with pytest.raises(GraftError, match=rf"^metrics/predictions\.csv at broken: {fault}$"):
        run_gate(GOOD, "--against", "broken")


def test_missing_predictions_are_one_line(run_gate, repository):
    PREDICTIONS.unlink()
    with pytest.raises(GraftError, match=r"^metrics/predictions\.csv: no such file; [^\n]*`git checkout [^\n]*$"):
        run_gate(GOOD, "--against", "earlier")


def test_an_unknown_revision_is_one_line(run_gate, repository):
    with pytest.raises(GraftError, match=r"^metrics/predictions\.csv at nowhere: [^\n]*nowhere[^\n]*$"):
        run_gate(GOOD, "--against", "nowhere")


def test_a_revision_without_predictions_is_one_line(run_gate, repository):
    revisions.git("rm", "-q", "--cached", str(PREDICTIONS))
    revisions.git("commit", "-q", "-m", "no predictions")
    line = rf"^metrics/predictions\.csv at HEAD: this commit has no such file{COMMIT_FIRST}"
    with pytest.raises(GraftError, match=line):
        run_gate(GOOD, "--against", "HEAD")


def test_a_revision_with_the_results_of_another_data_set_is_one_line_that_says_to_commit_first(run_gate, repository):
    """As after `graft import`: the last commit has the results on the digits."""
    write_text(PREDICTIONS, "path,actual,predicted\nants/1.jpg,ants,ants\nbees/1.jpg,bees,bees\n")
    with pytest.raises(
        GraftError, match=rf"^metrics/predictions\.csv at earlier: of another data set, [^\n]*{COMMIT_FIRST}"
    ):
        run_gate(GOOD, "--against", "earlier")


def test_outside_a_git_repository_there_is_nothing_to_compare_with(run_gate, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    write_text(PREDICTIONS, predictions())
    with pytest.raises(GraftError, match=r"^metrics/predictions\.csv at main: [^\n]*not a git repository"):
        run_gate(GOOD, "--against", "main")


def test_a_repository_of_somebody_else_is_one_line_with_gits_reason_and_remedy(run_gate, repository, monkeypatch):
    # Git's own switch for its tests: it takes every folder for another user's.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    with pytest.raises(
        GraftError,
        match=r"at HEAD: fatal: detected dubious ownership in [^\n]+ git config --global --add safe\.directory \S+$",
    ):
        run_gate(GOOD, "--against", "HEAD")


def test_the_process_exits_with_the_outcome(project, run_python):
    write_json(METRICS, GOOD)
    assert run_python("-m", "graft", "gate", folder=project.folder).returncode == 0
    write_json(METRICS, GOOD | {"accuracy": 0.5})
    failed = run_python("-m", "graft", "gate", folder=project.folder)
    assert (failed.returncode, failed.stderr) == (1, "")
    METRICS.unlink()
    missing = run_python("-m", "graft", "gate", folder=project.folder)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.count("\n") == 1
