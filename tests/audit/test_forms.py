"""Events in the forms of SIEMs, held against the published schemas: OCSF's own, and ECS's fields."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.audit import ecs, ocsf
from modelbroker.audit.events import ActLine, CallLine, Event, of_act, of_call
from modelbroker.core import acts
from modelbroker.core.acts import Act
from modelbroker.core.prices import Cost
from modelbroker.core.record import Eligible, Record
from modelbroker.core.usage import Usage
from support.siem import ecs_problems, ocsf_problems

TEXT = st.text(max_size=20)
NAMES = st.sampled_from(["", "support-agent", "search", "ops@example.com", "Ünïcode", 'quo"ted\\'])
COUNTS = st.integers(0, 2**40)
USAGES = st.builds(
    Usage, *(st.integers(0, 10**6) for _ in range(5)), reasoning=st.none() | st.integers(0, 10**6)
)
COSTS = st.builds(
    Cost,
    st.none() | COUNTS,
    st.dictionaries(st.sampled_from(["input", "output"]), COUNTS),
    st.tuples(st.sampled_from(["usage", "price"])),
)
RECORDS = st.builds(
    Record,
    request_id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    started_s=st.floats(0, 4e9),
    duration_ms=st.floats(0, 1e7),
    first_byte_ms=st.none(),
    status=st.sampled_from([0, 200, 401, 429, 503]),
    method=st.sampled_from(["", "GET", "POST"]),
    path=st.sampled_from(["", "/v1/models", "/v1/messages"]) | TEXT,
    **dict.fromkeys(("caller", "agent", "user", "team", "customer", "feature", "tier", "rule"), NAMES),
    model=TEXT,
    dialect=st.sampled_from(["", "openai-chat", "openai-embeddings", "anthropic-messages"]),
    pool=NAMES,
    member=st.sampled_from(["", "openai/gpt-5", "openrouter/meta/llama"]),
    outcome=st.sampled_from(["", "ok", "refused", "error", "client_gone", "lost"]),
    error_source=st.sampled_from(["", "policy", "provider"]),
    code=st.sampled_from(["", "invalid_api_key", "budget_exceeded", "upstream_timeout"]),
    usage=st.none() | USAGES,
    cost=st.none() | COSTS,
    eligible=st.lists(st.builds(Eligible, NAMES, st.floats(0, 1)), max_size=3).map(tuple),
    request_bytes=COUNTS,
    response_bytes=COUNTS,
    attempts_made=st.integers(0, 9),
    budget=NAMES,
    degraded_from=NAMES,
    revision=NAMES,
)
DETAILS = st.dictionaries(
    st.sampled_from(["name", "error", "calls", "share"]),
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(0, 1) | TEXT,
)


def event_of(record: Record, **more: Any) -> Event:
    """By way of the journal, as it is read there; `more` is what other versions of the broker write."""
    line = msgspec.json.decode(msgspec.json.encode(record)) | more
    return of_call(msgspec.json.decode(msgspec.json.encode(line), type=CallLine))


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.booleans(), st.integers(1, 2**50))
def test_every_call_is_valid_in_both_forms(record: Record, is_traced: bool, seq: int) -> None:
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    event = event_of(record, **(trace if is_traced else {}))
    assert ocsf_problems(ocsf.encoded(event, seq, "0.1.0", b"")) == []
    assert ecs_problems(ecs.encoded(event, seq, "0.1.0", b"")) == []


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*acts.WORDS, "console.login"]), st.sampled_from(list(acts.ACTORS)), NAMES, DETAILS)
def test_every_act_is_valid_in_both_forms(
    word: str, actor: str, user: str, details: dict[str, acts.Detail]
) -> None:
    result = acts.FAILED if "refused" in word else acts.DONE
    act = Act(
        "01a229d665c872eab13c2e58302a1340", 1_795_998_258_498, word, actor, user, result, "d48e", details
    )
    event = of_act(msgspec.json.decode(msgspec.json.encode(act), type=ActLine))
    assert ocsf_problems(ocsf.encoded(event, 7, "0.1.0", b'{"seq":7}')) == []
    assert ecs_problems(ecs.encoded(event, 7, "0.1.0", b'{"seq":7}')) == []


@pytest.mark.parametrize(
    ("actor", "credentials"),
    [
        (acts.TOKEN, [{"type": "Access Token", "uid": "admin.users/ana"}]),
        (acts.COMMAND, None),
        (acts.EDIT, None),
    ],
)
def test_who_proved_who_he_is_has_a_credential(actor: str, credentials: object) -> None:
    line = ActLine(
        "01a229d665c872eab13c2e58302a1340", 1_795_998_258_498, acts.CONFIG_ROLLED_BACK, actor, "ana"
    )
    who = ocsf.ocsf(of_act(line), 7, "0.1.0")["actor"]
    assert (who["invoked_by"], who["user"]["name"]) == (actor, "ana")
    assert who["user"].get("programmatic_credentials") == credentials
    said = ecs.ecs(of_act(line), 7, "0.1.0")
    assert (said["user"]["name"], said["modelbroker"]["actor"]) == ("ana", actor)


def test_the_schemas_find_what_is_wrong() -> None:
    event = event_of(Record("a" * 32, 1.0, 1.0, None, 200, "POST", "/v1/messages", outcome="ok"))
    told = ocsf.ocsf(event, 1, "0.1.0")
    for wrong in ({"severity_id": 17}, {"provider": "openai"}, {"api": {}}, {"time": "now"}):
        assert ocsf_problems(json.dumps(told | wrong).encode()), wrong
    said = ecs.ecs(event, 1, "0.1.0")
    for more in (
        {"provider": "openai"},
        {"http": {"verb": "x"}},
        {"event": {"kind": "wish"}},
        {"@timestamp": 5},
    ):
        assert ecs_problems(json.dumps(said | more).encode()), more


def full() -> Event:
    """With a value in every field that a call's event may have."""
    record = Record(
        request_id="01a229d695767b3faba8f19838e7b344",
        started_s=1_795_998_258.549,
        duration_ms=11.6,
        first_byte_ms=5.0,
        status=200,
        method="POST",
        path="/v1/messages",
        stream=True,
        member="anthropic/claude-opus-4-7",
        outcome="ok",
        hedged=True,
        usage=Usage(3, 5, 7, 11, 13, 2),
        cost=Cost(None, {"input": 17}, ("price",)),
        eligible=(Eligible("anthropic/claude-opus-4-7", 1.0),),
        request_bytes=19,
        response_bytes=23,
        attempts_made=2,
        **{
            name: f"the-{name}"
            for name in [
                "caller",
                "agent",
                "user",
                "team",
                "customer",
                "feature",
                "tier",
                "dialect",
                "model",
                "rule",
                "pool",
                "revision",
                "error_source",
                "code",
                "price_revision",
                "degraded_from",
                "budget",
                "cache",
                "purpose",
                "captured",
                "rollout",
                "arm",
                "stage",
                "shadow_of",
                "usage_state",
            ]
        },
    )
    return event_of(record, trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331")


def test_nothing_of_a_call_is_lost_in_either_form() -> None:
    event = full()
    fields = msgspec.to_builtins(event)
    empty = {name for name in Event.__struct_fields__ if name not in fields}
    assert empty == {"act", "actor", "result", "details"}
    texts = [value for value in fields.values() if isinstance(value, str) and value != "call"]
    for made in (ocsf.ocsf(event, 1, "0.1.0"), ecs.ecs(event, 1, "0.1.0")):
        values = list(leaves(made))
        assert [text for text in texts if text not in values] == []
        # 3 + 5 + 7 + 11 were read; the buckets that have no word there stand by ours.
        assert {26, 13, 19, 23, 2, 17} <= {value for value in values if isinstance(value, int)}
        assert "anthropic/claude-opus-4-7" in values and "price" in values


def test_unknown_cost_is_null_and_never_zero() -> None:
    unknown = full()
    free = event_of(Record("b" * 32, 1.0, 1.0, None, 401, "POST", "/v1/messages", cost=Cost(0)))
    for form in (ocsf.ocsf, ecs.ecs):
        name = "unmapped" if form is ocsf.ocsf else "modelbroker"
        assert form(unknown, 1, "1")[name]["cost_nano"] is None
        assert form(unknown, 1, "1")[name]["cost_known_nano"] == 17
        assert form(free, 1, "1")[name]["cost_nano"] == 0
    assert b'"cost_nano":null' in msgspec.json.encode(unknown)


def test_a_call_that_is_told_of_twice_has_two_ids() -> None:
    known = Record("c" * 32, 1.0, 1.0, None, 200, "POST", "/", outcome="ok")
    gone = Record("c" * 32, 1.0, 0.0, None, 0, "POST", "/", outcome="lost")
    assert [event_of(one).id for one in (gone, known)] == [f"{'c' * 32}-lost", "c" * 32]


def test_what_is_worth_a_look_is_more_severe() -> None:
    def severity(outcome: str, code: str = "") -> int:
        return event_of(Record("d" * 32, 1.0, 1.0, None, 0, "", "", outcome=outcome, code=code)).severity

    assert severity("ok") == severity("client_gone") == 1
    assert severity("refused", "budget_exceeded") == severity("error", "upstream_timeout") == 2
    assert severity("refused", "invalid_api_key") == 3
    assert of_act(Act("x", 1, acts.CONFIG_NACKED)).severity == 4


def test_times_are_those_of_the_call() -> None:
    event = full()
    made = ocsf.ocsf(event, 1, "0.1.0")
    assert (made["time"], made["end_time"] - made["start_time"], made["duration"]) == (event.at_ms, 12, 12)
    said = ecs.ecs(event, 1, "0.1.0")
    assert datetime.fromisoformat(said["@timestamp"]).timestamp() * 1000 == pytest.approx(event.at_ms)
    assert said["event"]["duration"] == 11_600_000


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from leaves(one)
    else:
        yield value


ROOT = Path(__file__).parents[2]


def test_the_page_tells_of_every_field_and_act() -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    assert [name for name in Event.__struct_fields__ if f"`{name}`" not in page] == []
    assert [word for word in (*acts.WORDS, *acts.ACTORS) if f"`{word}`" not in page] == []
    assert ocsf.VERSION in page and ecs.VERSION in page


@functools.cache
def told_paths(form: str) -> set[str]:
    """`http.request.id`, of everything that the form can say of a call."""
    made = ocsf.ocsf(full(), 1, "1") if form == "ocsf" else ecs.ecs(full(), 1, "1")

    def paths(value: Any, at: str) -> Iterator[str]:
        yield at
        if isinstance(value, dict):
            for name, one in value.items():
                yield from paths(one, f"{at}.{name}" if at else name)
        if isinstance(value, list) and value:
            yield from paths(value[0], f"{at}[]")

    return set(paths(made, ""))


@pytest.mark.parametrize(("form", "column"), [("ocsf", 2), ("ecs", 3)])
def test_the_pages_table_says_where_fields_are(form: str, column: int) -> None:
    page = (ROOT / "docs" / "audit.md").read_text().partition("## What an event has")[2]
    rows = [line.split("|") for line in page.splitlines() if re.match(r"\| `[a-z_]+`", line)]
    named = {path for row in rows if len(row) > 4 for path in re.findall(r"`([^`]+)`", row[column])}
    assert len(named) > 25
    assert named - told_paths(form) == set()
