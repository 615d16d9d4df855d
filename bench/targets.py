"""What stands in front of the upstream: nothing, bare Envoy, the broker in five ways, LiteLLM's proxy."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import processes
import yaml
from processes import Failed
from traffic import MODEL

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from modelbroker.cli.ports import free_port  # noqa: E402
from modelbroker.envoyapi.loader import envoy_binary  # noqa: E402
from support.broker import KEY, KEY_SHA256, Broker, provider  # noqa: E402

LITELLM_VENV = Path(__file__).parent / ".venv-litellm"
_LITELLM = "litellm[proxy]"
_START_S = 90.0
_INSTALL_S = 900
# Members of the pool, with their weights: what the brief's own example has.
_MEMBERS = {"bench-a": 70, "bench-b": 25, "bench-c": 5}


class Target(Protocol):
    """`with`-less on purpose: `run.py` stops all that it has started."""

    name: str
    port: int
    fresh: bool  # its calls say that they want no answer from a cache

    def pids(self) -> list[int]:
        """Its processes, all that a call may burn CPU in."""

    def stop(self) -> None: ...


class Direct:
    """No proxy: what the client and the upstream give by themselves."""

    name = "direct"
    fresh = False

    def __init__(self, upstream: int, folder: Path) -> None:
        self.port = upstream

    def pids(self) -> list[int]:
        return []

    def stop(self) -> None:
        pass


class BareEnvoy:
    """One listener, one route, one cluster, only the router filter: the limit of what Envoy can do."""

    name = "envoy"
    fresh = False

    def __init__(self, upstream: int, folder: Path) -> None:
        self.port = free_port("127.0.0.1")
        config = folder / "bare-envoy.yaml"
        config.write_text(yaml.safe_dump(bare_envoy_config(self.port, upstream)))
        # Concurrency and flags as `up` starts the broker's Envoy.
        self._child = processes.start(
            [
                *(envoy_binary(), "-c", config),
                *("--concurrency", str(max(1, (os.cpu_count() or 2) // 2))),
                *("--log-level", "warning", "--disable-hot-restart"),
            ],
            folder / "bare-envoy.log",
        )
        url = f"http://127.0.0.1:{self.port}/"
        self._child.wait_until(lambda: _status(url) is not None, _START_S)

    def pids(self) -> list[int]:
        return processes.tree(self._child.pid)

    def stop(self) -> None:
        self._child.stop()


def bare_envoy_config(port: int, upstream: int) -> dict[str, Any]:
    def typed(name: str, **fields: Any) -> dict[str, Any]:
        return {"@type": f"type.googleapis.com/{name}", **fields}

    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    router = typed("envoy.extensions.filters.http.router.v3.Router")
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}],
    )
    most = 1_000_000
    thresholds = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), most)
    endpoint = {"endpoint": {"address": address(upstream)}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "bench",
                    "address": address(port),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "upstream",
                    "type": "STATIC",
                    "circuit_breakers": {"thresholds": [thresholds]},
                    "load_assignment": {
                        "cluster_name": "upstream",
                        "endpoints": [{"lb_endpoints": [endpoint]}],
                    },
                }
            ],
        }
    }


class TheBroker:
    """`modelbroker up`, as a user starts it: one pool of three members, a caller with a key."""

    name = "broker"
    fresh = False
    dialects = ("openai-chat", "openai-responses")
    guard = "first-event"
    cache: ClassVar[dict[str, Any] | None] = None
    pays = False
    captures: ClassVar[dict[str, Any] | None] = None

    def __init__(self, upstream: int, folder: Path) -> None:
        environ = {"BENCH_TRAFFIC_KEY": "6b" * 32}
        config = self.config(upstream)
        self._broker = Broker(folder / self.name, config, with_ledger=self.pays, environ=environ)
        try:
            self._broker.start()
        except AssertionError as error:
            raise Failed(f"the broker did not start: {error}") from None
        self.port = urlsplit(self._broker.url).port or 80

    def config(self, upstream: int) -> dict[str, Any]:
        config = broker_config(upstream, self.dialects, self.guard, self.cache)
        if self.pays:
            config |= budgets(2)
        if self.captures is not None:
            config["capture"] = {
                "rules": [self.captures],
                "encryption": {"key": {"env": "BENCH_TRAFFIC_KEY"}},
            }
        return config

    def pids(self) -> list[int]:
        assert self._broker.process is not None
        return processes.tree(self._broker.process.pid)

    def stop(self) -> None:
        self._broker.stop()


class Translated(TheBroker):
    """The same, but that the members speak anthropic-messages: calls are translated, and their replies."""

    name = "translated"
    dialects = ("anthropic-messages",)


class Guarded(TheBroker):
    """The same as `broker`, but that streams are watched to their end."""

    name = "guarded"
    guard = "full"


class Paid(TheBroker):
    """The same as `broker`, with all that is about money: two budgets, three rate limits, and the ledger,
    whose process counts, too."""

    name = "paid"
    pays = True


class Kept(TheBroker):
    """The same, but that the pool has a cache: each reply is kept, and none is answered by one that was."""

    name = "kept"
    cache: ClassVar[dict[str, Any] | None] = {"max_context_tokens": "100k"}
    fresh = True


class Cached(Kept):
    """The same, but that all calls but the first are answered from there."""

    name = "cached"
    fresh = False


class Captured(TheBroker):
    """The same as `broker`, but that both bodies of each call are captured: redacted, encrypted and written
    by a process that counts, too."""

    name = "captured"
    captures: ClassVar[dict[str, Any] | None] = {"match": {}}


class Spared(TheBroker):
    """The same, but that the rule of `capture` matches none of the calls."""

    name = "spared"
    captures: ClassVar[dict[str, Any] | None] = {"match": {"team": "nobody"}}


class Shadowed(TheBroker):
    """The same as `broker`, but that a fifth of the calls are also sent to another provider, which is
    well."""

    name = "shadowed"
    how = "well"

    def __init__(self, upstream: int, folder: Path) -> None:
        self._other: processes.Child | None = None
        self._folder = folder
        super().__init__(upstream, folder)

    def config(self, upstream: int) -> dict[str, Any]:
        config = super().config(upstream)
        config["providers"].append(provider("other", self._port(upstream), list(self.dialects), "/v1"))
        config["pools"][0]["shadow"] = {"to": "other/m", "share": "20%"}
        return config

    def _port(self, upstream: int) -> int:
        if self.how == "well":
            return upstream
        if self.how == "dead":
            return free_port("127.0.0.1")  # where nobody listens
        command = [sys.executable, processes.HERE / "misbehaving.py", self.how]
        self._other = processes.start(command, self._folder / f"{self.name}.other.log", talks=True)
        return int(self._other.line(_START_S))

    def stop(self) -> None:
        super().stop()
        if self._other is not None:
            self._other.stop()


class ShadowedDead(Shadowed):
    """The same, but that nobody is there."""

    name = "shadowed-dead"
    how = "dead"


class ShadowedSlow(Shadowed):
    """The same, but that no answer ever comes."""

    name = "shadowed-slow"
    how = "slow"


class ShadowedWrong(Shadowed):
    """The same, but that what comes is no reply."""

    name = "shadowed-wrong"
    how = "wrong"


def broker_config(
    upstream: int,
    dialects: Sequence[str] = TheBroker.dialects,
    guard: str = TheBroker.guard,
    cache: dict[str, Any] | None = None,
) -> dict[str, Any]:
    members = [{"provider": "bench", "model": model, "weight": weight} for model, weight in _MEMBERS.items()]
    path = "" if "anthropic-messages" in dialects else "/v1"
    return {
        "providers": [provider("bench", upstream, list(dialects), path)],
        "callers": [{"name": "bench", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": MODEL, "members": members, "guard": guard, "cache": cache or "off"}],
    }


def budgets(count: int, limits: bool = True) -> dict[str, Any]:
    """So many budgets, of which the second borrows, and rate limits of calls, tokens and calls at a time:
    each call falls into all of them, and none is ever used up."""
    day = {"amount": "$1000000", "per": "day"}
    known = [{"name": "all", **day}, {"name": "each", "by": "caller", "borrows_from": "all", **day}]
    rates = {"by": "caller", "calls": "1G/m", "tokens": "1000G/m", "concurrency": 1_000_000}
    return {
        "prices": [{"provider": "bench", "model": "*", "input": 1, "output": 2}],
        "budgets": known[:count],
        "rate_limits": [{"name": "rates", **rates}] if limits else [],
    }


class LiteLlm:
    """LiteLLM's proxy from PyPI, one worker, three weighted deployments, a key: no database, no logging."""

    name = "litellm"
    fresh = False

    def __init__(self, upstream: int, folder: Path) -> None:
        program = install_litellm(folder / "litellm-install.log")
        self.port = free_port("127.0.0.1")
        config = folder / "litellm.yaml"
        config.write_text(yaml.safe_dump(litellm_config(upstream)))
        command = [program, "--config", config, "--host", "127.0.0.1", "--port", str(self.port)]
        environ = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_TELEMETRY": "False",
        }
        self._child = processes.start([*command, "--num_workers", "1"], folder / "litellm.log", environ)
        url = f"http://127.0.0.1:{self.port}/health/liveliness"
        self._child.wait_until(lambda: _status(url) == 200, _START_S)

    def pids(self) -> list[int]:
        return processes.tree(self._child.pid)

    def stop(self) -> None:
        self._child.stop()


