"""What YAML may say of the sinks of audit events."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainValidator, StringConstraints

from ..core.audit import FORMS
from ..core.catalog import SecretRef
from . import values
from .fields import Flag, Model, field
from .problems import listing, refuse, show, suggestion
from .secret_schema import FilePath, Name, Url

KINDS = ("file", "stdout", "syslog", "splunk", "elastic", "http", "otlp")
FACILITIES = (
    *("user", "daemon", "auth", "syslog", "authpriv", "audit"),
    *(f"local{number}" for number in range(8)),
)
_REFERENCE = "give {env: NAME}, {file: PATH} or {STORE: PATH}"
_HEADER_TEXT = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,4094}[\x21-\x7e])?")
_OWN_HEADERS = ("host", "content-length", "content-type", "content-encoding", "idempotency-key", "user-agent")
# Names of headers that nobody would give anything but a secret.
_SECRET_NAME = re.compile(r"authorization|cookie|token|secret|password|api-?key|access-?key")


def _secret(value: Any) -> SecretRef:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        refuse("holds a secret in plain text", f"never write a secret itself here: {_REFERENCE}")
    return values.stored(value, ("env", "file"), _REFERENCE)


def _headers(value: Any) -> dict[str, str | SecretRef]:
    """Values are texts or references to secrets. They are not repeated in messages."""
    if not isinstance(value, dict):
        refuse("is not a mapping", "give {name: value}")
    found: dict[str, str | SecretRef] = {}
    for name, text in value.items():
        lower = values.header_name(name)
        if lower in _OWN_HEADERS:
            refuse(f"the header {show(name)} is the broker's own to set", "leave it out")
        if lower in found:
            refuse(f"the header {show(lower)} stands twice", "keep one")
        if isinstance(text, dict):
            found[lower] = values.stored(text, ("env", "file"), _REFERENCE)
        elif lower in values.CREDENTIALS or _SECRET_NAME.search(lower):
            refuse(f"the header {show(name)} holds a secret in plain text", _REFERENCE)
        elif not isinstance(text, str) or not _HEADER_TEXT.fullmatch(text):
            refuse(f"the value of {show(name)} is not text that a header can hold", "put it in quotes")
        else:
            found[lower] = text
    return found


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            refuse(f"{show(value)} is none of them", suggestion(str(value), words, f"give {listing(words)}"))
        return str(value)

    return read


def _syslog_address(value: Any) -> str:
    right = "give tcp://HOST:PORT or tls://HOST:PORT, e.g. tls://siem.internal:6514"
    if not isinstance(value, str) or not value.isascii() or len(value) > 300:
        refuse("is not the address of a syslog server", right)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        refuse("is not the address of a syslog server", right)
    if parts.scheme not in ("tcp", "tls"):
        refuse("the address has no tcp:// or tls:// in front", right)
    if "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment or port == 0:
        refuse("is more than a host and a port", right)
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]", host):
        refuse("has no good host", right)
    return f"{parts.scheme}://{parts.netloc.lower()}"


Secret = Annotated[SecretRef, PlainValidator(_secret)]
Headers = Annotated[dict[str, Any], PlainValidator(_headers)]
Label = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,48}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[!-~][ -~]{0,254}$")]
IndexName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,254}$")]
MIB, GIB = 1 << 20, 1 << 30


def _gzip(default: bool) -> Any:
    return field("Compress requests.", "true or false", "give true or false", default)


class TrustIn(Model):
    """What every sink that may have TLS takes. The server's certificate and name are always checked."""

    ca_file: FilePath | None = field(
        "A PEM file of the authorities to trust, in place of the system's.", "path", "give a path", None
    )
    cert_file: FilePath | None = field(
        "A client's certificate, where the server wants one (PEM).", "path", "give a path", None
    )
    key_file: FilePath | None = field(
        "Its key, where it is in a file of its own.", "path", "give a path", None
    )


class FileIn(Model):
    """Lines of JSON in a file that is rotated by its size."""

    path: Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]{1,1023}[^/\x00-\x1f]$")] = field(
        "The file. Its folder has to be there.",
        "path",
        "give a whole path, e.g. /var/log/modelbroker/audit.jsonl",
    )
    most_bytes: Annotated[int, BeforeValidator(values.size(4_096, 100 * GIB))] = field(
        "Its size at most. Then it is renamed to `PATH.1`, and a new one begins.",
        "size",
        "give e.g. 100MiB",
        100 * MIB,
    )
    files: Annotated[int, BeforeValidator(lambda value: _count(value, 2, 1_000))] = field(
        "How many files there are, this one and older ones. The oldest is deleted.",
        "whole number, 2 to 1000",
        "give a whole number from 2 to 1000",
        10,
    )


def _count(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        refuse(f"{show(value)} is no such number", f"give a whole number from {least} to {most}")
    return value


class SyslogIn(TrustIn):
    """RFC 5424 over TCP or TLS, with octet counting."""

    address: Annotated[str, PlainValidator(_syslog_address)] = field(
        "Where it is: `tcp://HOST:PORT` or `tls://HOST:PORT` (601 and 6514 where no port stands).",
        "address",
        "give e.g. tls://siem.internal:6514",
    )
    server_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{0,253}$")] = field(
        "The name in its certificate, where that is not its host.", "text", "give a host's name", ""
    )
    facility: Annotated[str, PlainValidator(_one_of(*FACILITIES))] = field(
        f"The facility: {listing(FACILITIES)}.", "word", "give e.g. local0", "audit"
    )
    app_name: Label = field("APP-NAME.", "text", "give 1 to 48 letters without spaces", "modelbroker")
    hostname: Annotated[str, StringConstraints(pattern=r"^[!-~]{0,255}$")] = field(
        "HOSTNAME. Left out: the machine's.", "text", "give a host's name", ""
    )
    sd_id: Annotated[str, StringConstraints(pattern=r"^[!#-<>-\\^-~]{1,32}$")] = field(
        "The name of the structured data that has `id` and `seq`: with your own enterprise number, where you "
        "have one.",
        "text",
        "give e.g. modelbroker@32473",
        "modelbroker@32473",
    )


