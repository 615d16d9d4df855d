"""What providers say of their limits, in the words of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.policy.limits import (
    EASED_BELOW,
    MOST_WAIT_S,
    UNTOLD_RESET_S,
    Limit,
    Wait,
    limit_headers,
    limits_of,
    says_when,
    used_up_headers,
    wait_of,
)

AT_S = 1_796_000_000.0  # 2026-11-30T00:53:20Z


def openai(kind: str, *, left: str = "0", of: str = "500", reset: str | None = "20s") -> dict[str, str]:
    said = {f"x-ratelimit-limit-{kind}": of, f"x-ratelimit-remaining-{kind}": left}
    return said if reset is None else said | {f"x-ratelimit-reset-{kind}": reset}


NAMELESS = {"x-ratelimit-limit": "80", "x-ratelimit-remaining": "0"}


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "30"}, 30),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "Mon, 30 Nov 2026 00:54:20 GMT"}, 60),
        ({"retry-after": "30", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "30", "retry-after-ms": "soon"}, 30),
        (openai("tokens", reset="6m0s"), 360),
        (openai("tokens", reset="20ms"), 0.02),
        (openai("requests", reset="2m59.56s"), 179.56),
        (openai("requests", reset="7.66"), 7.66),
        (openai("requests", reset="1h0m1s"), MOST_WAIT_S),
        (openai("requests") | openai("tokens", reset="40s"), 40),
        (openai("requests") | openai("tokens", left="100", reset="40s"), 20),
        (openai("requests", reset=str(int(AT_S) + 9)), 9),
        (openai("requests", reset=str((int(AT_S) + 9) * 1000)), 9),
        (openai("requests-day", reset="1011.382867097855"), 1011.382867),  # Cerebras'
        (openai("tokens-minute", reset="11.382867097854614"), 11.382867),
        (openai("tokens-minute", reset="11.5") | openai("requests-day", reset="33011.5"), MOST_WAIT_S),
        (openai("tokens-per-day", reset=str(int(AT_S) + 99)), 99),  # DigitalOcean's
        (NAMELESS | {"x-ratelimit-reset": str((int(AT_S) + 60) * 1000)}, 60),  # OpenRouter's
        ({"ratelimit": '"default";r=0;t=30'}, 30),
        ({"ratelimit": '"minute";r=5;t=60, "day";r=0;t=99', "ratelimit-policy": '"day";q=9;w=86400'}, 99),
        ({"ratelimit": '"default";t=7;r=0;pk=:cHsdsRa894==:'}, 7),
        ({"ratelimit": '"default";r=0;t=30', "retry-after": "40"}, 40),
        (
            {
                "anthropic-ratelimit-input-tokens-limit": "30000",
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-30T00:53:50Z",
            },
            30,
        ),
    ],
)
def test_waits_in_the_words_of_each(headers: dict[str, str], wait_s: float) -> None:
    wait = wait_of(headers, AT_S, is_rate_limit=True)
    assert wait is not None
    assert wait.until_s - AT_S == pytest.approx(wait_s, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("2026-11-30T00:53:50Z", 30),
        ("2026-11-30t00:53:50.25z", 30.25),
        ("2026-11-30T02:53:50+02:00", 30),
        ("2026-11-29T19:23:50-05:30", 30),
    ],
)
def test_dates_with_their_offset(text: str, wait_s: float) -> None:
    wait = wait_of(openai("requests", reset=text), AT_S, is_rate_limit=True)
    assert wait is not None
    assert wait.until_s - AT_S == pytest.approx(wait_s)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "0",
        "soon",
        "1e9",
        "inf",
        "nan",
        "Sun, 29 Nov 2026 00:00:00 GMT",
        "30 Nov 2026",
        "9" * 400,
        "٣",
    ],
)
def test_what_is_no_wait_is_ignored(text: str) -> None:
    assert wait_of({"retry-after": text}, AT_S, is_rate_limit=True) is None


@pytest.mark.parametrize(
    "reset", ["", "soon", "-1s", "1s!", "1x", "2026-11-30T00:53:50", "2026-99-30T00:53:50Z", "1" * 100 + "s"]
)
def test_a_reset_that_is_none_is_ignored(reset: str) -> None:
    assert wait_of(openai("requests", reset=reset), AT_S, is_rate_limit=True) is None


def test_a_long_wait_is_capped_and_said() -> None:
    assert wait_of({"retry-after": "86400"}, AT_S, is_rate_limit=True) == Wait(AT_S + MOST_WAIT_S, True)
    assert wait_of({"retry-after": "3600"}, AT_S, is_rate_limit=True) == Wait(AT_S + 3600, False)


def test_a_limit_that_is_used_up_is_a_wait_only_where_it_was_the_reason() -> None:
    assert wait_of(openai("requests"), AT_S, is_rate_limit=False) is None
    assert wait_of(openai("requests", left="1"), AT_S, is_rate_limit=True) is None
    assert wait_of({"retry-after": "3"}, AT_S, is_rate_limit=False) == Wait(AT_S + 3)


def test_a_word_of_less_than_a_second_is_not_enough() -> None:
    said = [says_when({"retry-after-ms": ms}, AT_S, is_rate_limit=True) for ms in ("999", "1000", "0", "x")]
    assert said == [False, True, False, False]
    assert says_when(openai("requests", reset="2s"), AT_S, is_rate_limit=True)
    assert not says_when(openai("requests", reset="2s"), AT_S, is_rate_limit=False)
    assert not says_when({}, AT_S, is_rate_limit=True)


def test_limits_of_which_little_is_left() -> None:
    told = openai("requests", left="5", of="500", reset="12s") | openai("tokens", left="9", of="0")
    assert limits_of(told, AT_S) == (Limit("requests", 0.01, AT_S + 12),)
    assert limits_of(openai("requests", left="4", of="50", reset=None), AT_S) == (
        Limit("requests", 0.08, AT_S + UNTOLD_RESET_S),
    )


def test_limits_as_the_draft_tells_them() -> None:
    policy = '"burst";q=100;w=60, "daily";q=1000;qu="requests";w=86400, "busy";q=9;qu="concurrent-requests"'

    def told(text: str) -> tuple[Limit, ...] | None:
        return limits_of({"ratelimit": text, "ratelimit-policy": policy}, AT_S)

    assert told('"burst";r=5;t=12') == (Limit("burst", 0.05, AT_S + 12),)
    assert told('"burst";r=50;t=12,"daily";r=20;t=90000') == (Limit("daily", 0.02, AT_S + MOST_WAIT_S),)
    assert told('"burst";r=1') == (Limit("burst", 0.01, AT_S + UNTOLD_RESET_S),)
    assert told('"burst";r=99;t=1') == ()
    assert told('"busy";r=0;t=1') is None
    assert told('"another";r=0;t=1') is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "limit=100, remaining=0, reset=5",  # the draft's seventh
        "100;r=0;t=5",
        '"default;r=0;t=5',
        '"default";r=0;t=5,',
        '"default";r=-1;t=5',
        '"default";r=0.0;t=5',
        '"default";r=0;t="5"',
        '"' + "x" * 65 + '";r=0;t=5',
        ",".join(['"default";r=0;t=5'] * 100),
        '"default";r=0',
    ],
)
def test_what_the_draft_does_not_know_is_ignored(text: str) -> None:
    assert wait_of({"ratelimit": text}, AT_S, is_rate_limit=True) is None


def test_whether_limits_are_told_at_all() -> None:
    assert limits_of(openai("requests", left="600", of="500"), AT_S) == ()
    assert limits_of(openai("requests", left="none"), AT_S) is None
    assert limits_of({"x-ratelimit-remaining-requests": "5"}, AT_S) is None
    assert limits_of({}, AT_S) is None


def test_only_the_headers_of_a_dialect_are_asked_for() -> None:
    everywhere = ("retry-after", "retry-after-ms", "ratelimit", "ratelimit-policy")
    assert limit_headers(["bedrock-converse"]) == everywhere
    both = limit_headers(["openai-chat", "openai-responses"])
    assert both == limit_headers(["openai-chat"])
    assert "x-ratelimit-remaining-tokens" in both
    assert "anthropic-ratelimit-output-tokens-reset" in limit_headers(["anthropic-messages"])


def test_what_tells_that_a_limit_is_used_up() -> None:
    assert used_up_headers(["bedrock-converse"]) == ()
    requests = ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
    assert requests in used_up_headers(["openai-chat"])
    assert requests not in used_up_headers(["anthropic-messages"])


TEXTS = st.one_of(
    st.text(max_size=80),
    st.from_regex(r'("[a-z]{1,3}"(;(r|t|q)=[0-9]{1,3}){0,3},?){1,3}', fullmatch=True),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"(\d+(ms|s|m|h)){1,4}"),
)


@given(st.dictionaries(st.sampled_from(limit_headers(["openai-chat", "anthropic-messages"])), TEXTS))
def test_whatever_is_said_the_answer_is_within_bounds(headers: dict[str, str]) -> None:
    wait = wait_of(headers, AT_S, is_rate_limit=True)
    assert wait is None or AT_S < wait.until_s <= AT_S + MOST_WAIT_S
    for limit in limits_of(headers, AT_S) or ():
        assert 0.0 <= limit.left < EASED_BELOW
        assert limit.until_s <= AT_S + MOST_WAIT_S
