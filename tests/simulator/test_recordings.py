"""Real recorded exchanges, replayed byte for byte."""

import json

import httpx
import pytest
from modelbroker.simulator import Script, ScriptError, Simulator

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-compatible-chat": "/openai/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "openai-embeddings": "/v1/embeddings",
    "anthropic-messages": "/v1/messages",
    "anthropic-count-tokens": "/v1/messages/count_tokens",
}
KEY = {"x-api-key": "k", "anthropic-version": "2023-06-01"}


def rows(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def recorded(body):
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", sorted(PATHS))
def test_every_recording_is_replayed(serve, recordings, kind):
    path = recordings / f"{kind}.jsonl"
    served = serve(script=None, dialect=None)
    script = Script(recordings=[path], recordings_only=True)
    served.call(lambda: served.simulator.set_script(script))
    seen = {}
    with httpx.Client(base_url=served.url, headers=KEY) as client:
        for row in rows(path):
            body = row["request"]["body"]
            if isinstance(body, dict):
                # Order and model must not matter.
                body = dict(reversed({**body, "model": "another"}.items()))
            key = json.dumps({k: v for k, v in body.items() if k != "model"}, sort_keys=True)
            row = seen.setdefault(key, row)  # of equal requests the first answers
            answer = client.post(PATHS[kind], json=body)
            assert answer.status_code == row["response"]["status"]
            assert answer.content == recorded(row["response"]["body"])
            assert answer.headers["content-type"] == row["response"]["headers"]["content-type"]
        missing = client.post(PATHS[kind], json={"model": "m", "no": "such"})
        assert missing.status_code == 404 and missing.json()["error"]


def test_streams_are_split_by_event_and_pinned_by_id(serve, recordings, raw):
    path = recordings / "anthropic-messages.jsonl"
    row = next(r for r in rows(path) if isinstance(r["response"]["body"], str))
    served = serve()
    pinned = {"recordings": str(path), "replies": [{"recording": row["id"]}]}
    served.script(json.dumps({**pinned, "faults": [{"cut": "end", "after_events": 2}]}))
    data, _ = raw(served, "/v1/messages", {"model": "m"}, {"connection": "close"})
    body = row["response"]["body"]
    assert data.count(b"event: ") == 2 and body.split("\n\n")[0].encode() in data
    served.script(json.dumps(pinned))
    assert httpx.post(served.url + "/v1/messages", json={}, headers=KEY).text == body
    served.script(json.dumps({**pinned, "recordings_split": "whole"}))
    assert httpx.post(served.url + "/v1/messages", json={}, headers=KEY).text == body


def test_protocols_the_simulator_does_not_speak_are_replayed_too(serve, recordings):
    path = recordings / "gemini-generate-content.jsonl"
    served = serve(json.dumps({"recordings": [str(path)]}))
    row = rows(path)[0]
    url = served.url + "/v1beta/models/gemini:generateContent"
    answer = httpx.post(url, json=row["request"]["body"], headers={"x-goog-api-key": "k"})
    assert answer.content == recorded(row["response"]["body"])


def test_unusable_recordings(tmp_path):
    with pytest.raises(ScriptError, match="cannot be read"):
        Simulator(script=Script(recordings=[tmp_path / "none.jsonl"]))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "request": {}, "response": {"status": 200, "body": {}}}\n{"id": 3}\n')
    with pytest.raises(ScriptError, match=r"bad\.jsonl:2: not a recorded exchange"):
        Simulator(script=Script(recordings=[bad]))
    bad.write_text("")
    with pytest.raises(ScriptError, match=r"replies\[0\]\.recording"):
        Simulator(script=Script.model_validate({"recordings": str(bad), "replies": [{"recording": "x"}]}))
