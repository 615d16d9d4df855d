"""Scripts: what is wrong is told by file, line and field. And the commands that read them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import typing
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from modelbroker.cli.main import MOCK_DIALECTS
from modelbroker.simulator import Dialect, Script, ScriptError, parse_script, read_script
from modelbroker.simulator.samples import sample
from modelbroker.simulator.script import Reply, Rule

RULE = set(Rule.model_fields)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: x", "s:1: seed: should be a valid integer, unable to parse string as an integer, not 'x'"),
        (
            "\nfaults:\n- status: 503\n- statu: 1\n",
            "s:4: faults[1].statu: unknown field; did you mean status?",
        ),
        ("faults: [{first: 1}]", "s:1: faults[0]: the rule does nothing"),
        ("faults: [{reset: x}]", "s:1: faults[0].reset: should be 'on-accept', 'before-headers'"),
        ("faults: [{status: 503, rate: 0.5, first: 2}]", "rate and first exclude one another"),
        ("faults: [{reset: mid-body, cut: end}]", "reset and cut exclude one another"),
        ("faults: [{reset: on-accept, match: {model: x}}]", "remove match"),
        ("replies: [{match: {modle: x}}]", "replies[0].match.modle: unknown field; did you mean model?"),
        ("zzz: 1", "s:1: zzz: unknown field; known: aws, expire, faults, header_commands"),
        ("keys: 3", "s:1: keys: give a list of keys, or a mapping of AWS access keys to their secrets"),
        ("keys: {a: 3}", "s:1: keys: give a list of keys"),
        ("aws: {regoin: x}", "s:1: aws.regoin: unknown field; did you mean region?"),
        ("refuse_for_s: 3", "refuse_for_s needs refuse: true"),
        ("- a", "s:1: the script is a list; a mapping of fields is needed"),
        ("a: [", "s:1: not YAML (nor JSON):"),
    ],
)
def test_problems_are_told_plainly(text, told):
    with pytest.raises(ScriptError) as error:
        parse_script(text, "s")
    assert told in str(error.value)


def test_the_commands_dialects_are_the_scripts():
    assert set(MOCK_DIALECTS) == set(typing.get_args(Dialect))


def test_the_docs_scripts_are_right():
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    scripts = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    assert len(scripts) >= 6
    for script in scripts:
        parse_script(script)
    assert [name for name in Script.model_fields if f"`{name}`" not in text] == []
    assert [name for name in Reply.model_fields if name not in RULE and f"`{name}" not in text] == []


def test_every_problem_at_once_and_the_empty_script(tmp_path):
    with pytest.raises(ScriptError) as error:
        parse_script("seed: x\nnope: 1\n", "s")
    assert len(error.value.problems) == 2
    assert parse_script("") == parse_script("{}")
    file = tmp_path / "s.yaml"
    file.write_text("recordings: a.jsonl\n")
    assert read_script(file).recordings == [tmp_path / "a.jsonl"]
    with pytest.raises(ScriptError, match="cannot read the script"):
        read_script(tmp_path / "none.yaml")


def test_samples_fit_their_schemas():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}, "required": ["next"]}
    schema = {
        "$defs": {"n": {"anyOf": [node, {"type": "null"}]}, "k": {"enum": ["a", "b"]}},
        "type": "object",
        "properties": {
            "kind": {"$ref": "#/$defs/k"},
            "many": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "when": {"type": "string", "format": "date"},
            "short": {"type": "string", "maxLength": 2},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "integer", "exclusiveMinimum": 4}]},
            "list": {"$ref": "#/$defs/n"},
        },
    }
    made = sample(schema)
    del made["list"]
    assert made == {"kind": "a", "many": [True, True], "when": "2025-01-15", "short": "sh", "maybe": 5}
    assert sample(None) == {} and sample({}) == {}


def start(code):
    code = f"import sys; from pathlib import Path; from modelbroker.simulator.main import *; sys.exit({code})"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_run_mock_and_run_many(tmp_path):
    script = tmp_path / "s.yaml"
    script.write_text("models: [one]\n")
    mock = start(f"run_mock('openai', '127.0.0.1', 0, Path({str(script)!r}))")
    many = start("run_many([('a', 'openai'), ('b', None)])")
    try:
        ready = mock.stdout.readline().split()
        assert ready[0] == "ready"
        with urllib.request.urlopen(f"{ready[1]}/_mock/script") as answer:
            assert json.load(answer) == {"models": ["one"]}
        ports = json.loads(many.stdout.readline())
        assert set(ports["ready"]) == set(ports["control"]) == {"a", "b"}
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['control']['b']}/_mock/health") as answer:
            assert json.load(answer)["name"] == "b"
        # The same on uvloop: refusing, and coming back on the same port.
        for text, refused in (("refuse: true", True), ("{}", False)):
            url = f"http://127.0.0.1:{ports['control']['a']}/script"
            urllib.request.urlopen(urllib.request.Request(url, text.encode(), method="PUT")).close()
            if refused:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", ports["ready"]["a"]))
            else:
                socket.create_connection(("127.0.0.1", ports["ready"]["a"])).close()
        with socket.create_connection(("127.0.0.1", ports["ready"]["a"])) as sock:
            command = 'x-mock-fault: {"reset": "mid-stream", "after_events": 1}'
            body = '{"model": "m", "stream": true, "messages": [1]}'
            head = f"POST /chat/completions HTTP/1.1\r\nhost: x\r\napi-key: k\r\n{command}\r\n"
            sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
            with pytest.raises(ConnectionResetError):
                while sock.recv(4096):
                    pass
    finally:
        mock.send_signal(signal.SIGTERM)
        many.send_signal(signal.SIGINT)
        assert (mock.wait(10), many.wait(10)) == (0, 0)
        errors = mock.stderr.read() + many.stderr.read()
        for process in (mock, many):
            process.stdout.close()
            process.stderr.close()
    assert errors == ""


def test_run_mock_complains(tmp_path):
    script = tmp_path / "s.yaml"
    script.write_text("seed: 1\nfautls: []\n")
    bad = start(f"run_mock(None, '127.0.0.1', 0, Path({str(script)!r}))")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = start(f"run_mock(None, '127.0.0.1', {port}, None)")
        assert "Address already in use" in busy.communicate(timeout=10)[1]
    out, told = bad.communicate(timeout=10)
    assert out == "" and told == f"{script}:2: fautls: unknown field; did you mean faults?\n"
    assert (bad.returncode, busy.returncode) == (1, 1)
    assert os.path.sep in told


def test_mocks_of_other_names_refuse_one_anothers_signatures():
    """Two simulators by hand are two providers: `--name` says which."""
    names = ("anthropic-eu", "anthropic-us")
    command = [sys.executable, "-m", "modelbroker.cli.main", "mock", "--name"]
    mocks = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in names]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = {"model": "claude-opus-4-5", "max_tokens": 2000, "thinking": thinking}
    asked = {"role": "user", "content": "Hello"}

    def post(url, messages, headers):
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", **headers}
        data = json.dumps({**body, "messages": messages}).encode()
        return urllib.request.urlopen(urllib.request.Request(f"{url}/v1/messages", data, headers))

    try:
        one, other = (mock.stdout.readline().split()[1] for mock in mocks)
        with post(one, [asked], {"x-mock-reply": "{reasoning: Somebody greets me., text: Hi}"}) as reply:
            assert reply.headers["x-mock-provider"] == "anthropic-eu"
            said = {"role": "assistant", "content": json.load(reply)["content"]}
        post(one, [asked, said, asked], {}).close()
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(other, [asked, said, asked], {})
        assert refused.value.code == 400
        assert "signature" in refused.value.read().decode()
        refused.value.close()
    finally:
        for mock in mocks:
            mock.send_signal(signal.SIGTERM)
        assert [mock.wait(10) for mock in mocks] == [0, 0]
        for mock in mocks:
            mock.stdout.close()


def test_a_model_of_known_quality_is_always_as_good():
    """Its share of right answers is the stated one, and the same question has the same answer."""
    from modelbroker.simulator.answers import _known_text
    from modelbroker.simulator.script import Knows

    class Asked:
        model = "m"

        def __init__(self, question):
            self.fields, self.reader = question, self

        def last_user_text(self, fields):
            return fields

    knows = Knows(answers={"sum": "4", "sum of all": "10"}, right=0.8, wrong="?")
    said = [_known_text(Asked(f"the sum, number {n}"), knows) for n in range(1000)]
    assert said == [_known_text(Asked(f"the sum, number {n}"), knows) for n in range(1000)]
    assert set(said) == {"4", "?"}
    assert 0.76 < said.count("4") / 1000 < 0.84
    sure = knows.model_copy(update={"right": 1.0})
    assert _known_text(Asked("the sum of all"), sure) == "10"
    assert _known_text(Asked("something else"), sure) == "?"
