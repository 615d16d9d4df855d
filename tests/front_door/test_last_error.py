"""When nobody answers: the client gets one error, in its own dialect, after no more attempts than allowed.
What is the client's own fault is passed on as it is, and never tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, one_a_dialect, provider
from support.calls import Ask, Got, asks, make
from support.simulators import Simulators

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")
FAILOVER = 1
QUICK = {"first_event": "300ms", "reply": "300ms"}
UNSAID = "a word that only the provider says"


def member(name: str, dialect: str, **more: Any) -> dict[str, Any]:
    return {"provider": f"{name}-{dialect}", "model": f"{name}-model", **more}


def pools() -> Iterator[dict[str, Any]]:
    for dialect in DIALECTS:
        two = [member("a", dialect), member("b", dialect)]
        yield {"name": f"two.{dialect}", "failover": FAILOVER, "members": two, "ejection": "off"}
        others = [{**m, "model": "other-model"} for m in two]
        yield {
            "name": f"four.{dialect}",
            "failover": 2,
            "members": two + others,
            "ejection": "off",
            "timeouts": {"wait": "2s"},
        }
        yield {"name": f"once.{dialect}", "failover": "none", "members": two, "ejection": "off"}
        yield {"name": f"alone.{dialect}", "members": two[:1], "ejection": "off"}
        yield {
            "name": f"quick.{dialect}",
            "failover": 1,
            "members": two,
            "ejection": "off",
            "timeouts": QUICK,
        }
        yield {
            "name": f"ejected.{dialect}",
            "members": two,
            "ejection": {"consecutive_errors": 2, "base": "60s", "max": "60s"},
        }
    yield {"name": "keyless", "members": [{"provider": "keyless", "model": "m"}]}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    keyless = provider("keyless", sims["a"].port, "openai-chat", "/v1")
    config = {
        "providers": [
            {**keyless, "credential": {"env": "A_KEY_THAT_IS_NOT_THERE"}},
            *one_a_dialect(sims, DIALECTS),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": list(pools()),
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def both(sims: Simulators, **fault: Any) -> None:
    for sim in sims:
        sim.script(faults=[fault])


def tries(sims: Simulators) -> int:
    return sum(len(sim.settled_calls()) for sim in sims)


def sdk_error(broker: Broker, dialect: str, pool: str, stream: bool) -> Any:
    """What the official SDK raises, with its own retries off."""
    question = [{"role": "user", "content": "hello"}]
    if dialect == "anthropic-messages":
        claude = anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0)
        with pytest.raises(anthropic.APIError) as caught:
            list(claude.messages.create(model=pool, max_tokens=9, messages=question, stream=stream))
        return caught.value
    client = openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.APIError) as caught_openai:
        if dialect == "openai-chat":
            list(client.chat.completions.create(model=pool, messages=question, stream=stream))
        else:
            list(client.responses.create(model=pool, input="hello", stream=stream))
    return caught_openai.value


def error_of(got: Got) -> dict[str, Any]:
    """The `error` object, once the reply has its dialect's shape."""
    assert not got.broken, str(got)
    assert got.headers["content-type"] == "application/json", str(got)
    body = json.loads(got.body)
    if got.ask.dialect == "anthropic-messages":
        assert body["type"] == "error", str(got)
    else:
        assert {"message", "type", "code"} <= body["error"].keys(), str(got)
    assert got.headers["x-broker-request-id"], str(got)
    error: dict[str, Any] = body["error"]
    assert error["message"], str(got)
    assert error["type"], str(got)
    return error


# -- all fail


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("status", "kind"), [(429, "RateLimitError"), (500, "InternalServerError"), (503, "InternalServerError")]
)
def test_the_providers_last_error_is_what_the_sdk_raises(
    broker: Broker, sims: Simulators, dialect: str, status: int, kind: str, stream: bool
) -> None:
    both(sims, status=status, error={"message": UNSAID})
    error = sdk_error(broker, dialect, f"two.{dialect}", stream)
    module = anthropic if dialect == "anthropic-messages" else openai
    assert isinstance(error, getattr(module, kind))
    assert error.status_code == status
    assert UNSAID in str(error)
    assert error.response.headers["x-broker-attempts"] == str(1 + FAILOVER)
    assert tries(sims) == 1 + FAILOVER


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "fault",
    [
        {"reset": "before-headers"},
        {"reset": "on-accept"},
        {"reset": "after-headers"},
        {"garbage": "not-http"},
        {"error_event": True},
        {"cut": "end", "after_events": 0},
    ],
    ids=str,
)
def test_an_error_of_our_own_has_the_dialects_shape(
    broker: Broker, sims: Simulators, dialect: str, fault: dict[str, Any]
) -> None:
    for sim in sims:
        sim.script(refuse=True)  # ends idle connections: those that are there are accepted already
    both(sims, **fault)
    only_streams = "error_event" in fault or "cut" in fault
    calls = [Ask(f"two.{dialect}", dialect, stream) for stream in ([True] if only_streams else [False, True])]
    # One by one: all that wait for a connection fail with it, in one accept.
    for got in make(broker.url, calls, parallel=1):
        assert 500 <= got.status < 600, str(got)
        error_of(got)
        assert got.attempts == 1 + FAILOVER
    assert tries(sims) == (1 + FAILOVER) * len(calls)
    error = sdk_error(broker, dialect, f"two.{dialect}", stream=True)
    module = anthropic if dialect == "anthropic-messages" else openai
    assert isinstance(error, module.InternalServerError)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("where", ["before-headers", "after-headers"])
