"""Request ids carry their time."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.ids import RANDOM_BYTES, request_id_of, unix_ms_of

times = st.integers(0, 2**48 - 1)
randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(times, randoms)
def test_an_id_is_a_uuid_of_version_7_that_tells_its_time(unix_ms: int, random: bytes) -> None:
    made = request_id_of(unix_ms, random)
    assert uuid.UUID(made).hex == made
    assert uuid.UUID(made).version == 7
    assert uuid.UUID(made).variant == uuid.RFC_4122
    assert unix_ms_of(made) == unix_ms


@given(times, times, randoms, randoms)
def test_ids_sort_by_time(first: int, second: int, one: bytes, other: bytes) -> None:
    if first < second:
        assert request_id_of(first, one) < request_id_of(second, other)


def test_chance_decides_74_bits() -> None:
    ids = {request_id_of(1, bytes([n, *[0] * 9])) for n in range(256)}
    assert len(ids) == 256


def test_ids_of_others_tell_no_time() -> None:
    for other in (
        "",
        "0" * 32,
        str(uuid.uuid4()),
        uuid.uuid4().hex,
        "x" * 32,
        request_id_of(1, bytes(10)) + "0",
    ):
        assert unix_ms_of(other) is None
