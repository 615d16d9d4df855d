"""An access-log entry's words for what became of a call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.causes import Cause
from modelbroker.core.logs import FAILURES_LOG, MEMBER_LOG, OUTER_LOG
from modelbroker.core.record import Attempt, Observed, Record
from modelbroker.envoyapi import AnyMessage, api
from modelbroker.policy.health import Standing, after
from modelbroker.records.entries import attempt_of, observed_of, record_of
from modelbroker.records.server import AccessLogServer

ENTRY = api().message_class("envoy.data.accesslog.v3.HTTPAccessLogEntry")


def told(entry: AnyMessage, **facts: str) -> None:
    for name, value in facts.items():
        entry.common_properties.metadata.filter_metadata["modelbroker"].fields[name].string_value = value


def outer_entry(request_id: str = "r", **facts: str) -> AnyMessage:
    entry = ENTRY()
    told(entry, request_id=request_id, **facts)
    common = entry.common_properties
    common.start_time.FromMicroseconds(1_700_000_000_123_456)
    common.duration.FromMicroseconds(2_500)
    common.upstream_request_attempt_count = 1
    common.response_flags.upstream_retry_limit_exceeded = True
    entry.request.request_method = 3
    entry.request.path = "/v1/messages?beta=true"
    entry.request.request_body_bytes = 70
    entry.response.response_code.value = 200
    entry.response.response_code_details = "via_upstream"
    entry.response.response_headers["x-broker-member"] = "a/m"
    return entry


def member_entry(request_id: str = "r") -> AnyMessage:
    entry = ENTRY()
    told(entry, request_id=request_id)
    address = entry.common_properties.downstream_local_address.envoy_internal_address
    address.server_listener_name = "member/a/models/m/0123456789ab"
    entry.response.response_code.value = 529
    return entry


def test_the_outer_entry_is_the_call() -> None:
    entry = outer_entry(caller="me", pool="fast", stream="1", model="fast", rule="all", unheard_of="x")
    assert record_of(entry) == Record(
        request_id="r",
        started_s=1_700_000_000.123456,
        duration_ms=2.5,
        first_byte_ms=None,
        status=200,
        method="POST",
        path="/v1/messages",
        caller="me",
        model="fast",
        stream=True,
        rule="all",
        pool="fast",
        member="a/m",
        flags=("upstream_retry_limit_exceeded",),
        details="via_upstream",
        request_bytes=70,
        attempts_made=1,
    )


def test_a_member_entry_is_an_attempt() -> None:
    told = Attempt("a/models/m", 529, 0.0, code="upstream_overloaded", cause="overloaded")
    assert attempt_of(member_entry()) == ("r", told)


def test_an_attempt_that_the_control_plane_lost_blames_no_member() -> None:
    entry = member_entry()
    entry.response.response_code_details = "ext_proc_error_gRPC_error_14"
    entry.response.response_code.value = 503
    assert (attempt_of(entry)[1].code, attempt_of(entry)[1].cause) == ("broker_unavailable", "")


def test_an_attempt_tells_what_its_provider_did_not_get() -> None:
    entry = member_entry()
    told(entry, request_id="r", dropped="seed, tools.strict")
    assert attempt_of(entry)[1].dropped == ("seed", "tools.strict")


@pytest.mark.parametrize(
    ("status", "flags", "code"),
    [
        (0, ("downstream_connection_termination",), "client_gone"),  # HTTP/1.1, or the whole connection
        (200, ("downstream_connection_termination",), "client_gone"),  # in mid-stream
        (0, ("downstream_remote_reset",), "client_gone"),  # HTTP/2: the call alone
        (0, (), "client_gone"),  # HTTP/2: without an error
        (0, ("downstream_protocol_error",), ""),  # it was no HTTP
        (200, (), ""),
        (503, ("no_healthy_upstream",), ""),
    ],
)
def test_a_client_that_went_away(status: int, flags: tuple[str, ...], code: str) -> None:
    entry = outer_entry()
    entry.common_properties.ClearField("response_flags")
    for flag in flags:
        setattr(entry.common_properties.response_flags, flag, True)
    entry.response.response_code.value = status
    assert record_of(entry).code == code


def test_an_attempt_for_which_nobody_waited() -> None:
    entry = member_entry()
    entry.common_properties.response_flags.downstream_connection_termination = True
    assert attempt_of(entry)[1].code == "cancelled"
    told(entry, code="upstream_garbage")  # what was found before
    assert attempt_of(entry)[1].code == "upstream_garbage"


def test_who_leaves_behind_the_last_word_of_usage_had_its_answer() -> None:
    """OpenAI's SDK hangs up at [DONE], and does not wait for the stream's end."""
    entry = seen_entry(200, "downstream_connection_termination")
    usage = '{"prompt_tokens": 3, "completion_tokens": 4}'
    told(entry, usage=usage, dialect="openai-chat")
    assert attempt_of(entry)[1].code == "cancelled"  # a whole reply, which never reached it
    told(entry, usage=usage, dialect="openai-chat", first_event_by="1")
    assert (attempt_of(entry)[1].code, attempt_of(entry)[1].usage_state) == ("", "exact")


def test_who_left_no_metadata_is_known_by_the_reply() -> None:
    entry = ENTRY()
    entry.common_properties.stream_id = "of envoy"
    entry.response.response_code_details = "modelbroker_missing_api_key"
    before = entry.SerializeToString()
    assert (record_of(entry).request_id, record_of(entry).code) == ("of envoy", "missing_api_key")
    assert attempt_of(entry)[0] == ""
    assert entry.SerializeToString() == before
    entry.response.response_headers["x-broker-request-id"] = "r"
    assert record_of(entry).request_id == "r"


@given(st.integers(0, 10**16))
def test_times_are_those_that_protobuf_reads(nanoseconds: int) -> None:
    entry = ENTRY()
    common = entry.common_properties
    common.start_time.FromNanoseconds(nanoseconds)
    common.duration.FromNanoseconds(nanoseconds)
    record = record_of(entry)
    assert record.started_s == common.start_time.ToMicroseconds() / 1e6
    assert record.duration_ms == common.duration.ToMicroseconds() / 1000


def test_a_sink_that_fails_and_an_odd_entry_cost_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    batches: list[list[str]] = []

    def broken(records: Sequence[Record]) -> None:
        raise RuntimeError("a defect")

    def good(records: Sequence[Record]) -> None:
        batches.append([record.request_id for record in records])

    server = AccessLogServer(api(), broken, good)
    server.take(OUTER_LOG, [outer_entry("r1"), object(), outer_entry("r2")])
    assert batches == []
    server.take(MEMBER_LOG, [member_entry("r1"), member_entry("r2")])
    assert batches == [["r1", "r2"]]
    assert len(caplog.records) == 2


NOW_S = 1_700_000_100.0


def seen_of(entry: AnyMessage, now_s: float = NOW_S) -> Observed | None:
    return observed_of(entry, *attempt_of(entry), now_s)


def seen_entry(status: int, *flags: str, **facts: str) -> AnyMessage:
    entry = member_entry()
    told(entry, **facts)
    entry.response.response_code.value = status
    common = entry.common_properties
    common.start_time.FromMicroseconds(1_700_000_000_500_000)
    common.time_to_first_upstream_rx_byte.FromMilliseconds(250)
    common.duration.FromMilliseconds(60_000)
    for flag in flags:
        setattr(common.response_flags, flag, True)
    return entry


def test_what_an_attempt_tells_of_its_member() -> None:
    entry = seen_entry(200)
    entry.response.response_headers["x-ratelimit-remaining-tokens"] = "7"
    headers = {"x-ratelimit-remaining-tokens": "7"}
    at_s, began_s = 1_700_000_000.75, 1_700_000_000.5
    assert seen_of(entry) == Observed("a/models/m", 200, None, headers, at_s, "r", began_s=began_s)


@given(
    started_s=st.floats(0, 4e9),
    waited_s=st.floats(0, 3600),
    rest_s=st.floats(0, 3600),
    late_s=st.floats(0, 59),
)
def test_when_it_was_said_holds_by_the_clock_of_now(
    started_s: float, waited_s: float, rest_s: float, late_s: float
) -> None:
    """Whatever was done to the clock while the attempt was under way, and where nothing was."""
    entry = seen_entry(200)
    common = entry.common_properties
    now_s = 1_700_000_000.0
    ended_s = now_s - late_s

    def at_s(started_s: float) -> float:
        common.start_time.FromMicroseconds(int(started_s * 1e6))
        common.time_to_first_upstream_rx_byte.FromMicroseconds(int(waited_s * 1e6))
        common.duration.FromMicroseconds(int((waited_s + rest_s) * 1e6))
        seen = seen_of(entry, now_s)
        assert seen is not None
        return seen.at_s

    assert now_s - rest_s - 60.001 <= at_s(started_s) <= now_s - rest_s + 0.001
    assert at_s(ended_s - waited_s - rest_s) == pytest.approx(ended_s - rest_s, abs=0.01)


@pytest.mark.parametrize("jump_s", [6 * 3600, -6 * 3600, 365 * 86400], ids=["forward", "backward", "a year"])
def test_a_word_counts_though_the_clock_was_set_meanwhile(jump_s: float) -> None:
    """The entry's beginning is of the old time, and is read in the new one."""
    entry = seen_entry(307, cause="rate-limit", provider_status="429")
    entry.common_properties.duration.FromMilliseconds(260)
    entry.response.response_headers["retry-after"] = "30"
    now_s = 1_700_000_000.76 + jump_s
    seen = seen_of(entry, now_s)
    assert seen is not None and seen.at_s == pytest.approx(now_s - 0.01)
    assert after(Standing(), seen).out_until_s == pytest.approx(now_s + 29.99)


