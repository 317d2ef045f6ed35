"""The only reader of params.yaml: every key with its type and its range."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from graft.core.errors import GraftError, nearest
from graft.core.paths import PARAMETERS
from graft.images.decoder import MOST_PIXELS
from graft.images.randaugment import FULL
from graft.settings import backbone_table, side_by_side
from graft.settings.extract import Extract
from graft.settings.faults import first_fault
from graft.settings.schema import (
    Auto,
    Epochs,
    Flip,
    Format,
    Fraction,
    Images,
    Initializer,
    Layer,
    LearningRate,
    MapPooling,
    Optimizer,
    Pooling,
    Range,
    Resize,
    Schedule,
    Section,
    Seed,
    Share,
    Size,
    Views,
)
from graft.settings.yaml_file import PlainKey, parse_yaml, read_yaml

# Settings of the dense heads alone, with the value that they must have with a linear head.
DENSE_ONLY: tuple[tuple[str, object], ...] = (
    ("widths", []),
    ("dropout", 0.0),
    ("l2", 0.0),
    ("label_smoothing", 0.0),
    ("ema", 0.0),
)
# Settings of the linear head alone; with the others they must be auto.
LINEAR_ONLY = ("C", "lda")


class Split(Section):
    """How the images are split into training, validation and test parts."""

    seed: Seed
    folds: Annotated[int, Range(2, 1000)]
    fold: Annotated[int, Range(0, 999)]
    validation: Annotated[float, Range(0, 1, above=True, below=True)]

    @model_validator(mode="after")
    def _fold_is_below_folds(self) -> "Split":
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}, but with folds: {self.folds} it is from 0 to {self.folds - 1}")
        return self


class Head(Section):
    """The classifier on the frozen backbone's features."""

    kind: Literal["linear", "mlp", "se"]
    views: Views
    C: Annotated[float, Range(1e-6, 1e6)] | Auto
    lda: Fraction | Auto
    widths: list[Annotated[int, Range(1, 16_384)]]
    dropout: Share | list[Share]
    l2: Annotated[float, Range(0, 1000)]
    initializer: Initializer
    ratio: Annotated[int, Range(1, 4096)]
    pooling: MapPooling
    epochs: Epochs
    patience: Epochs | None
    lr: LearningRate
    batch_size: Images
    optimizer: Optimizer
    momentum: Share
    schedule: Schedule
    warmup: Share
    plateau_patience: Epochs
    label_smoothing: Share
    ema: Share
    tensorboard: bool

    @model_validator(mode="after")
    def _settings_belong_to_the_kind(self) -> "Head":
        if self.kind == "linear":
            for name, neutral in DENSE_ONLY:
                if (value := getattr(self, name)) != neutral:
                    raise ValueError(
                        f"{name} is {value}, but kind is linear: set {name} to {neutral}, or kind to mlp or se"
                    )
        else:
            for name in LINEAR_ONLY:
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
        """The dropout before each dense layer, including the last one."""
        return self.dropout if isinstance(self.dropout, list) else [self.dropout] * (len(self.widths) + 1)


class RandAugment(Section):
    """How many changes RandAugment makes to a view, and how large they are."""

    count: Annotated[int, Range(0, 100)]
    magnitude: Annotated[float, Range(0, FULL)]


class Augment(Section):
    """How the augmented views of a training image differ."""

    views: Views
    flip: Flip
    rotation: Annotated[float, Range(0, 180)]
    zoom: Share
    shift: Share
    crop_jitter: Fraction
    brightness: Share
    contrast: Share
    saturation: Share
    shear: Annotated[float, Range(0, 45)]
    crop: Annotated[float, Range(0, 1, above=True)]
    randaugment: RandAugment
    probability: Fraction


class FineTune(Section):
    """How the top of the backbone is trained."""

    from_layer: Layer
    to_layer: Layer | None
    epochs: Annotated[int, Range(0, 10_000)] | Auto
    batch_size: Images
    optimizer: Optimizer
    momentum: Share
    weight_decay: Annotated[float, Range(0, 10)]
    layer_decay: Annotated[float, Range(0, 1, above=True)]
    schedule: Schedule
    warmup: Share
    plateau_patience: Epochs
    patience: Epochs | None
    monitor: Literal["val_loss", "val_accuracy"] | None
    label_smoothing: Share
    dropout: Share
    mixup: Annotated[float, Range(0, 100)]
    ema: Share
    interpolation: Annotated[float, Range(0, 1, above=True)] | Auto
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    deterministic: bool
    maps: Literal["auto", "stored", "computed"]
    resume: bool
    tensorboard: bool

    @model_validator(mode="after")
    def _patience_needs_a_monitor(self) -> "FineTune":
        if self.patience is not None and self.monitor is None:
            raise ValueError(
                f"patience is {self.patience}, but monitor is empty: set monitor to val_loss or val_accuracy, "
                "or leave patience empty"
            )
        return self


class Export(Section):
    """Which model is exported, and what it gets to see of an image."""

    model: Literal["best_on_validation", "fine_tuned", "head"]
    test_resolution: Annotated[float, Range(1, 2)] | Auto
    crops: Annotated[int, Range(1, 100)]
    formats: list[Format]

    @field_validator("formats", mode="before")
    @classmethod
    def _are_the_same_bytes_each_time(cls, value: object) -> object:
        names = value if isinstance(value, list) else []
        if "tflite" in names:
            raise ValueError("tflite is always exported; leave it out")
        if others := [name for name in ("keras", "saved_model") if name in names]:
            raise ValueError(
                f"{others[0]} has other bytes each time; leave it out and run `graft export --format {others[0]}`"
            )
        return value


