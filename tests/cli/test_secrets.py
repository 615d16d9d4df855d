"""Where credentials come from, and what is said of those that are missing: never a value."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from modelbroker.cli.readiness import same
from modelbroker.cli.runtime import Overrides, prepare
from modelbroker.cli.secrets import asked_box, files_of, held_secrets, new_box, resolve
from modelbroker.core.budgets import Fleet
from modelbroker.core.catalog import (
    Auth,
    CacheStore,
    Caching,
    CallerEntry,
    Catalog,
    Identity,
    Pool,
    Provider,
    SecretRef,
    identity,
)
from modelbroker.core.errors import Misconfigured
from modelbroker.core.secrets import NO_SECRETS
from modelbroker.secrets import store

AWS = identity("aws", {"region": "us-east-1"})
KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s/e+cret"}
FILE = """\
[default]
aws_access_key_id = AKIDEFAULT
aws_secret_access_key = one

[work]
aws_access_key_id=AKIWORK
aws_secret_access_key=two
aws_session_token=token

[half]
aws_access_key_id=AKIHALF
"""


def catalog(credential: SecretRef, *, auth: Auth = Auth.AWS_SIGV4, base_url: str = "http://h") -> Catalog:
    provider = Provider("p", ("bedrock-converse",), base_url, auth, credential, region="us-east-1")
    return Catalog("r", {"p": provider}, (), {}, ())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize(
    ("environ", "value"),
    [
        (KEYS, "AKID:s/e+cret"),
        ({**KEYS, "AWS_SESSION_TOKEN": "t"}, "AKID:s/e+cret:t"),
        ({**KEYS, "AWS_PROFILE": "work"}, "AKID:s/e+cret"),
        ({}, "AKIDEFAULT:one"),
        ({"AWS_PROFILE": "work"}, "AKIWORK:two:token"),
    ],
)
def test_aws_keys_come_from_its_variables_or_else_from_a_profile(
    home: Path, environ: dict[str, str], value: str
) -> None:
    resolved = resolve(catalog(AWS), {"HOME": str(home), **environ})
    assert resolved.credentials == {"p": value}
    assert resolved.warnings == ()
    assert set(resolved.state.signing) == {"p"}
    assert value not in str(resolved.state)


def test_the_file_may_be_elsewhere_and_is_watched(home: Path) -> None:
    there = home / "elsewhere"
    there.write_text(FILE.replace("AKIDEFAULT", "AKIELSEWHERE"))
    environ = {"HOME": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": str(there)}
    assert resolve(catalog(AWS), environ).credentials == {"p": "AKIELSEWHERE:one"}
    assert list(files_of(catalog(AWS), environ)) == [there, Path("/nonexistent/.aws/config")]
    folder = home / ".aws"
    assert list(files_of(catalog(AWS), {"HOME": str(home)})) == [folder / "credentials", folder / "config"]


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKID"}, "the environment has no AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "the profile nobody in {home}/.aws/credentials has no aws_access_key_id"),
        ({"AWS_PROFILE": "half"}, "the profile half in {home}/.aws/credentials has no aws_secret_access_key"),
        (
            {"HOME": "/nonexistent"},
            "AWS_ACCESS_KEY_ID is not set, and the file /nonexistent/.aws/credentials can't be read "
            "(No such file or directory)",
        ),
    ],
)
def test_missing_aws_keys_rule_the_provider_out(home: Path, environ: dict[str, str], why: str) -> None:
    resolved = resolve(catalog(AWS), {"HOME": str(home), **environ})
    assert resolved.credentials == {}
    assert resolved.state.providers_out == {"p": why.format(home=home)}
    assert resolved.state.signing == {}
    assert resolved.warnings == (f"provider p: {why.format(home=home)}; its members get no calls",)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No extra is installed."""
    monkeypatch.setattr(store.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    "name",
    [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ],
)
def test_a_role_that_the_environment_names_needs_the_extra(home: Path, bare: None, name: str) -> None:
    hinted = {"HOME": "/nonexistent", name: "/somewhere"}
    (why,) = resolve(catalog(AWS), hinted).state.providers_out.values()
    assert why == f"{name} names a role, and aws's client is not installed: pip install 'modelbroker[aws]'"
    assert resolve(catalog(AWS), {**hinted, "HOME": str(home)}).credentials == {"p": "AKIDEFAULT:one"}


