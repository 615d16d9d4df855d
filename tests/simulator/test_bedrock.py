"""Bedrock: AWS's own client and Anthropic's find nothing amiss, and signatures are checked."""

import contextlib
import json

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer, ParserError
from urllib3.exceptions import ProtocolError

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-micro-v1:0"
HELLO = [{"role": "user", "content": [{"text": "Hello there"}]}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}]}
TWO_CALLS = [{"arguments": {"city": "São Paulo ❄", "days": 5}}, {"arguments": {"city": "Oslo", "days": 4}}]


def client(served, access_key="AKIDEXAMPLE", secret=SECRET, region="us-east-1", token=None):
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=served.url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def bedrock(serve):
    def make(**script):
        served = serve(json.dumps(script), dialect="bedrock-converse", name="aws")
        return served, client(served)

    return make


def folded(stream):
    """A ConverseStream put together as a Converse response."""
    blocks, out, arguments = {}, {}, {}
    for event in stream:
        ((kind, said),) = event.items()
        index = said.get("contentBlockIndex")
        if kind == "contentBlockStart":
            blocks[index] = {"toolUse": dict(said["start"]["toolUse"])}
        elif kind == "contentBlockDelta":
            ((what, delta),) = said["delta"].items()
            if what == "text":
                block = blocks.setdefault(index, {"text": ""})
                block["text"] += delta
            elif what == "toolUse":
                arguments[index] = arguments.get(index, "") + delta["input"]
            elif "redactedContent" in delta:
                blocks[index] = {"reasoningContent": delta}
            else:
                text = blocks.setdefault(index, {"reasoningContent": {"reasoningText": {"text": ""}}})
                for name, value in delta.items():
                    holder = text["reasoningContent"]["reasoningText"]
                    holder[name] = holder.get(name, "") + value
        elif kind in ("messageStop", "metadata"):
            out.update(said)
    for index, text in arguments.items():
        blocks[index]["toolUse"]["input"] = json.loads(text)
    content = [blocks[index] for index in sorted(blocks)]
    return {"content": content, "stopReason": out["stopReason"], "usage": out["usage"]}


def asked_both_ways(api, **asked):
    whole = api.converse(**asked)
    return whole, folded(api.converse_stream(**asked)["stream"])


def unnumbered(content):
    return [{"toolUse": {**b["toolUse"], "toolUseId": "tooluse_"}} if "toolUse" in b else b for b in content]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@pytest.mark.parametrize("redacted", [False, True])
def test_whole_and_streamed_agree(bedrock, model, redacted):
    reply = {"reasoning": "Hm. ❄", "text": "Für dich: ❄❄", "redacted": redacted}
    served, api = bedrock(replies=[{**reply, "tokens": {"cache_read": 5, "cache_write": 2}}], split_bytes=3)
    whole, streamed = asked_both_ways(api, modelId=model, messages=HELLO)
    content = whole["output"]["message"]["content"]
    assert streamed == {"content": content, "stopReason": "end_turn", "usage": whole["usage"]}
    reasoning = content[0]["reasoningContent"]
    if redacted:
        assert "❄".encode() not in reasoning["redactedContent"]
    else:
        assert reasoning["reasoningText"]["text"] == "Hm. ❄"
        assert ("signature" in reasoning["reasoningText"]) == (model == CLAUDE)
    assert content[1] == {"text": "Für dich: ❄❄"}
    usage = whole["usage"]
    assert (usage["inputTokens"], usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (3, 5, 2)
    assert usage["totalTokens"] == 3 + 5 + 2 + usage["outputTokens"]
    assert len(whole["ResponseMetadata"]["RequestId"]) == 36
    entry = served.journal()[0]
    assert (entry["surface"], entry["model"]) == ("bedrock-converse", model)


@pytest.mark.parametrize("interleave", [False, True])
def test_tools(bedrock, interleave):
    _, api = bedrock(replies=[{"tool_calls": TWO_CALLS, "interleave": interleave}])
    asked = {"modelId": NOVA, "messages": HELLO, "toolConfig": TOOLS}
    whole, streamed = asked_both_ways(api, **asked)
    content = whole["output"]["message"]["content"]
    assert whole["stopReason"] == streamed["stopReason"] == "tool_use"
    assert [b["toolUse"]["input"] for b in content] == [call["arguments"] for call in TWO_CALLS]
    assert unnumbered(streamed["content"]) == unnumbered(content)
    indices = [
        next(iter(event.values()))["contentBlockIndex"]
        for event in api.converse_stream(**asked)["stream"]
        if "contentBlockDelta" in event
    ]
    assert (indices != sorted(indices)) == interleave


def test_forced_tools_schemas_and_limits(bedrock):
    _, api = bedrock()
    for choice in ({"any": {}}, {"tool": {"name": "get_weather"}}):
        got = api.converse(modelId=NOVA, messages=HELLO, toolConfig={**TOOLS, "toolChoice": choice})
        assert got["output"]["message"]["content"][0]["toolUse"]["input"] == {"city": "city", "days": 3}
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA)}}}
    got = api.converse(modelId=NOVA, messages=HELLO, outputConfig={"textFormat": form})
    assert json.loads(got["output"]["message"]["content"][0]["text"]) == {"city": "city", "days": 3}
    got = api.converse(modelId=NOVA, messages=HELLO, inferenceConfig={"maxTokens": 2})
    assert got["stopReason"] == "max_tokens"
    assert got["output"]["message"]["content"] == [{"text": "aws answ"}]


