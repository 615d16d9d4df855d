"""Samples as JSON Lines: written by `traffic export`, and read by `traffic import`, which takes other tools'
logs, too. Pure.

| form of a line | told by |
|---|---|
| a sample | `request_id` |
| a recorded exchange | `request.body` and `response.body` (and `kind`, a dialect, if there is one) |
| a log as OpenAI's and other tools have it | `request` and `response` (or `reply`), the bodies themselves |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..core.traffic import Sample
from ..dialects import SURFACES, likely_path, surface_for_path

_BODIES = ("request", "reply")
_WHO = ("caller", "agent", "user", "team", "customer", "feature", "tier")
_TEXTS = ("purpose", "shadow_of", "dialect", "path", "model", "pool", "member", "cut", *_WHO)
_KINDS = {"openai-compatible-chat": "openai-chat"}
# What a request of each dialect asks by, what that is, and what may stand in its place.
_ASKS: Mapping[str, tuple[str, Any]] = {
    "openai-chat": ("messages", list),
    "openai-responses": ("input", (str, list)),
    "openai-embeddings": ("input", (str, list)),
    "anthropic-messages": ("messages", list),
}
_STANDS_FOR = {"openai-responses": ("prompt", "previous_response_id", "conversation")}
_TIMES = ("at_s", "timestamp", "created_at", "created", "time")
_MOST_S = 4e9
_MILLI_S = 1e11  # a later time is in milliseconds


def line_of(sample: Sample) -> bytes:
    """Bodies that are JSON stand as such, streams as text."""
    fields = {name: getattr(sample, name) for name in Sample.__slots__ if name not in _BODIES}
    for name in _BODIES:
        fields[name] = _shown(getattr(sample, name))
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _shown(body: bytes | None) -> Any:
    if body is None:
        return None
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (dict, list)) else text


class Taken(NamedTuple):
    """`left_out`: fields of another tool's line that are not what they have to be here. The rest is good."""

    sample: Sample
    left_out: tuple[str, ...] = ()


def taken(line: bytes, now_s: float, dialect: str = "") -> Taken:
    """What a line says. `dialect` is that of requests that do not say their own; "": it is guessed. What says
    no time is of `now_s`; what says no id gets one that is always the same. ValueError says what is wrong."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None
    if not isinstance(row, dict):
        raise ValueError("is no JSON object")
    if isinstance(row.get("request_id"), str) and "response" not in row:
        return Taken(_own(row, now_s))
    if "request" not in row:
        raise ValueError("has no `request`")
    return _others(row, line, now_s, dialect)


def _own(row: Mapping[str, Any], now_s: float) -> Sample:
    for name in (*_TEXTS, "request_id"):
        if not isinstance(row.get(name, ""), str):
            raise ValueError(f"`{name}` is no text")
    status = row.get("status")
    if status is not None and status != 0 and _status(status) is None:
        raise ValueError("`status` is no number of 100 to 599, and not null")
    if not 1 <= len(row["request_id"]) <= 128:
        raise ValueError("`request_id` has to have 1 to 128 characters")
    redacted = row.get("redacted", [])
    if not isinstance(redacted, list) or not all(isinstance(one, str) for one in redacted):
        raise ValueError("`redacted` is no list of names")
    request, reply = (_body(row.get(name)) for name in _BODIES)
    if request is None and reply is None:
        raise ValueError("has neither `request` nor `reply`")
    return Sample(
        row["request_id"],
        _time(row, now_s),
        **{name: row.get(name, "") for name in _TEXTS},
        stream=row.get("stream") is True,
        status=_status(status),
        request=request,
        reply=reply,
        redacted=tuple(redacted),
    )


def _others(row: Mapping[str, Any], line: bytes, now_s: float, dialect: str) -> Taken:
    asked, got = row["request"], row.get("response", row.get("reply"))
    status, path = row.get("status", row.get("status_code")), ""
    if isinstance(asked, dict) and isinstance(asked.get("body"), (dict, str)):
        path = urlsplit(str(asked.get("url", ""))).path
        asked = asked["body"]
        if isinstance(got, dict) and "body" in got:
            status = got.get("status", got.get("status_code"))
            got = got["body"]
    if isinstance(got, dict) and set(got) == {"base64"}:
        raise ValueError("its reply is not in a client's dialect: binary")
    if got is not None and not isinstance(got, (dict, list, str)):
        raise ValueError("`response` is neither JSON nor the text of a stream")
    request = _body(asked)
    if not isinstance(asked, (dict, str)) or request is None:
        raise ValueError("`request` is no JSON object")
    said = asked if isinstance(asked, dict) else _decoded(asked)
    surface = _surface(str(row.get("kind", "")), path, dialect, request, got)
    reply = _body(got)
    at_s = _time(row, _time(got, now_s) if isinstance(got, dict) else now_s)
    _check_asked(said, surface.dialect)
    who: dict[str, Any] = {name: row[name] for name in _WHO if isinstance(row.get(name), str)}
    left_out = [f"`{name}` is no text" for name in _WHO if not isinstance(row.get(name), str | None)]
    if status is not None and _status(status) is None:
        left_out.append("`status` is no number of 100 to 599")
    elif status is None and reply is not None:
        status = 200  # who keeps replies alone keeps those that came
    stream = isinstance(got, str) and not got.lstrip().startswith(("{", "["))
    sample = Sample(
        _id(row, line),
        at_s,
        dialect=surface.dialect,
        path=surface.path,
        model=str(said.get("model", "")),
        stream=stream if got is not None else said.get("stream") is True,
        status=_status(status),
        **who,
        request=request,
        reply=reply,
    )
    return Taken(sample, tuple(left_out))


def _status(value: Any) -> int | None:
    """None: it is none of HTTP's."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:9])
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 100 <= value <= 599 else None


