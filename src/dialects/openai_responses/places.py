"""Where ids of an account stand in requests and replies. Source: OpenAI API reference, "Responses"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ID_KEYS = frozenset(
    (
        "approval_request_id",
        "container",
        "container_id",
        "file_id",
        "file_ids",
        "skill_id",
        "tunnel_id",
        "vector_store_ids",
    )
)
# What users, their tools and other servers say: anything can stand there.
_FREE = frozenset(("arguments", "attributes", "filters", "headers", "input_schema", "parameters"))
# Skills with names of other kinds are OpenAI's own, the same for everyone.
_OWN_SKILLS = "skill_"


def _is_free(holder: dict[str, Any], key: str) -> bool:
    """Is what stands at `key` for others to say? A client's own tools are, whole."""
    return key in _FREE or (holder.get("type") in ("function", "custom") and "name" in holder)


def renamed(value: Any, change: Callable[[str], str], is_id: bool = False) -> Any:
    """The same with every id of an account changed. RecursionError where it is nested too deeply."""
    if isinstance(value, str):
        return change(value) if is_id else value
    if isinstance(value, list):
        return [renamed(inner, change, is_id) for inner in value]
    if isinstance(value, dict):
        return {
            key: inner if _is_free(value, key) else renamed(inner, change, key in ID_KEYS)
            for key, inner in value.items()
        }
    return value


def ids_within(field: str, value: Any) -> list[tuple[str, str]]:
    """(field, id) of files, containers, vector stores …, wherever they stand but in citations."""
    found: list[tuple[str, str]] = []
    stack = [(field, value, False)]
    while stack:
        name, inner, is_id = stack.pop()
        if isinstance(inner, str):
            if is_id and inner and not (name.endswith(".skill_id") and not inner.startswith(_OWN_SKILLS)):
                found.append((name, inner))
        elif isinstance(inner, list):
            stack.extend((f"{name}[{at}]", each, is_id) for at, each in reversed(list(enumerate(inner))))
        elif isinstance(inner, dict):
            stack.extend(
                (f"{name}.{key}", each, key in ID_KEYS)
                for key, each in reversed(inner.items())
                if key != "annotations" and not _is_free(inner, key)
            )
    return found