def test_counts_and_embeddings(bedrock):
    _, api = bedrock()
    assert api.count_tokens(modelId=CLAUDE, input={"converse": {"messages": HELLO}})["inputTokens"] == 3
    body = json.dumps({"messages": [{"role": "user", "content": "Hello there"}]}).encode()
    assert api.count_tokens(modelId=CLAUDE, input={"invokeModel": {"body": body}})["inputTokens"] == 3

    def embed(model, **asked):
        return json.load(api.invoke_model(modelId=model, body=json.dumps(asked))["body"])

    titan = embed("amazon.titan-embed-text-v2:0", inputText="Hello", dimensions=256)
    assert len(titan["embedding"]) == 256 and titan["inputTextTokenCount"] == 2
    cohere = embed("cohere.embed-english-v3", texts=["a", "b"], input_type="search_document")
    assert [len(vector) for vector in cohere["embeddings"]] == [1024, 1024]
    by_type = embed("cohere.embed-v4:0", texts=["a"], embedding_types=["float"], output_dimension=8)
    assert (
        by_type["embeddings"]["float"][0]
        == embed("cohere.x", texts=["a"], output_dimension=8)["embeddings"][0]
    )


def test_signatures_are_checked(serve):
    served = serve("{}", name="aws")

    def refused(*args, **options):
        with pytest.raises(botocore.exceptions.ClientError) as error:
            client(served, *args, **options).converse(modelId=CLAUDE, messages=HELLO)
        answer = error.value.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
        return answer["Error"]["Code"]

    assert refused(secret="wrong") == "InvalidSignatureException"
    # Of a key that nobody told it of it can't know the secret.
    client(served, "AKIDOTHER", "any").converse(modelId=CLAUDE, messages=HELLO)
    served.script("keys: {AKIDOTHER: its-secret}")
    client(served, "AKIDOTHER", "its-secret").converse(modelId=CLAUDE, messages=HELLO)
    assert refused("AKIDOTHER", "any") == "InvalidSignatureException"
    assert refused() == "UnrecognizedClientException"
    served.script("aws: {access_key: AKID, secret_key: s, region: eu-west-1}")
    client(served, "AKID", "s", "eu-west-1").converse(modelId=CLAUDE, messages=HELLO)
    assert refused("AKID", "s") == "InvalidSignatureException"


def test_keys_of_a_session_need_their_token_and_expire(serve):
    served = serve("{keys: {ASIA: s}, aws: {session_tokens: {ASIA: t}}}", name="aws")

    def asked(token):
        made = client(served, "ASIA", "s", token=token)
        try:
            made.converse(modelId=CLAUDE, messages=HELLO)
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        return "good"

    assert [asked(token) for token in ("t", "other", None)] == [
        "good",
        "UnrecognizedClientException",
        "UnrecognizedClientException",
    ]
    served.script("{keys: {ASIA: s}, expire: {ASIA: 1790000000}}")
    assert asked("t") == "ExpiredTokenException"
    served.script("{keys: {ASIA: s}, expire: {ASIA: 9790000000}}")
    assert asked("t") == "good"


def test_what_is_no_signature_of_this_request(serve):
    served = serve("{}", name="aws")
    url = f"{served.url}/model/{CLAUDE.replace(':', '%3A')}/converse"
    body = json.dumps({"messages": HELLO}).encode()

    def signed(service="bedrock", **changed):
        request = AWSRequest("POST", url, data=body, headers={"content-type": "application/json"})
        SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), service, "us-east-1").add_auth(request)
        return {**dict(request.headers.items()), **changed}

    def kind(headers, content=body):
        answer = httpx.post(url, content=content, headers=headers)
        return answer.headers.get("x-amzn-errortype", "").partition(":")[0] or answer.status_code

    assert kind(signed()) == 200
    assert kind(signed(), body.replace(b"Hello", b"Hallo")) == "InvalidSignatureException"
    assert kind(signed(**{"X-Amz-Date": "20200101T000000Z"})) == "InvalidSignatureException"
    assert kind(signed(service="s3")) == "InvalidSignatureException"
    assert kind({}) == "MissingAuthenticationTokenException"
    assert kind({"authorization": "AWS4-HMAC-SHA256 Credential=a/b"}) == "IncompleteSignatureException"
    assert kind({"authorization": "Bearer bedrock-api-key"}) == 200
    served.script("keys: [right]")
    assert kind({"authorization": "Bearer right"}) == 200
    assert kind({"authorization": "Bearer wrong"}) == "AccessDeniedException"
    assert kind(signed()) == "UnrecognizedClientException"


