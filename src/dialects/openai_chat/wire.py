"""A client's JSON, read one value at a time: each reader gives the value or says which field is wrong."""

from __future__ import annotations

from typing import Any

from ...core.errors import BadRequest


def wrong(field: str, what: str) -> BadRequest:
    return BadRequest(400, "invalid_request", f"{field}: {what}", param=field)


def only_own(field: str, what: str) -> BadRequest:
    """Content that no other dialect can carry."""
    return BadRequest(400, "content_not_supported", f"{field}: {what}", param=field)


def text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise wrong(field, "has to be a string")
    return value


def optional_text(value: Any, field: str) -> str:
    """ "" where there is none."""
    return "" if value is None else text(value, field)


def mapping(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(field, "has to be an object")
    return value


def optional_mapping(value: Any, field: str) -> dict[str, Any]:
    return {} if value is None else mapping(value, field)


def items(value: Any, field: str) -> list[Any]:
    """[] where there is none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(field, "has to be a list")
    return value


def texts(value: Any, field: str) -> tuple[str, ...]:
    return tuple(text(each, f"{field}[{n}]") for n, each in enumerate(items(value, field)))


def flag(value: Any, field: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise wrong(field, "has to be true or false")
    return value


def number(value: Any, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(field, "has to be a number")
    return value


def integer(value: Any, field: str, least: int | None = None) -> int | None:
    found = number(value, field)
    if found is None:
        return None
    if isinstance(found, float) and not found.is_integer():
        raise wrong(field, "has to be a whole number")
    if least is not None and found < least:
        raise wrong(field, f"has to be at least {least}")
    return int(found)
