"""Every provider's own errors at every client: before the reply, as a stream's first event, and inside it.

The simulators fail in each provider's own words (src/simulator/troubles.py); the official SDK must raise what
its users expect. No failover, so that the client gets just that error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import anthropic
import openai
import pytest
from support.broker import Broker, one_pool_each
from support.simulators import Simulators
from support.speakers import CLIENTS, Ask, Speakers, chat_request, messages_request, responses_request

CHAT, RESPONSES, MESSAGES, BEDROCK, GEMINI = PROVIDERS = (
    "openai-chat",
    "openai-responses",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
)
MODELS = {
    CHAT: "gpt-4.1",
    RESPONSES: "gpt-4.1",
    MESSAGES: "claude-sonnet-4-5",
    BEDROCK: "anthropic.claude-sonnet-4-5-20250929-v1:0",
    GEMINI: "gemini-2.5-pro",
}
# Where each provider has the id of a request; Google has none.
ID_HEADERS = {
    CHAT: "x-request-id",
    RESPONSES: "x-request-id",
    MESSAGES: "request-id",
    BEDROCK: "x-amzn-requestid",
}
ID = "id-of-the-provider"
TROUBLES = (
    "context_overflow",
    "rate_limit",
    "overloaded",
    "invalid_key",
    "forbidden",
    "billing",
    "content_policy",
    "bad_field",
    "model_not_found",
    "unknown_id",
    "conflict",
    "server_error",
    "too_large",
    "timeout",
)
# Those that come when an answer has begun.
LATE_TROUBLES = ("rate_limit", "overloaded", "server_error", "content_policy")
WAITS = ("rate_limit", "overloaded")
OURS = ("invalid_key", "forbidden", "billing", "model_not_found")
TEXT = "one two three four five six seven eight"

# Trouble → (class of the SDK's error, statuses, code). Of a code that the provider of the same dialect says
# in other words, both are right; and of one that a stream began with, the broker's own (docs/errors.md).
_OPENAI: Mapping[str, tuple[type[Exception], tuple[int, ...], tuple[str | None, ...]]] = {
    "context_overflow": (openai.BadRequestError, (400,), ("context_length_exceeded",)),
    "rate_limit": (openai.RateLimitError, (429,), ("rate_limit_exceeded", "upstream_rate_limited")),
    "overloaded": (
        openai.InternalServerError,
        (503, 529),
        ("overloaded", "upstream_overloaded", "upstream_error", "server_error", None),
    ),
    "invalid_key": (openai.InternalServerError, (502,), ("upstream_credential_refused",)),
    "forbidden": (openai.InternalServerError, (502,), ("upstream_credential_refused",)),
    "billing": (openai.InternalServerError, (503,), ("upstream_billing",)),
    "content_policy": (openai.BadRequestError, (400,), ("content_policy_violation", "invalid_prompt")),
    "bad_field": (openai.BadRequestError, (400,), ()),
    "model_not_found": (openai.InternalServerError, (502,), ("upstream_model_not_found",)),
    "unknown_id": (openai.APIStatusError, (400, 404), ()),
    "conflict": (openai.ConflictError, (409,), ("conflict",)),
    "server_error": (openai.InternalServerError, (500, 502, 503), ("server_error", "upstream_error", None)),
    "too_large": (openai.APIStatusError, (413,), ("request_too_large",)),
    "timeout": (openai.APIStatusError, (408, 504), ("timeout",)),
}
_ANTHROPIC: Mapping[str, tuple[type[Exception], tuple[int, ...], str]] = {
    "context_overflow": (anthropic.BadRequestError, (400,), "invalid_request_error"),
    "rate_limit": (anthropic.RateLimitError, (429,), "rate_limit_error"),
    "overloaded": (anthropic.InternalServerError, (529,), "overloaded_error"),
    "invalid_key": (anthropic.InternalServerError, (502,), "api_error"),
    "forbidden": (anthropic.InternalServerError, (502,), "api_error"),
    "billing": (anthropic.InternalServerError, (503,), "api_error"),
    "content_policy": (anthropic.BadRequestError, (400,), "invalid_request_error"),
    "bad_field": (anthropic.BadRequestError, (400,), "invalid_request_error"),
    "model_not_found": (anthropic.InternalServerError, (502,), "api_error"),
    "unknown_id": (anthropic.APIStatusError, (400, 404), "not_found_error"),
    "conflict": (anthropic.ConflictError, (409,), "invalid_request_error"),
    "server_error": (anthropic.InternalServerError, (500, 502, 503), "api_error"),
    "too_large": (anthropic.APIStatusError, (413,), "request_too_large"),
    "timeout": (anthropic.InternalServerError, (504,), "timeout_error"),
}
FIELDS = {CHAT: "max_completion_tokens", RESPONSES: "max_output_tokens", MESSAGES: "max_tokens"}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*PROVIDERS) as simulators:
        for each in simulators:
            headers = {ID_HEADERS[each.name]: ID} if each.name in ID_HEADERS else {}
            faults: list[dict[str, Any]] = []
            for trouble in TROUBLES:
                said: dict[str, Any] = {"trouble": trouble, "headers": headers}
                if trouble in WAITS:
                    said["retry_after_s"] = 7
                faults.append({"match": {"contains": f"[{trouble} at once]"}, **said})
            for trouble in LATE_TROUBLES:
                said = {"trouble": trouble, "headers": headers, "error_event": True}
                faults.append({"match": {"contains": f"[{trouble} first]"}, **said, "pings": 1})
                after = {"after_events": 6}
                faults.append({"match": {"contains": f"[{trouble} later]"}, **said, **after})
            each.script(faults=faults, replies=[{"text": TEXT}], strict=True)
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = one_pool_each(sims, MODELS)
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(broker: Broker) -> None:
    """Who said no in a test before this one would be waited for."""
    broker.forget()


@pytest.fixture(scope="module")
def speakers(broker: Broker) -> Iterator[Speakers]:
    with Speakers(broker.url) as made:
        yield made


def failed(speakers: Speakers, client: str, ask: Ask, stream: bool) -> tuple[Any, str]:
    """The SDK's error, and the text that came before it."""
    text = ""
    try:
        if client == CHAT:
            asked = {**chat_request(ask), "max_completion_tokens": 500}
            for chunk in _stream(speakers.openai.chat.completions.create, asked, stream):
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
        elif client == RESPONSES:
            asked = {**responses_request(ask), "max_output_tokens": 500}
            for event in _stream(speakers.openai.responses.create, asked, stream):
                text += event.delta if event.type == "response.output_text.delta" else ""
        else:
            for event in _stream(speakers.anthropic.messages.create, messages_request(ask), stream):
                is_text = event.type == "content_block_delta" and event.delta.type == "text_delta"
                text += event.delta.text if is_text else ""
    except (openai.APIError, anthropic.APIError) as error:
        return error, text
    raise AssertionError(f"no error, but {text!r}")


