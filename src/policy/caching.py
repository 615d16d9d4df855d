"""Who shares cached replies with whom, which calls may be answered by one, and under which key."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

from ..core.call import Caller, Facts
from ..core.catalog import CACHE_SCOPES, Caching, Catalog, Pool
from ..core.keys import content_hash

# Of another shape of keys or entries: nothing of before is found any more.
_VERSION = "2"
# Images in a body are no tokens of its context. What is larger than this is not even hashed.
MOST_KEYED_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose replies: `names` says who they are within a scope. There is no tenant without a name, but for
    the one of the scope `all`; and no key without a tenant."""

    scope: str
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.scope not in CACHE_SCOPES:
            raise ValueError(f"there is no scope {self.scope!r}")
        is_named = bool(self.names and self.names[0])
        if is_named == (self.scope == "all"):
            raise ValueError(f"{self.names} are no names of a tenant in the scope {self.scope}")


@functools.lru_cache(maxsize=4096)
def tenant_of(scope: str, caller: Caller) -> Tenant | None:
    """None where what the scope goes by is not known of the caller: then nothing is cached."""
    match scope:
        case "all":
            return Tenant(scope, ())
        case "caller":  # a key or a token that speaks for several people or customers keeps them apart
            names: tuple[str, ...] = (caller.name, caller.agent, caller.user, caller.team, caller.customer)
        case "user":  # two teams may have an alice each
            names = (caller.user, caller.team)
        case "team":
            names = (caller.team,)
        case _:
            names = (caller.customer,)
    return Tenant(scope, names) if names[0] else None


class CacheKey:
    """Equal for calls that may have the same reply, and for no others: `digest` is of the tenant, too.
    `cache_key` makes it."""

    __slots__ = ("digest", "tenant")

    def __init__(self, tenant: Tenant, digest: bytes) -> None:
        if not isinstance(tenant, Tenant):
            raise TypeError("a key without a tenant")
        self.tenant = tenant
        self.digest = digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CacheKey) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def text(self) -> str:
        """For stores outside of the broker: 64 hex digits, of the tenant too."""
        return self.digest.hex()


def cache_key(tenant: Tenant, *told: str | tuple[tuple[str, str], ...], content: bytes) -> CacheKey:
    """`told` is all that the reply depends on beside the body, `content` what stands for the
    body."""
    if not isinstance(tenant, Tenant):
        raise TypeError("a key without a tenant")
    digest = begun(_VERSION, tenant.scope, tenant.names, told).copy()
    digest.update(content)
    return CacheKey(tenant, digest.digest())


@functools.lru_cache(maxsize=1024)
def begun(*told: object) -> hashlib._Hash:
    """Of texts and tuples of them, which many calls have in common: to be copied, and gone on with."""
    head = repr(told).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(len(head).to_bytes(8, "big"))
    digest.update(head)
    return digest


def members_revision(pool: Pool, catalog: Catalog) -> str:
    """Who a pool's replies may be of. With other members (or models, or accounts) nothing of before is good;
    their weights and priorities mean nothing."""
    made = []
    for member in pool.members:
        provider = catalog.providers[member.provider]
        told = (provider.dialects, provider.base_url, provider.variant, sorted(provider.headers))
        made.append((member.id, provider.own_model(member.model), *told, sorted(provider.deviations.items())))
    return content_hash(sorted(made, key=repr))


def why_not(facts: Facts, caching: Caching, size: int) -> str:
    """Why a call is not cached: a word; "" where it is. `size` of its body, in bytes."""
    if facts.surface.operation not in ("chat", "embed"):
        return "operation"
    if facts.context_tokens > caching.max_context_tokens or size > MOST_KEYED_BYTES:
        return "long-context"
    if facts.stateful or facts.owners or facts.unowned_ids or facts.files:
        return "stateful"  # its reply is kept at a provider, or depends on what is
    if facts.image_urls or facts.document_urls:
        return "remote-content"  # which may be another one tomorrow
    if facts.hosted_tools and not caching.tool_effects:
        return "tools"
    return ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client says in `cache-control`: `stores` False: its reply is not kept, nor is it answered by
    one that was; `reads` False: it wants a fresh one. `most_age_s`: none that is older."""

    stores: bool = True
    reads: bool = True
    most_age_s: int | None = None


NO_WISH = Wish()


def wish_of(cache_control: str) -> Wish:
    """Source: RFC 9111, section 5.2.1. What is not known there means nothing."""
    if not cache_control:
        return NO_WISH
    said = {name.strip().lower(): value.strip(' "') for name, _, value in _directives(cache_control)}
    age = said.get("max-age", "")
    most_age_s = int(age) if age.isascii() and age.isdigit() and len(age) < 12 else None
    return Wish("no-store" not in said, "no-cache" not in said and most_age_s != 0, most_age_s)


def _directives(text: str) -> list[tuple[str, str, str]]:
    return [one.partition("=") for one in text.split(",")]
