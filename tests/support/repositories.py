"""Git repositories for the tests: a bare one that others push to, as on a server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Mapping
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
