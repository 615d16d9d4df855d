"""A configuration made ready to serve: read, compiled, its secrets resolved, Envoy's resources built."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..audit.reports import Settings as AuditSettings
from ..budgets.fleet import needs_redis
from ..console.login import NO_ACCESS, Access
from ..core.catalog import Auth, Catalog, Provider, SecretRef
from ..core.errors import Misconfigured
from ..core.keys import content_hash
from ..core.prices import NO_PRICES, PriceBook
from ..dialects import BUILT, DEVIATIONS, KNOWN, SURFACES
from ..exchange import View
from ..policy.ceilings import Ceilings
from ..policy.estimates import Estimates
from ..policy.identity import named
from ..policy.seats import Plan
from ..secrets.box import SecretBox
from ..settings import PriceList, compile_texts, place_of
from ..telemetry.reports import ContentSettings
from ..telemetry.reports import Settings as TelemetrySettings
from ..traffic.reports import Settings as CaptureSettings
from ..xds.build import Memory, build, generation_of
from ..xds.snapshot import Snapshot, snapshot
from .audit import settings_of as audit_settings
from .capture import settings_of as capture_settings
from .certificates import Held, held_by
from .commanders import NO_RIGHTS, Rights, rights_of
from .console import access_of
from .content import content_settings
from .jwks import all_with_keys
from .secrets import Resolved, file_digest, held_secrets, new_box, resolve
from .sources import read_texts
from .telemetry import telemetry_settings

# In a table of simulators: the one that serves providers which have none of their own.
ANY_PROVIDER = "*"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says over the configuration. `mocks`: provider name → `host:port` of the
    simulator in its place; ANY_PROVIDER stands for those that are not named. `undecided`: the file in which
    Envoy is to write of calls for which no member was asked."""

    address: str | None = None
    port: int | None = None
    mocks: Mapping[str, str] | None = None
    undecided: Path | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A configuration that can be served. `texts` is its source, kept to come back to."""

    texts: Mapping[str, str]
    catalog: Catalog
    resolved: Resolved
    view: View
    snapshot: Snapshot
    compile_warnings: tuple[str, ...]
    memory: Memory
    prices: PriceBook = NO_PRICES
    problems: tuple[str, ...] = ()  # what does not hold up the rest, and is no mere warning
    capture: CaptureSettings | None = None  # None: nothing is captured
    capture_why: str = ""  # why nothing is, where something was to be
    telemetry: TelemetrySettings | None = None  # None: nothing is exported
    telemetry_why: str = ""  # likewise
    content: ContentSettings | None = None  # None: no texts are
    content_why: str = ""  # likewise
    audit: AuditSettings | None = None  # None: no events
    audit_warnings: tuple[str, ...] = ()
    console: Access = NO_ACCESS
    console_warnings: tuple[str, ...] = ()
    rights: Rights = NO_RIGHTS
    rights_warnings: tuple[str, ...] = ()
    certificates: tuple[Held, ...] = ()  # the listener's

    @property
    def redis_password(self) -> str | None:
        return self.resolved.redis_password

    @property
    def warnings(self) -> tuple[str, ...]:
        why = [f"{self.capture_why}; nothing is captured"] if self.capture_why else []
        why += [f"{self.telemetry_why}; nothing is exported"] if self.telemetry_why else []
        why += [f"{self.content_why}; no texts are sent"] if self.content_why else []
        more = (*why, *self.audit_warnings, *self.console_warnings, *self.rights_warnings)
        return (*self.compile_warnings, *self.resolved.warnings, *self.problems, *more)


def prepare(
    texts: Mapping[str, str],
    overrides: Overrides,
    environ: Mapping[str, str],
    before: Ready | None = None,
    *,
    price_list: PriceList | None = None,
    priced_at_s: int | None = None,
    warned_at_s: int | None = None,
    box: SecretBox | None = None,
) -> Ready:
    """Raises SettingsError (all problems at once) or Misconfigured. What is the same in `before` is taken
    over from there. The prices are as in `compile_texts`."""
    loaded = compile_texts(
        texts,
        dialects=KNOWN,
        built=BUILT,
        deviations=DEVIATIONS,
        price_list=price_list,
        priced_at_s=priced_at_s,
        warned_at_s=warned_at_s,
    )
    catalog = override(loaded.catalog, overrides)
    warnings = [str(problem) for problem in loaded.warnings]
    return make_ready(texts, catalog, warnings, environ, before, loaded.prices, box)


def make_ready(
    texts: Mapping[str, str],
    catalog: Catalog,
    warnings: Sequence[str],
    environ: Mapping[str, str],
    before: Ready | None = None,
    prices: PriceBook | None = None,
    box: SecretBox | None = None,
) -> Ready:
    """Secrets and keys are read here, those in stores out of `box`: call it again when one has changed.
    Without `prices` those of `before` stay. Misconfigured where keys that were there before, or of a new
    issuer, can't be had."""
    catalog = with_certificates(catalog)
    issuers, problems = all_with_keys(
        catalog.issuers,
        before.catalog.issuers if before else None,
        lambda issuer: place_of(texts, "issuers", issuer.name, "jwks"),
    )
    catalog = replace(catalog, issuers=issuers)
    if box is not None:
        box.want(catalog.secrets, held_secrets(catalog))
    if catalog.fleet is not None:
        needs_redis()
    resolved = resolve(catalog, environ, box)
    capture, capture_why = None, ""
    if catalog.capture.rules:
        capture, capture_why = capture_settings(catalog.capture, environ, box)
    audit, audit_warnings = audit_settings(catalog.audit, environ, box)
    generation = generation_of(catalog, resolved.state)
    by_name = named(resolved.callers.values(), catalog)
    prices = prices if prices is not None else before.prices if before else NO_PRICES
    plan = Plan(catalog.budgets) if catalog.budgets else None
    callers, estimates = resolved.callers, Estimates(prices)
    ceilings = Ceilings(prices)
    told = (callers, by_name, estimates, ceilings, plan, bool(capture_why))
    view = View(generation, catalog, resolved.state, *told)
    memory = before.memory if before else Memory()
    resources = build(catalog, resolved.state, SURFACES, resolved.credentials, memory)
    return Ready(
        texts,
        catalog,
        resolved,
        view,
        snapshot(generation, catalog.revision, resources, before.snapshot if before else None),
        tuple(warnings),
        memory,
        prices,
        problems,
        capture,
        capture_why,
        *telemetry_settings(catalog, environ, box),
        *content_settings(catalog, capture, capture_why, environ, box),
        audit,
        audit_warnings,
        *access_of(catalog.console, environ, box),
        *rights_of(catalog.admin, environ, box),
        certificates=held_by(catalog.listen),
    )


