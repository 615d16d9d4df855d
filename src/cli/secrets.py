"""Secrets' values, read where the configuration says they are. Values never leave as text of an error."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..core.budgets import Fleet
from ..core.call import Caller, caller_of
from ..core.catalog import (
    Auth,
    CallerEntry,
    Catalog,
    Identity,
    LedgerPlace,
    Provider,
    SecretRef,
    StoredSecret,
)
from ..core.errors import Misconfigured
from ..extproc.cache_redis import check_redis_is_installed
from ..ledger.place import checked
from ..policy import State
from ..secrets.box import SecretBox, secret_place
from ..secrets.files import read_file
from ..secrets.identity import files_of as identity_files
from ..secrets.store import Away, usable
from .identities import is_asked_for, without_box


@dataclass(frozen=True, slots=True)
class Resolved:
    """What could be read: provider → credential, key digest → caller, and what is wrong with the rest.

    `files` tells the state of the files that Envoy will read itself. `ledger_url`: "" where it
    is the default or can't be read."""

    credentials: Mapping[str, str]
    callers: Mapping[str, Caller]
    state: State
    warnings: tuple[str, ...]
    ledger_url: str = ""
    ledger_why: str = ""  # why its URL can't be read
    cache_redis: str = ""  # the URL of the Redis that the caches of a fleet share; "": none
    redis_password: str | None = None  # of the fleet's


def _references(catalog: Catalog) -> Iterator[SecretRef]:
    """To every secret that `catalog` has, wherever it is kept."""
    capture, fleet = catalog.capture, catalog.fleet
    # One that is not set up asks nobody for a token.
    refs = [provider.credential for provider in catalog.providers.values() if provider.base_url]
    refs += [ref for entry in catalog.callers for ref in entry.keys]
    refs += [catalog.cache.redis, catalog.ledger.secret, capture.secret, capture.key, *capture.old_keys]
    refs += [fleet.credential] if fleet is not None else []
    otlp = catalog.telemetry.otlp
    refs += otlp.headers.values() if otlp is not None else ()
    refs += [user.token for user in catalog.console.users] if catalog.console.enabled else []
    refs += [user.token for user in catalog.admin.users]
    refs += [catalog.audit.key, *(ref for one in catalog.audit.sinks for ref in one.credentials.values())]
    return (ref for ref in refs if ref is not None)


def held_secrets(catalog: Catalog, environ: Mapping[str, str] = os.environ) -> frozenset[SecretRef]:
    """All that `catalog` has in stores and files, and identities whose tokens are asked for: what a box
    holds."""
    return frozenset(ref for ref in _references(catalog) if _is_held(ref, environ))


def _is_held(ref: SecretRef | None, environ: Mapping[str, str] = os.environ) -> bool:
    if isinstance(ref, Identity):
        return is_asked_for(ref, environ)
    return ref is not None and (isinstance(ref, StoredSecret) or ref.kind == "file")


def new_box(*, tells: bool = True, asks: bool = True) -> SecretBox:
    """`tells`: the log is to have what happens, beside what the caller says of it. Without `asks` no store is
    asked for anything."""
    return SecretBox(lambda ref: read_secret(ref, os.environ), tells=tells, asks=asks)


def asked_box(catalog: Catalog, *refs: SecretRef | None) -> SecretBox:
    """For a command that runs once: those of `refs` that a box holds are asked for now."""
    box = new_box(tells=False)
    box.want(catalog.secrets, [ref for ref in refs if ref is not None and _is_held(ref)])
    return box