class Predict(Section):
    """How sure the answers of the exported model are to be."""

    coverage: Annotated[float, Range(0, 1, above=True, below=True)]


class Limits(Section):
    """What a data set may take, so that no server or file fills the disk or runs for ever."""

    unpacked_size: Size
    files: Annotated[int, Range(1, 10**9)]
    download_size: Size
    download_seconds: Annotated[int, Range(1, 31_536_000)]
    pixels: Annotated[int, Range(1, MOST_PIXELS)]
    rows_in_memory: Annotated[int, Range(1, 10**9)]


class Gate(Section):
    """The thresholds of `graft gate`."""

    min_accuracy: Fraction
    min_balanced_accuracy: Fraction
    max_expected_calibration_error: Fraction
    max_drop: Fraction
    max_export_drop: Fraction
    significance: Annotated[float, Range(0, 1, above=True)]


class Parameters(Section):
    """All of params.yaml; each key is described there."""

    dataset: Annotated[str, Field(min_length=1)]
    dataset_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    strict: bool
    backbone: str
    weights: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Range(8, 2048)] | Auto
    resize: Resize
    pooling: Pooling
    lr: LearningRate
    seed: Seed
    split: Split
    extract: Extract
    head: Head
    augment: Augment
    fine_tune: FineTune
    export: Export
    predict: Predict
    display_names: dict[str, Annotated[str, Field(min_length=1)]] | None
    limits: Limits
    gate: Gate

    @field_validator("dataset_sha256", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("display_names", mode="before")
    @classmethod
    def _dvc_can_sort_the_keys(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        # DVC sorts the keys, which fails for numbers among text. It also reads 01 as 1, and would not see a change.
        plain = [label for label in value if isinstance(label, PlainKey)]
        mixed = len(plain) < len(value)
        wrong = [label for label in plain if mixed or not re.fullmatch("0|[1-9][0-9]*", label)]
        if wrong:
            raise ValueError(f"write the name {wrong[0]} in quotes, '{wrong[0]}'")
        return {str(label): name for label, name in value.items()}

    @field_validator("backbone", mode="before")
    @classmethod
    def _several_backbones(cls, value: object) -> object:
        return side_by_side.joined(value)

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, names: str) -> str:
        # Those of KerasHub are known to it alone: `resolve` checks them.
        if backbone_table.is_hub(names):
            return names
        for name in names.split(backbone_table.BESIDE):
            if name not in backbone_table.NAMES:
                raise ValueError(f"no backbone is called {name!r}; {nearest(name, backbone_table.NAMES)}")
        return names

    @model_validator(mode="after")
    def _settings_go_together(self) -> "Parameters":
        if self.head.kind == "se" and self.pooling != "none":
            raise ValueError(
                f"pooling is {self.pooling}, but head.kind: se works on the feature map: set pooling to none, "
                "and head.pooling to the one that follows the block"
            )
        if self.export.test_resolution not in ("auto", 1) and not can_be_enlarged(self.pooling, self.resize):
            fixed = f"pooling: {self.pooling}" if self.pooling == "none" else f"resize: {self.resize}"
            raise ValueError(
                f"export.test_resolution is {self.export.test_resolution:g}, but with {fixed} it must be 1: "
                "set 1 or auto"
            )
        if backbone_table.is_hub(self.backbone):
            return self
        if "cls" in self.pooling:
            raise ValueError(
                f"pooling is {self.pooling}, but {self.backbone} has no class token: set avg, max, avg+max or none"
            )
        if self.weights == "imagenet" and not backbone_table.get(self.backbone).published:
            raise ValueError(f"weights is imagenet, but {self.backbone} has none: set weights to none, or to a file")
        several = bool(backbone_table.get(self.backbone).parts)
        if several and (fault := side_by_side.fault(self.fine_tune.from_layer, self.pooling, self.weights)):
            raise ValueError(fault)
        return self


def can_be_enlarged(pooling: str, resize: str) -> bool:
    """Return whether a network takes larger images than those it was trained on.

    It does not if its head has weights for each place of the map (`pooling: none`), or if a larger image shows more at
    the same scale (`resize: crop_or_pad`).
    """
    return pooling != "none" and resize != "crop_or_pad"


def load(path: str | Path = PARAMETERS, changes: Mapping[str, str] | None = None) -> Parameters:
    """Read and check a parameters file.

    Parameters
    ----------
    path : of the file.
    changes : values that replace those of the file: text by dotted key, `{"fine_tune.epochs": "3"}`.

    Raises
    ------
    GraftError
        If the file is missing or not YAML, or a key is unknown, missing, of a wrong type or out of range.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise GraftError(f"{path}: it has no keys and values; params.yaml of the repository has every key")
    for key, text in (changes or {}).items():
        _change(values, key, text)
    try:
        return Parameters.model_validate(values)
    except ValidationError as error:
        raise GraftError(f"{path}: {first_fault(error, Parameters)}") from error


def _change(values: dict[str, Any], key: str, text: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise GraftError(f"{key}: {section} is a value, not a section; params.yaml has every key with its meaning")
    values[name] = parse_yaml(text, key)
