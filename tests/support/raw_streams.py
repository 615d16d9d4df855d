"""A client's stream as bytes, held against what the dialect's documents say of its events.

Read by its own rules, without the SDKs, which forgive much. AssertionError says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Event = Mapping[str, Any]


def frames(raw: bytes) -> list[tuple[str, str]]:
    """(event, data) of each frame; every byte belongs to one."""
    text = raw.decode("utf-8")
    assert text.endswith("\n\n"), text[-200:]
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        name = [line[6:].strip() for line in lines if line.startswith("event:")]
        data = [line[5:].strip() for line in lines if line.startswith("data:")]
        assert len(name) <= 1 and len(name) + len(data) == len(lines), block
        if data:
            found.append((name[0] if name else "", "\n".join(data)))
    return found


def check(client: str, raw: bytes, *, usage: bool = True, sequential: bool = True) -> None:
    """`usage`: a client of Chat asked for the usage. `sequential`: blocks of Anthropic's do not overlap; a
    simulator that interleaves its own does not care, and its bytes pass."""
    if client == "openai-chat":
        check_chat(raw, usage)
    elif client == "openai-responses":
        check_responses(raw)
    else:
        check_messages(raw, sequential)


# -- openai-chat


def check_chat(raw: bytes, usage: bool) -> None:
    """https://platform.openai.com/docs/api-reference/chat-streaming"""
    found = frames(raw)
    assert found[-1] == ("", "[DONE]") and all(name == "" for name, _ in found)
    chunks = [json.loads(data) for _, data in found[:-1]]
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1, chunks[0]
    assert chunks[0]["id"].startswith("chatcmpl-") and chunks[0]["object"] == "chat.completion.chunk"
    if usage:
        last = chunks.pop()
        assert last["choices"] == [] and last["usage"]["total_tokens"] > 0, last
    states: dict[int, _Choice] = {}
    for chunk in chunks:
        assert chunk["choices"] and not chunk.get("usage"), chunk
        for choice in chunk["choices"]:
            states.setdefault(choice["index"], _Choice()).take(choice)
    assert sorted(states) == list(range(len(states)))
    assert all(state.finish for state in states.values())


class _Choice:
    def __init__(self) -> None:
        self.has_begun = False
        self.finish = ""
        self.calls: list[str] = []

    def take(self, choice: Event) -> None:
        delta = choice["delta"]
        assert not self.finish, f"{choice} behind the end"
        assert ("role" in delta) != self.has_begun, f"the role stands in the first delta alone: {choice}"
        assert delta.get("role", "assistant") == "assistant"
        self.has_begun = True
        for call in delta.get("tool_calls") or ():
            self._call(call)
        if choice["finish_reason"] is not None:
            said = {name: value for name, value in delta.items() if value and name != "role"}
            assert not said, f"the reason has a chunk of its own: {choice}"
            self.finish = choice["finish_reason"]

    def _call(self, call: Event) -> None:
        assert call["index"] <= len(self.calls), f"indices are contiguous: {call}"
        if call["index"] == len(self.calls):
            assert call["type"] == "function" and call["function"]["name"], call
            assert call["id"] and call["id"] not in self.calls, call
            self.calls.append(call["id"])
        else:
            assert call.get("id", "") in ("", None, self.calls[call["index"]]), call
            assert not call["function"].get("name"), call


# -- openai-responses


def check_responses(raw: bytes) -> None:
    """https://platform.openai.com/docs/api-reference/responses-streaming"""
    found = frames(raw)
    events = [json.loads(data) for _, data in found]
    assert [name for name, _ in found] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created" and events[1]["type"] == "response.in_progress"
    first, last = events[0]["response"], events[-1]
    assert first["status"] == "in_progress" and first["output"] == []
    assert last["type"] == f"response.{last['response']['status']}", last
    assert last["type"] in ("response.completed", "response.incomplete")
    assert {event["response"]["id"] for event in events if "response" in event} == {first["id"]}
    items = _Items()
    for event in events[2:-1]:
        items.take(event)
    assert not items.open, f"never done: {items.open}"
    done = [items.done[index] for index in sorted(items.done)]
    assert done == last["response"]["output"]
    ids = [item["id"] for item in done]
    assert len(set(ids)) == len(ids)
    calls = [item["call_id"] for item in done if item["type"] == "function_call"]
    assert len(set(calls)) == len(calls) and all(calls)


_TEXTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text", "summary_text": "text"}


