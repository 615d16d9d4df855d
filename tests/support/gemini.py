"""Gemini's wire against google-genai's own types, and whole replies told as streams.

Nothing of the product is used here.
"""

from __future__ import annotations

import base64
import copy
import json
from types import SimpleNamespace
from typing import Any

from google.genai import models, types

_BYTES = ("data", "thoughtSignature")
_IN_CONFIG = ("systemInstruction", "tools", "toolConfig", "labels", "serviceTier")


def normal(value: Any) -> Any:
    """The same JSON with its base64 in one alphabet: bytes may be written in either."""
    if isinstance(value, dict):
        return {
            key: base64.b64decode(inner, b"-_" if set(inner) & set("-_") else None).hex()
            if key in _BYTES and isinstance(inner, str)
            else normal(inner)
            for key, inner in value.items()
        }
    return [normal(inner) for inner in value] if isinstance(value, list) else value


def check_request(body: dict[str, Any], *, vertex: bool) -> types.GenerateContentConfig:
    """Every field is known to the SDK, at its place, for this API; and none is lost on the way through it."""
    contents = [types.Content.model_validate(content) for content in body["contents"]]
    fields = {**body.get("generationConfig", {}), **{key: body[key] for key in _IN_CONFIG if key in body}}
    config = types.GenerateContentConfig.model_validate(fields)
    assert normal(dumped(config)) == normal(fields)
    assert normal([dumped(content) for content in contents]) == normal(body["contents"])
    parameters = types._GenerateContentParameters(model="m", contents=contents, config=config)
    convert = (
        models._GenerateContentParameters_to_vertex if vertex else models._GenerateContentParameters_to_mldev
    )
    sent = convert(SimpleNamespace(vertexai=vertex), parameters)
    sent.pop("_url")
    if not sent["generationConfig"]:
        del sent["generationConfig"]
    assert sent.keys() == body.keys()
    assert sent.get("generationConfig", {}).keys() == body.get("generationConfig", {}).keys()
    for content in contents:
        assert content.parts
    return config


def dumped(model: Any) -> dict[str, Any]:
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))


def sdk_reply(body: dict[str, Any]) -> types.GenerateContentResponse:
    """A reply, or a chunk of one, as the SDK gives it to its users."""
    return types.GenerateContentResponse._from_response(
        response=models._GenerateContentResponse_from_mldev(copy.deepcopy(body)), kwargs={}
    )


def as_stream(reply: dict[str, Any], *, pieces: int) -> list[dict[str, Any]]:
    """A whole reply as Gemini streams it: a chunk for each part, texts in `pieces`, signatures of texts in an
    empty text at their end, every chunk with the usage so far, the reason of the end in the last one."""
    outer = {key: value for key, value in reply.items() if key not in ("candidates", "usageMetadata")}
    chunks: list[dict[str, Any]] = []
    for place, candidate in enumerate(reply.get("candidates", [])):
        index = {"index": candidate.get("index", place)} if len(reply["candidates"]) > 1 else {}
        for part in (candidate.get("content") or {}).get("parts") or []:
            for piece in _pieces(part, pieces):
                content = {"parts": [piece], "role": "model"}
                chunks.append({**outer, "candidates": [{"content": content, **index}]})
        last = {key: value for key, value in candidate.items() if key not in ("content", "index")}
        content = {"parts": [{"text": ""}], "role": "model"}
        chunks.append({**outer, "candidates": [{"content": content, **last, **index}]})
    chunks = chunks or [outer]
    if (usage := reply.get("usageMetadata")) is not None:
        begun = {key: value for key, value in usage.items() if key.startswith(("prompt", "serviceTier"))}
        for chunk in chunks[:-1]:
            chunk["usageMetadata"] = begun
        chunks[-1]["usageMetadata"] = usage
    return chunks


def _pieces(part: dict[str, Any], pieces: int) -> list[dict[str, Any]]:
    text = part.get("text")
    if not text:
        return [part]
    rest = {key: value for key, value in part.items() if key not in ("text", "thoughtSignature")}
    size = -(-len(text) // pieces)
    found = [{**rest, "text": text[at : at + size]} for at in range(0, len(text), size)]
    if "thoughtSignature" in part:
        found.append({**rest, "text": "", "thoughtSignature": part["thoughtSignature"]})
    return found


def sse(chunks: list[dict[str, Any]], end: str = "\r\n\r\n") -> bytes:
    return "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}{end}" for chunk in chunks).encode()
