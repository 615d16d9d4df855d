"""A provider's whole reply → the canonical one. Source: OpenAI API reference, "The response object"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .. import openai
from ..conversation import (
    Blob,
    Citation,
    Image,
    Inline,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Upstream,
    UrlCitation,
)
from ..replies import Choice, ProviderFailed, Reply, Stop, Usage
from ..streaming import in_words
from .faults import fault_of_event, fault_of_response
from .wire import ENCRYPTED, NO_BLOB, sealed

_LATEST_S = 10**12
# Items that ask the client for what only this dialect has: it has to learn that it was asked.
FOR_THE_CLIENT = frozenset(
    ("computer_call", "local_shell_call", "shell_call", "apply_patch_call", "mcp_approval_request")
)
Object = Mapping[str, Any]
LogProbs = tuple[Mapping[str, Any], ...]

_INCOMPLETE = {
    "max_output_tokens": Stop.MAX_TOKENS,
    "max_tokens": Stop.MAX_TOKENS,
    "content_filter": Stop.CONTENT_FILTER,
}


def decode_response(body: bytes, upstream: Upstream) -> Reply:
    """ValueError in words where the bytes are no finished response; ProviderFailed where it failed."""
    response = _object(body)
    output = response.get("output")
    if response.get("error") and output is None:
        raise ProviderFailed(fault_of_event(response))
    if not isinstance(output, list):
        raise ValueError(f"no response: it begins with {body[:60].decode('utf-8', 'replace')!r}")
    status = response.get("status")
    if status in ("failed", "cancelled"):
        raise ProviderFailed(fault_of_response(response))
    if status in ("queued", "in_progress"):
        raise ValueError(f"the response is {status}")
    parts: list[Part] = []
    logprobs: list[Mapping[str, Any]] = []
    for item in output:
        found, its_logprobs = parts_of(item, upstream.provider)
        parts += found
        logprobs += its_logprobs
    choice = Choice(tuple(parts), stop_of(response, parts), logprobs=tuple(logprobs) or None)
    return Reply(
        id=text_of(response, "id"),
        model=text_of(response, "model"),
        choices=(choice,),
        usage=usage_of(response.get("usage")),
        service_tier=text_of(response, "service_tier"),
        created_s=created_of(response),
    )


def _object(body: bytes) -> Object:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"it is not JSON: {wrong}") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def parts_of(item: Any, provider: str) -> tuple[list[Part], LogProbs]:
    """The parts of one item, and the log probabilities of its texts. An item of a hosted tool has none, but
    for what it drew: no client of another dialect asked for it."""
    if not isinstance(item, dict):
        raise ValueError("an item of the output is no object")
    match item.get("type"):
        case "message":
            return _message(item)
        case "reasoning":
            return list(reasonings_of(item, provider)), ()
        case "function_call" | "custom_tool_call":
            return [call_of(item)], ()
        case "image_generation_call" if (image := image_of(item)) is not None:
            return [image], ()
        case str(kind) if kind in FOR_THE_CLIENT:
            return [Text(in_words(f"a {kind}"))], ()
    return [], ()


def _message(item: Object) -> tuple[list[Part], LogProbs]:
    parts: list[Part] = []
    logprobs: list[Mapping[str, Any]] = []
    for content in contents_of(item):
        match kind_of(content):
            case "output_text":
                citations = tuple(citations_of(content.get("annotations")))
                parts.append(Text(text_of(content, "text"), citations=citations))
                logprobs += objects(content.get("logprobs"))
            case "refusal":
                parts.append(Refusal(text_of(content, "refusal")))
    return parts, tuple(logprobs)


def contents_of(item: Object) -> list[Any]:
    """Of a message. Some that speak the dialect write its text alone."""
    content = item.get("content")
    return [{"type": "output_text", "text": content}] if isinstance(content, str) else objects(content)


def kind_of(content: Object) -> str:
    """A content by OpenAI's name for it: some call the text of a message as other dialects do."""
    kind = text_of(content, "type")
    return "output_text" if kind in ("text", "") and isinstance(content.get("text"), str) else kind


def reasonings_of(item: Object, provider: str) -> Iterable[Reasoning]:
    """An item's summary and its text, each as a part of its own; what is encrypted goes with the first."""
    item_id, blob = text_of(item, "id"), blob_of(item, provider)
    summaries = objects(item.get("summary"))
    contents = objects(item.get("content"))
    found = []
    if contents:
        found.append(Reasoning(joined(contents), blob, False, item_id))
    if summaries:
        found.append(Reasoning(joined(summaries), None if found else blob, False, item_id, True))
    if not found and blob is not None:
        found.append(Reasoning("", blob, True, item_id))
    return found


def blob_of(item: Object, provider: str) -> Blob | None:
    encrypted = text_of(item, "encrypted_content")
    if not encrypted or encrypted == NO_BLOB:
        return None
    return Blob(provider, ENCRYPTED, sealed(text_of(item, "id"), encrypted))


def call_of(item: Object) -> ToolCall:
    custom = item.get("type") == "custom_tool_call"
    arguments = text_of(item, "input" if custom else "arguments")
    return ToolCall(text_of(item, "call_id"), text_of(item, "name"), arguments, custom=custom)


def image_of(item: Object) -> Image | None:
    """What a model drew; None where it came to nothing."""
    data = text_of(item, "result")
    return Image(Inline(f"image/{text_of(item, 'output_format') or 'png'}", data)) if data else None


def citations_of(annotations: Any) -> Iterable[Citation]:
    """Citations of the web; those of files name files of the provider's account, and mean nothing outside."""
    for annotation in objects(annotations):
        if annotation.get("type") == "url_citation":
            yield citation_of(annotation)


def citation_of(annotation: Object) -> UrlCitation:
    start, end = annotation.get("start_index"), annotation.get("end_index")
    return UrlCitation(
        text_of(annotation, "url"),
        text_of(annotation, "title"),
        start if isinstance(start, int) else None,
        end if isinstance(end, int) else None,
    )


def stop_of(response: Object, parts: Iterable[Part]) -> Stop:
    """Why it ended, from the response and what it said."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return _INCOMPLETE.get(str(reason), Stop.MAX_TOKENS)
    return Stop.TOOL_CALLS if any(isinstance(part, ToolCall) for part in parts) else Stop.END


def usage_of(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    prompt, output = openai.count_in(value, "input_tokens"), openai.count_in(value, "output_tokens")
    details = value.get("input_tokens_details"), value.get("output_tokens_details")
    return openai.usage_of(prompt or 0, output or 0, *details)


# -- looking into what may be anything


def text_of(value: Object, name: str) -> str:
    text = value.get(name)
    return text if isinstance(text, str) else ""


def objects(value: Any) -> list[Any]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def joined(texts: Iterable[Object]) -> str:
    """Several pieces of one reasoning, as paragraphs."""
    return "\n\n".join(text_of(text, "text") for text in texts)


def created_of(response: Object) -> int | None:
    created = response.get("created_at")
    return int(created) if isinstance(created, (int, float)) and 0 < created < _LATEST_S else None
