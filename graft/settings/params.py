"""The parameters, typed and checked: the one mirror of params.yaml and its only reader."""

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import CoreSchema, literal_schema

from graft.core.errors import GraftError, nearest
from graft.core.paths import PARAMETERS
from graft.images.loader import RESIZERS
from graft.settings import backbone_table
from graft.settings.initializers import INITIALIZERS
from graft.settings.optimizers import OPTIMIZERS
from graft.settings.pooling import POOLINGS
from graft.settings.schedules import SCHEDULES

PATH = PARAMETERS


class OneOf:
    """Allows the names of a table and no other: a choice is added to its table alone."""

    def __init__(self, table: Iterable[str]):
        self._names = list(table)

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return literal_schema(self._names)


Auto = Literal["auto"]
Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Pooling = Annotated[str, OneOf(POOLINGS)]
Optimizer = Annotated[str, OneOf(OPTIMIZERS)]
Schedule = Annotated[str, OneOf(SCHEDULES)]
Initializer = Annotated[str, OneOf(INITIALIZERS)]
Resize = Annotated[str, OneOf(RESIZERS)]

# Where a linear head has no such setting, this is what stands there.
NOT_OF_LINEAR = (("widths", []), ("dropout", 0.0), ("l2", 0.0), ("label_smoothing", 0.0), ("ema", 0.0))
# What other heads do not have.
OF_LINEAR = ("C", "lda")
# The new name, in the same section, of each key that had another one before version 0.2.
RENAMED = {
    "export.squares": "crops",
    "export.scale": "test_resolution",
    "fine_tune.share": "interpolation",
    "fine_tune.average": "ema",
    "head.average": "ema",
    "head.discriminant": "lda",
    "augment.slide": "crop_jitter",
}
# What pydantic calls a key that no section has; one that is no text (`1: 2`) can be none either.
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")


class Section(BaseModel):
    """A part of params.yaml: unknown keys are refused, and nothing changes after the check.

    Numbers written as text are read as numbers: DVC writes `1e-05` for `-S lr=1e-5`, a string to YAML 1.1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _truth_is_no_number(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        # pydantic reads true as 1.
        checked = check(value)
        if isinstance(value, bool) and not isinstance(checked, bool):
            raise ValueError("Input should be a number, not true or false")
        return checked


class Split(Section):
    """How the images are dealt to training, validation and test."""

    seed: Count
    folds: Annotated[int, Field(ge=2)]
    fold: Count
    validation: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _fold_is_one_of_folds(self) -> "Split":
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}, but with folds: {self.folds} it is from 0 to {self.folds - 1}")
        return self


class Head(Section):
    """The classifier on the frozen backbone's features."""

    kind: Literal["linear", "mlp", "se"]
    views: Count
    C: Positive | Auto
    lda: Fraction | Auto
    widths: list[PositiveCount]
    dropout: Share | list[Share]
    l2: NotNegative
    initializer: Initializer
    ratio: PositiveCount
    pooling: Pooling
    epochs: PositiveCount
    patience: PositiveCount | None
    lr: Positive
    batch_size: PositiveCount
    optimizer: Optimizer
    momentum: Share
    schedule: Schedule
    warmup: Share
    plateau_patience: PositiveCount
    label_smoothing: Share
    ema: Share
    tensorboard: bool

    @model_validator(mode="after")
    def _settings_are_of_this_kind(self) -> "Head":
        if self.kind == "linear":
            for name, nothing in NOT_OF_LINEAR:
                if getattr(self, name) != nothing:
                    found = f"{name} is {getattr(self, name)}"
                    raise ValueError(f"{found}, but kind is linear: set {name} to {nothing}, or kind to mlp or se")
        else:
            for name in OF_LINEAR:
                if (value := getattr(self, name)) != "auto":
                    raise ValueError(
                        f"{name} is {value:g}, but kind is {self.kind}: set {name} to auto, or kind to linear"
                    )
        layers = len(self.widths) + 1
        if isinstance(self.dropout, list) and len(self.dropout) != layers:
            raise ValueError(
                f"dropout is a list of {len(self.dropout)}, but there are {layers} dense layers: "
                f"give {layers} numbers, or one for all"
            )
        return self

    @property
    def dropouts(self) -> list[float]:
        """The share dropped before each dense layer, the last one's included."""
        return self.dropout if isinstance(self.dropout, list) else [self.dropout] * (len(self.widths) + 1)


class RandAugment(Section):
    """How many changes RandAugment makes to a view, and how large they are."""

    count: Count
    magnitude: Annotated[float, Field(ge=0, le=30)]


class Augment(Section):
    """What the augmented views of a training image may differ by."""

    views: Count
    flip: Literal["auto", "none", "horizontal", "vertical", "both"]
    rotation: Annotated[float, Field(ge=0, le=180)]
    zoom: Share
    shift: Share
    crop_jitter: Fraction
    brightness: Share
    contrast: Share
    saturation: Share
    shear: Annotated[float, Field(ge=0, le=45)]
    crop: Annotated[float, Field(gt=0, le=1)]
    randaugment: RandAugment
    probability: Fraction


class FineTune(Section):
    """How the top of the backbone is trained."""

    from_layer: Count | Fraction | str
    to_layer: Count | Fraction | str | None
    epochs: Count | Auto
    batch_size: PositiveCount
    optimizer: Optimizer
    momentum: Share
    weight_decay: NotNegative
    schedule: Schedule
    warmup: Share
    plateau_patience: PositiveCount
    patience: PositiveCount | None
    monitor: Literal["val_loss", "val_accuracy"] | None
    label_smoothing: Share
    dropout: Share
    mixup: NotNegative
    ema: Share
    interpolation: Annotated[float, Field(gt=0, le=1)] | Auto
    precision: Literal["auto", "float32", "bfloat16"]
    tensorboard: bool

    @model_validator(mode="after")
    def _stopping_needs_what_to_stop_by(self) -> "FineTune":
        if self.patience is not None and self.monitor is None:
            raise ValueError(
                f"patience is {self.patience}, but monitor is null: set monitor to val_loss or val_accuracy, "
                "or patience to null"
            )
        return self


