"""The laws of translation, over all recorded traffic: chunking, agreement, and no silent loss."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.anthropic_messages import stream_out as anthropic_out
from modelbroker.dialects.conversation import (
    Audio,
    Chat,
    Document,
    Image,
    Inline,
    PlainText,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from modelbroker.dialects.openai_chat import stream_out as chat_out
from modelbroker.dialects.openai_responses import stream_out as responses_out
from modelbroker.dialects.replies import Alive, Cause, Delta, Ended, Failed, PartStarted, Reply, ReplyEvent
from modelbroker.dialects.streaming import explode, fold
from modelbroker.dialects.translation import CannotCarry, Context
from support.dialects import (
    CLIENT_DIALECTS,
    PROVIDER_DIALECTS,
    Recorded,
    cuts_of,
    parameters,
    upstream,
)

CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000, "some-model")


def events_of(row: Recorded, *chunks: bytes) -> list[ReplyEvent]:
    decoder = provider_dialect(row.dialect).stream_decoder(upstream(row.dialect))
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return [event for event in (*events, *decoder.end()) if not isinstance(event, Alive)]


def recorded_events(row: Recorded) -> list[ReplyEvent]:
    """The stream's events; some recorded streams end in an error."""
    events = events_of(row, row.reply)
    if isinstance(events[-1], Failed):
        pytest.skip("the provider gave up in this stream")
    return events


def encoded(client: str, events: list[ReplyEvent]) -> bytes:
    encoder = client_dialect(client).stream_encoder(CONTEXT)
    return b"".join(encoder.encode([event]) for event in events)


# -- chunking


@pytest.mark.parametrize("row", parameters(streamed=True))
def test_a_stream_says_the_same_wherever_it_is_cut(row: Recorded) -> None:
    whole = events_of(row, row.reply)
    assert isinstance(whole[-1], (Ended, Failed)) and not any(isinstance(e, Failed) for e in whole[:-1])
    for cut in cuts_of(row.reply):
        assert events_of(row, row.reply[:cut], row.reply[cut:]) == whole, cut
    chance = random.Random(row.id)
    for _ in range(3):
        places = sorted(chance.sample(range(len(row.reply)), 20)) if len(row.reply) > 20 else []
        pieces = [row.reply[a:b] for a, b in zip([0, *places], [*places, len(row.reply)], strict=True)]
        assert events_of(row, *pieces) == whole


@pytest.mark.parametrize("row", parameters(streamed=True))
def test_a_stream_that_is_cut_short_is_not_whole(row: Recorded) -> None:
    """However early a stream ends: no Ended, or nothing of it is missing."""
    whole = fold(recorded_events(row))
    for cut in cuts_of(row.reply)[::7]:
        events = events_of(row, row.reply[:cut])
        if isinstance(events[-1] if events else None, Ended):
            assert fold(events).choices == whole.choices, cut


@pytest.mark.parametrize("client", CLIENT_DIALECTS)
@pytest.mark.parametrize("row", parameters(streamed=True))
def test_a_clients_stream_is_the_same_however_events_come(row: Recorded, client: str) -> None:
    events = events_of(row, row.reply)
    assert client_dialect(client).stream_encoder(CONTEXT).encode(events) == encoded(client, events)


@pytest.mark.parametrize("client", CLIENT_DIALECTS)
def test_a_provider_that_thinks_in_silence_is_seen_to_live(client: str) -> None:
    """A ping goes on as the client's own, or as a comment; it says nothing, and is no end."""
    encoder = client_dialect(client).stream_encoder(CONTEXT)
    ping = encoder.encode([Alive()])
    assert ping.startswith((b":", b"event: ping\n")) and ping.endswith(b"\n\n")
    decoder = provider_dialect(client).stream_decoder(upstream(client))
    assert [event for event in decoder.feed(ping) if not isinstance(event, Alive)] == []


# -- agreement


def said(reply: Reply) -> list[tuple[list[tuple[str, Any]], Any, Any]]:
    """What any client dialect carries of a reply: visible parts in their order, stops, usage."""
    found = []
    for choice in reply.choices:
        parts: list[tuple[str, Any]] = []
        for part in choice.parts:
            match part:
                case Text(text) | Refusal(text) if text:
                    kind = "text"
                    if parts and parts[-1][0] == kind:
                        parts[-1] = (kind, parts[-1][1] + text)
                    else:
                        parts.append((kind, text))
                case Reasoning(text) if text:
                    parts.append(("reasoning", text))
                case ToolCall(_, name, arguments):
                    parts.append((name, json.loads(arguments or "{}")))
        found.append((sorted(parts, key=repr), None, None))
    return found


