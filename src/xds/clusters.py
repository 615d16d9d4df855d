"""Clusters and endpoints: pools, whose hosts are member listeners, and providers."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ..core.catalog import Catalog, Limits, Member, Pool, Provider
from ..core.keys import (
    BLAME_HEADER,
    BLAMELESS_HEADER,
    class_name,
    concurrency,
    levels,
    listener_name,
    pool_cluster,
    provider_cluster,
)
from .types import ADS, Tree, circuit_breakers, duration, extension, stat_name, typed

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# Keep-alive ends on our side before it does on theirs, so that no call meets a closing connection.
_PROVIDER_IDLE_MS = 30_000
# A level stays whole while one of its members lives: factor times healthy share must reach 100 %.
_OVERPROVISIONING = 100_000


def pool_cluster_tree(pool: Pool, limits: Limits) -> Tree:
    ejection = pool.ejection
    http_options: Tree = {"explicit_http_config": {"http_protocol_options": {}}}
    tree: Tree = {
        "name": pool_cluster(pool, limits),
        "alt_stat_name": stat_name("pool", pool.name),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS},
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "per_connection_buffer_limit_bytes": buffer_bytes(limits),
        "circuit_breakers": circuit_breakers(limits.concurrency),
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}, "update_merge_window": "0s"},
        "lb_subset_config": {
            "fallback_policy": "NO_FALLBACK",
            "subset_selectors": [{"keys": ["class"]}, {"keys": ["member"]}],
            "list_as_any": True,
        },
    }
    if ejection.enabled:
        tree["outlier_detection"] = {
            "consecutive_5xx": ejection.consecutive_errors,
            "consecutive_gateway_failure": ejection.consecutive_errors,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            # What is no answer is nothing of the member's: its own listener answers for it, whatever its
            # provider does. Envoy counts an attempt as timed out once a second one is beside it (`hedge`).
            "split_external_local_origin_errors": True,
            "enforcing_consecutive_local_origin_failure": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "0.500s",
            "base_ejection_time": duration(ejection.base_ms),
            "max_ejection_time": duration(max(ejection.max_ms, ejection.base_ms)),
            "max_ejection_percent": 100,
        }
        http_options["outlier_detection"] = {"error_matcher": _failures()}
    tree["typed_extension_protocol_options"] = {_HTTP_OPTIONS: typed(_HTTP_OPTIONS, **http_options)}
    return tree


def _failures() -> Tree:
    """Replies that count against the member: those handed back for a cause that is its fault, and its last
    answers (429, 5xx) that go to the client. (Without a matcher a 429 never ejects.)"""
    last = {"name": ":status", "string_match": {"safe_regex": {"regex": "429|5.."}}}
    either = ({"name": BLAME_HEADER, "present_match": True}, last)
    rules = [{"http_response_headers_match": {"headers": [header]}} for header in either]
    blameless = {"name": BLAMELESS_HEADER, "present_match": True}
    no_excuse = {"not_match": {"http_response_headers_match": {"headers": [blameless]}}}
    return {"and_match": {"rules": [{"or_match": {"rules": rules}}, no_excuse]}}


def buffer_bytes(limits: Limits) -> int:
    """Room for a whole body and its headers on every hop, so that a retry always has the body."""
    return limits.request_bytes + 1024 * 1024


def endpoints_tree(
    pool: Pool, limits: Limits, keys: Mapping[Member, str], classes: Iterable[Collection[Member]]
) -> Tree:
    """One host a member, in the classes that it belongs to. `keys` holds the members that have a listener."""
    classes_of: dict[Member, list[str]] = {}
    for members in classes:
        name = class_name(keys[member] for member in members)
        for member in members:
            classes_of.setdefault(member, []).append(name)
    live = [member for member in pool.members if member in classes_of]
    return {
        "cluster_name": pool_cluster(pool, limits),
        "endpoints": [
            {
                # The locality tells levels apart where weights are looked at by locality.
                "locality": {"zone": f"level-{level}"},
                "priority": level,
                "lb_endpoints": [
                    endpoint_tree(member, keys[member], sorted(set(classes_of[member]))) for member in members
                ],
            }
            for level, members in enumerate(levels(live))
        ],
        "policy": {"overprovisioning_factor": _OVERPROVISIONING},
    }


def endpoint_tree(member: Member, key: str, classes: list[str]) -> Tree:
    name = listener_name(member, key)
    return {
        "load_balancing_weight": member.weight,
        # By weight among a class, or by name: a further attempt is for one member and no other.
        "metadata": {"filter_metadata": {"envoy.lb": {"class": classes, "member": key}}},
        "endpoint": {
            "address": {"envoy_internal_address": {"server_listener_name": name, "endpoint_id": member.id}}
        },
    }


def provider_cluster_tree(provider: Provider, member: Member, catalog: Catalog, connect_ms: int) -> Tree:
    """TLS, DNS, connection pool of one provider."""
    url = urlsplit(provider.base_url)
    is_tls = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if is_tls else 80)
    name = provider_cluster(provider, member, catalog.limits, connect_ms)
    cap = concurrency(provider, member, catalog.limits)
    address = {"socket_address": {"address": host, "port_value": port}}
    tree: Tree = {
        "name": name,
        "alt_stat_name": stat_name("provider", provider.name),
        "type": "STATIC" if is_ip(host) else "LOGICAL_DNS",
        "connect_timeout": duration(connect_ms),
        "per_connection_buffer_limit_bytes": buffer_bytes(catalog.limits),
        "circuit_breakers": circuit_breakers(catalog.limits.concurrency, cap),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if not is_ip(host):
        tree |= {"dns_lookup_family": "V4_PREFERRED", "respect_dns_ttl": True}
    # A provider's first connection may offer HTTP/2; plain text is HTTP/1.1.
    http: Tree = {"common_http_protocol_options": {"idle_timeout": duration(_PROVIDER_IDLE_MS)}}
    if is_tls:
        http["auto_config"] = {"http_protocol_options": {}, "http2_protocol_options": {}}
        tree["transport_socket"] = upstream_tls(host, provider.ca_file)
    else:
        http["explicit_http_config"] = {"http_protocol_options": {}}
    tree["typed_extension_protocol_options"] = {_HTTP_OPTIONS: typed(_HTTP_OPTIONS, **http)}
    return tree


def upstream_tls(host: str, ca_file: str) -> Tree:
    san: Tree = {"san_type": "IP_ADDRESS" if is_ip(host) else "DNS", "matcher": {"exact": host}}
    context: Tree = {
        "validation_context": {
            "trusted_ca": {"filename": ca_file or system_ca_file()},
            "match_typed_subject_alt_names": [san],
        }
    }
    fields: Tree = {"common_tls_context": context}
    if not is_ip(host):
        fields["sni"] = host
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        **fields,
    )


def system_ca_file() -> str:
    """The system's bundle of certificate authorities, where Envoy will look for it."""
    if given := os.environ.get("SSL_CERT_FILE"):
        return given
    common = "/etc/ssl/certs/ca-certificates.crt"
    found = ssl.get_default_verify_paths().cafile
    return common if found is None or Path(common).exists() else found


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
