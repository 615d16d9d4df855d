"""Cached replies in a Redis that the brokers of a fleet share. While it is away nothing is found, and no
call waits for it for long."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import time
from typing import Any

import msgspec
from prometheus_client import Counter

from ..core.errors import Misconfigured
from ..policy.kept import Entry

log = logging.getLogger("modelbroker.extproc")

# The number goes up with the shape of entries.
PREFIX = "modelbroker:cache:1:"
# A call waits for this, and could have been sent meanwhile.
_PATIENCE_S = 1.0
_LEFT_ALONE_S = 5.0  # after a question without an answer
_MOST_CONNECTIONS = 32
_FAILURES = Counter("modelbroker_cache_redis_failures", "Questions that the cache's Redis did not answer")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def check_redis_is_installed() -> None:
    """Misconfigured where it is not."""
    if importlib.util.find_spec("redis") is None:
        told = "cache.redis needs redis-py: pip install 'modelbroker[redis]', or leave it out"
        raise Misconfigured(500, "missing_extra", told)


class RedisReplies:
    """A `Shared` of CacheDesk. `url` as redis-py reads it; Misconfigured where it does not."""

    def __init__(self, url: str) -> None:
        redis = importlib.import_module("redis.asyncio")
        retry = importlib.import_module("redis.asyncio.retry").Retry
        backoff = importlib.import_module("redis.backoff").NoBackoff
        try:
            self._redis: Any = redis.Redis.from_url(
                url,
                socket_timeout=_PATIENCE_S,
                socket_connect_timeout=_PATIENCE_S,
                max_connections=_MOST_CONNECTIONS,
                retry=retry(backoff(), 0),
            )
        except ValueError:  # its words may hold the URL, and that a password
            raise Misconfigured(500, "bad_redis_url", "the URL of the cache's Redis is none") from None
        self._away_until_s = 0.0  # of the monotonic clock
        self._failures = 0  # since it last answered

    async def get(self, key: str) -> Entry | None:
        raw = await self._asked(lambda: self._redis.get(PREFIX + key))
        if not isinstance(raw, bytes):
            return None
        try:
            return _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # of another version

    async def put(self, key: str, entry: Entry) -> None:
        left_ms = int((entry.until_s - time.time()) * 1000)
        if left_ms > 0:
            await self._asked(lambda: self._redis.set(PREFIX + key, _encode(entry), px=left_ms))

    async def close(self) -> None:
        try:
            await self._redis.aclose()
        except Exception as error:
            log.debug("the cache's Redis was not left in peace: %s", error)

    async def _asked(self, question: Any) -> Any:
        """The answer; None where there is none."""
        if time.monotonic() < self._away_until_s:
            return None
        try:
            answer: Any = await question()
        except Exception as error:  # redis-py's own, the socket's and asyncio's
            self._failed(error)
            return None
        if self._failures:
            log.warning("the cache's Redis answers again; %d questions had no answer", self._failures)
            self._failures = 0
        return answer

    def _failed(self, error: Exception) -> None:
        _FAILURES.inc()
        if not self._failures:
            why = str(error) or type(error).__name__
            log.error("the cache's Redis does not answer: %s; until it does nothing is found there", why)
        self._failures += 1
        self._away_until_s = time.monotonic() + _LEFT_ALONE_S
