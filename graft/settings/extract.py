"""The section `extract` of params.yaml."""

from typing import Literal

from pydantic import model_validator

from graft.settings.schema import Images, Section


class Extract(Section):
    """What runs the frozen backbone over the images."""

    engine: Literal["auto", "litert", "tensorflow", "ray"]
    precision: Literal["float32", "bfloat16", "float16", "int8"]
    batch_size: Images

    @model_validator(mode="after")
    def _the_engine_has_the_precision(self) -> "Extract":
        if self.precision == "int8" and self.engine == "tensorflow":
            raise ValueError(
                "precision is int8, but engine is tensorflow, which has no such network: set engine to litert or ray, "
                "or precision to float32, bfloat16 or float16"
            )
        if self.precision not in ("float32", "int8") and self.engine != "tensorflow":
            raise ValueError(
                f"precision is {self.precision}, but engine is {self.engine}, which may compute in float32: "
                "set engine to tensorflow, or precision to float32"
            )
        return self
