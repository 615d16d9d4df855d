"""What clients write → Chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelbroker.core.errors import BadRequest
from modelbroker.dialects.anthropic_messages import AnthropicMessages
from modelbroker.dialects.blobs import tagged
from modelbroker.dialects.conversation import (
    Blob,
    Cached,
    Chat,
    Document,
    DocumentCitation,
    Effort,
    Image,
    Inline,
    Message,
    OutputSchema,
    Part,
    PlainText,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Url,
    UrlCitation,
)
from support.dialects import Recorded, parameters

DIALECT = AnthropicMessages()
SIGNATURE, REDACTED = "anthropic-messages.signature", "anthropic-messages.redacted_thinking"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"city": "Köln"}}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}


def decoded(**fields: Any) -> Chat:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return DIALECT.decode_request(json.dumps(body).encode())


def parts(role: str, *blocks: Any) -> tuple[Part, ...]:
    return decoded(messages=[{"role": role, "content": list(blocks)}]).messages[0].parts


def of_source(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": kind, **fields}}


def call(**more: Any) -> dict[str, Any]:
    return {**CALL, **more}


def result(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}


def thinking(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": signature}


def redacted(data: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            Text("a", Cached("1h")),
        ),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", Cached())),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            Image(Inline("image/png", "AA==")),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://a"}}, Image(Url("https://a"))),
        (of_source("url", url="https://a"), Document(Url("https://a"))),
        (
            of_source("base64", media_type="application/pdf", data="AA=="),
            Document(Inline("application/pdf", "AA==")),
        ),
        (
            {**DOCUMENT, "title": "T", "context": "C", "citations": {"enabled": True}},
            Document(PlainText("words"), "T", "C", cite=True),
        ),
        ({**DOCUMENT, "title": None, "citations": {"enabled": False}}, Document(PlainText("words"))),
        (of_source("content", content="words"), Document(PlainText("words"))),
        (
            of_source("content", content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            Document(PlainText("a\n\nb")),
        ),
        (result("ok"), ToolResult("toolu_1", (Text("ok"),))),
        (result(""), ToolResult("toolu_1", ())),
        (result(None), ToolResult("toolu_1", ())),
        (result("no", is_error=True), ToolResult("toolu_1", (Text("no"),), is_error=True)),
        (
            result([{"type": "text", "text": "a"}, DOCUMENT], cache_control={"type": "ephemeral"}),
            ToolResult("toolu_1", (Text("a"), Document(PlainText("words"))), cached=Cached()),
        ),
    ],
)
def test_blocks_of_a_user(block: dict[str, Any], part: Part) -> None:
    assert parts("user", block) == (part,)


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (CALL, ToolCall("toolu_1", "get", '{"city": "K\\u00f6ln"}')),
        (
            call(caller={"type": "direct"}, toolset_name=None),
            ToolCall("toolu_1", "get", '{"city": "K\\u00f6ln"}'),
        ),
        (
            call(input={}, cache_control={"type": "ephemeral"}),
            ToolCall("toolu_1", "get", "{}", cached=Cached()),
        ),
        (thinking("EqQB"), Reasoning("hm", Blob("", SIGNATURE, "EqQB"))),
        (thinking(""), Reasoning("hm")),
        (thinking("mb1:::"), Reasoning("hm")),
        (
            thinking(tagged(Blob("openai", "openai-responses.encrypted_content", "rs_1:gAAA"))),
            Reasoning("hm", Blob("openai", "openai-responses.encrypted_content", "rs_1:gAAA")),
        ),
        (redacted("Eq=="), Reasoning("", Blob("", REDACTED, "Eq=="), hidden=True)),
        (
            redacted(tagged(Blob("house", REDACTED, "Eq=="))),
            Reasoning("", Blob("house", REDACTED, "Eq=="), hidden=True),
        ),
    ],
)
def test_blocks_of_an_assistant(block: dict[str, Any], part: Part) -> None:
    assert parts("assistant", block) == (part,)


def test_numbers_and_order_of_arguments_stay() -> None:
    body = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use",'
        b'"id":"t","name":"f","input":{"b": 1.0, "a": 1e5, "n": 12345678901234567890}}]}]}'
    )
    (call,) = DIALECT.decode_request(body).messages[0].parts
    assert isinstance(call, ToolCall)
    assert call.arguments == '{"b": 1.0, "a": 1e5, "n": 12345678901234567890}'


def test_a_blob_behind_a_block_belongs_to_it() -> None:
    blob = Blob("google", "gemini.thoughtSignature", "sig")
    behind = redacted("mb1:google:gemini.thoughtSignature<:sig")
    text = {"type": "text", "text": "a"}
    assert parts("assistant", text, behind, CALL, CALL, behind) == (
        Text("a", blob=blob),
        ToolCall("toolu_1", "get", '{"city": "K\\u00f6ln"}'),
        ToolCall("toolu_1", "get", '{"city": "K\\u00f6ln"}', blob),
    )
    # One that lost its block is kept, and given to nobody else.
    assert parts("assistant", behind) == (Reasoning("", blob, hidden=True),)


@pytest.mark.parametrize(
    ("citation", "canonical"),
    [
        (
            {
                "type": "char_location",
                "cited_text": "q",
                "document_index": 1,
                "document_title": None,
                "start_char_index": 0,
                "end_char_index": 5,
                "file_id": None,
            },
            DocumentCitation(1, "", "q", "char", 0, 5),
        ),
        (
            {
                "type": "page_location",
                "cited_text": "q",
                "document_index": 0,
                "document_title": "T",
                "start_page_number": 1,
                "end_page_number": 2,
            },
            DocumentCitation(0, "T", "q", "page", 0, 1),
        ),
        (
            {
                "type": "content_block_location",
                "cited_text": "q",
                "document_index": 0,
                "document_title": "T",
                "start_block_index": 3,
                "end_block_index": 4,
            },
            DocumentCitation(0, "T", "q", "block", 3, 4),
        ),
        (
            {
                "type": "web_search_result_location",
                "cited_text": "q",
                "url": "https://a",
                "title": "T",
                "encrypted_index": "E",
            },
            UrlCitation("https://a", "T", quote="q"),
        ),
        (
            {
                "type": "search_result_location",
                "cited_text": "q",
                "source": "https://a",
                "title": None,
                "search_result_index": 0,
                "start_block_index": 0,
                "end_block_index": 1,
            },
            UrlCitation("https://a", quote="q"),
        ),
    ],
)
def test_citations(citation: dict[str, Any], canonical: Any) -> None:
    block = {"type": "text", "text": "a", "citations": [citation]}
    assert parts("assistant", block) == (Text("a", citations=(canonical,)),)


def test_tool_results_come_first() -> None:
    assert parts("user", {"type": "text", "text": "a"}, result("1"), result("2")) == (
        ToolResult("toolu_1", (Text("1"),)),
        ToolResult("toolu_1", (Text("2"),)),
        Text("a"),
    )


def test_system_messages() -> None:
    chat = decoded(
        system=[{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "system", "content": "two"},
            {"role": "user", "content": "hi"},
            {"role": "system", "content": [{"type": "text", "text": "late"}]},
            {"role": "assistant", "content": "yes"},
        ],
    )
    assert chat.system == (Text("one", Cached()), Text("two"))
    assert chat.messages == (
        Message("user", (Text("hi"),)),
        Message("system", (Text("late"),)),
        Message("assistant", (Text("yes"),)),
    )


def test_a_system_message_ends_with_the_next_user_message() -> None:
    fleeting = {"role": "system", "content": "now", "clear_at": "next_user_message"}
    hi, yes = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}
    over = decoded(messages=[hi, fleeting, yes, hi])
    assert [message.role for message in over.messages] == ["user", "assistant", "user"]
    still = decoded(messages=[hi, yes, hi, fleeting])
    assert still.messages[-1] == Message("system", (Text("now"),))


def test_tools_and_choice() -> None:
    tool = {"name": "get", "description": "gets", "input_schema": SCHEMA, "strict": True}
    chat = decoded(
        tools=[
            tool,
            {"type": "custom", "name": "put", "input_schema": {}, "cache_control": {"type": "ephemeral"}},
        ],
        tool_choice={"type": "tool", "name": "get", "disable_parallel_tool_use": True},
    )
    assert chat.tools == (Tool("get", "gets", SCHEMA, True), Tool("put", "", {}, cached=Cached()))
    assert chat.tool_choice == ToolChoice("only", ("get",))
    assert chat.parallel_tools is False


@pytest.mark.parametrize(("kind", "mode"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_choices(kind: str, mode: Any) -> None:
    chat = decoded(tool_choice={"type": kind})
    assert (chat.tool_choice, chat.parallel_tools) == (ToolChoice(mode), None)


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": None}, None),
        ({"thinking": {"type": "disabled"}}, Effort(enabled=False)),
        ({"thinking": {"type": "between_tools"}}, Effort(enabled=False)),
        ({"thinking": {"type": "adaptive"}}, Effort(adaptive=True)),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
            Effort(level="xhigh", adaptive=True, show=True),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}},
            Effort(budget_tokens=2000, show=False),
        ),
        ({"output_config": {"effort": "low"}}, Effort(level="low")),
        ({"output_config": {"effort": None}}, None),
    ],
)
def test_thinking(fields: dict[str, Any], effort: Effort | None) -> None:
    assert decoded(**fields).effort == effort


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
)
def test_structured_output(fields: dict[str, Any]) -> None:
    assert decoded(**fields).output == OutputSchema("", SCHEMA, True)


def test_knobs() -> None:
    chat = decoded(
        temperature=0.5,
        top_p=1,
        top_k=3,
        stop_sequences=["a", "b"],
        metadata={"user_id": "u"},
        service_tier="standard_only",
        cache_control={"type": "ephemeral", "ttl": "5m"},
        stream=True,
    )
    assert (chat.temperature, chat.top_p, chat.top_k) == (0.5, 1.0, 3)
    assert (chat.stop, chat.user, chat.service_tier) == (("a", "b"), "u", "default")
    assert (chat.cached, chat.stream, chat.max_output_tokens) == (Cached("5m"), True, 10)
    assert chat.dropped == ()


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"speed": "fast"}, ("speed",)),
        ({"speed": "standard"}, ()),
        ({"diagnostics": {"previous_message_id": "msg_1"}}, ("diagnostics",)),
        ({"fallbacks": "default", "never_heard_of": 1}, ("fallbacks", "never_heard_of")),
        ({"inference_geo": "global"}, ("inference_geo",)),
        ({"inference_geo": None, "mcp_servers": [], "container": None}, ()),
        ({"output_config": {"task_budget": {"type": "tokens", "total": 5}}}, ("output_config.task_budget",)),
        (
            {"thinking": {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "error"}}},
            ("thinking.block_binding",),
        ),
        (
            {
                "tools": [
                    {"name": "f", "input_schema": {}, "eager_input_streaming": True, "input_examples": [{}]}
                ]
            },
            ("tools.eager_input_streaming", "tools.input_examples"),
        ),
        (
            {
                "tools": [
                    {"name": "f", "input_schema": {}, "eager_input_streaming": None, "defer_loading": False}
                ]
            },
            (),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "system", "output_config": {"effort": "low"}},
                ]
            },
            ("messages.output_config",),
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image",
                                "source": {"type": "url", "url": "https://a"},
                                "transformations": {"oversized_image": "error"},
                            }
                        ],
                    }
                ]
            },
            ("messages.image.transformations",),
        ),
    ],
)
def test_what_has_no_place_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert decoded(**fields).dropped == dropped


MCP = {"type": "url", "name": "m", "url": "https://m"}
OWN = [
    ({"container": "container_1"}, "container"),
    ({"container": {"skills": [{"type": "custom", "skill_id": "s"}]}}, "container"),
    ({"context_management": {"edits": []}, "mcp_servers": [MCP]}, "context_management"),
    ({"mcp_servers": [MCP]}, "mcp_servers"),
    ({"thread": {"type": "create"}}, "thread"),
    ({"inference_geo": "eu"}, "inference_geo"),
    ({"user_profile_id": "uprof_1"}, "user_profile_id"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
    ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, "tools[0].defer_loading"),
    (
        {"tools": [{"name": "f", "input_schema": {}, "allowed_callers": ["code_execution_20260120"]}]},
        "tools[0].allowed_callers",
    ),
]
OWN_BLOCKS = [
    ("user", {"type": "container_upload", "file_id": "file_1"}, ".type"),
    ("user", {"type": "search_result", "source": "a", "title": "b", "content": []}, ".type"),
    ("user", {"type": "image", "source": {"type": "file", "file_id": "file_1"}}, ".source.file_id"),
    ("user", {"type": "document", "source": {"type": "file", "file_id": "file_1"}}, ".source.file_id"),
    (
        "user",
        of_source("content", content=[{"type": "image", "source": {"type": "url", "url": "https://a"}}]),
        ".source.content",
    ),
    (
        "user",
        {
            **of_source("content", content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            "citations": {"enabled": True},
        },
        ".source.content",
    ),
    ("user", result([{"type": "tool_reference", "tool_name": "f"}]), ".content[0].type"),
    ("user", result("a", toolset_name="browser"), ".toolset_name"),
    ("assistant", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, ".type"),
    (
        "assistant",
        call(caller={"type": "code_execution_20260120", "tool_id": "s"}),
        ".caller",
    ),
    ("assistant", call(toolset_name="computer"), ".toolset_name"),
    ("system", {"type": "tool_addition", "tool": {"name": "f"}}, ".type"),
]


def bodies() -> list[Any]:
    rows = [pytest.param(fields, param, id=param) for fields, param in OWN]
    for role, block, place in OWN_BLOCKS:
        content = [{"type": "text", "text": "a"}, block]
        fields = {"messages": [{"role": "user", "content": "hi"}, {"role": role, "content": content}]}
        rows.append(pytest.param(fields, f"messages[1].content[1]{place}", id=f"{block['type']}{place}"))
    return rows


@pytest.mark.parametrize(("fields", "param"), bodies())
def test_what_only_this_dialect_knows(fields: dict[str, Any], param: str) -> None:
    """It is reported at the front, and refused by name where it is to be translated all the same."""
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    assert DIALECT.read(json.dumps(body).encode()).same_dialect == param
    with pytest.raises(BadRequest) as refused:
        decoded(**fields)
    assert (refused.value.status, refused.value.code) == (400, "content_not_supported")
    assert refused.value.param == param


def of_user(block: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [block]}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": 5}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a", "name": "x"}]}, "messages[0]"),
        (of_user({"type": "text"}), "messages[0].content[0]"),
        (of_user({"type": "text", "text": 5}), "messages[0].content[0].text"),
        (of_user({"type": "video", "text": "a"}), "messages[0].content[0].type"),
        (of_user({"text": "a"}), "messages[0].content[0]"),
        (of_user({"type": "text", "text": "a", "colour": "red"}), "messages[0].content[0]"),
        (of_user(CALL), "messages[0].content[0].type"),
        (of_user({"type": "image", "source": {"type": "base64"}}), "messages[0].content[0].source"),
        (of_user({"type": "image", "source": {"type": "carrier"}}), "messages[0].content[0].source.type"),
        (of_user(result([{"type": "text"}])), "messages[0].content[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": [result("a")]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": [call(input="x")]}]}, "messages[0].content[0].input"),
        (
            {"messages": [{"role": "assistant", "content": [call(input=None)]}]},
            "messages[0].content[0].input",
        ),
        ({"messages": [{"role": "system", "content": [DOCUMENT]}]}, "messages[0].content[0].type"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "f", "input_schema": {}, "strict": "yes"}]}, "tools[0].strict"),
        ({"tools": [{"name": "f", "input_schema": {}, "description": 5}]}, "tools[0].description"),
        ({"tools": [{"name": "f", "input_schema": {}, "cache_control": 5}]}, "tools[0].cache_control"),
        ({"tools": [{"name": "f", "input_schema": {}, "colour": "red"}]}, "tools[0].colour"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"output_config": {"format": {"type": "xml", "schema": {}}}}, "output_config.format.type"),
        (
            {
                "output_format": {"type": "json_schema", "schema": {}},
                "output_config": {"format": {"type": "json_schema", "schema": {}}},
            },
            "output_format",
        ),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ],
)
def test_odd_requests_are_refused_by_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decoded(**fields)
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")
    assert refused.value.param == param
    assert refused.value.message.startswith(param)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"messages":[],"messages":{}}', b'{"model":"\xff"}'])
def test_odd_bodies(body: bytes) -> None:
    with pytest.raises(BadRequest):
        DIALECT.decode_request(body)


OURS = [
    row
    for row in parameters(streamed=None, good=None)
    if row.values[0] is None or row.values[0].dialect == DIALECT.name
]


@pytest.mark.parametrize("row", OURS)
def test_recorded_requests_are_read_as_they_are_reported(row: Recorded) -> None:
    """What the front reports as this dialect's own is what can't be translated."""
    facts = DIALECT.read(row.request_body)
    try:
        chat = DIALECT.decode_request(row.request_body)
    except BadRequest as refused:
        assert refused.code == "content_not_supported"
        assert refused.param == facts.same_dialect
    else:
        assert facts.same_dialect == ""
        assert chat.model == row.request["model"]
        assert facts.tools == bool(chat.tools)
