"""Issuer-bound blobs and ids on their way through a client.

A client keeps what only its issuer can read (a reasoning signature) and sends it back with the next turn,
which may go to somebody else. So in translated replies the issuer is written in front of the blob, in the
field where the client's dialect has its own. Same-dialect replies pass as they are: their blobs have no tag.
"""

from __future__ import annotations

from .conversation import Blob, Upstream

# What bodies are searched for; no provider's blob begins so (they are base64).
MARK = "mb1:"
_ID_SEPARATOR = "@"


def tagged(blob: Blob) -> str:
    """The blob as a client keeps it: `mb1:<issuer>:<kind>:<data>`; one without an issuer has no tag."""
    return f"{MARK}{blob.issuer}:{blob.kind}:{blob.data}" if blob.issuer else blob.data


def untagged(text: str, native_kind: str) -> Blob:
    """What a client sent back; `native_kind` is the kind of the field's own blobs."""
    if not text.startswith(MARK):
        return Blob("", native_kind, text)
    issuer, _, rest = text.removeprefix(MARK).partition(":")
    kind, _, data = rest.partition(":")
    return Blob(issuer, kind, data)


def readable(blob: Blob | None, upstream: Upstream, kind: str) -> bool:
    """May `upstream` get this blob in its field `kind`? Only what it issued itself, or what the client says
    without an issuer in the very same dialect."""
    if blob is None or blob.kind != kind:
        return False
    return blob.issuer in ("", upstream.provider)


def owned_id(ident: str, provider: str) -> str:
    """An id that lives at a provider's account, as a client keeps it: `resp_1@openai-eu`."""
    return f"{ident}{_ID_SEPARATOR}{provider}"


def id_and_owner(ident: str) -> tuple[str, str]:
    """(the provider's own id, the provider's name or "" where the id does not say)."""
    own, found, owner = ident.rpartition(_ID_SEPARATOR)
    return (own, owner) if found else (ident, "")