@pytest.mark.parametrize("client", CLIENT_DIALECTS)
@pytest.mark.parametrize("row", parameters(streamed=False))
def test_whole_and_streamed_say_the_same(row: Recorded, client: str) -> None:
    """A recorded reply as a client gets it, whole and as a stream, read back as a provider's."""
    if json.loads(row.reply).get("status") == "queued":
        pytest.skip("a reply that is only asked for in the background")
    reply = provider_dialect(row.dialect).decode_reply(row.reply, upstream(row.dialect))
    back = provider_dialect(client)
    whole = back.decode_reply(client_dialect(client).encode_reply(reply, CONTEXT), upstream(client))
    decoder = back.stream_decoder(upstream(client))
    stream = encoded(client, list(explode(reply)))
    streamed = fold([*decoder.feed(stream), *decoder.end()])
    assert msgspec.structs.replace(streamed, created_s=None) == msgspec.structs.replace(whole, created_s=None)
    assert said(whole) == said(reply)


@pytest.mark.parametrize("client", CLIENT_DIALECTS)
@pytest.mark.parametrize("row", parameters(streamed=True))
def test_a_translated_stream_says_what_the_providers_said(row: Recorded, client: str) -> None:
    events = recorded_events(row)
    back = provider_dialect(client).stream_decoder(upstream(client))
    streamed = fold([*back.feed(encoded(client, events)), *back.end()])
    assert said(streamed) == said(fold(events))


# -- no silent loss


def contents(chat: Chat) -> Iterator[str]:
    """Every piece of content that a provider has to get, as text."""
    yield from (text.text for text in chat.system)
    for message in chat.messages:
        for part in message.parts:
            yield from _contents(part)
    for tool in chat.tools:
        yield tool.name
        yield tool.description


def _contents(part: Any) -> Iterator[str]:
    match part:
        case Text(text) | Refusal(text):
            yield text
        case Image(source) | Document(source):
            match source:
                case Inline(_, data):
                    yield data
                case Url(url):
                    yield url
                case PlainText(text):
                    yield text
        case Audio(_, data):
            yield data
        case ToolCall(_, name, _):
            yield name
        case ToolResult(_, parts):
            for inner in parts:
                yield from _contents(inner)


_TEXT_FILE = "data:text/plain;base64,"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if value.startswith(_TEXT_FILE):
            yield base64.b64decode(value.removeprefix(_TEXT_FILE)).decode()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


@pytest.mark.parametrize("provider", PROVIDER_DIALECTS)
@pytest.mark.parametrize("row", parameters(streamed=None, client=True))
def test_content_arrives_or_is_refused_by_name(row: Recorded, provider: str) -> None:
    client = client_dialect(row.dialect)
    try:
        chat = client.decode_request(row.request_body)
    except BadRequest as refused:
        assert refused.param, refused.message
        return
    try:
        encoded = provider_dialect(provider).encode_request(chat, upstream(provider))
    except CannotCarry as refused:
        assert refused.message
        return
    sent = "\0".join(strings(json.loads(encoded.body)))
    for content in contents(chat):
        assert content.strip() in sent, content[:200]


@pytest.mark.parametrize("client", CLIENT_DIALECTS)
@pytest.mark.parametrize("row", parameters(streamed=None, good=False))
def test_every_recorded_error_is_told(row: Recorded, client: str) -> None:
    fault = provider_dialect(row.dialect).decode_fault(row.status, row.headers, row.reply)
    status, body = client_dialect(client).encode_fault(fault, CONTEXT)
    recorded = json.loads(row.reply)
    words = recorded.get("message") or recorded["error"]["message"]
    told = "".join(strings(json.loads(body)))
    if fault.cause is Cause.MODEL_NOT_FOUND:  # not the client's affair
        assert status == 502 and words not in told
    else:
        assert status == row.status and words in told


# -- fuzz


@pytest.mark.parametrize("row", parameters(streamed=True))
def test_broken_streams_end_in_a_clear_error(row: Recorded) -> None:
    """Bytes changed, dropped or put in at random: never a crash, and no more than one end."""
    chance = random.Random(row.id)
    for _ in range(40):
        broken = bytearray(row.reply)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(broken))
            match chance.randrange(3):
                case 0:
                    broken[at] = chance.randrange(256)
                case 1:
                    del broken[at : at + chance.randint(1, 50)]
                case _:
                    broken[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 9)))
            if not broken:
                break
        events = events_of(row, bytes(broken))
        ends = [event for event in events if isinstance(event, (Ended, Failed))]
        assert len(ends) <= 1 and (not ends or events[-1] is ends[0])
        started: set[tuple[int, int]] = set()
        for event in events:
            if isinstance(event, PartStarted):
                started.add((event.choice, event.index))
            elif isinstance(event, Delta):
                assert (event.choice, event.index) in started
        for client in CLIENT_DIALECTS:
            encoded(client, events)


@pytest.mark.parametrize("encoder", [anthropic_out, chat_out, responses_out], ids=lambda one: one.__name__)
def test_encoders_know_what_to_do_with_every_kind_of_event(encoder: ModuleType) -> None:
    assert set(encoder._HANDLERS) == set(get_args(ReplyEvent))
