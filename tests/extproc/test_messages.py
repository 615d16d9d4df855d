"""What the broker tells Envoy, word for word what protobuf itself would say."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from modelbroker.core.causes import Cause
from modelbroker.core.keys import BLAMELESS_HEADER
from modelbroker.envoyapi import AnyMessage, api
from modelbroker.exchange import NOTHING_TOLD, Answer, Forward, Inbound, Reply, Send, Told
from modelbroker.extproc.messages import Messages

MESSAGES = Messages(api())
RESPONSE = api().message_class("envoy.service.ext_proc.v3.ProcessingResponse")


def by_protobuf(forward: Forward) -> AnyMessage:
    """The same answer, made field by field."""
    response = RESPONSE()
    common = response.request_body.response
    for name, value in forward.set_headers:
        common.header_mutation.set_headers.add(
            header={"key": name, "raw_value": value.encode("latin-1", "replace")}, append_action=2
        )
    common.header_mutation.remove_headers.extend(forward.remove_headers)
    common.clear_route_cache = True
    namespace = response.dynamic_metadata.fields["envoy.lb"].struct_value
    namespace.fields[forward.pick[0]].string_value = forward.pick[1]
    known = response.dynamic_metadata.fields["modelbroker"].struct_value
    known.SetInParent()
    for name, value in forward.facts:
        known.fields[name].string_value = value
    return response


def plain(value: str) -> bytes:
    """What others said, without what would break a header."""
    kept = (" " if ord(each) < 32 or ord(each) == 127 else each for each in value)
    return "".join(kept).encode("latin-1", "replace")


# Lengths around those at which a length takes one byte more on the wire.
LENGTHS = st.integers(0, 70) | st.integers(110, 140) | st.integers(16_300, 16_400)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | LENGTHS.map("x".__mul__)
CUT = st.integers(0, 12)
TOLD = (NOTHING_TOLD, Told("upstream_cut", Cause.CUT), Told("broker_defect"))
PICKS = st.tuples(st.sampled_from(["class", "member"]), TEXT)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=12).map(tuple)


@given(headers=PAIRS, removed=st.lists(TEXT, max_size=6).map(tuple), pick=PICKS, facts=PAIRS, at=CUT)
@example(headers=(), removed=(), pick=("class", ""), facts=(), at=0)
@example(
    headers=(("x-broker-request-id", "1"), ("x-broker-suffix", "/chat?a=ÿ€")),
    removed=("authorization",),
    pick=("member", "c"),
    facts=(("request_id", "1"), ("model", "m" * 300)),
    at=1,
)
def test_forward_is_what_protobuf_would_say(
    headers: tuple[tuple[str, str], ...],
    removed: tuple[str, ...],
    pick: tuple[str, str],
    facts: tuple[tuple[str, str], ...],
    at: int,
) -> None:
    forward = Forward(headers[:at], headers[at:], removed, pick, facts[:at], facts[at:])
    for _ in range(2):  # the second is made of what was kept of the first
        assert RESPONSE.FromString(MESSAGES.forward(forward)) == by_protobuf(forward)


@given(
    headers=PAIRS,
    removed=st.lists(TEXT, max_size=6).map(tuple),
    body=st.binary(max_size=30) | LENGTHS.map(bytes),
    dropped=st.lists(TEXT.filter(bool), max_size=3).map(tuple),
)
@example(headers=((":path", "/v1\r\nx: y"),), removed=(), body=bytes(2_097_152), dropped=())
def test_a_request_that_goes_on_is_what_protobuf_would_say(
    headers: tuple[tuple[str, str], ...],
    removed: tuple[str, ...],
    body: bytes,
    dropped: tuple[str, ...],
) -> None:
    wanted = RESPONSE()
    common = wanted.request_body.response
    common.header_mutation.SetInParent()
    for name, value in headers:
        raw = value.encode("latin-1", "replace")
        raw = bytes(32 if byte < 32 or byte == 127 else byte for byte in raw)
        common.header_mutation.set_headers.add(header={"key": name, "raw_value": raw}, append_action=2)
    common.header_mutation.remove_headers.extend(removed)
    common.body_mutation.body = body
    if dropped:
        known = wanted.dynamic_metadata.fields["modelbroker"].struct_value
        known.fields["dropped"].string_value = ", ".join(dropped)
    assert RESPONSE.FromString(MESSAGES.send(Send(headers, removed, body, dropped))) == wanted


@given(pairs=st.lists(st.tuples(st.sampled_from(("a", "b", "x-broker-pool")), TEXT), max_size=6))
def test_of_headers_with_the_same_name_the_first_counts(pairs: list[tuple[str, str]]) -> None:
    request = api().message_class("envoy.service.ext_proc.v3.ProcessingRequest")()
    for name, value in pairs:
        raw = value.encode("latin-1", "replace")
        request.request_headers.headers.headers.add(key=name, raw_value=raw)
    values = MESSAGES.first_values(request.request_headers)
    listed = MESSAGES.headers(request.request_headers)
    assert values == dict(reversed(listed))
    assert [Inbound.of(values).first(name) for name in "abc"] == [Inbound(listed).first(n) for n in "abc"]


def test_of_several_traceparents_none_is_one() -> None:
    request = api().message_class("envoy.service.ext_proc.v3.ProcessingRequest")()
    for name, value in (("a", "1"), ("traceparent", "x"), ("a", "2"), ("traceparent", "y")):
        request.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    assert MESSAGES.first_values(request.request_headers) == {"a": "1", "traceparent": "x,y"}


def test_what_others_said_breaks_no_header() -> None:
    """A request id or a time to wait may stand in a provider's body."""
    said = "one\r\nx-broker-member: two\x00\x7f"
    answer = Answer(429, (("request-id", said), ("retry-after", "5")), (), b"{}")
    response = RESPONSE.FromString(MESSAGES.failed(answer))
    options = response.immediate_response.headers.set_headers
    values = {option.header.key: option.header.raw_value for option in options}
    assert values["request-id"] == b"one  x-broker-member: two  "
    assert values["retry-after"] == b"5"


