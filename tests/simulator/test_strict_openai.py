"""What OpenAI's chat and Responses refuse, and conversations that live at the provider."""

import httpx
import openai
import pytest

ASK = [{"role": "user", "content": "Weather?"}]
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
LOOK = "replies: [{tool_calls: [{name: get_weather}], reasoning: Let me look. ❄}]"
RESULT = {"type": "function_call_output", "output": "sunny"}


@pytest.fixture
def make(serve):
    def made(script=None, name="oai"):
        served = serve(script, dialect="openai", name=name)
        return served, openai.OpenAI(api_key="k", base_url=served.url + "/v1", max_retries=0)

    return made


def refused(ask, **fields):
    with pytest.raises(openai.APIStatusError) as error:
        ask(**fields)
    assert error.value.type == "invalid_request_error"
    return error.value.status_code, error.value.code, error.value.param


def given_back(response):
    """A response's items as they go into the next input, and the results of its calls."""
    items = [item.model_dump(exclude_none=True) for item in response.output]
    return items, [{**RESULT, "call_id": i["call_id"]} for i in items if i["type"] == "function_call"]


def test_tool_messages_answer_calls_and_all_of_them(make):
    _, client = make()
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in (1, 2)
    ]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    results = [{"role": "tool", "tool_call_id": f"call_{n}", "content": "x"} for n in (1, 2, 3)]

    def ask(*messages):
        return client.chat.completions.create(model="gpt-5", messages=[*ASK, *messages])

    assert ask(said, *results[:2]).choices[0].finish_reason == "stop"
    assert ask(said, *results[1::-1]).choices[0].finish_reason == "stop"
    for messages in ([results[0]], [said, results[0]], [said], [said, *results], [said, *ASK, *results[:2]]):
        status, code, param = refused(lambda: ask(*messages))  # noqa: B023 - called at once
        assert (status, code) == (400, None) and param.startswith("messages.[")
    calls[0]["id"] = results[0]["tool_call_id"] = "c" * 41
    assert refused(lambda: ask(said, *results[:2]))[1] == "string_above_max_length"


def test_reasoning_is_given_back_to_its_maker_alone(make):
    (_, client), (_, other) = make(LOOK), make(LOOK, "another")
    asked = {"model": "gpt-5", "tools": [TOOL], "store": False, "include": ["reasoning.encrypted_content"]}
    first = client.responses.create(input=ASK, **asked)
    assert first.output[0].summary[0].text == "Let me look. ❄"
    items, results = given_back(first)
    history = [*ASK, *items, *results]
    client.responses.create(input=history, **asked)
    assert refused(other.responses.create, input=history, **asked) == (400, "invalid_encrypted_content", None)
    # Without its encrypted content it would have to be stored, and it is not.
    bare = [{k: v for k, v in item.items() if k != "encrypted_content"} for item in items]
    assert refused(client.responses.create, input=[*ASK, *bare, *results], **asked)[0] == 404


def test_redacted_reasoning(make):
    served, client = make("replies: [{text: Hi., reasoning: Hush, redacted: true}]")
    asked = {"model": "gpt-5", "input": ASK, "include": ["reasoning.encrypted_content"]}
    whole = client.responses.create(**asked)
    assert whole.output[0].summary == [] and whole.output[0].encrypted_content
    with client.responses.stream(**asked) as stream:
        final = stream.get_final_response()
    assert final.output[0].encrypted_content == whole.output[0].encrypted_content
    assert client.responses.create(model="gpt-5", input=ASK).output[0].encrypted_content is None
    chat = client.chat.completions.create(model="gpt-5", messages=ASK)
    assert not hasattr(chat.choices[0].message, "reasoning_content")
    assert chat.usage.completion_tokens_details.reasoning_tokens == 1
    assert "Hush" not in str([entry["body"] for entry in served.journal()])


def test_a_conversation_goes_on_from_a_stored_response(make):
    served, client = make(LOOK)
    first = client.responses.create(model="gpt-5", input="Weather in Oslo?", tools=[TOOL])
    _, results = given_back(first)
    served.script("replies: [{text: Sunny.}]")
    asked = {"model": "gpt-5", "previous_response_id": first.id}
    second = client.responses.create(input=results, **asked)
    assert second.output_text == "Sunny." and second.previous_response_id == first.id
    alone = client.responses.create(model="gpt-5", input="sunny")
    assert second.usage.input_tokens > alone.usage.input_tokens + 3
    with client.responses.stream(model="gpt-5", input="Sure?", previous_response_id=second.id) as stream:
        third = stream.get_final_response()
    assert third.usage.input_tokens > second.usage.input_tokens
    count = client.responses.input_tokens.count(model="gpt-5", input="Sure?", previous_response_id=second.id)
    assert count.input_tokens == third.usage.input_tokens
    # The call of the first response is still to be answered.
    assert refused(client.responses.create, input="Well?", **asked)[0] == 400
    unstored = client.responses.create(model="gpt-5", input="x", store=False)
    for unknown in (unstored.id, "resp_of_somebody"):
        got = refused(client.responses.create, model="gpt-5", input="x", previous_response_id=unknown)
        assert got == (400, "previous_response_not_found", "previous_response_id")
    served.script("strict: false")
    client.responses.create(model="gpt-5", input="x", previous_response_id="resp_of_somebody")


