"""Files that a configuration names and that are not there, for `check` and `gate`. No more than warnings: the
broker may run on another machine, or in a container with mounts of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..core.catalog import Catalog, Identity
from ..settings import place_at, place_of

NOT_HERE = "is not there on this machine; the broker needs it on the one where it runs"
_OF_SINKS = ("ca_file", "cert_file", "key_file")


def missing_files(catalog: Catalog, texts: Mapping[str, str]) -> Iterator[str]:
    """`a.yaml:3: audit.sinks[0].file.path: …`, one a file. Those of secrets and of the listener are told
    elsewhere."""
    for path, file in _named(catalog):
        if not Path(file).exists():
            yield f"{place_at(texts, *path)}: {file} {NOT_HERE}"
    for number, sink in enumerate(catalog.audit.sinks):
        folder = Path(sink.options.get("path", "/")).parent
        if sink.kind == "file" and not folder.is_dir():
            place = place_at(texts, "audit", "sinks", number, "file", "path")
            yield f"{place}: the folder {folder} {NOT_HERE}, and makes none"
    for section, name, steps, file in _of_entries(catalog):
        if not Path(file).exists():
            yield f"{place_of(texts, section, name, *steps)}: {file} {NOT_HERE}"


def _named(catalog: Catalog) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for number, sink in enumerate(catalog.audit.sinks):
        for name in _OF_SINKS:
            if file := sink.options.get(name):
                yield ("audit", "sinks", number, sink.kind, name), file
    if (otlp := catalog.telemetry.otlp) is not None and otlp.ca_file:
        yield ("telemetry", "otlp", "ca_file"), otlp.ca_file
    for number, store in enumerate(catalog.secrets.stores.values()):
        if file := store.options.get("ca_file"):
            yield ("secrets", "stores", number, store.kind, "ca_file"), file


def _of_entries(catalog: Catalog) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Of lists whose entries have names and may stand in several files: (section, name, path in it, file)."""
    for provider in catalog.providers.values():
        if provider.ca_file:
            yield "providers", provider.name, ("ca_file",), provider.ca_file
        ref = provider.credential
        if isinstance(ref, Identity) and (file := dict(ref.options).get("ca_file")):
            yield "providers", provider.name, ("credential", ref.kind, "ca_file"), file
    for issuer in catalog.issuers:
        if issuer.jwks.ca_file:
            yield "issuers", issuer.name, ("jwks", "ca_file"), issuer.jwks.ca_file
