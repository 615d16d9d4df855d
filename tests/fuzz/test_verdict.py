"""The judge of fuzzed answers: what it takes for cut by right, and what not."""

from __future__ import annotations

import pytest
from support.fuzzing.requests import render
from support.fuzzing.sockets import Answers, Case, Heard
from support.fuzzing.verdict import judge

REQUEST = render("POST", "/v1/chat/completions", [("host", "broker"), ("content-length", "2")], b"{}")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
HALF = HEAD + b"6\r\ndata: \r\n"
WHOLE = HALF + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "ends", "received", "wrong"),
    [
        (REQUEST, False, WHOLE, ""),
        (REQUEST, False, HALF, "the answer is not HTTP"),
        (REQUEST, False, b"", "0 answers to 1 requests"),
        # A client that ended its side: Envoy closes, and cuts an answer wherever it is.
        (REQUEST, True, WHOLE, ""),
        (REQUEST, True, HALF, ""),
        (REQUEST, True, b"", ""),
        # What does come has to be HTTP there, too.
        (REQUEST, True, HEAD + b"not a length\r\n", "the answer is not HTTP"),
        (REQUEST, True, b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\nhalf", "answer 0: status 500"),
        # So does what is no HTTP.
        (REQUEST + b"\x00\r\n\r\n", False, HALF, ""),
    ],
)
def test_an_answer_that_is_cut(sent: bytes, ends: bool, received: bytes, wrong: str) -> None:
    answers = Answers(["POST"])
    answers.feed(received)
    answers.feed(b"")
    found = judge(Case("a case", (sent,), ends=ends), Heard(received, "fin"), answers)
    assert found.startswith(wrong) and bool(found) == bool(wrong)
