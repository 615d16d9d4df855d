"""Gemini's replies → canonical ones. A whole reply is read as a stream of one chunk, so both say the same."""

from __future__ import annotations

import calendar
import hashlib
import re
from typing import Any

import msgspec

from ..base import ABSENT
from ..conversation import Blob, Image, Inline, Reasoning, Text, ToolCall, Upstream, Url
from ..replies import (
    BlobGiven,
    Cited,
    Delta,
    Ended,
    Failed,
    PartEnded,
    PartStarted,
    ProviderFailed,
    Reply,
    ReplyEvent,
    Started,
    Stop,
    Stopped,
    Usage,
    UsageGiven,
)
from ..streaming import fold, in_words
from . import wire
from .citations import Mention, mentions, placed
from .contents_out import SIGNATURE
from .faults import broken_off, fault_of

_STOPS = {
    "STOP": Stop.END,
    "FINISH_REASON_UNSPECIFIED": Stop.END,
    "": Stop.END,
    "MAX_TOKENS": Stop.MAX_TOKENS,
    # Out of tokens for this request; only Google's own continuation could go on.
    "CONTINUATION": Stop.MAX_TOKENS,
}
# The model's answer came to nothing: an error that may be tried again, not an answer that ended.
_FAILURES = frozenset(
    (
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
        "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
    )
)
_TRAFFIC = {"ON_DEMAND": "standard", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{8,40}")


def decode_reply(body: bytes, upstream: Upstream) -> Reply:
    """Also of the array that streamGenerateContent gives where it is not asked for events."""
    reader = ReplyReader(upstream)
    events: list[ReplyEvent] = []
    for response in _responses(body):
        events += reader.read(response)
    events += reader.finish(whole=True)
    last = events[-1] if events else None
    if isinstance(last, Failed):
        raise ProviderFailed(last.fault)
    if not isinstance(last, Ended):
        raise ValueError("it has no candidate that says why it ended")
    return fold(events)


def _responses(body: bytes) -> list[msgspec.Raw | bytes]:
    if not body.lstrip().startswith(b"["):
        return [body]
    try:
        return list(msgspec.json.decode(body, type=list[msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"it is no list of responses: {wrong}") from None


class _Candidate:
    """One answer that is being read."""

    __slots__ = ("calls", "finish", "is_signed", "logprobs", "mentions", "number", "open", "parts", "texts")

    def __init__(self, number: int) -> None:
        self.number = number
        self.parts = 0  # begun so far
        self.calls = 0
        self.open: type[Text] | type[Reasoning] | None = None  # the part with the number `parts` - 1
        self.is_signed = False  # the open one has its blob
        self.texts: list[str] = []  # of the open one
        self.mentions: dict[Mention, None] = {}
        self.logprobs: list[dict[str, Any]] = []
        self.finish = ""


class ReplyReader:
    """Responses one after another → events. Kept for one reply. After Failed it gives nothing."""

    def __init__(self, upstream: Upstream) -> None:
        self._provider = upstream.provider
        self._has_started = self._has_failed = False
        self._id = ""
        self._candidates: dict[int, _Candidate] = {}
        self._is_blocked = False
        self._usage: Usage | None = None
        self._tier = ""

    def read(self, data: bytes | msgspec.Raw) -> list[ReplyEvent]:
        """The events of one response. It never raises: what is no such thing becomes Failed."""
        if self._has_failed:
            return []
        events: list[ReplyEvent] = []
        try:
            self._read(data, events)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as wrong:
            events.append(self._fail(f"the provider's reply is not valid: {wrong}"))
        return events

    def finish(self, whole: bool = False) -> list[ReplyEvent]:
        """Nothing more comes. Without Ended the reply was cut; one that is `whole` by its length is not where
        it answers, though some leave out why it ended."""
        if self._has_failed or not self._has_started:
            return []
        candidates = sorted(self._candidates.values(), key=lambda candidate: candidate.number)
        if not (candidates or self._is_blocked):
            return []
        if not all(candidate.finish or (whole and candidate.parts) for candidate in candidates):
            return []
        events: list[ReplyEvent] = []
        for candidate in candidates:
            self._end_candidate(candidate, events)
        if not candidates:
            events.append(Stopped(Stop.CONTENT_FILTER))
        if self._usage is not None:
            events.append(UsageGiven(self._usage, self._tier))
        events.append(Ended())
        return events

    # -- inside

    def _fail(self, message: str, code: str = "upstream_garbage") -> Failed:
        self._has_failed = True
        return Failed(broken_off(message, code))

    def _read(self, data: bytes | msgspec.Raw, events: list[ReplyEvent]) -> None:
        response = wire.decode_response(data)
        if response.error is not None:
            self._has_failed = True
            events.append(Failed(fault_of(response.error)))
            return
        usage = self._read_usage(response.usage_metadata)
        if not self._has_started:
            self._has_started = True
            self._id = response.response_id
            created_s = _seconds(response.create_time)
            events.append(Started(self._id, response.model_version, created_s, usage, self._tier))
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
            self._is_blocked = True
        for found in response.candidates:
            candidate = self._candidates.get(found.index)
            if candidate is None:
                candidate = self._candidates[found.index] = _Candidate(found.index)
            self._read_candidate(found, candidate, data, response, events)
            if self._has_failed:
                return
        if usage is not None:
            events.append(UsageGiven(usage, self._tier))

    def _read_usage(self, found: wire.UsageMetadata | None) -> Usage | None:
        """What is new of it."""
        if found is None:
            return None
        usage = _usage_of(found)
        self._tier = found.service_tier or _TRAFFIC.get(found.traffic_type, "") or self._tier
        if usage == self._usage:
            return None
        self._usage = usage
        return usage

    def _read_candidate(
        self,
        found: wire.Candidate,
        candidate: _Candidate,
        data: bytes | msgspec.Raw,
        response: wire.Response,
        events: list[ReplyEvent],
    ) -> None:
        if found.grounding_metadata is not None or found.citation_metadata is not None:
            candidate.mentions.update(
                dict.fromkeys(mentions(found.grounding_metadata, found.citation_metadata))
            )
        if found.logprobs_result is not None:
            candidate.logprobs += _logprobs(found.logprobs_result)
        for part in found.content.parts if found.content is not None else ():
            if part.text is not None:
                self._read_text(part, candidate, events)
            elif part.function_call is not None:
                self._read_call(part, part.function_call, candidate, response, events)
            else:
                self._read_other(part, candidate, data, events)
        if not found.finish_reason:
            return
        candidate.finish = found.finish_reason
        if found.finish_reason in _FAILURES:
            said = f": {found.finish_message}" if found.finish_message else ""
            message = f"the model's answer failed with {found.finish_reason}{said}"
            events.append(self._fail(message, found.finish_reason))

    def _read_text(self, part: wire.Part, candidate: _Candidate, events: list[ReplyEvent]) -> None:
        """Pieces of one text follow one another, until one of them is signed; an empty one only signs."""
        text, signature = part.text or "", part.thought_signature
        if not text and not signature:
            return
        kind = Reasoning if part.thought else Text
        number = candidate.number
        if candidate.open is not kind or candidate.is_signed:
            self._close(candidate, events)
            begun = Reasoning(summary=True) if kind is Reasoning else Text("")
            events.append(PartStarted(candidate.parts, begun, number))
            candidate.parts += 1
            candidate.open, candidate.is_signed = kind, False
        index = candidate.parts - 1
        if text:
            candidate.texts.append(text)
            logprobs = None
            if candidate.logprobs and kind is Text:
                logprobs, candidate.logprobs = tuple(candidate.logprobs), []
            events.append(Delta(index, text, number, logprobs))
        if signature:
            candidate.is_signed = True
            events.append(BlobGiven(index, self._blob(signature), number))

    def _read_call(
        self,
        part: wire.Part,
        call: wire.FunctionCall,
        candidate: _Candidate,
        response: wire.Response,
        events: list[ReplyEvent],
    ) -> None:
        if call.will_continue or call.partial_args is not ABSENT:
            raise ValueError("a function call came in pieces that nobody asked for")
        self._close(candidate, events)
        number, index = candidate.number, candidate.parts
        # A whole reply is indented; what the model wrote is not.
        arguments = (
            "{}"
            if bytes(call.args) in (b"", b"null")
            else msgspec.json.format(bytes(call.args), indent=-1).decode()
        )
        call_id = call.id or self._call_id(call.name, arguments, candidate, response)
        candidate.calls += 1
        candidate.parts += 1
        events.append(PartStarted(index, ToolCall(call_id, call.name, ""), number))
        events.append(Delta(index, arguments, number))
        if part.thought_signature:
            events.append(BlobGiven(index, self._blob(part.thought_signature), number))
        events.append(PartEnded(index, number))

    def _read_other(
        self, part: wire.Part, candidate: _Candidate, data: bytes | msgspec.Raw, events: list[ReplyEvent]
    ) -> None:
        """What a model gives unasked. What Google's servers ran and searched for it is told by what it
        answers, as with hosted tools of other dialects; what is content is passed on or named."""
        if part.executable_code is not None or part.code_execution_result is not None:
            return
        if part.tool_call is not ABSENT or part.tool_response is not ABSENT:
            return
        if (media := part.inline_data or part.file_data) is not None:
            self._read_media(media, part, candidate, events)
            return
        if not part.thought_signature and (kinds := _unknown_kinds(data)):
            part.text = in_words(", ".join(kinds))
        self._read_text(part, candidate, events)

    def _read_media(
        self, media: wire.Data, part: wire.Part, candidate: _Candidate, events: list[ReplyEvent]
    ) -> None:
        if part.thought:  # a sketch on the way to the answer
            return
        if not media.mime_type.startswith("image/") or not (media.data or media.file_uri):
            part.text = in_words(media.mime_type or "a file")
            self._read_text(part, candidate, events)
            return
        self._close(candidate, events)
        source = Inline(media.mime_type, media.data) if media.data else Url(media.file_uri)
        events.append(PartStarted(candidate.parts, Image(source), candidate.number))
        events.append(PartEnded(candidate.parts, candidate.number))
        candidate.parts += 1

    def _blob(self, signature: str) -> Blob:
        return Blob(self._provider, SIGNATURE, signature)

    def _call_id(self, name: str, arguments: str, candidate: _Candidate, response: wire.Response) -> str:
        """Where Gemini gives none: from the reply's id, which no other turn has. Older models give no such
        id either; then from what was called, and the prompt's length, which grows from turn to turn."""
        base = self._id
        if not _PLAIN_ID.fullmatch(base):
            prompt = response.usage_metadata.prompt_token_count if response.usage_metadata else 0
            told = f"{base}\0{response.model_version}\0{prompt}\0{name}\0{arguments}"
            base = hashlib.sha256(told.encode()).hexdigest()[:24]
        choice = f"{candidate.number}_" if candidate.number else ""
        return f"call_{base}_{choice}{candidate.calls}"

    def _close(self, candidate: _Candidate, events: list[ReplyEvent]) -> None:
        """Ends the open text or reasoning; what cites the text's places is known by then."""
        if candidate.open is None:
            return
        index = candidate.parts - 1
        if candidate.open is Text and candidate.mentions:
            text = "".join(candidate.texts)
            events += [Cited(index, placed(m, text), candidate.number) for m in candidate.mentions]
            candidate.mentions.clear()
        events.append(PartEnded(index, candidate.number))
        candidate.open = None
        candidate.texts = []

    def _end_candidate(self, candidate: _Candidate, events: list[ReplyEvent]) -> None:
        if candidate.logprobs and candidate.open is Text:
            index = candidate.parts - 1
            events.append(Delta(index, "", candidate.number, tuple(candidate.logprobs)))
        self._close(candidate, events)
        stop = _STOPS.get(candidate.finish, Stop.CONTENT_FILTER)
        if stop is Stop.END and candidate.calls:
            stop = Stop.TOOL_CALLS
        events.append(Stopped(stop, None, candidate.number))


def _unknown_kinds(data: bytes | msgspec.Raw) -> list[str]:
    """The fields of the parts in it that have none that is known. An empty part says nothing."""
    response = msgspec.json.decode(data)
    known = {name.encode_name for name in msgspec.structs.fields(wire.Part)}
    return [
        kind
        for candidate in response.get("candidates") or ()
        for part in (candidate.get("content") or {}).get("parts") or ()
        if not part.keys() & known
        for kind in part
    ]


def _usage_of(found: wire.UsageMetadata) -> Usage:
    """Gemini's prompt has its cached tokens in it, what its tools brought comes on top; thoughts come on top
    of the candidates' tokens."""
    cached = found.cached_content_token_count
    prompt = found.prompt_token_count + found.tool_use_prompt_token_count
    heard = _of_audio(found.prompt_tokens_details)
    cached_audio = _of_audio(found.cache_tokens_details) if heard else 0
    return Usage(
        input=max(prompt - cached, 0),
        cache_read=cached,
        output=found.candidates_token_count + (found.thoughts_token_count or 0),
        reasoning=found.thoughts_token_count,
        audio_input=max(heard - cached_audio, 0) if heard else None,
    )


def _of_audio(details: tuple[wire.Modality, ...]) -> int:
    """Its tokens. A plain loop: a stream tells its usage with each piece."""
    tokens = 0
    for one in details:
        if one.modality == "AUDIO":
            tokens += one.token_count
    return tokens


def _logprobs(found: wire.Logprobs) -> list[dict[str, Any]]:
    """As Chat Completions spells them."""
    tokens = []
    for place, chosen in enumerate(found.chosen_candidates):
        top = found.top_candidates[place].candidates if place < len(found.top_candidates) else ()
        tokens.append({**_token(chosen), "top_logprobs": [_token(other) for other in top]})
    return tokens


def _token(token: wire.Token) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


def _seconds(time: str) -> int | None:
    """Of RFC 3339, in UTC as Google gives it."""
    if not (match := _TIME.match(time)):
        return None
    return calendar.timegm((*(int(number) for number in match.groups()), 0, 0, 0))
