"""Gemini and Vertex AI: Google's own client, and Anthropic's for Vertex, find nothing amiss."""

import json

import anthropic
import httpx
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from pydantic import BaseModel

FLASH, PRO = "gemini-2.5-flash", "gemini-3-pro-preview"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}
WEATHER = types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)
TWO_CALLS = [{"arguments": {"city": "São Paulo ❄", "days": 5}}, {"arguments": {"city": "Oslo", "days": 4}}]


def client(served, vertex=False, key="k"):
    options = types.HttpOptions(base_url=served.url)
    if vertex:
        token = Credentials(key)
        where = {"project": "p", "location": "us-central1", "credentials": token}
        return genai.Client(vertexai=True, http_options=options, **where)
    return genai.Client(api_key=key, http_options=options)


@pytest.fixture(params=[False, True], ids=["gemini", "vertex"])
def google(serve, request):
    def make(**script):
        served = serve(json.dumps(script), dialect="gemini", name="goo")
        return served, client(served, request.param)

    return make


def config(**fields):
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(automatic_function_calling=off, **fields)


def streamed(api, **asked):
    return list(api.models.generate_content_stream(**asked))


def parts_of(chunks):
    return [p for c in chunks for x in c.candidates for p in x.content.parts or ()]


def test_whole_and_streamed_agree(google):
    tokens = {"cache_read": 5}
    served, api = google(
        replies=[{"reasoning": "Hm. ❄", "text": "Für dich: ❄❄", "tokens": tokens}], split_bytes=3
    )
    whole = api.models.generate_content(model=FLASH, contents="Hello there")
    assert whole.text == "Für dich: ❄❄"
    thought, text = whole.candidates[0].content.parts
    assert thought.thought and thought.text == "Hm. ❄" and text.thought_signature
    usage = whole.usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (8, 5)
    assert usage.total_token_count == 8 + usage.candidates_token_count + usage.thoughts_token_count
    chunks = streamed(api, model=FLASH, contents="Hello there")
    parts = parts_of(chunks)
    assert "".join(p.text for p in parts if not p.thought) == whole.text
    assert "".join(p.text for p in parts if p.thought) == thought.text
    assert [p.thought_signature for p in parts if p.thought_signature] == [text.thought_signature]
    assert chunks[-1].usage_metadata == usage
    assert [c.candidates[0].finish_reason for c in chunks][-2:] == [None, types.FinishReason.STOP]
    assert served.journal()[0]["surface"] == "gemini"


@pytest.mark.parametrize("model", [FLASH, PRO])
def test_tools(google, model):
    _, api = google(replies=[{"tool_calls": TWO_CALLS, "interleave": True}])
    asked = {
        "model": model,
        "contents": "Hello",
        "config": config(tools=[types.Tool(function_declarations=[WEATHER])]),
    }
    for answer in ([api.models.generate_content(**asked)], streamed(api, **asked)):
        parts = [p for p in parts_of(answer) if p.function_call]
        assert [p.function_call.args for p in parts] == [call["arguments"] for call in TWO_CALLS]
        # Of parallel calls the first one is signed, and by the newer models alone unless they thought.
        assert [bool(p.thought_signature) for p in parts] == [model == PRO, False]
        assert [bool(p.function_call.id) for p in parts] == [model == PRO] * 2


def test_forced_tools_schemas_and_limits(google):
    _, api = google()
    tool = types.Tool(function_declarations=[WEATHER])
    calling = types.FunctionCallingConfig(mode="ANY")
    forced = config(tools=[tool], tool_config=types.ToolConfig(function_calling_config=calling))
    answer = api.models.generate_content(model=FLASH, contents="Hello", config=forced)
    assert answer.function_calls[0].args == {"city": "city", "days": 3}

    class Person(BaseModel):
        name: str
        age: int
        tags: list[str]

    for schema in ({"response_schema": Person}, {"response_json_schema": Person.model_json_schema()}):
        wanted = config(response_mime_type="application/json", **schema)
        answer = api.models.generate_content(model=FLASH, contents="Hello", config=wanted)
        assert Person.model_validate_json(answer.text)
    answer = api.models.generate_content(model=FLASH, contents="Hello", config=config(max_output_tokens=2))
    assert answer.text == "goo answ" and answer.candidates[0].finish_reason == "MAX_TOKENS"


def test_counts_embeddings_models(google, serve):
    _, api = google()
    assert api.models.count_tokens(model=FLASH, contents="Hello there").total_tokens == 3
    for model in ("text-embedding-005", "gemini-embedding-001"):
        size = types.EmbedContentConfig(output_dimensionality=8)
        got = api.models.embed_content(model=model, contents=["a", "b"], config=size)
        assert [len(e.values) for e in got.embeddings] == [8, 8]
    served = serve("models: [gemini-a, gemini-b]", dialect="gemini")
    listed = client(served)
    assert [m.name for m in listed.models.list()] == ["models/gemini-a", "models/gemini-b"]
    assert listed.models.get(model="gemini-b").name == "models/gemini-b"
    with pytest.raises(errors.ClientError) as error:
        listed.models.get(model="gemini-c")
    assert error.value.code == 404


STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def test_errors_in_googles_shape(google):
    served, api = google()
    for status, name in STATUSES.items():
        served.script(f"faults: [{{status: {status}, retry_after_s: 34}}]")
        for ask in (api.models.generate_content, lambda **asked: streamed(api, **asked)):
            with pytest.raises(errors.APIError) as error:
                ask(model=FLASH, contents="Hello")
            assert (error.value.code, error.value.status) == (status, name)
            assert "retry-after" not in error.value.response.headers
            details = error.value.details["error"]["details"]
            assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"} in details
    served.script("faults: [{error_event: true, after_events: 2, error: {message: Boom}}]")
    seen = []
    with pytest.raises(errors.ServerError, match="Boom"):
        seen.extend(api.models.generate_content_stream(model=FLASH, contents="Hello"))
    assert len(seen) == 2


def test_keys(serve):
    served = serve("keys: [right]", name="goo")
    for vertex, missing in ((False, 400), (True, 401)):
        api = client(served, vertex, "right")
        api.models.generate_content(model=FLASH, contents="Hello")
        api = client(served, vertex, "wrong")
        with pytest.raises(errors.ClientError) as error:
            api.models.generate_content(model=FLASH, contents="Hello")
        assert error.value.code == missing
    url = f"{served.url}/v1beta/models/{FLASH}:generateContent"
    body = {"contents": [{"parts": [{"text": "Hello"}]}]}
    assert httpx.post(url + "?key=right", json=body).status_code == 200
    assert httpx.post(url, json=body).json()["error"]["status"] == "PERMISSION_DENIED"
    assert httpx.post(url, json=body, headers={"x-api-key": "right"}).status_code == 403
    served.script("expire: {right: 1790000000}")
    api = client(served, True, "right")
    with pytest.raises(errors.ClientError) as error:
        api.models.generate_content(model=FLASH, contents="Hello")
    assert error.value.code == 401


def test_a_stream_that_is_an_array(serve):
    served = serve("replies: [{text: one two three}]", name="goo")
    url = f"{served.url}/v1beta/models/{FLASH}:streamGenerateContent"
    body = {"contents": [{"parts": [{"text": "Hello"}]}]}

    def ask(**script):
        served.script(json.dumps({"replies": [{"text": "one two three"}], **script}))
        return httpx.post(url, json=body, headers={"x-goog-api-key": "k"})

    answer = ask()
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    texts = [c["candidates"][0]["content"]["parts"][0]["text"] for c in answer.json()]
    assert texts == ["", "one ", "two ", "three", ""]
    assert len(ask(faults=[{"pings": 2}]).json()) == 5
    for after, count in ((0, 1), (2, 3)):
        chunks = ask(faults=[{"error_event": True, "after_events": after}]).json()
        assert len(chunks) == count and chunks[-1]["error"]["status"] == "UNAVAILABLE"


def vertex_claude(served):
    return anthropic.AnthropicVertex(
        region="us-east5", project_id="p", access_token="k", base_url=f"{served.url}/v1", max_retries=0
    )


def test_anthropics_client_on_vertex(serve):
    served = serve("replies: [{reasoning: Hm., text: 'Hi ❄', split_bytes: 5}]", name="goo")
    api = vertex_claude(served)
    hello = [{"role": "user", "content": "Hello there"}]
    asked = {"model": "claude-sonnet-4-5@20250929", "max_tokens": 100, "messages": hello}
    whole = api.messages.create(**asked)
    with api.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert final.content[1].text == whole.content[1].text == "Hi ❄"
    assert final.usage.output_tokens == whole.usage.output_tokens
    counted = api.messages.count_tokens(model=asked["model"], messages=hello)
    assert counted.input_tokens == 3
    entry = served.journal()[0]
    assert (entry["surface"], entry["model"]) == ("anthropic-messages", asked["model"])
    # What Vertex refuses by itself, and what Anthropic's model does.
    for status, kind in ((429, "status"), (529, "type")):
        served.script(f"faults: [{{status: {status}}}]")
        with pytest.raises(anthropic.APIStatusError) as error:
            api.messages.create(**asked)
        assert kind in error.value.body["error"]
    served.script("faults: [{error_event: true, match: {stream: true}}]")
    with pytest.raises(anthropic.APIStatusError), api.messages.stream(**asked) as stream:
        stream.get_final_message()
