"""A conversation of an agent with its tools, as clients of each dialect send it, and the answers to it as
providers of each dialect give them. The answers are the simulator's, which shares no code with the broker."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelbroker.simulator.answers import Answer, ToolUse, Usage
from modelbroker.simulator.requests import Call
from modelbroker.simulator.routes import Route
from modelbroker.simulator.script import Surface
from modelbroker.simulator.seals import Seals
from modelbroker.simulator.speech import speech

CLIENTS = ("openai-chat", "openai-responses", "anthropic-messages")
MODELS: Mapping[Surface, str] = {
    "openai-chat": "gpt-5.4",
    "openai-responses": "gpt-5.4",
    "anthropic-messages": "claude-sonnet-4-5",
    "bedrock-converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gemini": "gemini-3-pro-preview",
}
_PROSE = (
    "The invoice of the 3rd of May was paid twice; the second payment is 1,240.50 € and has no reference.\n"
    'I would look at the bank\'s export first: "Überweisung - doppelt?" is what the customer wrote.\n'
    "東京支店の担当者からも同じ報告がありました。 Nothing else in the ledger is out of balance.\n"
)
_TOOL_NAMES = ("find_payments", "read_ledger", "send_message", "convert_currency", "search_documents", "plan")
_SYSTEM = "You help the accountants of a company with three branches. " * 40


def _schema(name: str) -> dict[str, Any]:
    text = {"type": "string", "description": f"What {name} is to look for, in the customer's own words."}
    period = {
        "type": "object",
        "properties": {"first": {"type": "string"}, "last": {"type": "string"}},
        "required": ["first", "last"],
        "additionalProperties": False,
    }
    kinds = {"type": "array", "items": {"type": "string", "enum": ["in", "out", "fee"]}}
    properties = {"query": text, "period": period, "most": {"type": "integer"}, "kinds": kinds}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_FINDING = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "payments": {"type": "array", "items": {"$ref": "#/$defs/payment"}},
    },
    "required": ["summary", "payments"],
    "additionalProperties": False,
    "$defs": {
        "payment": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "cents": {"type": "integer"}},
            "required": ["id", "cents"],
            "additionalProperties": False,
        }
    },
}


@dataclass(frozen=True, slots=True)
class _Use:
    id: str
    name: str
    arguments: str
    result: str


@dataclass(frozen=True, slots=True)
class _Round:
    """What the user asks, what is said and called, and what is said in the end."""

    question: str
    thought: str
    uses: tuple[_Use, ...]
    answer: str


def _rounds(number: int) -> Iterator[_Round]:
    for n in range(number):
        uses = tuple(_use(f"{n:03d}{m}", _TOOL_NAMES[(n + m) % len(_TOOL_NAMES)]) for m in range(2))
        yield _Round(f"{n}. {_PROSE * 2}", f"I look. {_PROSE}", uses, _PROSE * 6)


def _use(ident: str, name: str) -> _Use:
    arguments = {
        "query": 'doppelte Überweisung "1,240.50 €"',
        "period": {"first": "2026-05-01", "last": "2026-05-31"},
        "most": 20,
        "kinds": ["in", "out"],
    }
    payments = [
        {"id": f"p-{ident}-{n}", "cents": 124050 + n, "note": "Überweisung - 二重払い", "open": False}
        for n in range(12)
    ]
    return _Use(f"call_{ident}", name, json.dumps(arguments, ensure_ascii=False), json.dumps(payments))


def request_of(client: str, size: int, *, image_bytes: int = 0) -> bytes:
    """A client's request of about `size` bytes; with an image of so many bytes of base64 beside it."""
    few, more = (len(_written(client, list(_rounds(number)), "")) for number in (0, 10))
    image = _image(image_bytes) if image_bytes else ""
    return _written(client, list(_rounds(max(1, round((size - few) / (more - few) * 10)))), image)


def short_request_of(client: str, *, stream: bool = False) -> bytes:
    """A client's request of one question."""
    field = "input" if client == "openai-responses" else "messages"
    value: dict[str, Any] = {"model": "pool", field: [{"role": "user", "content": _PROSE}]}
    if client == "anthropic-messages":
        value["max_tokens"] = 4000
    if stream:
        value["stream"] = True
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _image(size: int) -> str:
    return base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()


def _written(client: str, rounds: list[_Round], image: str) -> bytes:
    value = {"model": "pool", **_WRITERS[client](rounds, image)}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _chat(rounds: list[_Round], image: str) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": _SYSTEM}]
    for one in rounds:
        messages.append({"role": "user", "content": one.question})
        calls = [
            {"id": u.id, "type": "function", "function": {"name": u.name, "arguments": u.arguments}}
            for u in one.uses
        ]
        messages.append({"role": "assistant", "content": one.thought, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": u.id, "content": u.result} for u in one.uses]
        messages.append({"role": "assistant", "content": one.answer})
    content: list[dict[str, Any]] = [{"type": "text", "text": "And now?"}]
    if image:
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}})
    messages.append({"role": "user", "content": content})
    functions = [
        {"name": n, "description": f"{n}: {_PROSE}", "parameters": _schema(n), "strict": True}
        for n in _TOOL_NAMES
    ]
    return {
        "messages": messages,
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": "auto",
        "max_completion_tokens": 4000,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "finding", "schema": _FINDING, "strict": True},
        },
    }


