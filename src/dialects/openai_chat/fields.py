"""What the client calls what Chat calls otherwise."""

from __future__ import annotations

from collections.abc import Mapping

_OWN: Mapping[str, str] = {
    "max_output_tokens": "max_completion_tokens",
    "choices": "n",
    "output": "response_format",
    "effort": "reasoning_effort",
    "parallel_tools": "parallel_tool_calls",
    "cache_key": "prompt_cache_key",
    "cached": "cache_control",
}


def own_field(param: str) -> str:
    return _OWN.get(param, param)
