"""What the control plane tells the exporter."""

from __future__ import annotations

import msgspec

from .spans import Place


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` hold keys. `ca_digest`: of the file's content, so that another one is another collector.
    `spans`, `logs`: what is sent. `places`: where providers are, by name. `since_s` (unix time): where nobody
    knows how far the journal was read, calls that had ended by then are none of ours; 0: all are."""

    folder: str
    endpoint: str
    protocol: str
    headers: dict[str, str]
    ca_file: str
    ca_digest: str
    compression: str
    timeout_s: float
    spans: bool
    logs: bool
    resource: dict[str, str]
    places: dict[str, Place]
    since_s: float = 0.0