class SplunkIn(TrustIn):
    """Splunk's HTTP Event Collector."""

    address: Url = field("Its URL, without `/services/…`.", "URL", "give e.g. https://splunk.internal:8088")
    token: Secret = field("Where its token is to be found.", "reference to a secret", _REFERENCE)
    index: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,80}$")] = field(
        "The index. Left out: the token's own.", "text", "give the name of an index", ""
    )
    source: Word = field("The events' source.", "text", "give a text", "modelbroker")
    sourcetype: Word = field("Their source type.", "text", "give a text", "modelbroker:audit")
    host: Annotated[str, StringConstraints(pattern=r"^[!-~]{0,255}$")] = field(
        "Their host. Left out: the machine's.", "text", "give a host's name", ""
    )
    ack: Flag = field(
        "Wait until the indexers acknowledge each batch. The token must have that switched on.",
        "true or false",
        "give true or false",
        False,
    )
    ack_timeout: Annotated[int, BeforeValidator(values.duration(1_000, 3_600_000))] = field(
        "How long that may take, before the batch is sent again.", "duration", "give e.g. 60s", 60_000
    )
    gzip: Flag = _gzip(True)


class ElasticIn(TrustIn):
    """Elasticsearch or OpenSearch: the bulk API."""

    address: Url = field("Its URL.", "URL", "give e.g. https://elastic.internal:9200")
    index: IndexName = field("The data stream or index.", "text", "give e.g. logs-modelbroker.audit-default")
    api_key: Secret | None = field(
        "Where an API key (the encoded one) is to be found.", "reference to a secret", _REFERENCE, None
    )
    user: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f:]{0,256}$")] = field(
        "A user, in place of an API key.", "text", "give the user's name", ""
    )
    password: Secret | None = field(
        "Where the user's password is to be found.", "reference to a secret", _REFERENCE, None
    )
    gzip: Flag = _gzip(True)


class HttpIn(TrustIn):
    """Batches of JSON to any address."""

    address: Url = field("Where each batch goes.", "URL", "give e.g. https://collector.internal/audit")
    method: Annotated[str, PlainValidator(_one_of("POST", "PUT"))] = field(
        "The method.", "word", "give POST or PUT", "POST"
    )
    batch: Annotated[str, PlainValidator(_one_of("ndjson", "array"))] = field(
        "What a batch is: `ndjson`, a line an event, or `array`, one JSON array.",
        "word",
        "give ndjson or array",
        "ndjson",
    )
    headers: Headers = field(
        "Headers of each request. A value is a text or a reference to a secret.",
        "mapping of header: text or reference",
        "give e.g. {authorization: {env: COLLECTOR_AUTHORIZATION}}",
        dict,
    )
    most_events: Annotated[int, BeforeValidator(lambda value: _count(value, 1, 10_000))] = field(
        "Events of a batch, at most.", "whole number", "give a whole number from 1 to 10000", 500
    )
    most_bytes: Annotated[int, BeforeValidator(values.size(1_024, 64 * MIB))] = field(
        "Its size, at most, where it has several events.", "size", "give e.g. 1MiB", MIB
    )
    gzip: Flag = _gzip(False)


class OtlpIn(TrustIn):
    """OpenTelemetry logs. Needs the extra `otlp`."""

    address: Url = field(
        "The receiver's URL: with `http`, `/v1/logs` is added.", "URL", "give e.g. http://collector:4318"
    )
    protocol: Annotated[str, PlainValidator(_one_of("http", "grpc"))] = field(
        "`http` (protobuf) or `grpc`.", "word", "give http or grpc", "http"
    )
    headers: Headers = field(
        "Headers of each request. A value is a text or a reference to a secret.",
        "mapping of header: text or reference",
        "give e.g. {api-key: {env: OTLP_KEY}}",
        dict,
    )
    service_name: Word = field("`service.name` of the resource.", "text", "give a text", "modelbroker")
    gzip: Flag = _gzip(True)


class SinkIn(Model):
    """One place that audit events are sent to, of one kind."""

    name: Name = field(
        "What status, logs and metrics call it.", "name", "give a name of small letters, e.g. siem"
    )
    form: Annotated[str, PlainValidator(_one_of(*FORMS))] | None = field(
        "The events' form: `ocsf`, or `ecs`. Left out: `ecs` for `elastic`, `ocsf` for all others.",
        "word",
        "give ocsf or ecs",
        None,
    )
    file: FileIn | None = field("A file.", "mapping", "give {path: /var/log/modelbroker/audit.jsonl}", None)
    stdout: Flag | None = field(
        "The broker's standard output, for containers' platforms.", "true or false", "give true", None
    )
    syslog: SyslogIn | None = field("Syslog.", "mapping", "give {address: tls://siem.internal:6514}", None)
    splunk: SplunkIn | None = field(
        "Splunk.", "mapping", "give {address: https://splunk.internal:8088, token: {env: HEC_TOKEN}}", None
    )
    elastic: ElasticIn | None = field(
        "Elasticsearch.",
        "mapping",
        "give {address: https://elastic.internal:9200, index: …, api_key: …}",
        None,
    )
    http: HttpIn | None = field("HTTP.", "mapping", "give {address: https://collector.internal/audit}", None)
    otlp: OtlpIn | None = field("OpenTelemetry.", "mapping", "give {address: http://collector:4318}", None)
