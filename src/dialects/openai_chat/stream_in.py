"""A provider's stream → canonical events.

Source: OpenAI API reference, "The chat completion chunk object"; and what those that speak like OpenAI send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .. import openai
from ..base import decode_json
from ..conversation import Blob, Part, Reasoning, Refusal, Text, ToolCall, Upstream, UrlCitation
from ..replies import (
    Alive,
    BlobGiven,
    Cause,
    Cited,
    Delta,
    Ended,
    Failed,
    Fault,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    Stopped,
    UsageGiven,
)
from ..sse import SseSplitter
from . import reasoning
from .deviations import deviations_of
from .replies_in import (
    FAILURES,
    arguments_of,
    citations_of,
    echo_blob,
    id_of,
    images_of,
    made_id,
    plain_reasoning,
    sources_of,
    spoken,
    stop_of,
    stopped_with,
    text_of,
    thought_of,
    tokens_of,
    typed_content,
    usage_of,
)

_MOST_CHOICES = 1_000
# What is open beside tool calls: the kind of a part, or of one entry of `reasoning_details`.
_TEXT, _REFUSAL, _PLAIN = "text", "refusal", "reasoning"
_PARTS: Mapping[object, Part] = {_TEXT: Text(""), _REFUSAL: Refusal(""), _PLAIN: Reasoning()}


class _Broken(Exception):
    """The provider's stream can't be gone on with."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _garbage(what: str) -> _Broken:
    return _Broken(
        Fault(Cause.GARBAGE, 502, f"the provider's stream is not valid: {what}", "upstream_garbage")
    )


class _Call:
    """A tool call under way. Its part begins when its name is known."""

    __slots__ = ("arguments", "blob", "custom", "id", "index", "is_over", "name")

    def __init__(self) -> None:
        self.index = -1
        self.id = self.name = ""
        self.arguments: list[str] = []
        self.blob: Blob | None = None
        self.custom = self.is_over = False


