"""The pools that the broker makes beside those of a configuration."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.trials import candidate_pool, is_made, is_one_of, made_beside
from modelbroker.settings.schema import POOL_NAME

NAMES = st.from_regex(re.compile(POOL_NAME, re.ASCII), fullmatch=True)
MEMBERS = st.text(st.sampled_from("ab~/-"), min_size=1, max_size=6)


@given(NAMES, st.lists(NAMES, max_size=3), MEMBERS)
def test_a_made_pool_is_of_the_one_that_it_stands_beside(name: str, others: list[str], member: str) -> None:
    made = candidate_pool(name, member)
    assert is_made(made) and not is_made(name)
    for pools in (others, [*others, name]):
        assert is_one_of(name, pools) == is_one_of(made, pools) == (name in pools)
        # The same as SQL asks it.
        assert any(made.startswith(begin) for begin in made_beside(pools)) == (name in pools)
        assert not any(name.startswith(begin) for begin in made_beside(pools))


@given(NAMES, MEMBERS)
def test_who_names_a_made_pool_means_that_one_alone(name: str, member: str) -> None:
    made = candidate_pool(name, member)
    assert is_one_of(made, [made]) and not is_one_of(name, [made])
    assert not is_one_of(f"{made}~", [made]) and made_beside([made]) == ()
