"""Embedding vectors, the same for the same text whatever the dialect, and OpenAI's way to send them.

https://platform.openai.com/docs/api-reference/embeddings/object
"""

import hashlib
from typing import Any

from . import requests
from .requests import Call

_DIMENSIONS = {"text-embedding-3-large": 3072}
_MOST_DIMENSIONS = 16_384


def vector(text: str, size: int) -> list[float]:
    """Unit-free values in [-1, 1]."""
    raw = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(size)
    return [(byte - 127.5) / 127.5 for byte in raw]


def size_of(wanted: Any, default: int) -> int:
    """The dimensions asked for, or the model's own where the wish is none."""
    is_number = isinstance(wanted, int) and not isinstance(wanted, bool)
    return wanted if is_number and 0 < wanted <= _MOST_DIMENSIONS else default


def openai(call: Call) -> dict[str, Any]:
    """A list of embeddings as OpenAI has it."""
    size = size_of(call.fields.get("dimensions"), _DIMENSIONS.get(call.model or "", 1536))
    as_base64 = call.fields.get("encoding_format") == "base64"
    data = []
    for index, given in enumerate(requests.embedding_inputs(call)):
        values = vector(str(given), size)
        embedding = requests.pack_floats(values) if as_base64 else values
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    count = requests.input_tokens(call)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": call.model, "usage": usage}
