"""Every client dialect at every provider dialect, whole and streamed: the official SDK through the real
Envoy, the provider a simulator that was told what to say.

What the SDK's object says is held against what the simulator was told, field by field, and the streamed
one against the same; then the stream's own bytes against the dialect's documents. The same dialect on both
sides is the reference.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from support import heard, raw_streams
from support.broker import Broker, one_pool_each
from support.heard import Cited, Heard, Token
from support.simulators import Simulators
from support.speakers import (
    CLIENTS,
    Ask,
    AsyncSpeakers,
    Speakers,
    chat_request,
    messages_request,
    responses_request,
)

CHAT, RESPONSES, MESSAGES, BEDROCK, GEMINI = PROVIDERS = (
    "openai-chat",
    "openai-responses",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
)
MODELS = {
    CHAT: "gpt-4.1",
    RESPONSES: "gpt-5.1",
    MESSAGES: "claude-sonnet-4-5",
    BEDROCK: "anthropic.claude-sonnet-4-5-20250929-v1:0",
    GEMINI: "gemini-2.5-pro",
}
TEXT = 'Grüße aus Tromsø ❄ — 日本語のテキスト, 🧑‍🚀👍🏽 und "quotes"\n\tein Tab\\ein Strich / \u2028 Ende.'
NESTED = {
    "city": "São Paulo 🌆",
    "notes": {"ü": [1, 2.5, None, True, {"deep": '日本 "x" \\ \n'}], "empty": {}},
}
HUGE = {"city": "Oslo", "notes": {"text": "Zeile Ø 🚀\n" * 8000}}
TOKENS = {"input": 100, "output": 40}
PAGES = [
    {"url": "https://news.example/1?a=b", "title": "Erste", "quote": "first words"},
    {"url": "https://news.example/2", "title": "Zweite 🚀", "quote": "other words"},
]


@dataclass(frozen=True)
class Case:
    """`reply` is what the simulators are told. `clients` and `providers`: who can say it at all."""

    name: str
    reply: Mapping[str, Any]
    ask: Mapping[str, Any] = field(default_factory=dict)
    clients: tuple[str, ...] = CLIENTS
    providers: tuple[str, ...] = PROVIDERS


def calls(*arguments: Any) -> list[dict[str, Any]]:
    names = ("get_weather", "look_up", "note_down")
    return [{"name": name, "arguments": value} for name, value in zip(names, arguments, strict=False)]


TOOLS: Mapping[str, Any] = {"tools": True}
CASES = [
    Case("text", {"text": TEXT}),
    Case("text in bytes", {"text": TEXT, "chunk_bytes": 1, "split_bytes": 1}),
    Case("long text", {"text": TEXT * 300, "chunk_bytes": 700, "split_bytes": 1000}),
    Case("empty", {"text": ""}),
    Case("one call", {"tool_calls": calls({"city": "Oslo"})}, TOOLS),
    Case(
        "three calls by turns",
        {"tool_calls": calls(NESTED, {"city": "Tromsø"}, NESTED), "interleave": True, "split_bytes": 7},
        TOOLS,
    ),
    Case(
        "the same tool thrice",
        {"tool_calls": [*calls({"city": "a"}), *calls({"city": "b"}), *calls({"city": "a"})]},
        TOOLS,
    ),
    Case("call without arguments", {"tool_calls": calls({}, {"city": "x"}, {})}, TOOLS),
    Case(
        "huge arguments",
        {"tool_calls": calls(HUGE, {"city": "x"}), "interleave": True, "chunk_bytes": 8000},
        TOOLS,
    ),
    Case("text and calls", {"text": TEXT, "tool_calls": calls(NESTED, {"city": "Oslo"})}, TOOLS),
    Case("reasoning, text", {"reasoning": f"Hm. {TEXT}", "text": TEXT}, {"thinking": True}),
    Case(
        "reasoning, calls",
        {"reasoning": "Let me see.", "tool_calls": calls(NESTED, {"city": "Oslo"}), "interleave": True},
        {"tools": True, "thinking": True},
    ),
    Case(
        "reasoning, text, calls",
        {"reasoning": "Let me see.", "text": TEXT, "tool_calls": calls(NESTED)},
        {"tools": True, "thinking": True},
    ),
    Case(
        "hidden reasoning",
        {"reasoning": "Not for you.", "redacted": True, "text": TEXT},
        {"thinking": True},
        providers=(RESPONSES, MESSAGES, BEDROCK),
    ),
    Case("refusal", {"refusal": "I can't help with that. ⛔"}),
    Case("text, refusal", {"text": TEXT, "refusal": "But no further."}),
    Case("max tokens", {"text": TEXT, "finish": "length"}),
    Case("max tokens at once", {"text": "", "finish": "length"}),
    Case("content filter", {"text": TEXT, "finish": "content_filter"}),
    Case("content filter at once", {"text": "", "finish": "content_filter"}),
    Case(
        "stop sequence",
        {"text": TEXT, "stop_sequence": "###"},
        {"stop": ("STOP", "###")},
        clients=(CHAT, MESSAGES),
        # The Responses API has no stop sequences.
        providers=(CHAT, MESSAGES, BEDROCK, GEMINI),
    ),
    Case(
        "usage",
        {
            "text": TEXT,
            "reasoning": "Hm.",
            "tokens": {"input": 7, "output": 50, "reasoning": 30, "cache_read": 900, "cache_write": 200},
        },
        {"thinking": True},
    ),
    Case("two answers", {"text": TEXT, "others": ["Zweite 🚀"]}, {"n": 2}, (CHAT,), (CHAT, GEMINI)),
    Case(
        "logprobs",
        {"text": TEXT},
        {"logprobs": 2},
        (CHAT, RESPONSES),
        (CHAT, RESPONSES, GEMINI),
    ),
    Case("citations", {"text": TEXT, "citations": PAGES}),
    Case(
        "citations with places",
        {
            "text": TEXT,
            "citations": [{**PAGES[0], "start": 6, "end": 19}, {**PAGES[1], "start": 20, "end": 37}],
        },
        providers=(CHAT, RESPONSES, GEMINI),
    ),
    Case("no usage asked for", {"text": TEXT}, {"usage": False}, (CHAT,)),
]
GRID = [
    pytest.param(client, case, dialect, id=f"{client}:{dialect}:{case.name}")
    for client in CLIENTS
    for dialect in PROVIDERS
    for case in CASES
    if client in case.clients and dialect in case.providers
]


# -- what must be heard


def expected(case: Case, client: str, dialect: str, streamed: bool) -> Heard:
    """By what the protocols' documents say: what the provider makes of the script, and the client of that."""
    reply = case.reply
    told = Heard(
        parts=parts_of(reply, client, dialect),
        stop=stop_of(reply, client, dialect),
        model=MODELS[dialect],
        others=list(reply.get("others", ())),
    )
    if client == MESSAGES and dialect in (MESSAGES, BEDROCK):
        told.stop_sequence = reply.get("stop_sequence")
    usage_of(told, case, client, dialect)
    if client == CHAT and streamed and not case.ask.get("usage", True):
        told.prompt = told.output = told.reasoning = None
    told.citations = [cited(page, reply["text"], client, dialect) for page in reply.get("citations", ())]
    if (top := case.ask.get("logprobs")) is not None:
        told.logprobs = tokens_of(reply["text"], top)
    return told


