"""Vault: what is read there, how the broker logs in, and what it makes of refusals."""

from __future__ import annotations

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hvac
import pytest
import trustme
from modelbroker.core.catalog import SecretRef, StoredSecret
from modelbroker.core.secrets import StorePlace
from modelbroker.secrets.store import Away, Gone, SecretStore, open_store
from support.vault import SimulatedVault, Token


def place(vault: SimulatedVault, auth: str = "token", **more: str) -> StorePlace:
    options = {"address": vault.url, "mount": "secret", "auth": auth, **more}
    return StorePlace("vault", "vault", options, {"token": SecretRef("env", "T")})


def opened(where: StorePlace, **credentials: str) -> SecretStore:
    return open_store(where, lambda name: credentials[name])


def ref(name: str, field: str = "", version: str = "") -> StoredSecret:
    return StoredSecret("store", name, "vault", field, version)


def test_the_simulated_one_is_what_its_own_client_expects(vault: SimulatedVault) -> None:
    vault.put("llm/openai", key="one")
    vault.put("llm/openai", key="two")
    client = hvac.Client(url=vault.url, token="root")
    assert client.is_authenticated()
    read = client.secrets.kv.v2.read_secret_version("llm/openai", raise_on_deleted_version=True)
    assert (read["data"]["data"], read["data"]["metadata"]["version"]) == ({"key": "two"}, 2)
    first = client.secrets.kv.v2.read_secret_version("llm/openai", version=1, raise_on_deleted_version=True)
    assert first["data"]["data"] == {"key": "one"}
    vault.delete("llm/openai")
    with pytest.raises(hvac.exceptions.InvalidPath):
        client.secrets.kv.v2.read_secret_version("llm/openai", raise_on_deleted_version=True)


def test_values_and_their_versions(vault: SimulatedVault) -> None:
    vault.put("llm/openai", key="one")
    vault.put("llm/openai", key="two", other="x", number=5)
    store = opened(place(vault), token="root")
    assert store.fetch(ref("llm/openai", "key"))[:2] == ("two", "2")
    assert store.fetch(ref("llm/openai", version="1"))[:2] == ("one", "1")
    for asked, said in (
        (ref("llm/openai"), "llm/openai has 3 fields: say which by `field`"),
        (ref("llm/openai", "kex"), "llm/openai has no field kex"),
        (ref("llm/openai", "number"), "llm/openai, field number, is no text"),
        (ref("llm/openai", "key", "x"), "x is no version: Vault counts from 1"),
        (ref("llm/azure", "key"), "llm/azure is not there, in the mount secret"),
    ):
        with pytest.raises(Gone, match=f"^{said.replace('.', '[.]')}$"):
            store.fetch(asked)
    vault.delete("llm/openai")
    with pytest.raises(Gone):
        store.fetch(ref("llm/openai", "key"))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("sealed", "it is sealed, or in maintenance"),
        ("busy", "it has had too many requests"),
        ("forbids", "the broker may not read llm/openai"),
    ],
)
def test_a_vault_that_says_no(vault: SimulatedVault, state: str, said: str) -> None:
    vault.put("llm/openai", key="one")
    store = opened(place(vault), token="root")
    assert store.fetch(ref("llm/openai"))[0] == "one"
    vault.state = state
    with pytest.raises(Away, match=f"^{said}$") as caught:
        store.fetch(ref("llm/openai"))
    assert not isinstance(caught.value, Gone)
    vault.state = "up"
    assert store.fetch(ref("llm/openai"))[0] == "one"


def test_a_vault_that_is_not_there(vault: SimulatedVault) -> None:
    store = opened(place(vault), token="root")
    vault.close()
    with pytest.raises(Away, match=r"^http://127\.0\.0\.1:[0-9]+ can't be reached$"):
        store.fetch(ref("llm/openai"))


