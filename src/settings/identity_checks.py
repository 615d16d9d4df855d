"""Which providers take which identity: a cloud's token is never sent to somebody else's house."""

from __future__ import annotations

from typing import NamedTuple

from ..core.catalog import Auth, Provider
from ..core.secrets import AWS, AZURE, GCP
from .builtin import Builtin, builtins
from .problems import listing

_OWNERS = {AWS: "AWS", GCP: "Google", AZURE: "Azure"}


class Misplaced(NamedTuple):
    """`field` of the provider, what is wrong with it, and what would be right."""

    field: str
    wrong: str
    right: str


def misplaced(
    cloud: str, provider: Provider, builtin: Builtin | None, *, is_elsewhere: bool
) -> Misplaced | None:
    """None where `provider` can have an identity of `cloud`. `is_elsewhere`: it has a base URL of its own,
    whose owner the operator knows."""
    owner = _OWNERS[cloud]
    if builtin is not None and builtin.cloud != cloud and not is_elsewhere:
        takers = [one.name for one in builtins().values() if one.cloud == cloud]
        key = builtin.credential.name if builtin.credential is not None else ""
        right = f"give {{env: {key or 'NAME'}}}; identities of {owner} are for {listing(takers)}"
        return Misplaced("credential", f"{provider.name} knows no identity of {owner}'s", right)
    if cloud == AWS and provider.auth is not Auth.AWS_SIGV4:
        right = "give credential: {env: AWS_BEARER_TOKEN_BEDROCK}, or leave auth out"
        return Misplaced("auth", "an identity of AWS signs requests: it is no key to be sent", right)
    if cloud != AWS and provider.auth is not Auth.BEARER:
        return Misplaced("auth", f"{owner}'s tokens are sent as bearer tokens", "leave auth out")
    return None