def with_certificates(catalog: Catalog) -> Catalog:
    """The catalog with what the files of certificates hold now, as digests."""
    providers = {
        name: replace(provider, ca_digest=file_digest(provider.ca_file)) if provider.ca_file else provider
        for name, provider in catalog.providers.items()
    }
    listen = catalog.listen
    if listen.tls_cert_file:
        files = [listen.tls_cert_file, listen.tls_key_file]
        files += [listen.client_ca_file] if listen.client_ca_file else []
        listen = replace(listen, tls_digest=content_hash(*map(file_digest, files)))
    return replace(catalog, providers=MappingProxyType(providers), listen=listen)


def prepare_path(
    config: Path | str,
    overrides: Overrides,
    *,
    price_list: PriceList | None = None,
    priced_at_s: int | None = None,
) -> Ready:
    """`prepare` of what is there now: at a path, or in a repository."""
    texts = read_texts(config)
    prices: dict[str, Any] = {"price_list": price_list, "priced_at_s": priced_at_s}
    return prepare(texts, overrides, os.environ, box=new_box(tells=False), **prices)


def override(catalog: Catalog, overrides: Overrides) -> Catalog:
    listen = catalog.listen
    if overrides.port is not None:
        listen = replace(listen, port=overrides.port)
    if overrides.undecided is not None:
        listen = replace(listen, undecided_file=str(overrides.undecided))
    if overrides.address is not None:
        listen = replace(listen, address=overrides.address)
        if not listen.is_loopback and not catalog.callers:
            raise Misconfigured(
                500,
                "no_callers",
                f"{listen.address} is not loopback and the configuration has no callers: anyone could call; "
                "add `callers: [{name: me, key: {sha256: …}}]`",
            )
    catalog = replace(catalog, listen=listen)
    if overrides.mocks is None:
        return catalog
    mocked = {name: mocked_provider(p, overrides.mocks) for name, p in catalog.providers.items()}
    return replace(catalog, providers=MappingProxyType(mocked))


def mocked_provider(provider: Provider, mocks: Mapping[str, str]) -> Provider:
    """The provider with a simulator in its place: same dialect, path and header, a key of no value."""
    where = mocks.get(provider.name) or mocks.get(ANY_PROVIDER)
    if where is None or not provider.built:
        return provider
    path = urlsplit(provider.base_url).path
    credential = None if provider.auth is Auth.NONE else SecretRef("mock", f"mock-key-of-{provider.name}")
    # Who is not set up yet can be rehearsed with all the same: these two stand in paths and signatures.
    return replace(
        provider,
        base_url=f"http://{where}{path}",
        credential=credential,
        ca_file="",
        region=provider.region or "us-east-1",
        project=provider.project or "a-project",
    )
