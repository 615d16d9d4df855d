"""What Claude refuses, at Anthropic, at Bedrock (Converse and InvokeModel) and on Vertex AI."""

import json

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import httpx
import pytest

CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.amazon.nova-pro-v1:0"
ASK = {"role": "user", "content": "Weather?"}
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
THINK = {"type": "enabled", "budget_tokens": 2000}
LOOK = "{tool_calls: [{name: get_weather}, {name: get_weather}], reasoning: Let me look. ❄"
KEYS = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


def direct(served):
    return anthropic.Anthropic(api_key="k", base_url=served.url, max_retries=0)


def bedrock(served):
    return anthropic.AnthropicBedrock(base_url=served.url, aws_region="us-east-1", max_retries=0, **KEYS)


def vertex(served):
    where = {"region": "us-east5", "project_id": "p", "access_token": "k"}
    return anthropic.AnthropicVertex(base_url=f"{served.url}/v1", max_retries=0, **where)


HOUSES = {"anthropic": direct, "bedrock": bedrock, "vertex": vertex}


@pytest.fixture(params=sorted(HOUSES))
def make(serve, request):
    def made(script=None, name="ant"):
        served = serve(script, name=name)
        return served, HOUSES[request.param](served)

    return made


def ask(client, *messages, **fields):
    asked = {"model": CLAUDE, "max_tokens": 4000, "messages": messages, "tools": [TOOL], **fields}
    return client.messages.create(**asked)


def refused(client, *messages, **fields):
    with pytest.raises(anthropic.BadRequestError) as error:
        ask(client, *messages, **fields)
    return str(error.value)


def results(message, **changed):
    calls = [block.id for block in message.content if block.type == "tool_use"]
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": i, "content": "sunny", **changed} for i in calls],
    }


def assistant(content):
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize("redacted", [False, True])
def test_thinking_is_given_back_to_its_maker_alone(make, redacted):
    script = f"replies: [{LOOK}, redacted: {str(redacted).lower()}}}]"
    (_, client), (_, other) = make(script), make(script, "another")
    first = ask(client, ASK, thinking=THINK)
    with client.messages.stream(
        model=CLAUDE, max_tokens=4000, messages=[ASK], tools=[TOOL], thinking=THINK
    ) as stream:
        final = stream.get_final_message()
    thought = first.content[0]
    assert final.content[0].model_dump() == thought.model_dump()
    assert thought.type == ("redacted_thinking" if redacted else "thinking")
    said = assistant([block.model_dump(exclude_none=True) for block in first.content])
    ask(client, ASK, said, results(first), thinking=THINK)
    wrong = "Invalid `data` in `redacted_thinking`" if redacted else "Invalid `signature` in `thinking`"
    assert f"messages.1.content.0: {wrong} block" in refused(other, ASK, said, results(first), thinking=THINK)
    assert wrong in refused(other, ASK, said, results(first))
    if not redacted:
        said["content"][0]["thinking"] += "!"
        assert wrong in refused(client, ASK, said, results(first), thinking=THINK)
        # Left out, for those who want it so, it still has its signature.
        omitted = ask(client, ASK, thinking={**THINK, "display": "omitted"}).content[0]
        assert (omitted.thinking, omitted.signature) == ("", thought.signature)
        said["content"][0]["thinking"] = ""
        ask(client, ASK, said, results(first), thinking=THINK)
    del said["content"][0]
    expected = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    assert expected in refused(client, ASK, said, results(first), thinking=THINK)
    ask(client, ASK, said, results(first))
    ask(client, ASK, said, results(first), thinking={"type": "adaptive"})


def test_a_call_made_without_thinking_comes_back_without(make):
    _, client = make("replies: [{tool_calls: [{name: get_weather}]}]")
    first = ask(client, ASK, thinking=THINK)
    ask(client, ASK, assistant(first.content), results(first), thinking=THINK)
    foreign = {"type": "tool_use", "id": "toolu_elsewhere", "name": "get_weather", "input": {}}
    answer = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": foreign["id"]}]}
    assert "Expected `thinking`" in refused(client, ASK, assistant([foreign]), answer, thinking=THINK)


