"""How Envoy verifies callers' tokens, and what it tells ext_proc of them.

The filter's configuration is a resource of its own: a key that is taken back is not good any more for the
next call of any connection, and none has to be closed for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from ..core.identity import Issuer
from ..core.keys import JWT_FILTER, UNVOUCHED, VOUCHED, content_hash
from .clusters import is_ip, upstream_tls
from .types import ADS, Tree, duration, stat_name, typed

_JWT = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_FETCH_MS = 5_000
_FETCH_AGAIN_MS = 2_000
# What a token has; keys that are none don't have to be looked at.
_THREE_PARTS = r"[^.]+\.[^.]+\.[^.]*"
_HEADERS = ("authorization", "x-api-key")
# Envoy takes a prefix to the letter, and the scheme's name is for everybody to spell.
_SCHEMES = ("Bearer ", "bearer ", "BEARER ")


def jwt_filter() -> Tree:
    """In the listener: the filter as it comes over ADS."""
    discovery = {"config_source": ADS, "type_urls": [f"type.googleapis.com/{_JWT}"]}
    return {"name": JWT_FILTER, "config_discovery": discovery}


def jwt_resource(issuers: Iterable[Issuer]) -> Tree:
    """The resource of that name. A token that is not good passes: what the client is told is ext_proc's."""
    config = typed(
        _JWT,
        providers={issuer.name: _provider(issuer) for issuer in issuers},
        rules=[
            {
                "match": {"prefix": "/", "headers": [_holds_token(header)]},
                "requires": {"allow_missing_or_failed": {}},
            }
            for header in _HEADERS
        ],
    )
    return {"name": JWT_FILTER, "typed_config": config}


def _holds_token(header: str) -> Tree:
    return {"name": header, "string_match": {"safe_regex": {"regex": _THREE_PARTS}}}


def _provider(issuer: Issuer) -> Tree:
    tree: Tree = {
        "issuer": issuer.issuer,
        "audiences": list(issuer.audiences),
        "require_expiration": True,
        "forward": False,
        "from_headers": [
            *({"name": "authorization", "value_prefix": scheme} for scheme in _SCHEMES),
            {"name": "x-api-key"},
        ],
        "payload_in_metadata": f"{VOUCHED}{issuer.name}",
        "failed_status_in_metadata": f"{UNVOUCHED}{issuer.name}",
    }
    jwks = issuer.jwks
    if not jwks.url:
        tree["local_jwks"] = {"inline_string": jwks.keys}
        return tree
    tree["remote_jwks"] = {
        "http_uri": {"uri": jwks.url, "cluster": jwks_cluster(issuer), "timeout": duration(_FETCH_MS)},
        "cache_duration": duration(jwks.cache_ms),
        # Off the path of calls, and before the old keys are too old; no listener waits for it.
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": duration(_FETCH_AGAIN_MS)},
    }
    return tree


def jwks_cluster(issuer: Issuer) -> str:
    jwks = issuer.jwks
    return f"jwks/{issuer.name}/{content_hash(jwks.url, jwks.ca_file, jwks.ca_digest)}"


def jwks_cluster_tree(issuer: Issuer) -> Tree:
    """The way to the keys of an issuer that has them at a URL."""
    url = urlsplit(issuer.jwks.url)
    is_tls = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if is_tls else 80)
    name = jwks_cluster(issuer)
    address = {"socket_address": {"address": host, "port_value": port}}
    tree: Tree = {
        "name": name,
        "alt_stat_name": stat_name("jwks", issuer.name),
        "type": "STATIC" if is_ip(host) else "LOGICAL_DNS",
        "connect_timeout": duration(_FETCH_MS),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if not is_ip(host):
        tree |= {"dns_lookup_family": "V4_PREFERRED", "respect_dns_ttl": True}
    if is_tls:
        http: Tree = {"auto_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}
        tree["typed_extension_protocol_options"] = {_HTTP_OPTIONS: typed(_HTTP_OPTIONS, **http)}
        tree["transport_socket"] = upstream_tls(host, issuer.jwks.ca_file)
    return tree
