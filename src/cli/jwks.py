"""The public keys of issuers, where they stand in files: read, and looked through before Envoy gets them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import Misconfigured
from ..core.identity import Issuer
from .secrets import file_digest

# What a public key of each kind has to have, in base64url. Source: RFC 7518, 6; RFC 8037, 2.
_PUBLIC: Mapping[str, tuple[str, ...]] = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}
_CURVES: Mapping[str, frozenset[str]] = {
    "EC": frozenset(("P-256", "P-384", "P-521")),
    "OKP": frozenset(("Ed25519",)),
}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{2,}")
_RIGHT = 'give a JWKS: {"keys": [{"kty": "RSA", "kid": …, "n": …, "e": …}]}'


def all_with_keys(
    issuers: Iterable[Issuer],
    before: Iterable[Issuer] | None,
    place: Callable[[Issuer], str] = lambda issuer: "",
) -> tuple[tuple[Issuer, ...], tuple[str, ...]]:
    """The issuers with what their files hold now, and what is wrong with those whose keys can't be had.

    `before` are those that are served now: keys that were there are not given up for a broken file, which
    is Misconfigured, as for an issuer that is new. A broker that starts serves what it can. `place` says
    where an issuer's keys stand in the configuration."""
    had = None if before is None else {issuer.name: bool(issuer.jwks.keys) for issuer in before}
    found: list[Issuer] = []
    problems: list[str] = []
    for issuer in issuers:
        try:
            found.append(with_keys(issuer))
        except Misconfigured as error:
            message = ": ".join(part for part in (place(issuer), error.message) if part)
            if had is not None and had.get(issuer.name, True):
                raise _bad(message) from None
            found.append(issuer)
            problems.append(message)
    return tuple(found), tuple(problems)


def with_keys(issuer: Issuer) -> Issuer:
    """The issuer with what its files hold now. Misconfigured where its keys can't be had."""
    jwks = issuer.jwks
    if jwks.url:
        digest = file_digest(jwks.ca_file) if jwks.ca_file else ""
        return replace(issuer, jwks=replace(jwks, ca_digest=digest))
    where = f"the keys of the issuer {issuer.name}: {jwks.file}"
    try:
        text = Path(jwks.file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise _bad(f"{where} is not UTF-8 text; {_RIGHT}") from None
    except OSError as error:
        raise _bad(f"{where} can't be read ({error.strerror})") from None
    if wrong := next(complaints(text), ""):
        raise _bad(f"{where}: {wrong}")
    # One spelling for one meaning: a file that was only touched is no other configuration.
    return replace(issuer, jwks=replace(jwks, keys=json.dumps(json.loads(text), sort_keys=True)))


def _bad(message: str) -> Misconfigured:
    return Misconfigured(500, "jwks_unreadable", message)


def complaints(text: str) -> Iterator[str]:
    """What is wrong with a JWKS, and what would be right. Keys themselves are not repeated."""
    try:
        tree = json.loads(text)
    except ValueError as error:
        yield f"it is not JSON ({error}); {_RIGHT}"
        return
    keys = tree.get("keys") if isinstance(tree, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        yield f"it has no list of `keys`; {_RIGHT}"
        return
    wrongs = [(place, list(_wrong_with(key))) for place, key in enumerate(keys)]
    yield from (f"keys[{place}]: {wrong}" for place, found in wrongs for wrong in found)
    if not any(str(key.get("kty")) in _PUBLIC for key in keys):
        yield f"it holds no key that can verify a signature (kty RSA, EC or OKP); {_RIGHT}"


def _wrong_with(key: Mapping[str, Any]) -> Iterator[str]:
    """Kinds that are not known here are left out by Envoy, and are nothing wrong."""
    kind = str(key.get("kty"))
    if kind == "oct":
        yield "is a shared secret (kty oct): who can check such a token can make one; use RSA, EC or OKP"
    elif "d" in key:
        yield "holds the private key (d); publish the public part alone"
    elif kind in _PUBLIC:
        curves = _CURVES.get(kind)
        if curves is not None and key.get("crv") not in curves:
            yield f"crv is {key.get('crv')!r}; give {' or '.join(sorted(curves))}"
        for name in _PUBLIC[kind]:
            if not _is_base64url(key.get(name)):
                yield f"{name} is not there in base64url"


def _is_base64url(value: Any) -> bool:
    return isinstance(value, str) and _BASE64URL.fullmatch(value) is not None
