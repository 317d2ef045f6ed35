"""The section `extract` of params.yaml."""

from typing import Literal

from pydantic import model_validator

from graft.settings.schema import Images, Section


class Extract(Section):
    """What runs the frozen backbone over the images."""

    engine: Literal["auto", "litert", "tensorflow", "ray"]
    precision: Literal["float32", "bfloat16", "float16"]
    batch_size: Images

    @model_validator(mode="after")
    def _other_precisions_need_tensorflow(self) -> "Extract":
        if self.precision != "float32" and self.engine != "tensorflow":
            raise ValueError(
                f"precision is {self.precision}, but engine is {self.engine}, which may compute in float32: "
                "set engine to tensorflow, or precision to float32"
            )
        return self
