"""What YAML may say of tokens and their issuers, and of callers that are known by them."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainValidator, StringConstraints

from ..core.identity import ANY_AUDIENCE, Jwks
from . import values
from .fields import HOUR, Model, field
from .problems import kind, refuse, show


def read_audiences(value: Any) -> Any:
    """A list of texts, one text, or `any`: ()."""
    if value in (ANY_AUDIENCE, [ANY_AUDIENCE]):
        return ()
    if not value or not isinstance(value, (str, list)):
        refuse("is empty" if not value else f"is {kind(value)}", "give e.g. [modelbroker], or any")
    return (value,) if isinstance(value, str) else tuple(value)


def read_jwks(value: Any) -> Any:
    """A text stands for a mapping with just `url`, or just `file`."""
    if not isinstance(value, str):
        return value
    return {"url" if "://" in value else "file": value}


def read_jwks_url(value: Any) -> str | None:
    """As base_url, but with the path as it is written, and with a query where it has one."""
    if value is None:
        return None
    plain, mark, query = value.partition("?") if isinstance(value, str) else (value, "", "")
    url = values.base_url(plain)
    if re.search(r"[\x00-\x20\x7f-\uffff#]", query):
        refuse("the URL holds characters that no query has", "leave them out")
    host = urlsplit(url).hostname or ""
    if url.startswith("http://") and host not in ("localhost", "::1") and not host.startswith("127."):
        refuse("keys that come over plain http can be anybody's", "give an https:// URL")
    return url + ("/" if plain.endswith("/") else "") + mark + query


def read_token(value: Any) -> Any:
    """A word stands for a mapping with just `issuer`."""
    return {"issuer": value} if isinstance(value, str) else value


def read_claim_patterns(value: Any) -> tuple[str, ...]:
    """A text, number or true/false, or a list of them → patterns."""
    given = value if isinstance(value, list) else [value]
    if not given:
        refuse("an empty list never matches", "list at least one value")
    return tuple([_claim_pattern(one) for one in given])


def _claim_pattern(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not 0 < len(value) <= 500:
        refuse(
            f"{show(value)} is nothing that a claim is matched with", "give text, a pattern or a list of them"
        )
    return value


_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._*?-]{1,512})+")


def read_spiffe(value: Any) -> str:
    """A SPIFFE ID, or a pattern of IDs of one trust domain.

    Source: SPIFFE-ID, 2 ("trust domain" in lower case, no empty segment in the path)."""
    if not isinstance(value, str) or len(value) > 2048 or not _SPIFFE.fullmatch(value):
        right = "give e.g. spiffe://prod.example.com/ns/agents/sa/*: patterns are for the path alone"
        refuse(f"{show(value)} is no SPIFFE ID", right)
    return value


ISSUER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_SHOWN = r"^[^\x00-\x1f\x7f]{1,512}$"

IssuerName = Annotated[str, StringConstraints(pattern=ISSUER_NAME)]
Word = Annotated[str, StringConstraints(pattern=_SHOWN)]
Audiences = Annotated[tuple[Word, ...], BeforeValidator(read_audiences)]
Claim = Annotated[str, StringConstraints(pattern=_SHOWN)]
_CLAIM = "give the name of a claim, or a path of names: realm.team"


class JwksIn(Model):
    """The public keys of an issuer (JWKS, RFC 7517). `jwks: https://…` and `jwks: PATH` are short for a
    mapping with just `url` or `file`."""

    file: Word | None = field(
        "A file with them. An edit of it is in effect at once.", "path", "give the path of a JSON file", None
    )
    url: Annotated[str | None, PlainValidator(read_jwks_url)] = field(
        "Where they are to be fetched; `http://` only from loopback.",
        "URL",
        "give e.g. https://login.example.com/.well-known/jwks.json",
        None,
    )
    cache: Annotated[int, PlainValidator(values.duration(10_000, 24 * HOUR))] = field(
        "With `url`: how often they are fetched again.", "duration", 'give e.g. "5m"', Jwks().cache_ms
    )
    ca_file: Word | None = field(
        "With `url`: a PEM file of the authorities to trust, in place of the system's.",
        "path",
        "give the path of a PEM file",
        None,
    )


class IssuerIn(Model):
    """Who issues tokens (JWT) that callers may send in place of a key. Which tokens stand for whom is said by
    `jwt` of `callers`. docs/identity.md"""

    name: IssuerName = field("What callers call it.", "name", "give a name, e.g. corp")
    issuer: Word = field(
        "What its tokens have in `iss`, to the letter.", "text", "give e.g. https://login.example.com"
    )
    audiences: Audiences = field(
        "A token has to name one of them in `aud`. `any`: it may be meant for anybody, which lets in tokens "
        "that were given out for other services.",
        "list of texts, or `any`",
        "give e.g. [modelbroker]",
    )
    jwks: Annotated[JwksIn, BeforeValidator(read_jwks)] = field(
        "Its public keys.",
        "URL, path or mapping",
        "give e.g. https://login.example.com/.well-known/jwks.json, or {file: PATH}",
    )
    claims: dict[Word, Claim] = field(
        "What its tokens tell of their caller: a fact (`agent`, `user`, `team`, `customer`, `feature`, "
        "`tier`) → the claim that has it. What the caller's entry says goes first.",
        "mapping of fact: claim",
        "give e.g. {user: sub, team: realm.team}",
        dict,
    )


class TokenIn(Model):
    """Tokens that stand for this caller. `jwt: corp` is short for `jwt: {issuer: corp}`."""

    issuer: str = field("The name of an entry in `issuers`.", "name", "give the name of an issuer, e.g. corp")
    match: dict[Claim, Annotated[tuple[str, ...], BeforeValidator(read_claim_patterns)]] = field(
        "Claim → what it has to be: a text, a pattern, or a list of which one has to match. Of a claim that "
        "has several values one has to match.",
        "mapping of claim: text, pattern or list",
        "give e.g. {groups: data-*}",
        dict,
    )


Token = Annotated[TokenIn | None, BeforeValidator(read_token)]
SpiffeIds = Annotated[list[Annotated[str, PlainValidator(read_spiffe)]], BeforeValidator(values.one_or_more)]
SPIFFE_RIGHT = "give e.g. spiffe://prod.example.com/ns/agents/sa/*"


def token_field() -> Any:
    return field(
        "The tokens of an issuer that stand for it. Of several callers that match, the first one counts.",
        "name or mapping",
        "give e.g. corp, or {issuer: corp, match: {groups: data-*}}",
        None,
    )


def spiffe_field() -> Any:
    return field(
        "The SPIFFE IDs that it may have in its certificate (with `listen.tls.client_ca_file`), or patterns "
        "of them. Of several callers that match, the first one counts.",
        "list of IDs or patterns",
        SPIFFE_RIGHT,
        list,
    )
