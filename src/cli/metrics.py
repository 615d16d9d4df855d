"""What `/metrics` says of the broker as it is now, and Envoy's own stats beside it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..core.catalog import Catalog
from ..metrics import Looked, full
from ..metrics.looked import Reading
from .envoy_admin import EnvoyAdmin, NotTaken, TooLarge
from .health import HealthKeeper

_POOL, _PROVIDER = ("pool",), ("provider",)
GAUGES = Looked(
    {
        "modelbroker_pool_members": ("Members of a pool whose providers are set up", _POOL),
        "modelbroker_pool_members_in_service": (
            "Those of them that are neither out nor ejected, and get calls",
            _POOL,
        ),
        "modelbroker_provider_set_up": (
            "1 where its members can serve calls at all, with a credential",
            _PROVIDER,
        ),
        "modelbroker_provider_members": ("Members in pools that are at a provider that is set up", _PROVIDER),
        "modelbroker_provider_members_in_service": (
            "Those of them that are neither out nor ejected",
            _PROVIDER,
        ),
        "modelbroker_rate_limit_left_ratio": (
            "What of a member's rate limit is left, by its provider's newest word, until that runs out",
            ("member", "limit"),
        ),
        "modelbroker_metrics_folded": (
            "1 for a metric that has as many series as it may: what is new is `other` in all labels",
            ("metric",),
        ),
        "modelbroker_config_refused": (
            "1 while the configuration on the disk is not served, for it is refused",
            (),
        ),
        "modelbroker_config_in_effect": ("1 while every connected Envoy has all of the configuration", ()),
        "modelbroker_config_loaded_timestamp_seconds": ("When it was loaded, in unix time", ()),
    }
)
# A large configuration has some 100,000 lines.
MOST_ENVOY_BYTES = 64 << 20
ENVOY_TIME_S = 10.0
_TEXT = "text/plain"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Served:
    """`out`: why a provider can serve no call at all, None where it can. `error`: why the configuration on
    the disk is not the one that is served, "" where it is."""

    catalog: Catalog
    out: Callable[[str], str | None]
    in_effect: bool
    error: str
    loaded_at_s: float


def readings(served: Served | None, health: HealthKeeper, now_s: float) -> Iterable[Reading]:
    """All of GAUGES. From any thread."""
    if served is None:
        return
    yield from _members(served, health)
    for member, limit in health.headroom(now_s):
        yield "modelbroker_rate_limit_left_ratio", (member, limit.name), min(1.0, limit.left)
    for name in full():
        yield "modelbroker_metrics_folded", (name,), 1.0
    yield "modelbroker_config_refused", (), float(bool(served.error))
    yield "modelbroker_config_in_effect", (), float(served.in_effect)
    yield "modelbroker_config_loaded_timestamp_seconds", (), served.loaded_at_s


def _members(served: Served, health: HealthKeeper) -> Iterable[Reading]:
    catalog, notable = served.catalog, health.notable()
    used = {member.provider for pool in catalog.pools.values() for member in pool.members}
    set_up = {name for name in used if served.out(name) is None}
    at = {name: [0, 0] for name in set_up}  # members, those in service
    for pool in catalog.pools.values():
        if pool.is_made:
            continue
        count = here = 0
        for member in pool.members:
            if member.provider not in set_up:
                continue
            is_out = member.id in notable and health.is_out(pool.name, member.id)
            count, here = count + 1, here + (not is_out)
            at[member.provider][0] += 1
            at[member.provider][1] += not is_out
        yield "modelbroker_pool_members", (pool.name,), count
        yield "modelbroker_pool_members_in_service", (pool.name,), here
    for name in sorted(used):
        yield "modelbroker_provider_set_up", (name,), float(name in set_up)
    for name, (count, here) in sorted(at.items()):
        if count:  # none where it has calls of trials alone
            yield "modelbroker_provider_members", (name,), count
            yield "modelbroker_provider_members_in_service", (name,), here


class EnvoyStats:
    """Envoy's own metrics, as Prometheus reads them. Envoy is asked for one at a time: it writes them in the
    thread in which it takes configuration."""

    def __init__(self, address: str) -> None:
        self._envoy = EnvoyAdmin(address) if address else None
        self._asking = threading.Lock()

    def answer(self, query: str) -> tuple[int, str, bytes]:
        """Status, content type and text. `query`: "" or `filter=REGEX`, as Envoy takes it."""
        if self._envoy is None:
            said = "this control plane was not told where Envoy's admin interface is (serve --envoy-admin); "
            return 404, _TEXT, f"{said}scrape Envoy itself at /stats/prometheus?usedonly\n".encode()
        if query and not query.startswith("filter="):
            return 400, _TEXT, b"the query may be filter=REGEX, and nothing else\n"
        if not self._asking.acquire(timeout=ENVOY_TIME_S):
            return 503, _TEXT, b"Envoy has not answered the question before this one yet\n"
        try:
            path = f"/stats/prometheus?usedonly{'&' if query else ''}{query}"
            text = self._envoy.read(path, MOST_ENVOY_BYTES, time.monotonic() + ENVOY_TIME_S)
        except TooLarge:
            said = f"Envoy's metrics are more than {MOST_ENVOY_BYTES >> 20} MiB: ask with ?filter=REGEX\n"
            return 503, _TEXT, said.encode()
        except NotTaken as error:
            said = f"Envoy does not take this filter, which is to be an expression of RE2's: {error}\n"
            return 400, _TEXT, said.encode()
        except (OSError, http.client.HTTPException) as error:
            return 503, _TEXT, f"Envoy does not tell its metrics: {error or type(error).__name__}\n".encode()
        finally:
            self._asking.release()
        return 200, _EXPOSITION, text
