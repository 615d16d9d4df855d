"""ProcessingRequest bytes in, ProcessingResponse bytes out: what the exchange says in Envoy's words.

Source: envoy/service/ext_proc/v3/external_processor.proto. Constant answers are kept as bytes. `forward`,
the answer to nearly every call, is put together from bytes too: most of its headers and facts are the same
for many calls, and a message of thirty small ones costs five times as much.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Iterable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from ..core.causes import BLAMELESS, Cause
from ..core.errors import Misconfigured
from ..core.keys import (
    BLAMELESS_HEADER,
    BROKER_DETAILS,
    CERTIFICATE_URI,
    CODE_HEADER,
    JWT_FILTER,
    MOST_MESSAGE_MS,
    UNVOUCHED,
    VOUCHED,
)
from ..core.opened import Shared
from ..core.tracing import TRACEPARENT
from ..envoyapi import AnyMessage, EnvoyApi
from ..exchange import NO_PROOF, NOTHING_TOLD, Answer, Forward, NotSent, Proof, Reply, Send, Strip, Told
from ..policy.limits import says_when

_PLAIN = bytes(byte if byte >= 32 and byte != 127 else 32 for byte in range(256))  # no control characters
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
        # The same with a word on what is to be shown next: of a call that may be cached.
        self.show_reply_headers = self._mode("NONE")
        self.show_reply_body: bytes = self.continue_response_headers + self._mode("STREAMED")

    def _mode(self, reply_body: str) -> bytes:
        """mode_override, as it is for a call whose request has been shown. Envoy takes it only beside
        answers to headers."""
        response = self._response()
        response.mode_override.request_header_mode = response.mode_override.SEND
        response.mode_override.request_body_mode = response.mode_override.BUFFERED
        response.mode_override.response_header_mode = response.mode_override.SEND
        response.mode_override.response_body_mode = getattr(response.mode_override, reply_body)
        serialized: bytes = response.SerializeToString()
        return serialized

    def decode(self, serialized: bytes) -> AnyMessage:
        """DecodeError where the bytes are no ProcessingRequest."""
        return self._request.FromString(serialized)

    def headers(self, message: AnyMessage) -> list[tuple[str, str]]:
        """Of an HttpHeaders message. Values are bytes on the wire; latin-1 keeps each of them."""
        return [(h.key, h.raw_value.decode("latin-1")) for h in message.headers.headers]

    def headers_of(self, message: AnyMessage, names: Container[str]) -> list[tuple[str, str]]:
        """Those with these names alone."""
        headers = message.headers.headers
        return [(key, h.raw_value.decode("latin-1")) for h in headers if (key := h.key) in names]

    def first_values(self, message: AnyMessage) -> dict[str, str]:
        """Of an HttpHeaders message; of values with the same name the first one."""
        headers = message.headers.headers
        values = {h.key: h.raw_value.decode("latin-1") for h in headers}
        if len(values) == len(headers):
            return values
        several = self.headers(message)
        values = dict(reversed(several))
        if TRACEPARENT in values:  # of several none is one
            values[TRACEPARENT] = ",".join(value for key, value in several if key == TRACEPARENT)
        return values

    def forward(self, forward: Forward) -> bytes:
        """ProcessingResponse {request_body: {response: CommonResponse}, dynamic_metadata: Struct}"""
        common = _field(2, _header_mutation(forward)) + _CLEAR_ROUTE_CACHE
        own = [_own_text(name, value) for name, value in forward.own_facts]
        facts = b"".join((_shared_texts(forward.shared_facts), *own))
        # A message in two parts is one: who reads them joins the entries.
        return b"".join((_field(3, _field(1, common)), _lb_pick(*forward.pick), _facts(facts)))

    def strip(self, strip: Strip) -> bytes:
        response = self._response()
        ours = (("x-broker-request-id", strip.request_id),)
        _mutate(response.request_headers.response.header_mutation, ours, strip.remove_headers)
        serialized: bytes = response.SerializeToString()
        return serialized + self._known_as(strip.request_id)

    def go_on(self, request_id: str) -> bytes:
        """To the body. From now on Envoy knows the call by its id, wherever it may end."""
        return self.continue_request_headers + self._known_as(request_id)

    @staticmethod
    def _known_as(request_id: str) -> bytes:
        return _known_head(len(request_id)) + request_id.encode()

    def reply(self, reply: Reply) -> bytes:
        """{immediate_response: {status: {code}, headers, body, details}, dynamic_metadata}"""
        headers = (*reply.headers, (CODE_HEADER, reply.code)) if reply.code else reply.headers
        set_headers = b"".join([_own_plain_header(name, value) for name, value in headers])
        details = f"{BROKER_DETAILS}_{reply.code}" if reply.code else BROKER_DETAILS
        head = _field(1, b"\x08" + _varint(reply.status)) + _field(2, set_headers)
        if reply.body:
            head += _head(3, len(reply.body))
        tail = _field(5, details.encode())
        whole = _head(7, len(head) + len(reply.body) + len(tail))
        facts = b"".join([_own_text(name, value) for name, value in reply.facts])
        metadata = _facts(facts) if reply.facts else b""
        return b"".join((whole, head, reply.body, tail, metadata))

    def attributes(self, message: AnyMessage) -> dict[str, str]:
        """What Envoy told beside a message, by the expressions that asked for it; texts only."""
        told = message.attributes.get("envoy.filters.http.ext_proc")
        return {name: value.string_value for name, value in told.fields.items()} if told is not None else {}

    def proof(self, message: AnyMessage) -> Proof:
        """What Envoy has verified of who calls: tokens (`xds/identity.py` names them) and the certificate."""
        certificate = self.attributes(message).get(CERTIFICATE_URI, "")
        told = message.metadata_context.filter_metadata.get(JWT_FILTER)
        if told is None:
            return Proof(certificate=certificate) if certificate else NO_PROOF
        claims: dict[str, Mapping[str, Any]] = {}
        failures: list[str] = []
        for name, value in told.fields.items():
            if name.startswith(VOUCHED):
                claims[name.removeprefix(VOUCHED)] = MessageToDict(value.struct_value)
            elif name.startswith(UNVOUCHED):
                failures.append(value.struct_value.fields["message"].string_value)
        return Proof(claims, tuple(failures), certificate)

    def immediate(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes, code: str = ""
    ) -> bytes:
        serialized: bytes = self._immediate(status, headers, body, code).SerializeToString()
        return serialized

    def _immediate(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes, code: str
    ) -> AnyMessage:
        response = self._response()
        immediate = response.immediate_response
        immediate.status.code = status
        immediate.body = body
        immediate.details = f"{BROKER_DETAILS}_{code}" if code else BROKER_DETAILS
        _mutate(immediate.headers, headers, ())
        return response

    def send(self, send: Send) -> bytes:
        """The request as the provider is to get it."""
        replaced = _replaced(3, _mutation(send.headers, send.remove_headers), send.body)
        metadata = _facts(_own_text("dropped", ", ".join(send.dropped))) if send.dropped else b""
        return b"".join((*replaced, metadata))

    def not_sent(self, refusal: NotSent) -> bytes:
        """The member's own refusal: the outer route tries another member."""
        headers = (("content-type", "application/json"),)
        response = self._immediate(refusal.status, headers, refusal.body, refusal.code)
        _tell(response, _told(refusal.code, refusal.cause, "", refusal.status))
        serialized: bytes = response.SerializeToString()
        return serialized

    def failed(self, answer: Answer, provider_status: str = "", now_s: float = 0.0) -> bytes:
        """In the place of a provider's reply. Envoy hands it back where the call says so for its cause.
        `now_s` is unix time: a word for how long the member wants no calls is not to eject it as well."""
        headers, told = answer.headers, _told(answer.code, answer.cause, provider_status, answer.status)
        if says_when(dict(headers), now_s, is_rate_limit=answer.cause is Cause.RATE_LIMIT):
            told.pop("blame", None)
            headers = (*headers, (BLAMELESS_HEADER, "1"))
        response = self._immediate(answer.status, headers, answer.body, answer.code)
        _tell(response, told)
        serialized: bytes = response.SerializeToString()
        return serialized

    def whole(self, answer: Answer) -> bytes:
        """The whole reply as the client is to get it."""
        headers = ((":status", str(answer.status)), *answer.headers)
        replaced = _replaced(4, _mutation(headers, answer.remove), answer.body)
        metadata = _facts(_own_text("used", answer.used)) if answer.used else b""
        return b"".join((*replaced, metadata))

    @staticmethod
    def open_reply(headers: Iterable[tuple[str, str]], remove: tuple[str, ...]) -> bytes:
        """Let a stream's headers through, changed so: {response_headers: {response: {header_mutation}}}"""
        return _field(2, _field(1, _field(2, _mutation(headers, remove))))

    def piece(self, body: bytes, told: Told = NOTHING_TOLD, used: str = "") -> bytes:
        """In the place of a stream's piece: {response_body: {response: {body_mutation: {body}}}}, with what
        the record has to know of it."""
        piece = _piece_head(len(body)) + body
        if told is NOTHING_TOLD and not used:  # nearly always
            return piece
        known = _own_text("used", used) if used else b""
        if told is not NOTHING_TOLD:
            known += _own_text("code", told.code)
        if told.cause is not None:
            known += _own_text("cause", told.cause.value)
        return piece + _facts(known)

    def last_shown(self, known: Iterable[tuple[str, str]]) -> bytes:
        """Let the last piece of a reply through, with what the record has to know of it."""
        facts = b"".join([_own_text(name, value) for name, value in known])
        return self.continue_response_body + _facts(facts)

    def more_time(self, milliseconds: int) -> bytes:
        """Envoy is to wait this long for the answer to the message in hand. It takes one such word a message,
        and none of more than an hour."""
        response = self._response()
        response.override_message_timeout.FromMilliseconds(min(milliseconds, MOST_MESSAGE_MS))
        serialized: bytes = response.SerializeToString()
        return serialized


