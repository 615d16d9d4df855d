"""The `telemetry` section of a configuration → the catalog's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..core.capture import Capture
from ..core.globs import glob_matches
from ..core.telemetry import GRPC, HTTP, NO_TELEMETRY, Content, Otlp, Telemetry, Traces
from .explain import read_one
from .merge import Merged
from .problems import listing, show, suggestion
from .telemetry_schema import ContentIn, OtlpIn, TelemetryIn, TracesIn
from .yamltext import Path


def read_telemetry(merged: Merged, capture: Capture) -> Telemetry:
    """`capture`: of which calls there are texts. What is wrong is noted."""
    raw = merged.mappings["telemetry"]
    said = read_one(merged, ("telemetry",), TelemetryIn, raw) if raw else None
    if said is None:
        return NO_TELEMETRY
    if said.otlp is None and said.logs:
        wrong = "there is no collector to send logs to"
        merged.wrong(("telemetry", "logs"), wrong, "add otlp: {endpoint: URL}, or leave it out")
    is_idle = said.traces is None and not said.logs
    if said.otlp is not None and is_idle and said.otlp.content is None:
        merged.warn(("telemetry", "otlp"), "traces and logs are off, and nothing is sent", "say logs: on")
    if said.otlp is not None:
        _check_endpoint(merged, said.otlp)
        if said.otlp.content is not None:
            _check_content(merged, said.otlp.content, capture)
    return Telemetry(_otlp(said.otlp), _traces(said.traces), said.logs, _sorted(said.resource))


def _check_endpoint(merged: Merged, said: OtlpIn) -> None:
    url, path = urlsplit(said.endpoint), ("telemetry", "otlp", "endpoint")
    if said.protocol == GRPC and url.path:
        merged.wrong(path, "has a path, and gRPC has no use for one", "leave it out, or say protocol: http")
    if said.protocol == HTTP and url.path.endswith(("/v1/traces", "/v1/logs")):
        wrong = "has the path of one of the two, which comes behind it"
        merged.wrong(path, wrong, "leave /v1/traces and /v1/logs out")
    is_near = url.hostname in ("localhost", "::1") or str(url.hostname).startswith("127.")
    if url.scheme == "http" and said.headers and not is_near:
        merged.warn(path, "headers go over the network as they are", "give https://…")


def _check_content(merged: Merged, said: ContentIn, capture: Capture) -> None:
    """Texts are those that are captured. A pool of which none are is no error: who ends to capture may leave
    this as it is."""
    pools = merged.names("pools")
    for number, name in enumerate(said.pools):
        path: Path = ("telemetry", "otlp", "content", "pools", number)
        if name not in pools:
            right = suggestion(name, pools, f"the pools are {listing(pools) or 'none so far'}")
            merged.wrong(path, f"there is no pool {show(name)}", right)
        elif not any(glob_matches(pattern, name) for rule in capture.rules for pattern in rule.pools):
            wrong = f"nothing of the pool {show(name)} is captured, and no text of it is sent"
            merged.warn(path, wrong, "add a rule to `capture`, or leave the pool out")


def _content(said: ContentIn | None) -> Content | None:
    return Content(tuple(sorted(set(said.pools))), said.most_chars) if said is not None else None


def _otlp(said: OtlpIn | None) -> Otlp | None:
    if said is None:
        return None
    headers = _sorted(said.headers)
    return Otlp(
        said.endpoint,
        said.protocol,
        headers,
        said.ca_file or "",
        said.compression,
        said.timeout,
        _content(said.content),
    )


def _traces(said: TracesIn | None) -> Traces | None:
    return Traces(said.share, said.from_agents, said.to_providers) if said is not None else None


def _sorted(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(sorted(mapping.items())))