class Export(Section):
    """Which model is shipped."""

    model: Literal["best_on_validation", "fine_tuned", "head"]
    test_resolution: Annotated[float, Field(ge=1, le=2)] | Auto
    crops: PositiveCount


class Gate(Section):
    """The thresholds of `graft gate`."""

    min_accuracy: Fraction
    min_balanced_accuracy: Fraction
    max_expected_calibration_error: Fraction
    max_drop: Fraction
    significance: Annotated[float, Field(gt=0, le=1)]


class Parameters(Section):
    """All of params.yaml; each key is described there."""

    dataset: Annotated[str, Field(min_length=1)]
    dataset_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    strict: bool
    backbone: str
    weights: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Field(ge=8, le=2048)] | Auto
    resize: Resize
    pooling: Pooling
    lr: Positive
    seed: Count
    split: Split
    head: Head
    augment: Augment
    fine_tune: FineTune
    export: Export
    display_names: dict[str, Annotated[str, Field(min_length=1)]] | None
    gate: Gate

    @field_validator("dataset_sha256", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("display_names", mode="before")
    @classmethod
    def _numbers_are_names_of_classes_too(cls, value: object) -> object:
        return {str(label): name for label, name in value.items()} if isinstance(value, dict) else value

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, name: str) -> str:
        if name not in backbone_table.NAMES:
            raise ValueError(f"no backbone is called {name!r}; {nearest(name, backbone_table.NAMES)}")
        return name

    @model_validator(mode="after")
    def _settings_go_together(self) -> "Parameters":
        if self.head.kind == "se" and self.pooling != "none":
            raise ValueError(
                f"pooling is {self.pooling}, but head.kind: se works on the feature map: set pooling to none, "
                "and head.pooling to what shall follow the block"
            )
        if self.export.test_resolution not in ("auto", 1) and not can_be_enlarged(self.pooling, self.resize):
            fixed = f"pooling: {self.pooling}" if self.pooling == "none" else f"resize: {self.resize}"
            raise ValueError(
                f"export.test_resolution is {self.export.test_resolution:g}, but {fixed} allows no other than 1: set 1 or auto"
            )
        if self.weights == "imagenet" and not backbone_table.get(self.backbone).published:
            raise ValueError(f"weights is imagenet, but {self.backbone} has none: set weights to none, or to a file")
        return self


def can_be_enlarged(pooling: str, resize: str) -> bool:
    """Return whether a network may see larger images than it learnt from.

    Not if its head weighs each place of the map, or if a larger square would show more of the image at the same scale.
    """
    return pooling != "none" and resize != "crop_or_pad"


def load(path: str | Path = PATH, changes: Mapping[str, str] | None = None) -> Parameters:
    """Read and check a parameters file.

    Parameters
    ----------
    path : of the file.
    changes : values by dotted key (`{"fine_tune.epochs": "3"}`), as text, that take the place of the file's.

    Raises
    ------
    GraftError
        If the file is missing or not YAML, or a key is unknown, missing, of a wrong type or out of range.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GraftError(f"{path}: no such file; run in the folder that holds it") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GraftError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise GraftError(f"{path}: no keys and values in it; params.yaml of the repository has every key")
    for key, text in (changes or {}).items():
        _change(values, key, text)
    try:
        return Parameters.model_validate(values)
    except ValidationError as error:
        raise GraftError(f"{path}: {_first_fault(error)}") from error


def _change(values: dict, key: str, text: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise GraftError(f"{key}: {section} is a value, not a section; params.yaml has every key with its meaning")
    try:
        values[name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise GraftError(f"{key}: not a value: {text}") from error


def _first_fault(error: ValidationError) -> str:
    # A misspelt key is also a missing one: the first says more. (False sorts before True.)
    faults = sorted(error.errors(), key=lambda fault: fault["type"] not in UNKNOWN_KEY)
    section, names = _keys_along([str(name) for name in faults[0]["loc"]])
    key = ".".join(names)
    if key in RENAMED:
        return f"{key} was renamed to {'.'.join([*names[:-1], RENAMED[key]])}"
    if faults[0]["type"] in UNKNOWN_KEY:
        return f"unknown key {key!r}; {nearest(names[-1], section.model_fields)}"
    if faults[0]["type"] == "missing":
        return f"{key} is missing; params.yaml of the repository has every key with its meaning"
    if faults[0]["type"] == "model_type":
        return f"{key} is {reprlib.repr(faults[0]['input'])}: its keys are needed, {', '.join(section.model_fields)}"
    # A union (`image_size: 224 | auto`) reports a fault for each of its members, under one key.
    same_key = [fault for fault in faults if fault["loc"][: len(names)] == tuple(names)]
    reasons = dict.fromkeys(fault["msg"].removeprefix("Value error, ") for fault in same_key)
    found = "" if isinstance(faults[0]["input"], dict) else f" is {reprlib.repr(faults[0]['input'])}"
    # A fault between sections has no key of its own.
    return f"{key}{found}: {', or '.join(reasons)}".removeprefix(": ")


def _keys_along(names: list[str]) -> tuple[type[Section], list[str]]:
    """Return the innermost section that `names` lead into, and the part of `names` that are keys of the file."""
    section, keys = Parameters, []
    for name in names:
        keys.append(name)
        field = section.model_fields.get(name)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            break
        section = field.annotation
    return section, keys
