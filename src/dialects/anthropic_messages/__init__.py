"""`anthropic-messages`: Messages and its token count, as clients and as providers speak it; variants `vertex`
and `bedrock` (InvokeModel) for Claude at Google's and Amazon's.

Source: Anthropic API reference, "Messages", "Count tokens", "Streaming", "Errors"; the types of Anthropic's
Python SDK where they are newer.
"""

from __future__ import annotations

from .surface import AnthropicMessages

__all__ = ["AnthropicMessages"]
