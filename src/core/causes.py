"""Why an attempt failed, and what a pool does about it unless it says otherwise (`on`)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Cause(Enum):
    """What went wrong with an attempt; the values are the names in YAML, records, metrics and docs."""

    # What the broker itself meets on the way.
    CONNECT = "connect"  # refused, unreachable, or not there in time
    DNS = "dns"
    TLS = "tls"
    RESET = "reset"  # the connection broke
    TIMEOUT = "timeout"  # no answer in time; also where the provider says so itself (408, 504)
    FIRST_EVENT = "first-event"  # a stream began, and nothing came in it in time
    STALL = "stall"  # a reply that had begun fell silent
    CUT = "cut"  # a reply ended early, but cleanly
    GARBAGE = "garbage"  # what came is not of the dialect
    CAPACITY = "capacity"  # `concurrency` of the member or its provider is used up: nothing was sent
    NOT_CARRIED = "not-carried"  # the member's dialect can't say what the call holds: nothing was sent
    # What the provider says.
    CREDENTIAL = "credential"  # of our own key: never the client's
    BILLING = "billing"  # of our own account's credit or quota
    MODEL_NOT_FOUND = "model-not-found"
    CONFLICT = "conflict"
    TOO_LARGE = "too-large"
    RATE_LIMIT = "rate-limit"
    SERVER = "server-error"
    OVERLOADED = "overloaded"
    CONTEXT_OVERFLOW = "context-overflow"
    CONTENT_POLICY = "content-policy"
    NOT_FOUND = "unknown-id"  # of something that the call names and that is no model
    BAD_REQUEST = "bad-request"  # anything else about the request itself

    # Each cause is there once, so what it is suffices; Enum hashes the name, in Python, many times a call.
    __hash__ = object.__hash__


class Action(Enum):
    """What is done next: another member (of the same priority while there is one), one of a later priority,
    or nothing: the client gets the member's own answer."""

    NEXT = "next"
    NEXT_PRIORITY = "next-priority"
    CLIENT = "client"


# A client's own bad request is never tried again, whatever a pool says.
ALWAYS_CLIENTS = frozenset((Cause.BAD_REQUEST, Cause.NOT_FOUND))
# What is too long, too large or against a policy at one provider mostly is so at the next; a pool whose
# members differ in that can say `next`.
_CLIENTS = ALWAYS_CLIENTS | {Cause.CONTEXT_OVERFLOW, Cause.CONTENT_POLICY, Cause.TOO_LARGE}
DEFAULT_ACTIONS: Mapping[Cause, Action] = MappingProxyType(
    {cause: Action.CLIENT if cause in _CLIENTS else Action.NEXT for cause in Cause}
)
# What a record calls an attempt that failed so, where nobody who looked closer has named it.
CODES: Mapping[Cause, str] = MappingProxyType(
    {
        Cause.CONNECT: "upstream_connect_failed",
        Cause.DNS: "upstream_connect_failed",
        Cause.TLS: "upstream_connect_failed",
        Cause.RESET: "upstream_reset",
        Cause.TIMEOUT: "upstream_timeout",
        Cause.FIRST_EVENT: "upstream_timeout",
        Cause.STALL: "upstream_stalled",
        Cause.CUT: "upstream_cut",
        Cause.GARBAGE: "upstream_garbage",
        Cause.CAPACITY: "upstream_at_capacity",
        Cause.NOT_CARRIED: "content_not_supported",
        Cause.CREDENTIAL: "upstream_credential_refused",
        Cause.BILLING: "upstream_billing",
        Cause.MODEL_NOT_FOUND: "upstream_model_not_found",
        Cause.CONFLICT: "upstream_error",
        Cause.TOO_LARGE: "upstream_refused",
        Cause.RATE_LIMIT: "upstream_rate_limited",
        Cause.SERVER: "upstream_error",
        Cause.OVERLOADED: "upstream_overloaded",
        Cause.CONTEXT_OVERFLOW: "upstream_refused",
        Cause.CONTENT_POLICY: "upstream_refused",
        Cause.NOT_FOUND: "upstream_refused",
        Cause.BAD_REQUEST: "upstream_refused",
    }
)
# About this one call, or about ourselves: no reason to take the member out.
BLAMELESS = ALWAYS_CLIENTS | {
    Cause.CONTEXT_OVERFLOW,
    Cause.CONTENT_POLICY,
    Cause.TOO_LARGE,
    Cause.CONFLICT,
    Cause.CAPACITY,
    Cause.NOT_CARRIED,
}
# In words, for people.
MEANINGS: Mapping[Cause, str] = MappingProxyType(
    {
        Cause.CONNECT: "the provider could not be connected to: refused, unreachable, or not there in time",
        Cause.DNS: "the provider's name was not found",
        Cause.TLS: "no encrypted connection came about: a certificate, a version",
        Cause.RESET: "the connection broke before the answer was whole",
        Cause.TIMEOUT: "no answer in time; also where the provider itself says so",
        Cause.FIRST_EVENT: "a stream began, and nothing came in it in time",
        Cause.STALL: "a reply that had begun fell silent",
        Cause.CUT: "a reply ended early, but cleanly",
        Cause.GARBAGE: (
            "what answered is not the API: a page, a redirect, no status; mostly a wrong `base_url`"
        ),
        Cause.CAPACITY: "`concurrency` of the member or its provider is used up; nothing was sent",
        Cause.NOT_CARRIED: "the member's dialect can't say what the call holds; nothing was sent",
        Cause.CREDENTIAL: "the provider refuses the broker's key, or the place where the broker is",
        Cause.BILLING: (
            "the account that the key belongs to has no credit, or its spending has reached a limit"
        ),
        Cause.MODEL_NOT_FOUND: "the member's model is not there, not any more, or not for this account",
        Cause.CONFLICT: "the provider could not do it at this moment",
        Cause.TOO_LARGE: "the request is larger than this provider or this account may take at once",
        Cause.RATE_LIMIT: "too many requests or tokens of this account",
        Cause.SERVER: "the provider failed",
        Cause.OVERLOADED: "the provider has no capacity at this moment, for anybody",
        Cause.CONTEXT_OVERFLOW: "the prompt is longer than the model's context",
        Cause.CONTENT_POLICY: "the provider will not have this content",
        Cause.NOT_FOUND: "the call names a file, a reply, a container … that is not at this account",
        Cause.BAD_REQUEST: "anything else that is wrong with the request",
    }
)