def test_tools_are_answered_at_once_and_all_of_them(make):
    _, client = make(f"replies: [{LOOK}}}]")
    first = ask(client, ASK)
    said, answer = assistant([b.model_dump() for b in first.content if b.type == "tool_use"]), results(first)
    text = {"type": "text", "text": "And?"}
    ask(client, ASK, said, {**answer, "content": [*answer["content"], text]})
    ask(client, ASK, said, *[{**answer, "content": [block]} for block in answer["content"]])
    for messages in (
        [ASK, said],
        [ASK, said, ASK],
        [ASK, said, {**answer, "content": answer["content"][:1]}],
        [ASK, said, {**answer, "content": [text, *answer["content"]]}],
    ):
        assert "`tool_use` ids were found without `tool_result`" in refused(client, *messages)
    assert "unexpected `tool_use_id`" in refused(client, ASK, answer)
    assert "unexpected `tool_use_id`" in refused(client, ASK, said, answer, assistant("Hm"), answer)
    twice = assistant([said["content"][0]] * 2)
    assert "ids must be unique" in refused(client, ASK, twice, answer)


def test_other_rules(make):
    served, client = make()
    ask(client, ASK, ASK, assistant("Hm"), assistant("well"), ASK)
    assert 'first message must use the "user" role' in refused(client, assistant("Hm"), ASK)
    assert "non-empty" in refused(client, {"role": "user", "content": ""})
    assert "non-empty" in refused(client, {"role": "user", "content": [{"type": "text", "text": ""}]})
    few = {"type": "enabled", "budget_tokens": 4000}
    assert "`max_tokens` must be greater" in refused(client, ASK, thinking=few)
    assert "greater than or equal to 1024" in refused(client, ASK, thinking={**few, "budget_tokens": 1000})
    assert "`temperature`" in refused(client, ASK, thinking=THINK, extra_body={"temperature": 0.5})
    assert "tool_choice forces" in refused(client, ASK, thinking=THINK, tool_choice={"type": "any"})
    assert "top_secret: Extra inputs are not permitted" in refused(client, ASK, extra_body={"top_secret": 1})
    odd = {"role": "user", "content": [{"type": "text", "text": "x", "parsed": 1}]}
    assert "messages.0.content.0.text.parsed: Extra inputs" in refused(client, odd)
    assert "messages.0.name: Extra inputs" in refused(client, {**ASK, "name": "Eve"})
    call = {"type": "tool_use", "id": "call:1", "name": "f", "input": {}}
    assert "'^[a-zA-Z0-9_-]+$'" in refused(client, ASK, assistant([call]))
    assert "valid dictionary" in refused(client, ASK, assistant([{**call, "id": "c", "input": "x"}]))
    assert "Input tag 'audio'" in refused(client, {"role": "user", "content": [{"type": "audio"}]})
    assert "name: String should match" in refused(client, ASK, tools=[{**TOOL, "name": "get weather"}])
    assert "must be unique" in refused(client, ASK, tools=[TOOL, TOOL])
    served.script("strict: false")
    ask(client, assistant("Hm"), extra_body={"top_secret": 1})


def test_the_version_is_the_houses_own(serve):
    served = serve()
    wrong = {"extra_body": {"anthropic_version": "vertex-2023-10-16"}}
    assert "bedrock-2023-05-31" in refused(bedrock(served), ASK, **wrong)
    ask(vertex(served), ASK, **wrong)
    ask(bedrock(served), ASK, extra_body={"anthropic_version": "bedrock-2023-05-31"})
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": [ASK]}
    url = f"{served.url}/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict"
    for more, status in (({}, 200), ({"model": "x"}, 400)):
        answer = httpx.post(url, json={**body, **more}, headers={"authorization": "Bearer k"})
        assert answer.status_code == status
    assert answer.json()["error"]["message"] == "model: Extra inputs are not permitted"


# -- Converse


def converse(served):
    keys = {"aws_access_key_id": KEYS["aws_access_key"], "aws_secret_access_key": KEYS["aws_secret_key"]}
    once = botocore.config.Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    where = {"endpoint_url": served.url, "region_name": "us-east-1"}
    return boto3.client("bedrock-runtime", config=once, **where, **keys).converse


TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": {"type": "object"}}}}]}
HELLO = {"role": "user", "content": [{"text": "Weather?"}]}


