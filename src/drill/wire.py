"""What clients send in each dialect, and what they make of what comes back. Pure, and of its own: what the
broker thinks of a reply is not asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .faults import TEXT
from .scenarios import Ask

_MARK = re.compile(r"drill call (\d+)\.")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_MESSAGES = "anthropic-messages"
_RESPONSES = "openai-responses"
_CHAT = "openai-chat"


def request_of(ask: Ask, pool: str, number: int, key: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body as the dialect's own SDK has them. The number is in the question, so that every
    attempt can be told by it, and in a header from which the record gets it as `feature`."""
    question = f"This is drill call {number}."
    body: dict[str, Any] = {"model": pool}
    if ask.surface in (_RESPONSES, "openai-embeddings"):
        body["input"] = question
    else:
        body["messages"] = [{"role": "user", "content": question}]
    if ask.surface == _MESSAGES:
        body["max_tokens"] = 1000
    if ask.stream:
        body["stream"] = True
    headers = [
        ("content-type", "application/json"),
        ("accept", "text/event-stream" if ask.stream else "application/json"),
        ("user-agent", "modelbroker-drill"),
        ("x-broker-feature", f"call-{number}"),
    ]
    if ask.surface == _MESSAGES:
        headers += [("x-api-key", key), ("anthropic-version", "2023-06-01")]
    else:
        headers.append(("authorization", f"Bearer {key}"))
    return headers, json.dumps(body).encode()


def number_in(body: str) -> int | None:
    """The number of the call that a provider got in any dialect."""
    found = _MARK.search(body)
    return int(found[1]) if found else None


def number_of_feature(feature: str) -> int | None:
    name, _, number = feature.partition("-")
    return int(number) if name == "call" and number.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Received:
    """A reply as it came. `broken`: how the transfer failed, "" where it ended as HTTP wants it."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the client makes of it. `end`: `good`, `error` (an HTTP status), `error-event` (in a stream),
    `broken` (the transfer), `truncated` (a clean end, and not all is there). `flaw`: what is wrong with how
    it is said, "" for nothing. `lacks_code`: a provider's words came in the client's dialect, where they
    have no code: then the record has to have one."""

    end: str
    code: str = ""
    flaw: str = ""
    lacks_code: bool = False


def read_reply(ask: Ask, got: Received) -> Seen:
    if got.status == 0:
        return Seen("broken", flaw="" if got.broken else "no status came")
    if got.status != 200:
        if got.broken:
            return Seen("broken")
        return _error(ask, got)
    return _stream(ask, got) if ask.stream else _whole(ask, got)


def _error(ask: Ask, got: Received) -> Seen:
    if got.status < 400:
        return Seen("error", flaw=f"the status {got.status} is no error's")
    tree = _json(got.body)
    code, flaw = _judged(ask.surface, tree)
    return Seen("error", code, flaw, not (code or flaw) and "x-mock-provider" not in got.headers)


def _judged(surface: str, tree: Any) -> tuple[str, str]:
    """(code, flaw) of an error in the dialect's shape."""
    if not isinstance(tree, dict):
        return "", "the error is no JSON object"
    error = tree.get("error")
    if not isinstance(error, dict):
        return "", "the error has no object `error`"
    if surface == _MESSAGES and tree.get("type") != "error":
        return "", "the error's type is not `error`"
    for name in ("type", "message"):
        if not isinstance(error.get(name), str) or not error[name]:
            return "", f"the error has no `{name}`"
    code = error.get("code")
    if code is None:
        return "", ""
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return "", f"the error's code is {code!r}"
    return code, ""


def _whole(ask: Ask, got: Received) -> Seen:
    if got.broken:
        return Seen("broken")
    tree = _json(got.body)
    if ask.surface == "openai-embeddings":
        is_good = isinstance(tree, dict) and bool(tree.get("data"))
        return Seen("good") if is_good else Seen("truncated", flaw="a 200 without vectors")
    try:
        text = _WHOLE_TEXT[ask.surface](tree)
    except (KeyError, IndexError, TypeError, AttributeError):
        return Seen("truncated", flaw="a 200 that is no answer of the dialect")
    return Seen("good") if text == TEXT else Seen("truncated", flaw=f"a 200 with the text {text[:60]!r}")


def _stream(ask: Ask, got: Received) -> Seen:
    events = [_json(data) for data in _datas(got.body)]
    failed = next((event for event in events if _is_error(ask.surface, event)), None)
    if failed is not None:
        if ask.surface == _RESPONSES:
            # An `error` event has its words in itself or, as the API really sends it, in an object.
            holder = failed.get("response", {}) if failed["type"] == "response.failed" else failed
            error = holder.get("error") or failed
            has_words = isinstance(error.get("message"), str)
            return Seen(
                "error-event", str(error.get("code") or ""), "" if has_words else "the event has no `message`"
            )
        code, flaw = _judged(ask.surface, failed)
        return Seen("error-event", code, flaw)
    if got.broken:
        return Seen("broken")
    if not _HAS_END[ask.surface](events, got.body):
        return Seen("truncated")
    text = "".join(_DELTA_TEXT[ask.surface](event) for event in events if isinstance(event, dict))
    if text != TEXT:
        return Seen("truncated", flaw=f"it looks complete, and its text is {text[-60:]!r}")
    return Seen("good")


def _datas(body: bytes) -> list[bytes]:
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def _is_error(surface: str, event: Any) -> bool:
    if not isinstance(event, dict):
        return False
    if surface == _CHAT:
        return "error" in event
    return event.get("type") in ("error", "response.failed")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


_WHOLE_TEXT: Mapping[str, Callable[[Any], str]] = {
    _CHAT: lambda reply: reply["choices"][0]["message"]["content"],
    _RESPONSES: lambda reply: "".join(
        part.get("text", "")
        for item in reply["output"]
        if item.get("type") == "message"
        for part in item["content"]
    ),
    # Some models think before they speak, or sign.
    _MESSAGES: lambda reply: "".join(part.get("text", "") for part in reply["content"]),
}
_DELTA_TEXT: Mapping[str, Callable[[dict[str, Any]], str]] = {
    _CHAT: lambda event: "".join(
        choice.get("delta", {}).get("content") or "" for choice in event.get("choices", ())
    ),
    _RESPONSES: lambda event: (
        event.get("delta", "") if event.get("type") == "response.output_text.delta" else ""
    ),
    _MESSAGES: lambda event: (
        event.get("delta", {}).get("text", "") if event.get("type") == "content_block_delta" else ""
    ),
}
_HAS_END: Mapping[str, Callable[[list[Any], bytes], bool]] = {
    _CHAT: lambda events, body: body.rstrip().endswith(b"data: [DONE]"),
    _RESPONSES: lambda events, body: _last_type(events) in ("response.completed", "response.incomplete"),
    _MESSAGES: lambda events, body: _last_type(events) == "message_stop",
}


def _last_type(events: list[Any]) -> str:
    last = events[-1] if events else None
    return str(last.get("type")) if isinstance(last, dict) else ""
