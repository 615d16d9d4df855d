"""Callers that are known by a token (JWT): Envoy verifies it, and nothing else is believed."""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import trustme
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.records import lines_of, record_with
from support.simulators import Simulators
from support.tokens import ISSUER, KeyServer, SigningKey, claims_of, jwks, unsigned
from support.waiting import wait_until

RSA, EC, ED = SigningKey("rsa"), SigningKey("ec", "ES256"), SigningKey("ed", "EdDSA")
REMOTE = "https://remote.example.com"
REMOTE_KEY = SigningKey("remote", "ES256")


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[KeyServer]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    with KeyServer(tls) as running:
        running.text = jwks(REMOTE_KEY)
        yield running


@pytest.fixture(scope="module")
def key_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside it the authority of the server of keys."""
    path = tmp_path_factory.mktemp("keys") / "jwks.json"
    path.write_text(jwks(RSA, EC, ED))
    authority.cert_pem.write_to_path(str(path.with_name("ca.pem")))
    return path


def config(sims: Simulators, key_file: Path, server: KeyServer) -> dict[str, Any]:
    def pool(name: str, *providers: str) -> dict[str, Any]:
        members = [{"provider": p, "model": "m", "priority": level} for level, p in enumerate(providers)]
        return {"name": name, "ejection": "off", "members": members}

    fetched = {"url": server.url, "cache": "10s"}
    if server.url.startswith("https:"):
        fetched["ca_file"] = str(key_file.with_name("ca.pem"))
    return {
        "providers": [provider(sim.name, sim.port, "openai-chat", "/v1") for sim in sims],
        "issuers": [
            {
                "name": "corp",
                "issuer": ISSUER,
                "audiences": ["other-name", "modelbroker"],
                "jwks": str(key_file),
                "claims": {
                    "user": "sub",
                    "team": "realm.team",
                    "tier": "https://example.com/tier",
                    "feature": "feature",
                    "agent": "azp",
                },
            },
            {
                "name": "remote",
                "issuer": REMOTE,
                "audiences": "any",
                "jwks": fetched,
            },
        ],
        "callers": [
            {"name": "tester", "key": {"sha256": KEY_SHA256}},
            {
                "name": "data",
                "jwt": {"issuer": "corp", "match": {"groups": "data-*"}},
                "team": "data",
                "pools": ["one", "two"],
                "trusted_for": ["customer"],
            },
            {"name": "staff", "jwt": {"issuer": "corp", "match": {"verified": True}}, "pools": "two"},
            {"name": "service", "jwt": "remote"},
        ],
        "pools": [pool("one", "a"), pool("two", "a", "b")],
    }


@pytest.fixture(scope="module")
def broker(
    sims: Simulators, key_file: Path, server: KeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims, key_file, server)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def post(
    broker: Broker, headers: dict[str, str], pool: str = "two", path: str = "chat/completions"
) -> httpx.Response:
    body = {"model": pool, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(f"{broker.url}/v1/{path}", json=body, headers=headers, timeout=30)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def record(broker: Broker, reply: httpx.Response) -> dict[str, Any]:
    return record_with(broker, reply.headers["x-broker-request-id"])


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.alg)
@pytest.mark.parametrize("header", ["authorization", "lower", "x-api-key"])
def test_a_good_token_says_who_calls(broker: Broker, sims: Simulators, key: SigningKey, header: str) -> None:
    token = key.token(
        verified=True,
        realm={"team": "search"},
        azp="crawler",
        feature="summaries",
        **{"https://example.com/tier": "premium"},
    )
    sent = {
        "authorization": {"authorization": f"Bearer {token}"},
        "lower": {"authorization": f"bearer {token}"},
    }
    reply = post(broker, sent.get(header, {"x-api-key": token}))
    assert reply.status_code == 200, reply.text
    told = record(broker, reply)
    who = ("caller", "user", "team", "tier", "agent", "feature", "customer")
    assert [told[name] for name in who] == ["staff", "alice", "search", "premium", "crawler", "summaries", ""]
    (call,) = sims["a"].settled_calls()
    assert token not in json.dumps(call)
    assert "alice" not in json.dumps(call)


def test_claims_decide_who_it_is_and_the_entry_goes_first(broker: Broker) -> None:
    token = EC.token(groups=["all", "data-eng"], realm={"team": "told"}, verified=True)
    reply = post(broker, {**bearer(token), "x-broker-customer": "acme", "x-broker-feature": "mine"}, "one")
    told = record(broker, reply)
    assert (told["caller"], told["team"], told["customer"], told["feature"]) == ("data", "data", "acme", "")
    reply = post(broker, bearer(EC.token(verified=True)), "one")
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "pool_not_allowed")
    reply = post(broker, bearer(EC.token(verified="no", groups=["data"])))
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "identity_not_allowed")


def bad_tokens() -> dict[str, tuple[str, str]]:
    good = claims_of(RSA.token(verified=True))
    head, claims, signature = RSA.token(verified=True).split(".")
    other = RSA.token(verified=True, sub="mallory").split(".")[1]
    stranger = SigningKey("rsa")
    return {
        "expired": (RSA.token(verified=True, lasts_s=-3600), "token_expired"),
        "not yet": (RSA.token(verified=True, nbf=int(time.time()) + 3600), "token_invalid"),
        "no end": (RSA.token(verified=True, lasts_s=None), "token_invalid"),
        "audience": (RSA.token(verified=True, aud=["other-service"]), "token_audience"),
        "no audience": (RSA.token(verified=True, aud=[]), "token_audience"),
        "issuer": (RSA.token("https://evil.example.com", verified=True), "token_issuer"),
        "another issuer's key": (RSA.token(REMOTE), "token_invalid"),
        "another key": (stranger.token(verified=True), "token_invalid"),
        "unknown kid": (SigningKey("nobody").token(verified=True), "token_invalid"),
        "other claims": (f"{head}.{other}.{signature}", "token_invalid"),
        "no signature": (f"{head}.{claims}.", "token_invalid"),
        "alg none": (unsigned(good), "token_invalid"),
        "alg none, a kid": (unsigned(good, kid="rsa"), "token_invalid"),
        "garbage": ("a.b.c", "token_invalid"),
        "binary": ("\x00.\xff.c".encode("latin-1").hex() + ".x.y", "token_invalid"),
        "no token": ("not-a-token", "invalid_api_key"),
    }


BAD_NAMES = sorted(bad_tokens())


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_token_that_does_not_hold_is_refused(
    broker: Broker, sims: Simulators, name: str, header: str
) -> None:
    token, code = bad_tokens()[name]  # made now: they end after a while
    reply = post(broker, bearer(token) if header == "authorization" else {"x-api-key": token})
    assert reply.status_code == 401, reply.text
    assert reply.json()["error"]["code"].startswith(code), reply.text
    challenge = reply.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="invalid_token"' if code.startswith("token_") else "Bearer")
    assert token not in reply.text
    assert sims["a"].settled_calls() == []


def test_no_change_of_a_token_gets_in(broker: Broker) -> None:
    """A letter that is another one, is missing or is there twice: a 401, and nothing worse."""
    draw = random.Random(7)
    with httpx.Client(timeout=30) as client:
        for number in range(240):
            good = (RSA, EC, ED)[number % 3].token(verified=True)
            # Of the last letter some bits mean nothing.
            at = draw.randrange(len(good) - 1)
            letter = draw.choice([c for c in "abcXYZ019-_.=~" if c != good[at]])
            bad = good[:at] + ("", letter, good[at] * 2)[number // 3 % 3] + good[at + 1 :]
            reply = client.get(f"{broker.url}/v1/models", headers=bearer(bad))
            told = reply.json()["error"]["code"]
            assert reply.status_code == 401, bad
            assert told.startswith(("token_", "invalid_api_key")), bad


def test_nothing_that_a_client_says_of_itself_is_believed(broker: Broker) -> None:
    """No header stands in for what Envoy verified."""
    payload = RSA.token(verified=True).split(".")[1]
    names = ("x-jwt-payload", "x-broker-jwt", "sec-istio-auth-userinfo", "x-endpoint-api-userinfo")
    forged = dict.fromkeys(names, payload)
    assert post(broker, forged).json()["error"]["code"] == "missing_api_key"
    reply = post(broker, {**bearer(KEY), **forged, "x-broker-user": "root"})
    assert (record(broker, reply)["caller"], record(broker, reply)["user"]) == ("tester", "")


def test_keys_and_tokens_go_side_by_side(broker: Broker, sims: Simulators) -> None:
    """A key goes first; one that is none of ours does no harm to a token beside it."""
    good = RSA.token(verified=True)
    sent = {
        "tester": [bearer(KEY), {"x-api-key": KEY}, {**bearer(KEY), "x-api-key": good}],
        "staff": [{**bearer(good), "x-api-key": "unused"}],
    }
    for caller, all_headers in sent.items():
        for headers in all_headers:
            assert record(broker, post(broker, headers))["caller"] == caller
    assert good not in json.dumps(sims["a"].settled_calls())


def test_the_official_sdks(broker: Broker) -> None:
    token, expired = EC.token(verified=True), EC.token(verified=True, lasts_s=-3600)
    asked: Any = {"model": "two", "messages": [{"role": "user", "content": "hi"}]}
    chat = openai.OpenAI(base_url=f"{broker.url}/v1", api_key=token, max_retries=0)
    assert chat.chat.completions.create(**asked).choices[0].message.content
    for more in ({"auth_token": token}, {"api_key": token}):
        messages = anthropic.Anthropic(base_url=broker.url, max_retries=0, **more)
        assert messages.messages.create(max_tokens=9, **asked).content
    with pytest.raises(openai.AuthenticationError, match="has expired"):
        chat.with_options(api_key=expired).chat.completions.create(**asked)
    with pytest.raises(anthropic.AuthenticationError, match="has expired") as caught:
        anthropic.Anthropic(base_url=broker.url, auth_token=expired, max_retries=0).messages.create(
            max_tokens=9, **asked
        )
    assert caught.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


def test_a_call_that_is_handed_back_keeps_who_it_is(broker: Broker, sims: Simulators) -> None:
    """Its token is gone by then, and is not asked for again."""
    sims["a"].script(faults=[{"status": 500}])
    token = EC.token(groups=["data-x"], sub="bob", feature="search", azp="crawler")
    reply = post(broker, {**bearer(token), "x-broker-customer": "acme"})
    assert reply.headers["x-broker-member"] == "b/m"
    told = record(broker, reply)
    who = ("caller", "user", "team", "feature", "customer", "agent")
    assert [told[name] for name in who] == ["data", "bob", "data", "search", "acme", "crawler"]
    assert token not in json.dumps([sims[name].settled_calls() for name in "ab"])


def test_tokens_are_in_no_record_and_no_log(broker: Broker) -> None:
    good, bad = RSA.token(verified=True), bad_tokens()["other claims"][0]
    replies = [post(broker, bearer(token)) for token in (good, bad)]
    for reply in replies:
        record(broker, reply)
    written = json.dumps(lines_of(broker)) + broker.log()
    for token in (good, bad):
        for part in token.split("."):
            assert part not in written


def test_a_key_that_is_taken_out_of_the_file_is_good_no_longer(broker: Broker, key_file: Path) -> None:
    """For calls on connections that are there already, too; and a broken file changes nothing."""
    fresh = SigningKey("fresh", "ES256")
    with httpx.Client(timeout=30) as client:

        def status(key: SigningKey) -> int:
            return client.get(f"{broker.url}/v1/models", headers=bearer(key.token(verified=True))).status_code

        assert (status(RSA), status(fresh)) == (200, 401)
        key_file.write_text(jwks(fresh))
        wait_until(lambda: status(RSA) == 401 and status(fresh) == 200, 60)
        for broken, why in (
            ('{"keys": [', "is not JSON"),
            (json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), "is a shared secret"),
        ):
            key_file.write_text(broken)
            broker.wait_for(lambda known, why=why: why in (known["error"] or ""), 15)
            assert status(fresh) == 200
        key_file.write_text(jwks(RSA, EC, ED))
        wait_until(lambda: status(RSA) == 200 and status(fresh) == 401, 60)
    broker.wait_for(lambda known: known["error"] is None)


def test_keys_that_are_fetched(broker: Broker, server: KeyServer) -> None:
    def code(key: SigningKey) -> str:
        reply = post(broker, bearer(key.token(REMOTE, aud="anybody")))
        return "" if reply.status_code == 200 else str(reply.json()["error"]["code"])

    wait_until(lambda: code(REMOTE_KEY) == "", 60)
    asked = server.asked
    assert [code(REMOTE_KEY) for _ in range(5)] == [""] * 5
    assert server.asked <= asked + 2, "they are kept, and fetched now and then"
    fresh = SigningKey("fresh", "ES256")
    assert code(fresh) == "token_invalid"
    server.text = jwks(fresh, REMOTE_KEY)
    wait_until(lambda: code(fresh) == "", 40)
    server.fails = True
    asked = server.asked
    wait_until(lambda: server.asked > asked + 1, 60)
    assert code(fresh) == "", "the keys of before are good while the issuer is away"
    server.fails = False


def test_keys_that_were_never_there(sims: Simulators, tmp_path: Path) -> None:
    """Whether the token is good can't be told: that is nothing for its client to change, and nothing that
    others have to wait for."""
    absent = tmp_path / "absent.json"
    with KeyServer() as server, Broker(tmp_path / "broker", config(sims, absent, server)) as broker:
        server.text = jwks(REMOTE_KEY)
        server.fails = True
        assert "absent.json can't be read" in broker.log()
        remote, own = bearer(REMOTE_KEY.token(REMOTE)), bearer(EC.token(verified=True))
        for token in (remote, own):
            reply = post(broker, token)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "token_keys_unavailable")
            assert reply.headers["retry-after"]
        assert post(broker, bearer(KEY)).status_code == 200
        server.fails = False
        absent.write_text(jwks(EC))
        wait_until(lambda: post(broker, remote).status_code == 200, 30)
        wait_until(lambda: post(broker, own).status_code == 200, 60)


def test_issuers_come_and_go(broker: Broker, sims: Simulators, key_file: Path, server: KeyServer) -> None:
    whole = config(sims, key_file, server)
    keys_only = {**whole, "issuers": [], "callers": whole["callers"][:1]}
    broker.edit(keys_only)
    good = EC.token(verified=True)
    wait_until(lambda: post(broker, bearer(good)).json()["error"]["code"] == "invalid_api_key", 60)
    assert post(broker, bearer(KEY)).status_code == 200
    broker.edit(whole)
    wait_until(lambda: post(broker, bearer(good)).status_code == 200, 60)
