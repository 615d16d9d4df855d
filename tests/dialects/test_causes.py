"""What an error reply is: in the words of each provider, for any bytes, and the same in every decoder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.causes import ALWAYS_CLIENTS, BLAMELESS, Cause
from modelbroker.dialects import provider_dialect
from modelbroker.dialects.cause_rules import RULES
from modelbroker.dialects.causes import BY_STATUS, MOST_BYTES, by_status, cause_of, rules
from support.error_bodies import BEDROCK, DIALECTS, GEMINI, ErrorReply, recorded, simulated
from support.error_draws import error_replies
from support.error_spellings import SPELLINGS

# The embeddings of other dialects are asked for by those dialects' own operations.
DECODED = tuple(dialect for dialect in DIALECTS if dialect != "openai-embeddings")


def name_of(reply: ErrorReply) -> str:
    return f"{reply.dialect}-{reply.status}-{reply.body[:40]!r}"


def decoded(reply: ErrorReply) -> Cause:
    return provider_dialect(reply.dialect).decode_fault(reply.status, reply.headers, reply.body).cause


def found(reply: ErrorReply) -> Cause:
    return cause_of(reply.dialect, reply.status, reply.body, reply.kind)


@pytest.mark.parametrize("reply", SPELLINGS, ids=name_of)
def test_in_each_providers_words(reply: ErrorReply) -> None:
    assert found(reply) is reply.cause
    pretty = reply.body
    if reply.body.startswith((b"{", b"[")):
        pretty = json.dumps(json.loads(reply.body), indent=2).encode()
    assert found(reply._replace(body=pretty)) is reply.cause
    assert found(reply._replace(body=reply.body + b" " * MOST_BYTES)) is reply.cause


def test_the_simulators_troubles_are_what_they_are_called() -> None:
    wrong = [reply for reply in simulated() if reply.cause is not None and found(reply) is not reply.cause]
    assert wrong == []


def agree(reply: ErrorReply) -> bool:
    """Where no API answered that they know, Bedrock's and Gemini's decoders say so: GARBAGE."""
    if reply.dialect not in DECODED:
        return True
    one, other = decoded(reply), found(reply)
    unreadable = reply.dialect in (BEDROCK, GEMINI) and one is Cause.GARBAGE and other in ALWAYS_CLIENTS
    return one is other or unreadable


def test_decoders_agree_with_the_table_on_all_that_is_known() -> None:
    replies = (*SPELLINGS, *simulated(), *recorded())
    assert [reply for reply in replies if not agree(reply)] == []


@given(error_replies())
def test_decoders_agree_with_the_table_on_all_that_is_drawn(reply: ErrorReply) -> None:
    assert agree(reply)


@given(error_replies())
def test_a_decoder_only_doubts_what_it_can_not_read(reply: ErrorReply) -> None:
    """Where it and the table differ there is no message in the body."""
    if reply.dialect in DECODED and decoded(reply) is not found(reply):
        assert provider_dialect(reply.dialect).decode_fault(reply.status, {}, reply.body).status == 502


@given(st.sampled_from(DIALECTS), st.integers(-1000, 10_000), st.binary(max_size=80), st.text(max_size=9))
def test_total(dialect: str, status: int, body: bytes, kind: str) -> None:
    cause = cause_of(dialect, status, body, kind)
    assert isinstance(cause, Cause)
    assert (400 <= status < 600) or cause is Cause.GARBAGE


@given(error_replies())
def test_the_case_of_letters_does_not_count(reply: ErrorReply) -> None:
    assert found(reply) is found(reply._replace(body=reply.body.upper(), kind=reply.kind.upper()))


def test_nothing_behind_the_first_bytes_counts() -> None:
    body = b'{"error":{"message":"Your credit balance is too low"}}'
    for dialect in ("openai-chat", "anthropic-messages"):
        assert cause_of(dialect, 400, body) is Cause.BILLING
        assert cause_of(dialect, 400, b" " * MOST_BYTES + body) is Cause.BAD_REQUEST


NEEDLES = sorted(
    {needle for table in RULES.values() for rule in table for needle in rule.needles + rule.also}
)
QUOTING: tuple[Any, ...] = (
    lambda words: {
        "error": {"message": f"Invalid value: '{words}'.", "code": "invalid_value", "param": None}
    },
    lambda words: {"error": {"message": "Unknown parameter.", "code": "unknown_parameter", "param": words}},
    lambda words: {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": f"tools.0: {words}"},
    },
    lambda words: {"error": {"code": 400, "message": f"Bad: {words}", "status": "INVALID_ARGUMENT"}},
    lambda words: {"message": f"1 error: Value '{words}' at 'toolConfig' failed to satisfy constraint"},
    lambda words: {"detail": [{"loc": ["body", words], "msg": "Extra inputs are not permitted"}]},
    lambda words: {"error": {"message": "no", "metadata": {"raw": json.dumps({"error": {"code": words}})}}},
)


@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages", BEDROCK, GEMINI])
def test_what_a_client_has_an_error_quote_never_blames_the_member(dialect: str, status: int) -> None:
    """The worst is that its own bad request is taken for another thing about its request."""
    pairs = [(one, other) for one in NEEDLES for other in ("", "not found")]
    for one, other in pairs:
        for quoting in QUOTING:
            for words in {one, one.strip('"\n'), one.rpartition('"')[2]}:
                for dumped in (json.dumps, lambda value: json.dumps(value, separators=(",", ":"))):
                    body = dumped(quoting(f"{words} {other}".strip())).encode()
                    assert cause_of(dialect, status, body) in BLAMELESS, body


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_table_is_well_formed(dialect: str) -> None:
    for rule in rules(dialect):
        assert rule.whose
        assert rule.needles or rule.lacks
        for needle in (*rule.needles, *rule.also, *rule.lacks):
            assert needle and needle == needle.lower() and needle.isascii() and '": ' not in needle, needle
            assert needle.replace("\n", "").isprintable()
        assert all(400 <= status < 600 for status in rule.statuses)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_rule_is_hidden_by_those_in_front_of_it(dialect: str) -> None:
    """Each needle of each rule is the first to fit at some status, with nothing but what the rule wants."""
    for rule in rules(dialect):
        also = " ".join(rule.also[:1])
        for needle in rule.needles or ("",):
            body = f"{needle} {also}".encode()
            causes = {cause_of(dialect, status, body) for status in rule.statuses or (400,)}
            assert rule.cause in causes, (rule, needle)


def test_a_status_that_says_enough() -> None:
    assert by_status(418) is Cause.BAD_REQUEST and by_status(599) is Cause.SERVER
    assert set(BY_STATUS.values()) <= set(Cause)
