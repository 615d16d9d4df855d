"""The console's process: HTTP on connections that the control plane hands over, and answers to nobody else.

The first line of standard input are its settings (JSON; they may hold the ledger's password, which no command
line should). On standard output it says again and again that it is there. It ends when standard input does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from ..journal.following import begun
from .asked import Asked
from .handover import taken
from .pages import Pages
from .reports import BEAT, BEAT_EVERY_S, USER_HEADER, Settings
from .sources import Sources

log = logging.getLogger("modelbroker.console")


class _Server(ThreadingHTTPServer):
    """On connections that are handed over."""

    daemon_threads = True
    address_family = socket.AF_UNIX

    def __init__(self, descriptor: int, pages: Pages) -> None:
        super().__init__("", _handler(pages), bind_and_activate=False)  # type: ignore[arg-type]
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self.server_name, self.server_port = "console", 0

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return taken(self.socket), ("", 0)
        except EOFError:
            os._exit(0)  # the control plane is gone

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            log.exception("a question to the console failed")


def _handler(pages: Pages) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 60

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            words = first_words(query)
            user = unquote(self.headers.get(USER_HEADER, ""))
            status, content_type, body = pages.answer(Asked(unquote(path), words, user, time.time()))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    return Handler


def first_words(query: str) -> dict[str, str]:
    """Name → its first value; none of a query that has more than any page asks for."""
    words: dict[str, str] = {}
    with contextlib.suppress(ValueError):
        for name, value in parse_qsl(query, max_num_fields=100):
            words.setdefault(name, value)
    return words


def main() -> int:
    settings = msgspec.json.decode(begun(), type=Settings)
    server = _Server(settings.socket_fd, Pages(Sources(settings)))
    threading.Thread(target=_end_with_input, daemon=True).start()
    threading.Thread(target=_beat, daemon=True).start()
    server.serve_forever(1.0)
    return 0


def _beat() -> None:
    with contextlib.suppress(BrokenPipeError):
        while True:
            os.write(1, BEAT)
            time.sleep(BEAT_EVERY_S)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # it keeps nothing that could be lost


if __name__ == "__main__":
    sys.exit(main())
