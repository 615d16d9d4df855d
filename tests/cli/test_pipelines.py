"""The pipelines of docs/source-control.md: right by the schemas that GitHub and GitLab publish, and their
steps run as those run them, in a repository with two branches and with calls that a broker recorded."""

from __future__ import annotations

import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from modelbroker.cli.state import state_folder_of
from support.catalogs import PROVIDERS
from support.worlds import Asked, Member, World, key_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "source-control.md").read_text()
DEAR, CHEAP = "dear", "cheap"  # branches
CHANGES = {DEAR: ("small", "large"), CHEAP: ("large", "small")}
TRAFFIC_TOKEN, NOTES_TOKEN = "token-for-traffic", "token-for-notes"


def snippet(heading: str, language: str) -> str:
    """The first one of `language` behind the line that begins with `heading`."""
    found = re.search(rf"^{heading}.*?^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


GITHUB, GITLAB = snippet("GitHub Actions", "yaml"), snippet("GitLab CI", "yaml")
LEAVES = snippet("The records come from where the broker runs", "sh")


@pytest.mark.parametrize(("text", "schema"), [(GITHUB, "github-workflows"), (GITLAB, "gitlab-ci")])
def test_it_is_right_by_the_published_schema(text: str, schema: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text(text)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    path.write_text(text.replace("script:", "scripts:").replace("runs-on:", "runs:"))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


# -- a broker's machine, a repository, and what pipelines find around them


def config(to: str) -> dict[str, Any]:
    def pool(name: str, member: str) -> dict[str, Any]:
        provider, _, model = member.partition("/")
        return {"name": name, "ejection": "off", "members": [{"provider": provider, "model": model}]}

    return {
        "providers": PROVIDERS,
        "callers": [{"name": "sales", "key": {"sha256": key_of("sales")}, "team": "sales"}],
        "pools": [pool("large", "b/large"), pool("small", "c/small")],
        "rules": [{"name": "sales", "match": {"team": "sales"}, "pool": to}],
        "prices": [
            {"provider": "b", "model": "large", "input": 3, "output": 15},
            {"provider": "c", "model": "small", "input": 1, "output": 4},
        ],
    }


def write(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "broker.yaml").write_text(text)


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def git(*words: str, folder: Path) -> None:
    as_somebody = ("-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *as_somebody, *words], cwd=folder, check=True, capture_output=True)


@dataclass(frozen=True)
class Around:
    """`bin` has what is not there in tests (package index, S3, GitHub), `state` a broker's records."""

    folder: Path
    environ: dict[str, str]
    week: Path  # what the broker left

    def checkout(self, branch: str, *, shallow: bool) -> Path:
        """As the runners do: a commit of `branch`, on no branch."""
        place = self.folder / "builds" / branch
        depth = ("--depth", "20", "--no-tags") if shallow else ()
        git(
            "clone",
            "-q",
            *depth,
            "-b",
            branch,
            f"file://{self.folder}/origin.git",
            str(place),
            folder=self.folder,
        )
        git("checkout", "-q", "--detach", folder=place)
        return place


@pytest.fixture(params=[DEAR, CHEAP])
def change(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def around(tmp_path: Path, change: str) -> Around:
    for name in ("git", "curl"):
        assert shutil.which(name), f"{name} is not installed: `apt-get install {name}`"
    (tmp_path / "bin").mkdir()
    there = shlex.quote(os.pathsep.join(sys.path))
    command = f'PYTHONPATH={there} exec {sys.executable} -m modelbroker.cli.main "$@"'
    program(tmp_path / "bin" / "modelbroker", command)
    program(tmp_path / "bin" / "pip", '[ "$*" = "install modelbroker" ]')
    environ = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "CI": "true",
    }
    before, after = CHANGES[change]
    leave_records(tmp_path, before, environ)
    make_origin(tmp_path, {"main": before, change: after})
    return Around(tmp_path, environ, tmp_path / "broker" / "week.jsonl")


def leave_records(folder: Path, pool: str, environ: dict[str, str]) -> None:
    """Calls of the last days, and the file that the broker's machine leaves of them."""
    body = {"model": pool, "messages": [{"role": "user", "content": "word " * 40}]}
    begun_s = time.time() - 2 * 86_400
    calls = [Asked(n, begun_s + 60 * n, "sales", "openai-chat", body) for n in range(60)]
    members = {"b/large": Member(1.0, 1.0, 300, 5), "c/small": Member(1.0, 1.0, 100, 2)}
    said = {name: value for name, value in config(pool).items() if name != "providers"}
    records = World(3, members).run(said, calls, luck=1)
    here = folder / "broker"
    here.mkdir()
    write(here / "config", yaml.safe_dump(config(pool)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", environ["XDG_STATE_HOME"])
        state = state_folder_of(None, here / "config")
    state.mkdir(parents=True)
    (state / "calls.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    done = subprocess.run(["bash", "-e", "-c", LEAVES], cwd=here, env=environ, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stderr
    assert len((here / "week.jsonl").read_text().splitlines()) == len(calls)


def make_origin(folder: Path, branches: dict[str, str]) -> None:
    """`main`, and branches of it that change the configuration."""
    source, origin = folder / "source", folder / "origin.git"
    source.mkdir()
    git("init", "-q", folder=source)
    for branch, to in branches.items():
        git("checkout", "-q", "-b", branch, folder=source) if branch != "main" else None
        write(source / "config", yaml.safe_dump(config(to)))
        git("add", ".", folder=source)
        git("commit", "-q", "-m", branch, folder=source)
    git("clone", "-q", "--bare", str(source), str(origin), folder=folder)


# -- GitHub


def expressed(text: str) -> str:
    """With its expressions filled in; there are no others."""
    known = {"github.event.number": "7", "github.token": "token-of-github"}
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: known[found[1]], text)


def run_workflow(around: Around, place: Path) -> str:
    """How the job ends: a step at a time, each in a shell of its own."""
    (job,) = yaml.safe_load(GITHUB)["jobs"].values()
    environ = {
        **around.environ,
        "GITHUB_ACTIONS": "true",
        "GITHUB_BASE_REF": "main",
        "GITHUB_WORKSPACE": str(place),
    }
    result = "success"
    for step in job["steps"]:
        if step.get("if", "success()") == "success()" and result == "failure":
            continue
        assert step.get("if") in (None, "${{ !cancelled() }}")
        if "uses" in step:
            assert step["uses"].startswith("actions/")
            continue
        env = {name: expressed(value) for name, value in step.get("env", {}).items()}
        script = around.folder / "step.sh"
        script.write_text(expressed(step["run"]))
        done = subprocess.run(
            ["bash", "-e", str(script)], cwd=place, env={**environ, **env}, capture_output=True, text=True
        )
        if done.returncode:
            result = "failure"
    return result


def test_github_runs_it(around: Around, change: str) -> None:
    program(
        around.folder / "bin" / "aws",
        f'[ "$*" = "s3 cp s3://our-broker/week.jsonl ." ] && cp {shlex.quote(str(around.week))} .',
    )
    comment = around.folder / "comment.md"
    program(
        around.folder / "bin" / "gh",
        '[ "$GH_TOKEN" = token-of-github ] && [ "$*" = "pr comment 7 --body-file gate.md" ] && '
        f"cp gate.md {shlex.quote(str(comment))}",
    )
    place = around.checkout(change, shallow=False)
    assert run_workflow(around, place) == ("success" if change == CHEAP else "failure")
    check_comment(comment.read_text(), change)

    git("clean", "-ffdxq", folder=place)  # as `checkout` does before the next run, if it is the same machine
    comment.unlink()
    write(place / "config", "pools: [{name: large}]\n")
    assert run_workflow(around, place) == "failure"
    check_broken(comment.read_text())


def check_comment(text: str, change: str) -> None:
    """The verdict, what is different, and what it would have been."""
    pools = " → ".join(f"pool {pool}" for pool in CHANGES[change])
    assert f"| rules: **sales** | {pools} | everybody |" in text
    if change == CHEAP:
        assert text.startswith("## ✅ This change may go live\n")
        assert (
            "### Simulated routing change ✅" in text and "| 60 | large by sales | small by sales |" in text
        )
    else:
        assert text.startswith("## ❌ This change may not go live\n")
        assert "### Simulated routing change ❌" in text and "- ❌ `cost > +5%`: " in text


def check_broken(text: str) -> None:
    assert text.startswith("## ❌ This configuration can't be live\n")
    assert "config/broker.yaml:1: pools[0].members: is missing" in text


# -- GitLab


@dataclass
class Server:
    """Has the traffic to be fetched, and takes notes on merge requests."""

    url: str
    notes: list[tuple[str, str]] = field(default_factory=list)  # (path, text)


@pytest.fixture
def gitlab(around: Around) -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_good = (self.path, self.headers["private-token"]) == ("/week.jsonl", TRAFFIC_TOKEN)
            self.answer(200 if is_good else 404, around.week.read_bytes() if is_good else b"")

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["content-length"])).decode()
            if self.headers["private-token"] != NOTES_TOKEN:
                self.answer(401, b"")
                return
            (text,) = urllib.parse.parse_qs(asked)["body"]
            server.notes.append((self.path, text))
            self.answer(201, b"{}")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Server(f"http://127.0.0.1:{listening.server_address[1]}")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield server
        listening.shutdown()


def run_job(around: Around, place: Path, server: Server) -> int:
    """The exit code: `script` in one shell that ends at the first error, `after_script` in
    another whatever became of that."""
    (job,) = yaml.safe_load(GITLAB).values()
    environ = {
        **around.environ,
        "GITLAB_CI": "true",
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_PROJECT_ID": "42",
        "CI_PROJECT_DIR": str(place),
        "CI_API_V4_URL": f"{server.url}/api/v4",
        "TRAFFIC_URL": f"{server.url}/week.jsonl",
        "TRAFFIC_TOKEN": TRAFFIC_TOKEN,
        "NOTES_TOKEN": NOTES_TOKEN,
    }

    def shell(lines: list[str]) -> subprocess.CompletedProcess[str]:
        text = "\n".join(["set -eo pipefail", *lines])
        return subprocess.run(["bash", "-c", text], cwd=place, env=environ, capture_output=True, text=True)

    done, after = shell(job["script"]), shell(job["after_script"])
    assert after.returncode == 0, after.stderr
    return done.returncode


def test_gitlab_runs_it(around: Around, change: str, gitlab: Server) -> None:
    place = around.checkout(change, shallow=True)
    assert run_job(around, place, gitlab) == (change == DEAR)
    ((path, text),) = gitlab.notes
    assert path == "/api/v4/projects/42/merge_requests/7/notes"
    check_comment(text, change)
    (job,) = yaml.safe_load(GITLAB).values()
    assert [(place / name).read_text() for name in job["artifacts"]["paths"]] == [text]

    git("clean", "-ffdxq", folder=place)  # as the runner does before the next one
    write(place / "config", "pools: [{name: large}]\n")
    assert run_job(around, place, gitlab) == 1
    check_broken(gitlab.notes[-1][1])
    assert len(gitlab.notes) == 2
