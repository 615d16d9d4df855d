"""Who sends a call, by all that Envoy can have found of a client; a pure table of the front door's tests."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.cli.secrets import resolve
from modelbroker.core.call import Caller, caller_of
from modelbroker.core.errors import CallError
from modelbroker.exchange import NO_PROOF, Inbound, Moment, OuterCall, Proof, View
from modelbroker.exchange.course import Course
from modelbroker.exchange.identity import challenge, claimed, identify, taken_up
from support.catalogs import catalog

KEY = "mb.key.with-two-dots"
ID = "spiffe://prod/agent"


def view(**sections: Any) -> View:
    issuer = {
        "name": "corp",
        "issuer": "https://i",
        "audiences": "any",
        "jwks": "/k",
        "claims": {"user": "sub"},
    }
    given: dict[str, Any] = {
        "issuers": [issuer],
        "callers": [
            {"name": "keyed", "key": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}},
            {"name": "staff", "jwt": {"issuer": "corp", "match": {"ok": True}}, "trusted_for": "customer"},
            {"name": "agent", "spiffe": ID},
        ],
        "listen": {"tls": {"cert_file": "c", "key_file": "k", "client_ca_file": "a"}},
        "pools": [{"name": "p", "members": [{"provider": "b", "model": "m"}]}],
        **sections,
    }
    loaded = catalog(**given)
    resolved = resolve(loaded, {"K": "provider-key"})
    by_name = {entry.name: caller_of(entry) for entry in loaded.callers}
    return View("g", loaded, resolved.state, resolved.callers, by_name)


VIEW = view()
GOOD = Proof({"corp": {"ok": True, "sub": "alice"}})


def token(**claims: Any) -> str:
    def part(tree: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(tree).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


def who(proof: Proof = NO_PROOF, seen: View = VIEW, course: Course | None = None, **headers: str) -> str:
    inbound = Inbound([(name.replace("_", "-"), value) for name, value in headers.items()])
    try:
        return identify(inbound, proof, seen, course).name
    except CallError as error:
        return f"{error.status} {error.code}"


DEEP = f"e.{base64.urlsafe_b64encode(b'[' * 20_000).decode()}.c"
OURS, FOREIGN = token(iss="https://i", exp=1), token(iss="https://evil", exp=1)


@pytest.mark.parametrize(
    ("proof", "headers", "expected"),
    [
        (NO_PROOF, {"authorization": f"Bearer {KEY}"}, "keyed"),
        (NO_PROOF, {"authorization": f"bEaReR  {KEY} "}, "keyed"),
        (NO_PROOF, {"x_api_key": KEY}, "keyed"),
        (GOOD, {"x_api_key": KEY}, "keyed"),
        (GOOD, {}, "staff"),
        (GOOD, {"x_api_key": "unused"}, "staff"),
        (GOOD._replace(certificate=ID), {}, "staff"),
        (Proof({"corp": {"ok": False}}), {}, "403 identity_not_allowed"),
        (Proof({"corp": {"ok": False}}, certificate=ID), {}, "403 identity_not_allowed"),
        (Proof(certificate=ID), {}, "agent"),
        (Proof(certificate=ID), {"authorization": "Bearer none"}, "agent"),
        (Proof(certificate=ID), {"authorization": "Bearer nope"}, "401 invalid_api_key"),
        (Proof(certificate=ID), {"authorization": f"Bearer {OURS}"}, "401 token_invalid"),
        (Proof(certificate="spiffe://prod/other"), {}, "403 identity_not_allowed"),
        (NO_PROOF, {"x_api_key": "none"}, "401 invalid_api_key"),
        (NO_PROOF, {}, "401 missing_api_key"),
        (NO_PROOF, {"authorization": "Basic abc"}, "401 missing_api_key"),
        (NO_PROOF, {"x_api_key": "sk-nope"}, "401 invalid_api_key"),
        (NO_PROOF, {"x_api_key": FOREIGN}, "401 token_issuer"),
        (NO_PROOF, {"x_api_key": OURS}, "401 token_invalid"),
        (NO_PROOF, {"x_api_key": "a.b.c"}, "401 token_invalid"),
        (NO_PROOF, {"x_api_key": DEEP}, "401 token_invalid"),
        (Proof(failures=("Jwt is expired",)), {"x_api_key": OURS}, "401 token_expired"),
        (Proof(failures=("Audiences in Jwt are not allowed",)), {"x_api_key": OURS}, "401 token_audience"),
        (Proof(failures=("Jwt issuer is not configured",)), {"x_api_key": OURS}, "401 token_issuer"),
        (Proof(failures=("Jwt verification fails",)), {"x_api_key": OURS}, "401 token_invalid"),
        (Proof(failures=("a word of tomorrow's",)), {"x_api_key": OURS}, "401 token_invalid"),
        (Proof(failures=("Jwks remote fetch is failed",)), {"x_api_key": OURS}, "503 token_keys_unavailable"),
        (
            Proof(failures=("Jwks doesn't have any valid public key",)),
            {"x_api_key": OURS},
            "503 token_keys_unavailable",
        ),
    ],
)
def test_who_it_is(proof: Proof, headers: dict[str, str], expected: str) -> None:
    assert who(proof, **headers) == expected


def test_without_issuers_a_token_is_a_key_like_any_other() -> None:
    seen = view(issuers=[], callers=[{"name": "keyed", "key": {"env": "K"}}])
    assert who(seen=seen, x_api_key=OURS) == "401 invalid_api_key"
    assert who(seen=view(issuers=[], callers=[], listen={})) == ""


def test_what_a_token_has_to_be_trusted_for_it_is() -> None:
    inbound = Inbound([("x-broker-customer", "acme"), ("x-broker-feature", "mine")])
    found = identify(inbound, GOOD, VIEW, None)
    assert (found.user, found.customer, found.feature) == ("alice", "acme", "")


TEXTS = st.sampled_from(["", "x", "y"])


@given(st.sampled_from(["keyed", "staff", "agent"]), st.tuples(*[TEXTS] * 6))
def test_a_handed_back_calls_caller_is_the_one_that_it_was(name: str, said: tuple[str, ...]) -> None:
    known = VIEW.callers_by_name[name]
    agent, user, team, tier, feature, customer = said
    caller = Caller(
        name,
        agent=agent,
        user=user,
        team=team,
        tier=tier,
        feature=feature,
        customer=customer,
        pools=known.pools,
        trusted_for=known.trusted_for,
    )
    course = Course("id", 0, name, feature, customer, ("p",), claimed=claimed(caller, known))
    assert taken_up(course, VIEW) == caller
    assert taken_up(Course("id", 0, "gone", "", "", ("p",)), VIEW) is None


def test_a_401_says_what_is_wrong_with_the_token() -> None:
    call = OuterCall(VIEW, "id")
    headers = [(":method", "POST"), (":path", "/v1/messages"), ("x-api-key", OURS)]
    reply: Any = call.on_headers(Inbound(headers), ends=True, proof=Proof(failures=("Jwt is expired",)))
    assert dict(reply.headers)["www-authenticate"] == (
        'Bearer error="invalid_token", error_description="the token has expired: get a new one"'
    )
    told = json.loads(reply.body)
    assert told["error"]["type"] == "authentication_error"
    assert OURS not in reply.body.decode()


@given(st.text(max_size=40))
def test_a_challenge_is_one_line_of_good_syntax(message: str) -> None:
    line = challenge(CallError(401, "token_invalid", message))
    assert line.count('"') == 4
    assert line.isascii()


def test_a_call_by_a_token_is_decided_as_any_other() -> None:
    call = OuterCall(VIEW, "id")
    headers = [(":method", "POST"), (":path", "/v1/chat/completions"), ("x-broker-customer", "acme")]
    call.on_headers(Inbound(headers), ends=False, proof=GOOD)
    outcome: Any = call.on_body(b'{"model": "p", "messages": []}', Moment(0.0, 0))
    facts = dict(outcome.facts)
    assert (facts["caller"], facts["user"], facts["customer"]) == ("staff", "alice", "acme")
