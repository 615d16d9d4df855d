"""The broker that is fuzzed, and what has to be true of it however long that goes on."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..broker import KEY, KEY_SHA256, Broker, provider
from ..calls import Ask, make
from ..simulators import Simulators
from .frames import PREFACE, Frames, judge_frames
from .jsons import POOL
from .sockets import Answers, Case, Heard, Request, listen_for_http1, run_all
from .verdict import judge

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")
_BATCH = 400
_INTERNAL = re.compile(r"x[-_](broker|envoy|forwarded)[-_]", re.IGNORECASE)
_DEFECT = re.compile(r"Traceback|failed in the broker|\[critical\]|assert failure|Segmentation|\[lua\]")
# `x-broker-…` in a body or in a value is anyone's text; a name is not.
_KEY_HEADERS = ("authorization", "x-api-key", "api-key", "proxy-authorization")


def configuration(sims: Simulators) -> dict[str, Any]:
    return {
        "providers": [
            provider("a", sims["a"].port, "anthropic-messages"),
            provider("o", sims["o"].port, ["openai-chat", "openai-responses", "openai-embeddings"], "/v1"),
        ],
        "callers": [{"name": "fuzzer", "key": {"sha256": KEY_SHA256}, "trusted_for": ["feature"]}],
        "pools": [
            {
                "name": POOL,
                "members": [{"provider": "a", "model": "claude"}, {"provider": "o", "model": "gpt"}],
                "ejection": "off",
            }
        ],
        "limits": {"request_bytes": "192KiB", "idle": "3s"},
        "facts": {"headers": {"task": "x-a"}},
    }


class Fuzzed:
    """A running broker under watch. `checks()` is called again and again, and at the end."""

    def __init__(self, broker: Broker, sims: Simulators | None) -> None:
        self.broker = broker
        self._sims = sims
        self.port = urlsplit(broker.url).port or 0
        self._pids = self._processes()
        assert len(self._pids) == 2

    def _processes(self) -> list[int]:
        return self.broker.child_pids("envoy") + self.broker.child_pids("serve")

    def run(self, cases: Sequence[Case], keys: str = "nowhere") -> int:
        """Every case, with the house looked over between; how many there were."""
        for start in range(0, len(cases), _BATCH):
            wrong = asyncio.run(run_all(self.port, cases[start : start + _BATCH], _judge, _listen))
            assert not wrong, f"{len(wrong)} of {len(cases)} cases:\n\n" + "\n\n".join(wrong[:12])
            self.check(keys)
        return len(cases)

    def check(self, keys: str = "nowhere") -> None:
        """It serves, the processes are the same, nothing was logged that is a defect, nothing leaked."""
        asks = [Ask(POOL, dialect, stream) for dialect in DIALECTS for stream in (False, True)]
        for got in make(self.broker.url, asks):
            assert got.is_whole, str(got)
        self.check_alive()
        for sim in self._sims or ():
            for call in sim.settled_calls():
                self._judge_received(call, keys)
            sim.forget()

    def check_alive(self) -> None:
        assert self._processes() == self._pids, self.broker.log()[-5000:]
        assert not (defects := defects_of(self.broker)), defects

    @staticmethod
    def _judge_received(call: dict[str, Any], keys: str) -> None:
        """`keys`: "nowhere" may the client's key stand, or (where bytes were moved about) in no header that
        is for keys."""
        for name, value in call["headers"]:
            assert not _INTERNAL.match(name), (name, value, call)
            if keys == "nowhere" or name.lower().replace("_", "-") in _KEY_HEADERS:
                assert KEY not in value, (name, value, call)


@contextmanager
def fuzzed(folder: Path, sims: Simulators) -> Iterator[Fuzzed]:
    with Broker(folder, configuration(sims)) as broker:
        yield Fuzzed(broker, sims)


def defects_of(broker: Broker) -> str:
    """What the logs hold that they never may."""
    text = broker.log() + (broker.folder / "state" / "envoy.log").read_text(errors="replace")
    found = re.search(
        r"(Traceback|failed in the broker|\[critical\]|assert failure|Segmentation|\[lua\])", text
    )
    return text[max(0, found.start() - 500) : found.start() + 4000] if found else ""


def _is_http2(case: Case) -> bool:
    return case.sent.startswith(PREFACE[:12])  # by so much Envoy knows it


def _judge(case: Case, heard: Heard, answers: Answers) -> str:
    return (judge_frames if _is_http2(case) else judge)(case, heard, answers)


def _listen(case: Case, requests: list[Request]) -> Answers:
    return Frames() if _is_http2(case) else listen_for_http1(case, requests)


def tell(kind: str, count: int, record: Callable[[str, object], None]) -> None:
    """The count, for people (`pytest -rP`) and for the report."""
    record(f"fuzz_cases_{kind}", count)
    print(json.dumps({"fuzz_cases": {kind: count}}))