def parts_of(reply: Mapping[str, Any], client: str, dialect: str) -> list[tuple[Any, ...]]:
    text, refusal = reply.get("text", ""), reply.get("refusal", "")
    parts: list[tuple[Any, ...]] = []
    if reply.get("redacted"):
        parts.append(("hidden",))
    elif "reasoning" in reply:
        parts.append(("reasoning", reply["reasoning"]))
    if dialect not in (CHAT, RESPONSES):  # these alone keep refusals apart
        text, refusal = text + refusal, ""
    if text:
        parts.append(("text", text))
    if refusal:
        parts.append(("text" if client == MESSAGES else "refusal", refusal))
    parts += [("call", call["name"], call["arguments"]) for call in reply.get("tool_calls", ())]
    if dialect == GEMINI and "reasoning" in reply and client != CHAT:
        # Gemini's signature is at the first call, or else at the text: a hidden block behind it keeps it.
        kinds = [part[0] for part in parts]
        parts.insert(kinds.index("call" if "call" in kinds else "text") + 1, ("hidden",))
    return parts


# What becomes of an end in each provider's words, where it has not the same word for it.
_SAYS: Mapping[str, Mapping[str, str]] = {
    CHAT: {"refusal": "end", "stop_sequence": "end"},
    RESPONSES: {"refusal": "end", "stop_sequence": "end"},
    MESSAGES: {"content_filter": "refusal"},
    BEDROCK: {"refusal": "content_filter"},
    GEMINI: {"refusal": "end", "stop_sequence": "end"},
}
_FILTERED = "incomplete: content_filter"
_HEARD: Mapping[str, Mapping[str, str]] = {
    CHAT: {
        "end": "stop",
        "calls": "tool_calls",
        "length": "length",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "stop_sequence": "stop",
    },
    RESPONSES: {
        "end": "completed",
        "calls": "completed",
        "length": "incomplete: max_output_tokens",
        "content_filter": _FILTERED,
        "refusal": _FILTERED,
        "stop_sequence": "completed",
    },
    MESSAGES: {
        "end": "end_turn",
        "calls": "tool_use",
        "length": "max_tokens",
        "content_filter": "refusal",
        "refusal": "refusal",
        "stop_sequence": "stop_sequence",
    },
}


