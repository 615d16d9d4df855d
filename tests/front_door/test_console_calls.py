"""Calls in the console, as a browser shows them: real calls through the front door, each with its why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page
from support.broker import KEY_SHA256, Broker, provider
from support.browser import aside, at_width, browsing, facts, rows, visit, words
from support.budgets import team
from support.calls import Ask, Got, make
from support.ledgers import ids_in
from support.simulators import Simulators
from support.waiting import wait_until

CANARY = "canary-4711"  # in every prompt, and in every answer
MARKUP = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "good") as simulators:
        simulators["bad"].script(faults=[{"trouble": "overloaded"}])
        simulators["good"].script(
            replies=[{"text": f"said {CANARY}", "tokens": {"input": 1_000, "output": 100}}]
        )
        yield simulators


def config(sims: Simulators) -> dict[str, Any]:
    return {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in ("bad", "good")],
        "callers": [
            {
                "name": "tester",
                "key": {"sha256": KEY_SHA256},
                "team": "search",
                "trusted_for": ["customer"],
            },
            team("poor"),
            team("spent"),
        ],
        "pools": [
            {
                "name": "tier",
                "ejection": "off",
                "members": [
                    {"provider": "bad", "model": "m", "priority": 0},
                    {"provider": "good", "model": "m", "priority": 1},
                ],
            },
            {"name": "calm", "members": [{"provider": "good", "model": "m"}]},
            {"name": "broken", "ejection": "off", "members": [{"provider": "bad", "model": "m"}]},
            {"name": "unpriced", "members": [{"provider": "good", "model": "n"}]},
        ],
        "rules": [{"name": "acme-is-calm", "match": {"customer": "acme"}, "pool": "calm"}],
        "prices": [{"provider": name, "model": "m", "input": 3, "output": 15} for name in ("bad", "good")],
        "budgets": [
            {"name": "one-a-day", "match": {"team": "poor"}, "amount": "1 calls", "per": "day"},
            {"name": "of-spent", "match": {"team": "spent"}, "amount": "1 calls", "per": "month"},
        ],
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims), with_ledger=True) as running:
        yield running


@pytest.fixture(scope="module")
def page(broker: Broker) -> Iterator[Page]:
    with browsing(broker) as opened:
        yield opened


def ask(pool: str, customer: str = "", key: str = "") -> Ask:
    headers = {"x-broker-customer": customer} if customer else {}
    if key:
        headers["authorization"] = f"Bearer {key}"
    return Ask(pool, question=f"What about {CANARY}?", headers=headers)


def made(broker: Broker, *asks: Ask) -> list[Got]:
    """One behind the other, and in the ledger."""
    got = aside(make, broker.url, asks, 1)
    ids = {one.headers["x-broker-request-id"] for one in got}
    url = f"sqlite:///{broker.folder}/state/ledger.db"
    wait_until(lambda: ids <= set(ids_in(url)), 60)
    return got


def ids_on(page: Page) -> list[str]:
    """Of the calls of the table that is open."""
    links = page.locator("#calls tbody tr td:first-child a").evaluate_all("all => all.map(one => one.href)")
    return [str(link).rpartition("/")[2] for link in links]


def shown(page: Page, got: Got) -> dict[str, str]:
    """The call's row in the table that is open."""
    ids = ids_on(page)
    return dict(zip(ids, rows(page, "#calls"), strict=True))[got.headers["x-broker-request-id"]]


def story(page: Page, got: Got) -> list[str]:
    """Of the call's own page."""
    assert visit(page, f"/calls/{got.headers['x-broker-request-id']}") == 200
    return [" ".join(line.split()) for line in page.locator("#story > li").all_inner_texts()]


