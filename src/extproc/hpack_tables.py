"""The fixed tables of HPACK: RFC 7541 appendix A (static table) and appendix B (Huffman code)."""

from __future__ import annotations

Header = tuple[bytes, bytes]

STATIC_TABLE: tuple[Header, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)

# Bits of each symbol's code; 256 is EOS. The code is canonical, so the lengths are all of it.
_LENGTHS = (
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28),
    *(28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28),
    *(6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6),
    *(5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10),
    *(13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7),
    *(7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6),
    *(15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5),
    *(6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28),
    *(20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23),
    *(24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24),
    *(22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23),
    *(21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23),
    *(26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25),
    *(19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27),
    *(20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23),
    *(26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26),
    30,
)
EOS = 256


def huffman_codes() -> list[tuple[int, int]]:
    """(code, bits) of each symbol: codes count up through the symbols in order of length, then value."""
    codes = [(0, 0)] * len(_LENGTHS)
    code = length = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda s: (_LENGTHS[s], s)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        codes[symbol] = (code, length)
        code += 1
    return codes


class HuffmanDecoder:
    """A state machine that eats four bits a step: no code is shorter than five, so a step gives one symbol
    at most. A state is an inner node of the code's tree."""

    def __init__(self) -> None:
        tree: list[list[int]] = [[0, 0]]  # node → child on 0, child on 1; a leaf is ~symbol
        for symbol, (code, bits) in enumerate(huffman_codes()):
            node = 0
            for shift in range(bits - 1, 0, -1):
                bit = code >> shift & 1
                if not tree[node][bit]:
                    tree[node][bit] = len(tree)
                    tree.append([0, 0])
                node = tree[node][bit]
            tree[node][code & 1] = ~symbol
        # (state * 16 + four bits) → (next state, symbol or -1)
        self._steps = [self._step(tree, node, nibble) for node in range(len(tree)) for nibble in range(16)]
        # Section 5.2: padding is at most seven bits, the first ones of EOS, which are all 1.
        node, self._may_end = 0, {0}
        for _ in range(7):
            node = tree[node][1]
            self._may_end.add(node)

    @staticmethod
    def _step(tree: list[list[int]], node: int, nibble: int) -> tuple[int, int]:
        symbol = -1
        for shift in (3, 2, 1, 0):
            node = tree[node][nibble >> shift & 1]
            if node < 0:
                symbol, node = ~node, 0
        return node, symbol

    def decode(self, data: bytes) -> bytes:
        """ValueError where `data` holds EOS or ends in anything but proper padding."""
        steps, state, out = self._steps, 0, bytearray()
        for octet in data:
            state, symbol = steps[state << 4 | octet >> 4]
            if symbol >= 0:
                out.append(symbol)  # ValueError at 256, EOS
            state, symbol = steps[state << 4 | octet & 15]
            if symbol >= 0:
                out.append(symbol)
        if state not in self._may_end:
            raise ValueError("the Huffman code ends in bad padding")
        return bytes(out)
