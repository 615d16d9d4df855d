"""Requests of clients of the Responses API."""

from __future__ import annotations

from typing import Any

from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming as ResponsesParams

from .common import ALL, CHAT, GEMINI, MESSAGES, NESTED, OPEN, PDF_URL, PNG_URL, RESPONSES, SCHEMA, Row


def said(*content: Any, role: str = "user") -> Any:
    return {"type": "message", "role": role, "content": list(content)}


def text(words: str) -> Any:
    return {"type": "input_text", "text": words}


def responses(name: str, given: Any = "M1 Hello ❄", only: tuple[str, ...] = ALL, **fields: Any) -> Row:
    body: ResponsesParams = {"model": "pool", "input": given, "store": False, **fields}
    return name, body, only


def tool(name: str = "get_weather", schema: Any = SCHEMA, strict: bool = False, **more: Any) -> Any:
    return {
        "type": "function",
        "name": name,
        "description": "M91",
        "parameters": schema,
        "strict": strict,
        **more,
    }


def call_item(
    ident: str, name: str = "get_weather", arguments: str = '{"city": "M2 São Paulo 🌆", "days": 3}'
) -> Any:
    return {"type": "function_call", "call_id": ident, "name": name, "arguments": arguments}


def output_item(ident: str, output: Any) -> Any:
    return {"type": "function_call_output", "call_id": ident, "output": output}


