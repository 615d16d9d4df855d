"""Pools and members on the console: what calls through the front door made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.browser import aside, browsing, rows, visit, words
from support.calls import Ask, make
from support.simulators import Simulators
from support.waiting import wait_until


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b", "c") as running:
        yield running


def config(sims: Simulators) -> dict[str, Any]:
    def member(name: str, **more: Any) -> dict[str, Any]:
        return {"provider": name, "model": "m", **more}

    return {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in ("a", "b", "c")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": "good",
                "members": [member("b", weight=30), member("c", weight=10), member("a", priority=1)],
            },
            {"name": "weak", "members": [member("a", weight=90), member("b", weight=10)]},
        ],
    }


def test_who_is_out_and_why_and_where_calls_go_now(sims: Simulators, tmp_path: Path) -> None:
    sims["a"].script(faults=[{"always": True, "status": 429, "retry_after_s": 600}])
    with Broker(tmp_path, config(sims), with_ledger=True) as broker, browsing(broker) as page:
        visit(page, "/pools")
        assert "2 pools, all well." in words(page)
        assert rows(page, "section:nth-of-type(1) table")[1]["Share now"] == "25 %"
        got = aside(make, broker.url, [Ask("weak") for _ in range(30)], 1)
        assert {one.status for one in got} == {200}
        broker.wait_for(lambda status: bool(status["members"]) and status["ledger"]["taken"] == 30)
        visit(page, "/pools")
        assert "2 pools, 2 of them not wholly well." in words(page)
        assert page.locator("section h2 a").all_inner_texts() == ["good", "weak"]
        (first, second) = rows(page, "#pool-weak table")
        assert first["State"].startswith("out out for ") and "by its own word" in first["State"]
        assert "last error: rate-limit (429)" in first["State"]
        assert (first["Weight"], first["Share now"], second["Share now"]) == ("90 0", "0 %", "100 %")

        # One pool: what was in vain, with the call that had it.
        page.click("#pool-weak h2 a")
        page.wait_for_url("**/console/pools/weak")
        page.locator("#failures").wait_for()
        (failed,) = rows(page, "#failures")
        assert (failed["Member"], failed["Cause"], failed["Code"]) == (
            "a/m",
            "rate-limit",
            "upstream_rate_limited",
        )
        legend = page.locator(".legend").inner_text()
        assert "b/m (30)" in legend and f"a/m ({failed['Attempts']})" in legend
        assert visit(page, "/pools/good") == 200
        assert "No attempt at a member of this pool was in vain." in words(page)
        assert visit(page, "/pools/nowhere") == 404

        # What is looked for.
        visit(page, "/pools", {"q": "WEAK"})
        assert page.locator("section h2 a").all_inner_texts() == ["weak"]
        visit(page, "/pools", {"q": "neither"})
        assert "is named like neither" in words(page)

        # It comes back on the page by itself.
        sims["a"].script()
        visit(page, "/pools", {"only": "weak"})
        broker.forget()
        wait_until(lambda: page.locator("section h2 a").count() == 0)
        assert "is out or at less than its weight" in words(page)


def test_without_a_ledger_all_but_the_traffic_is_there(sims: Simulators, tmp_path: Path) -> None:
    with Broker(tmp_path, config(sims)) as broker, browsing(broker, color_scheme="dark") as page:
        visit(page, "/pools")
        assert "What goes where is not known: the ledger is off" in words(page)
        assert "30 75 %" in words(page)
        assert visit(page, "/pools/weak") == 200
