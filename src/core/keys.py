"""Names that follow from content, so that two parts of the broker (and two replicas) agree on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .catalog import Limits, Member, Pool, Provider

# Goes up when the same member would be rendered otherwise, so that an upgrade makes new listeners.
RENDERING = "3"
# What the broker's own answers carry as details in Envoy: they are rendered in the client's dialect already.
BROKER_DETAILS = "modelbroker"
# Marks a reply of a member's own Envoy, on its way through ext_proc: it is in the client's dialect already.
LOCAL_REPLY_HEADER = "x-broker-local-reply"


def content_hash(*parts: object) -> str:
    """12 hex digits that stand for the content of `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def member_key(provider: Provider, member: Member, limits: Limits, connect_ms: int, signing: str = "") -> str:
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
    bounds = (limits.request_bytes, limits.concurrency, limits.idle_ms, connect_ms)
    return content_hash(RENDERING, shape, member.model, signing, *bounds)


def listener_name(member: Member, key: str) -> str:
    return f"member/{member.id}/{key}"


def provider_cluster(provider: Provider, limits: Limits, connect_ms: int) -> str:
    shape = (
        provider.base_url,
        provider.ca_file,
        provider.ca_digest,
        limits.request_bytes,
        limits.concurrency,
        connect_ms,
    )
    return f"provider/{provider.name}/{content_hash(RENDERING, *shape)}"


def pool_cluster(pool: Pool, limits: Limits) -> str:
    """Clusters are immutable: what changes often (members, weights) is in their endpoints."""
    # How a member comes back after an ejection is not among them: that is weights.
    eject = pool.ejection
    ejection = (eject.enabled, eject.consecutive_errors, eject.base_ms, eject.max_ms)
    shape = (ejection, limits.request_bytes, limits.concurrency)
    return f"pool/{pool.name}/{content_hash(RENDERING, *shape)}"


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
