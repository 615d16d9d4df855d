"""Whatever clients and providers chose, no command prints what a terminal acts upon."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.audit.chain import read
from modelbroker.audit.events import CALL, Event
from modelbroker.audit.keys import signer_of
from modelbroker.audit.store import Chain
from modelbroker.cli.main import main
from modelbroker.cli.outputs import written
from modelbroker.cli.printed import Printed, commanded, printed, printing, visible
from modelbroker.cli.status_table import aligned

SIGNER = signer_of(b"k" * 32)
NAUGHTY = "\x00\x07\x08\x0b\x1b\x7f\x85\x9b\xa0\xad\u200b\u202e\u2028\u2029\u2066\ufeff\U000e0041\ud800"
ANY = st.text(st.one_of(st.characters(), st.sampled_from(NAUGHTY + '\r\n\t"\\ a')))
TREES = st.recursive(
    st.none() | st.integers() | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=6,
)


def is_good(text: str, keeps: str = "\n\t") -> bool:
    """Nothing that a terminal acts upon or hides: no control, mark of direction, or end of a line."""
    wrong = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return all(one in keeps or unicodedata.category(one) not in wrong for one in text)


@given(ANY)
def test_what_is_printed(text: str) -> None:
    assert is_good(printed(text)) and printed(printed(text)) == printed(text)
    assert is_good(visible(text), "")
    if is_good(text) and text.replace("\n", "").replace("\t", "").isprintable():
        assert printed(text) == text
    (line,) = aligned([(text, "b")])
    assert is_good(line, "")


@given(TREES, st.sampled_from([None, 2]))
def test_json_means_the_same(tree: Any, indent: int | None) -> None:
    for ascii_alone in (True, False):
        text = printed(json.dumps(tree, ensure_ascii=ascii_alone, indent=indent))
        assert is_good(text) and json.loads(text) == json.loads(json.dumps(tree))


def test_what_is_no_letter_and_good_stays() -> None:
    text = "Zoë\xa0東京\u3000→ 3 % €\n\tnext"
    assert printed(text) == text
    assert printed("\x1b[2J\x9b\u202e\x7f\U000e0041") == r"\u001b[2J\u009b\u202e\u007f\udb40\udc41"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY)
def test_all_that_is_printed_meanwhile(capsys: pytest.CaptureFixture[str], text: str) -> None:
    out, err = sys.stdout, sys.stderr
    with printing():
        print(text, file=sys.stdout)
        sys.stderr.writelines([text, "\n"])
        handler = logging.StreamHandler(sys.stderr)
        handler.emit(logging.makeLogRecord({"msg": text}))
        commanded(sys.stderr).write("\r")
    assert (sys.stdout, sys.stderr) == (out, err)
    told = capsys.readouterr()
    assert is_good(told.out) and told.err.endswith("\r") and is_good(told.err[:-1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY.map(lambda text: text.encode("utf-8", "replace").decode()))
def test_questions_to_the_chain(
    tmp_path_factory: pytest.TempPathFactory, capsysbinary: pytest.CaptureFixture[bytes], text: str
) -> None:
    """`audit query`, as JSON and as a table, of a chain whose lines hold anything."""
    state = tmp_path_factory.mktemp("state")
    chain = Chain(state / "audit", SIGNER)
    call = Event(kind=CALL, id="1", request_id="1", at_ms=int(time.time() * 1000), severity=1, user=text)
    chain.append([(call, ("calls", "1:f", 0))])
    chain.close()
    capsysbinary.readouterr()
    assert main(["audit", "query", "--state-dir", str(state), "--format", "json"]) == 0
    out = capsysbinary.readouterr().out.decode()
    assert is_good(out)
    told = [read(line.encode()).event for line in out.split("\n")[:-1]]
    assert [one.user for one in told if one.kind == CALL] == [text]
    assert main(["audit", "query", "--state-dir", str(state)]) == 0
    assert is_good(capsysbinary.readouterr().out.decode())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_data_is_as_it_is_but_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = '{"a":"Zoë \x9b2J"}\n'.encode()
    with written("-") as file:
        file.write(data)
    assert capsysbinary.readouterr().out == data
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", Printed(terminal))
    with written("-") as file:
        file.write(data)
        text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
        text.write("\u202e\n")
        text.detach()
    assert terminal.getvalue() == '{"a":"Zoë \\u009b2J"}\n\\u202e\n'
