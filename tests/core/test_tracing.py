"""W3C Trace Context: what is a traceparent, and what a call makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.ids import RANDOM_BYTES, request_id_of
from modelbroker.core.telemetry import ALL_PPM, Traces
from modelbroker.core.tracing import Parent, attempt_span, parent_in, trace_in, traced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"
HEX = st.sampled_from("0123456789abcdef")


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=count, max_size=count)


TRACES = digits(32).filter(lambda text: text != "0" * 32)
SPANS = digits(16).filter(lambda text: text != "0" * 16)
IDS = st.builds(
    request_id_of, st.integers(0, 2**48 - 1), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (GOOD, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"00-{TRACE}-{SPAN}-ff", 3),  # of flags that nobody knows nothing goes on
        (f"cc-{TRACE}-{SPAN}-01", 1),  # of a later version
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"fe-{TRACE}-{SPAN}-01-", 1),
    ],
)
def test_what_is_a_traceparent(text: str, flags: int) -> None:
    assert parent_in(text) == Parent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        GOOD[:-1],
        f"{GOOD}-what-the-future-will-be-like",  # not in this version
        f"{GOOD}.",
        f"{GOOD},{GOOD}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        GOOD.upper(),
        f"00-{TRACE}-{SPAN}-0x",
        f"0-{TRACE}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like",
        f" {GOOD}",
        f"{GOOD}\n",
    ],
)
def test_what_is_none(text: str) -> None:
    assert parent_in(text) is None


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*", fullmatch=True), IDS)
def test_every_text_leads_to_a_good_trace(text: str, request_id: str) -> None:
    trace = traced(Traces(), text, request_id)
    own = parent_in(trace.header)
    assert own is not None and (own.trace_id, own.span_id) == (trace.trace_id, trace.span_id)
    assert trace_in(trace.text) == trace
    assert trace.header.startswith("00-")


@given(TRACES, SPANS, st.integers(0, 255), IDS)
def test_an_agents_trace_goes_on_as_it_says(trace_id: str, span_id: str, flags: int, request_id: str) -> None:
    text = f"00-{trace_id}-{span_id}-{flags:02x}"
    trace = traced(Traces(share_ppm=0), text, request_id)
    assert (trace.trace_id, trace.parent_id, trace.is_sampled) == (trace_id, span_id, flags % 2 == 1)
    assert int(trace.flags, 16) == flags & 3  # random stays what it was
    alone = traced(Traces(from_agents=False), text, request_id)
    assert (alone.trace_id, alone.parent_id, alone.is_sampled) == (request_id, "", True)


@given(IDS, st.integers(0, ALL_PPM))
def test_who_is_sampled_at_a_share_is_at_a_larger_one(request_id: str, share_ppm: int) -> None:
    if traced(Traces(share_ppm), "", request_id).is_sampled:
        assert traced(Traces(min(ALL_PPM, share_ppm + 1000)), "", request_id).is_sampled
    assert traced(Traces(ALL_PPM), "", request_id).is_sampled
    assert not traced(Traces(0), "", request_id).is_sampled
    assert traced(Traces(share_ppm), "", request_id).flags in ("02", "03")


def test_a_share_is_one_of_the_ids_end() -> None:
    ids = [f"0123456789ab7cde8f{number:014x}" for number in range(0, 16**14, 16**14 // 1000)]
    sampled = [traced(Traces(250_000), "", request_id).is_sampled for request_id in ids]
    assert 249 <= sum(sampled) <= 251


@given(IDS)
def test_spans_of_a_call_are_apart(request_id: str) -> None:
    trace = traced(Traces(), "", request_id)
    spans = [trace.span_id, *(attempt_span(trace.span_id, number) for number in range(1, 32))]
    assert len(set(spans)) == 32 and all(len(span) == 16 and int(span, 16) for span in spans)


def test_no_text_is_no_trace() -> None:
    assert trace_in("") is None
