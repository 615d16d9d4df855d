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


def sample(schema: Any, name: str = "value") -> Any:
    """A value for `schema`; `name` flavours strings. Keywords beyond the common ones are ignored."""
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
        options = [o for o in schema.get(key) or () if isinstance(o, dict) and o.get("type") != "null"]
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
        required = schema.get("required") or ()
        properties = (schema.get("properties") or {}).items()
        return {k: _make(v, root, k, depth + 1) for k, v in properties if k in required or depth < _DEEPEST}
    if kind == "array":
        count = max(int(schema.get("minItems") or 0), 1 if depth < _DEEPEST else 0)
        return [_make(schema.get("items") or {"type": "string"}, root, name, depth + 1)] * count
    if kind in ("integer", "number"):
        return _number(schema, kind == "integer")
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return {} if depth == 0 else _text(schema, name)


def _number(schema: dict[str, Any], whole: bool) -> float:
    low = schema.get("minimum")
    if low is None and schema.get("exclusiveMinimum") is not None:
        low = schema["exclusiveMinimum"] + 1
    if low is None:
        low = min(1, schema.get("maximum", 1))
    return int(low) if whole else low


def _text(schema: dict[str, Any], name: str) -> str:
    text = _FORMATS.get(str(schema.get("format")), name)
    text = text.ljust(int(schema.get("minLength") or 0), "x")
    longest = schema.get("maxLength")
    return text[:longest] if isinstance(longest, int) else text


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
