"""The usage that Python has read in a translated reply, as it leaves it for the record."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from modelbroker.core.usage import Usage
from modelbroker.dialects import Context, Used, client_dialect, provider_dialect, used_from
from modelbroker.dialects.conversation import Text
from modelbroker.dialects.replies import Choice, Reply, ReplyEvent, Stop, UsageGiven
from modelbroker.dialects.streaming import explode
from modelbroker.exchange import Translated, TranslatedStream, WholeReply
from support.dialects import CLIENT_DIALECTS, upstream

CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000, "m")
HEADERS = [(":status", "200"), ("content-type", "text/event-stream")]
USAGE = Usage(7, 3, 2, 0, 9, 4)
CHOICE = Choice((Text("Well, well."),), Stop.END)


def events(tier: str = "") -> list[ReplyEvent]:
    return list(explode(Reply("r", "m", (CHOICE,), USAGE, tier)))


def pieces(dialect: str, of: list[ReplyEvent]) -> list[bytes]:
    encoder = client_dialect(dialect).stream_encoder(CONTEXT)
    return [piece for event in of if (piece := encoder.encode([event]))]


def left(dialect: str, chunks: list[bytes], ends: bool = True) -> list[Used]:
    """What the record was told, in order."""
    client = "openai-chat" if dialect == "anthropic-messages" else "anthropic-messages"
    stream = TranslatedStream(client_dialect(client), provider_dialect(dialect), upstream(dialect), CONTEXT)
    stream.on_headers(HEADERS, False)
    told = []
    for number, chunk in enumerate(chunks):
        stream.on_body(chunk, ends and number == len(chunks) - 1)
        stream.take()
        told.append(stream.used())
    assert stream.used() == ""
    return [used for text in told if text and (used := used_from(text)) is not None]


@pytest.mark.parametrize("dialect", CLIENT_DIALECTS)
def test_a_whole_stream(dialect: str) -> None:
    used = left(dialect, pieces(dialect, events()))[-1]
    decoder = provider_dialect(dialect).stream_decoder(upstream(dialect))
    read = decoder.feed(b"".join(pieces(dialect, events())))
    given = [event.usage for event in read if isinstance(event, UsageGiven)]
    assert used == Used(given[-1], used.tier) and used.is_final
    assert (used.usage.prompt, used.usage.output) == (12, 9)


@pytest.mark.parametrize("dialect", CLIENT_DIALECTS)
def test_at_most_a_few_words_a_stream(dialect: str) -> None:
    """It costs nothing a token."""
    assert len(left(dialect, pieces(dialect, events()))) <= 3
    assert len(left(dialect, [b"".join(pieces(dialect, events()))])) == 1


def test_what_was_told_before_it_broke_off() -> None:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    told = {"input_tokens": 5, "output_tokens": 1, "service_tier": "batch"}
    begun = [
        event("message_start", message={"usage": told}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
    ]
    partial = [Used(Usage(5, output=1), "batch", is_final=False)]
    assert left("anthropic-messages", begun, ends=False) == partial
    assert left("anthropic-messages", begun, ends=True) == partial  # it was cut


def test_usage_at_the_beginning_alone_is_not_the_last_word() -> None:
    """Though the stream comes to its end."""
    given = pieces("anthropic-messages", events())
    silent = [re.sub(rb'(message_delta".*),"usage":{.*}}', rb"\1}", piece) for piece in given]
    assert silent != given
    (used,) = left("anthropic-messages", silent)
    assert not used.is_final


def test_a_whole_reply_takes_it_along() -> None:
    def translate(body: bytes, headers: Any) -> Translated:
        return Translated(body.upper(), "what was used")

    reply = WholeReply(
        client_dialect("openai-chat"), provider_dialect("anthropic-messages"), CONTEXT, translate
    )
    assert reply.on_headers([(":status", "200")], False) is None
    answer = reply.on_body(b"body")
    assert answer is not None and (answer.body, answer.used) == (b"BODY", "what was used")