def test_a_stored_call_comes_with_its_reasoning(make):
    _, client = make(LOOK)
    items, results = given_back(client.responses.create(model="gpt-5", input=ASK, tools=[TOOL]))
    client.responses.create(model="gpt-5", input=[*ASK, *items, *results])
    without = [*ASK, *items[1:], *results]
    assert refused(client.responses.create, model="gpt-5", input=without) == (400, None, "input")


def test_what_does_not_fit_together(make):
    served, client = make()
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "c", "output": "x"}

    def code(*items, **fields):
        return refused(client.responses.create, model="gpt-5", input=[*ASK, *items], **fields)

    client.responses.create(model="gpt-5", input=[*ASK, call, answer])
    assert code(answer) == (400, None, "input")
    assert code(call) == (400, None, "input")
    assert code(extra_body={"top_k": 3}) == (400, "unknown_parameter", "top_k")
    assert code({**call, "x": 1}, answer) == (400, "unknown_parameter", "input[1].x")
    assert code({**call, "id": "toolu_1"}, answer) == (400, "invalid_value", "input[1].id")
    long = [{**item, "call_id": "c" * 65} for item in (call, answer)]
    assert code(*long) == (400, "string_above_max_length", "input[1].call_id")
    served.script("strict: false")
    client.responses.create(model="gpt-5", input=[*ASK, answer], extra_body={"top_k": 3})


TWO_CALLS = "tool_calls: [{name: f, arguments: {a: 1, text: ❄❄❄❄❄❄}}, {name: g, arguments: {b: [1, 2, 3]}}]"


def test_calls_that_take_turns_and_split_characters(make):
    served, client = make(f"{{split_bytes: 1, replies: [{{{TWO_CALLS}, interleave: true}}]}}")
    chat = {"model": "gpt-5", "messages": ASK}
    whole = client.chat.completions.create(**chat).choices[0].message.tool_calls
    with client.chat.completions.stream(**chat) as stream:
        final = stream.get_final_completion().choices[0].message.tool_calls
    assert [c.function.arguments for c in final] == [c.function.arguments for c in whole]
    chunks = client.chat.completions.create(**chat, stream=True)
    order = [c.index for chunk in chunks for c in chunk.choices[0].delta.tool_calls or ()]
    assert order[:4] == [0, 1, 0, 1]
    with client.responses.stream(model="gpt-5", input=ASK) as stream:
        events = [e for e in stream if e.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    assert [e.output_index for e in events][:4] == [0, 1, 0, 1]
    assert [item.arguments for item in final.output] == [c.function.arguments for c in whole]
    served.script(f"replies: [{{{TWO_CALLS}, split_bytes: 7}}]")
    chunks = client.chat.completions.create(**chat, stream=True)
    order = [c.index for chunk in chunks for c in chunk.choices[0].delta.tool_calls or ()]
    assert order == sorted(order)


def test_azure(serve):
    served = serve("{}", dialect="openai", name="az")
    client = openai.AzureOpenAI(
        api_key="k", azure_endpoint=served.url, api_version="2025-04-01-preview", max_retries=0
    )
    chat = client.chat.completions.create(model="my-deployment", messages=ASK)
    assert chat.model == "my-deployment" and chat.choices[0].content_filter_results["hate"]["severity"]
    chunks = list(client.chat.completions.create(model="my-deployment", messages=ASK, stream=True))
    assert chunks[0].choices == [] and chunks[0].prompt_filter_results
    text = "".join(c.choices[0].delta.content or "" for c in chunks[1:])
    assert text == chat.choices[0].message.content == "az answering as my-deployment: Weather?"
    assert client.responses.create(model="my-deployment", input="Weather?").output_text == text
    assert len(client.embeddings.create(model="e", input="a").data[0].embedding) == 1536
    new = openai.OpenAI(api_key="k", base_url=f"{served.url}/openai/v1", max_retries=0)
    assert new.responses.create(model="d", input="x").status == "completed"
    assert [e["model"] for e in served.journal()][:2] == ["my-deployment"] * 2
    for status, code in ((401, "401"), (404, "DeploymentNotFound"), (429, "429")):
        served.script(f"faults: [{{status: {status}}}]")
        with pytest.raises(openai.APIStatusError) as error:
            client.chat.completions.create(model="my-deployment", messages=ASK)
        assert (error.value.status_code, error.value.code) == (status, code)
    served.script("keys: [right]")
    with pytest.raises(openai.AuthenticationError, match="invalid subscription key"):
        client.chat.completions.create(model="my-deployment", messages=ASK)
    served.script("{}")
    undated = f"{served.url}/openai/deployments/d/chat/completions"
    answer = httpx.post(undated, json={"messages": ASK}, headers={"api-key": "k"})
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "404"
