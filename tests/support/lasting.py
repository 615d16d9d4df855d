"""Calls that last: what is killed meanwhile is killed in the middle of their replies."""

from __future__ import annotations

import threading

import httpx

from .broker import KEY
from .calls import Ask

LONG = "a long one"  # what they ask, for a simulator's script


class Stream(threading.Thread):
    """A call whose reply goes on until it is told to end, or is cut."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.began = threading.Event()
        self.request_id = ""
        self.body = b""
        self.is_cut = False
        self.start()
        assert self.began.wait(30)

    def run(self) -> None:
        ask = Ask("chat", stream=True, question=LONG)
        with httpx.Client(timeout=120, headers={"authorization": f"Bearer {KEY}"}) as http:
            try:
                with http.stream("POST", f"{self._url}/v1/chat/completions", json=ask.body) as reply:
                    self.request_id = reply.headers["x-broker-request-id"]
                    for piece in reply.iter_bytes():
                        self.body += piece
                        self.began.set()
            except httpx.HTTPError:
                self.is_cut = True
        self.began.set()
