"""`prices` in YAML over a price list: what is in effect when, and who has no price."""

from __future__ import annotations

import calendar
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from modelbroker.core.catalog import Provider
from modelbroker.core.prices import NANO, Price, Rates, Scale
from modelbroker.settings import Loaded, compile_texts
from modelbroker.settings.values import rate
from modelbroker.settings.yamltext import parse

DIALECTS = {"openai-chat", "openai-responses", "openai-embeddings", "anthropic-messages"}
D = NANO
LIST = {
    ("openai", "gpt-a"): (
        Price(
            Scale(Rates(2 * D, D, output=8 * D), ((200_000, Rates(4 * D, 2 * D, output=9 * D)),)),
            source="list",
        ),
        Price(
            Scale(Rates(D, D, output=4 * D)),
            (("flex", Scale(Rates(D // 2))),),
            from_s=1_000_000,
            source="list",
        ),
    ),
    ("openai", "speech"): (Price(Scale(Rates()), source="list"),),
    ("openai", "vectors"): (Price(Scale(Rates(D)), source="list"),),
}


class Listed:
    """A price list of a test's own."""

    def find(self, provider: Provider, model: str) -> tuple[Price, ...]:
        return LIST.get((provider.name, provider.own_model(model)), ())


def day(text: str) -> int:
    year, month, number = map(int, text.split("-"))
    return calendar.timegm((year, month, number, 0, 0, 0))


NOW = day("2026-11-29")
POOLS = """\
pools:
  - name: p
    members:
      - {provider: openai, model: gpt-a}
      - {provider: openai, model: gpt-b}
      - {provider: vllm, model: qwen}
"""
PROVIDERS = "providers: [{name: openai, models: {gpt-b: own-b}}]\n"


def loaded(prices: str, pools: str = POOLS, *, at_s: int | None = None, listed: bool = True) -> Loaded:
    texts = {"a.yaml": pools, "b.yaml": PROVIDERS, "c.yaml": prices and f"prices:\n{prices}"}
    price_list = Listed() if listed else None
    return compile_texts(texts, dialects=DIALECTS, built=DIALECTS, price_list=price_list, priced_at_s=at_s)


def found(prices: str, model: str = "openai/gpt-a", at: str = "2026-11-29") -> Price | None:
    return loaded(prices, at_s=NOW).prices.find(*model.split("/"), day(at))


def dollars_in(prices: str, model: str = "openai/gpt-a", at: str = "2026-11-29") -> Decimal | None:
    price = found(prices, model, at)
    return None if price is None or price.scale.rates.input is None else Decimal(price.scale.rates.input) / D


def test_without_prices_in_yaml_the_list_holds() -> None:
    assert dollars_in("") == 1
    assert dollars_in("", at="1970-01-02") == 2
    assert found("", "openai/gpt-b") is None
    price = found("")
    assert price is not None and price.source == "list"
    assert loaded("", listed=False).prices.find("openai", "gpt-a", NOW) is None


@pytest.mark.parametrize(
    ("prices", "model", "at", "dollars"),
    [
        ("- {provider: openai, model: gpt-a, input: 7}", "openai/gpt-a", "2026-11-29", 7),
        ("- {provider: openai, model: gpt-b, input: 7}", "openai/gpt-b", "2026-11-29", 7),
        ("- {provider: openai, model: own-b, input: 7}", "openai/gpt-b", "2026-11-29", 7),
        ("- {provider: openai, model: gpt-?, input: 7}", "openai/gpt-b", "2026-11-29", 7),
        ("- {provider: vllm, model: gpt-a, input: 7}", "openai/gpt-a", "2026-11-29", 1),
        # Days: the first and the last are in, in UTC; the newest wins.
        ("- {provider: openai, model: gpt-a, input: 7, from: 2026-11-29}", "openai/gpt-a", "2026-11-28", 1),
        ("- {provider: openai, model: gpt-a, input: 7, from: 2026-11-29}", "openai/gpt-a", "2026-11-29", 7),
        ("- {provider: openai, model: gpt-a, input: 7, until: 2026-11-29}", "openai/gpt-a", "2026-11-29", 7),
        ("- {provider: openai, model: gpt-a, input: 7, until: 2026-11-28}", "openai/gpt-a", "2026-11-29", 1),
        (
            "- {provider: openai, model: gpt-a, input: 8, from: 2026-10-01}\n"
            "- {provider: openai, model: gpt-a, input: 7, from: 2026-06-01}\n"
            "- {provider: openai, model: gpt-a, input: 9, from: 2026-12-01}",
            "openai/gpt-a",
            "2026-11-29",
            8,
        ),
        # A name goes before a pattern, a longer pattern before a shorter one, whatever their days.
        (
            "- {provider: openai, model: gpt-a, input: 7}\n"
            "- {provider: openai, model: gpt-*, input: 8, from: 2026-06-01}",
            "openai/gpt-a",
            "2026-11-29",
            7,
        ),
        (
            '- {provider: openai, model: "gpt-*", input: 7}\n'
            '- {provider: openai, model: "*", input: 8, from: 2026-06-01}',
            "openai/gpt-a",
            "2026-11-29",
            7,
        ),
        # Discounts, on the list's prices and on those of YAML that they go before.
        ("- {provider: openai, discount: 12%}", "openai/gpt-a", "2026-11-29", "0.88"),
        ("- {provider: openai, discount: 12%}", "openai/gpt-a", "1970-01-02", "1.76"),
        ("- {provider: openai, discount: 12%, from: 2026-11-29}", "openai/gpt-a", "2026-11-28", 1),
        ("- {provider: openai, discount: 12%, until: 2026-11-28}", "openai/gpt-a", "2026-11-29", 1),
        (
            "- {provider: openai, model: gpt-a, discount: 12.5%}\n"
            "- {provider: openai, model: gpt-a, input: 0.0375}",
            "openai/gpt-a",
            "2026-11-29",
            "0.0328125",
        ),
        # What is said of a name is net of what is said of all; so is what is said later.
        (
            "- {provider: openai, discount: 12.5%}\n- {provider: openai, model: gpt-a, input: 0.0375}",
            "openai/gpt-a",
            "2026-11-29",
            "0.0375",
        ),
        (
            "- {provider: openai, model: gpt-a, discount: 10%, from: 2026-06-01}\n"
            "- {provider: openai, model: gpt-a, input: 5, from: 2026-09-01}",
            "openai/gpt-a",
            "2026-11-29",
            5,
        ),
        (
            "- {provider: openai, model: gpt-a, discount: 10%, from: 2026-06-01}\n"
            "- {provider: openai, model: gpt-a, input: 5, from: 2026-09-01}",
            "openai/gpt-a",
            "2026-08-31",
            "0.9",
        ),
        (
            "- {provider: openai, model: gpt-a, discount: 10%, from: 2026-06-01, until: 2026-06-30}\n"
            "- {provider: openai, commitment: true, until: 2026-06-15}",
            "openai/gpt-a",
            "2026-06-10",
            0,
        ),
        (
            "- {provider: openai, model: gpt-a, discount: 10%, from: 2026-06-01, until: 2026-06-30}\n"
            "- {provider: openai, commitment: true, until: 2026-06-15}",
            "openai/gpt-a",
            "2026-06-20",
            "0.9",
        ),
        (
            "- {provider: openai, discount: 50%, from: 2026-06-01}\n"
            "- {provider: openai, model: gpt-a, discount: 10%}",
            "openai/gpt-a",
            "2026-11-29",
            "0.9",
        ),
        (
            "- {provider: openai, discount: 10%}\n- {provider: openai, discount: 20%, from: 2026-06-01}",
            "openai/gpt-a",
            "2026-11-29",
            "0.8",
        ),
        # A commitment is a price, too: 0, which is known.
        ("- {provider: vllm, commitment: true}", "vllm/qwen", "2026-11-29", 0),
        ("- {provider: openai, commitment: yes, until: 2026-10-31}", "openai/gpt-a", "2026-10-31", 0),
        ("- {provider: openai, commitment: yes, until: 2026-10-31}", "openai/gpt-a", "2026-11-01", 1),
        (
            "- {provider: openai, commitment: true}\n- {provider: openai, discount: 5%}",
            "openai/gpt-a",
            "2026-11-29",
            0,
        ),
        (
            "- {provider: openai, commitment: true}\n- {provider: openai, model: gpt-a, input: 7}",
            "openai/gpt-a",
            "2026-11-29",
            7,
        ),
    ],
)
def test_which_price_is_in_effect(prices: str, model: str, at: str, dollars: Any) -> None:
    assert dollars_in(prices, model, at) == Decimal(dollars)


def test_a_whole_price() -> None:
    price = found("""\
  - provider: openai
    model: gpt-a
    input: 5
    cache_read: 0.5
    cache_write_5m: "6.25"
    cache_write_1h: 10
    output: $25.00
    reasoning: 30
    audio_input: 40
    request: 5000
    above: {1M: {output: 50}, 200k: {input: 10, output: 37.5}}
    batch: {input: 2.5, output: 12.5, above: {200k: {input: 5}}}
    fast: {input: 30}
    from: 2026-01-01
    until: 2026-12-31
""")
    rates = Rates(5 * D, D // 2, 6_250_000_000, 10 * D, 25 * D, 30 * D, 40 * D, request=5_000 * D)
    above = {"cache_read": D // 2, "cache_write_5m": 6_250_000_000, "cache_write_1h": 10 * D}
    rest = {"reasoning": 30 * D, "audio_input": 40 * D, "request": 5_000 * D}
    batch = Rates(2_500_000_000, output=12_500_000_000)
    assert price == Price(
        Scale(
            rates,
            (
                (200_000, Rates(10 * D, output=37_500_000_000, **above, **rest)),
                (1_000_000, Rates(10 * D, output=50 * D, **above, **rest)),
            ),
        ),
        (
            ("batch", Scale(batch, ((200_000, Rates(5 * D, output=12_500_000_000)),))),
            ("fast", Scale(Rates(30 * D))),
        ),
        day("2026-01-01"),
        day("2027-01-01"),
    )
    assert price is not None and price.source == "c.yaml:2"


def test_a_discount_says_where_it_is_from() -> None:
    price = found("- {provider: openai, discount: 12%}")
    assert price is not None and price.source == "list, less 12% (c.yaml:2)"
    assert [name for name, _ in price.tiers] == ["flex"]
    assert price.tier("flex") == Scale(Rates(440_000_000))


def test_only_members_models_are_in_the_book() -> None:
    assert list(loaded("- {provider: openai, model: other, input: 1}").prices.prices) == [("openai", "gpt-a")]


@given(st.decimals(0, 99_999, allow_nan=False, allow_infinity=False, places=9))
@example(Decimal("0.1"))
@example(Decimal("99999.999999999"))
@example(Decimal("0.000000001"))
def test_prices_are_read_exactly(price: Decimal) -> None:
    for text in (f"{price:f}", f"'{price:f}'", f"{price.normalize():f}"):
        assert rate(parse(f"x: {text}")[0]["x"]) == int(price * D)


DAYS = st.none() | st.integers(20, 28).map(lambda number: f"2026-11-{number}")
ENTRIES = st.fixed_dictionaries(
    {
        "model": st.sampled_from(("gpt-a", "gpt-*", "*")),
        "from": DAYS,
        "until": DAYS,
        "kind": st.integers(0, 2),
    }
)


@given(st.lists(ENTRIES, max_size=6), st.integers(20, 29))
def test_every_day_has_the_price_that_a_walk_down_the_entries_finds(
    entries: list[dict[str, Any]], number: int
) -> None:
    """A discount of its own for each, and prices of its own: nothing can be taken for another."""
    texts: list[str] = []
    order: list[tuple[int, str, int, bool, Decimal]] = []  # precedence, and what the entry says
    seen: set[object] = set()
    at = f"2026-11-{number}"
    for place, entry in enumerate(entries, 1):
        is_discount = entry["kind"] == 1
        key = (entry["model"], entry["from"], is_discount)
        if key in seen or (entry["from"] and entry["until"] and entry["until"] < entry["from"]):
            continue
        seen.add(key)
        days = {name: entry[name] for name in ("from", "until") if entry[name]}
        said = {"discount": f"{place}%"} if is_discount else {"input": 10 + place}
        if entry["kind"] == 2:
            said = {"commitment": True}
        texts.append(yaml.safe_dump([{"provider": "openai", "model": entry["model"], **days, **said}]))
        if (entry["from"] or "") <= at <= (entry["until"] or "9"):
            value = Decimal(place if is_discount else 0 if entry["kind"] == 2 else 10 + place)
            rank = ("*", "gpt-*", "gpt-a").index(entry["model"])
            order.append((rank, entry["from"] or "", int(is_discount), is_discount, value))
    wanted, off = Decimal(1), Decimal(0)  # what the list says on these days
    for _, _, _, is_discount, value in sorted(order, reverse=True):
        if not is_discount:
            wanted = value
            break
        off = off or value
    assert dollars_in("".join(texts), at=at) == wanted * (100 - off) / 100


def test_a_revision_is_what_prices_mean() -> None:
    one = "- {provider: openai, model: gpt-a, input: 5}\n- {provider: vllm, commitment: true}"
    other = (
        "# A comment\n\n- {provider: vllm, commitment: yes}\n- {model: gpt-a, input: 5.00, provider: openai}"
    )
    assert loaded(one).catalog.revision == loaded(other, at_s=NOW).catalog.revision
    assert loaded(one).prices.revision == loaded(other).prices.revision
    changed = loaded(one.replace("5", "6"))
    assert changed.catalog.revision != loaded(one).catalog.revision
    assert changed.prices.revision != loaded(one).prices.revision


def test_a_list_of_other_prices_is_no_other_configuration() -> None:
    """Only the book's revision tells of it: prices that nobody configured are not the configuration's."""
    with_list, without = loaded(""), loaded("", listed=False)
    assert with_list.catalog.revision == without.catalog.revision
    assert with_list.prices.revision != without.prices.revision
    assert (
        without.catalog
        == compile_texts({"a.yaml": POOLS, "b.yaml": PROVIDERS}, dialects=DIALECTS, built=DIALECTS).catalog
    )


def warnings(prices: str, members: str) -> list[str]:
    pools = f"pools:\n- name: p\n  members: [{members}]\n- name: q\n  members: [{members}]\n"
    return [str(problem) for problem in loaded(prices, pools, at_s=NOW).warnings]


B = "{provider: openai, model: gpt-b}"
NO_PRICE = "so what its calls cost is unknown; add to `prices`: - {provider: openai, model: "
RIGHT = ", input: …, output: …} in dollars per million tokens, or commitment: true"


@pytest.mark.parametrize(
    ("prices", "members", "said"),
    [
        ("", "{provider: openai, model: gpt-a}", ""),
        ("", B, f'openai/gpt-b has no price, {NO_PRICE}"gpt-b"{RIGHT}'),
        ("- {provider: openai, model: gpt-b, input: 1, output: 0}", B, ""),
        ("- {provider: openai, commitment: true}", B, ""),
        (
            "- {provider: openai, model: gpt-b, input: 1, output: 1, until: 2026-11-28}",
            B,
            f'openai/gpt-b has no price, {NO_PRICE}"gpt-b"{RIGHT}',
        ),
        (
            "- {provider: openai, model: gpt-b, input: 1}",
            B,
            f'openai/gpt-b has no price of output, {NO_PRICE}"gpt-b"{RIGHT}',
        ),
        ("- {provider: openai, discount: 5%}", B, f'openai/gpt-b has no price, {NO_PRICE}"gpt-b"{RIGHT}'),
        (
            "",
            "{provider: openai, model: speech}",
            f'openai/speech has no price of input and output, {NO_PRICE}"speech"{RIGHT}',
        ),
        # What makes vectors has no output.
        ("", "{provider: openai, model: vectors, capabilities: {embeddings: true, chat: false}}", ""),
        # This version speaks nothing that it speaks: no call will ever cost anything.
        ("", "{provider: bedrock, model: m}, {provider: openai, model: gpt-a}", None),
    ],
)
def test_who_has_no_price(prices: str, members: str, said: str | None) -> None:
    found = [text for text in warnings(prices, members) if "price" in text]
    assert found == ([f"a.yaml:3: pools[0].members[0].model: {said}"] if said else [])


def test_prices_may_stand_in_any_file() -> None:
    text = yaml.safe_dump({"prices": [{"provider": "vllm", "commitment": True}]})
    files = {"a.yaml": POOLS, "b.yaml": PROVIDERS, "0.yaml": text, "z.yaml": text.replace("vllm", "openai")}
    book = compile_texts(files, dialects=DIALECTS, built=DIALECTS).prices
    assert {price.source for prices in book.prices.values() for price in prices} == {
        "0.yaml: prices[0]",
        "z.yaml: prices[0]",
    }


@pytest.mark.parametrize(
    ("budget", "is_told"),
    [
        ("{name: b, amount: $1, per: day}", True),
        ("{name: b, amount: $1, per: day, on_unknown_cost: allow}", False),
        ("{name: b, amount: 1 calls, per: day}", False),
    ],
)
def test_a_budget_in_dollars_leaves_out_who_has_no_price(budget: str, is_told: bool) -> None:
    (told,) = warnings(f"budgets: [{budget}]\n", B)
    assert ("and it gets none for which a budget in dollars holds; add" in told) is is_told


def test_a_budget_that_does_not_concern_a_member_says_nothing_of_it() -> None:
    budget = "{name: b, amount: $1, per: day, match: {provider: vllm}}"
    (told,) = warnings(f"budgets: [{budget}]\n", B)
    assert "budget" not in told


@pytest.mark.parametrize(
    ("rest", "count"),
    [
        ("", 0),
        ("budgets: [{name: b, amount: $1, per: day, on_unknown_cost: allow}]\n", 1),
        ("budgets: [{name: b, amount: $1, per: day, match: {pool: q}}]\n", 1),
        ("budgets: [{name: b, amount: $1, per: day, match: {pool: r}}]\n", 0),
        ("budgets: [{name: b, amount: 1 calls, per: day}]\n", 0),
    ],
)
def test_a_running_broker_is_warned_where_something_depends_on_prices(rest: str, count: int) -> None:
    pools = f"pools:\n- name: p\n  members: [{B}]\n- name: q\n  members: [{B}]\n"
    files = {"a.yaml": pools, "b.yaml": PROVIDERS + rest}
    found = compile_texts(
        files, dialects=DIALECTS, built=DIALECTS, price_list=Listed(), warned_at_s=NOW
    ).warnings
    assert sum("has no price" in one.wrong for one in found) == count


def test_a_running_broker_is_warned_of_who_is_tried_last_for_want_of_a_price() -> None:
    pools = f"pools:\n- name: p\n  members: [{B}]\n- name: q\n  routing: cheapest\n  members: [{B}]\n"
    files = {"a.yaml": pools, "b.yaml": PROVIDERS}
    found = compile_texts(
        files, dialects=DIALECTS, built=DIALECTS, price_list=Listed(), warned_at_s=NOW
    ).warnings
    assert [one.field for one in found] == ["pools[1].members[0].model"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        # gpt-a: $4 a million tokens of an answer.
        (
            "amount: $0.01",
            "$0.01 is less than one call of 4,096 tokens at openai/gpt-a ($0.016384), the cheapest that it "
            "concerns, so that calls that give no maximum never fit; "
            "give it a larger amount, or reserve_output",
        ),
        (
            "amount: $0.001, reserve_output: 1k",
            "$0.001 is less than one call of 1,000 tokens at openai/gpt-a ($0.004), the cheapest that it "
            "concerns, so that calls that give no maximum never fit; "
            "give it a larger amount, or a smaller reserve_output",
        ),
        ("amount: $0.016384", ""),
        ("amount: $0.01, reserve_output: 2k", ""),
        ("amount: $0.01, at: [{100%: warn}]", ""),
        ("amount: $0.01, at: [{200%: deny}]", ""),
        ("amount: $0.01, match: {pool: other}", ""),
        ("amount: 10 tokens", ""),
    ],
)
def test_a_budget_that_affords_no_call_is_warned_of(said: str, told: str) -> None:
    members = "{provider: openai, model: gpt-a}, {provider: openai, model: gpt-b}"
    prices = "prices: [{provider: openai, model: gpt-b, input: 1, output: 40}]\n"
    pools = f"pools:\n- name: p\n  members: [{members}]\n"
    files = {"a.yaml": pools, "b.yaml": f"{PROVIDERS}{prices}budgets: [{{name: b, per: day, {said}}}]\n"}
    found = compile_texts(
        files, dialects=DIALECTS, built=DIALECTS, price_list=Listed(), warned_at_s=NOW
    ).warnings
    assert [f"{one.wrong}; {one.right}" for one in found] == ([told] if told else [])
    assert all(str(one).startswith("b.yaml:3: budgets[0].amount: ") for one in found)