@pytest.mark.parametrize(("word", "is_blamed"), [("5", False), ("1", False), ("0.5", True), ("", True)])
def test_who_says_for_how_long_is_not_blamed_as_well(word: str, is_blamed: bool) -> None:
    answer = Answer(429, (("retry-after", word),), (), b"{}", cause=Cause.RATE_LIMIT)
    response = RESPONSE.FromString(MESSAGES.failed(answer, "429", 1_796_000_000.0))
    options = response.immediate_response.headers.set_headers
    told = response.dynamic_metadata.fields["modelbroker"].struct_value.fields
    assert ("blame" in told, told["cause"].string_value) == (is_blamed, "rate-limit")
    assert [o.header.key for o in options if o.header.key == BLAMELESS_HEADER] == (
        [] if is_blamed else [BLAMELESS_HEADER]
    )


@given(body=st.binary(max_size=300) | LENGTHS.map(bytes), told=st.sampled_from(TOLD), used=st.just("") | TEXT)
def test_a_piece_takes_along_what_the_record_has_to_know(body: bytes, told: Told, used: str) -> None:
    expected = RESPONSE()
    expected.response_body.response.body_mutation.body = body
    known = {"used": used} if used else {}
    if told.code:
        known["code"] = told.code
    if told.cause is not None:
        known["cause"] = told.cause.value
    for name, value in known.items():
        fields = expected.dynamic_metadata.fields["modelbroker"].struct_value.fields
        fields[name].string_value = value
    assert RESPONSE.FromString(MESSAGES.piece(body, told, used)) == expected


def test_a_whole_reply_takes_its_usage_along() -> None:
    answer = Answer(200, (), (), b"{}", used="what it used")
    response = RESPONSE.FromString(MESSAGES.whole(answer))
    fields = response.dynamic_metadata.fields["modelbroker"].struct_value.fields
    assert fields["used"].string_value == "what it used"
    plain = RESPONSE.FromString(MESSAGES.whole(Answer(200, (), (), b"{}")))
    assert not plain.HasField("dynamic_metadata")


