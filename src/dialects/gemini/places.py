"""Where a model's operations are.

Sources: Gemini API reference; Vertex AI REST reference, `publishers.models`.
"""

from __future__ import annotations

from urllib.parse import quote

from ..conversation import Upstream


def is_vertex(upstream: Upstream) -> bool:
    return upstream.variant == "vertex"


def resource(upstream: Upstream) -> str:
    """The model's name in requests and paths, as Google's own SDK makes it of what people write."""
    model = upstream.model
    if not is_vertex(upstream):
        return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    if model.startswith("projects/"):
        return model
    if not model.startswith(("publishers/", "endpoints/")):
        publisher, _, name = model.rpartition("/")
        model = f"publishers/{publisher or 'google'}/models/{name}"
    return f"projects/{upstream.project}/locations/{upstream.region}/{model}"


def path(upstream: Upstream, operation: str) -> str:
    """`operation`: generateContent, countTokens … with a query where it has one."""
    return f"/{quote(resource(upstream), safe='/@')}:{operation}"
