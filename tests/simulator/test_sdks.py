"""The official SDKs find nothing amiss."""

import json

import anthropic
import openai
import pytest
from pydantic import BaseModel

TOOL_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": TOOL_SCHEMA}}
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "parameters": TOOL_SCHEMA, "strict": False}
ANTHROPIC_TOOL = {"name": "get_weather", "input_schema": TOOL_SCHEMA}
HELLO = [{"role": "user", "content": "Hello there"}]
TWO_CALLS = "replies: [{tool_calls: [{}, {name: get_weather, arguments: {city: Oslo, days: 4}}]}]"


@pytest.fixture
def oai(serve):
    def make(script=None, **options):
        served = serve(script, dialect="openai", name="oai")
        client = openai.OpenAI(api_key="k", base_url=served.url + "/v1", max_retries=0, **options)
        return served, client

    return make


@pytest.fixture
def ant(serve):
    def make(script=None, **options):
        served = serve(script, dialect="anthropic-messages", name="ant")
        return served, anthropic.Anthropic(api_key="k", base_url=served.url, max_retries=0, **options)

    return make


def test_chat_whole_and_streamed_agree(oai):
    _, client = oai()
    whole = client.chat.completions.create(model="gpt-5", messages=HELLO)
    assert whole.choices[0].message.content == "oai answering as gpt-5: Hello there"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.prompt_tokens == 3  # ceil(11 / 4)
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    chunks = list(
        client.chat.completions.create(
            model="gpt-5", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage and chunks[-1].choices == []
    plain = list(client.chat.completions.create(model="gpt-5", messages=HELLO, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


def test_chat_tools_whole_and_streamed(oai):
    _, client = oai(TWO_CALLS)
    asked = {"model": "gpt-5", "messages": HELLO, "tools": [CHAT_TOOL]}
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.finish_reason == "tool_calls" and whole.message.content is None
    assert [c.function.arguments for c in whole.message.tool_calls] == [
        '{"city": "city", "days": 3}',
        '{"city": "Oslo", "days": 4}',
    ]
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion().choices[0]
    assert [c.function.arguments for c in final.message.tool_calls] == [
        c.function.arguments for c in whole.message.tool_calls
    ]
    assert len({c.id for c in final.message.tool_calls}) == 2


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_forced_tool_is_called_unscripted(oai, choice):
    _, client = oai()
    asked = {"model": "gpt-5", "messages": HELLO, "tools": [CHAT_TOOL]}
    forced = client.chat.completions.create(**asked, tool_choice=choice).choices[0]
    assert forced.message.tool_calls[0].function.name == "get_weather"
    assert client.chat.completions.create(**asked).choices[0].message.tool_calls is None


def test_structured_output_fits_the_schema(oai):
    class Person(BaseModel):
        name: str
        age: int
        tags: list[str]

    _, client = oai()
    chat = client.chat.completions.parse(model="gpt-5", messages=HELLO, response_format=Person)
    assert isinstance(chat.choices[0].message.parsed, Person)
    assert isinstance(
        client.responses.parse(model="gpt-5", input="x", text_format=Person).output_parsed, Person
    )


def test_responses_whole_and_streamed_agree(oai):
    _, client = oai("replies: [{text: 'Forty two.', reasoning: Let me think, tokens: {cache_read: 7}}]")
    whole = client.responses.create(model="gpt-5", input="Hello there")
    assert whole.output_text == "Forty two." and whole.status == "completed"
    assert whole.output[0].summary[0].text == "Let me think"
    assert whole.usage.input_tokens == 10 and whole.usage.input_tokens_details.cached_tokens == 7
    assert whole.usage.output_tokens_details.reasoning_tokens == 3
    with client.responses.stream(model="gpt-5", input="Hello there") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert [e.type for e in events[:3]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert events[-1].type == "response.completed"
    assert final.output_text == whole.output_text and final.usage == whole.usage


def test_responses_tools(oai):
    _, client = oai(TWO_CALLS)
    asked = {"model": "gpt-5", "input": "Hello", "tools": [RESPONSES_TOOL]}
    whole = client.responses.create(**asked)
    assert [(i.type, i.name) for i in whole.output] == [("function_call", "get_weather")] * 2
    with client.responses.stream(**asked) as stream:
        final = stream.get_final_response()
    assert [i.arguments for i in final.output] == [i.arguments for i in whole.output]


def test_embeddings_both_encodings(oai):
    served, client = oai()
    got = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    assert [len(d.embedding) for d in got.data] == [8, 8]
    floats = client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], dimensions=8, encoding_format="float"
    )
    assert floats.data[1].embedding == pytest.approx(got.data[1].embedding)
    assert got.usage.prompt_tokens == 1
    assert [e["surface"] for e in served.journal()] == ["openai-embeddings"] * 2


def test_models(oai, ant):
    _, client = oai("models: [a, b]")
    assert [m.id for m in client.models.list()] == ["a", "b"]
    assert client.models.retrieve("b").id == "b"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("c")
    _, other = ant()
    assert "claude-sonnet-4-5" in [m.id for m in other.models.list()]


def test_messages_whole_and_streamed_agree(ant):
    _, client = ant("replies: [{reasoning: Hm., tokens: {cache_read: 5, cache_write: 2}}]")
    asked = {"model": "claude-x", "max_tokens": 100, "messages": HELLO}
    whole = client.messages.create(**asked)
    assert [b.type for b in whole.content] == ["thinking", "text"]
    assert whole.content[1].text == "ant answering as claude-x: Hello there"
    assert whole.stop_reason == "end_turn"
    assert (whole.usage.input_tokens, whole.usage.cache_read_input_tokens) == (3, 5)
    with client.messages.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert [b.model_dump(exclude={"parsed_output"}) for b in final.content] == [
        b.model_dump() for b in whole.content
    ]
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert client.messages.count_tokens(model="claude-x", messages=HELLO).input_tokens == 3


def test_messages_tools(ant):
    _, client = ant()
    asked = {"model": "claude-x", "max_tokens": 100, "messages": HELLO, "tools": [ANTHROPIC_TOOL]}
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        whole = client.messages.create(**asked, tool_choice=choice)
        assert whole.stop_reason == "tool_use"
        assert whole.content[0].input == {"city": "city", "days": 3}
        with client.messages.stream(**asked, tool_choice=choice) as stream:
            assert stream.get_final_message().content[0].input == {"city": "city", "days": 3}


def test_max_tokens_cuts_the_text(ant, oai):
    _, client = ant()
    short = client.messages.create(model="claude-x", max_tokens=2, messages=HELLO)
    assert short.stop_reason == "max_tokens" and short.content[0].text == "ant answ"
    assert short.usage.output_tokens == 2
    _, other = oai()
    with other.responses.stream(model="gpt-5", input="Hello", max_output_tokens=16) as stream:
        events = list(stream)
    assert events[-1].type in ("response.completed", "response.incomplete")


STATUSES = {
    400: (openai.BadRequestError, anthropic.BadRequestError, "invalid_request_error"),
    401: (openai.AuthenticationError, anthropic.AuthenticationError, "authentication_error"),
    402: (openai.APIStatusError, anthropic.APIStatusError, "billing_error"),
    403: (openai.PermissionDeniedError, anthropic.PermissionDeniedError, "permission_error"),
    404: (openai.NotFoundError, anthropic.NotFoundError, "not_found_error"),
    408: (openai.APIStatusError, anthropic.APIStatusError, "timeout_error"),
    409: (openai.ConflictError, anthropic.ConflictError, "conflict_error"),
    413: (openai.APIStatusError, anthropic.APIStatusError, "request_too_large"),
    429: (openai.RateLimitError, anthropic.RateLimitError, "rate_limit_error"),
    500: (openai.InternalServerError, anthropic.InternalServerError, "api_error"),
    503: (openai.InternalServerError, anthropic.InternalServerError, "api_error"),
    529: (openai.InternalServerError, anthropic.InternalServerError, "overloaded_error"),
}


def test_statuses_in_each_dialects_shape(oai, ant):
    (first, client), (second, other) = oai(), ant()
    for status, (theirs, ours, kind) in STATUSES.items():
        script = f"faults: [{{status: {status}, retry_after_s: 2.5}}]"
        first.script(script)
        second.script(script)
        with pytest.raises(theirs) as seen:
            client.chat.completions.create(model="m", messages=HELLO, stream=True)
        assert seen.value.status_code == status and seen.value.type
        assert seen.value.response.headers["retry-after"] == "3"
        with pytest.raises(ours) as got:
            other.messages.create(model="m", max_tokens=9, messages=HELLO)
        assert got.value.status_code == status
        assert got.value.body["error"]["type"] == kind and got.value.request_id.startswith("req_")
    first.script("faults: [{status: 429, error: {code: insufficient_quota}}]")
    second.script("faults: [{status: 429}]")
    with pytest.raises(openai.RateLimitError) as seen:
        client.responses.create(model="m", input="x")
    assert seen.value.code == seen.value.type == "insufficient_quota"
    assert seen.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(anthropic.RateLimitError) as got:
        other.messages.create(model="m", max_tokens=9, messages=HELLO)
    assert got.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


def test_error_events_reach_the_sdks(oai, ant):
    served, client = oai("faults: [{error_event: true, after_events: 2}]")
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    with pytest.raises(openai.APIError, match="had an error"):
        list(client.responses.create(model="m", input="x", stream=True))
    with client.responses.with_streaming_response.create(model="m", input="x", stream=True) as raw:
        events = [json.loads(line[6:]) for line in raw.iter_lines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "error",
        "response.failed",
    ]
    assert events[-1]["sequence_number"] == 3
    assert [e["outcome"] for e in served.journal()] == ["error-event"] * 3
    _, other = ant("faults: [{error_event: true}]")
    with pytest.raises(anthropic.APIStatusError) as got:
        list(other.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True))
    assert got.value.body["error"]["type"] == "overloaded_error"


def test_keys(oai, ant):
    served, client = oai("keys: [right]")
    with pytest.raises(openai.AuthenticationError) as seen:
        client.chat.completions.create(model="m", messages=HELLO)
    assert seen.value.code == "invalid_api_key"
    client.with_options(api_key="right").chat.completions.create(model="m", messages=HELLO)
    assert [e["outcome"] for e in served.journal()] == ["error", "ok"]
    served.script("expire: {right: 1790000000}")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="right").chat.completions.create(model="m", messages=HELLO)
    _, other = ant("keys: [right]")
    with pytest.raises(anthropic.AuthenticationError):
        other.messages.create(model="m", max_tokens=9, messages=HELLO)
    other.with_options(api_key="right").messages.create(model="m", max_tokens=9, messages=HELLO)