class _Items:
    """Output items, the parts in them, and the texts in those."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}
        self.open: dict[int, Any] = {}
        self.parts: dict[tuple[int, str, int], Any] = {}
        self.texts: dict[tuple[int, str, int], str] = {}

    def take(self, event: Event) -> None:
        kind, index = event["type"], event["output_index"]
        if kind == "response.output_item.added":
            assert index == len(self.done) + len(self.open), event
            assert event["item"].get("status", "in_progress") == "in_progress", event
            assert not event["item"].get("content") and not event["item"].get("summary"), event
            self.open[index] = event["item"]
        elif kind == "response.output_item.done":
            self._item_done(event, index)
        else:
            self._inside(kind, event, index)

    def _item_done(self, event: Event, index: int) -> None:
        began, item = self.open.pop(index), event["item"]
        assert (began["id"], began["type"]) == (item["id"], item["type"])
        assert not [place for place in self.parts if place[0] == index], f"a part is open: {event}"
        if item["type"] == "function_call":
            assert self.texts[index, "arguments", 0] == item["arguments"], event
            assert (began["name"], began["call_id"]) == (item["name"], item["call_id"])
            assert began["arguments"] == ""
        self.done[index] = item

    def _inside(self, kind: str, event: Event, index: int) -> None:
        assert event["item_id"] == self.open[index]["id"], event
        summary = "summary_index" in event
        where = "summary" if summary else "arguments" if "arguments" in kind else "content"
        place = (index, where, event.get("summary_index", event.get("content_index", 0)))
        if kind.endswith("_part.added"):
            known = [each for each in self.texts if each[:2] == place[:2]]
            assert place[2] == len(known), f"indices are contiguous: {event}"
            assert event["part"][_TEXTS[event["part"]["type"]]] == "", event
            self.parts[place], self.texts[place] = event["part"], ""
        elif kind.endswith("_part.done"):
            began = self.parts.pop(place)
            assert began["type"] == event["part"]["type"]
            assert event["part"][_TEXTS[began["type"]]] == self.texts[place], event
        elif kind.endswith(".delta"):
            assert where == "arguments" or place in self.parts, event
            self.texts[place] = self.texts.get(place, "") + event["delta"]
        elif kind.endswith("annotation.added"):
            assert event["annotation_index"] == len(self.parts[place].setdefault("told", [])), event
            self.parts[place]["told"].append(event["annotation"])
        else:
            assert kind.endswith(".done"), event
            said = event.get("text", event.get("refusal", event.get("arguments")))
            assert said == self.texts.get(place, ""), event
            self.texts.setdefault(place, "")


# -- anthropic-messages


def check_messages(raw: bytes, sequential: bool = True) -> None:
    """https://docs.anthropic.com/en/docs/build-with-claude/streaming"""
    found = frames(raw)
    events = [json.loads(data) for _, data in found]
    assert [name for name, _ in found] == [event["type"] for event in events]
    events = [event for event in events if event["type"] != "ping"]
    message = events[0]["message"]
    assert events[0]["type"] == "message_start" and message["content"] == [] and message["id"]
    assert message["role"] == "assistant" and message["stop_reason"] is None and message["usage"]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] and events[-2]["usage"]["output_tokens"] is not None
    blocks: dict[int, Any] = {}
    ids: list[str] = []
    begun = 0
    for event in events[1:-2]:
        index = event["index"]
        if event["type"] == "content_block_start":
            assert index == begun, f"indices are contiguous: {event}"
            assert not (sequential and blocks), f"the block before it is open: {event}"
            begun += 1
            blocks[index] = {**event["content_block"], "deltas": []}
            _empty(event["content_block"], ids)
        elif event["type"] == "content_block_delta":
            blocks[index]["deltas"].append(event["delta"])
        else:
            assert event["type"] == "content_block_stop", event
            _whole(blocks.pop(index))
    assert not blocks, f"never stopped: {blocks}"
    assert len(set(ids)) == len(ids)


def _empty(block: Event, ids: list[str]) -> None:
    """A block begins with nothing said."""
    match block["type"]:
        case "text":
            assert block["text"] == ""
        case "thinking":
            assert block["thinking"] == "" and block["signature"] == ""
        case "tool_use":
            assert block["input"] == {} and block["id"] and block["name"]
            ids.append(block["id"])
        case kind:
            assert kind == "redacted_thinking" and block["data"], block


_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "redacted_thinking": set(),
}


def _whole(block: Event) -> None:
    kinds = [delta["type"] for delta in block["deltas"]]
    assert set(kinds) <= _DELTAS[block["type"]], block
    if block["type"] == "thinking":
        assert kinds.count("signature_delta") == 1 and kinds[-1] == "signature_delta", block
    if block["type"] == "tool_use":
        text = "".join(delta["partial_json"] for delta in block["deltas"])
        assert isinstance(json.loads(text or "{}"), dict), block
