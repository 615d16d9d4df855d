"""What a script can say beyond texts and calls, read by the providers' own clients."""

import json

import boto3
import botocore.config
import botocore.exceptions
import pytest
from google import genai
from google.genai import errors, types
from modelbroker.simulator.script import Trouble

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO = [{"role": "user", "content": [{"text": "Hello there"}]}]
PAGE = {"url": "https://news.example/1", "title": "News", "quote": "their words", "start": 4, "end": 7}
TROUBLES = Trouble.__args__


def bedrock(served):
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=served.url,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def gemini(served):
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url=served.url))


def test_bedrock_tells_citations_and_stop_sequences(serve):
    replies = [{"text": "two ❄ words", "citations": [PAGE], "stop_sequence": "END"}]
    api = bedrock(serve(json.dumps({"replies": replies}), dialect="bedrock-converse"))
    asked = {
        "modelId": CLAUDE,
        "messages": HELLO,
        "additionalModelResponseFieldPaths": ["/stop_sequence", "/delta/stop_sequence"],
    }
    whole = api.converse(**asked)
    assert whole["stopReason"] == "stop_sequence"
    assert whole["additionalModelResponseFields"] == {"stop_sequence": "END"}
    (block,) = whole["output"]["message"]["content"]
    assert block["citationsContent"]["citations"][0]["location"] == {"web": {"url": PAGE["url"]}}
    events = list(api.converse_stream(**asked)["stream"])
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert "".join(delta.get("text", "") for delta in deltas) == "two ❄ words"
    assert deltas[-1]["citation"]["title"] == "News"
    (stop,) = [event["messageStop"] for event in events if "messageStop" in event]
    assert stop["additionalModelResponseFields"] == {"delta": {"stop_sequence": "END"}}


def test_gemini_tells_candidates_grounding_and_logprobs(serve):
    replies = [{"text": "two ❄ words", "others": ["other words"], "citations": [PAGE]}]
    api = gemini(serve(json.dumps({"replies": replies}), dialect="gemini"))
    config = types.GenerateContentConfig(candidate_count=2, response_logprobs=True, logprobs=2)
    asked = {"model": "gemini-2.5-flash", "contents": "Hello there", "config": config}
    whole = api.models.generate_content(**asked)
    assert [candidate.content.parts[0].text for candidate in whole.candidates] == [
        "two ❄ words",
        "other words",
    ]
    grounding = whole.candidates[0].grounding_metadata
    assert grounding.grounding_chunks[0].web.uri == PAGE["url"]
    segment = grounding.grounding_supports[0].segment
    assert "two ❄ words".encode()[segment.start_index : segment.end_index].decode() == segment.text
    told = whole.candidates[0].logprobs_result
    assert [token.token for token in told.chosen_candidates] == ["two ", "❄ ", "words"]
    assert [len(top.candidates) for top in told.top_candidates] == [2, 2, 2]
    texts = {0: "", 1: ""}
    for chunk in api.models.generate_content_stream(**asked):
        for candidate in chunk.candidates:
            texts[candidate.index or 0] += "".join(part.text or "" for part in candidate.content.parts or ())
    assert list(texts.values()) == ["two ❄ words", "other words"]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_troubles_are_the_providers_own_errors(serve, trouble):
    script = json.dumps({"faults": [{"trouble": trouble}]})
    with pytest.raises(botocore.exceptions.ClientError) as aws:
        bedrock(serve(script, dialect="bedrock-converse")).converse(modelId=CLAUDE, messages=HELLO)
    assert (
        aws.value.response["Error"]["Code"].endswith("Exception") and aws.value.response["Error"]["Message"]
    )
    api = gemini(serve(script, dialect="gemini"))
    with pytest.raises(errors.APIError) as google:
        api.models.generate_content(model="gemini-2.5-flash", contents="x")
    assert google.value.message and google.value.status.isupper()
    assert google.value.code >= 400


def test_a_trouble_inside_a_stream(serve):
    script = json.dumps({"faults": [{"trouble": "rate_limit", "error_event": True, "after_events": 2}]})
    stream = bedrock(serve(script, dialect="bedrock-converse")).converse_stream(
        modelId=CLAUDE, messages=HELLO
    )["stream"]
    with pytest.raises(botocore.exceptions.EventStreamError, match="throttlingException"):
        list(stream)
