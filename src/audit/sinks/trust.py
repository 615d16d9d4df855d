"""TLS as all sinks have it: the server is always checked, by its name and by authorities that are trusted."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from ...core.away import tls_reason
from ..sink import SinkAway


def tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """`ca_file` in place of the system's authorities; `cert_file` and `key_file` of a client's certificate.
    They are read for each connection, so that what was replaced holds for the next one. SinkAway where they
    can't be read."""
    ca_file, cert_file = options.get("ca_file"), options.get("cert_file")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SinkAway(f"ca_file {ca_file} can't be read: {_reason(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file:
        try:
            # A key that wants a password is refused: the library would ask for it at a terminal.
            context.load_cert_chain(cert_file, options.get("key_file") or None, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise SinkAway(f"cert_file {cert_file} or its key can't be read: {_reason(error)}") from None
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
