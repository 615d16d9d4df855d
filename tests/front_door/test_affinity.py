"""Conversations stay at one member, over two brokers that share nothing but their configuration."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, asks, call_all, make
from support.sdks import anthropic_sdk, openai_sdk
from support.simulators import Simulators
from support.splits import assert_split
from support.waiting import wait_until

WEIGHTS = {"a": 70, "b": 25, "c": 5}
SESSIONS = 1_000
TURNS = 3


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*WEIGHTS, "later") as simulators:
        yield simulators


def config(sims: Simulators) -> dict[str, Any]:
    members = [{"provider": name, "model": "m", "weight": weight} for name, weight in WEIGHTS.items()]
    later = {"provider": "later", "model": "m", "priority": 1}
    out = {"consecutive_errors": 1, "base": "500ms", "max": "500ms", "ramp": "1ms"}
    pools = {
        "session": {"affinity": "session"},
        "own-header": {"affinity": {"by": "session", "header": "x-my-session"}},
        "user": {"affinity": "user"},
        "prefix": {"affinity": "prefix"},
        "failing": {"affinity": "session", "members": [*members, later], "ejection": out},
    }
    return {
        "providers": [provider(sim.name, sim.port, "openai-chat", "/v1") for sim in sims],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": name, "failover": "up to 3", "members": members, **fields}
            for name, fields in pools.items()
        ],
    }


@pytest.fixture(scope="module")
def brokers(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Broker]]:
    folder: Path = tmp_path_factory.mktemp("brokers")
    with Broker(folder / "one", config(sims)) as one, Broker(folder / "two", config(sims)) as two:
        yield one, two


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


@dataclass(frozen=True)
class Session:
    """One conversation of an agent, as that agent names it."""

    number: int
    pool: str = "session"

    @property
    def name(self) -> str:
        return f"5e551011-0000-4000-8000-{self.number:012}"

    def ask(self, turn: int) -> Ask:
        """Its calls are of one dialect; every other one is a stream."""
        kinds = (self.opencode, self.chat, self.codex, self.old_codex, self.claude_code)
        dialect, headers, more = kinds[self.number % len(kinds)]()
        return Ask(self.pool, dialect, stream=turn % 2 == 1, headers=headers, more=more)

    def opencode(self) -> tuple[str, Mapping[str, str], Mapping[str, Any]]:
        return "openai-chat", {"X-Session-Id": self.name, "x-session-affinity": self.name}, {}

    def chat(self) -> tuple[str, Mapping[str, str], Mapping[str, Any]]:
        return "openai-chat", {}, {"prompt_cache_key": self.name}

    def codex(self) -> tuple[str, Mapping[str, str], Mapping[str, Any]]:
        return "openai-responses", {"session-id": self.name}, {"prompt_cache_key": self.name}

    def old_codex(self) -> tuple[str, Mapping[str, str], Mapping[str, Any]]:
        return "openai-responses", {"session_id": self.name}, {}

    def claude_code(self) -> tuple[str, Mapping[str, str], Mapping[str, Any]]:
        ids = {"device_id": "d", "account_uuid": "u", "session_id": self.name}
        return "anthropic-messages", {}, {"metadata": {"user_id": json.dumps(ids)}}


def turns(brokers: tuple[Broker, Broker], sessions: list[Session], count: int) -> dict[int, list[str]]:
    """Session → the providers of its turns. Turns go to one broker and the other."""
    calls = [(session, turn) for turn in range(count) for session in sessions]

    async def both() -> list[tuple[int, Got]]:
        halves = [[each for each in calls if sum_of(each) % 2 == place] for place in range(2)]
        waiting = [
            call_all(broker.url, [session.ask(turn) for session, turn in half], parallel=20)
            for broker, half in zip(brokers, halves, strict=True)
        ]
        got = await asyncio.gather(*waiting)
        return [
            (session.number, one)
            for half, found in zip(halves, got, strict=True)
            for (session, _), one in zip(half, found, strict=True)
        ]

    found: dict[int, list[str]] = {}
    for number, got in asyncio.run(both()):
        assert got.is_whole, str(got)
        found.setdefault(number, []).append(provider_of(got))
    return found


def sum_of(call: tuple[Session, int]) -> int:
    return call[0].number + call[1]


def provider_of(got: Got) -> str:
    return got.member.partition("/")[0]


def owners(found: Mapping[int, Iterable[str]]) -> dict[int, str]:
    """Session → the one provider that it had."""
    assert {number: set(names) for number, names in found.items() if len(set(names)) > 1} == {}
    return {number: next(iter(names)) for number, names in found.items()}


def test_a_thousand_sessions_stay_at_their_members(brokers: tuple[Broker, Broker]) -> None:
    found = turns(brokers, [Session(number) for number in range(SESSIONS)], TURNS)
    assert {len(names) for names in found.values()} == {TURNS}
    assert_split(SESSIONS, Counter(owners(found).values()), WEIGHTS)


def test_calls_without_a_session_go_by_weight(brokers: tuple[Broker, Broker]) -> None:
    got = make(brokers[0].url, asks(500, "session"))
    assert_split(500, Counter(provider_of(each) for each in got if each.is_whole), WEIGHTS)


def test_sessions_of_a_member_that_fails_move_and_come_back(
    brokers: tuple[Broker, Broker], sims: Simulators
) -> None:
    sessions = [Session(number, "failing") for number in range(60)]
    before = owners(turns(brokers, sessions, 1))
    assert set(before.values()) == set(WEIGHTS)

    sims["a"].script(faults=[{"status": 500}])
    during = turns(brokers, sessions, 4)
    for number, names in during.items():
        if before[number] == "a":
            assert set(names) <= {"b", "c"}, names  # by weight, and not at the next priority
        else:
            assert set(names) == {before[number]}
    # Those that moved belong to another member just as well, whichever broker they come to.
    moved = {number: names[1:] for number, names in during.items() if before[number] == "a"}
    assert len(set(owners(moved).values())) == 2

    sims["a"].script()

    def are_back() -> bool:
        now = owners_now(brokers, sessions)
        assert {n: name for n, name in now.items() if before[n] != "a" and name != before[n]} == {}
        return now == before

    wait_until(are_back)
    assert owners(turns(brokers, sessions, 2)) == before


def owners_now(brokers: tuple[Broker, Broker], sessions: list[Session]) -> dict[int, str]:
    """The last provider of each session, which may differ between the brokers for the moment."""
    return {number: names[-1] for number, names in turns(brokers, sessions, 1).items()}


def test_an_operators_own_header_comes_first(brokers: tuple[Broker, Broker]) -> None:
    def calls(session: str) -> list[Ask]:
        return [
            Ask("own-header", headers={"x-my-session": session, "x-session-id": f"other {turn}"})
            for turn in range(3)
        ]

    found = {}
    for number in range(20):
        names = {provider_of(got) for broker in brokers for got in make(broker.url, calls(f"s{number}"), 3)}
        assert len(names) == 1
        found[number] = names.pop()
    assert len(set(found.values())) > 1


def test_users_stay_whatever_dialect_they_speak(brokers: tuple[Broker, Broker]) -> None:
    found = set()
    for number in range(20):
        name = f"user-{number}"
        calls = [
            Ask("user", more={"user": name}),
            Ask("user", "openai-responses", more={"safety_identifier": name}),
            Ask("user", "anthropic-messages", more={"metadata": {"user_id": name}}),
        ]
        names = {provider_of(got) for broker in brokers for got in make(broker.url, calls, 3)}
        assert len(names) == 1
        found |= names
    assert len(found) > 1


class Talk:
    """A conversation by an official SDK: each turn sends all that was said so far, and goes to the next
    broker."""

    def __init__(self, brokers: tuple[Broker, Broker], begin: str) -> None:
        self._urls = [broker.url for broker in brokers]
        self.said: list[Any] = [{"role": "user", "content": begin}]
        self.members: list[str] = []

    def run(self) -> str:
        """The provider that all of its turns had."""
        for turn in range(3):
            text, headers = self.turn(self._urls[turn % 2])
            assert text
            self.members.append(headers["x-broker-member"].partition("/")[0])
            self.said += [{"role": "assistant", "content": text}, {"role": "user", "content": f"more {turn}"}]
        assert len(set(self.members)) == 1, self.members
        return self.members[0]

    def turn(self, url: str) -> tuple[str, Mapping[str, str]]:
        raise NotImplementedError


class Chat(Talk):
    def turn(self, url: str) -> tuple[str, Mapping[str, str]]:
        with openai_sdk(url) as sdk:
            system: Any = {"role": "system", "content": "Be brief."}
            raw = sdk.chat.completions.with_raw_response.create(
                model="prefix", messages=[system, *self.said], tools=TOOLS
            )
            return raw.parse().choices[0].message.content or "", raw.headers


class Responses(Talk):
    """Its first turn is a text, the later ones are lists of items, as in OpenAI's own examples."""

    def turn(self, url: str) -> tuple[str, Mapping[str, str]]:
        with openai_sdk(url) as sdk:
            asked: Any = self.said if len(self.said) > 1 else self.said[0]["content"]
            raw = sdk.responses.with_raw_response.create(
                model="prefix", instructions="Be brief.", input=asked, store=False
            )
            return raw.parse().output_text, raw.headers


class Messages(Talk):
    """The newest message has the mark where the cache is to end."""

    def turn(self, url: str) -> tuple[str, Mapping[str, str]]:
        *earlier, newest = self.said
        mark: anthropic.types.CacheControlEphemeralParam = {"type": "ephemeral"}
        marked: Any = [{"type": "text", "text": newest["content"], "cache_control": mark}]
        with anthropic_sdk(url) as sdk:
            raw = sdk.messages.with_raw_response.create(
                model="prefix",
                max_tokens=100,
                system=[{"type": "text", "text": "Be brief.", "cache_control": mark}],
                messages=[*earlier, {"role": "user", "content": marked}],
            )
            (block,) = raw.parse().content
            return getattr(block, "text", ""), raw.headers


TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize("talk", [Chat, Responses, Messages])
def test_turns_with_the_same_beginning_stay_together(
    brokers: tuple[Broker, Broker], sims: Simulators, talk: type[Talk]
) -> None:
    """Nobody names a session; conversations that begin otherwise are spread, though all have the same system
    prompt."""
    found = Counter(talk(brokers, f"Conversation {number}").run() for number in range(20))
    assert len(found) > 1
    assert found.most_common(1)[0][0] == "a"
