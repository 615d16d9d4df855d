"""The door of the console: who comes in, what browsers are told, and what is told of it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.cli import console_door
from modelbroker.cli.console_door import (
    TOKEN_USER,
    Answer,
    Came,
    Door,
    Rendered,
    Unrendered,
    as_ascii,
    is_console,
)
from modelbroker.console.attempts import MOST
from modelbroker.console.login import Access, Signer

TOKEN = "a-token-of-many-letters"
HOST = "127.0.0.1:8081"


class Told:
    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def console_login(self, user: str, peer: str, *, why_not: str = "") -> None:
        self.said.append(("login", user, peer, why_not))

    def console_logout(self, user: str, peer: str) -> None:
        self.said.append(("logout", user, peer))


class Client:
    """A browser, as far as the door sees it."""

    def __init__(self, access: Access | None = None, peer: str = "127.0.0.1") -> None:
        self.access = access or Access(users={"ana": (TOKEN,)})
        self.told, self.peer, self.cookie = Told(), peer, ""
        self.asked: list[tuple[str, str]] = []
        self.slept: list[float] = []
        self.door = Door(Signer(), lambda: self.access, self._render, self.told, self.slept.append)

    def _render(self, target: str, user: str) -> Rendered:
        self.asked.append((target, user))
        if target == "/gone":
            raise Unrendered("the console's process gave no page")
        return Rendered(200, "text/html; charset=utf-8", b"<p>page</p>")

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self._ask("GET", target, headers or {})

    def post(self, target: str, headers: Mapping[str, str] | None = None, **form: str) -> Answer:
        return self._ask("POST", target, headers or {}, urllib.parse.urlencode(form).encode())

    def log_in(self, to: str = "", token: str = TOKEN, **headers: str) -> Answer:
        said = {
            "origin": f"http://{HOST}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return self.post("/console/login", said, token=token, to=to)

    def _ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        said = {"host": HOST, **({"cookie": self.cookie} if self.cookie else {}), **headers}
        answer = self.door.answer(Came(method, target, self.peer, said, body))
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer


def test_nobody_sees_a_page_without_a_login() -> None:
    client = Client()
    answer = client.get("/console/spend?by=team&since=7d")
    assert (answer.status, client.asked) == (303, [])
    where = urllib.parse.urlsplit(answer.headers["location"])
    assert where.path == "/console/login"
    login = client.get(answer.headers["location"])
    assert login.status == 200 and b'value="/console/spend?by=team&amp;since=7d"' in login.body
    said = client.log_in(to="/console/spend?by=team&since=7d")
    assert (said.status, said.headers["location"]) == (303, "/console/spend?by=team&since=7d")
    assert client.get("/console/spend?by=team&since=7d").body == b"<p>page</p>"
    assert client.asked == [("/spend?by=team&since=7d", "ana")]
    assert client.told.said == [("login", "ana", "127.0.0.1", "")]


@pytest.mark.parametrize("path", ["/", "/console", "/console/", "/console/calls/x"])
def test_what_is_the_consoles(path: str) -> None:
    assert is_console(path)


@pytest.mark.parametrize("path", ["/status", "/consoles", "/metrics", "/console.css", ""])
def test_what_is_not(path: str) -> None:
    assert not is_console(path)


def test_the_root_leads_to_it() -> None:
    assert Client().get("/").headers["location"] == "/console"


def test_a_wrong_token_is_told_and_lets_nobody_in() -> None:
    client = Client()
    answer = client.log_in(token="a-token-of-many-others")
    assert answer.status == 403 and b"There is no such token." in answer.body and not client.cookie
    assert b"a-token-of-many-others" not in answer.body
    assert client.told.said == [("login", "", "127.0.0.1", "no such token")]
    assert client.log_in(token="").status == 403


def test_a_right_token_is_never_locked_out_by_others_failures() -> None:
    client, tries = Client(), MOST * 3
    assert {client.log_in(token=f"wrong-{number}").status for number in range(tries)} == {403}
    assert len(client.told.said) == MOST  # a flood of them fills no journal
    assert client.told.said[-1][-1] == "no such token; of more within a minute nothing is told"
    slept = len(client.slept)
    assert slept == tries - MOST  # and is slow
    assert client.log_in().status == 303 and client.get("/console").status == 200
    assert len(client.slept) == slept + 1 and client.told.said[-1] == ("login", "ana", "127.0.0.1", "")


def test_many_who_log_in_well_keep_no_failure_from_being_told() -> None:
    client = Client()
    assert {client.log_in().status for _ in range(MOST * 2)} == {303}
    client.told.said.clear()
    assert client.log_in(token="wrong").status == 403
    assert client.told.said == [("login", "", "127.0.0.1", "no such token")]


def test_where_too_many_wait_already_one_is_to_come_again() -> None:
    client = Client()
    answers = [client.log_in(token="wrong") for _ in range(100)]
    assert {answer.status for answer in answers} == {403, 429}
    late = next(answer for answer in answers if answer.status == 429)
    assert late.headers["retry-after"] == "5" and b"Too many log in now" in late.body
    client.peer = "10.0.0.1"
    client.access = Access(users={"ana": (TOKEN,)}, networks=("10.0.0.0/8",))
    assert client.log_in().status == 303  # another address has a line of its own


def test_the_cookie_is_for_the_console_and_for_no_script() -> None:
    words = Client().log_in().headers["set-cookie"].split("; ")[1:]
    assert words == ["Path=/console", "Max-Age=43200", "HttpOnly", "SameSite=Lax"]
    assert "Secure" in Client().log_in(x_forwarded_proto="https").headers["set-cookie"]


def test_brokers_of_one_machine_have_cookies_of_their_own() -> None:
    assert Client().log_in().headers["set-cookie"].startswith("modelbroker_console_8081=")
    behind = Client().log_in(host="console.corp", origin="https://console.corp")
    assert behind.headers["set-cookie"].startswith("modelbroker_console=")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_forms_of_other_pages_are_refused(headers: Mapping[str, str]) -> None:
    client = Client()
    assert client.post("/console/login", headers, token=TOKEN).status == 403
    client.log_in()
    assert client.post("/console/logout", headers).status == 403
    assert client.get("/console").status == 200


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/console",
        "//evil.example",
        "/console\\@evil.example",
        "/console/\r\nset-cookie: x=y",
        "/status",
        "/console/logout",
        "/console/login?to=/console/login",
        "/consoles",
        "",
    ],
)
def test_a_login_leads_to_a_page_of_ours(to: str) -> None:
    client = Client()
    assert client.log_in(to=to).headers["location"] == "/console"
    hint = client.get(f"/console/login?to={urllib.parse.quote(to)}")
    assert hint.headers.get("location") == "/console"  # it is logged in already


def test_a_form_of_many_fields_is_none_of_ours() -> None:
    client, many = Client(), "&".join(f"f{number}=x" for number in range(100))
    assert client.get(f"/console/login?{many}").status == 200
    own = {"origin": f"http://{HOST}"}
    assert client.post("/console/login", own, **{f"f{number}": "x" for number in range(100)}).status == 403


def test_a_logout_ends_it_here() -> None:
    client = Client()
    client.log_in()
    answer = client.post("/console/logout", {"origin": f"http://{HOST}"})
    assert (answer.status, answer.headers["location"]) == (303, "/console/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert client.get("/console").status == 303
    assert client.told.said[-1] == ("logout", "ana", "127.0.0.1")


def test_a_session_that_was_ended_is_good_for_nobody_who_kept_it() -> None:
    client = Client()
    client.log_in()
    kept = client.cookie
    client.log_in()  # in another browser, in the same second
    other = client.cookie
    client.cookie = kept
    client.post("/console/logout", {"origin": f"http://{HOST}"})
    client.cookie = kept
    assert client.get("/console").status == 303
    client.cookie = other
    assert client.get("/console").status == 200


def test_another_network_needs_to_be_named() -> None:
    client = Client(peer="10.20.1.1")
    for answer in (client.get("/console"), client.get("/console/static/console.css"), client.log_in()):
        assert answer.status == 403 and b"console.networks" in answer.body
    client.access = Access(users={"ana": (TOKEN,)}, networks=("10.20.0.0/16",))
    assert client.log_in().status == 303 and client.get("/console").status == 200


def test_a_console_that_is_off_says_why() -> None:
    client = Client(Access(why_not="the configuration says `console: {enabled: false}`"))
    answer = client.get("/console")
    assert (answer.status, answer.body.count(b"enabled: false")) == (404, 1)


def test_nothing_can_be_commanded() -> None:
    client = Client()
    client.log_in()
    assert client.post("/console/pools", {"origin": f"http://{HOST}"}).status == 405
    assert client.asked == []


def test_a_process_that_gives_no_page() -> None:
    client = Client()
    client.log_in()
    answer = client.get("/console/gone")
    assert (answer.status, answer.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("/console/pools/é", "/pools/%E9"),
        ("/console/pools/日本".encode().decode("latin-1"), "/pools/%E6%97%A5%E6%9C%AC"),
        ("/console/calls?team=\x7fü", "/calls?team=%7F%FC"),
        ("/console/pools/日本", "/pools/%E6%97%A5%E6%9C%AC"),
    ],
)
def test_a_path_that_is_not_ascii_is_asked_for_as_urls_spell_it(target: str, asked: str) -> None:
    client = Client()
    where = urllib.parse.urlsplit(client.get(target).headers["location"])
    client.log_in()
    assert client.get(urllib.parse.parse_qs(where.query)["to"][0]).status == 200
    assert client.get(target).status == 200 and client.asked == [(asked, "ana")] * 2


@given(st.text())
def test_whatever_is_asked_for_goes_into_a_header(said: str) -> None:
    client = Client()
    assert client.get(f"/console/{said}").headers["location"].isascii()
    assert as_ascii(as_ascii(said)) == as_ascii(said)


@pytest.mark.parametrize(
    "target", ["/console", "/console/login", "/console/static/console.js", "/console/static/x"]
)
def test_every_answer_is_held_to_our_own_files(target: str) -> None:
    client = Client()
    client.log_in()
    headers = client.get(target).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["../login.py", "..%2flogin.py", "console.css/", "templates/base.html", ""])
def test_only_files_for_browsers_are_given(name: str) -> None:
    assert Client().get(f"/console/static/{name}").status == 404


def test_a_login_with_the_state_folders_token_says_where_it_is() -> None:
    client = Client(Access(users={TOKEN_USER: ("a-token-that-is-long-enough",)}))
    assert b"modelbroker console" in client.get("/console/login").body


def test_a_page_to_go_to_that_no_header_can_hold_is_the_first_one() -> None:
    assert console_door._safe("/console/pools/日本") == "/console"
    assert console_door._safe("/console/pools/%E6%97%A5") == "/console/pools/%E6%97%A5"
