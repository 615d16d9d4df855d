"""Requests that say every field of the tables in `dialects/*/fields.py`.

A request of CARRIED says fields that are carried, dropped or labels; one of OWN only fields that make it one
for members of its own dialect. Types that are served as a whole (`tools.web_search`) are made from their
names alone, in treatments.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
HI = {"role": "user", "content": "Hello"}


def tagged(kind: str, data: str) -> str:
    """As the broker gives a blob of the provider `house` to a client."""
    return f"mb1:house:{kind}:{data}"


# -- openai-chat

_BREAK = {"mode": "explicit", "ttl": "30m"}
_TALK: list[Json] = [
    {"role": "system", "content": "Be kind."},
    {
        "role": "user",
        "name": "ann",
        "content": [
            {"type": "text", "text": "Look", "prompt_cache_breakpoint": _BREAK},
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
            },
            {
                "type": "file",
                "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
            },
        ],
    },
    {
        "role": "assistant",
        "content": [{"type": "text", "text": "Well"}, {"type": "refusal", "refusal": "no"}],
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city":"Oslo"}'}},
            {"id": "call_2", "type": "custom", "custom": {"name": "free", "input": "any text"}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "12 C"},
    {"role": "tool", "tool_call_id": "call_2", "content": "ok"},
    {"role": "assistant", "content": "I can't.", "refusal": "I won't."},
    HI,
]
_TOOLS: list[Json] = [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}},
    {"type": "custom", "custom": {"name": "free", "description": "d"}},
]
_CHAT: list[Json] = [
    {"messages": _TALK, "tools": _TOOLS, "max_completion_tokens": 99, "stream": True},
    {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}],
            }
        ]
    },
    {
        "max_tokens": 99,
        "stop": ["x"],
        "user": "u",
        "reasoning_effort": "high",
        "service_tier": "flex",
    },
    {
        "safety_identifier": "u",
        "prompt_cache_key": "k",
        "verbosity": "low",
        "seed": 1,
        "metadata": {"a": "b"},
    },
    {
        "temperature": 0.5,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "logprobs": True,
        "top_logprobs": 2,
    },
    {"top_p": 0.5, "parallel_tool_calls": False, "tools": _TOOLS, "tool_choice": "required"},
    {"logit_bias": {"1": 1}, "prediction": {"type": "content", "content": "x"}},
    {
        "prediction": {
            "type": "content",
            "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": _BREAK}],
        }
    },
    {"n": 2},
    {"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}},
    {"prompt_cache_retention": "24h"},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        }
    },
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": True},
        }
    },
    {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": True}},
    {
        "tools": [*_TOOLS, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    },
    {"tools": _TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"tools": _TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "free"}}},
    {"functions": [{"name": "f", "description": "d", "parameters": SCHEMA}], "function_call": {"name": "f"}},
    {
        "functions": [{"name": "f"}],
        "messages": [
            HI,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "12 C"},
        ],
    },
]
_GRAMMAR = {"type": "grammar", "grammar": {"definition": "x", "syntax": "lark"}}
_WHERE = {
    "type": "approximate",
    "approximate": {"city": "Oslo", "country": "NO", "region": "Oslo", "timezone": "Europe/Oslo"},
}
_CHAT_OWN: list[Json] = [
    {"audio": {"format": "mp3", "voice": {"id": "v"}}},
    {"modalities": ["text", "audio"]},
    {"moderation": {"model": "m", "policy": {"input": {"mode": "x"}, "output": {"mode": "x"}}}},
    {"store": True},
    {"web_search_options": {"search_context_size": "low", "user_location": _WHERE}},
    {"messages": [HI, {"role": "assistant", "audio": {"id": "a"}}, HI]},
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
    {"tools": [{"type": "custom", "custom": {"name": "free", "format": _GRAMMAR}}]},
]

# -- openai-responses

_POINT = {"mode": "explicit"}
_ITEMS: list[Json] = [
    {"type": "message", "id": "msg_0", "role": "system", "content": "Be kind.", "status": "completed"},
    {
        "type": "message",
        "role": "user",
        "phase": "commentary",
        "content": [
            {"type": "input_text", "text": "Look", "prompt_cache_breakpoint": _POINT},
            {
                "type": "input_image",
                "image_url": f"data:image/png;base64,{PNG}",
                "detail": "low",
                "prompt_cache_breakpoint": _POINT,
            },
            {
                "type": "input_file",
                "file_data": f"data:application/pdf;base64,{PDF}",
                "filename": "a.pdf",
                "detail": "low",
                "prompt_cache_breakpoint": _POINT,
            },
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": tagged("anthropic-messages.signature", "c2ln"),
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": '{"city":"Oslo"}',
        "status": "completed",
    },
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "free", "input": "any text"},
    {
        "type": "function_call_output",
        "id": "fco_1",
        "call_id": "call_1",
        "output": "12 C",
        "status": "completed",
        "name": "as it is called",
    },
    {"type": "custom_tool_call_output", "id": "cto_1", "call_id": "call_2", "output": "ok"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": "Well", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "I won't."},
        ],
    },
    {"role": "user", "content": "Hello"},
]
_R_TOOLS: list[Json] = [
    {
        "type": "function",
        "name": "f",
        "description": "d",
        "parameters": SCHEMA,
        "strict": True,
        "allowed_callers": ["direct"],
        "defer_loading": True,
        "output_schema": {"type": "object"},
    },
    {
        "type": "custom",
        "name": "free",
        "description": "d",
        "allowed_callers": ["direct"],
        "defer_loading": True,
    },
]
_CHOSEN = [{"type": "function", "name": "f"}]
_RESPONSES: list[Json] = [
    {
        "input": _ITEMS,
        "tools": _R_TOOLS,
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "stream": True,
    },
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x.example/a.pdf"}]}]},
    {
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}],
            }
        ]
    },
    {
        "input": [
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm"}],
                "encrypted_content": tagged("openai-chat.reasoning_content", "x"),
            },
            *_ITEMS[3:],
        ],
        "tools": _R_TOOLS,
    },
    {"access_programs": ["x"], "background_options": {"x": 1}, "image": {"x": 1}, "max_tool_calls": 1},
    {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "metadata": {"a": "b"}},
    {"temperature": 0.5, "top_p": 0.5, "truncation": "auto", "user": "u", "service_tier": "flex"},
    {"safety_identifier": "u", "prompt_cache_key": "k", "text": {"verbosity": "low"}},
    {"parallel_tool_calls": False, "tools": _R_TOOLS, "tool_choice": "required"},
    {"prompt_cache_options": {"mode": "implicit", "ttl": "30m", "comparison_response_id": "resp_1"}},
    {"prompt_cache_retention": "24h"},
    {"reasoning": {"effort": "high", "summary": "auto", "context": "auto", "mode": "pro"}},
    {"reasoning": {"effort": "high", "generate_summary": "auto"}},
    {"stream": True, "stream_options": {"include_obfuscation": True}},
    *(
        {
            "text": {
                "format": {"type": "json_schema", "name": "n", "description": "d", "strict": True}
                | {"schema": schema}
            }
        }
        for schema in (SCHEMA, {"type": "object"})
    ),
    *({"tools": _R_TOOLS, "tool_choice": choice} for choice in ("auto", "none", "required")),
    {"tools": _R_TOOLS, "tool_choice": {"type": "function", "name": "f"}},
    {"tools": _R_TOOLS, "tool_choice": {"type": "custom", "name": "free"}},
    {"tools": _R_TOOLS, "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": _CHOSEN}},
]
_R_CALL = _ITEMS[3] | {"id": "fc_2", "call_id": "call_9"}
_R_OUTPUT = {"type": "function_call_output", "call_id": "call_9", "output": "x"}
_PROGRAM = {"type": "program", "caller_id": "p"}
_RESPONSES_OWN: list[Json] = [
    {"background": True},
    {"context_management": [{"type": "compaction"}]},
    {"conversation": "conv_1"},
    {"moderation": {"model": "m"}},
    {"previous_response_id": "resp_1"},
    {"prompt": {"id": "pmpt_1"}},
    {"store": True},
    {"prompt_cache_options": {"prewarm": True}},
    {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    *({"input": [HI, _R_CALL | more, _R_OUTPUT]} for more in ({"async": True}, {"caller": _PROGRAM})),
    {"input": [HI, _R_CALL | {"namespace": "n"}, _R_OUTPUT]},
    *({"input": [HI, _R_CALL, _R_OUTPUT | more]} for more in ({"caller": _PROGRAM}, {"namespace": "n"})),
    *(
        {"input": [HI, _ITEMS[4] | more, _ITEMS[6]]}
        for more in ({"async": True}, {"caller": _PROGRAM}, {"namespace": "n"})
    ),
    {"input": [HI, _ITEMS[4], _ITEMS[6] | {"caller": _PROGRAM}]},
    *({"tools": [tool | {"async": True}]} for tool in _R_TOOLS),
    {"tools": [_R_TOOLS[1] | {"format": {"type": "grammar", "definition": "x", "syntax": "lark"}}]},
]

# -- anthropic-messages

_HINT = {"type": "ephemeral", "ttl": "1h"}
_CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": "a.pdf",
    "start_char_index": 0,
    "end_char_index": 1,
}
_BLOCKS: list[Json] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look", "cache_control": _HINT},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                "cache_control": _HINT,
                "transformations": {"x": 1},
            },
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
                "context": "of May",
                "citations": {"enabled": True},
                "cache_control": _HINT,
            },
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": tagged("bedrock-converse.signature", "c2ln")},
            {"type": "redacted_thinking", "data": tagged("bedrock-converse.redactedContent", "cmVk")},
            {
                "type": "text",
                "text": "Well",
                "citations": [_CITATION],
            },
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "f",
                "input": {"city": "Oslo"},
                "cache_control": _HINT,
            },
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": [{"type": "text", "text": "12 C"}],
                "is_error": True,
                "cache_control": _HINT,
            },
            {"type": "text", "text": "Go on"},
        ],
        "output_config": {"effort": "low"},
    },
    {"role": "system", "content": "Be brief."},
]
_A_TOOLS: list[Json] = [
    {
        "name": "f",
        "description": "d",
        "input_schema": SCHEMA,
        "strict": True,
        "cache_control": _HINT,
        "eager_input_streaming": True,
        "input_examples": [{"city": "Oslo"}],
    }
]
_MESSAGES: list[Json] = [
    {
        "messages": _BLOCKS,
        "system": [
            {"type": "text", "text": "Be kind.", "cache_control": _HINT, "citations": [_CITATION]},
        ],
        "tools": _A_TOOLS,
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "max_tokens": 4000,
        "stream": True,
    },
    {"messages": [HI, {"role": "system", "content": "x", "clear_at": "next_user_message"}, HI]},
    {"betas": ["x"], "diagnostics": {"x": 1}, "fallback_credit_token": "x", "fallbacks": [{"model": "x"}]},
    {"cache_control": _HINT, "metadata": {"user_id": "u"}, "service_tier": "standard_only", "speed": "fast"},
    {"output_config": {"effort": "high", "task_budget": {"x": 1}}},
    {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    {"stop_sequences": ["x"], "temperature": 0.5},
    {"top_k": 3, "top_p": 0.5},
    {"thinking": {"type": "adaptive", "display": "summarized", "block_binding": {"x": 1}}},
    {"tools": _A_TOOLS, "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
]
_PARTED = [HI, {"role": "assistant", "content": [_BLOCKS[1]["content"][3]]}]
_MESSAGES_OWN: list[Json] = [
    {"billing_policy": {"x": 1}},
    {"compaction": {"x": 1}},
    {"container": "container_1"},
    {"context_management": {"edits": []} | {"x": 1}},
    {"inference_geo": "us"},
    {"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]},
    {"thread": {"previous_message_id": "msg_1"}},
    {"user_profile_id": "u"},
    {"workspace_id": "w"},
    *(
        {"messages": [HI, {"role": "assistant", "content": [_BLOCKS[1]["content"][3] | more]}, _BLOCKS[2]]}
        for more in ({"caller": {"type": "code", "tool_id": "x"}}, {"toolset_name": "x"})
    ),
    {"messages": [*_PARTED, {"role": "user", "content": [_BLOCKS[2]["content"][0] | {"toolset_name": "x"}]}]},
    {"tools": [_A_TOOLS[0] | {"allowed_callers": ["code_execution_20260120"]}]},
    {"tools": [_A_TOOLS[0] | {"defer_loading": True}]},
]

CARRIED: Mapping[str, list[Json]] = {CHAT: _CHAT, RESPONSES: _RESPONSES, MESSAGES: _MESSAGES}
OWN: Mapping[str, list[Json]] = {CHAT: _CHAT_OWN, RESPONSES: _RESPONSES_OWN, MESSAGES: _MESSAGES_OWN}
BASES: Mapping[str, Json] = {
    CHAT: {"model": "p", "messages": [HI]},
    RESPONSES: {"model": "p", "input": "Hello"},
    MESSAGES: {"model": "p", "max_tokens": 100, "messages": [HI]},
}
