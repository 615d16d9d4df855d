"""Providers that answer garbage: the client always gets HTTP, whole or clearly broken off, and in time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.fuzzing import budget
from support.fuzzing.house import Fuzzed, tell
from support.fuzzing.replies import PATHS, calling, good, scripted
from support.fuzzing.sockets import Answer, Answers, Case, Heard, Request, run_all
from support.fuzzing.upstream import RawUpstream, Script
from support.fuzzing.verdict import in_envoys_words, judge_answer

pytestmark = pytest.mark.timeout(budget.timeout_s())
Record = Callable[[str, object], None]
# The pool's limits are 0.5 s for a first event and 1 s for a reply; silence afterwards may last 1 s.
PATIENCE_S = 12.0
DIALECTS = tuple(PATHS)


def _of(number: int) -> tuple[random.Random, str, bool]:
    r = budget.rng("replies", number)
    return r, r.choice(DIALECTS), r.random() < 0.6


# What is no answer to the client, each found by this test: statuses that end no request reached the client
# as they came, who waited for more behind them; a refused credential with an empty body passed as it was.
TEXT = b"content-type: text/event-stream\r\n\r\ndata: {}\n\n"
NO_ANSWERS = (
    *(b"HTTP/1.1 %d What\r\n" % status + TEXT for status in (101, 199, 600, 999, 2000)),
    *(
        b"HTTP/1.1 %d No\r\n" % status + rest
        for status in (401, 403)
        for rest in (
            b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n0\r\nx-t: 1\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n",
            b"content-length: 0\r\n\r\n",
            TEXT,
        )
    ),
)
FIRST_NO_ANSWER = 1_000_000


def _script(number: int) -> Script:
    if number < FIRST_NO_ANSWER:
        return scripted(*_of(number))
    head, end, body = NO_ANSWERS[number - FIRST_NO_ANSWER].partition(b"\r\n\r\n")
    return Script((head + end, body), "close")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with (
        RawUpstream(_script, good("anthropic-messages")) as a,
        RawUpstream(_script, good("openai-chat")) as o,
        Broker(tmp_path_factory.mktemp("fuzz"), _configuration(a.port, o.port)) as broker,
    ):
        yield Fuzzed(broker, None)


def _configuration(anthropic_port: int, openai_port: int) -> dict[str, Any]:
    pool = {
        "failover": "none",
        "ejection": "off",
        "timeouts": {"first_event": "500ms", "reply": "1s"},
    }
    return {
        "providers": [
            provider("a", anthropic_port, "anthropic-messages"),
            provider("o", openai_port, ["openai-chat", "openai-responses"], "/v1"),
        ],
        "callers": [{"name": "fuzzer", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "a", "members": [{"provider": "a", "model": "m"}], **pool},
            {"name": "o", "members": [{"provider": "o", "model": "m"}], **pool},
        ],
        "limits": {"idle": "1s"},
    }


def _judge(case: Case, heard: Heard, answers: Answers) -> str:
    """ "" or what is wrong. What the provider said goes on to the client as it is; what Envoy makes of
    it has to be HTTP, and in the broker's words."""
    if heard.hangs:
        return "hangs: neither answered nor closed"
    is_broken = bool(answers.found) and not answers.found[-1].whole and heard.end != ""
    if answers.fault and not is_broken:
        return f"the answer is not HTTP: {answers.fault}"
    if not answers.found:
        return "closed without an answer"
    answer = answers.found[0]
    if b"Traceback" in answer.body or b"broker_defect" in answer.body or in_envoys_words(answer.body):
        return "not in the broker's words"
    spoken = [name for name in answer.names if name.startswith(("x-envoy-", "x-forwarded-", "set-cookie"))]
    if (
        spoken
        or answer.names.count("x-broker-member") > 1
        or "evil" in str(answer.headers.get("x-broker-member"))
    ):
        return f"the provider speaks as the broker: {answer.headers}"
    return ""


def test_odd_replies(house: Fuzzed, record_property: Record) -> None:
    count = budget.cases("replies")
    for start in range(0, count, 300):
        cases = []
        for number in range(start, min(count, start + 300)):
            _, dialect, stream = _of(number)
            cases.append(calling(number, dialect, stream, budget.name("replies", number), PATIENCE_S))
        wrong = asyncio.run(run_all(house.port, cases, _judge, parallel=48))
        told = [
            f"{text}\nthe provider sent {_script(int(text.split('replies/')[1].split()[0]))}"
            for text in wrong
        ]
        assert not wrong, f"{len(wrong)} of {count} cases:\n\n" + "\n\n".join(told[:12])
        house.check_alive()
        for dialect in ("anthropic-messages", "openai-chat"):
            _serves(house, dialect)
    tell("replies", count, record_property)


@pytest.mark.parametrize("number", range(len(NO_ANSWERS)))
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_answer(house: Fuzzed, number: int, stream: bool) -> None:
    def judge(case: Case, heard: Heard, answers: Answers) -> str:
        answer = answers.found[0] if answers.whole else Answer()
        request = Request("POST", "/v1/messages", ())
        return judge_answer(answer, request) or ("" if answer.status in (502, 503, 504) else "not refused")

    case = calling(FIRST_NO_ANSWER + number, "anthropic-messages", stream, "no answer", PATIENCE_S)
    assert not (wrong := asyncio.run(run_all(house.port, [case], judge))), wrong[0]


def _serves(house: Fuzzed, dialect: str) -> None:
    """A good provider's reply still comes through, once the connections that stalled are used up."""
    plain = Case("good", (calling(0, dialect, False, "", 0).sent.replace(b"case-0.", b"hello.."),))
    deadline = time.monotonic() + 30
    while wrong := asyncio.run(run_all(house.port, [plain], _judge_good)):
        assert time.monotonic() < deadline, wrong[0]


def _judge_good(case: Case, heard: Heard, answers: Answers) -> str:
    is_good = answers.whole == 1 and answers.found[0].status == 200
    return _judge(case, heard, answers) or ("" if is_good else "does not serve any more")
