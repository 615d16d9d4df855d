"""Pages of docs/ whose tables are made from the code."""

from __future__ import annotations


def made_again(page: str, begin: str, end: str, made: str) -> str:
    """`page` with `made` between its marks. ValueError where it has none."""
    before, begins, rest = page.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(f"the page has no {begin.strip()} … {end.strip()}")
    return f"{before}{begin}{made}{end}{after}"
