"""Whom a verified token or certificate stands for. Pure: what is verified is Envoy's to say.

Claims are those of a token that was good, as JSON: texts, numbers, true/false, lists, mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.call import Caller, caller_of
from ..core.catalog import Catalog
from ..core.globs import glob_matches
from ..core.identity import Issuer, TokenMatch

Claims = Mapping[str, Any]
# What of a claim can be a fact, and stand in a record.
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


def claim(claims: Claims, name: str) -> Any:
    """By its name, or by a path of names with dots between them; None where there is none. A name that is
    there as it is written goes first: `https://example.com/team` is no path."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def texts(value: Any) -> Iterator[str]:
    """The values of a claim: of a list each of them; what is a mapping, or nothing, has none."""
    match value:
        case bool():
            yield str(value).lower()
        case str():
            yield value
        case int() | float():
            # JSON's numbers come as floats: 7.0 is 7.
            yield str(int(value)) if float(value).is_integer() else str(value)
        case list() | tuple():
            for each in value:
                if not isinstance(each, (list, tuple)):
                    yield from texts(each)


def fact_of(claims: Claims, name: str) -> str:
    """A claim as a fact: the one value that it has; "" where it has none, or several, or one that is no line
    of up to 256 characters."""
    values = list(texts(claim(claims, name)))
    return values[0] if len(values) == 1 and _TEXT.fullmatch(values[0]) else ""


def matches(match: TokenMatch, issuer: str, claims: Claims) -> bool:
    """Does a token of the issuer (its name) with these claims stand for the caller?"""
    return match.issuer == issuer and all(
        any(glob_matches(pattern, text) for text in texts(claim(claims, name)) for pattern in patterns)
        for name, patterns in match.claims
    )


@dataclass(frozen=True, slots=True)
class Identities:
    """Who is known by what but a key, each in the order of the configuration."""

    issuers: Mapping[str, Issuer]  # by name
    by_token: tuple[tuple[TokenMatch, Caller], ...]
    by_certificate: tuple[tuple[str, Caller], ...]  # pattern of the SPIFFE ID

    def of_token(self, issuer: str, claims: Claims) -> Caller | None:
        """The first that it stands for, with what its claims tell."""
        known = self.issuers.get(issuer)
        if known is None:
            return None
        for match, caller in self.by_token:
            if matches(match, issuer, claims):
                told = ((fact, fact_of(claims, name)) for fact, name in known.claims)
                news: dict[str, Any] = {f: text for f, text in told if text and not getattr(caller, f)}
                return replace(caller, **news) if news else caller
        return None

    def of_certificate(self, spiffe_id: str) -> Caller | None:
        return next(
            (caller for pattern, caller in self.by_certificate if glob_matches(pattern, spiffe_id)), None
        )


def identities_of(catalog: Catalog) -> Identities:
    entries = sorted(catalog.callers, key=lambda entry: entry.order)
    return Identities(
        {issuer.name: issuer for issuer in catalog.issuers},
        tuple((entry.token, caller_of(entry)) for entry in entries if entry.token is not None),
        tuple((pattern, caller_of(entry)) for entry in entries for pattern in entry.spiffe),
    )


def uses_identities(catalog: Catalog) -> bool:
    """Has Envoy to say more of a client than its headers?"""
    return bool(catalog.issuers) or any(entry.spiffe for entry in catalog.callers)


def named(callers: Iterable[Caller], catalog: Catalog) -> dict[str, Caller]:
    """Name → caller: of those with a key that could be read (`callers`), and those that need none."""
    found = {caller.name: caller for caller in callers}
    for entry in catalog.callers:
        if entry.token is not None or entry.spiffe:
            found.setdefault(entry.name, caller_of(entry))
    return found
