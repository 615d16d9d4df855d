"""HPACK decoding, RFC 7541, and the few encodings that answers need.

Envoy's requests to us repeat byte for byte, so `BlockCache` keeps what a header block meant: the meaning
of a block's bytes is fixed for as long as the dynamic table stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .hpack_tables import STATIC_TABLE, Header, HuffmanDecoder

_HUFFMAN = HuffmanDecoder()
_STATIC = len(STATIC_TABLE)
# Section 4.1: what an entry counts beyond its name and value.
_ENTRY_OVERHEAD = 32
# Nothing here can honestly be longer; section 5.1 tells implementations to set a limit.
_MAX_INTEGER = 1 << 24


class HpackError(ValueError):
    """The block can't be decoded, and the table is lost: the connection ends (COMPRESSION_ERROR)."""


class HeaderListTooLarge(ValueError):
    """The block is sound, and the table is up to date, but the list is longer than we announced."""


class Decoder:
    """One direction of one connection.

    `table_size` is the SETTINGS_HEADER_TABLE_SIZE that we announced; `max_list` bounds the decoded list,
    counted as RFC 9113 section 6.5.2 counts it.
    """

    def __init__(self, table_size: int = 4096, max_list: int = 65_536) -> None:
        self.changes = 0  # counts what was done to the dynamic table
        self._limit = table_size  # what the encoder may choose
        self._capacity = table_size  # what it chose
        self._max_list = max_list
        self._entries: deque[Header] = deque()  # the newest first
        self._size = 0

    def decode(self, block: bytes) -> tuple[Header, ...]:
        """HpackError or HeaderListTooLarge."""
        headers: list[Header] = []
        listed = 0
        try:
            position = self._size_updates(block)
            while position < len(block):
                header, position = self._field(block, position)
                listed += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD
                # Go on when it is too long: fields still to come may change the table.
                if listed <= self._max_list:
                    headers.append(header)
        except IndexError:
            raise HpackError("the header block ends inside a field") from None
        except HpackError:
            raise
        except ValueError as error:
            raise HpackError(str(error)) from None
        if listed > self._max_list:
            raise HeaderListTooLarge(f"{listed} bytes of headers; the limit is {self._max_list}")
        return tuple(headers)

    def _size_updates(self, block: bytes) -> int:
        """Section 6.3. They come before the first field only (section 4.2)."""
        position = 0
        while position < len(block) and block[position] & 0xE0 == 0x20:
            capacity, position = _integer(block, position, 0x1F)
            if capacity > self._limit:
                raise HpackError(f"a table of {capacity} bytes; the limit is {self._limit}")
            self._capacity = capacity
            self.changes += 1
            self._evict()
        return position

    def _field(self, block: bytes, position: int) -> tuple[Header, int]:
        first = block[position]
        if first & 0x80:  # section 6.1: indexed
            index, position = _integer(block, position, 0x7F)
            return self._indexed(index), position
        if first & 0x40:  # section 6.2.1: literal, to be added to the table
            index, position = _integer(block, position, 0x3F)
        elif first & 0x20:
            raise HpackError("a table size update after a field")
        else:  # sections 6.2.2 and 6.2.3: literal, not to be added
            index, position = _integer(block, position, 0x0F)
        if index:
            name = self._indexed(index)[0]
        else:
            name, position = _string(block, position)
        value, position = _string(block, position)
        header = (name, value)
        if first & 0x40:
            self._add(header)
        return header, position

    def _indexed(self, index: int) -> Header:
        if 0 < index <= _STATIC:
            return STATIC_TABLE[index - 1]
        if index == 0 or index - _STATIC > len(self._entries):
            raise HpackError(f"no table entry {index}")
        return self._entries[index - _STATIC - 1]

    def _add(self, header: Header) -> None:
        # An entry larger than the table empties it, and that is no error (section 4.4).
        self._entries.appendleft(header)
        self._size += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD
        self.changes += 1
        self._evict()

    def _evict(self) -> None:
        while self._size > self._capacity:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD


Meaning = TypeVar("Meaning")


class BlockCache(Generic[Meaning]):
    """What header blocks mean, by their bytes; forgotten when the dynamic table changes."""

    def __init__(
        self, decoder: Decoder, interpret: Callable[[tuple[Header, ...]], Meaning], entries: int = 256
    ) -> None:
        self._decoder = decoder
        self._interpret = interpret
        self._entries = entries
        self._known: dict[bytes, Meaning] = {}

    def get(self, block: bytes) -> Meaning:
        """HpackError, HeaderListTooLarge, or what `interpret` raises."""
        meaning = self._known.get(block)
        return self._decode(block) if meaning is None else meaning

    def decode(self, block: bytes) -> tuple[Header, ...]:
        """Decode a block of another kind (trailers) on the same connection."""
        return self._decoded(block)[0]

    def _decoded(self, block: bytes) -> tuple[tuple[Header, ...], bool]:
        """The headers, and whether the block leaves the table as it was."""
        before = self._decoder.changes
        try:
            headers = self._decoder.decode(block)
        finally:
            same = self._decoder.changes == before
            if not same:
                self._known.clear()
        return headers, same

    def _decode(self, block: bytes) -> Meaning:
        headers, same = self._decoded(block)
        meaning = self._interpret(headers)
        if same:
            if len(self._known) >= self._entries:
                self._known.clear()
            self._known[block] = meaning
        return meaning


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Section 5.1; `mask` covers the bits of the first octet."""
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        shift += 7
        # Leading zeros are legal and without end, so the octets are counted too.
        if value > _MAX_INTEGER or shift > 35:
            raise HpackError("an integer out of bounds")
        if octet < 0x80:
            return value, position


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """Section 5.2."""
    huffman = block[position] & 0x80
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HpackError("a string that is longer than its block")
    raw = block[position:end]
    return (_HUFFMAN.decode(raw) if huffman else raw), end


def encode(headers: Iterable[Header]) -> bytes:
    """A block that touches no dynamic table: literals without indexing (section 6.2.2), no Huffman code."""
    out = bytearray()
    for name, value in headers:
        out.append(0)
        for text in (name, value):
            _append_integer(out, len(text))
            out += text
    return bytes(out)


def _append_integer(out: bytearray, value: int) -> None:
    if value < 0x7F:
        out.append(value)
        return
    out.append(0x7F)
    value -= 0x7F
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
