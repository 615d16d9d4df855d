"""What `/metrics` says of members and limits as they are, and Envoy's stats: bounded in size and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from modelbroker.cli import metrics
from modelbroker.cli.health import HealthKeeper
from modelbroker.cli.metrics import EnvoyStats, Served, readings
from modelbroker.core.causes import Cause
from modelbroker.core.record import Observed
from support.catalogs import catalog


class Envoy:
    """An admin interface that answers `text`, once it `may_answer`. `asked`: the paths."""

    def __init__(self) -> None:
        self.text, self.status = b"envoy_server_live{} 1\n", 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[str] = []
        envoy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                envoy.asked.append(self.path)
                self.send_response(envoy.status)
                self.end_headers()
                self.wfile.flush()
                envoy.may_answer.wait(30)
                self.wfile.write(envoy.text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def envoy() -> Iterator[Envoy]:
    made = Envoy()
    yield made
    made.close()


def test_envoys_stats_are_passed_on(envoy: Envoy) -> None:
    stats = EnvoyStats(envoy.address)
    assert stats.answer("") == (200, "text/plain; version=0.0.4; charset=utf-8", envoy.text)
    assert stats.answer("filter=server")[0] == 200
    assert envoy.asked == ["/stats/prometheus?usedonly", "/stats/prometheus?usedonly&filter=server"]
    assert stats.answer("format=html")[0] == 400
    assert len(envoy.asked) == 2


def test_more_than_fits_is_an_error_that_says_what_to_do(
    envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_ENVOY_BYTES", 1 << 20)
    envoy.text = b"x" * (2 << 20)
    code, _, text = EnvoyStats(envoy.address).answer("")
    assert (code, text) == (503, b"Envoy's metrics are more than 1 MiB: ask with ?filter=REGEX\n")


def test_an_envoy_that_is_slow_is_asked_once(envoy: Envoy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ENVOY_TIME_S", 0.05)
    envoy.may_answer.clear()
    stats = EnvoyStats(envoy.address)
    answers: list[tuple[int, str, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(stats.answer("")))
    asking.start()
    try:
        deadline_s = time.monotonic() + 30
        while not envoy.asked and time.monotonic() < deadline_s:
            time.sleep(0.001)
        busy = stats.answer("")
        assert busy == (503, "text/plain", b"Envoy has not answered the question before this one yet\n")
        assert len(envoy.asked) == 1
    finally:
        envoy.may_answer.set()
        asking.join(30)


def test_an_envoy_that_is_away_or_unwell() -> None:
    made = Envoy()
    made.close()
    code, _, text = EnvoyStats(made.address).answer("")
    assert code == 503 and b"Envoy does not tell its metrics: " in text
    code, _, text = EnvoyStats("").answer("")
    assert code == 404 and b"serve --envoy-admin" in text and b"/stats/prometheus?usedonly" in text


def test_an_answer_that_is_an_error_is_none(envoy: Envoy) -> None:
    envoy.status = 500
    assert EnvoyStats(envoy.address).answer("")[::2] == (
        503,
        b"Envoy does not tell its metrics: status 500\n",
    )


def keeper(tmp_path: Path) -> HealthKeeper:
    return HealthKeeper(tmp_path / "health.json", None, lambda members, share_of: None)


def test_members_that_are_out_and_those_that_are_not_set_up(tmp_path: Path) -> None:
    def pool(name: str, *providers: str) -> dict[str, object]:
        return {"name": name, "members": [{"provider": one, "model": "m"} for one in providers]}

    known = catalog(pools=[pool("two", "b", "c"), pool("one", "b"), pool("none", "r")])
    health, now_s = keeper(tmp_path), time.time()
    health.configured(known)
    health.observe(Observed("b/m", 401, Cause.CREDENTIAL, {}, now_s))
    served = Served(known, lambda name: "no key" if name == "r" else None, True, "", 7.0)
    found = {(name, *labels): value for name, labels, value in readings(served, health, now_s)}
    prefix = "modelbroker_"
    assert found == {
        (prefix + "pool_members", "two"): 2,
        (prefix + "pool_members_in_service", "two"): 1,
        (prefix + "pool_members", "one"): 1,
        (prefix + "pool_members_in_service", "one"): 0,
        (prefix + "pool_members", "none"): 0,
        (prefix + "pool_members_in_service", "none"): 0,
        (prefix + "provider_set_up", "b"): 1,
        (prefix + "provider_set_up", "c"): 1,
        (prefix + "provider_set_up", "r"): 0,
        (prefix + "provider_members", "b"): 2,
        (prefix + "provider_members_in_service", "b"): 0,
        (prefix + "provider_members", "c"): 1,
        (prefix + "provider_members_in_service", "c"): 1,
        (prefix + "config_refused",): 0,
        (prefix + "config_in_effect",): 1,
        (prefix + "config_loaded_timestamp_seconds",): 7.0,
    }
    assert list(readings(None, health, now_s)) == []


def test_what_is_left_of_limits_is_the_newest_word_until_it_runs_out(tmp_path: Path) -> None:
    health, now_s = keeper(tmp_path), 1_000_000.0

    def says(left: int, at_s: float) -> None:
        headers = {
            "x-ratelimit-limit-requests": "200",
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": "60s",
            "anthropic-ratelimit-tokens-limit": "1000",
            "anthropic-ratelimit-tokens-remaining": "900",
        }
        health.observe(Observed("b/m", 200, None, headers, at_s))

    says(50, now_s)
    says(100, now_s - 1)  # an entry that comes late
    left = {limit.name: limit.left for _, limit in health.headroom(now_s + 1)}
    assert left == {"requests": 0.25, "tokens": 0.9}
    assert [limit.name for _, limit in health.headroom(now_s + 30)] == ["requests"]  # the other told no end
    assert list(health.headroom(now_s + 61)) == []
