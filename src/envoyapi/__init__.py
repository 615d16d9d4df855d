"""Envoy's protobuf API, exactly as the Envoy that runs speaks it.

The `envoy` binary carries the descriptors of its whole API. They are read out of it at first use
and kept as one descriptor set in the user's cache, so nothing of Envoy's is generated or committed,
and the API can't be older or newer than the proxy. See `docs/decisions/0002-envoy-api.md`.
"""

from .loader import AnyMessage, EnvoyApi, api, envoy_binary, message_class

__all__ = ["AnyMessage", "EnvoyApi", "api", "envoy_binary", "message_class"]
