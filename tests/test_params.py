"""Parameters: every value has its type and range before anything runs; a fault is one line with file and key."""

import os
import re

import own_parameters
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from graft.core.errors import GraftError
from graft.heads.train import TRAINERS
from graft.images.augmentation import FLIPS
from graft.images.loader import RESIZERS
from graft.settings import params
from graft.settings.faults import RENAMED
from graft.settings.initializers import INITIALIZERS
from graft.settings.optimizers import OPTIMIZERS
from graft.settings.pooling import MAP_POOLINGS, POOLINGS
from graft.settings.schedules import SCHEDULES
from graft.settings.schema import Section


@pytest.fixture
def load(project):
    """Return a function that changes keys of params.yaml, as YAML text, and loads it."""
    path = project.folder / "params.yaml"
    own = path.read_text(encoding="utf-8")

    def changed(**changes):
        project.set(**changes)
        return params.load()

    def typed(key, text):
        """Load with a top-level key written exactly so, as a person or DVC types it."""
        lines = [f"{key}: {text}" if line.startswith(f"{key}:") else line for line in own.splitlines()]
        path.write_text("\n".join(lines), encoding="utf-8")
        return params.load()

    changed.typed = typed
    return changed


def refusal(load, **changes):
    with pytest.raises(GraftError) as refused:
        load(**changes)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("params.yaml: ")
    return message.removeprefix("params.yaml: ")


def test_the_repositorys_own_parameters_are_valid(load):
    assert load().dataset == "digits"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.0001", 1e-4),  # what DVC writes for -S lr=1e-4
        ("1e-05", 1e-5),  # for 1e-5 and 0.00001: text to YAML 1.1
        ("3e-05", 3e-5),
        ("1.5e-05", 1.5e-5),
        ("1e-3", 1e-3),  # as a person writes it
        ("1", 1.0),
    ],
)
def test_a_learning_rate_arrives_as_the_number_it_means(load, text, value):
    rate = load.typed("lr", text).lr
    assert type(rate) is float
    assert rate == value


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("on", True), ("'on'", True), ("no", False), ("'false'", False)]
)
def test_a_switch_means_the_same_typed_by_hand_or_written_by_dvc(load, text, value):
    assert load.typed("strict", text).strict is value


@pytest.mark.parametrize("text", ["true", "yes", "on"])
def test_a_switch_is_no_number(load, text):
    with pytest.raises(GraftError, match=r"lr is True: Input should be a number, not true or false"):
        load.typed("lr", text)


def test_a_checksum_is_read_in_either_case(load):
    assert load(dataset_sha256="AB" * 32).dataset_sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [(40, int, 40), (0.6, float, 0.6), (1.0, float, 1.0), (1, int, 1), ("block_11_expand", str, "block_11_expand")],
)
def test_a_layer_is_a_name_an_index_or_a_fraction(load, given, kind, value):
    layer = load(fine_tune__from_layer=given).fine_tune.from_layer
    assert type(layer) is kind
    assert layer == value


def test_a_class_may_have_a_name_in_any_script(load):
    assert load().display_names is None
    assert load(display_names={"daisy": "雏菊", "5": "пять"}).display_names == {"daisy": "雏菊", "5": "пять"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("{5: five, 12: twelve}", {"5": "five", "12": "twelve"}),
        ("{yes: oui, no: non}", {"yes": "oui", "no": "non"}),
        ("{'01': one, rose: R}", {"01": "one", "rose": "R"}),
    ],
)
def test_the_name_of_a_class_is_the_text_that_stands_in_the_file(project, names, expected):
    assert params.load(changes={"display_names": names}).display_names == expected


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ("{1: a, b: c}", "1"),
        ("{01: a, 02: b}", "01"),
        ("{b: c, 1e3: a}", "1e3"),
        ("{null: a}", "null"),
        ("{true: a}", "true"),
    ],
)
def test_a_name_that_dvc_takes_for_something_else_is_refused_with_the_quotes_it_needs(project, names, key):
    with pytest.raises(GraftError, match=rf"^params\.yaml: display_names: write the name {key} in quotes, '{key}'$"):
        params.load(changes={"display_names": names})


