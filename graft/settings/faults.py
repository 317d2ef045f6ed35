"""The message about a fault in params.yaml."""

import reprlib

from pydantic import BaseModel, ValidationError

from graft.core.errors import nearest

# The new name, in the same section, of each key that was renamed in version 0.2.
RENAMED = {
    "export.squares": "crops",
    "export.scale": "test_resolution",
    "fine_tune.share": "interpolation",
    "fine_tune.average": "ema",
    "head.average": "ema",
    "head.discriminant": "lda",
    "augment.slide": "crop_jitter",
}
# What pydantic calls a key that a section does not have, and a key that is not text (`1: 2`).
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")


def first_fault(error: ValidationError, parameters: type[BaseModel]) -> str:
    """Return one line about one of the faults: the key, what was found, and what would do.

    Parameters
    ----------
    error : of pydantic.
    parameters : the class that was to be validated: its fields are keys, or sections of keys.
    """
    # A misspelt key is also a missing key: the unknown key comes first. (False sorts before True.)
    faults = sorted(error.errors(), key=lambda fault: fault["type"] not in UNKNOWN_KEY)
    section, names = _keys_along([str(name) for name in faults[0]["loc"]], parameters)
    key = ".".join(names)
    if key in RENAMED:
        return f"{key} was renamed to {'.'.join([*names[:-1], RENAMED[key]])}"
    if faults[0]["type"] in UNKNOWN_KEY:
        return f"unknown key {key!r}; {nearest(names[-1], section.model_fields)}"
    if faults[0]["type"] == "missing":
        return f"{key} is missing; params.yaml of the repository has every key with its meaning"
    if faults[0]["type"] == "model_type":
        return f"{key} is {reprlib.repr(faults[0]['input'])}: its keys are needed, {', '.join(section.model_fields)}"
    # A union (`image_size: 224 | auto`) reports one fault for each of its types, all under one key.
    same_key = [fault for fault in faults if fault["loc"][: len(names)] == tuple(names)]
    reasons = dict.fromkeys(fault["msg"].removeprefix("Value error, ") for fault in same_key)
    found = "" if isinstance(faults[0]["input"], dict) else f" is {reprlib.repr(faults[0]['input'])}"
    # A fault between two sections has no key.
    return f"{key}{found}: {', or '.join(reasons)}".removeprefix(": ")


def _keys_along(names: list[str], section: type[BaseModel]) -> tuple[type[BaseModel], list[str]]:
    """Return the innermost section that `names` lead to, and those of `names` that are keys of the file."""
    keys = []
    for name in names:
        keys.append(name)
        field = section.model_fields.get(name)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        section = field.annotation
    return section, keys
