"""The provider's mind: from a request to a plan. No sockets and no waiting here."""

import hashlib
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import (
    anthropic_messages,
    bedrock_converse,
    bedrock_invoke,
    checks,
    credentials,
    embeddings,
    errors,
    event_stream,
    gemini,
    openai_chat,
    openai_responses,
    sse,
    strict,
    troubles,
)
from .answers import compose, new_id
from .memory import Memory
from .plan import Outgoing, Step, events_before, weave
from .recordings import Library, Recording
from .refusal import Refusal
from .requests import Call, read_call
from .rules import Chooser, matches
from .script import Dialect, Fault, Reply, RuleT, Script, ScriptError, parse_rule
from .seals import Seals
from .speech import speech

_JSON = ("content-type", "application/json")
_DEFAULT = Reply()
_HEADERS = {Fault: "x-mock-fault", Reply: "x-mock-reply"}
_MODELS = {
    "openai": ["gpt-5", "gpt-5-mini", "text-embedding-3-small"],
    "anthropic": ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"],
    "google": ["gemini-3-pro-preview", "gemini-2.5-flash", "gemini-embedding-001"],
}
_LISTS = {"anthropic": anthropic_messages, "google": gemini, "openai": openai_chat}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a request: `outcome` is "ok", "error" (the simulator's own 4xx) or a fault's name."""

    call: Call
    steps: list[Step]
    outcome: str
    fault: str | None


class Provider:
    """A script at work: its counters, draws and recordings. A new script is a new Provider."""

    def __init__(
        self, name: str, dialect: Dialect | None, script: Script, ids: random.Random, memory: Memory
    ) -> None:
        """Reads the script's recordings. Raises ScriptError."""
        self.script = script
        self._name, self._dialect, self._ids = name, dialect, ids
        self._seals, self._memory = Seals(name), memory
        memory.owned = tuple(script.owns)
        self._library = Library(script.recordings, script.recordings_ignore)
        for n, reply in enumerate(script.replies):
            if reply.recording is not None and self._library.get(reply.recording) is None:
                raise ScriptError([f"replies[{n}].recording: no recording has the id {reply.recording!r}"])
        on_accept = [fault for fault in script.faults if fault.reset == "on-accept"]
        self._on_accept = Chooser(on_accept, script.seed)
        self._faults = Chooser([f for f in script.faults if f.reset != "on-accept"], script.seed)
        self._replies = Chooser(script.replies, script.seed)
        self._draws = random.Random(f"{script.seed}:headers")

    def accept(self) -> Fault | None:
        """The fault that meets a connection as it is accepted."""
        return self._on_accept.choose(None)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Verdict:
        """The verdict on one request; `headers` have lower-case names."""
        call = read_call(method, target, headers, body, self._dialect)
        request_id = f"req_{new_id(self._ids)}"
        fault: Fault | None = None
        outcome = "ok"
        try:
            fault = self._commanded(Fault, call) or self._faults.choose(call)
            if fault is not None:
                fault = troubles.spelled(call, fault)
            if fault is not None and fault.status is not None and not fault.error_event:
                out = self._failed(call, fault, request_id)
            else:
                out = self._reply(call)
        except Refusal as refusal:
            out = self._refused(call, refusal, request_id)
            outcome = "error"
        known = {name for name, _ in out.headers}
        extra = [pair for pair in _request_ids(call, request_id) if pair[0] not in known]
        out.headers.extend([*extra, ("x-mock-provider", self._name)])
        steps = weave(out, fault, self._failure(call, out, fault, request_id))
        label = fault.label if fault else None
        return Verdict(call, steps, label or outcome, label)

    def refuse_body(self, method: str, target: str, headers: Mapping[str, str]) -> Verdict:
        """The verdict on a request whose body is larger than any the simulator takes."""
        call = read_call(method, target, headers, b"", self._dialect)
        out = self._refused(call, Refusal(413, ""), f"req_{new_id(self._ids)}")
        return Verdict(call, weave(out, None, []), "error", None)

    def _commanded(self, kind: type[RuleT], call: Call) -> RuleT | None:
        """The rule that the request itself brings in a header, where it is for this call."""
        header = _HEADERS[kind]
        text = call.headers.get(header)
        if text is None or not self.script.header_commands:
            return None
        try:
            rule = parse_rule(kind, text, header)
        except ScriptError as error:
            raise Refusal(400, str(error)) from None
        is_due = matches(rule.match, call) and (rule.rate is None or self._draws.random() < rule.rate)
        return rule if is_due else None

    def _refused(self, call: Call, refusal: Refusal, request_id: str) -> Outgoing:
        status = refusal.status
        shape = errors.shape_of(call, status)
        body = errors.error_body(status, shape, refusal.text, request_id, refusal.param)
        more = errors.error_headers(status, shape, refusal.text, None, time.time())
        return Outgoing(status, [_JSON, *more], [sse.encode(body)])

    def _failed(self, call: Call, fault: Fault, request_id: str) -> Outgoing:
        status = fault.status
        assert status is not None  # noqa: S101 - the caller looked
        shape = errors.shape_of(call, status)
        more = errors.error_headers(status, shape, fault.error, fault.retry_after_s, time.time())
        if isinstance(fault.body, str):
            return Outgoing(status, [("content-type", "text/plain"), *more], [fault.body.encode()])
        body = fault.body
        if body is None:
            wait = fault.retry_after_s
            body = errors.error_body(status, shape, fault.error, request_id, fault.error.param, wait)
        return Outgoing(status, [_JSON, *more], [sse.encode(body)])

    def _failure(self, call: Call, out: Outgoing, fault: Fault | None, request_id: str) -> list[bytes]:
        if fault is None or not fault.error_event:
            return []
        if out.stream:
            number = min(events_before(fault), len(out.pieces))
            return errors.error_events(call, fault.error, number, request_id, fault.status)
        # An answer of one piece has no events: the error is its body, under the 200.
        status = fault.status or errors.event_status(call.shape)
        return [sse.encode(errors.error_body(status, call.shape, fault.error, request_id))]

    def _reply(self, call: Call) -> Outgoing:
        credentials.check(call, self.script)
        reply = self._scripted(call)
        out = self._recorded(call, reply)
        if out is None and self.script.recordings_only and reply is _DEFAULT and call.surface != "models":
            raise Refusal(404, "No recording has this request")
        if out is None:
            out = self._compose(call, reply)
        out.split_bytes = reply.split_bytes or self.script.split_bytes
        return out

    def _recorded(self, call: Call, reply: Reply) -> Outgoing | None:
        if reply.recording is not None:
            recording = self._library.get(reply.recording)
            if recording is None:
                raise Refusal(400, f"x-mock-reply: no recording has the id {reply.recording!r}")
            return self._replay(call, recording)
        if not self._library:
            return None
        recording = self._library.find(call.surface, call.stream, call.data)
        return None if recording is None else self._replay(call, recording)

    def _scripted(self, call: Call) -> Reply:
        return self._commanded(Reply, call) or self._replies.choose(call) or _DEFAULT

    def _replay(self, call: Call, recording: Recording) -> Outgoing:
        pieces = [recording.body]
        if recording.stream and self.script.recordings_split == "events":
            cut = event_stream.split if recording.is_binary else sse.split
            pieces = cut(recording.body)
        ping = speech(call).ping
        return Outgoing(recording.status, list(recording.headers), pieces, recording.stream, ping)

    def _compose(self, call: Call, reply: Reply) -> Outgoing:
        if call.surface == "models":
            return _whole(self._models(call))
        checks.check(call, self.script)
        if call.surface in ("openai-responses", "openai-count-tokens"):
            call = self._memory.continued(call, self.script.strict)
        if self.script.strict:
            strict.check(call, self._seals, self._memory)
        counted = self._counted(call, reply)
        return counted if counted is not None else self._said(call, reply)

    def _said(self, call: Call, reply: Reply) -> Outgoing:
        answer = compose(call, reply, self._name, self._ids, self._seals)
        self._memory.note_plain(answer)
        ways = speech(call)
        if answer.hosted or call.surface in ("openai-responses", "openai-chat"):
            self._memory.note_made(ways.whole(answer, call))
        if call.surface == "openai-responses":
            self._memory.store(call, ways.whole(answer, call))
        if not call.stream:
            more = bedrock_invoke.headers(answer) if ways.events is bedrock_invoke.events else []
            return _whole(ways.whole(answer, call), ways.whole_type, more)
        head = [("content-type", ways.stream_type)]
        if ways.stream_type.startswith("text/event-stream"):
            head.append(("cache-control", "no-cache"))
        return Outgoing(200, head, ways.events(answer, call), True, ways.ping)

    def _counted(self, call: Call, reply: Reply) -> Outgoing | None:
        """The answer of a surface that says nothing: counts and embeddings. None for the others."""
        made = _COUNTS.get(call.surface or "")
        if made is None:
            return None
        body, given = made(call), reply.tokens.input
        if given is not None:
            _set_tokens(body, given)
        is_aws = call.surface == "bedrock-embeddings"
        return _whole(body, more=bedrock_invoke.embedding_headers(call, given) if is_aws else ())

    def _models(self, call: Call) -> Any:
        kind = {"anthropic-messages": "anthropic", "gemini": "google"}.get(self._dialect or "")
        if kind is None:
            kind = "openai" if self._dialect or call.shape not in _LISTS else call.shape
        names = _MODELS[kind] if self.script.models is None else self.script.models
        head, found, name = call.path.rpartition("/models/")
        if found and head is not None:
            if name not in names:
                raise Refusal(404, f"The model '{name}' does not exist", "model", "model_not_found")
            return _LISTS[kind].model(name)
        return _LISTS[kind].models(names)


_COUNTS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "openai-embeddings": embeddings.openai,
    "openai-count-tokens": openai_responses.count_tokens,
    "anthropic-count-tokens": anthropic_messages.count_tokens,
    "bedrock-count-tokens": bedrock_converse.count_tokens,
    "bedrock-embeddings": bedrock_invoke.embeddings,
    "gemini-count-tokens": gemini.count_tokens,
    "gemini-embeddings": gemini.embeddings,
}
_TOKEN_FIELDS = frozenset(
    (
        "prompt_tokens",
        "total_tokens",
        "input_tokens",
        "inputTokens",
        "inputTextTokenCount",
        "totalTokens",
        "promptTokenCount",
        "totalTokenCount",
    )
)


def _set_tokens(body: dict[str, Any], count: int) -> None:
    """Puts a scripted count in the place of every one."""
    for holder in (body, body.get("usage"), body.get("usageMetadata")):
        if isinstance(holder, dict):
            holder.update({name: count for name in holder if name in _TOKEN_FIELDS})


def _request_ids(call: Call, request_id: str) -> list[tuple[str, str]]:
    """The request's id under the name that its provider uses; Google has none."""
    shape = call.shape
    if shape == "aws":
        bits = hashlib.md5(request_id.encode(), usedforsecurity=False).digest()
        return [("x-amzn-requestid", str(uuid.UUID(bytes=bits, version=4)))]
    if shape == "google":
        return []
    return [("request-id" if shape == "anthropic" else "x-request-id", request_id)]


def _whole(body: Any, kind: str = "application/json", more: Sequence[tuple[str, str]] = ()) -> Outgoing:
    return Outgoing(200, [("content-type", kind), *more], [sse.encode(body)])
