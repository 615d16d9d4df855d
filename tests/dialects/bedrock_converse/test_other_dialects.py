"""Recorded requests of clients, as Bedrock gets them."""

from __future__ import annotations

import json

import pytest
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import client_dialect
from modelbroker.dialects.bedrock_converse import BedrockConverse
from modelbroker.dialects.conversation import Upstream
from support.bedrock import checked, serialized
from support.dialects import Recorded, parameters

DIALECT = BedrockConverse()
MODELS = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "mistral.pixtral-large",
)


@pytest.mark.parametrize("row", parameters(streamed=None, good=None, client=True))
def test_recorded_requests_are_valid(row: Recorded) -> None:
    try:
        chat = client_dialect(row.dialect).decode_request(row.request_body)
    except BadRequest:
        return
    if chat.temperature is not None and chat.temperature < 0:
        return  # no provider takes it: Bedrock tells the client so
    for model in MODELS:
        upstream = Upstream("house", "bedrock-converse", model, max_output_tokens=64_000)
        try:
            encoded = DIALECT.encode_request(chat, upstream)
        except BadRequest as refused:
            assert refused.message
            continue
        operation = "ConverseStream" if chat.stream else "Converse"
        params = checked(operation, model, encoded.body)
        assert serialized(operation, params) == (encoded.path, json.loads(encoded.body))