def _stream(create: Any, asked: dict[str, Any], stream: bool) -> Iterator[Any]:
    if stream:
        yield from create(**asked, stream=True)
        return
    raise AssertionError(f"no error, but {create(**asked)}")


def check(error: Any, client: str, dialect: str, trouble: str) -> None:
    """The error of a call that nothing was answered of."""
    if client == MESSAGES:
        kind, statuses, name = _ANTHROPIC[trouble]
        if trouble == "conflict" and client == dialect:
            name = "conflict_error"  # its own words, which its reference does not have
        if trouble == "unknown_id" and error.status_code == 400:
            name = "invalid_request_error"
        assert error.type == error.body["error"]["type"] == name
        message = error.api_message
        field = error.body["error"].get("param")
    else:
        kind, statuses, codes = _OPENAI[trouble]
        assert not codes or error.code in codes
        message, field = error.body["message"], error.param
    assert isinstance(error, kind) and error.status_code in statuses, error
    assert message
    if trouble == "bad_field" and client != dialect:
        assert field == FIELDS[client]
    if trouble == "context_overflow" and client == MESSAGES:
        assert "prompt is too long" in message
    if trouble in OURS:  # nothing of what the provider says of our account and models
        assert "the broker's" in message and "Please" not in message and not field


GRID = pytest.mark.parametrize(
    ("client", "dialect"), [(client, dialect) for client in CLIENTS for dialect in PROVIDERS]
)
LATE = pytest.mark.parametrize("trouble", LATE_TROUBLES)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("trouble", TROUBLES)
@GRID
def test_errors_before_the_reply(
    speakers: Speakers, client: str, dialect: str, trouble: str, stream: bool
) -> None:
    ask = Ask(f"pool-{dialect}", f"Say it. [{trouble} at once]")
    error, _ = failed(speakers, client, ask, stream)
    check(error, client, dialect, trouble)
    assert error.response.headers["x-broker-attempts"] == "1"
    if trouble in WAITS:
        assert error.response.headers["retry-after"] == "7"
    if dialect in ID_HEADERS:
        assert error.request_id == ID


@LATE
@GRID
def test_errors_as_the_first_event(speakers: Speakers, client: str, dialect: str, trouble: str) -> None:
    """Nothing has reached the client yet, so it gets the status that belongs to the error; but where the
    dialect is the same, an error about the very request is the provider's answer, and passes."""
    ask = Ask(f"pool-{dialect}", f"Say it. [{trouble} first]")
    error, text = failed(speakers, client, ask, stream=True)
    assert text == ""
    if client == dialect and trouble == "content_policy":
        check_event(error, client, trouble)
    else:
        check(error, client, dialect, trouble)
        assert dialect not in ID_HEADERS or error.request_id == ID


@LATE
@GRID
def test_errors_inside_a_stream(speakers: Speakers, client: str, dialect: str, trouble: str) -> None:
    """What came before stays, and the SDK raises with the error's own type."""
    ask = Ask(f"pool-{dialect}", f"Say it. [{trouble} later]")
    error, text = failed(speakers, client, ask, stream=True)
    assert text and TEXT.startswith(text)
    check_event(error, client, trouble)


def check_event(error: Any, client: str, trouble: str) -> None:
    if client == MESSAGES:
        assert error.type == _ANTHROPIC[trouble][2] and error.status_code == 200
    else:
        assert error.code in _OPENAI[trouble][2] and error.body["message"]
