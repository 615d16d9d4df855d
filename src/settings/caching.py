"""What YAML says of the cache: of a pool's calls, and of where replies are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, StringConstraints

from ..core.catalog import CacheStore, Caching, SecretRef
from . import values
from .fields import HOUR, Flag, Model, field

_MIB, _GIB = 1 << 20, 1 << 30


class CacheIn(Model):
    """Which calls are answered by what an equal call was answered. `cache: short-context` is short for
    `cache: {}`. docs/cache.md has the details."""

    max_context_tokens: Annotated[int, BeforeValidator(values.tokens)] = field(
        "Calls with a longer context (as it is estimated for rules, too) are not cached.",
        "number of tokens",
        "give a number of tokens, e.g. 4k",
        Caching().max_context_tokens,
    )
    ttl: Annotated[int, BeforeValidator(values.duration(1, 30 * 24 * HOUR))] = field(
        "How long a reply is good for.", "duration", 'give e.g. "1h"', Caching().ttl_ms
    )
    scope: Annotated[str, PlainValidator(values.cache_scope)] = field(
        "Who shares replies: the calls of one `caller` (with all that is known of it), `user`, `team` or "
        "`customer`; or `all` that may use the pool. A call of which that is not known is not cached.",
        "word",
        "give caller, user, team, customer or all",
        Caching().scope,
    )
    max_reply_bytes: Annotated[int, PlainValidator(values.size(1024, 64 * _MIB))] = field(
        "Larger replies are not kept.", "size", 'give e.g. "1MiB"', Caching().max_reply_bytes
    )
    tool_effects: Flag = field(
        "Also replies that call tools, and calls with tools that run at the provider.",
        "true or false",
        "give true or false",
        Caching().tool_effects,
    )
    version: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")] = field(
        "Change it, and no reply of before is given again.", "text", "give a text, e.g. 2026-11-29", ""
    )


class CacheStoreIn(Model):
    """Where the pools' caches keep replies."""

    bytes: Annotated[int, PlainValidator(values.size(_MIB, 64 * _GIB))] = field(
        "In the broker's memory; what was not asked for longest goes first.",
        "size",
        'give e.g. "64MiB"',
        CacheStore().bytes,
    )
    redis: Annotated[SecretRef | None, PlainValidator(values.redis_url)] = field(
        "A Redis that the brokers of a fleet share: a URL, or where it is to be found if it holds a "
        "password. Replies are in it as they are.",
        "URL or reference to a secret",
        "give redis://HOST:PORT/DB, or {env: REDIS_URL}",
        None,
    )
