"""Descriptors are found in any surroundings, and the installed Envoy has all that the broker uses."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.envoyapi import api, envoy_binary, message_class
from modelbroker.envoyapi.scan import file_descriptors

FILES = [module.DESCRIPTOR.serialized_pb for module in (duration_pb2, struct_pb2, timestamp_pb2)]


@given(
    before=st.binary(max_size=50),
    between=st.lists(st.binary(max_size=50), min_size=3, max_size=3),
    order=st.permutations(FILES),
)
def test_descriptors_are_found_between_any_bytes(
    before: bytes, between: list[bytes], order: list[bytes]
) -> None:
    # A zero byte ends a descriptor for certain: no field has the number 0.
    binary = (
        before + b"\0" + b"".join(file + b"\0" + noise for file, noise in zip(order, between, strict=True))
    )
    found = file_descriptors(binary)
    for serialized in FILES:
        name = descriptor_pb2.FileDescriptorProto.FromString(serialized).name
        assert found[name] == serialized


def test_a_cut_descriptor_is_no_descriptor() -> None:
    for length in range(0, len(FILES[1]), 7):
        for serialized in file_descriptors(FILES[1][:length]).values():
            assert FILES[1].startswith(serialized)


def test_the_installed_envoy_has_the_api_that_the_broker_speaks() -> None:
    assert envoy_binary().is_file()
    for name in (
        "envoy.service.ext_proc.v3.ProcessingRequest",
        "envoy.service.discovery.v3.DeltaDiscoveryRequest",
        "envoy.config.listener.v3.Listener",
        "envoy.service.accesslog.v3.StreamAccessLogsMessage",
    ):
        assert message_class(name).DESCRIPTOR.full_name == name


def test_the_pool_is_our_own() -> None:
    """Other packages may bring their copies of the same files into the process-wide pool."""
    message = api().message_class("google.protobuf.Duration")
    assert message is not duration_pb2.Duration
