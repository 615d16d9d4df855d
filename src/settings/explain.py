"""pydantic's complaints → ours: what is wrong, and what would be right."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .fields import Model
from .identities import TAGS
from .merge import Merged
from .problems import kind, listing, show, suggestion
from .schema import extra, fields_of, inner_model
from .yamltext import Path

M = TypeVar("M", bound=Model)
# Parts of pydantic's places that stand in no YAML.
_NOWHERE = ("[key]", *TAGS)

# What people write for something that has another name here, and how near spelling would not find it.
_MEANT = {
    **dict.fromkeys(("api_key", "apikey", "token", "secret", "key_env"), "credential: {env: NAME}"),
    **dict.fromkeys(("url", "endpoint", "api_base", "host"), "base_url"),
    **dict.fromkeys(("type", "kind", "protocol"), "dialect"),
}
_SECRET = {("callers", "key"), ("callers", "keys"), ("providers", "credential"), ("providers", "headers")}


@cache
def _adapter(model: type[Model], many: bool) -> TypeAdapter[Any]:
    return TypeAdapter(list[model]) if many else TypeAdapter(model)  # type: ignore[valid-type]


def read_list(merged: Merged, section: str, model: type[M]) -> list[M | None]:
    """The entries of a list section; None for one that is wrong, with its problems noted."""
    raw = merged.lists[section]
    try:
        whole: list[M | None] = _adapter(model, True).validate_python(raw)
        return whole
    except ValidationError:
        pass  # once more, one by one: the good ones are needed to check what refers to them
    return [read_one(merged, (section, index), model, entry) for index, entry in enumerate(raw)]


def read_one(merged: Merged, path: Path, model: type[M], raw: Any) -> M | None:
    """One mapping; None if it is wrong, with its problems noted at `path` and below."""
    try:
        good: M = _adapter(model, False).validate_python(raw)
        return good
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _explain(merged, path, model, detail)
    return None


def _explain(merged: Merged, path: Path, model: type[Model], detail: ErrorDetails) -> None:
    loc = tuple(part for part in detail["loc"] if part not in _NOWHERE)
    owner, right = _owner(model, loc)
    wrong = ""
    value = detail["input"]
    where = (path[0], *loc[:1])
    match detail["type"]:
        case "refused":
            context = detail.get("ctx", {})
            wrong, right = context["wrong"], context["right"]
        case "extra_forbidden":
            key = str(loc[-1])
            wrong = f"there is no {show(key)} here"
            right = _instead(key, owner)
        case "missing":
            wrong = "is missing"
        case "model_type" | "dict_type" | "model_attributes_type":
            wrong = "is empty" if value is None else f"is {kind(value)}, not a mapping"
            right = right or f"give {listing(fields_of(owner))} as `key: value`"
        case "list_type":
            wrong = "is empty" if value is None else f"is {kind(value)}, not a list"
        case "too_short":
            wrong = f"has only {len(value)}" if value else "is an empty list"
        case _:
            wrong = "is not of the right form" if where in _SECRET else _scalar(detail["type"], value)
            if detail["type"] == "string_type" and kind(value) in ("a number", "true or false"):
                right = f'put it in quotes: "{show(value)}"' if where not in _SECRET else right
    merged.wrong((*path, *loc), wrong, right or "see docs/configuration.md")


def _scalar(code: str, value: Any) -> str:
    """What is wrong with a single value."""
    if value is None:
        return "is empty"
    if code.startswith("int"):
        return f"{show(value)} is not a whole number"
    if code.startswith("greater"):
        return f"{show(value)} is too small"
    if code.startswith("less"):
        return f"{show(value)} is too large"
    if code == "string_type" and isinstance(value, (dict, list)):
        return f"is {kind(value)}, not text"
    if code == "string_type":
        return f"{show(value)} is {kind(value)}, not text"
    if isinstance(value, (dict, list)):
        return f"is {kind(value)}"
    return f"{show(value)} is not of the right form" if value != "" else "is empty"


def _instead(key: str, owner: type[Model]) -> str:
    fields = list(fields_of(owner))
    meant = _MEANT.get(key.lower().replace("-", "_"), "")
    if meant.split(":")[0] in fields:
        return f"did you mean `{meant}`?"
    return suggestion(key, fields, f"the keys here are {listing(fields)}")


def _owner(model: type[Model], loc: tuple[str | int, ...]) -> tuple[type[Model], str]:
    """The model that holds the last key of `loc`, and what its field says would be right."""
    owner, right = model, ""
    inner: type[Model] | None = model
    is_key = False  # of a mapping of mappings: it is the user's own word
    for part in loc:
        if inner is None:
            break
        if not isinstance(part, str):
            continue
        if is_key:
            is_key = False
            continue
        owner = inner
        info = fields_of(owner).get(part)
        right = extra(info, "right") if info else ""
        inner = inner_model(info) if info else None
        is_key = inner is not None and info is not None and get_origin(info.annotation) is dict
    return owner, right