def test_what_is_asked_for_in_its_cloud(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra everything but AWS's own variables; without it what a configuration says in so many
    words, which is refused then, and not what comes with the built-in providers."""
    gcp, role = identity("gcp"), identity("aws", {"role_arn": "arn:aws:iam::123456789012:role/r"})
    built_in = identity("gcp", instead="GOOGLE_ACCESS_TOKEN")

    def asked(ref: Identity, environ: dict[str, str]) -> bool:
        return held_secrets(catalog(ref), environ) == {ref}

    assert [asked(ref, {}) for ref in (AWS, role, gcp, built_in)] == [False, True, True, False]
    (why,) = resolve(catalog(built_in, auth=Auth.BEARER), {}).state.providers_out.values()
    assert why == (
        "the environment variable GOOGLE_ACCESS_TOKEN is not set, and gcp's client is not installed: "
        "pip install 'modelbroker[gcp]'"
    )
    monkeypatch.undo()
    assert [asked(ref, {}) for ref in (AWS, role, gcp, built_in)] == [True] * 4
    assert [asked(ref, KEYS) for ref in (AWS, role)] == [False, True]
    token = {"GOOGLE_ACCESS_TOKEN": "ya29.x"}
    assert [asked(ref, token) for ref in (gcp, built_in)] == [True, False]
    assert resolve(catalog(built_in, auth=Auth.BEARER), token).credentials == {"p": "ya29.x"}
    # A provider that is not set up asks nobody.
    assert held_secrets(catalog(gcp, base_url=""), {}) == frozenset()


def test_a_file_that_is_none_of_aws(home: Path) -> None:
    (home / ".aws" / "credentials").write_text("AKID:secret")
    (why,) = resolve(catalog(AWS), {"HOME": str(home)}).state.providers_out.values()
    assert why.endswith("credentials is not valid")
    assert "secret" not in why


def test_a_reference_holds_the_whole_key() -> None:
    ref = SecretRef("env", "KEYS")
    assert resolve(catalog(ref), {"KEYS": "a:b:c\n"}).credentials == {"p": "a:b:c"}
    for value in ("a", "a:", "a:b:c:d"):
        resolved = resolve(catalog(ref), {"KEYS": value})
        assert resolved.state.providers_out == {
            "p": "the environment variable KEYS does not hold KEY_ID:SECRET or KEY_ID:SECRET:SESSION_TOKEN"
        }
    bearer = resolve(catalog(ref, auth=Auth.BEARER), {"KEYS": "a"})
    assert (bearer.credentials, bearer.state.signing) == ({"p": "a"}, {})


def test_another_key_is_another_signature() -> None:
    ref = SecretRef("env", "KEYS")
    digests = [resolve(catalog(ref), {"KEYS": keys}).state.signing["p"] for keys in ("a:b", "a:c", "a:b")]
    assert digests[0] == digests[2] != digests[1]


def test_a_simulator_takes_any_signature() -> None:
    resolved = resolve(catalog(SecretRef("mock", "mock-key-of-p")), {})
    assert resolved.credentials["p"].count(":") == 1
    assert resolved.state.providers_out == {}


def test_a_provider_without_an_address_serves_nothing_and_is_warned_of_elsewhere() -> None:
    resolved = resolve(catalog(AWS, base_url=""), KEYS)
    assert "region" in resolved.state.providers_out["p"]
    assert resolved.warnings == ()


@pytest.mark.parametrize(
    ("ref", "environ", "url", "warned"),
    [
        (SecretRef("url", "redis://h"), {}, "redis://h", ""),
        (SecretRef("env", "R"), {"R": " rediss://u:pw@h:1/2 "}, "rediss://u:pw@h:1/2", ""),
        (SecretRef("env", "R"), {}, "", "the environment variable R is not set"),
        (
            SecretRef("env", "R"),
            {"R": "pw@h"},
            "",
            "the environment variable R does not hold the URL of a Redis",
        ),
        (None, {}, "", ""),
    ],
)
def test_the_redis_of_the_cache(
    ref: SecretRef | None, environ: dict[str, str], url: str, warned: str
) -> None:
    pools = {"p": Pool("p", (), cache=Caching())}
    resolved = resolve(Catalog("r", {}, (), pools, (), cache=CacheStore(redis=ref)), environ)
    assert resolved.cache_redis == url
    assert [warned in warning for warning in resolved.warnings] == ([True] if warned else [])
    assert not any("pw" in warning for warning in resolved.warnings)
    nobody = Catalog("r", {}, (), {}, (), cache=CacheStore(redis=ref))
    assert resolve(nobody, environ).cache_redis == ""  # no pool has a cache


def test_a_redis_whose_url_is_in_a_file_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "url"
    nobody = Catalog("r", {}, (), {}, (), cache=CacheStore(redis=SecretRef("file", str(path))))
    assert list(files_of(nobody)) == [path]


def test_a_redis_password_in_a_file_is_watched_and_a_new_one_is_another_configuration(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one")
    text = f"""
redis: {{url: "redis://r:6379/0", credential: {{file: {path}}}}}
budgets: [{{name: all, amount: $5, per: day}}]
callers: [{{name: c, key: {{env: C}}}}]
pools: [{{name: p, members: [{{provider: openai, model: gpt-5}}]}}]
"""
    before = prepare({"a": text}, Overrides(), {})
    assert path in files_of(before.catalog, {})
    path.write_text("two")
    after = prepare({"a": text}, Overrides(), {}, before)
    assert (before.redis_password, after.redis_password) == ("one", "two")
    assert not same(before, after) and same(after, prepare({"a": text}, Overrides(), {}, after))


def test_a_key_that_was_replaced_is_its_new_owners_alone(tmp_path: Path) -> None:
    refs = [SecretRef("file", str(tmp_path / name)) for name in "ab"]
    told = Catalog("r", {}, tuple(CallerEntry(ref.name[-1], (ref,)) for ref in refs), {}, ())
    box = new_box()
    for keys in (("one", "two"), ("two", "one")):  # two callers change their keys
        for ref, key in zip(refs, keys, strict=True):
            Path(ref.name).write_text(key)
        box.want(NO_SECRETS, refs)
    resolved = resolve(told, {}, box)
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in ("one", "two")]
    assert [resolved.callers[digest].name for digest in digests] == ["b", "a"]
    assert not resolved.warnings


def test_a_redis_password_that_may_come_holds_nothing_up(tmp_path: Path) -> None:
    fleet = Fleet("redis://r:6379/0", SecretRef("file", str(tmp_path / "none")))
    told = Catalog("r", {}, (), {}, (), fleet=fleet)
    resolved = resolve(told, {}, asked_box(told, fleet.credential))
    assert resolved.redis_password is None
    assert "redis.credential: the file" in resolved.warnings[0]
    with pytest.raises(Misconfigured, match=r"redis\.credential: the environment variable PW is not set"):
        resolve(replace(told, fleet=replace(fleet, credential=SecretRef("env", "PW"))), {})
