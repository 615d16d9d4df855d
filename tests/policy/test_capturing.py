"""Which calls are captured: by the first rule that matches, a lot, and never of those who are exempt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.call import Caller, Facts
from modelbroker.core.capture import Capture, CaptureRule
from modelbroker.core.catalog import Condition, Op
from modelbroker.core.ids import RANDOM_BYTES, request_id_of
from modelbroker.dialects import SURFACES
from modelbroker.policy.capturing import captured, lot

SALES = (Condition("team", Op.IN, ("sales",)),)
ids = st.builds(
    request_id_of, st.integers(0, 2**48 - 1), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
)


def facts(team: str = "", name: str = "anna") -> Facts:
    return Facts(Caller(name=name, team=team), SURFACES[0], "m")


def test_the_first_rule_that_matches_counts() -> None:
    first = CaptureRule("first", SALES, ("reason*",), 1_000_000)
    never = CaptureRule("never", SALES, ("*",), 0)
    rest = CaptureRule("rest", (), ("*",), 1_000_000)
    capture = Capture((first, never, rest), exempt=("payroll-*",))
    assert captured(capture, facts("sales"), "reasoning", "a") is first
    assert captured(capture, facts("sales"), "other", "a") is None  # by lot, and no further rule is asked
    assert captured(capture, facts("legal"), "other", "a") is rest
    assert captured(capture, facts("legal", "payroll-2"), "other", "a") is None
    assert captured(Capture(), facts(), "p", "a") is None


@given(ids, st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_a_larger_share_holds_the_smaller_one(ident: str, one: int, other: int) -> None:
    least, most = sorted((one, other))
    small, large = (Capture((CaptureRule("r", (), ("*",), share),)) for share in (least, most))
    if captured(small, facts(), "p", ident):
        assert captured(large, facts(), "p", ident)
    assert 0 <= lot(ident) < 1_000_000


def test_lots_are_fair() -> None:
    drawn = [lot(request_id_of(1_790_000_000_000 + n, n.to_bytes(10, "big"))) for n in range(10_000)]
    assert 850 < sum(one < 100_000 for one in drawn) < 1_150
