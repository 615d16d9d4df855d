"""What Google's errors say, whichever service they come from: Gemini's API, Vertex AI, Claude there.

Source: google/rpc/error_details.proto; AIP-193, "Errors".
"""

from __future__ import annotations

import math
from typing import Any


class Details:
    """What google.rpc's details say, as far as it is of use."""

    __slots__ = ("field", "reason", "request", "retry_after")

    def __init__(self, details: Any) -> None:
        self.reason = self.field = self.request = self.retry_after = ""
        for detail in details if isinstance(details, list) else ():
            if not isinstance(detail, dict):
                continue
            kind = str(detail.get("@type") or "").rpartition(".")[2]
            if kind == "ErrorInfo":
                self.reason = str(detail.get("reason") or "")
            elif kind == "RetryInfo":
                self.retry_after = _seconds(detail.get("retryDelay"))
            elif kind == "RequestInfo":
                self.request = str(detail.get("requestId") or "")
            elif kind == "BadRequest":
                violations = detail.get("fieldViolations")
                first = violations[0] if isinstance(violations, list) and violations else {}
                self.field = str(first.get("field") or "") if isinstance(first, dict) else ""


def _seconds(duration: Any) -> str:
    """`34.07s` → `35`: what a header can say."""
    text = duration.removesuffix("s") if isinstance(duration, str) else ""
    try:
        return str(max(0, math.ceil(float(text))))
    except (ValueError, OverflowError):
        return ""
