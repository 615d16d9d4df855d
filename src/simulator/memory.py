"""What a provider remembers between calls: the responses it stored, and the tool calls it made unthinking.

Bounded: the oldest go first. It outlives scripts, as a provider's memory outlives its moods.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from .answers import Answer
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
        self._items: dict[str, str] = {}  # item id → the reasoning item that came with it, or ""
        self._plain: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0

    def continued(self, call: Call, strict: bool) -> Call:
        """The call with the conversation that it goes on with in its `input`; itself where it begins one.

        Raises Refusal when its `previous_response_id` is of no stored response, if that is to be `strict`.
        """
        previous = call.fields.get("previous_response_id")
        if previous is None:
            return call
        stored = self._responses.get(previous) if isinstance(previous, str) else None
        if stored is None and not strict:
            return call
        if stored is None:
            message = f"Previous response with id '{previous}' not found."
            raise Refusal(400, message, "previous_response_id", "previous_response_not_found")
        earlier = [*stored.items, *stored.output]
        return replace(call, data={**call.fields, "input": earlier + input_items(call.fields.get("input"))})

    def store(self, call: Call, body: dict[str, Any]) -> None:
        """Keeps a response unless its request forbids it; `call` is as `continued` gave it."""
        if call.fields.get("store") is False:
            return
        output = tuple(body["output"])
        stored = Stored(tuple(input_items(call.fields.get("input"))), output, len(call.body))
        self._responses[body["id"]] = stored
        self._bytes += stored.size
        thought = next((item["id"] for item in output if item["type"] == "reasoning"), "")
        self._items.update({item["id"]: thought for item in output})
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
        return self._items.get(ident, "")

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


def input_items(given: Any) -> list[Any]:
    """The input of a Responses request as a list of items."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return list(given) if isinstance(given, list) else []
