"""Requests as Bedrock gets them: valid by botocore's service model; turns, calls, reasoning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.dialects.bedrock_converse.models import model_of
from modelbroker.dialects.conversation import (
    Blob,
    Chat,
    Effort,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from modelbroker.dialects.translation import CannotCarry
from support.bedrock import checked, serialized
from support.bedrock_chats import (
    DIALECT,
    MODELS,
    NOVA,
    NOVA_2,
    OPUS_47,
    SONNET_45,
    SONNET_46,
    TOOL,
    assistant,
    chat,
    messages,
    sent,
    to,
    user,
    well_formed,
)
from support.conversations import chats

# -- every conversation


BLOBS = ("bedrock-converse.signature", "bedrock-converse.redactedContent", "gemini.signature")


@settings(max_examples=150)
@given(chats(with_urls=False, blob_kinds=BLOBS) | chats(), st.sampled_from(MODELS))
def test_made_up_conversations_are_valid(request: Chat, model: str) -> None:
    try:
        body, dropped = sent(request, to(model))
    except CannotCarry as refused:
        assert refused.param
        return
    well_formed(body)
    assert set(dropped) <= set(Chat.__struct_fields__) | {"strict", "detail", "name", "cite", "citations"}


@settings(max_examples=60)
@given(chats(with_urls=False, with_knobs=False), st.sampled_from([SONNET_45, NOVA_2]))
def test_counts_are_valid(request: Chat, model: str) -> None:
    try:
        encoded = DIALECT.encode_count(request, to(model))
    except CannotCarry:
        return
    base = model.partition(".")[2]
    params = checked("CountTokens", base, encoded.body)
    assert serialized("CountTokens", params) == (encoded.path, json.loads(encoded.body))
    whole = json.loads(DIALECT.encode_request(request, to(model)).body)
    counted = json.loads(encoded.body)["input"]["converse"]
    assert counted == {name: whole[name] for name in counted}
    assert (
        {"messages"} <= set(counted) <= {"messages", "system", "toolConfig", "additionalModelRequestFields"}
    )


def test_a_count_is_asked_of_the_foundation_model() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    for upstream in (to(SONNET_46), to(arn, deviations={"base_model": SONNET_46})):
        assert (
            DIALECT.encode_count(chat(), upstream).path == "/model/anthropic.claude-sonnet-4-6/count-tokens"
        )


def test_the_least_request() -> None:
    body, dropped = sent(chat())
    assert body == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    assert dropped == ()
    assert DIALECT.encode_request(chat(stream=True), to()).path == (
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    )


def test_an_arn_is_percent_encoded_as_boto3_does_it() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1dadi0g15f"
    assert DIALECT.encode_request(chat(), to(arn)).path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fmi1dadi0g15f"
        "/converse"
    )


# -- turns


def test_turns_alternate_and_results_come_first() -> None:
    request = chat(
        user(Text("a")),
        user(Text("b")),
        assistant(Text("c")),
        assistant(ToolCall("1", "f", '{"x": 1}'), ToolCall("2", "g", "")),
        user(Text("meanwhile")),
        user(ToolResult("2", (Text("two"),)), ToolResult("1", (Text("one"),), is_error=True)),
    )
    assert messages(request) == [
        ("user", [{"text": "a"}, {"text": "b"}]),
        (
            "assistant",
            [
                {"text": "c"},
                {"toolUse": {"toolUseId": "1", "name": "f", "input": {"x": 1}}},
                {"toolUse": {"toolUseId": "2", "name": "g", "input": {}}},
            ],
        ),
        (
            "user",
            [
                {"toolResult": {"toolUseId": "2", "content": [{"text": "two"}], "status": "success"}},
                {"toolResult": {"toolUseId": "1", "content": [{"text": "one"}], "status": "error"}},
                {"text": "meanwhile"},
            ],
        ),
    ]


def test_a_later_system_message_goes_to_the_system_prompt() -> None:
    request = chat(
        user(Text("a")), Message("system", (Text("be brief"),)), user(Text("b")), system=(Text("be kind"),)
    )
    body, _ = sent(request)
    assert body["system"] == [{"text": "be kind"}, {"text": "be brief"}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]


def test_blank_texts_are_left_out() -> None:
    request = chat(
        user(Text("a"), Text(" ")),
        assistant(Text(""), ToolCall("1", "f", "")),
        user(ToolResult("1", (Text(""),)), Text("\n")),
        assistant(Text("")),
        user(Text("b")),
        system=(Text(""),),
    )
    body, _ = sent(request)
    assert "system" not in body
    assert [message["content"] for message in body["messages"]] == [
        [{"text": "a"}],
        [{"toolUse": {"toolUseId": "1", "name": "f", "input": {}}}],
        [
            {"toolResult": {"toolUseId": "1", "content": [{"text": "(no output)"}], "status": "success"}},
            {"text": "b"},
        ],
    ]


def test_a_conversation_begins_with_the_user() -> None:
    request = chat(assistant(Text("hello")), user(Text("hi")))
    # "A conversation must start with a user message": of Claude too, as Anthropic's own API says it.
    assert [role for role, _ in messages(request)] == ["user", "assistant", "user"]
    assert messages(request)[0] == messages(request, to(NOVA))[0] == ("user", [{"text": "."}])
    assert messages(Chat("agent", (), system=(Text("greet"),)))[0] == ("user", [{"text": "."}])


def test_a_prefilled_answer() -> None:
    request = chat(user(Text("a")), assistant(Text("The answer is")))
    assert messages(request)[1][0] == "assistant"
    with pytest.raises(CannotCarry) as refused:
        sent(request, to(SONNET_46))
    assert refused.value.param == "messages[1]"


def test_models_that_want_results_alone() -> None:
    request = chat(
        user(Text("a")), assistant(ToolCall("1", "f", "")), user(ToolResult("1", (Text("x"),)), Text("b"))
    )
    found = messages(request, to("us.meta.llama4-maverick-17b-instruct-v1:0"))
    assert [role for role, _ in found] == ["user", "assistant", "user", "assistant", "user"]
    assert found[3:] == [("assistant", [{"text": "."}]), ("user", [{"text": "b"}])]


def test_refusals_are_text_and_names_are_dropped() -> None:
    request = chat(Message("user", (Text("a"),), name="Ann"), assistant(Refusal("no")), user(Text("b")))
    body, dropped = sent(request)
    assert body["messages"][1]["content"] == [{"text": "no"}]
    assert dropped == ("name",)


# -- tool calls


@pytest.mark.parametrize(
    ("arguments", "spelled"),
    [
        ("", "{}"),
        ('{"b":1.50,"a":[1e3]}', '{"b":1.50,"a":[1e3]}'),
        ("[1]", '{"raw_arguments":"[1]"}'),
        ("null", "{}"),
        ('{"a":', '{"raw_arguments":"{\\"a\\":"}'),
        ("ls -l", '{"raw_arguments":"ls -l"}'),
    ],
)
def test_arguments_keep_their_spelling(arguments: str, spelled: str) -> None:
    request = chat(user(Text("a")), assistant(ToolCall("1", "f", arguments)), user(ToolResult("1", ())))
    sent(request)
    assert f'"input":{spelled}'.encode() in DIALECT.encode_request(request, to()).body


@pytest.mark.parametrize("ident", ["call_1", "x" * 65, "fc 1@house", "é", ""])
def test_ids_that_bedrock_does_not_allow_are_replaced(ident: str) -> None:
    request = chat(
        user(Text("a")),
        assistant(ToolCall(ident, "f", ""), ToolCall(ident + "b", "f", "")),
        user(ToolResult(ident, ()), ToolResult(ident + "b", ())),
    )
    found = messages(request)
    calls = [block["toolUse"]["toolUseId"] for block in found[1][1]]
    assert calls == [block["toolResult"]["toolUseId"] for block in found[2][1]]
    assert len(set(calls)) == 2
    assert calls[0] == ident or ident != "call_1"


# -- reasoning


def reasoning(kind: str, issuer: str = "house") -> Chat:
    blob = Blob(issuer, kind, "c2ln")
    return chat(user(Text("a")), assistant(Reasoning("hm", blob), Text("b")), user(Text("c")))


def test_reasoning_goes_back_to_its_own_provider_only() -> None:
    own = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
    signature = "bedrock-converse.signature"
    assert messages(reasoning(signature))[1][1] == [own, {"text": "b"}]
    redacted = {"reasoningContent": {"redactedContent": "c2ln"}}
    assert messages(reasoning("bedrock-converse.redactedContent"))[1][1] == [redacted, {"text": "b"}]
    for request, upstream in [
        (reasoning(signature, "other"), to()),
        (reasoning("anthropic-messages.signature"), to()),
        (reasoning(signature), to(NOVA)),
        (reasoning(signature), to("global.openai.gpt-6-astra")),
        (chat(user(Text("a")), assistant(Reasoning("hm"), Text("b")), user(Text("c"))), to()),
    ]:
        assert messages(request, upstream)[1][1] == [{"text": "b"}]
        assert b"hm" not in DIALECT.encode_request(request, upstream).body


def loop(first: Reasoning | None, **more: Any) -> Chat:
    said = (first,) if first else ()
    return chat(
        user(Text("a")),
        assistant(*said, ToolCall("1", "get_weather", "{}")),
        user(ToolResult("1", (Text("x"),))),
        assistant(ToolCall("2", "get_weather", "{}")),
        user(ToolResult("2", (Text("y"),))),
        tools=(TOOL,),
        effort=Effort(budget_tokens=2000),
        max_output_tokens=8000,
        **more,
    )


OWN = Reasoning("hm", Blob("house", "bedrock-converse.signature", "c2ln"))
FOREIGN = Reasoning("hm", Blob("other", "openai-responses.encrypted_content", "c2ln"))


def test_thinking_goes_on_where_the_loop_begins_with_it() -> None:
    body, dropped = sent(loop(OWN))
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert dropped == ()


@pytest.mark.parametrize("first", [None, FOREIGN])
def test_thinking_is_off_where_the_loop_began_elsewhere(first: Reasoning | None) -> None:
    body, dropped = sent(loop(first))
    assert "additionalModelRequestFields" not in body
    assert dropped == ("effort",)
    assert body["inferenceConfig"] == {"maxTokens": 8000}


def test_adaptive_thinking_does_not_mind() -> None:
    """Anthropic, "Adaptive thinking": no turn has to begin with thinking."""
    request = loop(FOREIGN)
    body, dropped = sent(request, to(OPUS_47))
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "adaptive"}
    assert dropped == ()


def test_a_loop_that_is_over_does_not_matter() -> None:
    request = loop(FOREIGN)
    over = Chat(
        "agent",
        (*request.messages, assistant(Text("done")), user(Text("more"))),
        tools=(TOOL,),
        effort=request.effort,
    )
    assert "thinking" in sent(over)[0]["additionalModelRequestFields"]


# -- models


@pytest.mark.parametrize(
    ("model", "family", "name"),
    [
        (SONNET_45, "anthropic", "claude-sonnet-4-5-20250929"),
        ("anthropic.claude-v2", "anthropic", "claude"),
        ("anthropic.claude-mythos-preview", "anthropic", "claude-mythos-preview"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "anthropic", "claude-3-haiku-20240307"),
        (MODELS[-1], "anthropic", "claude-sonnet-4-6"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon", "nova-pro"),
        (MODELS[-2], "", MODELS[-2]),
        ("openai.gpt-oss-120b-1:0", "openai", "gpt-oss-120b-1"),
        ("deepseek.v3.2", "deepseek", "v3.2"),
    ],
)
def test_models_are_known_by_their_ids(model: str, family: str, name: str) -> None:
    facts = model_of(model, {})
    assert (facts.family, facts.name) == (family, name)


def test_an_arns_model_can_be_said() -> None:
    upstream = to(MODELS[-2], deviations={"base_model": OPUS_47})
    request = chat(effort=Effort(level="high"), temperature=0.3)
    body, dropped = sent(request, upstream)
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "adaptive"}
    assert dropped == ("temperature",)
