"""The ways in which a provider fails before anything of its answer has reached the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    script: dict[str, Any]
    whole: bool = True
    stream: bool = True

    @property
    def name(self) -> str:
        return "-".join(f"{key}-{value}" for key, value in self.script.items()).replace("_", "-")

    @property
    def says_when(self) -> bool:
        """After the first such answer the member is left alone for a while, whatever the pool ejects: it
        says for how long (a simulator with 429 always does), or its key is refused."""
        return self.script.get("status") in (401, 403, 429) or self.script.get("trouble") in (
            "rate_limit",
            "invalid_key",
        )

    @property
    def timeouts(self) -> str:
        return "quick" if "stall" in self.script else "patient"

    @property
    def leaves_a_request(self) -> bool:
        """The provider has read the request, so that its journal shows the attempt."""
        return self.script.get("reset") != "on-accept"


def streamed(**script: Any) -> Fault:
    """A failure that only a stream can show; `after_events: 1` is behind an event that says nothing yet."""
    return Fault(script, whole=False)


FAULTS = [
    Fault({"status": 429}),
    Fault({"status": 429, "retry_after_s": 60}),
    Fault({"status": 500}),
    Fault({"status": 529}),
    Fault({"reset": "on-accept"}),
    Fault({"reset": "before-headers"}),
    Fault({"reset": "after-headers"}),
    Fault({"reset": "mid-body"}, stream=False),
    Fault({"cut": "close"}, stream=False),
    Fault({"stall": "before-headers"}),
    Fault({"stall": "after-headers"}),
    Fault({"garbage": "not-http"}),
    streamed(garbage="body"),
    streamed(reset="mid-stream", after_events=0, pings=1),
    streamed(reset="mid-stream", after_events=1),
    streamed(error_event=True),
    streamed(error_event=True, pings=2),
    streamed(error_event=True, after_events=1),
    streamed(cut="end", after_events=0),
    streamed(cut="end", after_events=0, pings=1),
    streamed(cut="end", after_events=1),
    streamed(cut="close", after_events=0),
    streamed(cut="close", after_events=1),
]

# Slow, and good all the same: within the timeouts that pools have by default.
SLOW: list[dict[str, Any]] = [
    {"delay_headers_ms": 2000},
    {"delay_first_event_ms": 2000},
    # A sign of life, then silence for longer than a preamble is held.
    {"delay_first_event_ms": 6000, "pings": 1},
    {"token_delay_ms": 1200},
]