@given(headers=PAIRS, removed=st.lists(TEXT, max_size=4).map(tuple), body=LENGTHS.map(bytes), used=TEXT)
@example(headers=(("request-id", "a\r\nb"),), removed=(), body=bytes(2_097_152), used="")
def test_a_translated_reply_is_what_protobuf_would_say(
    headers: tuple[tuple[str, str], ...], removed: tuple[str, ...], body: bytes, used: str
) -> None:
    whole, opened = RESPONSE(), RESPONSE()
    changed = whole.response_body.response
    changed.body_mutation.body = body
    changed.header_mutation.set_headers.add(header={"key": ":status", "raw_value": b"201"}, append_action=2)
    for mutation in (changed.header_mutation, opened.response_headers.response.header_mutation):
        for name, value in headers:
            mutation.set_headers.add(header={"key": name, "raw_value": plain(value)}, append_action=2)
        mutation.remove_headers.extend(removed)
    opened.response_headers.response.header_mutation.SetInParent()
    if used:
        known = whole.dynamic_metadata.fields["modelbroker"].struct_value.fields
        known["used"].string_value = used
    answer = Answer(201, headers, removed, body, used=used)
    assert RESPONSE.FromString(MESSAGES.whole(answer)) == whole
    assert RESPONSE.FromString(MESSAGES.open_reply(headers, removed)) == opened


@given(
    status=st.integers(200, 599),
    headers=PAIRS,
    body=st.binary(max_size=30) | LENGTHS.map(bytes),
    code=st.sampled_from(["", "denied_by_rule"]),
    facts=PAIRS,
)
@example(status=200, headers=(("content-type", "a\r\nb"),), body=bytes(2_097_152), code="", facts=())
def test_an_answer_of_our_own_is_what_protobuf_would_say(
    status: int,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    code: str,
    facts: tuple[tuple[str, str], ...],
) -> None:
    wanted = RESPONSE()
    answer = wanted.immediate_response
    answer.status.code = status
    answer.body = body
    answer.details = f"modelbroker_{code}" if code else "modelbroker"
    for name, value in (*headers, ("x-broker-code", code)) if code else headers:
        answer.headers.set_headers.add(header={"key": name, "raw_value": plain(value)}, append_action=2)
    answer.headers.SetInParent()
    for name, value in facts:
        wanted.dynamic_metadata.fields["modelbroker"].struct_value.fields[name].string_value = value
    assert RESPONSE.FromString(MESSAGES.reply(Reply(status, headers, body, code, facts))) == wanted


@given(st.text("0123456789abcdef-", max_size=200))
def test_a_call_is_known_by_its_id_with_the_first_answer(request_id: str) -> None:
    response = RESPONSE()
    response.request_headers.SetInParent()
    known = response.dynamic_metadata.fields["modelbroker"].struct_value
    known.fields["request_id"].string_value = request_id
    assert RESPONSE.FromString(MESSAGES.go_on(request_id)) == response


def test_what_is_to_be_shown_of_a_reply() -> None:
    go_on = RESPONSE.FromString(MESSAGES.go_on("id") + MESSAGES.show_reply_headers)
    assert go_on.HasField("request_headers") and go_on.dynamic_metadata.fields["modelbroker"].HasField(
        "struct_value"
    )
    mode = go_on.mode_override
    assert (mode.request_body_mode, mode.response_header_mode) == (mode.BUFFERED, mode.SEND)
    assert mode.response_body_mode == mode.NONE
    shown = RESPONSE.FromString(MESSAGES.show_reply_body)
    assert shown.HasField("response_headers")
    assert shown.mode_override.response_body_mode == shown.mode_override.STREAMED
    last = RESPONSE.FromString(MESSAGES.last_shown([("cache", "stored")]))
    assert last.HasField("response_body")
    told = last.dynamic_metadata.fields["modelbroker"].struct_value.fields
    assert told["cache"].string_value == "stored"
