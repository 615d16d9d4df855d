"""`bedrock-converse`: Amazon Bedrock's Converse and ConverseStream, as a provider speaks them."""

from __future__ import annotations

from .dialect import BedrockConverse

__all__ = ["BedrockConverse"]