def test_each_call_is_there_with_its_why(broker: Broker, page: Page) -> None:
    over, ruled, unknown, first, denied, stranger = made(
        broker,
        ask("tier"),
        ask("tier", customer="acme"),
        ask("no-such-pool"),
        ask("calm", key="key-poor"),
        ask("calm", key="key-poor"),
        ask("tier", key="nobody-s"),
    )
    assert [one.status for one in (over, ruled, unknown, first, denied, stranger)] == [
        *(200, 200, 404, 200, 429, 401)
    ]
    visit(page, "/calls")
    assert shown(page, stranger)["Outcome"] == "refused 401 invalid_api_key"
    assert shown(page, stranger)["Who"] == "nobody known"
    assert shown(page, unknown)["Outcome"] == "refused 404 model_not_found"
    row = shown(page, denied)
    assert (row["Who"], row["Outcome"]) == ("poor poor", "refused 429 budget_exceeded")
    assert row["Notes"] == "budget one-a-day"
    row = shown(page, ruled)
    assert (row["Who"], row["Outcome"]) == ("tester search for acme", "ok 200")
    assert row["Asked for → pool → member"] == "tier → calm → good/m · rule acme-is-calm"
    row = shown(page, over)
    assert (row["Attempts"], row["Outcome"]) == ("2 overloaded at bad/m", "ok 200")
    assert (row["Tokens in → out"], row["Cost"]) == ("1,000 → 100", "$0.0045")

    told = story(page, over)
    assert any("1st attempt: bad/m failed after" in line and ": overloaded (the" in line for line in told)
    assert any("2nd attempt: good/m answered with 200" in line for line in told)
    assert "Who could serve it: bad/m first with 100 %, good/m only behind the others." in told
    tried = rows(page, "#attempts")
    assert [one["Cost"] for one in tried] == ["$0.00", "$0.0045"]
    assert tried[0]["What came of it"].startswith("overloaded failed after")
    assert facts(page)["Id"] == over.headers["x-broker-request-id"]

    revision = broker.status()["revision"]
    assert f"The rule acme-is-calm chose the pool calm, by revision {revision}." in story(page, ruled)
    assert page.get_by_role("link", name=revision).first.get_attribute("href") == "/console/revisions/1"
    assert page.get_by_role("link", name="calm", exact=True).get_attribute("href") == "/console/pools/calm"

    assert "The budget or rate limit one-a-day denied it." in story(page, denied)
    story(page, first)
    (charge,) = rows(page, "#charges")
    assert charge == {
        **{"Budget": "one-a-day", "Of": "all", "Window": "day, UTC"},
        **{"Reserved": "1 call", "Charged": "1 call"},
    }
    assert (
        "It was refused with 401: invalid_api_key, by the configuration's policy; nobody was asked."
        in story(page, stranger)
    )


def test_filters_are_urls_and_clicks(broker: Broker, page: Page) -> None:
    asked = [ask("tier", customer="globex"), ask("calm", customer="globex"), ask("calm"), ask("no-such-pool")]
    made(broker, *asked)
    assert visit(page, "/calls", {"customer": "globex"}) == 200
    assert len(rows(page, "#calls")) == 2
    assert "Looked for in the last 24 hours." in words(page)
    page.locator("#calls tbody").get_by_role("link", name="calm", exact=True).click()
    page.locator("#chosen", has_text="pool: calm").wait_for()
    assert [one["Who"] for one in rows(page, "#calls")] == ["tester search for globex"]

    visit(page, "/calls", {"member": "bad/m", "customer": "globex"})  # also where it was tried in vain
    assert [one["Attempts"] for one in rows(page, "#calls")] == ["2 overloaded at bad/m"]

    visit(page, "/calls")
    page.fill("input[name=code]", "model_not_found")  # whoever fills in a form is not disturbed
    page.select_option("select[name=outcome]", "refused")
    page.click("button:has-text('Show')")
    page.locator("#chosen", has_text="code: model_not_found").wait_for()
    assert {one["Outcome"] for one in rows(page, "#calls")} == {"refused 404 model_not_found"}

    visit(page, "/calls", {"until": "2020-01-01T00:00"})
    assert "No call is like that." in words(page)
    assert visit(page, "/calls", {"before": "nonsense"}) == 404