def stop_of(reply: Mapping[str, Any], client: str, dialect: str) -> str:
    end = reply.get("finish") or ("calls" if reply.get("tool_calls") else "end")
    if "stop_sequence" in reply:
        end = "stop_sequence"
    if "refusal" in reply:
        end = "refusal"
        if client == MESSAGES and dialect in (CHAT, RESPONSES):
            return "refusal"  # told by the part; the reason says only that it ended
    return _HEARD[client][_SAYS[dialect].get(end, end)]


def usage_of(told: Heard, case: Case, client: str, dialect: str) -> None:
    tokens = {**TOKENS, **case.reply.get("tokens", {})}
    read, written = tokens.get("cache_read", 0), tokens.get("cache_write", 0)
    told.prompt = tokens["input"] + read + written
    told.output = tokens["output"] * (case.ask.get("n", 1) if dialect == CHAT else 1)
    told.cache_read = read
    told.cache_write = 0 if dialect == GEMINI else written  # it has no word for it
    told.reasoning = tokens.get("reasoning", 0)
    if dialect == BEDROCK or (dialect in (MESSAGES, GEMINI) and not told.reasoning):
        # The provider says nothing of it; the Responses API has no way to say nothing.
        told.reasoning = 0 if client == RESPONSES else None


def cited(page: Mapping[str, Any], text: str, client: str, dialect: str) -> Cited:
    has_places, has_quotes = dialect in (CHAT, RESPONSES, GEMINI), dialect in (MESSAGES, BEDROCK)
    start, end = page.get("start", 0), page.get("end", len(text))
    if not has_places:
        start, end = 0, len(text)  # all of it
    if client == MESSAGES:
        return page["url"], page["title"], None, None, page["quote"] if has_quotes else ""
    return page["url"], page["title"], start, end, ""


def tokens_of(text: str, top: int) -> list[Token]:
    """docs/simulator.md: each word with the space behind it is a token."""
    words = heard_words(text)
    found = []
    for number, word in enumerate(words):
        logprob = -(number % 8) / 8
        found.append((word, logprob, tuple((word + "~" * k, logprob - k) for k in range(top))))
    return found


def heard_words(text: str) -> list[str]:
    words: list[str] = []
    for character in text:
        if not words or (words[-1][-1].isspace() and not character.isspace()):
            words.append("")
        words[-1] += character
    return words


# -- the house


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*PROVIDERS) as simulators:
        replies = [
            {
                "match": {"contains": marker(case)},
                **case.reply,
                "tokens": {"reasoning": 0, **TOKENS, **case.reply.get("tokens", {})},
            }
            for case in CASES
        ]
        replies.append({"match": {"contains": "a forecast"}, "text": json.dumps(FORECAST)})
        for each in simulators:
            each.script(replies=replies, strict=True, journal={"entries": 50})
        yield simulators


