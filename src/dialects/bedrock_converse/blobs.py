"""Kinds of what only its issuer can read. A Bedrock account has models of many vendors, none of which reads
another's: Claude's kinds are Converse's field names, another vendor's have its name in front."""

from __future__ import annotations

_CLAUDE = "anthropic"


def signature_kind(family: str) -> str:
    return _kind(family, "signature")


def redacted_kind(family: str) -> str:
    return _kind(family, "redactedContent")


def _kind(family: str, field: str) -> str:
    whose = "" if family == _CLAUDE else f"{family or 'other'}."
    return f"bedrock-converse.{whose}{field}"
