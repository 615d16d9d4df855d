"""What a call carries from one attempt to the next is believed only as it was sealed."""

from __future__ import annotations

import base64
import string

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.causes import Cause
from modelbroker.exchange.course import Course, opened, sealed

KEY, FOREIGN = b"k" * 32, b"f" * 32
TEXTS = st.text(max_size=20)
CAUSES = st.sampled_from([cause.value for cause in Cause])
COURSES = st.builds(
    Course,
    TEXTS,
    st.integers(0, 2**53),
    TEXTS,
    TEXTS,
    TEXTS,
    st.lists(TEXTS, min_size=1, max_size=4).map(tuple),
    st.lists(st.tuples(TEXTS, CAUSES), max_size=8).map(tuple),
    st.integers(0, 10**6),
)


@given(COURSES)
def test_round_trip(course: Course) -> None:
    value = sealed(course, KEY)
    assert opened(value, KEY) == course
    assert set(value) <= set(string.ascii_letters + string.digits + "-_=")  # good in a header


@given(COURSES, st.data())
def test_what_is_changed_anywhere_is_nothing(course: Course, data: st.DataObject) -> None:
    value = sealed(course, KEY)
    raw = bytearray(base64.urlsafe_b64decode(value))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    assert opened(base64.urlsafe_b64encode(raw).decode(), KEY) is None
    assert opened(value[: data.draw(st.integers(0, len(value) - 1))], KEY) is None
    at = data.draw(st.integers(0, len(value)))
    assert opened(value[:at] + data.draw(st.sampled_from(" .\n\xe9!")) + value[at:], KEY) is None


@given(COURSES, COURSES)
def test_a_seal_is_good_for_its_own_content_and_key(one: Course, other: Course) -> None:
    assert opened(sealed(one, FOREIGN), KEY) is None
    if one != other:
        first = base64.urlsafe_b64decode(sealed(one, KEY))
        second = base64.urlsafe_b64decode(sealed(other, KEY))
        mixed = base64.urlsafe_b64encode(first[:16] + second[16:]).decode()
        assert opened(mixed, KEY) is None


@given(st.text(max_size=80))
def test_anything_else_is_nothing(value: str) -> None:
    assert opened(value, KEY) is None


def test_an_attempt_is_added() -> None:
    course = Course("id", 7, "c", "", "", ("a",)).after("p/m", "reset")
    assert [(one.member, one.cause) for one in course.failed()] == [("p/m", Cause.RESET)]