@pytest.mark.parametrize(("given", "size"), [(500, 500), ("500", 500), ("1.5 gb", 1_500_000_000), ("1000TB", 10**15)])
def test_a_size_is_a_number_of_bytes_or_has_a_unit(load, given, size):
    assert load(limits__download_size=given).limits.download_size == size


@pytest.mark.parametrize("given", ["5 XB", "", "-5GB", 0, True, 2.5, "9" * 400, [1], None])
def test_what_is_no_size_is_refused_with_its_key(load, given):
    assert refusal(load, limits__download_size=given).startswith("limits.download_size is ")


def test_parameters_do_not_change_once_they_are_checked(load):
    with pytest.raises(ValidationError, match="frozen"):
        load().lr = 1.0


def test_an_unknown_key_is_refused_with_the_nearest_name(load):
    assert refusal(load, learning_rte=1) == (
        "unknown key 'learning_rte'; known: augment, backbone, dataset, dataset_sha256, display_names, export, "
        "extract, fine_tune, gate, head, image_size, limits, lr, pooling, predict, resize, seed, split, strict, weights"
    )
    assert refusal(load, datset="digits") == (
        "unknown key 'datset'; did you mean 'dataset' or 'gate' or 'dataset_sha256'?"
    )


def test_an_unknown_key_in_a_section_is_named_with_its_section(load):
    assert refusal(load, augment__rotatoin=5) == "unknown key 'augment.rotatoin'; did you mean 'rotation'?"


def test_a_misspelt_key_is_called_misspelt_and_not_missing(project):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace("rotation:", "rotatoin:"))
    with pytest.raises(GraftError, match=r"unknown key 'augment\.rotatoin'; did you mean 'rotation'\?"):
        params.load()


def test_a_key_that_is_no_text_is_unknown(project):
    with (project.folder / "params.yaml").open("a") as file:
        file.write("1: 2\n")
    with pytest.raises(GraftError, match=r"^params\.yaml: unknown key '1'; known: "):
        params.load()


