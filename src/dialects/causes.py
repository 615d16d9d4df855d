"""Which cause an error reply of a provider has: one table, for Python and for the Lua of member listeners.

A reply is judged by its status and by its body, in small letters, up to `MOST_BYTES`. The first rule that
fits says the cause; where none fits, the status says it. The rules themselves are in cause_rules.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..core.causes import Cause
from .cause_rule import Rule
from .cause_rules import RULES

MOST_BYTES = 64 * 1024  # of a body, that are looked at

# Sources: RFC 9110; RFC 8470 (425); Groq, "API Error Codes" (498); AIP-193, "Errors" (499); Anthropic API,
# "Errors" (529); Cloudflare, "5xx errors" (522, 524).
BY_STATUS: Mapping[int, Cause] = MappingProxyType(
    {
        401: Cause.CREDENTIAL,
        402: Cause.BILLING,
        403: Cause.CREDENTIAL,
        404: Cause.NOT_FOUND,
        # The broker makes method, path and host: a `base_url` that leads elsewhere, or a proxy on the way.
        405: Cause.GARBAGE,
        407: Cause.GARBAGE,
        408: Cause.TIMEOUT,
        409: Cause.CONFLICT,
        410: Cause.MODEL_NOT_FOUND,
        413: Cause.TOO_LARGE,
        414: Cause.TOO_LARGE,
        421: Cause.GARBAGE,
        424: Cause.SERVER,  # the model behind the provider failed: Bedrock, Hugging Face
        425: Cause.CONFLICT,  # not at this moment, and nothing is wrong with the call
        426: Cause.GARBAGE,
        429: Cause.RATE_LIMIT,
        431: Cause.TOO_LARGE,
        451: Cause.CREDENTIAL,  # not from the broker's place
        498: Cause.OVERLOADED,  # Groq's flex tier has no capacity
        499: Cause.TIMEOUT,  # Google's CANCELLED
        503: Cause.OVERLOADED,
        504: Cause.TIMEOUT,
        522: Cause.TIMEOUT,
        524: Cause.TIMEOUT,
        529: Cause.OVERLOADED,
    }
)


def is_failure(status: int) -> bool:
    """Is it the status of an error at all? Redirects and what is no status are answers of nobody."""
    return 400 <= status < 600


def by_status(status: int) -> Cause:
    """Of a body that says nothing."""
    if not is_failure(status):
        return Cause.GARBAGE
    return BY_STATUS.get(status, Cause.SERVER if status >= 500 else Cause.BAD_REQUEST)


def rules(dialect: str) -> tuple[Rule, ...]:
    """The rules of a dialect, in their order. KeyError for one that there is not."""
    return RULES[dialect]


def cause_of(dialect: str, status: int, body: bytes, kind: str = "") -> Cause:
    """The cause of a reply that is no success; GARBAGE where its status is that of no error. `kind`: what a
    header says of it (`x-amzn-errortype`). Total."""
    if not is_failure(status):
        return Cause.GARBAGE
    text = _text(body, kind)
    return next((rule.cause for rule in RULES[dialect] if rule.fits(status, text)), by_status(status))


def _text(body: bytes, kind: str) -> str:
    """What the rules look at: the header in a line of its own, and the body, a character a byte. None but
    ASCII letters are made small, as in Lua."""
    text = b"\n%b\n%b" % (kind.encode("utf-8", "replace"), body[:MOST_BYTES])
    return text.lower().replace(b'": ', b'":').decode("latin-1")
