"""Gemini, at its own API and on Vertex AI: contents whole and streamed, token counts, embeddings, models.

https://ai.google.dev/api/generate-content
https://ai.google.dev/gemini-api/docs/thought-signatures
https://ai.google.dev/api/embeddings
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

import base64
from typing import Any

from . import requests, sse
from .answers import Answer, ToolUse, braid, tokens_of
from .embeddings import size_of, vector
from .reading import objects, size_tokens, text_size
from .reading_gemini import get
from .requests import Call

_STOP = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "STOP",
    "stop_sequence": "STOP",
}
_DIMENSIONS = 3072


def signs_always(model: str | None) -> bool:
    """Whether a model signs every turn: those want the signatures of their function calls back."""
    return (model or "").rpartition("/")[2].startswith("gemini-3")


def _usage(answer: Answer, output: int, thoughts: int) -> dict[str, Any]:
    used = answer.usage
    out: dict[str, Any] = {
        "promptTokenCount": used.prompt,
        "totalTokenCount": used.prompt + output + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": used.prompt}],
    }
    if output:
        out["candidatesTokenCount"] = output
    if thoughts:
        out["thoughtsTokenCount"] = thoughts
    if used.cache_read:
        out["cachedContentTokenCount"] = used.cache_read
        out["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": used.cache_read}]
    return out


def _final_usage(answer: Answer) -> dict[str, Any]:
    used = answer.usage
    return _usage(answer, used.output - used.reasoning, used.reasoning)


def _call_part(answer: Answer, tool: ToolUse) -> dict[str, Any]:
    call = {"name": tool.name, "args": tool.value}
    if signs_always(answer.model):
        call["id"] = tool.id[:8]  # the older models give their calls no ids
    return {"functionCall": call}


def _signature(answer: Answer) -> dict[str, str]:
    """The signature of the turn's first function call, or of its last text."""
    if not answer.reasoning and not signs_always(answer.model):
        return {}
    return {"thoughtSignature": answer.seals.seal("thought", answer.reasoning)}


