"""What the console's process takes out of a URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.serve import first_words


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", {}),
        ("a=1&a=2&b=%2B+x", {"a": "1", "b": "+ x"}),
        ("a=&b=1", {"b": "1"}),
        ("&".join(f"n{number}=1" for number in range(200)), {}),
    ],
)
def test_words(query: str, words: dict[str, str]) -> None:
    assert first_words(query) == words


@given(st.text())
def test_whatever_it_is(query: str) -> None:
    assert all(value for value in first_words(query).values())
