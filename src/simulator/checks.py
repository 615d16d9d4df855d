"""What any provider refuses before a model is asked: no JSON, no model, nothing to answer."""

import re
from typing import Any

from .reading_gemini import get
from .refusal import Refusal
from .requests import Call
from .script import Script

# The member that holds what is to be answered, by surface.
_CONTENT = {
    "openai-chat": "messages",
    "openai-embeddings": "input",
    "anthropic-messages": "messages",
    "anthropic-count-tokens": "messages",
    "bedrock-converse": "messages",
    "bedrock-count-tokens": "input",
    "gemini": "contents",
}


def check(call: Call, script: Script) -> None:
    """Raises Refusal."""
    if call.surface is None:
        raise _unknown(call)
    if not isinstance(call.data, dict):
        raise _no_object(call)
    if call.platform == "azure" and call.route.model and "api-version=" not in call.query:
        raise Refusal(404, "Resource not found", code="404")
    if call.anthropic:
        _check_version(call, script)
    if not call.model and call.surface != "bedrock-count-tokens":
        required = "model: Field required" if call.anthropic else "you must provide a model parameter"
        raise Refusal(400, required, "model")
    content = _CONTENT.get(call.surface)
    if content is not None and not get(call.fields, content):
        raise _empty(call, content)
    if call.surface == "anthropic-messages" and not isinstance(call.fields.get("max_tokens"), int):
        raise Refusal(400, "max_tokens: Field required", "max_tokens")


def _unknown(call: Call) -> Refusal:
    if call.shape == "aws":
        return Refusal(404, "", kind="UnknownOperationException")
    return Refusal(404, f"Not found: {call.method} {call.path}")


def _no_object(call: Call) -> Refusal:
    what = "a JSON object" if call.data is not None or not call.body else "JSON"
    if call.shape == "aws":
        return Refusal(400, f"The body is not {what}.", kind="SerializationException")
    if call.shape == "google":
        return Refusal(400, f"Invalid JSON payload received. It is not {what}.")
    return Refusal(400, f"The body of the request is not {what}.")


_VERSIONS: dict[str, str] = {"bedrock": "bedrock-2023-05-31", "vertex": "vertex-2023-10-16"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _check_version(call: Call, script: Script) -> None:
    """The version stands in a header at Anthropic, in the body at those that host its models."""
    if call.platform == "direct":
        if script.require_version and "anthropic-version" not in call.headers:
            raise Refusal(400, "anthropic-version: header is required")
        return
    if call.surface != "anthropic-messages":
        return
    given: Any = call.fields.get("anthropic_version")
    if given is None:
        raise Refusal(400, "anthropic_version: Field required", "anthropic_version")
    right = _VERSIONS[call.platform]
    # Anthropic's own SDK sends these houses the date of its own API, and is served.
    if given != right and not _DATE.fullmatch(str(given)):
        raise Refusal(400, f"anthropic_version: Input should be '{right}'", "anthropic_version")


def _empty(call: Call, content: str) -> Refusal:
    if call.shape == "google":
        message = f"* GenerateContentRequest.{content}: {content} is not specified\n"
        return Refusal(400, message)
    if call.shape == "aws" and not call.anthropic:
        return Refusal(400, f"The {content} field is empty. Add messages to the field, and try again.")
    if call.anthropic:
        return Refusal(400, f"{content}: Field required", content)
    return Refusal(400, f"Missing required parameter: '{content}'.", content, "missing_required_parameter")