def test_pages_have_no_gaps_and_nothing_twice_while_new_calls_come(broker: Broker, page: Page) -> None:
    url = f"sqlite:///{broker.folder}/state/ledger.db"
    made(broker, *(ask("calm", customer="many") for _ in range(120)))
    there = set(ids_in(url))
    visit(page, "/calls", {"customer": "many"})
    found: list[str] = []
    while True:
        found += ids_on(page)
        if not page.locator("#older").count():
            break
        older = page.locator("#older").get_attribute("href") or ""
        made(broker, ask("calm", customer="many"))
        page.goto(broker.admin_url + older)
    assert len(found) == len(set(found)) == 120 and set(found) <= there


def test_new_calls_come_by_themselves(broker: Broker, page: Page) -> None:
    visit(page, "/calls", {"customer": "late"})
    assert "is like that" in words(page)
    made(broker, ask("calm", customer="late"))
    page.locator("#calls tbody tr").wait_for()
    assert rows(page, "#calls")[0]["Who"] == "tester search for late"


def test_what_callers_chose_themselves_is_text_and_no_prompt_is_on_any_page(
    broker: Broker, page: Page
) -> None:
    asked, unknown = made(broker, ask("tier", customer=MARKUP), ask(MARKUP))
    visit(page, "/calls")
    assert shown(page, unknown)["Asked for → pool → member"] == MARKUP
    assert shown(page, asked)["Who"] == f"tester search for {MARKUP}"
    paths = ["/", "/calls", f"/calls?customer={quote(MARKUP)}"]
    paths += [f"/calls/{one.headers['x-broker-request-id']}" for one in (asked, unknown)]
    for path in paths:
        assert page.goto(f"{broker.admin_url}/console{path if path != '/' else ''}") is not None
        assert page.locator("main img").count() == 0 and page.title() != "1"
        assert CANARY not in page.content()
    assert any(f"customer {MARKUP}" in line for line in story(page, asked))


def test_of_what_nobody_knows_the_price_the_cost_is_unknown(broker: Broker, page: Page) -> None:
    (got,) = made(broker, ask("unpriced"))
    visit(page, "/calls", {"pool": "unpriced"})
    assert rows(page, "#calls")[0]["Cost"] == "unknown"
    story(page, got)
    assert "The total is unknown: its model has no price: add it to prices." in words(page).replace("`", "")


def test_a_call_that_is_not_there_is_said_so(broker: Broker, page: Page) -> None:
    made(broker, ask("calm"))  # so that there is a ledger
    assert visit(page, "/calls/no-such-call") == 404
    assert "A call is there a moment after its end. Calls are kept for 400 d" in words(page)


def test_the_first_page_says_what_goes_on_and_what_is_not_well(broker: Broker, page: Page) -> None:
    failed, _ = made(broker, ask("broken"), ask("calm", key="key-spent"))
    visit(page, "/")
    failures = rows(page, "#failures")
    assert ("broken", "bad/m") in [(one["Asked for"], one["Member"]) for one in failures]
    assert int(page.locator("#tiles .tile.bad .value").inner_text()) >= 1
    assert any(": overloaded (the provider" in line for line in story(page, failed))
    visit(page, "/")
    told = words(page)
    assert "Budget of-spent: 100 % of it used or reserved: calls are denied" in told
    assert f"Revision {broker.status()['revision']}" in told
    assert int(page.locator("#tiles .tile").first.locator(".value").inner_text()) >= 1
    assert "No figures of calls" not in told


def test_narrow_dark_and_without_scripts_it_is_the_same(broker: Broker) -> None:
    made(broker, ask("calm", customer="narrow"))
    settings = {**at_width(420), "color_scheme": "dark", "java_script_enabled": False}
    with browsing(broker, **settings) as narrow:
        visit(narrow, "/calls", {"customer": "narrow"})
        assert rows(narrow, "#calls")[0]["Who"] == "tester search for narrow"
        assert narrow.evaluate("document.documentElement.scrollWidth") <= 420  # tables scroll by themselves