def resolve(catalog: Catalog, environ: Mapping[str, str], box: SecretBox | None = None) -> Resolved:
    """Read every secret that `catalog` refers to. A missing one rules its provider or caller out. What
    `box` holds comes out of it."""
    credentials: dict[str, str] = {}
    out: dict[str, str] = {}
    warnings: list[str] = []
    for provider in catalog.providers.values():
        value, why = _credential(provider, environ, box)
        if value is not None:
            credentials[provider.name] = value
        elif provider.built:
            out[provider.name] = why
            if provider.base_url:  # else the configuration was warned of already, with file and line
                warnings.append(f"provider {provider.name}: {why}; its members get no calls")
    callers = _callers(catalog, environ, box, warnings)
    signing = {
        name: hashlib.sha256(value.encode()).hexdigest()[:12]
        for name, value in credentials.items()
        if catalog.providers[name].auth is Auth.AWS_SIGV4
    }
    ledger_url, ledger_why = ledger_url_of(catalog.ledger, environ, box)
    if ledger_why:
        warnings.append(f"ledger: {ledger_why}; records wait in calls.jsonl")
    cache_redis, why = redis_of(catalog, environ, box)
    if why:
        warnings.append(f"cache.redis: {why}; replies are kept in this broker's memory alone")
    spare = [
        name
        for name in credentials
        if (own := catalog.providers[name].credential) is not None and box and len(box.read(own).values) > 1
    ]
    password, why = redis_password(catalog.fleet, environ, box)
    if why:
        warnings.append(f"redis.credential: {why}; budgets and rollouts are this broker's alone")
    state = State(out, signing, frozenset(spare))
    return Resolved(
        credentials, callers, state, tuple(warnings), ledger_url, ledger_why, cache_redis, password
    )


def _callers(
    catalog: Catalog, environ: Mapping[str, str], box: SecretBox | None, warnings: list[str]
) -> Mapping[str, Caller]:
    """Key digest → who it is. A key that was replaced may be somebody's new one, and is his alone then."""
    callers: dict[str, Caller] = {}
    replaced: list[tuple[str, CallerEntry]] = []
    for entry in catalog.callers:
        for ref in entry.keys:
            digests, why = _digests(ref, environ, box)
            if not digests:
                warnings.append(f"caller {entry.name}: {why}; nobody can call with this key")
            for digest in digests[:1]:
                if digest in callers and callers[digest].name != entry.name:
                    warnings.append(f"caller {entry.name}: has the same key as {callers[digest].name}")
                else:
                    callers[digest] = caller_of(entry)
            replaced += [(digest, entry) for digest in digests[1:]]
    for digest, entry in replaced:
        callers.setdefault(digest, caller_of(entry))
    return callers


def redis_of(catalog: Catalog, environ: Mapping[str, str], box: SecretBox | None = None) -> tuple[str, str]:
    """(URL, why there is none), of the caches' Redis. Misconfigured where it can't be used at all."""
    ref = catalog.cache.redis
    if ref is None or not any(pool.cache for pool in catalog.pools.values()):
        return "", ""
    check_redis_is_installed()
    if ref.kind == "url":
        return ref.name, ""
    value, why = read_secret(ref, environ, box)
    if value is None:
        return "", why
    parts = urlsplit(value)
    is_good = parts.scheme in ("redis", "rediss", "unix") and (parts.hostname or parts.path)
    return (
        (value, "") if is_good else ("", f"{secret_place(ref)} does not hold the URL of a Redis (redis://…)")
    )


