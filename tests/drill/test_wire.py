"""What a drill's clients send, and what they make of replies: the simulators' own, and pieces of them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.drill.faults import TEXT, Simulated
from modelbroker.drill.scenarios import Ask
from modelbroker.drill.wire import Received, number_in, read_reply, request_of
from modelbroker.simulator import parse_script
from modelbroker.simulator.memory import Memory
from modelbroker.simulator.plan import Data
from modelbroker.simulator.provider import Provider

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}
ASKS = [Ask(name, path, stream, frozenset()) for name, path in PATHS.items() for stream in (False, True)]
SENT = {str(ask): request_of(ask, "gpt-x", 17, "key") for ask in ASKS}
asks = pytest.mark.parametrize("ask", ASKS, ids=str)


def answer(ask: Ask, **fault: Any) -> bytes:
    """The body that a simulator sends to the drill's own request."""
    script = Simulated("p").healthy() | ({"faults": [fault]} if fault else {})
    parsed = parse_script(yaml.safe_dump(script), "test")
    headers, body = SENT[str(ask)]
    provider = Provider("p", None, parsed, random.Random(1), Memory())
    steps = provider.answer("POST", ask.path, dict(headers), body).steps
    return b"".join(step.data for step in steps if isinstance(step, Data))


ANSWERS = {str(ask): answer(ask) for ask in ASKS}


@asks
def test_a_good_answer_is_good(ask: Ask) -> None:
    seen = read_reply(ask, Received(200, {}, ANSWERS[str(ask)]))
    assert (seen.end, seen.flaw) == ("good", "")


@asks
def test_the_request_names_its_call_for_provider_and_record(ask: Ask) -> None:
    headers, body = SENT[str(ask)]
    assert number_in(body.decode()) == 17
    assert dict(headers)["x-broker-feature"] == "call-17"
    assert json.loads(body).get("stream", False) is ask.stream


def test_a_model_may_think_before_it_speaks() -> None:
    ask = next(ask for ask in ASKS if ask.surface == "anthropic-messages" and not ask.stream)
    reply = json.loads(ANSWERS[str(ask)])
    reply["content"].append({"type": "redacted_thinking", "data": "sealed"})
    assert read_reply(ask, Received(200, {}, json.dumps(reply).encode())).end == "good"
    ask = next(ask for ask in ASKS if ask.surface == "openai-responses" and not ask.stream)
    reply = json.loads(ANSWERS[str(ask)])
    reply["output"].insert(0, {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]})
    assert read_reply(ask, Received(200, {}, json.dumps(reply).encode())).end == "good"


@given(st.sampled_from(ASKS), st.floats(0, 1, exclude_max=True), st.booleans())
def test_no_piece_of_an_answer_is_good(ask: Ask, share: float, cleanly: bool) -> None:
    whole = ANSWERS[str(ask)].rstrip()
    piece = whole[: int(len(whole) * share)]
    seen = read_reply(ask, Received(200, {}, piece, "" if cleanly else "the connection was reset"))
    assert seen.end in ("truncated", "broken")
    if ask.stream:
        assert not seen.flaw  # what breaks and looks it keeps the promise


@asks
def test_half_a_text_with_a_proper_end_is_a_lie(ask: Ask) -> None:
    whole = ANSWERS[str(ask)]
    events = whole.split(b"\n\n")
    short = b"\n\n".join(events[:12] + events[13:]) if ask.stream else whole.replace(b"word-12", b"")
    assert read_reply(ask, Received(200, {}, short)).flaw


@pytest.mark.parametrize("ask", [ask for ask in ASKS if ask.stream], ids=str)
def test_an_error_event_is_an_error(ask: Ask) -> None:
    seen = read_reply(ask, Received(200, {}, answer(ask, error_event=True, after_events=12)))
    assert (seen.end, seen.flaw) == ("error-event", "")


def error(**fields: Any) -> dict[str, Any]:
    return {"error": {"type": "api_error", "message": "It broke.", "code": "upstream_reset", **fields}}


@pytest.mark.parametrize(
    ("surface", "body", "flawed"),
    [
        ("openai-chat", error(), False),
        ("openai-chat", error(message=""), True),
        ("openai-chat", error(type=None), True),
        ("openai-chat", error(code=7), True),
        ("openai-chat", error(code="no code at all"), True),
        ("openai-chat", {"detail": "no"}, True),
        ("openai-chat", "upstream connect error", True),
        ("openai-responses", error(), False),
        ("anthropic-messages", error() | {"type": "error"}, False),
        ("anthropic-messages", error(), True),
    ],
)
def test_errors_have_the_shape_of_their_dialect(surface: str, body: Any, flawed: bool) -> None:
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    seen = read_reply(Ask(surface, PATHS[surface], False, frozenset()), Received(503, {}, sent))
    assert seen.end == "error"
    assert bool(seen.flaw) is flawed


def test_without_a_code_the_record_has_to_have_one_but_for_a_providers_own_words() -> None:
    body, ask = json.dumps(error(code=None)).encode(), ASKS[0]
    assert read_reply(ask, Received(500, {}, body)).lacks_code
    assert not read_reply(ask, Received(500, {"x-mock-provider": "p"}, body)).lacks_code
    assert not read_reply(ask, Received(500, {}, json.dumps(error()).encode())).lacks_code


def test_nothing_at_all_is_broken() -> None:
    assert read_reply(ASKS[0], Received(broken="the client gave up")).end == "broken"
    assert TEXT in json.loads(ANSWERS[str(ASKS[0])])["choices"][0]["message"]["content"]