def marker(case: Case) -> str:
    return f"[case {case.name}]"


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = one_pool_each(sims, MODELS)
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(scope="module")
def speakers(broker: Broker) -> Iterator[Speakers]:
    with Speakers(broker.url) as made:
        yield made


def ask_of(case: Case, dialect: str) -> Ask:
    return Ask(f"pool-{dialect}", f"Say it. {marker(case)}", **case.ask)


# -- the matrix


@pytest.mark.parametrize(("client", "case", "dialect"), GRID)
def test_what_the_provider_says_is_what_the_sdk_reads(
    speakers: Speakers, client: str, case: Case, dialect: str
) -> None:
    ask = ask_of(case, dialect)
    whole = speakers.ask(client, ask, stream=False)
    assert not heard.differences(whole, expected(case, client, dialect, streamed=False))
    streamed = speakers.ask(client, ask, stream=True)
    assert not heard.differences(streamed, expected(case, client, dialect, streamed=True))
    raw = speakers.raw()
    raw_streams.check(client, raw, usage=case.ask.get("usage", True), sequential=client != dialect)


# -- structured output, by the SDKs' own helpers


class Place(BaseModel):
    name: str
    country: str | None


class Forecast(BaseModel):
    place: Place
    degrees: list[float]
    sky: Literal["clear", "grey"]


FORECAST = {"place": {"name": "Tromsø ❄", "country": None}, "degrees": [-3.5, 1], "sky": "grey"}


@pytest.mark.parametrize("dialect", PROVIDERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_structured_output_is_parsed_by_the_sdk(
    speakers: Speakers, sims: Simulators, client: str, dialect: str
) -> None:
    sims[dialect].forget()
    assert parsed(speakers, client, f"pool-{dialect}", stream=False) == Forecast.model_validate(FORECAST)
    assert parsed(speakers, client, f"pool-{dialect}", stream=True) == Forecast.model_validate(FORECAST)
    # The provider was asked for it by the schema, and not left to guess.
    for call in sims[dialect].calls():
        assert "degrees" in call["body"] and "clear" in call["body"]


def parsed(speakers: Speakers, client: str, pool: str, stream: bool) -> Forecast | None:
    ask = Ask(pool, "Give me a forecast.")
    if client == CHAT:
        chat, asked = speakers.openai.chat.completions, chat_request(ask)
        if not stream:
            return chat.parse(**asked, response_format=Forecast).choices[0].message.parsed
        with chat.stream(**asked, response_format=Forecast) as events:
            return events.get_final_completion().choices[0].message.parsed
    if client == RESPONSES:
        responses, asked = speakers.openai.responses, responses_request(ask)
        if not stream:
            return responses.parse(**asked, text_format=Forecast).output_parsed
        with responses.stream(**asked, text_format=Forecast) as told:
            return told.get_final_response().output_parsed
    messages, asked = speakers.anthropic.messages, messages_request(ask)
    if not stream:
        return messages.parse(**asked, output_format=Forecast).parsed_output
    with messages.stream(**asked, output_format=Forecast) as said:
        return said.get_final_message().parsed_output


# -- the async clients


ASYNC_CASES = [
    case for case in CASES if case.name in ("text", "three calls by turns", "reasoning, text, calls")
]


@pytest.mark.parametrize("dialect", PROVIDERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_async_clients_read_the_same(broker: Broker, client: str, dialect: str) -> None:
    async def all_at_once() -> list[Heard]:
        async with AsyncSpeakers(broker.url) as speakers:
            asks = [(ask_of(case, dialect), stream) for case in ASYNC_CASES for stream in (False, True)]
            return await asyncio.gather(*(speakers.ask(client, ask, stream) for ask, stream in asks))

    whole_and_streamed = iter(asyncio.run(all_at_once()))
    for case in ASYNC_CASES:
        for streamed in (False, True):
            told = expected(case, client, dialect, streamed)
            assert not heard.differences(next(whole_and_streamed), told), (case.name, streamed)