def test_who_looked_closer_names_the_cause() -> None:
    seen = seen_of(seen_entry(307, cause="rate-limit", provider_status="429"))
    assert seen is not None
    assert (seen.cause, seen.status) == (Cause.RATE_LIMIT, 429)


@pytest.mark.parametrize(
    ("status", "flags", "cause"),
    [
        (200, (), None),
        (0, (), None),
        (302, (), Cause.GARBAGE),
        (400, (), Cause.BAD_REQUEST),
        (401, (), Cause.CREDENTIAL),
        (404, (), Cause.NOT_FOUND),
        (429, (), Cause.RATE_LIMIT),
        (500, (), Cause.SERVER),
        (529, (), Cause.OVERLOADED),
        (503, ("upstream_overflow",), Cause.CAPACITY),
        (503, ("upstream_connection_failure",), Cause.CONNECT),
        (503, ("upstream_connection_failure", "dns_resolution_failure"), Cause.DNS),
        (200, ("upstream_connection_termination",), Cause.RESET),
        (200, ("upstream_retry_limit_exceeded",), None),
    ],
)
def test_else_the_status_and_envoys_flags_do(
    status: int, flags: tuple[str, ...], cause: Cause | None
) -> None:
    seen = seen_of(seen_entry(status, *flags))
    assert seen is not None
    assert seen.cause is cause


