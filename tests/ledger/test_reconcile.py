"""Invoices of every form, and what their differences from the ledger are explained by."""

from __future__ import annotations

import io
from datetime import UTC
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import Misconfigured
from modelbroker.core.prices import NANO, Cost, Price, Rates, Scale, book_of
from modelbroker.core.record import Record
from modelbroker.core.usage import PARTIAL, Usage
from modelbroker.journal.reading import Position
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.differences import Entry, Parts, Side, explain
from modelbroker.ledger.invoices import Invoice, columns_of, read
from modelbroker.ledger.reconcile import Reconciled, model_key, reconcile
from modelbroker.ledger.rows import rows_of
from modelbroker.ledger.tables import COUNTS
from support.ledgers import NOW_S, attempt, lost, record, trees

NO_TOKENS = {"input": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 0}
ANTHROPIC_USAGE = """\
\ufeffusage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,\
usage_output_tokens,web_search_count,inference_geo,speed
2026-11-29,claude-opus-4-7-20260401,broker,Default,standard,≤ 200k,1000,20,30,400,50,0,global,

2026-11-29,claude-opus-4-7-20260401,broker,Default,standard,≤ 200k,"1,000",0,0,0,5,0,global,
"""
ANTHROPIC_COSTS = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type
2026-11-29,Claude Opus 4.7,Default,broker,message,≤ 200k,input_no_cache,1.50,1.50,token
2026-11-29,Claude Opus 4.7,Default,broker,message,≤ 200k,output,0.25,0.25,token
2026-11-29,Claude Opus 4.7,Default,broker,message,,,0.01,0.01,web_search
"""
OPENAI_USAGE = """\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,model,input_tokens,\
output_tokens,input_cached_tokens
1795910400,1795996800,2026-11-29T00:00:00+00:00,2026-11-30T00:00:00+00:00,proj_1,3,gpt-5-mini-2025-08-07,1000,50,400
1795996800,1796083200,2026-11-30T00:00:00+00:00,2026-12-01T00:00:00+00:00,,,,,,
"""
OPENAI_COSTS = """\
start_time,end_time,amount_value,amount_currency,line_item,project_id
1795910400,1795996800,0.000250000000,usd,"gpt-5-mini-2025-08-07, input",proj_1
1795910400,1795996800,0.5,usd,"gpt-5-mini-2025-08-07, cached input",proj_1
1795910400,1795996800,2,usd,web search tool calls,proj_1
1795996800,1796083200,,,,
"""
AWS = """\
line_item_line_item_type,line_item_usage_start_date,line_item_product_code,line_item_usage_type,\
line_item_usage_amount,pricing_unit,line_item_unblended_cost,product
Usage,2026-11-29T10:00:00.000Z,AmazonBedrock,USW2-Claude4.7Opus-input-tokens,1.5,1K tokens,0.0075,{}
Usage,2026-11-29T10:00:00.000Z,AmazonBedrock,X-Claude4.7Opus-cache-read-input-token-count,2,1K tokens,.001,{}
Usage,2026-11-29T10:00:00.000Z,x,USE1-MP:USE1_OutputTokenCount-Units,7,Units,0.5,\
"{""product_name"": ""Claude Opus 4.7 (Amazon Bedrock Edition)""}"
Usage,2026-11-29T10:00:00.000Z,AmazonEC2,BoxUsage,1,Hrs,9,{}
Tax,2026-11-29T10:00:00.000Z,AmazonBedrock,,1,,0.19,{}
"""
AWS_LEGACY = """\
lineItem/LineItemType,lineItem/UsageStartDate,lineItem/ProductCode,lineItem/UsageType,lineItem/UsageAmount,\
pricing/unit,lineItem/UnblendedCost
Usage,2026-11-29T10:00:00Z,AmazonBedrock,USE1-Nova2.0Lite-output-tokens,3,1K tokens,0.0000000001
"""


def parsed(text: str, **more: Any) -> Invoice:
    return read("bill.csv", io.StringIO(text, newline=""), **more)


def told(invoice: Invoice) -> list[tuple[int, str, str, Any, int | None, str]]:
    def counts(tokens: dict[str, int] | None) -> Any:
        return None if tokens is None else {name: n for name, n in tokens.items() if n}

    return [(one.number, one.day, one.model, counts(one.tokens), one.cost, one.what) for one in invoice.lines]


def test_anthropics() -> None:
    found, day = parsed(ANTHROPIC_USAGE), "2026-11-29"
    everything = {"input": 1000, "cache_write_5m": 20, "cache_write_1h": 30, "cache_read": 400, "output": 50}
    assert found.form == "Anthropic usage"
    assert told(found) == [
        (2, day, "claude-opus-4-7-20260401", everything, None, ""),
        (4, day, "claude-opus-4-7-20260401", {"input": 1000, "output": 5}, None, ""),
    ]
    costs = parsed(ANTHROPIC_COSTS)
    assert told(costs) == [
        (2, day, "Claude Opus 4.7", None, 1_500_000_000, ""),
        (3, day, "Claude Opus 4.7", None, 250_000_000, ""),
        (4, day, "Claude Opus 4.7", None, 10_000_000, "web_search"),
    ]


def test_openais() -> None:
    found, day = parsed(OPENAI_USAGE), "2026-11-29"
    counts = {"input": 600, "cache_read": 400, "output": 50}
    assert told(found) == [(2, day, "gpt-5-mini-2025-08-07", counts, None, "")] and found.skipped == 1
    assert told(parsed(OPENAI_COSTS)) == [
        (2, day, "gpt-5-mini-2025-08-07", None, 250_000, ""),
        (3, day, "gpt-5-mini-2025-08-07", None, 500_000_000, ""),
        (4, day, "web search tool calls", None, 2_000_000_000, "web search tool calls"),
    ]


def test_awss() -> None:
    found, day = parsed(AWS), "2026-11-29"
    assert told(found) == [
        (2, day, "Claude4.7Opus", {"input": 1500}, 7_500_000, ""),
        (3, day, "Claude4.7Opus", {"cache_read": 2000}, 1_000_000, ""),
        (4, day, "Claude Opus 4.7", None, 500_000_000, ""),
        (6, day, "", None, 190_000_000, "Tax"),
    ]
    assert found.skipped == 1
    assert told(parsed(AWS_LEGACY)) == [(2, day, "Nova2.0Lite", {"output": 3000}, 0, "")]


def test_any_other() -> None:
    columns = columns_of("day=Date,model=Model,prompt=In,cache_read=Cached,output=Out,cost=Amount")
    text = "Date,Model,In,Cached,Out,Amount,Note\n2026-11-29T08:00,m,100,30,5,$0.10,x\n"
    counts = {"input": 70, "cache_read": 30, "output": 5}
    assert told(parsed(text, columns=columns)) == [(2, "2026-11-29", "m", counts, 100_000_000, "")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "bill.csv:1: the file is empty"),
        ("a,b\n1,2\n", "bill.csv:1: these columns are of no form that is known"),
        (ANTHROPIC_COSTS.replace("0.25,", "cheap,"), "bill.csv:3: cost_usd: 'cheap' is no number"),
        (ANTHROPIC_COSTS.replace("0.25,", "nan,"), "bill.csv:3: cost_usd: 'nan' is no number"),
        (
            ANTHROPIC_COSTS.replace("2026-11-29", "29.11.26", 1),
            "bill.csv:2: usage_date_utc: '29.11.26' is no",
        ),
        (ANTHROPIC_COSTS + "1,2,3,4,5,6,7,8,9,10,11\n", "bill.csv:5: has 11 cells, and there are 10 columns"),
        (OPENAI_COSTS.replace("usd", "eur", 1), "bill.csv:2: amount_currency: 'eur'"),
        (OPENAI_USAGE.replace(",50,400", ",50,4000"), "bill.csv:2: input_cached_tokens: 4000 are more than"),
    ],
)
def test_what_is_no_invoice_is_said_with_its_line(text: str, says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parsed(text)
    assert says in caught.value.message


@pytest.mark.parametrize("text", ["", "day", "day=A,model=", "day=A,model=B", "day=A,model=B,price=C"])
def test_columns_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"names are|needed"):
        columns_of(text)


@pytest.mark.parametrize(
    "name",
    [
        "Claude Opus 4.7",
        "claude-opus-4-7-20260401",
        "Claude4.7Opus",
        "eu.anthropic.claude-opus-4-7-20260401-v1:0",
        "claude-opus-4-7@20260401",
        "anthropic.claude-opus-4-7",
        "Claude Opus 4.7 (Amazon Bedrock Edition)",
    ],
)
def test_names_of_one_model(name: str) -> None:
    assert model_key(name) == model_key("claude-opus-4-7")


def test_names_of_others() -> None:
    others = ["claude-opus-4-6", "claude-sonnet-4-7", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "o4-mini", "gpt-4"]
    assert len({model_key(name) for name in others}) == len(others)
    assert model_key("gpt-4o-mini") == model_key("gpt-4o-mini-2024-07-18")


# -- against the ledger


def call(seed: int, model: str, at_s: float = NOW_S, tokens: int = 1000, **fields: Any) -> Record:
    """$1 a million tokens."""
    cost = Cost(tokens * 1000, {"input": tokens * 1000})
    one = attempt(f"anthropic/{model}", at_s, usage=Usage(tokens), cost=cost)
    for name, value in fields.items():
        setattr(one, name, value)
    return record(seed, at_s, [one])


def compared(url: str, calls: list[Record], *lines: str, zone: Any = UTC, **more: Any) -> Reconciled:
    """`lines`: day, model, tokens, dollars."""
    text = "\n".join(["day,model,input,cost", *lines])
    columns = {"day": "day", "model": "model", "input": "input", "cost": "cost"}
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees(calls), "s"), "s", "here", Position("f", 1), 0)
        invoice = parsed(text, columns=columns)
        names = {"opus": "claude-opus-4-7"}
        return reconcile(
            ledger, invoice, "anthropic", own_names=names, renamed=more.get("renamed", {}), zone=zone
        )


def only(found: Reconciled) -> Entry:
    (entry,) = found.entries
    return entry


def test_what_agrees_needs_no_words(url: str) -> None:
    calls = [call(1, "opus"), call(2, "opus", tokens=500)]
    entry = only(compared(url, calls, "2026-11-29,Claude Opus 4.7,1500,0.0015"))
    assert (entry.model, entry.difference, entry.missing(), entry.why) == ("opus", 0, {}, [])


def test_a_failed_attempt_that_used_nothing_is_no_line(url: str) -> None:
    failed = call(1, "opus", usage=None, usage_state="none", cost=Cost(0))
    assert only(compared(url, [failed, call(2, "opus")], "2026-11-29,Claude Opus 4.7,1000,0.001")).why == []


def test_unknown_cost_is_said(url: str) -> None:
    part = call(1, "opus", usage_state=PARTIAL, cost=Cost(None, {"input": 5}, ("rest",)))
    entry = only(compared(url, [part, call(2, "opus")], "2026-11-29,Claude Opus 4.7,2100,0.0021"))
    assert entry.why[0] == "1 attempts of unknown cost (1 of partial usage)"
    assert "tokens there: +100 input" in entry.why


def test_other_prices_are_told_from_missing_calls(url: str) -> None:
    entry = only(compared(url, [call(1, "opus")], "2026-11-29,Claude Opus 4.7,1000,0.0009"))
    assert entry.why == ["the price differs: the same tokens cost -10.0% there"]
    assert entry.difference == -100_000 and entry.parts == Parts(0, 0, -100_000) and not entry.is_open


def test_tokens_that_nothing_explains_and_a_price_beside(url: str) -> None:
    """Ours is $0.001 for 1,000 tokens; theirs $9 for ten million, which cost $10 here."""
    entry = only(compared(url, [call(1, "opus")], "2026-11-29,Claude Opus 4.7,10000000,9"))
    assert entry.why == [
        "tokens there: +9999000 input",
        "calls that are not in the ledger",
        "these tokens cost +9.999 at our price",
        "the price differs: the same tokens cost -10.0% there (-1)",
    ]
    assert entry.parts == Parts(9_999_000_000, 0, -1_000_000_000)
    assert entry.tokens_open and not entry.money_open
    fewer = only(compared(url, [call(1, "opus")], "2026-11-29,Claude Opus 4.7,900,0.0009"))
    assert fewer.why[1] == "no call that is lost or of unknown usage explains fewer of them there"
    assert fewer.is_open and fewer.parts == Parts(-100_000, 0, 0)


def test_one_lost_call_does_not_explain_millions(url: str) -> None:
    calls = [call(1, "opus"), lost(record(2))]
    entry = only(compared(url, calls, "2026-11-29,Claude Opus 4.7,2001001,2.001001"))
    assert "more than 1 calls of unknown usage can have used" in entry.why and entry.is_open
    assert not only(compared(url, calls, "2026-11-29,Claude Opus 4.7,2001000,2.001")).is_open


@pytest.mark.parametrize(
    ("dollars", "is_open"), [("0.0005", False), ("0.002", False), ("0.0036", True), ("0", True)]
)
def test_what_no_price_explains(url: str, dollars: str, is_open: bool) -> None:
    entry = only(compared(url, [call(1, "opus")], f"2026-11-29,Claude Opus 4.7,1000,{dollars}"))
    assert entry.is_open == is_open
    assert ("no discount or tier is so far from our price" in entry.why) == is_open


def test_what_is_unknown_here_is_a_part_of_its_own(url: str) -> None:
    """Of 1,000 tokens nobody knows the price; by that of the others they cost $0.001."""
    unpriced = call(1, "opus", cost=Cost(None, {}, ("price",)))
    entry = only(compared(url, [unpriced, call(2, "opus")], "2026-11-29,Claude Opus 4.7,2000,0.002"))
    assert entry.parts == Parts(0, 1_000_000, 0) and not entry.is_open
    unpriced = call(3, "haiku", cost=Cost(None, {}, ("price",)))
    alone = compared(url, [unpriced], "2026-11-29,haiku,1000,0.001").entries[0]
    assert alone.why[-1] == "our price of input is not known" and alone.parts is None and not alone.is_open


def test_the_price_book_tells_of_buckets_that_are_empty_here(url: str) -> None:
    text = "day,model,input,output,cost\n2026-11-29,Claude Opus 4.7,1000,10,0.00102\n"
    columns = {name: name for name in ("day", "model", "input", "output", "cost")}
    price = Price(Scale(Rates(output=2 * NANO)))
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees([call(1, "opus")]), "s"), "s", "here", Position("f", 1), 0)
        found = reconcile(
            ledger,
            parsed(text, columns=columns),
            "anthropic",
            own_names={"opus": "claude-opus-4-7"},
            renamed={},
            zone=UTC,
            prices=lambda models: book_of(dict.fromkeys(models, (price,))),
        )
    entry = only(found)
    assert entry.parts == Parts(20_000, 0, 0) and entry.tokens_open


def test_an_invoice_of_costs_alone(url: str) -> None:
    def found(dollars: str, *calls: Record) -> Entry:
        columns = {"day": "day", "model": "model", "cost": "cost"}
        text = f"day,model,cost\n2026-11-29,Claude Opus 4.7,{dollars}\n"
        with Ledger(url) as ledger:
            ledger.take(rows_of(trees(calls), "s"), "s", "here", Position("f", 1), 0)
            names = {"opus": "claude-opus-4-7"}
            invoice = parsed(text, columns=columns)
            return only(reconcile(ledger, invoice, "anthropic", own_names=names, renamed={}, zone=UTC))

    assert found("0.001003", call(1, "opus")).why == ["rounding"]
    more = found("0.002", call(1, "opus"))
    assert (more.why, more.is_open) == ([], True)
    assert not found("0.002", lost(record(2))).is_open
    assert found("0.0005").is_open


amounts_of = st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 10**9))


@given(amounts_of, amounts_of, amounts_of, st.integers(0, 10**12), st.integers(0, 3), st.integers(0, 3))
def test_the_parts_add_up_and_what_is_far_is_never_silent(
    here: dict[str, int], unpriced: dict[str, int], there: dict[str, int], cost: int, lost: int, unknown: int
) -> None:
    ours, theirs = Side(attempts=5, unknown=unknown), Side()
    ours.add(here, sum(here.values()) * 3)
    ours.priced, ours.paid = here, {name: count * 3 for name, count in here.items()}
    if unknown:
        ours.add(unpriced, 0)
    theirs.add(there, cost)
    entry = Entry("2026-11-29", "m", ours, theirs)
    explain(entry, lost, dict.fromkeys(COUNTS, Fraction(3)))
    if entry.parts is not None:
        assert entry.parts.tokens + entry.parts.unpriced + entry.parts.price == entry.difference
        assert entry.parts.tokens == 3 * sum(entry.missing().values())
    else:
        assert not entry.difference and not entry.missing() and not unknown
    if not entry.is_open:
        assert sum(entry.missing().values()) <= lost * 2_000_000
        assert all(count > 0 for count in entry.missing().values())
        bill = 3 * sum(there.values())
        assert bill // 4 <= cost <= bill * 2


def test_calls_past_the_broker(url: str) -> None:
    found = compared(
        url,
        [call(1, "opus"), lost(record(2))],
        "2026-11-29,Claude Opus 4.7,3000,0.003",
        "2026-11-29,other,1,1",
    )
    opus, other = found.entries
    assert opus.why == [
        "tokens there: +2000 input",
        "1 calls of that day are lost: their usage is not known",
        "these tokens cost +0.002 at our price",
    ]
    assert not opus.is_open and opus.parts == Parts(2_000_000, 0, 0)
    assert other.why == ["none of it is in the ledger: calls past the broker, or another name of the model"]
    assert other.is_open
    renamed = compared(url, [call(1, "opus")], "2026-11-29,other,1000,0.001", renamed={"other": "opus"})
    assert only(renamed).why == []


def test_what_is_not_billed_yet(url: str) -> None:
    found = compared(url, [call(1, "opus"), call(2, "haiku")], "2026-11-29,Claude Opus 4.7,1000,0.001")
    haiku = next(entry for entry in found.entries if entry.model == "haiku")
    assert haiku.why == ["not on the invoice: another account, or it is not complete yet"]
    assert haiku.is_open


def test_a_call_over_midnight(url: str) -> None:
    """23:59 here, the next day there."""
    late = [call(1, "opus"), call(2, "opus", NOW_S + 3 * 3600, tokens=300), call(3, "opus", NOW_S + 86_400)]
    found = compared(
        url, late, "2026-11-29,Claude Opus 4.7,1000,0.001", "2026-11-30,Claude Opus 4.7,1300,0.0013"
    )
    first, second = found.entries
    assert "day boundary: the next day has it the other way round (2026-11-30)" in first.why
    assert "day boundary: with 2026-11-29 together they agree" in second.why
    assert not first.is_open and not second.is_open
    assert not [
        word for word in (*first.why, *second.why) if "no call" in word or "not in the ledger" in word
    ]


def test_days_of_another_time_zone(url: str) -> None:
    """20:53 UTC is another day in Tokyo."""
    calls = [call(n, "opus", NOW_S + n * 86_400, tokens=100 + n) for n in range(4)]
    lines = [f"2026-{day},Claude Opus 4.7,{100 + n},0" for n, day in enumerate(("11-30", "12-01", "12-02"))]
    tokyo = compared(url, calls, *lines, zone=ZoneInfo("Asia/Tokyo"))
    assert [entry.missing() for entry in tokyo.entries] == [{}, {}, {}]
    assert [entry.day for entry in tokyo.entries] == ["2026-11-30", "2026-12-01", "2026-12-02"]
