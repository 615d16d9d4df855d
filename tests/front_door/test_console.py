"""The console in a real browser: who may come in, and what the first page says."""

from __future__ import annotations

from pathlib import Path

from support.broker import KEY_SHA256, Broker, provider
from support.browser import browsing, log_in, visit, words

CONFIG = {
    "providers": [provider("a", 1, "openai-chat", "/v1")],
    "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
    "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
}


def test_who_has_the_token_sees_the_first_page_and_nobody_else_does(tmp_path: Path) -> None:
    with Broker(tmp_path, CONFIG) as broker, browsing(broker) as page:
        assert page.title() == "Overview · modelbroker"
        assert "As of " in words(page)
        assert visit(page, "/no-such-page") == 404
        assert "There is no page /no-such-page." in words(page)

        page.click("text=Log out")
        page.wait_for_url(f"{broker.admin_url}/console/login")
        visit(page, "/no-such-page")
        assert page.title() == "Log in · modelbroker"
        page.fill("#token", "a wrong one")
        page.click("#login button")
        assert page.get_by_role("alert").inner_text() == "There is no such token."
        log_in(page, broker)
