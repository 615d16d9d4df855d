"""The `capture` section of a configuration → the catalog's."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.capture import NO_CAPTURE, Capture, CaptureRule
from ..core.globs import glob_matches
from . import match
from .capture import BODIES, CaptureIn, CaptureRuleIn
from .explain import read_one
from .merge import Merged
from .problems import listing, show, suggestion
from .yamltext import Path


def read_capture(merged: Merged, declared: Mapping[str, str]) -> Capture:
    """`declared`: the facts that headers set. What is wrong is noted."""
    said = merged.mappings["capture"]
    return compiled(merged, read_one(merged, ("capture",), CaptureIn, said) if said else None, declared)


def compiled(merged: Merged, entry: CaptureIn | None, declared: Mapping[str, str]) -> Capture:
    """`declared`: the facts that headers set. What is wrong is noted."""
    if entry is None:
        return NO_CAPTURE
    rules = tuple(_rule(merged, index, one, declared) for index, one in enumerate(entry.rules))
    if not rules:
        merged.warn(
            ("capture",), "without rules nothing is captured", "add e.g. rules: [{match: {}, share: 5%}]"
        )
    sealed = entry.encryption
    url, secret = (entry.store, None) if isinstance(entry.store, str) else ("", entry.store)
    return Capture(
        rules=rules,
        exempt=tuple(sorted(entry.exempt)),
        patterns=entry.redact,
        custom=entry.custom,
        drop=entry.drop,
        drops_media=entry.media,
        url=url,
        secret=secret,
        keep_s=entry.keep,
        body_bytes=entry.body_bytes,
        store_bytes=entry.store_bytes,
        queue_bytes=entry.queue_bytes,
        key=sealed.key if sealed else None,
        old_keys=tuple(sealed.old_keys) if sealed else (),
        is_set=True,
    )


def _rule(merged: Merged, index: int, entry: CaptureRuleIn, declared: Mapping[str, str]) -> CaptureRule:
    path: Path = ("capture", "rules", index)
    conditions, problems = match.conditions(entry.match, declared)
    for problem in problems:
        merged.wrong((*path, "match", *problem.path), problem.wrong, problem.right)
    pools = merged.names("pools")
    for number, pattern in enumerate(entry.pools):
        if not any(glob_matches(pattern, name) for name in pools):
            right = suggestion(pattern, pools, f"the pools are {listing(pools) or 'none so far'}")
            merged.wrong((*path, "pools", number), f"there is no pool {show(pattern)}", right)
    request, reply = BODIES[entry.bodies]
    name = entry.name or f"capture-{index + 1}"
    return CaptureRule(name, conditions, tuple(entry.pools), round(entry.share * 10_000), request, reply)
