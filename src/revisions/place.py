"""Where in git a configuration is, as it is written on a command line."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit, urlunsplit

from ..core.errors import Misconfigured

PREFIX = "git+"
_SCHEMES = ("https", "http", "ssh", "git", "file")
# Whoever writes a commit writes into terminals and logs.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Place(NamedTuple):
    """`git+URL@REF#subdirectory=FOLDER`. `ref`: a branch, a tag or a commit; "": the default branch.
    `folder` "": the repository's own; it may be one file."""

    url: str
    ref: str = ""
    folder: str = ""

    def __str__(self) -> str:
        """As it is written, without the password that it may hold."""
        if not self.url:
            return f"{self.ref}:{self.folder}"
        ref = f"@{self.ref}" if self.ref else ""
        folder = f"#subdirectory={self.folder}" if self.folder else ""
        return f"{PREFIX}{self.shown_url}{ref}{folder}"

    @property
    def shown_url(self) -> str:
        return _shown(self.url)

    @property
    def has_password(self) -> bool:
        return urlsplit(self.url).password is not None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the URL is nobody's to see; a user's name alone may be a token, but of ssh."""
        parts = urlsplit(self.url)
        said = (parts.password, parts.username if parts.scheme != "ssh" else None)
        return tuple(one for one in said if one)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    who, at, host = parts.netloc.rpartition("@")
    if not at or (parts.scheme == "ssh" and ":" not in who):
        return url
    user = who.partition(":")[0] if parts.scheme == "ssh" else "…"
    return urlunsplit(parts._replace(netloc=f"{user}@{host}"))


def place_of(text: str) -> Place | None:
    """None where it does not begin as one. Misconfigured where it is none."""
    if not text.startswith(PREFIX):
        return None
    body, _, fragment = text.removeprefix(PREFIX).partition("#")
    right = f"give {PREFIX}https://HOST/REPOSITORY.git@REF#subdirectory=FOLDER"
    if CONTROL.search(text):
        raise Misconfigured(500, "git_place", f"{PREFIX}… with control characters is no repository: {right}")
    try:
        parts, said = urlsplit(body), parse_qs(fragment, keep_blank_values=True)
    except ValueError as error:
        raise Misconfigured(500, "git_place", f"{PREFIX}… is no repository: {error}: {right}") from None
    if fragment and (set(said) != {"subdirectory"} or len(said["subdirectory"]) != 1):
        raise Misconfigured(500, "git_place", f"{PREFIX}{_shown(body)}: #{fragment} means nothing: {right}")
    path, at, ref = parts.path.rpartition("@")
    if not at:
        path, ref = parts.path, ""
    if parts.scheme not in _SCHEMES or not path.strip("/") or (parts.scheme != "file" and not parts.hostname):
        raise Misconfigured(500, "git_place", f"{PREFIX}{parts.scheme}… is no repository: {right}")
    folder = said.get("subdirectory", [""])[0].strip("/")
    if any(part in ("", ".", "..") for part in folder.split("/")) and folder:
        raise Misconfigured(500, "git_place", f"subdirectory={folder}: {right}")
    if ref.startswith("-") or (at and not ref) or any(c.isspace() or c in ":~^?*[\\" for c in ref):
        raise Misconfigured(500, "git_place", f"{ref!r} is no branch, tag or commit: {right}")
    return Place(urlunsplit(parts._replace(path=path)), ref, folder)
