"""What the broker sends itself on: nobody else can say it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.exchange.course import Course, opened, sealed
from modelbroker.exchange.errand import Errand, errand_in, sealed_errand

KEY, OTHER = b"k" * 32, b"o" * 32
texts = st.text(st.characters(codec="utf-8"), max_size=20)
errands = st.builds(
    Errand, texts, texts, texts, texts, texts, texts, texts, st.floats(0, 1e10, allow_nan=False)
)


@given(errands)
def test_what_is_sealed_is_read_again(errand: Errand) -> None:
    assert errand_in(sealed_errand(errand, KEY), KEY) == errand
    assert errand_in(sealed_errand(errand, OTHER), KEY) is None
    assert errand_in(sealed_errand(errand, KEY), b"") is None


@given(errands, st.integers(0, 10_000), st.integers(1, 255))
def test_one_other_byte_is_no_errand(errand: Errand, at: int, by: int) -> None:
    value = bytearray(sealed_errand(errand, KEY).encode())
    value[at % len(value)] ^= by
    changed = value.decode("latin-1")
    # Base64's last letter holds bits that mean nothing.
    assert errand_in(changed, KEY) in (None, errand)
    if at % len(value) < len(value) - 4:
        assert errand_in(changed, KEY) is None


@given(st.text(max_size=200))
def test_what_anybody_says_is_none(said: str) -> None:
    assert errand_in(said, KEY) is None


@given(errands)
def test_a_course_is_no_errand_and_an_errand_no_course(errand: Errand) -> None:
    """Both are sealed with the same key."""
    course = Course("id", 1, "c", "", "", ("p",), errand=errand)
    assert errand_in(sealed(course, KEY), KEY) is None
    assert opened(sealed_errand(errand, KEY), KEY) is None
    again = opened(sealed(course, KEY), KEY)
    assert again is not None and again.errand == errand
