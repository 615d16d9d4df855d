"""OpenAI responses, whole and streamed.

https://platform.openai.com/docs/api-reference/responses/object
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from typing import Any

from . import hosted, requests, sse
from .answers import Answer, Token, ToolUse, braid, tokens_of
from .memory import conversation_of
from .requests import Call

# What a response repeats of its request, and the value where the request does not say.
_ECHOED: dict[str, Any] = {
    "background": False,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _usage(answer: Answer) -> dict[str, Any]:
    used = answer.usage
    return {
        "input_tokens": used.prompt,
        "input_tokens_details": {"cached_tokens": used.cache_read, "cache_write_tokens": used.cache_write},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.prompt + used.output,
    }


def opening(answer: Answer, call: Call) -> dict[str, Any]:
    """The response object before any output: status in_progress."""
    echoed = {
        name: default if (value := call.fields.get(name)) is None else value
        for name, default in _ECHOED.items()
    }
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": answer.model,
        "output": [],
        "service_tier": "default",
        "usage": None,
        **echoed,
        **({"conversation": {"id": ident}} if (ident := conversation_of(call)) else {}),
    }


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """The finished response object: status completed, or incomplete when it was cut by a limit."""
    cause = _INCOMPLETE.get(answer.finish)
    return {
        **opening(answer, call),
        "status": "incomplete" if cause else "completed",
        "completed_at": None if cause else answer.created,
        "incomplete_details": {"reason": cause} if cause else None,
        "output": _output(answer, call),
        "usage": _usage(answer),
    }


def _wants_encrypted(call: Call) -> bool:
    include = call.fields.get("include")
    return isinstance(include, list) and "reasoning.encrypted_content" in include


def _output(answer: Answer, call: Call) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if answer.reasoning:
        shown = answer.shown_reasoning
        summary = [{"type": "summary_text", "text": shown}] if shown else []
        item = {"id": f"rs_{answer.id}", "type": "reasoning", "summary": summary}
        if _wants_encrypted(call):
            item["encrypted_content"] = answer.seals.seal("encrypted", answer.reasoning)
        out.append(item)
    if (interpreted := hosted.interpreter_call(answer, call)) is not None:
        out.append(interpreted)
    if answer.text or answer.refusal or not answer.tools:
        status = "incomplete" if answer.finish in _INCOMPLETE else "completed"
        out.append(_message(answer, call, status))
    out += [_call(tool, tool.arguments, "completed") for tool in answer.tools]
    return out


def _parts(answer: Answer, call: Call) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.text or not answer.refusal:
        part = {"annotations": _annotations(answer, call), "logprobs": _logprobs(answer.pieces, call)}
        parts.append({"type": "output_text", **part, "text": answer.text})
    if answer.refusal:
        parts.append({"type": "refusal", "refusal": answer.refusal})
    return parts


def _annotations(answer: Answer, call: Call) -> list[dict[str, Any]]:
    out = []
    for cited in answer.citations:
        end = len(answer.text) if cited.end is None else cited.end
        place = {"start_index": cited.start or 0, "end_index": end}
        out.append({"type": "url_citation", "url": cited.url, "title": cited.title, **place})
    return out + hosted.interpreter_citations(answer, call)


def _logprobs(pieces: list[str], call: Call) -> list[dict[str, Any]]:
    top = requests.wanted_logprobs(call)
    return [] if top is None else [_token(token) for token in tokens_of(pieces, top)]


def _token(token: Token) -> dict[str, Any]:
    top = [_likely(text, logprob) for text, logprob in token.top]
    return {**_likely(token.text, token.logprob), "top_logprobs": top}


def _likely(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}


def _message(answer: Answer, call: Call, status: str) -> dict[str, Any]:
    content = [] if status == "in_progress" else _parts(answer, call)
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "status": status,
        "content": content,
        "role": "assistant",
    }


def _call(tool: ToolUse, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": f"fc_{tool.id}",
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": f"call_{tool.id}",
        "name": tool.name,
    }


class _Stream:
    """Events in the making; every one carries the next sequence_number, from 0."""

    def __init__(self) -> None:
        self.out: list[bytes] = []

    def add(self, kind: str, **fields: Any) -> None:
        self.out.append(sse.event({"type": kind, **fields, "sequence_number": len(self.out)}, kind))


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream, response.created to response.completed (or response.incomplete)."""
    stream = _Stream()
    start = opening(answer, call)
    stream.add("response.created", response=start)
    stream.add("response.in_progress", response=start)
    done = whole(answer, call)
    for index, item in enumerate(done["output"]):
        if item["type"] == "reasoning":
            _reasoning_events(stream, answer, index, item)
        elif item["type"] == "code_interpreter_call":
            _interpreter_events(stream, index, item)
        elif item["type"] == "message":
            _message_events(stream, answer, call, index, item)
    first = len(done["output"]) - len(answer.tools)
    strands = [_call_events(tool, i, done["output"][i]) for i, tool in enumerate(answer.tools, first)]
    for kind, fields in braid(strands, answer.interleave):
        stream.add(kind, **fields)
    stream.add(f"response.{done['status']}", response=done)
    return stream.out