def test_silence_of_all_is_a_timeout(
    broker: Broker, sims: Simulators, dialect: str, where: str, stream: bool
) -> None:
    both(sims, stall=where)
    (got,) = make(broker.url, [Ask(f"quick.{dialect}", dialect, stream)])
    assert got.status == 504, str(got)
    error = error_of(got)
    assert error["code"] == "upstream_timeout"
    assert got.attempts == 2


def test_no_failover_is_one_attempt(broker: Broker, sims: Simulators) -> None:
    both(sims, status=503)
    got = make(broker.url, asks(20, "once.openai-chat"))
    assert {(g.status, g.attempts) for g in got} == {(503, 1)}
    assert tries(sims) == 20


@pytest.mark.parametrize("dialect", DIALECTS)
def test_many_at_once_make_no_more_attempts_than_allowed(
    broker: Broker, sims: Simulators, dialect: str
) -> None:
    both(sims, status=429, retry_after_s=0.2)
    calls = [*asks(50, f"four.{dialect}", dialect), *asks(50, f"four.{dialect}", dialect, stream=True)]
    got = make(broker.url, calls, parallel=100)
    # Who said no takes no calls for a while: the others of the crowd wait, and ask again or are told so. How
    # many attempts that leaves each is a matter of who asks first.
    assert {g.status for g in got} == {429}, [str(g) for g in got if g.status != 429]
    assert max(g.attempts for g in got) <= 3
    assert tries(sims) == sum(g.attempts for g in got)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_alone_makes_all_that_are_allowed(broker: Broker, sims: Simulators, dialect: str) -> None:
    both(sims, status=503)
    for stream in (False, True):
        (got,) = make(broker.url, [Ask(f"four.{dialect}", dialect, stream)])
        assert (got.status, got.attempts) == (503, 3)
    assert tries(sims) == 6


@pytest.mark.parametrize("dialect", DIALECTS)
def test_when_all_are_ejected_they_are_tried_all_the_same(
    broker: Broker, sims: Simulators, dialect: str
) -> None:
    """Their ejection is long: but for this, the pool would be dead for a minute after they are well."""
    both(sims, status=500)
    pool = f"ejected.{dialect}"
    assert {g.status for g in make(broker.url, asks(30, pool, dialect))} == {500}
    sims.reset()
    got = make(broker.url, asks(50, pool, dialect))
    assert [str(g) for g in got if not g.is_whole] == []


# -- nobody to ask


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_member_for_the_call(broker: Broker, sims: Simulators, dialect: str, stream: bool) -> None:
    (got,) = make(broker.url, [Ask("keyless", dialect, stream)])
    assert got.status == 503
    assert error_of(got)["code"] == "no_eligible_member"
    assert tries(sims) == 0
    error = sdk_error(broker, dialect, "keyless", stream)
    assert error.status_code == 503


# -- no connection, no credential


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_refused_connection_fails_over(
    broker: Broker, sims: Simulators, dialect: str, stream: bool
) -> None:
    sims["a"].script(refuse=True)
    got = make(broker.url, asks(50, f"two.{dialect}", dialect, stream))
    assert [str(g) for g in got if not g.is_whole] == []
    assert {g.member for g in got} == {f"b-{dialect}/b-model"}
    assert {g.attempts for g in got} == {1, 2}
    (alone,) = make(broker.url, [Ask(f"alone.{dialect}", dialect, stream)])
    assert alone.status == 503, str(alone)
    error_of(alone)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("status", "packing"), [(401, {}), (403, {}), (401, {"compress": "gzip"})])
def test_a_refused_credential_fails_over_and_is_not_the_clients_affair(
    broker: Broker, sims: Simulators, dialect: str, status: int, packing: dict[str, Any], stream: bool
) -> None:
    refusal = {"status": status, "error": {"message": UNSAID}, "headers": {"www-authenticate": UNSAID}}
    sims["a"].script(faults=[refusal | packing])
    got = make(broker.url, asks(20, f"two.{dialect}", dialect, stream))
    assert [str(g) for g in got if not g.is_whole] == []
    assert {g.member for g in got} == {f"b-{dialect}/b-model"}
    broker.forget()  # or the call waits for the one that was refused
    (alone,) = make(broker.url, [Ask(f"alone.{dialect}", dialect, stream)])
    assert alone.status == 502, str(alone)
    assert error_of(alone)["code"] == "upstream_credential_refused"
    assert UNSAID not in str(alone)


# -- the client's own fault


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_bad_request_is_passed_on_and_never_repeated(
    broker: Broker, sims: Simulators, dialect: str, status: int, stream: bool
) -> None:
    """Byte for byte, whatever the provider says."""
    said = ' {"error" : {"message":"caf\u00e9","type":"x","param":null,"code":null},\n"more":[1.0,1e2]} '
    both(sims, status=status, body=said, headers={"content-type": "application/json"})
    got = make(broker.url, asks(10, f"two.{dialect}", dialect, stream))
    assert {(g.status, g.body, g.attempts, g.broken) for g in got} == {(status, said.encode(), 1, "")}
    assert {g.headers["content-type"] for g in got} == {"application/json"}
    assert tries(sims) == 10
