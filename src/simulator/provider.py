"""The provider's mind: from a request to a plan. No sockets and no waiting here."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import anthropic_messages, errors, openai_chat, openai_responses, sse
from .answers import compose, new_id
from .plan import Outgoing, Step, events_before, weave
from .recordings import Library, Recording
from .requests import Call, credential, input_tokens, read_call
from .rules import Chooser
from .script import Dialect, ErrorText, Fault, Reply, Script, ScriptError, parse_rule

_JSON = ("content-type", "application/json")
_SSE = ("content-type", "text/event-stream; charset=utf-8")
_WHOLE = {
    "openai-chat": openai_chat.whole,
    "openai-responses": openai_responses.whole,
    "anthropic-messages": anthropic_messages.whole,
}
_EVENTS = {
    "openai-chat": openai_chat.events,
    "openai-responses": openai_responses.events,
    "anthropic-messages": anthropic_messages.events,
}
_DEFAULT = Reply()
_MODELS = {
    "openai": ["gpt-5", "gpt-5-mini", "text-embedding-3-small"],
    "anthropic": ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"],
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a request: `outcome` is "ok", "error" (the simulator's own 4xx) or a fault's name."""

    call: Call
    steps: list[Step]
    outcome: str
    fault: str | None


class _Refusal(Exception):
    """A request the real provider would refuse."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param
        self.text = ErrorText(message=message, code=code)


class Provider:
    """A script at work: its counters, draws and recordings. A new script is a new Provider."""

    def __init__(self, name: str, dialect: Dialect | None, script: Script, ids: random.Random) -> None:
        """Reads the script's recordings. Raises ScriptError."""
        self.script = script
        self._name, self._dialect, self._ids = name, dialect, ids
        self._library = Library(script.recordings, script.recordings_ignore)
        for n, reply in enumerate(script.replies):
            if reply.recording is not None and self._library.get(reply.recording) is None:
                raise ScriptError([f"replies[{n}].recording: no recording has the id {reply.recording!r}"])
        on_accept = [fault for fault in script.faults if fault.reset == "on-accept"]
        self._on_accept = Chooser(on_accept, script.seed)
        self._faults = Chooser([f for f in script.faults if f.reset != "on-accept"], script.seed)
        self._replies = Chooser(script.replies, script.seed)

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
            fault = self._command(call) or self._faults.choose(call)
            if fault is not None and fault.status is not None and not fault.error_event:
                out = self._failed(call, fault, request_id)
            else:
                out = self._reply(call)
        except _Refusal as refusal:
            out = self._refused(call, refusal, request_id)
            outcome = "error"
        id_name = "request-id" if call.anthropic else "x-request-id"
        known = {name for name, _ in out.headers}
        extra = [(id_name, request_id)] if id_name not in known else []
        out.headers.extend([*extra, ("x-mock-provider", self._name)])
        steps = weave(out, fault, self._failure(call, out, fault, request_id))
        label = fault.label if fault else None
        return Verdict(call, steps, label or outcome, label)

    def refuse_body(self, method: str, target: str, headers: Mapping[str, str]) -> Verdict:
        """The verdict on a request whose body is larger than any the simulator takes."""
        call = read_call(method, target, headers, b"", self._dialect)
        refusal = _Refusal(413, "Request exceeds the maximum size")
        out = self._refused(call, refusal, f"req_{new_id(self._ids)}")
        return Verdict(call, weave(out, None, []), "error", None)

    def _command(self, call: Call) -> Fault | None:
        text = call.headers.get("x-mock-fault")
        if text is None or not self.script.header_commands:
            return None
        try:
            return parse_rule(Fault, text, "x-mock-fault")
        except ScriptError as error:
            raise _Refusal(400, str(error)) from None

    def _refused(self, call: Call, refusal: _Refusal, request_id: str) -> Outgoing:
        body = errors.error_body(refusal.status, call.anthropic, refusal.text, request_id, refusal.param)
        return Outgoing(refusal.status, [_JSON], [sse.encode(body)])

    def _failed(self, call: Call, fault: Fault, request_id: str) -> Outgoing:
        assert fault.status is not None  # noqa: S101 - the caller looked
        waits = errors.error_headers(fault.status, call.anthropic, fault.retry_after_s, time.time())
        if isinstance(fault.body, str):
            return Outgoing(fault.status, [("content-type", "text/plain"), *waits], [fault.body.encode()])
        body = fault.body
        if body is None:
            body = errors.error_body(fault.status, call.anthropic, fault.error, request_id)
        return Outgoing(fault.status, [_JSON, *waits], [sse.encode(body)])

    def _failure(self, call: Call, out: Outgoing, fault: Fault | None, request_id: str) -> list[bytes]:
        if fault is None or not fault.error_event:
            return []
        if out.stream:
            number = min(events_before(fault), len(out.pieces))
            return errors.error_events(call.surface, fault.error, number, request_id)
        # An answer of one piece has no events: the error is its body, under the 200.
        status = 529 if call.anthropic else 500
        return [sse.encode(errors.error_body(status, call.anthropic, fault.error, request_id))]

    def _reply(self, call: Call) -> Outgoing:
        self._check_key(call)
        reply = self._scripted(call)
        if reply.recording is not None:
            recording = self._library.get(reply.recording)
            if recording is None:
                raise _Refusal(400, f"x-mock-reply: no recording has the id {reply.recording!r}")
            return self._replay(call, recording)
        if self._library:
            recording = self._library.find(call.surface, call.data)
            if recording is not None:
                return self._replay(call, recording)
        if self.script.recordings_only and reply is _DEFAULT and call.surface != "models":
            raise _Refusal(404, "No recording has this request")
        return self._compose(call, reply)

    def _scripted(self, call: Call) -> Reply:
        text = call.headers.get("x-mock-reply")
        if text is not None and self.script.header_commands:
            try:
                return parse_rule(Reply, text, "x-mock-reply")
            except ScriptError as error:
                raise _Refusal(400, str(error)) from None
        return self._replies.choose(call) or _DEFAULT

    def _check_key(self, call: Call) -> None:
        if not self.script.require_key:
            return
        key = credential(call.headers)
        if key is None:
            missing = "x-api-key header is required" if call.anthropic else "You didn't provide an API key."
            raise _Refusal(401, missing)
        if self.script.keys is not None and key not in self.script.keys:
            wrong = "invalid x-api-key" if call.anthropic else "Incorrect API key provided."
            raise _Refusal(401, wrong)

    def _replay(self, call: Call, recording: Recording) -> Outgoing:
        pieces = [recording.body]
        if recording.stream and self.script.recordings_split == "events":
            pieces = sse.split(recording.body)
        ping = anthropic_messages.PING if call.anthropic else b": ping\n\n"
        return Outgoing(recording.status, list(recording.headers), pieces, recording.stream, ping)

    def _compose(self, call: Call, reply: Reply) -> Outgoing:
        surface = call.surface
        if surface == "models":
            return _whole(self._models(call))
        if surface is None:
            raise _Refusal(404, f"Not found: {call.method} {call.path}")
        self._check(call)
        if surface == "openai-embeddings":
            body = openai_chat.embeddings(call)
            if reply.tokens.input is not None:
                body["usage"] = dict.fromkeys(("prompt_tokens", "total_tokens"), reply.tokens.input)
            return _whole(body)
        if surface == "anthropic-count-tokens":
            given = reply.tokens.input
            return _whole({"input_tokens": input_tokens(call) if given is None else given})
        answer = compose(call, reply, self._name, self._ids)
        if not call.stream:
            return _whole(_WHOLE[surface](answer, call))
        ping = anthropic_messages.PING if call.anthropic else b": ping\n\n"
        return Outgoing(
            200, [_SSE, ("cache-control", "no-cache")], _EVENTS[surface](answer, call), True, ping
        )

    def _check(self, call: Call) -> None:
        """What the real providers refuse before any model is asked. Raises _Refusal."""
        if not isinstance(call.data, dict):
            what = "a JSON object" if call.data is not None or not call.body else "JSON"
            raise _Refusal(400, f"The body of the request is not {what}.")
        if call.anthropic and self.script.require_version and "anthropic-version" not in call.headers:
            raise _Refusal(400, "anthropic-version: header is required")
        if not call.model:
            required = "model: Field required" if call.anthropic else "you must provide a model parameter"
            raise _Refusal(400, required, "model")
        chat = call.surface not in ("openai-responses", "openai-embeddings")
        content = "messages" if chat else "input"
        if not call.fields.get(content) and (chat or call.surface == "openai-embeddings"):
            problem = (
                f"{content}: Field required"
                if call.anthropic
                else f"Missing required parameter: '{content}'."
            )
            raise _Refusal(400, problem, content, "missing_required_parameter")
        if call.surface == "anthropic-messages" and not isinstance(call.fields.get("max_tokens"), int):
            raise _Refusal(400, "max_tokens: Field required", "max_tokens")

    def _models(self, call: Call) -> Any:
        anthropic = self._dialect == "anthropic-messages" or (self._dialect is None and call.anthropic)
        dialect = anthropic_messages if anthropic else openai_chat
        names = self.script.models
        if names is None:
            names = _MODELS["anthropic" if anthropic else "openai"]
        head, found, name = call.path.rpartition("/models/")
        if found and head is not None:
            if name not in names:
                raise _Refusal(404, f"The model '{name}' does not exist", "model", "model_not_found")
            return dialect.model(name)
        return dialect.models(names)


def _whole(body: Any) -> Outgoing:
    return Outgoing(200, [_JSON], [sse.encode(body)])
