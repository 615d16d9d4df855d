"""Calls, one after the other, in a process of its own: what they take is the broker's doing, not the test's.

`with Prober(url, pool) as prober: …`, then `prober.milliseconds`.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

if __name__ != "__main__":
    from .broker import KEY


class Prober:
    def __init__(self, url: str, pool: str) -> None:
        self._command = [sys.executable, str(Path(__file__)), url, pool, KEY]
        self.milliseconds: list[float] = []

    def __enter__(self) -> Prober:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Raises AssertionError where a call failed."""
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        self.milliseconds = json.loads(said)


def main(url: str, pool: str, key: str) -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    body = json.dumps({"model": pool, "messages": [{"role": "user", "content": "hello"}]})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    took = []
    while not over.is_set():
        started = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", body, headers)
        reply = connection.getresponse()
        text = reply.read()
        took.append((time.perf_counter() - started) * 1000)
        if reply.status != 200:
            sys.exit(f"{reply.status}: {text!r}")
        over.wait(0.003)
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
