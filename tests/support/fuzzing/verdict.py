"""What a client may be answered, whatever it sent."""

from __future__ import annotations

import json
from typing import Any

from .sockets import Answer, Answers, Case, Heard, Request, requests_in

ANTHROPIC_PATH = "/v1/messages"
# What Envoy says in its own words.
_ENVOYS_WORDS = (
    b"upstream connect error",
    b"upstream request timeout",
    b"no healthy upstream",
    b"stream timeout",
    b"no such operation",
    b"Bad Request",
    b"Not Found",
)
_CUT = "without sending complete message body"  # h11's words
_CODECS_WORDS = (b"(http1.", b"(http.invalid_authority)", b"http_version_not_supported")


def judge(case: Case, heard: Heard, answers: Answers) -> str:
    """ "" or what is wrong."""
    requests, rest = requests_in(case.sent)
    if heard.hangs:
        return "hangs: neither answered nor closed"
    # What is no HTTP ends the connection, and with it an answer that has begun to what stood before. So does
    # the end of the client's side: Envoy knows no half-closed HTTP/1 (envoyproxy/envoy#2066, #17160), and
    # cuts an answer that it has begun by then wherever it is.
    is_cut = (rest == "wrong" or case.ends) and _CUT in answers.fault
    if answers.fault and not is_cut:
        return f"the answer is not HTTP: {answers.fault}"
    if any(not answer.whole for answer in answers.found) and not is_cut:
        return "the answer is not whole"
    # What is behind the last request and not HTTP may cost the answers that are still under way.
    is_due = rest == "end" or not heard.end
    if is_due and not case.ends and answers.whole < len(requests) and not answers.said_goodbye:
        return f"{answers.whole} answers to {len(requests)} requests"
    for number, answer in enumerate(answers.found):
        request = requests[number] if number < len(requests) else None
        if wrong := judge_answer(answer, request, rest):
            return f"answer {number}: {wrong}"
    return ""


def judge_answer(answer: Answer, request: Request | None, rest: str = "end") -> str:
    if b"Traceback" in answer.body or b"broker_defect" in answer.body:
        return "a defect of the broker's"
    if answer.status == 500:
        return "status 500"
    if not 200 <= answer.status < 300 and answer.status < 400:
        return f"status {answer.status}"
    if "grpc-status" in answer.headers:
        return "an answer in gRPC's clothes"
    if answer.status < 400 or (request is not None and request.method == "HEAD"):
        return ""
    if request is None:
        # Not HTTP as h11 reads it: no body, or an error in a shape.
        return "" if not answer.body or is_error(answer.body, "any") else "neither empty nor an error"
    # The codec's own refusal: Envoy had no path yet that could tell the shape.
    by_codec = answer.status == 431 or any(words in answer.body for words in _CODECS_WORDS)
    shape = "any" if by_codec else shape_due(request)
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return f"an error of type {answer.headers.get('content-type')!r}"
    return "" if is_error(answer.body, shape) else f"not an error of {shape}"


def shape_due(request: Request) -> str:
    """Whose shape an error has: the path tells; where it is odd, or the headers say otherwise, either."""
    path = request.target.partition("?")[0]
    if any(request.values("anthropic-version")) or "//" in path or "%" in path or "." in path or "#" in path:
        return "any"
    return "anthropic" if path.startswith(ANTHROPIC_PATH) else "openai" if path.startswith("/") else "any"


def is_error(body: bytes, shape: str) -> bool:
    try:
        said: Any = json.loads(body)
    except ValueError:
        return False
    if not isinstance(said, dict) or not isinstance(error := said.get("error"), dict):
        return False
    if not isinstance(error.get("message"), str) or not isinstance(error.get("type"), str):
        return False
    is_anthropic = said.get("type") == "error"
    return shape == "any" or is_anthropic == (shape == "anthropic")


def in_envoys_words(body: bytes) -> bool:
    return not body.lstrip().startswith((b"{", b"[")) and any(words in body for words in _ENVOYS_WORDS)