def test_who_is_not_let_in_hears_what_to_look_at(vault: SimulatedVault, tmp_path: Path) -> None:
    vault.put("a", key="v")
    pods = tmp_path / "token"
    pods.write_text("pod-1")
    kubernetes = place(vault, "kubernetes", auth_mount="kubernetes", role="r", token_file=str(pods))
    not_in = "it does not let the broker in: see "
    for where, said in (
        (place(vault), not_in + "`auth.token`, which is wrong or over"),
        (
            place(vault, "approle", auth_mount="approle", role_id="r"),
            not_in + "the role id and the secret id of `auth.approle`",
        ),
        (kubernetes, not_in + "the role of `auth.kubernetes`, and which accounts Vault binds it to"),
        (
            place(vault, namespace="elsewhere"),
            "it has no login by token there: see `address`, `namespace`, `auth`",
        ),
    ):
        with pytest.raises(Away) as caught:
            opened(where, token="wrong", secret_id="wrong").fetch(ref("a"))
        assert str(caught.value) == said and not isinstance(caught.value, Gone)


def test_tls_that_fails_says_why(vault: SimulatedVault, tmp_path: Path) -> None:
    options = {"address": vault.url.replace("http:", "https:")}
    with pytest.raises(Away, match=r"^it speaks no TLS at this port$"):
        opened(place(vault, **options), token="root").fetch(ref("a"))
    lacks = {**options, "ca_file": str(tmp_path / "ca.pem")}
    with pytest.raises(Away, match=r"^ca_file .*/ca\.pem is not there$"):
        opened(place(vault, **lacks), token="root").fetch(ref("a"))
    stranger = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stranger.configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = place(vault, address=f"https://127.0.0.1:{server.server_port}")
        with pytest.raises(Away, match=r"^its certificate is not trusted: unable to get"):
            opened(where, token="root").fetch(ref("a"))
        server.shutdown()


def test_a_token_that_was_replaced(vault: SimulatedVault) -> None:
    vault.put("a", key="v")
    given = {"token": "old"}
    vault.tokens = {"old": Token(), "new": Token()}
    store = open_store(place(vault), given.__getitem__)
    assert store.fetch(ref("a"))[0] == "v"
    del vault.tokens["old"]
    given["token"] = "new"
    assert store.fetch(ref("a"))[0] == "v"


@pytest.mark.parametrize("way", ["approle", "kubernetes"])
def test_logins(vault: SimulatedVault, way: str, tmp_path: Path) -> None:
    vault.put("a", key="v")
    vault.approles, vault.pods = {"role": "s3cr3t"}, {"role": "pod-1"}
    pods = tmp_path / "token"
    pods.write_text("pod-1\n")
    more = {"role_id": "role"} if way == "approle" else {"role": "role", "token_file": str(pods)}
    store = opened(place(vault, way, auth_mount=way, **more), secret_id="s3cr3t")
    assert store.fetch(ref("a"))[0] == "v"
    assert store.fetch(ref("a"))[0] == "v"
    assert vault.asked.count(f"auth/{way}/login") == 1
    # A token that was taken back: another login.
    vault.tokens.clear()
    with pytest.raises(Away, match="may not read"):
        store.fetch(ref("a"))
    assert store.fetch(ref("a"))[0] == "v"
    assert vault.asked.count(f"auth/{way}/login") == 2
    vault.approles, vault.pods = {}, {}
    vault.tokens.clear()
    for _ in range(2):
        with pytest.raises(Away) as caught:
            store.fetch(ref("a"))
        assert "s3cr3t" not in str(caught.value) and "pod-1" not in str(caught.value)


def test_a_token_is_renewed_and_then_got_anew(vault: SimulatedVault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put("a", key="v")
    vault.approles = {"role": "x"}
    store = opened(place(vault, "approle", auth_mount="approle", role_id="role"), secret_id="x")
    now: list[float] = [time.monotonic()]
    monkeypatch.setattr("modelbroker.secrets.vault.time.monotonic", lambda: now[0])
    seen: list[int] = []
    for _ in range(4):
        assert store.fetch(ref("a"))[0] == "v"
        seen.append(vault.asked.count("auth/approle/login") * 10 + vault.asked.count("auth/token/renew-self"))
        now[0] += vault.token_ttl_s * 0.7
        for token in vault.tokens.values():
            token.until_s = now[0] + vault.token_ttl_s * 0.3 + 1
    # Logged in; renewed once, as often as it may be; then refused, and logged in again; renewed.
    assert seen == [10, 11, 22, 23]


def test_a_namespace(vault: SimulatedVault) -> None:
    vault.namespace = "team-a"
    vault.put("a", key="v")
    assert opened(place(vault, namespace="team-a"), token="root").fetch(ref("a"))[0] == "v"
    with pytest.raises(Away):
        opened(place(vault), token="root").fetch(ref("a"))
