"""Requests of clients of Chat Completions."""

from __future__ import annotations

from typing import Any

from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams

from .common import (
    ALL,
    CHAT,
    GEMINI,
    MESSAGES,
    NESTED,
    OPEN,
    PDF_URL,
    PNG_URL,
    RESPONSES,
    SCHEMA,
    WAV,
    Row,
    user,
)


def function(name: str = "get_weather", schema: Any = SCHEMA, **more: Any) -> Any:
    return {
        "type": "function",
        "function": {"name": name, "description": "M91", "parameters": schema, **more},
    }


def called(
    ident: str, name: str = "get_weather", arguments: str = '{"city": "M2 São Paulo 🌆", "days": 3}'
) -> Any:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat(name: str, messages: Any = None, only: tuple[str, ...] = ALL, **fields: Any) -> Row:
    body: ChatParams = {"model": "pool", "messages": messages or [user()], **fields}
    return name, body, only


LOOP = [
    user(),
    {
        "role": "assistant",
        "content": "M3 Let me see.",
        "tool_calls": [called("call_1"), called("call_2"), called("call_3", "look_up", '{"query": "M4"}')],
    },
    {"role": "tool", "tool_call_id": "call_2", "content": "M5 sunny ☀"},
    {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": [{"type": "text", "text": "M6 rain"}, {"type": "text", "text": "M7 wind"}],
    },
    {"role": "tool", "tool_call_id": "call_3", "content": ""},
    {"role": "assistant", "content": "M8 Done."},
    user("M9 Thanks"),
]
TOOLS = [function(), function("look_up", OPEN)]
CHAT_ROWS: list[Row] = [
    chat("text"),
    chat("system", [{"role": "system", "content": "M2 Be brief."}, user()]),
    chat("developer", [{"role": "developer", "content": [{"type": "text", "text": "M2 Be brief."}]}, user()]),
    chat(
        "two systems", [{"role": "system", "content": "M2"}, {"role": "developer", "content": "M3"}, user()]
    ),
    chat(
        "late system",
        [user(), {"role": "assistant", "content": "M2"}, {"role": "system", "content": "M3"}, user("M4")],
    ),
    chat(
        "turns",
        [
            user(),
            {"role": "assistant", "content": "M2"},
            user("M3"),
            {"role": "assistant", "content": [{"type": "text", "text": "M4"}]},
            user("M5"),
        ],
    ),
    chat("two users in a row", [user(), user("M2")]),
    chat("assistant first", [{"role": "assistant", "content": "M2 Hi, how can I help?"}, user()]),
    chat("names", [{"role": "system", "content": "M2", "name": "boss"}, {**user(), "name": "ann"}]),
    chat("parts", [user([{"type": "text", "text": "M1"}, {"type": "text", "text": "M2"}])]),
    chat(
        "image by URL",
        [
            user(
                [
                    {"type": "text", "text": "M1"},
                    {"type": "image_url", "image_url": {"url": "https://images.example/M2.png"}},
                ]
            )
        ],
        (CHAT, RESPONSES, MESSAGES, GEMINI),
    ),
    chat(
        "image in base64",
        [
            user(
                [
                    {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}},
                    {"type": "text", "text": "M1"},
                ]
            )
        ],
    ),
    chat(
        "file",
        [
            user(
                [
                    {
                        "type": "file",
                        "file": {"file_data": PDF_URL, "filename": "Bericht über M2 (final).pdf"},
                    },
                    {"type": "text", "text": "M1"},
                ]
            )
        ],
    ),
    chat(
        "audio",
        [
            user(
                [
                    {"type": "text", "text": "M1"},
                    {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
                ]
            )
        ],
        (GEMINI,),
    ),
    chat("refusal in history", [user(), {"role": "assistant", "refusal": "M2 No."}, user("M3")]),
    chat(
        "refusal part",
        [user(), {"role": "assistant", "content": [{"type": "refusal", "refusal": "M2 No."}]}, user("M3")],
    ),
    chat("tools", tools=TOOLS),
    chat("strict tools", tools=[function(strict=True), function("way", NESTED, strict=True)]),
    chat("tool without parameters", tools=[{"type": "function", "function": {"name": "now"}}]),
    chat("no tool", tools=TOOLS, tool_choice="none"),
    chat("some tool", tools=TOOLS, tool_choice="required"),
    chat("this tool", tools=TOOLS, tool_choice={"type": "function", "function": {"name": "look_up"}}),
    chat(
        "one of these tools",
        tools=TOOLS,
        tool_choice={
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "get_weather"}}],
            },
        },
    ),
    chat("one call at a time", tools=TOOLS, parallel_tool_calls=False, tool_choice="auto"),
    chat("loop", LOOP, tools=TOOLS),
    chat(
        "loop without content",
        [
            user(),
            {"role": "assistant", "content": None, "tool_calls": [called("call_1", arguments="{}")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "M5"},
        ],
        tools=TOOLS,
    ),
    chat("loop whose tools are gone", LOOP),
    chat(
        "any JSON", [user("M1 as JSON")], (CHAT, RESPONSES, GEMINI), response_format={"type": "json_object"}
    ),
    chat("plain format", response_format={"type": "text"}),
    chat(
        "schema",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": NESTED, "strict": True, "description": "the answer"},
        },
    ),
    chat(
        "loose schema",
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": OPEN}},
    ),
    chat(
        "schema and tools",
        LOOP,
        tools=TOOLS,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
        },
    ),
    chat("max_tokens", max_tokens=500),
    chat("max_completion_tokens", max_completion_tokens=500),
    chat("sampling", temperature=0.5, top_p=0.9),
    chat("hot", temperature=1.8),
    chat("penalties", frequency_penalty=0.5, presence_penalty=-0.5, seed=7),
    chat("stop", stop="END"),
    chat("stops", stop=["END", "###", "\n\n", "STOP"]),
    chat("two answers", None, (CHAT, GEMINI), n=2),
    chat("logprobs", logprobs=True, top_logprobs=3),
    chat("bias", logit_bias={"50256": -100}),
    chat("effort", reasoning_effort="high"),
    chat("no effort", reasoning_effort="none"),
    chat(
        "effort, tools, schema",
        LOOP,
        tools=TOOLS,
        reasoning_effort="low",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
        },
    ),
    chat("verbosity", verbosity="low"),
    chat("who", user="user-1", safety_identifier="user-2", metadata={"run": "7"}, store=False),
    chat("tier", service_tier="flex"),
    chat("cache", prompt_cache_key="key-1", prompt_cache_retention="24h"),
    chat("prediction", prediction={"type": "content", "content": "soon"}),
    chat(
        "free-text tool",
        tools=[
            {"type": "custom", "custom": {"name": "run", "description": "M91", "format": {"type": "text"}}}
        ],
    ),
    chat(
        "free-text loop",
        [
            user(),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "M2 ls -l"}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "M3"},
        ],
        tools=[{"type": "custom", "custom": {"name": "run"}}],
    ),
    chat("functions", functions=[{"name": "look_up", "parameters": OPEN}], function_call="auto"),
    chat(
        "functions' loop",
        [
            user(),
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "look_up", "arguments": '{"query": "M2"}'},
            },
            {"role": "function", "name": "look_up", "content": "M3"},
        ],
        functions=[{"name": "look_up", "parameters": OPEN}],
    ),
    chat("modalities", modalities=["text"]),
    chat("search", None, (CHAT,), web_search_options={"search_context_size": "low"}),
    chat(
        "all at once",
        [
            {"role": "system", "content": "M10"},
            *LOOP[:-1],
            user(
                [
                    {"type": "text", "text": "M11"},
                    {"type": "image_url", "image_url": {"url": PNG_URL}},
                    {"type": "file", "file": {"file_data": PDF_URL, "filename": "M12.pdf"}},
                ]
            ),
        ],
        tools=TOOLS,
        tool_choice="auto",
        parallel_tool_calls=True,
        temperature=0.2,
        top_p=0.9,
        max_completion_tokens=900,
        stop=["END"],
        seed=1,
        user="u",
        metadata={"a": "b"},
        reasoning_effort="medium",
        verbosity="high",
        service_tier="default",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
        },
    ),
]
