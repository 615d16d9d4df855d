"""Who may vouch for callers: issuers of tokens, and what of their tokens is looked at."""

from __future__ import annotations

from dataclasses import dataclass

# Facts about a caller that claims can tell.
CLAIMED_FACTS = ("agent", "user", "team", "customer", "feature", "tier")
# In place of a list of audiences: whom a token is meant for is not looked at.
ANY_AUDIENCE = "any"


@dataclass(frozen=True, slots=True)
class Jwks:
    """An issuer's public keys (RFC 7517): in a file of the broker's, or at a URL that Envoy asks.

    `keys` is the file's content when it was read; "" before, and for a URL. `ca_file` is as a provider's."""

    file: str = ""
    url: str = ""
    cache_ms: int = 300_000
    ca_file: str = ""
    ca_digest: str = ""
    keys: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Of tokens (JWT, RFC 7519). `name` is the configuration's, `issuer` what tokens say in `iss`.
    `audiences` are those of which a token has to name one; () for any. `claims`: (fact, claim)."""

    name: str
    issuer: str
    audiences: tuple[str, ...]
    jwks: Jwks
    claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """Tokens that stand for a caller: those of `issuer` (its name) with all of `claims`: (claim, patterns of
    which its value, or one of its values, has to match one)."""

    issuer: str
    claims: tuple[tuple[str, tuple[str, ...]], ...] = ()
