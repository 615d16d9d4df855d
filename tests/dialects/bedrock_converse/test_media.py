"""Images, documents, audio, and cache points."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from modelbroker.dialects.conversation import (
    Audio,
    Cached,
    Chat,
    Document,
    Image,
    Inline,
    PlainText,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Url,
)
from modelbroker.dialects.translation import CannotCarry
from support.bedrock_chats import NOVA, PDF, PIXEL, SONNET_45, assistant, chat, messages, sent, to, user

# -- media


def test_images() -> None:
    body = messages(chat(user(Text("see"), Image(PIXEL), Image(Url("s3://bucket-1/cats/a.JPG")))))
    assert body[0][1][1:] == [
        {"image": {"format": "png", "source": {"bytes": PIXEL.data}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket-1/cats/a.JPG"}}}},
    ]
    assert sent(chat(user(Text("see"), Image(PIXEL, detail="high"))))[1] == ("detail",)


@pytest.mark.parametrize(
    "part",
    [
        Image(Url("https://a.example/a.png")),
        Image(Url("s3://bucket-1/a.tiff")),
        Image(Inline("image/tiff", "AAAA")),
        Image(Inline("image/png", "")),
        Document(Url("https://a.example/a.pdf")),
        Document(Inline("application/zip", "AAAA")),
        Document(PlainText("")),
        Audio("wav", "AAAA"),
    ],
)
def test_media_that_bedrock_does_not_take_is_refused_by_place(part: Any) -> None:
    with pytest.raises(CannotCarry) as refused:
        sent(chat(user(Text("x")), assistant(Text("y")), user(Text("see"), part)))
    assert refused.value.param == "messages[2].parts[1]"


def test_media_in_results() -> None:
    def request(part: Any) -> Chat:
        result = ToolResult("1", (Text("x"), part))
        return chat(user(Text("a")), assistant(ToolCall("1", "f", "")), user(result))

    (block,) = messages(request(Image(PIXEL)))[2][1]
    assert [next(iter(inner)) for inner in block["toolResult"]["content"]] == ["text", "image"]
    for model, part in [("moonshotai.kimi-k2.5", Image(PIXEL)), ("qwen.qwen3-vl-235b-a22b", Document(PDF))]:
        with pytest.raises(CannotCarry) as refused:
            sent(request(part), to(model))
        assert refused.value.param == "messages[2].parts[0].parts[1]"


def test_documents() -> None:
    body = messages(
        chat(
            user(
                Document(PDF, "Bericht über 2024 (final).pdf", "from the archive", cite=True),
                Document(PDF, "Bericht  über 2024 (final)"),
                Document(PlainText("abc")),
                Document(Inline("application/octet-stream", "YQ=="), "table.csv"),
                Document(Url("s3://bucket-1/b.docx"), "b"),
                Document(PDF, "報告"),
            )
        )
    )
    blocks = body[0][1]
    assert blocks[0] == {"text": "Bericht ber 2024 (final)"}
    documents = [block["document"] for block in blocks[1:]]
    assert documents[0] == {
        "name": "Bericht ber 2024 (final)",
        "format": "pdf",
        "source": {"bytes": PDF.data},
        "context": "from the archive",
        "citations": {"enabled": True},
    }
    assert [document["name"] for document in documents[1:]] == [
        "Bericht ber 2024 (final) 2",
        "Document",
        "table",
        "b",
        "Document 2",
    ]
    assert documents[2]["source"] == {"text": "abc"} and documents[2]["format"] == "txt"
    assert documents[3]["format"] == "csv"
    assert documents[4]["source"] == {"s3Location": {"uri": "s3://bucket-1/b.docx"}}


def test_documents_where_the_model_can_not_cite() -> None:
    request = chat(user(Text("see"), Document(PlainText("größe"), cite=True)))
    body, dropped = sent(request, to(NOVA))
    document = body["messages"][0]["content"][1]["document"]
    assert base64.b64decode(document["source"]["bytes"]).decode() == "größe"
    assert "citations" not in document and dropped == ("cite",)


def test_audio() -> None:
    body = messages(chat(user(Text("hear"), Audio("wav", "AAAA"))), to("mistral.voxtral-mini-3b-2507"))
    assert body[0][1][1] == {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}}


# -- cache points

POINT = {"cachePoint": {"type": "default"}}


def test_cache_points_follow_what_they_stand_for() -> None:
    request = chat(
        user(Text("a", Cached("5m")), Image(PIXEL)),
        assistant(ToolCall("1", "now", "", cached=Cached())),
        user(ToolResult("1", (Text("x", Cached()),), cached=Cached())),
        system=(Text("s", Cached("1h")),),
    )
    body, dropped = sent(request)
    assert body["system"] == [{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    first, second, third = (message["content"] for message in body["messages"])
    assert first[1] == {"cachePoint": {"type": "default", "ttl": "5m"}}
    assert second[1] == POINT
    assert third[1:] == [POINT]
    assert dropped == ()


def test_cache_points_in_tools_and_at_the_end() -> None:
    request = chat(tools=(Tool("f", cached=Cached()), Tool("g")), cached=Cached())
    body, dropped = sent(request)
    assert [next(iter(tool)) for tool in body["toolConfig"]["tools"]] == [
        "toolSpec",
        "cachePoint",
        "toolSpec",
    ]
    assert body["messages"][0]["content"] == [{"text": "hi"}, POINT]
    body, dropped = sent(request, to(NOVA))
    assert [next(iter(tool)) for tool in body["toolConfig"]["tools"]] == ["toolSpec", "toolSpec"]
    assert body["messages"][0]["content"] == [{"text": "hi"}, POINT] and dropped == ("cached",)
    body, dropped = sent(request, to("cohere.command-r-v1:0"))
    assert b"cachePoint" not in json.dumps(body).encode() and dropped == ("cached",)


def test_at_most_four_cache_points() -> None:
    turns = [
        message
        for number in range(4)
        for message in (user(Text(f"u{number}", Cached())), assistant(Text("x")))
    ]
    request = chat(*turns, user(Text("last", Cached())), system=(Text("s", Cached()),))
    body, dropped = sent(request)
    held = [any("cachePoint" in block for block in message["content"]) for message in body["messages"]]
    assert held == [False, False, False, False, True, False, True, False, True]
    assert body["system"][-1] == POINT
    assert dropped == ("cached",)


def test_longer_lives_stand_first() -> None:
    request = chat(user(Text("a", Cached("1h"))), system=(Text("s", Cached("5m")),))
    body, _ = sent(request)
    assert body["system"][1]["cachePoint"]["ttl"] == "1h"
    # Nova knows five minutes only.
    body, dropped = sent(request, to(NOVA))
    assert body["messages"][0]["content"][1] == POINT and dropped == ("cached",)


def test_cache_points_and_documents() -> None:
    """The service refuses a point behind a document, but for what a Claude reads in its place."""
    text, pdf = Document(PlainText("abc"), cached=Cached()), Document(PDF, cached=Cached())
    kinds = [
        [next(iter(block)) for block in messages(chat(user(*parts)), to(model))[0][1]]
        for parts, model in [
            ((Text("see"), pdf), SONNET_45),
            ((Text("see"), text), SONNET_45),
            ((Text("see"), pdf), NOVA),
        ]
    ]
    assert kinds == [
        ["text", "document", "cachePoint"],
        ["text", "cachePoint", "document"],
        ["text", "cachePoint", "document"],
    ]
    assert sent(chat(user(text)))[1] == ("cached",)
