"""What `explain` says of capture: would the call's bodies be kept, and why not."""

from __future__ import annotations

from typing import Any

from ..core.call import Facts
from ..core.capture import PPM
from ..exchange import View
from ..exchange.capturing import foretold, is_left_out

_WHY_NOT = {
    "off": "nothing is captured here",
    "unavailable": "the key or the URL of its store can't be read",
    "eval": "it is no client's call",
    "exempt": "its caller is exempt",
    "no_rule": "no rule of `capture` matches",
}
_BODIES = {"both": "both bodies", "request": "the request alone", "reply": "the reply alone"}


def capture_story(view: View, facts: Facts, pool: str, body: bytes, request_id: str) -> dict[str, Any]:
    """`captured` None: a lot over its id decides. How long the reply will be nobody knows."""
    found = foretold(view, facts, pool, request_id)
    capture, rule = view.catalog.capture, found.rule
    story: dict[str, Any] = {
        "captured": not found.why_not if found.is_certain else None,
        "why_not": found.why_not or None,
        "rule": rule.name if rule is not None else None,
        "share": rule.share_ppm / PPM if rule is not None else None,
        "bodies": None,
        "too_large": False,
        "bytes": len(body),
        "body_bytes": capture.body_bytes if view.captures else None,
    }
    if rule is None or found.why_not:
        return story
    story["bodies"] = "both" if rule.request and rule.reply else "request" if rule.request else "reply"
    story["too_large"] = is_left_out(rule, body, capture.body_bytes)
    return story


def capture_line(story: dict[str, Any]) -> str:
    """The same for people."""
    share = f"{100 * (story['share'] or 0):g} %"
    if story["why_not"] == "share":
        return f"capture  none: it is not among the {share} of {story['rule']} (docs/capture.md)"
    if story["why_not"]:
        return f"capture  none: {_WHY_NOT[story['why_not']]} (docs/capture.md)"
    drawn = f", of {share} of such calls" if story["captured"] is None else ""
    text = f"capture  {_BODIES[story['bodies']]}, by {story['rule']}{drawn}"
    if story["too_large"]:
        bound = f"{story['bytes']:,} bytes are more than body_bytes ({story['body_bytes']:,})"
        text += f"; the request is left out, for its {bound}"
    return text