ITEMS = [
    said(text("M1")),
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "M3 Let me see.", "annotations": []}],
    },
    call_item("call_1"),
    call_item("call_2", "look_up", '{"query": "M4"}'),
    output_item("call_2", "M5 sunny ☀"),
    output_item("call_1", [text("M6"), {"type": "input_image", "image_url": PNG_URL, "detail": "auto"}]),
    said({"type": "output_text", "text": "M8 Done.", "annotations": []}, role="assistant")
    | {"id": "msg_2", "status": "completed"},
    {"role": "user", "content": "M9 Thanks"},
]
NO_PICTURES = [
    item if item.get("call_id") != "call_1" or "output" not in item else output_item("call_1", "M6")
    for item in ITEMS
]
KIT = [tool(), tool("look_up", OPEN)]
RUN = {"type": "custom", "name": "run", "description": "M91"}
FOREIGN = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "thought"}],
    "encrypted_content": "mb1:elsewhere:openai-responses.encrypted_content:AAAA",
}
RESPONSES_ROWS: list[Row] = [
    responses("text"),
    responses("instructions", instructions="M2 Be brief."),
    responses("messages", [{"role": "user", "content": "M1"}]),
    responses("typed messages", [said(text("M1"), text("M2"))]),
    responses(
        "roles",
        [
            {"role": "system", "content": "M2"},
            {"role": "developer", "content": [text("M3")]},
            {"role": "user", "content": "M1"},
        ],
        instructions="M4",
    ),
    responses(
        "late developer",
        [
            {"role": "user", "content": "M1"},
            {"role": "assistant", "content": "M2"},
            {"role": "developer", "content": "M3"},
            {"role": "user", "content": "M4"},
        ],
    ),
    responses(
        "turns",
        [
            {"role": "user", "content": "M1"},
            {"role": "assistant", "content": "M2"},
            {"role": "user", "content": "M3"},
        ],
    ),
    responses(
        "image by URL",
        [
            said(
                text("M1"),
                {"type": "input_image", "image_url": "https://images.example/M2.png", "detail": "high"},
            )
        ],
        (CHAT, RESPONSES, MESSAGES, GEMINI),
    ),
    responses(
        "image in base64", [said({"type": "input_image", "image_url": PNG_URL, "detail": "auto"}, text("M1"))]
    ),
    responses(
        "file", [said({"type": "input_file", "file_data": PDF_URL, "filename": "M2 Bericht.pdf"}, text("M1"))]
    ),
    responses(
        "file by URL",
        [said({"type": "input_file", "file_url": "https://papers.example/M2.pdf"}, text("M1"))],
        (RESPONSES, MESSAGES, GEMINI),
    ),
    responses("tools", tools=KIT),
    responses("strict tools", tools=[tool(strict=True), tool("way", NESTED, strict=True)]),
    responses(
        "tool without parameters",
        tools=[{"type": "function", "name": "now", "parameters": None, "strict": None}],
    ),
    responses("free-text tool", tools=[RUN]),
    responses(
        "grammar",
        "M1",
        (RESPONSES,),
        tools=[{**RUN, "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "M2"'}}],
    ),
    responses("no tool", tools=KIT, tool_choice="none"),
    responses("some tool", tools=KIT, tool_choice="required"),
    responses("this tool", tools=KIT, tool_choice={"type": "function", "name": "look_up"}),
    responses(
        "one of these tools",
        tools=KIT,
        tool_choice={
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "get_weather"}],
        },
    ),
    responses("one call at a time", tools=KIT, parallel_tool_calls=False),
    responses("loop", NO_PICTURES, tools=KIT),
    responses("loop with pictures", ITEMS, tools=KIT),
    responses("loop whose tools are gone", NO_PICTURES),
    responses(
        "free-text loop",
        [
            {"role": "user", "content": "M1"},
            {"type": "custom_tool_call", "call_id": "call_1", "name": "run", "input": "M2 ls"},
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": "M3"},
        ],
        tools=[RUN],
    ),
    responses(
        "another's reasoning",
        [{"role": "user", "content": "M1"}, FOREIGN, call_item("call_1"), output_item("call_1", "M5")],
        tools=KIT,
        include=["reasoning.encrypted_content"],
    ),
    responses(
        "refusal in history",
        [
            {"role": "user", "content": "M1"},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "refusal", "refusal": "M2"}],
            },
            {"role": "user", "content": "M3"},
        ],
    ),
    responses(
        "citations in history",
        [
            {"role": "user", "content": "M1"},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [
                    {
                        "type": "output_text",
                        "text": "M2",
                        "annotations": [
                            {
                                "type": "url_citation",
                                "url": "https://a.example",
                                "title": "A",
                                "start_index": 0,
                                "end_index": 2,
                            }
                        ],
                    }
                ],
            },
            {"role": "user", "content": "M3"},
        ],
    ),
    responses(
        "schema",
        text={
            "format": {
                "type": "json_schema",
                "name": "answer",
                "schema": NESTED,
                "strict": True,
                "description": "the answer",
            }
        },
    ),
    responses("loose schema", text={"format": {"type": "json_schema", "name": "answer", "schema": OPEN}}),
    responses("any JSON", "M1 as JSON", (CHAT, RESPONSES, GEMINI), text={"format": {"type": "json_object"}}),
    responses("verbosity", text={"verbosity": "low", "format": {"type": "text"}}),
    responses("effort", reasoning={"effort": "high"}),
    responses(
        "summary", reasoning={"effort": "medium", "summary": "auto"}, include=["reasoning.encrypted_content"]
    ),
    responses("no effort", reasoning={"effort": "none"}),
    responses("max_output_tokens", max_output_tokens=500),
    responses("sampling", temperature=0.5, top_p=0.9),
    responses("logprobs", include=["message.output_text.logprobs"], top_logprobs=3),
    responses("who", metadata={"run": "7"}, safety_identifier="user-2", user="user-1"),
    responses("tier", service_tier="flex"),
    responses("cache", prompt_cache_key="key-1", prompt_cache_retention="24h"),
    responses("truncation", truncation="auto"),
    responses("search", "M1", (RESPONSES,), tools=[{"type": "web_search"}]),
    responses(
        "all at once",
        [
            *ITEMS[:-1],
            said(
                text("M11"),
                {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
                {"type": "input_file", "file_data": PDF_URL, "filename": "M12.pdf"},
            ),
        ],
        instructions="M10",
        tools=KIT,
        tool_choice="auto",
        parallel_tool_calls=True,
        temperature=0.2,
        top_p=0.9,
        max_output_tokens=900,
        metadata={"a": "b"},
        user="u",
        reasoning={"effort": "medium", "summary": "auto"},
        include=["reasoning.encrypted_content"],
        service_tier="default",
        text={
            "format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True},
            "verbosity": "high",
        },
    ),
]