def _mutate(mutation: AnyMessage, set_headers: Iterable[tuple[str, str]], remove: Iterable[str]) -> None:
    """Values may hold what others said, and Envoy takes none with a line's end in it."""
    for name, value in set_headers:
        raw = value.encode("latin-1", "replace").translate(_PLAIN)
        mutation.set_headers.add(header={"key": name, "raw_value": raw}, append_action=_OVERWRITE)
    mutation.remove_headers.extend(remove)


def _told(code: str, cause: Cause | None, provider_status: str, status: int) -> dict[str, str]:
    """Of a failure: Envoy hands it back by its cause (`xds/local_replies.py`), and the record has its
    status."""
    told = {"code": code, "provider_status": provider_status, "status": str(status)}
    if cause is not None:
        told |= {"cause": cause.value, "blame": "" if cause in BLAMELESS else "1"}
    return {name: value for name, value in told.items() if value}


def _tell(response: AnyMessage, known: Mapping[str, str]) -> None:
    """For the access log, the record and Envoy's own headers."""
    fields = response.dynamic_metadata.fields["modelbroker"].struct_value.fields
    for name, value in known.items():
        fields[name].string_value = value


# -- What is said in nearly every call, by the numbers of the fields. Tests hold it against the same made by
# protobuf.

_CLEAR_ROUTE_CACHE = b"\x28\x01"  # field 5, true
_APPEND_ACTION = bytes((0x18, _OVERWRITE))  # field 3