def _reasoning_events(stream: _Stream, answer: Answer, index: int, item: dict[str, Any]) -> None:
    at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    # What is encrypted of it is known only at its end.
    added = {"id": item["id"], "type": "reasoning", "summary": []}
    stream.add("response.output_item.added", output_index=index, item=added)
    if item["summary"]:
        _summary_events(stream, answer, at, item)
    stream.add("response.output_item.done", output_index=index, item=item)


def _interpreter_events(stream: _Stream, index: int, item: dict[str, Any]) -> None:
    at = {"item_id": item["id"], "output_index": index}
    added = {**item, "status": "in_progress", "code": "", "outputs": None}
    kind = "response.code_interpreter_call"
    stream.add("response.output_item.added", output_index=index, item=added)
    stream.add(f"{kind}.in_progress", **at)
    stream.add(f"{kind}_code.delta", **at, delta=item["code"])
    stream.add(f"{kind}_code.done", **at, code=item["code"])
    stream.add(f"{kind}.interpreting", **at)
    stream.add(f"{kind}.completed", **at)
    stream.add("response.output_item.done", output_index=index, item=item)


def _summary_events(stream: _Stream, answer: Answer, at: dict[str, Any], item: dict[str, Any]) -> None:
    empty = {"type": "summary_text", "text": ""}
    stream.add("response.reasoning_summary_part.added", **at, part=empty)
    stream.add("response.reasoning_summary_text.delta", **at, delta=answer.reasoning)
    stream.add("response.reasoning_summary_text.done", **at, text=answer.reasoning)
    stream.add("response.reasoning_summary_part.done", **at, part=item["summary"][0])


def _message_events(stream: _Stream, answer: Answer, call: Call, index: int, item: dict[str, Any]) -> None:
    added = _message(answer, call, "in_progress")
    stream.add("response.output_item.added", output_index=index, item=added)
    for place, part in enumerate(item["content"]):
        at = {"item_id": item["id"], "output_index": index, "content_index": place}
        if part["type"] == "refusal":
            stream.add("response.content_part.added", **at, part={"type": "refusal", "refusal": ""})
            stream.add("response.refusal.delta", **at, delta=part["refusal"])
            stream.add("response.refusal.done", **at, refusal=part["refusal"])
        else:
            _text_events(stream, answer, call, at, part)
        stream.add("response.content_part.done", **at, part=part)
    stream.add("response.output_item.done", output_index=index, item=item)


def _text_events(
    stream: _Stream, answer: Answer, call: Call, at: dict[str, Any], part: dict[str, Any]
) -> None:
    empty = {**part, "text": "", "annotations": [], "logprobs": []}
    stream.add("response.content_part.added", **at, part=empty)
    told = part["logprobs"]
    for number, piece in enumerate(answer.pieces):
        # The chosen token's bytes are told in the part alone.
        stream.add("response.output_text.delta", **at, delta=piece, logprobs=told[number : number + 1])
    for number, annotation in enumerate(part["annotations"]):
        stream.add(
            "response.output_text.annotation.added", **at, annotation_index=number, annotation=annotation
        )
    stream.add("response.output_text.done", **at, text=answer.text, logprobs=told)


def _call_events(tool: ToolUse, index: int, item: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    at = {"item_id": item["id"], "output_index": index}
    added = {"output_index": index, "item": _call(tool, "", "in_progress")}
    arguments = "response.function_call_arguments"
    return [
        ("response.output_item.added", added),
        *[(f"{arguments}.delta", {**at, "delta": piece}) for piece in tool.pieces],
        (f"{arguments}.done", {**at, "arguments": tool.arguments, "name": tool.name}),
        ("response.output_item.done", {"output_index": index, "item": item}),
    ]


def count_tokens(call: Call) -> dict[str, Any]:
    """The answer of input_tokens."""
    return {"object": "response.input_tokens", "input_tokens": requests.input_tokens(call)}
