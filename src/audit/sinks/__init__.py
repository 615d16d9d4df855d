"""The kinds of sinks there are, and how one is opened."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping

from ...core.errors import Misconfigured
from ..sink import Sink, SinkSettings

# Kind → (module, what it needs, the extra that has it; "" where it needs nothing).
_KINDS: Mapping[str, tuple[str, str, str]] = {
    "file": ("file", "", ""),
    "stdout": ("stdout", "", ""),
    "syslog": ("syslog", "", ""),
    "splunk": ("splunk", "", ""),
    "elastic": ("elastic", "", ""),
    "http": ("http", "", ""),
    "otlp": ("otlp", "opentelemetry.proto", "otlp"),
}
KINDS = tuple(_KINDS)


def open_sink(settings: SinkSettings) -> Sink:
    """Nothing is connected or written yet. Misconfigured where what it needs is not installed."""
    module, needs, extra = _KINDS[settings.kind]
    if needs and not _is_there(needs):
        raise Misconfigured(
            500,
            "missing_extra",
            f"audit.sinks: {settings.name} needs the package {needs}: pip install 'modelbroker[{extra}]'",
        )
    found: Callable[[SinkSettings], Sink] = importlib.import_module(f".{module}", __package__).open_sink
    return found(settings)


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it is in is not
        return False
