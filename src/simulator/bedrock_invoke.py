"""Bedrock's InvokeModel: Anthropic's bodies in AWS's envelope, and the embedding models' own.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

import base64
from typing import Any

from . import anthropic_messages, event_stream, sse
from .answers import Answer
from .embeddings import size_of, vector
from .reading import size_tokens, text_size
from .requests import Call

LATENCY_MS = 400


def events(answer: Answer, call: Call) -> list[bytes]:
    """Anthropic's events, each in a chunk; the last one also tells what was used."""
    payloads = [p for p in anthropic_messages.payloads(answer, call) if p["type"] != "ping"]
    used = answer.usage
    payloads[-1]["amazon-bedrock-invocationMetrics"] = {
        "inputTokenCount": used.input,
        "outputTokenCount": used.output,
        "invocationLatency": LATENCY_MS,
        "firstByteLatency": LATENCY_MS,
        "cacheReadInputTokenCount": used.cache_read,
        "cacheWriteInputTokenCount": used.cache_write,
    }
    return [chunk(payload) for payload in payloads]


def chunk(payload: Any) -> bytes:
    """One event of an invocation's stream."""
    return event_stream.event("chunk", {"bytes": base64.b64encode(sse.encode(payload)).decode(), "p": "abcd"})


def headers(answer: Answer) -> list[tuple[str, str]]:
    """What a whole answer's headers tell of its usage."""
    head = "x-amzn-bedrock-"
    return [
        (head + "invocation-latency", str(LATENCY_MS)),
        (head + "input-token-count", str(answer.usage.input)),
        (head + "output-token-count", str(answer.usage.output)),
    ]


def embeddings(call: Call) -> dict[str, Any]:
    """Vectors as Titan (inputText), Cohere (texts) or Nova (singleEmbeddingParams) give them."""
    fields = call.fields
    if "texts" in fields:
        return _cohere(fields)
    params = fields.get("singleEmbeddingParams")
    if isinstance(params, dict):
        text = params.get("text")
        said = text.get("value") if isinstance(text, dict) else text
        values = vector(str(said), size_of(params.get("embeddingDimension"), 3072))
        return {"embeddings": [{"embeddingType": "TEXT", "embedding": values}]}
    text = str(fields.get("inputText"))
    values = vector(text, size_of(fields.get("dimensions"), 1024))
    count = max(1, size_tokens(text_size(text)))
    return {"embedding": values, "inputTextTokenCount": count, "embeddingsByType": {"float": values}}


def embedding_headers(call: Call, count: int | None) -> list[tuple[str, str]]:
    """The one place where Cohere's and Nova's tokens are told. `count`: in the place of the real number."""
    fields = call.fields
    texts = fields.get("texts", fields.get("inputText", fields.get("singleEmbeddingParams")))
    given = texts if isinstance(texts, list) else [texts]
    size = sum(text_size(str(text)) for text in given)
    told = max(1, size_tokens(size)) if count is None else count
    return [("x-amzn-bedrock-input-token-count", str(told))]


def _cohere(fields: dict[str, Any]) -> dict[str, Any]:
    texts = fields["texts"] if isinstance(fields["texts"], list) else [fields["texts"]]
    size = size_of(fields.get("output_dimension"), 1024)
    vectors = [vector(str(text), size) for text in texts]
    by_type = bool(fields.get("embedding_types"))
    return {
        "id": "simulated",
        "texts": texts,
        "embeddings": {"float": vectors} if by_type else vectors,
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
    }
