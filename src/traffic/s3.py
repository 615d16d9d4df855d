"""Samples in an S3-compatible store: an object a batch, named by what is in it.

`PREFIX/2026-11-29/FIRST-LAST-COUNT-HASH.jsonl`: the UTC day, the first and last call's time in unix
milliseconds, how many there are, and a hash of their ids: the same batch written twice is one object. A line
is a sample; its bodies are sealed, in base64. A batch of two days is two objects.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import heapq
import importlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ..core.traffic import Sample, Where, has, told
from .drawing import lot_of
from .place import Bucket, bucket_of, place_of
from .sealing import Sealer
from .store import END_OF_TIME_S, NO_FILTER, Stats, StoreError

_NAME = re.compile(r".*?([0-9]{4}-[0-9]{2}-[0-9]{2})/([0-9]{13})-([0-9]{13})-([0-9]+)-[0-9a-f]{16}\.jsonl")
_TIMEOUT_S = 10
_DELETED_AT_ONCE = 1_000
_BODIES = ("request", "reply")


class _Object(NamedTuple):
    key: str
    first_ms: int
    last_ms: int
    samples: int
    size: int


class _Line(NamedTuple):
    """A sample whose bodies are still sealed."""

    at_s: float
    request_id: str
    fields: Mapping[str, Any]
    size: int


class S3Store:
    def __init__(self, url: str, keys: Sequence[bytes] = (), *, creates: bool = True) -> None:
        self.place = place_of(url)
        self._bucket = bucket_of(url)
        self._sealer = Sealer(keys)
        self._client = _client(self._bucket)
        with _told():
            self._client.list_objects_v2(Bucket=self._bucket.name, Prefix=self._bucket.prefix, MaxKeys=1)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> S3Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, samples: Sequence[Sample]) -> int:
        days: dict[str, list[Sample]] = {}
        for sample in samples:
            days.setdefault(_day(sample.at_s), []).append(sample)
        for day, those in days.items():
            self._put(day, sorted(those, key=lambda one: (one.at_s, one.request_id)))
        return len(samples)

    def _put(self, day: str, samples: Sequence[Sample]) -> None:
        ids = hashlib.sha256("\n".join(sample.request_id for sample in samples).encode()).hexdigest()[:16]
        first, last = (int(sample.at_s * 1000) for sample in (samples[0], samples[-1]))
        name = f"{self._bucket.prefix}{day}/{first:013d}-{last:013d}-{len(samples)}-{ids}.jsonl"
        body = b"".join(self._line(sample) for sample in samples)
        with _told():
            self._client.put_object(Bucket=self._bucket.name, Key=name, Body=body)

    def read(
        self,
        since_s: float = 0,
        until_s: float = END_OF_TIME_S,
        where: Where = NO_FILTER,
        limit: int | None = None,
        seed: str | None = None,
    ) -> Iterator[Sample]:
        lines: Iterator[_Line] = self._lines(self._objects(since_s, until_s), since_s, until_s, where)
        if limit is not None and seed is not None:
            # Two readings, so that no more than the ids of all of them are held.
            lots = ((lot_of(seed, line.request_id), line.request_id) for line in lines)
            drawn = {ident for _, ident in heapq.nsmallest(limit, lots)}
            again = self._lines(self._objects(since_s, until_s), since_s, until_s, where)
            lines = (line for line in again if line.request_id in drawn)
        for number, line in enumerate(lines):
            if limit is not None and number >= limit:
                return
            yield self._sample(line)

    def stats(self, since_s: float = 0, until_s: float = END_OF_TIME_S, where: Where = NO_FILTER) -> Stats:
        count = size = 0
        first: float | None = None
        last: float | None = None
        by: dict[str, Counter[str]] = {name: Counter() for name in _BY}
        for line in self._lines(self._objects(since_s, until_s), since_s, until_s, where):
            count, size = count + 1, size + line.size
            first, last = line.at_s if first is None else first, line.at_s
            for name, counter in by.items():
                counter[told(line.fields[name])] += 1
        return Stats(count, size, first, last, {name: dict(counter) for name, counter in by.items()})

    def expire(self, before_s: float, most_bytes: int = 0) -> int:
        """Whole objects go: one that has a newer call stays until that is as old."""
        objects = list(self._objects(0, END_OF_TIME_S))
        old = [one for one in objects if one.last_ms < before_s * 1000]
        left = [one for one in objects if one.last_ms >= before_s * 1000]
        size = sum(one.size for one in left)
        for one in left:
            if not most_bytes or size <= most_bytes:
                break
            old.append(one)
            size -= one.size
        for begin in range(0, len(old), _DELETED_AT_ONCE):
            keys = [{"Key": one.key} for one in old[begin : begin + _DELETED_AT_ONCE]]
            with _told():
                self._client.delete_objects(Bucket=self._bucket.name, Delete={"Objects": keys, "Quiet": True})
        return sum(one.samples for one in old)

    # -- inside

    def _objects(self, since_s: float, until_s: float) -> Iterator[_Object]:
        """In the order of their days and first calls."""
        prefix = self._bucket.prefix
        options = {"Bucket": self._bucket.name, "Prefix": prefix, "StartAfter": prefix + _day(since_s)}
        with _told():
            for page in self._client.get_paginator("list_objects_v2").paginate(**options):
                for told_of in page.get("Contents", ()):
                    found = _NAME.fullmatch(told_of["Key"])
                    if found is None:
                        continue
                    one = _Object(found[0], int(found[2]), int(found[3]), int(found[4]), told_of["Size"])
                    if one.first_ms >= until_s * 1000:
                        return
                    if one.last_ms + 1 > since_s * 1000:
                        yield one

    def _lines(
        self, objects: Iterator[_Object], since_s: float, until_s: float, where: Where
    ) -> Iterator[_Line]:
        """In the order of time: brokers' objects overlap, and of each call there is one line."""
        waiting: list[tuple[float, str, int, _Line]] = []
        number, said = 0, ""
        for one in objects:
            while waiting and waiting[0][0] * 1000 < one.first_ms:
                line = heapq.heappop(waiting)[3]
                if line.request_id != said:
                    yield line
                said = line.request_id
            for line in self._get(one):
                sample = line.fields
                is_in = since_s <= line.at_s < until_s
                if is_in and all(has(name, sample[name], values) for name, values in where.items()):
                    number += 1
                    heapq.heappush(waiting, (line.at_s, line.request_id, number, line))
        while waiting:
            line = heapq.heappop(waiting)[3]
            if line.request_id != said:
                yield line
            said = line.request_id

    def _get(self, one: _Object) -> Iterator[_Line]:
        with _told():
            try:
                body = self._client.get_object(Bucket=self._bucket.name, Key=one.key)["Body"].read()
            except self._client.exceptions.NoSuchKey:  # too old by now
                return
        for text in body.splitlines():
            fields = msgspec.json.decode(text)
            fields["status"] = fields["status"] or None  # 0 in what older brokers wrote
            yield _Line(fields["at_s"], fields["request_id"], fields, len(text))

    def _line(self, sample: Sample) -> bytes:
        fields = {name: getattr(sample, name) for name in Sample.__slots__ if name not in _BODIES}
        for name in _BODIES:
            body = getattr(sample, name)
            if body is not None:
                fields[name] = base64.b64encode(self._sealer.seal(body, sample.request_id, name)).decode()
        fields["key"] = self._sealer.key
        return msgspec.json.encode(fields) + b"\n"

    def _sample(self, line: _Line) -> Sample:
        fields = dict(line.fields)
        fields.pop("key", None)
        for name in _BODIES:
            if (body := fields.get(name)) is not None:
                fields[name] = self._sealer.open(base64.b64decode(body), line.request_id, name)
        fields["redacted"] = tuple(fields["redacted"])
        return Sample(**fields)


_BY = ("purpose", "pool", "dialect", "model", "status", "key")


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(max(0.0, at_s)))


def _client(bucket: Bucket) -> Any:
    boto3 = importlib.import_module("boto3")
    config = importlib.import_module("botocore.config").Config(
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        retries={"max_attempts": 2, "mode": "standard"},
        s3={"addressing_style": "path"} if bucket.endpoint else {},
    )
    with _told():
        session = boto3.Session(profile_name=bucket.profile or None, region_name=bucket.region or None)
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=bucket.endpoint or None, region_name=region, config=config)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    errors = importlib.import_module("botocore.exceptions")
    try:
        yield
    except (errors.BotoCoreError, errors.ClientError) as error:
        raise StoreError(" ".join(str(error).split())[:300]) from None
