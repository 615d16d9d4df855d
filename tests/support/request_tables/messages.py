"""Requests of clients of the Messages API."""

from __future__ import annotations

from typing import Any

from .common import ALL, CHAT, GEMINI, MESSAGES, NESTED, OPEN, PDF, PNG, RESPONSES, SCHEMA, Row, user


def messages(name: str, given: Any = None, only: tuple[str, ...] = ALL, **fields: Any) -> Row:
    body = {"model": "pool", "max_tokens": 4000, "messages": given or [user()], **fields}
    return name, body, only


def words(said: str = "M1", **more: Any) -> Any:
    return {"type": "text", "text": said, **more}


def use(ident: str, name: str = "get_weather", given: Any = None) -> Any:
    return {
        "type": "tool_use",
        "id": ident,
        "name": name,
        "input": given or {"city": "M2 São Paulo 🌆", "days": 3},
    }


def result(ident: str, content: Any = None, **more: Any) -> Any:
    return {
        "type": "tool_result",
        "tool_use_id": ident,
        **({} if content is None else {"content": content}),
        **more,
    }


EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
GET = {"name": "get_weather", "description": "M91", "input_schema": SCHEMA}
LOOK = {"name": "look_up", "input_schema": OPEN}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PAPER = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
NOTES = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "M2 notes"}}
SPOKEN = [
    user("M1"),
    {
        "role": "assistant",
        "content": [
            words("M3 Let me see."),
            use("toolu_1"),
            use("toolu_2", "look_up", {"query": "M4"}),
            use("toolu_3"),
        ],
    },
    {
        "role": "user",
        "content": [
            result("toolu_1", "M5 sunny ☀"),
            result("toolu_2", [words("M6")]),
            result("toolu_3", "M7 broken", is_error=True),
            words("M8"),
        ],
    },
]
OF_ANOTHER = "mb1:elsewhere:anthropic-messages.signature:AAAA"
MESSAGES_ROWS: list[Row] = [
    messages("text"),
    messages("system", system="M2 Be brief."),
    messages("system blocks", system=[words("M2"), words("M3", cache_control=HOUR)]),
    messages("turns", [user(), {"role": "assistant", "content": "M2"}, user([words("M3")])]),
    messages("two users in a row", [user(), user("M2")]),
    messages("cached", [user([words("M1", cache_control=EPHEMERAL), words("M2")])]),
    messages(
        "cached for an hour", [user([words("M1", cache_control=HOUR), words("M2", cache_control=EPHEMERAL)])]
    ),
    messages(
        "image by URL",
        [
            user(
                [
                    {"type": "image", "source": {"type": "url", "url": "https://images.example/M2.png"}},
                    words(),
                ]
            )
        ],
        (CHAT, RESPONSES, MESSAGES, GEMINI),
    ),
    messages("image in base64", [user([{**PICTURE, "cache_control": EPHEMERAL}, words()])]),
    messages("document", [user([{**PAPER, "title": "M2 Bericht über 2024.pdf"}, words()])]),
    messages(
        "document by URL",
        [
            user(
                [
                    {"type": "document", "source": {"type": "url", "url": "https://papers.example/M2.pdf"}},
                    words(),
                ]
            )
        ],
        (RESPONSES, MESSAGES, GEMINI),
    ),
    messages("text document", [user([NOTES, words()])]),
    messages(
        "cited document",
        [user([{**NOTES, "title": "M3", "context": "M4", "citations": {"enabled": True}}, words()])],
    ),
    messages(
        "content document",
        [
            user(
                [
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [words("M2"), words("M3")]},
                    },
                    words(),
                ]
            )
        ],
    ),
    messages("tools", tools=[GET, LOOK]),
    messages(
        "strict and cached tools", tools=[{**GET, "strict": True}, {**LOOK, "cache_control": EPHEMERAL}]
    ),
    messages("nested schema", tools=[{"name": "way", "input_schema": NESTED}]),
    messages("tool of a type", tools=[{**GET, "type": "custom"}]),
    messages("any tool", tools=[GET, LOOK], tool_choice={"type": "any"}),
    messages("this tool", tools=[GET, LOOK], tool_choice={"type": "tool", "name": "look_up"}),
    messages("no tool", tools=[GET, LOOK], tool_choice={"type": "none"}),
    messages(
        "one call at a time",
        tools=[GET, LOOK],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    ),
    messages("loop", SPOKEN, tools=[GET, LOOK]),
    messages("loop whose tools are gone", SPOKEN),
    messages(
        "results with pictures",
        [
            user(),
            {"role": "assistant", "content": [use("toolu_1")]},
            {"role": "user", "content": [result("toolu_1", [words("M3"), PICTURE])]},
        ],
        tools=[GET],
    ),
    messages(
        "empty result",
        [
            user(),
            {"role": "assistant", "content": [use("toolu_1")]},
            {"role": "user", "content": [result("toolu_1")]},
        ],
        tools=[GET],
    ),
    messages(
        "cached loop",
        [
            user([words(cache_control=EPHEMERAL)]),
            {"role": "assistant", "content": [{**use("toolu_1"), "cache_control": EPHEMERAL}]},
            {"role": "user", "content": [result("toolu_1", "M3", cache_control=EPHEMERAL)]},
        ],
        tools=[GET],
    ),
    messages("thinking", thinking={"type": "enabled", "budget_tokens": 2000}),
    messages("adaptive thinking", thinking={"type": "adaptive"}),
    messages("no thinking", thinking={"type": "disabled"}),
    messages("effort", output_config={"effort": "low"}),
    messages(
        "another's thinking",
        [
            user(),
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm", "signature": OF_ANOTHER}, words("M2")],
            },
            user("M3"),
        ],
    ),
    messages(
        "another's hidden thinking",
        [
            user(),
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "redacted_thinking",
                        "data": "mb1:elsewhere:anthropic-messages.redacted_thinking:AAAA",
                    },
                    words("M2"),
                ],
            },
            user("M3"),
        ],
    ),
    messages(
        "another's thinking in a loop",
        [
            user(),
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm", "signature": OF_ANOTHER}, use("toolu_1")],
            },
            {"role": "user", "content": [result("toolu_1", "M3")]},
        ],
        tools=[GET],
        thinking={"type": "enabled", "budget_tokens": 2000},
    ),
    messages("stops", stop_sequences=["END", "###"]),
    messages("sampling", temperature=0.5, top_k=40),
    messages("top_p", top_p=0.9),
    messages("schema", output_config={"format": {"type": "json_schema", "schema": NESTED}}),
    messages(
        "schema and tools",
        SPOKEN,
        tools=[GET, LOOK],
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    ),
    messages("who", metadata={"user_id": "user-1"}),
    messages("tier", service_tier="standard_only"),
    messages("cached as a whole", cache_control=EPHEMERAL),
    messages(
        "citations in history",
        [
            user(),
            {
                "role": "assistant",
                "content": [
                    words(
                        "M2",
                        citations=[
                            {
                                "type": "web_search_result_location",
                                "url": "https://a.example",
                                "title": "A",
                                "cited_text": "x",
                                "encrypted_index": "AAAA",
                            }
                        ],
                    )
                ],
            },
            user("M3"),
        ],
    ),
    messages(
        "search result",
        [
            user(
                [
                    {
                        "type": "search_result",
                        "source": "https://a.example/M2",
                        "title": "M3",
                        "content": [words("M4")],
                    },
                    words(),
                ]
            )
        ],
        (MESSAGES,),
    ),
    messages("search", None, (MESSAGES,), tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    messages(
        "all at once",
        [
            *SPOKEN,
            {"role": "assistant", "content": "M11"},
            user([words("M12", cache_control=EPHEMERAL), PICTURE, {**PAPER, "title": "M13"}]),
        ],
        system=[words("M10", cache_control=HOUR)],
        tools=[GET, {**LOOK, "cache_control": HOUR}],
        tool_choice={"type": "auto"},
        stop_sequences=["END"],
        temperature=0.2,
        metadata={"user_id": "u"},
        service_tier="auto",
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    ),
]