def ledger_url_of(
    place: LedgerPlace, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[str, str]:
    """(URL, why not): "" is the default. Misconfigured where what it needs is not installed."""
    if place.secret is None:
        if place.url and place.is_on:
            checked(place.url)
        return place.url, ""
    url, why = read_secret(place.secret, environ, box)
    if url is None:
        return "", why
    try:
        checked(url)
    except Misconfigured as error:
        if error.code != "ledger_url":
            raise
        return "", f"{secret_place(place.secret)}: {error.message}"
    return url, ""


def files_of(catalog: Catalog, environ: Mapping[str, str] = os.environ) -> Iterable[Path]:
    """Files to watch: a mounted secret that changes is a rotation, and what Envoy refused for the want of a
    certificate may be good once it is there."""
    for ref in _references(catalog):
        if ref.kind == "file":
            yield Path(ref.name)
        elif isinstance(ref, Identity):
            yield from identity_files(ref.kind, dict(ref.options), environ)
    for issuer in catalog.issuers:
        if issuer.jwks.file:
            yield Path(issuer.jwks.file)
    if (otlp := catalog.telemetry.otlp) is not None and otlp.ca_file:
        yield Path(otlp.ca_file)
    yield from certificate_files(catalog)


def certificate_files(catalog: Catalog) -> Iterable[Path]:
    """Files that Envoy reads itself."""
    for provider in catalog.providers.values():
        if provider.ca_file:
            yield Path(provider.ca_file)
    if catalog.listen.tls_cert_file:
        yield Path(catalog.listen.tls_cert_file)
        yield Path(catalog.listen.tls_key_file)
    if catalog.listen.client_ca_file:
        yield Path(catalog.listen.client_ca_file)
    for issuer in catalog.issuers:
        if issuer.jwks.ca_file:
            yield Path(issuer.jwks.ca_file)


def file_digest(path: str) -> str:
    """Of the file's content; "" where it can't be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _credential(
    provider: Provider, environ: Mapping[str, str], box: SecretBox | None
) -> tuple[str | None, str]:
    if not provider.base_url:
        return None, "it has no region, project or base URL: `modelbroker check` says what to add"
    if provider.auth is Auth.NONE:
        return "", ""
    ref = provider.credential
    if ref is None:
        return None, "it has no credential: add `credential: {env: NAME}` or `{file: PATH}`"
    if isinstance(ref, Identity) and not (box is not None and is_asked_for(ref, environ)):
        if ref.instead and environ.get(ref.instead):
            ref = SecretRef("env", ref.instead)
        else:
            return without_box(ref, environ)
    value, why = read_secret(ref, environ, box)
    if value is None or provider.auth is not Auth.AWS_SIGV4:
        return value, why
    if ref.kind == "mock":
        return f"{value}:no-secret", ""
    parts = value.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        return None, f"{secret_place(ref)} does not hold KEY_ID:SECRET or KEY_ID:SECRET:SESSION_TOKEN"
    return value, ""


def _digests(
    ref: SecretRef, environ: Mapping[str, str], box: SecretBox | None
) -> tuple[tuple[str, ...], str]:
    """Of each key that is good now: what was replaced is good beside what took its place."""
    if ref.kind == "sha256":
        return (ref.name,), ""
    keys, why = good_values(ref, environ, box)
    return tuple([hashlib.sha256(key.encode()).hexdigest() for key in keys]), why


def good_values(
    ref: SecretRef, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[tuple[str, ...], str]:
    """(what is good now: the newest, and what it has replaced a while ago; why there is none)."""
    value, why = read_secret(ref, environ, box)
    found = [value] if value is not None else []
    if box is not None and box.holds(ref):
        found += [replaced.text for replaced in box.read(ref).values[1:]]
    return tuple(found), why


def redis_password(
    fleet: Fleet | None, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[str | None, str]:
    """(password, why it can't be read), of the fleet's Redis. Misconfigured where it can't come by itself."""
    if fleet is None or fleet.credential is None:
        return None, ""
    value, why = read_secret(fleet.credential, environ, box)
    if value is None and not _is_held(fleet.credential):
        raise Misconfigured(500, "no_redis_password", f"redis.credential: {why}")
    return value, why


def read_secret(
    ref: SecretRef, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[str | None, str]:
    """(value, why not). White space at the ends is an editor's, never a key's."""
    if ref.kind == "mock":
        return ref.name, ""
    if box is not None and box.holds(ref):
        read = box.read(ref)
        return (read.values[0].text if read.values else None), read.why
    where = secret_place(ref)
    if isinstance(ref, StoredSecret):
        return None, f"{where} was not asked for"
    try:
        if ref.kind == "file":
            return usable(read_file(ref.name), where), ""
        value = environ.get(ref.name, "")
        return (usable(value, where), "") if value.strip() else (None, f"{where} is not set")
    except Away as error:
        return None, str(error)
