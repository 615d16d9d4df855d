"""Configurations with mistakes, written to a running broker under a trickle of calls: each takes effect or
is refused with its place, and the good one always comes back."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from modelbroker.core.catalog import Catalog
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN
from modelbroker.settings import SettingsError, compile_texts
from support.broker import Broker
from support.fuzzing import budget
from support.fuzzing.house import defects_of, tell
from support.fuzzing.sockets import Answer, Request
from support.fuzzing.verdict import judge_answer
from support.fuzzing.yamls import SHIPPED, fuzzed_yaml

pytestmark = pytest.mark.timeout(budget.timeout_s())
Record = Callable[[str, object], None]
KEY = "mb-demo-key"
ASK = {"model": "standard-tier", "messages": [{"role": "user", "content": "hello"}]}
PLACE = re.compile(r"^(\S*broker\.yaml|configuration):\d+: ")
# Edits that come this close together may be read as one; the last of them counts.
BURST = 2


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("fuzz"), SHIPPED, arguments=("--mock-providers",)) as running:
        yield running


class Trickle(threading.Thread):
    """Calls, one after the other, until told to stop; `wrong` is the first answer that may not be."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._stop_asked = threading.Event()
        self.made = 0
        self.wrong = ""

    def run(self) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as http:
            while not self._stop_asked.wait(0.02) and not self.wrong:
                try:
                    reply = _call(http)
                except httpx.HTTPError as error:
                    self.wrong = repr(error)
                    return
                answer = Answer(reply.status_code, dict(reply.headers), [], reply.content, True)
                wrong = judge_answer(answer, Request("POST", "/v1/chat/completions", ()))
                self.wrong = f"{wrong}: {reply.status_code} {reply.text[:500]}" if wrong else ""
                self.made += 1

    def finish(self) -> None:
        self._stop_asked.set()
        self.join(60)


def _compiled(text: str, file: Path) -> Catalog | str:
    """The configuration, or what is said of its mistakes."""
    try:
        return compile_texts({str(file): text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog
    except SettingsError as error:
        return str(error)


def _mutants(file: Path) -> list[tuple[str, str, str]]:
    """(text, revision or "", what is said of it or ""). They all listen where the good one does."""
    found: list[tuple[str, str, str]] = []
    number = 0
    while len(found) < budget.cases("reload"):
        text = fuzzed_yaml(budget.rng("reload", number), SHIPPED)
        number += 1
        result = _compiled(text, file)
        if isinstance(result, str):
            found.append((text, "", result))
        elif result.listen.address == "127.0.0.1" and not result.listen.tls_cert_file:
            found.append((text, result.revision, ""))
    return found


def _settle(broker: Broker, revision: str, said: str) -> None:
    """Wait until an edit took effect, or was refused in just these words."""
    if revision:
        broker.wait_for(lambda s: s["serving"] == s["revision"] == revision and not s["error"], 20)
    else:
        assert PLACE.search(said), said
        broker.wait_for(lambda s: s["error"] == said, 20)


def _call(http: httpx.Client) -> httpx.Response:
    return http.post("/v1/chat/completions", json=ASK, headers={"authorization": f"Bearer {KEY}"})


def test_edits_with_mistakes(broker: Broker, record_property: Record) -> None:
    pids = broker.child_pids("envoy") + broker.child_pids("serve")
    file = broker.config_dir / "broker.yaml"
    good = broker.status()["revision"]
    trickle = Trickle(broker.url)
    trickle.start()
    mutants = _mutants(file)
    with httpx.Client(base_url=broker.url, trust_env=False, timeout=30) as http:
        for start in range(0, len(mutants), BURST):
            burst = mutants[start : start + BURST]
            for text, _, _ in burst:
                broker.write(text)
            _settle(broker, *burst[-1][1:])
            broker.write(SHIPPED)
            _settle(broker, good, "")
            assert (reply := _call(http)).status_code == 200, reply.text
            assert not trickle.wrong, "\n---\n".join([trickle.wrong, *(text for text, _, _ in burst)])
    trickle.finish()
    assert trickle.made > len(mutants) / BURST and not trickle.wrong, trickle.wrong
    assert broker.child_pids("envoy") + broker.child_pids("serve") == pids
    assert not (defects := defects_of(broker)), defects
    tell("reload", len(mutants), record_property)
