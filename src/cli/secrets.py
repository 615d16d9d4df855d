"""Secrets' values, read where the configuration says they are. Values never leave as text of an error."""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..core.budgets import Fleet
from ..core.call import Caller, caller_of
from ..core.catalog import Auth, Catalog, LedgerPlace, Provider, SecretRef, StoredSecret
from ..core.errors import Misconfigured
from ..extproc.cache_redis import check_redis_is_installed
from ..ledger.place import checked
from ..policy import State
from ..secrets.box import SecretBox

_AWS_NAMES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_ENVIRONMENT = "the environment"


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


def _references(catalog: Catalog) -> Iterator[SecretRef]:
    """To every secret that `catalog` has, wherever it is kept."""
    capture, fleet = catalog.capture, catalog.fleet
    refs = [provider.credential for provider in catalog.providers.values()]
    refs += [ref for entry in catalog.callers for ref in entry.keys]
    refs += [catalog.cache.redis, catalog.ledger.secret, capture.secret, capture.key, *capture.old_keys]
    refs += [fleet.credential] if fleet is not None else []
    refs += [catalog.audit.key, *(ref for one in catalog.audit.sinks for ref in one.credentials.values())]
    return (ref for ref in refs if ref is not None)


def stored_secrets(catalog: Catalog) -> frozenset[StoredSecret]:
    """All that `catalog` has in stores."""
    return frozenset(ref for ref in _references(catalog) if isinstance(ref, StoredSecret))


def new_box() -> SecretBox:
    return SecretBox(lambda ref: read_secret(ref, os.environ))


def asked_box(catalog: Catalog, *refs: SecretRef | None) -> SecretBox:
    """For a command that runs once: those of `refs` that are in stores are asked for now."""
    box = new_box()
    box.want(catalog.secrets, [ref for ref in refs if isinstance(ref, StoredSecret)])
    return box


def resolve(catalog: Catalog, environ: Mapping[str, str], box: SecretBox | None = None) -> Resolved:
    """Read every secret that `catalog` refers to. A missing one rules its provider or caller out. Those in
    stores come out of `box`."""
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
    callers: dict[str, Caller] = {}
    for entry in catalog.callers:
        for ref in entry.keys:
            digests, why = _digests(ref, environ, box)
            if not digests:
                warnings.append(f"caller {entry.name}: {why}; nobody can call with this key")
            for digest in digests:
                if digest in callers and callers[digest].name != entry.name:
                    warnings.append(f"caller {entry.name}: has the same key as {callers[digest].name}")
                else:
                    callers[digest] = caller_of(entry)
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
    state = State(out, signing)
    return Resolved(credentials, callers, state, tuple(warnings), ledger_url, ledger_why, cache_redis)


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
        elif ref.kind == "aws":
            yield _aws_file(environ)
    for issuer in catalog.issuers:
        if issuer.jwks.file:
            yield Path(issuer.jwks.file)
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
    if ref.kind == "aws":
        return _aws_credential(environ)
    value, why = read_secret(ref, environ, box)
    if value is None or provider.auth is not Auth.AWS_SIGV4:
        return value, why
    if ref.kind == "mock":
        return f"{value}:no-secret", ""
    parts = value.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        return None, f"{secret_place(ref)} does not hold KEY_ID:SECRET or KEY_ID:SECRET:SESSION_TOKEN"
    return value, ""


def _aws_credential(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """AWS's own variables, else a profile of its credentials file, as KEY_ID:SECRET[:SESSION_TOKEN].

    Source: AWS SDKs and Tools Reference Guide, "AWS access keys".
    """
    path, profile = _aws_file(environ), environ.get("AWS_PROFILE") or "default"
    where = _ENVIRONMENT
    found = {name: environ.get(name.upper(), "").strip() for name in _AWS_NAMES}
    if not found["aws_access_key_id"]:
        where = f"the profile {profile} in {path}"
        profiles = configparser.RawConfigParser(strict=False)
        try:
            profiles.read_string(path.read_text(encoding="utf-8"))
            found = {name: profiles.get(profile, name, fallback="").strip() for name in _AWS_NAMES}
        except OSError as error:
            why = f"AWS_ACCESS_KEY_ID is not set, and the file {path} can't be read ({error.strerror})"
            return None, why
        except (configparser.Error, UnicodeDecodeError):
            return None, f"AWS_ACCESS_KEY_ID is not set, and the file {path} is not valid"
    for name in _AWS_NAMES[:2]:
        if not found[name]:
            return None, f"{where} has no {name if where != _ENVIRONMENT else name.upper()}"
    value = ":".join(filter(None, found.values()))
    return (
        (value, "") if value.isprintable() else (None, f"{where} holds characters that no header can carry")
    )


def _aws_file(environ: Mapping[str, str]) -> Path:
    if given := environ.get("AWS_SHARED_CREDENTIALS_FILE"):
        return Path(given)
    return Path(environ.get("HOME") or Path.home(), ".aws", "credentials")


def _digests(
    ref: SecretRef, environ: Mapping[str, str], box: SecretBox | None
) -> tuple[tuple[str, ...], str]:
    """Of each key that is good now: what a store has replaced is good beside what took its place."""
    if ref.kind == "sha256":
        return (ref.name,), ""
    found = [read_secret(ref, environ, box)]
    if isinstance(ref, StoredSecret) and box is not None:
        found += [_checked(value.text, str(ref)) for value in box.read(ref).values[1:]]
    keys = [value for value, _ in found if value is not None]
    return tuple([hashlib.sha256(key.encode()).hexdigest() for key in keys]), found[0][1]


def redis_password(fleet: Fleet, environ: Mapping[str, str], box: SecretBox | None = None) -> str | None:
    """Raises Misconfigured where it can't be read."""
    if fleet.credential is None:
        return None
    value, why = read_secret(fleet.credential, environ, box)
    if value is None:
        raise Misconfigured(500, "no_redis_password", f"redis.credential: {why}")
    return value


def read_secret(
    ref: SecretRef, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[str | None, str]:
    """(value, why not). White space at the ends is an editor's, never a key's."""
    if ref.kind == "mock":
        return ref.name, ""
    where = secret_place(ref)
    if isinstance(ref, StoredSecret):
        if box is None:
            return None, f"{where} was not asked for"
        read = box.read(ref)
        return _checked(read.values[0].text, where) if read.values else (None, read.why)
    if ref.kind == "env":
        value = environ.get(ref.name, "")
    else:
        try:
            value = Path(ref.name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return None, f"{where} is not UTF-8 text"
        except OSError as error:
            return None, f"{where} can't be read ({error.strerror})"
    if not value.strip() and ref.kind == "env":
        return None, f"{where} is not set"
    return _checked(value, where)


def _checked(value: str, where: str) -> tuple[str | None, str]:
    value = value.strip()
    if not value:
        return None, f"{where} is empty"
    if not value.isprintable():
        return None, f"{where} holds characters that no header can carry"
    return value, ""


def secret_place(ref: SecretRef) -> str:
    if isinstance(ref, StoredSecret):
        return f"the secret {ref}"
    return f"the environment variable {ref.name}" if ref.kind == "env" else f"the file {ref.name}"