def validation(api, *messages, **fields):
    asked = {"modelId": CLAUDE, "messages": list(messages), **fields}
    with pytest.raises(botocore.exceptions.ClientError) as error:
        api(**asked)
    assert error.value.response["Error"]["Code"] == "ValidationException"
    return error.value.response["Error"]["Message"]


def answers(message):
    calls = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
    content = [{"toolResult": {"toolUseId": ident, "content": [{"text": "sunny"}]}} for ident in calls]
    return {"role": "user", "content": content}


@pytest.mark.parametrize("redacted", [False, True])
def test_converse_checks_claudes_thinking(serve, redacted):
    script = f"replies: [{LOOK}, redacted: {str(redacted).lower()}}}]"
    api, other = converse(serve(script, name="aws")), converse(serve(script, name="another"))
    think = {"additionalModelRequestFields": {"thinking": THINK}, "toolConfig": TOOLS}
    said = api(modelId=CLAUDE, messages=[HELLO], **think)["output"]["message"]
    turns = [HELLO, said, answers(said)]
    api(modelId=CLAUDE, messages=turns, **think)
    wrong = "Invalid `data`" if redacted else "Invalid `signature`"
    assert wrong in validation(other, *turns, **think)
    other(modelId=NOVA, messages=turns, toolConfig=TOOLS)
    bare = [HELLO, {**said, "content": said["content"][1:]}, turns[2]]
    assert "Expected `thinking`" in validation(api, *bare, **think)
    api(modelId=CLAUDE, messages=bare, toolConfig=TOOLS)
    limit = {"inferenceConfig": {"maxTokens": 2000}}
    assert "`max_tokens` must be greater" in validation(api, HELLO, **think, **limit)


def test_converse_rules(serve):
    served = serve(f"replies: [{LOOK}}}]")
    api = converse(served)
    model = {"role": "assistant", "content": [{"text": "Hm"}]}
    assert "must start with a user message" in validation(api, model)
    assert "must alternate" in validation(api, HELLO, HELLO)
    assert "is blank" in validation(api, {"role": "user", "content": [{"text": ""}]})
    assert "is empty" in validation(api, {"role": "user", "content": []})
    said = api(modelId=NOVA, messages=[HELLO], toolConfig=TOOLS)["output"]["message"]
    answer = answers(said)
    tools = {"toolConfig": TOOLS, "modelId": NOVA}
    api(messages=[HELLO, said, answer], **tools)
    assert "toolConfig field must be defined" in validation(api, HELLO, said, answer)
    assert "exceeds the number of toolUse" in validation(api, HELLO, model, answer, **tools)
    half = {**answer, "content": answer["content"][:1]}
    assert "Expected toolResult blocks at messages.2.content" in validation(api, HELLO, said, half, **tools)
    assert "Expected toolResult blocks" in validation(api, HELLO, said, **tools)
    calls = [b for b in said["content"] if "toolUse" in b]
    twice = {**said, "content": [calls[0], calls[0]]}
    assert "duplicate Ids" in validation(api, HELLO, twice, answer, **tools)


def test_converse_fields(serve):
    served = serve()
    with httpx.Client(base_url=served.url, headers={"authorization": "Bearer k"}) as http:

        def said(**fields):
            answer = http.post(f"/model/{NOVA}/converse", json={"messages": [HELLO], **fields})
            if answer.status_code == 200:
                return ""
            assert answer.headers["x-amzn-errortype"].startswith("ValidationException")
            return answer.json()["message"]

        assert said() == ""
        assert "'stream' is not a known field" in said(stream=True)
        assert "'inferenceConfig.topK'" in said(inferenceConfig={"topK": 3})
        both = {"role": "user", "content": [{"text": "x", "image": {}}]}
        assert "must set one of" in said(messages=[both])
        assert "'messages.0.content.0.type'" in said(
            messages=[{"role": "user", "content": [{"type": "text"}]}]
        )
        spec = {"toolSpec": {"name": "get weather", "inputSchema": {"json": {}}}}
        assert "regular expression" in said(toolConfig={"tools": [spec]})
        use = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a b", "name": "f", "input": {}}}]}
        assert "toolUseId" in said(messages=[HELLO, use])
        assert json.loads(http.post(f"/model/{NOVA}/converse", content=b"{").text)["message"]
        served.script("strict: false")
        assert said(stream=True) == ""
