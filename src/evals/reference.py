"""The table of a suite's fields in docs/evals.md, made from the schema.

`python -m modelbroker.evals.reference <page` writes the page with that table made again; `./dev docs` does
it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ..core.pages import made_again
from ..settings.fields import Model
from ..settings.schema import extra, fields_of, inner_model
from .suite_schema import SuiteIn

BEGIN, END = "<!-- fields: made by ./dev docs -->\n", "<!-- end of fields -->\n"


def table() -> str:
    return "| field | | what it is |\n|---|---|---|\n" + "".join(_rows(SuiteIn, ""))


def _rows(model: type[Model], at: str) -> Iterator[str]:
    for name, info in fields_of(model).items():
        shown = f"{at}{info.alias or name}"
        words = (info.description or "").replace("|", "\\|")
        yield f"| `{shown}` | {extra(info, 'kind')} | {words} |\n"
        inner = inner_model(info)
        if inner is not None:
            is_list = str(info.annotation).startswith(("list", "typing.List")) or "list[" in str(
                info.annotation
            )
            yield from _rows(inner, f"{shown}[]." if is_list else f"{shown}.")


def page(text: str) -> str:
    """ValueError where the marks are not there."""
    return made_again(text, BEGIN, END, table())


if __name__ == "__main__":
    sys.stdout.write(page(sys.stdin.read()))
