"""A value that fits a JSON schema: arguments for a tool call nobody scripted; the same at every call."""

from typing import Any

_FORMATS = {
    "date": "2025-01-15",
    "date-time": "2025-01-15T10:00:00Z",
    "time": "10:00:00Z",
    "email": "user@example.com",
    "uri": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
_DEEPEST = 12  # schemas may refer to themselves: below this only what is required is made
_MOST_ITEMS = 100
_LONGEST = 10_000


def sample(schema: Any, name: str = "value") -> Any:
    """A value for `schema`; `name` flavours strings. Keywords beyond the common ones are ignored, and so
    are those whose value is not of the right kind."""
    return _make(schema, schema, name, 0)


def _make(schema: Any, root: Any, name: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 2 * _DEEPEST:
        return {} if depth == 0 else name
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if isinstance(schema.get("$ref"), str):
        return _make(_resolve(schema["$ref"], root), root, name, depth + 1)
    for key in ("anyOf", "oneOf"):
        options = [o for o in _list(schema.get(key)) if isinstance(o, dict) and o.get("type") != "null"]
        if options:
            # Deep down the last option is more often the one that ends a recursion.
            return _make(options[0 if depth < _DEEPEST else -1], root, name, depth + 1)
    if isinstance(schema.get("allOf"), list):
        return _all_of(schema, root, name, depth)
    return _typed(schema, root, name, depth)


def _typed(schema: dict[str, Any], root: Any, name: str, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        required = _list(schema.get("required"))
        properties = schema.get("properties")
        return {
            k: _make(v, root, k, depth + 1)
            for k, v in (properties.items() if isinstance(properties, dict) else ())
            if k in required or depth < _DEEPEST
        }
    if kind == "array":
        count = max(_bounded(schema.get("minItems"), _MOST_ITEMS), 1 if depth < _DEEPEST else 0)
        return [_make(schema.get("items") or {"type": "string"}, root, name, depth + 1)] * count
    if kind in ("integer", "number"):
        return _number(schema, kind == "integer")
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return {} if depth == 0 else _text(schema, name)


def _number(schema: dict[str, Any], whole: bool) -> float:
    low = _number_or_none(schema.get("minimum"))
    above = _number_or_none(schema.get("exclusiveMinimum"))
    if low is None and above is not None:
        low = above + 1
    if low is None:
        high = _number_or_none(schema.get("maximum"))
        low = 1 if high is None else min(1, high)
    return int(low) if whole else low


def _number_or_none(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) < 1e15 else None


def _bounded(value: Any, most: int) -> int:
    """A length that a schema asks for; 0 where it asks for none."""
    number = _number_or_none(value)
    return 0 if number is None else max(0, min(int(number), most))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(schema: dict[str, Any], name: str) -> str:
    text = _FORMATS.get(str(schema.get("format")), name)
    text = text.ljust(_bounded(schema.get("minLength"), _LONGEST), "x")
    longest = _number_or_none(schema.get("maxLength"))
    return text if longest is None else text[: max(0, int(longest))]


def _all_of(schema: dict[str, Any], root: Any, name: str, depth: int) -> Any:
    merged: dict[str, Any] = {}
    for part in [*schema["allOf"], {k: v for k, v in schema.items() if k != "allOf"}]:
        made = _make(part, root, name, depth + 1) if part else None
        if not isinstance(made, dict):
            return made if made is not None else merged
        merged.update(made)
    return merged


def _resolve(ref: str, root: Any) -> Any:
    node = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        if part:
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node
