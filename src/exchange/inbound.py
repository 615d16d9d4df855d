"""A request's headers, and which of a client's are never passed on."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

# Headers of a client's that are never passed on: credentials, accounts, what only Envoy or the broker may
# say, and traces, which are for providers only where the configuration says so. Everything that begins with
# one of the prefixes goes too.
_CLIENT_ONLY = frozenset(
    (
        "authorization",
        "api-key",
        "baggage",
        "cookie",
        "forwarded",
        "openai-organization",
        "openai-project",
        "proxy-authorization",
        "traceparent",
        "tracestate",
        "x-api-key",
        "x-goog-api-key",
        "x-real-ip",
        "x-request-id",
    )
)
# Envoy's router needs x-forwarded-proto, which Envoy itself has set; the member listener strips it.
_KEPT = frozenset(("x-forwarded-proto",))
_CLIENT_ONLY_PREFIXES = ("x-broker-", "broker-", "x-envoy-", "x-forwarded-", "x-amz-")


BROKERS_PREFIX = "x-broker-"
_INTERNAL_PREFIXES = (BROKERS_PREFIX, "broker-")
ID_HEADER = "x-broker-request-id"


def _is_client_only(name: str) -> bool:
    """`name` with dashes: behind CGI-like servers an underscore means the same."""
    return name in _CLIENT_ONLY or name.startswith(_CLIENT_ONLY_PREFIXES)


# The two below are asked with the same few tuples of names, since agents send the same headers all day.


@functools.lru_cache(maxsize=256)
def spoofed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those in the broker's name. Its id is not among them: it is overwritten."""
    return tuple(sorted(n for n in set(names) if n.startswith(_INTERNAL_PREFIXES) and n != ID_HEADER))


@functools.lru_cache(maxsize=256)
def not_to_go_on(names: tuple[str, ...], ours: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a client's that must not go on; `ours` are overwritten."""
    kept = _KEPT.union(ours)
    return tuple(n for n in set(names) if n not in kept and _is_client_only(n.replace("_", "-")))


class Inbound:
    """A request's headers: names in lower case, pseudo-headers included."""

    __slots__ = ("_first", "_names")

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        self._first = dict(reversed(headers))  # of values with the same name the first one wins
        self._names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, first_values: dict[str, str]) -> Inbound:
        """The same where nobody has to look for names that come twice."""
        inbound = cls.__new__(cls)
        inbound._first = first_values
        inbound._names = None
        return inbound

    def first(self, name: str) -> str:
        return self._first.get(name, "")

    @property
    def length(self) -> int:
        """Of the body, as the client says it; 0 where it says none."""
        said = self.first("content-length")
        # Twenty digits are more than any limit, and how many more there are makes no difference.
        return int(said[:20]) if said.isascii() and said.isdigit() else 0

    @property
    def patience_s(self) -> float:
        """How long the caller waits, as far as it says so: OpenAI's and Anthropic's SDKs do."""
        said = self.first("x-stainless-timeout")
        try:
            patience_s = float(said) if said else math.inf
        except ValueError:
            return math.inf
        return patience_s if patience_s > 0 else math.inf

    @property
    def names(self) -> tuple[str, ...]:
        if self._names is None:
            self._names = tuple(self._first)
        return self._names


NO_HEADERS = Inbound(())