class _Choice:
    """One answer under way."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.next = 0
        self.open: object = None  # the key of the part that is open, beside calls
        self.index = 0  # and its index
        self.entry: dict[str, Any] = {}  # of `reasoning_details`, as far as it has come
        self.calls: list[_Call] = []
        self.at: dict[object, _Call] = {}  # by index, or by id where there is none
        self.last: _Call | None = None
        self.reason: str | None = None  # why it stopped
        self.is_cited = False


class ChatStreamDecoder:
    """A StreamDecoder."""

    def __init__(self, upstream: Upstream) -> None:
        self._issuer = upstream.provider
        self._echoes = bool(deviations_of(upstream).reasoning_field)
        self._splitter = SseSplitter()
        self._choices: dict[int, _Choice] = {}
        self._reply_id = ""
        self._sources: tuple[UrlCitation, ...] = ()
        self._begun = self._over = False
        self._out: list[ReplyEvent] = []

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        for event in self._splitter.feed(chunk):
            if self._over:
                break
            try:
                self._event(event.name, event.data)
            except _Broken as broken:
                self._over = True
                self._out.append(Failed(broken.fault))
        out, self._out = self._out, []
        return out

    def end(self) -> list[ReplyEvent]:
        """Some end without [DONE]: an answer that has said why it stopped is whole all the same."""
        out = self.feed(b"\n\n")
        if not self._over and self._choices and all(c.reason is not None for c in self._choices.values()):
            try:
                self._end()
            except _Broken as broken:
                self._out.append(Failed(broken.fault))
            out += self._out
            self._out = []
        self._over = True
        return out

    # -- events

    def _event(self, name: str, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._end()
            return
        chunk = decode_json(data)
        if not isinstance(chunk, dict):
            raise _garbage(f"it has an event {data[:60].decode('utf-8', 'replace')!r}")
        if chunk.get("error") or name == "error":
            raise _Broken(openai.fault_from(chunk))
        choices = chunk.get("choices")
        choices = choices if isinstance(choices, list) else []
        if "citations" in chunk or "search_results" in chunk:
            self._sources = sources_of(chunk)
        if not self._begun:
            self._begin(chunk, bool(choices))
        for position, said in enumerate(choices):
            if not isinstance(said, dict):
                raise _garbage(f"choices[{position}] is no object")
            self._choice(said, position)
        if (usage := usage_of(chunk)) is not None:
            self._out.append(UsageGiven(usage, text_of(chunk.get("service_tier"))))

    def _begin(self, chunk: Mapping[str, Any], has_choices: bool) -> None:
        if not has_choices:  # Azure's first chunk tells only what its filter found, and no id
            self._out.append(Alive())
            return
        self._begun = True
        self._reply_id = text_of(chunk.get("id"))
        created = chunk.get("created")
        self._out.append(
            Started(
                self._reply_id,
                text_of(chunk.get("model")),
                created if isinstance(created, int) and not isinstance(created, bool) else None,
                None,
                text_of(chunk.get("service_tier")),
            )
        )

    def _end(self) -> None:
        if not self._begun:
            self._begin({}, True)
        for _, choice in sorted(self._choices.items()):
            self._close_all(choice)
            stop = stop_of(choice.reason, any(call.index >= 0 for call in choice.calls))
            self._out.append(Stopped(stop, None, choice.number))
        self._over = True
        self._out.append(Ended())

    def _choice(self, said: Mapping[str, Any], position: int) -> None:
        number = said.get("index")
        number = number if isinstance(number, int) else position
        if not 0 <= number < _MOST_CHOICES:
            raise _garbage(f"it has a choice of the index {number}")
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _Choice(number)
        if said.get("error"):
            raise _Broken(openai.fault_from(said))
        delta = said.get("delta")
        if not isinstance(delta, dict) and not choice.next:
            delta = said.get("message")  # the whole answer in one piece
        if isinstance(delta, dict):
            self._delta(choice, delta, said.get("logprobs"))
        reason = said.get("finish_reason")
        if isinstance(reason, str) and reason:
            if self._sources and choice.open == _TEXT and not choice.is_cited:
                self._cite(choice, self._sources)
            if reason in FAILURES:
                raise _Broken(stopped_with(reason))
            self._close_all(choice)
            choice.reason = reason

    def _delta(self, choice: _Choice, delta: Mapping[str, Any], logprobs: Any) -> None:
        details = delta.get("reasoning_details")
        has_words = False
        if details and isinstance(details, list):
            for entry in details:
                if isinstance(entry, dict):
                    has_words |= self._entry(choice, entry)
        if not has_words and (plain := plain_reasoning(delta)):
            self._say(choice, _PLAIN, plain)
        content = delta.get("content")
        if content:
            if isinstance(content, str):
                self._say(choice, _TEXT, content, tokens_of(logprobs) if logprobs else None)
            elif isinstance(content, list):
                for part in typed_content(content):
                    self._say(choice, _TEXT if isinstance(part, Text) else _PLAIN, part.text)
        elif logprobs and choice.open == _TEXT and (tokens := tokens_of(logprobs)):
            self._out.append(Delta(choice.index, "", choice.number, tokens))
        elif "audio" in delta and (words := spoken(delta)):
            self._say(choice, _TEXT, words)
        if delta.get("annotations"):
            self._cite(choice, citations_of(delta["annotations"]))
        if (blob := thought_of(delta, self._issuer)) is not None:
            self._open(choice, _TEXT, Text(""))
            self._out.append(BlobGiven(choice.index, blob, choice.number))
        if "images" in delta:
            for image in images_of(delta):
                self._whole(choice, image)
        if refusal := text_of(delta.get("refusal")):
            self._say(choice, _REFUSAL, refusal)
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._call(choice, call)
        function = delta.get("function_call")
        if isinstance(function, dict):
            self._call(choice, {"index": -1, "function": function})

    # -- texts

    def _open(self, choice: _Choice, key: object, part: Part) -> None:
        if choice.open == key:
            return
        self._close(choice)
        choice.open, choice.index = key, choice.next
        choice.next += 1
        self._out.append(PartStarted(choice.index, part, choice.number))

    def _say(
        self,
        choice: _Choice,
        key: object,
        text: str,
        tokens: tuple[Mapping[str, Any], ...] | None = None,
    ) -> None:
        if choice.open != key:
            self._open(choice, key, _PARTS[key])
        self._out.append(Delta(choice.index, text, choice.number, tokens))

    def _cite(self, choice: _Choice, citations: Iterable[UrlCitation]) -> None:
        for citation in citations:
            choice.is_cited = True
            self._open(choice, _TEXT, Text(""))
            self._out.append(Cited(choice.index, citation, choice.number))

    def _whole(self, choice: _Choice, part: Part) -> None:
        """A part that comes in one piece."""
        self._close(choice)
        self._out.append(PartStarted(choice.next, part, choice.number))
        self._out.append(PartEnded(choice.next, choice.number))
        choice.next += 1

    def _close(self, choice: _Choice) -> None:
        """Ends what is open beside calls."""
        if choice.open is None:
            return
        if choice.entry:
            part = reasoning.split(choice.entry, self._issuer)
            if part.blob is not None:
                self._out.append(BlobGiven(choice.index, part.blob, choice.number, part.hidden))
            choice.entry = {}
        elif choice.open == _PLAIN and self._echoes:
            self._out.append(BlobGiven(choice.index, echo_blob(self._issuer), choice.number))
        self._out.append(PartEnded(choice.index, choice.number))
        choice.open = None

    def _entry(self, choice: _Choice, entry: dict[str, Any]) -> bool:
        """A piece of an entry of `reasoning_details`. Does it hold words?"""
        key = (entry.get("type"), entry.get("index"))
        begun = reasoning.split(entry, self._issuer)
        if choice.open != key:
            self._open(choice, key, msgspec.structs.replace(begun, text="", blob=None))
        known = choice.entry
        for name, value in entry.items():
            before = known.get(name)
            if name in ("signature", "data") and isinstance(before, str) and isinstance(value, str):
                known[name] = before + value
            elif value is not None:
                known[name] = value
        if begun.text:
            self._out.append(Delta(choice.index, begun.text, choice.number))
        return bool(begun.text)

    # -- tool calls

    def _call(self, choice: _Choice, said: Mapping[str, Any]) -> None:
        function = said.get("function") or said.get("custom")
        function = function if isinstance(function, dict) else {}
        ident, name = id_of(said), text_of(function.get("name"))
        arguments = arguments_of(function.get("arguments")) or text_of(function.get("input"))
        call = self._call_of(choice, said.get("index"), ident, name, arguments)
        if call.index < 0:
            call.id = call.id or ident
            call.name = call.name or name
            call.custom = call.custom or "custom" in said
        if arguments:
            if call.is_over and arguments.strip():
                raise _garbage(f"the arguments of {call.name} go on behind their end")
            if not call.is_over:
                call.arguments.append(arguments)
        if call.index < 0 and call.name:
            self._begin_call(choice, call)
            arguments = "".join(call.arguments)
        if arguments and call.index >= 0 and not call.is_over:
            self._out.append(Delta(call.index, arguments, choice.number))
        blob = thought_of(said, self._issuer) or call.blob
        if blob is not None and call.index >= 0 and not call.is_over:
            self._out.append(BlobGiven(call.index, blob, choice.number))
            blob = None
        call.blob = blob

    def _call_of(self, choice: _Choice, place: Any, ident: str, name: str, arguments: str) -> _Call:
        """The call that this is a piece of: by its index, else by its id, else the latest. Some give all
        calls the same index: there another id with a name begins another call, and without ids a name does
        behind arguments that are whole."""
        if isinstance(place, int):
            call = choice.at.get(place)
            if call is not None and name and _begins_another(call, ident, name, arguments):
                call = None
            key: object = place
        else:
            call = choice.at.get(ident) if ident else None if name else choice.last
            key = ident or f"at {len(choice.calls)}"
        if call is None:
            call = choice.at[key] = _Call()
            choice.calls.append(call)
        choice.last = call
        return call

    def _begin_call(self, choice: _Choice, call: _Call) -> None:
        self._close(choice)
        for other in choice.calls:
            if other.index >= 0 and not other.is_over and _is_complete(other):
                self._end_call(choice, other)
        call.index = choice.next
        choice.next += 1
        ident = call.id or made_id(self._reply_id, choice.number, call.index)
        self._out.append(
            PartStarted(call.index, ToolCall(ident, call.name, "", custom=call.custom), choice.number)
        )

    def _end_call(self, choice: _Choice, call: _Call) -> None:
        call.is_over = True
        self._out.append(PartEnded(call.index, choice.number))

    def _close_all(self, choice: _Choice) -> None:
        self._close(choice)
        for call in choice.calls:
            if call.index < 0:
                raise _garbage("a tool call names no function")
            if not call.is_over:
                self._end_call(choice, call)


def _begins_another(call: _Call, ident: str, name: str, arguments: str) -> bool:
    if ident and call.id:
        return ident != call.id
    return bool(call.name) and (name != call.name or arguments.strip() != "") and _is_complete(call)


def _is_complete(call: _Call) -> bool:
    """A JSON object that is closed can't go on."""
    return not call.custom and isinstance(decode_json("".join(call.arguments).encode()), dict)
