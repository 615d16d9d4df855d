"""The story of a call: the words of docs/records.md and docs/failures.md, out of its record alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.asked import Asked
from modelbroker.console.call import data_of, revision_href
from modelbroker.console.calls import row_of
from modelbroker.console.pages import environment
from modelbroker.console.story import story_of, why_unknown, window_words
from modelbroker.core.budgets import Charge
from modelbroker.core.causes import Cause
from modelbroker.core.prices import Cost
from modelbroker.core.record import Eligible, Record
from modelbroker.ledger.calls import Call, read_row
from modelbroker.ledger.rows import rows_of
from support.ledgers import NOW_S, attempt, record, trees

FAILED = {"status": 529, "duration_ms": 380.0, "code": "upstream_overloaded", "cause": "overloaded"}


def seen(made: Record) -> Call:
    """As the ledger gives it."""
    rows = rows_of(trees([made]), "here")
    return Call(read_row(rows.calls[0]), tuple(read_row(row) for row in rows.attempts))


def told(made: Record) -> list[str]:
    call = seen(made)
    return [line.text for line in story_of(call.fields, call.attempts, "/console/revisions/3")]


def test_a_call_that_a_rule_sent_and_that_failed_over() -> None:
    made = record(
        1,
        NOW_S,
        [attempt("a/opus", **FAILED), attempt("b/mini", duration_ms=1_140.0)],
        caller="search-agent",
        agent="search-agent",
        user="ana",
        team="search",
        customer="acme",
        dialect="anthropic-messages",
        model="best",
        stream=True,
        rule="long-prompts",
        pool="long-context-tier",
        revision="6c4b190fad7d",
        context_tokens=37_354,
        max_output_tokens=1,
        holds=("tools", "image_urls"),
        eligible=(Eligible("a/opus", 0.75), Eligible("b/mini", 0.25), Eligible("c/nano", 0.0)),
        added_ms=1.4,
        duration_ms=1_520.0,
    )
    assert told(made) == [
        "search-agent (user ana, team search, customer acme) called POST /v1/messages, "
        "in anthropic-messages, and asked for a stream.",
        "It asked for best: a prompt of about 37,354 tokens, as estimated; at most 1 token of answer; "
        "it holds or asks for tools, image urls.",
        "The rule long-prompts decided, by revision 6c4b190fad7d.",
        "The pool that answered last is long-context-tier.",
        "Who could serve it: a/opus first with 75 %, b/mini first with 25 %, c/nano only behind the others.",
        "1st attempt: a/opus failed after 380 ms with 529: overloaded (the provider has no capacity at this "
        "moment, for anybody).",
        "2nd attempt: b/mini answered with 200 after 1.14 s.",
        "The client got 200 after 1.52 s.",
        "2,000 tokens were read and 200 generated.",
        "The broker added 1.4 ms to what members took.",
    ]


REFUSED = {"outcome": "refused", "attempts": [], "usage_state": "none", "cost": Cost(0), "duration_ms": 3.0}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {**REFUSED, "status": 401, "code": "invalid_api_key", "error_source": "policy"},
            [
                "Nobody that the broker knows called POST /v1/messages.",
                "It was refused with 401: invalid_api_key, by the configuration's policy; nobody was asked.",
            ],
        ),
        (
            {**REFUSED, "status": 429, "code": "budget_exceeded", "budget": "month", "pool": "tier"},
            [
                "No rule matched: `model` names the pool tier.",
                "The budget or rate limit month denied it.",
                "It was refused with 429: budget_exceeded; nobody was asked.",
            ],
        ),
        (
            {"degraded_from": "best", "budget": "month", "pool": "cheap"},
            ["No rule matched: `model` names the pool best.", "For want of month it was sent on to cheap."],
        ),
        (
            {"rule": "long", "pool": "tier", "revision": "ab"},
            ["The rule long chose the pool tier, by revision ab."],
        ),
        (
            {"budgets": (Charge("month", "", "calls", "month@UTC", 1, 1, NOW_S),) * 2},
            ["It was charged in 2 accounts of month."],
        ),
        (
            {"attempts": [], "cache": "hit", "cached_request_id": "of-another"},
            ["It was answered from the cache, with the reply of call of-another."],
        ),
        (
            {"cache": "miss", "cache_reason": "tools"},
            ["It was not in the cache, and its reply is not kept: tools."],
        ),
        (
            {"cache": "bypass", "cache_reason": "no-store"},
            ["The cache was passed by: the call is none to be cached: no-store."],
        ),
        ({"cache": "stored"}, ["Its reply is kept in the cache for others."]),
        (
            {"rollout": "try-nano", "arm": "candidate", "stage": "10%", "pool": "tier"},
            ["In the rollout try-nano at its stage 10% it was the candidate's."],
        ),
        (
            {"purpose": "shadow", "shadow_of": "the-other"},
            [
                "It was sent to a shadow: no client waits for its reply.",
                "It is a copy of call the-other.",
            ],
        ),
        ({"purpose": "eval"}, ["It is a call of an evaluation."]),
        (
            {"same_dialect": "store", "owners": ("a", "b"), "unowned_ids": "file_id", "queue_ms": 1_250.0},
            [
                "Members of other dialects were ruled out: they can't say `store`.",
                "It holds ids that a, b issued: members at other accounts were ruled out.",
                "Its `file_id` is an id that does not say who issued it.",
                "It waited 1.25 s: every member had said that it takes no calls.",
            ],
        ),
        (
            {"attempts": [attempt("a/m", code="cancelled", status=0)], "outcome": "client_gone"},
            [
                "1st attempt: a/m was cancelled after 10 ms: nobody waited for it any more.",
                "Its client went away after 12 ms, before its reply was whole.",
            ],
        ),
        (
            {"attempts": [attempt("a/m"), attempt("b/m", hedge=True)]},
            ["2nd hedge, beside the one before: b/m answered with 200 after 10 ms."],
        ),
        ({"attempts_made": 3}, ["2 more attempts never reached a provider."]),
        ({"outcome": "lost"}, ["Nobody told its end: the broker or its Envoy was killed."]),
        (
            {"outcome": "error", "status": 503, "code": "no_member_left", "error_source": "provider"},
            ["The client got 503: no_member_left, the provider's doing."],
        ),
    ],
)
def test_what_is_said(fields: dict[str, Any], says: list[str]) -> None:
    attempts = fields.get("attempts")
    rest = {name: value for name, value in fields.items() if name != "attempts"}
    lines = told(record(1, NOW_S, attempts, **rest))
    assert [line for line in lines if line in says] == says, lines


def test_every_cause_is_told_in_words() -> None:
    for cause in Cause:
        failed = attempt("a/m", status=500, code="upstream_error", cause=cause.value)
        (line,) = (line for line in told(record(1, NOW_S, [failed])) if line.startswith("1st attempt"))
        assert f": {cause.value} (" in line


def test_why_a_cost_is_not_known() -> None:
    assert why_unknown("price") == "its model has no price: add it to `prices`"
    assert why_unknown("cache_read") == "there is no rate for `cache_read`"


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("day@Europe/Berlin", "day, Europe/Berlin"),
        ("rolling@86400000", "rolling 24h"),
        ("rolling@60000", "rolling 1m"),
        ("now", "at a time"),
    ],
)
def test_windows_are_told_as_yaml_has_them(window: str, said: str) -> None:
    assert window_words(window) == said


def test_a_call_leads_to_the_time_in_which_its_revision_was_live() -> None:
    history = [
        {"number": 1, "revision": "a", "since_s": 10.0},
        {"number": 2, "revision": "b", "since_s": 20.0},
        {"number": 3, "revision": "a", "since_s": 30.0},
    ]
    assert revision_href(history, "a", 15.0) == "/console/revisions/1"
    assert revision_href(history, "a", 35.0) == "/console/revisions/3"
    assert revision_href(history, "a", 5.0) == "/console/revisions/3"  # clocks differ
    assert revision_href(history, "gone", 15.0) == "/console/revisions"


TEXTS = st.sampled_from(["", "<script>x</script>", '"><img src=x>', "ana", "{{ 7 * 7 }}", "a`b", "[1]"])
FIELDS = (
    *("caller", "agent", "user", "team", "customer", "feature", "model", "rule", "pool", "code", "tier"),
    *("degraded_from", "budget", "cache", "purpose", "rollout", "arm", "stage", "outcome", "details"),
    *("error_source", "usage_state", "same_dialect", "revision", "shadow_of", "cached_request_id"),
)


@given(
    texts=st.fixed_dictionaries(dict.fromkeys(FIELDS, TEXTS)),
    total=st.sampled_from([None, 0, 4_500_000]),
    tried=st.integers(0, 3),
)
def test_whatever_a_record_says_is_text_on_its_page(
    texts: dict[str, str], total: int | None, tried: int
) -> None:
    attempts = [attempt(texts["model"], cause=texts["code"], usage_state="unknown") for _ in range(tried)]
    made = record(1, NOW_S, attempts, **texts, cost=Cost(total, {"input": total or 0}, ("usage",)))
    call = seen(made)
    told = {"navigation": (), "every_s": 0, "asked": Asked("/calls/x", {}, "ana", NOW_S)}
    page = environment().get_template("call.html").render(told | data_of(call, "/console/revisions"))
    assert "<script>x" not in page and "<img src=x" not in page and "> 49" not in page
    if total is None:
        assert "The total is unknown" in page and "nobody told what it used" in page
    assert row_of(call).unknown == (total is None)