def litellm_config(upstream: int) -> dict[str, Any]:
    deployments = [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": f"http://127.0.0.1:{upstream}/v1",
                "api_key": "sk-provider-secret",
                "weight": weight,
            },
        }
        for model, weight in _MEMBERS.items()
    ]
    return {
        "model_list": deployments,
        "router_settings": {"routing_strategy": "simple-shuffle"},
        "litellm_settings": {"telemetry": False},
        "general_settings": {"master_key": KEY},
    }


def install_litellm(log: Path) -> Path:
    """The program, installed at the first time into an environment of its own."""
    program = LITELLM_VENV / "bin" / "litellm"
    if program.exists():
        return program
    python = LITELLM_VENV / "bin" / "python"
    pip = ["-m", "pip", "install", "--disable-pip-version-check", _LITELLM]
    for command in ([sys.executable, "-m", "venv", LITELLM_VENV], [python, *pip]):
        child = processes.start(command, log)
        try:
            code = child.process.wait(_INSTALL_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            child.stop()
        if code != 0:
            raise Failed(
                f"LiteLLM can't be installed: pip ended with code {code} (its limit is {_INSTALL_S} s). "
                "It needs a package index: run without --with-litellm, or install "
                f"{_LITELLM} into {LITELLM_VENV} yourself\n{child.tail()}"
            )
    return program


def litellm_version() -> str:
    found = sorted(LITELLM_VENV.glob("lib/python*/site-packages/litellm-*.dist-info"))
    return found[0].name.removeprefix("litellm-").removesuffix(".dist-info") if found else ""


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


STARTERS: dict[str, Callable[[int, Path], Target]] = {
    "direct": Direct,
    "envoy": BareEnvoy,
    "broker": TheBroker,
    "shadowed": Shadowed,
    "shadowed-dead": ShadowedDead,
    "shadowed-slow": ShadowedSlow,
    "shadowed-wrong": ShadowedWrong,
    "translated": Translated,
    "guarded": Guarded,
    "paid": Paid,
    "kept": Kept,
    "cached": Cached,
    "captured": Captured,
    "spared": Spared,
    "litellm": LiteLlm,
}
