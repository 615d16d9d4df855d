"""Bedrock Runtime as botocore's service model has it: are requests right, and what would boto3 send?"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import OperationModel, Shape
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from .event_stream import event

_SERVICE = botocore.session.get_session().get_service_model("bedrock-runtime")
_SERIALIZER = create_serializer(_SERVICE.metadata["protocol"], include_validation=False)


def operation(name: str) -> OperationModel:
    return _SERVICE.operation_model(name)


def checked(name: str, model: str, body: bytes) -> Any:
    """The request's parameters as boto3 takes them, with blobs as bytes; AssertionError for every unknown
    or missing field, every value outside of an enumeration, a pattern or the bounds."""
    shape = operation(name).input_shape
    params = {"modelId": model, **_params(json.loads(body), shape)}
    report = ParamValidator().validate(params, shape)
    assert not report.has_errors(), report.generate_report()
    problems = list(_problems(params, shape, "$"))
    assert not problems, problems
    return params


def serialized(name: str, params: Any) -> tuple[str, Any]:
    """(path, JSON body) of what boto3 sends for the parameters."""
    request = _SERIALIZER.serialize_to_request(params, operation(name))
    return request["url_path"], json.loads(request["body"])


def _params(value: Any, shape: Shape) -> Any:
    if getattr(shape, "is_document_type", False):
        return value
    match shape.type_name:
        case "structure":
            return {
                name: _params(inner, shape.members[name]) if name in shape.members else inner
                for name, inner in value.items()
            }
        case "list":
            return [_params(inner, shape.member) for inner in value]
        case "map":
            return {name: _params(inner, shape.value) for name, inner in value.items()}
        case "blob":
            return base64.b64decode(value, validate=True)
    return value


def _problems(value: Any, shape: Shape, place: str) -> Iterator[str]:
    """What botocore leaves to the service."""
    if getattr(shape, "is_document_type", False):
        return
    rules = shape.metadata
    match shape.type_name:
        case "structure":
            for name, inner in value.items():
                yield from _problems(inner, shape.members[name], f"{place}.{name}")
        case "list":
            for index, inner in enumerate(value):
                yield from _problems(inner, shape.member, f"{place}[{index}]")
        case "map":
            for name, inner in value.items():
                yield from _problems(name, shape.key, f"{place}[{name!r}]")
                yield from _problems(inner, shape.value, f"{place}[{name!r}]")
        case "string" if "enum" in rules and value not in rules["enum"]:
            yield f"{place}: {value!r} is none of {rules['enum']}"
    size = len(value) if isinstance(value, str | bytes | list | dict) else value
    if "max" in rules and size > rules["max"]:
        yield f"{place}: {size} is over {rules['max']}"
    pattern = rules.get("pattern") if shape.name != "ConversationalModelId" else None
    if pattern and not re.fullmatch(pattern, value):
        yield f"{place}: {value!r} does not fit {pattern}"


def stream_of(reply: Any, *, piece: int = 7) -> bytes:
    """The stream in which Bedrock would have told a whole reply: texts in pieces, no beginning but for tool
    calls, metadata last."""
    events = [event("messageStart", {"role": "assistant", "p": "abc"})]
    for index, block in enumerate(reply["output"]["message"]["content"]):
        if "toolUse" in block:
            head = {name: value for name, value in block["toolUse"].items() if name != "input"}
            events.append(_start(index, {"toolUse": head}))
            text = json.dumps(block["toolUse"]["input"]) if block["toolUse"]["input"] else ""
            events += [_delta(index, {"toolUse": {"input": part}}) for part in _pieces(text, piece)]
        elif "reasoningContent" in block:
            events += [_delta(index, {"reasoningContent": part}) for part in _thoughts(block, piece)]
        elif "citationsContent" in block:
            cited = block["citationsContent"]
            text = "".join(part.get("text", "") for part in cited.get("content", ()))
            events += [_delta(index, {"text": part}) for part in _pieces(text, piece)]
            events += [_delta(index, {"citation": citation}) for citation in cited.get("citations", ())]
        else:
            events += [_delta(index, {"text": part}) for part in _pieces(block["text"], piece)]
        events.append(event("contentBlockStop", {"contentBlockIndex": index}))
    stop = {"stopReason": reply["stopReason"]}
    if "additionalModelResponseFields" in reply:
        stop["additionalModelResponseFields"] = reply["additionalModelResponseFields"]
    events.append(event("messageStop", stop))
    last = {name: reply[name] for name in ("usage", "metrics", "serviceTier", "trace") if name in reply}
    events.append(event("metadata", last))
    return b"".join(events)


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _thoughts(block: Any, size: int) -> list[Any]:
    reasoning = block["reasoningContent"]
    if "redactedContent" in reasoning:
        raw = base64.b64decode(reasoning["redactedContent"])
        halves = [raw[: len(raw) // 2], raw[len(raw) // 2 :]]
        return [{"redactedContent": base64.b64encode(half).decode()} for half in halves]
    said = reasoning["reasoningText"]
    parts: list[Any] = [{"text": part} for part in _pieces(said["text"], size)]
    if "signature" in said:
        parts += [{"signature": part} for part in _pieces(said["signature"], 100)]
    return parts


def _start(index: int, start: Any) -> bytes:
    return event("contentBlockStart", {"contentBlockIndex": index, "start": start})


def _delta(index: int, delta: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abcdef"})
