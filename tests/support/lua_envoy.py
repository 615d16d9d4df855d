"""A real Envoy whose only filter is Lua, so that a script can be asked things."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbroker.envoyapi import envoy_binary

from .waiting import wait_until


class LuaEnvoy(http.client.HTTPConnection):
    """`with LuaEnvoy(folder, source) as envoy:`; `envoy_on_request` of `source` answers what is posted."""

    def __init__(self, folder: Path, source: str) -> None:
        super().__init__("envoy", timeout=30)
        self._socket = folder / "envoy.sock"
        self._log = folder / "log"
        self._config = folder / "envoy.json"
        self._config.write_text(json.dumps(_bootstrap(self._socket, source)))

    def __enter__(self) -> LuaEnvoy:
        command = [
            str(envoy_binary()),
            "-c",
            str(self._config),
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
        ]
        with self._log.open("w") as log:
            self._process = subprocess.Popen([*command, "--log-level", "error"], stdout=log, stderr=log)
        wait_until(lambda: self._listens() or self._process.poll() is not None)
        assert self._process.poll() is None, self._log.read_text()
        return self

    def _listens(self) -> bool:
        """The file is there a little before anybody listens."""
        try:
            self.connect()
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self.close()
        self._process.terminate()
        self._process.wait(timeout=30)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._socket))

    def answer(self, body: bytes, headers: Mapping[str, str]) -> str:
        self.request("POST", "/", body, headers)
        response = self.getresponse()
        said = response.read().decode()
        assert response.status == 200, f"{said}\n{self._log.read_text()}"
        return said


def _typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **fields}


def _bootstrap(path: Path, source: str) -> dict[str, Any]:
    lua = _typed("filters.http.lua.v3.Lua", default_source_code={"inline_string": source})
    manager = _typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="lua",
        http_filters=[
            {"name": "lua", "typed_config": lua},
            {"name": "router", "typed_config": _typed("filters.http.router.v3.Router")},
        ],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": []}]},
    )
    listener = {
        "name": "lua",
        "address": {"pipe": {"path": str(path)}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}
