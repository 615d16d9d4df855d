"""What a member can't take: a knob is dropped and named; content goes to another member, or is refused.

Names are the client's own. They stand in a header of the reply, and in the call's record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import anthropic
import openai
import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.records import record_with
from support.sdks import CLIENTS, ask
from support.simulators import Simulators

# Dialect → base path and model. None of the models reasons: what they take is what their dialect has.
MEMBERS: Mapping[str, tuple[str, str]] = {
    "openai-chat": ("/v1", "gpt-4.1"),
    "openai-responses": ("/v1", "gpt-4.1"),
    "anthropic-messages": ("", "claude-sonnet-4-5"),
    "bedrock-converse": ("", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "gemini": ("/v1beta", "gemini-2.5-flash"),
}
PAIRS = [
    ("anthropic-messages", "openai-chat"),
    ("gemini", "bedrock-converse"),
    ("bedrock-converse", "gemini"),
]

# What each client says beside the conversation, by its SDK's own arguments.
KNOBS: Mapping[str, dict[str, Any]] = {
    "openai-chat": {
        "seed": 7,
        "frequency_penalty": 0.5,
        "logit_bias": {"50256": -100},
        "prompt_cache_key": "key",
        "user": "someone",
        "metadata": {"Lauf": "drei ❄"},
        "parallel_tool_calls": False,
        "prediction": {"type": "content", "content": "Cold."},
        "temperature": 0.5,
        "extra_body": {"not_yet_known": 1},
    },
    "openai-responses": {
        "prompt_cache_key": "key",
        "user": "someone",
        "metadata": {"Lauf": "drei ❄"},
        "parallel_tool_calls": False,
        "truncation": "auto",
        "max_tool_calls": 3,
        "temperature": 0.5,
        "extra_body": {"not_yet_known": 1},
    },
    "anthropic-messages": {
        "metadata": {"user_id": "someone"},
        "service_tier": "standard_only",
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        # The SDK itself has no word for the first two any more.
        "extra_body": {"temperature": 0.5, "top_k": 5, "speed": "fast", "not_yet_known": 1},
    },
}
# What of it each provider's dialect has no word for.
NO_WORD: Mapping[tuple[str, str], set[str]] = {
    ("openai-chat", "openai-responses"): {"seed", "frequency_penalty"},
    ("openai-chat", "anthropic-messages"): {"seed", "frequency_penalty", "prompt_cache_key", "metadata"},
    ("openai-chat", "bedrock-converse"): {
        "seed",
        "frequency_penalty",
        "prompt_cache_key",
        "user",
        "metadata",
    },
    ("openai-chat", "gemini"): {"prompt_cache_key", "user", "metadata", "parallel_tool_calls"},
    ("openai-responses", "openai-chat"): {"metadata"},
    ("openai-responses", "anthropic-messages"): {"prompt_cache_key", "metadata"},
    ("openai-responses", "bedrock-converse"): {"prompt_cache_key", "user", "metadata"},
    ("openai-responses", "gemini"): {"prompt_cache_key", "user", "metadata", "parallel_tool_calls"},
    ("anthropic-messages", "openai-chat"): {"top_k"},
    ("anthropic-messages", "openai-responses"): {"top_k"},
    ("anthropic-messages", "bedrock-converse"): {"metadata.user_id"},
    ("anthropic-messages", "gemini"): {"metadata.user_id", "tool_choice.disable_parallel_tool_use"},
}
# What no other dialect has.
NOWHERE: Mapping[str, set[str]] = {
    "openai-chat": {"logit_bias", "prediction", "not_yet_known"},
    "openai-responses": {"truncation", "max_tool_calls", "not_yet_known"},
    "anthropic-messages": {"speed", "not_yet_known"},
}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*MEMBERS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def pool(*dialects: str) -> dict[str, Any]:
        members = [
            {"provider": name, "model": MEMBERS[name][1], "priority": place}
            for place, name in enumerate(dialects)
        ]
        return {"name": ".".join(dialects), "ejection": "off", "members": members}

    config = {
        "providers": [provider(name, sims[name].port, name, base) for name, (base, _) in MEMBERS.items()],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [*(pool(name) for name in MEMBERS), *(pool(*pair) for pair in PAIRS)],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()
    for sim in sims:
        sim.script(strict=True, replies=[{"text": "Cold. ❄"}])


def named(headers: Mapping[str, str]) -> set[str]:
    return set(filter(None, headers.get("x-broker-dropped", "").split(", ")))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("client", "name"), NO_WORD)
def test_knobs_are_named_by_the_clients_own_names(
    broker: Broker, sims: Simulators, client: str, name: str, stream: bool
) -> None:
    seen, headers = ask(client, broker.url, name, stream, **KNOBS[client])
    assert seen.text == "Cold. ❄"
    dropped = NO_WORD[client, name] | NOWHERE[client]
    assert named(headers) == dropped
    (attempt,) = record_with(broker, headers["x-broker-request-id"])["attempts"]
    assert set(attempt["dropped"]) == dropped and len(attempt["dropped"]) == len(dropped)
    (call,) = sims[name].settled_calls()
    assert call["status"] == 200 and '"temperature":0.5' in call["body"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_is_named_where_nothing_is_dropped(broker: Broker, client: str, stream: bool) -> None:
    for name in (client, "gemini"):
        _, headers = ask(client, broker.url, name, stream, extra_body={"temperature": 0.5})
        assert "x-broker-dropped" not in headers
        assert record_with(broker, headers["x-broker-request-id"])["attempts"][0]["dropped"] == []


# Content that only the encoder finds out about: (client, first member's dialect) → arguments, own field.
ANY_JSON: Any = {"type": "json_object"}
MANY_STOPS = ["a", "b", "c", "d", "e", "f"]
CONTENT: Mapping[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("openai-chat", "anthropic-messages"): ({"response_format": ANY_JSON}, "response_format"),
    ("openai-chat", "bedrock-converse"): ({"response_format": ANY_JSON}, "response_format"),
    ("openai-responses", "anthropic-messages"): ({"text": {"format": ANY_JSON}}, "text.format"),
    ("openai-responses", "bedrock-converse"): ({"text": {"format": ANY_JSON}}, "text.format"),
    ("anthropic-messages", "gemini"): ({"stop_sequences": MANY_STOPS}, "stop_sequences"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("client", "name"), CONTENT)
def test_content_goes_to_the_next_member(
    broker: Broker, sims: Simulators, client: str, name: str, stream: bool
) -> None:
    first, second = next(pair for pair in PAIRS if pair[0] == name)
    more: dict[str, Any] = {**CONTENT[client, name][0]}
    if second == "gemini":  # it takes no JSON beside tools
        more["tools"] = []
    seen, headers = ask(client, broker.url, f"{first}.{second}", stream, **more)
    assert seen.text == "Cold. ❄" and headers["x-broker-member"].startswith(f"{second}/")
    assert headers["x-broker-attempts"] == "2" and "x-broker-next" not in headers
    assert sims[first].settled_calls() == [] and len(sims[second].settled_calls()) == 1
    record = record_with(broker, headers["x-broker-request-id"])
    assert [(a["member"].split("/")[0], a["status"], a["code"]) for a in record["attempts"]] == [
        (first, 400, "content_not_supported"),
        (second, 200, ""),
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("client", "name"), CONTENT)
def test_content_that_nobody_can_carry_is_refused_in_the_clients_words(
    broker: Broker, sims: Simulators, client: str, name: str, stream: bool
) -> None:
    more, field = CONTENT[client, name]
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as raised:
        ask(client, broker.url, name, stream, **more)
    error: Any = raised.value
    said = error.body["error"] if client == "anthropic-messages" else error.body
    assert (said["code"], said["param"], said["type"]) == (
        "content_not_supported",
        field,
        "invalid_request_error",
    )
    headers = error.response.headers
    assert "x-broker-next" not in headers and headers["x-broker-member"].startswith(f"{name}/")
    assert sims[name].settled_calls() == []
    record = record_with(broker, headers["x-broker-request-id"])
    assert (record["status"], record["code"]) == (400, "content_not_supported")


@pytest.mark.parametrize("client", ["openai-chat", "openai-responses"])
@pytest.mark.parametrize("word", ["user", "safety_identifier"])
def test_of_two_words_for_one_knob_the_clients_is_named(broker: Broker, client: str, word: str) -> None:
    _, headers = ask(client, broker.url, "gemini", False, **{word: "someone"})
    assert named(headers) == {word}


def test_what_one_member_drops_another_may_take(broker: Broker, sims: Simulators) -> None:
    """The header speaks of who answered, the record of everybody."""
    sims["anthropic-messages"].script(faults=[{"status": 529}])
    _, headers = ask(
        "openai-responses", broker.url, "anthropic-messages.openai-chat", True, prompt_cache_key="k"
    )
    assert headers["x-broker-member"].startswith("openai-chat/") and named(headers) == set()
    record = record_with(broker, headers["x-broker-request-id"])
    assert [attempt["dropped"] for attempt in record["attempts"]] == [["prompt_cache_key"], []]


ODD_NAMES = ["a\r\nx-broker-member: somebody", "\x00", "ключ ❄", "a, b", "long" * 20_000, ""]


@pytest.mark.parametrize("odd", ODD_NAMES, ids=["line-end", "nul", "not-ascii", "comma", "long", "empty"])
@pytest.mark.parametrize("client", CLIENTS)
def test_odd_names_do_no_harm(broker: Broker, client: str, odd: str) -> None:
    """A client can call a knob anything; a header can't hold everything."""
    seen, headers = ask(client, broker.url, "gemini", True, extra_body={odd: 1, "seen": 2})
    assert seen.text == "Cold. ❄" and headers["x-broker-member"].startswith("gemini/")
    assert "seen" in named(headers) and len(headers["x-broker-dropped"]) < 2_000
    assert all(32 <= ord(letter) < 127 for letter in headers["x-broker-dropped"])


def test_a_header_has_room_for_some_names_only(broker: Broker) -> None:
    many = {f"knob_{number:05}": number for number in range(5_000)}
    seen, headers = ask("openai-chat", broker.url, "gemini", True, extra_body=many)
    assert seen.text == "Cold. ❄" and "knob_00000" in named(headers)
    assert len(headers["x-broker-dropped"]) < 2_000
    record = record_with(broker, headers["x-broker-request-id"])
    assert len(record["attempts"][0]["dropped"]) < 5_000
