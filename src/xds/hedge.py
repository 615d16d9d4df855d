"""A pool's hedge: a listener of its own between the outer one and the members'.

Two attempts run side by side here, and what the outer listener gets is one answer: the first good one, or the
last failure, which it hands back as any other. In the outer route itself a failure would be handed back at
once, and its twin be lost.
"""

from __future__ import annotations

from ..core.catalog import Hedge, Limits, Pool
from ..core.causes import Action, Cause
from ..core.keys import (
    ATTEMPTS_HEADER,
    CAUSE_HEADER,
    CLASS_HEADER,
    HEDGE_HEADER,
    hedge_name,
    pool_cluster,
)
from ..core.logs import HEDGE_LOG
from .clusters import buffer_bytes
from .filters import access_log, internal_manager, retries, router
from .local_replies import outer_mappers
from .types import Tree, circuit_breakers, duration, extension, set_header, stat_name

# What is tried again here: a failure that another member of the pool is for, and a hop that did not come
# about. Others are handed back at once: ext_proc knows to which pool or priority they go on.
_RETRY_ON = "retriable-headers,reset,connect-failure,refused-stream"


def hedge_cluster(pool: Pool, limits: Limits) -> Tree:
    """The way from the outer listener to the hedge's."""
    name = hedge_name(pool, limits)
    address = {"envoy_internal_address": {"server_listener_name": name, "endpoint_id": "hedge"}}
    return {
        "name": name,
        "alt_stat_name": stat_name("hedge", pool.name),
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": buffer_bytes(limits),
        "circuit_breakers": circuit_breakers(limits.concurrency),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def hedge_listener(pool: Pool, hedge: Hedge, limits: Limits) -> Tree:
    waits = [(hedge.after_ms, True)]
    if hedge.reply_after_ms:
        waits.append((hedge.reply_after_ms, False))
    routes = [
        _route(pool, limits, after_ms, stay, is_stream) for after_ms, is_stream in waits for stay in (1, 2)
    ]
    attempts = "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"
    host: Tree = {
        "name": "hedge",
        "domains": ["*"],
        "routes": routes,
        # By which members' listeners tell the spans of two attempts apart.
        "include_request_attempt_count": True,
        "response_headers_to_add": [
            set_header("x-broker-attempts", attempts),
            set_header(ATTEMPTS_HEADER, attempts),
        ],
    }
    manager = internal_manager(
        stat_name("hedge", pool.name),
        limits,
        route_config={"name": "hedge", "virtual_hosts": [host]},
        http_filters=[_class(), router()],
        access_log=[access_log(HEDGE_LOG, (), ("x-broker-request-id",))],
        local_reply_config={"mappers": outer_mappers()},
    )
    return {
        "name": hedge_name(pool, limits),
        "stat_prefix": stat_name("hedge", pool.name),
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": buffer_bytes(limits),
        "filter_chains": [{"filters": [manager]}],
    }


def _route(pool: Pool, limits: Limits, after_ms: int, stay: int, is_stream: bool) -> Tree:
    """The second attempt begins when the first has given no answer for `after_ms`, and does not end it.
    `stay`: so many attempts are for a level before the next one is tried."""
    again = retries(
        _RETRY_ON,
        # Each by itself: Envoy refuses a regular expression that names them all.
        retriable_headers=[
            {"name": CAUSE_HEADER, "string_match": {"exact": cause.value}}
            for cause in Cause
            if pool.action(cause) is Action.NEXT
        ],
        per_try_timeout=duration(after_ms),
        retry_priority=extension(
            "envoy.retry_priorities.previous_priorities",
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=stay,
        ),
    )
    headers: list[Tree] = [
        {"name": HEDGE_HEADER, "string_match": {"exact": str(stay)}},
        {"name": "x-broker-stream", "present_match": is_stream},
    ]
    return {
        "match": {"prefix": "/", "headers": headers},
        "request_body_buffer_limit": buffer_bytes(limits),
        "route": {
            "cluster": pool_cluster(pool, limits),
            "timeout": "0s",
            "idle_timeout": "0s",  # the outer listener and the member's know how long to wait
            "hedge_policy": {"hedge_on_per_try_timeout": True},
            "retry_policy": again,
        },
    }


def _class() -> Tree:
    """Metadata do not cross from one listener to another: whom Envoy may pick comes in a header."""
    told = {"metadata_namespace": "envoy.lb", "key": "class", "type": "STRING"}
    return extension(
        "envoy.filters.http.header_to_metadata",
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        request_rules=[{"header": CLASS_HEADER, "on_header_present": told}],
    )
