"""The sinks of audit events, as the configuration has them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..core.audit import ECS, OCSF, AuditSink
from ..core.catalog import SecretRef
from .audit_sink_schema import KINDS, ElasticIn, FileIn, SinkIn, SplunkIn, TrustIn
from .fields import Model
from .merge import Merged
from .problems import listing, show
from .yamltext import Path

_NAMES = {"ack_timeout": "ack_timeout_ms"}
_SECRETS = (
    *(("splunk", "token"), ("elastic", "api_key"), ("elastic", "password")),
    *(("http", "headers"), ("otlp", "headers")),
)


def sinks_of(merged: Merged, path: Path, said: list[SinkIn]) -> tuple[AuditSink, ...]:
    """`path` is that of the list. Problems are noted: a sink of no kind or of several, one name or file
    twice, certificates without TLS, an Elasticsearch with two ways in."""
    found: dict[str, AuditSink] = {}
    files: set[str] = set()
    for number, sink in enumerate(said):
        here = (*path, number)
        kinds = [kind for kind in KINDS if getattr(sink, kind)]
        if sink.name in found:
            merged.wrong((*here, "name"), f"{show(sink.name)} stands twice", "give another name")
        if len(kinds) != 1:
            wrong = f"has {listing(kinds)}" if kinds else "has no kind"
            merged.wrong(here, wrong, f"give exactly one of {listing(KINDS)}")
            continue
        kind = kinds[0]
        entry = getattr(sink, kind)
        if isinstance(entry, FileIn) and entry.path in files:
            merged.wrong(
                (*here, kind, "path"), "is another sink's file too", "give each sink a file of its own"
            )
        if isinstance(entry, FileIn):
            files.add(entry.path)
        if isinstance(entry, TrustIn):
            _check_trust(merged, (*here, kind), entry)
        if isinstance(entry, SplunkIn) and "/services/collector" in entry.address:
            wrong, right = (
                "has the collector's own path, which comes behind it",
                "leave /services/collector… out",
            )
            merged.wrong((*here, kind, "address"), wrong, right)
        if isinstance(entry, ElasticIn):
            _check_ways_in(merged, (*here, kind), entry)
        options, credentials = _taken_apart(entry) if isinstance(entry, Model) else ({}, {})
        if credentials and _is_in_the_open(options["address"]):
            merged.warn(
                (*here, kind, "address"), "has no TLS: its secret can be read on the way", "give https://"
            )
        form = sink.form or (ECS if kind == "elastic" else OCSF)
        found[sink.name] = AuditSink(
            sink.name, kind, form, MappingProxyType(options), MappingProxyType(credentials)
        )
    return tuple(found.values())


def _check_trust(merged: Merged, path: Path, entry: TrustIn) -> None:
    if entry.key_file and not entry.cert_file:
        merged.wrong((*path, "key_file"), "stands without a certificate", "give cert_file, or leave it out")
    address = getattr(entry, "address", "")
    if address.startswith(("http://", "tcp://")):
        for name in ("ca_file", "cert_file"):
            if getattr(entry, name):
                merged.wrong((*path, name), "stands beside an address without TLS", "give https:// or tls://")


def _is_in_the_open(address: str) -> bool:
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme == "http" and not (host in ("localhost", "::1") or host.startswith("127."))


def _check_ways_in(merged: Merged, path: Path, entry: ElasticIn) -> None:
    if entry.api_key is not None and (entry.user or entry.password is not None):
        merged.wrong((*path, "api_key"), "stands beside a user", "give an api_key, or user and password")
    elif bool(entry.user) != (entry.password is not None):
        given, lacks = ("user", "password") if entry.user else ("password", "user")
        merged.wrong((*path, given), f"stands without `{lacks}`", "give both, or an api_key")


def _taken_apart(entry: Model) -> tuple[dict[str, str], dict[str, SecretRef]]:
    """(options, credentials). What is empty is left out; durations are called by their unit; a header stands
    as `header.NAME`."""
    options: dict[str, str] = {}
    credentials: dict[str, SecretRef] = {}
    said = {name: getattr(entry, name) for name in type(entry).model_fields}
    said |= {f"header.{name}": value for name, value in said.pop("headers", {}).items()}
    for name, value in said.items():
        if isinstance(value, SecretRef):
            credentials[name] = value
        elif isinstance(value, bool):
            options[name] = "true" if value else "false"
        elif value not in (None, ""):
            options[_NAMES.get(name, name)] = str(value)
    return options, credentials


def references(sinks: Any) -> list[tuple[Path, Any]]:
    """Wherever a secret may be referred to, in the list as it is written: (path behind the list's, value)."""
    found: list[tuple[Path, Any]] = []
    for number, sink in enumerate(sinks if isinstance(sinks, list) else ()):
        for kind, name in _SECRETS:
            entry = sink.get(kind) if isinstance(sink, dict) else None
            value = entry.get(name) if isinstance(entry, dict) else None
            if name == "headers" and isinstance(value, dict):
                found += [((number, kind, name, header), one) for header, one in value.items()]
            elif value is not None:
                found.append(((number, kind, name), value))
    return found
