"""What goes to Gemini, against google-genai's own types and its converters."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.genai import types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import client_dialect
from modelbroker.dialects.conversation import (
    Audio,
    Blob,
    Cached,
    Chat,
    Document,
    Effort,
    Image,
    Inline,
    Message,
    OutputSchema,
    PlainText,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Upstream,
    Url,
)
from modelbroker.dialects.gemini import Gemini
from modelbroker.dialects.translation import CannotCarry
from support.conversations import chats
from support.dialects import Recorded, parameters
from support.gemini import check_request

GEMINI = Gemini()
DUMMY = base64.b64encode(b"skip_thought_signature_validator").decode()
USER = Message("user", (Text("Hi"),))
MODELS = (
    "gemini-1.5-flash",
    "gemini-2.0-flash",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-3-pro-preview",
)
NEW = "gemini-3-flash-preview"


def upstream(model: str = NEW, *, vertex: bool = False) -> Upstream:
    if vertex:
        return Upstream("google", "gemini", model, "vertex", project="my-project", region="us-central1")
    return Upstream("google", "gemini", model)


def body_of(chat: Chat, model: str = NEW, *, vertex: bool = False) -> dict[str, Any]:
    body = json.loads(GEMINI.encode_request(chat, upstream(model, vertex=vertex)).body)
    check_request(body, vertex=vertex)
    return body


def contents(*messages: Message, model: str = NEW) -> list[Any]:
    return body_of(Chat("m", messages), model)["contents"]


def config(model: str = NEW, **knobs: Any) -> dict[str, Any]:
    return body_of(Chat("m", (USER,), **knobs), model).get("generationConfig", {})


def dropped(model: str = NEW, *, vertex: bool = False, **fields: Any) -> tuple[str, ...]:
    return GEMINI.encode_request(
        Chat("m", **{"messages": (USER,), **fields}), upstream(model, vertex=vertex)
    ).dropped


# -- everything, as the SDK sees it


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    chats(with_audio=True, blob_kinds=["gemini.thoughtSignature"]),
    st.sampled_from((*MODELS, NEW)),
    st.booleans(),
)
def test_requests_are_of_the_sdks_types(chat: Chat, model: str, vertex: bool) -> None:
    try:
        body_of(chat, model, vertex=vertex)
        counted = json.loads(GEMINI.encode_count(chat, upstream(model, vertex=vertex)).body)
    except CannotCarry as refused:
        assert refused.param
        return
    counted = counted if vertex else counted["generateContentRequest"]
    assert counted["contents"]


@pytest.mark.parametrize("row", parameters(client=True))
def test_recorded_conversations_are_of_the_sdks_types(row: Recorded) -> None:
    try:
        chat = client_dialect(row.dialect).decode_request(row.request_body)
    except BadRequest:
        return
    for model, vertex in ((NEW, False), ("gemini-2.5-pro", True)):
        try:
            body_of(chat, model, vertex=vertex)
        except CannotCarry as refused:
            assert refused.param


# -- where it goes


@pytest.mark.parametrize(
    ("model", "vertex", "stream", "path"),
    [
        ("gemini-2.5-pro", False, False, "/models/gemini-2.5-pro:generateContent"),
        ("models/gemini-2.5-pro", False, True, "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", False, False, "/tunedModels/mine:generateContent"),
        (
            "gemini-2.5-pro",
            True,
            True,
            "/projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-pro"
            ":streamGenerateContent?alt=sse",
        ),
        (
            "endpoints/17",
            True,
            False,
            "/projects/my-project/locations/us-central1/endpoints/17:generateContent",
        ),
        (
            "projects/p/locations/l/endpoints/1",
            True,
            False,
            "/projects/p/locations/l/endpoints/1:generateContent",
        ),
        (
            "meta/llama-4",
            True,
            False,
            "/projects/my-project/locations/us-central1/publishers/meta/models/llama-4:generateContent",
        ),
    ],
)
def test_paths(model: str, vertex: bool, stream: bool, path: str) -> None:
    assert (
        GEMINI.encode_request(Chat("m", (USER,), stream=stream), upstream(model, vertex=vertex)).path == path
    )


def test_counting() -> None:
    chat = Chat("m", (USER,), system=(Text("Be brief."),), tools=(Tool("f"),), temperature=0.1)
    encoded = GEMINI.encode_count(chat, upstream())
    inner = json.loads(encoded.body)["generateContentRequest"]
    assert encoded.path == f"/models/{NEW}:countTokens"
    assert inner.pop("model") == f"models/{NEW}"
    check_request(inner, vertex=False)
    on_vertex = json.loads(GEMINI.encode_count(chat, upstream(vertex=True)).body)
    assert on_vertex.keys() == {"contents", "systemInstruction", "tools"}
    assert GEMINI.decode_count(b'{"totalTokens": 31, "promptTokensDetails": []}') == 31
    for garbage in (b"", b"[]", b"{}", b'{"totalTokens": "31"}', b"\xff"):
        with pytest.raises(ValueError, match="it "):
            GEMINI.decode_count(garbage)


# -- messages


def test_system_prompts_come_first_and_later_ones_behind_them() -> None:
    chat = Chat(
        "m",
        (USER, Message("system", (Text("Later."),)), Message("user", (Text("Go"),))),
        system=(Text("First."), Text("")),
    )
    body = body_of(chat)
    assert body["systemInstruction"] == {"parts": [{"text": "First."}, {"text": "Later."}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hi"}, {"text": "Go"}]}]


def test_messages_of_one_role_are_one_content_and_nothing_said_keeps_its_turn() -> None:
    assert contents(
        USER, Message("user", (Text("there"),)), Message("assistant", (Refusal("No."), Text("")))
    ) == [
        {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
        {"role": "model", "parts": [{"text": "No."}]},
    ]
    assert contents(Message("user", (Text(""),))) == [{"role": "user", "parts": [{"text": ""}]}]
    assert contents() == [{"role": "user", "parts": [{"text": ""}]}]


def test_media() -> None:
    found = contents(
        Message(
            "user",
            (
                Image(Inline("image/png", "iVBORw0KGgo=")),
                Image(Url("https://a.example/cat.JPG?size=1#x")),
                Document(Inline("application/pdf", "JVBERi0="), "report.pdf", "from the archive"),
                Document(PlainText("words")),
                Document(Url("https://a.example/paper/2401.00001")),
                Audio("mp3", "SUQz"),
            ),
        )
    )
    assert found[0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a.example/cat.JPG?size=1#x"}},
        {"text": "Document: report.pdf\nfrom the archive"},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"text": "words"},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a.example/paper/2401.00001"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "SUQz"}},
    ]


@pytest.mark.parametrize(
    ("part", "model", "vertex"),
    [
        (Image(Inline("image/gif", "R0lG")), NEW, False),
        (Image(Inline("", "R0lG")), NEW, False),
        (Image(Url("https://a.example/cat")), NEW, False),
        (Image(Url("https://a.example/cat.gif")), NEW, True),
        (Image(Url("file:///etc/passwd.png")), NEW, False),
        (Image(Url("gs://bucket/cat.png")), NEW, False),
        (Image(Url("https://a.example/cat.png")), "gemini-2.0-flash", False),
        (Document(Inline("application/msword", "0M8R")), NEW, False),
        (Document(Url("https://a.example/letter.docx")), NEW, False),
    ],
)
def test_media_that_gemini_can_not_read_are_refused_by_name(part: Any, model: str, vertex: bool) -> None:
    with pytest.raises(CannotCarry) as refused:
        GEMINI.encode_request(
            Chat("m", (USER, Message("user", (Text("x"), part)))), upstream(model, vertex=vertex)
        )
    assert refused.value.param == "messages[1].parts[1]"


def test_vertex_reads_its_own_storage_and_urls_for_old_models() -> None:
    for url in ("gs://bucket/cat.png", "https://a.example/cat.png"):
        chat = Chat("m", (Message("user", (Image(Url(url)),)),))
        part = body_of(chat, "gemini-2.0-flash", vertex=True)["contents"][0]["parts"][0]
        assert part == {"fileData": {"mimeType": "image/png", "fileUri": url}}


# -- tool calls and their signatures


def call(ident: str, blob: Blob | None = None, arguments: str = "{}", name: str = "look") -> ToolCall:
    return ToolCall(ident, name, arguments, blob)


def answered(ident: str) -> Message:
    return Message("user", (ToolResult(ident, (Text("done"),)),))


def own(data: str = "c2ln") -> Blob:
    return Blob("google", "gemini.thoughtSignature", data)


FOREIGN = Blob("anthropic", "anthropic-messages.signature", "Zm9yZWlnbg==")


def signatures(found: list[Any]) -> list[str]:
    return [
        part.get("thoughtSignature", "") for item in found for part in item["parts"] if "functionCall" in part
    ]


def test_arguments_are_spliced_as_they_are() -> None:
    for text, sent in [
        ('{"b": 1.50, "a": 1e2}', '{"b": 1.50, "a": 1e2}'),
        ("", "{}"),
        ("[1]", '{"raw_arguments":"[1]"}'),
        (" null", "{}"),
        ("nonsense", '{"raw_arguments":"nonsense"}'),
    ]:
        messages = (USER, Message("assistant", (call("1", arguments=text),)), answered("1"))
        assert f'"args":{sent}'.encode() in GEMINI.encode_request(Chat("m", messages), upstream()).body


def test_own_signatures_go_back_where_they_were_and_foreign_ones_do_not() -> None:
    found = contents(
        USER,
        Message(
            "assistant",
            (
                Reasoning("I think", own("dGhpbms=")),
                Reasoning("foreign words", FOREIGN),
                Reasoning("without a signature"),
                Text("So:", blob=own("dGV4dA==")),
                Text("and", blob=FOREIGN),
                call("1", own()),
                call("2"),
            ),
        ),
        Message("user", (ToolResult("1", ()), ToolResult("2", (Text("x"), Text("y")), True))),
    )
    assert found[1]["parts"] == [
        {"text": "I think", "thought": True, "thoughtSignature": "dGhpbms="},
        {"text": "So:", "thoughtSignature": "dGV4dA=="},
        {"text": "and"},
        {"functionCall": {"name": "look", "args": {}, "id": "1"}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "look", "args": {}, "id": "2"}},
    ]
    assert found[2]["parts"] == [
        {"functionResponse": {"name": "look", "response": {"output": ""}, "id": "1"}},
        {"functionResponse": {"name": "look", "response": {"error": ["x", "y"]}, "id": "2"}},
    ]


def test_foreign_calls_of_the_current_turn_get_the_dummy() -> None:
    history = (
        USER,
        Message("assistant", (call("1", FOREIGN),)),
        answered("1"),
        Message("assistant", (Text("Earlier turn."),)),
        Message("user", (Text("Next"),)),
        Message("assistant", (call("2"), call("3"))),
        Message("user", (ToolResult("2", ()), ToolResult("3", ()), Text("(a reminder)"))),
        Message("assistant", (call("4", own()), call("5"))),
        answered("4"),
        answered("5"),
        Message("assistant", (call("6"),)),
        Message("assistant", (call("7"),)),
        answered("6"),
        answered("7"),
    )
    assert signatures(contents(*history)) == ["", DUMMY, "", "c2ln", "", DUMMY, ""]
    assert signatures(contents(*history, model="gemini-2.5-pro")) == ["", "", "", "c2ln", "", "", ""]


def test_media_of_tool_results() -> None:
    history = (
        USER,
        Message("assistant", (call("1"), call("2"))),
        Message(
            "user",
            (
                ToolResult(
                    "1",
                    (Text("see"), Image(Inline("image/png", "iVBORw0KGgo="))),
                ),
            ),
        ),
        Message("user", (ToolResult("2", (Document(PlainText("words"), "a.txt"),)), Text("Well?"))),
    )
    png = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    second = {"name": "look", "response": {"output": ["Document: a.txt", "words"]}, "id": "2"}
    inside = contents(*history)[2]["parts"]
    assert inside == [
        {"functionResponse": {"name": "look", "response": {"output": "see"}, "id": "1", "parts": [png]}},
        {"functionResponse": second},
        {"text": "Well?"},
    ]
    beside = contents(*history, model="gemini-2.5-flash")[2]["parts"]
    assert beside == [
        {"functionResponse": {"name": "look", "response": {"output": "see"}, "id": "1"}},
        {"functionResponse": second},
        {"text": "From the result of look (1):"},
        png,
        {"text": "Well?"},
    ]


def test_results_without_their_call_and_names_that_gemini_refuses() -> None:
    with pytest.raises(BadRequest) as wrong:
        contents(USER, answered("1"))
    assert wrong.value.param == "messages[1].parts[0].call_id"
    for name in ("1st", "-x", "a b", "", "x" * 129, "ü"):
        with pytest.raises(CannotCarry) as refused:
            body_of(Chat("m", (USER,), tools=(Tool("fine"), Tool(name))))
        assert refused.value.param == "tools[1].name"
    body_of(Chat("m", (USER,), tools=(Tool("mcp__a.b:c-d"),)))


# -- tools


@pytest.mark.parametrize(
    ("choice", "strict", "model", "sent"),
    [
        (None, None, NEW, None),
        (None, True, NEW, {"mode": "VALIDATED"}),
        (None, True, "gemini-2.0-flash", None),
        (ToolChoice("auto"), None, NEW, {"mode": "AUTO"}),
        (ToolChoice("auto", ("f",)), None, NEW, {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
        (ToolChoice("none"), True, NEW, {"mode": "NONE"}),
        (ToolChoice("required"), True, NEW, {"mode": "ANY"}),
        (ToolChoice("required", ("f",)), None, NEW, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice("only", ("f",)), None, NEW, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, strict: bool | None, model: str, sent: Any) -> None:
    chat = Chat(
        "m", (USER,), tools=(Tool("f", "does", {"type": "object"}, strict), Tool("g")), tool_choice=choice
    )
    body = body_of(chat, model)
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does", "parametersJsonSchema": {"type": "object"}},
                {"name": "g", "description": ""},
            ]
        }
    ]
    assert body.get("toolConfig") == (sent and {"functionCallingConfig": sent})


def test_schemas() -> None:
    strict = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "string"}},
    }
    output = OutputSchema("answer", strict, True, "The answer.")
    assert config(output=output) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {**strict, "description": "The answer."},
    }
    assert config(output=OutputSchema()) == {"responseMimeType": "application/json"}
    both = Chat("m", (USER,), tools=(Tool("f"),), output=output)
    assert "tools" in body_of(both, NEW)
    with pytest.raises(CannotCarry) as refused:
        body_of(both, "gemini-2.5-pro")
    assert refused.value.param == "output"
    uncalled = Chat("m", (USER,), tools=(Tool("f"),), output=output, tool_choice=ToolChoice("none"))
    assert "tools" not in body_of(uncalled, "gemini-2.5-pro")


# -- knobs


def test_sampling() -> None:
    assert config(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        seed=-1,
        stop=("a", "b"),
        choices=2,
        logprobs=True,
        top_logprobs=5,
    ) == {
        "maxOutputTokens": 9,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 3,
        "presencePenalty": 0.1,
        "frequencyPenalty": -0.1,
        "seed": -1,
        "stopSequences": ["a", "b"],
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 5,
    }
    assert config() == {}
    for field, value in (("stop", ("x",) * 6), ("choices", 9)):
        with pytest.raises(CannotCarry) as refused:
            config(**{field: value})
        assert refused.value.param == field


@pytest.mark.parametrize(
    ("effort", "model", "sent", "is_dropped"),
    [
        (Effort(level="high"), "gemini-2.0-flash", None, True),
        (Effort(enabled=False), "gemini-2.0-flash", None, False),
        (Effort(level="high"), "gemini-2.5-flash-image", None, True),
        (Effort(level="high"), "gemma-3-27b-it", None, True),
        (Effort(enabled=False), "gemini-2.5-flash", {"thinkingBudget": 0}, False),
        (Effort(level="none"), "gemini-2.5-flash-lite", {"thinkingBudget": 0}, False),
        (Effort(enabled=False), "gemini-2.5-pro", {"thinkingBudget": 128}, True),
        (Effort(level="low"), "gemini-2.5-pro", {"thinkingBudget": 1024}, False),
        (Effort(level="max"), "gemini-2.5-pro", {"thinkingBudget": 32768}, False),
        (Effort(level="max"), "gemini-2.5-flash", {"thinkingBudget": 24576}, False),
        (Effort(budget_tokens=5000), "gemini-2.5-pro", {"thinkingBudget": 5000}, False),
        (Effort(budget_tokens=100), "gemini-2.5-flash-lite", {"thinkingBudget": 512}, False),
        (
            Effort(adaptive=True, show=True),
            "gemini-2.5-pro",
            {"thinkingBudget": -1, "includeThoughts": True},
            False,
        ),
        (Effort(enabled=False), "gemini-3-flash-preview", {"thinkingLevel": "MINIMAL"}, False),
        (Effort(enabled=False), "gemini-3-pro-preview", {"thinkingLevel": "LOW"}, True),
        (Effort(level="minimal"), "gemini-3.8-flash", {"thinkingLevel": "LOW"}, False),
        (Effort(level="medium"), "gemini-3-pro-preview", {"thinkingLevel": "HIGH"}, False),
        (Effort(level="medium"), "gemini-3.1-pro-preview", {"thinkingLevel": "MEDIUM"}, False),
        (Effort(level="low"), "gemini-3.1-flash-image", {"thinkingLevel": "HIGH"}, False),
        (Effort(level="xhigh"), "gemini-4-argon", {"thinkingLevel": "HIGH"}, False),
        (Effort(budget_tokens=1024), "gemini-3-pro-preview", {"thinkingLevel": "LOW"}, False),
        (
            Effort(budget_tokens=9000, show=True),
            NEW,
            {"thinkingLevel": "HIGH", "includeThoughts": True},
            False,
        ),
        (Effort(adaptive=True), NEW, None, False),
        (Effort(show=True), "gemini-flash-latest", {"includeThoughts": True}, False),
    ],
)
def test_thinking(effort: Effort, model: str, sent: Any, is_dropped: bool) -> None:
    assert config(model, effort=effort).get("thinkingConfig") == sent
    assert ("effort" in dropped(model, effort=effort)) is is_dropped


def test_what_has_no_place_is_named() -> None:
    marked = Message(
        "user",
        (
            Text("x", Cached()),
            Image(Inline("image/png", ""), "high"),
            Document(Inline("application/pdf", ""), cite=True),
        ),
        "Ann",
    )
    names = dropped(
        messages=(marked,),
        tools=(Tool("f"),),
        parallel_tools=False,
        seed=2**40,
        verbosity="low",
        user="u",
        cache_key="k",
        metadata={"team": "a"},
        service_tier="scale",
    )
    assert set(names) == {
        "name", "cached", "detail", "cite", "parallel_tools", "seed", "verbosity", "user", "cache_key",
        "metadata", "service_tier",
    }  # fmt: skip
    assert len(names) == 11
    assert dropped(parallel_tools=True, service_tier="auto", tools=(Tool("f"),)) == ()
    for hint in (
        {"cached": Cached()},
        {"system": (Text("x", Cached("1h")),)},
        {"tools": (Tool("f", cached=Cached()),)},
    ):
        assert dropped(**hint) == ("cached",)


def test_tiers_and_labels() -> None:
    for asked, sent in (("default", "standard"), ("flex", "flex"), ("priority", "priority")):
        assert body_of(Chat("m", (USER,), service_tier=asked))["serviceTier"] == sent
    metadata = {"team": "blue", "Team": "blue", "note": "Two words"}
    assert body_of(Chat("m", (USER,), metadata=metadata), vertex=True)["labels"] == {"team": "blue"}
    assert dropped(metadata=metadata, vertex=True) == ("metadata",)
    assert dropped(metadata={"team": "blue"}, vertex=True) == ()


def test_the_sdk_knows_what_is_not_used() -> None:
    """Fields of the SDK's request that are not ours to set are none that a client's dialect could fill."""
    used = {
        "system_instruction", "temperature", "top_p", "top_k", "candidate_count", "max_output_tokens",
        "stop_sequences", "response_logprobs", "logprobs", "presence_penalty", "frequency_penalty", "seed",
        "response_mime_type", "response_json_schema", "tools", "tool_config", "labels", "thinking_config",
        "service_tier",
    }  # fmt: skip
    googles_own = {
        "http_options", "should_return_http_response", "response_schema", "routing_config",
        "model_selection_config", "safety_settings", "cached_content", "response_modalities",
        "media_resolution", "speech_config", "audio_timestamp", "automatic_function_calling", "image_config",
        "enable_enhanced_civic_answers", "model_armor_config", "audio_transcription_config",
        "continuation_token", "automatic_continuation", "generation_output_config", "store",
    }  # fmt: skip
    assert set(types.GenerateContentConfig.model_fields) == used | googles_own
