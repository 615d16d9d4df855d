"""The console as people see it: a real Chromium that has logged in.

While somebody browses, the thread holds playwright's event loop: what calls `asyncio.run` (`calls.make`, say)
goes `aside` there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, sync_playwright

from .broker import Broker

Result = TypeVar("Result")

CHROMIUM = "/usr/bin/chromium"
_PATIENCE_MS = 60_000  # a loaded machine is no failure
_open: list[Browser] = []  # one for all that browse at a time


@contextlib.contextmanager
def browsing(broker: Broker, **context: Any) -> Iterator[Page]:
    """A page of somebody who has logged in, at the console's first one. `context`: of playwright's
    `new_context` (`color_scheme="dark"`, `viewport=…`, `java_script_enabled=False`).

    At its end whatever the browser complained of is an AssertionError: an error or a warning in its console,
    an exception, a breach of the policy, a page that failed (500), a request to anywhere else. That a page
    says 404 or 503 is for the test to judge."""
    with _browser() as browser:
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(_PATIENCE_MS)
        complaints = _listen(page, broker.admin_url)
        try:
            log_in(page, broker)
            yield page
        finally:
            page.context.close()
    assert not complaints, "\n".join(complaints)


def log_in(page: Page, broker: Broker) -> None:
    """As whoever has the token of the state folder."""
    token = (broker.folder / "state" / "console-token").read_text(encoding="ascii").strip()
    page.goto(f"{broker.admin_url}/console/login")
    page.fill("#token", token)
    page.click("#login button")
    page.wait_for_url(f"{broker.admin_url}/console")


def visit(page: Page, path: str, query: Mapping[str, str] | None = None) -> int:
    """Goes to a page of the console (`/calls`, `/`); its status."""
    told = "&".join(f"{name}={quote(value, safe='')}" for name, value in (query or {}).items())
    target = f"/console{path if path != '/' else ''}" + (f"?{told}" if told else "")
    answer = page.goto(urlsplit(page.url)._replace(path="", query="", fragment="").geturl() + target)
    assert answer is not None
    return answer.status


def rows(page: Page, table: str) -> list[dict[str, str]]:
    """The rows of the body of a table (`"#calls"`), each by the words of its columns' heads, as they are
    seen; cells without a head by their number, from 1 on."""
    found = page.locator(table)
    found.wait_for()
    read: list[dict[str, str]] = found.evaluate(_ROWS)
    return read


def facts(page: Page, where: str = "dl.facts") -> dict[str, str]:
    """What lists of facts say: term → what stands beside it."""
    read: dict[str, str] = page.locator("body").evaluate(_FACTS, where)
    return read


def words(where: Page | Locator) -> str:
    """All that is seen, with a single space wherever there are any."""
    found = where.locator("main") if isinstance(where, Page) else where
    return " ".join(found.inner_text().split())


def aside(work: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
    """What it gives, done in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *arguments, **named).result()


_ROWS = """table => {
  const seen = cell => cell.innerText.replace(/\\s+/g, " ").trim();
  const heads = [...(table.tHead?.rows[table.tHead.rows.length - 1]?.cells ?? [])].map(seen);
  return [...table.tBodies].flatMap(body => [...body.rows]).map(row => Object.fromEntries(
    [...row.cells].map((cell, at) => [heads[at] || String(at + 1), seen(cell)])));
}"""
_FACTS = """(body, where) => {
  const seen = one => one.innerText.replace(/\\s+/g, " ").trim();
  return Object.fromEntries([...body.querySelectorAll(`${where} > dt`)].map(
    term => [seen(term), seen(term.nextElementSibling)]));
}"""


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    if _open:
        yield _open[0]
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        _open.append(browser)
        try:
            yield browser
        finally:
            _open.clear()
            browser.close()


def _listen(page: Page, origin: str) -> list[str]:
    """What the browser complains of, from now on."""
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        at = str(message.location.get("url", ""))
        is_a_page = at.startswith(f"{origin}/console") and "/static/" not in at
        if message.type in ("error", "warning") and not (is_a_page and "Failed to load" in message.text):
            complaints.append(f"{message.type} at {at}: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith((f"{origin}/", "data:", "about:")):
            complaints.append(f"a request to {request.url}")

    def answered(response: Response) -> None:
        if response.status == 500:
            complaints.append(f"{response.url} failed")

    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(f"an exception: {error}"))
    page.on("request", asked)
    page.on("response", answered)
    return complaints
