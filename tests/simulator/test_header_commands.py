"""Faults and replies that a request brings along in its own headers."""

import json

import httpx
import pytest

KEY = {"authorization": "Bearer sk-test"}
PATH = "/v1/chat/completions"


@pytest.fixture
def ask(serve, chat):
    """Sends one chat with these headers; the status, and the text of the answer or of the error."""
    served = serve("faults: [{match: {model: struck}, status: 503}]")

    def send(model="gpt-5-mini", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {**chat(), "model": model}
        got = httpx.post(served.url + PATH, json=body, headers={**KEY, **named})
        said = got.json()
        return got.status_code, said["error"]["message"] if "error" in said else (
            said["choices"][0]["message"]["content"]
        )

    return send


def test_match_says_whom_a_header_is_for(ask):
    fault = '{status: 529, match: {model: "gpt-*"}}'
    assert ask("gpt-5-mini", x_mock_fault=fault)[0] == 529
    assert ask("claude-x", x_mock_fault=fault)[0] == 200
    # Who is not meant is left to the script.
    assert ask("struck", x_mock_fault=fault)[0] == 503
    reply = "{text: Hello there, match: {stream: false, model: gpt-5-mini}}"
    assert ask("gpt-5-mini", x_mock_reply=reply) == (200, "Hello there")
    assert ask("gpt-5", x_mock_reply=reply)[1] != "Hello there"


def test_rate_is_drawn_for_each_call(ask):
    assert {ask(x_mock_fault="{status: 500, rate: 1}")[0] for _ in range(5)} == {500}
    assert {ask(x_mock_fault="{status: 500, rate: 0}")[0] for _ in range(5)} == {200}
    drawn = [ask(x_mock_fault="{status: 500, rate: 0.5}")[0] for _ in range(40)]
    assert set(drawn) == {200, 500}
    assert drawn[:20] != drawn[20:]


@pytest.mark.parametrize("header", ["x_mock_fault", "x_mock_reply"])
@pytest.mark.parametrize(("name", "count"), [("first", 2), ("calls", [1, 3])])
def test_a_header_counts_no_calls(ask, header, name, count):
    rule = {"x_mock_fault": {"status": 503}, "x_mock_reply": {"text": "x"}}[header]
    status, message = ask(**{header: json.dumps({**rule, name: count})})
    assert status == 400
    assert message.startswith(f"{header.replace('_', '-')}:1: {name}: counts calls, and a header is for ")
