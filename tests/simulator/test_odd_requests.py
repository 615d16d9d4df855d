"""Whatever stands in the place of any value of a request: it is answered, or refused with a 4xx."""

import copy
import json
import random

import pytest
from modelbroker.simulator import Script
from modelbroker.simulator.memory import Memory
from modelbroker.simulator.plan import Head
from modelbroker.simulator.provider import Provider

KEY = {
    "authorization": "Bearer k",
    "x-api-key": "k",
    "x-goog-api-key": "k",
    "anthropic-version": "2023-06-01",
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CLAUDE = {
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "s"}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "redacted_thinking", "data": "x"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]}
            ],
        },
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto"},
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
}
CONVERSE = {
    "system": [{"text": "s"}],
    "messages": [
        {"role": "user", "content": [{"text": "x"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "t", "signature": "s"}}},
                {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
            ],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "r"}]}}]},
    ],
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": SCHEMA}}}],
        "toolChoice": {"tool": {"name": "f"}},
    },
    "inferenceConfig": {"maxTokens": 5, "temperature": 1},
    "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "outputConfig": {
        "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA)}}}
    },
}
GEMINI = {
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"a": "b"}}, "thoughtSignature": "x"},
                {"text": "y"},
            ],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": ["x"]}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "maxOutputTokens": 5,
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
    },
}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REQUESTS = {
    "/v1/chat/completions": {
        "model": "gpt-5",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        "stream_options": {"include_usage": True},
        "n": 2,
    },
    "/v1/responses": {
        "model": "gpt-5",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
        ],
        "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
        "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "previous_response_id": None,
        "store": True,
    },
    "/v1/messages": {"model": "claude", **CLAUDE},
    "/v1/messages/count_tokens": {"model": "claude", "messages": CLAUDE["messages"]},
    "/model/anthropic.claude/invoke": {"anthropic_version": "bedrock-2023-05-31", **CLAUDE},
    "/v1/projects/p/locations/l/publishers/anthropic/models/c:streamRawPredict": {
        "anthropic_version": "vertex-2023-10-16",
        "stream": True,
        **CLAUDE,
    },
    "/model/anthropic.claude/converse": CONVERSE,
    "/model/nova/converse-stream": CONVERSE,
    "/model/claude/count-tokens": {"input": {"converse": CONVERSE, "invokeModel": {"body": "e30="}}},
    "/model/amazon.titan-embed/invoke": {"inputText": "x", "dimensions": 8},
    "/model/cohere.embed/invoke": {"texts": ["x"], "embedding_types": ["float"], "output_dimension": 8},
    "/model/nova-embed/invoke": {"singleEmbeddingParams": {"text": {"value": "x"}, "embeddingDimension": 8}},
    "/v1beta/models/gemini-3-pro:generateContent": GEMINI,
    "/v1beta/models/gemini-2.5-flash:streamGenerateContent": GEMINI,
    "/v1beta/models/gemini-3-pro:countTokens": {"generateContentRequest": GEMINI},
    "/v1beta/models/e:batchEmbedContents": {
        "requests": [{"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 8}]
    },
    "/v1/projects/p/locations/l/publishers/google/models/e:predict": {
        "instances": [{"content": "x"}],
        "parameters": {"outputDimensionality": 8},
    },
}
ODD = [None, True, 3, -1.5, "", "x", "\ud800", [], [None], ["x"], {}, {"x": None}, [[[]]], [{}]]


def places(value, path=()):
    """The way to every value in a JSON tree."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))
        else:
            yield (*path, key)


def with_odd(body, path, odd):
    if not path:
        return odd
    changed = copy.deepcopy(body)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = odd
    return changed


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lax"])
@pytest.mark.parametrize("path", sorted(REQUESTS))
def test_odd_values_anywhere_are_answered(path, strict):
    body = REQUESTS[path]
    provider = Provider("odd", None, Script(strict=strict), random.Random(0), Memory())
    for place in places(body):
        for odd in ODD:
            sent = json.dumps(with_odd(body, place, odd)).encode()
            verdict = provider.answer("POST", path, KEY, sent)
            status = next(step.status for step in verdict.steps if isinstance(step, Head))
            assert status == 200 or 400 <= status < 500, (place, odd)
