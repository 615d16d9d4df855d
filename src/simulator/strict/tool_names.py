"""Names of tools that OpenAI and Gemini refuse. (Anthropic's and Bedrock's rules stand with their others.)

https://platform.openai.com/docs/api-reference/chat/create, https://ai.google.dev/api/caching#FunctionDeclaration
"""

import re
from typing import Any

from ..refusal import Refusal
from ..requests import Call
from .messages_fields import enumerate_objects

_LONGEST = 64
_OPENAIS = re.compile(r"[a-zA-Z0-9_-]+")
_GEMINIS = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")


def check_openai(call: Call) -> None:
    """Of a chat's functions, which stand inside, and of a response's."""
    for index, tool in enumerate_objects(call.fields.get("tools")):
        function = tool.get("function")
        if isinstance(function, dict):
            _check_openais(f"tools[{index}].function.name", function.get("name"))
        elif tool.get("type") == "function":
            _check_openais(f"tools[{index}].name", tool.get("name"))


def _check_openais(where: str, name: Any) -> None:
    if not isinstance(name, str):
        return
    if len(name) > _LONGEST:
        message = (
            f"Invalid '{where}': string too long. Expected a string with maximum length {_LONGEST}, "
            f"but got a string with length {len(name)} instead."
        )
        raise Refusal(400, message, where, "string_above_max_length")
    if not _OPENAIS.fullmatch(name):
        message = (
            f"Invalid '{where}': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'."
        )
        raise Refusal(400, message, where, "invalid_value")


def check_gemini(call: Call) -> None:
    for index, tool in enumerate_objects(call.fields.get("tools")):
        declared = tool.get("functionDeclarations") or tool.get("function_declarations")
        for number, function in enumerate_objects(declared):
            name = function.get("name")
            if isinstance(name, str) and not _GEMINIS.fullmatch(name):
                where = f"GenerateContentRequest.tools[{index}].function_declarations[{number}].name"
                message = (
                    f"* {where}: Invalid function name. Must start with a letter or an underscore. Must be "
                    "alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), "
                    "with a maximum length of 64.\n"
                )
                raise Refusal(400, message)
