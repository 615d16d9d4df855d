"""What is sealed is read by who has the key, for the same use, and nobody makes it up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.exchange.seals import seal, unseal

KEY = b"k" * 32


@given(st.binary(), st.binary(max_size=64), st.binary(max_size=16), st.binary(max_size=16))
def test_only_the_key_and_the_use_open_it(content: bytes, key: bytes, use: bytes, other: bytes) -> None:
    value = seal(content, KEY, use)
    assert value.isascii() and unseal(value, KEY, use) == content
    assert key == KEY or unseal(value, key, use) is None
    # BLAKE2 fills a use up with zeros.
    assert other.rstrip(b"\0") == use.rstrip(b"\0") or unseal(value, KEY, other) is None


@given(st.text())
def test_what_is_no_seal_is_nothing(value: str) -> None:
    assert unseal(value, KEY) is None


@given(st.binary(max_size=50), st.data())
def test_one_character_changed_and_it_is_nothing(content: bytes, data: st.DataObject) -> None:
    value = seal(content, KEY)
    at = data.draw(st.integers(0, len(value) - 1))
    letter = data.draw(st.sampled_from("ABCDabcd0123-_"))
    changed = f"{value[:at]}{letter}{value[at + 1 :]}"
    # The last letter's low bits may be padding, and say nothing.
    assert changed == value or unseal(changed, KEY) in (None, content)
