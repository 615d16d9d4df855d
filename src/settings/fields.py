"""What every mapping of the YAML is made of: a field with what the reference and the errors say of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from . import values

HOUR = 3_600_000
Flag = Annotated[bool, BeforeValidator(values.flag)]
Wait = Annotated[int, BeforeValidator(values.duration(1, 24 * HOUR))]


def field(description: str, kind: str, right: str, default: Any = ...) -> Any:
    """A field with what the reference and the error messages say of it."""
    more: Any = {"kind": kind, "right": right}
    if isinstance(default, type):  # made anew each time: pydantic would copy a default, which is slower
        return Field(default_factory=default, description=description, json_schema_extra=more)
    return Field(default, description=description, json_schema_extra=more)


class Model(BaseModel):
    # Built when first read with: else each is by itself as well as in those that hold it, and in processes
    # that read none.
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, defer_build=True)
