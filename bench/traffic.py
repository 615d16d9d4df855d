"""What goes over the wire: request bodies and the answers of the constant upstream."""

from __future__ import annotations

import json

MODEL = "bench-pool"
PATH = "/v1/chat/completions"
CHUNKS = 50
# A request that says so gets its stream's events this far apart. The mark is in `user`, a field that
# every proxy passes on as it is; a header would not survive all of them.
SPACING_MS = 2
SPACED_MARK = f"space-{SPACING_MS}ms"
STREAM_END = b"data: [DONE]"
# The first piece of the answer: a role alone, as OpenAI sends it first, is none.
FIRST_WORD = b'"content":"word'

_SENTENCE = 'def area(r):\n    """The area of a circle."""\n    return 3.14159 * r ** 2  # so far so "good"\n'


def request_body(size: int, *, stream: bool = False, spaced: bool = False) -> bytes:
    """A chat of exactly `size` bytes: code and prose, with the escapes that those have in JSON."""
    head: dict[str, object] = {"model": MODEL, "temperature": 0.2, "max_tokens": 400}
    if stream:
        head["stream"] = True
    if spaced:
        head["user"] = SPACED_MARK
    messages = [{"role": "system", "content": "Answer in one sentence."}]
    while len(_encoded(head, messages)) < size - 8192:
        role = "user" if len(messages) % 2 else "assistant"
        messages.append({"role": role, "content": _SENTENCE * 40})
    messages.append({"role": "user", "content": ""})
    missing = size - len(_encoded(head, messages))
    if missing < 0:
        raise ValueError(f"a body of {size} bytes has no room for its fields")
    text = _SENTENCE * (missing // len(_SENTENCE) + 1)
    # Cut where the escaped text has the length; what an escape is cut in two by is filled with dots.
    cut = next(n for n in range(missing, -1, -1) if len(json.dumps(text[:n])) - 2 <= missing)
    dots = "." * (missing - (len(json.dumps(text[:cut])) - 2))
    messages[-1]["content"] = text[:cut] + dots
    return _encoded(head, messages)


def _encoded(head: dict[str, object], messages: list[dict[str, str]]) -> bytes:
    return json.dumps({**head, "messages": messages}, separators=(",", ":")).encode()


def whole_reply() -> bytes:
    """A chat completion of about 1 KB."""
    value = {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 120, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 250,
            "completion_tokens": 120,
            "total_tokens": 370,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "system_fingerprint": None,
    }
    return json.dumps(value, separators=(",", ":")).encode()


def stream_events() -> list[bytes]:
    """The role, CHUNKS words, and the end: each an SSE event of about 200 bytes."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": f"word{n} "} for n in range(CHUNKS))]
    events = [_event(delta, None) for delta in deltas]
    return [*events, _event({}, "stop"), STREAM_END + b"\n\n"]


def message_reply() -> bytes:
    """The same answer as Anthropic gives it, for members that speak anthropic-messages."""
    content = [{"type": "text", "text": "word " * 120}]
    value = {**_MESSAGE, "content": content, "stop_reason": "end_turn", "usage": _MESSAGE_USAGE}
    return json.dumps(value, separators=(",", ":")).encode()


def message_events() -> list[bytes]:
    """As `stream_events`: what says nothing yet, CHUNKS words, and the end."""
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    first = {"type": "message_start", "message": {**_MESSAGE, "content": [], "usage": _MESSAGE_USAGE}}
    deltas = [{"type": "text_delta", "text": f"word{n} "} for n in range(CHUNKS)]
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    last = {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 120}}
    return [
        _named_events(first, start, {"type": "ping"}),
        *(_named_events({"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas),
        _named_events({"type": "content_block_stop", "index": 0}),
        _named_events(last, {"type": "message_stop"}),
    ]


_MESSAGE_USAGE = {
    "input_tokens": 250,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 120,
}
_MESSAGE: dict[str, object] = {
    "id": "msg_bench0000000000000000000000",
    "type": "message",
    "role": "assistant",
    "model": "bench-model",
    "stop_reason": None,
    "stop_sequence": None,
}


def _named_events(*values: dict[str, object]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n"
        % (str(value["type"]).encode(), json.dumps(value, separators=(",", ":")).encode())
        for value in values
    )


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    value = {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "bench-model",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