@pytest.mark.parametrize(
    ("entry", "is_broken"),
    [
        (seen_entry(200, cause="cut", code="upstream_truncated"), True),
        (seen_entry(200, "upstream_remote_reset"), True),
        (seen_entry(200, "stream_idle_timeout"), True),
        (seen_entry(200), False),
        (seen_entry(307, cause="cut", provider_status="200"), False),
        (seen_entry(502, cause="cut", provider_status="200"), False),
        (seen_entry(0, "upstream_connection_failure"), False),
    ],
)
def test_what_envoy_took_for_good_and_broke(entry: AnyMessage, is_broken: bool) -> None:
    seen = seen_of(entry)
    assert seen is not None and seen.is_broken is is_broken


def test_nobody_knows_how_an_attempt_would_have_ended_that_its_client_left() -> None:
    assert seen_of(seen_entry(200, "downstream_remote_reset")) is None
    assert seen_of(seen_entry(0, "downstream_connection_termination", "upstream_remote_reset")) is None


@pytest.mark.parametrize(
    ("status", "flags", "is_told_at_once"),
    [
        (200, (), False),
        (307, (), True),
        (400, (), False),
        (404, (), False),
        (422, (), False),
        (429, (), True),
        (503, (), True),
        (200, ("upstream_remote_reset",), True),
        (200, ("upstream_retry_limit_exceeded",), False),
    ],
)
def test_each_attempt_is_told_once(status: int, flags: tuple[str, ...], is_told_at_once: bool) -> None:
    seen: list[Observed] = []
    server = AccessLogServer(api(), observe=seen.append)
    entry = seen_entry(status, *flags)
    server.take(MEMBER_LOG, [entry])
    assert len(seen) == (not is_told_at_once)
    if is_told_at_once:  # the filter of the log of failures lets it through
        server.take(FAILURES_LOG, [entry])
    assert len(seen) == 1
