"""All that a broker and its Envoy show, and write."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import httpx

from .broker import Broker

ENVOY_PATHS = (
    "/config_dump?include_eds",
    "/clusters",
    "/listeners",
    "/certs",
    "/server_info",
    "/stats",
    "/memory",
)


def everything_shown(broker: Broker) -> dict[str, str]:
    """Place → text: the admin ports of both, and every file in the broker's folder."""
    shown = {path: fetch(broker, path) for path in ("/status", "/metrics", "/healthz", "/ready")}
    shown |= {path: envoy_says(broker, path) for path in ENVOY_PATHS}
    files = (path for path in broker.folder.rglob("*") if path.is_file())
    return shown | {str(path): path.read_text("utf-8", "replace") for path in files}


def fetch(broker: Broker, path: str) -> str:
    with urllib.request.urlopen(broker.admin_url + path, timeout=30) as reply:
        text: str = reply.read().decode()
        return text


def envoy_says(broker: Broker, path: str) -> str:
    """Envoy's own admin interface: a socket in the folder of its bootstrap."""
    (pid,) = broker.child_pids("envoy")
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    run_dir = Path(words[words.index("-c") + 1]).parent
    transport = httpx.HTTPTransport(uds=str(run_dir / "envoy-admin.sock"))
    with httpx.Client(transport=transport, timeout=30) as client:
        reply = client.get(f"http://envoy{path}")
        assert reply.status_code == 200, (path, reply.text)
        return reply.text