@pytest.mark.parametrize(("key", "name"), [("lr", "lr"), ("  zoom", "augment.zoom")])
def test_a_missing_key_is_named(project, key, name):
    path = project.folder / "params.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith(f"{key}:")))
    with pytest.raises(GraftError, match=rf"^params\.yaml: {name} is missing; params.yaml of the repository"):
        params.load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "fast"}, "lr is 'fast': Input should be a valid number, unable to parse string as a number"),
        ({"lr": 0}, "lr is 0: Input should be above 0 and up to 100"),
        ({"lr": float("nan")}, "lr is nan: Input should be above 0 and up to 100"),
        ({"lr": [1, 2]}, "lr is [1, 2]: Input should be a valid number"),
        ({"seed": -1}, "seed is -1: Input should be from 0 to 2,147,483,647"),
        ({"seed": 1.5}, "seed is 1.5: Input should be a valid integer, got a number with a fractional part"),
        ({"strict": "maybe"}, "strict is 'maybe': Input should be a valid boolean, unable to interpret input"),
        ({"dataset": 5}, "dataset is 5: Input should be a valid string"),
        ({"dataset": ""}, "dataset is '': String should have at least 1 character"),
        ({"dataset_sha256": "abc"}, "dataset_sha256 is 'abc': String should match pattern '^[0-9a-f]{64}$'"),
        ({"image_size": 4}, "image_size is 4: Input should be from 8 to 2,048, or Input should be 'auto'"),
        ({"augment__crop_jitter": 2}, "augment.crop_jitter is 2: Input should be from 0 to 1"),
        (
            {"fine_tune__interpolation": 0},
            "fine_tune.interpolation is 0: Input should be above 0 and up to 1, or Input should be 'auto'",
        ),
        (
            {"head__label_smoothing": 0.1},
            "head: label_smoothing is 0.1, but kind is linear: set label_smoothing to 0.0, or kind to mlp or se",
        ),
        ({"resize": "stretch"}, "resize is 'stretch': Input should be 'squash', 'crop', 'pad' or 'crop_or_pad'"),
        ({"split__folds": 1}, "split.folds is 1: Input should be from 2 to 1,000"),
        ({"split__fold": 5}, "split: fold is 5, but with folds: 5 it is from 0 to 4"),
        ({"split__validation": 1.0}, "split.validation is 1.0: Input should be above 0 and below 1"),
        ({"augment__zoom": float("nan")}, "augment.zoom is nan: Input should be from 0 and below 1"),
        ({"augment__rotation": 181}, "augment.rotation is 181: Input should be from 0 to 180"),
        ({"augment__shear": 46}, "augment.shear is 46: Input should be from 0 to 45"),
        ({"augment__crop": 0}, "augment.crop is 0: Input should be above 0 and up to 1"),
        ({"augment__probability": 1.5}, "augment.probability is 1.5: Input should be from 0 to 1"),
        (
            {"augment__randaugment__magnitude": 31},
            "augment.randaugment.magnitude is 31: Input should be from 0 to 30",
        ),
        ({"augment__randaugment": 2}, "augment.randaugment is 2: its keys are needed, count, magnitude"),
        ({"display_names": "names.json"}, "display_names is 'names.json': Input should be a valid dictionary"),
        ({"display_names": {"daisy": ""}}, "display_names is '': String should have at least 1 character"),
        (
            {"fine_tune__precision": "half"},
            "fine_tune.precision is 'half': Input should be 'auto', 'float32', 'bfloat16' or 'float16'",
        ),
        ({"fine_tune__maps": "cached"}, "fine_tune.maps is 'cached': Input should be 'auto', 'stored' or 'computed'"),
        (
            {"fine_tune__deterministic": "sometimes"},
            "fine_tune.deterministic is 'sometimes': Input should be a valid boolean, unable to interpret input",
        ),
        ({"fine_tune__warmup": 1.0}, "fine_tune.warmup is 1.0: Input should be from 0 and below 1"),
        ({"fine_tune__batch_size": 0}, "fine_tune.batch_size is 0: Input should be from 1 to 65,536"),
        (
            {"fine_tune__patience": 3},
            "fine_tune: patience is 3, but monitor is empty: "
            "set monitor to val_loss or val_accuracy, or leave patience empty",
        ),
        ({"fine_tune__from_layer": True}, "fine_tune.from_layer is True: Input should be a number, not true or false"),
        (
            {"extract__precision": "bfloat16"},
            "extract: precision is bfloat16, but engine is auto, which may compute in float32: set engine to "
            "tensorflow, or precision to float32",
        ),
        (
            {"extract__precision": "int8", "extract__engine": "tensorflow"},
            "extract: precision is int8, but engine is tensorflow, which has no such network: set engine to litert or "
            "ray, or precision to float32, bfloat16 or float16",
        ),
        (
            {"extract__precision": "float16", "extract__engine": "ray"},
            "extract: precision is float16, but engine is ray, which may compute in float32: set engine to "
            "tensorflow, or precision to float32",
        ),
        (
            {"extract__engine": "cuda"},
            "extract.engine is 'cuda': Input should be 'auto', 'litert', 'tensorflow' or 'ray'",
        ),
        ({"predict__coverage": 1.0}, "predict.coverage is 1.0: Input should be above 0 and below 1"),
        ({"predict__coverage": 95}, "predict.coverage is 95: Input should be above 0 and below 1"),
        ({"gate__min_accuracy": 95}, "gate.min_accuracy is 95: Input should be from 0 to 1"),
        ({"split": [1]}, "split is [1]: its keys are needed, seed, folds, fold, validation"),
        ({"split": None}, "split is None: its keys are needed, seed, folds, fold, validation"),
    ],
)
def test_a_wrong_type_or_range_names_key_value_and_what_would_do(load, changes, message):
    assert refusal(load, **changes) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"head__widths": [256, 64]},
            "head: widths is [256, 64], but kind is linear: set widths to [], or kind to mlp or se",
        ),
        ({"head__dropout": 0.5}, "head: dropout is 0.5, but kind is linear: set dropout to 0.0, or kind to mlp or se"),
        ({"head__l2": 1e-3}, "head: l2 is 0.001, but kind is linear: set l2 to 0.0, or kind to mlp or se"),
        (
            {"head__kind": "mlp", "head__C": 0.5},
            "head: C is 0.5, but kind is mlp: set C to auto, or kind to linear",
        ),
        (
            {"head__kind": "mlp", "head__lda": 0},
            "head: lda is 0, but kind is mlp: set lda to auto, or kind to linear",
        ),
        (
            {"head__kind": "mlp", "head__widths": [8], "head__dropout": [0.5]},
            "head: dropout is a list of 1, but there are 2 dense layers: give 2 numbers, or one for all",
        ),
        (
            {"head__kind": "se"},
            "pooling is avg, but head.kind: se works on the feature map: set pooling to none, and head.pooling to the "
            "one that follows the block",
        ),
        (
            {"backbone": "simple_cnn"},
            "weights is imagenet, but simple_cnn has none: set weights to none, or to a file",
        ),
        (
            {"pooling": "none", "export__test_resolution": 1.5},
            "export.test_resolution is 1.5, but with pooling: none it must be 1: set 1 or auto",
        ),
        (
            {"resize": "crop_or_pad", "export__test_resolution": 1.5},
            "export.test_resolution is 1.5, but with resize: crop_or_pad it must be 1: set 1 or auto",
        ),
        ({"head__widths": [0]}, "head.widths is 0: Input should be from 1 to 16,384"),
        ({"fine_tune__patience": 0}, "fine_tune.patience is 0: Input should be from 1 to 10,000"),
        ({"fine_tune__ema": 1.0}, "fine_tune.ema is 1.0: Input should be from 0 and below 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_what_would_do(load, changes, message):
    assert refusal(load, **changes) == message


def keys(section=params.Parameters, prefix=""):
    """Yield every key of params.yaml that is not a section, with the sections before it: split.seed."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("key", list(keys()))
@pytest.mark.parametrize("number", [10**400, -(10**30)])
def test_every_number_has_a_range(project, key, number):
    with pytest.raises(GraftError, match=rf"^params\.yaml: {key} is -?\d\S*: Input should be [^\n]*$"):
        params.load(changes={key: str(number)})


VALUES = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=20))


@given(st.sampled_from(list(keys())), st.one_of(VALUES, st.lists(VALUES, max_size=3)).map(str))
def test_whatever_stands_behind_a_key_is_taken_or_refused_in_one_line(key, text):
    line = key
    try:
        params.load(own_parameters.FILE, changes={key: text})
    except GraftError as error:
        line = str(error)
    assert len(line.splitlines()) == 1
    assert any(part in line for part in key.split("."))


@pytest.mark.parametrize(("key", "values"), [("head__widths", [4, 10**30]), ("head__dropout", [0.5, 10**30])])
def test_every_number_of_a_list_has_a_range(load, key, values):
    assert "Input should be from" in refusal(load, head__kind="mlp", **{key: values})


@pytest.mark.parametrize("key", ["seed", "split__seed"])
def test_a_seed_may_be_as_large_as_every_library_takes(load, key):
    load(**{key: 2**31 - 1})
    assert refusal(load, **{key: 2**32}) == (
        f"{key.replace('__', '.')} is 4294967296: Input should be from 0 to 2,147,483,647"
    )


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("resize", RESIZERS),
        ("pooling", POOLINGS),
        ("head__pooling", MAP_POOLINGS),
        ("head__kind", TRAINERS),
        ("head__initializer", INITIALIZERS),
        ("head__optimizer", OPTIMIZERS),
        ("head__schedule", SCHEDULES),
        ("fine_tune__optimizer", OPTIMIZERS),
        ("fine_tune__schedule", SCHEDULES),
        ("augment__flip", ["auto", *FLIPS]),
    ],
)
def test_the_names_to_choose_from_are_those_of_the_table(load, key, table):
    assert re.findall(r"'(\w\S*)'", refusal(load, **{key: "-"}).partition(":")[2]) == list(table)


@pytest.mark.parametrize(("old", "new"), list(RENAMED.items()))
def test_a_key_that_was_renamed_is_refused_with_its_new_name(load, old, new):
    section = old.partition(".")[0]
    assert refusal(load, **{old.replace(".", "__"): 1}) == f"{old} was renamed to {section}.{new}"
    assert f"{section}.{new}" in keys()


@pytest.mark.parametrize(("given", "each"), [(0.5, [0.5, 0.5, 0.5]), ([0.75, 0, 0], [0.75, 0, 0])])
def test_dropout_is_a_number_for_all_dense_layers_or_one_for_each(load, given, each):
    assert load(head__kind="mlp", head__widths=[4, 4], head__dropout=given).head.dropouts == each


def test_an_unknown_backbone_is_refused_with_the_nearest_names(load):
    assert "did you mean 'MobileNetV2'" in refusal(load, backbone="mobilenet_v2")


def test_a_long_wrong_value_is_cut_short(load):
    assert len(refusal(load, lr=list(range(1000)))) < 200


@pytest.mark.parametrize("text", ["", "just words", "- 1\n- 2"])
def test_a_file_without_keys_is_one_line(project, text):
    (project.folder / "params.yaml").write_text(text)
    with pytest.raises(GraftError, match=r"^params\.yaml: it has no keys and values; [^\n]*$"):
        params.load()


@pytest.mark.parametrize(
    "content",
    [
        *(b"lr: [1", b"lr: 1\n\tseed: 0", b"lr: \xff", b"a: b: c", b"dataset: 2026-13-01", b"seed: " + b"9" * 5000),
        *(b"lr: 0x_", b"lr: !!int abc", b"lr: !!bool abc", b"lr: !!timestamp x", b"lr: !!set [a]", b"lr: \0"),
        *(b"lr: " + b"[" * 3000, b"lr: 1\nseed: 0\nlr: 2", b"gate: {a: 1, a: 1}", "lr: 1".encode("utf-16")),
    ],
)
def test_a_file_that_is_not_yaml_is_one_line(project, content):
    (project.folder / "params.yaml").write_bytes(content)
    with pytest.raises(GraftError, match=r"^params\.yaml: not YAML: [^\n]*$"):
        params.load()


def test_a_value_that_is_not_yaml_is_shown_with_its_line(project):
    path = project.folder / "params.yaml"
    path.write_text("seed: 0\nlr: 0x_\n")
    with pytest.raises(GraftError, match=r"^params\.yaml: not YAML: line 2, `lr: 0x_`: no value \("):
        params.load()


def test_a_file_with_a_byte_order_mark_is_read(project):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert params.load().seed == 0


def test_a_folder_or_a_file_that_may_not_be_read_is_one_line(project):
    path = project.folder / "params.yaml"
    path.unlink()
    path.mkdir()
    with pytest.raises(GraftError, match=r"^params\.yaml: not a file that can be read \(Is a directory\)$"):
        params.load()


def test_a_device_which_like_a_pipe_may_have_no_end_is_not_read(project):
    path = project.folder / "params.yaml"
    path.unlink()
    path.symlink_to(os.devnull)
    with pytest.raises(GraftError, match=r"^params\.yaml: not a file that can be read \(a pipe or a device\)$"):
        params.load()


def test_a_missing_file_is_one_line(project):
    with pytest.raises(GraftError, match=r"^nowhere\.yaml: no such file; run in the folder that holds it$"):
        params.load("nowhere.yaml")


def test_reading_parameters_imports_neither_tensorflow_nor_keras(run_python):
    script = "import sys, graft.settings.params; sys.exit(not {'keras', 'tensorflow'}.isdisjoint(sys.modules))"
    assert run_python("-c", script).returncode == 0
