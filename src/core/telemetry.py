"""What goes to the systems that watch services: traces and logs, by OTLP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import SecretRef

GRPC, HTTP = "grpc", "http"
GZIP, PLAIN = "gzip", "none"
ALL_PPM = 1_000_000
RANDOM_DIGITS = 14  # at the end of a trace's id, in hex
_LOTS: int = 16**RANDOM_DIGITS
NO_HEADERS: Mapping[str, SecretRef] = MappingProxyType({})
NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Traces:
    """Which calls are traced, and who hears of it. `share_ppm`: of those that begin a trace, so many of a
    million are sampled. `from_agents`: a trace that the agent began goes on. `to_providers`: providers are
    told it."""

    share_ppm: int = ALL_PPM
    from_agents: bool = True
    to_providers: bool = True

    @property
    def threshold(self) -> int:
        """A trace whose id ends with this number or a higher one is sampled (OpenTelemetry's consistent
        probability sampling)."""
        return (ALL_PPM - self.share_ppm) * _LOTS // ALL_PPM


@dataclass(frozen=True, slots=True)
class Content:
    """Of calls of which `pools` (names) the collector gets what was captured, each text of at most
    `most_chars` characters."""

    pools: tuple[str, ...]
    most_chars: int = 10_000


@dataclass(frozen=True, slots=True)
class Otlp:
    """A collector. `endpoint`: its URL; over HTTP `/v1/traces` and `/v1/logs` come behind it. `ca_file` "":
    the system's authorities. `content` None: no text of a call goes there."""

    endpoint: str
    protocol: str = GRPC
    headers: Mapping[str, SecretRef] = field(default_factory=lambda: NO_HEADERS)
    ca_file: str = ""
    compression: str = GZIP
    timeout_ms: int = 10_000
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """`traces` None: no call is traced. `otlp` None: nothing is sent, and traces are in records and headers
    alone. `resource`: attributes of all that is sent."""

    otlp: Otlp | None = None
    traces: Traces | None = None
    logs: bool = False
    resource: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES)


NO_TELEMETRY = Telemetry()
