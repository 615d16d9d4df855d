"""What holds for all pages of the console: by keyboard, narrow, while the broker is away, and for a fleet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Page
from support.broker import KEY_SHA256, Broker, provider
from support.browser import aside, at_width, browsing, facts, rows, visit, words
from support.calls import Ask, make
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until

PAGES = ("", "/calls", "/pools", "/pools/chat", "/spend", "/budgets", "/revisions", "/rollouts")
MORE = ("/rollouts/going", "/evaluations", "/fleet", "/calls?outcome=error", "/nowhere")


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as running:
        yield running


def member(model: str, **more: Any) -> dict[str, Any]:
    return {"provider": "a", "model": model, **more}


def config(sims: Simulators, **more: Any) -> dict[str, Any]:
    stages = [{"share": "50%"}, {"share": "100%"}]
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "search"}],
        "pools": [
            {
                "name": "chat",
                "failover": "up to 2",
                "ejection": {"consecutive_errors": 9},
                "members": [member("m", weight=3), member("n")],
                "rollout": {"name": "going", "to": "a/next", "stages": stages, "min_calls": 10_000},
            },
            {
                "name": "copied",
                "members": [member("a-model-with-a-name-that-is-longer-than-most")],
                "shadow": {"to": "a/copy", "share": "100%"},
            },
        ],
        "budgets": [{"name": "all-of-it", "amount": "9M tokens", "per": "day"}],
        **more,
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims), with_ledger=True) as running:
        pools = ("chat", "copied", "copied", "copied")
        got = make(running.url, [Ask(pool) for pool in pools], 1)
        assert {one.status for one in got} == {200}
        running.wait_for(lambda s: s["ledger"]["taken"] == 7 and not s["ledger"]["behind_bytes"])
        yield running


@pytest.mark.parametrize("width", [1360, 420])
def test_no_page_is_wider_than_the_window(broker: Broker, width: int) -> None:
    with browsing(broker, **at_width(width)) as page:
        for path in (*PAGES, *MORE):
            page.goto(f"{broker.admin_url}/console{path}")
            page.locator("h1").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.goto(f"{broker.admin_url}/console/spend")
        plot = page.locator(".plot").first  # what is new is at the right end of a chart
        hidden = plot.evaluate("one => one.scrollWidth - one.clientWidth - one.scrollLeft")
        assert hidden <= 1


def test_by_keyboard_to_the_content_at_once(broker: Broker) -> None:
    with browsing(broker) as page:
        visit(page, "/pools")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == "To the page's content"
        assert page.locator(".skip").evaluate("one => one.getBoundingClientRect().left") >= 0
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_a_page_says_that_the_broker_is_away_and_comes_back(broker: Broker) -> None:
    with browsing(broker) as page:
        visit(page, "/fleet")
        assert not page.locator("#stale").is_visible()
        page.context.set_offline(True)
        page.locator("#stale", has_text="The broker does not answer now.").wait_for()
        assert "in effect" in words(page)  # what it said last
        page.context.set_offline(False)
        page.locator("#stale").wait_for(state="hidden")


def test_what_is_not_there_any_more_is_asked_for_again(broker: Broker, sims: Simulators) -> None:
    with browsing(broker) as page:
        visit(page, "/pools/copied")
        before = config(sims)
        broker.write({**before, "pools": before["pools"][:1]})
        page.locator("h1", has_text="Not found").wait_for()
        assert page.get_by_role("link", name="Back to Pools").get_attribute("href") == "/console/pools"
        broker.write(before)
        page.locator("h1", has_text="copied").wait_for()


def test_a_pool_says_how_it_is_set_up_and_what_is_tried_beside_it(broker: Broker) -> None:
    with browsing(broker) as page:
        wait_until(lambda: visit(page, "/pools/chat") == 200 and page.locator("#set-up").count() == 1)
        said = facts(page, "#set-up")
        assert said["failover"] == "up to 2" and said["routing"] == "priority-weighted (default)"
        assert said["ejection"] == "consecutive_errors 9, base 10s, max 5m, ramp 10s"
        assert said["rollout"] == "to a/next, 50% → 100%"
        assert "Beside it, for what is tried: chat~a/next" in words(page)
        visit(page, "/pools")
        told = words(page)
        assert "2 pools, and 2 beside them that the broker made, all well." in told
        assert "failover: up to 2 · ejection: consecutive_errors 9," in told
        assert "timeouts" not in words(page.locator("#pool-chat"))  # those are nobody's own
        # A shadow's copies are in the pool that was made for them, and in no other.
        visit(page, "/pools/copied~a%2Fcopy")
        assert "a/copy (3)" in page.locator(".legend").inner_text()
        assert "Made by the broker for what is tried beside copied" in words(page)
        visit(page, "/pools/copied")
        assert "a/copy" not in page.locator(".legend").inner_text()
        visit(page, "/")
        assert "2 pools with 5 members" in words(page)


def test_a_pool_without_a_call_draws_no_axis(
    sims: Simulators, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        Broker(tmp_path_factory.mktemp("b"), config(sims), with_ledger=True) as quiet,
        browsing(quiet) as page,
    ):
        visit(page, "/pools/chat")
        assert "No attempt in the last 3 hours." in words(page) and page.locator("svg.chart").count() == 0
        visit(page, "/spend", {"span": "today"})
        assert "No call: today so far." in words(page)


def said_of(page: Page) -> dict[str, str]:
    """Admin port → state."""
    visit(page, "/fleet")
    return {row["Admin port"]: row["State"] for row in rows(page, "#fleet")}


def test_a_fleet(sims: Simulators, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared = config(sims, redis={"url": redis.url, "prefix": "looked-at"})
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(Broker(tmp_path_factory.mktemp("b"), shared, with_ledger=True)) for _ in "ab"
        )
        ports = {one: one.admin_url.removeprefix("http://") for one in (first, second)}
        page = stack.enter_context(browsing(first))
        wait_until(lambda: said_of(page) == dict.fromkeys(ports.values(), "in effect"))
        visit(page, "/")
        told = words(page)
        assert "served by 2 brokers" in told and "of this broker alone: its ledger is its own" in told
        more = [{"name": "all-of-it", "amount": "10M tokens", "per": "day"}]
        aside(second.write, {**shared, "budgets": more})
        wait_until(lambda: said_of(page) == {ports[first]: "behind", ports[second]: "in effect"})
        assert "1 of 2 brokers are behind" in words(page)
        visit(page, "/")
        assert "Brokers are behind" in words(page)
