"""Whom a verified token or certificate stands for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.call import Caller
from modelbroker.core.catalog import Catalog
from modelbroker.core.identity import TokenMatch
from modelbroker.policy.identity import claim, fact_of, identities_of, matches, named, texts
from support.catalogs import catalog

CLAIMS: dict[str, Any] = {
    "sub": "alice",
    "realm": {"team": "search", "roles": ["dev", "ops"]},
    "https://example.com/team": "long",
    "a.b": "as it is written",
    "a": {"b": "a path"},
    "n": 7.0,
    "big": 1.5,
    "yes": True,
    "none": None,
    "one": ["alone"],
    "lines": "two\nlines",
}


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("sub", "alice"),
        ("realm.team", "search"),
        ("realm.roles", ""),  # several
        ("realm", ""),
        ("realm.team.x", ""),
        ("https://example.com/team", "long"),
        ("a.b", "as it is written"),
        ("n", "7"),
        ("big", "1.5"),
        ("yes", "true"),
        ("none", ""),
        ("one", "alone"),
        ("lines", ""),
        ("nothing", ""),
        ("", ""),
    ],
)
def test_a_claim_as_a_fact(name: str, fact: str) -> None:
    assert fact_of(CLAIMS, name) == fact


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
TREES = st.dictionaries(st.sampled_from(["a", "b", "a.b", "c"]), JSON, max_size=4)
NAMES = st.sampled_from(["a", "b", "a.b", "a.b.c", "c", "", "."])


@given(TREES, NAMES)
def test_any_claims_can_be_read(claims: dict[str, Any], name: str) -> None:
    fact = fact_of(claims, name)
    assert len(fact) <= 256
    assert fact.isprintable() or not any(ord(c) < 32 for c in fact)
    values = list(texts(claim(claims, name)))
    assert fact == "" or values == [fact]
    # What a claim has is what it matches, and a fact is what would match it.
    for value in values:
        if not set("*?[") & set(value):
            assert matches(TokenMatch("i", ((name, (value,)),)), "i", claims)
    assert matches(TokenMatch("i", ((name, ("*",)),)), "i", claims) == bool(values)
    assert not matches(TokenMatch("other"), "i", claims)


def configured(*callers: dict[str, Any]) -> Catalog:
    issuer = {"name": "corp", "issuer": "i", "audiences": "any", "jwks": "/keys"}
    issuer |= {"claims": {"user": "sub", "team": "realm.team", "feature": "feature"}}
    return catalog(
        pools=[{"name": "p", "members": [{"provider": "b", "model": "m"}]}],
        issuers=[issuer],
        callers=list(callers),
        listen={"tls": {"cert_file": "c", "key_file": "k", "client_ca_file": "a"}},
    )


def test_the_first_that_matches_counts_whatever_its_name() -> None:
    known = identities_of(
        configured(
            {"name": "z-ops", "jwt": {"issuer": "corp", "match": {"realm.roles": "op*"}}, "team": "own"},
            {"name": "dev", "jwt": {"issuer": "corp", "match": {"realm.roles": ["dev", "qa"], "yes": True}}},
            {"name": "anybody", "jwt": "corp"},
        )
    )
    found = known.of_token("corp", CLAIMS)
    assert found is not None
    assert (found.name, found.user, found.team) == ("z-ops", "alice", "own")
    found = known.of_token("corp", {**CLAIMS, "realm": {"roles": ["qa"], "team": "t"}})
    assert found is not None
    assert (found.name, found.team) == ("dev", "t")
    found = known.of_token("corp", {"feature": "f"})
    assert found is not None
    assert (found.name, found.feature, found.user) == ("anybody", "f", "")
    assert known.of_token("another", CLAIMS) is None


def test_certificates_and_who_has_no_key() -> None:
    loaded = configured(
        {"name": "z", "spiffe": "spiffe://prod/ns/a/*"},
        {"name": "a", "spiffe": ["spiffe://prod/ns/*", "spiffe://other/x"], "agent": "bot"},
        {"name": "keyed", "key": {"env": "NOT_THERE"}},
    )
    known = identities_of(loaded)
    ids = ("spiffe://prod/ns/a/b", "spiffe://prod/ns/b", "spiffe://other/x", "spiffe://prod.evil/ns/a/b", "")
    found = [known.of_certificate(each) for each in ids]
    assert [caller.name if caller else "" for caller in found] == ["z", "a", "a", "", ""]
    assert named([Caller("other")], loaded).keys() == {"other", "z", "a"}


@given(st.text(max_size=20))
def test_a_pattern_of_one_trust_domain_takes_in_no_other(rest: str) -> None:
    known = identities_of(configured({"name": "a", "spiffe": "spiffe://prod/*"}))
    for domain in ("prod.evil", "evil", "prod@evil", "Prod", ""):
        assert known.of_certificate(f"spiffe://{domain}/{rest}") is None or domain == "prod"
