"""Who sends a call: from its key, its token or its certificate, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from ..core.call import Caller
from ..core.errors import CallError, Refused, Unavailable
from .course import Course
from .inbound import BROKERS_PREFIX, Inbound
from .view import View

ANYONE = Caller()
# A client that has nothing but its certificate has to send some key all the same: SDKs ask for one.
NO_KEY = "none"
_NO_CLAIMS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
_HOW = "send the broker's key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"


class Proof(NamedTuple):
    """What Envoy has found of a client, and no client can say: `claims` of good tokens by the name of their
    issuer, why others are not good (Envoy's words), and the first URI in the client's certificate."""

    claims: Mapping[str, Mapping[str, Any]] = _NO_CLAIMS
    failures: tuple[str, ...] = ()
    certificate: str = ""


NO_PROOF = Proof()

_BAD_SIGNATURE = "Jwt verification fails"
# Envoy's words for a token that is not good → our code and what a client is told. What is not here is a token
# that no issuer of ours has signed, or none at all. Source: jwt_verify_lib, status.cc.
_TOLD: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Jwt is expired": ("token_expired", "the token has expired: get a new one"),
        "Jwt not yet valid": ("token_invalid", "the token is not valid yet: its clock, or ours, is wrong"),
        "Audiences in Jwt are not allowed": (
            "token_audience",
            "the token is for another service: ask for one with the broker's audience (`aud`)",
        ),
        "Jwt issuer is not configured": (
            "token_issuer",
            "the token is of an issuer that the broker does not know (`iss`)",
        ),
        _BAD_SIGNATURE: ("token_invalid", "the token's signature is wrong"),
        "Jwks doesn't have key to match kid or alg from Jwt": (
            "token_invalid",
            "the token is signed with a key that its issuer does not have (any more)",
        ),
    }
)
_NO_KEYS = ("Jwks remote fetch is failed", "Jwks doesn't have any valid public key")


def identify(inbound: Inbound, proof: Proof, view: View, course: Course | None) -> Caller:
    """Who sends this; with no callers configured anyone (on loopback) may. Raises Refused or Unavailable."""
    caller = _known(inbound, proof, view, course)
    if not caller.trusted_for:
        return caller
    feature, customer = _claim(inbound, "feature", caller), _claim(inbound, "customer", caller)
    if not (feature or customer):
        return caller
    return replace(caller, feature=feature or caller.feature, customer=customer or caller.customer)


def _claim(inbound: Inbound, fact: str, caller: Caller) -> str:
    """What the caller says of itself, where the configuration trusts it to."""
    return inbound.first(BROKERS_PREFIX + fact) if fact in caller.trusted_for else ""


def _known(inbound: Inbound, proof: Proof, view: View, course: Course | None) -> Caller:
    """A key that is ours goes first, then a token, then the certificate. What is sent and not good is
    refused, whatever else the client has: it would be somebody else than it says."""
    if not view.catalog.callers:
        return ANYONE
    scheme, _, token = inbound.first("authorization").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else ""
    key = key or inbound.first("x-api-key").strip()
    if key:
        caller = view.callers.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
        if caller is not None:
            return caller
    if proof.claims:
        return _by_token(proof, view)
    if key and not (key == NO_KEY and proof.certificate):
        raise _not_good(key, proof, view)
    if proof.certificate:
        return _by_certificate(proof.certificate, view)
    if course is not None:
        raise Refused(401, "invalid_api_key", "this key is not one of the broker's callers any more")
    raise Refused(401, "missing_api_key", f"no key: {_HOW}")


def _by_token(proof: Proof, view: View) -> Caller:
    for issuer, claims in sorted(proof.claims.items()):
        if (caller := view.identities.of_token(issuer, claims)) is not None:
            return caller
    raise Refused(
        403, "identity_not_allowed", "the token is good, but its claims make it none of the broker's callers"
    )


def _by_certificate(uri: str, view: View) -> Caller:
    if (caller := view.identities.of_certificate(uri)) is not None:
        return caller
    message = f"the certificate's {uri[:200]} is none of the broker's callers, and there is no key"
    raise Refused(403, "identity_not_allowed", message)


def _not_good(key: str, proof: Proof, view: View) -> CallError:
    """A key that is none of ours, or a token that does not hold."""
    if not view.catalog.issuers or key.count(".") != 2:
        return Refused(401, "invalid_api_key", "this key is not one of the broker's callers")
    if any(failure in _NO_KEYS for failure in proof.failures):
        return Unavailable(
            503,
            "token_keys_unavailable",
            "the keys of the token's issuer can't be had at the moment: nobody can tell whether it is good",
            retry_after_s=5,
        )
    said = _said_by(key)
    for failure in proof.failures:
        if failure == _BAD_SIGNATURE and "exp" not in said:
            return Refused(401, "token_invalid", "the token has no end: get one with `exp`")
        if failure in _TOLD:
            return Refused(401, *_TOLD[failure])
    if proof.failures:
        return Refused(401, "token_invalid", f"the token is not good: {proof.failures[0][:200]}")
    # Envoy tells nothing where it can't say whose the token is, or can't read it at all.
    if not said:
        return Refused(401, "token_invalid", "the token can't be read: it has three parts, and is no JWT")
    if str(said.get("iss", "")) not in {issuer.issuer for issuer in view.catalog.issuers}:
        return Refused(401, *_TOLD["Jwt issuer is not configured"])
    return Refused(401, "token_invalid", "the token is not signed in a way that can be verified")


def _said_by(token: str) -> Mapping[str, Any]:
    """What a token says that nobody has verified: good for telling its sender what is wrong with it."""
    part = token.split(".")[1]
    try:
        said = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


# -- who a handed-back call's caller was


def taken_up(course: Course, view: View) -> Caller | None:
    """The caller of a call that goes on; None where the configuration has it no longer."""
    known = view.callers_by_name.get(course.caller)
    if known is None and not view.catalog.callers:
        known = ANYONE
    if known is None:
        return None
    feature, customer = course.feature or known.feature, course.customer or known.customer
    if not course.claimed:
        return replace(known, feature=feature, customer=customer)
    agent, user, team, tier = course.claimed
    return replace(known, agent=agent, user=user, team=team, tier=tier, feature=feature, customer=customer)


def claimed(caller: Caller, known: Caller | None) -> tuple[str, ...]:
    """What a course has to hold of the caller beside its name: what claims told of it, if they did."""
    if known is caller:  # nearly always
        return ()
    told = (caller.agent, caller.user, caller.team, caller.tier)
    is_known = known is not None and told == (known.agent, known.user, known.team, known.tier)
    return () if is_known else told


_WORDS = str.maketrans("", "", '"\\')


def challenge(error: CallError) -> str:
    """WWW-Authenticate of a 401. Source: RFC 6750, 3."""
    if not error.code.startswith("token_"):
        return "Bearer"
    plain = error.message.encode("ascii", "ignore").decode().translate(_WORDS)
    return f'Bearer error="invalid_token", error_description="{plain}"'
