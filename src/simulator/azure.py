"""Azure OpenAI's chat completions: OpenAI's, with what the content filter found.

https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter-annotations
"""

from typing import Any

from . import openai_chat, sse
from .answers import Answer
from .requests import Call

_FOUND = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}
_PROMPT = [{"prompt_index": 0, "content_filter_results": _FOUND}]


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """A chat.completion object; each choice tells what the filter found in it."""
    body = openai_chat.whole(answer, call)
    body["choices"] = [{**choice, "content_filter_results": _FOUND} for choice in body["choices"]]
    return {**body, "prompt_filter_results": _PROMPT}


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream: before OpenAI's first chunk comes one without choices, about the prompt."""
    first = {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": _PROMPT,
    }
    return [sse.event(first), *openai_chat.events(answer, call)]
