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


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    value = {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "bench-model",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
