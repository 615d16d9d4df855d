"""Floor 1: wire protocols. One file a dialect; the registry below is all that others see."""

from .base import Dialect, RequestFacts, Stage, StreamStart, UpstreamFault
from .registry import BUILT, KNOWN, SURFACES, dialect_for_path, dialect_named, surface_for_path
from .sse import SseEvent, SseSplitter

__all__ = [
    "BUILT",
    "KNOWN",
    "SURFACES",
    "Dialect",
    "RequestFacts",
    "SseEvent",
    "SseSplitter",
    "Stage",
    "StreamStart",
    "UpstreamFault",
    "dialect_for_path",
    "dialect_named",
    "surface_for_path",
]
