"""`modelbroker diff`: what is different between two configurations, and for whom."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence

from ..changes import ADDED, REMOVED, Change, changes
from ..changes.told import by_section, counted, is_one, whom_of
from ..core.errors import Misconfigured
from ..revisions.compiled import compiled
from ..settings import Loaded, SettingsError
from .outputs import written
from .printed import printed, visible
from .sources import texts_of

_SIGNS = {ADDED: "+", REMOVED: "-"}


def run_diff(options: argparse.Namespace) -> int:
    """0: nothing is different, or nobody asked (`--exit-code`); 1: something is."""
    old, new = (
        loaded_of(texts_of(given, options.config, options.state_dir), given)
        for given in (options.old, options.new)
    )
    found = changes(old.catalog, new.catalog, old.prices, new.prices, at_s=int(time.time()))
    revisions = old.catalog.revision, new.catalog.revision
    with written(options.out) as file:
        file.write((printed(FORMATS[options.format](found, revisions)) + "\n").encode())
    return 1 if found and options.exit_code else 0


def loaded_of(texts: Mapping[str, str], given: str) -> Loaded:
    """SettingsError with all that is wrong, and which of the two it is."""
    try:
        return compiled(texts, int(time.time()))
    except SettingsError as error:
        raise Misconfigured(500, "refused", f"{given} is no good configuration\n{error}") from None


# -- as text


def text_of(found: Sequence[Change], revisions: tuple[str, str]) -> str:
    return "\n".join(_text(found, revisions))


def _text(found: Sequence[Change], revisions: tuple[str, str]) -> Iterator[str]:
    if not found:
        yield _same(revisions)
        return
    yield f"{revisions[0]} → {revisions[1]}: {counted(found)}"
    for section, those in by_section(found):
        yield ""
        yield section
        for change in those:
            sign = _SIGNS.get(change.kind, "~")
            if is_one(change):  # there is one of it
                yield from (f"  {sign} {plain(line)}" for line in change.what)
                continue
            yield f"  {sign} {plain(change.name)}{_around(plain(whom_of(change)))}"
            yield from (f"      {plain(line)}" for line in change.what)


def markdown_of(found: Sequence[Change], revisions: tuple[str, str]) -> str:
    return "\n".join(_markdown(found, revisions))


def _markdown(found: Sequence[Change], revisions: tuple[str, str]) -> Iterator[str]:
    if not found:
        yield _same(revisions)
        return
    yield f"`{revisions[0]}` → `{revisions[1]}`: {counted(found)}"
    yield ""
    yield "| | what | for whom |"
    yield "|---|---|---|"
    for section, those in by_section(found):
        for change in those:
            what = "<br>".join(map(as_markdown, change.what))
            name = section if is_one(change) else f"{section}: **{as_markdown(change.name)}**"
            kind = "" if change.kind not in _SIGNS else f" ({change.kind})"
            yield f"| {name}{kind} | {what} | {as_markdown(whom_of(change))} |"


def json_of(found: Sequence[Change], revisions: tuple[str, str]) -> str:
    told = [
        {
            "section": change.section,
            "name": change.name,
            "kind": change.kind,
            "what": list(change.what),
            "everybody": change.everybody,
            "callers": sorted(change.whom),
        }
        for change in found
    ]
    return json.dumps(
        {"old": revisions[0], "new": revisions[1], "changes": told}, ensure_ascii=False, indent=2
    )


FORMATS = {"text": text_of, "markdown": markdown_of, "json": json_of}


def _same(revisions: tuple[str, str]) -> str:
    return f"nothing is different: both are {revisions[1]}"


def _around(whom: str) -> str:
    return f"   ({whom})" if whom else ""


# What a configuration says is no markup: neither of Markdown nor of HTML, nor a name that is called.
_MARKS = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\|*_`[]~#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}
)


_SPACES = str.maketrans("\r\n\t", "   ")


def as_markdown(text: str) -> str:
    """On one line, to be read as it is written."""
    return plain(text).translate(_MARKS)


def plain(text: str) -> str:
    """On one line, and printable."""
    return visible(text.translate(_SPACES))
