"""Floor 1: wire protocols. One folder a dialect; the registry below is all that others see."""

from .affinity import AffinityKey, affinity_key
from .base import Dialect, RequestFacts, Stage, StreamStart, UpstreamFault
from .blobs import id_and_owner
from .conversation import Encoded, Upstream
from .guess import likely_path
from .registry import (
    BUILT,
    CLIENT_DIALECTS,
    DEVIATIONS,
    KNOWN,
    SURFACES,
    client_dialect,
    counts_tokens,
    dialect_for_path,
    dialect_named,
    embeddings_client,
    makes_embeddings,
    provider_dialect,
    surface_for_path,
    surface_named,
)
from .sse import SseEvent, SseSplitter
from .translation import ClientDialect, Context, ProviderDialect
from .usage import Used, provider_usage, used_from, used_text

__all__ = [
    "BUILT",
    "CLIENT_DIALECTS",
    "DEVIATIONS",
    "KNOWN",
    "SURFACES",
    "AffinityKey",
    "ClientDialect",
    "Context",
    "Dialect",
    "Encoded",
    "ProviderDialect",
    "RequestFacts",
    "SseEvent",
    "SseSplitter",
    "Stage",
    "StreamStart",
    "Upstream",
    "UpstreamFault",
    "Used",
    "affinity_key",
    "client_dialect",
    "counts_tokens",
    "dialect_for_path",
    "dialect_named",
    "embeddings_client",
    "id_and_owner",
    "likely_path",
    "makes_embeddings",
    "provider_dialect",
    "provider_usage",
    "surface_for_path",
    "surface_named",
    "used_from",
    "used_text",
]
