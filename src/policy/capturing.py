"""Is a call one whose bodies are captured?"""

from __future__ import annotations

import functools
import hashlib

from ..core.call import Facts
from ..core.capture import PPM, Capture, CaptureRule
from ..core.globs import glob_matches
from .match import holds


def captured(capture: Capture, facts: Facts, pool: str, request_id: str) -> CaptureRule | None:
    """The rule by which a call for `pool` is captured; None: it is not. Always the same of the same call."""
    if is_exempt(capture, facts.caller.name):
        return None
    rule = rule_for(capture, facts, pool)
    return rule if rule is not None and is_drawn(rule, request_id) else None


def is_exempt(capture: Capture, caller: str) -> bool:
    """Is the caller one of whom nothing is ever captured?"""
    return bool(caller and capture.exempt) and _is_one_of(caller, capture.exempt)


def rule_for(capture: Capture, facts: Facts, pool: str) -> CaptureRule | None:
    """The first one that matches: it decides, whatever its share."""
    for rule in capture.rules:
        if _is_one_of(pool, rule.pools) and all(holds(one, facts) for one in rule.conditions):
            return rule
    return None


def is_drawn(rule: CaptureRule, request_id: str) -> bool:
    return rule.share_ppm >= PPM or lot(request_id) < rule.share_ppm


def lot(request_id: str) -> int:
    """0 to a million, without its end."""
    drawn = hashlib.blake2b(request_id.encode(), digest_size=8, person=b"capture").digest()
    return int.from_bytes(drawn, "big") * PPM >> 64


@functools.lru_cache(maxsize=1024)
def _is_one_of(name: str, patterns: tuple[str, ...]) -> bool:
    return any(glob_matches(pattern, name) for pattern in patterns)
