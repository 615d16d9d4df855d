"""ProcessingRequest bytes in, ProcessingResponse bytes out: what the exchange says in Envoy's words.

Source: envoy/service/ext_proc/v3/external_processor.proto. Constant answers are kept as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..core.errors import Misconfigured
from ..core.keys import BROKER_DETAILS
from ..envoyapi import AnyMessage, EnvoyApi
from ..exchange import Forward, Reply, Strip

_OVERWRITE = 2  # HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD


class Messages:
    """Encoders and decoders for one Envoy API. Stateless; shared by all streams."""

    def __init__(self, api: EnvoyApi) -> None:
        self._request = api.message_class("envoy.service.ext_proc.v3.ProcessingRequest")
        self._response = api.message_class("envoy.service.ext_proc.v3.ProcessingResponse")
        go_on = self._response()
        go_on.request_headers.SetInParent()
        self.continue_request_headers: bytes = go_on.SerializeToString()
        go_on = self._response()
        go_on.response_headers.SetInParent()
        self.continue_response_headers: bytes = go_on.SerializeToString()
        go_on = self._response()
        go_on.response_body.SetInParent()
        self.continue_response_body: bytes = go_on.SerializeToString()

    def decode(self, serialized: bytes) -> AnyMessage:
        """DecodeError where the bytes are no ProcessingRequest."""
        return self._request.FromString(serialized)

    def headers(self, message: AnyMessage) -> list[tuple[str, str]]:
        """Of an HttpHeaders message. Values are bytes on the wire; latin-1 keeps each of them."""
        return [(h.key, h.raw_value.decode("latin-1")) for h in message.headers.headers]

    def forward(self, forward: Forward) -> bytes:
        response = self._response()
        common = response.request_body.response
        _mutate(common.header_mutation, forward.set_headers, forward.remove_headers)
        common.clear_route_cache = True
        namespace = response.dynamic_metadata.fields["envoy.lb"].struct_value
        namespace.fields["class"].string_value = forward.class_name
        known = response.dynamic_metadata.fields["modelbroker"].struct_value.fields
        for name, value in forward.facts:
            known[name].string_value = value
        serialized: bytes = response.SerializeToString()
        return serialized

    def strip(self, strip: Strip) -> bytes:
        response = self._response()
        ours = (("x-broker-request-id", strip.request_id),)
        _mutate(response.request_headers.response.header_mutation, ours, strip.remove_headers)
        serialized: bytes = response.SerializeToString()
        return serialized

    def reply(self, reply: Reply) -> bytes:
        return self.immediate(reply.status, reply.headers, reply.body, reply.code)

    def immediate(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes, code: str = ""
    ) -> bytes:
        response = self._response()
        immediate = response.immediate_response
        immediate.status.code = status
        immediate.body = body
        immediate.details = f"{BROKER_DETAILS}_{code}" if code else BROKER_DETAILS
        _mutate(immediate.headers, headers, ())
        serialized: bytes = response.SerializeToString()
        return serialized

    def more_time(self, milliseconds: int) -> bytes:
        """Envoy is to wait this long for the answer to the message in hand."""
        response = self._response()
        response.override_message_timeout.FromMilliseconds(milliseconds)
        serialized: bytes = response.SerializeToString()
        return serialized


def _mutate(mutation: AnyMessage, set_headers: Iterable[tuple[str, str]], remove: Iterable[str]) -> None:
    for name, value in set_headers:
        mutation.set_headers.add(
            header={"key": name, "raw_value": value.encode("latin-1", "replace")}, append_action=_OVERWRITE
        )
    mutation.remove_headers.extend(remove)


def defect(error: BaseException) -> Misconfigured:
    """What a client is told of a bug of ours: that it is one, and nothing of its inside."""
    return Misconfigured(500, "broker_defect", f"the broker failed on this call ({type(error).__name__})")