def _check_asked(said: Mapping[str, Any], dialect: str) -> None:
    """ValueError where a request asks nothing, so that nobody could be asked it again."""
    name, kinds = _ASKS[dialect]
    if said.get(name) is None:
        if not any(said.get(other) is not None for other in _STANDS_FOR.get(dialect, ())):
            raise ValueError(f"`request` has no `{name}`, which is what {dialect} asks by")
    elif not isinstance(said[name], kinds):
        right = "a list" if kinds is list else "a text or a list"
        raise ValueError(f"`request.{name}` is not {right}")


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("`request` is no JSON object")
    return value


def _surface(kind: str, path: str, dialect: str, request: bytes, reply: Any) -> Any:
    if kind:
        known = [one for one in SURFACES if one.name == kind or one.dialect == _KINDS.get(kind, kind)]
        if not known:
            raise ValueError(f"its kind {kind!r} is no dialect that clients speak")
        return known[0]
    if dialect:
        return next(one for one in SURFACES if one.dialect == dialect)
    if (surface := surface_for_path(path)) is not None:
        return surface
    if isinstance(reply, dict) and reply.get("type") == "message":
        return surface_for_path("/v1/messages")
    return surface_for_path(likely_path(request))


def _id(row: Mapping[str, Any], line: bytes) -> str:
    given = row.get("id", row.get("request_id"))
    name = given.encode("utf-8", "replace") if isinstance(given, str) and given else line.strip()
    return hashlib.blake2b(name, digest_size=16, person=b"imported").hexdigest()


def _body(value: Any) -> bytes | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _time(row: Mapping[str, Any], otherwise_s: float) -> float:
    for name in _TIMES:
        value = row.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            at_s = value / 1000 if value > _MILLI_S else float(value)
            if 0 < at_s < _MOST_S:
                return at_s
            raise ValueError(f"`{name}` is no time: give unix seconds")
        if isinstance(value, str) and value:
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                raise ValueError(
                    f"`{name}` is no time: give unix seconds, or e.g. 2026-11-29T12:00:00Z"
                ) from None
    return otherwise_s
