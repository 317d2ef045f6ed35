"""What params.yaml is made of: sections of keys, numbers in a range, names in a table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core.core_schema import CoreSchema, literal_schema, no_info_after_validator_function

from graft.core.byte_sizes import parse_size
from graft.core.errors import GraftError
from graft.core.paths import FORMATS
from graft.images.augmentation import FLIPS
from graft.images.loader import RESIZERS
from graft.settings.initializers import INITIALIZERS
from graft.settings.optimizers import OPTIMIZERS
from graft.settings.pooling import MAP_POOLINGS, POOLINGS
from graft.settings.schedules import SCHEDULES


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, and no value can be changed later.

    Numbers written as text are read as numbers: DVC writes `1e-05` for `-S lr=1e-5`, and YAML 1.1 reads that as text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _refuse_booleans_as_numbers(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        # pydantic reads true as 1.
        checked = check(value)
        if isinstance(value, bool) and not isinstance(checked, bool):
            # pydantic reports a ValueError only.
            raise ValueError("Input should be a number, not true or false")  # noqa: TRY004
        return checked


class OneOf:
    """Allows the keys of a table, and other names where given. A new choice is added to its table alone."""

    def __init__(self, table: Iterable[str], *others: str) -> None:
        self._names = [*others, *table]

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return literal_schema(self._names)


@dataclass(frozen=True)
class Range:
    """Allows the numbers from `least` to `most`; with `above` not `least` itself, with `below` not `most` itself."""

    least: float
    most: float
    above: bool = False
    below: bool = False

    def __str__(self) -> str:
        start = f"above {self.least:,}" if self.above else f"from {self.least:,}"
        to = " and below" if self.below else " and up to" if self.above else " to"
        return f"{start}{to} {self.most:,}"

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: float) -> float:
        excluded = (self.above and value == self.least) or (self.below and value == self.most)
        # A NaN is in no range.
        if excluded or not self.least <= value <= self.most:
            raise ValueError(f"Input should be {self}")
        return value


def _bytes(value: object) -> object:
    try:
        return parse_size(value, "") if isinstance(value, str) else value
    except GraftError as error:
        raise ValueError("Input should be a size such as 500MB or 5GB") from error


Auto = Literal["auto"]
Share = Annotated[float, Range(0, 1, below=True)]
Fraction = Annotated[float, Range(0, 1)]
# Layers of a head take the seeds that follow, and Keras takes none of 2**32 or more.
Seed = Annotated[int, Range(0, 2**31 - 1)]
Views = Annotated[int, Range(0, 1000)]
Epochs = Annotated[int, Range(1, 10_000)]
Images = Annotated[int, Range(1, 65_536)]
# Bytes: a number, or text with a unit, "5GB".
Size = Annotated[int, Range(1, 10**15), BeforeValidator(_bytes)]
LearningRate = Annotated[float, Range(0, 100, above=True)]
Layer = Annotated[int, Range(0, 10_000)] | Fraction | str
Pooling = Annotated[str, OneOf(POOLINGS)]
MapPooling = Annotated[str, OneOf(MAP_POOLINGS)]
Optimizer = Annotated[str, OneOf(OPTIMIZERS)]
Schedule = Annotated[str, OneOf(SCHEDULES)]
Initializer = Annotated[str, OneOf(INITIALIZERS)]
Resize = Annotated[str, OneOf(RESIZERS)]
Flip = Annotated[str, OneOf(FLIPS, "auto")]
Format = Annotated[str, OneOf(FORMATS)]