def _parts(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.shown_reasoning:
        parts.append({"text": answer.shown_reasoning, "thought": True})
    if answer.spoken:
        parts.append({"text": answer.spoken})
    calls = [_call_part(answer, tool) for tool in answer.tools]
    if calls or answer.spoken:
        # Of parallel calls the first one alone is signed.
        (calls or parts[-1:])[0].update(_signature(answer))
    return parts + calls


def _candidate(index: int, parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    return {"content": content, "index": index, **more}


def _grounding(answer: Answer) -> dict[str, Any]:
    """What a search found, and the bytes of the text that rest on it."""
    if not answer.citations:
        return {}
    supports = []
    for number, cited in enumerate(answer.citations):
        start, end = cited.start or 0, len(answer.text) if cited.end is None else cited.end
        said = answer.text[start:end]
        first = len(answer.text[:start].encode())
        segment = {"startIndex": first, "endIndex": first + len(said.encode()), "text": said}
        supports.append({"segment": segment, "groundingChunkIndices": [number]})
    found = [{"web": {"uri": cited.url, "title": cited.title}} for cited in answer.citations]
    return {"groundingMetadata": {"groundingChunks": found, "groundingSupports": supports}}


def _logprobs(pieces: list[str], call: Call) -> dict[str, Any]:
    top = requests.wanted_logprobs(call)
    if top is None:
        return {}
    tokens = tokens_of(pieces, top)
    told: dict[str, Any] = {"chosenCandidates": [_likely(token.text, token.logprob) for token in tokens]}
    if top:
        told["topCandidates"] = [{"candidates": [_likely(*one) for one in token.top]} for token in tokens]
    return {"logprobsResult": told}


def _likely(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logProbability": logprob}


def _response(answer: Answer, candidates: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "candidates": candidates,
        "modelVersion": (answer.model or "").rpartition("/")[2],
        "responseId": base64.urlsafe_b64encode(bytes.fromhex(answer.id)).decode(),
        "usageMetadata": usage,
    }


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """A GenerateContentResponse."""
    candidates = []
    for index in range(requests.choices(call)):
        said = answer.choice(index)
        more = {**_grounding(said), **_logprobs(said.pieces, call)}
        candidates.append(_candidate(index, _parts(said), finishReason=_STOP[said.finish], **more))
    return _response(answer, candidates, _final_usage(answer))


def _chunks(answer: Answer, call: Call) -> list[dict[str, Any]]:
    """The stream's responses: one that says nothing yet, one a piece, and one with the finish alone; those
    of several candidates take turns.

    Function calls come whole, a chunk each. A text's signature comes in the last chunk, on an empty text.
    """
    strands = [_candidate_chunks(answer.choice(n), call, n) for n in range(requests.choices(call))]
    candidates = braid(strands, True)
    out = []
    thoughts, said = 0, 0
    for number, candidate in enumerate(candidates):
        thoughts = answer.usage.reasoning if number else 0
        parts = candidate["content"]["parts"]
        said += sum(text_size(p["text"]) for p in parts if "text" in p and not p.get("thought"))
        last = number == len(candidates) - 1
        usage = _final_usage(answer) if last else _usage(answer, size_tokens(said), thoughts)
        out.append(_response(answer, [candidate], usage))
    return out


def _candidate_chunks(answer: Answer, call: Call, index: int) -> list[dict[str, Any]]:
    out = [_candidate(index, [{"text": ""}])]
    if answer.shown_reasoning:
        out.append(_candidate(index, [{"text": answer.shown_reasoning, "thought": True}]))
    told = _logprobs(answer.pieces, call).get("logprobsResult", {})
    for number, piece in enumerate(answer.spoken_pieces):
        of_piece = {name: all_of[number : number + 1] for name, all_of in told.items()}
        more = {"logprobsResult": of_piece} if of_piece else {}
        out.append(_candidate(index, [{"text": piece}], **more))
    calls = [_call_part(answer, tool) for tool in answer.tools]
    last: dict[str, Any] = {"text": ""}
    (calls[0] if calls else last).update(_signature(answer))
    out += [_candidate(index, [part]) for part in calls]
    return [*out, _candidate(index, [last], finishReason=_STOP[answer.finish], **_grounding(answer))]


def is_sse(call: Call) -> bool:
    """Whether a stream is one of events (`alt=sse`), and not the pieces of one JSON array."""
    return "alt=sse" in call.query.split("&")


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream, as events or as the pieces of an array."""
    chunks = _chunks(answer, call)
    if is_sse(call):
        return [event(chunk) for chunk in chunks]
    lead = [b"[", *[b",\r\n"] * (len(chunks) - 1)]
    out = [head + sse.encode(chunk) for head, chunk in zip(lead, chunks, strict=True)]
    return [*out[:-1], out[-1] + b"]\n"]


def event(value: Any) -> bytes:
    """One event, with Google's line ends."""
    return b"data: %b\r\n\r\n" % sse.encode(value)


def count_tokens(call: Call) -> dict[str, Any]:
    """The answer of countTokens."""
    count = requests.input_tokens(call)
    return {"totalTokens": count, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count}]}


def embeddings(call: Call) -> dict[str, Any]:
    """Vectors, in the shape of the method that was called."""
    method = call.route.operation
    if method == "predict":
        return _predictions(call)
    asked = objects(get(call.fields, "requests")) if method == "batchEmbedContents" else [call.fields]
    made = [(_embedded(request), _said(request)) for request in asked]
    tokens = sum(max(1, size_tokens(text_size(text))) for _, text in made)
    usage = {"promptTokenCount": tokens, "totalTokenCount": tokens}
    if method == "embedContent":
        return {"embedding": {"values": made[0][0]}, "usageMetadata": usage}
    return {"embeddings": [{"values": values} for values, _ in made], "usageMetadata": usage}


def _said(request: Any) -> str:
    parts = objects(get(request, "content", "parts"))
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _embedded(request: Any) -> list[float]:
    wanted = get(request, "outputDimensionality") or get(
        request, "embedContentConfig", "outputDimensionality"
    )
    return vector(_said(request), size_of(wanted, _DIMENSIONS))


def _predictions(call: Call) -> dict[str, Any]:
    size = size_of(get(call.fields, "parameters", "outputDimensionality"), 768)
    texts = [str(instance.get("content")) for instance in objects(call.fields.get("instances"))]
    predictions = []
    for text in texts:
        statistics = {"truncated": False, "token_count": max(1, size_tokens(text_size(text)))}
        predictions.append({"embeddings": {"values": vector(text, size), "statistics": statistics}})
    billed = sum(len(text) for text in texts)
    return {"predictions": predictions, "metadata": {"billableCharacterCount": billed}}


def models(names: list[str]) -> dict[str, Any]:
    """The list of models."""
    return {"models": [model(name) for name in names]}


def model(name: str) -> dict[str, Any]:
    """One model."""
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
