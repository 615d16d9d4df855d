"""What the control plane tells the exporters, and what they tell it."""

from __future__ import annotations

import msgspec

from ..journal.reports import Report
from .spans import Place


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is. `headers` hold keys. `ca_digest`: of the file's content, so that another one is another
    collector. `resource`: attributes of all that it gets."""

    endpoint: str
    protocol: str
    headers: dict[str, str]
    ca_file: str
    ca_digest: str
    compression: str
    timeout_s: float
    resource: dict[str, str]


class Settings(Collector, frozen=True, kw_only=True):
    """Of the exporter of spans and log records. `spans`, `logs`: what is sent. `places`: where providers
    are, by name. `since_s` (unix time): where nobody knows how far the journal was read, calls that had ended
    by then are none of ours; 0: all are."""

    folder: str
    spans: bool
    logs: bool
    places: dict[str, Place]
    since_s: float = 0.0


class ContentSettings(Collector, frozen=True, kw_only=True):
    """Of the exporter of texts: those of calls of `pools` (since when each is named, in unix time), out of
    the store at `url`, whose `keys` (in hex) open them; each of at most `most_chars` characters. `strangers`:
    those of `content.strangers_of`, with those that there were; `places` are as above."""

    folder: str
    pools: dict[str, float]
    strangers: dict[str, dict[str, float]]
    most_chars: int
    url: str
    keys: tuple[str, ...]
    places: dict[str, Place]


class ContentReport(Report, frozen=True, kw_only=True):
    """`missing`: captured calls of which there was nothing in the store in time; `unread`: of which what is
    there can't be read. Since the start."""

    missing: int = 0
    unread: int = 0
