"""JSON bodies that went wrong: valid requests as trees, changed in places, written without mercy."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass
from typing import Any

POOL = "fuzzed"
_TEXT = [{"role": "user", "content": "What is it? Größe, 漢字, \U0001f600."}]
_TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="

# Path → valid bodies.
VALID: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"model": POOL, "messages": _TEXT},
        {"model": POOL, "messages": _TEXT, "stream": True, "stream_options": {"include_usage": True}},
        {
            "model": POOL,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "and this?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}},
                    ],
                },
            ],
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": _TOOL}}],
            "max_completion_tokens": 100,
            "temperature": 0.5,
            "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": _TOOL}},
        },
    ],
    "/v1/messages": [
        {"model": POOL, "max_tokens": 100, "messages": _TEXT},
        {"model": POOL, "max_tokens": 100, "messages": _TEXT, "stream": True},
        {
            "model": POOL,
            "max_tokens": 2000,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": _PIXEL},
                        },
                        {"type": "text", "text": "and this?"},
                    ],
                }
            ],
            "tools": [{"name": "weather", "input_schema": _TOOL}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
    ],
    "/v1/messages/count_tokens": [{"model": POOL, "messages": _TEXT}],
    "/v1/responses": [
        {"model": POOL, "input": "What is it?"},
        {"model": POOL, "input": _TEXT, "stream": True},
        {
            "model": POOL,
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "and this?"}]}],
            "tools": [{"type": "function", "name": "weather", "parameters": _TOOL}],
            "text": {"format": {"type": "json_schema", "name": "x", "schema": _TOOL}},
            "reasoning": {"effort": "low"},
            "max_output_tokens": 100,
        },
    ],
    "/v1/embeddings": [{"model": POOL, "input": ["one", "two"]}],
}


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that stand in the text as they are."""

    data: bytes


@dataclass(slots=True)
class Pairs:
    """An object whose keys may stand twice. Keys are Raw or text."""

    items: list[tuple[Any, Any]]


_NUMBERS = (
    b"0",
    b"-0",
    b"1e999",
    b"-1E+400",
    b"1" * 400,
    b"0." + b"3" * 400,
    b"01",
    b"1.",
    b".5",
    b"0x10",
    b"+1",
)
_NAMES = (b"NaN", b"Infinity", b"-Infinity", b"undefined", b"None", b"True", b"nul", b"", b"'single'")
_STRINGS = (
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\x00"',
    b'"\xff\xfe"',
    b'"\xc0\xaf"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\\x41"',
    b'"\\u12"',
    b'"\\"',
    b'"line\nend"',
    b'"\xe2\x80\xa8"',
    b'"' + b"\\u0041" * 500 + b'"',
    b'"{\\"model\\":\\"other\\"}"',
    b'"' + b"\\\\" * 999 + b'"',
    b'"unclosed',
    b'""',
)
_KEYS = (
    b'"model"',
    b'"mod\\u0065l"',
    b'"\\u006dodel"',
    b'"stream"',
    b'"MODEL"',
    b'""',
    b'"\\ud800"',
    b'"__proto__"',
)
_PLAIN = (
    None,
    True,
    False,
    {},
    [],
    0,
    -1,
    2**63,
    2**64,
    1.5,
    "",
    "fuzzed",
    "\x7f",
    "a" * 300,
    [[[]]],
    {"a": {"b": 1}},
)


def _deep(r: random.Random) -> Raw:
    depth = r.choice((10, 200, 1_100, 20_000))
    opened, closed = r.choice(
        ((b"[", b"]"), (b'{"model":', b"}"), (b'[{"type":', b"}]"), (b"[", b""), (b"{", b"}"))
    )
    return Raw(opened * depth + b"1" + closed * depth)


