"""What the front learns of a request before it is routed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelbroker.core.errors import BadRequest
from modelbroker.dialects.base import RequestFacts
from modelbroker.dialects.openai_responses import OpenAiResponses
from modelbroker.dialects.openai_responses.wire import ENCRYPTED, NO_BLOB

DIALECT = OpenAiResponses()
RID = "0123456789abcdef0123456789abcdef"


def read(**fields: Any) -> RequestFacts:
    return DIALECT.read(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def user(*content: Any) -> Any:
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({}, {"same_dialect": "", "ids": (), "marked": False, "stateful": False, "binds": True}),
        ({"store": True}, {"stateful": True, "binds": True, "same_dialect": ""}),
        ({"store": False}, {"stateful": False, "binds": True}),
        ({"store": False, "reasoning": {"effort": "none"}}, {"binds": False, "reasoning": False}),
        ({"reasoning": {"effort": "low"}}, {"reasoning": True}),
        ({"input": user({"type": "input_audio"})}, {"audio": True, "images": False}),
        (
            {"input": user({"type": "input_image", "image_url": "x"})},
            {"images": True, "ids": (), "same_dialect": ""},
        ),
        (
            {"input": user({"type": "input_text"}, {"type": "input_image", "file_id": "file-1"})},
            {
                "images": True,
                "same_dialect": "input[0].content[1].file_id",
                "ids": (("input[0].content[1].file_id", "file-1"),),
            },
        ),
        (
            {"previous_response_id": "resp_1@eu"},
            {
                "same_dialect": "previous_response_id",
                "ids": (("previous_response_id", "resp_1@eu"),),
                "marked": True,
            },
        ),
        ({"previous_response_id": None, "conversation": None}, {"same_dialect": "", "ids": ()}),
        ({"conversation": {"id": "conv_1"}}, {"ids": (("conversation", "conv_1"),)}),
        ({"prompt": {"id": "p_1"}}, {"same_dialect": "prompt", "ids": (("prompt", "p_1"),)}),
        ({"background": True}, {"same_dialect": "background"}),
        ({"background": False}, {"same_dialect": ""}),
        ({"moderation": {"model": "x"}}, {"same_dialect": "moderation"}),
        ({"prompt_cache_options": {"prewarm": True}}, {"same_dialect": "prompt_cache_options.prewarm"}),
        ({"prompt_cache_options": {"prewarm": False}}, {"same_dialect": ""}),
        ({"tools": [{"type": "function", "name": "f"}]}, {"tools": True, "same_dialect": ""}),
        ({"tools": [{"type": "custom", "name": "f"}]}, {"same_dialect": ""}),
        ({"tools": [{"type": "custom", "format": {"type": "grammar"}}]}, {"same_dialect": "tools[0]"}),
        (
            {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}]},
            {
                "same_dialect": "tools[0]",
                "ids": (
                    ("tools[0].vector_store_ids[0]", "vs_1"),
                    ("tools[0].vector_store_ids[1]", "vs_2"),
                ),
            },
        ),
        (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]},
            {"ids": (("tools[0].container.file_ids[0]", "f"),)},
        ),
        ({"tool_choice": {"type": "mcp"}}, {"same_dialect": "tool_choice"}),
        ({"tool_choice": {"type": "function", "name": "f"}}, {"same_dialect": ""}),
        (
            {"input": [{"role": "user", "content": "x"}, {"type": "web_search_call", "id": "ws_1"}]},
            {"same_dialect": "input[1]", "ids": ()},
        ),
        (
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
            {"same_dialect": "input[0]", "ids": (("input[0].id", "msg_1"),)},
        ),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "caller": None}
                ]
            },
            {"same_dialect": ""},
        ),
        (
            {"input": [{"type": "function_call", "caller": {"type": "program", "caller_id": "x"}}]},
            {"same_dialect": "input[0]"},
        ),
        (
            {"input": [{"type": "compaction", "id": "c_1", "encrypted_content": f"mb1:eu:{ENCRYPTED}:gA"}]},
            {"same_dialect": "input[0]", "ids": (("input[0]", "c_1@eu"),), "marked": True},
        ),
        (
            {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": NO_BLOB}]},
            {"marked": True, "same_dialect": ""},
        ),
        ({"input": [{"type": "reasoning", "id": "rs_1@eu", "summary": []}]}, {"marked": True, "ids": ()}),
        ({"input": "write to a@b.example"}, {"marked": False}),
        ({"input": user({"type": "input_text", "text": "mb1:eu:x:y"})}, {"marked": False}),
        ({"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "gA"}]}, {"marked": False}),
        # Whatever a client's own tools say is not for us to read.
        (
            {
                "tools": [
                    {"type": "function", "name": "f", "parameters": {"default": {"file_id": "x@y"}}},
                    {"type": "mcp", "headers": {"container": "c@d"}},
                ]
            },
            {"ids": (), "marked": False},
        ),
        (
            {
                "prompt": {
                    "id": "p_1@eu",
                    "variables": {"a": {"type": "input_file", "file_id": "f@eu"}, "id": "x@y"},
                }
            },
            {"ids": (("prompt", "p_1@eu"), ("prompt.variables.a.file_id", "f@eu")), "marked": True},
        ),
        (
            {"input": [{"type": "code_interpreter_call", "id": "ci_1@eu", "container_id": "cntr_1@eu"}]},
            {"ids": (("input[0].container_id", "cntr_1@eu"),), "marked": True, "stateful": False},
        ),
        (
            {"input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1@eu"}]},
            {"ids": (("input[0].approval_request_id", "mcpr_1@eu"),), "marked": True},
        ),
        ({"input": [{"type": "image_generation_call", "id": "ig_1"}]}, {"ids": (("input[0].id", "ig_1"),)}),
        ({"input": [{"type": "image_generation_call", "id": "ig_1", "result": "AA"}]}, {"ids": ()}),
        (
            {"prompt_cache_options": {"comparison_response_id": "resp_1@eu"}},
            {"ids": (), "marked": True, "same_dialect": ""},
        ),
        # Tools that run at OpenAI, and not those that only OpenAI knows.
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, {"hosted_tools": True}),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}]}, {"hosted_tools": True}),
        ({"tools": [{"type": "mcp"}]}, {"hosted_tools": True}),
        ({"tools": [{"type": "apply_patch"}, {"type": "computer"}]}, {"hosted_tools": False}),
        ({"tools": [{"type": "function", "name": "web_search"}]}, {"hosted_tools": False}),
        # Things at an account that are no replies.
        ({"input": user({"type": "input_file", "file_id": "file-1"})}, {"files": True}),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, {"files": True}),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, {"files": False, "stateful": True}),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, {"files": False}),
        # What the provider is to fetch.
        (
            {"input": user({"type": "input_image", "image_url": "https://x/a"})},
            {"image_urls": True, "document_urls": False},
        ),
        (
            {"input": user({"type": "input_image", "image_url": "data:image/png;base64,AA"})},
            {"images": True, "image_urls": False},
        ),
        (
            {"input": user({"type": "input_file", "file_url": "http://x/a.pdf"})},
            {"image_urls": False, "document_urls": True},
        ),
        (
            {
                "input": [
                    {"role": "user", "content": "https://x/a"},
                    {"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]},
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "input_file", "file_data": "data:x", "filename": "https://x"}],
                    },
                ]
            },
            {"images": True, "documents": True, "image_urls": False, "document_urls": False},
        ),
        # What goes on from a kept reply needs a member that keeps them; a file does not.
        ({"store": False, "previous_response_id": "resp_1"}, {"stateful": True, "binds": True}),
        ({"store": False, "input": [{"type": "item_reference", "id": "msg_1"}]}, {"stateful": True}),
        ({"input": user({"type": "input_image", "file_id": "file-1"})}, {"stateful": False}),
        ({"input": 5}, {"same_dialect": ""}),
        ({"input": [5]}, {"same_dialect": ""}),
        ({"tools": {"a": 1}}, {"same_dialect": ""}),
    ],
)
def test_facts(fields: Any, facts: dict[str, Any]) -> None:
    found = read(**fields)
    assert {name: getattr(found, name) for name in facts} == facts


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": f"resp_mb_{RID}"}, "previous_response_id"),
        ({"input": [{"type": "item_reference", "id": f"msg_{RID}_0"}]}, "input[0].id"),
    ],
)
def test_replies_that_nobody_keeps(fields: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert refused.value.code == "response_not_kept" and "keeps no responses" in refused.value.message


def test_deep_ids() -> None:
    """Nothing that a client nests can exhaust the stack."""
    deep = '{"a":' * 400 + '{"type":"input_image","file_id":"f"}' + "}" * 400
    facts = DIALECT.read(f'{{"model":"m","input":[{deep}]}}'.encode())
    assert [ident for _, ident in facts.ids] == ["f"]
