"""Real recorded exchanges, replayed byte for byte."""

import base64
import json
import re
import typing
import urllib.parse

import anthropic
import httpx
import openai
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ServiceModel
from google.genai import types
from modelbroker.simulator import Script, ScriptError, Simulator, checks, strict
from modelbroker.simulator.memory import Memory
from modelbroker.simulator.requests import read_call
from modelbroker.simulator.seals import Seals
from modelbroker.simulator.strict import bedrock, gemini_fields, messages_fields, responses

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-compatible-chat": "/openai/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "openai-embeddings": "/v1/embeddings",
    "anthropic-messages": "/v1/messages",
    "anthropic-count-tokens": "/v1/messages/count_tokens",
    "bedrock-converse": "/model/m/converse",
    "bedrock-converse-stream": "/model/m/converse-stream",
    "gemini-generate-content": "/v1beta/models/m:generateContent",
}
KEY = {
    "x-api-key": "k",
    "x-goog-api-key": "k",
    "authorization": "Bearer k",
    "anthropic-version": "2023-06-01",
}


STREAMS = ("application/vnd.amazon.eventstream", "text/event-stream")


def rows(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def recorded(body):
    if isinstance(body, str):
        return body.encode()
    if set(body) == {"base64"}:
        return base64.b64decode(body["base64"])
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def path_of(row):
    """Where this simulator is asked for the row's answer."""
    if ":stream" in row["request"]["url"]:
        return "/v1beta/models/m:streamGenerateContent?alt=sse"
    return PATHS[row["kind"]]


@pytest.mark.parametrize("kind", sorted(PATHS))
def test_every_recording_is_replayed(serve, recordings, kind):
    path = recordings / f"{kind}.jsonl"
    served = serve(script=None, dialect=None)
    script = Script(recordings=[path], recordings_only=True)
    served.call(lambda: served.simulator.set_script(script))
    seen = {}
    with httpx.Client(base_url=served.url, headers=KEY) as client:
        for row in rows(path):
            body = row["request"]["body"]
            if isinstance(body, dict):
                # Order and model must not matter.
                body = dict(reversed({**body, "model": "another"}.items()))
            key = path_of(row) + json.dumps({k: v for k, v in body.items() if k != "model"}, sort_keys=True)
            row = seen.setdefault(key, row)  # of equal requests the first answers
            answer = client.post(path_of(row), json=body)
            assert answer.status_code == row["response"]["status"]
            assert answer.content == recorded(row["response"]["body"])
            assert answer.headers["content-type"] == row["response"]["headers"]["content-type"]
        missing = client.post(PATHS[kind], json={"model": "m", "no": "such"})
        assert missing.status_code == 404 and missing.content


def test_streams_are_split_by_event_and_pinned_by_id(serve, recordings, raw):
    path = recordings / "anthropic-messages.jsonl"
    row = next(r for r in rows(path) if isinstance(r["response"]["body"], str))
    served = serve()
    pinned = {"recordings": str(path), "replies": [{"recording": row["id"]}]}
    served.script(json.dumps({**pinned, "faults": [{"cut": "end", "after_events": 2}]}))
    data, _ = raw(served, "/v1/messages", {"model": "m"}, {"connection": "close"})
    body = row["response"]["body"]
    assert data.count(b"event: ") == 2 and body.split("\n\n")[0].encode() in data
    served.script(json.dumps(pinned))
    assert httpx.post(served.url + "/v1/messages", json={}, headers=KEY).text == body
    served.script(json.dumps({**pinned, "recordings_split": "whole"}))
    assert httpx.post(served.url + "/v1/messages", json={}, headers=KEY).text == body


@pytest.mark.parametrize("kind", ["bedrock-converse-stream", "gemini-generate-content"])
def test_binary_and_other_streams_are_pinned_cut_and_split(serve, recordings, kind):
    path = recordings / f"{kind}.jsonl"
    row = next(r for r in rows(path) if r["response"]["headers"]["content-type"] in STREAMS)
    body = recorded(row["response"]["body"])
    served = serve(json.dumps({"recordings": str(path)}))
    asked = {"x-mock-reply": json.dumps({"recording": row["id"], "split_bytes": 5})}
    with httpx.Client(base_url=served.url, headers=KEY) as client:
        answer = client.post(path_of(row), json={}, headers=asked)
        assert answer.content == body
        assert answer.headers["content-type"] == row["response"]["headers"]["content-type"]
        cut = {**asked, "x-mock-fault": '{"cut": "end", "after_events": 1}'}
        first = client.post(path_of(row), json={}, headers=cut).content
    assert 0 < len(first) <= len(body) and body.startswith(first)
    assert first.endswith(b"\r\n\r\n") or EventStreamBuffer().add_data(first) is None


class Anything:
    """What a signature was made for, whatever it was."""

    def __eq__(self, other):
        return True

    __hash__ = None


class Credulous(Seals, Memory):
    """Of recorded requests it is not known who made their reasoning."""

    def __init__(self):
        Memory.__init__(self)

    def open(self, kind, sealed):
        return Anything()

    def has_item(self, ident):
        return True

    def owns(self, ident):
        return True


@pytest.mark.parametrize("kind", sorted(set(PATHS) - {"openai-embeddings"}))
def test_what_real_providers_accepted_is_not_refused(recordings, kind):
    for row in rows(recordings / f"{kind}.jsonl"):
        url = urllib.parse.urlsplit(row["request"]["url"])
        body = json.dumps(row["request"]["body"]).encode()
        call = read_call("POST", f"{url.path}?{url.query}&api-version=1", KEY, body, None)
        if row["response"]["status"] == 200:
            checks.check(call, Script())
            strict.check(call, Credulous(), Credulous())


def test_fields_are_those_of_the_sdks():
    """A field that a new version of an SDK brings must be added here, or it would be refused."""

    def names(kind):
        return set(typing.get_type_hints(kind))

    asked = anthropic.types.message_create_params.MessageCreateParamsBase
    beta = anthropic.types.beta.message_create_params.MessageCreateParamsBase
    # The newest types leave the sampling knobs out; the older models take them still.
    older = {"output_format", "stream", "temperature", "top_k", "top_p"}
    known = messages_fields.MESSAGES - older
    assert known == (names(asked) | names(beta)) - {"betas"}
    counted = anthropic.types.message_count_tokens_params.MessageCountTokensParams
    assert names(counted) <= messages_fields.COMMON
    for name in ("Text", "Image", "Document", "SearchResult", "Thinking", "RedactedThinking"):
        kind = re.sub("(?<=.)([A-Z])", r"_\1", name).lower()
        assert names(getattr(anthropic.types, f"{name}BlockParam")) == messages_fields.BLOCKS[kind]
    for name, kind in (("ToolUse", "tool_use"), ("ToolResult", "tool_result")):
        assert names(getattr(anthropic.types, f"{name}BlockParam")) == messages_fields.BLOCKS[kind]
    assert names(anthropic.types.ToolParam) == messages_fields.TOOL
    asked = openai.types.responses.response_create_params.ResponseCreateParamsBase
    assert names(asked) | {"stream"} == responses.PARAMETERS
    counted = openai.types.responses.input_token_count_params.InputTokenCountParams
    assert names(counted) == responses.COUNT_PARAMETERS
    items = openai.types.responses
    assert responses.ITEMS["function_call"] == names(items.ResponseFunctionToolCallParam)
    assert responses.ITEMS["reasoning"] == names(items.ResponseReasoningItemParam)
    assert responses.ITEMS["message"] >= names(items.ResponseOutputMessageParam)
    service = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
    for name, members in {**bedrock.MEMBERS, **bedrock.UNIONS}.items():
        assert members == set(service.shape_for(name).members)
    assert set(service.shape_for("ConverseRequest").members) == bedrock.FIELDS | {"modelId"}


GOOGLES = {
    "Content": types.Content,
    "Part": types.Part,
    "Blob": types.Blob,
    "FileData": types.FileData,
    "FunctionCall": types.FunctionCall,
    "FunctionResponse": types.FunctionResponse,
    "ExecutableCode": types.ExecutableCode,
    "CodeExecutionResult": types.CodeExecutionResult,
    "FunctionDeclaration": types.FunctionDeclaration,
    "ToolConfig": types.ToolConfig,
    "FunctionCallingConfig": types.FunctionCallingConfig,
    "SafetySetting": types.SafetySetting,
    "ThinkingConfig": types.ThinkingConfig,
    "Schema": types.Schema,
    "Tool": types.Tool,
}


@pytest.mark.parametrize("name", sorted(GOOGLES))
def test_fields_are_those_of_googles_sdk(name):
    known = {**gemini_fields.MESSAGES[name], **gemini_fields.VERTEX.get(name, {})}
    theirs = {gemini_fields.camel(field) for field in GOOGLES[name].model_fields}
    assert theirs == {field for field in known if not field.startswith("$")}


def test_unusable_recordings(tmp_path):
    with pytest.raises(ScriptError, match="cannot be read"):
        Simulator(script=Script(recordings=[tmp_path / "none.jsonl"]))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "request": {}, "response": {"status": 200, "body": {}}}\n{"id": 3}\n')
    with pytest.raises(ScriptError, match=r"bad\.jsonl:2: not a recorded exchange"):
        Simulator(script=Script(recordings=[bad]))
    bad.write_text("")
    with pytest.raises(ScriptError, match=r"replies\[0\]\.recording"):
        Simulator(script=Script.model_validate({"recordings": str(bad), "replies": [{"recording": "x"}]}))
