"""Names that follow from content, so that two parts of the broker (and two replicas) agree on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .catalog import Limits, Member, Pool, Provider, Timeouts

# Goes up when the same member would be rendered otherwise, so that an upgrade makes new listeners.
RENDERING = "9"
# What the broker's own answers carry as details in Envoy: they are rendered in the client's dialect already.
BROKER_DETAILS = "modelbroker"
# Marks a reply of a member's own Envoy, on its way through ext_proc: it is in the client's dialect already.
LOCAL_REPLY_HEADER = "x-broker-local-reply"
# The code of an answer that is no member's (docs/errors.md), for the client and for the record.
CODE_HEADER = "x-broker-code"
# What a call had to do with its pool's cache: for the client, and from one attempt to the next.
CACHE_HEADER = "x-broker-cache"
# The span of a call that is traced, as `traceparent` would name it: for its attempts, and for its client.
TRACE_HEADER = "x-broker-trace"
# The filter of the outer listener that shows replies of captured calls.
CAPTURE_FILTER = "modelbroker.capture"
# What ext_proc says of such a call, for the routes: in metadata, which no client sends and no provider sees.
REPLY_SEEN = "reply_seen"
# Of a reply that hands an attempt back to the outer listener: why it failed, and at which member. They begin
# otherwise than the headers that a client may see: those are taken off behind the member.
CAUSE_HEADER = "broker-cause"
MEMBER_HEADER = "broker-member"
# How many attempts are behind an answer of a hedge's; of a request to it: whom Envoy may pick, and how many
# attempts are for a level before the next one.
ATTEMPTS_HEADER = "broker-attempts"
CLASS_HEADER = "x-broker-class"
HEDGE_HEADER = "x-broker-hedge"
# What ext_proc is told of a passing stream's call, beside its reply: until when its first event has to be
# there (the monotonic clock, in ms), and for which causes it is handed back. CEL, and the names of the
# answers.
FIRST_EVENT_BY = "metadata.filter_metadata['modelbroker']['first_event_by']"
HANDBACK = "metadata.filter_metadata['modelbroker']['handback']"
# The longest that Envoy waits for ext_proc's answer to one message, whatever ext_proc says.
MOST_MESSAGE_MS = 3_600_000
# Whether a failed reply counts against the member.
BLAME_HEADER = "broker-blame"
BLAMELESS_HEADER = "broker-blameless"


# The filter that verifies tokens: its name is that of its resource, and of what it tells ext_proc. There the
# claims of a good token stand behind one of these with the issuer's name, and why one is not good behind the
# other. CEL: the first URI of the client's certificate.
JWT_FILTER = "envoy.filters.http.jwt_authn"
VOUCHED = "good:"
UNVOUCHED = "bad:"
CERTIFICATE_URI = "connection.uri_san_peer_certificate"


def content_hash(*parts: object) -> str:
    """12 hex digits that stand for the content of `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def member_key(
    provider: Provider, member: Member, limits: Limits, timeouts: Timeouts, signing: str = ""
) -> str:
    """What a member listener does, as a hash: two pools with the same member share one listener.

    `signing` is the digest of a credential that stands in the listener itself (State.signing)."""
    shape = (
        provider.name,
        provider.dialects,
        provider.base_url,
        provider.auth.name,
        str(provider.credential),
        provider.region,
        provider.project,
        provider.api_version,
        sorted(provider.headers),
        provider.ca_file,
        provider.ca_digest,
        provider.own_model(member.model),
        provider.variant,
        sorted(provider.deviations.items()),
        member.capabilities.max_output_tokens,
        member.capabilities.reasoning,
    )
    caps = (limits.concurrency, provider.concurrency, member.concurrency)
    bounds = (limits.request_bytes, caps, *_waits(limits, timeouts))
    return content_hash(RENDERING, shape, member.model, signing, *bounds)


def _waits(limits: Limits, timeouts: Timeouts) -> tuple[int, int, int]:
    """Of all that a pool says of waiting, what stands in Envoy's configuration rather than in each call."""
    return limits.idle_ms, timeouts.connect_ms, silence_ms(limits, timeouts)


def silence_ms(limits: Limits, timeouts: Timeouts) -> int:
    """How long a stream that has begun may be silent. The same clock runs until it begins, so it is never
    shorter than that may take. (For whole replies there is `limits.idle` alone.)"""
    return min(limits.idle_ms, max(timeouts.between_events_ms, timeouts.first_event_ms))


def listener_name(member: Member, key: str) -> str:
    return f"member/{member.id}/{key}"


def provider_cluster(provider: Provider, member: Member, limits: Limits, connect_ms: int) -> str:
    """Shared by the provider's members, but for those with a cap of their own: Envoy counts by cluster."""
    shape = (
        provider.base_url,
        provider.ca_file,
        provider.ca_digest,
        limits.request_bytes,
        concurrency(provider, member, limits),
        connect_ms,
        member.id if member.concurrency else "",
    )
    return f"provider/{provider.name}/{content_hash(RENDERING, *shape)}"


def concurrency(provider: Provider, member: Member, limits: Limits) -> int:
    """Calls that may be under way together in the member's provider cluster."""
    return min(cap for cap in (member.concurrency, provider.concurrency, limits.concurrency) if cap)


def pool_cluster(pool: Pool, limits: Limits) -> str:
    """Clusters are immutable: what changes often (members, weights) is in their endpoints."""
    # How a member comes back after an ejection is not among them: that is weights.
    eject = pool.ejection
    ejection = (eject.enabled, eject.consecutive_errors, eject.base_ms, eject.max_ms)
    shape = (ejection, limits.request_bytes, limits.concurrency)
    return f"pool/{pool.name}/{content_hash(RENDERING, *shape)}"


def hedge_name(pool: Pool, limits: Limits) -> str:
    """Of the listener and the cluster where a pool's calls are hedged."""
    on = [(cause.value, action if isinstance(action, str) else action.value) for cause, action in pool.on]
    shape = (pool_cluster(pool, limits), pool.hedge, on, limits.idle_ms)
    return f"hedge/{pool.name}/{content_hash(RENDERING, *shape)}"


def secret_name(provider: Provider) -> str:
    """The name under which Envoy asks for the provider's credential."""
    return f"credential/{provider.name}/{content_hash(str(provider.credential), provider.auth.prefix)}"


def class_name(member_keys: Iterable[str]) -> str:
    """The class of an eligible set. It names the set by content, so a call that was decided before an
    edit and one decided after it each reach the members that they were decided for."""
    return content_hash(sorted(member_keys))


def levels(members: Iterable[Member]) -> list[list[Member]]:
    """Members by level, the first to be tried first; gaps between priorities mean nothing."""
    members = list(members)
    return [[m for m in members if m.priority == level] for level in sorted({m.priority for m in members})]
