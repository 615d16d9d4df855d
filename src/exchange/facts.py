"""What is known of a call from its body: its facts, and whose the ids in it are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..core.call import Caller, Facts, Surface
from ..dialects import RequestFacts, id_and_owner

NO_OWNERS: Mapping[str, str] = MappingProxyType({})


def accounts(ids: Sequence[tuple[str, str]]) -> tuple[Mapping[str, str], str]:
    """(provider → the first field with an id that it owns, the first field whose id does not say whose it
    is)."""
    owners: dict[str, str] = {}
    unowned = ""
    for field, ident in ids:
        owner = id_and_owner(ident)[1]
        if owner:
            owners.setdefault(owner, field)
        else:
            unowned = unowned or field
    return owners, unowned


def facts_of(caller: Caller, surface: Surface, read: RequestFacts, headers: Mapping[str, str]) -> Facts:
    """What is known of a call: of its caller, its body, and the headers that are declared as facts."""
    owners, unowned = accounts(read.ids) if read.ids else (NO_OWNERS, "")
    return Facts(
        caller=caller,
        surface=surface,
        model=read.model,
        context_tokens=read.context_tokens,
        max_output_tokens=read.max_output_tokens,
        tools=read.tools,
        images=read.images,
        documents=read.documents,
        schema=read.schema,
        reasoning=read.reasoning,
        stream=read.stream,
        audio=read.audio,
        choices=read.choices,
        same_dialect=read.same_dialect,
        owners=tuple(owners) if owners else (),
        owned_ids=tuple(owners.values()) if owners else (),
        unowned_ids=unowned,
        stateful=read.stateful,
        hosted_tools=read.hosted_tools,
        files=read.files,
        image_urls=read.image_urls,
        document_urls=read.document_urls,
        headers=headers,
    )
