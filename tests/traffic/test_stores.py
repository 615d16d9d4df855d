"""What every store of samples promises."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Sequence

import pytest
from modelbroker.core.errors import Misconfigured
from modelbroker.core.ids import request_id_of
from modelbroker.core.traffic import Sample
from modelbroker.traffic.sealing import Sealer, key_id, read_key
from modelbroker.traffic.stores import open_store

AT_S = 1_790_000_000.0
KEY, OLD = b"k" * 32, b"o" * 32


def samples(count: int, *, every_s: float = 60, seed: int = 1) -> list[Sample]:
    lots = random.Random(seed)
    made = []
    for number in range(count):
        at_s = AT_S + number * every_s
        made.append(
            Sample(
                request_id_of(int(at_s * 1000), lots.randbytes(10)),
                at_s,
                dialect="openai-chat",
                model="pool-a",
                pool=f"pool-{number % 3}",
                member="openai/gpt-5",
                stream=number % 2 == 0,
                status=(200 if number % 5 else 529) if number % 7 else None,
                team="sales" if number % 4 else "",
                request=b'{"messages":[{"content":"canary-%d"}]}' % number,
                reply=b"data: {}\n\n" if number % 3 else None,
                redacted=("email",) if number % 2 else (),
                cut="" if number % 7 else "ended",
            )
        )
    return made


def ids(found: Sequence[Sample]) -> list[str]:
    return [sample.request_id for sample in found]


def test_many_open_a_new_one_at_once(url: str) -> None:
    failed: list[Exception] = []

    def opened() -> None:
        try:
            open_store(url, [KEY]).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with open_store(url, [KEY]) as store:
        assert store.put(samples(1)) == 1


def test_what_was_put_is_read_in_the_order_of_time(url: str) -> None:
    all_of_them = samples(450, every_s=400)
    with open_store(url, [KEY]) as store:
        assert store.put(all_of_them[200:]) == 250
        store.put(all_of_them[:230])  # some of them again
        assert list(store.read()) == all_of_them
        inside = [one for one in all_of_them if AT_S + 5_000 <= one.at_s < AT_S + 50_000]
        assert list(store.read(AT_S + 5_000, AT_S + 50_000)) == inside
        assert list(store.read(limit=7)) == all_of_them[:7]
        sales = {"team": ["sales"], "stream": ["true"], "status": ["200"], "pool": ["pool-1", "pool-2"]}
        chosen = [
            one
            for one in all_of_them
            if one.team == "sales" and one.stream and one.status == 200 and one.pool != "pool-0"
        ]
        assert list(store.read(where=sales)) == chosen and chosen
        # What is not known is no number.
        for asked, status in (("unknown", None), ("529", 529), ("0", 0), ("9" * 30, 0)):
            of_status = [one for one in all_of_them if one.status == status]
            assert list(store.read(where={"status": [asked]})) == of_status


def test_a_pools_calls_are_also_those_of_its_candidates(url: str) -> None:
    names = ("a", "a~openai/gpt-5-mini", "A~x/y", "ab", "ab~x/y", "b~a/a", "")
    all_of_them = [
        dataclasses.replace(sample, pool=name)
        for sample, name in zip(samples(len(names)), names, strict=True)
    ]
    with open_store(url, [KEY]) as store:
        store.put(all_of_them)
        for asked, meant in (
            (["a"], {"a", "a~openai/gpt-5-mini"}),
            (["a", "ab"], {"a", "a~openai/gpt-5-mini", "ab", "ab~x/y"}),
            (["a~openai/gpt-5-mini"], {"a~openai/gpt-5-mini"}),
            (["b"], {"b~a/a"}),
            ([""], {""}),
            (["a%"], set()),
        ):
            assert {sample.pool for sample in store.read(where={"pool": asked})} == meant
            assert store.stats(where={"pool": asked}).samples == len(meant)


def test_a_draw_is_the_same_again_and_takes_from_everywhere(url: str) -> None:
    all_of_them = samples(300)
    with open_store(url) as store:
        store.put(all_of_them)
        drawn = list(store.read(limit=40, seed="a"))
        assert len(drawn) == 40 and drawn == list(store.read(limit=40, seed="a"))
        assert drawn == sorted(drawn, key=lambda one: one.at_s)
        assert ids(drawn) != ids(list(store.read(limit=40, seed="b")))
        thirds = [sum(one.at_s < AT_S + 60 * end for one in drawn) for end in (100, 200)]
        assert 3 <= thirds[0] <= 27 and thirds[0] < thirds[1] < 40
        # A larger one takes the smaller one in: whoever goes on has lost nothing.
        assert set(ids(drawn)) < set(ids(list(store.read(limit=80, seed="a"))))


def test_statistics(url: str) -> None:
    with open_store(url, [KEY]) as store:
        assert store.stats().samples == 0 and store.stats().first_s is None
        store.put(samples(30))
        stats = store.stats()
        assert (stats.samples, stats.first_s, stats.last_s) == (30, AT_S, AT_S + 29 * 60)
        assert stats.bytes > 30 * 40
        assert stats.by["pool"] == {"pool-0": 10, "pool-1": 10, "pool-2": 10}
        assert stats.by["status"] == {"200": 20, "529": 5, "unknown": 5} and stats.by["key"] == {
            key_id(KEY): 30
        }
        assert store.stats(AT_S, AT_S + 600, {"pool": ["pool-1"]}).samples == 3


def test_what_is_too_old_or_too_much_goes(url: str) -> None:
    all_of_them = samples(60, every_s=86_400 / 10)
    with open_store(url) as store:
        for begin in range(0, 60, 10):
            store.put(all_of_them[begin : begin + 10])
        assert store.expire(AT_S - 1) == 0
        store.expire(AT_S + 3 * 86_400)
        left = list(store.read())
        assert left and left[0].at_s >= AT_S + 2 * 86_400 and left[-1] == all_of_them[-1]
        size = store.stats().bytes
        assert store.expire(0, most_bytes=size // 2) > 0
        assert 0 < store.stats().samples < len(left) and list(store.read())[-1] == all_of_them[-1]
        assert store.stats().bytes <= size // 2 * 1.1


def test_a_key_is_changed_and_old_bodies_are_still_read(url: str) -> None:
    first, second = samples(3), samples(6)[3:]
    with open_store(url, [OLD]) as store:
        store.put(first)
    with open_store(url, [KEY, OLD]) as store:
        store.put(second)
        assert list(store.read()) == first + second
        assert store.stats().by["key"] == {key_id(OLD): 3, key_id(KEY): 3}
    with open_store(url, [KEY]) as store, pytest.raises(Misconfigured, match=key_id(OLD)):
        list(store.read())
    with open_store(url) as store, pytest.raises(Misconfigured, match="old_keys"):
        list(store.read())


def test_a_body_is_bound_to_its_call() -> None:
    sealer = Sealer([KEY])
    sealed = sealer.seal(b"text", "a", "request")
    assert b"text" not in sealed and sealer.open(sealed, "a", "request") == b"text"
    for call, name in (("b", "request"), ("a", "reply")):
        with pytest.raises(Misconfigured, match="was changed"):
            sealer.open(sealed, call, name)
    with pytest.raises(Misconfigured, match="was changed"):
        sealer.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), "a", "request")


def test_keys_as_people_write_them() -> None:
    assert read_key("6b" * 32) == KEY and read_key(" a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=\n") == KEY
    for wrong in ("", "6b" * 31, "secret", "a2tr"):
        with pytest.raises(ValueError, match="openssl rand"):
            read_key(wrong)


def test_there_has_to_be_a_store(tmp_path: object) -> None:
    with pytest.raises(Misconfigured, match="there is no store of traffic"):
        open_store(f"sqlite:///{tmp_path}/none.db", creates=False)
    with pytest.raises(Misconfigured, match="names no bucket"):
        open_store("s3://key:secret@bucket/x")
    with pytest.raises(Misconfigured, match="URL is none"):
        open_store("mysql://x")


def test_what_one_puts_another_one_reads(url: str) -> None:
    with open_store(url) as one, open_store(url) as other:
        one.put(samples(1))
        assert dataclasses.replace(samples(1)[0]) == next(iter(other.read()))