STATUSES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def test_errors_in_aws_shape(bedrock):
    served, api = bedrock()
    for status, code in STATUSES.items():
        served.script(f"faults: [{{status: {status}, retry_after_s: 2.5}}]")
        for ask in (api.converse, api.converse_stream):
            with pytest.raises(getattr(api.exceptions, code)) as error:
                ask(modelId=CLAUDE, messages=HELLO)
            answer = error.value.response
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
            assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "3"
    served.script("faults: [{status: 400, error: {type: ServiceQuotaExceededException, message: Enough.}}]")
    with pytest.raises(api.exceptions.ServiceQuotaExceededException, match=r"Enough\."):
        api.converse(modelId=CLAUDE, messages=HELLO)


def test_exceptions_in_a_stream(bedrock):
    _, api = bedrock(faults=[{"error_event": True, "after_events": 2, "pings": 2}])
    got = []
    with pytest.raises(botocore.exceptions.EventStreamError) as error:
        got.extend(api.converse_stream(modelId=CLAUDE, messages=HELLO)["stream"])
    assert [next(iter(event)) for event in got] == ["messageStart", "contentBlockDelta"]
    assert error.value.response["Error"]["Code"] == "serviceUnavailableException"


def anthropic_client(served, **options):
    keys = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": SECRET, **options}
    return anthropic.AnthropicBedrock(base_url=served.url, aws_region="us-east-1", max_retries=0, **keys)


def test_anthropics_client(serve):
    served = serve("replies: [{reasoning: Hm., text: 'Hi ❄', split_bytes: 5}]", name="aws")
    api = anthropic_client(served)
    asked = {"model": CLAUDE, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
    whole = api.messages.with_raw_response.create(**asked)
    assert whole.headers["x-amzn-bedrock-output-token-count"] == str(whole.parse().usage.output_tokens)
    with api.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert [b.model_dump(exclude={"parsed_output"}) for b in final.content] == [
        b.model_dump() for b in whole.parse().content
    ]
    assert final.usage.output_tokens == whole.parse().usage.output_tokens
    served.script("faults: [{status: 429}]")
    with pytest.raises(anthropic.RateLimitError):
        api.messages.create(**asked)
    served.script("faults: [{error_event: true, error: {type: throttlingException, message: Wait.}}]")
    with pytest.raises(anthropic.APIStatusError, match="Wait"), api.messages.stream(**asked) as stream:
        stream.get_final_message()
    served.script("")
    with pytest.raises(anthropic.PermissionDeniedError):
        anthropic_client(served, aws_secret_key="wrong").messages.create(**asked)


BROKEN = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, ParserError, ProtocolError)


@pytest.mark.parametrize("fault", ["cut: end", "cut: close", "reset: mid-stream", "garbage: body"])
def test_broken_streams(bedrock, fault):
    served, api = bedrock()
    served.script(f"faults: [{{{fault}}}]")
    got = []
    # A stream that ends early but cleanly is all right for this client.
    with contextlib.suppress(*BROKEN):
        got.extend(api.converse_stream(modelId=CLAUDE, messages=HELLO)["stream"])
    assert not any("messageStop" in event for event in got)
    assert served.journal()[-1]["outcome"] == fault.replace(": ", "-")


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_compression(serve, how):
    served = serve(f"{{faults: [{{compress: {how}}}], replies: [{{text: Packed.}}]}}")
    with httpx.Client(base_url=served.url, headers={"authorization": "Bearer k"}) as http:
        whole = http.post(f"/model/{NOVA}/converse", json={"messages": HELLO})
        assert whole.headers["content-encoding"] == how
        assert whole.json()["output"]["message"]["content"] == [{"text": "Packed."}]
        stream = http.post(f"/model/{NOVA}/converse-stream", json={"messages": HELLO})
    buffer = EventStreamBuffer()
    buffer.add_data(stream.content)
    assert [event.headers[":event-type"] for event in buffer][-1] == "metadata"
