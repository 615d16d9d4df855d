"""What YAML may say of traces and logs that go to a collector."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints

from ..core.catalog import SecretRef
from ..core.telemetry import ALL_PPM, GRPC, GZIP, HTTP, NO_TELEMETRY, PLAIN, Content, Otlp, Traces
from . import amounts, values
from .fields import Flag, Model, field
from .problems import refuse, show

_MINUTE_MS = 60_000
_RIGHT_REF = "give {env: NAME}, {file: PATH}, or {STORE: PATH, field: FIELD}"
_RIGHT_URL = "give e.g. https://collector.internal:4317"
_RIGHT_TRACES = "give {share: 10%}, or off"
_BOOL = ("true or false", "give true or false")
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
_PROTOCOLS, _COMPRESSIONS = (GRPC, HTTP), (GZIP, PLAIN)
Attribute = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,254}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$")]


def protocol_named(value: Any) -> str:
    if value not in _PROTOCOLS:
        refuse(f"{show(value)} is neither grpc nor http", "give grpc, or http for protobuf over HTTP")
    return str(value)


def compression_named(value: Any) -> str:
    if value not in _COMPRESSIONS:
        refuse(f"{show(value)} is neither gzip nor none", "give gzip or none")
    return str(value)


def header_ref(value: Any) -> SecretRef:
    if isinstance(value, str):
        refuse("stands in plain text, and may be a key", _RIGHT_REF)
    return values.stored(value, ("env", "file"), _RIGHT_REF)


def mapping_or_off(value: Any) -> Any:
    """`off`, or how calls are traced; `on`: as it is by default."""
    if value in ("off", "no") or value is False:
        return None
    if value in ("on", "yes") or value is True:
        return {}
    if not isinstance(value, dict):
        refuse(f"{show(value)} is no mapping" if value is not None else "is empty", _RIGHT_TRACES)
    return value


class ContentIn(Model):
    """Texts of calls for the collector: docs/traces.md#prompt-text-where-you-ask-for-it. They are those that
    `capture` keeps, as it keeps them: redacted, and of no other call."""

    pools: Annotated[list[Name], BeforeValidator(values.one_or_more), Field(min_length=1)] = field(
        "Of calls of these pools, by their names: there is no pattern for it. The candidate of a pool's "
        "rollout comes with it.",
        "list of names of pools",
        "give names of pools, e.g. [support]",
    )
    most_chars: Annotated[int, Field(ge=100, le=200_000)] = field(
        "The most characters of each text: a longer one is cut, and says so at its end.",
        "whole number",
        "give a whole number from 100 to 200000, e.g. 10000",
        Content(()).most_chars,
    )


class OtlpIn(Model):
    """Where a collector takes OTLP."""

    endpoint: Annotated[str, PlainValidator(values.base_url)] = field(
        "Its URL, with the port where that is not 443 (or 80): gRPC's is often 4317. `https://` is TLS. With "
        "`protocol: http`, `/v1/traces` and `/v1/logs` come behind it.",
        "URL",
        _RIGHT_URL,
    )
    protocol: Annotated[str, PlainValidator(protocol_named)] = field(
        "`grpc`, or `http` for protobuf over HTTP.", "word", "give grpc or http", GRPC
    )
    headers: dict[
        Annotated[str, PlainValidator(values.header_name)], Annotated[SecretRef, PlainValidator(header_ref)]
    ] = field(
        "What it wants in headers, a key say: references to secrets.",
        "mapping of header: reference to a secret",
        "give e.g. {dd-api-key: {env: DD_API_KEY}}",
        dict,
    )
    ca_file: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = field(
        "Certificates of authorities that its own is signed by. Left out: the system's.",
        "path",
        "give the path of a PEM file",
        None,
    )
    compression: Annotated[str, PlainValidator(compression_named)] = field(
        "`gzip` or `none`.", "word", "give gzip or none", GZIP
    )
    timeout: Annotated[int, BeforeValidator(values.duration(100, 10 * _MINUTE_MS))] = field(
        "How long it may take for one batch; then it is sent again. No call waits for it.",
        "duration",
        "give e.g. 10s",
        Otlp("").timeout_ms,
    )
    content: ContentIn | None = field(
        "Texts of calls, as they were captured. Left out: no text of a call goes there.",
        "mapping",
        "give e.g. {pools: [support]}",
        None,
    )


class TracesIn(Model):
    """Which calls are traced, and who hears of it."""

    share: Annotated[int, PlainValidator(amounts.share)] = field(
        "Of calls that begin a trace, so many are sampled. Those of an agent's trace are as the agent says.",
        "percentage",
        "give 0% to 100%",
        ALL_PPM,
    )
    from_agents: Flag = field(
        "A trace that the agent began goes on. If not, each call begins one.", *_BOOL, Traces().from_agents
    )
    to_providers: Flag = field(
        "Providers get `traceparent`, and the agent's `tracestate`. If not, they hear nothing of traces.",
        *_BOOL,
        Traces().to_providers,
    )


class TelemetryIn(Model):
    """Traces and logs of calls, for what watches your services: docs/traces.md. Without this section no call
    is traced, and no agent's `traceparent` gets to a provider."""

    otlp: OtlpIn | None = field(
        "The collector. Left out: traces are in headers and records alone.",
        "mapping",
        "give {endpoint: https://collector.internal:4317}",
        None,
    )
    traces: Annotated[TracesIn | None, BeforeValidator(mapping_or_off)] = field(
        "How calls are traced; or `off`.", "mapping or `off`", _RIGHT_TRACES, TracesIn
    )
    logs: Flag = field("A log record for each call, to the same collector.", *_BOOL, NO_TELEMETRY.logs)
    resource: dict[Attribute, Text] = field(
        "Attributes of all that is sent, over the broker's own `service.name` (`modelbroker`), "
        "`service.version` and `service.instance.id`.",
        "mapping of attribute: text",
        "give e.g. {deployment.environment.name: production}",
        dict,
    )
