"""What of one call is tried: its arm in a rollout, and the copies that shadows get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from ..core.call import Decision, Facts
from ..core.catalog import Affinity, Pool
from ..core.errors import CallError, Refused
from ..core.trials import CANDIDATE, STABLE, Rollout, Shadow
from ..dialects import AffinityKey, affinity_key
from ..policy import Book, holds
from ..policy.attempts import Outlook
from ..policy.decide import decide, decide_in
from ..policy.lots import is_drawn
from .capturing import ToCapture
from .errand import ERRAND_HEADER, Errand, sealed_errand
from .inbound import Inbound
from .view import View

# A copy that is older than that is of no use any more, whatever it waits for.
ERRAND_S = 600.0
# Headers of a client's that say what its body means.
_MEANT = ("content-type", "anthropic-version", "anthropic-beta", "openai-beta")
_BY_SESSION = Affinity("session")


class Standing(NamedTuple):
    """Where a rollout is: the number of its stage, with the candidate `to`. Not `is_on`: it was rolled back,
    and everything is as if there were none. `is_done`: the candidate has all calls, and no gate is looked at
    any more."""

    to: str
    stage: int
    is_on: bool
    is_done: bool = False


NOWHERE: Mapping[str, Standing] = MappingProxyType({})


def standing_of(rollout: Rollout, standings: Mapping[str, Standing]) -> Standing | None:
    """None: no call belongs to an arm. While an edit is on its way to Envoy, calls are decided by the old
    configuration: where the stage is another candidate's, it is not that of the old one."""
    standing = standings.get(rollout.name)
    return standing if standing is not None and standing.is_on and standing.to == rollout.to else None


class Arm(NamedTuple):
    """Of a call that is part of a rollout: whose it is, and at which stage. "": it is part of none.
    `session`: what its lot was drawn by, "" where that was the call itself."""

    rollout: str = ""
    arm: str = ""
    stage: str = ""
    session: str = ""

    def facts(self) -> tuple[tuple[str, str], ...]:
        """For the record."""
        if not self.rollout:
            return ()
        return ("rollout", self.rollout), ("arm", self.arm), ("stage", self.stage)


NO_ARM = Arm()


class Copy(NamedTuple):
    """A call that is to be sent again for a shadow: through the outer listener, with these headers."""

    shadow: Shadow
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Tried(NamedTuple):
    """What an arm is drawn from: one call, its decision, and what is known now."""

    view: View
    book: Book
    facts: Facts
    request_id: str
    inbound: Inbound
    body: bytes
    now_s: float
    standings: Mapping[str, Standing]


def decided(call: Tried, errand: Errand | None) -> tuple[str, Decision, Arm]:
    """(the pool that the call is for, the decision, its arm). Raises as `decide`; also where an errand comes
    too late."""
    view = call.view
    if errand is not None:
        if errand.until_s < call.now_s:
            raise Refused(401, "invalid_api_key", "the errand's time is over")
        return errand.pool, decide_in(errand.pool, "", call.facts, view.catalog, view.state), NO_ARM
    decision = decide(call.facts, view.catalog, view.state)
    home = decision.pool
    if home not in view.catalog.trials or call.facts.caller.purpose:  # nearly always
        return home, decision, NO_ARM
    decision, arm = armed(call, decision)
    return home, decision, arm


def asked_for(view: View, arm: Arm, pools: Sequence[str]) -> str:
    """The pool that the call was for: that of its rollout, whichever arm it is of. `pools`: where it went."""
    if not arm.rollout:
        return pools[0]
    trials = view.catalog.trials.items()
    is_its = (name for name, one in trials if one.rollout is not None and one.rollout.name == arm.rollout)
    return next(is_its, pools[0])


def told_of_trial(errand: Errand | None, arm: Arm) -> tuple[tuple[str, str], ...]:
    """For the record."""
    return errand.facts() if errand is not None else arm.facts()


def armed(call: Tried, decision: Decision) -> tuple[Decision, Arm]:
    """The decision, in the candidate's pool where the call is the candidate's; a call that the candidate
    can't take is no part of the rollout. One that it would take, were it not out, is its all the same: the
    pool's own members answer, and it counts as one that failed."""
    trials = call.view.catalog.trials.get(decision.pool)
    if trials is None or (rollout := trials.rollout) is None:
        return decision, NO_ARM
    if (standing := standing_of(rollout, call.standings)) is None:
        return decision, NO_ARM
    there = candidates_decision(call.view, call.facts, rollout, decision.rule)
    if isinstance(there, str):
        return decision, NO_ARM
    stage = rollout.stages[min(standing.stage, len(rollout.stages) - 1)]
    pool = call.view.catalog.pools[decision.pool]
    found = session_in(pool, call.facts, call.inbound.first, call.body)
    session = found.value if found is not None else ""
    if not is_candidates(rollout, stage.share_ppm, session or call.request_id):
        return decision, Arm(rollout.name, STABLE, stage.name, session)
    arm = Arm(rollout.name, CANDIDATE, stage.name, session)
    outlook = Outlook(call.book, call.view.catalog.pools[there.pool], call.now_s)
    is_out = all(map(outlook.out_for_s, there.eligible))
    return (decision if is_out else there), arm