def _field(number: int, value: bytes) -> bytes:
    """A field that has a length: text, bytes, a message."""
    size = len(value)
    if size < 0x80:  # nearly always, and many times a call
        return bytes((number << 3 | 2, size)) + value
    return _head(number, size) + value


def _head(number: int, size: int) -> bytes:
    """What stands in front of such a field's value."""
    if size < 0x80:
        return bytes((number << 3 | 2, size))
    if size < 0x4000:  # nearly all the rest: two groups of seven bits
        return bytes((number << 3 | 2, size & 0x7F | 0x80, size >> 7))
    return bytes((number << 3 | 2,)) + _varint(size)


def _varint(number: int) -> bytes:
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _header_mutation(forward: Forward) -> bytes:
    own = [_own_header(name, value) for name, value in forward.own_headers]
    return b"".join((_shared_headers(forward.shared_headers), *own, _removals(forward.remove_headers)))


def _mutation(set_headers: Iterable[tuple[str, str]], remove: tuple[str, ...]) -> bytes:
    """HeaderMutation, of values that may hold what others said."""
    return b"".join([*[_own_plain_header(name, value) for name, value in set_headers], _removals(remove)])


def _replaced(number: int, mutation: bytes, body: bytes) -> tuple[bytes, ...]:
    """{request_body or response_body: {response: {header_mutation, body_mutation: {body}}}}, in pieces: the
    body may be 30 MB, and is to be copied once."""
    size = len(body)
    headers = _field(2, mutation)
    behind = _head(3, len(_head(1, size)) + size) + _head(1, size)
    common = len(headers) + len(behind) + size
    return _head(number, len(_head(1, common)) + common), _head(1, common), headers, behind, body


