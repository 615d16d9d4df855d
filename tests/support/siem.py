"""What SIEMs' schemas say of events: OCSF's is in the package ocsf-json-schema, ECS's fields are in
tests/audit/ecs-9.4.0.json."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

_ECS = Path(__file__).parents[1] / "audit" / "ecs-9.4.0.json"
_KINDS: dict[str, type | tuple[type, ...]] = {
    "keyword": str,
    "wildcard": str,
    "match_only_text": str,
    "long": int,
    "integer": int,
    "date": str,
}
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def ocsf_problems(line: bytes) -> list[str]:
    """Of an event in OCSF's form; none: its class's schema has it, with the profiles that it names."""
    event = json.loads(line)
    profiles = tuple(event["metadata"].get("profiles", ()))
    validator = _validator(event["metadata"]["version"], event["class_uid"], profiles)
    found = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(event)]
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        found.append("type_uid is not made of class and activity")
    if event["class_uid"] and event["class_uid"] // 1000 != event["category_uid"]:
        found.append("the class is not of this category")
    return found


@functools.cache
def _schema(version: str) -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))


@functools.cache
def _validator(version: str, class_uid: int, profiles: tuple[str, ...]) -> Any:
    schema = _schema(version)
    name = schema.lookup_class_name_from_uid(class_uid)
    made = schema.get_class_schema(class_name=name, profiles=list(profiles))
    return jsonschema.Draft202012Validator(made)


@functools.cache
def _fields() -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(_ECS.read_text())
    return fields


def ecs_problems(line: bytes) -> list[str]:
    """Of an event in ECS's form: fields that it does not have, values of another type, words that are not
    allowed. Names of products are for fields of one's own."""
    event = json.loads(line)
    found = [problem for path, value in _leaves(event, "") for problem in _of_field(path, value)]
    said = event["event"]
    expected = _fields()["event.category"]["types"]
    may_be = {kind for category in said.get("category", ()) for kind in expected[category]}
    found += [f"event.type {kind} is none of {may_be}" for kind in said.get("type", ()) if kind not in may_be]
    missing = [name for name in ("@timestamp", "ecs") if name not in event]
    return found + [f"{name} is missing" for name in missing]


def _leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    for name, one in value.items():
        path = f"{at}.{name}" if at else name
        if path == "modelbroker":
            continue
        if isinstance(one, dict):
            yield from _leaves(one, path)
        else:
            yield path, one


def _of_field(path: str, value: Any) -> Iterator[str]:
    field = _fields().get(path)
    if field is None:
        yield f"there is no field {path}"
        return
    if field.get("array", False) != isinstance(value, list):
        yield f"{path} is {value!r}"
    for one in value if isinstance(value, list) else [value]:
        kind = _KINDS[field["type"]]
        if not isinstance(one, kind) or isinstance(one, bool):
            yield f"{path} is no {field['type']}: {one!r}"
        elif field["type"] == "integer" and not -(2**31) <= one < 2**31:
            yield f"{path} is out of range: {one}"
        elif field["type"] == "date" and not _DATE.fullmatch(one):
            yield f"{path} is no date: {one!r}"
        elif "allowed" in field and one not in field["allowed"]:
            yield f"{path} may not be {one!r}"