def is_candidates(rollout: Rollout, share_ppm: int, key: str) -> bool:
    """Is the session `key` the candidate's, where so many are? Who was at a smaller share still is."""
    return is_drawn(rollout.name, key, share_ppm)


def candidates_decision(view: View, facts: Facts, rollout: Rollout, rule: str) -> Decision | str:
    """What becomes of the call in the candidate's pool; or why it can't take it."""
    try:
        return decide_in(rollout.target, rule, facts, view.catalog, view.state)
    except CallError as error:
        return error.message


def session_in(pool: Pool, facts: Facts, header: Callable[[str], str], body: bytes) -> AffinityKey | None:
    """What a call's arm is drawn by: its conversation, where it tells one; None: itself, by its id."""
    by = pool.affinity or _BY_SESSION
    return affinity_key(by, facts.surface.dialect, facts.caller, header, body)


def copies_of(
    call: Tried,
    home: str,
    served_by: str,
    seal: bytes,
    missed: Callable[[Shadow], None],
    to: ToCapture | None = None,
) -> list[Copy]:
    """For the shadows of the pool `home` for which the call was; `served_by` is the pool that it goes to.
    `missed` is told of those whose target can't take it. `to`: what of the call is captured,
    and so of its copies; where it is scored, its answer is compared with that of its rollout's copy.

    Those that `uncopied` names are not copied."""
    facts, word = call.facts, to.word if to is not None else ""
    found = []
    for shadow, stage in _shadows(call, home):
        if (why := uncopied(call.view, facts, shadow, served_by, call.request_id)) is not None:
            if why.code == "unfit":
                missed(shadow)
            continue
        errand = Errand(
            "shadow",
            call.request_id,
            shadow.target,
            shadow.caller,
            shadow.name,
            shadow.rollout,
            stage,
            call.now_s + ERRAND_S,
            word in ("request", "both"),
            word in ("reply", "both"),
            to is not None and to.scores is not None and bool(shadow.rollout),
        )
        headers = [(name, value) for name in _MEANT if (value := call.inbound.first(name))]
        headers.append((ERRAND_HEADER, sealed_errand(errand, seal)))
        found.append(Copy(shadow, call.inbound.first(":path"), tuple(headers), call.body))
    return found


class Uncopied(NamedTuple):
    """Why a shadow gets no copy of a call: it goes there itself (`there`), could not run twice (`bound`), is
    not drawn (`share`), nor meant (`no_match`), or the target can't take it (`unfit`, and `why`)."""

    code: Literal["there", "bound", "share", "no_match", "unfit"]
    why: str = ""


def uncopied(view: View, facts: Facts, shadow: Shadow, served_by: str, request_id: str) -> Uncopied | None:
    """None: it gets one. `request_id` "": nobody has drawn the call's lot yet, and it is among the share.

    What ran twice would do something twice (tools that run at the provider), and what names a thing at one
    account can be served by that one alone: such calls are not copied."""
    if facts.caller.purpose or facts.owners or facts.unowned_ids or facts.hosted_tools:
        return Uncopied("bound")
    if facts.surface.operation == "count":
        return Uncopied("bound")
    if shadow.target == served_by:
        return Uncopied("there")
    if request_id and not is_drawn(shadow.name, request_id, shadow.share_ppm):
        return Uncopied("share")
    if not all(holds(condition, facts) for condition in shadow.conditions):
        return Uncopied("no_match")
    try:
        decide_in(shadow.target, "", facts, view.catalog, view.state)
    except CallError as error:
        return Uncopied("unfit", error.message)
    return None


def _shadows(call: Tried, home: str) -> Iterable[tuple[Shadow, str]]:
    """(shadow, name of the rollout's stage that it is, or "")."""
    trials = call.view.catalog.trials.get(home)
    if trials is None:
        return
    for shadow in trials.shadows:
        yield shadow, ""
    rollout = trials.rollout
    standing = standing_of(rollout, call.standings) if rollout is not None else None
    if rollout is None or standing is None or standing.stage >= len(rollout.stages):
        return
    stage = rollout.stages[standing.stage]
    if stage.shadow is not None:
        yield stage.shadow, stage.name
