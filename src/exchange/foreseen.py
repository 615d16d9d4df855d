"""A member as its listener knows it, and what would become of a call there: by the code that serves calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ..core.catalog import Member, Provider
from ..dialects import CLIENT_DIALECTS, Upstream, client_dialect
from ..dialects.base import decode_json
from ..policy import served_dialect
from .commands import Forward
from .inbound import Inbound
from .member_call import HOSTS, MemberCall, NotSent, Spoken

Way = Literal["passes", "mended", "translated", "impossible"]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would become of a call at a member: it `passes` as it is (but for the model), is `mended` in
    the client's own dialect, `translated` into `dialect`, or `impossible`: `why` says it. `dropped`: knobs
    that the provider would not get, by the client's own names."""

    way: Way
    dialect: str
    dropped: tuple[str, ...] = ()
    why: str = ""


def spoken_of(provider: Provider, member: Member) -> Spoken:
    """All that a member's calls through Python have to know of it."""
    return Spoken(provider.dialects, upstream_of(provider, member))


def upstream_of(provider: Provider, member: Member) -> Upstream:
    """Whatever the call: the dialect is found for each."""
    return Upstream(
        provider=provider.name,
        dialect="",
        model=provider.own_model(member.model),
        variant=provider.variant,
        base_path=urlsplit(provider.base_url).path,
        project=provider.project,
        region=provider.region,
        api_version=provider.api_version,
        deviations=dict(provider.deviations),
        max_output_tokens=member.capabilities.max_output_tokens,
        reasons=member.capabilities.reasoning,
    )


def identity_dialects(provider: Provider) -> tuple[str, ...]:
    """The provider's dialects that clients speak too."""
    return tuple(dialect for dialect in provider.dialects if dialect in CLIENT_DIALECTS)


def passing_dialects(provider: Provider) -> tuple[str, ...]:
    """Those of them whose calls can pass as they are. The others' go through Python: the provider wants
    another body or framing, or speaks the dialect otherwise than its owner does."""
    if provider.variant in HOSTS:
        return ()
    own = identity_dialects(provider)
    return tuple(name for name in own if not client_dialect(name).is_mended(provider.deviations))


def at_member(provider: Provider, member: Member, sent: Inbound, forward: Forward, body: bytes) -> Foreseen:
    """`sent`: the client's own headers. `forward`: what the outer listener made of the call."""
    gone = frozenset(forward.remove_headers)
    kept = {name: sent.first(name) for name in sent.names if name not in gone}
    headers = Inbound.of({**kept, **dict(forward.set_headers)})
    own = headers.first("x-broker-dialect")
    if own in passing_dialects(provider) and not headers.first("x-broker-rewrite"):
        return Foreseen("passes", own)
    call = MemberCall(spoken_of(provider, member), 0)
    call.on_request_headers(headers)
    dialect = served_dialect(provider.dialects, call.surface)
    outcome = call.on_request_body(body)
    if isinstance(outcome, NotSent):
        return Foreseen("impossible", dialect, why=f"{_words(outcome.body)} ({outcome.code})")
    return Foreseen("mended" if call.is_same else "translated", dialect, outcome.dropped)


def _words(body: bytes) -> str:
    """What the error of a client's dialect says to a person."""
    error = decode_json(body)
    said = error.get("error") if isinstance(error, dict) else None
    return str(said.get("message")) if isinstance(said, dict) else body.decode("utf-8", "replace")
