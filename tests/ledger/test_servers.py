"""The servers of the tests: killed and started again they are there with what they promise."""

from __future__ import annotations

import urllib.parse

import psycopg
from support.servers import Postgres, Redis


def test_a_killed_postgres_has_what_was_committed(postgres: Postgres) -> None:
    url = postgres.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    open_one = psycopg.connect(url)
    open_one.execute("INSERT INTO kept VALUES (8)")
    postgres.kill()
    postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


def test_a_killed_redis_is_back_at_the_same_place(redis: Redis) -> None:
    where = redis.url, redis.unix_url
    redis.kill()
    redis.start()
    assert (redis.url, redis.unix_url) == where
    assert urllib.parse.urlsplit(redis.url).port == redis.port
