"""What a provider remembers between calls: the responses it stored, and the tool calls it made unthinking.

Bounded: the oldest go first. It outlives scripts, as a provider's memory outlives its moods.
"""

import fnmatch
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from .answers import Answer
from .reading import member
from .refusal import Refusal
from .requests import Call

_MOST_RESPONSES = 5_000
_MOST_BYTES = 64 * 1024 * 1024
_MOST_CALLS = 50_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored response: its conversation so far, and its own items' ids."""

    items: tuple[Any, ...]
    output: tuple[dict[str, Any], ...]
    size: int  # bytes of the requests that made it, about


class Memory:
    """The memory of one simulator."""

    def __init__(self) -> None:
        self._responses: OrderedDict[str, Stored] = OrderedDict()
        # Item id → (the reasoning item that came with it, or ""; the item).
        self._items: dict[str, tuple[str, dict[str, Any]]] = {}
        self._conversations: dict[str, list[Any]] = {}
        self._made: OrderedDict[str, None] = OrderedDict()
        self.owned: tuple[str, ...] = ()  # globs of ids that the script says are this account's
        self._plain: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0

    def continued(self, call: Call, strict: bool) -> Call:
        """The call with the conversation that it goes on with in its `input`, and with stored items in the
        places of references to them; itself where it begins one.

        Raises Refusal when it goes on from what is not stored here, if that is to be `strict`.
        """
        call = self._with_items(call, strict)
        previous = call.fields.get("previous_response_id")
        if previous is None:
            return self._in_conversation(call, strict)
        stored = self._responses.get(previous) if isinstance(previous, str) else None
        if stored is None and not strict:
            return call
        if stored is None:
            message = f"Previous response with id '{previous}' not found."
            raise Refusal(400, message, "previous_response_id", "previous_response_not_found")
        earlier = [*stored.items, *stored.output]
        return replace(call, data={**call.fields, "input": earlier + input_items(call.fields.get("input"))})

    def _in_conversation(self, call: Call, strict: bool) -> Call:
        ident = conversation_of(call)
        if ident is None:
            return call
        if strict and not self.owns(ident):
            message = f"Conversation with id '{ident}' not found."
            raise Refusal(404, message, None, "", "invalid_request_error")
        said = self._conversations.get(ident, [])
        return replace(call, data={**call.fields, "input": said + input_items(call.fields.get("input"))})

    def _with_items(self, call: Call, strict: bool) -> Call:
        given = call.fields.get("input")
        if not isinstance(given, list) or not any(_is_reference(item) for item in given):
            return call
        items = []
        for item in given:
            if _is_reference(item) and (strict or item["id"] in self._items):
                item = self._stored_item(item["id"])
            items.append(item)
        return replace(call, data={**call.fields, "input": items})

    def _stored_item(self, ident: str) -> dict[str, Any]:
        if ident not in self._items:
            message = (
                f"Item with id '{ident}' not found. Items are not persisted when `store` is set to false. "
                "Try again with `store` set to true, or remove this item from your input."
            )
            raise Refusal(404, message, "input", "", "invalid_request_error")
        return self._items[ident][1]

    def owns(self, ident: str) -> bool:
        """Whether a file, a container … of that id lives here."""
        return ident in self._made or any(fnmatch.fnmatchcase(ident, glob) for glob in self.owned)

    def note_made(self, value: Any) -> None:
        """Remembers the files and containers that a reply names, and its audio."""
        if isinstance(value, list):
            for inner in value:
                self.note_made(inner)
        elif isinstance(value, dict):
            named = [value.get("file_id"), value.get("container_id")]
            named += [member(value, key, "id") for key in ("audio", "container")]
            self._made.update((ident, None) for ident in named if isinstance(ident, str))
            for inner in value.values():
                self.note_made(inner)
        while len(self._made) > _MOST_CALLS:
            self._made.popitem(last=False)

    def store(self, call: Call, body: dict[str, Any]) -> None:
        """Keeps a response unless its request forbids it; `call` is as `continued` gave it."""
        conversation = conversation_of(call)
        if conversation is not None:
            self._conversations[conversation] = [*input_items(call.fields.get("input")), *body["output"]]
        if call.fields.get("store") is False:
            return
        output = tuple(body["output"])
        stored = Stored(tuple(input_items(call.fields.get("input"))), output, len(call.body))
        self._responses[body["id"]] = stored
        self._bytes += stored.size
        thought = next((item["id"] for item in output if item["type"] == "reasoning"), "")
        self._items.update({item["id"]: (thought, item) for item in output})
        while len(self._responses) > _MOST_RESPONSES or self._bytes > _MOST_BYTES:
            _, oldest = self._responses.popitem(last=False)
            self._bytes -= oldest.size
            for item in oldest.output:
                self._items.pop(item["id"], None)

    def has_item(self, ident: str) -> bool:
        """Whether an output item of that id is stored."""
        return ident in self._items

    def reasoning_of(self, ident: str) -> str:
        """The id of the reasoning that the stored item came with; empty when it had none."""
        return self._items.get(ident, ("", {}))[0]

    def note_plain(self, answer: Answer) -> None:
        """Remembers the tool calls of a turn that has no reasoning."""
        if answer.reasoning:
            return
        self._plain.update((tool.id, None) for tool in answer.tools)
        while len(self._plain) > _MOST_CALLS:
            self._plain.popitem(last=False)

    def made_plain(self, ident: Any) -> bool:
        """Whether this provider itself made that tool call in a turn without reasoning."""
        return isinstance(ident, str) and ident.rpartition("_")[2] in self._plain


def conversation_of(call: Call) -> str | None:
    """The id of the conversation that a Responses request goes on with."""
    given = call.fields.get("conversation")
    ident = given.get("id") if isinstance(given, dict) else given
    return ident if isinstance(ident, str) else None


def _is_reference(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return False
    return item.get("type") == "item_reference" or set(item) == {"id"}


def input_items(given: Any) -> list[Any]:
    """The input of a Responses request as a list of items."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return list(given) if isinstance(given, list) else []