def _responses(rounds: list[_Round], image: str) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for one in rounds:
        items.append({"role": "user", "content": [{"type": "input_text", "text": one.question}]})
        items.append(_said(one.thought))
        items += [
            {"type": "function_call", "call_id": u.id, "name": u.name, "arguments": u.arguments}
            for u in one.uses
        ]
        items += [{"type": "function_call_output", "call_id": u.id, "output": u.result} for u in one.uses]
        items.append(_said(one.answer))
    content: list[dict[str, Any]] = [{"type": "input_text", "text": "And now?"}]
    if image:
        content.append({"type": "input_image", "image_url": f"data:image/png;base64,{image}"})
    items.append({"role": "user", "content": content})
    return {
        "instructions": _SYSTEM,
        "input": items,
        "tools": [
            {
                "type": "function",
                "name": n,
                "description": f"{n}: {_PROSE}",
                "parameters": _schema(n),
                "strict": True,
            }
            for n in _TOOL_NAMES
        ],
        "tool_choice": "auto",
        "max_output_tokens": 4000,
        "store": False,
        "text": {"format": {"type": "json_schema", "name": "finding", "schema": _FINDING, "strict": True}},
    }


def _said(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content}


def _messages(rounds: list[_Round], image: str) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for one in rounds:
        messages.append({"role": "user", "content": one.question})
        calls = [
            {"type": "tool_use", "id": u.id, "name": u.name, "input": json.loads(u.arguments)}
            for u in one.uses
        ]
        messages.append({"role": "assistant", "content": [{"type": "text", "text": one.thought}, *calls]})
        results = [
            {"type": "tool_result", "tool_use_id": u.id, "content": [{"type": "text", "text": u.result}]}
            for u in one.uses
        ]
        messages.append({"role": "user", "content": results})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": one.answer}]})
    content: list[dict[str, Any]] = [{"type": "text", "text": "And now?"}]
    if image:
        source = {"type": "base64", "media_type": "image/png", "data": image}
        content.append({"type": "image", "source": source})
    messages.append({"role": "user", "content": content})
    return {
        "system": [{"type": "text", "text": _SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": messages,
        "tools": [
            {"name": n, "description": f"{n}: {_PROSE}", "input_schema": _schema(n)} for n in _TOOL_NAMES
        ],
        "tool_choice": {"type": "auto"},
        "max_tokens": 4000,
        "output_config": {"format": {"type": "json_schema", "schema": _FINDING}},
    }


_WRITERS = {"openai-chat": _chat, "openai-responses": _responses, "anthropic-messages": _messages}

_WORDS = [f"{word} " for word in (_PROSE * 4).split()]


def _answer(provider: Surface, words: int, calls: int, reasoning: str) -> Answer:
    """Calls of tools come interleaved, where the dialect can say that."""
    pieces = [_WORDS[n % len(_WORDS)] for n in range(words)]
    return Answer(
        id="0123456789abcdef01234567",
        created=1_700_000_000,
        model=MODELS[provider],
        text="".join(pieces),
        pieces=pieces,
        reasoning=reasoning,
        tools=[
            ToolUse(f"{n}" * 24, _TOOL_NAMES[n], _use(f"{n}", _TOOL_NAMES[n]).arguments) for n in range(calls)
        ],
        finish="tool_calls" if calls else "stop",
        usage=Usage(25_000, 400, 2_000, 0, 100 if reasoning else 0),
        seals=Seals("bench"),
        interleave=True,
    )


def _call(provider: Surface, stream: bool) -> Call:
    data = {"include": ["reasoning.encrypted_content"]}
    route = Route(provider, model=MODELS[provider], stream=stream)
    return Call("POST", "/", "alt=sse", {}, b"", route, data)


def events_of(provider: Surface, words: int, calls: int = 0, reasoning: str = "") -> tuple[str, list[bytes]]:
    """(content type, the events of a stream as they come from a provider)."""
    call = _call(provider, True)
    said = speech(call)
    return said.stream_type, said.events(_answer(provider, words, calls, reasoning), call)


def reply_of(provider: Surface, words: int, calls: int = 0, reasoning: str = "") -> bytes:
    """A provider's whole reply."""
    call = _call(provider, False)
    value = speech(call).whole(_answer(provider, words, calls, reasoning), call)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


THOUGHT = _PROSE * 4