def _header(name: str, value: bytes) -> bytes:
    """HeaderMutation.set_headers: {header: {key, raw_value}, append_action}"""
    header = _field(1, name.encode()) + _field(3, value)
    return _field(1, _field(1, header) + _APPEND_ACTION)


def _text(name: str, value: bytes) -> bytes:
    """An entry of google.protobuf.Struct: {key, value: {string_value}}"""
    return _field(1, _field(1, name.encode()) + _field(2, _field(3, value)))


def _struct(name: str, entries: bytes) -> bytes:
    """An entry of google.protobuf.Struct: {key, value: {struct_value: Struct}}"""
    return _field(1, _field(1, name.encode()) + _field(2, _field(5, entries)))


# What stands in front of a value depends on the value's length alone.


@functools.lru_cache(maxsize=4096)
def _piece_head(size: int) -> bytes:
    return _field(4, _field(1, _field(3, _field(1, bytes(size)))))[: -size or None]


@functools.lru_cache(maxsize=64)
def _known_head(size: int) -> bytes:
    """Ids are of ASCII, and of one length."""
    return _field(8, _struct("modelbroker", _own_text("request_id", "0" * size)))[: -size or None]


@functools.lru_cache(maxsize=4096)
def _facts_head(size: int) -> bytes:
    return _field(8, _struct("modelbroker", bytes(size)))[: -size or None]


@functools.lru_cache(maxsize=2048)
def _header_head(name: str, size: int) -> bytes:
    return _header(name, bytes(size))[: -size - len(_APPEND_ACTION)]


@functools.lru_cache(maxsize=2048)
def _text_head(name: str, size: int) -> bytes:
    return _text(name, bytes(size))[: -size or None]


def _facts(entries: bytes) -> bytes:
    """dynamic_metadata with what the record is to know."""
    return _facts_head(len(entries)) + entries


def _own_header(name: str, value: str) -> bytes:
    raw = value.encode("latin-1", "replace")
    return _header_head(name, len(raw)) + raw + _APPEND_ACTION


def _own_plain_header(name: str, value: str) -> bytes:
    """What others said may be in it, and Envoy takes none with a line's end."""
    raw = value.encode("latin-1", "replace").translate(_PLAIN)
    return _header_head(name, len(raw)) + raw + _APPEND_ACTION


def _own_text(name: str, value: str) -> bytes:
    raw = value.encode()
    return _text_head(name, len(raw)) + raw


@functools.lru_cache(maxsize=1024)
def _shared_headers(headers: Shared) -> bytes:
    return b"".join([_own_header(name, value) for name, value in headers])


@functools.lru_cache(maxsize=1024)
def _shared_texts(facts: Shared) -> bytes:
    return b"".join([_own_text(name, value) for name, value in facts])


@functools.lru_cache(maxsize=256)
def _removals(names: tuple[str, ...]) -> bytes:
    """HeaderMutation.remove_headers"""
    return b"".join([_field(2, name.encode()) for name in names])


@functools.lru_cache(maxsize=1024)
def _lb_pick(kind: str, name: str) -> bytes:
    """What Envoy picks the members by: as `_facts`, in its own namespace."""
    return _field(8, _struct("envoy.lb", _own_text(kind, name)))


def defect(error: BaseException) -> Misconfigured:
    """What a client is told of a bug of ours: that it is one, and nothing of its inside."""
    return Misconfigured(500, "broker_defect", f"the broker failed on this call ({type(error).__name__})")
