"""The `telemetry` section of a configuration → the catalog's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..core.telemetry import GRPC, NO_TELEMETRY, Otlp, Telemetry, Traces
from .explain import read_one
from .merge import Merged
from .telemetry_schema import OtlpIn, TelemetryIn, TracesIn


def read_telemetry(merged: Merged) -> Telemetry:
    """What is wrong is noted."""
    raw = merged.mappings["telemetry"]
    said = read_one(merged, ("telemetry",), TelemetryIn, raw) if raw else None
    if said is None:
        return NO_TELEMETRY
    if said.otlp is None and said.logs:
        wrong = "there is no collector to send logs to"
        merged.wrong(("telemetry", "logs"), wrong, "add otlp: {endpoint: URL}, or leave it out")
    if said.otlp is not None and said.traces is None and not said.logs:
        merged.warn(("telemetry", "otlp"), "traces and logs are off, and nothing is sent", "say logs: on")
    if said.otlp is not None:
        _check_endpoint(merged, said.otlp)
    return Telemetry(_otlp(said.otlp), _traces(said.traces), said.logs, _sorted(said.resource))


def _check_endpoint(merged: Merged, said: OtlpIn) -> None:
    url, path = urlsplit(said.endpoint), ("telemetry", "otlp", "endpoint")
    if said.protocol == GRPC and url.path:
        merged.wrong(path, "has a path, and gRPC has no use for one", "leave it out, or say protocol: http")
    is_near = url.hostname in ("localhost", "::1") or str(url.hostname).startswith("127.")
    if url.scheme == "http" and said.headers and not is_near:
        merged.warn(path, "headers go over the network as they are", "give https://…")


def _otlp(said: OtlpIn | None) -> Otlp | None:
    if said is None:
        return None
    headers = _sorted(said.headers)
    return Otlp(said.endpoint, said.protocol, headers, said.ca_file or "", said.compression, said.timeout)


def _traces(said: TracesIn | None) -> Traces | None:
    return Traces(said.share, said.from_agents, said.to_providers) if said is not None else None


def _sorted(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(sorted(mapping.items())))
