"""Random edits of a configuration, each with what a call has to show afterwards."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .broker import KEY, KEY_SHA256
from .simulators import Simulators

Config = dict[str, Any]
SMALL, LARGE = 64 * 1024, 256 * 1024  # bytes: limits.request_bytes goes between them


@dataclass(frozen=True, slots=True)
class Probe:
    """A call, and what it has to show."""

    pool: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    caller_key: str = KEY
    size: int = 0
    shows: dict[str, str] = field(default_factory=dict)  # reply header → value
    provider_key: tuple[str, str] | None = None  # (simulator, the key that it must have got)
    arrives_at: str = ""  # simulator
    times: int = 1
    is_soon: bool = False  # not by the first call: Envoy ejects on another thread than the one that answers


@dataclass(frozen=True, slots=True)
class Edit:
    kind: str
    config: Config | None  # None: nothing of the configuration itself
    probes: tuple[Probe, ...]
    before: Callable[[], None] = lambda: None


class Edits:
    """`next(kind)` makes the next edit of a kind; every kind can be made at any time, in any order."""

    def __init__(self, sims: Simulators, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self._sims = sims
        self._number = 0
        self._key_file = folder / "provider.key"
        self._key_file.write_text("key-0\n")
        self.environ = {"KEY_ONE": "value-one", "KEY_TWO": "value-two"}
        self.config = self._first()
        self.kinds: dict[str, Callable[[Config], tuple[Probe, ...]]] = {
            "weights": self._weights,
            "priorities": self._priorities,
            "rules": self._rules,
            "members": self._members,
            "members-under-retry": self._members_under_retry,
            "only-member": self._only_member,
            "pools": self._pools,
            "aliases": self._aliases,
            "callers": self._callers,
            "base-url": self._base_url,
            "credential-reference": self._credential_reference,
            "credential-file": self._credential_file,
            "ejection": self._ejection,
            "request-bytes": self._request_bytes,
            "other-limits": self._other_limits,
        }

    def _first(self) -> Config:
        def provider(name: str, at: str, dialect: str = "openai-chat", **more: Any) -> Config:
            url = f"http://127.0.0.1:{self._sims[at].port}"
            entry = {"name": name, "dialect": dialect, "base_url": url, "credential": {"env": "KEY_ONE"}}
            return {**entry, "auth": "x-api-key" if "anthropic" in dialect else "bearer", **more}

        def members(*providers: str) -> list[Config]:
            return [{"provider": name, "model": f"model-of-{name}", "weight": 1} for name in providers]

        return {
            "providers": [
                provider("a", "a"),
                provider("b", "b"),
                provider("c", "c", "anthropic-messages"),
                provider("d", "d", "anthropic-messages"),
                provider("slow", "slow"),
                provider("failing", "failing"),
                provider("moving", "a"),
                provider("rotated", "rotated", credential={"file": str(self._key_file)}),
                provider("referenced", "rotated"),
            ],
            "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
            "pools": [
                {"name": "chat", "members": members("a", "b", "moving")},
                {"name": "messages", "members": members("c", "d")},
                {"name": "only", "members": members("a")},
                {"name": "long", "members": members("slow")},
                {"name": "rotating", "members": members("rotated")},
                {"name": "referencing", "members": members("referenced")},
                {"name": "relocating", "members": members("moving")},
                {
                    "name": "ejecting",
                    "members": [{**members("failing")[0], "weight": 1_000_000}, *members("a")],
                },
                # Each first attempt fails, some while after it was decided: it retries by an older decision.
                {
                    "name": "retrying",
                    "ejection": "off",
                    "members": [{**members("failing")[0], "weight": 100}, *members("a", "b")],
                },
            ],
            "rules": [],
            "facts": {"headers": {"task": "x-task"}},
            "limits": {"request_bytes": LARGE, "concurrency": 1000},
        }

    def next(self, kind: str) -> Edit:
        self._number += 1
        config = copy.deepcopy(self.config)
        self._before: Callable[[], None] = lambda: None
        probes = self.kinds[kind](config)
        if config == self.config:
            return Edit(kind, None, probes, self._before)
        self.config = config
        return Edit(kind, config, probes, self._before)

    def _pool(self, config: Config, name: str) -> Config:
        return next(pool for pool in config["pools"] if pool["name"] == name)

    # -- the kinds

    def _weights(self, config: Config) -> tuple[Probe, ...]:
        members = self._pool(config, "chat")["members"]
        chosen = self.random.choice(
            [m for m in members if m["weight"] != 1_000_000 and m.get("priority", 0) == 0]
        )
        for member in members:
            member["weight"] = self.random.choice([0, 1]) if member is not chosen else 1_000_000
        chosen_id = f"{chosen['provider']}/{chosen['model']}"
        return (Probe("chat", shows={"x-broker-member": chosen_id}),)

    def _priorities(self, config: Config) -> tuple[Probe, ...]:
        members = self._pool(config, "messages")["members"]
        first = members[0] if members[0].get("priority", 0) else members[1]
        for member in members:
            member["priority"] = 0 if member is first else self.random.randint(1, 3)
            member["weight"] = self.random.randint(1, 5)
        first_id = f"{first['provider']}/{first['model']}"
        return (Probe("messages", shows={"x-broker-member": first_id}, times=3),)

    def _rules(self, config: Config) -> tuple[Probe, ...]:
        rules, headers = config["rules"], {"x-task": f"t{self._number}"}
        what = self.random.choice(["add", "change", "remove", "deny"] if rules else ["add"])
        if what == "add":
            rules.append({"match": {"task": headers["x-task"]}, "pool": "only"})
            return (Probe("chat", headers=headers, shows={"x-broker-pool": "only"}),)
        rule = self.random.choice(rules)
        headers = {"x-task": rule["match"]["task"]}
        if what == "remove":
            rules.remove(rule)
            return (Probe("chat", headers=headers, shows={"x-broker-pool": "chat"}),)
        if what == "deny":
            rule.pop("pool", None)
            rule["deny"] = f"not now {self._number}"
            return (Probe("chat", 403, headers),)
        rule.pop("deny", None)
        rule["pool"] = "messages" if rule.get("pool") == "relocating" else "relocating"
        if rule["pool"] == "messages":  # its members speak another dialect: nobody can serve the call
            return (Probe("chat", 503, headers),)
        return (Probe("chat", headers=headers, shows={"x-broker-pool": "relocating"}),)

    def _members(self, config: Config) -> tuple[Probe, ...]:
        members = self._pool(config, "chat")["members"]
        extra = [member for member in members if member["model"].startswith("extra")]
        if extra and self.random.random() < 0.6:
            gone = self.random.choice(extra)
            members.remove(gone)
            if all(m["weight"] == 0 or m.get("priority") for m in members):
                members[0]["weight"] = 1
            return (Probe("chat", times=2),)
        for member in members:
            member["weight"] = min(member["weight"], 1)
        new = {"provider": self.random.choice("ab"), "model": f"extra-{self._number}", "weight": 1_000_000}
        members.insert(self.random.randint(0, len(members)), new)
        return (Probe("chat", shows={"x-broker-member": f"{new['provider']}/{new['model']}"}),)

    def _members_under_retry(self, config: Config) -> tuple[Probe, ...]:
        """Takes out members that calls under way may be about to retry on, and brings them back."""
        pool = self._pool(config, "retrying")
        failing, *others = pool["members"]
        if len(others) == 2:
            others.remove(self.random.choice(others))
        else:
            gone = "b" if others[0]["provider"] == "a" else "a"
            others = [*others, {"provider": gone, "model": f"model-of-{gone}-{self._number}", "weight": 1}]
        pool["members"] = [failing, *others]
        if len(others) == 1:
            only_id = f"{others[0]['provider']}/{others[0]['model']}"
            return (Probe("retrying", shows={"x-broker-member": only_id}),)
        return (Probe("retrying"),)

    def _only_member(self, config: Config) -> tuple[Probe, ...]:
        pool = self._pool(config, "only")
        provider = "b" if pool["members"][0]["provider"] == "a" else "a"
        pool["members"] = [{"provider": provider, "model": f"only-{self._number}"}]
        return (Probe("only", shows={"x-broker-member": f"{provider}/only-{self._number}"}),)

    def _pools(self, config: Config) -> tuple[Probe, ...]:
        extra = [pool for pool in config["pools"] if pool["name"].startswith("extra-")]
        if extra and self.random.random() < 0.5:
            gone = self.random.choice(extra)
            config["pools"].remove(gone)
            return (Probe(gone["name"], 404),)
        name = f"extra-{self._number}"
        config["pools"].append({"name": name, "members": [{"provider": "a", "model": name}]})
        return (Probe(name, shows={"x-broker-member": f"a/{name}"}),)

    def _aliases(self, config: Config) -> tuple[Probe, ...]:
        pool = self._pool(config, self.random.choice(["chat", "only"]))
        old, new = pool.get("aliases", []), [f"alias-{self._number}", f"glob-{self._number}-*"]
        pool["aliases"] = new
        seen = {"x-broker-pool": pool["name"]}
        probes = (Probe(new[0], shows=seen), Probe(f"glob-{self._number}-x", shows=seen))
        return (*probes, *(Probe(alias.replace("*", "x"), 404) for alias in old))

    def _callers(self, config: Config) -> tuple[Probe, ...]:
        guests = config["callers"][1:]
        if guests and self.random.random() < 0.5:
            gone = self.random.choice(guests)
            config["callers"].remove(gone)
            return (Probe("chat", 401, caller_key=f"key-of-{gone['name']}"), Probe("chat"))
        name = f"guest-{self._number}"
        digest = hashlib.sha256(f"key-of-{name}".encode()).hexdigest()
        config["callers"].append({"name": name, "key": {"sha256": digest}, "pools": ["chat"]})
        key = f"key-of-{name}"
        return (Probe("chat", caller_key=key), Probe("only", 403, caller_key=key))

    def _base_url(self, config: Config) -> tuple[Probe, ...]:
        provider = next(p for p in config["providers"] if p["name"] == "moving")
        target = self.random.choice("ab")
        host = "127.0.0.1" if "localhost" in provider["base_url"] else "localhost"
        provider["base_url"] = f"http://{host}:{self._sims[target].port}"
        return (Probe("relocating", arrives_at=target),)

    def _credential_reference(self, config: Config) -> tuple[Probe, ...]:
        provider = next(p for p in config["providers"] if p["name"] == "referenced")
        name = "KEY_TWO" if provider["credential"]["env"] == "KEY_ONE" else "KEY_ONE"
        provider["credential"] = {"env": name}
        return (Probe("referencing", provider_key=("rotated", self.environ[name])),)

    def _credential_file(self, config: Config) -> tuple[Probe, ...]:
        value = f"key-{self._number}"

        def rotate() -> None:
            fresh = self._key_file.with_suffix(".new")
            fresh.write_text(f"{value}\n")
            fresh.replace(self._key_file)

        self._before = rotate
        return (Probe("rotating", provider_key=("rotated", value)),)

    def _ejection(self, config: Config) -> tuple[Probe, ...]:
        pool = self._pool(config, "ejecting")
        if pool.get("ejection", "on") == "off":
            pool["ejection"] = {"consecutive_errors": 1, "base": f"{60 + self._number}s"}
            fails = Probe("ejecting", shows={"x-broker-attempts": "2"})
            return (fails, Probe("ejecting", shows={"x-broker-attempts": "1"}, is_soon=True))
        pool["ejection"] = "off"
        return (Probe("ejecting", shows={"x-broker-attempts": "2"}, times=3),)

    def _request_bytes(self, config: Config) -> tuple[Probe, ...]:
        limits = config["limits"]
        limits["request_bytes"] = SMALL if limits["request_bytes"] == LARGE else LARGE
        status = 413 if limits["request_bytes"] == SMALL else 200
        return (Probe("chat", status, size=(SMALL + LARGE) // 2), Probe("chat"))

    def _other_limits(self, config: Config) -> tuple[Probe, ...]:
        limits = config["limits"]
        limits[self.random.choice(["concurrency", "idle"])] = {}
        limits["concurrency"] = 1000 + self._number
        limits["idle"] = f"{600 + self.random.randint(0, 60)}s"
        return (Probe("chat"), Probe("only"), Probe("messages"))
