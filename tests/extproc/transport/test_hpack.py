"""HPACK against RFC 7541's own examples and against an independent codec (PyPI's `hpack`)."""

import hpack as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.extproc.hpack import BlockCache, Decoder, HeaderListTooLarge, HpackError, encode
from modelbroker.extproc.hpack_tables import STATIC_TABLE, HuffmanDecoder, huffman_codes

GET = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "www.example.com"}
SECURE = {**GET, ":scheme": "https", ":path": "/index.html", "custom-key": "custom-value"}
DATE = "Mon, 21 Oct 2013 20:13:21 GMT"
FOUND = {":status": "302", "cache-control": "private", "date": DATE, "location": "https://www.example.com"}
COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
LATER = {
    ":status": "200",
    "cache-control": "private",
    "date": DATE.replace(":21 ", ":22 "),
    "location": "https://www.example.com",
    "content-encoding": "gzip",
    "set-cookie": COOKIE,
}
REQUESTS = [GET, {**GET, "cache-control": "no-cache"}, SECURE]
RESPONSES = [FOUND, {**FOUND, ":status": "307"}, LATER]
# Appendix C: section → table size, the lists, their blocks.
EXAMPLES = {
    "C.2.1": (
        4096,
        [{"custom-key": "custom-header"}],
        ["400a637573746f6d2d6b65790d637573746f6d2d686561646572"],
    ),
    "C.2.2": (4096, [{":path": "/sample/path"}], ["040c2f73616d706c652f70617468"]),
    "C.2.3": (4096, [{"password": "secret"}], ["100870617373776f726406736563726574"]),
    "C.2.4": (4096, [{":method": "GET"}], ["82"]),
    "C.3": (
        4096,
        REQUESTS,
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
    ),
    "C.4": (
        4096,
        REQUESTS,
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
    ),
    "C.5": (
        256,
        RESPONSES,
        [
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
            "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153"
            "444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e"
            "3d31",
        ],
    ),
    "C.6": (
        256,
        RESPONSES,
        [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8"
            "e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b"
            "3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ],
    ),
}


@pytest.mark.parametrize("section", EXAMPLES)
def test_the_examples_of_appendix_c(section):
    size, lists, blocks = EXAMPLES[section]
    decoder = Decoder(table_size=size)
    for headers, block in zip(lists, blocks, strict=True):
        decoded = decoder.decode(bytes.fromhex(block))
        assert dict(decoded) == {name.encode(): value.encode() for name, value in headers.items()}


def test_the_tables_are_those_of_an_independent_codec():
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

    assert huffman_codes() == list(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
    assert STATIC_TABLE == oracle.table.HeaderTable.STATIC_TABLE


octets = st.binary(max_size=40)
names = st.sampled_from([b":path", b"te", b"content-type", b"x-a", b"x-b"]) | octets
header_lists = st.lists(st.tuples(names, octets, st.booleans()), max_size=8)


@given(st.lists(st.tuples(header_lists, st.booleans(), st.none() | st.integers(0, 4096)), max_size=12))
def test_it_decodes_what_another_encoder_encodes(blocks):
    encoder, plain = oracle.Encoder(), Decoder()
    cache = BlockCache(Decoder(), lambda headers: [headers])
    for headers, huffman, table_size in blocks:
        if table_size is not None:
            encoder.header_table_size = table_size
        block = encoder.encode([oracle.HeaderTuple(*h[:2]) for h in headers], huffman=huffman)
        want = tuple(h[:2] for h in headers)
        assert plain.decode(block) == want
        assert cache.get(block) == [want]
        # Once more, as Envoy does: from the cache, where the block leaves the table alone.
        if block and all(octet & 0x80 for octet in block):
            assert cache.get(block) is cache.get(block)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6))
def test_garbage_gives_an_error_or_what_another_decoder_finds(blocks):
    ours, theirs = Decoder(), oracle.Decoder()
    for block in blocks:
        try:
            decoded = ours.decode(block)
        except HpackError:
            return  # the connection would end here
        assert list(decoded) == [tuple(header) for header in theirs.decode(block, raw=True)]


@given(octets, st.data())
def test_huffman_padding_is_checked(text, data):
    encoded = oracle.huffman.HuffmanEncoder([c for c, _ in huffman_codes()], [n for _, n in huffman_codes()])
    huffman = HuffmanDecoder()
    assert huffman.decode(encoded.encode(text)) == text
    with pytest.raises(ValueError):
        huffman.decode(encoded.encode(text) + b"\xff")  # eight bits or more of padding


@given(header_lists)
def test_another_decoder_reads_what_it_encodes(headers):
    pairs = [h[:2] for h in headers]
    assert [tuple(h) for h in oracle.Decoder().decode(encode(pairs), raw=True)] == pairs


def test_long_strings_are_encoded_with_long_lengths():
    for size in (126, 127, 128, 254, 255, 5000):
        pair = (b"x", b"v" * size)
        assert oracle.Decoder().decode(encode([pair]), raw=True) == [pair]
        assert Decoder().decode(encode([pair])) == (pair,)


@pytest.mark.parametrize(
    "block",
    ["80", "be", "3fe21f", "8220", "40", "0085", "00", "ffffffffffffffff", "ff8080808080808000", "00810000",
     "0084fffffffc00"],
    ids=["index 0", "no such entry", "table too large", "size update late", "no name", "name cut", "no value",
         "integer too large", "integer without end", "padding not of ones", "EOS"],
)  # fmt: skip
def test_what_is_wrong_is_an_error(block):
    with pytest.raises(HpackError):
        Decoder().decode(bytes.fromhex(block))


def test_a_list_that_is_too_long_keeps_the_table():
    encoder, decoder = oracle.Encoder(), Decoder(max_list=1000)
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(encoder.encode([(b"x-long", b"v" * 900), (b"x-more", b"v" * 900), (b"x-last", b"1")]))
    assert decoder.decode(encoder.encode([(b"x-last", b"1")])) == ((b"x-last", b"1"),)


def test_a_table_change_empties_the_cache():
    read = []
    cache = BlockCache(Decoder(), lambda headers: read.append(headers) or [headers])
    add_a, add_b, newest = encode_adding(b"a"), encode_adding(b"b"), b"\xbe"
    cache.get(add_a)
    assert cache.get(newest) is cache.get(newest)
    assert cache.get(newest) == [((b"a", b"1"),)]
    assert len(read) == 2
    cache.decode(add_b)  # trailers change the table as well
    assert cache.get(newest) == [((b"b", b"1"),)]


def test_the_cache_is_bounded():
    cache = BlockCache(Decoder(), lambda headers: [headers], entries=4)
    for number in range(100):
        cache.get(encode([(b"x", b"%d" % number)]))
    assert len(cache._known) <= 4


def encode_adding(name):
    return b"\x40" + bytes([len(name)]) + name + b"\x011"


def test_a_block_that_adds_to_the_table_adds_each_time():
    cache = BlockCache(Decoder(), lambda headers: [headers])
    for _ in range(2):
        assert cache.get(encode_adding(b"a")) == [((b"a", b"1"),)]
    assert cache.get(b"\xbe\xbf") == [((b"a", b"1"),) * 2]
