"""Git repositories for the tests: a bare one that others push to, as on a server."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

AUTHOR = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
_WHO = {**AUTHOR, "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}


class GitServer:
    """A bare repository at `url`, and a clone in which commits are made."""

    def __init__(self, folder: Path) -> None:
        self.bare, self._clone = folder / "config.git", folder / "clone"
        self._git("init", "--quiet", "--bare", "-b", "main", str(self.bare), at=None)
        self._git("init", "--quiet", "-b", "main", str(self._clone), at=None)
        self.url = f"file://{self.bare}"

    def commit(
        self, files: Mapping[str, str | None], subject: str = "a change", *options: str, branch: str = "main"
    ) -> str:
        """Write these (None: remove), commit and push; the commit's id. `options` are git's own (`-c …`)."""
        for name, text in files.items():
            path = self._clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        sign = ["-S"] if options else []
        self._git(*options, "commit", "--quiet", "--allow-empty", *sign, "-m", subject, at=self._clone)
        self.git("push", "--quiet", "--force", str(self.bare), f"HEAD:{branch}")
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *words: str) -> str:
        return self._git(*words, at=self._clone)

    def _git(self, *words: str, at: Path | None) -> str:
        where = ["-C", str(at)] if at is not None else []
        plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        command = ["git", *where, *words]
        done = subprocess.run(
            command, env={**os.environ, **_WHO, **plain}, check=True, capture_output=True, text=True
        )
        return done.stdout


class GitDaemon:
    """The repositories in `folder` at `git://127.0.0.1:port`. While it `is_silent` it takes connections, and
    says nothing; `silent` are those that wait."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.is_silent = False
        self.silent: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        command = ["git", "daemon", "--inetd", "--export-all", f"--base-path={self._folder}"]
        with contextlib.suppress(OSError):  # closed
            while True:
                accepted, _ = self._listening.accept()
                if self.is_silent:
                    self.silent.append(accepted)
                    continue
                with accepted:
                    subprocess.run(
                        command, stdin=accepted, stdout=accepted, stderr=subprocess.DEVNULL, check=False
                    )

    def close(self) -> None:
        for one in (self._listening, *self.silent):
            one.close()


class GitHttp:
    """The repositories in `folder` at `http://127.0.0.1:port`, for one user alone: git's own server behind
    Basic authentication. `logins` are the users and passwords that came, "" where there was none."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        self.user, self.password = user, password
        self.logins: list[str] = []
        house = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = self.headers.get("authorization", "").removeprefix("Basic ")
                login = base64.b64decode(said).decode()
                house.logins.append(login)
                if login == f"{house.user}:{house.password}":
                    self._run()
                    return
                self.send_response(401)
                self.send_header("www-authenticate", 'Basic realm="repositories"')
                self.send_header("content-length", "0")
                self.end_headers()

            do_POST = do_GET

            def _run(self) -> None:
                path, _, query = self.path.partition("?")
                told = {
                    "GIT_PROJECT_ROOT": str(folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "REQUEST_METHOD": self.command,
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("content-type", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                }
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                done = subprocess.run(
                    ["git", "http-backend"],
                    input=body,
                    env={**os.environ, **told},
                    capture_output=True,
                    check=True,
                )
                head, _, answer = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                self.send_response(int(headers.pop("Status", "200")[:3]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def ssh_key(folder: Path, name: str) -> Path:
    """A private key; its public half is beside it (`.pub`)."""
    path = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def allowed_signers(folder: Path, *keys: Path) -> Path:
    path = folder / "allowed_signers"
    path.write_text("".join(f"ada@example.com {key.with_suffix('.pub').read_text()}" for key in keys))
    return path


def signed_with(key: Path) -> tuple[str, ...]:
    return "-c", "gpg.format=ssh", "-c", f"user.signingkey={key}"
