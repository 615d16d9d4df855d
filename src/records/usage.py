"""What an attempt used, out of what its reply left in the access log's entry."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.causes import Cause
from ..core.usage import EXACT, NOTHING, PARTIAL, UNKNOWN, Usage
from ..dialects import provider_usage, used_from
from ..envoyapi import AnyMessage

# The provider never saw the request.
_NOT_SENT = frozenset((Cause.CONNECT, Cause.DNS, Cause.TLS, Cause.CAPACITY, Cause.NOT_CARRIED))
_VIA_UPSTREAM = "via_upstream"  # Envoy's details of what the provider itself said


def usage_in(
    left: Mapping[str, AnyMessage], status: int, cause: Cause | None, is_whole: bool, details: str
) -> tuple[Usage | None, str, str]:
    """(usage, state, service tier). `left` is what ext_proc and the member's listener left of the call,
    `status` and `details` are those of the entry; `is_whole`: the reply came to its proper end."""
    usage, state, tier = _found(left, status, cause, is_whole, details)
    if usage is not None and not (usage.prompt or usage.output or usage.beside):
        return None, UNKNOWN, tier  # a provider that counted nothing has not counted: no reply is free
    return usage, state, tier


def _found(
    left: Mapping[str, AnyMessage], status: int, cause: Cause | None, is_whole: bool, details: str
) -> tuple[Usage | None, str, str]:
    if "counts" in left:
        return None, NOTHING, ""
    used = used_from(left["used"].string_value) if "used" in left else None
    if used is None:
        late_tier, last = _usage_text(left, "usage")
        tier, so_far = _usage_text(left, "usage_so_far")
        if not (last or so_far):
            return None, _state_of_none(left, status, cause, details), ""
        dialect = left["dialect"].string_value
        used = provider_usage(dialect, last, so_far, late_tier or tier)
        if used is None:
            return None, UNKNOWN, ""
        # Where others tell usage in each event, the last one had all of it; Anthropic's first event has not.
        if not last and is_whole and dialect != "anthropic-messages":
            return used.usage, EXACT, used.tier
    return used.usage, EXACT if used.is_final else PARTIAL, used.tier


def _usage_text(left: Mapping[str, AnyMessage], name: str) -> tuple[str, str]:
    """(tier, JSON): the tier stands in front of it, where the reply tells it beside the usage."""
    if name not in left:
        return "", ""
    text: str = left[name].string_value
    at = text.find("{")
    return (text[:at], text[at:]) if at > 0 else ("", text)


def _state_of_none(left: Mapping[str, AnyMessage], status: int, cause: Cause | None, details: str) -> str:
    """Nothing was told. An error reply costs nothing; where the provider was cut off, or was too late, it may
    have worked all the same."""
    if cause in _NOT_SENT:
        return NOTHING
    if "provider_status" in left:
        said = left["provider_status"].string_value
        return NOTHING if said.isdecimal() and int(said) >= 300 else UNKNOWN
    return NOTHING if status >= 300 and details == _VIA_UPSTREAM else UNKNOWN
