"""A client's bytes in a log entry cost nobody a record."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.envoyapi import api
from modelbroker.records.repair import repaired

NAME = "envoy.service.accesslog.v3.StreamAccessLogsMessage"


def test_bad_text_is_replaced_and_all_else_stays() -> None:
    message_class = api().message_class(NAME)
    message = message_class()
    message.identifier.log_name = "outer"
    for path in ("/good", "/bXd", "/größe"):
        entry = message.http_logs.log_entry.add()
        entry.request.path = path
        entry.request.request_headers_bytes = 300
        entry.request.request_headers["a"] = "v"
        entry.common_properties.sample_rate = 0.5
        entry.common_properties.start_time.FromMilliseconds(1_700_000_000_000)
    damaged = message.SerializeToString().replace(b"/bXd", b"/b\xffd")
    with pytest.raises(Exception, match="UTF-8"):
        message_class.FromString(damaged)
    message.http_logs.log_entry[1].request.path = "/b\ufffdd"
    assert message_class.FromString(repaired(damaged, message_class.DESCRIPTOR)) == message


@given(st.binary(max_size=60))
def test_any_bytes_are_repaired_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        repaired(data, api().message_class(NAME).DESCRIPTOR)
