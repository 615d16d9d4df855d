"""All pages by their paths, and how they become HTML."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import jinja2

from . import budgets, calls, evaluations, fleet, overview, pools, revisions, rollouts, spend
from .asked import Asked, Download, Missing, Page
from .sources import Away, Sources
from .words import FILTERS

log = logging.getLogger("modelbroker.console")

Show = Callable[[Asked, Sources], Page | Download]
_HTML = "text/html; charset=utf-8"


class Entry(NamedTuple):
    """A page that the head of all pages leads to."""

    path: str
    name: str


NAVIGATION = (
    Entry("/", "Overview"),
    Entry("/calls", "Calls"),
    Entry("/pools", "Pools"),
    Entry("/spend", "Spend"),
    Entry("/budgets", "Budgets"),
    Entry("/revisions", "Revisions"),
    Entry("/rollouts", "Rollouts"),
    Entry("/evaluations", "Evaluations"),
    Entry("/fleet", "Fleet"),
)
# By the first part of the path; a page reads the rest itself.
PAGES: Mapping[str, Show] = {
    "": overview.show,
    "calls": calls.show,
    "pools": pools.show,
    "budgets": budgets.show,
    "spend": spend.show,
    "spend.csv": spend.download,
    "revisions": revisions.show,
    "rollouts": rollouts.show,
    "evaluations": evaluations.show,
    "fleet": fleet.show,
}


class Pages:
    """From any thread. `answer` never raises: what went wrong is a page, too."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._environment = environment()

    def answer(self, asked: Asked) -> tuple[int, str, bytes]:
        """(status, content type, body)."""
        try:
            page = self._page(asked)
            if isinstance(page, Download):
                return 200, page.content_type, page.body
            return page.status, _HTML, self._render(asked, page)
        except Exception:
            log.exception("the page %.200s failed", asked.path)
            said = "This page failed, which is a defect of the broker's: its log has more."
            return 500, _HTML, self._render(asked, Page("wrong.html", {"title": "Failed", "said": said}, 500))

    def _page(self, asked: Asked) -> Page | Download:
        show = PAGES.get(asked.path.strip("/").partition("/")[0])
        try:
            if show is None:
                raise Missing(f"There is no page {asked.path[:100]}.")
            with self._sources.told():
                return show(asked, self._sources)
        except Missing as missing:
            return Page("wrong.html", {"title": "Not found", "said": str(missing.args[0])}, 404)
        except Away as away:
            return Page("wrong.html", {"title": "Not there now", "said": str(away)}, 503, every_s=5)

    def _render(self, asked: Asked, page: Page) -> bytes:
        template = self._environment.get_template(page.template)
        told = {
            "navigation": NAVIGATION,
            "asked": asked,
            "every_s": page.every_s,
            "back": _back(asked),
            **page.data,
        }
        return template.render(told).encode()


def _back(asked: Asked) -> Entry:
    """Where somebody may go who got what is wrong: the page that its address begins with."""
    first = asked.path.strip("/").partition("/")[0]
    known = next((entry for entry in NAVIGATION if entry.path.strip("/") == first), NAVIGATION[0])
    place = f"/console{known.path}" if known.path != "/" else "/console"
    return Entry(place, known.name)


@cache
def environment() -> jinja2.Environment:
    """Whatever stands in a template's data is text, and an undefined name is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("modelbroker.console", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    return made
