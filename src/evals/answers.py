"""What a model answered, whatever the dialect: text and the tools that it would call. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..dialects import Upstream, provider_dialect
from ..dialects.conversation import Refusal, Text, ToolCall
from ..dialects.replies import Reply, Stop
from ..dialects.streaming import fold

_REFUSALS = (Stop.REFUSAL, Stop.CONTENT_FILTER)


@dataclass(frozen=True, slots=True)
class Used:
    """A call of a tool. `arguments` is decoded JSON; text where it is none."""

    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """`stop` as in `dialects.replies.Stop`. `refused`: the model would not, or its provider would not."""

    text: str = ""
    calls: tuple[Used, ...] = ()
    stop: str = ""
    refused: bool = False

    def as_json(self) -> dict[str, Any]:
        calls = [{"name": call.name, "arguments": call.arguments} for call in self.calls]
        return {"text": self.text, "calls": calls, "stop": self.stop, "refused": self.refused}


def answer_from(tree: Mapping[str, Any]) -> Answer:
    """What `as_json` gave."""
    calls = tuple(Used(str(call["name"]), call["arguments"]) for call in tree.get("calls", ()))
    return Answer(
        str(tree.get("text", "")), calls, str(tree.get("stop", "")), bool(tree.get("refused", False))
    )


def read_answer(dialect: str, body: bytes, stream: bool) -> Answer:
    """Of a good reply in a client's dialect. ValueError in words where it is none, or has no end."""
    try:
        speaks = provider_dialect(dialect)
    except KeyError:
        raise ValueError(f"answers of {dialect} are none of a conversation") from None
    upstream = Upstream("", dialect, "")
    if not stream:
        return _answer(speaks.decode_reply(body, upstream))
    decoder = speaks.stream_decoder(upstream)
    return _answer(fold([*decoder.feed(body), *decoder.end()]))


def _answer(reply: Reply) -> Answer:
    """Of the first choice."""
    if not reply.choices:
        raise ValueError("the reply has no choice")
    choice = reply.choices[0]
    text = "".join(part.text for part in choice.parts if isinstance(part, Text | Refusal))
    calls = tuple(_used(part) for part in choice.parts if isinstance(part, ToolCall))
    refused = choice.stop in _REFUSALS or any(isinstance(part, Refusal) for part in choice.parts)
    return Answer(text, calls, choice.stop.value, refused)


def _used(call: ToolCall) -> Used:
    if call.custom:
        return Used(call.name, call.arguments)
    return Used(call.name, parsed(call.arguments or "{}", call.arguments))


def parsed(text: str, otherwise: Any = None) -> Any:
    """The JSON in a text; `otherwise` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
