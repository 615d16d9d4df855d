"""What every dialect gives: facts out of a request, errors, and the start of a stream judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

import msgspec

from ..core.call import Surface
from ..core.causes import DEFAULT_ACTIONS, Action, Cause
from ..core.errors import BadRequest, CallError
from .sse import SseEvent


class RequestFacts(msgspec.Struct, frozen=True):
    """Facts that a request body tells. `model_span` is where the JSON string of `model` stands in the
    body, quotes included: (first byte, byte behind)."""

    model: str
    model_span: tuple[int, int]
    context_tokens: int
    max_output_tokens: int | None
    tools: bool
    images: bool
    documents: bool
    schema: bool
    reasoning: bool
    stream: bool
    audio: bool = False
    choices: int = 1
    same_dialect: str = ""  # the first field that only members of this very dialect can serve
    ids: tuple[tuple[str, str], ...] = ()  # (field, id) of each thing that lives at a provider's account
    marked: bool = False  # holds the broker's tags (blobs.py): a same-dialect member gets it rewritten
    stateful: bool = False  # the client asks that the reply be kept at the provider
    hosted_tools: bool = False  # the client asks for tools that run at the provider
    files: bool = False  # names a file, or another thing at an account that is no reply
    image_urls: bool = False  # of `images`, one that the provider is to fetch itself
    document_urls: bool = False
    # The reply will hold what only its own account can use again: a kept response, encrypted reasoning.
    binds: bool = False
    adds_usage: bool = False  # a stream that tells usage only if it is asked to, and the client says nothing
    hides_usage: bool = False  # the same, and the client says that it wants none


class Stage(Enum):
    """What an event says about a stream that has just begun."""

    PREAMBLE = "preamble"  # the provider is alive, nothing of the answer is here yet
    REAL = "real"  # a piece of the answer
    FAULT = "fault"  # the provider gave up


@dataclass(frozen=True, slots=True)
class UpstreamFault:
    """A provider's failure inside a stream: HTTP status that stands for it, its own words, and what it is."""

    status: int
    code: str
    message: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class StreamStart:
    """`fault`: of the stage FAULT. `cause`: why the provider gave up. A REAL event that has one is an error
    about this very request: it goes to the client unless the pool says otherwise."""

    stage: Stage
    fault: UpstreamFault | None = None
    cause: Cause | None = None


Request = TypeVar("Request")

ABSENT = msgspec.Raw()  # what a dialect's request has for a field that the body does not have
PREAMBLE = StreamStart(Stage.PREAMBLE)
REAL = StreamStart(Stage.REAL)


CREDENTIAL_MESSAGE = "the provider refused the broker's own credential: its operator has to mend it"
BILLING_MESSAGE = "the provider refuses the broker's account until its bill is settled or its quota raised"
# A client asked for a pool: which models its members have is not its affair.
MODEL_MESSAGE = "the provider has no such model for the broker's account: its operator has to mend the pool"
# What a client is told in the place of the provider's words.
OWN_MESSAGES = {
    Cause.CREDENTIAL: CREDENTIAL_MESSAGE,
    Cause.BILLING: BILLING_MESSAGE,
    Cause.MODEL_NOT_FOUND: MODEL_MESSAGE,
}


def failed(cause: Cause, message: str) -> StreamStart:
    """What an error in the place of a stream's first real event is. Of our own account nothing of the
    provider's words is passed on: they may quote the key. An answer about this very request is REAL: another
    member would mostly say the same."""
    if DEFAULT_ACTIONS[cause] is Action.CLIENT:
        return StreamStart(Stage.REAL, cause=cause)
    match cause:
        case Cause.CREDENTIAL:
            fault = UpstreamFault(502, "upstream_credential_refused", CREDENTIAL_MESSAGE, cause)
        case Cause.BILLING:
            fault = UpstreamFault(503, "upstream_billing", BILLING_MESSAGE, cause)
        case Cause.MODEL_NOT_FOUND:
            fault = UpstreamFault(502, "upstream_model_not_found", MODEL_MESSAGE, cause)
        case Cause.RATE_LIMIT:
            fault = UpstreamFault(429, "upstream_rate_limited", message, cause)
        case Cause.OVERLOADED:
            fault = UpstreamFault(529, "upstream_overloaded", message, cause)
        case Cause.GARBAGE:
            fault = UpstreamFault(502, "upstream_garbage", message, cause)
        case _:
            fault = UpstreamFault(503, "upstream_error", message, cause)
    return StreamStart(Stage.FAULT, fault, cause)


def garbage(what: bytes) -> StreamStart:
    """An event that is not of the dialect: its first bytes are shown so that a person can tell why."""
    shown = what[:60].decode("utf-8", "replace")
    return failed(Cause.GARBAGE, f"the provider's stream is not valid: it begins with {shown!r}")


class Dialect(Protocol):
    """A wire protocol as the broker needs it. All methods are pure."""

    @property
    def name(self) -> str:
        """As in YAML."""

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """The operations that clients of this dialect may call."""

    def read(self, body: bytes) -> RequestFacts:
        """The facts of a request. BadRequest where the body can't be routed."""

    def error_body(self, error: CallError, request_id: str) -> bytes:
        """The error as this dialect's SDK expects it: one JSON object."""

    def judge(self, event: SseEvent) -> StreamStart:
        """What an event says about a stream of which nothing was let through yet."""

    def is_last(self, event: SseEvent) -> bool | None:
        """True: a stream that ends behind this event is whole (or ended with an error that says so); False:
        it is not, whatever was said before; None: the event does not change that."""

    def models_body(self, names: Sequence[str]) -> bytes:
        """The answer to `GET /v1/models`: one JSON object."""

    def model_body(self, name: str) -> bytes:
        """The answer to `GET /v1/models/NAME`: one JSON object."""


def decode_json(data: bytes | msgspec.Raw) -> Any:
    """The value, or None where the bytes are no JSON (a stream's `data` is never a bare null)."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode_request(decoder: msgspec.json.Decoder[Request], body: bytes) -> Request:
    """The request's routing fields; BadRequest in words where they can't be read."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        message, _, path = str(wrong).partition(" - at ")
        field = path.strip("`").removeprefix("$.") or "the body"
        raise BadRequest(400, "invalid_request", f"{field}: {message}", param=field) from None
    except msgspec.DecodeError as wrong:
        raise BadRequest(400, "invalid_json", f"the body is not valid JSON: {wrong}") from None
    except UnicodeDecodeError:
        raise BadRequest(400, "invalid_json", "the body is not valid JSON: it is not UTF-8") from None
    except RecursionError:
        raise BadRequest(400, "invalid_json", "the body is nested too deeply to be read") from None