def _odd_value(r: random.Random) -> Any:
    kind = r.randrange(12)
    if kind < 3:
        return Raw(r.choice(_STRINGS))
    if kind == 3:
        return Raw(r.choice(_NUMBERS))
    if kind == 4:
        return Raw(r.choice(_NAMES))
    if kind == 5:
        return _deep(r)
    if kind == 6 and r.random() < 0.3:
        return "long " * r.choice((2_000, 14_000, 60_000))
    if kind == 7:
        return Raw(b'"' + r.randbytes(r.randrange(40)) + b'"')
    return tree_of(r.choice(_PLAIN))  # a tree of its own: it may be changed later


def tree_of(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs([(key, tree_of(inner)) for key, inner in value.items()])
    return [tree_of(inner) for inner in value] if isinstance(value, list) else value


def write(tree: Any) -> bytes:
    if isinstance(tree, Raw):
        return tree.data
    if isinstance(tree, Pairs):
        return b"{" + b", ".join(write(key) + b": " + write(value) for key, value in tree.items) + b"}"
    if isinstance(tree, list):
        return b"[" + b",".join(write(inner) for inner in tree) + b"]"
    return json.dumps(tree, ensure_ascii=isinstance(tree, str) and len(tree) % 2 == 0).encode(
        "utf-8", "surrogatepass"
    )


def _places(tree: Any) -> list[Pairs | list[Any]]:
    inner = (
        [value for _, value in tree.items]
        if isinstance(tree, Pairs)
        else tree
        if isinstance(tree, list)
        else []
    )
    found = [tree] if inner or isinstance(tree, (Pairs, list)) else []
    return found + [place for value in inner for place in _places(value)]


def change(tree: Any, r: random.Random) -> None:
    """One change somewhere in the tree; the top is as likely as all the rest."""
    places = _places(tree)
    if not places:
        return
    place = places[0] if r.random() < 0.5 else r.choice(places)
    items = place.items if isinstance(place, Pairs) else place
    if not items:
        return
    at = r.randrange(len(items))
    kind = r.randrange(8)
    if kind == 0:
        del items[at]
    elif kind == 1:
        items.insert(r.randrange(len(items) + 1), copy.deepcopy(items[at]))
    elif isinstance(place, list):
        place[at] = _odd_value(r)
    elif kind == 2:
        place.items[at] = (Raw(r.choice(_KEYS)), place.items[at][1])
    elif kind == 3:
        place.items.insert(r.randrange(len(items) + 1), (Raw(r.choice(_KEYS)), _odd_value(r)))
    elif kind == 4:
        r.shuffle(place.items)
    else:
        place.items[at] = (place.items[at][0], _odd_value(r))


def _whole(body: bytes, r: random.Random) -> bytes:
    """Something that concerns the text as a whole."""
    match r.randrange(14):
        case 0:
            return b"\xef\xbb\xbf" + body
        case 1:
            return body[: r.randrange(len(body) + 1)]
        case 2:
            return body + r.choice((b"x", b"\x00", b"{}", b",", b"]", b"\n\n// no", body))
        case 3:
            return body.decode("utf-8", "replace").encode(
                r.choice(("utf-16", "utf-16-le", "utf-32", "latin-1")), "replace"
            )
        case 4:
            return r.choice(
                (b"", b" ", b"null", b"[]", b"1", b'"text"', b"{", b"}", b"\xff", b"---\na: 1", b"<x/>")
            )
        case 5:
            return _deep(r).data
        case 6:
            return body.replace(b'"', b"'")
        case 7:
            return b" " * r.randrange(5_000) + body
        case 8:
            return r.randbytes(r.randrange(200))
        case 9:
            return body.replace(
                b"fuzzed", r.choice((b"", b"fuzz", b"*", b"../x", b"\\u0066uzzed", b"a" * 5_000))
            )
    return body


def fuzzed_body(r: random.Random, path: str) -> bytes:
    """A body for `path` (or, at times, for another)."""
    valid = VALID.get(path) if r.random() < 0.95 else None
    tree = tree_of(r.choice(valid or VALID[r.choice(list(VALID))]))
    for _ in range(r.choice((0, 1, 1, 1, 2, 3, 6))):
        change(tree, r)
    body = write(tree)
    return _whole(body, r) if r.random() < 0.35 else body
